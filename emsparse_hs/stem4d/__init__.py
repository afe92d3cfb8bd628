# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""4D-STEM: from frames to deflection and field, arrays in and arrays out."""

from emsparse_hs.stem4d.bragg_presence import (
    PresenceGrid,
    bragg_presence,
    compact_presence,
    find_direct_beam,
    presence_grid,
)
from emsparse_hs.stem4d.centroid import centroid
from emsparse_hs.stem4d.descan import descan_surface
from emsparse_hs.stem4d.disc_fit import DiscModel, fit_disc
from emsparse_hs.stem4d.disc_shape import estimate_disc
from emsparse_hs.stem4d.field import (
    FIELD_UNITS,
    deflection_to_field,
    deflection_to_induction,
    milliradians_per_unit,
    tesla_metres_per_radian,
)
from emsparse_hs.stem4d.grouping import Merge, PatternGroups, group_patterns
from emsparse_hs.stem4d.masks import annulus, disc
from emsparse_hs.stem4d.matching import beam_is_cut, match_edge, match_template, mean_template
from emsparse_hs.stem4d.scan_rotation import ScanRotation, rotate_vectors, scan_rotation
from emsparse_hs.stem4d.vector_calculus import curl, divergence, potential

__all__ = [
    "FIELD_UNITS",
    "DiscModel",
    "Merge",
    "PatternGroups",
    "PresenceGrid",
    "ScanRotation",
    "annulus",
    "beam_is_cut",
    "bragg_presence",
    "centroid",
    "compact_presence",
    "curl",
    "deflection_to_field",
    "deflection_to_induction",
    "descan_surface",
    "disc",
    "divergence",
    "estimate_disc",
    "find_direct_beam",
    "fit_disc",
    "group_patterns",
    "match_edge",
    "match_template",
    "mean_template",
    "milliradians_per_unit",
    "potential",
    "presence_grid",
    "rotate_vectors",
    "scan_rotation",
    "tesla_metres_per_radian",
]

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""4D-STEM: from frames to deflection and field, arrays in and arrays out."""

from emsparse_hs.stem4d.centroid import centroid
from emsparse_hs.stem4d.field import FIELD_UNITS, deflection_to_field, milliradians_per_unit
from emsparse_hs.stem4d.masks import annulus, disc

__all__ = [
    "FIELD_UNITS",
    "annulus",
    "centroid",
    "deflection_to_field",
    "disc",
    "milliradians_per_unit",
]

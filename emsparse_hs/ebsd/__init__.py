# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Kikuchi patterns as arrays: the detector's geometry, the Radon transform, bands, lattices."""

from .bands import Bands, detect_bands
from .bravais import BRAVAIS_LATTICES
from .clusters import cluster_patterns
from .geometry import pixel_directions
from .known_cells import compare_cells, relative_strain, rotation_between
from .lattice import LatticeSolution, solve_lattice
from .oriented_patterns import Patterns
from .radon import radon_angles, radon_transform

__all__ = [
    "BRAVAIS_LATTICES",
    "Bands",
    "LatticeSolution",
    "Patterns",
    "cluster_patterns",
    "compare_cells",
    "detect_bands",
    "pixel_directions",
    "radon_angles",
    "radon_transform",
    "relative_strain",
    "rotation_between",
    "solve_lattice",
]

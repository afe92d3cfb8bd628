# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Unit cells of atomic-resolution scans: lattice, domains, dictionary; arrays in and arrays out.

A scan is known by its principal scores (`Scaling` and the functions beside it). `find_lattices`
finds vectors and shifts of lines, `fit_domains` where which domain is, and `compress` makes a
`CellDictionary` of what a pass over the counts gives.
"""

from emsparse_hs.unit_cell.alignment import Alignment, align
from emsparse_hs.unit_cell.assignment import assign
from emsparse_hs.unit_cell.compression import CellDictionary, compress
from emsparse_hs.unit_cell.fitting import DomainFit, fit_domains
from emsparse_hs.unit_cell.held_out import ThinnedScores, advantage_of_two, noise_variance
from emsparse_hs.unit_cell.lattice import (
    LatticeFit,
    find_lattices,
    fitted_harmonics,
    significant_cutoff,
)
from emsparse_hs.unit_cell.scores import Scaling
from emsparse_hs.unit_cell.segmentation import Segmentation, Split, segment, slow_map
from emsparse_hs.unit_cell.selection import VariantTrial, choose_n_variants
from emsparse_hs.unit_cell.vector_errors import vector_covariance

__all__ = [
    "Alignment",
    "CellDictionary",
    "DomainFit",
    "LatticeFit",
    "Scaling",
    "Segmentation",
    "Split",
    "ThinnedScores",
    "VariantTrial",
    "advantage_of_two",
    "align",
    "assign",
    "choose_n_variants",
    "compress",
    "find_lattices",
    "fit_domains",
    "fitted_harmonics",
    "noise_variance",
    "segment",
    "significant_cutoff",
    "slow_map",
    "vector_covariance",
]

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tilt series as arrays: the projector, reconstruction with total variation, noise."""

from ._problem import typical_density, typical_norm
from ._solving import Reconstruction, residual_per_tilt
from .alignment import estimate_displacements
from .axis_angle import estimate_axis_angle
from .filtered import reconstruct_wbp
from .noise import counting_precision, default_weight, estimate_noise
from .projector import ParallelBeam
from .refinement import Imaging, refine
from .second_order import reconstruct_tgv
from .selection import select_weight
from .sirt import reconstruct_sirt
from .total_variation import reconstruct_tv
from .wavelets import reconstruct_wavelets

__all__ = [
    "Imaging",
    "ParallelBeam",
    "Reconstruction",
    "counting_precision",
    "default_weight",
    "estimate_axis_angle",
    "estimate_displacements",
    "estimate_noise",
    "reconstruct_sirt",
    "reconstruct_tgv",
    "reconstruct_tv",
    "reconstruct_wavelets",
    "reconstruct_wbp",
    "refine",
    "residual_per_tilt",
    "select_weight",
    "typical_density",
    "typical_norm",
]

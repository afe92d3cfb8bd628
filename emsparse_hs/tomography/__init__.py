# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tilt series as arrays: the projector, reconstruction with total variation, noise."""

from ._problem import typical_norm
from .noise import default_weight, estimate_noise
from .projector import ParallelBeam
from .total_variation import Reconstruction, reconstruct_tv, residual_per_tilt

__all__ = [
    "ParallelBeam",
    "Reconstruction",
    "default_weight",
    "estimate_noise",
    "reconstruct_tv",
    "residual_per_tilt",
    "typical_norm",
]

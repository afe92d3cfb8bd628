# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Kikuchi patterns as arrays: the detector's geometry, the Radon transform, bands."""

from .bands import Bands, detect_bands
from .geometry import pixel_directions
from .radon import radon_angles, radon_transform

__all__ = ["Bands", "detect_bands", "pixel_directions", "radon_angles", "radon_transform"]

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Frames, masks and doses as all ways of finding the beam take them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def as_frames(frames: ArrayLike) -> np.ndarray:
    """Frames in a dtype that compiled code knows, or an error that says what is wrong."""
    frames = np.asarray(frames)
    if frames.dtype.kind not in "biuf":
        raise TypeError(
            f"The frames are of dtype {frames.dtype}, and real numbers are needed. Take the "
            "squared modulus of complex waves."
        )
    if frames.ndim < 2:
        raise ValueError(f"Frames need two dimensions (y, x), these have {frames.ndim}.")
    if frames.dtype.kind == "f" and frames.dtype.itemsize not in (4, 8):
        return frames.astype(np.float64)
    dtype = np.dtype(np.uint8) if frames.dtype.kind == "b" else frames.dtype.newbyteorder("=")
    return np.ascontiguousarray(frames, dtype)


def as_keep(mask: ArrayLike | None, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels that count, or an error that says what is wrong with the mask."""
    if mask is None:
        return np.ones(shape, bool)
    mask = np.ascontiguousarray(mask, bool)
    if mask.shape != shape:
        raise ValueError(
            f"The mask has shape {mask.shape}, a frame {shape}. Pass one value a detector pixel."
        )
    return mask


def check_dose(dose_per_count: float) -> None:
    """Say what is wrong with the number of electrons a count."""
    if not (math.isfinite(dose_per_count) and dose_per_count > 0):
        raise ValueError(f"There are {dose_per_count!r} electrons a count. Pass a positive number.")

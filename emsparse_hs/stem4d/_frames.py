# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Frames, masks and doses as all ways of finding the beam take them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter, rank_filter


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


def fill_masked(stack: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Frames whose pixels that don't count are the mean of what is around them, near or far."""
    if not keep.any():
        raise ValueError("The mask leaves no pixel: it is False everywhere.")
    filled, smoothing, missing = stack, 1.0, ~keep
    while missing.any():
        weight = gaussian_filter(keep.astype(float), smoothing)
        found = missing & (weight > 0.05)
        if found.any():
            seen = gaussian_filter(np.where(keep, stack, 0.0), (0, smoothing, smoothing))
            filled = np.where(found, seen / np.maximum(weight, 1e-9), filled)
        missing, smoothing = missing & ~found, 1.5 * smoothing
    return filled


def check_dose(dose_per_count: float) -> None:
    """Say what is wrong with the number of electrons a count."""
    if not (math.isfinite(dose_per_count) and dose_per_count > 0):
        raise ValueError(f"There are {dose_per_count!r} electrons a count. Pass a positive number.")


def without_spikes(frame: np.ndarray) -> np.ndarray:
    """Frame without pixels that are brighter than all around them: hot ones, and cosmic rays."""
    return np.minimum(frame, rank_filter(frame, -2, size=3))

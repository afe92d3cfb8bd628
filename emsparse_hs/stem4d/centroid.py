# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where the centre of mass of a diffraction pattern lies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from emsparse_hs.stem4d._kernels import first_moments, first_moments_of_runs


def centroid(frames: ArrayLike, mask: ArrayLike | None = None) -> np.ndarray:
    r"""Centre of mass of each frame.

    .. math:: \bar{k} = \sum_k k\, I(k) \big/ \sum_k I(k)

    which, for a thin phase object, is the beam's mean momentum and so its deflection by the
    specimen's field (Müller et al., Nat. Commun. 5 (2014) 5653; Lazić et al., Ultramicroscopy 160
    (2016) 265).

    Parameters
    ----------
    frames : array of shape (..., y, x)
        Counts of any real dtype and byte order. Integers give exact sums as long as a frame's
        first moment, its sum of counts times px, is below 2**53: full 16-bit counts up to
        6000 x 6000 px, full 32-bit counts up to 160 x 160 px.
    mask : bool array of shape (y, x), optional
        True where a pixel counts. All by default.

    Returns
    -------
    float64 array of shape (..., 2)
        x and y of the centre of mass in px, the frame's first pixel at (0, 0). NaN where the sum of
        a frame is zero or it has no pixels, or a pixel that counts is NaN or infinite.

    Raises
    ------
    ValueError
        If frames have fewer than two dimensions, or the mask has another shape than a frame.
    TypeError
        If the frames are not real numbers.

    Notes
    -----
    Negative counts, as in dark-subtracted data, enter as they are. Where they outweigh the
    positive ones the formula loses its sense, and its result may lie outside the frame.
    """
    frames = _as_frames(frames)
    shape = frames.shape[-2:]
    # Not -1, which has no answer where a frame has no pixels.
    stack = frames.reshape(math.prod(frames.shape[:-2]), *shape)
    columns = np.zeros(shape[1], _dtype_of_sums(frames.dtype, shape))
    moments = np.empty((len(stack), 3))
    if mask is None:
        first_moments(stack, columns, moments)
    else:
        first_moments_of_runs(stack, _runs(mask, shape), columns, moments)
    return _ratio(moments).reshape(*frames.shape[:-2], 2)


def _ratio(moments: np.ndarray) -> np.ndarray:
    """Centre (x, y) from sum, sum * y and sum * x."""
    total = moments[:, :1]
    valid = np.isfinite(total) & (total != 0)
    return np.divide(moments[:, [2, 1]], total, out=np.full((len(total), 2), np.nan), where=valid)


def _as_frames(frames: ArrayLike) -> np.ndarray:
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


def _dtype_of_sums(dtype: np.dtype, shape: tuple[int, ...]) -> np.dtype:
    """Smallest fast dtype that can hold the sum of any row and any column of a frame.

    32-bit sums are twice as fast as 64-bit ones. Values of 64 bits are summed as float64, since
    no integer dtype is sure to hold their sums.
    """
    if dtype.kind == "f" or dtype.itemsize == 8:
        return np.dtype(np.float64)
    limits = np.iinfo(dtype)
    largest = max(limits.max, -limits.min) * max(shape)
    kind = "u" if dtype.kind == "u" else "i"
    return np.dtype(f"{kind}4" if largest <= np.iinfo(f"{kind}4").max else f"{kind}8")


def _runs(mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Row, start and stop of each unbroken run of pixels that count."""
    mask = np.asarray(mask, bool)
    if mask.shape != shape:
        raise ValueError(
            f"The mask has shape {mask.shape}, a frame {shape}. Pass one value a detector pixel."
        )
    steps = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    return np.stack([rows, starts, stops], axis=1)

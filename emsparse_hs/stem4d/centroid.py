# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where the centre of mass of a diffraction pattern lies."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from emsparse_hs.stem4d._frames import as_frames, as_keep, check_dose
from emsparse_hs.stem4d._kernels import (
    first_two_moments,
    first_two_moments_above,
    first_two_moments_of_runs,
    runs_of,
)


def centroid(
    frames: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    threshold: float | None = None,
    dose_per_count: float = 1.0,
    return_sigma: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    r"""Centre of mass of each frame, and how far counting statistics let it stray.

    .. math::

        \bar{k} = \frac{1}{N} \sum_k k\, I(k), \qquad N = \sum_k I(k), \qquad
        \sigma^2 = \frac{1}{g N^2} \sum_k (k - \bar{k})^2\, I(k)

    For a thin phase object the centre is the beam's mean momentum and so its deflection by the
    specimen's field (Müller et al., Nat. Commun. 5 (2014) 5653; Lazić et al., Ultramicroscopy 160
    (2016) 265). Its error is the propagated error of independent Poisson counts: of g I(k)
    electrons in a pixel, whose variance is their number, I(k) has the variance I(k) / g.

    Parameters
    ----------
    frames : array of shape (..., y, x)
        Counts of any real dtype and byte order. Integers give exact sums as long as a frame's
        first moment, its sum of counts times px, is below 2**53: full 16-bit counts up to
        6000 x 6000 px, full 32-bit counts up to 160 x 160 px.
    mask : bool array of shape (y, x), optional
        True where a pixel counts. All by default.
    threshold : float, optional
        Pixels below this many times the mean of the frame's pixels that count are ignored, as for
        weak scattering around a bright disc. Nothing is ignored by default.
    dose_per_count : float
        Electrons a count, g above. It only enters the error.
    return_sigma : bool
        Whether to return the error as well.

    Returns
    -------
    positions : float64 array of shape (..., 2)
        x and y of the centre of mass in px, the frame's first pixel at (0, 0). NaN where the sum of
        a frame is zero or it has no pixels, or a pixel that counts is NaN or infinite.
    sigma : float64 array of shape (..., 2)
        Only with `return_sigma`: standard deviation of x and y in px. NaN where the position is, or
        where the sum of the counts or their second moment is negative.

    Raises
    ------
    ValueError
        If frames have fewer than two dimensions, the mask has another shape than a frame, the
        threshold is negative, or the electrons a count are not positive.
    TypeError
        If the frames are not real numbers.

    Notes
    -----
    Negative counts, as in dark-subtracted data, enter as they are. Where they outweigh the
    positive ones the formula loses its sense, and its result may lie outside the frame. The noise
    of a dark image and of the read-out is not counting noise: sigma knows nothing of it and is too
    small there. Nor does it know that a threshold picks pixels by their noise, or that a uniform
    background draws the centre towards the middle of the frame, as if deflections were smaller by
    its share of the counts: subtract it, or take less of the detector with a mask.
    """
    check_dose(dose_per_count)
    _check_threshold(threshold)
    frames = as_frames(frames)
    shape = frames.shape[-2:]
    # Not -1, which has no answer where a frame has no pixels.
    stack = frames.reshape(math.prod(frames.shape[:-2]), *shape)
    moments = _moments(stack, mask, threshold).reshape(*frames.shape[:-2], 5)
    positions = moments[..., 1:3].copy()
    return (positions, _sigma(moments, dose_per_count)) if return_sigma else positions


def _check_threshold(threshold: float | None) -> None:
    if threshold is not None and not 0 <= threshold < np.inf:
        raise ValueError(
            f"The threshold is {threshold!r}. Pass a number of at least 0, in units of the mean of "
            "a frame, or None to ignore nothing."
        )


def _moments(stack: np.ndarray, mask: ArrayLike | None, threshold: float | None) -> np.ndarray:
    """Sum, centre (x, y) and second moments about it (x, y) of each frame."""
    shape = stack.shape[1:]
    dtype = _dtype_of_sums(stack.dtype, shape)
    rows, columns = (np.zeros(length, dtype) for length in shape)
    moments = np.empty((len(stack), 5))
    if mask is None and threshold is None:
        first_two_moments(stack, rows, columns, moments)
        return moments
    runs = runs_of(as_keep(mask, shape))
    if threshold is None:
        first_two_moments_of_runs(stack, runs, rows, columns, moments)
    else:
        first_two_moments_above(stack, float(threshold), runs, rows, columns, moments)
    return moments


def _sigma(moments: np.ndarray, dose_per_count: float) -> np.ndarray:
    """Standard deviation (x, y) of the centre from counting statistics."""
    total, seconds = moments[..., :1], moments[..., 3:]
    valid = (total > 0) & (seconds >= 0)
    deviation = np.sqrt(seconds, out=np.full(seconds.shape, np.nan), where=valid)
    return deviation / (np.sqrt(dose_per_count) * np.where(total > 0, total, np.nan))


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

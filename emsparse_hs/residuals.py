# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What a signal's decomposition leaves unexplained, over the scan and in the worst places."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hyperspy.signal import BaseSignal
from scipy.ndimage import binary_dilation

from emsparse_hs._warnings import warn
from emsparse_hs.decomposition import PoissonNMF, misfit
from emsparse_hs.decomposition._scale import are_counts, how_to_count
from emsparse_hs.decomposition.residuals import in_plane, worst_region
from emsparse_hs.fitting import held_rows
from emsparse_hs.learning_results import all_features, read_decomposition


class Residuals(NamedTuple):
    """Where a decomposition does not explain the counts, and what was counted there.

    Attributes
    ----------
    excess : float32 array of the scan's shape
        See `emsparse_hs.decomposition.misfit`; NaN where pixels were left out.
    regions : integer array of the scan's shape
        Number of the region from 1 on, the worst first; 0 elsewhere.
    counted, expected : float64 arrays of shape (n_regions, ...)
        Sums over each region, of the shape of a spectrum or pattern; NaN where channels were left
        out.
    of_counts : bool
        Whether data are counts, so that their noise is known.
    """

    excess: np.ndarray
    regions: np.ndarray
    counted: np.ndarray
    expected: np.ndarray
    of_counts: bool


def find_residuals(signal: BaseSignal, n_regions: int, width: float, **how) -> Residuals:
    """Compare a signal to its decomposition.

    Parameters
    ----------
    signal : BaseSignal
        Of counts, eager or lazy, with a decomposition.
    n_regions : int
        How many of the worst regions are looked at, if there are so many.
    width : float
        Standard deviation in px of the Gaussian over which residuals are added up.
    **how
        As for `Blocks.hold`: progress and workers.

    Returns
    -------
    Residuals
        Of the pixels and channels that were decomposed.

    Raises
    ------
    ValueError
        If there is no decomposition, it is one of centred data, or data are negative or NaN.

    Warns
    -----
    UserWarning
        If data are no counts.
    """
    loadings, factors, blocks = read_decomposition(signal)
    counts = held_rows(PoissonNMF(), blocks, **how)
    of_counts = are_counts(counts)
    if not of_counts:
        warn(
            "Residuals are compared to the noise of counts, and the data are none, so theirs is "
            f"another one. {how_to_count(counts)}"
        )
    keep = blocks.navigation_keep
    excess = misfit(counts, factors.T, loadings, scan=keep, width=width)
    regions = blocks.place(_worst_regions(excess, keep, n_regions, width), fill=0)
    labels = regions[keep]
    counted, expected = [], []
    for number in range(1, labels.max(initial=0) + 1):
        rows = np.flatnonzero(labels == number)
        counted.append(counts[rows].sum(0, dtype=np.float64))
        expected.append(loadings[rows].sum(0, dtype=np.float64) @ factors.T)
    sums = np.reshape(counted + expected, (2 * len(counted), counts.shape[1]))
    sums = all_features(sums, blocks).reshape(2, len(counted), *blocks.signal_shape)
    return Residuals(blocks.place(excess), regions, sums[0], sums[1], of_counts)


def _worst_regions(excess: np.ndarray, keep: np.ndarray, most: int, width: float) -> np.ndarray:
    """Number of the region of each pixel, from 1 on, and 0 outside."""
    numbers = np.zeros(len(excess), np.int32)
    left = excess.copy()
    for number in range(1, most + 1):
        region = worst_region(left, keep)
        if region is None:
            break
        numbers[region] = number
        # What is near a region has part of its residuals.
        near = np.zeros(keep.shape, bool)
        near[keep] = numbers == number
        square = in_plane(keep.ndim, diagonal=True)
        left[binary_dilation(near, square, int(np.ceil(3 * width)))[keep]] = 0
    return numbers

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Whether two components are one pattern."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from ._judge import SEEN, Judge, is_better
from ._kernels import TINY
from ._likeness import most_nearly_one
from ._neighbours import as_scan
from ._scale import are_counts, how_to_count
from .counts import as_counts
from .residuals import check_model
from .start import feature_sums

#: Nats of the counts set aside that a spectrum of its own must be worth for each channel, since it
#: has noise in each, and for each pixel of the two, since the prior likes several components of one
#: kind a little better.
WORTH, SLIGHT = (1 - SEEN) / 2, 0.01


class Merged(NamedTuple):
    """Components of which no two are one pattern.

    Attributes
    ----------
    components : float64 array of shape (n_components, n_features)
        Each sums to 1, or is zero.
    loadings : float64 array of shape (n_pixels, n_components)
        In counts.
    groups : list of tuple of int
        Which of the components before each is made of.
    """

    components: np.ndarray
    loadings: np.ndarray
    groups: list[tuple[int, ...]]


def merge_components(counts, components, loadings, *, scan=None, random_state=None) -> Merged:
    """Merge components that are one pattern, as at another intensity.

    The two that are most nearly one get their common spectrum. If with that counts that were set
    aside are predicted as well as at the beginning, the two are one, and the next two are looked
    at. For that, spectra are learned anew from the other counts, in one step from the given ones.
    A phase whose counts would lose less than about half a nat a channel is not told apart.
    A component that no pixel has is taken as one with another.

    Parameters
    ----------
    counts : array or CSR of shape (n_pixels, n_features)
        Whole numbers.
    components : array of shape (n_components, n_features)
        Spectra of any sums, not negative.
    loadings : array of shape (n_pixels, n_components)
        Their loadings, not negative.
    scan : tuple of int or bool array, optional
        Where the pixels are, as for `PoissonNMF.fit`.
    random_state : int, RandomState instance or None
        Of the choice of counts.

    Returns
    -------
    Merged
        With spectra and loadings of those that are one added up.

    Raises
    ------
    ValueError
        If shapes do not belong together, components or loadings are negative, NaN or infinite, or
        data are no counts or all 0.
    """
    counts = as_counts(counts)
    if not are_counts(counts):
        raise ValueError(
            "Data must be counts to judge components by some that are set aside. "
            + how_to_count(counts)
        )
    components, loadings = np.array(components, np.float64), np.array(loadings, np.float64)
    check_model(counts, components, loadings)
    if (components < 0).any() or (loadings < 0).any():
        raise ValueError(
            "Spectra or maps are negative, and such components can't be merged. Take a "
            "factorisation that keeps them positive, such as PoissonNMF or SparseNMF."
        )
    if not counts.nnz:
        raise ValueError("There are no counts to judge components by.")
    sums = components.sum(1)
    merged = Merged(
        components / np.maximum(sums, TINY)[:, None],
        loadings * sums,
        [(k,) for k in range(len(sums))],
    )
    keep = None if scan is None else as_scan(scan, counts.shape[0])
    judge = Judge(counts, keep, check_random_state(random_state))
    first = judge.score(merged.components)
    n_channels = np.count_nonzero(feature_sums(counts))
    while len(merged.groups) > 1:
        candidate, n_pixels = _with_nearest_merged(merged)
        worth = WORTH * n_channels + SLIGHT * n_pixels
        if is_better(first, judge.score(candidate.components), worth):
            break
        merged = candidate
    return merged


def _with_nearest_merged(merged: Merged) -> tuple[Merged, float]:
    """One component less: two are one. How many pixels are of these."""
    made = merged.loadings.sum(0)[:, None] * merged.components
    one, other = most_nearly_one(made)
    together = made[one] + made[other]
    components, loadings = merged.components.copy(), merged.loadings.copy()
    components[one] = together / max(together.sum(), TINY)
    loadings[:, one] += loadings[:, other]
    groups = list(merged.groups)
    groups[one] = tuple(sorted(groups[one] + groups.pop(other)))
    fractions = loadings[:, one] / np.maximum(merged.loadings.sum(1), TINY)
    merged = Merged(np.delete(components, other, 0), np.delete(loadings, other, 1), groups)
    return merged, float(fractions.sum())

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Whether two components are one pattern."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils import check_random_state

from ._kernels import TINY
from ._likeness import most_nearly_one
from ._neighbours import as_scan
from ._solver import Prior
from ._variational import settled
from .counts import as_counts, thin_counts
from .residuals import check_model
from .selection import SIGNIFICANT, scores
from .start import feature_sums

#: Share of the counts from which abundances are inferred, to be judged by the others.
SHARE = 0.8

#: Prior of the abundances: few components a pixel, and neighbours that weigh as much as so many
#: counts.
PRIOR = Prior(0.02, 5.0)


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
    r"""Merge components that are one pattern, as at another intensity.

    The two that are most nearly one get their common spectrum. If that predicts counts that were
    set aside as well as the two do, they are one, and the next two are looked at. The two were
    learned from those counts as well, by which spectra of m channels gain :math:`m / 2` nats of
    all counts even if they are one (Wilks, Ann. Math. Stat. 9 (1938) 60): so much of it as the
    counts set aside have part in is taken off.

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
        If shapes do not belong together, components or loadings are negative, or counts are no
        whole numbers.
    """
    counts = as_counts(counts)
    components, loadings = np.array(components, np.float64), np.array(loadings, np.float64)
    check_model(counts, components, loadings)
    if counts.dtype.kind != "u" or (components < 0).any() or (loadings < 0).any():
        raise ValueError(
            "Only components of counts can be merged: the data must be whole numbers, and neither "
            "spectra nor maps negative, as PoissonNMF and SparseNMF make them."
        )
    sums = components.sum(1)
    merged = Merged(
        components / np.maximum(sums, TINY)[:, None],
        loadings * sums,
        [(k,) for k in range(len(sums))],
    )
    judge = _Judge(counts, scan, check_random_state(random_state))
    score = judge.score(merged.components)
    while len(merged.groups) > 1:
        candidate = _with_nearest_merged(merged)
        candidate_score = judge.score(candidate.components)
        if judge.is_better(score, candidate_score):
            break
        merged, score = candidate, candidate_score
    return merged


def _with_nearest_merged(merged: Merged) -> Merged:
    """One component less: the two whose counts lose least likelihood are one."""
    made = merged.loadings.sum(0)[:, None] * merged.components
    one, other = most_nearly_one(made)
    together = made[one] + made[other]
    components, loadings = merged.components.copy(), merged.loadings.copy()
    components[one] = together / max(together.sum(), TINY)
    loadings[:, one] += loadings[:, other]
    groups = list(merged.groups)
    groups[one] = tuple(sorted(groups[one] + groups.pop(other)))
    return Merged(np.delete(components, other, 0), np.delete(loadings, other, 1), groups)


class _Judge:
    """Scores spectra by counts that were set aside, abundances being inferred from the others."""

    def __init__(self, counts: sparse.csr_array, scan, random) -> None:
        self.seen, self.unseen = thin_counts(counts, SHARE, random)
        self.keep = None if scan is None else as_scan(scan, counts.shape[0])
        # What two spectra gain by chance over their common one, in the counts set aside.
        self.by_chance = (1 - SHARE) * np.count_nonzero(feature_sums(counts)) / 2

    def score(self, components: np.ndarray) -> np.ndarray:
        """Log-likelihood of each pixel's unseen counts."""
        model = settled(self.seen, components, PRIOR, self.keep)
        return scores(self.seen, self.unseen, model.abundances(), components)

    def is_better(self, score: np.ndarray, other: np.ndarray) -> bool:
        """Whether the first one is, significantly."""
        gains = score - other
        error = gains.std() * np.sqrt(len(gains))
        return bool(gains.sum() - self.by_chance > SIGNIFICANT * error)

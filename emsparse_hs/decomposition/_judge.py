# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How well spectra predict counts that were set aside."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ._dirichlet import DirichletModel
from ._kernels import TINY
from ._neighbours import Neighbours
from .counts import thin_counts
from .start import feature_sums

#: Share of the mean spectrum in what is predicted: what was not seen before is not impossible.
SHARE_OF_MEAN = 0.01

#: Another model must be better by so many standard errors.
SIGNIFICANT = 2.0

#: Share of the counts from which abundances are inferred, to be judged by the others.
SEEN = 0.8

#: Prior of the abundances: few components a pixel, and neighbours that weigh as much as so many
#: counts.
ALPHA, SPATIAL = 0.02, 5.0

#: Rounds in which abundances come to rest, and their mean change at the end.
ROUNDS, AT_REST = 20, 5e-3

#: Pixels that are looked at at once.
_AT_ONCE = 2**15


class Judge:
    """Compares spectra of the same counts, however they were found.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        Whole numbers, as `as_counts` makes them.
    keep : bool array, optional
        The scan, True for pixels that are there.
    random : RandomState
        Of the choice of counts.
    """

    def __init__(self, counts: sparse.csr_array, keep: np.ndarray | None, random) -> None:
        self._seen, self._unseen = thin_counts(counts, SEEN, random)
        self._neighbours = None if keep is None else Neighbours(keep)

    def score(self, components: np.ndarray) -> np.ndarray:
        """Log-likelihood of each pixel's unseen counts, as from `scores`.

        Spectra are learned anew from the seen counts, in one step from the given ones, which may
        have been learned from all.

        Parameters
        ----------
        components : array of shape (n_components, n_features)
            Of sum 1.

        Returns
        -------
        float64 array of shape (n_pixels,)
            In nats.
        """
        fractions = np.full((self._seen.shape[0], len(components)), 1 / len(components))
        model = DirichletModel(self._seen, components, fractions, ALPHA, SPATIAL, self._neighbours)
        model.settle(ROUNDS, AT_REST)
        model.update()
        return scores(self._seen, self._unseen, model.abundances(), model.components())


def scores(known, unseen, loadings: np.ndarray, components: np.ndarray) -> np.ndarray:
    """Log-likelihood of each pixel's unseen counts above that of the mean spectrum.

    What is predicted has 1 % of the mean spectrum mixed in. Unseen counts in channels without a
    known one don't count.

    Parameters
    ----------
    known, unseen : csr_array of shape (n_pixels, n_features)
        Two parts of the counts, the first of which was used for the model.
    loadings : array of shape (n_pixels, n_components)
        Abundances.
    components : array of shape (n_components, n_features)
        Spectra of sum 1.

    Returns
    -------
    float64 array of shape (n_pixels,)
        In nats.
    """
    mean = feature_sums(known)
    mean /= mean.sum()
    fractions = loadings / np.maximum(loadings.sum(1, keepdims=True), TINY)
    # In pieces, since each unseen count takes many bytes on the way.
    pieces = (slice(n, n + _AT_ONCE) for n in range(0, len(loadings), _AT_ONCE))
    parts = [_scores(unseen[rows], fractions[rows], components, mean) for rows in pieces]
    return np.concatenate(parts)


def _scores(unseen, fractions: np.ndarray, components: np.ndarray, mean: np.ndarray) -> np.ndarray:
    pixels = np.repeat(np.arange(unseen.shape[0]), np.diff(unseen.indptr))
    expected = np.zeros(unseen.nnz)
    for fraction, spectrum in zip(fractions.T, components, strict=True):
        expected += fraction[pixels] * spectrum[unseen.indices]
    always = mean[unseen.indices]
    # A pixel without counts in the known part has no abundances, and gets the mean spectrum.
    unknown = fractions.sum(1)[pixels] == 0
    expected[unknown] = always[unknown]
    # A channel that was empty before says nothing about how many spectra there are.
    ratio = (1 - SHARE_OF_MEAN) * expected / np.where(always > 0, always, np.inf) + SHARE_OF_MEAN
    logs = np.where(always > 0, np.log(ratio), 0)
    return np.bincount(pixels, unseen.data * logs, minlength=unseen.shape[0])


def is_better(one: np.ndarray, other: np.ndarray, least: float = 0.0) -> bool:
    """Whether a model predicts significantly better than another one.

    Parameters
    ----------
    one, other : array of shape (n_pixels,)
        Their `scores`.
    least : float
        Nats by which it has to be better at least.

    Returns
    -------
    bool
        By more than that and two standard errors of the sum of differences.
    """
    gains = one - other
    return bool(gains.sum() > least + SIGNIFICANT * gains.std() * np.sqrt(len(gains)))

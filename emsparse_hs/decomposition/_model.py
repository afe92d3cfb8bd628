# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Counts with the spectra and abundances that are fitted to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from joblib import cpu_count
from scipy import sparse

from . import _kernels
from ._momentum import Momentum, column_sums
from .counts import pixel_sums

#: Stored counts that a thread takes at once. Not a matter of the number of threads, so that sums
#: come out the same with any.
RANGE = 2**16

#: Iterations of a pixel's abundances, and the change (in the pixel's counts) at which they end.
MOST_CLIMBS, CLIMB_TOL = 500, 1e-5


def abundances(counts: sparse.csr_array, components: np.ndarray) -> np.ndarray:
    """Poisson maximum likelihood abundances for given spectra, from a flat start.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    components : array of shape (n_components, n_features)
        Each sums to 1, or is zero.

    Returns
    -------
    float32 array of shape (n_pixels, n_components)
        In counts.
    """
    model = CountModel(counts, components, flat_loadings(counts, len(components)))
    model.climb()
    return model.loadings


def flat_loadings(counts: sparse.csr_array, n_components: int) -> np.ndarray:
    """Each pixel's counts, shared equally."""
    totals = pixel_sums(counts) / n_components
    return np.repeat(totals[:, None], n_components, axis=1)


class CountModel:
    r"""Expected counts :math:`y_{ij} = \sum_k w_{ik} s_k h_{kj}`, in the form the kernels take.

    The spectra h sum to 1. The factors s are what their normalisation leaves over: the next pass
    multiplies the loadings w by them, so that no pass is needed for that alone.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    components : array of shape (n_components, n_features)
        Spectra of any sums.
    loadings : array of shape (n_pixels, n_components)
        Loadings of those spectra.
    n_known : int
        So many spectra, the first ones, stay as they are.
    """

    def __init__(self, counts: sparse.csr_array, components, loadings, n_known: int = 0) -> None:
        self.counts = counts
        self.n_known = n_known
        self.loadings = np.array(loadings, np.float32)
        self.scale = self._take(np.asarray(components, np.float64).T).astype(np.float32)
        self.ranges = ranges(counts, self.spectra.size)
        self._momentum = Momentum()

    @property
    def _arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.counts.indptr, self.counts.indices, self.counts.data

    def components(self) -> np.ndarray:
        """Spectra of shape (n_components, n_features), of sum 1 in float64."""
        spectra = self.spectra.T.astype(np.float64)
        return spectra / np.maximum(spectra.sum(1, keepdims=True), _kernels.TINY)

    def update(self) -> None:
        """Update the loadings, then the spectra (Lee and Seung)."""
        _, new = self._updated(0.0)
        self._take(new)

    def update_further(self) -> None:
        """Update loadings and spectra, and go further along steps that repeat.

        The objective may rise in such a step, until `update` or `go_back` ends it.
        """
        old, new = self._updated(self._momentum.factor)
        self._take(self._momentum.prolonged(old, new))

    def pass_over(self, n_passes: int, further: bool) -> None:
        """Make some updates, the last one of which does not go further."""
        for _ in range(n_passes - 1):
            if further:
                self.update_further()
            else:
                self.update()
        self.update()

    def _updated(self, beyond: float) -> tuple[np.ndarray, np.ndarray]:
        """Old spectra and new ones, each of sum 1; loadings are replaced."""
        numerator, totals = np.zeros(self._fours.shape), np.zeros(len(self.scale))
        for part, part_totals in in_threads(partial(self._update, beyond), self.ranges):
            numerator += part
            totals += part_totals
        old = self.spectra.astype(np.float64)
        new = old * _kernels.from_fours(numerator, len(totals))
        sums = column_sums(new)
        # What is known stays of sum 1.
        scale = sums / np.where(totals > 0, totals, 1)
        new *= 1 / np.where(sums > 0, sums, 1)
        scale[: self.n_known] = 1
        new[:, : self.n_known] = old[:, : self.n_known]
        self.scale = scale.astype(np.float32)
        return old, new

    def _update(self, beyond: float, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        numerator, totals = np.zeros_like(self._fours), np.zeros(len(self.scale))
        of_pixels = self.scale, beyond, self.loadings
        _kernels.multiplicative_update(
            *self._arrays, first, last, self._fours, *of_pixels, numerator, totals
        )
        return numerator, totals

    def _take(self, spectra: np.ndarray) -> np.ndarray:
        """Normalise the spectra and keep them; their sums."""
        self.spectra, sums = normalised(spectra)
        self._fours = _kernels.in_fours(self.spectra)
        return sums

    def state(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `go_back` needs."""
        return self.spectra, self.scale, self.loadings.copy()

    def go_back(self, state: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
        """To an earlier state, from where steps are not prolonged at first."""
        spectra, self.scale, self.loadings = state
        self._take(spectra.astype(np.float64))
        self._momentum = Momentum()

    def climb(self) -> None:
        """Bring the loadings to their maximum likelihood."""
        for _ in in_threads(self._climb, self.ranges):
            pass

    def _climb(self, first: int, last: int) -> None:
        _kernels.maximise_likelihood(
            *self._arrays, first, last, self._fours, MOST_CLIMBS, CLIMB_TOL, self.loadings
        )

    def log_likelihood(self) -> float:
        """Sum of x log y."""
        return sum(in_threads(self._log_likelihood, self.ranges))

    def _log_likelihood(self, first: int, last: int) -> float:
        return _kernels.log_likelihood(
            *self._arrays, first, last, self._fours, self.scale, self.loadings
        )

    def totals(self) -> np.ndarray:
        """Sums of y of each spectrum, over all pixels and channels, stored or not."""
        return self.loadings.sum(0, dtype=np.float64) * self.scale

    def total(self) -> float:
        """Sum of y over all channels, stored or not."""
        return float(self.totals().sum())


def normalised(spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Spectra of sum 1, in float32 without denormal numbers, and their sums before."""
    sums = column_sums(spectra)
    spectra = spectra * (1 / np.where(sums > 0, sums, 1))
    np.maximum(spectra, _kernels.SMALLEST, out=spectra, where=spectra > 0)
    return np.ascontiguousarray(spectra, np.float32), sums


def ranges(counts: sparse.csr_array, size: int) -> list[tuple[int, int]]:
    """Ranges of pixels with about as many stored counts, and not fewer than sums to be merged."""
    n_ranges = max(1, counts.nnz // max(RANGE, 4 * size))
    targets = np.arange(1, n_ranges) * (counts.nnz // n_ranges)
    cuts = [0, *np.searchsorted(counts.indptr, targets).tolist(), counts.shape[0]]
    return list(zip(cuts[:-1], cuts[1:], strict=True))


def in_threads(function: Callable, ranges: Sequence[tuple]) -> Iterator:
    """Results for all ranges, or other arguments, in their order."""
    n_threads = min(len(ranges), cpu_count())
    if n_threads == 1:
        yield from (function(*part) for part in ranges)
        return
    with ThreadPoolExecutor(n_threads) as pool:
        yield from pool.map(lambda part: function(*part), ranges)

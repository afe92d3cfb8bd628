# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Counts with spectra and the posterior of each pixel's fractions of them."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from . import _dirichlet_kernels
from ._kernels import TINY, from_fours, in_fours
from ._model import in_threads, normalised, ranges
from ._momentum import Momentum, of_sum_one
from ._neighbours import Neighbours
from .counts import pixel_sums
from .start import feature_sums

#: Iterations of a pixel's posterior in each pass over the counts, and the relative change at which
#: they end before.
CLIMBS, CLIMB_TOL = 3, 1e-3

#: The same while neighbours come to rest, by what part a round goes beyond its own result, and how
#: strong neighbours are in the first rounds.
SETTLING_CLIMBS, BEYOND, WEAK, FIRST_ROUNDS = 2, 0.5, 5.0, 3

#: Counts with the mean spectrum that each spectrum gets in each pass: no channel with counts is
#: ever impossible.
COUNTS_OF_MEAN = 1e-3


class DirichletModel:
    r"""Fractions :math:`f_{ik}` with a Dirichlet prior, integrated out by variational Bayes.

    Counts of pixel i are drawn from :math:`\sum_k f_{ik} h_{kj}`. The prior's shapes are
    :math:`\alpha + \beta m_{ik}`, where m are the mean fractions of the pixel's neighbours, and
    the posterior's are those plus the counts that each component is expected to have made
    (latent Dirichlet allocation: Blei, Ng and Jordan, J. Mach. Learn. Res. 3 (2003) 993).

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    components : array of shape (n_components, n_features)
        Spectra to start from, of any sums.
    fractions : array of shape (n_pixels, n_components)
        Fractions to start from.
    alpha : float
        Shape of the prior that all pixels and components have.
    spatial : float
        Counts beta that the neighbours weigh as much as.
    neighbours : Neighbours, optional
        Without, the prior is the same everywhere.
    n_known : int
        So many spectra, the first ones, stay as they are.
    """

    def __init__(
        self,
        counts: sparse.csr_array,
        components: np.ndarray,
        fractions: np.ndarray,
        alpha: float,
        spatial: float = 0.0,
        neighbours: Neighbours | None = None,
        n_known: int = 0,
    ) -> None:
        self.counts = counts
        self.take(np.asarray(components, np.float64).T)
        self.alpha = np.full(len(components), alpha, np.float32)
        self.spatial = spatial if neighbours is not None else 0.0
        self.neighbours = neighbours
        self.n_known = n_known
        self.ranges = ranges(counts, self.spectra.size)
        means = feature_sums(counts)
        self.of_mean = COUNTS_OF_MEAN * means / max(means.sum(), 1)
        self.totals = pixel_sums(counts).astype(np.float32)[:, None]
        self.prior = np.tile(self.alpha, (counts.shape[0], 1))
        self.start_from(fractions)
        self._momentum = Momentum()

    def start_from(self, fractions: np.ndarray) -> None:
        """Start the posterior from fractions, of shape (n_pixels, n_components)."""
        self.shapes = self.prior + self.totals * np.asarray(fractions, np.float32)

    def components(self) -> np.ndarray:
        """Spectra of shape (n_components, n_features), of sum 1 in float64."""
        spectra = self.spectra.T.astype(np.float64)
        return spectra / np.maximum(spectra.sum(1, keepdims=True), TINY)

    def abundances(self) -> np.ndarray:
        """Mean of the posterior in counts, float32 of shape (n_pixels, n_components)."""
        return self.fractions() * self.totals

    def fractions(self) -> np.ndarray:
        """Mean of the posterior, float32 of shape (n_pixels, n_components)."""
        return self.shapes / self.shapes.sum(1, keepdims=True)

    def update(self) -> float:
        """Update the prior from the neighbours, the posterior, then the spectra.

        Returns
        -------
        float
            Largest change of a spectrum, as a part of its noise: the sum of absolute changes over
            that of standard deviations of Poisson distributed counts.
        """
        self._renew_prior()
        sums = sum(in_threads(self._update, self.ranges), np.zeros(self._fours.shape))
        numerator = from_fours(sums, len(self.alpha))
        old = self.spectra.astype(np.float64)
        made = old * numerator + self.of_mean[:, None]
        new = of_sum_one(made)
        new[:, : self.n_known] = old[:, : self.n_known]
        noise = np.sqrt(new).sum(0) / np.sqrt(np.maximum(made.sum(0), TINY))
        changes = np.abs(new - old).sum(0) / np.maximum(noise, TINY)
        change = float(changes[self.n_known :].max(initial=0))
        self.take(self._momentum.prolonged(old, new))
        return change

    def take(self, spectra: np.ndarray) -> None:
        """Take other spectra, of shape (n_features, n_components); the posterior stays."""
        self.spectra, _ = normalised(spectra)
        self._fours = in_fours(self.spectra)

    def _update(self, first: int, last: int) -> np.ndarray:
        numerator = np.zeros_like(self._fours)
        _dirichlet_kernels.variational_update(
            *self._arrays(first, last), self.prior, CLIMBS, CLIMB_TOL, self.shapes, numerator
        )
        return numerator

    def settle(self, most: int, tol: float, *, weak_first: bool = True) -> None:
        """Bring the posterior to rest, the spectra being fixed.

        Parameters
        ----------
        most : int
            Most rounds, in each of which pixels look at their neighbours once.
        tol : float
            Mean change of the fractions at which they end before.
        weak_first : bool
            Whether neighbours are weak in the first rounds, which is not needed where it comes from
            rest with others.
        """
        if self.neighbours is None or not self.spatial:
            self._renew_prior()
            self.infer(200, 1e-5)
            return
        strength = self.spatial
        for n in range(most):
            # Weak neighbours at first: pixels come to an agreement faster.
            weak = weak_first and n < FIRST_ROUNDS
            self.spatial = min(strength, WEAK) if weak else strength
            self._renew_prior()
            change = self.infer(SETTLING_CLIMBS, CLIMB_TOL, BEYOND)
            if change < tol and self.spatial == strength:
                break
        self.spatial = strength

    def infer(self, most: int, tol: float, beyond: float = 0.0) -> float:
        """Bring the posterior to its best for the present prior and spectra.

        Parameters
        ----------
        most : int
            Most iterations of a pixel.
        tol : float
            A pixel is done when no shape changes by more than this fraction of their sum.
        beyond : float
            By what part of the whole change shapes go further than to their best.

        Returns
        -------
        float
            Mean change of a pixel's fractions: the sum of their absolute changes.
        """

        def infer(first: int, last: int) -> float:
            arrays = self._arrays(first, last)
            return _dirichlet_kernels.infer_shapes(
                *arrays, self.prior, most, tol, beyond, self.shapes
            )

        return sum(in_threads(infer, self.ranges)) / len(self.shapes)

    def bound(self) -> float:
        """Lower bound of the log evidence, in nats, without the term of the counts alone."""

        def bound(first: int, last: int) -> float:
            arrays = self._arrays(first, last)
            return _dirichlet_kernels.evidence_bound(*arrays, self.prior, self.shapes)

        return sum(in_threads(bound, self.ranges))

    def widths(self) -> np.ndarray:
        """Standard deviations of the abundances in counts, float32 (n_pixels, n_components)."""
        parts = in_threads(self.relative_widths, self.ranges)
        return self.abundances() * np.concatenate(list(parts))

    def relative_widths(self, first: int, last: int) -> np.ndarray:
        """Standard deviations over abundances of a range of pixels."""
        n_components = self.spectra.shape[1]
        information = np.empty((last - first, n_components, n_components), np.float32)
        arrays = self._arrays(first, last)
        _dirichlet_kernels.log_information(*arrays, self.prior, self.shapes, information)
        # The prior's shapes may be 0 to rounding. In float64, where so little is not lost.
        known = information + 1e-6 * np.eye(n_components)
        variances = np.diagonal(np.linalg.inv(known), axis1=1, axis2=2)
        return np.sqrt(np.maximum(variances, 0)).astype(np.float32)

    def _renew_prior(self) -> None:
        if self.neighbours is None or not self.spatial:
            self.prior[:] = self.alpha
            return
        around = self.neighbours.means(self.fractions())
        np.multiply(around, np.float32(self.spatial), out=self.prior)
        self.prior += self.alpha

    def _arrays(self, first: int, last: int) -> tuple:
        counts = self.counts
        return counts.indptr, counts.indices, counts.data, first, last, self._fours

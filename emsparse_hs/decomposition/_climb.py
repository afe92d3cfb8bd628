# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From spectra and fractions to start with, up to where the evidence is highest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from emsparse_hs._warnings import warn

from ._dirichlet import DirichletModel
from ._kernels import TINY
from ._solver import CHECK_EVERY
from .start import feature_sums

if TYPE_CHECKING:
    from .poisson_nmf import PoissonNMF

#: Counts that the neighbours weigh as much as while spectra are learned. With more, the spectra of
#: layers of a few pixels take on those of their surroundings.
SPATIAL_OF_SPECTRA = 5.0

#: Change of a spectrum in a pass at which the fit ends, as a part of its noise, in a map of so many
#: pixels with so many counts each, and that at which fits are compared.
TOL, MAP, DOSE, ROUGH = 0.005, 2**15, 50, 0.02

#: Pixels of which products are made at once.
_AT_ONCE = 2**15

#: Share of a pixel's counts that the start gives to the spectrum that suits it best.
SHARE_OF_BEST = 0.7


class Climb:
    """Passes over the counts from one start, and bounds of the evidence on the way."""

    def __init__(self, model: DirichletModel, estimator: PoissonNMF, n_iter: int = 0) -> None:
        self.model = model
        # Passes that were made before count, as there is a most.
        self.n_iter, self.change = n_iter, np.inf
        self._first, self._bounds = n_iter, [model.bound()]
        self._most = estimator.max_iter
        self._tol, self._rough = _tolerances(model.counts)
        if estimator.tol is not None:
            self._tol = estimator.tol

    def go_on(self, *, roughly: bool = False) -> None:
        """Until spectra hardly change any more."""
        tol = max(self._rough, self._tol) if roughly else self._tol
        while self.change >= tol and self.n_iter < self._most:
            self.change = self.model.update()
            self.n_iter += 1
            if (self.n_iter - self._first) % CHECK_EVERY == 0:
                self._bounds.append(self.model.bound())

    def bounds(self) -> np.ndarray:
        """At the start, after every `CHECK_EVERY` passes from there, and now."""
        if (self.n_iter - self._first) % CHECK_EVERY == 0:
            return np.array(self._bounds)
        return np.array([*self._bounds, self.model.bound()])

    def warn_if_moving(self) -> None:
        """Say that there were too few passes, if a tolerance was asked for."""
        if 0 < self._tol <= self.change:
            warn(
                f"PoissonNMF was still changing its spectra after {self.n_iter} iterations. "
                "Increase max_iter, or tol where that is good enough.",
                ConvergenceWarning,
            )


def _tolerances(counts: sparse.csr_array) -> tuple[float, float]:
    """Of a fit, and of one that is to be compared."""
    n_pixels = counts.shape[0]
    # Larger maps have less noise, and their pixels do not. Those of many counts tell more phases
    # apart, and need them more exactly.
    size = max(1, n_pixels / MAP) ** 0.5
    dose = counts.sum(dtype=np.float64) / max(n_pixels, 1)
    return TOL * size / max(1, dose / DOSE) ** 0.5, ROUGH * size


def rough_climb(estimator, counts, neighbours, spectra: np.ndarray, n_iter: int = 0) -> Climb:
    """From spectra alone, roughly to its end."""
    fractions = sharp_fractions(counts, spectra, by_size=True)
    climb = Climb(start_model(estimator, counts, neighbours, spectra, fractions), estimator, n_iter)
    climb.go_on(roughly=True)
    return climb


def start_model(estimator, counts, neighbours, spectra, fractions) -> DirichletModel:
    """The model to start from."""
    known = estimator.known_components
    n_known = 0 if known is None else len(known)
    spatial = SPATIAL_OF_SPECTRA if estimator.spatial == "auto" else estimator.spatial
    spatial = min(spatial, SPATIAL_OF_SPECTRA)
    alpha = estimator.alpha
    return DirichletModel(counts, spectra, fractions, alpha, spatial, neighbours, n_known)


def sharp_fractions(
    counts: sparse.csr_array, spectra: np.ndarray, *, by_size: bool = False
) -> np.ndarray:
    """Most of each pixel to the spectrum under which its counts are likeliest.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    spectra : array of shape (n_components, n_features)
        Of any sums.
    by_size : bool
        Whether the others share the rest by how many pixels each has, more or less. Where spectra
        are still to be learned, that of a rare phase drowns in a like share of every pixel.

    Returns
    -------
    float32 array of shape (n_pixels, n_components)
        They sum to 1.
    """
    k = len(spectra)
    mean = feature_sums(counts)
    sums = spectra.sum(1, keepdims=True)
    likely = spectra / np.where(sums > 0, sums, 1) + 1e-3 * mean / max(mean.sum(), TINY)
    logs = np.log(np.maximum(likely, TINY)).astype(np.float32)
    logs = np.ascontiguousarray(logs.T)
    best = np.empty(counts.shape[0], np.intp)
    # In pieces, since a product takes a copy of the counts in float32.
    for first in range(0, len(best), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        best[some] = (counts[some] @ logs).argmax(1)
    # Not in proportion: what is the most of no pixel, as a thin shell, would get nothing.
    shares = np.sqrt(np.bincount(best, minlength=k) + 1.0) if by_size else np.ones(k)
    rest = (1 - SHARE_OF_BEST) * shares / shares.sum()
    fractions = np.tile(rest.astype(np.float32), (len(best), 1))
    fractions[np.arange(len(best)), best] += SHARE_OF_BEST
    return fractions

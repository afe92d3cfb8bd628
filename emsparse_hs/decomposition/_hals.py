# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Least squares of scaled data by non-negative loadings and spectra."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._gram import product
from ._hals_kernels import descend
from ._model import in_threads

#: Sweeps over the loadings, and over the spectra, for each product with the data: those cost more
#: (Gillis and Glineur, Neural Comput. 24 (2012) 1085).
SWEEPS, SWEEP_TOL = 4, 1e-4

#: Sweeps of loadings for spectra that are given, and their accuracy.
MOST_SWEEPS, ACCURATE = 500, 1e-6

#: Steps without a component, before what they leave is compared to what is left with it.
TRIAL = 10

#: Rows that one thread works on at once.
_ROWS = 8192


class Penalties(NamedTuple):
    """What loadings cost beside the misfit, in standard deviations of the noise.

    Attributes
    ----------
    sparsity : float
        Of a loading.
    orthogonality : float
        Of the product of two loadings of a pixel. It has no unit.
    ard : bool
        Whether components cost the more, the weaker they are.
    """

    sparsity: float
    orthogonality: float
    ard: bool


class ScaledData:
    """Data whose rows and columns have factors, without a scaled copy of them.

    Parameters
    ----------
    rows : array, CSR or LinearOperator of shape (n_pixels, n_features)
        Data.
    row_weights, column_weights : float32 arrays
        Factors.
    square : float
        Sum of the squares of the scaled data.
    """

    def __init__(self, rows, row_weights, column_weights, square: float) -> None:
        self._rows = rows
        self.row_weights = np.asarray(row_weights, np.float32)
        self.column_weights = np.asarray(column_weights, np.float32)
        self.square = square

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._rows.shape

    def times(self, spectra: np.ndarray) -> np.ndarray:
        """Product with spectra of shape (n_features, n_components)."""
        products = product(self._rows, self.column_weights[:, None] * spectra)
        return (self.row_weights[:, None] * products).astype(np.float32, copy=False)

    def transposed_times(self, loadings: np.ndarray) -> np.ndarray:
        """Product of the transpose with loadings of shape (n_pixels, n_components)."""
        products = self._rows.T @ (self.row_weights[:, None] * loadings)
        return (self.column_weights[:, None] * products).astype(np.float32, copy=False)


class LeastSquares:
    r"""Loadings W and spectra H of unit norm that fit data X.

    Each step lowers

    .. math:: \tfrac12 \lVert X - W H^T \rVert^2 + \sum_{ik} p_k w_{ik}
              + o \sum_i \sum_{j < k} w_{ij} w_{ik}

    by hierarchical alternating least squares (Cichocki and Phan, IEICE Trans. Fundam. E92-A (2009)
    708).

    Parameters
    ----------
    data : ScaledData
        X.
    spectra : array of shape (n_features, n_components)
        To start from.
    penalties : Penalties
        p and o.
    """

    def __init__(self, data: ScaledData, spectra: np.ndarray, penalties: Penalties) -> None:
        self.data = data
        self.spectra, _ = _of_unit_norm(spectra.astype(np.float32))
        self.penalties = penalties
        self.prices = np.zeros(spectra.shape[1])
        self.loadings = np.zeros((data.shape[0], spectra.shape[1]), np.float32)
        self.noise, self.residual = 0.0, data.square

    def fit_loadings(self, most: int = MOST_SWEEPS, tol: float = ACCURATE) -> None:
        """Loadings for the present spectra and prices, and what they leave."""
        products, gram = self.data.times(self.spectra), self.spectra.T @ self.spectra
        other = self.penalties.orthogonality * (1 - np.eye(len(gram)))
        _descend(products, gram + other, self.prices, most, tol, self.loadings)
        self._look_at_residual(products)

    def update(self) -> float:
        """Make one step.

        Returns
        -------
        float
            Largest change of a spectrum, as the norm of the difference.
        """
        old = self.spectra.copy()
        products, gram = self.data.transposed_times(self.loadings), self.loadings.T @ self.loadings
        _descend(products, gram, np.zeros(len(gram)), SWEEPS, SWEEP_TOL, self.spectra)
        self.spectra, norms = _of_unit_norm(self.spectra)
        self.loadings *= norms
        self._set_prices()
        self.fit_loadings(SWEEPS, SWEEP_TOL)
        return float(np.linalg.norm(self.spectra - old, axis=0).max())

    def sparer(self) -> LeastSquares | None:
        """Model without a component that explains no more than one would of noise alone.

        That is the square of the largest singular value of noise (Geman, Ann. Probab. 8 (1980)
        252). A spectrum that was split in two would not be whole again for thousands of steps,
        where the noise is weak.

        Returns
        -------
        LeastSquares or None
            After a few steps; None if all components are needed, as the last one is.
        """
        of_noise = self.noise**2 * np.sqrt(self.data.shape).sum() ** 2
        w = self.loadings.astype(np.float64)
        there = np.flatnonzero(w.any(0))
        if len(there) < 2:
            return None
        spectra = self.spectra[:, there].astype(np.float64)
        inverse = np.linalg.inv(spectra.T @ spectra + 1e-12 * np.eye(len(there)))
        # What is left grows by so much at least: others could take over with either sign.
        growths = np.square(w[:, there]).sum(0) / np.diag(inverse)
        for least in np.argsort(growths)[: np.count_nonzero(growths <= of_noise)]:
            others = np.delete(there, least)
            model = LeastSquares(self.data, self.spectra[:, others], self.penalties)
            model.prices[:], model.loadings[:] = self.prices[others], self.loadings[:, others]
            model.fit_loadings()
            for _ in range(TRIAL):
                model.update()
            if model.residual - self.residual <= of_noise:
                return model
        return None

    def _look_at_residual(self, products: np.ndarray) -> None:
        # A small difference of large sums, of which nothing may be left in float32.
        w, spectra = self.loadings.astype(np.float64), self.spectra.astype(np.float64)
        explained = 2 * np.vdot(products, w) - np.vdot(w.T @ w, spectra.T @ spectra)
        self.residual = max(self.data.square - float(explained), 0.0)
        n_rows, n_columns = self.data.shape
        free = max((n_rows - w.shape[1]) * (n_columns - w.shape[1]), 1)
        self.noise = np.sqrt(self.residual / free)

    def _set_prices(self) -> None:
        """What a loading of each component costs.

        With automatic relevance determination loadings have an exponential distribution about a
        mean of their own for each component (Tan and Fevotte, IEEE Trans. Pattern Anal. Mach.
        Intell. 35 (2013) 1592): what is weak on average costs more, until it is gone.
        """
        self.prices[:] = self.penalties.sparsity * self.noise
        if self.penalties.ard and self.noise:
            means = self.loadings.mean(0, dtype=np.float64)
            self.prices += self.noise**2 / np.maximum(means, 1e-9 * self.noise)


def _descend(products, gram, prices, most: int, tol: float, rows: np.ndarray) -> None:
    gram, prices = gram.astype(np.float32), prices.astype(np.float32)
    firsts = range(0, len(rows), _ROWS)
    spans = [(first, min(first + _ROWS, len(rows))) for first in firsts]

    def part(first: int, last: int) -> None:
        descend(products, gram, prices, first, last, most, tol, rows)

    for _ in in_threads(part, spans):
        pass


def _of_unit_norm(spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    norms = np.linalg.norm(spectra, axis=0)
    return spectra / np.where(norms > 0, norms, 1), norms

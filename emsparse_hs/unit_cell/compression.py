# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The dictionary of a scan: atoms of all domains, compressed to what stands out of the noise.

Atoms are fitted to counts by one reduction over the blocks. Of their coefficients the noise is
known, so that singular values which noise alone gives are left out and the others shrunk as is
best (Gavish and Donoho, IEEE Trans. Inf. Theory 63 (2017) 2137).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular

from emsparse_hs.unit_cell.alignment import distance_to_walls
from emsparse_hs.unit_cell.dictionary import design, fourier_basis, parts, ridged
from emsparse_hs.unit_cell.fitting import DomainFit
from emsparse_hs.unit_cell.lock_in import cell_length
from emsparse_hs.unit_cell.scores import Scaling, row_parts

#: Cells from a wall to where the atom of the wall ends.
_WALL_REACH = 1.0


@dataclass(frozen=True)
class CellDictionary:
    """Atoms of the domains: patterns for any position in the cell.

    Attributes
    ----------
    coefficients : float32 array of shape (terms, rank)
        Of all terms of all atoms of all domains, domain by domain, atom by atom.
    patterns : float32 array of shape (rank, pixels)
        What they are coefficients of, in counts.
    mean : float32 array of shape (pixels,)
        Mean pattern, to which the rest is added.
    indices : list of int arrays of shape (m, 2)
        Harmonics of each lattice.
    lattice_of : int array of shape (domains,)
        Lattice of each domain.
    n_atoms : int
        Of a domain.
    singular_values : float64 array
        Before compression, in units of the largest that noise alone gives.
    """

    coefficients: np.ndarray
    patterns: np.ndarray
    mean: np.ndarray
    indices: list[np.ndarray]
    lattice_of: np.ndarray
    n_atoms: int
    singular_values: np.ndarray

    def _places(self) -> list[slice]:
        """Where the terms of each domain are."""
        lengths = [self.n_atoms * (2 * len(self.indices[k]) + 1) for k in self.lattice_of]
        ends = np.cumsum(lengths)
        return [slice(end - length, end) for length, end in zip(lengths, ends, strict=True)]

    def mixture(
        self, labels: np.ndarray, amounts: np.ndarray, fractional: np.ndarray
    ) -> np.ndarray:
        """Coefficients of the patterns at some positions.

        Parameters
        ----------
        labels : int array of shape (n,)
            Domain of each position.
        amounts : array of shape (n, atoms)
            Abundances of the domain's atoms.
        fractional : array of shape (n, 2)
            Position in the cell, in cells.

        Returns
        -------
        float32 array of shape (n, rank)
        """
        mixed = np.zeros((len(labels), self.coefficients.shape[1]), np.float32)
        for label, place in enumerate(self._places()):
            own = np.flatnonzero(labels == label)
            indices = self.indices[self.lattice_of[label]]
            for part in parts(len(own)):
                here = own[part]
                terms = design(fourier_basis(fractional[here], indices), amounts[here])
                mixed[here] = terms @ self.coefficients[place]
        return mixed

    def predict(
        self, labels: np.ndarray, amounts: np.ndarray, fractional: np.ndarray
    ) -> np.ndarray:
        """Expected counts at some positions.

        Parameters
        ----------
        labels, amounts, fractional
            As for `mixture`.

        Returns
        -------
        float32 array of shape (n, pixels)
            Not negative.
        """
        counts = self.mixture(labels, amounts, fractional) @ self.patterns
        counts += self.mean
        return np.maximum(counts, 0, out=counts)

    def truncated(self, rank: int) -> CellDictionary:
        """The same with fewer patterns, the least important left out.

        Parameters
        ----------
        rank : int
            How many are kept.

        Returns
        -------
        CellDictionary
        """
        return replace(
            self, coefficients=self.coefficients[:, :rank], patterns=self.patterns[:rank]
        )


def all_abundances(fit: DomainFit) -> np.ndarray:
    """Abundances of the variants, and where there are walls that of the atom of the wall.

    Next to a wall atoms are displaced, and the probe sees both sides. What patterns look like
    there is an atom of its own, whose abundance falls off to zero within a cell.

    Parameters
    ----------
    fit : DomainFit
        Of the scan.

    Returns
    -------
    float32 array of shape (y, x, atoms)
    """
    n = len(fit.lattice_of)
    if n < 2:
        return fit.abundances
    cells = np.array([cell_length(fit.alignment.reciprocal[k]) for k in fit.lattice_of])
    distance = distance_to_walls(fit.labels, cells)
    wall = np.clip(1 - distance / _WALL_REACH, 0, None).astype(np.float32)
    return np.concatenate([fit.abundances, wall[..., np.newaxis]], axis=-1)


def domain_products(
    rows: np.ndarray,
    labels: np.ndarray,
    amounts: np.ndarray,
    fractional: np.ndarray,
    scaling: Scaling,
    indices: list[np.ndarray],
) -> tuple[list[np.ndarray], float]:
    """What a block contributes to the products of terms and scaled counts.

    Parameters
    ----------
    rows : array of shape (n, pixels)
        Counts.
    labels : int array of shape (n,)
        Domain of each row.
    amounts : array of shape (n, atoms)
        Abundances of its atoms.
    fractional : array of shape (n, 2)
        Position in its cell.
    scaling : Scaling
        Of the scan.
    indices : list of int arrays of shape (m, 2)
        Harmonics of each domain.

    Returns
    -------
    list of float32 arrays of shape (terms, pixels)
        One a domain.
    float
        Sum of the squares of the scaled counts.
    """
    n_atoms, squares = amounts.shape[1], 0.0
    products = [
        np.zeros((n_atoms * (2 * len(own) + 1), rows.shape[1]), np.float32) for own in indices
    ]
    for part in row_parts(rows):
        scaled = scaling.apply(rows[part])
        squares += float(np.vdot(scaled, scaled))
        for label, own in enumerate(indices):
            here = labels[part] == label
            if here.any():
                basis = fourier_basis(fractional[part][here], own)
                products[label] += design(basis, amounts[part][here]).T @ scaled[here]
    return products, squares


def merged(one: tuple, other: tuple) -> tuple:
    """Join what two blocks contributed by `domain_products`.

    Parameters
    ----------
    one, other : tuple
        From `domain_products`.

    Returns
    -------
    tuple
    """
    return [a + b for a, b in zip(one[0], other[0], strict=True)], one[1] + other[1]


def domain_grams(
    labels: np.ndarray, amounts: np.ndarray, fractional: np.ndarray, indices: list[np.ndarray]
) -> list[np.ndarray]:
    """Products of the terms with each other.

    Parameters
    ----------
    labels, amounts, fractional, indices
        As for `domain_products`, of all positions.

    Returns
    -------
    list of float64 arrays of shape (terms, terms)
        One a domain.
    """
    grams = []
    for label, own in enumerate(indices):
        here = np.flatnonzero(labels == label)
        gram = np.zeros((amounts.shape[1] * (2 * len(own) + 1),) * 2)
        for part in parts(len(here)):
            some = here[part]
            terms = design(fourier_basis(fractional[some], own), amounts[some])
            gram += terms.T @ terms
        grams.append(gram)
    return grams


def compress(
    grams: list[np.ndarray],
    products: list[np.ndarray],
    squares: float,
    n_rows: int,
    scaling: Scaling,
    rank: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coefficients and patterns of the lowest rank that explains what is not noise.

    Parameters
    ----------
    grams, products : list of arrays
        From `domain_grams` and `domain_products`.
    squares : float
        Sum of the squares of the scaled counts.
    n_rows : int
        How many patterns there are.
    scaling : Scaling
        Of the scan.
    rank : int, optional
        At most so many patterns, if more stand out of the noise.

    Returns
    -------
    float32 array of shape (terms, rank)
        Coefficients.
    float32 array of shape (rank, pixels)
        Patterns in counts.
    float64 array
        All singular values in units of the largest that noise alone gives.
    """
    roots = [np.linalg.cholesky(ridged(gram)) for gram in grams]
    # Of these coefficients the noise is the same in all and independent.
    white = np.concatenate(
        [solve_triangular(r, p, lower=True) for r, p in zip(roots, products, strict=True)]
    )
    # Where nothing is ever counted there is no noise either.
    counted = scaling.mean != 0
    n_terms, n_pixels = len(white), int(counted.sum())
    left, values, right = _singular(white[:, counted])
    free = max((n_rows - n_terms) * n_pixels, 1)
    noise = np.sqrt(max(squares - (values**2).sum(), 0) / free)
    edge = noise * (np.sqrt(n_terms) + np.sqrt(n_pixels))
    significant = int((values > edge).sum())
    chosen = significant if rank is None else min(rank, significant)
    shrunk = _shrunk(values[:chosen], noise, n_terms, n_pixels)
    scaled, start = left[:, :chosen] * shrunk, 0
    coefficients = []
    for root in roots:
        own = scaled[start : start + len(root)]
        coefficients.append(solve_triangular(root.T, own, lower=False))
        start += len(root)
    patterns = np.zeros((chosen, len(counted)))
    patterns[:, counted] = right[:chosen] * scaling.scale[counted]
    return (
        np.concatenate(coefficients).astype(np.float32),
        patterns.astype(np.float32),
        values / max(edge, 1e-300),
    )


def _singular(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular value decomposition, by the eigenvectors of the smaller Gram matrix.

    It takes less time than the direct one, and LAPACK's fast one (gesdd) may fail to converge. What
    is far below the largest value is not exact, and is noise here.
    """
    if matrix.shape[0] > matrix.shape[1]:
        right, values, left = _singular(matrix.T)
        return left.T, values, right.T
    squares, left = np.linalg.eigh(matrix @ matrix.T)
    left, values = left[:, ::-1], np.sqrt(np.maximum(squares[::-1], 0))
    small = values <= 1e-6 * values.max(initial=0)
    right = left.T @ matrix / np.where(small, 1, values)[:, np.newaxis]
    return left, values, np.where(small[:, np.newaxis], 0, right)


def _shrunk(values: np.ndarray, noise: float, n_terms: int, n_pixels: int) -> np.ndarray:
    """Singular values of least expected square error."""
    if noise == 0:
        return values
    y = (values / noise) ** 2
    inside = np.maximum((y - n_terms - n_pixels) ** 2 - 4.0 * n_terms * n_pixels, 0)
    return np.where(y > n_terms + n_pixels, noise * np.sqrt(inside / y), 0)

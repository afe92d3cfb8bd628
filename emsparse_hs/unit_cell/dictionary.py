# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
r"""Atoms that are Fourier series of the position in the unit cell, and how much of each is where.

Within a domain, intensity at a place of the detector has no spatial frequencies beyond the
diameter of the aperture, :math:`2 \alpha / \lambda`, as the probe moves. So a pattern is a short
series: an atom holds its coefficients, one set for each score (or each pixel of the detector).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter

#: Positions whose basis is in memory at once.
_AT_ONCE = 8192
#: Part of the mean diagonal that is added to normal equations, against series that a small domain
#: does not fix.
_RIDGE = 1e-4
#: Rounds of coordinate descent.
_SWEEPS = 40


def fourier_basis(fractional: np.ndarray, indices: np.ndarray) -> np.ndarray:
    r"""Real Fourier series at positions in the cell.

    Parameters
    ----------
    fractional : array of shape (n, 2)
        In cells.
    indices : int array of shape (m, 2)
        Harmonics, one of each pair of opposite ones.

    Returns
    -------
    float32 array of shape (n, 2 m + 1)
        1, then :math:`\sqrt 2 \cos`, then :math:`\sqrt 2 \sin` of each harmonic: columns of unit
        mean square.
    """
    phase = (2 * np.pi * (fractional % 1.0 @ indices.T)).astype(np.float32)
    basis = np.empty((len(phase), 2 * len(indices) + 1), np.float32)
    basis[:, 0] = 1
    np.cos(phase, out=basis[:, 1 : len(indices) + 1])
    np.sin(phase, out=basis[:, len(indices) + 1 :])
    basis[:, 1:] *= np.float32(math.sqrt(2))
    return basis


def series_gradient(atoms: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Coefficients of the derivatives of series along both axes of the cell.

    Parameters
    ----------
    atoms : array of shape (..., 2 m + 1, scores)
        Coefficients for `fourier_basis`.
    indices : int array of shape (m, 2)
        Harmonics.

    Returns
    -------
    array of shape (2, ..., 2 m + 1, scores)
        For the same basis, per cell.
    """
    m = len(indices)
    slopes = np.zeros((2, *atoms.shape), atoms.dtype)
    for axis in (0, 1):
        factor = (2 * np.pi * indices[:, axis]).astype(atoms.dtype)[:, np.newaxis]
        slopes[axis][..., 1 : m + 1, :] = factor * atoms[..., m + 1 :, :]
        slopes[axis][..., m + 1 :, :] = -factor * atoms[..., 1 : m + 1, :]
    return slopes


def parts(n: int) -> Iterator[slice]:
    """Some positions after the others, so that memory stays small.

    Parameters
    ----------
    n : int
        How many positions there are.

    Yields
    ------
    slice
    """
    for start in range(0, n, _AT_ONCE):
        yield slice(start, min(start + _AT_ONCE, n))


def design(basis: np.ndarray, abundances: np.ndarray) -> np.ndarray:
    """Each term of each atom at each position.

    Parameters
    ----------
    basis : array of shape (n, terms)
        From `fourier_basis`.
    abundances : array of shape (n, atoms)
        Of each atom at each position.

    Returns
    -------
    array of shape (n, atoms x terms)
    """
    return (abundances[:, :, np.newaxis] * basis[:, np.newaxis]).reshape(len(basis), -1)


def normal_equations(
    scores: np.ndarray, fractional: np.ndarray, indices: np.ndarray, abundances: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gram matrix of the terms of all atoms, and their products with the scores.

    Parameters
    ----------
    scores : array of shape (n, scores)
        At some positions.
    fractional : array of shape (n, 2)
        Of the positions in the cell.
    indices : int array of shape (m, 2)
        Harmonics.
    abundances : array of shape (n, atoms)
        Of each atom at each position.

    Returns
    -------
    float64 array of shape (atoms x terms, atoms x terms)
    float64 array of shape (atoms x terms, scores)
    """
    n_terms = abundances.shape[1] * (2 * len(indices) + 1)
    gram, products = np.zeros((n_terms, n_terms)), np.zeros((n_terms, scores.shape[1]))
    for part in parts(len(scores)):
        terms = design(fourier_basis(fractional[part], indices), abundances[part])
        gram += terms.T @ terms
        products += terms.T @ scores[part]
    return gram, products


def ridged(gram: np.ndarray) -> np.ndarray:
    """Gram matrix that can be inverted.

    Parameters
    ----------
    gram : array of shape (n, n)
        Of terms.

    Returns
    -------
    array of shape (n, n)
    """
    return gram + np.eye(len(gram)) * (_RIDGE * np.trace(gram) / len(gram) + 1e-12)


def fit_atoms(
    scores: np.ndarray, fractional: np.ndarray, indices: np.ndarray, abundances: np.ndarray
) -> np.ndarray:
    """Least-squares atoms for given abundances.

    Parameters
    ----------
    scores, fractional, indices, abundances
        As for `normal_equations`.

    Returns
    -------
    float32 array of shape (atoms, terms, scores)
    """
    gram, products = normal_equations(scores, fractional, indices, abundances)
    atoms = np.linalg.solve(ridged(gram), products).astype(np.float32)
    return atoms.reshape(abundances.shape[1], -1, scores.shape[1])


def evaluate(atoms: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Scores of each atom at positions in the cell.

    Parameters
    ----------
    atoms : array of shape (atoms, terms, scores)
        From `fit_atoms`.
    basis : array of shape (n, terms)
        From `fourier_basis`.

    Returns
    -------
    array of shape (n, atoms, scores)
    """
    return np.stack([basis @ atom for atom in atoms], axis=1)


def mixtures(atoms: np.ndarray, basis: np.ndarray, abundances: np.ndarray) -> np.ndarray:
    """Scores of mixtures of atoms at positions in the cell.

    Parameters
    ----------
    atoms, basis
        As for `evaluate`.
    abundances : array of shape (n, atoms)
        Of each atom at each position.

    Returns
    -------
    array of shape (n, scores)
    """
    return np.einsum("na,nar->nr", abundances, evaluate(atoms, basis))


def pooled(values: np.ndarray, width: float, inside: np.ndarray | None = None) -> np.ndarray:
    """Gaussian sums over neighbours.

    Parameters
    ----------
    values : array of shape (y, x, ...)
        Maps.
    width : float
        Standard deviation in pixels.
    inside : bool array of shape (y, x), optional
        Only these positions count as neighbours.

    Returns
    -------
    array of the shape of `values`
    """
    flat = values.reshape(*values.shape[:2], -1)
    if inside is not None:
        flat = flat * inside[..., np.newaxis]
    return gaussian_filter(flat, (width, width, 0), mode="constant").reshape(values.shape)


def non_negative(gram: np.ndarray, products: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Non-negative least squares at each of many positions, by coordinate descent.

    Parameters
    ----------
    gram : array of shape (n, atoms, atoms)
        Products of the atoms with each other.
    products : array of shape (n, atoms)
        Of the atoms with the data.
    start : array of shape (n, atoms)
        To begin with.

    Returns
    -------
    array of shape (n, atoms)
    """
    x = start.copy()
    diagonal = np.einsum("nii->ni", gram)
    diagonal = np.maximum(diagonal, 1e-6 * diagonal.max(1, keepdims=True) + 1e-30)
    for _ in range(_SWEEPS):
        for i in range(x.shape[1]):
            left = products[:, i] - np.einsum("nj,nj->n", gram[:, i], x)
            x[:, i] = np.maximum(x[:, i] + left / diagonal[:, i], 0)
    return x

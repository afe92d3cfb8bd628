# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How far the vectors of a lattice may be off, as its parts and its scores disagree.

The noise of counts is the least of it. Walls shift what is near them, and a change of thickness
moves the apparent origin of the cell, differently for each score. So errors are taken from what the
parts of a scan would have the vectors be, and what the scores would: residuals may depend on each
other as they like within a part, and within a score (Cameron, Gelbach and Miller, J. Bus. Econ.
Stat. 29 (2011) 238; what parts and scores have in common, the noise, is not taken off, so that it
counts twice and the matrix is never negative).

Shifts of lines are random, so that those of a part of the lines have a trend, which the lattice of
a grain that has only these lines takes up. What that makes is added.
"""

from __future__ import annotations

import numpy as np

from emsparse_hs.unit_cell.alignment import Alignment, off_walls, thinned, vector_slopes
from emsparse_hs.unit_cell.dictionary import (
    fourier_basis,
    normal_equations,
    parts,
    ridged,
    series_gradient,
)
from emsparse_hs.unit_cell.lock_in import cell_length, centred_positions

#: Parts of a scan along each of its axes.
_PARTS = 8


def vector_covariance(
    scores: np.ndarray,
    alignment: Alignment,
    labels: np.ndarray,
    lattice_of: np.ndarray,
    indices: list[np.ndarray],
) -> np.ndarray:
    """Covariance of the components of the vectors of each lattice.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    alignment : Alignment
        Fitted to the scores with one variant.
    labels : int array of shape (y, x)
        Domain of each position.
    lattice_of : int array of shape (domains,)
        Which lattice a domain has.
    indices : list of int arrays of shape (m, 2)
        Harmonics of each lattice.

    Returns
    -------
    float64 array of shape (lattices, 4, 4)
        In (cycles a pixel) squared. NaN for a lattice that is nowhere.
    """
    cells = np.array([cell_length(alignment.reciprocal[k]) for k in lattice_of])
    inside = thinned(off_walls(labels, cells))
    covariance = np.full((len(alignment.reciprocal), 4, 4), np.nan)
    for k in range(len(covariance)):
        domains = [inside & (labels == d) for d in np.flatnonzero(lattice_of == k)]
        found = [
            _pulls(scores, alignment, k, domain, indices[k]) for domain in domains if domain.any()
        ]
        if found:
            gram, pulls = (np.sum(values, axis=0) for values in zip(*found, strict=True))
            covariance[k] = _disagreement(gram, pulls) + _from_lines(alignment, k, domains)
    return covariance


def _disagreement(gram: np.ndarray, pulls: np.ndarray) -> np.ndarray:
    """Covariance from what parts and scores pull at the vectors: (parts, scores, 4)."""
    inverse = np.linalg.pinv(gram, rcond=1e-9, hermitian=True)
    squares = np.zeros((4, 4))
    for pull in (pulls.sum(1), pulls.sum(0)):
        there = pull[np.abs(pull).sum(1) > 0]
        # A single one does not pull at all, where the fit has ended.
        if len(there) > 1:
            squares += there.T @ there * len(there) / (len(there) - 1)
    return inverse @ squares @ inverse


def _from_lines(alignment: Alignment, lattice: int, domains: list[np.ndarray]) -> np.ndarray:
    """Covariance by the trend that shifts of lines have in the lines of a lattice.

    Less that of all lines of the scan, which is steady drift.
    """
    line = np.arange(alignment.shape[0]) - (alignment.shape[0] - 1) / 2
    slope, norm = np.zeros(len(line)), 0.0
    # Each domain has its own origin.
    for domain in domains:
        weight = domain.sum(1)
        off = weight * (line - (weight * line).sum() / max(weight.sum(), 1))
        slope += off
        norm += off @ line
    terms = np.stack([np.ones_like(line), line], axis=-1)
    slope /= max(norm, 1e-12)
    slope -= terms @ np.linalg.lstsq(terms, slope)[0]
    shift = alignment.row_shift
    reciprocal = alignment.reciprocal[lattice]
    # A shift by so many pixels a line changes the vectors' components along y.
    covariance = np.zeros((2, 2, 2, 2))
    change = reciprocal @ (shift.T @ shift / len(shift)) @ reciprocal.T
    covariance[:, 0, :, 0] = change * (slope @ slope)
    return covariance.reshape(4, 4)


def _pulls(
    scores: np.ndarray, alignment: Alignment, lattice: int, where: np.ndarray, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix of the vectors, and the right side of each part and score of a domain."""
    x, fractional = scores[where], alignment.fractional(lattice)[where]
    steps, part_of = centred_positions(where.shape)[where], _part_numbers(where.shape)[where]
    whole = np.ones((len(x), 1), np.float32)
    gram, products = normal_equations(x, fractional, indices, whole)
    inverse = np.linalg.inv(ridged(gram))
    series = (inverse @ products).astype(np.float32)
    slopes = series_gradient(series, indices)
    mixed = np.zeros((4, *series.shape))
    for some in parts(len(x)):
        basis = fourier_basis(fractional[some], indices)
        mixed += np.einsum("nt,knr->ktr", basis, vector_slopes(basis @ slopes, steps[some]))
    taken = np.einsum("st,ktr->ksr", inverse, mixed).astype(np.float32)
    normal, pulls = np.zeros((4, 4)), np.zeros((_PARTS**2, x.shape[1], 4))
    for some in parts(len(x)):
        basis = fourier_basis(fractional[some], indices)
        # What of a change of the vectors the series does not follow.
        own = vector_slopes(basis @ slopes, steps[some]) - basis @ taken
        flat = own.reshape(4, -1)
        normal += flat @ flat.T
        np.add.at(pulls, part_of[some], (own * (x[some] - basis @ series)).transpose(1, 2, 0))
    return normal, pulls


def _part_numbers(shape: tuple[int, ...]) -> np.ndarray:
    """Which of the equal parts of a scan each position is in."""
    y, x = (np.arange(n) * _PARTS // n for n in shape)
    return y[:, np.newaxis] * _PARTS + x

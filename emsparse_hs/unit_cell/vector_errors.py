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

#: Parts of a lattice's region along each axis, at least a cell wide; numbers that are fitted, of
#: which there have to be fewer than parts or scores.
_PARTS, _FREE = 8, 4
#: Part of the lines over which their shifts may depend on each other.
_MEMORY = 0.25


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
        In (cycles a pixel) squared. NaN for a lattice that is nowhere, or in too few parts to
        tell.
    """
    cells = np.array([cell_length(alignment.reciprocal[k]) for k in lattice_of])
    inside = thinned(off_walls(labels, cells))
    covariance = np.full((len(alignment.reciprocal), 4, 4), np.nan)
    for k in range(len(covariance)):
        domains = [inside & (labels == d) for d in np.flatnonzero(lattice_of == k)]
        domains = [domain for domain in domains if domain.any()]
        if not domains:
            continue
        part_of = _part_numbers(domains, cell_length(alignment.reciprocal[k]))
        found = [_pulls(scores, alignment, k, domain, part_of, indices[k]) for domain in domains]
        gram, pulls = (np.sum(values, axis=0) for values in zip(*found, strict=True))
        covariance[k] = _disagreement(gram, pulls) + _from_lines(alignment, k, domains)
    return covariance


def _disagreement(gram: np.ndarray, pulls: np.ndarray) -> np.ndarray:
    """Covariance from what parts and scores pull at the vectors: (parts, scores, 4)."""
    inverse = np.linalg.pinv(gram, rcond=1e-9, hermitian=True)
    squares, known = np.zeros((4, 4)), False
    for pull in (pulls.sum(1), pulls.sum(0)):
        there = pull[np.abs(pull).sum(1) > 0]
        if len(there) > _FREE:
            squares += there.T @ there * len(there) / (len(there) - _FREE)
            known = True
    return inverse @ squares @ inverse if known else np.full((4, 4), np.nan)


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
    reciprocal = alignment.reciprocal[lattice]
    # A shift by so many pixels a line changes the vectors' components along y.
    covariance = np.zeros((2, 2, 2, 2))
    covariance[:, 0, :, 0] = reciprocal @ _of_trend(alignment.row_shift, slope) @ reciprocal.T
    return covariance.reshape(4, 4)


def _of_trend(shift: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Covariance (2, 2) of the sum of slope times shift, lines being alike and near ones related.

    With weights that fall to zero at a part of the lines (Newey and West, Econometrica 55 (1987)
    703).
    """
    reach = max(int(_MEMORY * len(shift)), 1)
    total = np.zeros((2, 2))
    for lag in range(reach):
        later, before = shift[lag:], shift[: len(shift) - lag]
        related = (later.T @ before + before.T @ later) / 2 / len(shift)
        both = slope[lag:] @ slope[: len(slope) - lag]
        total += (1 if lag == 0 else 2) * (1 - lag / reach) * both * related
    return total


def _pulls(
    scores: np.ndarray,
    alignment: Alignment,
    lattice: int,
    where: np.ndarray,
    part_of: np.ndarray,
    indices: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Normal matrix of the vectors, and the right side of each part and score of a domain."""
    x, fractional = scores[where], alignment.fractional(lattice)[where]
    steps, part_of = centred_positions(where.shape)[where], part_of[where]
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


def _part_numbers(domains: list[np.ndarray], cell: float) -> np.ndarray:
    """Which of the equal parts of the domains' region each position is in."""
    own = np.any(domains, axis=0)
    along = []
    for axis in (0, 1):
        there = np.flatnonzero(own.any(1 - axis))
        first, length = there[0], there[-1] + 1 - there[0]
        n = int(np.clip(length / cell, 1, _PARTS))
        along.append(np.clip((np.arange(own.shape[axis]) - first) * n // length, 0, n - 1))
    return along[0][:, np.newaxis] * _PARTS + along[1]

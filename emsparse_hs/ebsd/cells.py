# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Cells of an unknown crystal from the bands of one pattern."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from . import _cell_kernels, _climb_kernels
from .superlattices import superlattices

#: Directions in which periods are looked for, and their lengths in angstrom.
N_DIRECTIONS = 1200
PERIODS = np.arange(1.8, 14.0, 0.1)
#: Least mean of cos(2 pi g.t) of a period t, and the distance in angstrom of two that are one.
THRESHOLD, APART = 0.45, 0.25
#: Periods collected, those made cells of, cells refined, and cells climbed from.
MOST_PERIODS, N_PERIODS, N_TRIPLES, N_CLIMBED = 600, 50, 100, 24
#: A period of a high mean may be longer, by so many angstrom for a mean of 1.
WORTH = 8.0
#: How far g.t may be from a whole number: for all bands, and more for the widest.
TOLERANCE = (0.06, 0.10)
#: Price of a volume e times as large, and cells kept of one volume, in the choice of triples.
VOLUME_PRICE, ALIKE = 0.06, 3
#: Volumes of cells in cubic angstrom.
VOLUMES = (6.0, 1500.0)
#: Evidence per band that a climb to a super- or sublattice must bring, and how often to climb.
LEAST_GAIN, N_CLIMBS = 0.03, 3
#: Two bases are of one lattice if the numbers that make one of the other are whole to within this.
SAME = 0.1
#: Contrasts to this power weigh the bands in the search.
WEIGHT_POWER = 0.25
#: Factors on the spreads while a first guess is refined.
_WIDENED = np.array([2.5, 1.6, 1.2, 1.0])


class Cell(NamedTuple):
    """A cell and how well it explains the bands of one pattern.

    Attributes
    ----------
    log_evidence : float
    basis : float64 array of shape (3, 3)
        Rows are the basis vectors in angstrom, in the detector's frame.
    """

    log_evidence: float
    basis: np.ndarray


def find_cells(g, contrasts, spread, stray: float, slack: float) -> list[Cell]:
    """Find cells whose reciprocal lattice holds the bands of a pattern.

    Vectors t of the direct lattice are those for which g.t is near a whole number for most bands.
    Sets of three are cells; the best are refined, and each then goes to the super- or sublattice
    of the highest evidence.

    Parameters
    ----------
    g : float64 array of shape (n, 3)
        Bands in 1/angstrom, in the detector's frame.
    contrasts : float64 array of shape (n,)
    spread : float64 array of shape (4,)
        See `emsparse_hs.ebsd._cell_kernels`.
    stray : float
        Share of bands with no place in the lattice.
    slack : float
        Standard deviation of the error of the pattern centre, over the distance.

    Returns
    -------
    list of Cell
        The highest evidence first, each as often as starts led to it; empty if there is none.
    """
    if np.linalg.matrix_rank(g, tol=1e-3 * np.linalg.norm(g, axis=1).max()) < 3:
        return []  # Bands of one zone say nothing of the third direction.
    weights = contrasts**WEIGHT_POWER
    weights = weights / weights.sum()
    periods = _find_periods(g, weights)
    guesses = _cells_of(periods, g, weights)
    cells = []
    for basis in guesses:
        evidence = _climb_kernels.settle_cell(basis, g, spread, stray, slack, _WIDENED)
        if VOLUMES[0] <= abs(np.linalg.det(basis)) <= VOLUMES[1]:
            cells.append(Cell(evidence, basis))
    cells.sort(key=lambda cell: -cell.log_evidence)
    starts: list[np.ndarray] = []
    reached: list[Cell] = []
    climbed: list[Cell] = []
    for cell in cells[:N_CLIMBED]:
        place = _place_among(cell.basis, starts)
        if place == len(starts):
            starts.append(cell.basis.copy())
            reached.append(_climbed(cell.basis, g, spread, stray, slack))
        climbed.append(reached[place])
    return sorted(climbed, key=lambda cell: -cell.log_evidence)


def _climbed(basis, g, spread, stray: float, slack: float) -> Cell:
    """The super- or sublattice of the highest evidence, again and again."""
    volumes = np.array(VOLUMES)
    evidence = _climb_kernels.climb(
        basis, g, spread, stray, slack, _relatives(), volumes, N_CLIMBS, LEAST_GAIN
    )
    return Cell(evidence, basis)


def _place_among(basis, others: list[np.ndarray]) -> int:
    """Where the first basis of the same lattice is, but for errors; their number if none is."""
    if not others:
        return 0
    relations = basis @ np.linalg.inv(np.array(others))
    whole = np.rint(relations)
    near = np.abs(relations - whole).max(axis=(1, 2)) < SAME
    same = [k for k in np.flatnonzero(near) if round(abs(np.linalg.det(whole[k]))) == 1]
    return int(same[0]) if same else len(others)


@lru_cache(maxsize=1)
def _half_sphere() -> np.ndarray:
    """Directions spread evenly over a half sphere, by a spiral of the golden angle."""
    i = np.arange(N_DIRECTIONS) + 0.5
    polar, azimuth = np.arccos(1 - i / N_DIRECTIONS), np.pi * (1 + 5**0.5) * i
    return np.column_stack(
        [np.cos(azimuth) * np.sin(polar), np.sin(azimuth) * np.sin(polar), np.cos(polar)]
    )


@lru_cache(maxsize=1)
def _relatives() -> np.ndarray:
    """Matrices of a cell's superlattices, and of its sublattices of index 2 and 3."""
    larger = [superlattices(index) for index in (2, 3, 4)]
    smaller = [np.linalg.inv(superlattices(index)) for index in (2, 3)]
    return np.ascontiguousarray(np.concatenate(larger + smaller))


def _find_periods(g, weights) -> np.ndarray:
    """Vectors of the direct lattice, the short and certain first."""
    periods, scores = np.empty((MOST_PERIODS, 3)), np.empty(MOST_PERIODS)
    n = _cell_kernels.find_periods(_half_sphere(), g, weights, PERIODS, THRESHOLD, periods, scores)
    limits = np.array([0.8 * PERIODS[0], PERIODS[-1] + 1])
    n = _cell_kernels.settle_periods(g, weights, limits, THRESHOLD, APART, periods[:n], scores[:n])
    order = np.argsort(np.linalg.norm(periods[:n], axis=1) - WORTH * scores[:n], kind="stable")
    return np.ascontiguousarray(periods[order[:N_PERIODS]])


def _cells_of(periods, g, weights) -> list[np.ndarray]:
    """The best sets of three periods."""
    lengths = np.linalg.norm(g, axis=1)
    tolerances = TOLERANCE[0] + TOLERANCE[1] * lengths / lengths.max()
    triples, scores = np.empty((N_TRIPLES, 3), np.int64), np.empty(N_TRIPLES)
    _cell_kernels.choose_triples(
        periods, g, weights, tolerances, VOLUMES[0], VOLUME_PRICE, ALIKE, triples, scores
    )
    return [np.ascontiguousarray(periods[t]) for t in triples[np.isfinite(scores)]]

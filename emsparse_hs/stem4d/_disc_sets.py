# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Sets of Bragg discs: where they are, and whether two sets can be of one phase.

Two patterns of one phase need not share many discs, since bend makes some of them vanish. But
their discs lie on one lattice: a disc of one either coincides with one of the other, or is as far
from all of them as the lattice is wide. Discs of two phases fall anywhere relative to each other,
also so near that no lattice has room for both.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter

from emsparse_hs.stem4d.bragg_presence import PresenceGrid

#: Two discs coincide up to this distance, and are in conflict from there up to the other one, in
#: radii of a disc. No lattice of discs that don't overlap has two of them nearer than 2 radii.
_SAME, _CONFLICT = 0.6, 2.2
#: Probability that a disc of one pattern is where another pattern of its phase says it can't be,
#: by strain, noise, or since patterns at a boundary show two phases.
_ERROR = 0.05
#: Log-odds that coincidences reach at most: one pair of phases in a thousand has lattices that are
#: alike, or a row of discs in common, by more than chance.
MOST_ODDS = float(np.log(1000))
#: Mean presence from which on there is a disc, and at which it counts in full.
_LEAST, _FULL = 0.12, 0.5

_CHANCE = (_SAME / _CONFLICT) ** 2
#: Log-odds of one phase against two for one disc that coincides, and for one in conflict.
COINCIDES = float(np.log((1 - _ERROR) / _CHANCE))
CONFLICTS = float(np.log(_ERROR / (1 - _CHANCE)))


def find_discs(presence: np.ndarray, grid: PresenceGrid) -> np.ndarray:
    """Discs in a mean of presence.

    Parameters
    ----------
    presence : array of shape grid.shape
        From 0 to 1.
    grid : PresenceGrid
        Of the cells.

    Returns
    -------
    float64 array of shape (n, 3)
        x and y in px and weight, 1 for a disc that is there in half of the patterns or more; the
        strongest first.
    """
    # A blob is wider than a cell, but how much of it one cell has depends on where it lies.
    padded = np.pad(presence.astype(float), 1)
    y, x = np.nonzero((padded == maximum_filter(padded, 3)) & (padded >= _LEAST))
    if not len(y):
        return np.empty((0, 3))
    steps = np.arange(-1, 2)
    near = padded[y[:, None, None] + steps[:, None], x[:, None, None] + steps]
    total = near.sum((1, 2))
    places = np.stack(
        [x - 1 + near.sum(1) @ steps / total, y - 1 + near.sum(2) @ steps / total], axis=1
    )
    weight = np.minimum(padded[y, x] / _FULL, 1)
    return _apart(np.column_stack([grid.to_pixels(places), weight]), grid.beam_radius)


def union(one: np.ndarray, other: np.ndarray, beam_radius: float) -> np.ndarray:
    """Discs that are in either of two sets, as `find_discs` gives them."""
    return _apart(np.concatenate([one, other]), beam_radius)


def compare(one: np.ndarray, other: np.ndarray, beam_radius: float) -> tuple[float, float]:
    """How many discs of two sets coincide, and how many are in conflict.

    Parameters
    ----------
    one, other : array of shape (n, 3)
        As from `find_discs`.
    beam_radius : float
        In px.

    Returns
    -------
    float, float
        Sums of weights, each pair with the smaller of its two.
    """
    if not len(one) or not len(other):
        return 0.0, 0.0
    distance = np.linalg.norm(one[:, None, :2] - other[None, :, :2], axis=-1) / beam_radius
    weight = np.minimum(one[:, None, 2], other[None, :, 2])
    same = np.where(distance <= _SAME, weight, 0)
    conflict = np.where((distance > _SAME) & (distance < _CONFLICT), weight, 0)
    shared = conflicts = 0.0
    for axis in (0, 1):
        best = same.max(axis)
        shared += best.sum() / 2
        conflicts += np.maximum(conflict.max(axis) - best, 0).sum() / 2
    return float(shared), float(conflicts)


def part_in(discs: np.ndarray, others: list[np.ndarray], beam_radius: float) -> float:
    """Part of the weight of some discs that coincide with one of any of the other sets."""
    every = np.concatenate(others)
    if not len(every) or not len(discs):
        return 0.0
    distance = np.linalg.norm(discs[:, None, :2] - every[None, :, :2], axis=-1)
    inside = distance.min(1) <= _SAME * beam_radius
    return float(discs[inside, 2].sum() / discs[:, 2].sum())


def log_odds(shared: float, conflicts: float, most: float = MOST_ODDS) -> float:
    """Logarithm of how much more probable one phase is than two.

    Of the discs whose surroundings the other pattern shows, all but an error coincide if the phase
    is the same. By chance as many do as the area for that is part of the whole. Coincidences add
    up to no more than `most`.
    """
    return float(min(shared * COINCIDES, most) + conflicts * CONFLICTS)


def cells_of(discs: np.ndarray, grid: PresenceGrid) -> np.ndarray:
    """Which cells the blobs of discs cover, as a flat bool array."""
    y, x = (grid.to_pixels(np.arange(n)) for n in grid.shape)
    reach = grid.beam_radius + 0.3 * grid.binning * grid.cell
    covered = np.zeros(grid.shape, bool)
    for place in discs:
        covered |= np.hypot(y[:, None] - place[1], x - place[0]) <= reach
    return covered.ravel()


def _apart(discs: np.ndarray, beam_radius: float) -> np.ndarray:
    """The strongest first, without those that are too near to a stronger one."""
    kept: list[np.ndarray] = []
    for place in discs[np.argsort(-discs[:, 2], kind="stable")]:
        if all(np.hypot(*(place[:2] - other[:2])) > _CONFLICT * beam_radius for other in kept):
            kept.append(place)
    return np.array(kept).reshape(-1, 3)

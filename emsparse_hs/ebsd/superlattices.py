# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Superlattices: few and weak bands that make a cell larger than the strong ones say.

A superlattice's direct cell is H times the cell of the lattice below it, with a matrix H of whole
numbers and the determinant 2, 3 or 4, its index. Those that a symmetry of the lattice turns into
each other are variants of one superlattice: each pattern, indexed on the lattice, may have come out
in another of them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np

from . import _cell_kernels, _climb_kernels
from .bravais import near_symmetries, reduced_cell

#: Indices of the superlattices that are looked for.
INDICES = (2, 3, 4)
#: Shares of all bands that a superlattice alone may explain.
SHARES = np.array([0.01, 0.02, 0.04, 0.08, 0.15, 0.3])
#: Log evidence that a superlattice of index 2 must add, and how much more each further index needs;
#: the first is times 1 + ln(n) for n orientations, since stray bands recur from one to another.
#: Chosen on development crystals.
PRICE, PRICE_OF_INDEX = 4.0, 1.0
#: Superlattices of superlattices: at most so many on top of each other.
MOST_STEPS = 4
#: Distortion up to which variants of a lattice's symmetry are taken into account.
NEAR = 0.045
#: Log evidence by which another variant must be better before a pattern is turned into it.
_BETTER = 0.5


class Extension(NamedTuple):
    """A lattice with the superlattices that its bands ask for.

    Attributes
    ----------
    cell : float64 array of shape (3, 3)
        Reduced cell of the last superlattice.
    gain : float
        Log evidence that all superlattices add, less their price.
    gains : tuple of (int, float)
        Index of each superlattice and the log evidence that it added.
    turns : float64 array of shape (n_patterns, 3, 3)
        Rotations that turn each pattern's row vectors in the crystal's frame into the common
        variant.
    """

    cell: np.ndarray
    gain: float
    gains: tuple[tuple[int, float], ...]
    turns: np.ndarray


@lru_cache(maxsize=None)
def superlattices(index: int) -> np.ndarray:
    """All superlattices of an index, as matrices in Hermite's normal form.

    Parameters
    ----------
    index : int
        Of the sublattice of direct vectors: 2, 3 or 4.

    Returns
    -------
    float64 array of shape (n, 3, 3)
        7 of index 2, 13 of index 3, 35 of index 4.
    """
    found = []
    for a, b, c in product(range(1, index + 1), repeat=3):
        if a * b * c == index:
            for x, y, z in product(range(b), range(c), range(c)):
                found.append([[a, x, y], [0, b, z], [0, 0, c]])
    matrices = np.array(found, dtype=np.float64)
    matrices.setflags(write=False)
    return matrices


@lru_cache(maxsize=1)
def all_superlattices() -> tuple[np.ndarray, np.ndarray, dict]:
    """All superlattices that are looked for.

    Returns
    -------
    matrices : float64 array of shape (n, 3, 3)
    indices : int array of shape (n,)
    places : dict
        Place of each by its normal form.
    """
    matrices = np.concatenate([superlattices(i) for i in INDICES])
    places = {_normal_form(m): i for i, m in enumerate(matrices)}
    return matrices, np.rint(np.linalg.det(matrices)).astype(int), places


def _normal_form(matrix) -> tuple:
    """Hermite's normal form of a matrix's rows: the same for all bases of a lattice."""
    rows = [[int(round(x)) for x in row] for row in matrix]
    form: list[list[int]] = []
    for column in range(3):
        while sum(row[column] != 0 for row in rows) > 1:
            pivot = min((r for r in rows if r[column]), key=lambda r: abs(r[column]))
            rows = [r if r is pivot else _less(r, pivot, r[column] // pivot[column]) for r in rows]
        pivot = next(r for r in rows if r[column])
        rows = [r for r in rows if r is not pivot]
        form.append(pivot if pivot[column] > 0 else [-x for x in pivot])
    for i in range(3):
        for j in range(i):
            form[j] = _less(form[j], form[i], form[j][i] // form[i][i])
    return tuple(map(tuple, form))


def _less(row: list[int], other: list[int], times: int) -> list[int]:
    return [x - times * y for x, y in zip(row, other, strict=True)]


def variants(rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which superlattice is a variant of which, and the rotation that makes it.

    Parameters
    ----------
    rotations : int array of shape (order, 3, 3)
        Symmetries of the lattice: rows of their indices times these are the images.

    Returns
    -------
    orbits : int array of shape (n,)
        Of each superlattice the number of its orbit.
    images : int array of shape (n, order)
        Place of what each rotation makes of each superlattice.
    """
    return _cached_variants(rotations.tobytes(), len(rotations))


@lru_cache(maxsize=None)
def _cached_variants(buffer: bytes, order: int) -> tuple[np.ndarray, np.ndarray]:
    rotations = np.frombuffer(buffer, dtype=int).reshape(order, 3, 3)
    matrices, _, places = all_superlattices()
    images = np.array([[places[_normal_form(m @ r)] for r in rotations] for m in matrices])
    orbits = images.min(axis=1)
    for kept in (orbits, images):
        kept.setflags(write=False)
    return orbits, images


def add_superlattices(cell, g, starts, spread, stray: float, groups=None) -> Extension:
    r"""Add the superlattices that bands ask for, one by one.

    A superlattice adds to a pattern's log evidence what
    `emsparse_hs.ebsd._climb_kernels.superlattice_gains` says. Since each pattern may show any of
    its m variants, the gain is

    .. math:: \sum_p \ln \frac{1}{m} \sum_{v=1}^{m} e^{\Delta_{pv}}

    which pays for the choice among the variants by itself. Patterns are then turned into one
    variant.

    Parameters
    ----------
    cell : array of shape (3, 3)
        Rows are the basis vectors in angstrom.
    g : float64 array of shape (n, 3)
        Bands of all patterns in the crystal's frame, in 1/angstrom.
    starts : int array of shape (n_patterns + 1,)
        Where each pattern's bands begin.
    spread : float64 array of shape (4,)
        See `emsparse_hs.ebsd._cell_kernels`.
    stray : float
        Share of bands with no place in the lattice.
    groups : int array of shape (n_patterns,), optional
        Numbers of groups of patterns that count as one, such as those of one grain. Each counts on
        its own by default.

    Returns
    -------
    Extension
    """
    matrices, indices, _ = all_superlattices()
    cell, g = reduced_cell(cell), np.array(g)
    turns = np.repeat(np.eye(3)[None], len(starts) - 1, axis=0)
    layers = [(cell, 1.0)]
    known = _mixed_densities(layers, g, spread)
    net, gains = 0.0, []
    groups = np.arange(len(starts) - 1) if groups is None else np.asarray(groups)
    sizes = np.bincount(groups)
    price = PRICE * (1 + np.log((sizes > 0).sum())) + PRICE_OF_INDEX * (indices - INDICES[0])
    for _ in range(MOST_STEPS):
        rotations = near_symmetries(cell @ cell.T, NEAR)[-1].rotations.transpose(0, 2, 1)
        orbits, images = variants(np.ascontiguousarray(rotations))
        each = _gains(cell, g, starts, spread, stray, known, matrices)
        place, share, gain = _best_orbit(each, 1 / sizes[groups], orbits, price)
        if gain < price[place]:
            break
        chosen = _best_variants(each[:, :, share], orbits == orbits[place], place)
        _turn_patterns(cell, rotations, images[place], chosen, place, g, starts, turns)
        cell = reduced_cell(matrices[place] @ cell)
        layers = [(c, (1 - SHARES[share]) * part) for c, part in layers] + [(cell, SHARES[share])]
        known = _mixed_densities(layers, g, spread)
        net += gain - price[place]
        gains.append((int(indices[place]), float(gain)))
    return Extension(cell, net, tuple(gains), turns)


def _mixed_densities(layers, g, spread) -> np.ndarray:
    """Density of each band, of which shares belong to one lattice and its superlattices."""
    total, density = np.zeros(len(g)), np.empty(len(g))
    for cell, share in layers:
        _cell_kernels.lattice_densities(cell, g, spread, density)
        total += share * density
    return total


def _gains(cell, g, starts, spread, stray, known, matrices) -> np.ndarray:
    """What each superlattice adds to each pattern, of shape (patterns, superlattices, shares)."""
    gains = np.empty((len(starts) - 1, len(matrices), len(SHARES)))
    _climb_kernels.superlattice_gains(
        cell, g, starts, spread, stray, known, matrices, SHARES, gains
    )
    return gains


def _best_orbit(gains, weights, orbits, price) -> tuple[int, int, float]:
    """The superlattice, the number of its share, and the gain over all its variants."""
    best = (0, 0, -np.inf)
    for orbit in np.unique(orbits):
        variants = np.flatnonzero(orbits == orbit)
        of_each = gains[:, variants]
        total = weights @ (np.logaddexp.reduce(of_each, axis=1) - np.log(len(variants)))
        share = int(np.argmax(total))
        if total[share] - price[orbit] > best[2] - price[best[0]]:
            strongest = variants[np.argmax(of_each[:, :, share].sum(axis=0))]
            best = (int(strongest), share, float(total[share]))
    return best


def _best_variants(gains, variants, place: int) -> np.ndarray:
    """For each pattern the variant that fits it best, the common one unless it is clearly worse."""
    allowed = np.where(variants, gains, -np.inf)
    best = allowed.argmax(axis=1)
    clear = allowed.max(axis=1) > gains[:, place] + _BETTER
    return np.where(clear, best, place)


def _turn_patterns(cell, rotations, images, chosen, place: int, g, starts, turns) -> None:
    """Turn the patterns of other variants into the common one, in place."""
    for p in np.flatnonzero(chosen != place):
        turn = nearest_rotation(cell, rotations[np.flatnonzero(images == chosen[p])[0]]).T
        g[starts[p] : starts[p + 1]] @= turn
        turns[p] = turns[p] @ turn


def nearest_rotation(cell, rotation) -> np.ndarray:
    """The rotation of row vectors next to a symmetry operation that a cell has but nearly."""
    left, _, right = np.linalg.svd(np.linalg.solve(cell, rotation @ cell))
    return left @ right

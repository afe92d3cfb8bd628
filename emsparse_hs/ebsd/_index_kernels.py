# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled search for the orientation of a known cell in a pattern."""

import math

import numba
import numpy as np

from ._cell_kernels import match, turned_cell

#: Within so many spreads, a length or an angle is thought to be the same.
_ALIKE = 3.0
#: The sine of the smallest angle between two bands that fix an orientation.
_SLANTED = 0.25
#: Orientations are dropped after so many bands if they explain less than a part of them.
_FIRST_BANDS = 6


@numba.njit(nogil=True, cache=True)
def orient(cell, points, lengths, g, spread, stray, n_strong, n_tests, rotation):
    """Find the orientation in which a lattice explains the bands best.

    Two bands, of the strongest, and two lattice points of the same lengths and the same angle fix
    one; the evidence of all bands chooses.

    Parameters
    ----------
    cell : float64 array of shape (3, 3)
    points : float64 array of shape (n_points, 3)
        Points of the reciprocal lattice with both signs, shortest first.
    lengths : float64 array of shape (n_points,)
    g : float64 array of shape (n, 3)
        The highest contrast first.
    spread : float64 array of shape (4,)
    stray : float
    n_strong : int
        Bands that pairs are made of.
    n_tests : int
        Orientations tried at most.
    rotation : float64 array of shape (3, 3)
        Filled: row vectors of the crystal's frame times this are in the detector's.

    Returns
    -------
    float
        Log evidence, -inf where no orientation was found.
    """
    best, tests = -np.inf, 0
    trial, turned = np.empty((3, 3)), np.empty((3, 3))
    strong = min(n_strong, len(g))
    sizes = np.empty(strong)
    for i in range(strong):
        sizes[i] = math.sqrt(g[i, 0] ** 2 + g[i, 1] ** 2 + g[i, 2] ** 2)
    for pair in range(strong * strong):
        # Pairs of the strongest bands first.
        i, j = _pair(pair, strong)
        if i < 0:
            continue
        cosine = (g[i, 0] * g[j, 0] + g[i, 1] * g[j, 1] + g[i, 2] * g[j, 2]) / (sizes[i] * sizes[j])
        sine = math.sqrt(max(1 - cosine * cosine, 0.0))
        if sine < _SLANTED:
            continue
        slack = _ALIKE * spread[0] * 1.5 * sine
        for a in _range_of(lengths, sizes[i], spread[1]):
            for b in _range_of(lengths, sizes[j], spread[1]):
                other = (
                    points[a, 0] * points[b, 0]
                    + points[a, 1] * points[b, 1]
                    + points[a, 2] * points[b, 2]
                ) / (lengths[a] * lengths[b])
                if abs(other - cosine) > slack:
                    continue
                tests += 1
                _rotation(points[a], points[b], g[i], g[j], trial)
                evidence = _evidence(cell, trial, g, spread, stray, turned)
                if evidence > best:
                    best = evidence
                    rotation[:] = trial
                if tests >= n_tests:
                    return best
    return best


@numba.njit(nogil=True, cache=True, inline="always")
def _pair(number, n):
    """The number-th pair i < j, in the order of j; -1 where it is none."""
    i, j = number % n, number // n
    return (i, j) if i < j else (-1, -1)


@numba.njit(nogil=True, cache=True, inline="always")
def _range_of(lengths, size, spread):
    """Indices of the lengths that may be this size."""
    low = np.searchsorted(lengths, size * math.exp(-_ALIKE * spread))
    high = np.searchsorted(lengths, size * math.exp(_ALIKE * spread))
    return range(low, high)


@numba.njit(nogil=True, cache=True)
def _rotation(one, other, to_one, to_other, rotation):
    """The rotation of two row vectors to two others of the same angle."""
    source, target = np.empty((3, 3)), np.empty((3, 3))
    _triad(one, other, source)
    _triad(to_one, to_other, target)
    for i in range(3):
        for j in range(3):
            rotation[i, j] = (
                source[0, i] * target[0, j]
                + source[1, i] * target[1, j]
                + source[2, i] * target[2, j]
            )


@numba.njit(nogil=True, cache=True, inline="always")
def _triad(one, other, axes):
    """Orthogonal unit vectors: the bisector of two directions, their normal, and what completes."""
    n = math.sqrt(one[0] ** 2 + one[1] ** 2 + one[2] ** 2)
    m = math.sqrt(other[0] ** 2 + other[1] ** 2 + other[2] ** 2)
    for a in range(3):
        axes[0, a] = one[a] / n + other[a] / m
        axes[2, a] = one[a] / n - other[a] / m
    for row in (0, 2):
        size = math.sqrt(axes[row, 0] ** 2 + axes[row, 1] ** 2 + axes[row, 2] ** 2)
        for a in range(3):
            axes[row, a] /= size
    axes[1, 0] = axes[2, 1] * axes[0, 2] - axes[2, 2] * axes[0, 1]
    axes[1, 1] = axes[2, 2] * axes[0, 0] - axes[2, 0] * axes[0, 2]
    axes[1, 2] = axes[2, 0] * axes[0, 1] - axes[2, 1] * axes[0, 0]


@numba.njit(nogil=True, cache=True)
def _evidence(cell, rotation, g, spread, stray, turned):
    """Log evidence of the bands in an orientation; -inf if too few of the first ones fit."""
    turned_cell(cell, rotation, turned)
    shown = np.ascontiguousarray(np.linalg.inv(turned).T)
    volume = abs(np.linalg.det(cell))
    h = np.empty(3)
    total, hits = 0.0, 0
    for i in range(len(g)):
        density, _ = match(turned, shown, g[i], spread, h)
        total += math.log(stray + (1 - stray) * density / volume)
        hits += density > volume
        if i == _FIRST_BANDS and hits < 4:
            return -np.inf
    return total

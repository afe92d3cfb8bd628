# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
r"""Compiled loops over bands and lattice points; their numpy twins are in the tests.

A band is a vector g: the unit normal of the reflecting planes over their spacing, in 1/angstrom. A
cell is a matrix of which the rows are the direct basis vectors in angstrom. The point of the
reciprocal lattice with the indices h is h @ inv(cell).T, and cell @ g are the indices of a band.

How well bands are known is ``spread``: radians across the direction, the relative width of most
bands, that of the others, and the share of those others. Where two orders of a reflection are of
like strength, a width is between theirs; the direction still is the lattice's.
"""

import math

import numba
import numpy as np

#: Lengths of a band, relative, at which the nearest lattice point is looked for.
_SCALES = (0.55, 0.63, 0.72, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.45, 1.65)
#: (2 pi)^(-3/2), of the normal distribution in three dimensions.
_NORMAL = 0.06349363593424097


@numba.njit(nogil=True, cache=True, inline="always")
def match(cell, reciprocal, g, spread, h):
    """Density of a band about the likeliest lattice point, of which it fills in the indices.

    Returns the density, not yet divided by the cell's volume, and whether only the band's direction
    is the point's.
    """
    length = math.sqrt(g[0] * g[0] + g[1] * g[1] + g[2] * g[2])
    across, along, loosely = spread[0] * length, spread[1] * length, spread[2] * length
    i = cell[0, 0] * g[0] + cell[0, 1] * g[1] + cell[0, 2] * g[2]
    j = cell[1, 0] * g[0] + cell[1, 1] * g[1] + cell[1, 2] * g[2]
    k = cell[2, 0] * g[0] + cell[2, 1] * g[1] + cell[2, 2] * g[2]
    best, best_loosely = np.inf, np.inf
    a, b, c, d, e, f = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for scale in _SCALES:
        u, v, w = round(i * scale), round(j * scale), round(k * scale)
        if u == 0 and v == 0 and w == 0:
            continue
        x = u * reciprocal[0, 0] + v * reciprocal[1, 0] + w * reciprocal[2, 0] - g[0]
        y = u * reciprocal[0, 1] + v * reciprocal[1, 1] + w * reciprocal[2, 1] - g[1]
        z = u * reciprocal[0, 2] + v * reciprocal[1, 2] + w * reciprocal[2, 2] - g[2]
        radial = (x * g[0] + y * g[1] + z * g[2]) / length
        # The distance from the band's line grows with that from the origin.
        stretch = across * (1 + radial / length)
        square = (x * x + y * y + z * z - radial * radial) / stretch**2
        distance, loose = square + (radial / along) ** 2, square + (radial / loosely) ** 2
        if distance < best:
            best, a, b, c = distance, u, v, w
        if loose < best_loosely:
            best_loosely, d, e, f = loose, u, v, w
    tight = (1 - spread[3]) * math.exp(-0.5 * best) / along
    loose = spread[3] * math.exp(-0.5 * best_loosely) / loosely
    if loose > tight:
        h[0], h[1], h[2] = d, e, f
    else:
        h[0], h[1], h[2] = a, b, c
    return _NORMAL * (tight + loose) / across**2, loose > tight


@numba.njit(nogil=True, cache=True, inline="always")
def turned_cell(cell, rotation, turned):
    """Fill in the product of two matrices of 3 x 3; numba's own calls a library for it."""
    for a in range(3):
        for b in range(3):
            turned[a, b] = (
                cell[a, 0] * rotation[0, b]
                + cell[a, 1] * rotation[1, b]
                + cell[a, 2] * rotation[2, b]
            )


@numba.njit(nogil=True, cache=True)
def lattice_densities(cell, g, spread, densities):
    r"""Probability density of each band, were it any of a lattice's points.

    .. math:: p(g) = \frac{1}{V}\, N(g;\, q,\, \Sigma)

    with the nearest point q of the reciprocal lattice and the cell's volume V. There are V points
    in a unit of reciprocal space, so that of a cell twice as large each is half as probable.

    Parameters
    ----------
    cell : float64 array of shape (3, 3)
    g : float64 array of shape (n, 3)
    spread : float64 array of shape (4,)
    densities : float64 array of shape (n,)
        Filled; 1 is the density of a band that has nothing to do with the lattice.
    """
    reciprocal = np.ascontiguousarray(np.linalg.inv(cell).T)
    volume = abs(np.linalg.det(cell))
    h = np.empty(3)
    for i in range(len(g)):
        density, _ = match(cell, reciprocal, g[i], spread, h)
        densities[i] = density / volume


@numba.njit(nogil=True, cache=True)
def log_evidence(cell, g, spread, stray):
    """Sum over bands of the log density, a share `stray` of them having no place in the lattice."""
    densities = np.empty(len(g))
    lattice_densities(cell, g, spread, densities)
    total = 0.0
    for density in densities:
        total += math.log(stray + (1 - stray) * density)
    return total


@numba.njit(nogil=True, cache=True)
def find_periods(directions, g, weights, steps, threshold, periods, scores):
    """Vectors t at which the sum of w cos(2 pi g.t) has a high local maximum along a direction.

    Parameters
    ----------
    directions : float64 array of shape (n_directions, 3)
        Unit vectors of a half space.
    g : float64 array of shape (n, 3)
    weights : float64 array of shape (n,)
        Their sum is 1.
    steps : float64 array of shape (n_steps,)
        Lengths tried, equidistant.
    threshold : float
        Value of the sum that a maximum needs, at most 1.
    periods : float64 array of shape (limit, 3)
        Filled with the highest.
    scores : float64 array of shape (limit,)
        Filled with the values there.

    Returns
    -------
    int
        How many were found.
    """
    n, found, lowest = len(g), 0, 0
    cosine, sine, turn_c, turn_s = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    first, step = steps[0], steps[1] - steps[0]
    for direction in directions:
        for i in range(n):
            phase = (
                2
                * math.pi
                * (direction[0] * g[i, 0] + direction[1] * g[i, 1] + direction[2] * g[i, 2])
            )
            cosine[i], sine[i] = math.cos(phase * first), math.sin(phase * first)
            turn_c[i], turn_s[i] = math.cos(phase * step), math.sin(phase * step)
        before, last = -1.0, -1.0
        for k in range(len(steps)):
            value = 0.0
            for i in range(n):
                value += weights[i] * cosine[i]
                turned = cosine[i] * turn_c[i] - sine[i] * turn_s[i]
                sine[i] = sine[i] * turn_c[i] + cosine[i] * turn_s[i]
                cosine[i] = turned
            if k > 1 and last > before and last >= value and last > threshold:
                place = found if found < len(scores) else lowest
                if found < len(scores) or last > scores[lowest]:
                    periods[place] = direction * steps[k - 1]
                    scores[place] = last
                    found = min(found + 1, len(scores))
                    if found == len(scores):
                        lowest = int(np.argmin(scores))
            before, last = last, value
    return found


@numba.njit(nogil=True, cache=True)
def settle_periods(g, weights, limits, threshold, apart, periods, scores):
    """Move each period to the least squares of g.t to whole numbers, and drop what is double.

    Returns how many remain, at the start of `periods` and `scores`.
    """
    matrix = np.zeros((3, 3))
    for i in range(len(g)):
        for a in range(3):
            for b in range(3):
                matrix[a, b] += weights[i] * g[i, a] * g[i, b]
    inverse = np.linalg.inv(matrix)
    vector, kept = np.empty(3), 0
    for j in range(len(periods)):
        t = periods[j].copy()
        for _ in range(6):
            vector[:] = 0
            for i in range(len(g)):
                order = weights[i] * round(t[0] * g[i, 0] + t[1] * g[i, 1] + t[2] * g[i, 2])
                for a in range(3):
                    vector[a] += order * g[i, a]
            for a in range(3):
                t[a] = (
                    inverse[a, 0] * vector[0]
                    + inverse[a, 1] * vector[1]
                    + inverse[a, 2] * vector[2]
                )
        length = math.sqrt(t[0] ** 2 + t[1] ** 2 + t[2] ** 2)
        value = 0.0
        for i in range(len(g)):
            value += weights[i] * math.cos(
                2 * math.pi * (t[0] * g[i, 0] + t[1] * g[i, 1] + t[2] * g[i, 2])
            )
        if value < threshold or length < limits[0] or length > limits[1]:
            continue
        new = True
        for k in range(kept):
            plus, minus = 0.0, 0.0
            for a in range(3):
                plus += (t[a] - periods[k, a]) ** 2
                minus += (t[a] + periods[k, a]) ** 2
            new = new and min(plus, minus) > apart**2
        if new:
            periods[kept], scores[kept] = t, value
            kept += 1
    return kept


@numba.njit(nogil=True, cache=True)
def choose_triples(periods, g, weights, tolerances, smallest, price, alike, triples, scores):
    """The best sets of three periods as cells: explained bands less a price of the volume.

    Parameters
    ----------
    periods : float64 array of shape (n_periods, 3)
    g : float64 array of shape (n, 3)
    weights : float64 array of shape (n,)
        Their sum is 1.
    tolerances : float64 array of shape (n,)
        Of g.t to a whole number.
    smallest : float
        Volume in cubic angstrom.
    price : float
        Of a volume e times as large.
    alike : int
        How many of one volume are kept.
    triples : int64 array of shape (limit, 3)
        Filled.
    scores : float64 array of shape (limit,)
        Filled; -inf where there are fewer.
    """
    n, m = len(periods), len(g)
    fits = np.empty((n, m), np.bool_)
    lengths = np.empty(n)
    for a in range(n):
        lengths[a] = math.sqrt((periods[a] ** 2).sum())
        for i in range(m):
            order = periods[a, 0] * g[i, 0] + periods[a, 1] * g[i, 1] + periods[a, 2] * g[i, 2]
            fits[a, i] = abs(order - round(order)) < tolerances[i]
    scores[:] = -np.inf
    volumes = np.zeros(len(scores))
    for a in range(n):
        for b in range(a + 1, n):
            normal = np.cross(periods[a], periods[b])
            for c in range(b + 1, n):
                volume = abs((normal * periods[c]).sum())
                if volume < max(smallest, 0.3 * lengths[a] * lengths[b] * lengths[c]):
                    continue
                score = -price * math.log(volume)
                for i in range(m):
                    if fits[a, i] and fits[b, i] and fits[c, i]:
                        score += weights[i]
                _keep(score, volume, a, b, c, alike, triples, scores, volumes)


@numba.njit(nogil=True, cache=True, inline="always")
def _keep(score, volume, a, b, c, alike, triples, scores, volumes):
    """Put a triple in the place of the worst, or of the worst of the same volume."""
    same, weakest, worst = 0, -1, 0
    for k in range(len(scores)):
        if scores[k] > -np.inf and abs(volumes[k] / volume - 1) < 0.06:
            same += 1
            if weakest < 0 or scores[k] < scores[weakest]:
                weakest = k
        if scores[k] < scores[worst]:
            worst = k
    place = weakest if same >= alike else worst
    if score > scores[place]:
        triples[place, 0], triples[place, 1], triples[place, 2] = a, b, c
        scores[place], volumes[place] = score, volume

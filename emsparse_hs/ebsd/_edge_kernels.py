# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops over the pixels of many oriented patterns; their numpy twins are in the tests.

A pattern is seen through ``cosines``, of the angle of each pixel's ray to the screen's normal, zero
where a pixel does not count, and ``view``: column and row of its pattern centre, its distance in
px, and the largest secant of those angles. A profile is
what a band adds to the intensity in bins of x, the sine of the angle between a ray and the band's
plane; both sides are alike.
"""

import math

import numba
import numpy as np

#: Half width of an edge, the sine of an angle.
_SOFT = 0.006
#: Edges of other orders that are fitted beside one, and pixels that its strip needs, at least.
_MOST_EDGES, _FEWEST_PIXELS = 8, 100
#: Polynomial that is fitted beside an edge.
_DEGREE = 4
#: Height of the step and of the rim of an edge that is looked for.
_STEP, _RIM = 0.5, 0.8
#: Other orders are fitted up to so many windows beyond the edge: their rims reach into the strip.
_BEYOND = 1.4
#: What is added to all but the height looked for, relative and in pixels, so that columns that are
#: alike don't make the fit singular.
_HELD = (1e-4, 1e-3)


@numba.njit(nogil=True, cache=True, inline="always")
def _columns(row, view, normal, reach, width):
    """First and last column, the last excluded, that a strip around a band may reach in a row."""
    level = normal[1] * (view[1] - row) / view[2] + normal[2]
    reach = reach * view[3]
    if abs(normal[0]) < 1e-6:
        return (0, width) if abs(level) <= reach else (0, 0)
    one = (-reach - level) / normal[0] * view[2] + view[0]
    other = (reach - level) / normal[0] * view[2] + view[0]
    first, last = min(one, other), max(one, other)
    if last < 0 or first > width - 1:
        return 0, 0
    return max(0, math.floor(first)), min(width, math.ceil(last) + 1)


@numba.njit(nogil=True, cache=True, fastmath=True)
def add_to_profile(image, cosines, view, normal, step, sums, counts):
    """Add the pixels of one pattern to sums and numbers in bins of x."""
    reach = step * len(sums)
    a = normal[0] / view[2]
    for row in range(image.shape[0]):
        first, last = _columns(row, view, normal, reach, image.shape[1])
        level = normal[1] * (view[1] - row) / view[2] + normal[2] - a * view[0]
        for column in range(first, last):
            if cosines[row, column] > 0:
                k = int(abs((a * column + level) * cosines[row, column]) / step)
                if k < len(sums):
                    sums[k] += image[row, column]
                    counts[k] += 1


@numba.njit(nogil=True, cache=True, fastmath=True)
def subtract_profile(image, cosines, view, normal, step, profile):
    """Subtract a profile from one pattern."""
    reach = step * len(profile)
    a = normal[0] / view[2]
    for row in range(image.shape[0]):
        first, last = _columns(row, view, normal, reach, image.shape[1])
        level = normal[1] * (view[1] - row) / view[2] + normal[2] - a * view[0]
        for column in range(first, last):
            if cosines[row, column] > 0:
                k = int(abs((a * column + level) * cosines[row, column]) / step)
                if k < len(profile):
                    image[row, column] -= profile[k]


@numba.njit(nogil=True, cache=True)
def fit_profiles(images, cosines, views, rotations, normals, step, n_sweeps, profiles):
    """Fit patterns as a sum of bands of any profile, one band after the other (backfitting).

    J. H. Friedman and W. Stuetzle, J. Am. Stat. Assoc. 76 (1981) 817.

    Parameters
    ----------
    images : float32 array of shape (n, height, width)
        Left with what the bands don't explain.
    cosines : float32 array of shape (n, height, width)
    views : float64 array of shape (n, 4)
    rotations : float64 array of shape (n, 3, 3)
        Row vectors in the crystal's frame times these are in the detector's.
    normals : float64 array of shape (n_bands, 3)
        In the crystal's frame.
    step : float
        Width of a bin.
    n_sweeps : int
    profiles : float64 array of shape (n_bands, n_bins)
        What is found is added to them.
    """
    n_bins = profiles.shape[1]
    sums, counts, mean = np.empty(n_bins), np.empty(n_bins), np.empty(n_bins)
    for _ in range(n_sweeps):
        for b in range(len(normals)):
            sums[:], counts[:] = 0, 0
            for p in range(len(images)):
                normal = normals[b] @ rotations[p]
                add_to_profile(images[p], cosines[p], views[p], normal, step, sums, counts)
            for k in range(n_bins):
                mean[k] = sums[k] / max(counts[k], 1.0)
            profiles[b] += mean
            for p in range(len(images)):
                normal = normals[b] @ rotations[p]
                subtract_profile(images[p], cosines[p], views[p], normal, step, mean)


@numba.njit(nogil=True, cache=True)
def edge_contrasts(
    images, cosines, views, rotations, weights, g, spacings, half_wavelength, planes, profiles,
    steps, window, scores, information,
):  # fmt: skip
    """How strong the edges of bands are at predicted places, over many patterns.

    In each pattern the intensity within a window about the edge is fitted by a polynomial, the
    edges of the known orders of the same planes, and one edge more. What the patterns say of its
    height is added up: the height is the score over the information, and its error the information
    to the power of -1/2, in units of a pixel's own.

    Parameters
    ----------
    images, cosines, views, rotations
        See `fit_profiles`; images without the known bands.
    weights : float64 array of shape (n,)
        Of the patterns.
    g : float64 array of shape (n_bands, 3)
        In 1/angstrom in the crystal's frame.
    spacings : float64 array of shape (n_bands,)
        Length of the first known order in the same direction.
    half_wavelength : float
        In angstrom: times the length of g it is the sine of an edge's angle.
    planes : int64 array of shape (n_bands,)
        Which known band is parallel, or -1.
    profiles : float64 array of shape (n_known, n_known_bins)
        Of the known bands, added again.
    steps : float64 array of shape (2,)
        Width of a bin, here and of the profiles.
    window : float
    scores, information : float64 array of shape (n_bands,)
        Filled.
    """
    n_bins = int(math.ceil((half_wavelength * 1.01 * _longest(g) + window) / steps[0]))
    sums, counts = np.empty(n_bins), np.empty(n_bins)
    design = np.empty((n_bins, _DEGREE + 2 + 2 * _MOST_EDGES))
    scores[:], information[:] = 0, 0
    for b in range(len(g)):
        length = math.sqrt((g[b] ** 2).sum())
        first = int(max(half_wavelength * length - window, 0.0) / steps[0])
        last = min(int(math.ceil((half_wavelength * length + window) / steps[0])), n_bins)
        edges = (half_wavelength * length, half_wavelength * spacings[b], window)
        n_columns = _fill_design(edges, steps[0], first, last, design)
        for p in range(len(images)):
            sums[:], counts[:] = 0, 0
            normal = (g[b] / length) @ rotations[p]
            add_to_profile(
                images[p], cosines[p], views[p], normal, steps[0], sums[:last], counts[:last]
            )
            if counts[first:last].sum() < _FEWEST_PIXELS:
                continue
            if planes[b] >= 0:
                for k in range(first, last):
                    known = min(int((k + 0.5) * steps[0] / steps[1]), profiles.shape[1] - 1)
                    sums[k] += counts[k] * profiles[planes[b], known]
            score, known = _last_column(design[first:last, :n_columns], sums[first:last],
                                        counts[first:last])  # fmt: skip
            scores[b] += weights[p] * score
            information[b] += weights[p] * known


@numba.njit(nogil=True, cache=True)
def _longest(g):
    longest = 0.0
    for b in range(len(g)):
        longest = max(longest, math.sqrt((g[b] ** 2).sum()))
    return longest


@numba.njit(nogil=True, cache=True)
def _fill_design(edges, step, first, last, design):
    """Columns of a polynomial, of the known edges and, the last, of the one looked for."""
    place, spacing, window = edges
    column = _DEGREE + 1
    # Where there are too many orders within the strip, those nearest to the edge.
    order = max(1, int((place - window) / spacing), round(place / spacing) - _MOST_EDGES // 2)
    while order * spacing < place + _BEYOND * window and column < _DEGREE + 1 + 2 * _MOST_EDGES:
        known = order * spacing
        if abs(known - place) > 1e-6:
            for k in range(first, last):
                design[k, column], design[k, column + 1] = _edge((k + 0.5) * step - known)
            column += 2
        order += 1
    for k in range(first, last):
        x = (k + 0.5) * step
        design[k, 0] = 1.0
        for i in range(_DEGREE):
            design[k, i + 1] = design[k, i] * (x - place) / window
        inside, rim = _edge(x - place)
        _, mirrored = _edge(x + place)
        design[k, column] = _STEP * inside + _RIM * (rim - mirrored)
    return column + 1


@numba.njit(nogil=True, cache=True, inline="always")
def _edge(x):
    """A soft step down, and a rim that is bright inside and dark outside."""
    t = x / _SOFT
    return 0.5 * (1 - t / math.sqrt(1 + t * t)), -t / (1 + t * t)


@numba.njit(nogil=True, cache=True)
def _last_column(design, sums, counts):
    """Score and information of the last unknown, the others fitted with it (Cholesky)."""
    n = design.shape[1]
    matrix, vector = np.empty((n, n)), np.empty(n)
    for i in range(n):
        for j in range(i + 1):
            total = 0.0
            for k in range(len(sums)):
                total += design[k, i] * design[k, j] * counts[k]
            matrix[i, j] = total
        total = 0.0
        for k in range(len(sums)):
            total += design[k, i] * sums[k]
        vector[i] = total
        if i < n - 1:
            matrix[i, i] = matrix[i, i] * (1 + _HELD[0]) + _HELD[1]
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= matrix[i, k] * matrix[j, k]
            matrix[i, j] = math.sqrt(max(total, 1e-9)) if i == j else total / matrix[j, j]
        for j in range(i):
            vector[i] -= matrix[i, j] * vector[j]
        vector[i] /= matrix[i, i]
    last = matrix[n - 1, n - 1]
    return vector[n - 1] * last, last * last

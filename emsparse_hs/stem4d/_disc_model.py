# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled model of a disc in a frame, and the equations of its fit to counts."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from scipy.special import erfc

# Sums may be reordered, which is what lets them run on vectors; NaN and infinity keep their sense.
PLAIN: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy"}
FAST: dict[str, Any] = {**PLAIN, "fastmath": {"reassoc", "contract", "nsz"}}

#: Table of the edge's profile and its slope, against the distance from the edge in edge widths.
_REACH, _PER_WIDTH = 6, 256
_STEPS = np.arange(-_REACH * _PER_WIDTH, _REACH * _PER_WIDTH + 2) / _PER_WIDTH
_PROFILE = (0.5 * erfc(_STEPS / math.sqrt(2))).astype(np.float32)
_SLOPE = (np.exp(-(_STEPS**2) / 2) / math.sqrt(2 * math.pi)).astype(np.float32)

#: Unknowns before the terms of the intensity: background, and x and y of the disc.
N_FIRST = 3


@numba.njit(**FAST)
def _edge(place, shape, pixels, across, down, distances, profile, slope):
    """Direction from the disc's centre, distance from it, edge profile and its slope."""
    radius, width = np.float32(shape[0]), np.float32(shape[1])
    x0, y0 = np.float32(place[0]), np.float32(place[1])
    scale, last = np.float32(_PER_WIDTH) / width, np.float32(len(_PROFILE) - 2)
    xs, ys = pixels[0], pixels[1]
    for i in range(len(xs)):
        x, y = xs[i] - x0, ys[i] - y0
        distance = np.sqrt(x * x + y * y) + np.float32(1e-6)
        across[i], down[i], distances[i] = x / distance, y / distance, distance - radius
    for i in range(len(xs)):
        t = distances[i] * scale + np.float32(_REACH * _PER_WIDTH)
        t = t if t > 0 else np.float32(0)
        t = t if t < last else last
        whole = np.int32(t)
        part = t - np.float32(whole)
        # Without a sign there is no test for indices that count from the end.
        k = np.uint64(whole)
        value, steepness = _PROFILE[k], _SLOPE[k]
        profile[i] = value + part * (_PROFILE[k + np.uint64(1)] - value)
        slope[i] = (steepness + part * (_SLOPE[k + np.uint64(1)] - steepness)) / width


@numba.njit(**FAST)
def disc_model(place, shape, pixels, terms, coefficients, n_terms, columns, expected, scratch):
    """Expected counts of each pixel, and their derivatives, one unknown a row of `columns`.

    The intensity is background + edge profile x sum of terms; see `emsparse_hs.stem4d.fit_disc`.
    The last two rows are the derivatives by the disc's radius and edge width.
    """
    n_pixels = len(expected)
    profile, distances = scratch[0], scratch[1]
    by_x, by_y = columns[1], columns[2]
    by_radius, by_width = columns[N_FIRST + n_terms], columns[N_FIRST + n_terms + 1]
    _edge(place, shape, pixels, by_x, by_y, distances, profile, by_radius)
    expected[:] = 0
    for j in range(n_terms):
        coefficient, term = np.float32(coefficients[N_FIRST + j]), terms[j]
        column = columns[N_FIRST + j]
        for i in range(n_pixels):
            expected[i] += coefficient * term[i]
            column[i] = profile[i] * term[i]
    columns[0][:] = 1
    background, width = np.float32(coefficients[0]), np.float32(shape[1])
    for i in range(n_pixels):
        by_radius[i] *= expected[i]
        by_x[i] *= by_radius[i]
        by_y[i] *= by_radius[i]
    for i in range(n_pixels):
        by_width[i] = by_radius[i] * distances[i] / width
        expected[i] = background + profile[i] * expected[i]


@numba.njit(**FAST)
def normal_equations(counts, expected, usable, least, columns, n, scratch, matrix, right):
    """Fisher information and score of Poisson counts, both in units of `expected`."""
    weight, weighted = scratch[0], scratch[1]
    for i in range(len(counts)):
        weight[i] = usable[i] / max(expected[i], least)
    for a in range(n):
        first = columns[a]
        score = np.float32(0)
        for i in range(len(counts)):
            weighted[i] = weight[i] * first[i]
            score += weighted[i] * (counts[i] - expected[i])
        right[a] = score
        b = 0
        # Four sums at a time read the weighted column once.
        while b + 3 <= a:
            s0, s1, s2, s3 = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
            c0, c1, c2, c3 = columns[b], columns[b + 1], columns[b + 2], columns[b + 3]
            for i in range(len(counts)):
                value = weighted[i]
                s0 += value * c0[i]
                s1 += value * c1[i]
                s2 += value * c2[i]
                s3 += value * c3[i]
            matrix[a, b], matrix[a, b + 1], matrix[a, b + 2], matrix[a, b + 3] = s0, s1, s2, s3
            b += 4
        while b <= a:
            total, second = np.float32(0), columns[b]
            for i in range(len(counts)):
                total += weighted[i] * second[i]
            matrix[a, b] = total
            b += 1


@numba.njit(**PLAIN)
def solve(matrix, right, n, answer):
    """Solve in place; the lower triangle becomes the factor, `right` is solved forwards.

    Returns whether the matrix was positive definite.
    """
    for a in range(n):
        for b in range(a + 1):
            total = matrix[a, b]
            for k in range(b):
                total -= matrix[a, k] * matrix[b, k]
            if a > b:
                matrix[a, b] = total / matrix[b, b]
            else:
                if not total > 0:
                    return False
                matrix[a, a] = math.sqrt(total)
        total = right[a]
        for k in range(a):
            total -= matrix[a, k] * right[k]
        right[a] = total / matrix[a, a]
    for a in range(n - 1, -1, -1):
        total = right[a]
        for k in range(a + 1, n):
            total -= matrix[k, a] * answer[k]
        answer[a] = total / matrix[a, a]
    return True


@numba.njit(**PLAIN)
def variance_of(factor, n, unknown):
    """Diagonal element of the inverse of a matrix whose Cholesky factor is given."""
    forward = np.zeros(n)
    total = 0.0
    for a in range(unknown, n):
        value = 1.0 if a == unknown else 0.0
        for k in range(unknown, a):
            value -= factor[a, k] * forward[k]
        forward[a] = value / factor[a, a]
        total += forward[a] ** 2
    return total


@numba.njit(**FAST)
def fit_quality(counts, expected, usable, least, n, inside):
    """Logarithm of the likelihood, and reduced chi-squared of the pixels inside the disc."""
    likelihood, chi, pixels = 0.0, np.float32(0), np.float32(0)
    for i in range(len(counts)):
        model = max(expected[i], least)
        if counts[i] > 0 and usable[i] > 0:
            likelihood += counts[i] * math.log(model)
        # Below the least expectation the score is that of a Gaussian: go on with its integral.
        below = expected[i] - model
        likelihood -= usable[i] * (model - below * (counts[i] - model - below / 2) / model)
        counted = usable[i] if expected[i] > inside else np.float32(0)
        chi += counted * (counts[i] - expected[i]) ** 2 / model
        pixels += counted
    return likelihood, chi / max(pixels - np.float32(n), np.float32(1))

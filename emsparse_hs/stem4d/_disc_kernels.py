# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled fit of a disc to frames; its slow, obvious twin is in the tests."""

from __future__ import annotations

import math

import numba
import numpy as np
from scipy.special import erfc

# Sums may be reordered, which is what lets them run on vectors; NaN and infinity keep their sense.
_PLAIN = {"nogil": True, "cache": True, "error_model": "numpy"}
_FAST = {**_PLAIN, "fastmath": {"reassoc", "contract", "nsz"}}

#: Table of the edge's profile and its slope, against the distance from the edge in edge widths.
_REACH, _PER_WIDTH = 6, 256
_STEPS = np.arange(-_REACH * _PER_WIDTH, _REACH * _PER_WIDTH + 2) / _PER_WIDTH
_PROFILE = (0.5 * erfc(_STEPS / math.sqrt(2))).astype(np.float32)
_SLOPE = (np.exp(-(_STEPS**2) / 2) / math.sqrt(2 * math.pi)).astype(np.float32)

#: Unknowns before the terms of the intensity: background, and x and y of the disc.
N_FIRST = 3

#: Least expectation of a pixel, in electrons and as part of the mean inside the disc. It keeps the
#: few counts far outside, where a real edge is no error function, from deciding the fit.
_LEAST_ELECTRONS, _LEAST_PART = np.float32(0.01), np.float32(0.02)

#: Steps of Newton's method at each order, and the step in standard deviations that ends them.
_MOST_STEPS, _SMALL_STEP = 12, 0.1

#: Reduced chi-squared below which nothing is left to fit in a window of some hundred pixels.
_GOOD_CHI = 1.2

#: Moves of the window, by a pixel or two each, on the way to the disc.
_MOST_MOVES = 12

#: Change of radius and edge width in px that the slope of the information is taken over.
_SHAPE_STEP = 0.05


@numba.njit(**_FAST)
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


@numba.njit(**_FAST)
def _model(place, shape, pixels, terms, coefficients, n_terms, columns, expected, scratch):
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


@numba.njit(**_FAST)
def _normal_equations(counts, expected, usable, least, columns, n, scratch, matrix, right):
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


@numba.njit(**_PLAIN)
def _cholesky(matrix, right, n, answer):
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


@numba.njit(**_PLAIN)
def _variance(factor, n, unknown):
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


@numba.njit(**_FAST)
def _quality(counts, expected, usable, least, n, inside):
    """Logarithm of the likelihood, and reduced chi-squared of the pixels inside the disc."""
    likelihood, chi, pixels = 0.0, np.float32(0), np.float32(0)
    for i in range(len(counts)):
        model = max(expected[i], least)
        if counts[i] > 0 and usable[i] > 0:
            likelihood += counts[i] * math.log(model)
        likelihood -= usable[i] * model
        counted = usable[i] if expected[i] > inside else np.float32(0)
        chi += counted * (counts[i] - expected[i]) ** 2 / model
        pixels += counted
    return likelihood, chi / max(pixels - np.float32(n), np.float32(1))


@numba.njit(**_PLAIN)
def _climb(data, shape, terms, precision, n_terms, n_steps, place, coefficients, room, with_shape):
    """Climb towards the most probable place and intensity with so many terms.

    `place` and `coefficients` are changed, and the last system is left factored in `room`. Returns
    whether it went well.
    """
    counts, usable, pixels = data
    columns, expected, scratch, matrix, right, answer = room
    n = N_FIRST + n_terms + (2 if with_shape else 0)
    for _ in range(n_steps):
        _model(place, shape, pixels, terms, coefficients, n_terms, columns, expected, scratch)
        mean = max(coefficients[N_FIRST], 1e-3)
        least = max(_LEAST_ELECTRONS, _LEAST_PART * np.float32(mean))
        _normal_equations(counts, expected, usable, least, columns, n, scratch, matrix, right)
        for j in range(1, n_terms):
            weight = precision[j] / mean**2
            matrix[N_FIRST + j, N_FIRST + j] += weight
            right[N_FIRST + j] -= weight * coefficients[N_FIRST + j]
        for a in range(n):
            matrix[a, a] += 1e-6 * matrix[a, a] + 1e-12
        if not _cholesky(matrix, right, n, answer):
            return False
        step = math.hypot(answer[1], answer[2])
        shorter = 1 / max(1.0, step)
        place[0] += shorter * answer[1]
        place[1] += shorter * answer[2]
        coefficients[0] += answer[0]
        for j in range(n_terms):
            coefficients[N_FIRST + j] += answer[N_FIRST + j]
        # The factor's element is an inverse standard deviation.
        if step * matrix[1, 1] < _SMALL_STEP:
            break
    return True


@numba.njit(**_PLAIN)
def _judge(data, precision, n_terms, coefficients, room):
    """Logarithm of the evidence (Laplace), and reduced chi-squared, where `_climb` has led.

    Both are of the last step's start. What the step gained is half the square of the solved right
    side.
    """
    counts, usable, _ = data
    _, expected, _, factor, solved, answer = room
    n = N_FIRST + n_terms
    mean = max(coefficients[N_FIRST] - answer[N_FIRST], 1e-3)
    least = max(_LEAST_ELECTRONS, _LEAST_PART * np.float32(mean))
    evidence, measured = 0.0, N_FIRST + 1.0
    for a in range(n):
        evidence += 0.5 * solved[a] ** 2 - math.log(factor[a, a])
    for j in range(1, n_terms):
        a = N_FIRST + j
        weight = precision[j] / mean**2
        evidence += 0.5 * (math.log(weight) - weight * (coefficients[a] - answer[a]) ** 2)
        measured += 1 - min(weight / factor[a, a] ** 2, 1.0)
    likelihood, chi = _quality(counts, expected, usable, least, measured, np.float32(0.1 * mean))
    return evidence + likelihood, chi


@numba.njit(**_PLAIN)
def _gather(frame, keep, electrons, offsets, column, row, counts, usable):
    """Take the window of a frame around a pixel; False where a pixel that counts is not finite."""
    height, width = frame.shape
    for i in range(offsets.shape[1]):
        x, y = column + offsets[0, i], row + offsets[1, i]
        inside = 0 <= x < width and 0 <= y < height
        if inside and keep[y, x]:
            value = np.float32(frame[y, x])
            if not math.isfinite(value):
                return False
            counts[i], usable[i] = electrons * value, 1
        else:
            counts[i], usable[i] = 0, 0
    return True


@numba.njit(**_PLAIN)
def _first_guess(counts, usable, pixels, radius, coefficients):
    """Background from outside the disc, its intensity from inside."""
    sums = np.zeros(4)
    for i in range(len(counts)):
        outside = 2 if pixels[0, i] ** 2 + pixels[1, i] ** 2 > (radius + 2) ** 2 else 0
        sums[outside] += usable[i]
        sums[outside + 1] += counts[i]
    coefficients[:] = 0
    coefficients[0] = sums[3] / max(sums[2], 1.0)
    coefficients[N_FIRST] = max(sums[1] / max(sums[0], 1.0) - coefficients[0], 1e-3)


@numba.njit(**_PLAIN)
def _approach(frame, keep, electrons, window, start, data, room, found, place, coefficients):
    """Find the pixel next to the disc's centre, with a softer edge that is felt from afar.

    `found` gets that pixel's column and row; `place` what the centre is off it, and `coefficients`
    background and mean intensity. Returns whether there is a disc.
    """
    shape, offsets, terms, precision, _ = window
    counts, usable, pixels = data
    soft = np.array([shape[0], max(shape[1], 2.0)])
    found[0], found[1] = int(round(start[0])), int(round(start[1]))
    for _ in range(_MOST_MOVES):
        if not _gather(frame, keep, electrons, offsets, found[0], found[1], counts, usable):
            return False
        _first_guess(counts, usable, pixels, shape[0], coefficients)
        place[:] = 0
        if not _climb(data, soft, terms, precision, 1, 2, place, coefficients, room, False):
            return False
        if max(abs(place[0]), abs(place[1])) < 0.75:
            return True
        found[0] += int(round(place[0]))
        found[1] += int(round(place[1]))
    return False


@numba.njit(**_PLAIN)
def _rooms(n_unknowns, n_pixels):
    """Memory that all frames of a block share."""
    return (
        np.empty((n_unknowns + 3, n_pixels), np.float32),
        np.empty(n_pixels, np.float32),
        np.empty((2, n_pixels), np.float32),
        np.empty((n_unknowns + 3, n_unknowns + 3)),
        np.empty(n_unknowns + 3),
        np.empty(n_unknowns + 3),
    )


@numba.njit(**_PLAIN)
def _orders(data, window, room, place, coefficients, trials):
    """Fit with more and more terms until they do not pay; returns how many orders were tried.

    Rows of `trials`: x, y, their variances, logarithm of the evidence, reduced chi-squared.
    """
    shape, _, terms, precision, orders = window
    best = -np.inf
    for k in range(len(orders)):
        n_terms = orders[k]
        if not _climb(
            data, shape, terms, precision, n_terms, _MOST_STEPS, place, coefficients, room, False
        ):
            return k
        n = N_FIRST + n_terms
        evidence, chi = _judge(data, precision, n_terms, coefficients, room)
        trials[k, 0], trials[k, 1] = place[0], place[1]
        trials[k, 2], trials[k, 3] = _variance(room[3], n, 1), _variance(room[3], n, 2)
        trials[k, 4], trials[k, 5] = evidence, chi
        # A next order may pay where this one does not, but only if there is something left to fit.
        if evidence < best and chi < _GOOD_CHI:
            return k + 1
        best = max(best, evidence)
    return len(orders)


@numba.njit(**_PLAIN)
def _average(trials, out):
    """Mean over the orders, weighted by their evidence; what they differ by is uncertainty."""
    weights = np.exp(trials[:, 4] - trials[:, 4].max())
    weights /= weights.sum()
    chi = (weights * trials[:, 5]).sum()
    for axis in range(2):
        mean = (weights * trials[:, axis]).sum()
        spread = (weights * (trials[:, axis] - mean) ** 2).sum()
        variance = (weights * trials[:, 2 + axis]).sum()
        out[axis] = mean
        out[2 + axis] = math.sqrt(spread + max(chi, 1.0) * variance)
    out[4] = chi


@numba.njit(**_PLAIN)
def fit_discs(frames, keep, starts, electrons, window, out):
    """Most probable place of a disc in each frame.

    Parameters
    ----------
    frames : array of shape (n, y, x)
        Counts, any real dtype.
    keep : bool array of shape (y, x)
        True where a pixel counts.
    starts : float64 array of shape (n, 2)
        Where to begin, x and y in px.
    electrons : float32
        A count.
    window : tuple
        Radius of the disc and width of its edge in px, float64 array of shape (2,); x and y of the
        window's p pixels from its middle, int64 array of shape (2, p); terms of the intensity at
        those pixels, float32 array of shape (t, p); inverse square of what a term is expected to
        be as part of the mean intensity, float64 array of shape (t,); how many terms to try, int64
        array, rising.
    out : float64 array of shape (n, 5)
        Filled with x, y, their sigma in px, and reduced chi-squared; NaN where there is no disc.
    """
    _, offsets, terms, _, orders = window
    n_pixels = offsets.shape[1]
    room = _rooms(N_FIRST + len(terms), n_pixels)
    data = (np.empty(n_pixels, np.float32), np.empty(n_pixels, np.float32), offsets.astype("f4"))
    trials, found = np.empty((len(orders), 6)), np.empty(2, np.int64)
    place, coefficients = np.empty(2), np.empty(N_FIRST + len(terms))
    for i in range(len(frames)):
        out[i] = np.nan
        if not math.isfinite(starts[i, 0] + starts[i, 1]) or not _approach(
            frames[i], keep, electrons, window, starts[i], data, room, found, place, coefficients
        ):
            continue
        n_tried = _orders(data, window, room, place, coefficients, trials)
        if n_tried:
            _average(trials[:n_tried], out[i])
            out[i, 0] += found[0]
            out[i, 1] += found[1]


@numba.njit(**_PLAIN)
def _add_shape(data, window, place, coefficients, room, matrix, right):
    """Add a frame's equations for radius and edge width, everything else eliminated.

    The last rows of a frame's Cholesky factor are its equations for the last unknowns; their sum
    over frames is that of one great fit. What the information on all others changes with the shape
    is added: without it the many unknowns that each frame has of its own would bias the result.
    """
    shape, _, terms, precision, _ = window
    n_terms = len(terms)
    n = N_FIRST + n_terms
    slopes = np.zeros(2)
    for axis in range(2):
        for sign in (-1, 1):
            moved, here, there = shape.copy(), place.copy(), coefficients.copy()
            moved[axis] += sign * _SHAPE_STEP
            if not _climb(data, moved, terms, precision, n_terms, 1, here, there, room, False):
                return
            for a in range(n):
                slopes[axis] -= sign * math.log(room[3][a, a]) / (2 * _SHAPE_STEP)
    if _climb(data, shape, terms, precision, n_terms, 1, place, coefficients, room, True):
        a, b, c = room[3][n, n], room[3][n + 1, n], room[3][n + 1, n + 1]
        matrix[0, 0] += a * a
        matrix[0, 1] += a * b
        matrix[1, 0] += a * b
        matrix[1, 1] += b * b + c * c
        right[0] += a * room[4][n] + slopes[0]
        right[1] += b * room[4][n] + c * room[4][n + 1] + slopes[1]


@numba.njit(**_PLAIN)
def _contrast(data, window, place, coefficients, room, trials, power):
    """Add a frame's typical contrast, after a fit with all terms; returns whether that went well.

    All terms, since what a lower order leaves out would be taken for another radius.
    """
    shape, _, terms, precision, _ = window
    n_terms = len(terms)
    evidence = np.exp(trials[:, 4] - trials[:, 4].max())
    probable = 1 - evidence[0] / evidence.sum()
    if not _climb(data, shape, terms, precision, n_terms, 8, place, coefficients, room, False):
        return False
    mean = max(coefficients[N_FIRST], 1e-3) ** 2
    for j in range(1, n_terms):
        variance = _variance(room[3], N_FIRST + n_terms, N_FIRST + j) / mean
        power[0, j] += probable * coefficients[N_FIRST + j] ** 2 / mean
        power[1, j] += probable * max(1 - variance * precision[j], 0.0)
    return True


@numba.njit(**_PLAIN)
def learn_discs(frames, keep, starts, electrons, window, matrix, right, power):
    """Collect what some frames say of the disc's radius, edge width, and typical contrast.

    Parameters
    ----------
    frames, keep, starts, electrons, window
        As in `fit_discs`.
    matrix, right : float64 arrays of shape (2, 2) and (2,)
        Fisher information and score of radius and edge width are added.
    power : float64 array of shape (2, t)
        Added are the squares of the terms, as parts of the mean, and what part of each is measured
        and not expected; both times the probability that the frame has contrast at all.
    """
    _, offsets, terms, _, orders = window
    n_pixels = offsets.shape[1]
    room = _rooms(N_FIRST + len(terms), n_pixels)
    data = (np.empty(n_pixels, np.float32), np.empty(n_pixels, np.float32), offsets.astype("f4"))
    trials, found = np.empty((len(orders), 6)), np.empty(2, np.int64)
    place, coefficients = np.empty(2), np.empty(N_FIRST + len(terms))
    for i in range(len(frames)):
        if not math.isfinite(starts[i, 0] + starts[i, 1]) or not _approach(
            frames[i], keep, electrons, window, starts[i], data, room, found, place, coefficients
        ):
            continue
        n_tried = _orders(data, window, room, place, coefficients, trials)
        if n_tried and _contrast(data, window, place, coefficients, room, trials[:n_tried], power):
            _add_shape(data, window, place, coefficients, room, matrix, right)

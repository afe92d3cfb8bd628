# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled fit of a disc to each frame; its slow, obvious twin is in the tests."""

from __future__ import annotations

import math

import numba
import numpy as np

from emsparse_hs.stem4d._disc_model import (
    N_FIRST,
    PLAIN,
    disc_model,
    fit_quality,
    normal_equations,
    solve,
    variance_of,
)

#: Least expectation of a pixel, in electrons and as part of the mean inside the disc. It keeps the
#: few counts far outside, where a real edge is no error function, from deciding the fit.
_LEAST_ELECTRONS, _LEAST_PART = np.float32(0.01), np.float32(0.02)

#: Steps of Newton's method at each order, and the step in standard deviations that ends them.
_MOST_STEPS, _SMALL_STEP = 12, 0.3

#: Reduced chi-squared below which nothing is left to fit in a window of some hundred pixels.
_GOOD_CHI = 1.2

#: Square of the signal to noise ratio of contrast that need not be looked for.
_LEAST_SIGNAL = 1.0

#: Logarithm of the evidence by which an even disc is clearly more probable, and by which it is so
#: much more so that the other fit has failed.
_CLEARLY, _LOST = 3.0, 1000.0

#: Moves of the window, by a pixel or two each, on the way to the disc.
_MOST_MOVES = 12

#: Change of radius and edge width in px that the slope of the information is taken over.
_SHAPE_STEP = 0.05


@numba.njit(**PLAIN)
def _climb(data, shape, terms, precision, n_terms, n_steps, place, coefficients, room, with_shape):
    """Climb towards the most probable place and intensity with so many terms.

    `place` and `coefficients` are changed, and the last system is left factored in `room`. Returns
    whether it went well.
    """
    counts, usable, pixels = data
    columns, expected, scratch, matrix, right, answer = room
    n = N_FIRST + n_terms + (2 if with_shape else 0)
    for _ in range(n_steps):
        disc_model(place, shape, pixels, terms, coefficients, n_terms, columns, expected, scratch)
        mean = max(coefficients[N_FIRST], 1e-3)
        least = max(_LEAST_ELECTRONS, _LEAST_PART * np.float32(mean))
        normal_equations(counts, expected, usable, least, columns, n, scratch, matrix, right)
        for a in range(n):
            matrix[a, a] += 1e-6 * matrix[a, a] + 1e-12
        for j in range(1, n_terms):
            weight = precision[j] / mean**2
            matrix[N_FIRST + j, N_FIRST + j] += weight
            right[N_FIRST + j] -= weight * coefficients[N_FIRST + j]
        if not solve(matrix, right, n, answer):
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


@numba.njit(**PLAIN)
def _judge(data, precision, n_terms, coefficients, room):
    """Logarithm of the evidence (Laplace), reduced chi-squared, and what the last step gained.

    The first two are of that step's start; the gain, half the square of the solved right side, is
    in the evidence.
    """
    counts, usable, _ = data
    _, expected, _, factor, solved, answer = room
    n = N_FIRST + n_terms
    mean = max(coefficients[N_FIRST] - answer[N_FIRST], 1e-3)
    least = max(_LEAST_ELECTRONS, _LEAST_PART * np.float32(mean))
    evidence, gain, measured = 0.0, 0.0, N_FIRST + 1.0
    for a in range(n):
        gain += 0.5 * solved[a] ** 2
        evidence -= math.log(factor[a, a])
    for j in range(1, n_terms):
        a = N_FIRST + j
        weight = precision[j] / mean**2
        evidence += 0.5 * (math.log(weight) - weight * (coefficients[a] - answer[a]) ** 2)
        measured += 1 - min(weight / factor[a, a] ** 2, 1.0)
    likelihood, chi = fit_quality(counts, expected, usable, least, measured, np.float32(0.1 * mean))
    return evidence + gain + likelihood, chi, gain


@numba.njit(**PLAIN)
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


@numba.njit(**PLAIN)
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


@numba.njit(**PLAIN)
def _approach(frame, keep, electrons, window, start, data, room, found, place, coefficients):
    """Find the pixel next to the disc's centre, with a softer edge that is felt from afar.

    `found` gets that pixel's column and row; `place` what the centre is off it, and `coefficients`
    background and mean intensity. Returns whether there is a disc.
    """
    shape, offsets, terms, precision, _, _ = window
    counts, usable, pixels = data
    soft = np.array([shape[0], max(shape[1], 2.0)])
    found[0], found[1] = int(round(start[0])), int(round(start[1]))
    for move in range(_MOST_MOVES):
        if not _gather(frame, keep, electrons, offsets, found[0], found[1], counts, usable):
            return False
        _first_guess(counts, usable, pixels, shape[0], coefficients)
        place[:] = 0
        # One step is enough from next to the disc; from afar two do not go to and fro.
        n_steps = 1 if move == 0 else 2
        if not _climb(data, soft, terms, precision, 1, n_steps, place, coefficients, room, False):
            return False
        if max(abs(place[0]), abs(place[1])) < 0.75:
            return True
        found[0] += int(round(place[0]))
        found[1] += int(round(place[1]))
    return False


@numba.njit(**PLAIN)
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


@numba.njit(**PLAIN)
def _fit_models(data, window, room, place, coefficients, trials):
    """Fit an even disc, one with the strongest contrast, and one with all that matters.

    Returns how many went well; the last is left out if the second one tells that there is no
    contrast. Rows of `trials`: x, y, their variances, logarithm of the evidence, reduced
    chi-squared, and whether it is a model to believe in and not a step on the way.
    """
    shape, _, terms, precision, orders, left_out = window
    last = len(orders) - 1
    k = 0
    for row in range(len(trials)):
        n_terms = orders[k]
        n = N_FIRST + n_terms
        went_well = _climb(
            data, shape, terms, precision, n_terms, _MOST_STEPS, place, coefficients, room, False
        )
        evidence, chi, gain = _judge(data, precision, n_terms, coefficients, room)
        # Not still on its way after so many steps, nor astray: more terms can only be more
        # probable, but for their number.
        went_well &= math.hypot(room[5][1], room[5][2]) <= 1
        went_well &= row == 0 or evidence - gain >= trials[0, 4] - _LOST
        if not went_well:
            # The step on the way is then the best there is.
            trials[max(row - 1, 0), 6] = 1.0
            return row
        # The square of a bias over the variance is at most the signal to noise of what is left out.
        signals = left_out * (math.pi * shape[0] ** 2 * coefficients[N_FIRST])
        # The last one was chosen to be enough, whatever its own intensity says of it.
        is_enough = row == len(trials) - 1 or k == last or signals[k] < _LEAST_SIGNAL
        trials[row, 0], trials[row, 1] = place[0], place[1]
        trials[row, 2], trials[row, 3] = variance_of(room[3], n, 1), variance_of(room[3], n, 2)
        trials[row, 4], trials[row, 5] = evidence, chi
        trials[row, 6] = 1.0 if k == 0 or is_enough else 0.0
        is_even = k > 0 and evidence < trials[0, 4] - _CLEARLY and trials[0, 5] < _GOOD_CHI
        if is_enough or is_even:
            return row + 1
        k += 1
        while row > 0 and k < last and signals[k] >= _LEAST_SIGNAL:
            k += 1
    return len(trials)


@numba.njit(**PLAIN)
def _average(trials, out):
    """Mean over the models, weighted by their evidence; what they differ by is uncertainty."""
    evidence = np.where(trials[:, 6] > 0, trials[:, 4], -np.inf)
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    chi = (weights * trials[:, 5]).sum()
    for axis in range(2):
        mean = (weights * trials[:, axis]).sum()
        spread = (weights * (trials[:, axis] - mean) ** 2).sum()
        variance = (weights * trials[:, 2 + axis]).sum()
        out[axis] = mean
        out[2 + axis] = math.sqrt(spread + max(chi, 1.0) * variance)
    out[4] = chi


@numba.njit(**PLAIN)
def _work(window):
    """Memory that the fits of all frames share."""
    _, offsets, terms, _, orders, _ = window
    n_pixels, n_unknowns = offsets.shape[1], N_FIRST + len(terms)
    data = (np.empty(n_pixels, np.float32), np.empty(n_pixels, np.float32), offsets.astype("f4"))
    trials, found = np.empty((min(len(orders), 3), 7)), np.empty(2, np.int64)
    return data, _rooms(n_unknowns, n_pixels), trials, found, np.empty(2), np.empty(n_unknowns)


@numba.njit(**PLAIN)
def _tried(frame, keep, electrons, window, start, work):
    """Find the disc of one frame; returns how many orders were tried, 0 if there is no disc."""
    data, room, trials, found, place, coefficients = work
    if not math.isfinite(start[0] + start[1]) or not _approach(
        frame, keep, electrons, window, start, data, room, found, place, coefficients
    ):
        return 0
    return _fit_models(data, window, room, place, coefficients, trials)


@numba.njit(**PLAIN)
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
    work = _work(window)
    data, room, trials, found, place, coefficients = work
    for i in range(len(frames)):
        out[i] = np.nan
        n_tried = _tried(frames[i], keep, electrons, window, starts[i], work)
        if n_tried:
            _average(trials[:n_tried], out[i])
            out[i, 0] += found[0]
            out[i, 1] += found[1]


@numba.njit(**PLAIN)
def _add_shape(data, window, place, coefficients, room, matrix, right):
    """Add a frame's equations for radius and edge width, everything else eliminated.

    The last rows of a frame's Cholesky factor are its equations for the last unknowns; their sum
    over frames is that of one great fit. What the information on all others changes with the shape
    is added: without it the many unknowns that each frame has of its own would bias the result.
    """
    shape, _, terms, precision, _, _ = window
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


@numba.njit(**PLAIN)
def _contrast(data, window, place, coefficients, room, trials, scores, information):
    """What a frame says of its contrast, by a fit with all terms; the probability that it has one.

    All terms, since what a lower order leaves out would be taken for another radius. -1 is
    returned if it did not go well.
    """
    shape, _, terms, precision, _, _ = window
    n = N_FIRST + len(terms)
    if not _climb(data, shape, terms, precision, len(terms), 8, place, coefficients, room, False):
        return -1.0
    # That of the start of the last step, which the factor is of.
    mean = max(coefficients[N_FIRST] - room[5][N_FIRST], 1e-3)
    # The last rows of the factor are the equations for the last unknowns, the others eliminated.
    factor = np.tril(room[3][N_FIRST + 1 : n, N_FIRST + 1 : n]) * mean
    information[:] = factor @ factor.T
    scores[:] = information @ coefficients[N_FIRST + 1 : n] / mean
    for j in range(len(scores)):
        information[j, j] -= precision[j + 1]
    evidence = np.exp(trials[:, 4] - trials[:, 4].max())
    return 1 - evidence[0] / evidence.sum()


@numba.njit(**PLAIN)
def learn_discs(
    frames, keep, starts, electrons, window, matrix, right, scores, information, weights
):
    """Collect what some frames say of the disc's radius, edge width, and typical contrast.

    Parameters
    ----------
    frames, keep, starts, electrons, window
        As in `fit_discs`.
    matrix, right : float64 arrays of shape (2, 2) and (2,)
        Fisher information and score of radius and edge width are added.
    scores, information : float64 arrays of shapes (n, t - 1) and (n, t - 1, t - 1)
        Filled with what each frame's counts alone say of the coefficients of all terms but the
        mean, as parts of it: slope of the likelihood where they are zero, and inverse covariance.
    weights : float64 array of shape (n,)
        Filled with the probability that a frame has contrast at all.
    """
    work = _work(window)
    data, room, trials, found, place, coefficients = work
    for i in range(len(frames)):
        n_tried = _tried(frames[i], keep, electrons, window, starts[i], work)
        weights[i] = 0
        if n_tried:
            tried = trials[:n_tried]
            probable = _contrast(
                data, window, place, coefficients, room, tried, scores[i], information[i]
            )
            if probable >= 0:
                weights[i] = probable
                _add_shape(data, window, place, coefficients, room, matrix, right)

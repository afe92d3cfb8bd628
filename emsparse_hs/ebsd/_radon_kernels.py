# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops of the Radon transform and its peaks; their numpy twins are in the tests."""

import math

import numba
import numpy as np


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def radon_sums(images, centre, cosines, sines, distances, sums):
    """Sums of the intensity along lines, of several patterns with one centre at a time.

    A line is sampled once a column if it is rather flat and once a row if it is rather steep,
    with linear interpolation between the two nearest pixels. Where a sample lies is worked out once
    for all patterns, which lie side by side in memory.

    Parameters
    ----------
    images : float32 array of shape (height, width, n)
        Intensities.
    centre : float64 array of shape (3,)
        Column and row of the pattern centre and distance of the source point, in px.
    cosines, sines : float64 array of shape (n_azimuths,)
        Of the azimuths of the lines' normals, y up.
    distances : float64 array of shape (n_elevations,)
        Of the lines from the pattern centre, over the distance of the source point.
    sums : float32 array of shape (n_azimuths, n_elevations, n)
        Filled.
    """
    turned = np.ascontiguousarray(images.transpose(1, 0, 2))
    for i in range(cosines.size):
        # The line is cosine * (x - centre x) - sine * (y - centre y) = distance, rows downwards.
        if abs(sines[i]) >= abs(cosines[i]):
            pixels, along, across = turned, centre[0], centre[1]
            slope, over = cosines[i] / sines[i], -1 / sines[i]
        else:
            pixels, along, across = images, centre[1], centre[0]
            slope, over = sines[i] / cosines[i], 1 / cosines[i]
        n_samples, n_across = pixels.shape[:2]
        for j in range(distances.size):
            start = across + over * distances[j] * centre[2] - slope * along
            first, last = _inside(start, slope, n_across - 1.0, n_samples)
            total = sums[i, j]
            total[:] = 0
            for k in range(first, last):
                place = start + slope * k
                near = min(max(int(place), 0), n_across - 2)
                part = np.float32(place - near)
                one, other = pixels[k, near], pixels[k, near + 1]
                for p in range(total.size):
                    total[p] += one[p] + part * (other[p] - one[p])


@numba.njit(nogil=True, cache=True)
def _inside(start, slope, largest, n_samples):
    """First and last k, the last excluded, with start + slope * k in [0, largest]."""
    if abs(slope) < 1e-9:
        return (0, n_samples) if 0 <= start <= largest else (0, 0)
    one, other = -start / slope, (largest - start) / slope
    first, last = min(one, other), max(one, other)
    if last < 0 or first > n_samples - 1:
        return 0, 0
    return max(0, math.ceil(first)), min(n_samples, math.floor(last) + 1)


@numba.njit(nogil=True, cache=True)
def score_weights(counts, half_bins, margin, fewest, weights):
    """What sums are multiplied with in `band_scores`: the same for all patterns of one centre.

    Parameters
    ----------
    counts : float32 array of shape (n_azimuths, n_elevations)
        From `radon_sums`, of the valid pixels.
    half_bins : int array of shape (n_widths,)
        Half widths tried, in steps of elevation.
    margin : int
        Width of a side, in steps of elevation.
    fewest : float
        Samples needed along the middle line and in each side.
    weights : float32 array of shape (n_azimuths, n_widths, 4, n_elevations)
        Filled: one over the numbers of samples inside and on one side, over the standard error of
        the difference of their means, and the same for the other side; 0 where there are fewer.
    """
    n = counts.shape[1]
    weights[:] = 0
    for i in range(counts.shape[0]):
        number = np.concatenate((np.zeros(1), np.cumsum(counts[i].astype(np.float64))))
        for w in range(half_bins.size):
            for j in range(n):
                low, high = max(j - half_bins[w], 0), min(j + half_bins[w] + 1, n)
                n_in = number[high] - number[low]
                n_left = number[low] - number[max(low - margin, 0)]
                n_right = number[min(high + margin, n)] - number[high]
                if min(counts[i, j], n_left, n_right) < fewest:
                    continue
                for side, n_beside in enumerate((n_left, n_right)):
                    error = math.sqrt(1 / n_in + 1 / n_beside)
                    weights[i, w, 2 * side, j] = 1 / (n_in * error)
                    weights[i, w, 2 * side + 1, j] = 1 / (n_beside * error)


@numba.njit(nogil=True, cache=True, fastmath={"contract"})
def band_scores(sums, weights, half_bins, margin, scores):
    """How much brighter an interval of elevations is than either of its sides.

    The largest over a list of half widths of the smaller of the two differences to the sides, each
    over its standard error for white noise of unit variance.

    Parameters
    ----------
    sums : float32 array of shape (n_azimuths, n_elevations)
        From `radon_sums`.
    weights, half_bins, margin
        See `score_weights`.
    scores : float32 array of shape (n_azimuths, n_elevations)
        Filled; 0 at least where there are too few samples.
    """
    n, pad = sums.shape[1], half_bins.max() + margin
    # Running sums, which go on beyond both ends: the loop over places has no branch then, and runs
    # on several of them at once.
    total = np.zeros(n + 2 * pad + 1, np.float32)
    for i in range(sums.shape[0]):
        for j in range(n):
            total[pad + j + 1] = total[pad + j] + sums[i, j]
        total[pad + n + 1 :] = total[pad + n]
        scores[i] = -np.inf
        for w in range(half_bins.size):
            start, end = pad - half_bins[w], pad + half_bins[w] + 1
            own, best = weights[i, w], scores[i]
            for j in range(n):
                low, high = total[start + j], total[end + j]
                left, right = low - total[start - margin + j], total[end + margin + j] - high
                one = (high - low) * own[0, j] - left * own[1, j]
                other = (high - low) * own[2, j] - right * own[3, j]
                best[j] = max(best[j], min(one, other))


@numba.njit(nogil=True, cache=True)
def is_peak(scores, peaks):
    """Mark the places that no neighbour exceeds, and that are above zero.

    The first neighbours of the last azimuth are those of the first one, with elevations reversed.

    Parameters
    ----------
    scores : float32 array of shape (n_azimuths, n_elevations)
        Elevations symmetric around zero.
    peaks : bool array of shape (n_azimuths, n_elevations)
        Filled.
    """
    for i in range(scores.shape[0]):
        for j in range(scores.shape[1]):
            peaks[i, j] = scores[i, j] > 0 and not _is_exceeded(scores, i, j)


@numba.njit(nogil=True, cache=True)
def _is_exceeded(scores, i, j):
    """Whether a neighbour is higher, those of the same azimuth being looked at first."""
    n_azimuths, n = scores.shape
    for a in (i, i - 1, i + 1):
        for b in range(max(j - 1, 0), min(j + 2, n)):
            wrapped = b if 0 <= a < n_azimuths else n - 1 - b
            if scores[a % n_azimuths, wrapped] > scores[i, j]:
                return True
    return False

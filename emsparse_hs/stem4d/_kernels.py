# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops over frames; their numpy twins are in the tests."""

from __future__ import annotations

import numba
import numpy as np

# Sums may be reordered, which is what lets them run on vectors; NaN and infinity keep their sense.
_REORDERED = {"reassoc", "contract", "nsz"}


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _moments(sums):
    """Total of the sums of rows or columns, their centre, and second moment about the centre."""
    total = 0.0
    first = 0.0
    for i in range(len(sums)):
        total += np.float64(sums[i])
        first += i * np.float64(sums[i])
    # Comparisons, since isfinite is a difference that must not be reordered.
    if total == 0 or not -np.inf < total < np.inf:
        return total, np.nan, np.nan
    centre = first / total
    # About the centre, since the difference of large sums would lose the digits of a small disc.
    second = 0.0
    for i in range(len(sums)):
        second += (i - centre) * (i - centre) * np.float64(sums[i])
    return total, centre, second


@numba.njit(nogil=True, cache=True)
def _store(rows, columns, out):
    """Write the moments of one frame from the sums of its rows and of its columns."""
    out[0], out[1], out[3] = _moments(columns)
    _, out[2], out[4] = _moments(rows)


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def first_two_moments(frames, rows, columns, out):
    """Sum of each frame, centre of mass, and second moments about it along x and y.

    Parameters
    ----------
    frames : array of shape (n, y, x)
        Counts, any real dtype.
    rows, columns : arrays of shape (y,) and (x,)
        Room for the sums of the rows and of the columns. They are taken in the dtype of these, so
        it must hold the sum of a whole row and of a whole column.
    out : float64 array of shape (n, 5)
        Filled with the sum, x and y of the centre in px, and the sums of counts times squared
        distance to the centre along x and y, in counts * px**2.
    """
    for i in range(len(frames)):
        columns[:] = 0
        for y in range(frames.shape[1]):
            row_sum = columns.dtype.type(0)
            for x in range(frames.shape[2]):
                value = columns.dtype.type(frames[i, y, x])
                row_sum += value
                columns[x] += value
            rows[y] = row_sum
        _store(rows, columns, out[i])


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def first_two_moments_of_runs(frames, runs, rows, columns, out):
    """As `first_two_moments`, over the pixels of some runs only; the others are never read.

    Runs instead of a mask keep the inner loop free of branches, and a NaN outside does no harm.

    Parameters
    ----------
    frames : array of shape (n, y, x)
        Counts, any real dtype.
    runs : int array of shape (n_runs, 3)
        Row, first column, and column after the last one, of pixels that count.
    rows, columns, out
        As in `first_two_moments`.
    """
    for i in range(len(frames)):
        rows[:] = 0
        columns[:] = 0
        for k in range(len(runs)):
            y, start, stop = runs[k]
            pixels = frames[i, y, start:stop]
            sums = columns[start:stop]
            row_sum = columns.dtype.type(0)
            for x in range(len(pixels)):
                value = columns.dtype.type(pixels[x])
                row_sum += value
                sums[x] += value
            rows[y] += row_sum
        _store(rows, columns, out[i])


@numba.njit(nogil=True, cache=True)
def runs_of(mask):
    """Row, start and stop of each unbroken run of True in the rows of a mask.

    Parameters
    ----------
    mask : bool array of shape (y, x)
        True where a pixel counts.

    Returns
    -------
    int array of shape (n_runs, 3)
        Row, first column, and column after the last one.
    """
    n_y, n_x = mask.shape
    n_runs = 0
    for y in range(n_y):
        for x in range(n_x):
            n_runs += mask[y, x] and (x == 0 or not mask[y, x - 1])
    runs = np.empty((n_runs, 3), np.intp)
    k = 0
    for y in range(n_y):
        for x in range(n_x):
            if mask[y, x] and (x == 0 or not mask[y, x - 1]):
                runs[k, 0], runs[k, 1] = y, x
            if mask[y, x] and (x == n_x - 1 or not mask[y, x + 1]):
                runs[k, 2] = x + 1
                k += 1
    return runs


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def _mean_of_runs(frame, runs, zero):
    """Mean of the pixels of some runs; `zero` is of a dtype that holds the sum of a row."""
    total = 0.0
    n_pixels = 0
    for k in range(len(runs)):
        y, start, stop = runs[k]
        pixels = frame[y, start:stop]
        row_sum = zero
        for x in range(len(pixels)):
            row_sum += type(zero)(pixels[x])
        total += np.float64(row_sum)
        n_pixels += len(pixels)
    return total / n_pixels if n_pixels else np.nan


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def first_two_moments_above(frames, threshold, runs, rows, columns, out):
    """As `first_two_moments_of_runs`, without the pixels below `threshold` times their mean.

    Each frame is read twice, the second time from the cache.

    Parameters
    ----------
    frames : array of shape (n, y, x)
        Counts, any real dtype.
    threshold : float
        In units of the mean of the pixels of the runs of a frame.
    runs, rows, columns, out
        As in `first_two_moments_of_runs`.
    """
    for i in range(len(frames)):
        lowest = threshold * _mean_of_runs(frames[i], runs, columns.dtype.type(0))
        rows[:] = 0
        columns[:] = 0
        for k in range(len(runs)):
            y, start, stop = runs[k]
            pixels = frames[i, y, start:stop]
            sums = columns[start:stop]
            row_sum = columns.dtype.type(0)
            for x in range(len(pixels)):
                # NaN is not below anything, and so spoils the frame as it should.
                ignored = np.float64(pixels[x]) < lowest
                value = columns.dtype.type(0 if ignored else pixels[x])
                row_sum += value
                sums[x] += value
            rows[y] += row_sum
        _store(rows, columns, out[i])

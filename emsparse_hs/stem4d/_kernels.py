# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops over frames; their numpy twins are in the tests."""

from __future__ import annotations

import numba
import numpy as np

# Sums may be reordered, which is what lets them run on vectors; NaN and infinity keep their sense.
_REORDERED = {"reassoc", "contract", "nsz"}


@numba.njit(nogil=True, cache=True)
def _store(columns, moment_y, out):
    """Write sum, sum * y and sum * x of one frame."""
    total = 0.0
    moment_x = 0.0
    for x in range(len(columns)):
        total += np.float64(columns[x])
        moment_x += x * np.float64(columns[x])
    out[0] = total
    out[1] = moment_y
    out[2] = moment_x


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def first_moments(frames, columns, out):
    """Sum, and first moments along y and x, of each frame.

    Parameters
    ----------
    frames : array of shape (n, y, x)
        Counts, any real dtype.
    columns : array of shape (x,)
        Room for the sums of the columns. Rows and columns are summed in its dtype, so it must hold
        the sum of a whole row and of a whole column.
    out : float64 array of shape (n, 3)
        Filled with sum, sum * y and sum * x of each frame, in counts and counts * px.
    """
    for i in range(len(frames)):
        columns[:] = 0
        moment_y = 0.0
        for y in range(frames.shape[1]):
            row_sum = columns.dtype.type(0)
            for x in range(frames.shape[2]):
                value = columns.dtype.type(frames[i, y, x])
                row_sum += value
                columns[x] += value
            moment_y += y * np.float64(row_sum)
        _store(columns, moment_y, out[i])


@numba.njit(nogil=True, cache=True, fastmath=_REORDERED)
def first_moments_of_runs(frames, runs, columns, out):
    """As `first_moments`, over the pixels of some runs only; the others are never read.

    Runs instead of a mask keep the inner loop free of branches, and a NaN outside does no harm.

    Parameters
    ----------
    frames : array of shape (n, y, x)
        Counts, any real dtype.
    runs : int array of shape (n_runs, 3)
        Row, first column, and column after the last one, of pixels that count.
    columns, out
        As in `first_moments`.
    """
    for i in range(len(frames)):
        columns[:] = 0
        moment_y = 0.0
        for k in range(len(runs)):
            y, start, stop = runs[k]
            pixels = frames[i, y, start:stop]
            sums = columns[start:stop]
            row_sum = columns.dtype.type(0)
            for x in range(len(pixels)):
                value = columns.dtype.type(pixels[x])
                row_sum += value
                sums[x] += value
            moment_y += y * np.float64(row_sum)
        _store(columns, moment_y, out[i])

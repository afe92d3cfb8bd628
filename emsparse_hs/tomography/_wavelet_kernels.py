# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops of the wavelet prior, over one slab; their numpy twins are in the tests.

One level of the transform takes from each voxel and those `stride` further along each axis half
their sum or half their difference, along one axis after the other: 8 bands in three dimensions, 4
in two, of which the first, all sums, is what the next level begins with. Beyond the last slice of a
slab follows the next one; beyond the volume it is empty, and no coefficient that reaches so far
counts.
"""

import numba
import numpy as np

from ._kernels import OPTIONS, SLAB

_ONE, _ZERO, _HALF = np.float32(1), np.float32(0), np.float32(0.5)


@numba.njit(**OPTIONS)
def _read(here, after, r, c, stride, deep, bands):
    """Fill `bands` (4, 2, SLAB) with voxels of a square, and those `stride` slices further."""
    rows, columns, _ = here.shape
    for k in range(4):
        row, column = r + stride * (k // 2), c + stride * (k % 2)
        if row >= rows or column >= columns:
            bands[k] = _ZERO
            continue
        for s in range(SLAB):
            bands[k, 0, s] = here[row, column, s]
        if deep:
            for s in range(SLAB - stride):
                bands[k, 1, s] = here[row, column, s + stride]
            for s in range(stride):
                bands[k, 1, SLAB - stride + s] = after[row, column, s]


@numba.njit(**OPTIONS)
def _split(bands, deep):
    """Turn voxels into the bands of one level, in place: [2 * z + y, slice], 0 for sums."""
    for first, second in ((0, 2), (1, 3), (0, 1), (2, 3)):
        for k in range(2 if deep else 1):
            for s in range(SLAB):
                one, other = bands[first, k, s], bands[second, k, s]
                bands[first, k, s] = _HALF * (one + other)
                bands[second, k, s] = _HALF * (one - other)
    if deep:
        for b in range(4):
            for s in range(SLAB):
                one, other = bands[b, 0, s], bands[b, 1, s]
                bands[b, 0, s] = _HALF * (one + other)
                bands[b, 1, s] = _HALF * (one - other)


@numba.njit(**OPTIONS)
def ascend_wavelets(here, after, stride, deep, counts, rise, weight, p, low):
    """Move the dual of one level up by its bands of a volume, back to abs(p) <= weight.

    Parameters
    ----------
    here, after : float32 array of shape (z, y, SLAB)
        Slab of the volume, or of the sums of the level before, and the slab after it.
    stride : int
        Distance of the voxels that are compared, SLAB at the most.
    deep : bool
        In three dimensions.
    counts : float32 array of shape (SLAB,)
        1 for slices whose coefficients count, 0 for others.
    rise : float32 array of shape (SLAB,)
        Step of the dual in each slice.
    weight : float
        Weight of this level.
    p : float32 array of shape (7 or 3, z, y, SLAB)
        Dual of the bands but for the first, changed.
    low : float32 array of shape (z, y, SLAB)
        Filled with the first band.
    """
    rows, columns, _ = here.shape
    bands = np.empty((4, 2, SLAB), np.float32)
    weight = np.float32(weight)
    reach = 2 * stride - 1
    for r in range(rows):
        for c in range(columns):
            _read(here, after, r, c, stride, deep, bands)
            _split(bands, deep)
            for s in range(SLAB):
                low[r, c, s] = bands[0, 0, s]
            if r + reach >= rows or c + reach >= columns:
                continue
            for b in range(len(p)):
                k, j = (b + 1) // 2 if deep else b + 1, (b + 1) % 2 if deep else 0
                for s in range(SLAB):
                    new = p[b, r, c, s] + rise[s] * bands[k, j, s]
                    p[b, r, c, s] = counts[s] * min(weight, max(-weight, new))


@numba.njit(**OPTIONS)
def size_of_wavelets(here, after, stride, deep, counts, n_bands, low):
    """Sum of the absolute values of the bands of one level but the first, of each slice.

    Arguments are as in `ascend_wavelets`. The result is a float64 array of shape (SLAB,).
    """
    rows, columns, _ = here.shape
    bands = np.empty((4, 2, SLAB), np.float32)
    total = np.zeros(SLAB)
    reach = 2 * stride - 1
    for r in range(rows):
        for c in range(columns):
            _read(here, after, r, c, stride, deep, bands)
            _split(bands, deep)
            for s in range(SLAB):
                low[r, c, s] = bands[0, 0, s]
            if r + reach >= rows or c + reach >= columns:
                continue
            for b in range(1, n_bands + 1):
                k, j = b // 2 if deep else b, b % 2 if deep else 0
                for s in range(SLAB):
                    total[s] += abs(bands[k, j, s])
    return total * counts


@numba.njit(**OPTIONS)
def merge_wavelets(low, low_before, p, p_before, stride, deep, out):
    """Add up what the bands of one level lead to: the adjoint of the transform.

    Parameters
    ----------
    low, low_before : float32 array of shape (z, y, SLAB)
        First band of this slab and of the one before it.
    p, p_before : float32 array of shape (7 or 3, z, y, SLAB)
        The other bands of both slabs.
    stride, deep
        As in `ascend_wavelets`.
    out : float32 array of shape (z, y, SLAB)
        Filled.
    """
    rows, columns, _ = out.shape
    bands = np.empty((4, 2, SLAB), np.float32)
    ends = np.empty((4, 2, SLAB), np.float32)
    out[:] = _ZERO
    for r in range(rows):
        for c in range(columns):
            _gather(low, p, r, c, 0, deep, bands)
            _unite(bands, deep, 0)
            if deep:
                first = SLAB - stride
                _gather(low_before, p_before, r, c, first, deep, ends)
                _unite(ends, deep, first)
            for k in range(4):
                row, column = r + stride * (k // 2), c + stride * (k % 2)
                if row >= rows or column >= columns:
                    continue
                for s in range(SLAB):
                    out[row, column, s] += bands[k, 0, s]
                if deep:
                    for s in range(SLAB - stride):
                        out[row, column, s + stride] += bands[k, 1, s]
                    for s in range(stride):
                        out[row, column, s] += ends[k, 1, SLAB - stride + s]


@numba.njit(**OPTIONS)
def _gather(low, p, r, c, first, deep, bands):
    """Fill `bands` (4, 2, SLAB), from the slice number `first` on, with all bands of a voxel."""
    for s in range(first, SLAB):
        bands[0, 0, s] = low[r, c, s]
    for b in range(len(p)):
        k, j = (b + 1) // 2 if deep else b + 1, (b + 1) % 2 if deep else 0
        for s in range(first, SLAB):
            bands[k, j, s] = p[b, r, c, s]


@numba.njit(**OPTIONS)
def _unite(bands, deep, first):
    """Turn bands into what they add to the voxels that they came from, in place."""
    if deep:
        for b in range(4):
            for s in range(first, SLAB):
                one, other = bands[b, 0, s], bands[b, 1, s]
                bands[b, 0, s] = _HALF * (one + other)
                bands[b, 1, s] = _HALF * (one - other)
    for one_band, other_band in ((0, 1), (2, 3), (0, 2), (1, 3)):
        for k in range(2 if deep else 1):
            for s in range(first, SLAB):
                one, other = bands[one_band, k, s], bands[other_band, k, s]
                bands[one_band, k, s] = _HALF * (one + other)
                bands[other_band, k, s] = _HALF * (one - other)


@numba.njit(**OPTIONS)
def descend(x, slope, lead, step, high, keep, out):
    """Fill `out` with keep x - step (slope + lead), back to 0 <= out <= high, for one slab."""
    rows, columns, _ = x.shape
    high, keep = np.float32(high), np.float32(keep)
    for r in range(rows):
        for c in range(columns):
            for s in range(SLAB):
                value = keep * x[r, c, s] - step[s] * (slope[r, c, s] + lead[r, c, s])
                out[r, c, s] = min(high, max(_ZERO, value))

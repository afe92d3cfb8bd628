# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops of total generalised variation, over one slab; numpy twins are in the tests.

The gradient is that of `_tv_kernels`. The symmetrised derivative of a field v takes backward
differences, zero at the first voxel: with axes z, y, s its six parts are zz, yy, ss, zy, zs, ys.
Across slices backward differences are times `back`, an array over the slices of a slab, as forward
ones are times `across`.

Most loops write one row only: of several the compiler can't tell whether one overlaps another, and
takes no vectors. With all in one an iteration took 1.6 times as long.
"""

import numba
import numpy as np

from ._kernels import OPTIONS, SLAB
from ._tv_kernels import _one_over_root

_ONE, _ZERO, _HALF = np.float32(1), np.float32(0), np.float32(0.5)
_TINY, _JUST_BELOW = np.float32(1e-30), np.float32(1 - 1e-5)


@numba.njit(**OPTIONS)
def _mismatch(p, r, beyond, across, back, row, column, out):
    """Fill `out` (3, slice) with p minus the adjoint derivative of r at one pixel."""
    rows, columns = p.shape[1:3]
    down, right = min(row + 1, rows - 1), min(column + 1, columns - 1)
    has_above, has_below = _ONE * (row > 0), _ONE * (row < rows - 1)
    has_left, has_right = _ONE * (column > 0), _ONE * (column < columns - 1)
    for s in range(SLAB):
        out[0, s] = (
            has_below * p[0, row, column, s]
            - has_above * r[0, row, column, s]
            + has_below * r[0, down, column, s]
            - has_left * r[3, row, column, s]
            + has_right * r[3, row, right, s]
            - back[s] * r[4, row, column, s]
        )
    for s in range(SLAB):
        out[1, s] = (
            has_right * p[1, row, column, s]
            - has_above * r[3, row, column, s]
            + has_below * r[3, down, column, s]
            - has_left * r[1, row, column, s]
            + has_right * r[1, row, right, s]
            - back[s] * r[5, row, column, s]
        )
    for s in range(SLAB):
        out[2, s] = (
            across[s] * p[2, row, column, s]
            - has_above * r[4, row, column, s]
            + has_below * r[4, down, column, s]
            - has_left * r[5, row, column, s]
            + has_right * r[5, row, right, s]
            - back[s] * r[2, row, column, s]
        )
    for s in range(SLAB - 1):
        out[0, s] += across[s] * r[4, row, column, s + 1]
    for s in range(SLAB - 1):
        out[1, s] += across[s] * r[5, row, column, s + 1]
    for s in range(SLAB - 1):
        out[2, s] += across[s] * r[2, row, column, s + 1]
    for k in range(3):
        out[k, SLAB - 1] += across[SLAB - 1] * beyond[k, row, column]


@numba.njit(**OPTIONS)
def descend_field(p, r, beyond, across, back, step, limit, v, ahead):
    """Move the field v by `step` times the mismatch of its duals, within abs(v) <= limit.

    Parameters
    ----------
    p : float32 array of shape (3, z, y, SLAB)
        Dual of the gradient.
    r : float32 array of shape (6, z, y, SLAB)
        Dual of the symmetrised derivative.
    beyond : float32 array of shape (3, z, y)
        Parts zs, ys and ss of r in the first slice of the slab after.
    across, back : float32 array of shape (SLAB,)
        Weight of the difference to the next slice, and from the one before.
    step : float32 array of shape (SLAB,)
        Step of v in each slice.
    limit : float
        Bound of each component of v.
    v, ahead : float32 array of shape (3, z, y, SLAB)
        The field, and the point as far beyond the new one as the old one is before it; changed.
    """
    rows, columns = p.shape[1:3]
    limit = np.float32(limit)
    out = np.empty((3, SLAB), np.float32)
    for row in range(rows):
        for column in range(columns):
            _mismatch(p, r, beyond, across, back, row, column, out)
            for k in range(3):
                for s in range(SLAB):
                    old = v[k, row, column, s]
                    new = min(limit, max(-limit, old + step[s] * out[k, s]))
                    v[k, row, column, s] = new
                    ahead[k, row, column, s] = new + new - old


@numba.njit(**OPTIONS)
def size_of_mismatch(p, r, beyond, across, back):
    """Sum of the absolute components of p minus the adjoint derivative of r, of each slice.

    Arguments are as in `descend_field`. The result is a float64 array of shape (SLAB,).
    """
    rows, columns = p.shape[1:3]
    out = np.empty((3, SLAB), np.float32)
    total = np.zeros(SLAB)
    for row in range(rows):
        for column in range(columns):
            _mismatch(p, r, beyond, across, back, row, column, out)
            for s in range(SLAB):
                total[s] += abs(out[0, s]) + abs(out[1, s]) + abs(out[2, s])
    return total


@numba.njit(**OPTIONS)
def _differences(w, w_beyond, v, v_before, across, back, row, column, out):
    """Fill `out` (9, slice) with gradient of w - v, and the derivative of v, at one pixel."""
    rows, columns, _ = w.shape
    down, right = min(row + 1, rows - 1), min(column + 1, columns - 1)
    up, left = max(row - 1, 0), max(column - 1, 0)
    has_below, has_right = _ONE * (row < rows - 1), _ONE * (column < columns - 1)
    for s in range(SLAB):
        here = w[row, column, s]
        out[0, s] = has_below * (w[down, column, s] - here - v[0, row, column, s])
    for s in range(SLAB):
        here = w[row, column, s]
        out[1, s] = has_right * (w[row, right, s] - here - v[1, row, column, s])
    for s in range(SLAB):
        out[3, s] = v[0, row, column, s] - v[0, up, column, s]
    for s in range(SLAB):
        out[4, s] = v[1, row, column, s] - v[1, row, left, s]
    for s in range(SLAB):
        along_z = v[1, row, column, s] - v[1, up, column, s]
        out[6, s] = _HALF * (v[0, row, column, s] - v[0, row, left, s] + along_z)
    for s in range(SLAB):
        out[7, s] = _HALF * (v[2, row, column, s] - v[2, up, column, s])
    for s in range(SLAB):
        out[8, s] = _HALF * (v[2, row, column, s] - v[2, row, left, s])
    for s in range(SLAB - 1):
        further = w[row, column, s + 1]
        out[2, s] = across[s] * (further - w[row, column, s] - v[2, row, column, s])
    last = SLAB - 1
    further = w_beyond[row, column]
    out[2, last] = across[last] * (further - w[row, column, last] - v[2, row, column, last])
    for s in range(1, SLAB):
        out[5, s] = back[s] * (v[2, row, column, s] - v[2, row, column, s - 1])
    for s in range(1, SLAB):
        out[7, s] += _HALF * back[s] * (v[0, row, column, s] - v[0, row, column, s - 1])
    for s in range(1, SLAB):
        out[8, s] += _HALF * back[s] * (v[1, row, column, s] - v[1, row, column, s - 1])
    out[5, 0] = back[0] * (v[2, row, column, 0] - v_before[2, row, column])
    out[7, 0] += _HALF * back[0] * (v[0, row, column, 0] - v_before[0, row, column])
    out[8, 0] += _HALF * back[0] * (v[1, row, column, 0] - v_before[1, row, column])


@numba.njit(**OPTIONS)
def ascend_duals(w, w_beyond, v, v_before, across, back, rise, lift, weight, bend, p, r):
    """Move both duals up by the gradient of w - v and the symmetrised derivative of v.

    Parameters
    ----------
    w : float32 array of shape (z, y, SLAB)
        Slab of a volume.
    w_beyond : float32 array of shape (z, y)
        The first slice of the slab after it.
    v : float32 array of shape (3, z, y, SLAB)
        Slab of a field.
    v_before : float32 array of shape (3, z, y)
        The last slice of the slab before it.
    across, back : float32 array of shape (SLAB,)
        As in `descend_field`.
    rise, lift : float32 array of shape (SLAB,)
        Step of p and of r in each slice.
    weight, bend : float
        Bounds of the lengths of p and r.
    p, r : float32 array of shape (3, z, y, SLAB) and (6, z, y, SLAB)
        Changed.
    """
    rows, columns, _ = w.shape
    weight, bend = _JUST_BELOW * np.float32(weight), _JUST_BELOW * np.float32(bend)
    d = np.empty((9, SLAB), np.float32)
    for row in range(rows):
        for column in range(columns):
            _differences(w, w_beyond, v, v_before, across, back, row, column, d)
            for s in range(SLAB):
                pz = p[0, row, column, s] + rise[s] * d[0, s]
                py = p[1, row, column, s] + rise[s] * d[1, s]
                ps = p[2, row, column, s] + rise[s] * d[2, s]
                square = max(pz * pz + py * py + ps * ps, _TINY)
                shrink = min(_ONE, weight * _one_over_root(square))
                p[0, row, column, s] = shrink * pz
                p[1, row, column, s] = shrink * py
                p[2, row, column, s] = shrink * ps
            for s in range(SLAB):
                zz = r[0, row, column, s] + lift[s] * d[3, s]
                yy = r[1, row, column, s] + lift[s] * d[4, s]
                ss = r[2, row, column, s] + lift[s] * d[5, s]
                zy = r[3, row, column, s] + lift[s] * d[6, s]
                zs = r[4, row, column, s] + lift[s] * d[7, s]
                ys = r[5, row, column, s] + lift[s] * d[8, s]
                mixed = zy * zy + zs * zs + ys * ys
                square = max(zz * zz + yy * yy + ss * ss + mixed + mixed, _TINY)
                shrink = min(_ONE, bend * _one_over_root(square))
                r[0, row, column, s] = shrink * zz
                r[1, row, column, s] = shrink * yy
                r[2, row, column, s] = shrink * ss
                r[3, row, column, s] = shrink * zy
                r[4, row, column, s] = shrink * zs
                r[5, row, column, s] = shrink * ys


@numba.njit(**OPTIONS)
def second_order(x, x_beyond, v, v_before, across, back, weight, bend):
    """Weighted lengths of the gradient of x - v and the derivative of v, summed in each slice.

    Arguments are as in `ascend_duals`. The result is a float64 array of shape (SLAB,).
    """
    rows, columns, _ = x.shape
    d = np.empty((9, SLAB), np.float32)
    total = np.zeros(SLAB)
    for row in range(rows):
        for column in range(columns):
            _differences(x, x_beyond, v, v_before, across, back, row, column, d)
            for s in range(SLAB):
                slope = d[0, s] ** 2 + d[1, s] ** 2 + d[2, s] ** 2
                mixed = d[6, s] ** 2 + d[7, s] ** 2 + d[8, s] ** 2
                curve = d[3, s] ** 2 + d[4, s] ** 2 + d[5, s] ** 2 + mixed + mixed
                total[s] += weight * np.sqrt(slope) + bend * np.sqrt(curve)
    return total

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops of the total-variation solver, over one slab; their numpy twins are in the tests.

The gradient takes forward differences, zero beyond the last voxel. Across slices they are times
`across`, an array over the slices of a slab: 1 in three dimensions, 0 slice by slice and where the
volume ends, so that all loops run over a whole slab; what fills up the last one stays zero. The
last slice of a slab has its neighbour in the slab after it.
"""

import numba
import numpy as np

from ._kernels import OPTIONS, SLAB

_ONE, _ZERO = np.float32(1), np.float32(0)
_HALF, _THREE_HALVES = np.float32(0.5), np.float32(1.5)
#: A smaller square of a dual is none; one over it would leave the range of float32.
_TINY = np.float32(1e-30)
#: No dual may be longer than the weight, whatever the rounding.
_JUST_BELOW = np.float32(1 - 1e-5)
#: Slices of a slab and the one after it, filled up so that each pixel begins a line of the cache.
_WIDTH = SLAB + 16


@numba.njit(**OPTIONS)
def sweep(
    x, slope, joins, first, beyond, across, step, rise, high, keep, momentum, weight, soft, p, last
):
    """Move the gradient's dual p up to where it would be best for the volume that it leads to.

    This is one step of the accelerated projected gradient (Beck and Teboulle, IEEE Trans. Image
    Process. 18 (2009) 2419) on the dual of min_w <slope, w> + |w - keep x|^2 / 2 step + weight
    TV(w) within the bounds: from y = p + momentum (p - last), the volume that it leads to is w,
    and the new p is y + rise * gradient of w, brought back to abs(p) <= weight. Volumes w are made
    row by row and not kept.

    Parameters
    ----------
    x, slope : float32 array of shape (z, y, SLAB)
        Slab of the volume and of its slope.
    joins : bool
        Whether there is a slab before, on which the first slice depends.
    first, beyond : float32 array of shape (z, y)
        w in the first slice of this slab, if so, and of the slab after it, from `first_slice`.
    across : float32 array of shape (SLAB,)
        Weight of the difference to the next slice.
    step, rise : float32 array of shape (SLAB,)
        Step of the volume and of p in each slice.
    high, keep, momentum, weight : float
        Upper bound of w, what x is multiplied by, see above, and the bound of abs(p).
    soft : float
        p is divided by 1 + soft * rise: the slope of Huber's function instead of TV's edge at 0.
    p, last : float32 array of shape (3, z, y, SLAB)
        Dual along z, y and slice, and the one before it; the latter is overwritten by the new p.
    """
    rows, columns, _ = x.shape
    w = np.empty((columns, _WIDTH), np.float32)
    below = np.empty((columns, _WIDTH), np.float32)
    high, keep, momentum = np.float32(high), np.float32(keep), np.float32(momentum)
    weight, soft = np.float32(weight), np.float32(soft)
    _descend_row(x, slope, p, last, joins, first, beyond, across, step, high, keep, momentum, 0, w)
    for r in range(rows):
        # The row below is made from the old p of this row, before that is overwritten.
        if r + 1 < rows:
            _descend_row(
                x,
                slope,
                p,
                last,
                joins,
                first,
                beyond,
                across,
                step,
                high,
                keep,
                momentum,
                r + 1,
                below,
            )
        else:
            below[:] = w
        _ascend_row(w, below, across, rise, momentum, weight, soft, p, last, r)
        w, below = below, w


@numba.njit(**OPTIONS)
def _descend_row(
    x, slope, p, last, joins, first, beyond, across, step, high, keep, momentum, r, out
):
    """Fill `out` (y, slice) with one row of w, and the value beyond its last slice."""
    rows, columns, _ = x.shape
    one_more = _ONE + momentum
    # The last difference along an axis is zero, so its dual does not count.
    not_last_row = _ONE if r < rows - 1 else _ZERO
    not_first_row = _ONE if r > 0 else _ZERO
    above_row = max(r - 1, 0)
    for c in range(columns):
        not_last_column = _ONE if c < columns - 1 else _ZERO
        not_first_column = _ONE if c > 0 else _ZERO
        left_column = max(c - 1, 0)
        for s in range(SLAB):
            pz = one_more * p[0, r, c, s] - momentum * last[0, r, c, s]
            py = one_more * p[1, r, c, s] - momentum * last[1, r, c, s]
            px = one_more * p[2, r, c, s] - momentum * last[2, r, c, s]
            above = one_more * p[0, above_row, c, s] - momentum * last[0, above_row, c, s]
            left = one_more * p[1, r, left_column, s] - momentum * last[1, r, left_column, s]
            out[c, s] = (
                slope[r, c, s]
                + not_first_row * above
                - not_last_row * pz
                + not_first_column * left
                - not_last_column * py
                - across[s] * px
            )
        for s in range(1, SLAB):
            px = one_more * p[2, r, c, s - 1] - momentum * last[2, r, c, s - 1]
            out[c, s] += across[s - 1] * px
        for s in range(SLAB):
            w = keep * x[r, c, s] - step[s] * out[c, s]
            out[c, s] = min(high, max(_ZERO, w))
        out[c, SLAB] = beyond[r, c]
        if joins:
            out[c, 0] = first[r, c]


@numba.njit(**OPTIONS)
def _ascend_row(w, below, across, rise, momentum, weight, soft, p, last, r):
    """Overwrite one row of `last` with the new p."""
    columns = w.shape[0]
    one_more, just_below = _ONE + momentum, _JUST_BELOW * weight
    for c in range(columns):
        right = min(c + 1, columns - 1)
        for s in range(SLAB):
            gz = below[c, s] - w[c, s]
            gy = w[right, s] - w[c, s]
            gx = across[s] * (w[c, s + 1] - w[c, s])
            pz = one_more * p[0, r, c, s] - momentum * last[0, r, c, s] + rise[s] * gz
            py = one_more * p[1, r, c, s] - momentum * last[1, r, c, s] + rise[s] * gy
            px = one_more * p[2, r, c, s] - momentum * last[2, r, c, s] + rise[s] * gx
            square = max(pz * pz + py * py + px * px, _TINY)
            shrink = min(_ONE / (_ONE + soft * rise[s]), just_below * _one_over_root(square))
            last[0, r, c, s] = shrink * pz
            last[1, r, c, s] = shrink * py
            last[2, r, c, s] = shrink * px


@numba.njit(**OPTIONS)
def _one_over_root(square):
    """1 / sqrt to 5e-6, by the exponent halved and two steps of Newton's method.

    With the processor's square root and division a sweep takes a quarter longer.
    """
    # numba wants to be told what these are.
    halved = np.int32(np.float32(square).view(np.int32) >> 1)
    guess = np.float32(np.int32(0x5F3759DF - halved).view(np.float32))
    guess *= _THREE_HALVES - _HALF * square * guess * guess
    return guess * (_THREE_HALVES - _HALF * square * guess * guess)


@numba.njit(**OPTIONS)
def first_slice(x, slope, p, last, before, last_before, step, high, keep, momentum, out):
    """Fill `out` (z, y) with w in the first slice of a slab, from arguments as in `sweep`.

    `before` and `last_before` are p and last of the slab before.
    """
    rows, columns, _ = x.shape
    high, keep, momentum = np.float32(high), np.float32(keep), np.float32(momentum)
    one_more = _ONE + momentum
    for r in range(rows):
        for c in range(columns):
            total = slope[r, c, 0]
            total += (
                one_more * before[2, r, c, SLAB - 1] - momentum * last_before[2, r, c, SLAB - 1]
            )
            total -= one_more * p[2, r, c, 0] - momentum * last[2, r, c, 0]
            if r < rows - 1:
                total -= one_more * p[0, r, c, 0] - momentum * last[0, r, c, 0]
            if r > 0:
                total += one_more * p[0, r - 1, c, 0] - momentum * last[0, r - 1, c, 0]
            if c < columns - 1:
                total -= one_more * p[1, r, c, 0] - momentum * last[1, r, c, 0]
            if c > 0:
                total += one_more * p[1, r, c - 1, 0] - momentum * last[1, r, c - 1, 0]
            out[r, c] = min(high, max(_ZERO, keep * x[r, c, 0] - step[0] * total))


@numba.njit(**OPTIONS)
def volume_step(x, slope, step, high, relaxation):
    """Move x down by `step` times `slope`, back to 0 <= x <= high.

    Parameters
    ----------
    x : float32 array of shape (z, y, SLAB)
        The slab, changed.
    slope : float32 array of shape (z, y, SLAB)
        Overwritten with the point as far beyond the new one as the old one is before it.
    step : float32 array of shape (SLAB,)
        Step of each slice.
    high, relaxation : float
        Upper bound, and how far to go to the new point (1: there).
    """
    rows, columns, _ = x.shape
    high, relaxation = np.float32(high), np.float32(relaxation)
    for r in range(rows):
        for c in range(columns):
            for s in range(SLAB):
                old = x[r, c, s]
                new = min(high, max(_ZERO, old - step[s] * slope[r, c, s]))
                slope[r, c, s] = new + new - old
                x[r, c, s] = old + relaxation * (new - old)


@numba.njit(**OPTIONS)
def add_adjoint_gradient(slope, p, before, across):
    """Add the adjoint gradient of p to `slope`.

    Parameters
    ----------
    slope : float32 array of shape (z, y, SLAB)
        Changed.
    p : float32 array of shape (3, z, y, SLAB)
        Dual of the gradient.
    before : float32 array of shape (z, y)
        Its part along the slices, in the slice before the slab.
    across : float32 array of shape (SLAB,)
        As in `sweep`.
    """
    rows, columns, _ = slope.shape
    for r in range(rows):
        not_last_row = _ONE if r < rows - 1 else _ZERO
        not_first_row = _ONE if r > 0 else _ZERO
        above = max(r - 1, 0)
        for c in range(columns):
            not_last_column = _ONE if c < columns - 1 else _ZERO
            not_first_column = _ONE if c > 0 else _ZERO
            left = max(c - 1, 0)
            for s in range(SLAB):
                slope[r, c, s] += (
                    not_first_row * p[0, above, c, s]
                    - not_last_row * p[0, r, c, s]
                    + not_first_column * p[1, r, left, s]
                    - not_last_column * p[1, r, c, s]
                    - across[s] * p[2, r, c, s]
                )
            for s in range(1, SLAB):
                slope[r, c, s] += across[s - 1] * p[2, r, c, s - 1]
            slope[r, c, 0] += before[r, c]


@numba.njit(**OPTIONS)
def data_step(projection, measured, step, per_ray, precision, relaxation, q):
    """Move the data's dual q towards `projection` - `measured`.

    Parameters
    ----------
    projection, measured : float32 array of shape (tilt, detector, SLAB)
        Projection of the volume ahead, and the data.
    step : float32 array of shape (SLAB,)
        Step of each slice.
    per_ray : float32 array of shape (tilt, detector)
        What the step is multiplied by for each ray.
    precision : float32 array of shape (tilt, detector, SLAB) or (1, 1, SLAB)
        Weight of the squared residual of each datum, or of all of a slice.
    relaxation : float
        How far to go to the new point (1: there).
    q : float32 array of shape (tilt, detector, SLAB)
        Changed.
    """
    relaxation = np.float32(relaxation)
    same = precision.shape[1] == 1
    tiny = np.float32(1e-30)
    for a in range(q.shape[0]):
        for d in range(q.shape[1]):
            trust = precision[0, 0] if same else precision[a, d]
            for s in range(SLAB):
                up = step[s] * per_ray[a, d]
                ahead = q[a, d, s] + up * (projection[a, d, s] - measured[a, d, s])
                # The dual of a datum without weight is zero.
                new = ahead * trust[s] / max(trust[s] + up, tiny)
                q[a, d, s] += relaxation * (new - q[a, d, s])


@numba.njit(**OPTIONS)
def variation(x, beyond, across, weight, soft):
    """Sum over the pixels of each slice of Huber's function of the gradient, times `weight`.

    Arguments are as in `sweep`; `beyond` is x in the first slice of the slab after. The result is
    a float64 array of shape (SLAB,).
    """
    rows, columns, _ = x.shape
    weight, soft = np.float32(weight), np.float32(soft)
    total = np.zeros(SLAB)
    row = np.empty(SLAB, np.float32)
    # Below this length the function is a parabola.
    edge = weight * soft
    for r in range(rows):
        below = min(r + 1, rows - 1)
        for c in range(columns):
            right = min(c + 1, columns - 1)
            for s in range(SLAB):
                further = x[r, c, s + 1] if s + 1 < SLAB else beyond[r, c]
                gz, gy = x[below, c, s] - x[r, c, s], x[r, right, s] - x[r, c, s]
                gx = across[s] * (further - x[r, c, s])
                row[s] = np.sqrt(gz * gz + gy * gy + gx * gx)
            for s in range(SLAB):
                length = row[s]
                if length < edge:
                    total[s] += length * length / (edge + edge)
                else:
                    total[s] += length - np.float32(0.5) * edge
    return total * weight


@numba.njit(**OPTIONS)
def price_of_descent(slope, seen, least, high, reach, shift, n, n_bins, span):
    """How much x could still gain where `slope` + shift * seen is negative.

    Parameters
    ----------
    slope : float32 array of shape (z, y, SLAB)
        Slope of the dual at each voxel.
    seen : float32 array of shape (z, y, 1) or (z, y, SLAB)
        What a shift by 1 adds to it, 0 in pixels that no ray crosses.
    least : float64 array of shape (slice,)
        Least of what is seen, above 0, in the whole problem that a slice belongs to.
    high : float
        Upper bound of x.
    reach : float64 array of shape (slice,)
        A bound of x times `seen`.
    shift : float64 array of shape (slice,)
        The shift.
    n : int
        Slices in the slab.
    n_bins : int
        Number of parts of `span` by which the fall of the price is counted.
    span : float64 array of shape (slice,)
        Largest further shift.

    Returns
    -------
    price : float64 array of shape (n,)
        Sum of x times the negative part, with x at its bound.
    falls : float64 array of shape (n_bins, n)
        By how much a further shift of 1 lowers the price, counted where the voxels that make it
        fall would stop to do so.
    enough : float64 array of shape (n,)
        The shift at which no crossed pixel would be left negative; 0 if none is.
    """
    own = 1 if seen.shape[2] > 1 else 0
    price, falls, enough = np.zeros(n), np.zeros((n_bins, n)), np.zeros(n)
    per_span = n_bins / np.maximum(span, 1e-300)
    for r in range(slope.shape[0]):
        for c in range(slope.shape[1]):
            for s in range(n):
                here = np.float64(seen[r, c, s * own])
                value = slope[r, c, s] + shift[s] * here
                if value < 0:
                    # Where nothing is seen, the bound of the least seen pixel holds: cutting
                    # unseen pixels at the largest seen value changes no projection, and can't
                    # raise the total variation. Of other priors it is taken to hold.
                    bound = min(high, reach[s] / max(here, least[s]))
                    price[s] -= bound * value
                    if here > 0:
                        enough[s] = max(enough[s], shift[s] - value / here)
                        stop = int(min(-value / here * per_span[s], n_bins - 1.0))
                        falls[stop, s] += bound * here
    return price, falls, enough

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops of the total-variation solver, over one slab; their numpy twins are in the tests.

Slabs have the slice index innermost and hold `n` slices, the rest is padding and stays zero. The
gradient takes forward differences, zero beyond the last voxel; across slices they are weighted
with `across`, 1 in three dimensions and 0 slice by slice. A slab's last slice has its neighbour in
the slab after it, `after`, which is the slab itself where there is none (`has_after` False).
"""

import numba
import numpy as np

from ._kernels import OPTIONS


@numba.njit(**OPTIONS)
def gradient_step(x, after, has_after, across, n, step, weight, relaxation, share, p, mean):
    """Move the gradient's dual p up by `step` times the gradient of x, back to abs(p) <= weight.

    Parameters
    ----------
    x, after : float32 array of shape (z, y, slice)
        Slab, and the slab after it.
    has_after : bool
        Whether there is one.
    across : float
        Weight of differences between slices.
    n : int
        Slices in the slab.
    step : float32 array of shape (slice,)
        Step of each slice.
    weight, relaxation : float
        Bound of the dual vector's length, and how far to go to the new point (1: there).
    share : float
        Weight of the new p in the running mean.
    p, mean : float32 array of shape (3, z, y, slice)
        Dual along z, y and slice, and its running mean. Both changed.
    """
    rows, columns, _ = x.shape
    weight = np.float32(weight)
    across, relaxation, share = np.float32(across), np.float32(relaxation), np.float32(share)
    beyond = np.empty(x.shape[2] + 1, np.float32)
    for r in range(rows):
        for c in range(columns):
            here = x[r, c]
            below, right = x[min(r + 1, rows - 1), c], x[r, min(c + 1, columns - 1)]
            _next_slices(here, after[r, c, 0], has_after, n, beyond)
            pz, py, px = p[0, r, c], p[1, r, c], p[2, r, c]
            mz, my, mx = mean[0, r, c], mean[1, r, c], mean[2, r, c]
            for s in range(n):
                gz = pz[s] + step[s] * (below[s] - here[s])
                gy = py[s] + step[s] * (right[s] - here[s])
                gx = px[s] + step[s] * across * (beyond[s] - here[s])
                length = np.sqrt(gz * gz + gy * gy + gx * gx)
                shrink = weight / max(weight, length) if weight > 0 else np.float32(0)
                pz[s] += relaxation * (shrink * gz - pz[s])
                py[s] += relaxation * (shrink * gy - py[s])
                px[s] += relaxation * (shrink * gx - px[s])
                mz[s] += share * (pz[s] - mz[s])
                my[s] += share * (py[s] - my[s])
                mx[s] += share * (px[s] - mx[s])


@numba.njit(**OPTIONS)
def _next_slices(here, first_after, has_after, n, out):
    """Fill `out` with the value one slice further on; at the end, with the last one itself."""
    for s in range(n - 1):
        out[s] = here[s + 1]
    out[n - 1] = first_after if has_after else here[n - 1]


@numba.njit(**OPTIONS)
def volume_step(slope, p, before, has_before, across, n, step, high, relaxation, x, ahead):
    """Move x down by `step` times `slope` + adjoint gradient of p, back to 0 <= x <= high.

    Parameters
    ----------
    slope : float32 array of shape (z, y, slice)
        Back-projected dual of the data.
    p, before : float32 array of shape (3, z, y, slice)
        Dual of the gradient in this slab and the one before it.
    has_before : bool
        Whether there is one.
    across : float
        Weight of differences between slices.
    n : int
        Slices in the slab.
    step : float32 array of shape (slice,)
        Step of each slice.
    high, relaxation : float
        Upper bound, and how far to go to the new point (1: there).
    x, ahead : float32 array of shape (z, y, slice)
        The slab, changed, and the point as far beyond the new one as the old one is before it,
        filled.
    """
    rows, columns, _ = x.shape
    high, relaxation = np.float32(high), np.float32(relaxation)
    total = np.empty(x.shape[2], np.float32)
    for r in range(rows):
        for c in range(columns):
            _add_adjoint_gradient(slope, p, before, has_before, across, n, r, c, total)
            old, further = x[r, c], ahead[r, c]
            for s in range(n):
                new = min(high, max(np.float32(0), old[s] - step[s] * total[s]))
                further[s] = new + new - old[s]
                old[s] += relaxation * (new - old[s])


@numba.njit(**OPTIONS)
def _add_adjoint_gradient(slope, p, before, has_before, across, n, r, c, out):
    """Fill `out` with slope + adjoint gradient of p at one pixel, for all slices of the slab."""
    rows, columns, _ = slope.shape
    zero, one = np.float32(0), np.float32(1)
    across = np.float32(across)
    # The last difference along an axis is zero, so its dual does not count. Across slices that
    # dual is zero itself, since it starts there and nothing moves it.
    not_last_row = one if r < rows - 1 else zero
    not_last_column = one if c < columns - 1 else zero
    not_first_row = one if r > 0 else zero
    not_first_column = one if c > 0 else zero
    pz, py, px = p[0, r, c], p[1, r, c], p[2, r, c]
    above, left = p[0, max(r - 1, 0), c], p[1, r, max(c - 1, 0)]
    for s in range(n):
        out[s] = (
            slope[r, c, s]
            + not_first_row * above[s]
            - not_last_row * pz[s]
            + not_first_column * left[s]
            - not_last_column * py[s]
            - across * px[s]
        )
    for s in range(1, n):
        out[s] += across * px[s - 1]
    if has_before:
        out[0] += across * before[2, r, c, before.shape[3] - 1]


@numba.njit(**OPTIONS)
def data_step(projection, measured, step, relaxation, share, q, mean):
    """Move the data's dual q towards `projection` - `measured`, and its running mean after it.

    Parameters
    ----------
    projection, measured : float32 array of shape (tilt, detector, slice)
        Projection of the volume ahead, and the data.
    step : float32 array of shape (slice,)
        Step of each slice.
    relaxation, share : float
        How far to go to the new point (1: there), weight of the new q in the running mean.
    q, mean : float32 array of shape (tilt, detector, slice)
        Changed.
    """
    relaxation, share, one = np.float32(relaxation), np.float32(share), np.float32(1)
    for a in range(q.shape[0]):
        for d in range(q.shape[1]):
            for s in range(q.shape[2]):
                old = q[a, d, s]
                ahead = old + step[s] * (projection[a, d, s] - measured[a, d, s])
                q[a, d, s] = old + relaxation * (ahead / (one + step[s]) - old)
                mean[a, d, s] += share * (q[a, d, s] - mean[a, d, s])


@numba.njit(**OPTIONS)
def total_variation(x, after, has_after, across, n):
    """Sum over the pixels of each slice of the gradient's length: float64 array of shape (n,)."""
    rows, columns, _ = x.shape
    across = np.float32(across)
    beyond = np.empty(x.shape[2] + 1, np.float32)
    total = np.zeros(n)
    for r in range(rows):
        for c in range(columns):
            here = x[r, c]
            below, right = x[min(r + 1, rows - 1), c], x[r, min(c + 1, columns - 1)]
            _next_slices(here, after[r, c, 0], has_after, n, beyond)
            for s in range(n):
                gz, gy = below[s] - here[s], right[s] - here[s]
                gx = across * (beyond[s] - here[s])
                total[s] += np.sqrt(gz * gz + gy * gy + gx * gx)
    return total


@numba.njit(**OPTIONS)
def shorten(p, weight):
    """Shorten each vector of p (3, z, y, slice) to a length of at most `weight`, in place."""
    weight = np.float32(weight)
    _, rows, columns, n = p.shape
    for r in range(rows):
        for c in range(columns):
            pz, py, px = p[0, r, c], p[1, r, c], p[2, r, c]
            for s in range(n):
                length = np.sqrt(pz[s] * pz[s] + py[s] * py[s] + px[s] * px[s])
                shrink = weight / max(weight, length) if weight > 0 else np.float32(0)
                pz[s] *= shrink
                py[s] *= shrink
                px[s] *= shrink


@numba.njit(**OPTIONS)
def add_adjoint_gradient(slope, p, before, has_before, across, n):
    """Add the adjoint gradient of p to `slope` in place (arguments as in `volume_step`)."""
    for r in range(slope.shape[0]):
        for c in range(slope.shape[1]):
            _add_adjoint_gradient(slope, p, before, has_before, across, n, r, c, slope[r, c])


@numba.njit(**OPTIONS)
def price_of_descent(slope, seen, high, reach, shift, n):
    """How much x could still gain where `slope` + shift * seen is negative.

    Parameters
    ----------
    slope : float32 array of shape (z, y, slice)
        Slope of the dual at each voxel.
    seen : float32 array of shape (z, y)
        What a shift by 1 adds to it, 0 in pixels that no ray crosses.
    high : float
        Upper bound of x.
    reach : float64 array of shape (slice,)
        A bound of x times `seen`.
    shift : float64 array of shape (slice,)
        The shift.
    n : int
        Slices in the slab.

    Returns
    -------
    price : float64 array of shape (n,)
        Sum of x times the negative part, with x at its bound.
    fall : float64 array of shape (n,)
        Minus its derivative by the shift.
    enough : float64 array of shape (n,)
        The shift at which no crossed pixel would be left negative; 0 if none is.
    """
    least = np.float32(np.inf)
    for value in seen.ravel():
        if value > 0:
            least = min(least, value)
    price, fall, enough = np.zeros(n), np.zeros(n), np.zeros(n)
    for r in range(slope.shape[0]):
        for c in range(slope.shape[1]):
            here = np.float64(seen[r, c])
            for s in range(n):
                value = slope[r, c, s] + shift[s] * here
                if value < 0:
                    # Where nothing is seen, the bound of the least seen pixel holds: cutting
                    # unseen pixels at the largest seen value changes no projection, and can't
                    # raise the total variation.
                    bound = min(high, reach[s] / max(here, least))
                    price[s] -= bound * value
                    fall[s] += bound * here
                    if here > 0:
                        enough[s] = max(enough[s], shift[s] - value / here)
    return price, fall, enough

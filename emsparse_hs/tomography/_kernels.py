# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops of the projector, over one slab of slices; their numpy twins are in the tests.

A slab holds `SLAB` slices with the slice index innermost: every weight is computed once and used
for all of them, in one vector instruction or two. Weights are sums of float64, data float32.
"""

from typing import Any

import numba
import numpy as np

#: Slices in a slab. A constant, so that the compiler unrolls the innermost loops.
SLAB = 32

#: Options of all compiled loops here. Sums may be fused and reordered, which vector instructions
#: need. NaN and infinities keep their meaning.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


@numba.njit(**OPTIONS)
def project(volume, rays, steps, lines_at_once, sinogram):
    """Sum a slab along rays, by linear interpolation on every line of pixels that a ray crosses.

    Parameters
    ----------
    volume : float32 array of shape (z, y, SLAB)
        The slab.
    rays : float64 array of shape (tilt, 4)
        Where detector pixel 0 crosses line 0 (px along the line), how far that moves from one
        detector pixel to the next and from one line to the next, and the length of ray a line.
    steps : int64 array of shape (tilt, 4)
        Number of lines, pixels in a line, and distances in memory (in px) from one line to the
        next and from one pixel of a line to the next. Lines are rows of the image at tilts below
        45 degrees, and columns above.
    lines_at_once : int
        Lines that are summed for all tilts before the next ones: as many as stay in the cache.
    sinogram : float32 array of shape (tilt, detector + 2, SLAB)
        Filled, with zeros in the first and the last detector pixel.
    """
    n_tilts, n_detector, _ = sinogram.shape
    pixels = volume.reshape(-1, SLAB)
    total = np.empty(SLAB, np.float32)
    sinogram[:] = 0
    for first in range(0, max(volume.shape[0], volume.shape[1]), lines_at_once):
        for a in range(n_tilts):
            last = min(first + lines_at_once, steps[a, 0])
            length = np.float32(rays[a, 3])
            for d in range(1, n_detector - 1):
                start = rays[a, 0] + rays[a, 1] * (d - 1)
                if _sum_ray(pixels, start, rays[a, 2], steps[a], first, last, total):
                    for s in range(SLAB):
                        sinogram[a, d, s] += length * total[s]


@numba.njit(**OPTIONS)
def _sum_ray(pixels, start, slope, step, first, last, total):
    """Sum one ray over lines `first` to `last`; False if it crosses none of them."""
    n_points = step[1]
    lo, hi = _lines_between(start, slope, -1.0, n_points, first, last)
    if lo >= hi:
        return False
    # The margin keeps both neighbours inside the image whatever the rounding. A line of one pixel
    # has no place between two of them.
    inner_lo, inner_hi = _lines_between(start, slope, 1e-3, n_points - 1.001, lo, hi)
    if n_points < 2 or inner_lo >= inner_hi:
        inner_lo = inner_hi = hi
    for s in range(SLAB):
        total[s] = np.float32(0)
    _sum_edge(pixels, start, slope, step, lo, inner_lo, total)
    _sum_inside(pixels, start, slope, step, inner_lo, inner_hi, total)
    _sum_edge(pixels, start, slope, step, inner_hi, hi, total)
    return True


@numba.njit(**OPTIONS)
def _lines_between(start, slope, low, high, first, last):
    """Lines k of `first` to `last` with low < start + slope * k < high, as a half-open range."""
    if abs(slope) < 1e-9:
        return first, last if low < start < high else first
    a, b = (low - start) / slope, (high - start) / slope
    if a > b:
        a, b = b, a
    return max(first, int(np.floor(a)) + 1), min(last, int(np.ceil(b)))


@numba.njit(**OPTIONS)
def _sum_edge(pixels, start, slope, step, lo, hi, total):
    """Sum where one of the two neighbours may lie outside the image, which is empty there."""
    for k in range(lo, hi):
        position = start + slope * k
        left = int(np.floor(position))
        right_weight = np.float32(position - left)
        left_weight = np.float32(1) - right_weight
        index = k * step[2] + left * step[3]
        if 0 <= left < step[1]:
            for s in range(SLAB):
                total[s] += left_weight * pixels[index, s]
        if 0 <= left + 1 < step[1]:
            for s in range(SLAB):
                total[s] += right_weight * pixels[index + step[3], s]


@numba.njit(**OPTIONS)
def _sum_inside(pixels, start, slope, step, lo, hi, total):
    """Sum where both neighbours are inside; four lines at once, to touch `total` less often."""
    line, point = step[2], step[3]
    one = np.float32(1)
    quads = lo + (hi - lo) // 4 * 4
    for k in range(lo, quads, 4):
        p0 = start + slope * k
        p1 = start + slope * (k + 1)
        p2 = start + slope * (k + 2)
        p3 = start + slope * (k + 3)
        w0, w1 = np.float32(p0 - int(p0)), np.float32(p1 - int(p1))
        w2, w3 = np.float32(p2 - int(p2)), np.float32(p3 - int(p3))
        i0, i1 = k * line + int(p0) * point, (k + 1) * line + int(p1) * point
        i2, i3 = (k + 2) * line + int(p2) * point, (k + 3) * line + int(p3) * point
        for s in range(SLAB):
            total[s] += (
                (one - w0) * pixels[i0, s]
                + w0 * pixels[i0 + point, s]
                + (one - w1) * pixels[i1, s]
                + w1 * pixels[i1 + point, s]
                + (one - w2) * pixels[i2, s]
                + w2 * pixels[i2 + point, s]
                + (one - w3) * pixels[i3, s]
                + w3 * pixels[i3 + point, s]
            )
    _sum_edge(pixels, start, slope, step, quads, hi, total)


@numba.njit(**OPTIONS)
def backproject(sinogram, waves, tile, volume):
    """Gather each pixel of a slab from the rays that crossed it: the adjoint of `project`.

    A pixel meets the detector at t, and detector pixel d gets max(0, 1 - abs(d - t) / m) / m of
    it, with m = max(abs(cos), abs(sin)): at most two detector pixels a tilt.

    Parameters
    ----------
    sinogram : float32 array of shape (tilt, detector + 2, SLAB)
        With zeros in the first and the last detector pixel.
    waves : float64 array of shape (tilt, 4)
        t of the pixel in row 0 and column 0, its change from row to row and from column to
        column, and 1 / m. The detector's first pixel, the empty one, is at t = 0.
    tile : int
        Rows and columns of the tiles in which pixels are visited, for the cache's sake.
    volume : float32 array of shape (z, y, SLAB)
        Filled.
    """
    n_rows, n_columns, _ = volume.shape
    n_tilts, n_detector, _ = sinogram.shape
    rays = sinogram.reshape(-1, SLAB)
    # Up to three tilts of weight zero fill the last group of four.
    index = np.zeros(n_tilts + 3, np.int64)
    weights = np.zeros((2, n_tilts + 3), np.float32)
    for row in range(0, n_rows, tile):
        for column in range(0, n_columns, tile):
            for r in range(row, min(row + tile, n_rows)):
                for c in range(column, min(column + tile, n_columns)):
                    _find_rays(waves, r, c, n_detector, index, weights)
                    _sum_rays(rays, index, weights, n_tilts, volume[r, c])


@numba.njit(**OPTIONS)
def _find_rays(waves, row, column, n_detector, index, weights):
    """First of the two detector pixels that see an image pixel, and both weights, for each tilt."""
    for a in range(waves.shape[0]):
        t = waves[a, 0] + waves[a, 1] * row + waves[a, 2] * column
        # Beside the detector the two empty pixels at its ends are read.
        t = min(max(t, 0.0), n_detector - 1.0)
        left = min(np.int64(t), n_detector - 2)
        sharpness = waves[a, 3]
        index[a] = a * n_detector + left
        weights[0, a] = max(0.0, 1.0 - (t - left) * sharpness) * sharpness
        weights[1, a] = max(0.0, 1.0 - (left + 1 - t) * sharpness) * sharpness


@numba.njit(**OPTIONS)
def _sum_rays(rays, index, weights, n_tilts, out):
    """Weighted sum over tilts of two neighbouring rays, four tilts at once."""
    for s in range(SLAB):
        out[s] = np.float32(0)
    for a in range(0, n_tilts, 4):
        i0, i1, i2, i3 = index[a], index[a + 1], index[a + 2], index[a + 3]
        u0, u1, u2, u3 = weights[0, a], weights[0, a + 1], weights[0, a + 2], weights[0, a + 3]
        v0, v1, v2, v3 = weights[1, a], weights[1, a + 1], weights[1, a + 2], weights[1, a + 3]
        for s in range(SLAB):
            out[s] += (
                u0 * rays[i0, s]
                + v0 * rays[i0 + 1, s]
                + u1 * rays[i1, s]
                + v1 * rays[i1 + 1, s]
                + u2 * rays[i2, s]
                + v2 * rays[i2 + 1, s]
                + u3 * rays[i3, s]
                + v3 * rays[i3 + 1, s]
            )

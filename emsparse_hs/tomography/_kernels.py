# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops of the projector, over one slab of slices; their numpy twins are in the tests.

A slab holds `SLAB` slices with the slice index innermost: every weight is computed once and used
for all of them, as one vector. Both loops go through tiles that stay in the processor's nearest
cache, and compute the weights of a tile before they use them, so that these are computed as vectors
too. Positions within a tile are float32, and tiles are placed in float64.
"""

from typing import Any

import numba
import numpy as np

from emsparse_hs._vectors import vectors

#: Slices in a slab, which is one vector.
SLAB = 64
_of = vectors(SLAB)
zeros, load, store, add_scaled = _of.zeros, _of.load, _of.store, _of.add_scaled

#: Options of all compiled loops here. Sums may be fused and reordered, which vector instructions
#: need. NaN and infinities keep their meaning.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}

#: Lines, and px along them, of a tile of `project`. 8 x 16 to 24 x 8 were as fast within 20 %.
_LINES, _POINTS = 16, 8
#: Empty px beyond either end of a line.
_MARGIN = 2
#: Rows and columns of a tile of `backproject`, and tilts that are summed at once.
ROWS, _COLUMNS, _TILTS = 16, 32, 24

_ONE, _ZERO = np.float32(1), np.float32(0)


@numba.njit(**OPTIONS)
def project(volume, rays, by_row, sinogram):
    """Sum a slab along rays, by linear interpolation on every line of pixels that a ray crosses.

    Parameters
    ----------
    volume : float32 array of shape (z, y, SLAB)
        The slab.
    rays : float64 array of shape (tilt, 4)
        Where detector pixel 0 crosses line 0 (px along the line), how far that moves from one
        detector pixel to the next and from one line to the next, and the length of ray a line.
    by_row : bool array of shape (tilt,)
        Whether lines are rows of the image, as at tilts below 45 degrees, or columns.
    sinogram : float32 array of shape (tilt, detector + 2, SLAB)
        Filled, with zeros in the first and the last detector pixel.
    """
    sinogram[:] = 0
    n_detector = sinogram.shape[1]
    out = sinogram.reshape(-1)
    # Rays are a px apart at least.
    index = np.empty((_POINTS + 1, _LINES), np.int32)
    left = np.empty((_POINTS + 1, _LINES), np.float32)
    right = np.empty((_POINTS + 1, _LINES), np.float32)
    for rows in (True, False):
        n_lines, n_points = volume.shape[0], volume.shape[1]
        if not rows:
            n_lines, n_points = n_points, n_lines
        tilts = np.flatnonzero(by_row == rows)
        # A copy, since lines are far apart in memory, or at distances that a cache cannot hold.
        lines = _aligned_zeros(_LINES * (n_points + 2 * _MARGIN) * SLAB)
        for line in range(0, n_lines if len(tilts) else 0, _LINES):
            n = min(_LINES, n_lines - line)
            _copy_lines(volume, rows, line, n, lines)
            for point in range(-_LINES, n_points + _LINES, _POINTS):
                for a in tilts:
                    first, n_rays = _rays_of_tile(rays[a], line, point, n_detector - 2)
                    _cross_lines(rays[a], line, first, n_rays, n_points, index, left, right)
                    to = a * n_detector + first + 1
                    _sum_lines(lines, n, n_rays, index, left, right, rays[a, 3], out, to)


@numba.njit(**OPTIONS)
def _aligned_zeros(size):
    """Float32 zeros from a multiple of 64 bytes on, so that no vector lies across two lines."""
    room = np.zeros(size + 16, np.float32)
    start = -(room.ctypes.data // 4) % 16
    return room[start : start + size]


@numba.njit(**OPTIONS)
def _copy_lines(volume, rows, line, n, lines):
    """Copy n lines of an image to the start of `lines`, each with its margin."""
    n_rows, n_columns, _ = volume.shape
    n_points = n_columns if rows else n_rows
    pixels = volume.reshape(-1)
    for k in range(n):
        for i in range(n_points):
            pixel = (line + k) * n_columns + i if rows else i * n_columns + line + k
            to = k * (n_points + 2 * _MARGIN) + _MARGIN + i
            store(lines, to * SLAB, load(pixels, pixel * SLAB))


@numba.njit(**OPTIONS)
def _rays_of_tile(ray, line, point, n_detector):
    """First ray, and number of rays, whose middle on the tile's lines is in its `_POINTS` px."""
    middle = ray[0] + ray[2] * (line + 0.5 * (_LINES - 1))
    one = int(np.ceil((point - middle) / ray[1]))
    other = int(np.ceil((point + _POINTS - middle) / ray[1]))
    first = max(min(one, other), 0)
    return first, max(min(max(one, other), n_detector) - first, 0)


@numba.njit(**OPTIONS)
def _cross_lines(ray, line, first, n_rays, n_points, index, left, right):
    """Left one of the two pixels that each ray passes on each line, and the weights of both."""
    slope, width = np.float32(ray[2]), np.int32((n_points + 2 * _MARGIN) * SLAB)
    for d in range(n_rays):
        position = ray[0] + ray[1] * (first + d) + ray[2] * line
        # Counted from here, no position is negative.
        whole = np.int32(np.floor(position + min(0.0, ray[2] * _LINES)))
        rest = np.float32(position - whole)
        for k in range(index.shape[1]):
            p = rest + slope * np.float32(k)
            i = np.int32(p)
            right[d, k] = p - np.float32(i)
            left[d, k] = _ONE - (p - np.float32(i))
            # In the margin both pixels are empty.
            i = min(max(i + whole, np.int32(-_MARGIN)), np.int32(n_points)) + np.int32(_MARGIN)
            index[d, k] = np.int32(k) * width + i * np.int32(SLAB)


@numba.njit(**OPTIONS)
def _sum_lines(lines, n, n_rays, index, left, right, length, out, to):
    """Add the first n lines, weighted and times `length`, to the rays from number `to` on."""
    for d in range(n_rays):
        one, other = zeros(), zeros()
        for k in range(n):
            at = np.int64(index[d, k])
            one = add_scaled(one, left[d, k], load(lines, at))
            other = add_scaled(other, right[d, k], load(lines, at + SLAB))
        ray = (to + d) * SLAB
        total = add_scaled(one, _ONE, other)
        store(out, ray, add_scaled(load(out, ray), np.float32(length), total))


@numba.njit(**OPTIONS)
def backproject(sinogram, waves, first_row, volume):
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
    first_row : int
        Row of the image with which the volume begins.
    volume : float32 array of shape (z, y, SLAB)
        Filled.
    """
    n_rows, n_columns, _ = volume.shape
    n_detector = sinogram.shape[1]
    volume[:] = 0
    rays, pixels = sinogram.reshape(-1), volume.reshape(-1)
    tilt = np.zeros((5, _TILTS), np.float32)
    place = np.zeros((2, _TILTS), np.int32)
    index = np.empty((_COLUMNS, _TILTS), np.int32)
    near = np.empty((_COLUMNS, _TILTS), np.float32)
    far = np.empty((_COLUMNS, _TILTS), np.float32)
    for row in range(0, n_rows, ROWS):
        for column in range(0, n_columns, _COLUMNS):
            n = min(_COLUMNS, n_columns - column)
            for first in range(0, len(waves), _TILTS):
                n_tilts = min(_TILTS, len(waves) - first)
                for a in range(n_tilts):
                    ray = (first + a) * n_detector
                    _place_tile(
                        waves[first + a], first_row + row, column, ray, n_detector, a, tilt, place
                    )
                for r in range(row, min(row + ROWS, n_rows)):
                    _find_rays(tilt, place, np.float32(r - row), n_detector, n, index, near, far)
                    _sum_rays(rays, n_tilts, n, index, near, far, pixels, r * n_columns + column)


@numba.njit(**OPTIONS)
def _place_tile(wave, row, column, ray, n_detector, a, tilt, place):
    """Fill in what tilt `a` is to a tile of pixels, in float32 now that it is near.

    `tilt` gets t of the first pixel, its change from row to row and from column to column, 1 / m
    and 1 / m^2. t is counted from a detector pixel before all of the tile; `place` gets that
    pixel's index, and the largest index of the first of two rays, counted from there.
    """
    t = wave[0] + wave[1] * row + wave[2] * column
    # Far beyond the detector it does not matter how far.
    t = min(max(t, -2.0 * (ROWS + _COLUMNS)), n_detector + 2.0 * (ROWS + _COLUMNS))
    whole = np.floor(t + min(0.0, wave[1] * ROWS) + min(0.0, wave[2] * _COLUMNS))
    tilt[0, a], tilt[1, a], tilt[2, a] = t - whole, wave[1], wave[2]
    tilt[3, a], tilt[4, a] = wave[3], wave[3] ** 2
    place[0, a], place[1, a] = ray + int(whole), n_detector - 2 - int(whole)


@numba.njit(**OPTIONS)
def _find_rays(tilt, place, row, n_detector, n_columns, index, near, far):
    """First of the two detector pixels that see a pixel, and both weights, for each tilt."""
    last = np.int32(n_detector - 2)
    for c in range(n_columns):
        for a in range(index.shape[1]):
            t = tilt[0, a] + tilt[1, a] * row + tilt[2, a] * np.float32(c)
            # Beside the detector one weight is zero, and the other meets the empty pixel there.
            i = min(max(np.int32(t), place[1, a] - last), place[1, a])
            fall = (t - np.float32(i)) * tilt[4, a]
            index[c, a] = (i + place[0, a]) * np.int32(SLAB)
            near[c, a] = max(_ZERO, tilt[3, a] - fall)
            far[c, a] = max(_ZERO, tilt[3, a] - tilt[4, a] + fall)


@numba.njit(**OPTIONS)
def _sum_rays(rays, n_tilts, n_columns, index, near, far, pixels, to):
    """Add the two rays of each tilt to the pixels from number `to` on."""
    for c in range(n_columns):
        pixel = (to + c) * SLAB
        one, other = load(pixels, pixel), zeros()
        for a in range(n_tilts):
            at = np.int64(index[c, a])
            one = add_scaled(one, near[c, a], load(rays, at))
            other = add_scaled(other, far[c, a], load(rays, at + SLAB))
        store(pixels, pixel, add_scaled(one, _ONE, other))

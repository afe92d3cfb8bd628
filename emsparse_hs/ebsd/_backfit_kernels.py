# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops that fit all bands of a pattern together."""

import numba
import numpy as np

from ._band_kernels import FEWEST_PIXELS, contrast, edge, fit_band, gather, standard_errors

#: Pixels are taken from so far outside of a band, in widths of the strips beside it: what is fitted
#: with it, and by how much it may grow and move in one sweep.
_REACH = 2.1


@numba.njit(nogil=True, cache=True)
def fit_together(
    values, directions, softness, margin, limits, n_sweeps, n_iterations, normals, fitted
):
    """Fit each band to what all others leave, one after the other (backfitting).

    A band fitted on its own takes what belongs to those that it meets, and places where strong
    bands cross look like bands. J. H. Friedman and W. Stuetzle, J. Am. Stat. Assoc. 76 (1981) 817.

    Parameters
    ----------
    values, directions, softness, margin, limits, n_iterations
        See `emsparse_hs.ebsd._band_kernels.fit_bands`.
    n_sweeps : int
        How often each band is fitted.
    normals : float64 array of shape (n_bands, 3)
    fitted : float64 array of shape (n_bands, 5)
        The first three as `fit_bands` leaves them, and changed to the better ones; the others
        filled with the errors of direction and width, see `standard_errors`, of bands of some
        height.
    """
    left = values.copy()
    near, places = np.empty((5, values.size), np.float32), np.empty(values.size, np.int64)
    level = np.empty(2)
    for b in range(len(normals)):
        n = gather(left, directions, softness, normals[b], fitted[b, 0] + margin, near, places)
        _add_band(near, n, normals[b], fitted[b, 0], -fitted[b, 1])
        _scatter(near, n, places, left)
    for sweep in range(n_sweeps):
        for b in range(len(normals)):
            normal, reach = normals[b], fitted[b, 0] + _REACH * margin
            n = gather(left, directions, softness, normal, reach, near, places)
            _add_band(near, n, normal, fitted[b, 0], fitted[b, 1])
            level[0], level[1] = 0.0, fitted[b, 1]
            if n >= FEWEST_PIXELS:
                fitted[b, 0] = fit_band(
                    near, n, margin, limits, n_iterations, normal, fitted[b, 0], level
                )
            # A trough is no band, and takes nothing from the others.
            fitted[b, 1] = max(level[1], 0.0)
            reach, is_last = fitted[b, 0] + margin, sweep == n_sweeps - 1
            if is_last:
                fitted[b, 2] = contrast(near, n, normal, fitted[b, 0], reach)
            _add_band(near, n, normal, fitted[b, 0], -fitted[b, 1])
            _scatter(near, n, places, left)
            if is_last and fitted[b, 1] > 0:
                fitted[b, 3:] = standard_errors(near, n, reach, normal, fitted[b, 0], fitted[b, 1])


@numba.njit(nogil=True, cache=True)
def _scatter(near, n_near, places, values):
    """Write what was gathered back."""
    for k in range(n_near):
        values[places[k]] = near[4, k]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _add_band(near, n_near, normal, width, height):
    """Add a band without its offset to gathered pixels, see `fit_bands`."""
    for k in range(n_near):
        x = near[0, k] * normal[0] + near[1, k] * normal[1] + near[2, k] * normal[2]
        one, _ = edge((width - x) * near[3, k])
        other, _ = edge((width + x) * near[3, k])
        near[4, k] += height * (one + other - 1)

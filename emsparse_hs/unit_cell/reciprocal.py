# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Reciprocal lattices of a scan, from peaks of power spectra.

Vectors are in cycles a scan pixel, their components in the order of the array: (y, x).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.fft
from scipy.ndimage import maximum_filter

#: A peak is this many times as strong as what is usual at its distance from the centre, in one
#: image. The sum of several fluctuates less.
_STRENGTH, _STRENGTH_OF_MANY = 30.0, 12.0
#: Noise that an image has at least, as a part of its standard deviation: a smooth image without
#: noise has ripples at frequencies where it has nothing else.
_LEAST_NOISE = 0.005
#: Peaks that are used at most, and that make the first vectors of a basis.
_N_PEAKS, _N_CANDIDATES = 120, 24
#: Periods of the lattice that fit in the scan at least.
_FEWEST_PERIODS = 3.0
#: Distance in steps of the spectrum's resolution within which a peak is on a node.
_ON_NODE = 1.0
#: A coarser lattice is taken if it explains this part of what the best one explains.
_AS_GOOD = 0.95
#: Least sine of the angle between two vectors.
_LEAST_SINE = 0.35
#: Power that a lattice explains at least, beyond what chance explains.
LEAST_SHARE = 0.3


class Peaks(NamedTuple):
    """Peaks of a power spectrum, the strongest first, one of each pair of opposite ones."""

    #: (n, 2) in cycles a pixel.
    vectors: np.ndarray
    #: (n,), above the background.
    power: np.ndarray


def spectral_peaks(images: np.ndarray) -> Peaks:
    """Peaks of the summed power spectrum of images, at a fraction of its resolution.

    Parameters
    ----------
    images : array of shape (n, y, x)
        Such as scores of principal components, of similar noise.

    Returns
    -------
    Peaks
        None of them if nothing is periodic.
    """
    shape = images.shape[1:]
    padded = [scipy.fft.next_fast_len(2 * n) for n in shape]
    window = np.multiply.outer(*(np.hanning(n + 2)[1:-1] for n in shape))
    power = np.zeros(padded)
    for image in images:
        power += np.abs(scipy.fft.fft2((image - image.mean()) * window, s=padded)) ** 2
    y, x = np.meshgrid(*(scipy.fft.fftfreq(n) for n in padded), indexing="ij")
    radius = np.hypot(y, x)
    least = np.log(2) * _LEAST_NOISE**2 * images.var((1, 2)).sum() * (window**2).sum()
    usual = np.maximum(_radial_median(power, radius, max(padded)), least)
    strength = _STRENGTH if len(images) < 8 else _STRENGTH_OF_MANY
    is_peak = (power == maximum_filter(power, 7, mode="wrap")) & (power > strength * usual)
    is_peak &= (radius > _FEWEST_PERIODS / min(shape)) & (radius < 0.5)
    is_peak &= (y > 0) | ((y == 0) & (x > 0))
    row, column = np.nonzero(is_peak)
    above = power[row, column] - usual[row, column]
    strongest = np.argsort(-above)[:_N_PEAKS]
    row, column = row[strongest], column[strongest]
    vectors = np.stack([y[row, column], x[row, column]], axis=-1)
    vectors += _subpixel(np.log(power + 1e-300), row, column) / padded
    return Peaks(vectors, above[strongest])


def _radial_median(power: np.ndarray, radius: np.ndarray, n: int) -> np.ndarray:
    """Median of each ring, at each place."""
    ring = np.round(radius * n).astype(int)
    order = np.argsort(ring, axis=None)
    edges = np.searchsorted(ring.ravel()[order], np.arange(ring.max() + 2))
    sorted_power = power.ravel()[order]
    parts = zip(edges[:-1], edges[1:], strict=True)
    return np.array([np.median(sorted_power[a:b]) if b > a else np.inf for a, b in parts])[ring]


def _subpixel(log_power: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Top of a parabola through each peak and its neighbours, along both axes."""
    top = log_power[row, column]
    offsets = []
    for axis in (0, 1):
        step = (1, 0) if axis == 0 else (0, 1)
        places = [
            ((row + s * step[0]) % log_power.shape[0], (column + s * step[1]) % log_power.shape[1])
            for s in (-1, 1)
        ]
        before, after = (log_power[place] for place in places)
        bend = before - 2 * top + after
        offsets.append(np.where(bend < 0, 0.5 * (before - after) / np.minimum(bend, -1e-12), 0))
    return np.stack(offsets, axis=-1)


def basis_of_peaks(peaks: Peaks, shape: tuple[int, int]) -> tuple[np.ndarray, float]:
    """Primitive reciprocal lattice of most of the amplitude in peaks.

    Each pair of peaks spans a lattice. The amplitude on its nodes counts, less what falls on them
    by chance, since the nodes of a fine lattice are everywhere; of lattices as good as the best
    one the coarsest is taken.

    Parameters
    ----------
    peaks : Peaks
        Of one or several lattices.
    shape : (int, int)
        Of the scan.

    Returns
    -------
    float64 array of shape (2, 2)
        The two shortest vectors, one a row.
    float
        Share of the amplitude that the lattice explains, beyond chance. 0 if there is no lattice.
    """
    tolerance = _ON_NODE / min(shape)
    # Amplitudes, since weak peaks tell a cell from a part of it.
    weight = np.sqrt(peaks.power)
    found = []
    few = peaks.vectors[:_N_CANDIDATES]
    for i, first in enumerate(few):
        for second in few[i + 1 :]:
            pair = np.stack([first, second])
            area = abs(np.linalg.det(pair))
            lengths = np.linalg.norm(pair, axis=1)
            if area < max(_LEAST_SINE * lengths.prod(), (_FEWEST_PERIODS / min(shape)) ** 2):
                continue
            chance = min(np.pi * tolerance**2 / area, 0.9)
            share = weight[on_nodes(peaks, pair, tolerance)].sum() / weight.sum()
            found.append(((share - chance) / (1 - chance), area, pair))
    if not found:
        return np.zeros((2, 2)), 0.0
    best = max(share for share, _, _ in found)
    share, _, pair = max((f for f in found if f[0] >= _AS_GOOD * best), key=lambda f: f[1])
    return reduced(pair), share


def finer_lattices(reciprocal: np.ndarray) -> list[np.ndarray]:
    """The three reciprocal lattices that are twice as fine.

    Parameters
    ----------
    reciprocal : array of shape (2, 2)
        Vectors, one a row.

    Returns
    -------
    list of float64 arrays of shape (2, 2)
    """
    first, second = reciprocal
    pairs = [(first / 2, second), (first, second / 2), ((first + second) / 2, first)]
    return [reduced(np.stack(pair)) for pair in pairs]


def on_nodes(peaks: Peaks, reciprocal: np.ndarray, tolerance: float) -> np.ndarray:
    """Which peaks are on nodes of a lattice.

    Parameters
    ----------
    peaks : Peaks
        Of a spectrum.
    reciprocal : array of shape (2, 2)
        Vectors, one a row.
    tolerance : float
        In cycles a pixel.

    Returns
    -------
    bool array of shape (n,)
    """
    indices = peaks.vectors @ np.linalg.inv(reciprocal)
    off = (indices - np.round(indices)) @ reciprocal
    return np.linalg.norm(off, axis=1) < tolerance


def reduced(vectors: np.ndarray) -> np.ndarray:
    """The two shortest vectors of a lattice (Lagrange and Gauss), the second at its left.

    Parameters
    ----------
    vectors : array of shape (2, 2)
        A basis, one vector a row.

    Returns
    -------
    float64 array of shape (2, 2)
        The shorter one first; signs as to make the first point down, or right.
    """
    a, b = np.array(vectors, float)
    while True:
        if a @ a > b @ b * (1 + 1e-12):
            a, b = b, a
        steps = np.round(a @ b / (a @ a))
        if steps == 0:
            break
        b = b - steps * a
    if a[0] < 0 or (a[0] == 0 and a[1] < 0):
        a = -a
    return np.stack([a, b if a[1] * b[0] - a[0] * b[1] > 0 else -b])


def oriented(reciprocal: np.ndarray) -> np.ndarray:
    """The same lattice with the edge a of its cell to the right and b downwards, as near as can be.

    Parameters
    ----------
    reciprocal : array of shape (2, 2)
        Vectors, one a row.

    Returns
    -------
    float64 array of shape (2, 2)
        In another order or with other signs.
    """
    options = [
        np.diag(signs) @ reciprocal[order]
        for order in ([0, 1], [1, 0])
        for signs in ([1, 1], [1, -1], [-1, 1], [-1, -1])
    ]
    # Columns are the edges of the cell, (y, x).
    cells = [np.linalg.inv(option) for option in options]
    directions = [cell / np.linalg.norm(cell, axis=0) for cell in cells]
    return options[int(np.argmax([d[1, 0] + d[0, 1] for d in directions]))]


def harmonics(reciprocal: np.ndarray, cutoff: float) -> np.ndarray:
    """Indices of a half of the nodes within a radius, without the origin.

    Parameters
    ----------
    reciprocal : array of shape (2, 2)
        Vectors, one a row.
    cutoff : float
        Radius in cycles a pixel.

    Returns
    -------
    int array of shape (n, 2)
        One of each pair of opposite nodes, the shortest first.
    """
    heights = np.abs(np.linalg.det(reciprocal)) / np.linalg.norm(reciprocal[::-1], axis=1)
    h, k = (int(np.floor(cutoff / height)) for height in heights)
    indices = np.indices((2 * h + 1, 2 * k + 1)).reshape(2, -1).T - (h, k)
    half = (indices[:, 0] > 0) | ((indices[:, 0] == 0) & (indices[:, 1] > 0))
    indices = indices[half]
    length = np.linalg.norm(indices @ reciprocal, axis=1)
    order = np.argsort(length, kind="stable")
    return indices[order][length[order] <= cutoff]

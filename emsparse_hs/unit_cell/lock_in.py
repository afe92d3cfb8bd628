# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lock-in maps: how strong each lattice harmonic of a scan is, and its phase, from place to place.

A score that repeats with the unit cell is a Fourier series of the position in the cell. Multiplied
with one of its waves and averaged over about a cell, it gives that term's amplitude there, which
no longer depends on where in the cell the probe stands (a local Fourier filter, as in geometric
phase analysis: Hytch, Snoeck and Kilaas, Ultramicroscopy 74 (1998) 131).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from emsparse_hs.unit_cell.reciprocal import harmonics

#: Parts of a cell from one point of the grid to the next.
_A_CELL = 4
#: Rounds of the refinement, and of its search for the most frequent step of a phase.
_ROUNDS, _REWEIGHTINGS = 10, 10
#: Width in rad of the steps that count as the most frequent one.
_PHASE_WIDTH = 0.1
#: Cells over which a phase is followed; standard deviation in cells of the average.
_LAG, _AVERAGED = 2.0, 0.7
#: Harmonics, in lengths of the longer vector, that the refinement uses.
_HARMONICS = 2.1


class LockIn(NamedTuple):
    """Amplitudes on a grid that is coarser than the scan."""

    #: Complex64 of shape (grid y, grid x, harmonics, scores).
    maps: np.ndarray
    #: How much of the average lies within the scan and the mask, (grid y, grid x), up to 1.
    weight: np.ndarray
    #: Scan pixels from one point of the grid to the next.
    step: int


def cell_length(reciprocal: np.ndarray) -> float:
    """Largest distance between lattice planes, in scan pixels.

    Parameters
    ----------
    reciprocal : array of shape (2, 2)
        The two shortest vectors, one a row.

    Returns
    -------
    float
    """
    return float(1 / np.linalg.norm(reciprocal, axis=1).min())


def centred_positions(shape: tuple[int, int]) -> np.ndarray:
    """Pixels of a scan counted from its middle.

    Parameters
    ----------
    shape : (int, int)
        Of the scan.

    Returns
    -------
    float64 array of shape (y, x, 2)
    """
    middle = (np.array(shape) - 1) / 2
    return np.moveaxis(np.indices(shape), 0, -1) - middle


def lock_in(
    scores: np.ndarray,
    fractional: np.ndarray,
    indices: np.ndarray,
    cell: float,
    width: float,
    mask: np.ndarray | None = None,
) -> LockIn:
    """Local amplitudes of harmonics.

    Parameters
    ----------
    scores : array of shape (y, x, scores)
        Of the scan.
    fractional : array of shape (y, x, 2)
        Position in the cell, in cells.
    indices : int array of shape (harmonics, 2)
        Which harmonics.
    cell : float
        Size of a cell in pixels.
    width : float
        Standard deviation of the Gaussian average, in cells.
    mask : array of shape (y, x), optional
        Weight of each position, from 0 to 1.

    Returns
    -------
    LockIn
    """
    step = max(int(round(cell / _A_CELL)), 1)
    sigma = width * cell / step
    inside = np.ones(scores.shape[:2]) if mask is None else np.asarray(mask)
    inside = inside.astype(np.float32)
    weight = _averaged(_in_steps(inside[..., np.newaxis], step), sigma)[..., 0]
    scores = scores * inside[..., np.newaxis]
    shape = (*weight.shape, len(indices), scores.shape[-1])
    maps = np.empty(shape, np.complex64)
    safe = np.maximum(weight, 1e-6 * weight.max())[..., np.newaxis]
    for n, index in enumerate(indices):
        wave = np.exp(-2j * np.pi * (fractional @ index)).astype(np.complex64)
        maps[:, :, n] = _averaged(_in_steps(scores * wave[..., np.newaxis], step), sigma) / safe
    return LockIn(maps, weight / step**2, step)


def on_scan(grid: np.ndarray, step: int, shape: tuple[int, int]) -> np.ndarray:
    """A map of the grid on the scan.

    Parameters
    ----------
    grid : array of shape (grid y, grid x)
        Such as made of the maps of `LockIn`.
    step : int
        Scan pixels from one point to the next.
    shape : (int, int)
        Of the scan.

    Returns
    -------
    array of shape (y, x)
        Of the point that a position was averaged into.
    """
    y, x = (np.minimum(np.arange(n) // step, g - 1) for n, g in zip(shape, grid.shape, strict=True))
    return grid[y][:, x]


def _in_steps(values: np.ndarray, step: int) -> np.ndarray:
    """Sums over squares of the scan, the last ones filled up with zeros."""
    n_y, n_x = values.shape[:2]
    values = np.pad(values, ((0, -n_y % step), (0, -n_x % step), (0, 0)))
    n_y, n_x = values.shape[0] // step, values.shape[1] // step
    return values.reshape(n_y, step, n_x, step, -1).sum((1, 3))


def _averaged(values: np.ndarray, sigma: float) -> np.ndarray:
    if np.iscomplexobj(values):
        return _averaged(values.real, sigma) + 1j * _averaged(values.imag, sigma)
    return gaussian_filter(values, (sigma, sigma, 0), mode="constant")


def refine_by_phases(
    scores: np.ndarray, reciprocal: np.ndarray, mask: np.ndarray | None = None
) -> np.ndarray:
    """Reciprocal vectors from the most frequent steps of phases.

    A wall between domains shifts phases at one place only, which a fit to the whole scan follows
    and the most frequent step does not.

    Parameters
    ----------
    scores : array of shape (y, x, scores)
        Of the scan.
    reciprocal : array of shape (2, 2)
        To start from, right within about a cycle a scan.
    mask : array of shape (y, x), optional
        Weight of each position, from 0 to 1.

    Returns
    -------
    float64 array of shape (2, 2)
    """
    positions = centred_positions(scores.shape[:2])
    cell = cell_length(reciprocal)
    for _ in range(_ROUNDS):
        cutoff = _HARMONICS * np.linalg.norm(reciprocal, axis=1).max()
        indices = harmonics(reciprocal, cutoff)
        found = lock_in(scores, positions @ reciprocal.T, indices, cell, _AVERAGED, mask)
        lag = max(int(round(_LAG * cell / found.step)), 1)
        change = _change(found, indices, lag)
        reciprocal = reciprocal + change
        if np.abs(change).max() < 1e-7:
            break
    return reciprocal


def _change(found: LockIn, indices: np.ndarray, lag: int) -> np.ndarray:
    """What vectors have to change by for phases to stay where they are."""
    rows, steps, weights = [], [], []
    for n, index in enumerate(indices):
        # A map counts for as much of it as lies in the mask.
        here = found.maps[:, :, n] * found.weight[..., np.newaxis]
        for axis in (0, 1):
            later, before = (
                (here[lag:], here[:-lag]) if axis == 0 else (here[:, lag:], here[:, :-lag])
            )
            products = (later * before.conj()).sum(-1).ravel()
            if not np.abs(products).any():
                continue
            step, weight = _most_frequent(products)
            row = np.zeros((2, 2))
            row[:, axis] = index
            rows.append(row.ravel())
            steps.append(step / (2 * np.pi * lag * found.step))
            weights.append(np.sqrt(weight))
    scale = np.array(weights)
    return np.linalg.lstsq(np.array(rows) * scale[:, None], np.array(steps) * scale)[0].reshape(
        2, 2
    )


def _most_frequent(products: np.ndarray) -> tuple[float, float]:
    """Most frequent phase and the weight that is near it."""
    phases, sizes = np.angle(products), np.abs(products)
    phase = np.angle(products.sum())
    for _ in range(_REWEIGHTINGS):
        off = np.angle(np.exp(1j * (phases - phase)))
        near = sizes / (1 + (off / _PHASE_WIDTH) ** 2) ** 2
        phase += (near * off).sum() / near.sum()
    return phase, near.sum()

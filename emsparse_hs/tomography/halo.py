# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A volume beyond memory, reconstructed in blocks of slices that overlap."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._kernels import SLAB
from .projector import ParallelBeam
from .series import SliceRows, reconstruct_regularised

#: Volumes and sinograms, in float32, that a reconstruction has in memory at most. 128 px had 10 to
#: 11 volumes, and besides 5 to 9 sinograms, or 18 with weights of counted electrons. In two slabs
#: wavelets, and total generalised variation, took 10 to 11 volumes more than gradients.
_VOLUMES, _SINOGRAMS = {"tv": 11, "wavelet": 22, "tgv": 22}, 18


class Window(NamedTuple):
    """Slices that are reconstructed together, and those of them that no other window is nearer to.

    Attributes
    ----------
    first, stop : int
        Slices that are reconstructed.
    kept : slice
        Those that are nearer to its middle than to that of others, counted in the whole series.
    """

    first: int
    stop: int
    kept: slice

    @property
    def inner(self) -> slice:
        """The same slices, counted from the first one of the window."""
        return slice(self.kept.start - self.first, self.kept.stop - self.first)


def windows(n_slices: int, block: int, halo: int) -> list[Window]:
    """Windows of `block` slices and a halo on either side, all equally long.

    They are spread evenly, so that halos may be longer than asked for, and never shorter.

    Parameters
    ----------
    n_slices : int
        Slices of the series.
    block : int
        Slices that a window adds, above 0.
    halo : int
        Further slices on either side.

    Returns
    -------
    list of Window
        In the order of the slices; a single one if that holds all of them.
    """
    length = min(block + 2 * halo, n_slices)
    room = n_slices - length
    steps = -(-room // block)
    starts = [i * room // max(steps, 1) for i in range(steps + 1)]
    seams = [(a + length + b) // 2 for a, b in zip(starts, starts[1:], strict=False)]
    borders = [0, *seams, n_slices]
    return [
        Window(start, start + length, slice(*borders[i : i + 2])) for i, start in enumerate(starts)
    ]


def shares(parts: Sequence[Window]) -> list[NDArray[np.float32]]:
    """Which share each window has in its slices, so that one goes over into the next.

    It grows with the square of the distance from the window's ends, as what is near to them is off
    most. So, instead of a change in the middle, the worst slice was 11 to 36 % less off (halos of
    16 and 32, four series of three specimens, seeds 21 and 22).

    Parameters
    ----------
    parts : sequence of Window
        All windows of a series.

    Returns
    -------
    list of float32 arrays of shape (slice,)
        Of each window, from 0 to 1. Those of a slice sum to 1.
    """
    n_slices = parts[-1].stop
    trust = []
    for part in parts:
        slices = np.arange(part.first, part.stop) + 0.5
        after = slices - part.first if part.first else np.inf
        before = part.stop - slices if part.stop < n_slices else np.inf
        nearest = np.minimum(np.minimum(after, before), n_slices)
        trust.append(np.broadcast_to(nearest, slices.shape) ** 2)
    total = np.zeros(n_slices)
    for part, own in zip(parts, trust, strict=True):
        total[part.first : part.stop] += own
    return [
        (own / total[part.first : part.stop]).astype(np.float32)
        for part, own in zip(parts, trust, strict=True)
    ]


def slices_within(memory: float, operator: ParallelBeam, prior: str = "tv") -> int:
    """How many slices can be reconstructed at once within some memory.

    Parameters
    ----------
    memory : float
        In bytes.
    operator : ParallelBeam
        Projector.
    prior : str, optional
        As in `reconstruct_regularised`.

    Returns
    -------
    int
        The number, which may be 0; whole slabs, as the compiled loops work on.
    """
    n_voxels = int(np.prod(operator.image_shape))
    n_rays = operator.n_tilts * operator.detector_size
    n_volumes = _VOLUMES.get(prior, _VOLUMES["tv"])
    slab = SLAB * 4 * (n_volumes * n_voxels + _SINOGRAMS * n_rays)
    return SLAB * int(memory // slab)


def block_within(
    memory: float, n_slices: int, operator: ParallelBeam, halo: int, prior: str = "tv"
) -> int | None:
    """How many slices a block may have besides its halo, within some memory.

    Parameters
    ----------
    memory : float
        In bytes.
    n_slices : int
        Slices of the series.
    operator : ParallelBeam
        Projector.
    halo : int
        Further slices on either side.
    prior : str, optional
        As in `reconstruct_regularised`.

    Returns
    -------
    int or None
        At least as many as both halos have, whatever the memory, so that no more than half of the
        work is done a second time; None if all slices can be reconstructed at once.
    """
    fitting = slices_within(memory, operator, prior)
    if fitting >= n_slices:
        return None
    smallest = SLAB * max(1, -(-4 * halo // SLAB))
    block = max(fitting, smallest) - 2 * halo
    return block if block + 2 * halo < n_slices else None


def largest_seam(differences: list[NDArray], volume: NDArray[np.float32]) -> float:
    """How far windows differ where they meet, the largest of all seams.

    Parameters
    ----------
    differences : list of arrays
        Of the rows, as `SliceRows` has them, that two windows have of the slice midway between
        both.
    volume : array of shape (slice, z, y)
        All slices.

    Returns
    -------
    float
        Root mean square difference over that of the volume; NaN if there are none to compare.
    """
    n = volume[0].size
    largest = max((_mean_square(each[:n]) for each in differences), default=np.nan)
    # Slice by slice: there may be no room for the volume once more.
    return float(np.sqrt(largest / (np.mean([_mean_square(each) for each in volume]) or 1.0)))


def _mean_square(values: NDArray) -> float:
    return float(np.einsum("i,i->", values.ravel(), values.ravel(), dtype=float) / values.size)


def reconstruct_windows(
    rows: NDArray,
    operator: ParallelBeam,
    settings: dict[str, Any],
    turn: AbstractContextManager,
) -> NDArray[np.float32]:
    """Reconstruct some windows in three dimensions, each by itself, one after the other.

    Parameters
    ----------
    rows : array of shape (window, slice * tilt * detector)
        Sinogram of each window, flat.
    operator : ParallelBeam
        Projector.
    settings : dict
        As in `reconstruct_regularised`.
    turn : context manager
        Held while a window is reconstructed, as a lock that keeps others from memory.

    Returns
    -------
    float32 array of shape (window, slice, length)
        Slices and figures as `SliceRows` says. Iterations and gap are those of the window;
        there is no objective of a slice, and it is 0.
    """
    layout = SliceRows(operator.detector_size, operator.n_tilts)
    sinograms = rows.reshape(len(rows), -1, operator.n_tilts, operator.detector_size)
    found = np.empty((*sinograms.shape[:2], layout.length), np.float32)
    for sinogram, slices in zip(sinograms, found, strict=True):
        with turn, operator.device.turn:
            result = reconstruct_regularised(sinogram, operator, settings)
            residual = np.subtract(sinogram, operator.forward(result.volume), dtype=np.float64)
        every = np.ones(len(sinogram))
        slices[:] = layout.join(
            result.volume,
            result.n_iterations * every,
            result.gap * every,
            0 * every,
            np.sqrt(np.mean(residual**2, axis=2)),
        )
    return found

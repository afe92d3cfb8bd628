# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Three-dimensional reconstruction of a volume beyond memory, in blocks of slices."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.utils import SerializableLock, parse_bytes
from hyperspy.external.progressbar import progressbar
from hyperspy.signals import BaseSignal
from numpy.typing import NDArray

from emsparse_hs._computing import compute, free_memory, is_shown
from emsparse_hs.blocks import Blocks
from emsparse_hs.signals._request import Request
from emsparse_hs.tomography import ParallelBeam, halo
from emsparse_hs.tomography.series import SliceRows

#: The part of the free memory that is used if nothing else is said.
_PART_OF_FREE = 0.5
#: Each block uses all threads and much memory: in a process they take turns.
_TURN = SerializableLock("emsparse_hs.halo_blocks")


def slices_a_block(n_slices: int, operator: ParallelBeam, request: Request) -> int | None:
    """How many slices a block has besides its halo, or None to take all of them at once."""
    block = request.block
    if request.dims == 2 or block is None:
        return None
    if isinstance(block, str):
        memory = _PART_OF_FREE * _free(operator) if block == "auto" else parse_bytes(block)
        block = halo.block_within(memory, n_slices, operator, request.halo, request.prior)
    elif block + 2 * request.halo >= n_slices:
        block = None
    if block is not None and isinstance(request.x0, BaseSignal):
        raise ValueError(
            "A tomogram to start from needs all slices at once, and these are reconstructed in "
            f"blocks of {block}. Use x0='wbp' or None, or, where memory allows, block={n_slices}."
        )
    return block


def _free(operator: ParallelBeam) -> float:
    """Free memory of what computes, in bytes."""
    of_card = operator.device.free_memory()
    return free_memory() if of_card is None else of_card


def in_blocks(
    sinogram, operator: ParallelBeam, settings: dict[str, Any], request: Request, block: int
) -> tuple[Any, dict]:
    """Volume and figures, one block after the other."""
    layout = SliceRows(operator.detector_size, operator.n_tilts)
    parts = halo.windows(len(sinogram), block, request.halo)
    found = Blocks.from_array(_overlapping(sinogram, parts), 1).map(
        halo.reconstruct_windows,
        operator,
        settings | {"start": request.x0},
        _TURN,
        output_shape=(parts[0].stop - parts[0].first, layout.length),
        dtype=np.float32,
        lazy_output=True,
    )
    if request.lazy_output:
        return layout.split(_blended(found, parts))
    rows, differences = _computed(found, parts, layout, request)
    volume, figures = layout.split(rows)
    seam = halo.largest_seam(differences, volume)
    # Blocks overlap, and have no objective in common.
    del figures["objective"]
    return volume, figures | {"seam": seam}


def _overlapping(sinogram, parts: Sequence[halo.Window]) -> da.Array:
    """Sinogram of each window, (window, slice, tilt, detector), one a chunk."""
    chunks = []
    for part in parts:
        window = sinogram[part.first : part.stop]
        is_lazy = isinstance(window, da.Array)
        chunks.append(window.rechunk(-1) if is_lazy else da.from_array(window, -1, name=False))
    return da.stack(chunks)


def _blended(found: da.Array, parts: Sequence[halo.Window]) -> Any:
    """Rows of all slices, lazily, from one border of a window to the next."""
    shares = halo.shares(parts)
    borders = sorted({border for part in parts for border in part[:2]})
    return da.concatenate(
        [
            sum(
                found[i, first - part.first : stop - part.first]
                * shares[i][first - part.first : stop - part.first, None]
                for i, part in enumerate(parts)
                if part.first <= first and stop <= part.stop
            )
            for first, stop in itertools.pairwise(borders)
        ]
    )


def _computed(
    found: da.Array, parts: Sequence[halo.Window], layout: SliceRows, request: Request
) -> tuple[NDArray[np.float32], list[NDArray]]:
    """Rows of all slices, each block put in place before the next one is begun.

    And by how much both blocks at each seam differ in the first slice after it.
    """
    rows = np.zeros((parts[-1].stop, layout.length), np.float32)
    beyond, differences = rows[:0], []
    remaining = iter(zip(parts, halo.shares(parts), strict=True))
    n_voxels = layout.size**2
    shown = is_shown(request.how["show_progressbar"])
    with progressbar(total=len(parts), desc="blocks", disable=not shown) as bar:
        for chunk in found.blocks.ravel():
            for window in compute(chunk, False, request.how["num_workers"]):
                part, share = next(remaining)
                differences += [window[part.inner.start] - each for each in beyond]
                # A copy, so that nothing else of the block stays in memory.
                beyond = window[part.inner.stop :][:1].copy()
                # Figures have no mean: a slice has those of the block that is nearest.
                rows[part.kept, n_voxels:] = window[part.inner, n_voxels:]
                window *= share[:, None]
                rows[part.first : part.stop, :n_voxels] += window[:, :n_voxels]
                bar.update()
    return rows, differences

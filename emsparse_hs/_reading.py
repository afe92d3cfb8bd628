# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How pieces of a scan, with whole spectra or patterns, are read inside dask's tasks."""

from __future__ import annotations

import itertools
import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed, delayed

#: A piece of the scan: one slice for each navigation axis.
Region = tuple[slice, ...]

#: Sizes in bytes. Smaller pieces are joined, since a task costs about a millisecond; larger ones
#: are cut, since as many pieces as there are threads are in memory at once.
SMALLEST, USUAL, LARGEST = 2**20, 2**25, 2**27

#: Chunks that split the signal are joined up to this size; beyond it they go through a file.
LARGEST_JOINED = 2**29


def read_pieces(array, navigation_dimension: int) -> Iterator[tuple[Region, Delayed]]:
    """Cut an array into pieces of the scan, in C order, that are read when they are computed.

    Parameters
    ----------
    array : numpy or dask array
        Navigation axes first. A memory-mapped file is opened inside the task, as RosettaSciIO's
        lazy readers do too; one that was wrapped by `da.from_array` has been read by that.
    navigation_dimension : int
        How many of the axes are navigation axes.

    Yields
    ------
    region : tuple of slices
        Where in the scan the piece lies.
    chunk : Delayed
        The piece, of the shape of the region and a whole spectrum or pattern.
    """
    if isinstance(array, da.Array):
        yield from _of_dask(array, navigation_dimension)
    elif isinstance(array, np.memmap) and isinstance(array.base, mmap.mmap):
        # Opened inside the task: nothing is copied, held open, or sent to other processes.
        order = "C" if array.flags.c_contiguous else "F"
        file = (os.fspath(array.filename), array.dtype, "r", array.offset, array.shape, order)
        yield from _of_file(file, navigation_dimension)
    else:
        array = np.asarray(array)
        for region in _regions(array.shape, navigation_dimension, array.dtype.itemsize):
            yield region, delayed(array[region], traverse=False)


def _of_dask(array: da.Array, navigation_dimension: int) -> Iterator[tuple[Region, Delayed]]:
    signal_axes = range(navigation_dimension, array.ndim)
    whole = array.rechunk({axis: -1 for axis in signal_axes})
    size = math.prod(whole.chunksize) * array.dtype.itemsize
    split = any(array.numblocks[axis] > 1 for axis in signal_axes)
    if split and size > LARGEST_JOINED:
        yield from _of_file(_rearranged(array), navigation_dimension)
        return
    # Pieces of joined chunks would save no memory: dask joins all of them before it cuts.
    if size < SMALLEST or (size > LARGEST and not split):
        pixel = math.prod(whole.chunksize[navigation_dimension:]) * array.dtype.itemsize
        chunks = ("auto",) * navigation_dimension + (-1,) * len(signal_axes)
        limit = max(USUAL, pixel)
        whole = whole.rechunk(
            da.core.normalize_chunks(
                chunks, array.shape, limit, array.dtype, previous_chunks=whole.chunks
            )
        )
    regions = _regions_of(whole.chunks[:navigation_dimension])
    yield from zip(regions, whole.to_delayed().ravel(), strict=True)


def _regions_of(chunks) -> Iterator[Region]:
    edges = [list(itertools.accumulate(sizes, initial=0)) for sizes in chunks]
    return itertools.product(*(map(slice, edge[:-1], edge[1:]) for edge in edges))


def _regions(shape, navigation_dimension: int, itemsize: int) -> Iterator[Region]:
    """Regions of the usual size that lie in one stretch of a C-ordered array."""
    left = max(1, USUAL // max(1, math.prod(shape[navigation_dimension:]) * itemsize))
    chunks: list[tuple[int, ...]] = []
    for length in reversed(shape[:navigation_dimension]):
        step = max(1, min(left, length))
        chunks.insert(0, (step,) * (length // step) + ((length % step,) if length % step else ()))
        left = left // length if step == length else 1
    return _regions_of(chunks)


def _of_file(file: tuple, navigation_dimension: int) -> Iterator[tuple[Region, Delayed]]:
    _, dtype, _, _, shape, _ = file
    for region in _regions(shape, navigation_dimension, dtype.itemsize):
        yield region, delayed(_opened)(*file, region)


def _opened(path, dtype, mode, offset, shape, order, region) -> np.ndarray:
    return np.asarray(np.memmap(os.fspath(path), dtype, mode, offset, shape, order))[region]


def _rearranged(array: da.Array) -> tuple[Any, ...]:
    """Write the data once to a temporary file, pixel after pixel.

    If the chunks hold a part of the spectrum of very many pixels, as in files that are stored
    energy by energy, whole spectra can't be had without reading everything for each piece, or
    holding everything in memory.
    """
    path = _TemporaryFile()
    file = (path, array.dtype, "r", 0, array.shape, "C")
    np.memmap(os.fspath(path), array.dtype, "w+", 0, array.shape)
    chunks = array.to_delayed().ravel()
    writes = [
        delayed(_written)(chunk, path, array.dtype, array.shape, region)
        for chunk, region in zip(chunks, _regions_of(array.chunks), strict=True)
    ]
    dask.compute(*writes)
    return file


def _written(chunk, path, dtype, shape, region) -> None:
    np.memmap(os.fspath(path), dtype, "r+", 0, shape)[region] = chunk


class _TemporaryFile:
    """Path of a file that goes when the last task that may read it has gone.

    A copy that was sent to another process is a plain path: only the first one removes the file.
    """

    def __init__(self) -> None:
        handle, self._path = tempfile.mkstemp(
            prefix="emsparse-", dir=dask.config.get("temporary-directory", None)
        )
        os.close(handle)

    def __fspath__(self) -> str:
        return self._path

    def __reduce__(self):
        return str, (self._path,)

    def __del__(self, remove=os.remove) -> None:
        remove(self._path)

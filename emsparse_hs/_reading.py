# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How pieces of a scan, with whole spectra or patterns, are read inside dask's tasks."""

from __future__ import annotations

import atexit
import itertools
import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import dask
import dask.array as da
import numpy as np
from dask.delayed import Delayed, delayed

#: A piece of the scan: one slice for each navigation axis.
Region = tuple[slice, ...]

#: Sizes in bytes. Smaller pieces are joined, since a task costs about a millisecond; larger ones
#: are cut, since as many pieces as there are threads are in memory at once.
SMALLEST, USUAL, LARGEST = 2**20, 2**25, 2**27

#: What dask calls the steps that leave a mapped file as it is, but for the part that is seen.
_KEEP_A_VIEW = {"array", "slice_memmap", "getitem", "transpose"}

#: Chunks that split the signal are joined up to this size; beyond it they go through a file.
LARGEST_JOINED = 2**29


def read_pieces(array, navigation_dimension: int) -> Iterator[tuple[Region, Delayed | StoredPiece]]:
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
    chunk : Delayed or StoredPiece
        The piece, of the shape of the region and a whole spectrum or pattern. `opened` makes what
        a task gets of it an array.
    """
    if isinstance(array, da.Array):
        yield from _of_dask(array, navigation_dimension)
    elif (
        isinstance(array, np.memmap)
        and isinstance(array.base, mmap.mmap)
        # Changes of a copy on write are in memory only.
        and array.mode != "c"
    ):
        # Opened inside the task: nothing is copied, held open, or sent to other processes.
        order = "C" if array.flags.c_contiguous else "F"
        file = _File(array.filename, array.dtype, array.offset, array.shape, order)
        yield from _of_file(file, navigation_dimension)
    else:
        array = np.asarray(array)
        for region in _regions(array.shape, navigation_dimension, array.dtype.itemsize, USUAL):
            yield region, delayed(array[region], traverse=False)


def opened(chunk):
    """What a task works on: a piece of a file is opened, anything else is there already."""
    return chunk.opened() if isinstance(chunk, StoredPiece) else chunk


def _of_dask(
    array: da.Array, navigation_dimension: int
) -> Iterator[tuple[Region, Delayed | StoredPiece]]:
    file = _file_behind(array, navigation_dimension)
    if file is not None:
        # As large as the chunks were: what is mapped takes no memory, and each task takes time.
        size = math.prod(array.chunksize) * array.dtype.itemsize
        size = min(max(size, USUAL), LARGEST)
        yield from _of_file(file, navigation_dimension, size)
        return
    signal_axes = range(navigation_dimension, array.ndim)
    whole = array.rechunk({axis: -1 for axis in signal_axes})
    size = math.prod(whole.chunksize) * array.dtype.itemsize
    split = any(array.numblocks[axis] > 1 for axis in signal_axes)
    if split and size > LARGEST_JOINED:
        yield from _of_file(_rearranged(array, navigation_dimension), navigation_dimension)
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


def _regions(shape, navigation_dimension: int, itemsize: int, size: int) -> Iterator[Region]:
    """Regions of at most some bytes that lie in one stretch of a C-ordered array."""
    left = max(1, size // max(1, math.prod(shape[navigation_dimension:]) * itemsize))
    chunks: list[tuple[int, ...]] = []
    for length in reversed(shape[:navigation_dimension]):
        step = max(1, min(left, length))
        chunks.insert(0, (step,) * (length // step) + ((length % step,) if length % step else ()))
        left = left // length if step == length else 1
    return _regions_of(chunks)


def _of_file(
    file: _File | _View, navigation_dimension: int, size: int | None = None
) -> Iterator[tuple[Region, StoredPiece]]:
    size = USUAL if size is None else size
    for region in _regions(file.shape, navigation_dimension, file.dtype.itemsize, size):
        yield region, StoredPiece(file, region)


def _file_behind(array: da.Array, navigation_dimension: int) -> _View | None:
    """Where a lazy array lies in its file, if it is a part of one that RosettaSciIO maps.

    Its readers cut the scan and the detector into chunks of the same length by default. To join
    them would copy everything, four chunks at a time, where the file holds whole patterns.
    """
    names = {name.split("-")[0] for name in array.dask.layers}
    if "slice_memmap" not in names or names - _KEEP_A_VIEW or 0 in array.shape:
        return None
    chunks = array.to_delayed()
    try:
        # Nothing is read: to compute a chunk is to map it.
        first, last = dask.compute(chunks.flat[0], chunks.flat[-1], scheduler="sync")
    except OSError:
        return None
    if any(getattr(part, "_mmap", None) is None for part in (first, last)):
        return None
    view = _View(first.filename, array.dtype, _position(first), array.shape, first.strides)
    starts = [length - sizes[-1] for length, sizes in zip(array.shape, array.chunks, strict=True)]
    expected = view.position + sum(map(int.__mul__, view.strides, starts))
    same = (last.filename, last.dtype, last.strides) == (view.path, view.dtype, view.strides)
    reach = [abs(step) * length for step, length in zip(view.strides, view.shape, strict=True)]
    steps = [abs(step) for step in view.strides[:navigation_dimension]]
    whole = max(reach[navigation_dimension:], default=0) <= min(steps)
    return view if same and whole and _position(last) == expected else None


def _position(view: np.memmap) -> int:
    """Byte of the file at which the first element of a view lies."""
    start = np.frombuffer(view._mmap, np.uint8).ctypes.data  # type: ignore[attr-defined]
    return view.offset - view.offset % mmap.ALLOCATIONGRANULARITY + view.ctypes.data - start


def _rearranged(array: da.Array, navigation_dimension: int) -> _File:
    """Write the data once to a temporary file, pixel after pixel.

    If the chunks hold a part of the spectrum of very many pixels, as in files that are stored
    energy by energy, whole spectra can't be had without reading everything for each piece, or
    holding everything in memory.
    """
    file = _File(_TemporaryFile(), array.dtype, 0, array.shape, "C")
    file.mapped("w+")
    # Each write touches as many pages of the file as there are pixels: few and long ones are fast.
    signal_axes = ("auto",) * (array.ndim - navigation_dimension)
    joined = array.rechunk(
        da.core.normalize_chunks(
            array.chunks[:navigation_dimension] + signal_axes,
            array.shape,
            LARGEST,
            array.dtype,
            previous_chunks=array.chunks,
        )
    )
    chunks = zip(joined.to_delayed().ravel(), _regions_of(joined.chunks), strict=True)
    dask.compute(*(delayed(_written)(chunk, file, region) for chunk, region in chunks))
    return file


def _written(chunk, file: _File, region: Region) -> None:
    file.mapped("r+")[region] = chunk


class _File(NamedTuple):
    """An array in a file, as numpy maps it."""

    path: Any
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    order: Literal["C", "F"]

    def mapped(self, mode: Literal["r", "r+", "w+"]) -> np.memmap:
        path = os.fspath(self.path)
        return np.memmap(path, self.dtype, mode, self.offset, self.shape, self.order)


class _View(NamedTuple):
    """A part of a file, some bytes apart along each axis."""

    path: Any
    dtype: np.dtype
    position: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def mapped(self, mode: Literal["r"]) -> np.ndarray:
        file = np.memmap(self.path, np.uint8, mode)
        return np.ndarray(self.shape, self.dtype, file, self.position, self.strides)


class StoredPiece:
    """A piece of an array in a file.

    It is no task of its own: dask would hand the mapped piece from thread to thread, and let go of
    it in another one, which costs more than to look at it.
    """

    def __init__(self, file: _File | _View, region: Region) -> None:
        self._file, self._region = file, region

    def opened(self) -> np.ndarray:
        return np.asarray(self._file.mapped("r"))[self._region]


class _TemporaryFile:
    """Path of a file that goes when the last task that may read it has gone.

    In other processes it is a plain path, and what they still need can't be known here: with a
    cluster the file goes when this process ends.
    """

    def __init__(self) -> None:
        handle, path = tempfile.mkstemp(
            prefix="emsparse-", dir=dask.config.get("temporary-directory", None)
        )
        os.close(handle)
        self._path = path
        if _cluster_is_active():
            atexit.register(os.remove, path)
        else:
            weakref.finalize(self, os.remove, path)

    def __fspath__(self) -> str:
        return self._path

    def __reduce__(self):
        return str, (self._path,)


def _cluster_is_active() -> bool:
    scheduler = dask.base.get_scheduler()
    return getattr(scheduler, "__module__", "").startswith("distributed")

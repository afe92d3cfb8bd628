# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Counts of any kind as compressed sparse rows, checked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from typing import IO, NamedTuple

import numpy as np
from scipy import sparse

from ._csr_kernels import count_stored, fill_stored, place_rows, sum_rows
from ._refusals import refuse_negative, refuse_not_finite, refuse_stacked

#: Types that counts are kept in, the smallest first.
_UNSIGNED = (np.uint8, np.uint16, np.uint32)

#: What rounding to float32 may have made of whole numbers: relative to them, and at most.
_ROUNDING = 1e-5, 0.05

#: Sparse formats that are taken as they are: made CSR elsewhere, events would be added up in their
#: own dtype (see `one_a_place`).
FORMATS = ("csr", "coo")

#: Stored counts that are drawn at once.
_AT_ONCE = 2**20

#: Largest sum of a pixel, and smallest of the largest count, with which nothing that is computed
#: from counts leaves the range of float32.
MOST_IN_PIXEL, LEAST_MAXIMUM = 1e30, 1e-20


def as_counts(rows) -> sparse.csr_array:
    """Keep what is not zero of a block of counts.

    At 97 % zeros this takes a thirtieth of the memory of float32, and is up to ten times faster
    than SciPy's own conversion.

    Parameters
    ----------
    rows : array, dask array or SciPy sparse array of shape (n_pixels, n_features)
        Counts of any real dtype. Never changed. Of a dask array, whose blocks may be SciPy's sparse
        ones, one block of rows is in memory at a time.

    Returns
    -------
    csr_array of shape (n_pixels, n_features)
        Without explicit zeros, features in ascending order, indices int32 if they fit. Of the
        smallest of uint8, uint16 and uint32 that holds the counts if all are whole, but for the
        rounding of float32, as after HyperSpy has scaled them and back; float32 otherwise. May
        share memory with `rows` if that is such an array already.

    Raises
    ------
    ValueError
        If there are not two dimensions, or counts are negative, NaN or infinite, add up to more
        than 1e30 in a pixel, or are all below 1e-20.
    TypeError
        If the data are complex or no numbers.
    """
    rows = by_blocks(rows)
    if not sparse.issparse(rows):
        rows = np.asarray(rows)
    if rows.dtype.kind not in "biuf":
        raise TypeError(
            f"Counts are of dtype {rows.dtype}, and real numbers are needed. Take s.real, s.imag "
            "or the amplitude of complex data; make ragged data rectangular."
        )
    _check_dimensions(rows)
    counts = _of_sparse(rows) if sparse.issparse(rows) else _of_dense(rows)
    _check(counts.data)
    dtype = _smallest_dtype(counts.data)
    if dtype.kind == "f":
        _check_range(counts)
    if counts.dtype != dtype:
        rounded = counts.dtype.kind == "f" and dtype.kind != "f"
        data = np.rint(counts.data) if rounded else counts.data
        counts = _csr(data.astype(dtype), counts.indices, counts.indptr, counts.shape)
        # What is below the range of float32 is zero by now.
        counts = _of_sparse(counts) if dtype.kind == "f" else counts
    return counts


def stack_counts(
    blocks: Iterable[sparse.csr_array],
    order: np.ndarray | None = None,
    folder: str | os.PathLike | None = None,
) -> sparse.csr_array:
    """Join blocks of counts, one below the other.

    Parameters
    ----------
    blocks : iterable of csr_array
        As `as_counts` makes them, each with the same number of features.
    order : integer array of shape (n_pixels,), optional
        Which of all rows each row of the result is. One block after the other by default.
    folder : str or path, optional
        Where to keep values and features in temporary files, one block after the other, instead of
        in memory. The files have no names and go with the counts, which are used like others: the
        system reads them where they are needed.

    Returns
    -------
    csr_array
        Of the smallest of the blocks' dtypes that holds all. The block itself if it is one, in
        memory, and in order.

    Raises
    ------
    ValueError
        If there are no blocks, or they differ in the number of features.
    OSError
        If there is no room for the files.
    """
    if folder is not None:
        return _joined(_spooled(blocks, folder), order, folder)
    held = list(blocks)
    if len(held) == 1 and (order is None or np.array_equal(order, np.arange(held[0].shape[0]))):
        return held[0]
    return _joined([_Rows(b.indptr, b.indices, b.data, b.shape[1]) for b in held], order, None)


def by_blocks(rows):
    """Counts of a dask array, block by block; whatever else it is, as it is.

    Parameters
    ----------
    rows : dask array of shape (n_pixels, n_features), or anything
        Counts of any real dtype.

    Returns
    -------
    csr_array of shape (n_pixels, n_features), or `rows`
        As `as_counts` makes them.

    Raises
    ------
    ValueError, TypeError
        As `as_counts`; if there are not two dimensions, before anything is read.
    """
    refuse_stacked(rows)
    # Known by what it can do: nothing here needs dask itself.
    if not hasattr(rows, "numblocks"):
        return rows
    _check_dimensions(rows)
    rows = rows.rechunk({1: -1})
    return stack_counts([as_counts(rows.blocks[i].compute()) for i in range(rows.numblocks[0])])


class _Rows(NamedTuple):
    """A block of counts. SciPy would copy arrays that are small parts of larger ones."""

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray
    n_features: int


def _joined(
    parts: list[_Rows], order: np.ndarray | None, folder: str | os.PathLike | None
) -> sparse.csr_array:
    """Blocks put together as `stack_counts` says."""
    widths = sorted({part.n_features for part in parts})
    if len(widths) != 1:
        raise ValueError(
            f"Blocks have {widths or 'no'} features. Pass at least one, all with the same number."
        )
    lengths = np.concatenate([np.diff(part.indptr) for part in parts])
    places = np.arange(len(lengths))
    if order is not None:
        places[order], lengths = np.arange(len(order)), lengths[order]
    indptr = _offsets(lengths)
    dtypes = [part.data.dtype for part in parts]
    # NumPy would make float64 of uint32 and float32.
    floats = any(dtype.kind == "f" for dtype in dtypes)
    dtype = np.dtype(np.float32) if floats else max(dtypes, key=lambda dtype: dtype.itemsize)
    # As wide as SciPy would make them otherwise, in memory.
    wide = np.result_type(indptr, *(part.indices for part in parts))
    indices, data = _room(indptr[-1], wide, folder), _room(indptr[-1], dtype, folder)
    first = 0
    for part in parts:
        own = places[first : first + len(part.indptr) - 1]
        place_rows(part.indptr, part.indices, part.data, own, indptr, indices, data)
        first += len(own)
    return _csr(data, indices, indptr, (len(lengths), widths[0]))


def _spooled(blocks: Iterable[sparse.csr_array], folder: str | os.PathLike) -> list[_Rows]:
    """The same blocks, all of them in one file, each written before the next one is asked for."""
    spooled: list[_Rows] = []
    places: list[tuple[int, int]] = []
    with tempfile.TemporaryFile(prefix="emsparse-", dir=os.fspath(folder)) as file:
        for block in blocks:
            places.append((_append(file, block.indices), _append(file, block.data)))
            spooled.append(_Rows(block.indptr, block.indices[:0], block.data[:0], block.shape[1]))
        file.flush()
        if not file.tell():
            return spooled
        memory = np.asarray(np.memmap(file, np.uint8, "r", shape=(file.tell(),)))
    for k, (rows, (indices, data)) in enumerate(zip(spooled, places, strict=True)):
        n = int(rows.indptr[-1])
        spooled[k] = rows._replace(
            indices=memory[indices:][: n * rows.indices.itemsize].view(rows.indices.dtype),
            data=memory[data:][: n * rows.data.itemsize].view(rows.data.dtype),
        )
    return spooled


def _append(file: IO[bytes], array: np.ndarray) -> int:
    """Write an array to a file, from a multiple of 8 bytes on, as any type needs; where that is."""
    file.write(bytes(-file.tell() % 8))
    place = file.tell()
    file.write(np.ascontiguousarray(array).data.cast("B"))
    return place


def _room(n: int, dtype: np.dtype, folder: str | os.PathLike | None) -> np.ndarray:
    """Array in memory, or in a file that is gone when the array is."""
    if folder is None or not n:
        return np.empty(n, dtype)
    with tempfile.TemporaryFile(prefix="emsparse-", dir=os.fspath(folder)) as file:
        size = int(n) * np.dtype(dtype).itemsize
        if hasattr(os, "posix_fallocate"):
            # Room that turned out to be missing later would end the process.
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
        return np.asarray(np.memmap(file, dtype, "r+", shape=(n,)))


def pixel_sums(counts: sparse.csr_array) -> np.ndarray:
    """Sum all features.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.

    Returns
    -------
    float64 array of shape (n_pixels,)
        Counts of each pixel.
    """
    sums = np.empty(counts.shape[0])
    sum_rows(counts.indptr, counts.data, sums)
    return sums


def thin_counts(
    counts: sparse.csr_array, share: float, random: np.random.RandomState
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Give each count to one of two parts at random.

    If the counts are Poisson distributed, so are the parts, about `share` and ``1 - share`` of the
    same expectation, and they are independent: what is learned from one can be judged by the
    other.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them, of an unsigned dtype.
    share : float
        Probability with which a count goes to the first part.
    random : RandomState
        Source of the choice.

    Returns
    -------
    first, second : csr_array
        Which add up to `counts`.
    """
    data = np.empty_like(counts.data)
    # In pieces: what is drawn has eight bytes a count.
    for start in range(0, len(data), _AT_ONCE):
        piece = slice(start, start + _AT_ONCE)
        data[piece] = random.binomial(counts.data[piece], share)
    first = _stored(data, counts)
    np.subtract(counts.data, data, out=data)
    return first, _stored(data, counts)


def _stored(data: np.ndarray, counts: sparse.csr_array) -> sparse.csr_array:
    """Counts at the same places, without those that are zero."""
    some = data != 0
    stored = np.empty(counts.shape[0])
    sum_rows(counts.indptr, some.view(np.uint8), stored)
    return _csr(data[some], counts.indices[some], _offsets(stored.astype(np.int64)), counts.shape)


def _of_dense(rows: np.ndarray) -> sparse.csr_array:
    dtype = rows.dtype.newbyteorder("=")
    # The compiled loops know neither half nor extended precision.
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        dtype = np.dtype(np.float32 if dtype.itemsize < 4 else np.float64)
    rows = np.ascontiguousarray(rows, dtype)
    stored = np.empty(len(rows), np.int64)
    count_stored(rows, stored)
    indptr = _offsets(stored)
    indices = np.empty(indptr[-1], np.int32)
    data = np.empty(indptr[-1], dtype)
    fill_stored(rows, indptr, indices, data)
    return _csr(data, indices, indptr, rows.shape)


def one_a_place(rows) -> sparse.csr_array:
    """Add up what is stored for one place, as events are, in a dtype that holds the sum.

    Parameters
    ----------
    rows : SciPy sparse array of shape (n_pixels, n_features)
        Real numbers. Never changed.

    Returns
    -------
    csr_array of shape (n_pixels, n_features)
        Features in ascending order. May share memory with `rows`.
    """
    if rows.format != "csr" or not rows.has_canonical_format:
        # SciPy adds up in the dtype of the data, and 256 in uint8 are 0.
        rows = rows.astype(np.result_type(rows.dtype, np.int64), copy=False)
    counts = sparse.csr_array(rows)
    if not counts.has_canonical_format:
        counts = counts.copy()
        counts.sum_duplicates()
    return counts


def _of_sparse(rows) -> sparse.csr_array:
    counts = one_a_place(rows)
    if not counts.data.all():
        counts = counts.copy()
        counts.eliminate_zeros()
    data = counts.data.astype(counts.dtype.newbyteorder("="), copy=False)
    return _csr(data, counts.indices, counts.indptr, counts.shape)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    """Where each row starts, in int32 if that is enough: SciPy widens the indices as well."""
    total = int(lengths.sum())
    offsets = np.zeros(len(lengths) + 1, np.int32 if total < 2**31 else np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _csr(data, indices, indptr, shape) -> sparse.csr_array:
    counts = sparse.csr_array((data, indices, indptr), shape=shape)
    counts.has_canonical_format = True
    return counts


def _check_dimensions(rows) -> None:
    if rows.ndim != 2:
        raise ValueError(
            f"Counts have {rows.ndim} dimensions, and 2 are needed, (pixels, features). "
            "Use counts.reshape(-1, n_features)."
        )


def _check(data: np.ndarray) -> None:
    refuse_negative(data)
    refuse_not_finite(data)


def _check_range(counts: sparse.csr_array) -> None:
    largest, most = counts.data.max(initial=0), pixel_sums(counts).max(initial=0)
    if most > MOST_IN_PIXEL:
        raise ValueError(
            f"Counts add up to {most:g} in a pixel, and {MOST_IN_PIXEL:g} or less is needed. "
            "Divide the data by a number: the spectra stay the same, and the abundances follow."
        )
    if counts.nnz and largest < LEAST_MAXIMUM:
        raise ValueError(
            f"The largest count is {largest:g}, and {LEAST_MAXIMUM:g} or more is needed. Multiply "
            "the data by a number: the spectra stay the same, and the abundances follow. Or set "
            "to zero what is nothing but rounding."
        )


def _smallest_dtype(data: np.ndarray) -> np.dtype:
    largest = data.max(initial=0)
    if data.dtype.kind != "f" or _are_whole(data):
        for dtype in _UNSIGNED:
            if largest <= np.iinfo(dtype).max:
                return np.dtype(dtype)
    return np.dtype(np.float32)


def _are_whole(data: np.ndarray) -> bool:
    # In pieces: what is compared would be several times as large as the data.
    for start in range(0, len(data), _AT_ONCE):
        piece = data[start : start + _AT_ONCE]
        whole = np.rint(piece)
        rounding = np.minimum(_ROUNDING[0] * whole, _ROUNDING[1])
        if not (np.abs(piece - whole) <= rounding).all():
            return False
    return True

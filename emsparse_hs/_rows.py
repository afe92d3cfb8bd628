# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How a chunk of a scan becomes rows of whole spectra or patterns, and results go back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import dask.array as da
import numpy as np

from emsparse_hs._reading import opened

#: Bytes. Where a copy is needed, it is made in parts of about this size, which stay in the cache.
#: Lines of the scan that need none, since each is one stretch, are not joined from the second on.
_COPIED_PART, _VIEWED_PART = 2**22, 2**20


class RowLayout(NamedTuple):
    """How the chunk of a piece becomes rows."""

    navigation_dimension: int
    #: Of the chunk's pixels and features in C order, True where kept; None if all are.
    pixels: np.ndarray | None
    features: np.ndarray | None


def as_rows(chunk, layout: RowLayout | None):
    """One chunk as (pixels, features), kept ones only, C-contiguous, in native byte order."""
    if layout is None:
        return chunk
    chunk = np.asarray(opened(chunk))
    n_pixels = math.prod(chunk.shape[: layout.navigation_dimension])
    rows = np.ascontiguousarray(chunk).reshape(n_pixels, -1)
    if layout.pixels is not None:
        rows = rows[layout.pixels]
    if layout.features is not None:
        rows = np.ascontiguousarray(rows[:, layout.features])
    rows = rows.astype(rows.dtype.newbyteorder("="), copy=False)
    if np.may_share_memory(rows, chunk):
        # A function that works in place must not change the user's data.
        rows = rows.view()
        rows.flags.writeable = False
    return rows


def row_parts(chunk, layout: RowLayout | None) -> Iterator[Any]:
    """One chunk as some rows after the other, so that it is not copied as a whole.

    A piece of a larger scan, as chunks along both axes are, is one stretch of memory in each line
    of the scan only.
    """
    chunk = opened(chunk)
    # What is no scan, but a stack of slices, stays together.
    if layout is None or layout.navigation_dimension == 1 or _is_ready(chunk, layout):
        yield as_rows(chunk, layout)
        return
    size = chunk[0].nbytes
    step = max(1, _COPIED_PART // size)
    if size >= _VIEWED_PART and _is_ready(chunk[0], layout):
        step = 1
    n_pixels = math.prod(chunk.shape[1 : layout.navigation_dimension])
    for start in range(0, len(chunk), step):
        pixels = layout.pixels
        if pixels is not None:
            pixels = pixels[start * n_pixels : (start + step) * n_pixels]
            if not pixels.any():
                continue
        yield as_rows(chunk[start : start + step], layout._replace(pixels=pixels))


def _is_ready(chunk, layout: RowLayout) -> bool:
    """Whether a chunk is in memory as rows without a copy."""
    whole = layout.pixels is None and layout.features is None
    return whole and chunk.flags.c_contiguous and chunk.dtype.isnative


def n_rows(rows) -> int:
    """Number of rows, of sparse ones too."""
    return rows.shape[0]


def some_rows(rows: np.ndarray, number: int) -> np.ndarray:
    """Copies of some evenly spaced rows."""
    number = min(number, len(rows))
    return rows[((np.arange(number) + 0.5) * len(rows) / number).astype(int)]


def placed_results(
    chunk, layout, function: Callable, own, args: tuple, keep, output_shape, dtype, fill
) -> np.ndarray:
    """Results of the kept pixels of one region, at their places in it."""
    values = np.empty((int(keep.sum()), *output_shape), dtype)
    start = 0
    for rows in row_parts(chunk, layout):
        part = slice(start, start + n_rows(rows))
        result = np.asarray(function(rows, *(each[part] for each in own), *args), dtype=dtype)
        start = part.stop
        if result.shape != values[part].shape:
            raise ValueError(
                f"{function.__name__} returned an array of shape {result.shape} for one block; "
                f"{values[part].shape} is needed: one result of output_shape for each row."
            )
        values[part] = result
    if keep.all():
        return values.reshape(keep.shape + output_shape)
    placed = np.full(keep.shape + output_shape, fill, dtype=dtype)
    placed[keep] = values
    return placed


def joined(pieces: dict[tuple[int, ...], da.Array]) -> da.Array:
    """One array of pieces that are given by where they start along each navigation axis."""
    for axis in reversed(range(len(next(iter(pieces))))):
        lines: dict[tuple[int, ...], list[da.Array]] = {}
        for start in sorted(pieces):
            lines.setdefault(start[:axis], []).append(pieces[start])
        pieces = {start: da.concatenate(line, axis=axis) for start, line in lines.items()}
    return pieces[()]

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Slabs: how slices lie in memory while something is computed with them.

A slab holds `SLAB` slices with the slice index innermost, and begins at a multiple of 64 bytes, so
that no vector of a compiled loop lies across two lines of the cache: back-projection takes 1.4
times as long if all do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._kernels import SLAB

_ALIGNMENT = 64


def zeros(*shape: int) -> NDArray[np.float32]:
    """Slabs (..., slice) of zeros; the slice axis is not given."""
    size = int(np.prod(shape)) * SLAB
    room = np.zeros(size + _ALIGNMENT // 4, np.float32)
    start = -(room.ctypes.data // 4) % (_ALIGNMENT // 4)
    return room[start : start + size].reshape(*shape, SLAB)


def zeros_like(slabs: NDArray) -> NDArray[np.float32]:
    """Slabs of zeros, of the same shape."""
    return zeros(*slabs.shape[:-1])


def to_slabs(array: NDArray, margin: int = 0) -> NDArray[np.float32]:
    """Slices (slice, a, b) as slabs (slab, a, b + 2 * margin, slice), filled up with zeros."""
    n_slices, a, b = array.shape
    slabs = zeros(-(-n_slices // SLAB), a, b + 2 * margin)
    for k, slab in enumerate(slabs):
        part = array[k * SLAB : (k + 1) * SLAB]
        slab[:, margin : margin + b, : len(part)] = np.moveaxis(part, 0, -1)
    return slabs


def from_slabs(slabs: NDArray[np.float32], n_slices: int) -> NDArray[np.float32]:
    """Undo `to_slabs` but for the margin."""
    slices = np.moveaxis(slabs, -1, 1).reshape(-1, *slabs.shape[1:3])
    return np.ascontiguousarray(slices[:n_slices])

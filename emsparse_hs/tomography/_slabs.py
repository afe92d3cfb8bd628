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


def squares(slab: NDArray) -> NDArray[np.float64]:
    """Sum of squares of each slice (last axis) of a slab."""
    flat = slab.reshape(-1, slab.shape[-1])
    return np.einsum("is,is->s", flat, flat, dtype=np.float64)


def slices_of(slabs: NDArray[np.float32], n_slices: int) -> NDArray[np.float32]:
    """First slices (slice, a, b) of slabs (slab, a, b, slice)."""
    slices = np.moveaxis(slabs, -1, 1).reshape(-1, *slabs.shape[1:3])
    return slices[:n_slices]

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where slabs live and what computes with them: the processor, or a graphics card.

Both have the same loops under the same names; whatever else is done with slabs is numpy's, which
CuPy takes over for its own arrays.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from threading import RLock
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _cuda, _kernels, _slabs, _tv_kernels, _wavelet_kernels
from ._kernels import SLAB

#: Names of devices.
DEVICES = ("cpu", "cuda")
#: Loops that both have.
_LOOPS = (
    "project",
    "backproject",
    "sweep",
    "first_slice",
    "volume_step",
    "add_adjoint_gradient",
    "data_step",
    "variation",
    "price_of_descent",
    "squares",
    "ascend_wavelets",
    "size_of_wavelets",
    "merge_wavelets",
    "descend",
)


class Device:
    """What slabs need of a device.

    Attributes
    ----------
    name : str
        One of `DEVICES`.
    loops : namespace
        Compiled loops by their names.
    """

    name: str
    loops: SimpleNamespace
    #: Held while blocks are computed that may not be side by side.
    turn: AbstractContextManager = nullcontext()

    def zeros(self, *shape: int) -> Any:
        """Slabs (..., slice) of zeros; the slice axis is not given."""
        raise NotImplementedError

    def put(self, array: NDArray) -> Any:
        """Array on the device, of one of numpy."""
        raise NotImplementedError

    def get(self, array: Any) -> NDArray:
        """Array of numpy, of one on the device."""
        raise NotImplementedError

    def free_memory(self) -> int | None:
        """Bytes of memory that are free, None where they are those of the machine."""
        return None

    def to_slabs(self, array: NDArray, margin: int = 0) -> Any:
        """Slices (slice, a, b) as slabs (slab, a, b + 2 * margin, slice), filled up with zeros."""
        n_slices, a, b = array.shape
        slabs = self.zeros(-(-n_slices // SLAB), a, b + 2 * margin)
        for k, slab in enumerate(slabs):
            part = self.put(array[k * SLAB : (k + 1) * SLAB])
            slab[:, margin : margin + b, : len(part)] = np.moveaxis(part, 0, -1)
        return slabs

    def from_slabs(self, slabs: Any, n_slices: int) -> NDArray[np.float32]:
        """Undo `to_slabs` but for the margin."""
        return np.ascontiguousarray(self.get(_slabs.slices_of(slabs, n_slices)))


class Processor(Device):
    """The processor, with arrays of numpy and loops compiled by numba."""

    name = "cpu"

    def __init__(self) -> None:
        self.loops = _loops(_kernels, _tv_kernels, _wavelet_kernels, _slabs)

    def zeros(self, *shape: int) -> NDArray[np.float32]:
        """See `Device`."""
        return _slabs.zeros(*shape)

    def put(self, array: NDArray) -> NDArray:
        """See `Device`."""
        return array

    def get(self, array: NDArray) -> NDArray:
        """See `Device`."""
        return array


class GraphicsCard(Device):
    """A graphics card of Nvidia, with arrays of CuPy.

    Raises
    ------
    ImportError
        If CuPy is not installed.
    RuntimeError
        If no card is found.
    """

    name = "cuda"
    turn = RLock()

    def __init__(self) -> None:
        try:
            found = _cuda.cupy().cuda.is_available()
        except ImportError as error:
            error.add_note("And a graphics card of Nvidia is needed. device='cpu' needs neither.")
            raise
        if not found:
            raise RuntimeError("No graphics card that CUDA can use was found. Use device='cpu'.")
        self.loops = _loops(_cuda)

    def zeros(self, *shape: int) -> Any:
        """See `Device`."""
        return _cuda.cupy().zeros((*shape, SLAB), np.float32)

    def put(self, array: NDArray) -> Any:
        """See `Device`."""
        return _cuda.cupy().asarray(array)

    def get(self, array: Any) -> NDArray:
        """See `Device`."""
        return _cuda.cupy().asnumpy(array)

    def free_memory(self) -> int | None:
        """See `Device`."""
        cupy = _cuda.cupy()
        return cupy.cuda.runtime.memGetInfo()[0] + cupy.get_default_memory_pool().free_bytes()


@cache
def device_named(name: str) -> Device:
    """Device of a name.

    Raises
    ------
    ValueError
        If there is none of this name.
    ImportError, RuntimeError
        As `GraphicsCard` says.
    """
    if name not in DEVICES:
        raise ValueError(f"The device is one of {DEVICES}, not {name!r}.")
    return Processor() if name == "cpu" else GraphicsCard()


def _loops(*modules: Any) -> SimpleNamespace:
    """Loops by their names, from the modules that have them."""
    found = {}
    for name in _LOOPS:
        found[name] = next(getattr(module, name) for module in modules if hasattr(module, name))
    return SimpleNamespace(**found)

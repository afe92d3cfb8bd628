# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The loops of the other files on a graphics card, with the same names and arguments.

They take arrays of CuPy and are compiled when they are first used, from kernels.cu.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from emsparse_hs._optional import require

from ._kernels import SLAB

#: Of the threads of a block: rays of `project`, rows and columns of `backproject`, and pixels of
#: what goes through a volume.
_RAYS, _ROWS, _COLUMNS, _PIXELS = 16, 4, 8, 4
#: Blocks and pixels at once of sums; the latter is LANES in kernels.cu.
_BLOCKS, _LANES = 1024, 8


@cache
def cupy() -> Any:
    """CuPy, or an error that says how to install it."""
    return require("cupy", "cuda")


def project(volume, rays, by_row, sinogram) -> None:
    """See `_kernels.project`."""
    n_tilts, n = sinogram.shape[0], sinogram.shape[1] - 2
    sinogram[:, 0] = sinogram[:, -1] = 0
    blocks = -(-n // _RAYS), n_tilts
    arguments = volume, rays, by_row, sinogram, *_ints(*volume.shape[:2], n)
    _kernel("project")(blocks, (SLAB // 4, _RAYS), arguments)


def backproject(sinogram, waves, first_row, volume) -> None:
    """See `_kernels.backproject`."""
    n_rows, n_columns, _ = volume.shape
    blocks = -(-n_columns // _COLUMNS), -(-n_rows // _ROWS)
    sizes = _ints(first_row, n_rows, n_columns, *sinogram.shape[:2])
    threads = (SLAB // 4, _COLUMNS, _ROWS)
    _kernel("backproject")(blocks, threads, (sinogram, waves, volume, *sizes))


def sweep(
    x, slope, joins, first, beyond, across, step, rise, high, keep, momentum, weight, soft, p, last
) -> None:
    """See `_tv_kernels.sweep`; here the volume that p leads to is kept in between."""
    w = cupy().empty_like(x)
    high, keep, momentum, weight, soft = _floats(high, keep, momentum, weight, soft)
    descent = x, slope, p, last, bool(joins), first, across, step, high, keep, momentum, w
    _through("sweep_volume", x, *descent)
    _through("sweep_dual", x, w, beyond, across, rise, momentum, weight, soft, p, last)


def first_slice(x, slope, p, last, before, last_before, step, high, keep, momentum, out) -> None:
    """See `_tv_kernels.first_slice`."""
    n_rows, n_columns, _ = x.shape
    arguments = x, slope, p, last, before, last_before, step, *_floats(high, keep, momentum), out
    blocks = -(-n_columns // SLAB), n_rows
    _kernel("first_slice")(blocks, (SLAB,), (*arguments, *_ints(n_rows, n_columns)))


def volume_step(x, slope, step, high, relaxation) -> None:
    """See `_tv_kernels.volume_step`."""
    _through("volume_step", x, x, slope, step, *_floats(high, relaxation))


def add_adjoint_gradient(slope, p, before, across) -> None:
    """See `_tv_kernels.add_adjoint_gradient`."""
    _through("add_adjoint_gradient", slope, slope, p, before, across)


def data_step(projection, measured, step, per_ray, precision, relaxation, q) -> None:
    """See `_tv_kernels.data_step`."""
    same = precision.shape[1] == 1
    arguments = projection, measured, step, per_ray, precision, same, *_floats(relaxation), q
    _through("data_step", q, *arguments)


def ascend_wavelets(here, after, stride, deep, counts, rise, weight, p, low) -> None:
    """See `_wavelet_kernels.ascend_wavelets`."""
    given = here, after, *_ints(stride), deep, counts, rise, *_floats(weight)
    _through("ascend_wavelets", here, *given, p, low)


def merge_wavelets(low, low_before, p, p_before, stride, deep, out) -> None:
    """See `_wavelet_kernels.merge_wavelets`."""
    given = low, low_before, p, p_before, *_ints(stride), deep
    _through("merge_wavelets", out, *given, out)


def descend(x, slope, lead, step, high, keep, out) -> None:
    """See `_wavelet_kernels.descend`."""
    _through("descend", x, x, slope, lead, step, *_floats(high, keep), out)


def size_of_wavelets(here, after, stride, deep, counts, n_bands, low):
    """See `_wavelet_kernels.size_of_wavelets`."""
    total = cupy().zeros(SLAB)
    _sum("size_of_wavelets", here, here, after, *_ints(stride), deep, counts, low, total)
    return total


def variation(x, beyond, across, weight, soft):
    """See `_tv_kernels.variation`."""
    total = cupy().zeros(SLAB)
    _sum("variation", x, x, beyond, across, *_floats(weight * soft), total)
    return total * float(weight)


def squares(slab):
    """See `_slabs.squares`."""
    total = cupy().zeros(SLAB)
    _sum("squares", slab, slab, total)
    return total


def price_of_descent(slope, seen, least, high, reach, shift, n, n_bins, span) -> tuple:
    """See `_tv_kernels.price_of_descent`."""
    xp = cupy()
    least, reach, shift, span = (xp.asarray(each) for each in (least, reach, shift, span))
    price, enough, falls = xp.zeros(SLAB), xp.zeros(SLAB), xp.zeros((n_bins, n))
    given = slope, seen, seen.shape[2] > 1, least, float(high), reach, shift, *_ints(n, n_bins)
    _sum("price_of_descent", slope, *given, span, price, falls, enough)
    return price[:n], falls, enough[:n]


def _through(name: str, slab, *arguments) -> None:
    """Run a loop over all pixels and slices of a slab."""
    n_rows, n_columns, _ = slab.shape
    blocks = -(-n_columns // _PIXELS), n_rows
    _kernel(name)(blocks, (SLAB, _PIXELS), (*arguments, *_ints(n_rows, n_columns)))


def _sum(name: str, slab, *arguments) -> None:
    """Run a loop that sums over all pixels of a slab."""
    n_rows, n_columns, _ = slab.shape
    blocks = min(_BLOCKS, -(-n_rows * n_columns // _LANES))
    _kernel(name)((blocks,), (SLAB, _LANES), (*arguments, *_ints(n_rows, n_columns)))


def _ints(*values: int) -> list[Any]:
    return [cupy().int32(value) for value in values]


def _floats(*values: float) -> list[Any]:
    return [cupy().float32(value) for value in values]


@cache
def _kernel(name: str) -> Any:
    return _module().get_function(name)


@cache
def _module() -> Any:
    code = (files(__package__) / "kernels.cu").read_text()
    return cupy().RawModule(code=code, options=("--std=c++17",))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The projection of a volume along parallel rays at each tilt of a single-axis series."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from copy import copy
from functools import lru_cache
from operator import index
from threading import local
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from ._device import device_named
from ._kernels import ROWS


class _Thread(local):
    """Whether this thread is one of several on slabs, which start no threads of their own."""

    is_one_of_several = False

    def mark(self) -> None:
        """Say so of the thread that calls it."""
        self.is_one_of_several = True


_thread = _Thread()


@lru_cache(2)
def _threads(n: int) -> ThreadPoolExecutor:
    """Threads that wait for slabs: to start some for each loop took a tenth of the time."""
    return ThreadPoolExecutor(n, "slabs", initializer=_thread.mark)


if hasattr(os, "register_at_fork"):
    # A process that is forked has none of the threads.
    os.register_at_fork(after_in_child=_threads.cache_clear)


class ParallelBeam:
    r"""Projector of a single-axis tilt series and its exact adjoint, without a stored matrix.

    The image of a slice has pixels (z, y) and its centre on the tilt axis. At the tilt
    :math:`\theta` a pixel meets the detector at

    .. math:: t = (y - y_0) \cos\theta + (z_0 - z) \sin\theta + t_0 + \text{shift},

    where :math:`y_0, z_0, t_0` are the centres of image and detector in px. Along each ray the
    image is interpolated linearly on the rows that the ray crosses (on the columns above 45
    degrees) and summed times the length of the ray between two of them (Joseph, IEEE Trans. Med.
    Imaging 1 (1982) 192). Geometry and values are those of ASTRA's `parallel` geometry with its
    `linear` projector (van Aarle et al., Opt. Express 24 (2016) 25129). Outside the image the
    volume is empty. The adjoint gathers, for each pixel, the same weights.

    Parameters
    ----------
    tilts : array of shape (tilt,)
        Tilt angles in degrees.
    detector_size : int
        Number of detector pixels perpendicular to the tilt axis. They are as large as those of
        the image.
    image_shape : tuple of int, optional
        Pixels (z, y) of a slice, `detector_size` both by default.
    shifts : array of shape (tilt,) or float, optional
        By how many detector pixels each projection, or all of them, is displaced, fractions
        included. None by default.
    num_workers : int, optional
        Threads that share the slabs of a volume; 1 by default. The compiled loops run one slab
        each and release the interpreter's lock, so that any number of operators may work in
        threads of dask at the same time, which numba's own threads would not survive.
    device : {"cpu", "cuda"}, optional
        What computes: the processor, or a graphics card through CuPy, which needs no threads.

    Raises
    ------
    TypeError
        If a size is no whole number.
    ValueError
        If tilts or shifts are not finite, differ in number, a size is below 1, or the device is
        unknown.
    ImportError, RuntimeError
        If there is no CuPy, or no card, for the device "cuda".
    """

    def __init__(
        self,
        tilts: ArrayLike,
        detector_size: int,
        image_shape: Sequence[int] | None = None,
        shifts: ArrayLike | None = None,
        *,
        num_workers: int = 1,
        device: str = "cpu",
    ) -> None:
        self.device = device_named(device)
        self.tilts = _one_number_a_tilt(tilts, "tilts")
        self.detector_size = _whole(detector_size)
        z, y = (detector_size, detector_size) if image_shape is None else image_shape
        self.image_shape = (_whole(z), _whole(y))
        shifts = 0.0 if shifts is None else shifts
        shifts = np.full(self.n_tilts, shifts) if np.ndim(shifts) == 0 else shifts
        self.shifts = _one_number_a_tilt(shifts, "shifts")
        if len(self.shifts) != self.n_tilts:
            raise ValueError(
                f"There are {len(self.shifts)} shifts for {self.n_tilts} tilts. Pass one a tilt."
            )
        if min(self.detector_size, *self.image_shape) < 1:
            raise ValueError(
                f"Detector ({self.detector_size}) and image {self.image_shape} need a pixel at "
                "least in each direction."
            )
        # A card does one thing after the other, each in thousands of threads of its own.
        self.num_workers = max(1, int(num_workers)) if device == "cpu" else 1
        self._rays, self._by_row, self._waves = map(self.device.put, self._geometry())

    @property
    def n_tilts(self) -> int:
        """Number of tilts."""
        return len(self.tilts)

    def forward(self, volume: ArrayLike) -> NDArray[np.float32]:
        """Projections of a volume.

        Parameters
        ----------
        volume : array of shape (slice, z, y)
            Densities.

        Returns
        -------
        sinogram : float32 array of shape (slice, tilt, detector)
            Densities times px.

        Raises
        ------
        ValueError
            If the volume has another shape.
        """
        volume = self._checked(volume, self.image_shape, "volume", "(slice, z, y)")
        sinogram = self.forward_slabs(self.volume_to_slabs(volume))
        return self.sinogram_from_slabs(sinogram, len(volume))

    def adjoint(self, sinogram: ArrayLike) -> NDArray[np.float32]:
        """Back-projection, the exact adjoint of `forward`.

        Parameters
        ----------
        sinogram : array of shape (slice, tilt, detector)
            Projections.

        Returns
        -------
        volume : float32 array of shape (slice, z, y)
            Sum over tilts of what each pixel's rays hold.

        Raises
        ------
        ValueError
            If the sinogram has another shape.
        """
        sinogram = self._checked(sinogram, *self._sinogram_axes)
        volume = self.adjoint_slabs(self.sinogram_to_slabs(sinogram))
        return self.volume_from_slabs(volume, len(sinogram))

    def part(self, indices: NDArray[np.intp]) -> ParallelBeam:
        """Projector to some of the tilts."""
        return self._like(self.tilts[indices], self.shifts[indices])

    def with_shifts(self, shifts: ArrayLike) -> ParallelBeam:
        """Projector with other shifts."""
        return self._like(self.tilts, shifts)

    def in_one_thread(self) -> ParallelBeam:
        """Projector that starts no threads, for blocks that have one each."""
        one = copy(self)
        one.num_workers = 1
        return one

    def __reduce__(self) -> tuple:
        """Sent by its arguments: what lies on a graphics card can't be sent."""
        shifts, how = self.shifts, (self.num_workers, self.device.name)
        return _from_arguments, (self.tilts, self.detector_size, self.image_shape, shifts, *how)

    def _like(self, tilts: ArrayLike, shifts: ArrayLike) -> ParallelBeam:
        how: dict[str, Any] = {"num_workers": self.num_workers, "device": self.device.name}
        return ParallelBeam(tilts, self.detector_size, self.image_shape, shifts, **how)

    def as_linear_operator(self, n_slices: int = 1) -> LinearOperator:
        """Operator on flattened arrays, for the solvers of scipy and others that know its kind.

        Parameters
        ----------
        n_slices : int, optional
            Slices of the volume.

        Returns
        -------
        scipy.sparse.linalg.LinearOperator
            Of shape (n_slices * tilts * detector_size, n_slices * z * y), dtype float32.
        """
        volume = (n_slices, *self.image_shape)
        sinogram = (n_slices, self.n_tilts, self.detector_size)
        return LinearOperator(
            (int(np.prod(sinogram)), int(np.prod(volume))),
            matvec=lambda x: self.forward(x.reshape(volume)).ravel(),
            rmatvec=lambda y: self.adjoint(y.reshape(sinogram)).ravel(),
            dtype=np.float32,
        )

    # Slabs: what an iterative solver keeps, so that nothing is transposed between iterations.

    def forward_slabs(
        self, volume: NDArray[np.float32], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Projections of a volume of slabs (slab, z, y, slice), as made by `volume_to_slabs`."""
        if out is None:
            out = self.device.zeros(len(volume), self.n_tilts, self.detector_size + 2)
        project = self.device.loops.project
        self.each_slab(lambda b: project(volume[b], self._rays, self._by_row, out[b]), len(volume))
        return out

    def adjoint_slabs(
        self, sinogram: NDArray[np.float32], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Back-projection of slabs (slab, tilt, detector + 2, slice)."""
        if out is None:
            out = self.device.zeros(len(sinogram), *self.image_shape)
        loops, parts = self.device.loops, self._parts(self.image_shape[0], len(sinogram), ROWS)

        def of_part(k: int) -> None:
            """Back-project one part of the rows of one slab."""
            b, part = divmod(k, len(parts))
            rows = parts[part]
            loops.backproject(sinogram[b], self._waves, rows.start, out[b, rows])

        self.each_slab(of_part, len(sinogram) * len(parts))
        return out

    def _parts(self, n: int, n_slabs: int, step: int = 1) -> list[slice]:
        """Parts of n tilts or rows, in whole steps, so many that no thread is without work."""
        n_steps = -(-n // step)
        workers = 1 if _thread.is_one_of_several else self.num_workers
        n_parts = min(max(1, -(-workers // n_slabs)), n_steps)
        borders = [min(n, step * (n_steps * k // n_parts)) for k in range(n_parts + 1)]
        return [slice(first, last) for first, last in zip(borders, borders[1:], strict=False)]

    def each_slab(self, function: Callable[[int], object], n_slabs: int) -> list:
        """Results of a function of the slab's number, on as many threads as the operator has."""
        if self.num_workers == 1 or n_slabs <= 1 or _thread.is_one_of_several:
            return [function(b) for b in range(n_slabs)]
        futures = [_threads(self.num_workers).submit(function, b) for b in range(n_slabs)]
        # Whatever goes wrong with one, none may go on writing once this returns.
        wait(futures)
        return [future.result() for future in futures]

    def volume_to_slabs(self, volume: NDArray) -> NDArray[np.float32]:
        """Volume (slice, z, y) as slabs (slab, z, y, slice), the last one filled up with zeros."""
        return self.device.to_slabs(volume)

    def volume_from_slabs(self, slabs: NDArray[np.float32], n_slices: int) -> NDArray[np.float32]:
        """Volume (slice, z, y) of slabs."""
        return self.device.from_slabs(slabs, n_slices)

    def sinogram_to_slabs(self, sinogram: NDArray) -> NDArray[np.float32]:
        """Sinogram as slabs (slab, tilt, detector + 2, slice), an empty pixel at either end."""
        return self.device.to_slabs(sinogram, margin=1)

    def sinogram_from_slabs(self, slabs: NDArray[np.float32], n_slices: int) -> NDArray[np.float32]:
        """Sinogram (slice, tilt, detector) of slabs."""
        return self.device.from_slabs(slabs[:, :, 1:-1], n_slices)

    def checked_volume(self, volume: ArrayLike, n_slices: int | None = None) -> NDArray[np.float32]:
        """Finite array of shape (slice, z, y), or an error that says what is needed."""
        volume = self._checked(volume, self.image_shape, "volume", "(slice, z, y)")
        if n_slices not in (None, len(volume)):
            raise ValueError(f"The volume has {len(volume)} slices for {n_slices} of projections.")
        return _real_and_finite(volume, "voxels")

    def checked_sinogram(self, sinogram: ArrayLike) -> NDArray[np.float32]:
        """Finite array of shape (slice, tilt, detector), or an error that says what is needed."""
        sinogram = self._checked(sinogram, *self._sinogram_axes)
        return _real_and_finite(sinogram, "projected values")

    @property
    def _sinogram_axes(self) -> tuple[tuple[int, int], str, str]:
        return (self.n_tilts, self.detector_size), "sinogram", "(slice, tilt, detector)"

    def _checked(self, array: ArrayLike, shape: tuple, name: str, axes: str) -> NDArray:
        array = np.asarray(array)
        if array.ndim != 3 or array.shape[1:] != shape or not len(array):
            raise ValueError(
                f"The {name} has shape {array.shape}; {axes} is needed, with {shape} at the end."
            )
        return array

    def _geometry(self) -> tuple[NDArray, NDArray, NDArray]:
        """What the kernels need to know of each tilt; see there."""
        n_rows, n_columns = self.image_shape
        radians = np.deg2rad(self.tilts)
        cos, sin = np.cos(radians), np.sin(radians)
        by_row = np.abs(cos) >= np.abs(sin)
        y0, z0, t0 = (n_columns - 1) / 2, (n_rows - 1) / 2, (self.detector_size - 1) / 2
        major, minor = np.where(by_row, cos, sin), np.where(by_row, sin, cos)
        # Position along a line: on rows y(t, z) = y0 + (t - (z0 - z) sin) / cos, and on columns
        # z(t, y) = z0 - (t - (y - y0) cos) / sin, t counted from t0 + shift.
        sign = np.where(by_row, 1.0, -1.0)
        offset = np.where(by_row, y0 - z0 * minor / major, z0 - y0 * minor / major)
        start = offset - sign * (t0 + self.shifts) / major
        rays = np.stack([start, sign / major, minor / major, 1 / np.abs(major)], axis=1)
        corner = -y0 * cos + z0 * sin + t0 + self.shifts + 1
        waves = np.stack([corner, -sin, cos, 1 / np.abs(major)], axis=1)
        return rays, by_row, waves


def _from_arguments(
    tilts: NDArray, size: int, shape: tuple, shifts: NDArray, num_workers: int, device: str
) -> ParallelBeam:
    return ParallelBeam(tilts, size, shape, shifts, num_workers=num_workers, device=device)


def _whole(size: SupportsIndex) -> int:
    try:
        return index(size)
    except TypeError:
        raise TypeError(f"A size is {size!r}, and a whole number of pixels is needed.") from None


def _one_number_a_tilt(values: ArrayLike, name: str) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"The {name} must be a list of finite numbers, one a tilt.")
    return values


def _real_and_finite(array: NDArray, what: str) -> NDArray[np.float32]:
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{what.capitalize()} must be real numbers, these are {array.dtype}.")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(array))} {what} are NaN, infinite or beyond float32. "
            "Replace them, for instance by the mean of their neighbours."
        )
    return array

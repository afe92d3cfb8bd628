# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From a tilt series to a tomogram and back: the wiring between signals and numerics."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.system import CPU_COUNT
from hyperspy.external.progressbar import progressbar
from hyperspy.signals import LazySignal2D, Signal2D
from numpy.typing import ArrayLike, NDArray

from emsparse_hs._computing import is_shown
from emsparse_hs.blocks import Blocks
from emsparse_hs.signals._halo_blocks import in_blocks, slices_a_block
from emsparse_hs.signals._provenance import kept_metadata
from emsparse_hs.signals._request import (
    Request,
    check,
    check_even,
    check_images,
    refined,
    settings_of,
)
from emsparse_hs.signals._tilt_axis import axis_of_tilts, write_tilt_axis
from emsparse_hs.tomography import ParallelBeam, series
from emsparse_hs.tomography.noise import chi_squared

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries
    from emsparse_hs.signals._tomogram import Tomogram

#: The noise explains residuals with a chi squared near 1. Beyond this something else is in them.
_LARGEST_CHI_SQUARED = 3.0
#: Slices that are reconstructed together in two dimensions.
_SLICES_A_BLOCK = 64


def reconstruct(signal: TiltSeries, request: Request) -> Tomogram:
    """Tomogram of a tilt series; see `TiltSeries.reconstruct`."""
    check(signal, request)
    sinogram, operator = _geometry(signal, request.shifts, request.how, request.device)
    block = slices_a_block(len(sinogram), operator, request)
    most = None if block is None else block + 2 * request.halo
    sigma = _noise(signal, request)
    settings, figures = settings_of(sinogram, operator, sigma, request, most)
    if request.refine:
        imaging = refined(sinogram, operator, settings, request, most)
        sinogram = imaging.corrected(np.asarray(sinogram))
        operator = operator.with_shifts(imaging.shifts)
        # What was not refined had been taken for structure.
        settings, figures = settings_of(sinogram, operator, sigma, request, most)
        figures |= asdict(imaging)
    if request.dims == 2:
        volume, found = _in_two_dimensions(sinogram, operator, settings, request)
    elif block is not None:
        volume, found = in_blocks(sinogram, operator, settings, request, block)
        figures |= {"block": block, "halo": request.halo}
    else:
        volume, found = _in_three_dimensions(np.asarray(sinogram), operator, settings, request)
    if found and sigma > 0:
        found["chi_squared"] = chi_squared(found["residual_per_tilt"], sigma)
    if request.shifts is not None:
        figures["shifts"] = operator.shifts
    figures |= {"sigma": sigma, "tilts": operator.tilts} | found
    _warn(figures, request)
    return tomogram_of(signal, volume, request.lazy_output, figures)


def reconstruct_directly(
    signal: TiltSeries,
    method: str,
    settings: dict[str, Any],
    shifts: ArrayLike | None,
    lazy_output: bool,
    how: dict[str, Any],
    device: str,
) -> Tomogram:
    """Tomogram by weighted back-projection or SIRT, some slices at a time."""
    check_images(signal)
    sinogram, operator = _geometry(signal, shifts, how, device)
    chunked = _chunked(sinogram)
    n = operator.detector_size
    volume = Blocks.from_array(chunked, 1).map(
        series.reconstruct_slices_directly,
        operator,
        method,
        settings,
        output_shape=(n, n),
        dtype=np.float32,
        lazy_output=lazy_output,
        **how,
    )
    figures = {"method": method, "tilts": operator.tilts} | settings
    if shifts is not None:
        figures["shifts"] = operator.shifts
    return tomogram_of(signal, volume, lazy_output, figures)


def project(
    tomogram: Tomogram, tilts: NDArray, lazy_output: bool, how: dict[str, Any]
) -> TiltSeries:
    """Tilt series of a tomogram; see `Tomogram.project`."""
    check_even(tomogram.axes_manager._axes)
    blocks = Blocks.of(tomogram)
    image_shape = blocks.signal_shape
    ParallelBeam(tilts, image_shape[1], image_shape)
    sinogram = blocks.map(
        series.project_slices,
        tilts,
        image_shape,
        output_shape=(len(tilts), image_shape[1]),
        dtype=np.float32,
        lazy_output=lazy_output,
        **how,
    )
    x, y = tomogram.axes_manager.navigation_axes[0], tomogram.axes_manager.signal_axes[0]
    axes = [axis_of_tilts(tilts), _axis_like(y, False), _axis_like(x, False)]
    result = _signal("tilt_series", tomogram, sinogram.transpose(1, 2, 0), axes, {})
    write_tilt_axis(result, "x")
    return result


def _geometry(
    signal: TiltSeries, shifts: ArrayLike | None, how: dict[str, Any], device: str
) -> tuple[Any, ParallelBeam]:
    """Sinogram (slice, tilt, detector), a view, and the projector to it."""
    images = signal._data_aligned_with_axes
    workers = how["num_workers"] or CPU_COUNT
    sinogram = series.sinogram_of(images, signal.tilt_axis)
    return sinogram, ParallelBeam(
        signal.tilts, sinogram.shape[2], shifts=shifts, num_workers=workers, device=device
    )


def _noise(signal: TiltSeries, request: Request) -> float:
    """Standard deviation of the noise, from one pass over the images.

    Warns of images that lie below zero by more than that, where no density does, or have more than
    that at their edges.
    """
    shape = signal._data_aligned_with_axes.shape[1:]
    if min(shape) < 3:
        return 0.0
    across = 0 if signal.tilt_axis == "x" else 1
    found = Blocks.of(signal).map(
        series.levels_of_rows, shape, across, output_shape=(3,), **request.how
    )
    sigma = float(np.sqrt(found[:, 0].mean()))
    median, border = np.median(found[:, 1:], axis=0)
    if border > 2 * sigma and request.bounds[0] >= 0:
        warnings.warn(
            f"The images have {border:.3g} at both edges across the tilt axis, which is more than "
            "noise. If that is vacuum, subtract it first (of integers after "
            "s.change_dtype('float32')), or it becomes density.",
            stacklevel=4,
        )
    if median < -sigma and request.bounds[0] >= 0:
        warnings.warn(
            f"Most pixels are negative, with a median of {median:.3g}, which no density "
            f"within bounds={request.bounds} explains. Subtract the background, so that vacuum is "
            "zero; of integers after s.change_dtype('float32'), since they wrap below zero.",
            stacklevel=4,
        )
    return sigma


def _warn(figures: dict, request: Request) -> None:
    """Warn of a gap that was not reached, and of a noise that does not explain the residuals."""
    if "gap" in figures and not figures["gap"] <= request.tol:
        warnings.warn(
            f"Stopped after {request.max_iter} iterations with a gap of {figures['gap']:.1e}, "
            f"above tol={request.tol:g}. Increase max_iter, or tol if that is good enough.",
            stacklevel=4,
        )
    automatic = isinstance(request.lambda_, str)
    everything = ", and try refine=('shift', 'slide', 'gain', 'background', 'angle')"
    hint = "" if request.refine else everything
    if automatic and figures.get("chi_squared", 0) > _LARGEST_CHI_SQUARED:
        warnings.warn(
            f"chi_squared is {figures['chi_squared']:.3g}: the residuals exceed the noise, which "
            f"was estimated as {figures['sigma']:.3g}. Aligning or interpolating images hides "
            "their noise; a background, a misalignment or contrast that changes with the tilt "
            f"adds to the residuals: see s.plot_sinogram(tomogram){hint}.",
            stacklevel=4,
        )


def _in_two_dimensions(
    sinogram, operator: ParallelBeam, settings: dict, request: Request
) -> tuple[Any, dict]:
    """Volume and figures, some slices at a time."""
    layout = series.SliceRows(operator.detector_size, operator.n_tilts)
    rows = Blocks.from_array(_chunked(sinogram), 1).map(
        series.reconstruct_slices,
        operator,
        settings | {"start": request.x0},
        output_shape=(layout.length,),
        dtype=np.float32,
        lazy_output=request.lazy_output,
        **request.how,
    )
    return layout.split(rows)


def _chunked(sinogram) -> da.Array:
    """Dask array of some slices a chunk, with all of their tilts."""
    if isinstance(sinogram, da.Array):
        return sinogram.rechunk({0: _SLICES_A_BLOCK, 1: -1, 2: -1})
    return da.from_array(sinogram, chunks=(_SLICES_A_BLOCK, -1, -1), name=False)


def _in_three_dimensions(
    sinogram: NDArray, operator: ParallelBeam, settings: dict, request: Request
) -> tuple[NDArray, dict]:
    """Volume and figures, all at once, with a progress bar that tells the gap."""
    shown = is_shown(request.how["show_progressbar"])
    with progressbar(total=request.max_iter, disable=not shown) as bar:

        def advance(_: int, gap: float) -> None:
            bar.set_postfix({"gap": f"{gap:.1e}"}, refresh=False)
            bar.update()

        x0 = request.x0
        start = x0 if x0 is None or isinstance(x0, str) else x0._data_aligned_with_axes
        result = series.reconstruct_regularised(
            sinogram, operator, settings | {"start": start}, advance
        )
    return result.volume, {
        "iterations": result.n_iterations,
        "gap": result.gap,
        "objective": result.objective,
        "residual_per_tilt": result.residual_per_tilt,
        "gap_history": result.gap_history,
    }


def tomogram_of(signal: TiltSeries, volume, lazy: bool, figures: dict) -> Tomogram:
    """Signal of a volume (slice, z, y) on the axes of the series."""
    x, y = signal.axes_manager.signal_axes
    along, across = (x, y) if signal.tilt_axis == "x" else (y, x)
    if lazy and isinstance(volume, np.ndarray):
        volume = da.from_array(volume, chunks="auto")
    size = across.size
    # The tilt axis is where z is zero.
    z = {"name": "z", "navigate": False, "size": size, "scale": across.scale}
    z |= {"units": across.units, "offset": -across.scale * (size - 1) / 2}
    axes = [_axis_like(along, True), z, _axis_like(across, False)]
    return _signal("tomogram", signal, volume, axes, {"Reconstruction": figures})


def _signal(signal_type: str, source: Signal2D, data, axes: list, metadata: dict) -> Any:
    """Signal of a type that HyperSpy knows from the registry, with metadata of its source.

    So this file needs none of the classes that call it.
    """
    metadata = kept_metadata(source) | metadata
    kind = LazySignal2D if isinstance(data, da.Array) else Signal2D
    result = kind(data, axes=axes, metadata=metadata)
    result.set_signal_type(signal_type)
    return result


def _axis_like(axis, navigate: bool) -> dict[str, Any]:
    names = ("name", "units", "size", "scale", "offset")
    return {name: getattr(axis, name) for name in names} | {"navigate": navigate}

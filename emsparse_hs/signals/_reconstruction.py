# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From a tilt series to a tomogram and back: the wiring between signals and numerics."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.system import CPU_COUNT
from hyperspy.external.progressbar import progressbar
from hyperspy.signals import LazySignal2D, Signal2D
from numpy.typing import NDArray

from emsparse_hs._computing import is_shown
from emsparse_hs.blocks import Blocks
from emsparse_hs.signals._provenance import kept_metadata
from emsparse_hs.signals._tilt_axis import axis_of_tilts, write_tilt_axis
from emsparse_hs.tomography import ParallelBeam, default_weight, reconstruct_tv, series
from emsparse_hs.tomography.noise import chi_squared

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries
    from emsparse_hs.signals._tomogram import Tomogram

#: Priors that `TiltSeries.reconstruct` knows.
_PRIORS = ("tv",)
#: The noise explains residuals with a chi squared near 1. Beyond this something else is in them.
_LARGEST_CHI_SQUARED = 3.0
#: Tilts in degrees that span less are hardly meant.
_SMALLEST_SPAN = 10
#: Slices that are reconstructed together in two dimensions.
_SLICES_A_BLOCK = 32


def reconstruct(
    signal: TiltSeries,
    prior: str,
    lambda_: float | str,
    dims: int,
    bounds: tuple,
    shifts,
    tol: float,
    max_iter: int,
    lazy_output: bool,
    how: dict[str, Any],
) -> Tomogram:
    """Tomogram of a tilt series; see `TiltSeries.reconstruct`."""
    _check(signal, prior, lambda_, dims)
    tilts, tilt_axis = signal.tilts, signal.tilt_axis
    images = signal._data_aligned_with_axes
    # Whatever is wrong with the geometry shows here, before anything is read.
    detector_size = images.shape[1 if tilt_axis == "x" else 2]
    workers = how["num_workers"] or CPU_COUNT
    operator = ParallelBeam(tilts, detector_size, shifts=shifts, num_workers=workers)
    sigma = _noise(signal, images.shape[1:], bounds, how)
    weight = _weight(lambda_, sigma, len(tilts))
    sinogram = series.sinogram_of(images, tilt_axis)
    settings = {"bounds": bounds, "tolerance": tol, "max_iterations": max_iter}
    if dims == 2:
        volume, found = _in_two_dimensions(sinogram, operator, weight, settings, lazy_output, how)
    else:
        volume, found = _in_three_dimensions(np.asarray(sinogram), operator, weight, settings, how)
    if found and sigma > 0:
        found["chi_squared"] = chi_squared(found["residual_per_tilt"], sigma)
    figures = {"prior": prior, "dims": dims, "lambda_": weight, "sigma": sigma, "tilts": tilts}
    figures |= found
    _warn(figures, tol, max_iter, automatic=isinstance(lambda_, str))
    return _tomogram(signal, volume, tilt_axis, lazy_output, figures)


def project(
    tomogram: Tomogram, tilts: NDArray, lazy_output: bool, how: dict[str, Any]
) -> TiltSeries:
    """Tilt series of a tomogram; see `Tomogram.project`."""
    _check_even(tomogram.axes_manager._axes)
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


def _check(signal: TiltSeries, prior: str, lambda_: float | str, dims: int) -> None:
    if prior not in _PRIORS:
        raise ValueError(f"The prior {prior!r} is not known, choose one of {_PRIORS}.")
    if isinstance(lambda_, str) and lambda_ != "auto":
        raise ValueError(f"lambda_ is a number or 'auto', not {lambda_!r}.")
    if dims not in (2, 3):
        raise ValueError(f"dims must be 2 or 3, not {dims!r}.")
    if signal.data.dtype.kind not in "biuf":
        raise TypeError(f"Images of real numbers are needed, these are {signal.data.dtype}.")
    _check_even(signal.axes_manager.signal_axes)
    _check_tilts(signal.tilts)


def _check_even(axes: Sequence) -> None:
    if not all(axis.is_uniform for axis in axes):
        raise ValueError(
            "Pixels are not evenly spaced. Resample the signal first, with s.interpolate_on_axis."
        )


def _check_tilts(tilts: NDArray) -> None:
    if len(tilts) < 2:
        raise ValueError("One image says nothing of the depth. At least two tilts are needed.")
    if np.ptp(tilts) < _SMALLEST_SPAN:
        warnings.warn(
            f"The tilts span {np.ptp(tilts):.3g} degrees only. Give them in degrees, not in "
            "radians, with s.set_tilts.",
            stacklevel=5,
        )


def _noise(signal: TiltSeries, shape: tuple, bounds: tuple, how: dict) -> float:
    """Standard deviation of the noise, from one pass over the images.

    Warns of images that lie below zero by more than that, where no density does.
    """
    found = Blocks.of(signal).map(series.noise_and_median_of_rows, shape, output_shape=(2,), **how)
    sigma = float(np.sqrt(found[:, 0].mean()))
    median = float(np.median(found[:, 1]))
    if median < -sigma and bounds[0] >= 0:
        warnings.warn(
            f"Most pixels are negative, with a median of {median:.3g}, which no density "
            f"within bounds={bounds} explains. Subtract the background, so that vacuum is zero; of "
            "integers after s.change_dtype('float32'), since they wrap below zero.",
            stacklevel=4,
        )
    return sigma


def _weight(lambda_: float | str, sigma: float, n_tilts: int) -> float:
    if not isinstance(lambda_, str):
        return float(lambda_)
    if not sigma > 0:
        raise ValueError("The images have no noise to set lambda_ by. Give lambda_ as a number.")
    return default_weight(sigma, n_tilts)


def _warn(figures: dict, tol: float, max_iter: int, automatic: bool) -> None:
    """Warn of a gap that was not reached, and of a noise that does not explain the residuals."""
    if "gap" in figures and not figures["gap"] <= tol:
        warnings.warn(
            f"Stopped after {max_iter} iterations with a gap of {figures['gap']:.1e}, above "
            f"tol={tol:g}. Increase max_iter, or tol if that is good enough.",
            stacklevel=4,
        )
    if automatic and figures.get("chi_squared", 0) > _LARGEST_CHI_SQUARED:
        warnings.warn(
            f"chi_squared is {figures['chi_squared']:.3g}: the residuals exceed the noise, which "
            f"was estimated as {figures['sigma']:.3g} and gave lambda_="
            f"{figures['lambda_']:.3g}. Aligning or interpolating images hides their noise; a "
            "background or a misalignment adds to the residuals. Set lambda_ by hand, larger.",
            stacklevel=4,
        )


def _in_two_dimensions(
    sinogram, operator: ParallelBeam, weight: float, settings: dict, lazy_output: bool, how: dict
) -> tuple[Any, dict]:
    """Volume and figures, some slices at a time."""
    if isinstance(sinogram, da.Array):
        chunked = sinogram.rechunk({0: _SLICES_A_BLOCK})
    else:
        chunked = da.from_array(sinogram, chunks=(_SLICES_A_BLOCK, -1, -1), name=False)
    layout = series.SliceRows(operator.detector_size, operator.n_tilts)
    rows = Blocks.from_array(chunked, 1).map(
        series.reconstruct_slices,
        operator.tilts,
        operator.shifts,
        weight,
        *(settings[name] for name in ("bounds", "tolerance", "max_iterations")),
        output_shape=(layout.length,),
        dtype=np.float32,
        lazy_output=lazy_output,
        **how,
    )
    return layout.split(rows)


def _in_three_dimensions(
    sinogram: NDArray, operator: ParallelBeam, weight: float, settings: dict, how: dict
) -> tuple[NDArray, dict]:
    """Volume and figures, all at once, with a progress bar that tells the gap."""
    shown = is_shown(how["show_progressbar"])
    with progressbar(total=settings["max_iterations"], disable=not shown) as bar:

        def advance(_: int, gap: float) -> None:
            bar.set_postfix({"gap": f"{gap:.1e}"}, refresh=False)
            bar.update()

        result = reconstruct_tv(sinogram, operator, weight, callback=advance, **settings)
    figures = {
        "iterations": result.n_iterations,
        "gap": result.gap,
        "objective": result.objective,
        "residual_per_tilt": result.residual_per_tilt,
    }
    return result.volume, figures


def _tomogram(signal: TiltSeries, volume, tilt_axis: str, lazy: bool, figures: dict) -> Tomogram:
    """Signal of a volume (slice, z, y) on the axes of the series."""
    x, y = signal.axes_manager.signal_axes
    along, across = (x, y) if tilt_axis == "x" else (y, x)
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

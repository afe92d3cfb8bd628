# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From a tilt series to a tomogram and back: the wiring between signals and numerics."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.system import CPU_COUNT
from hyperspy.defaults_parser import preferences
from hyperspy.external.progressbar import progressbar
from numpy.typing import NDArray

from emsparse_hs.blocks import Blocks
from emsparse_hs.signals._tilt_axis import axis_of_tilts
from emsparse_hs.tomography import ParallelBeam, reconstruct_tv, series

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries
    from emsparse_hs.signals._tomogram import Tomogram

#: Priors that `TiltSeries.reconstruct` knows.
_PRIORS = ("tv",)
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
    statistics = _statistics(signal, images.shape[1:], tilt_axis, how)
    weight = _weight(lambda_, statistics)
    sinogram = series.sinogram_of(images, tilt_axis)
    settings = {"bounds": bounds, "tolerance": tol, "max_iterations": max_iter}
    settings["scale"] = statistics.scale
    if dims == 2:
        volume, figures = _in_two_dimensions(sinogram, operator, weight, settings, lazy_output, how)
    else:
        volume, figures = _in_three_dimensions(
            np.asarray(sinogram), operator, weight, settings, how
        )
    if figures.get("gap", 0) > tol:
        warnings.warn(
            f"Stopped after {max_iter} iterations with a gap of {figures['gap']:.1e}, above "
            f"tol={tol:g}. Increase max_iter, or tol if that is good enough.",
            stacklevel=3,
        )
    sigma = statistics.sigma
    figures = {"prior": prior, "dims": dims, "lambda_": weight, "sigma": sigma, "tilts": tilts} | (
        figures
    )
    if "residual_per_tilt" in figures and sigma > 0:
        figures["chi_squared"] = series.chi_squared(figures["residual_per_tilt"], sigma)
    return _tomogram(signal, volume, tilt_axis, lazy_output, figures)


def project(
    tomogram: Tomogram, tilts: NDArray, lazy_output: bool, how: dict[str, Any]
) -> TiltSeries:
    """Tilt series of a tomogram; see `Tomogram.project`."""
    from emsparse_hs.signals import LazyTiltSeries, TiltSeries

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
    axes = tomogram.axes_manager
    x, y = axes.navigation_axes[0], axes.signal_axes[0]
    result = (LazyTiltSeries if lazy_output else TiltSeries)(
        sinogram.transpose(1, 2, 0),
        axes=[axis_of_tilts(tilts), _axis_like(y, False), _axis_like(x, False)],
        metadata={"General": {"title": tomogram.metadata.General.title}},
    )
    result.metadata.set_item("Tomography.tilt_axis", "x")
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


def _statistics(signal, shape: tuple, tilt_axis: str, how: dict) -> series.SeriesStatistics:
    """Noise and scale, from one pass over the images, the same for any chunks."""
    measured = Blocks.of(signal).map(
        series.measure_images, shape, tilt_axis, output_shape=(3,), **how
    )
    return series.summarise(measured)


def _weight(lambda_: float | str, statistics: series.SeriesStatistics) -> float:
    if not isinstance(lambda_, str):
        return float(lambda_)
    if not statistics.sigma > 0:
        raise ValueError("The images have no noise to set lambda_ by. Give lambda_ as a number.")
    return statistics.weight


def _in_two_dimensions(
    sinogram, operator: ParallelBeam, weight: float, settings: dict, lazy_output: bool, how: dict
) -> tuple[Any, dict]:
    """Volume and figures, some slices at a time."""
    if isinstance(sinogram, da.Array):
        chunked = sinogram.rechunk({0: _SLICES_A_BLOCK})
    else:
        chunked = da.from_array(sinogram, chunks=(_SLICES_A_BLOCK, -1, -1), name=False)
    size = operator.detector_size
    rows = Blocks.from_array(chunked, 1).map(
        series.reconstruct_slices,
        operator.tilts,
        operator.shifts,
        weight,
        *(settings[name] for name in ("bounds", "tolerance", "max_iterations", "scale")),
        output_shape=(series.row_length(size, operator.n_tilts),),
        dtype=np.float32,
        lazy_output=lazy_output,
        **how,
    )
    return series.split_slices(rows, size)


def _in_three_dimensions(
    sinogram: NDArray, operator: ParallelBeam, weight: float, settings: dict, how: dict
) -> tuple[NDArray, dict]:
    """Volume and figures, all at once, with a progress bar that tells the gap."""
    shown = how["show_progressbar"]
    shown = preferences.General.show_progressbar if shown is None else shown
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
    from emsparse_hs.signals import LazyTomogram, Tomogram

    x, y = signal.axes_manager.signal_axes
    along, across = (x, y) if tilt_axis == "x" else (y, x)
    if lazy and isinstance(volume, np.ndarray):
        volume = da.from_array(volume, chunks="auto")
    size = across.size
    # The tilt axis is where z is zero.
    z = {"name": "z", "navigate": False, "size": size, "scale": across.scale}
    z |= {"units": across.units, "offset": -across.scale * (size - 1) / 2}
    result = (LazyTomogram if lazy else Tomogram)(
        volume,
        axes=[_axis_like(along, True), z, _axis_like(across, False)],
        metadata={"General": {"title": signal.metadata.General.title}},
    )
    result.metadata.add_dictionary({"Reconstruction": figures})
    return result


def _axis_like(axis, navigate: bool) -> dict[str, Any]:
    names = ("name", "units", "size", "scale", "offset")
    return {name: getattr(axis, name) for name in names} | {"navigate": navigate}

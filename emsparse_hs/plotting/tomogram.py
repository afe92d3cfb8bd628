# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Slices through a tomogram, and how well its projections fit the measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from emsparse_hs.plotting._axes import edges, extent, known, label
from emsparse_hs.signals._imaging import fitted_sinogram
from emsparse_hs.signals._spectral_series import check_one_map, check_own_figures
from emsparse_hs.tomography.series import sinogram_of

if TYPE_CHECKING:
    from emsparse_hs.signals import TiltSeries, Tomogram

#: Colour and length, as a part of the axis, of the marks where the other slices cut.
_MARK, _MARK_LENGTH = "tab:orange", 0.06
#: How priors are written.
_PRIORS = {"tv": "TV", "tgv": "TGV", "huber": "Huber"}


def plot_orthogonal_slices(
    tomogram: Tomogram, position: tuple[int, int, int] | None = None, vmax: float | None = None
) -> Figure:
    """Plot the three slices that cross in one voxel, at the same scale.

    Parameters
    ----------
    tomogram : Tomogram
        Slices (z, y) along x. If lazy, the three slices are computed.
    position : tuple of int, optional
        Indices (slice, z, y) of the voxel. By default where most is: in the slice, the row and the
        column of the largest sums; of a lazy tomogram the middle, which needs no sums.
    vmax : float, optional
        Density shown white. The 99.9th percentile of the three slices by default.

    Returns
    -------
    matplotlib.figure.Figure
        Density is black at zero. Orange marks show where the other two slices cut.

    Raises
    ------
    ValueError
        If the signal is no stack of images, or the position lies outside.
    """
    x, y, z = _volume_axes(tomogram)
    data = tomogram._data_aligned_with_axes
    if position is None:
        position = _where_most_is(data)
    if len(position) != 3 or not all(0 <= i < n for i, n in zip(position, data.shape, strict=True)):
        raise ValueError(f"The position {position} lies outside (slice, z, y) of {data.shape}.")
    i, k, j = position
    # (title, image, horizontal axis, vertical axis, where the others cut)
    panels = (
        (_where("slice", x, i, "\n"), np.asarray(data[i]), y, z, (j, k)),
        (_where("plane", z, k, "\n"), np.asarray(data[:, k]).T, x, y, (i, j)),
        (_where("plane", y, j, "\n"), np.asarray(data[:, :, j]).T, x, z, (i, k)),
    )
    if vmax is None:
        vmax = float(np.percentile(np.concatenate([panel[1].ravel() for panel in panels]), 99.9))
    vmin = min(0.0, *(float(panel[1].min()) for panel in panels))
    widths = [abs(panel[2].scale) * panel[2].size for panel in panels]
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="compressed", width_ratios=widths)
    for ax, (title, image, across, down, cut) in zip(axes, panels, strict=True):
        shown = ax.imshow(
            image,
            cmap="gray",
            vmin=vmin,
            vmax=max(vmax, vmin + 1e-12),
            extent=extent(across, down),
        )
        ax.set(title=title, xlabel=label(across, "axis"), ylabel=label(down, "axis"))
        _mark(ax, across.axis[cut[0]], down.axis[cut[1]])
    figure.colorbar(shown, ax=axes, label=_density(tomogram), shrink=0.9, extend="max", pad=0.01)
    figure.suptitle(_summary(tomogram))
    return figure


def _where_most_is(volume) -> tuple[int, int, int]:
    """Indices of a voxel whose slices are worth a look."""
    if not isinstance(volume, np.ndarray) or not volume.any():
        n_slices, depth, width = volume.shape
        return n_slices // 2, depth // 2, width // 2
    index = int(volume.sum((1, 2), dtype=float).argmax())
    one = volume[index]
    return index, int(one.sum(1, dtype=float).argmax()), int(one.sum(0, dtype=float).argmax())


def plot_sinogram(series: TiltSeries, tomogram: Tomogram, index: int | None = None) -> Figure:
    """Plot the projections of one slice: measured, of the tomogram, and their difference.

    Parameters
    ----------
    series : TiltSeries
        What was measured.
    tomogram : Tomogram
        What was reconstructed from it.
    index : int, optional
        Index of the slice. By default the one with most in the image at the least tilt.

    Returns
    -------
    matplotlib.figure.Figure
        The first two images have one grey scale; the fit is with the displacements, gains and
        backgrounds that were given or refined. The third is measured minus fitted, with a
        symmetric scale of its own, beside the root mean square residual of each tilt.

    Raises
    ------
    ValueError
        If the two do not have the same slices, or the index lies outside.
    """
    x, y, _ = _volume_axes(tomogram)
    if index is not None and not 0 <= index < x.size:
        raise ValueError(f"There is no slice {index}, only 0 to {x.size - 1}.")
    measured, fitted, index = _sinograms(series, tomogram, index)
    tilts = series.tilts
    figure, axes = plt.subplots(
        1, 4, figsize=(14, 4.2), layout="constrained", width_ratios=(1, 1, 1, 0.55), sharey=True
    )
    limit = float(np.percentile(np.abs(measured - fitted), 99.5)) or 1.0
    shown = {"vmin": min(0.0, float(measured.min())), "vmax": float(measured.max())}
    borders = edges(y.axis), edges(tilts)
    grey = [
        ax.pcolormesh(*borders, image, cmap="gray", rasterized=True, **shown)
        for ax, image in zip(axes, (measured, fitted), strict=False)
    ]
    difference = axes[2].pcolormesh(
        *borders, measured - fitted, cmap="RdBu_r", vmin=-limit, vmax=limit, rasterized=True
    )
    for ax, title in zip(axes, ("measured", "fitted", "measured - fitted"), strict=False):
        ax.set(title=title, xlabel=label(y, "axis"))
    axes[0].set_ylabel("Tilt (°)")
    figure.colorbar(grey[1], ax=axes[:2], label=_intensity(series), pad=0.01)
    figure.colorbar(difference, ax=axes[2], label=_intensity(series), extend="both", pad=0.02)
    _plot_residuals(axes[3], measured - fitted, tilts, _intensity(series))
    figure.suptitle(_where("Sinogram of the slice", x, index))
    return figure


def plot_convergence(tomogram: Tomogram) -> Figure:
    """Plot how the duality gap closed, and the residual of each tilt.

    Parameters
    ----------
    tomogram : Tomogram
        As `TiltSeries.reconstruct` made it in three dimensions.

    Returns
    -------
    matplotlib.figure.Figure
        The relative gap against the number of iterations, beside the root mean square residual of
        each tilt with the noise.

    Raises
    ------
    ValueError
        If it is not known how the gap closed.
    """
    check_own_figures(tomogram)
    about = tomogram.metadata.get_item("Reconstruction", default=None)
    history = None if about is None else about.get_item("gap_history", default=None)
    if history is None or not len(history):
        raise ValueError(
            "It is not known how the gap closed: metadata.Reconstruction.gap_history is missing. "
            "Only s.reconstruct(dims=3) stores it, where all slices are one problem."
        )
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    iterations, gap = np.asarray(history).T
    left.semilogy(iterations, gap, color="black", marker=".")
    left.set(xlabel="iterations", ylabel="relative duality gap", xlim=(0, None))
    left.grid(True, which="both", alpha=0.2)
    right.plot(about.tilts, about.residual_per_tilt, color="black", marker=".", label="residual")
    right.axhline(about.sigma, color=_MARK, label="noise")
    intensity = tomogram.metadata.get_item("Signal.quantity", default="") or "Intensity"
    right.set(xlabel="Tilt (°)", ylabel=f"RMS {intensity}", ylim=(0, None))
    right.legend()
    figure.suptitle(_summary(tomogram))
    return figure


def _sinograms(
    series: TiltSeries, tomogram: Tomogram, index: int | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Measured and fitted projections (tilt, y) of one slice, and its index."""
    check_one_map(series)
    sinogram = sinogram_of(series._data_aligned_with_axes, series.tilt_axis)
    slices, _, detector = sinogram.shape
    n_slices, _, width = tomogram._data_aligned_with_axes.shape
    if (slices, detector) != (n_slices, width):
        raise ValueError(
            f"The series has {slices} slices of {detector} pixels, and the tomogram {n_slices} of "
            f"{width}. Pass the tomogram that was reconstructed from this series."
        )
    if index is None:
        # One image is enough to see where most is, and quick to read.
        image = np.asarray(sinogram[:, np.argmin(np.abs(series.tilts))])
        index = int(np.argmax(image.sum(axis=1, dtype=float)))
    fitted = fitted_sinogram(tomogram, series.tilts, index)
    return np.asarray(sinogram[index]).astype(float), fitted.astype(float), index


def _plot_residuals(ax: Axes, difference: np.ndarray, tilts: np.ndarray, label: str) -> None:
    rms = np.sqrt(np.mean(difference**2, axis=1))
    ax.plot(rms, tilts, color="black", marker=".", markersize=3, linewidth=0.8)
    ax.set(title="residual of each tilt", xlabel=f"RMS {label}", xlim=(0, None))
    ax.set_ylim(*sorted((edges(tilts)[0], edges(tilts)[-1])))


def _volume_axes(tomogram: Tomogram) -> tuple:
    check_one_map(tomogram)
    axes = tomogram.axes_manager
    if axes.navigation_dimension != 1 or axes.signal_dimension != 2:
        raise ValueError(
            f"{tomogram!r} is no stack of slices: one navigation axis and two signal axes are "
            "needed. Use s.transpose(signal_axes=2)."
        )
    return (axes.navigation_axes[0], *axes.signal_axes)


def _mark(ax: Axes, across: float, down: float) -> None:
    """Mark two positions at all four sides of an image."""
    style = {"color": _MARK, "linewidth": 1.5}
    for low, high in ((0, _MARK_LENGTH), (1 - _MARK_LENGTH, 1)):
        ax.axvline(across, low, high, **style)
        ax.axhline(down, low, high, **style)


def _where(what: str, axis, index: int, between: str = " ") -> str:
    name, units = known(axis.name) or "axis", known(axis.units) or "px"
    return f"{what} at{between}{name} = {axis.axis[index]:.4g} {units}"


def _intensity(series: TiltSeries) -> str:
    return series.metadata.get_item("Signal.quantity", default="") or "Intensity"


def _density(tomogram: Tomogram) -> str:
    return tomogram.metadata.get_item("Signal.quantity", default="") or "Density (intensity / px)"


def _summary(tomogram: Tomogram) -> str:
    """Title, and what is known of the reconstruction."""
    metadata = tomogram.metadata
    parts = [metadata.get_item("General.title", default="")]
    gap = metadata.get_item("Reconstruction.gap", default=None)
    if gap is not None and not metadata.has_item("Reconstruction.map_axis"):
        lambda_, prior = metadata.Reconstruction.lambda_, metadata.Reconstruction.prior
        parts.append(f"{_PRIORS.get(prior, prior)}, λ = {lambda_:.3g}, gap {gap:.1e}")
    return "   ".join(part for part in parts if part)

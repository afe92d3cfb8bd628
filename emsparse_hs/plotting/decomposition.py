# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Maps and spectra of all components of a decomposition in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from hyperspy.signal import BaseSignal
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from emsparse_hs.learning_results import check_decomposed
from emsparse_hs.plotting._axes import (
    colour_of,
    extent,
    label,
    scale_counts,
    show_image,
    shown_part,
)
from emsparse_hs.plotting._lines import mark_lines

#: Components that are shown if nobody says which.
MOST_COMPONENTS = 8


@dataclass(frozen=True)
class _Parts:
    """Components as shown: names and colours, maps (component, y, x), factors (component, ...)."""

    names: list[str]
    colors: list[tuple[float, float, float]]
    maps: np.ndarray
    factors: np.ndarray
    units: str


def plot_components(
    signal: BaseSignal,
    components: int | Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    scale: str = "sqrt",
    signal_range: tuple[float, float] | None = None,
) -> Figure:
    """Plot the map of each component beside its spectrum, and all maps in one.

    Where neither loadings nor factors are negative, maps show how many counts each component has
    in a pixel, and spectra how many it has in a channel, over all pixels: both add up to the data.
    X-ray lines, or edges, are marked for the elements that ``s.add_elements`` has put in the
    metadata of an EDS or EELS signal.

    Parameters
    ----------
    signal : BaseSignal
        With a decomposition, and one or two navigation axes. Of one signal axis, or two.
    components : int or sequence of int, optional
        Which ones, from 0 on. All by default, or the first eight if there are more.
    names : sequence of str, optional
        What they are called, such as names of phases.
    scale : {"sqrt", "linear", "log"}
        Of the counts of spectra. Square roots show weak lines beside strong ones, and noise as
        equally strong everywhere.
    signal_range : tuple of float, optional
        First and last energy shown, in the units of the signal axis.

    Returns
    -------
    Figure
        One row for each component, and one for all together if there are several.

    Raises
    ------
    ValueError
        If there is no decomposition, the signal was cropped since, the number of axes is another
        one, or `components`, `names` or `scale` don't fit.
    """
    parts = _parts(signal, components, names)
    if scale not in ("sqrt", "linear", "log"):
        raise ValueError(f"scale={scale!r} is not known. Use 'sqrt', 'linear' or 'log'.")
    # One alone is all together.
    n_rows = len(parts.names) + (len(parts.names) > 1)
    figure = plt.figure(figsize=(10.5, 2.6 * n_rows), layout="constrained")
    grid = figure.add_gridspec(n_rows, 2, width_ratios=[_map_width(signal), 1.7])
    first = None
    for k in range(len(parts.names)):
        map_axes = figure.add_subplot(grid[k, 0])
        factor_axes = figure.add_subplot(grid[k, 1], sharex=first)
        first = factor_axes
        _plot_map(map_axes, signal, parts, k)
        _plot_factors(factor_axes, signal, parts, [k], scale, signal_range)
        factor_axes.set_title(parts.names[k], loc="right", fontsize="medium")
    n_components = signal.learning_results.loadings.shape[1]
    if components is None and len(parts.names) < n_components:
        figure.suptitle(f"The first {len(parts.names)} of {n_components} components")
    if len(parts.names) > 1:
        _plot_composite(figure.add_subplot(grid[-1, 0]), signal, parts)
        _plot_all_factors(figure.add_subplot(grid[-1, 1]), signal, parts, scale, signal_range)
    return figure


def _map_width(signal: BaseSignal) -> float:
    """Part of its column that maps need, with the bar or legend beside them."""
    axes = signal.axes_manager.navigation_axes
    if len(axes) < 2:
        return 1.0
    left, right, bottom, top = extent(*axes)
    return min(0.45 + 0.55 * abs((right - left) / (bottom - top)), 1.0)


def _parts(signal: BaseSignal, components, names) -> _Parts:
    """What is shown, taken from the signal's results."""
    results, axes = signal.learning_results, signal.axes_manager
    check_decomposed(signal)
    if axes.navigation_dimension not in (1, 2) or axes.signal_dimension not in (1, 2):
        raise ValueError(
            f"{signal!r} has {axes.navigation_dimension} navigation and {axes.signal_dimension} "
            "signal axes, and one or two of each can be shown. Take a part of it with s.inav."
        )
    chosen = _chosen(components, results.loadings.shape[1])
    names = [f"Component {k}" for k in chosen] if names is None else list(names)
    if len(names) != len(chosen):
        raise ValueError(f"There are {len(names)} names for {len(chosen)} components.")
    maps = np.array(results.loadings, float)[:, chosen].T
    factors = np.array(results.factors, float)[:, chosen].T
    # HyperSpy itself may leave zeros there.
    if results.navigation_mask is not None:
        maps[:, np.ravel(results.navigation_mask).astype(bool)] = np.nan
    if results.signal_mask is not None:
        factors[:, np.ravel(results.signal_mask).astype(bool)] = np.nan
    maps = maps.reshape(-1, *axes._navigation_shape_in_array)
    factors = factors.reshape(-1, *axes._signal_shape_in_array)
    colors = [colour_of(k) for k in range(len(chosen))]
    return _Parts(names, colors, *_in_counts(maps, factors))


def _chosen(components, n_components: int) -> list[int]:
    if components is None:
        return list(range(min(n_components, MOST_COMPONENTS)))
    chosen = [int(k) for k in np.atleast_1d(components)]
    if not chosen or not all(0 <= k < n_components for k in chosen):
        raise ValueError(
            f"Components {chosen} are asked for, and there are 0 to {n_components - 1}."
        )
    return chosen


def _in_counts(maps: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Both scaled such that each adds up to the data, if that has a meaning."""
    if np.nanmin(maps) < 0 or np.nanmin(factors) < 0:
        return maps, factors, "arb. units"
    rows = (slice(None),) + (None,) * (maps.ndim - 1)
    columns = (slice(None),) + (None,) * (factors.ndim - 1)
    maps = maps * np.nansum(factors.reshape(len(factors), -1), 1)[rows]
    sums = np.nansum(factors.reshape(len(factors), -1), 1)
    totals = np.nansum(maps.reshape(len(maps), -1), 1)
    return maps, factors * (totals / np.where(sums > 0, sums, 1))[columns], "counts"


def _plot_map(axes: Axes, signal: BaseSignal, parts: _Parts, k: int) -> None:
    """One map with its colour bar and scale bar, or one profile."""
    if parts.maps.ndim == 2:
        _plot_profiles(axes, signal, parts, [k])
        return
    values = parts.maps[k]
    # A few hot pixels would make the rest dark.
    limits = np.nanpercentile(values, [0.2, 99.8])
    limits[0] = 0 if parts.units == "counts" else limits[0]
    image = show_image(axes, signal.axes_manager.navigation_axes, values)
    image.set_clim(limits[0], limits[1] if limits[1] > limits[0] else limits[0] + 1)
    beside = axes.inset_axes((1.03, 0, 0.05, 1))
    extend = "max" if np.nanmax(values) > limits[1] else "neither"
    bar = axes.figure.colorbar(image, cax=beside, extend=extend)
    bar.set_label("counts / pixel" if parts.units == "counts" else parts.units)


def _plot_profiles(axes: Axes, signal: BaseSignal, parts: _Parts, chosen: list[int]) -> None:
    axis = signal.axes_manager.navigation_axes[0]
    for k in chosen:
        axes.plot(axis.axis, parts.maps[k], color=parts.colors[k], drawstyle="steps-mid")
    axes.set_xlabel(label(axis, "pixel", units=""))
    axes.set_ylabel("counts / pixel" if parts.units == "counts" else parts.units)
    axes.margins(x=0)


def _plot_factors(axes: Axes, signal, parts: _Parts, chosen, scale: str, signal_range) -> None:
    """Spectra over the calibrated axis, or one pattern."""
    if parts.factors.ndim == 3:
        show_image(axes, signal.axes_manager.signal_axes, parts.factors[chosen[0]])
        return
    axis = signal.axes_manager.signal_axes[0]
    low, high, shown = shown_part(axis, signal_range)
    for k in chosen:
        line = dict(color=parts.colors[k], lw=1.1, drawstyle="steps-mid", label=parts.names[k])
        axes.plot(axis.axis[shown], parts.factors[k][shown], **line)
        if len(chosen) == 1 and parts.units == "counts":
            kind = dict(step="mid", color=parts.colors[k], alpha=0.25, lw=0)
            axes.fill_between(axis.axis[shown], parts.factors[k][shown], **kind)
    if parts.units == "counts":
        scale_counts(axes, scale, np.nanmax(parts.factors[chosen][:, shown]))
    axes.set_xlim(low, high)
    axes.set_xlabel(label(axis, "channel", units=""))
    named = {"sqrt": "counts / channel (√ scale)"}.get(scale, "counts / channel")
    axes.set_ylabel(named if parts.units == "counts" else parts.units)
    mark_lines(axes, signal)


def _plot_composite(axes: Axes, signal: BaseSignal, parts: _Parts) -> None:
    """All maps in one, with a legend."""
    if parts.maps.ndim == 2:
        _plot_profiles(axes, signal, parts, list(range(len(parts.names))))
        return
    image = composite(parts.maps, parts.colors)
    show_image(axes, signal.axes_manager.navigation_axes, image)
    handles = [
        Patch(color=color, label=name)
        for name, color in zip(parts.names, parts.colors, strict=True)
    ]
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)


def _plot_all_factors(axes: Axes, signal, parts: _Parts, scale: str, signal_range) -> None:
    if parts.factors.ndim == 3:
        axes.set_axis_off()
        return
    _plot_factors(axes, signal, parts, list(range(len(parts.names))), scale, signal_range)
    # Beside a map of all there is one already.
    if parts.maps.ndim == 2:
        axes.legend(frameon=False)


def composite(maps: np.ndarray, colors: Sequence[Any]) -> np.ndarray:
    """Add up one colour for each map.

    Parameters
    ----------
    maps : array of shape (n_components, y, x)
        Negative values count as 0. NaN where masked.
    colors : sequence of str or tuple
        One for each map, as matplotlib knows them.

    Returns
    -------
    float64 array of shape (y, x, 4)
        Red, green, blue and opacity, which is 0 where masked. Black where there is nothing. Each
        map is at full brightness from its 99th percentile on, and mixtures are no brighter.
    """
    masked = np.isnan(maps).any(0)
    if masked.all():
        return np.zeros((*masked.shape, 4))
    weights = np.clip(np.nan_to_num(maps), 0, None)
    full = np.percentile(weights[:, ~masked], 99, axis=1)
    weights = np.minimum(weights / np.where(full > 0, full, 1)[:, None, None], 1)
    weights /= np.maximum(weights.sum(0), 1)
    rgb = np.tensordot(weights, np.array([to_rgb(color) for color in colors]), (0, 0))
    return np.concatenate([rgb, ~masked[..., None]], -1)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where a decomposition does not explain the data, and what is there."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from hyperspy.signal import BaseSignal
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy.ndimage import convolve1d

from emsparse_hs.decomposition.residuals import EXCESSIVE
from emsparse_hs.plotting._axes import edges, label, scale_counts, show_image, shown_part
from emsparse_hs.plotting._lines import mark_lines
from emsparse_hs.residuals import Residuals, find_residuals

#: Colours of what was counted, of what the components make of it, and of what is more than that.
COUNTED, EXPECTED, MORE = "0.75", "#0072B2", "#D55E00"

_MISFIT = "misfit above noise (standard deviations)"

#: Channels over which the residuals of a region are added up (standard deviation of a Gaussian).
CHANNELS = 3


def plot_residuals(
    signal: BaseSignal,
    n_regions: int = 3,
    width: float = 1.5,
    signal_range: tuple[float, float] | None = None,
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> Figure:
    """Plot where a decomposition does not explain the data, and the spectra of the worst regions.

    Residuals are added up over a few pixels and in groups of channels, and compared to Poisson
    noise: see `emsparse_hs.decomposition.misfit`. What stands out is a phase that has no component,
    a spectrum that shifts along the scan, or counts that are not Poisson distributed.

    Parameters
    ----------
    signal : BaseSignal
        Of counts, with a decomposition, and one or two navigation axes.
    n_regions : int
        How many of the worst regions are shown, if there are so many.
    width : float
        Standard deviation in px of the Gaussian over which residuals are added up.
    signal_range : tuple of float, optional
        First and last energy shown, in the units of the signal axis.
    show_progressbar, num_workers
        As in HyperSpy, for reading the data.

    Returns
    -------
    Figure
        The map on the left, or the profile, with numbers at the regions. For each region what was
        counted there, and what the decomposition says; of patterns the difference, in standard
        deviations.

    Raises
    ------
    ValueError
        If there is no decomposition, it is one of centred data, data are negative or NaN, the
        signal has other axes, or `n_regions`, `width` or `signal_range` don't fit.
    """
    axes = signal.axes_manager
    if axes.navigation_dimension not in (1, 2) or axes.signal_dimension not in (1, 2):
        raise ValueError(
            f"{signal!r} has {axes.navigation_dimension} navigation and {axes.signal_dimension} "
            "signal axes, and one or two of each can be shown. s.emsparse.misfit() takes any."
        )
    if isinstance(n_regions, bool) or not isinstance(n_regions, Integral) or n_regions < 1:
        raise ValueError(f"n_regions={n_regions!r}, and a whole number from 1 on is needed.")
    how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
    residuals = find_residuals(signal, int(n_regions), width, **how)
    n_rows = len(residuals.counted)
    figure = plt.figure(figsize=(11 if n_rows else 5, max(2.9 * n_rows, 3.9)), layout="constrained")
    grid = figure.add_gridspec(
        max(n_rows, 1), 2 if n_rows else 1, width_ratios=[1, 1.7][: n_rows + 1]
    )
    overview = figure.add_subplot(grid[:, 0])
    plot_overview = _plot_map if axes.navigation_dimension == 2 else _plot_profile
    plot_overview(overview, signal, residuals)
    overview.set_title(_none_found(residuals), loc="left")
    for n in range(n_rows):
        beside = figure.add_subplot(grid[n, 1])
        if axes.signal_dimension == 2:
            _plot_pattern(beside, signal, residuals, n)
        else:
            _plot_spectrum(beside, signal, residuals, n, signal_range)
        beside.set_title(_title(residuals, n), loc="right", fontsize="medium")
    return figure


def _none_found(residuals: Residuals) -> str:
    """What is said where there is nothing to show."""
    if len(residuals.counted):
        return ""
    if not residuals.of_counts:
        return "Data are no counts: their noise is not known"
    return f"No region is above {EXCESSIVE:g}"


def _plot_profile(axes: Axes, signal: BaseSignal, residuals: Residuals) -> None:
    """Misfit along a line scan, with its regions."""
    axis = signal.axes_manager.navigation_axes[0]
    axes.plot(axis.axis, residuals.excess, color="0.3", lw=1.1, drawstyle="steps-mid")
    ends = edges(axis.axis)
    for number in range(1, len(residuals.counted) + 1):
        region = residuals.regions == number
        for place in np.flatnonzero(region):
            axes.axvspan(*ends[place : place + 2], color=MORE, alpha=0.3, lw=0)
        style: dict[str, Any] = dict(ha="center", va="top", transform=axes.get_xaxis_transform())
        axes.text(axis.axis[region].mean(), 0.95, str(number), **style)
    axes.margins(x=0, y=0.15)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(label(axis, "pixel", units=""))
    axes.set_ylabel(_MISFIT)


def _plot_map(axes: Axes, signal: BaseSignal, residuals: Residuals) -> None:
    xy = signal.axes_manager.navigation_axes
    image = show_image(axes, xy, residuals.excess, "inferno")
    # Square roots show what is weaker than the worst region, too.
    top = max(float(np.nanmax(residuals.excess)), EXCESSIVE)
    image.set_norm(PowerNorm(0.5, 0, top, clip=True))
    bar = axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.05, 1)))
    bar.set_label(_MISFIT)
    middle = np.array(residuals.excess.shape) / 2
    for number in range(1, len(residuals.counted) + 1):
        y, x = _middle(residuals.regions == number)
        # Towards the middle, so that it is on the map.
        inwards = (9 if x < middle[1] else -9, -9 if y < middle[0] else 9)
        place = xy[0].index2value(x), xy[1].index2value(y)
        style: dict[str, Any] = dict(color="white", ha="center", va="center")
        text = axes.annotate(str(number), place, inwards, textcoords="offset points", **style)
        text.set_path_effects([withStroke(linewidth=2, foreground="black")])


def _middle(region: np.ndarray) -> tuple[int, int]:
    """The pixel of a region that is nearest to its centre."""
    places = np.argwhere(region)
    y, x = places[((places - places.mean(0)) ** 2).sum(1).argmin()]
    return int(y), int(x)


def _title(residuals: Residuals, n: int) -> str:
    region = residuals.regions == n + 1
    return f"{n + 1}: {region.sum()} px, misfit {residuals.excess[region].max():.0f}"


def _plot_pattern(axes: Axes, signal: BaseSignal, residuals: Residuals, n: int) -> None:
    counted, expected = residuals.counted[n], residuals.expected[n]
    difference = (counted - expected) / np.sqrt(np.maximum(expected, 1))
    image = show_image(axes, signal.axes_manager.signal_axes, difference, "RdBu_r")
    most = np.nanpercentile(np.abs(difference), 99.9)
    image.set_clim(-most, most)
    bar = axes.figure.colorbar(image, ax=axes)
    bar.set_label("counted less expected\n(standard deviations)")


def _plot_spectrum(within: Axes, signal, residuals: Residuals, n: int, ends) -> None:
    """What was counted and expected, and below it by how much they differ."""
    within.set_axis_off()
    # Both in one place of the grid, so that those of all regions are below each other.
    above, below = (within.inset_axes(place) for place in ((0, 0.35, 1, 0.65), (0, 0, 1, 0.31)))
    axis = signal.axes_manager.signal_axes[0]
    low, high, shown = shown_part(axis, ends)
    counted, expected = residuals.counted[n], residuals.expected[n]
    departures = _departures(counted, expected)[shown]
    energy, counted, expected = axis.axis[shown], counted[shown], expected[shown]
    above.fill_between(energy, counted, step="mid", color=COUNTED, lw=0, label="counted")
    above.plot(energy, expected, color=EXPECTED, lw=1.1, label="by the components")
    scale_counts(above, "sqrt", np.nanmax([counted, expected]))
    above.set_ylabel("counts (√ scale)")
    above.tick_params(labelbottom=False)
    below.fill_between(energy, np.maximum(departures, 0), color=MORE, lw=0, label="more")
    below.fill_between(energy, np.minimum(departures, 0), color=EXPECTED, lw=0, label="fewer")
    below.set_ylabel("σ")
    below.set_xlabel(label(axis, "channel", units=""))
    for axes in (above, below):
        axes.set_xlim(low, high)
    mark_lines(above, signal)
    if n == 0:
        above.legend(frameon=False)
        below.legend(frameon=False, ncols=2, fontsize="small", loc="upper right")


def _departures(counted: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Residuals over a few channels, in standard deviations of Poisson noise."""
    there = np.isfinite(counted)
    offsets = np.arange(-3 * CHANNELS, 3 * CHANNELS + 1)
    kernel = np.exp(-0.5 * (offsets / CHANNELS) ** 2)
    difference, noise = np.where(there, [counted - expected, expected], 0)
    smooth = convolve1d(difference, kernel, mode="constant")
    variance = convolve1d(np.maximum(noise, 0), kernel**2, mode="constant")
    # As much as a single count is no wonder.
    return np.where(there, smooth / np.sqrt(np.maximum(variance, 1)), np.nan)

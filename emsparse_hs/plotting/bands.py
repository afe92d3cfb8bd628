# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Kikuchi patterns with their bands drawn, and Radon transforms with their peaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.patheffects import withStroke

from emsparse_hs.ebsd.geometry import angles_from_normals, band_edge, to_pixels
from emsparse_hs.ebsd.radon import normalise_patterns
from emsparse_hs.plotting._axes import extent, figure_for

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

    from emsparse_hs.signals import KikuchiBands

#: Bands that are numbered, the highest contrast first: more numbers hide each other.
N_NUMBERED = 20


def plot_bands(
    pattern: BaseSignal | np.ndarray,
    bands: KikuchiBands,
    *,
    n_bands: int | None = None,
    corrected: bool = True,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot a pattern, and beside it the same with its bands drawn.

    Each band's two edges are the hyperbolae (Kossel cones) at its half width, the first 20 numbered
    by rank of contrast, in colours from the highest to the lowest; the cross is the pattern centre.

    Parameters
    ----------
    pattern : BaseSignal or array of shape (height, width)
        One pattern.
    bands : KikuchiBands
        Its bands, without navigation axes: ``bands.inav[x, y]``.
    n_bands : int, optional
        Draw so many, the highest contrast first. All by default.
    corrected : bool
        Whether the pattern is shown without its broad background, as bands are looked for in it.
    title : str, optional
        Of the figure.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With two axes.

    Raises
    ------
    ValueError
        If there is more than one pattern, or the bands are of patterns of another shape.
    """
    image = _one_pattern(pattern)
    _check_one(bands)
    if image.shape != bands.pattern_shape:
        raise ValueError(
            f"The pattern has shape {image.shape}, and the bands are of patterns of shape "
            f"{bands.pattern_shape}. Pass the pattern that the bands were found in."
        )
    holes = ~np.isfinite(image)
    shown = normalise_patterns(image[np.newaxis], holes)[0][0] if corrected else image
    figure = figure_for(figure, (10, 5 * image.shape[0] / image.shape[1] + 0.6))
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes in (left, right):
        _show_image(axes, shown)
    _draw_bands(right, bands, n_bands)
    left.set_title("pattern, background removed" if corrected else "pattern")
    right.set_title("bands by contrast")
    if title is not None:
        figure.suptitle(title)
    return figure


def plot_radon(
    radon: BaseSignal,
    bands: KikuchiBands | None = None,
    *,
    n_bands: int | None = None,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot a Radon transform, and the bands as points in it.

    The bar on each point is as long as the band is wide; the first 20 are numbered.

    Parameters
    ----------
    radon : BaseSignal
        Of one pattern, from ``s.emsparse.radon()``.
    bands : KikuchiBands, optional
        Of the same pattern, without navigation axes: ``bands.inav[x, y]``.
    n_bands : int, optional
        Draw so many, the highest contrast first. All by default.
    title : str, optional
        Of the figure.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With the axes of the transform and of its colour bar.

    Raises
    ------
    ValueError
        If there is more than one pattern.
    """
    data = _one_pattern(radon)
    figure = figure_for(figure, (8, 5.2))
    axes = figure.subplots()
    azimuth, elevation = radon.axes_manager.signal_axes
    left, right, last, first = extent(azimuth, elevation)
    borders = (left, right, first, last)
    limit = np.nanpercentile(np.abs(data), 99.8)
    image = axes.imshow(
        data, origin="lower", extent=borders, aspect="auto", cmap="gray", vmin=-limit, vmax=limit
    )
    figure.colorbar(image, ax=axes, label="mean intensity (standard deviations)")
    axes.set_facecolor("0.85")
    axes.set_xlabel("azimuth (°)")
    axes.set_ylabel("elevation (°)")
    axes.set_title("Radon transform along great circles" if title is None else title)
    if bands is not None:
        _check_one(bands)
        _draw_points(axes, bands, n_bands)
    axes.set_xlim(left, right)
    axes.set_ylim(first, last)
    return figure


def _one_pattern(pattern) -> np.ndarray:
    data = getattr(pattern, "data", pattern) if not isinstance(pattern, np.ndarray) else pattern
    image = np.asarray(data)
    if image.ndim != 2:
        raise ValueError(
            f"This plots one pattern, and the data have shape {image.shape}. Choose one with "
            "s.inav[x, y]."
        )
    return image


def _check_one(bands: KikuchiBands) -> None:
    if bands.axes_manager.navigation_dimension:
        raise ValueError(
            f"This draws the bands of one pattern, and {bands!r} has those of many. Choose one "
            "with bands.inav[x, y], or use bands.plot_on(patterns)."
        )


def _ranked(bands: KikuchiBands, n_bands: int | None):
    """Normals and half widths that there are, with a colour for each."""
    if n_bands is not None and n_bands < 1:
        raise ValueError(f"n_bands is {n_bands}, and at least 1 is needed to draw any.")
    normals, half_widths = np.asarray(bands.normals), np.asarray(bands.half_widths)
    found = np.flatnonzero(np.isfinite(half_widths))[:n_bands]
    colours = plt.colormaps["plasma"](np.linspace(0.97, 0.5, max(len(found), 2)))
    return normals[found], half_widths[found], colours


def _show_image(axes, image: np.ndarray) -> None:
    low, high = np.nanpercentile(image, [1, 99])
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="bicubic")
    axes.set_axis_off()


def _draw_bands(axes, bands: KikuchiBands, n_bands: int | None) -> None:
    shape, centre = bands.pattern_shape, bands.pattern_centre
    limits = (-0.5, shape[1] - 0.5), (shape[0] - 0.5, -0.5)
    ranked = enumerate(zip(*_ranked(bands, n_bands), strict=False), start=1)
    for rank, (normal, half_width, colour) in ranked:
        for angle in (-half_width, half_width):
            axes.plot(*band_edge(normal, angle, shape, centre), color=colour, lw=1)
        place = _label_place(normal, shape, centre, rank)
        if rank <= N_NUMBERED and place is not None:
            box = {"boxstyle": "circle,pad=0.15", "fc": "black", "ec": colour, "alpha": 0.75}
            axes.text(*place, str(rank), color=colour, size=7, ha="center", va="center", bbox=box)
    axes.plot(*to_pixels((0, 0, 1), shape, centre), "+", color="cyan", ms=10, mew=1.5)
    axes.set_xlim(limits[0])
    axes.set_ylim(limits[1])


def _label_place(normal, shape: tuple[int, int], centre, rank: int):
    """A place on a band's middle line inside the pattern, towards alternate ends."""
    x, y = band_edge(normal, 0, shape, centre)
    margin = 0.04 * min(shape)
    seen = (x > margin) & (x < shape[1] - 1 - margin) & (y > margin) & (y < shape[0] - 1 - margin)
    if not seen.any():
        return None
    places = np.column_stack([x, y])[seen]
    return places[int((0.1 if rank % 2 else 0.9) * (len(places) - 1))]


def _draw_points(axes, bands: KikuchiBands, n_bands: int | None) -> None:
    normals, half_widths, colours = _ranked(bands, n_bands)
    azimuths, elevations = angles_from_normals(normals)
    for rank, (x, y, width, colour) in enumerate(
        zip(azimuths, elevations, half_widths, colours, strict=False), start=1
    ):
        axes.errorbar(x, y, width, fmt="o", ms=4, mfc="none", color=colour, lw=1, capsize=2)
        if rank <= N_NUMBERED:
            label = axes.annotate(str(rank), (x, y), (6, 3), textcoords="offset points", size=9)
            label.set(color=colour, path_effects=[withStroke(linewidth=2, foreground="black")])

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""HyperSpy's axes in a figure: their names, ends and scales, and images on them."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

#: Of one component or phase after the other. Told apart by colour-blind readers as well (Okabe and
#: Ito, Color Universal Design, 2008), on black and on white.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")

#: Units a thousandth of others, for short bars.
_SMALLER = {"mm": "µm", "µm": "nm", "um": "nm"}

#: Width of an image, in heights, below which the length of a bar has no room in it.
_NARROW = 0.4

#: Colour of what is masked.
MASKED = "0.6"


def figure_for(figure: Figure | SubFigure | None, size: tuple[float, float]) -> Figure | SubFigure:
    """The figure to draw in: the one that is given, or a new one.

    Parameters
    ----------
    figure : Figure or SubFigure, optional
    size : tuple of float
        Width and height of a new one in inches.

    Returns
    -------
    Figure or SubFigure

    Raises
    ------
    TypeError
        If something else is given.
    """
    if figure is None:
        return plt.figure(figsize=size, layout="constrained")
    if not isinstance(figure, (Figure, SubFigure)):
        raise TypeError(
            f"figure is of type {type(figure).__name__}, and a Figure or SubFigure is needed, such "
            "as plt.figure() or figure.subfigures()."
        )
    return figure


def colour_of(number: int) -> tuple[float, float, float]:
    """Colour of a component or phase.

    Parameters
    ----------
    number : int
        From 0 on.

    Returns
    -------
    tuple of float
        Red, green and blue. Beyond the seventh they come again, each time darker.
    """
    darker = 0.6 ** (number // len(COLOURS))
    red, green, blue = to_rgb(COLOURS[number % len(COLOURS)])
    return red * darker, green * darker, blue * darker


def known(text: Any) -> str:
    """Name or units of an axis, empty where HyperSpy says they are undefined."""
    return "" if str(text) == "<undefined>" else str(text)


def label(axis, otherwise: str, units: str = "px") -> str:
    """Name and units of an axis, such as "x (nm)".

    Parameters
    ----------
    axis : DataAxis
        Of a signal.
    otherwise : str
        Name for an axis that has none.
    units : str
        For an axis that has none.

    Returns
    -------
    str
        For a matplotlib axis.
    """
    name, units = known(axis.name) or otherwise, known(axis.units) or units
    return f"{name} ({units})" if units else name


def edges(positions: np.ndarray) -> np.ndarray:
    """Borders of pixels at these centres, which need not be evenly spaced.

    Parameters
    ----------
    positions : array of shape (n,)
        Centres, such as ``axis.axis``.

    Returns
    -------
    float64 array of shape (n + 1,)
        A single pixel is taken as 1 wide.
    """
    positions = np.asarray(positions, float)
    if len(positions) == 1:
        return positions[0] + np.array([-0.5, 0.5])
    middle = (positions[1:] + positions[:-1]) / 2
    first, last = 2 * positions[0] - middle[0], 2 * positions[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


def extent(across, down) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of an image whose first row is at the top.

    Parameters
    ----------
    across, down : DataAxis
        Of the image's columns and rows.

    Returns
    -------
    tuple of float
        For `matplotlib.axes.Axes.imshow`.
    """
    (left, right), (top, bottom) = (edges(axis.axis)[[0, -1]] for axis in (across, down))
    return left, right, bottom, top


def show_image(axes: Axes, xy, image: np.ndarray, cmap: str = "viridis") -> AxesImage:
    """Show an image with what is masked in grey, and a scale bar if its axes have one unit.

    Parameters
    ----------
    axes : Axes
        Where to.
    xy : sequence of DataAxis
        Of the image's columns and rows.
    image : array of shape (y, x) or (y, x, 4)
        NaN or transparent where masked.
    cmap : str
        Of numbers.

    Returns
    -------
    AxesImage
        For its colour bar.
    """
    x, y = xy
    left, right, bottom, top = extent(x, y)
    axes.set_facecolor(MASKED)
    axes.set_anchor("W")
    shown = axes.imshow(
        image, extent=(left, right, bottom, top), cmap=cmap, interpolation="nearest"
    )
    units = known(x.units)
    if units and units == known(y.units):
        axes.set_xticks([])
        axes.set_yticks([])
        _add_scale_bar(axes, abs(right - left), abs(bottom - top), units)
    else:
        axes.set_xlabel(label(x, "x"))
        axes.set_ylabel(label(y, "y"))
    return shown


def _add_scale_bar(axes: Axes, width: float, height: float, units: str) -> None:
    """A bar of 1, 2 or 5 times a power of ten, at most a third of the width."""
    power = 10 ** np.floor(np.log10(width / 3))
    length = max(step * power for step in (1, 2, 5) if step * power <= width / 3)
    said = f"{length:g} {units}"
    if length < 0.1 and units in _SMALLER:
        said = f"{1e3 * length:g} {_SMALLER[units]}"
    narrow = width < _NARROW * height
    if narrow:
        axes.set_xlabel(said, loc="left")
    bar = AnchoredSizeBar(
        axes.transData,
        length,
        "" if narrow else said,
        loc="lower left",
        size_vertical=height / 60,
        color="white",
        frameon=False,
        pad=0.3,
    )
    # Also seen on white and yellow.
    for box in (bar.size_bar, bar.txt_label):
        box.get_children()[0].set_path_effects([withStroke(linewidth=1.5, foreground="black")])
    axes.add_artist(bar)


def shown_part(axis, ends: tuple[float, float] | None) -> tuple[float, float, np.ndarray]:
    """Part of a signal axis that is shown.

    Parameters
    ----------
    axis : DataAxis
        Of the spectra.
    ends : tuple of float, optional
        First and last value, in units of the axis. All by default.

    Returns
    -------
    low, high : float
        The ends.
    shown : bool array
        True for the channels between them.

    Raises
    ------
    ValueError
        If there are fewer than two.
    """
    values = axis.axis
    low, high = (values.min(), values.max()) if ends is None else ends
    shown = (values >= low) & (values <= high)
    if ends is not None and shown.sum() < 2:
        raise ValueError(
            f"signal_range={ends} has no channels. The axis goes from {values.min():g} to "
            f"{values.max():g}; pass the lower end first."
        )
    return low, high, shown


def scale_counts(axes: Axes, scale: str, highest: float) -> None:
    """Scale the axis of counts.

    Parameters
    ----------
    axes : Axes
        With spectra.
    scale : {"sqrt", "linear", "log"}
        How.
    highest : float
        Largest value that is to be seen.
    """
    highest = highest if highest > 0 else 1.0
    if scale == "sqrt":
        functions = (lambda y: np.sqrt(np.maximum(y, 0)), np.square)
        axes.set_yscale("function", functions=functions)
        axes.set_yticks([0, *_round_down(highest * np.array([0.04, 0.25, 0.9]))])
    elif scale == "log":
        axes.set_yscale("log")
    axes.set_ylim(highest * 1e-4 if scale == "log" else 0, 1.1 * highest)


def _round_down(values: np.ndarray) -> np.ndarray:
    """To one digit."""
    power = 10 ** np.floor(np.log10(values))
    return np.floor(values / power) * power

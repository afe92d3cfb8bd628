# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Maps of vectors: direction and magnitude in colour, arrows, and the two components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure, SubFigure

from emsparse_hs.plotting._axes import extent, label

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

#: Lightness and chroma (Oklab) of the longest vectors; the most chroma sRGB holds in every hue.
_LIGHTNESS, _CHROMA = 0.745, 0.125

#: Hue of a vector to the right, in degrees: red, as on most colour wheels.
_HUE_OF_RIGHT = 25.0

#: Labels of the three maps.
_PANELS = ("direction", "x", "y")

#: Colour of places without a value.
_NO_VALUE = (0.8, 0.8, 0.8)


def plot_vector_field(
    signal: BaseSignal,
    *,
    title: str | None = None,
    limit: float | None = None,
    arrows: int = 14,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot a map of vectors in colour and arrows, and its components beside it.

    The hue is the direction, as the colour wheel shows it, and the brightness the magnitude. Right
    on the wheel is +x, down is +y, as the maps lie. Places without a value (NaN) are grey.

    Parameters
    ----------
    signal : BaseSignal
        Two navigation axes, the scan, and one signal axis of length 2, the components x and y;
        such as `BeamDeflection` and `ElectricField`. Lazy ones are computed.
    title : str, optional
        Of the figure. The signal's title by default.
    limit : float, optional
        Magnitude of full brightness and end of the components' colour scales, in the signal's
        units. By default the magnitude that 99 % of the vectors don't exceed.
    arrows : int
        How many arrows along the longer side; each is the mean over its neighbourhood. 0 for none.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With axes labelled "direction", "x" and "y"; the first has the insets "wheel" and
        "magnitude", the others their colour bars.

    Raises
    ------
    ValueError
        If the signal has not two navigation axes and two components, or the limit is not positive.
    """
    vectors = _vectors(signal)
    magnitude = np.hypot(vectors[..., 0], vectors[..., 1])
    limit = _limit(magnitude) if limit is None else limit
    if not limit > 0:
        raise ValueError(f"The limit is {limit}. Give a positive magnitude, or None.")
    scan = signal.axes_manager.navigation_axes
    borders = extent(*scan)
    figure = _new_figure(borders) if figure is None else figure
    quantity, units = _quantity(signal)
    name = signal.metadata.General.title
    figure.suptitle(title or (f"{quantity}: {name}" if quantity and name else quantity or name))

    panels = [figure.add_subplot(1, 3, i + 1, label=_PANELS[i]) for i in range(3)]
    panels[0].imshow(direction_colours(vectors, limit), extent=borders, interpolation="nearest")
    panels[0].set_title("direction and magnitude")
    if arrows:
        _draw_arrows(panels[0], vectors, borders, limit, arrows)
    _draw_wheel(panels[0].inset_axes((1.02, 0.58, 0.42, 0.42), label="wheel"))
    exceeds = np.nanmax(magnitude, initial=0) > limit
    _draw_magnitude_bar(panels[0], limit, exceeds, units)
    for axes, values in zip(panels[1:], np.moveaxis(vectors, -1, 0), strict=True):
        _draw_component(axes, values, borders, limit, units)
    _label_scan(panels, scan)
    return figure


def direction_colours(vectors: np.ndarray, limit: float) -> np.ndarray:
    """Colour of each vector: direction as hue, magnitude as brightness.

    Hues are those of Oklab (Ottosson, A perceptual color space for image processing, 2020), in
    which equal angles look equally different, and all directions are equally bright.

    Parameters
    ----------
    vectors : array of shape (..., 2)
        Components x, to the right, and y, downwards.
    limit : float
        Magnitude of full brightness; longer vectors get no brighter. Zero is black.

    Returns
    -------
    float64 array of shape (..., 3)
        Red, green and blue between 0 and 1; light grey where a component is NaN.
    """
    length = np.clip(np.hypot(vectors[..., 0], vectors[..., 1]) / limit, 0, 1)
    # Clockwise on a screen is from +x to +y, since y points downwards.
    hue = np.deg2rad(_HUE_OF_RIGHT) + np.arctan2(vectors[..., 1], vectors[..., 0])
    brightest = _rgb_of_oklab(_LIGHTNESS, _CHROMA * np.cos(hue), _CHROMA * np.sin(hue))
    # Values of sRGB are about even in perceived lightness, so they are what is scaled.
    return np.where(np.isnan(length)[..., None], _NO_VALUE, brightest * length[..., None])


def _rgb_of_oklab(lightness, a, b) -> np.ndarray:
    """Coordinates in Oklab as sRGB."""
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip(np.stack([long, middle, short], axis=-1) @ to_linear.T, 0, 1)
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def _vectors(signal: BaseSignal) -> np.ndarray:
    """Components as an array (y, x, 2), or an error that says what is missing."""
    axes = signal.axes_manager
    if axes.navigation_dimension != 2 or axes._signal_shape_in_array != (2,):
        raise ValueError(
            f"{signal!r} is no map of vectors: needed are two navigation axes and two components. "
            "Choose one scan of a stack with s.inav; plot a line scan with s.T.plot()."
        )
    return np.asarray(signal._data_aligned_with_axes, float)


def _limit(magnitude: np.ndarray) -> float:
    finite = magnitude[np.isfinite(magnitude)]
    return float(np.percentile(finite, 99)) or 1.0 if finite.size else 1.0


def _quantity(signal: BaseSignal) -> tuple[str, str]:
    """What is shown, and its units, from the signal's "quantity (units)"."""
    quantity, _, units = signal.metadata.get_item("Signal.quantity", default="").partition("(")
    return quantity.strip(), units.rstrip(") ")


def _new_figure(borders) -> Figure:
    left, right, bottom, top = borders
    height = 3.4 * np.clip(abs((bottom - top) / (right - left)), 0.35, 1.6)
    return plt.figure(figsize=(14.5, height + 1.0), layout="compressed")


def _draw_wheel(axes: Axes) -> None:
    y, x = np.mgrid[-1:1:201j, -1:1:201j]
    colours = direction_colours(np.stack([x, y], axis=-1), 1.0)
    disc = np.concatenate([colours, (np.hypot(x, y) <= 1)[..., None]], axis=-1)
    axes.imshow(disc, extent=(-1, 1, 1, -1), interpolation="bilinear")
    axes.text(1.08, 0, "+x", ha="left", va="center", fontsize="small")
    axes.text(0, 1.08, "+y", ha="center", va="top", fontsize="small")
    axes.set(xlim=(-1.05, 1.5), ylim=(1.5, -1.05), anchor="NW")
    axes.set_axis_off()


def _draw_magnitude_bar(axes: Axes, limit: float, exceeds: bool, units: str) -> None:
    """Brightness of a vector against its magnitude."""
    shades = np.array([[0, 0, 0], _rgb_of_oklab(_LIGHTNESS, 0.0, 0.0)])
    colours = LinearSegmentedColormap.from_list("magnitude", shades)
    _draw_bar(
        ScalarMappable(Normalize(0, limit), colours),
        axes.inset_axes((1.05, 0.0, 0.05, 0.52), label="magnitude"),
        "max" if exceeds else "neither",
        f"magnitude ({units})" if units else "magnitude",
    )


def _draw_bar(mappable: ScalarMappable, axes: Axes, extend: str, label: str) -> None:
    bar = axes.figure.colorbar(mappable, cax=axes, extend=extend)
    bar.set_label(label)


def _draw_component(axes: Axes, values, borders, limit: float, units: str) -> None:
    name = axes.get_label()
    image = axes.imshow(
        np.ma.masked_invalid(values),
        extent=borders,
        cmap=plt.get_cmap("RdBu_r").with_extremes(bad=_NO_VALUE),
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    axes.set_title(f"{name} component")
    _draw_bar(
        image,
        axes.inset_axes((1.05, 0.0, 0.05, 1.0)),
        "both" if np.nanmax(np.abs(values), initial=0) > limit else "neither",
        f"{name} component ({units})" if units else f"{name} component",
    )


def _draw_arrows(axes: Axes, vectors, borders, limit: float, arrows: int) -> None:
    """Arrows of the mean vector of neighbourhoods; the longest are as long as these are wide."""
    means, side = _block_means(vectors, arrows)
    rows, columns = means.shape[:2]
    step_x = (borders[1] - borders[0]) / vectors.shape[1]
    step_y = (borders[2] - borders[3]) / vectors.shape[0]
    spacing = side / vectors.shape[1]
    axes.quiver(
        borders[0] + step_x * side * (np.arange(columns) + 0.5),
        borders[3] + step_y * side * (np.arange(rows) + 0.5),
        means[..., 0],
        # Of a screen, where y points upwards.
        -means[..., 1],
        angles="uv",
        pivot="middle",
        units="width",
        width=min(0.08 * spacing, 0.015),
        scale=limit / min(1.2 * spacing, 0.4),
        scale_units="width",
        color="white",
        edgecolor="black",
        linewidth=0.4,
        headwidth=4,
        headlength=4.5,
        headaxislength=4,
        minlength=0.5,
    )


def _block_means(vectors: np.ndarray, arrows: int) -> tuple[np.ndarray, int]:
    """Mean vector of each square neighbourhood, NaN left out, and the side of the squares in px."""
    side = max(1, min(round(max(vectors.shape[:2]) / arrows), *vectors.shape[:2]))
    rows, columns = vectors.shape[0] // side, vectors.shape[1] // side
    blocks = vectors[: rows * side, : columns * side].reshape(rows, side, columns, side, 2)
    counts = np.isfinite(blocks).sum((1, 3))
    sums = np.nansum(blocks, axis=(1, 3))
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0), side


def _label_scan(panels: list[Axes], scan) -> None:
    labels = [label(axis, letter) for axis, letter in zip(scan, "xy", strict=True)]
    for axes in panels:
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.set_aspect("equal" if str(scan[0].units) == str(scan[1].units) else "auto")

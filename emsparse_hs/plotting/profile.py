# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Profiles of maps of vectors along a line, with their uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure, SubFigure

from emsparse_hs.plotting._axes import known, label

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

#: Colours of the components, which people who see red and green alike can tell apart.
_COLOURS = ("#0072B2", "#D55E00")


def plot_profile(
    signal: BaseSignal,
    start: tuple[float, float] | None = None,
    end: tuple[float, float] | None = None,
    *,
    width: int = 1,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot the components of a map of vectors along a line, with bands of one standard deviation.

    Parameters
    ----------
    signal : BaseSignal
        One or two navigation axes, the scan, and one signal axis of length 2, the components x and
        y; such as `BeamDeflection` and `ElectricField`. Lazy ones are computed. The bands need a
        variance, see ``signal.sigma``; without it there are none.
    start, end : (float, float), optional
        Ends of the line, x and y in the units of the scan. By default the middle row from left to
        right. Not for line scans, which are plotted as a whole.
    width : int
        Positions across the line over which to average. Each is the nearest of the scan. Places
        without a value (NaN), or beyond the scan, are left out.
    title : str, optional
        Of the figure. The signal's title by default.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With one axis and the lines "x" and "y".

    Raises
    ------
    ValueError
        If the signal is no map of vectors, the width is not positive, start or end are given for a
        line scan, or the ends are the same place.
    """
    navigation = signal.axes_manager.navigation_axes
    if len(navigation) not in (1, 2) or signal.axes_manager._signal_shape_in_array != (2,):
        raise ValueError(
            f"{signal!r} is no map of vectors: needed are one or two navigation axes and two "
            "components. Choose one scan of a stack with s.inav."
        )
    if not (width >= 1 and width == int(width)):
        raise ValueError(f"The width is {width}. Give a positive whole number of positions.")
    width = int(width)
    vectors, variance = _vectors(signal)
    if len(navigation) == 1:
        if start is not None or end is not None:
            raise ValueError("A line scan has no start and end. Crop it with s.inav[start:end].")
        distance, name = navigation[0].axis, label(navigation[0], "x")
    else:
        distance, (rows, columns) = _line(navigation, start, end, width)
        vectors, variance = _averaged(vectors, variance, rows, columns)
        name = f"distance ({known(navigation[0].units) or 'px'})"
    figure = plt.figure(figsize=(6.4, 4.0), layout="constrained") if figure is None else figure
    axes = figure.add_subplot(label="profile")
    for i, component in enumerate("xy"):
        values = vectors[:, i]
        axes.plot(distance, values, color=_COLOURS[i], label=component)
        if variance is not None:
            sigma = np.sqrt(variance[:, i])
            lower, upper = values - sigma, values + sigma
            axes.fill_between(distance, lower, upper, color=_COLOURS[i], alpha=0.25, linewidth=0)
    quantity = signal.metadata.get_item("Signal.quantity", default="")
    axes.set(xlabel=name, ylabel=quantity, title=title or signal.metadata.General.title)
    axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.legend(title="component")
    return figure


def _vectors(signal: BaseSignal) -> tuple[np.ndarray, np.ndarray | None]:
    variance = signal.metadata.get_item("Signal.Noise_properties.variance", default=None)
    vectors = np.asarray(signal.data, float)
    if variance is None:
        return vectors, None
    return vectors, np.broadcast_to(np.asarray(getattr(variance, "data", variance)), vectors.shape)


def _line(navigation, start, end, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances along a line, and rows and columns of shape (2, width, points) around it."""
    x, y = navigation
    middle = y.axis[len(y.axis) // 2]
    start = (x.axis[0], middle) if start is None else start
    end = (x.axis[-1], middle) if end is None else end
    # In positions, y before x as in arrays; the ends are clipped to the scan.
    ends = [
        np.array([_position(axis, one) for one, axis in zip(place[::-1], (y, x), strict=True)])
        for place in (start, end)
    ]
    length = np.linalg.norm(ends[1] - ends[0])
    if not length:
        raise ValueError(f"The line from {start} to {end} has no length within the scan.")
    points = int(np.ceil(length)) + 1
    along = np.linspace(ends[0], ends[1], points, axis=1)
    # Perpendicular in space, where a position along y may be longer than one along x.
    ratio = _step(y) / _step(x)
    across = np.array([(ends[1][1] - ends[0][1]) / ratio, (ends[0][0] - ends[1][0]) * ratio])
    across /= np.linalg.norm(across)
    # Half a position is a little less, so that all halves are rounded to the same side.
    offsets = np.arange(width) - (width - 1) / 2 - 1e-6
    places = along[:, None, :] + across[:, None, None] * offsets[:, None]
    sides = [
        np.diff(np.interp([one, other], range(axis.size), axis.axis))[0]
        for one, other, axis in zip(*ends, (y, x), strict=True)
    ]
    total = np.hypot(*sides)
    return np.linspace(0, total, points), np.rint(places).astype(int)


def _step(axis) -> float:
    """Distance between positions of an axis, on average."""
    return np.ptp(axis.axis) / (axis.size - 1) if axis.size > 1 else 1.0


def _position(axis, value: float) -> float:
    """Where a value lies among the positions of an axis, which may fall."""
    values, positions = axis.axis, np.arange(axis.size)
    if values[0] > values[-1]:
        values, positions = values[::-1], positions[::-1]
    return np.interp(value, values, positions)


def _first_of_their_kind(rows, columns) -> np.ndarray:
    """Across the line, False where a position is the nearest of more than one place."""
    first = np.ones(rows.shape, bool)
    for i in range(1, len(rows)):
        first[i] = ~((rows[:i] == rows[i]) & (columns[:i] == columns[i])).any(0)
    return first


def _averaged(vectors, variance, rows, columns):
    """Means over the width, and their variances, of positions that are there."""
    shape = vectors.shape[:2]
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    rows, columns = np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1)
    taken = vectors[rows, columns]
    counts = (inside & _first_of_their_kind(rows, columns))[..., None] & np.isfinite(taken)
    number = counts.sum(0)
    sums = np.where(counts, taken, 0).sum(0)
    means = np.divide(sums, number, out=np.full_like(sums, np.nan), where=number > 0)
    if variance is None:
        return means, None
    total = np.where(counts, variance[rows, columns], 0).sum(0)
    return means, np.divide(total, number**2, out=np.full_like(sums, np.nan), where=number > 0)

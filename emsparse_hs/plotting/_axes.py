# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What HyperSpy's axes are called in a figure, and where they end."""

from __future__ import annotations

from typing import Any

import numpy as np


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

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Masks of a detector's pixels: disc and annulus."""

from __future__ import annotations

import numpy as np


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """Pixels whose middle lies in a disc.

    Parameters
    ----------
    shape : (int, int)
        Of a frame, (y, x).
    centre : (float, float)
        x and y in px, the frame's first pixel at (0, 0).
    radius : float
        In px; a pixel at this very distance is inside.

    Returns
    -------
    bool array of shape (y, x)
        True inside.

    Raises
    ------
    ValueError
        If the radius is negative.
    """
    if radius < 0:
        raise ValueError(f"The radius is {radius} px, and it can't be negative.")
    return _distance(shape, centre) <= radius


def annulus(
    shape: tuple[int, int], centre: tuple[float, float], inner: float, outer: float
) -> np.ndarray:
    """Pixels whose middle lies between two circles.

    Parameters
    ----------
    shape : (int, int)
        Of a frame, (y, x).
    centre : (float, float)
        x and y in px, the frame's first pixel at (0, 0).
    inner, outer : float
        Radii in px; a pixel at these very distances is inside. An inner radius of 0 gives a disc.

    Returns
    -------
    bool array of shape (y, x)
        True inside.

    Raises
    ------
    ValueError
        If not 0 <= inner < outer.
    """
    if not 0 <= inner < outer:
        raise ValueError(f"The radii are {inner} and {outer} px. Needed is 0 <= inner < outer.")
    distance = _distance(shape, centre)
    return (inner <= distance) & (distance <= outer)


def _distance(shape: tuple[int, int], centre: tuple[float, float]) -> np.ndarray:
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(y - centre[1], x - centre[0])

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
r"""Directions, great circles and bands in the frame of an EBSD detector.

The frame is right-handed with its origin in the source point, the spot of the beam on the
specimen: x to the right and y up in the pattern as it is shown (seen from behind the screen,
towards the specimen), z from the source point to the screen, along the screen's normal. It is
kikuchipy's detector frame.

A band lies around a great circle, the plane of the reflecting lattice planes, and is named by the
planes' unit normal n; n and -n are one band. In spherical terms

.. math:: n = (\cos\rho\cos\varphi,\; \cos\rho\sin\varphi,\; -\sin\rho)

with the azimuth phi in [0, 180) degrees and rho in [-90, 90] degrees, the angle between the great
circle and the pattern centre's direction, positive where the band lies on the side of phi. Normals
are given with that sign. In the gnomonic plane (x, y, 1) the band's middle is the straight line
x cos(phi) + y sin(phi) = tan(rho).
"""

from __future__ import annotations

import numpy as np

#: Far beyond any detector, in widths or heights of a pattern.
FARTHEST_CENTRE = 10


def as_pattern_centre(pattern_centre, n_patterns: int | None = None) -> np.ndarray:
    """One pattern centre, or one for each pattern, as a float64 array.

    Parameters
    ----------
    pattern_centre : array of shape (3,) or (n, 3)
        PCx, PCy, PCz in Bruker's convention: from the left edge in widths of the pattern, from
        its upper edge in heights, and the distance of the source point from the screen in heights.
    n_patterns : int, optional
        How many patterns there are, where that is known.

    Returns
    -------
    float64 array of shape (3,) or (n_patterns, 3)

    Raises
    ------
    ValueError
        If the shape does not fit, a value is not finite or can't be a fraction of the pattern, or
        a distance is not positive.
    """
    centre = np.asarray(pattern_centre, dtype=np.float64)
    fits = centre.shape == (3,) or (
        centre.ndim == 2 and centre.shape[1] == 3 and n_patterns in (None, len(centre))
    )
    if not fits:
        one_each = "" if n_patterns is None else f", or one for each of {n_patterns} patterns"
        raise ValueError(
            f"The pattern centre has shape {centre.shape}. Pass (PCx, PCy, PCz){one_each}."
        )
    if not np.isfinite(centre).all() or (centre[..., 2] <= 0).any():
        raise ValueError(
            f"The pattern centre is {pattern_centre}: its values must be finite, and the distance "
            "PCz positive. Pass it in Bruker's convention."
        )
    if (np.abs(centre) > FARTHEST_CENTRE).any():
        raise ValueError(
            f"The pattern centre is {pattern_centre}, which can't be fractions of a pattern's "
            "width and height, as in Bruker's convention. Divide px by those."
        )
    return centre


def corrected_centre(pattern_centre, errors, shape: tuple[int, int]) -> np.ndarray:
    """Pattern centres without an error that bands have shown.

    Parameters
    ----------
    pattern_centre : array of shape (3,) or (..., 3)
        As was assumed, in Bruker's convention.
    errors : array of shape (3,) or (..., 3)
        What is to be added: x to the right and y up, over the distance of the screen, and the
        distance, relative.
    shape : tuple of int
        Height and width of a pattern in px, of square pixels.

    Returns
    -------
    float64 array of shape (3,) or (..., 3)
        In Bruker's convention.
    """
    pcx, pcy, pcz = np.moveaxis(np.asarray(pattern_centre, dtype=np.float64), -1, 0)
    right, up, farther = np.moveaxis(np.asarray(errors, dtype=np.float64), -1, 0)
    height, width = shape
    x, y = pcx + right * pcz * height / width, pcy - up * pcz
    return np.stack([x, y, pcz * (1 + farther)], axis=-1)


def pixel_directions(shape: tuple[int, int], pattern_centre) -> np.ndarray:
    """Unit vectors from the source point to the middles of the detector's pixels.

    Parameters
    ----------
    shape : tuple of int
        Height and width of a pattern in px, of square pixels.
    pattern_centre : array of shape (3,) or (n, 3)
        In Bruker's convention, see `as_pattern_centre`.

    Returns
    -------
    float64 array of shape (height, width, 3) or (n, height, width, 3)
        In the detector's frame.

    Raises
    ------
    ValueError
        If the pattern centre is not one.
    """
    centre = as_pattern_centre(pattern_centre)
    height, width = shape
    rows, columns = np.indices(shape)
    pcx, pcy, pcz = (centre[..., i, None, None] for i in range(3))
    x = columns + 0.5 - pcx * width
    y = pcy * height - rows - 0.5
    directions = np.stack([x, y, np.broadcast_to(pcz * height, x.shape)], axis=-1)
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def to_pixels(directions, shape: tuple[int, int], pattern_centre) -> tuple[np.ndarray, np.ndarray]:
    """Where directions hit the screen.

    Parameters
    ----------
    directions : array of shape (..., 3)
        Of any length, in the detector's frame.
    shape : tuple of int
        Height and width of a pattern in px.
    pattern_centre : array of shape (3,)
        In Bruker's convention.

    Returns
    -------
    x, y : float64 array of shape (...)
        Column and row in px, the middle of the first pixel at (0, 0). NaN for directions away
        from the screen.
    """
    directions = np.asarray(directions, dtype=np.float64)
    pcx, pcy, pcz = as_pattern_centre(pattern_centre)
    height, width = shape
    z = np.where(directions[..., 2] > 1e-9, directions[..., 2], np.nan)
    x = pcx * width - 0.5 + directions[..., 0] / z * pcz * height
    y = pcy * height - 0.5 - directions[..., 1] / z * pcz * height
    return x, y


def normals_from_angles(azimuths, elevations) -> np.ndarray:
    """Normals of the bands at places of the Radon transform.

    Parameters
    ----------
    azimuths, elevations : array of shape (...)
        phi and rho in degrees; they are broadcast.

    Returns
    -------
    float64 array of shape (..., 3)
        Unit vectors in the detector's frame.
    """
    phi, rho = np.broadcast_arrays(np.radians(azimuths), np.radians(elevations))
    return np.stack([np.cos(rho) * np.cos(phi), np.cos(rho) * np.sin(phi), -np.sin(rho)], axis=-1)


def angles_from_normals(normals) -> tuple[np.ndarray, np.ndarray]:
    """Places of bands in the Radon transform, the inverse of `normals_from_angles`.

    Parameters
    ----------
    normals : array of shape (..., 3)
        Unit vectors of either sign.

    Returns
    -------
    azimuths, elevations : float64 array of shape (...)
        phi in [0, 180) and rho in degrees.
    """
    x, y, z = np.moveaxis(upward(normals), -1, 0)
    phi, rho = np.degrees(np.arctan2(y, x)), np.degrees(np.arcsin(np.clip(-z, -1, 1)))
    # A tiny y rounds to 180 degrees, where the same band is at 0 and on the other side.
    turned = phi >= 180
    return np.where(turned, 0.0, phi), np.where(turned, -rho, rho)


def upward(normals) -> np.ndarray:
    """Normals with the sign in which they are given: y positive, or zero and x positive.

    Parameters
    ----------
    normals : array of shape (..., 3)
        Vectors of either sign.

    Returns
    -------
    float64 array of shape (..., 3)
        New ones.
    """
    normals = np.asarray(normals, dtype=np.float64)
    x, y = normals[..., 0], normals[..., 1]
    down = (y < 0) | ((y == 0) & (x < 0))
    return np.where(down[..., None], -normals, normals)


def band_edge(normal, angle: float, shape: tuple[int, int], pattern_centre, n_points: int = 721):
    """The line on the screen of all directions at one angle to a band's plane.

    A cone around the normal, and so a hyperbola on the screen (Kossel cone); a straight line for
    an angle of zero.

    Parameters
    ----------
    normal : array of shape (3,)
        Unit vector in the detector's frame.
    angle : float
        Angle to the band's plane in degrees: a half width gives one edge, its negative the other.
    shape : tuple of int
        Height and width of a pattern in px.
    pattern_centre : array of shape (3,)
        In Bruker's convention.
    n_points : int
        Points on the whole cone.

    Returns
    -------
    x, y : float64 array of shape (n_points,)
        Columns and rows in px, NaN where the cone does not hit the screen's plane.
    """
    normal = np.asarray(normal, dtype=np.float64)
    # Starting opposite to the screen keeps the visible branch in one piece.
    start = np.array([0.0, 0.0, -1.0]) + normal[2] * normal
    if np.linalg.norm(start) < 1e-9:
        start = np.array([1.0, 0.0, 0.0])
    start /= np.linalg.norm(start)
    turn = np.linspace(0, 2 * np.pi, n_points)[:, None]
    circle = np.cos(turn) * start + np.sin(turn) * np.cross(normal, start)
    sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
    return to_pixels(sine * normal + cosine * circle, shape, pattern_centre)

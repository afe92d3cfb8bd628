# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The angle by which the tilt axis is turned in the images, before anything is reconstructed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import shift as shift_array

from .alignment import (
    checked_images,
    estimate_displacements,
    moved_image,
    turned_back,
    without_level,
)

#: Larger angles in degrees, or less certain ones, are not believed.
_LARGEST, _LARGEST_ERROR = 10.0, 0.5
#: Pixels of the larger side of the images that are enough.
_PIXELS = 128
#: Slices that are needed, as a part of the detector's pixels.
_FEWEST = 0.25
#: Slices that must be left of turned images.
_FEWEST_LEFT = 4
#: How often images are turned back by what was found.
_ROUNDS = 6
#: How often images are aligned, and the angle is found anew. Of specimens that were displaced by
#: 3 px it was off by 0.6 degrees without, and by 0.2 with it (root mean square; seeds 11 and 12).
_ALIGNMENTS = 2
#: Images that are less far off, in px (root mean square), are not aligned. Clouds of 20 counts that
#: were not displaced were off by 1.7 degrees if they were, and by 1.2 if not (seeds 21 to 24).
_ALIGNED = 1.5


def estimate_axis_angle(sinogram: ArrayLike, tilts: ArrayLike) -> float:
    r"""Angle between the tilt axis and the slices' axis of the images, from their sums alone.

    Of a slice across the axis, the sum over the detector is the same at all tilts, and the first
    moment goes as :math:`a \cos\theta + b \sin\theta` (Helgason, Acta Math. 113 (1965) 153). In
    images of an axis that is turned by a small angle :math:`\phi`, slices are mixed, and the
    moments :math:`m_k(s, \theta) = \int t^k p \, dt` become

    .. math:: m_k + \phi \, (\partial_s m_{k+1} + k \, s \, m_{k-1}),

    so that the angle follows by linear least squares from what of :math:`m_0` and :math:`m_1` goes
    otherwise, together with displacements of each image. This is repeated with images that are
    turned back. Each slice is compared with itself, so that the specimen may go on beyond the
    images along the axis; across it, the images need its whole width, and some width along it.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        The images. Their background is subtracted as in `estimate_displacements`.
    tilts : array of shape (tilt,)
        In degrees.

    Returns
    -------
    float
        In degrees, positive from growing slices towards growing detector pixels. 0 if the images
        do not tell to 0.5 degrees (a standard deviation), tell more than 10 degrees, or have fewer
        slices than a quarter of the detector's pixels. Where noise drowns the gradients of the
        moments that deviation is too small, and the angle may be off by degrees.

    Raises
    ------
    ValueError
        As `estimate_displacements` does.
    """
    images, tilts = checked_images(sinogram, tilts)
    images = _coarse(without_level(images))
    if len(images) < _FEWEST * images.shape[2]:
        return 0.0
    angle = _believed(images, tilts)
    # Displacements are known the better the less images are turned, and the other way round.
    for _ in range(_ALIGNMENTS):
        edge = _edge(angle, images.shape[2])
        if len(images) - 2 * edge < _FEWEST_LEFT:
            break
        back = turned_back(images, angle)[edge : len(images) - edge]
        shifts, slides = estimate_displacements(back, tilts)
        if np.sqrt(np.mean(shifts**2 + slides**2)) < _ALIGNED:
            break
        angle += _believed(_displaced(back, -slides, -shifts), tilts)
    return angle if abs(angle) <= _LARGEST else 0.0


def _believed(images: NDArray, tilts: NDArray) -> float:
    """Angle in degrees, 0 if it is too large or uncertain."""
    # Alignment by common lines leads astray where there are none: aligned first, or as they are?
    both = (_angle(images, tilts, aligned) for aligned in (True, False))
    angle, error = min(both, key=lambda found: found[1])
    return angle if abs(angle) <= _LARGEST and error < _LARGEST_ERROR else 0.0


def _edge(angle: float, n_pixels: int) -> int:
    """Slices at either end that were turned in from outside."""
    return int(np.ceil(abs(np.tan(np.deg2rad(angle))) * n_pixels / 2))


def _angle(images: NDArray, tilts: NDArray, aligned: bool) -> tuple[float, float]:
    """Angle in degrees and its standard deviation, of images as they are or aligned first."""
    n_slices, _, n_pixels = images.shape
    angle, error = 0.0, np.inf
    for _ in range(_ROUNDS):
        edge = _edge(angle, n_pixels)
        if n_slices - 2 * edge < _FEWEST_LEFT or abs(angle) > 2 * _LARGEST:
            return 0.0, np.inf
        back = turned_back(images, angle)[edge : n_slices - edge]
        step, error = _step(_moved_back(back, tilts) if aligned else back, tilts)
        angle += float(np.clip(step, -3, 3))
    return float(angle), float(error)


def _moved_back(images: NDArray, tilts: NDArray) -> NDArray:
    """Images moved by whole pixels to where they are aligned."""
    moves = np.rint(estimate_displacements(images, tilts)).astype(int).T
    pairs = zip(images.transpose(1, 0, 2), moves, strict=True)
    return np.stack([moved_image(image, -slide, -shift) for image, (shift, slide) in pairs], axis=1)


def _displaced(images: NDArray, slides: NDArray, shifts: NDArray) -> NDArray:
    """Images displaced by fractions of pixels, linearly interpolated."""
    moves = zip(images.transpose(1, 0, 2), slides, shifts, strict=True)
    moved = [shift_array(image, move, order=1, mode="nearest") for image, *move in moves]
    return np.stack(moved, axis=1)


def _coarse(images: NDArray) -> NDArray:
    """Images (slice, tilt, detector) summed over blocks until they are small."""
    k = -(-max(images.shape[0], images.shape[2]) // _PIXELS)
    n_slices, n_pixels = images.shape[0] // k, images.shape[2] // k
    blocks = images[: n_slices * k, :, : n_pixels * k]
    return blocks.reshape(n_slices, k, -1, n_pixels, k).sum(axis=(1, 4))


def _step(images: NDArray, tilts: NDArray) -> tuple[float, float]:
    """Angle in degrees, and its standard deviation, of images that are nearly aligned."""
    n_slices, n_tilts, _ = images.shape
    normal, right, power = _normal_equations(images, tilts)
    # The angle is one for all tilts.
    shared = np.eye(3 * n_tilts)[:, n_tilts - 1 :]
    shared[:n_tilts, 0] = 1
    inverse = np.linalg.pinv(shared.T @ normal @ shared, rcond=1e-10, hermitian=True)
    found = inverse @ (shared.T @ right)
    # Each slice has three numbers of its own, and each tilt two.
    n_free = 2 * n_slices * n_tilts - 3 * n_slices - 2 * n_tilts
    residual = max(power - found @ (shared.T @ right), 0) / max(n_free, 1)
    return np.rad2deg(found[0]), np.rad2deg(np.sqrt(residual * inverse[0, 0]))


def _normal_equations(images: NDArray, tilts: NDArray) -> tuple[NDArray, NDArray, float]:
    """Normal matrix and right hand side of angle, slide and shift of each tilt, and power."""
    moments, unit, s = _moments(images)
    c, z = np.cos(np.deg2rad(tilts)), np.sin(np.deg2rad(tilts))
    # How moments go with the tilt. Only so much of them is used where they explain others:
    # their noise, which grows with the moment, would make the angle too small.
    allowed = [
        np.linalg.qr(np.stack(columns, axis=1))[0]
        for columns in ([c**0], [c, z], [c**2, c * z, z**2])
    ]
    mass, first, second = (m @ q @ q.T for m, q in zip(moments, allowed, strict=True))
    d_mass, d_first, d_second = (np.gradient(m, 1 / unit, axis=0) for m in (mass, first, second))
    # What angle, slide and shift do to the sum and to the first moment.
    changes = (
        (d_first, -d_mass, np.zeros_like(mass)),
        (d_second + s[:, None] * mass, -d_first, mass),
    )
    size = 3 * len(tilts)
    normal, right, power = np.zeros((size, size)), np.zeros(size), 0.0
    for moment, q, columns in zip(moments[:2], allowed[:2], changes, strict=True):
        others = np.eye(len(q)) - q @ q.T
        left = moment @ others
        power += np.square(left).sum()
        normal += np.block([[(a.T @ b) * others for b in columns] for a in columns])
        right += np.concatenate([(a * left).sum(axis=0) for a in columns])
    return normal, right, power


def _moments(images: NDArray) -> tuple[list[NDArray], float, NDArray]:
    """Moments 0 to 2 (slice, tilt) of images, their unit of length in px, and slices in units.

    In this unit the noise of sum and first moment is the same.
    """
    n_slices, _, n_pixels = images.shape
    unit = n_pixels / np.sqrt(12)
    s, t = ((np.arange(n) - (n - 1) / 2) / unit for n in (n_slices, n_pixels))
    mass = images.sum(axis=2)
    # Brightness of each image, by which all of its moments go.
    gains = mass.mean(axis=1) @ mass / np.square(mass.mean(axis=1)).sum()
    return [images @ t**k / gains for k in range(3)], unit, s

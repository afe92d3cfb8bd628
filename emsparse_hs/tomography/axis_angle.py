# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The angle by which the tilt axis is turned in the images, before anything is reconstructed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .alignment import checked_images, estimate_displacements, moved_image, turned_back, without_level

#: Larger angles in degrees, or less certain ones, are not believed.
_LARGEST, _LARGEST_ERROR = 10.0, 1.0
#: Pixels of the larger side of the images that are enough.
_PIXELS = 128
#: How often images are turned back by what was found.
_ROUNDS = 6


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
    images along the axis; across it, the images need its whole width.

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
        do not say so to a degree, or say more than 10 degrees.

    Raises
    ------
    ValueError
        As `estimate_displacements` does.
    """
    images, tilts = checked_images(sinogram, tilts)
    images = _coarse(without_level(images))
    found = min(
        (_angle(images, tilts, aligned) for aligned in (False, True)), key=lambda pair: pair[1]
    )
    angle, error = found
    return angle if abs(angle) <= _LARGEST and error < _LARGEST_ERROR else 0.0


def _angle(images: NDArray, tilts: NDArray, aligned: bool) -> tuple[float, float]:
    """Angle in degrees and its standard deviation, of images as they are or aligned first."""
    n_slices, _, n_pixels = images.shape
    angle, error = 0.0, np.inf
    for _ in range(_ROUNDS):
        # What was turned in from outside is left out.
        edge = int(np.ceil(abs(np.tan(np.deg2rad(angle))) * n_pixels / 2))
        if n_slices - 2 * edge < 4 or abs(angle) > 2 * _LARGEST:
            return 0.0, np.inf
        back = turned_back(images, angle)[edge : n_slices - edge]
        step, error = _step(_moved_back(back, tilts) if aligned else back, tilts)
        angle += float(np.clip(step, -3, 3))
    return angle, error


def _moved_back(images: NDArray, tilts: NDArray) -> NDArray:
    """Images moved by whole pixels to where they are aligned."""
    moves = np.rint(estimate_displacements(images, tilts)).astype(int).T
    pairs = zip(images.transpose(1, 0, 2), moves, strict=True)
    return np.stack([moved_image(image, -slide, -shift) for image, (shift, slide) in pairs], axis=1)


def _coarse(images: NDArray) -> NDArray:
    """Images (slice, tilt, detector) summed over blocks until they are small."""
    k = -(-max(images.shape[0], images.shape[2]) // _PIXELS)
    n_slices, n_pixels = images.shape[0] // k, images.shape[2] // k
    blocks = images[: n_slices * k, :, : n_pixels * k]
    return blocks.reshape(n_slices, k, -1, n_pixels, k).sum(axis=(1, 4))


def _step(images: NDArray, tilts: NDArray) -> tuple[float, float]:
    """Angle in degrees, and its standard deviation, of images that are nearly aligned."""
    n_slices, n_tilts, n_pixels = images.shape
    # Lengths in units in which noise of the moments is the same.
    unit = n_pixels / np.sqrt(12)
    t = (np.arange(n_pixels) - (n_pixels - 1) / 2) / unit
    s = (np.arange(n_slices) - (n_slices - 1) / 2)[:, None] / unit
    mass, first, second = (images @ t**k for k in range(3))
    # Brightness of each image, by which all of its moments go.
    gains = mass.mean(axis=1) @ mass / np.square(mass.mean(axis=1)).sum()
    mass, first, second = mass / gains, first / gains, second / gains
    c, z = np.cos(np.deg2rad(tilts)), np.sin(np.deg2rad(tilts))
    still, rigid, square = (np.linalg.qr(np.stack(x,1))[0] for x in ([c**0], [c, z], [c**2, c*z, z**2]))
    mass0, first0, second0 = mass @ still @ still.T, first @ rigid @ rigid.T, second @ square @ square.T
    d_mass, d_first, d_second = (np.gradient(m, 1 / unit, axis=0) for m in (mass0, first0, second0))
    nothing = np.zeros_like(mass)
    # What angle, slide and shift of each image do to both moments.
    equations = (
        (mass, still, (d_first, -d_mass, nothing)),
        (first, rigid, (d_second + s * mass0, -d_first, mass0)),
    )
    normal, right, power = 0.0, 0.0, 0.0
    for moment, allowed, changes in equations:
        q = allowed
        # What is neither the same for all tilts nor rigid motion.
        others = np.eye(n_tilts) - q @ q.T
        left = moment @ others
        power = power + np.square(left).sum()
        normal = normal + np.block([[(a.T @ b) * others for b in changes] for a in changes])
        right = right + np.concatenate([(a * left).sum(axis=0) for a in changes])
    # The angle is one for all.
    shared = np.eye(3 * n_tilts)[:, n_tilts - 1 :]
    shared[:n_tilts, 0] = 1
    normal, right = shared.T @ normal @ shared, shared.T @ right
    inverse = np.linalg.pinv(normal, rcond=1e-10, hermitian=True)
    found = inverse @ right
    n_free = 2 * n_slices * n_tilts - 3 * n_slices - 2 * n_tilts
    variance = max(power - found @ right, 0) / max(n_free, 1) * inverse[0, 0]
    return np.rad2deg(found[0]), np.rad2deg(np.sqrt(variance))

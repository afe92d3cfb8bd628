# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Displacements of images that are far from aligned, before anything is reconstructed."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import affine_transform

#: Part of the power of aligned profiles that is common to all, or else nothing is known of them.
_ALIKE = 0.5
#: How often profiles are compared with their mean.
_ROUNDS = 5


def estimate_displacements(
    sinogram: ArrayLike, tilts: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""How far each image is displaced across and along the tilt axis, from its sums alone.

    Summed across the tilt axis, all images are the same profile along it, the common line, which is
    what cross-correlation with their mean compares, to fractions of a pixel by a parabola. Summed
    along it, the centre of mass moves as :math:`c + y \cos\theta - z \sin\theta`; what is left of
    it, and c, the place of the axis, is the displacement (Scott et al., Nature 483 (2012) 444).

    The images need the whole width of the specimen across the axis; along it, it may go on.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        The images. Their background, the median of both ends of the detector, is subtracted.
    tilts : array of shape (tilt,)
        In degrees.

    Returns
    -------
    shifts, slides : float64 array of shape (tilt,)
        Displacement in px across the axis, from the middle of the detector, and along it, 0 in the
        mean; 0 if the profiles have nothing in common by which they could be aligned.

    Raises
    ------
    ValueError
        If there are fewer than three tilts, or an image is empty.
    """
    images, tilts = checked_images(sinogram, tilts)
    images = without_level(images).transpose(1, 0, 2)
    slides = _common_line(images.sum(axis=2))
    return _centre_of_mass(np.maximum(images.sum(axis=1), 0), tilts), slides


def checked_images(sinogram: ArrayLike, tilts: ArrayLike) -> tuple[NDArray, NDArray]:
    """Sinogram (slice, tilt, detector) of finite float64 and at least three tilts."""
    sinogram, tilts = np.asarray(sinogram, np.float64), np.asarray(tilts, np.float64)
    if sinogram.ndim != 3 or sinogram.shape[1:2] != tilts.shape:
        raise ValueError(
            f"The sinogram has shape {sinogram.shape} for {tilts.size} tilts, and (slice, tilt, "
            "detector) is needed."
        )
    if len(tilts) < 3:
        raise ValueError(f"Three tilts at least are needed, not {len(tilts)}.")
    if not np.isfinite(sinogram).all():
        raise ValueError("The images hold NaN or infinite values. Replace them first.")
    return sinogram, tilts


def without_level(sinogram: NDArray) -> NDArray:
    """Sinogram minus the median of both ends of the detector of each image."""
    ends = max(1, sinogram.shape[2] // 20)
    border = np.concatenate([sinogram[..., :ends], sinogram[..., -ends:]], axis=2)
    return sinogram - np.median(border, axis=(0, 2))[:, None]


def moved_image(image: NDArray, along: int, across: int) -> NDArray:
    """Image (slice, detector) moved by whole pixels, with the median of its border beyond it."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    result = np.full_like(image, np.median(border))
    (rows, from_rows), (columns, from_columns) = (
        _overlap(n, move) for n, move in zip(image.shape, (along, across), strict=True)
    )
    result[rows, columns] = image[from_rows, from_columns]
    return result


def turned(
    sinogram: NDArray, angle: float, slides: ArrayLike = 0.0, middle: float | None = None
) -> NDArray:
    """Images (slice, tilt, detector) displaced along the slices, then turned, by cubic splines.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        The images. Beyond their border the nearest pixel counts.
    angle : float
        In degrees, from growing slices towards growing detector pixels.
    slides : array of shape (tilt,) or float, optional
        In px.
    middle : float, optional
        Slice about which they are turned, in the middle of the detector; the middle one by default.

    Returns
    -------
    array of shape (slice, tilt, detector)
        As many pixels, of the same type.
    """
    return _resampled(sinogram, -angle, slides, middle, slides_first=True)


def turned_back(
    sinogram: NDArray, angle: float, slides: ArrayLike = 0.0, middle: float | None = None
) -> NDArray:
    """The same undone: images turned back, then displaced back; see `turned`."""
    return _resampled(sinogram, angle, -np.asarray(slides), middle, slides_first=False)


def _resampled(
    sinogram: NDArray, angle: float, slides: ArrayLike, middle: float | None, slides_first: bool
) -> NDArray:
    """Images whose pixels are read where they lie after a turn and a displacement."""
    n_slices, n_tilts, n_pixels = sinogram.shape
    middle = (n_slices - 1) / 2 if middle is None else middle
    centre = np.array([middle, (n_pixels - 1) / 2])
    cosine, sine = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    turn = np.array([[cosine, -sine], [sine, cosine]])
    result = np.array(sinogram)
    slides = np.broadcast_to(slides, n_tilts)
    for a in range(n_tilts) if angle else np.flatnonzero(slides):
        slide = np.array([slides[a], 0.0])
        offset = centre - turn @ centre - (slide if slides_first else turn @ slide)
        result[:, a] = affine_transform(result[:, a], turn, offset, order=3, mode="nearest")
    return result


def _centre_of_mass(profiles: NDArray, tilts: NDArray) -> NDArray[np.float64]:
    """Displacement of profiles (tilt, detector) from where a rigid body's would be."""
    mass = profiles.sum(axis=1)
    if not (mass > 0).all():
        raise ValueError(
            f"The image at {tilts[mass <= 0][0]:g} degrees is empty once its background is "
            "subtracted. Leave it out."
        )
    t = np.arange(profiles.shape[1]) - (profiles.shape[1] - 1) / 2
    centre = profiles @ t / mass
    radians = np.deg2rad(tilts)
    design = np.stack([np.ones_like(radians), np.cos(radians), -np.sin(radians)], axis=1)
    # A few images that are far off do not decide where the others lie.
    weights = np.ones_like(centre)
    for _ in range(_ROUNDS):
        scaled = design * weights[:, None]
        place = np.linalg.lstsq(scaled, centre * weights, rcond=None)[0]
        off = np.abs(centre - design @ place)
        weights = 1 / np.sqrt(np.maximum(off, 0.5 * np.median(off) + 1e-9))
    return centre - design[:, 1:] @ place[1:]


def _common_line(profiles: NDArray) -> NDArray[np.float64]:
    """Displacement of profiles (tilt, slice) against each other, 0 in the mean."""
    n_slices = profiles.shape[1]
    if n_slices < 4:
        return np.zeros(len(profiles))
    # Steps in the profile are what tells; sums differ with what else is in the field of view.
    steps = np.diff(profiles, axis=1) * np.hanning(n_slices - 1)
    norms = np.linalg.norm(steps, axis=1, keepdims=True)
    spectra = np.fft.rfft(steps / np.where(norms > 0, norms, 1), 2 * n_slices, axis=1)
    frequency = np.fft.rfftfreq(2 * n_slices)
    slides = np.zeros(len(profiles))
    for _ in range(_ROUNDS):
        still = spectra * np.exp(2j * np.pi * frequency * slides[:, None])
        correlation = np.fft.irfft(still * np.conj(still.mean(axis=0)), axis=1)
        slides += _peak(correlation)
        slides -= slides.mean()
    # Profiles without steps of their own would be aligned to each other's noise.
    alike = np.square(np.abs(still.mean(axis=0))).sum() / np.square(np.abs(still)).mean(0).sum()
    return slides if alike > _ALIKE else np.zeros(len(profiles))


def _peak(correlation: NDArray) -> NDArray[np.float64]:
    """Place of the largest value of each row, periodic, by the parabola through three."""
    n = correlation.shape[1]
    rows, at = np.arange(len(correlation)), correlation.argmax(axis=1)
    left, mid, right = (correlation[rows, (at + k) % n] for k in (-1, 0, 1))
    bend = left - 2 * mid + right
    part = np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1), 0)
    return (at + n // 2) % n - n // 2 + part


def _overlap(n: int, move: int) -> tuple[slice, slice]:
    """Where n moved pixels lie, and which they are."""
    move = int(np.clip(move, -n, n))
    return slice(max(move, 0), n + min(move, 0)), slice(max(-move, 0), n - max(move, 0))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The noise of images, and the weight of total variation that goes with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import uniform_filter1d
from scipy.optimize import nnls

#: Groups of pixels of like brightness, each with a noise of its own.
_GROUPS = 16
#: Standard deviation of a normal distribution over its median absolute deviation.
_MAD_TO_SIGMA = 1.482602218505602


def estimate_noise(images: ArrayLike) -> float:
    r"""Standard deviation of the noise in a pixel, from the images themselves.

    The mixed second difference of 3 x 3 pixels sees neither slopes nor straight edges along the
    axes; for white noise of standard deviation :math:`\sigma` it has :math:`6\sigma` (Immerkær,
    Comput. Vis. Image Underst. 64 (1996) 300). Its median absolute deviation is taken, so that
    other edges do not count, among pixels of an image of like local mean, and the variances of
    these groups and of all images are averaged: counting noise differs between specimen and vacuum.

    The noise must be white, so that pixels do not know of each other. Aligning or interpolating
    images smooths it, and the estimate is too small then: 0.40 for 0.71 after a shift by half a
    pixel. The median takes the noise for normal; of a few counts a pixel it is not: the estimate is
    25 % too high at 0.1 counts a pixel, and within 7 % from 1 on.

    Parameters
    ----------
    images : array of shape (..., y, x)
        Images of 3 x 3 pixels at least.

    Returns
    -------
    float
        Root mean square of the noise over all pixels, in units of the images.

    Raises
    ------
    ValueError
        If the images have fewer than 3 pixels in a direction, or values that are not finite.
    """
    return float(np.sqrt(np.mean(noise_variances(images))))


def noise_variances(images: ArrayLike) -> NDArray[np.float64]:
    """Variance of the noise in each image, as in `estimate_noise`.

    Parameters
    ----------
    images : array of shape (..., y, x)
        Images of 3 x 3 pixels at least.

    Returns
    -------
    float64 array of shape (...)
        Mean variance over the pixels of each image, in squared units of the images.

    Raises
    ------
    ValueError
        If the images have fewer than 3 pixels in a direction, or values that are not finite.
    """
    images = np.asarray(images)
    if images.ndim < 2 or min(images.shape[-2:]) < 3:
        raise ValueError(
            f"Images of 3 x 3 pixels at least are needed to estimate noise, got {images.shape}."
        )
    flat = images.reshape(-1, *images.shape[-2:])
    variances = np.array([_variance(image.astype(np.float64)) for image in flat])
    return variances.reshape(images.shape[:-2])


@dataclass(frozen=True)
class CountingNoise:
    r"""Noise of counted electrons: its variance rises with the mean, :math:`a + g \bar b`.

    Attributes
    ----------
    constant, gain : float
        a and g, in squared units and in units of the images.
    average : float
        Mean variance.
    """

    constant: float
    gain: float
    average: float

    @classmethod
    def of(cls, sinogram: ArrayLike) -> CountingNoise:
        """Fit it to the variances of groups of pixels of like brightness, of all slices.

        The groups are as in `noise_variances`, with second differences along the detector.
        """
        sinogram = np.asarray(sinogram, np.float32)
        if sinogram.shape[2] < 3:
            return cls(0.0, 0.0, 0.0)
        level, variance = _levels(sinogram)
        design = np.stack([np.ones_like(level), np.maximum(level, 0)], axis=1)
        constant, gain = nnls(design, variance)[0]
        average = (constant + gain * np.maximum(level, 0)).mean()
        return cls(float(constant), float(gain), float(average))

    def precision(self, sinogram: ArrayLike) -> NDArray[np.float32]:
        """Mean variance over the variance of each pixel (slice, tilt, detector).

        A pixel's mean is that of nine neighbours along the detector, so that no noise gets into its
        own weight. Where no noise is seen at all, a hundredth of the mean stands for it.
        """
        sinogram = np.asarray(sinogram, np.float32)
        if not self.average > 0:
            return np.ones_like(sinogram)
        mean = uniform_filter1d(sinogram, min(9, sinogram.shape[2]), axis=2, mode="nearest")
        found = np.float32(self.constant) + np.float32(self.gain) * np.maximum(mean, 0)
        average = np.float32(self.average)
        return average / np.maximum(found, np.float32(0.01) * average)


def counting_precision(sinogram: ArrayLike) -> NDArray[np.float32]:
    """Weights of squared residuals of counted electrons, without the gain being known.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections.

    Returns
    -------
    float32 array of shape (slice, tilt, detector)
        Mean variance over the variance of each pixel; see `CountingNoise`.
    """
    return CountingNoise.of(sinogram).precision(sinogram)


def default_weight(sigma: float, n_tilts: int) -> float:
    r"""Weight :math:`\lambda = \sigma \sqrt{n}` of total variation for n tilts of noise sigma.

    Back-projected noise has this standard deviation in a voxel, and data in other units give the
    same tomogram in other units. The best weight is some times as much, which depends on specimen
    and size: 0.9 (porous) to 2.2 times (clouds) at 64 px and 1.2 to 3.4 at 128 px, in simulations
    of counted electrons (seed 11). So this is where `select_weight` begins.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise in a pixel.
    n_tilts : int
        Number of tilts.

    Returns
    -------
    float
        The weight, in units of the images.
    """
    return float(sigma * np.sqrt(n_tilts))


def chi_squared(residual_per_tilt: ArrayLike, sigma: float) -> float:
    """Mean squared residual over the squared noise: about 1 if the model explains the data.

    Parameters
    ----------
    residual_per_tilt : array of shape (tilt,)
        Root mean square residual of each tilt.
    sigma : float
        Standard deviation of the noise in a pixel.

    Returns
    -------
    float
        The ratio.
    """
    return float(np.mean(np.square(np.asarray(residual_per_tilt) / sigma)))


def _variance(image: NDArray) -> float:
    if not np.isfinite(image).all():
        raise ValueError(
            "The images hold NaN or infinite values. Replace them, for instance by the mean of "
            "their neighbours."
        )
    difference, mean = _difference_and_mean(image)
    groups = np.array_split(difference[np.argsort(mean, kind="stable")], _GROUPS)
    sigmas = [_MAD_TO_SIGMA * np.median(np.abs(group)) / 6 for group in groups if len(group)]
    return float(np.mean(np.square(sigmas)))


def _levels(sinogram: NDArray) -> tuple[NDArray, NDArray]:
    """Mean and variance of groups of pixels of like brightness, of second differences along t."""
    difference = sinogram[:, :, 2:] - 2 * sinogram[:, :, 1:-1] + sinogram[:, :, :-2]
    mean = (sinogram[:, :, 2:] + sinogram[:, :, 1:-1] + sinogram[:, :, :-2]) / 3
    order = np.argsort(mean, axis=None, kind="stable")
    groups = [group for group in np.array_split(order, _GROUPS) if len(group)]
    level = np.array([mean.ravel()[group].mean(dtype=np.float64) for group in groups])
    spread = [_MAD_TO_SIGMA * np.median(np.abs(difference.ravel()[group])) for group in groups]
    # 1, -2 and 1: squares sum up to 6.
    return level, np.square(spread, dtype=np.float64) / 6


def _difference_and_mean(image: NDArray) -> tuple[NDArray, NDArray]:
    """Mixed second difference and mean of each 3 x 3 pixels, flat."""
    across = image[:, :-2] - 2 * image[:, 1:-1] + image[:, 2:]
    difference = across[:-2] - 2 * across[1:-1] + across[2:]
    across = image[:, :-2] + image[:, 1:-1] + image[:, 2:]
    mean = (across[:-2] + across[1:-1] + across[2:]) / 9
    return difference.ravel(), mean.ravel()

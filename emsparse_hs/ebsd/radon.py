# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The Radon transform of Kikuchi patterns along great circles: bands become points."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from . import _radon_kernels
from .geometry import as_pattern_centre

#: Patterns with one pattern centre that are summed at a time.
TOGETHER = 16
#: Step in both angles in degrees.
STEP = 1.0
#: Standard deviation of the Gaussian mean that is taken as background, over a pattern's height.
BACKGROUND = 0.05
#: Intensities beyond so many standard deviations are cut, so that zone axes do not decide.
CLIP = 2.0


def normalise_patterns(patterns, signal_mask=None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patterns without their broad background, of mean 0 and standard deviation 1.

    Parameters
    ----------
    patterns : array of shape (n, height, width)
        Intensities of any real dtype.
    signal_mask : bool array of shape (height, width), optional
        True where a detector pixel is left out, such as outside a round screen.

    Returns
    -------
    images : float32 array of shape (n, height, width)
        High-pass filtered, normalised and cut at `CLIP`; zero where masked.
    valid : bool array of shape (height, width)
        True where a pixel counts.
    usable : bool array of shape (n,)
        False for patterns that are constant or hold values that are not finite; their images
        are zero.

    Raises
    ------
    TypeError
        If the patterns are not real.
    ValueError
        If a shape does not fit.
    """
    patterns, valid = checked_patterns(patterns, signal_mask)
    images = np.zeros(patterns.shape, np.float32)
    usable = np.zeros(len(patterns), bool)
    # As matrices: a filter takes longer, even of so few rows.
    down, across = (_blurring(n, BACKGROUND * patterns.shape[1]) for n in valid.shape)
    weight = np.maximum(down @ valid.astype(np.float32) @ across.T, np.float32(1e-6))
    for image, pattern, i in zip(images, patterns, range(len(patterns)), strict=True):
        usable[i] = _normalise(image, pattern, valid, weight, down, across)
    return images, valid, usable


def checked_patterns(patterns, signal_mask=None) -> tuple[np.ndarray, np.ndarray]:
    """Patterns as an array, and where a pixel counts.

    Parameters
    ----------
    patterns : array of shape (n, height, width)
        Intensities of any real dtype.
    signal_mask : bool array of shape (height, width), optional
        True where a detector pixel is left out.

    Returns
    -------
    patterns : array of shape (n, height, width)
    valid : bool array of shape (height, width)

    Raises
    ------
    TypeError
        If the patterns are not real.
    ValueError
        If a shape does not fit.
    """
    patterns = np.asarray(patterns)
    if patterns.dtype.kind not in "biuf":
        raise TypeError(f"Patterns are of dtype {patterns.dtype}, and real ones are needed.")
    if patterns.ndim != 3 or min(patterns.shape[1:], default=0) < 8:
        raise ValueError(
            f"Patterns have shape {patterns.shape}, and (n, height, width) with at least 8 x 8 px "
            "is needed."
        )
    valid = np.ones(patterns.shape[1:], bool)
    if signal_mask is not None:
        valid = ~np.asarray(signal_mask, bool)
        if valid.shape != patterns.shape[1:]:
            raise ValueError(
                f"The mask has shape {valid.shape}, a pattern {patterns.shape[1:]}. Pass one value "
                "a detector pixel."
            )
    return patterns, valid


def of_one_mask(patterns, valid) -> list[tuple[list[int], np.ndarray]]:
    """Patterns by where they are finite, such as of a camera with a dead pixel.

    Parameters
    ----------
    patterns : array of shape (n, height, width)
    valid : bool array of shape (height, width)
        True where a pixel counts in all patterns.

    Returns
    -------
    list of tuple
        Numbers of patterns, and a bool array of shape (height, width), True where a pixel counts
        in these.
    """
    if patterns.dtype.kind != "f":
        return [(list(range(len(patterns))), valid)]
    alike: dict[bytes, tuple[list[int], np.ndarray]] = {}
    for i, pattern in enumerate(patterns):
        seen = valid & np.isfinite(pattern)
        alike.setdefault(seen.tobytes(), ([], seen))[0].append(i)
    return list(alike.values())


def _blurring(n: int, sigma: float) -> np.ndarray:
    """Matrix of a Gaussian filter along an axis of n pixels, beyond which all is zero."""
    return gaussian_filter1d(np.eye(n, dtype=np.float32), sigma, axis=0, mode="constant")


def _normalise(image, pattern, valid, weight, down, across) -> bool:
    """Write one normalised pattern; whether there is anything in it."""
    values = pattern[valid]
    if values.size < 2 or not np.isfinite(values).all() or values.min() == values.max():
        return False
    scale = np.float64(values.max()) - np.float64(values.min())
    # Only the shape of the pattern matters: scaled first, no dtype overflows.
    image[valid] = (values - values.mean(dtype=np.float64)) / scale
    # Near the border a mean lies off the middle of what it averages, so that a slope leaves a rim;
    # the second pass takes the rim away (Tukey's twicing).
    for _ in range(2):
        image -= down @ image @ across.T / weight
        image[~valid] = 0
    inside = image[valid]
    inside -= inside.mean()
    inside /= inside.std()
    image[valid] = np.clip(inside, -CLIP, CLIP)
    return True


def radon_angles(
    shape: tuple[int, int], pattern_centre, step: float = STEP
) -> tuple[np.ndarray, np.ndarray]:
    """Angles at which the Radon transform is sampled.

    Parameters
    ----------
    shape : tuple of int
        Height and width of a pattern in px.
    pattern_centre : array of shape (3,) or (n, 3)
        In Bruker's convention.
    step : float
        In degrees: of the elevations, and of the azimuths but for what makes it a part of 180.

    Returns
    -------
    azimuths, elevations : float64 array of shape (n_azimuths,), (n_elevations,)
        In degrees: from 0 to 180, without 180, and from -rho to rho, symmetric around zero, as far
        as the farthest corner of any pattern.
    """
    pcx, pcy, pcz = np.atleast_2d(as_pattern_centre(pattern_centre)).T
    if not 0 < step <= 10:
        raise ValueError(f"The step is {step} degrees, and must be above 0 and at most 10.")
    n_azimuths = int(round(180 / step))
    height, width = shape
    # From each pattern centre to the middle of the pixel in the farthest corner.
    x = np.abs(pcx - 0.5) * width + (width - 1) / 2
    y = np.abs(pcy - 0.5) * height + (height - 1) / 2
    farthest = np.degrees(np.arctan(np.hypot(x, y) / (pcz * height))).max()
    n_elevations = int(np.ceil(farthest / step))
    azimuths = np.arange(n_azimuths) * (180 / n_azimuths)
    return azimuths, np.arange(-n_elevations, n_elevations + 1) * step


def radon_transform(patterns, pattern_centre, azimuths, elevations, signal_mask=None) -> np.ndarray:
    r"""Mean of the background-corrected intensity along great circles.

    .. math:: R(\varphi, \rho) = \frac{1}{L} \int_{n(\varphi, \rho) \cdot d = 0} I(d)\, dl

    A great circle is a straight line in a flat pattern, sampled once a column if it is rather flat
    and once a row if it is rather steep, so this is the Hough transform of Krieger Lassen et al.,
    Scanning Microsc. 6 (1992) 115, in spherical coordinates: a band of half width :math:`\theta`
    is a bright spot of length :math:`2\theta` along :math:`\rho`, wherever it lies.

    Parameters
    ----------
    patterns : array of shape (n, height, width)
        Intensities of any real dtype.
    pattern_centre : array of shape (3,) or (n, 3)
        In Bruker's convention, one for all patterns or one each.
    azimuths, elevations : array of shape (n_azimuths,), (n_elevations,)
        phi and rho in degrees, see `radon_angles`.
    signal_mask : bool array of shape (height, width), optional
        True where a detector pixel is left out.

    Returns
    -------
    float32 array of shape (n, n_azimuths, n_elevations)
        In standard deviations of the high-pass filtered pattern. NaN where a great circle meets
        no pixel that is finite, and for constant or empty patterns.

    Raises
    ------
    TypeError
        If the patterns are not real.
    ValueError
        If a shape or the pattern centre does not fit.
    """
    patterns, screen = checked_patterns(patterns, signal_mask)
    centres = centres_in_pixels(pattern_centre, patterns.shape)
    means = np.full((len(patterns), len(azimuths), len(elevations)), np.nan, np.float32)
    for some, seen in of_one_mask(patterns, screen):
        images, valid, usable = normalise_patterns(patterns[some], ~seen)
        lines = line_sums(images, valid, usable, centres[some], azimuths, elevations)
        for i, sums, counts in lines:
            # A line through less than a pixel is noise of the interpolation.
            np.divide(sums, counts, out=means[some[i]], where=counts >= 1)
    return means


def line_sums(images, valid, usable, centres, azimuths, elevations):
    """Sums along lines of one pattern after the other.

    Parameters
    ----------
    images, valid, usable
        From `normalise_patterns`.
    centres : float64 array of shape (n, 3)
        From `centres_in_pixels`.
    azimuths, elevations : array of shape (n_azimuths,), (n_elevations,)
        In degrees.

    Yields
    ------
    i : int
        Index of a usable pattern.
    sums, counts : float32 array of shape (n_azimuths, n_elevations)
        Sums of the intensity and numbers of valid pixels; the arrays are used again.
    """
    phi = np.radians(np.asarray(azimuths, np.float64))
    lines = np.cos(phi), np.sin(phi), np.tan(np.radians(np.asarray(elevations, np.float64)))
    shape = len(azimuths), len(elevations)
    sums, counts = np.empty(shape, np.float32), np.empty((*shape, 1), np.float32)
    counted = None
    for alike in _of_one_centre(np.flatnonzero(usable), centres):
        if counted is None or (centres[alike[0]] != counted).any():
            counted = centres[alike[0]]
            _radon_kernels.radon_sums(valid.astype(np.float32)[..., None], counted, *lines, counts)
        together = np.empty((*shape, len(alike)), np.float32)
        stack = np.ascontiguousarray(np.moveaxis(images[alike], 0, -1))
        _radon_kernels.radon_sums(stack, counted, *lines, together)
        for k, i in enumerate(alike):
            sums[:] = together[..., k]
            yield i, sums, counts[..., 0]


def _of_one_centre(patterns, centres):
    """Runs of patterns with the same pattern centre, of at most `TOGETHER`."""
    start = 0
    for end in range(1, len(patterns) + 1):
        full = end - start == TOGETHER or end == len(patterns)
        if full or (centres[patterns[end]] != centres[patterns[start]]).any():
            yield patterns[start:end]
            start = end


def centres_in_pixels(pattern_centre, shape: tuple[int, int, int]) -> np.ndarray:
    """Column and row of each pattern's centre and distance of the source point, in px.

    Parameters
    ----------
    pattern_centre : array of shape (3,) or (n, 3)
        In Bruker's convention.
    shape : tuple of int
        Of the patterns: n, height, width.

    Returns
    -------
    float64 array of shape (n, 3)
        The middle of the first pixel at (0, 0).
    """
    n, height, width = shape
    centre = as_pattern_centre(pattern_centre, n)
    scaled = centre * (width, height, height) - (0.5, 0.5, 0)
    return np.ascontiguousarray(np.broadcast_to(scaled, (n, 3)))

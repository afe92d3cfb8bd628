# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where in a diffraction pattern there are Bragg discs, whatever their intensity.

Strain hardly moves a disc, but bend and thickness change its intensity by orders of magnitude. So
what tells a phase is where its discs are, and how bright they are is of no account.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d, maximum_filter1d, uniform_filter1d
from scipy.sparse import csr_array

from emsparse_hs.stem4d._frames import as_frames, as_keep, check_dose
from emsparse_hs.stem4d.masks import disc

#: Radius around the direct beam, in radii of a disc, within which no disc is looked for.
_BEAM = 2.5
#: Width in radii of the square over which the background is averaged, and how often discs, which
#: stand out by more than this number of standard deviations, are cut off before.
_SQUARE, _ROUNDS, _CUT = 8.0, 3, 2.0
#: Standard deviations above the background at which presence begins and is full.
_SIGNIFICANCE = (2.5, 4.5)
#: Two discs are this number of radii apart at least; parts of the brightest intensity within that
#: distance at which presence begins and is full, so that all discs have blobs of the same size.
_APART, _SHAPE = 1.1, (0.3, 0.8)
#: Part of the weight of an average that has to lie on pixels that count.
_SEEN = 0.3
#: Pixels of frames that are worked on at a time.
_PIXELS_AT_ONCE = 2**21
#: Radius in px of a disc, at least, in frames that are binned before it is looked for.
_ENOUGH = 2.0


class PresenceGrid(NamedTuple):
    """Cells of about the radius of a disc, in which the presence of discs is kept.

    Attributes
    ----------
    frame : (int, int)
        Shape of the frames (y, x) in px.
    beam_radius : float
        Radius of a disc in px.
    centre : (float, float)
        x and y of the direct beam in px.
    binning : int
        Pixels of a frame, in each direction, that are summed before discs are looked for.
    cell : int
        Width of a cell in binned px.
    """

    frame: tuple[int, int]
    beam_radius: float
    centre: tuple[float, float]
    binning: int
    cell: int

    @property
    def shape(self) -> tuple[int, int]:
        """Cells in y and x; those at the end may reach beyond the frame."""
        width = self.binning * self.cell
        return -(-self.frame[0] // width), -(-self.frame[1] // width)

    def to_pixels(self, places: np.ndarray) -> np.ndarray:
        """Positions in px of positions in cells; the first of each lies at 0."""
        width = self.binning * self.cell
        return (np.asarray(places, float) + 0.5) * width - 0.5


def presence_grid(
    frame: tuple[int, int], beam_radius: float, centre: Sequence[float]
) -> PresenceGrid:
    """Choose cells for frames.

    Parameters
    ----------
    frame : (int, int)
        Shape of the frames (y, x) in px.
    beam_radius : float
        Radius of a disc in px.
    centre : (float, float)
        x and y of the direct beam in px.

    Returns
    -------
    PresenceGrid
        For `compact_presence`.

    Raises
    ------
    ValueError
        If the radius is not positive, or the centre is not in the frame.
    """
    _check(frame, beam_radius, centre)
    binning = max(1, int(beam_radius / _ENOUGH))
    cell = max(1, round(beam_radius / binning))
    (height, width), (x, y) = frame, centre
    place = (float(x), float(y))
    return PresenceGrid((height, width), float(beam_radius), place, binning, cell)


def find_direct_beam(pattern: ArrayLike, beam_radius: float) -> tuple[float, float]:
    """Place of the brightest disc of a pattern.

    Parameters
    ----------
    pattern : array of shape (y, x)
        Such as the mean of a scan, in which no other disc is as bright as the direct beam.
    beam_radius : float
        Radius of a disc in px.

    Returns
    -------
    x, y : float
        Centre of mass, in px, of what is within 1.5 radii of the brightest place.

    Raises
    ------
    ValueError
        If the pattern is not of two dimensions or has no intensity, or the radius is not positive.
    """
    pattern = np.nan_to_num(np.asarray(pattern, np.float64))
    if pattern.ndim != 2 or not pattern.max(initial=0) > 0:
        raise ValueError(
            f"A pattern of shape {pattern.shape} without intensity has no direct beam. Pass the "
            "mean pattern of the scan, or the centre as (x, y) in px."
        )
    _check(pattern.shape, beam_radius, (0, 0))
    smooth = _smooth(pattern, max(beam_radius / 2, 0.5))
    y, x = (int(i) for i in np.unravel_index(smooth.argmax(), smooth.shape))
    weight = pattern * disc(pattern.shape, (x, y), 1.5 * beam_radius)
    if weight.sum() <= 0:
        return float(x), float(y)
    rows, columns = np.indices(pattern.shape)
    total = weight.sum()
    return float((weight * columns).sum() / total), float((weight * rows).sum() / total)


def bragg_presence(
    frames: ArrayLike,
    beam_radius: float,
    centre: Sequence[float] | None = None,
    *,
    mask: ArrayLike | None = None,
    dose_per_count: float = 1.0,
    contrast: float = 0.5,
) -> np.ndarray:
    r"""How surely there is a Bragg disc at each place of a pattern: 0 for no, 1 for yes.

    Intensities are averaged with a Gaussian of standard deviation R/2, which has the extent and
    the noise of a disc of radius R and area :math:`A = \pi R^2`. From that average m and the
    local background b, both in electrons a pixel, Anscombe's transform (Biometrika 35 (1948) 246)
    gives the number of standard deviations

    .. math:: z = 2 \sqrt{A m + 3/8} - 2 \sqrt{A b + 3/8}

    by which a disc stands out of Poisson noise. Presence grows from 0 at 2.5 to 1 at 4.5 of them.
    It is less where m does not exceed b by `contrast` times b, since at high dose everything is
    significant, and where something brighter lies within the same disc: so a blob around each
    disc's centre has the same size for a faint as for a bright one. The background is the mean
    over a square of 8 R, in which what stands out is cut off.

    Parameters
    ----------
    frames : array of shape (..., y, x)
        Counts.
    beam_radius : float
        Radius R of a disc in px.
    centre : (float, float), optional
        x and y of the direct beam in px, around which nothing is looked for within 2.5 R. The
        brightest disc of the mean of the frames by default.
    mask : bool array of shape (y, x), optional
        True where a pixel counts. All by default.
    dose_per_count : float, optional
        Electrons a count. Data that were scaled need it, or noise is taken for discs.
    contrast : float, optional
        How far a disc rises above the background, in units of this, for a presence of 1.

    Returns
    -------
    float32 array of shape (..., y, x)
        From 0 to 1. 0 near the direct beam, where pixels don't count, and where frames have NaN.

    Raises
    ------
    ValueError
        If radius, centre, mask, dose or contrast are out of range.
    TypeError
        If the frames are not real numbers.
    """
    frames = as_frames(frames)
    if centre is None:
        stack = frames.reshape(-1, *frames.shape[-2:])
        centre = find_direct_beam(stack.mean(0, dtype=np.float64), beam_radius)
    shape = frames.shape[-2:]
    _check(shape, beam_radius, centre)
    check_dose(dose_per_count)
    _check_contrast(contrast)
    x, y = centre
    keep = as_keep(mask, shape) & ~disc(shape, (x, y), _BEAM * beam_radius)
    return _in_parts(frames, keep, beam_radius, dose_per_count, contrast)


def compact_presence(
    frames: ArrayLike,
    grid: PresenceGrid,
    mask: ArrayLike | None = None,
    dose_per_count: float = 1.0,
    contrast: float = 0.5,
) -> csr_array:
    """Presence of discs in the cells of a grid, of which most are empty.

    Large frames are binned first to discs of a radius of 2 to 4 px, which is as good and faster.

    Parameters
    ----------
    frames : array of shape (n, y, x)
        Counts.
    grid : PresenceGrid
        From `presence_grid`.
    mask, dose_per_count, contrast
        As for `bragg_presence`.

    Returns
    -------
    uint8 csr_array of shape (n, cells)
        Mean presence in each cell, times 255.

    Raises
    ------
    ValueError, TypeError
        As for `bragg_presence`.
    """
    frames = as_frames(frames)
    check_dose(dose_per_count)
    _check_contrast(contrast)
    outside = disc(grid.frame, grid.centre, _BEAM * grid.beam_radius)
    keep = _binned((as_keep(mask, grid.frame) & ~outside)[np.newaxis], grid.binning)
    keep = keep[0] / keep.max(initial=1) > 0.5
    parts = []
    step = max(1, _PIXELS_AT_ONCE // math.prod(grid.frame))
    for start in range(0, len(frames), step):
        small = _binned(frames[start : start + step], grid.binning)
        radius = grid.beam_radius / grid.binning
        presence = _binned(_presence(small, keep, radius, dose_per_count, contrast), grid.cell)
        presence *= 255 / grid.cell**2
        parts.append(np.rint(presence).astype(np.uint8).reshape(len(small), -1))
    if not parts:
        return csr_array((0, math.prod(grid.shape)), dtype=np.uint8)
    return csr_array(np.concatenate(parts))


def _check(shape, beam_radius: float, centre) -> None:
    if not (math.isfinite(beam_radius) and beam_radius > 0):
        raise ValueError(f"The radius of a disc is {beam_radius!r} px. Pass a positive number.")
    place = np.asarray(centre, float)
    if place.shape != (2,) or not ((place >= -0.5) & (place <= np.array(shape[::-1]) - 0.5)).all():
        raise ValueError(
            f"The centre is {centre!r}, which is no place in frames of {shape[1]} x {shape[0]} px. "
            "Pass (x, y) of the direct beam in px, the first pixel at (0, 0)."
        )


def _check_contrast(contrast: float) -> None:
    if not (math.isfinite(contrast) and contrast > 0):
        raise ValueError(f"The contrast is {contrast!r}. Pass a positive number, such as 0.5.")


def _in_parts(frames: np.ndarray, keep: np.ndarray, *how) -> np.ndarray:
    """Presence in frames of any shape, some at a time to stay in the processor's cache."""
    stack = frames.reshape(-1, *frames.shape[-2:])
    found = np.empty(stack.shape, np.float32)
    step = max(1, _PIXELS_AT_ONCE // keep.size)
    for start in range(0, len(stack), step):
        found[start : start + step] = _presence(stack[start : start + step], keep, *how)
    return found.reshape(frames.shape)


def _presence(frames, keep, radius: float, dose_per_count: float, contrast: float) -> np.ndarray:
    """Presence in some frames; see `bragg_presence`."""
    weight = keep.astype(np.float32)
    electrons = frames.astype(np.float32) * (np.float32(dose_per_count) * weight)
    bad = ~np.isfinite(electrons).all((1, 2))
    electrons[bad] = 0
    sigma = max(radius / 2, 0.5)
    area = np.float32(4 * math.pi * sigma**2)
    seen = _smooth(weight, sigma)
    inside = keep & (seen > _SEEN)
    mean = _smooth(electrons, sigma) / np.maximum(seen, _SEEN)
    np.maximum(mean, 0, out=mean)
    background = _background(mean, weight, radius, area)
    found = 2 * (np.sqrt(area * mean + 0.375) - np.sqrt(area * background + 0.375))
    found = _ramp(found, *_SIGNIFICANCE)
    # Everything above a background of zero has contrast enough.
    found *= np.clip((mean - background) / np.maximum(contrast * background, 1e-12), 0, 1)
    width = 2 * max(1, round(_APART * radius)) + 1
    brightest = maximum_filter1d(maximum_filter1d(mean * weight, width, -1), width, -2)
    found *= _ramp(mean / np.maximum(brightest, 1e-12), *_SHAPE)
    return found * inside


def _background(mean: np.ndarray, weight: np.ndarray, radius: float, area) -> np.ndarray:
    """Local mean in which discs are cut off."""
    width = 2 * round(_SQUARE * radius / 2) + 1
    parts = np.maximum(_box(weight, width), 1e-6)
    background = np.maximum(_box(mean * weight, width) / parts, 0)
    for _ in range(_ROUNDS):
        limit = background + _CUT * np.sqrt(background / area + 1 / area**2)
        background = np.maximum(_box(np.minimum(mean, limit) * weight, width) / parts, 0)
    return background


def _ramp(values: np.ndarray, start: float, full: float) -> np.ndarray:
    return np.clip((values - np.float32(start)) / np.float32(full - start), 0, 1)


def _smooth(images: np.ndarray, sigma: float) -> np.ndarray:
    for axis in (-1, -2):
        images = gaussian_filter1d(images, sigma, axis, mode="constant", truncate=3)
    return images


def _box(images: np.ndarray, width: int) -> np.ndarray:
    for axis in (-1, -2):
        images = uniform_filter1d(images, width, axis, mode="constant")
    return images


def _binned(frames: np.ndarray, n: int) -> np.ndarray:
    """Sums of n x n pixels in float32; those that reach beyond the frame are of fewer."""
    if n == 1:
        return frames.astype(np.float32)
    y, x = frames.shape[1:]
    filled = np.zeros((len(frames), y + -y % n, x + -x % n), np.float32)
    filled[:, :y, :x] = frames
    return filled.reshape(len(frames), filled.shape[1] // n, n, -1, n).sum((2, 4))

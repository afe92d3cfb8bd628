# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Kikuchi bands in patterns: normals, half widths, contrasts and standard errors."""

from __future__ import annotations

from numbers import Integral
from typing import NamedTuple

import numpy as np

from . import _backfit_kernels, _band_kernels, _radon_kernels
from .geometry import as_pattern_centre, normals_from_angles, pixel_directions, upward
from .radon import (
    centres_in_pixels,
    checked_patterns,
    line_sums,
    normalise_patterns,
    of_one_mask,
    radon_angles,
)

#: Smallest and largest half width, in degrees.
HALF_WIDTHS = (0.5, 4.5)
#: Width of the strips beside a band that it is compared with, in degrees.
MARGIN = 1.5
#: Bands nearer than this, in degrees, are one: before and after the fit.
SEPARATION, FINAL_SEPARATION = 3.0, 2.0
#: Candidates that are fitted beyond the number of bands asked for.
SPARE = 10
#: Samples that a great circle needs, over the pattern's shorter side.
SHORTEST = 0.4
#: Step of the Radon transform in which candidates are looked for, in degrees, and in that step
#: the half widths tried and the width of the sides.
STEP, HALF_BINS, MARGIN_BINS = 1.25, (1, 2), 1
#: Steps of the fit, and sweeps over all bands and steps in each in which they are fitted together.
N_ITERATIONS = 8
N_SWEEPS, N_SWEEP_ITERATIONS = 4, 3
#: Contrast that a band needs: `detect_bands` says what noise has.
MIN_CONTRAST = 4.0
#: Numbers of a band: its normal's three, half width, contrast, two standard errors.
N_QUANTITIES = 7


class _Quantities(NamedTuple):
    """What `Bands` hold."""

    normals: np.ndarray
    half_widths: np.ndarray
    contrasts: np.ndarray
    direction_sigmas: np.ndarray
    width_sigmas: np.ndarray


class Bands(_Quantities):
    """Bands of each pattern, the highest contrast first; NaN where fewer were found.

    Attributes
    ----------
    normals : float64 array of shape (n, n_bands, 3)
        Unit vectors in the detector's frame, see `emsparse_hs.ebsd.geometry`.
    half_widths : float64 array of shape (n, n_bands)
        In degrees, to where the edges are steepest: below the Bragg angle, see `detect_bands`.
    contrasts : float64 array of shape (n, n_bands)
        Mean inside minus mean just outside, over the standard error of the difference. The place
        of a band is where this is high, so it is no z-score: see `detect_bands`.
    direction_sigmas : float64 array of shape (n, n_bands)
        Standard error of each normal in degrees: root mean square angle to where it should be, and
        two of three are nearer. NaN if bands are made without.
    width_sigmas : float64 array of shape (n, n_bands)
        Standard error of each half width, relative. NaN if bands are made without.
    """

    __slots__ = ()

    def __new__(cls, normals, half_widths, contrasts, direction_sigmas=None, width_sigmas=None):
        """Bands, the standard errors of which need not be known."""
        unknown = np.full(np.shape(half_widths), np.nan)
        known = [unknown if s is None else s for s in (direction_sigmas, width_sigmas)]
        return super().__new__(cls, normals, half_widths, contrasts, *known)


def detect_bands(
    patterns,
    pattern_centre,
    n_bands: int = 12,
    signal_mask=None,
    min_contrast: float = MIN_CONTRAST,
) -> Bands:
    r"""Find the Kikuchi bands of each pattern.

    Candidates are peaks of the Radon transform after a filter along the elevation that asks for an
    interval brighter than both of its sides. Each is then refined on the pixels themselves: a
    plateau with soft edges, bounded by the two cones at the angles :math:`\pm\theta` to the
    reflecting planes, is fitted by least squares for its normal, half width and height, so that the
    result is not bound to the transform's grid and the edges' curvature is exact. Those that
    have the contrast are then fitted together, each to what all others leave, since places where
    strong bands cross look like bands. Bands are ranked by their contrast after that.

    Half widths are where the edges are steepest. That is near the Bragg angle, and below it for
    strongly scattering planes: by 13 % in the median of patterns simulated dynamically, by about
    20 % in measured ones of low resolution.

    A contrast is the highest of many places, and noise alone has places of some contrast. White
    noise of 40 x 48 px (seeds 10 to 12, 300 patterns) gave 0.9 bands a pattern of contrast 4 or
    more where 12 were asked for, 0.3 of 4.5 and 0.07 of 5; of 120 x 120 px, 0.4, 0.1 and 0.03.
    Where 60 were, 1.3, 0.4 and 0.09, and 0.5, 0.1 and 0.03. Nine measured patterns of nickel had no
    true band below 4.5 among the best 12; with noise of their own standard deviation added, 4 of 34
    bands below 4 were true, 14 of 24 from 4 to 4.5, and 41 of 50 above.

    Standard errors are those of the fit, :math:`s^2 (J^T J)^{-1}` with the variance s^2 of what all
    bands leave near each: noise, and bands too weak to be found. Edges are taken to be as soft as
    those of several orders are. Long, bright and wide bands have small ones. They hold no error of
    the pattern centre, none of a band that is not there, and none of what the model is wrong by: a
    width between those of two orders of like strength, or within the Bragg angle.
    `benchmarks/band_detection.py --sigmas` measures errors over them, of bands within a degree of a
    strong plane, and of widths within a third of one of its orders. They were, with 30 bands a
    pattern of structures that nothing was set on, in four quarters by sigma:

    ====== ===== ======================= =======================
    pixels noise directions              widths
    ====== ===== ======================= =======================
    64     0.5   0.97, 1.08, 0.98, 0.95  1.13, 0.81, 0.83, 0.85
    64     1     1.20, 1.09, 1.09, 0.95  1.44, 1.10, 0.87, 0.84
    110    0.5   0.93, 0.99, 1.05, 1.04  0.79, 0.65, 0.65, 0.69
    110    1     1.12, 1.08, 1.06, 1.10  1.02, 0.86, 0.76, 0.91
    ====== ===== ======================= =======================

    Parameters
    ----------
    patterns : array of shape (n, height, width)
        Intensities of any real dtype. A static background, which all patterns of a scan share,
        is better removed before.
    pattern_centre : array of shape (3,) or (n, 3)
        In Bruker's convention, one for all patterns or one each.
    n_bands : int
        Bands to find in each pattern.
    signal_mask : bool array of shape (height, width), optional
        True where a detector pixel is left out, such as outside a round screen: without it the
        screen's rim makes bands. Pixels that are not finite are left out of their own pattern.
    min_contrast : float
        Contrast that a band needs beside all others; on its own, this or the default, whichever is
        less.

    Returns
    -------
    Bands
        Normals in the detector's frame, half widths in degrees, contrasts and standard errors; NaN
        where fewer have the contrast, and for patterns that are constant.

    Raises
    ------
    TypeError
        If the patterns are not real, or the number of bands is not whole.
    ValueError
        If a shape, the pattern centre, the number of bands or the contrast does not fit.
    """
    check_wanted(n_bands, min_contrast)
    patterns, screen = checked_patterns(patterns, signal_mask)
    centres = as_pattern_centre(pattern_centre, len(patterns))
    angles = radon_angles(screen.shape, centres, STEP)
    table = np.full((len(patterns), n_bands, N_QUANTITIES), np.nan)
    for some, seen in of_one_mask(patterns, screen):
        own = centres if centres.ndim == 1 else centres[some]
        table[some] = _detected(patterns[some], own, seen, angles, n_bands, min_contrast)
    return Bands(table[..., :3], *np.moveaxis(table[..., 3:], -1, 0))


def _detected(patterns, centres, seen, angles, n_bands: int, min_contrast: float) -> np.ndarray:
    """Quantities of the bands, of shape (n, n_bands, `N_QUANTITIES`)."""
    images, valid, usable = normalise_patterns(patterns, ~seen)
    nodes = normals_from_angles(angles[0][:, None], angles[1])
    table = np.full((len(images), n_bands, N_QUANTITIES), np.nan)
    lines = line_sums(images, valid, usable, centres_in_pixels(centres, images.shape), *angles)
    pixels = None
    for i, sums, counts in lines:
        if pixels is None or centres.ndim == 2:
            pixels = _pixels(valid.shape, centres if centres.ndim == 1 else centres[i], valid)
            weights = _weights(counts, SHORTEST * min(valid.shape))
        normals = _candidates(sums, weights, nodes, n_bands + SPARE)
        _refine(images[i][valid], *pixels, normals, min_contrast, table[i])
    return table


def check_wanted(n_bands: int, min_contrast: float) -> None:
    """Check what bands are asked for.

    Raises
    ------
    TypeError
        If the number of bands is not whole.
    ValueError
        If it is below 1, or the contrast is below 0 or NaN.
    """
    if not isinstance(n_bands, Integral):
        raise TypeError(f"n_bands is {n_bands!r}, and a whole number is needed.")
    if n_bands < 1:
        raise ValueError(f"n_bands is {n_bands}, and at least 1 is needed.")
    if not min_contrast >= 0:
        raise ValueError(f"min_contrast is {min_contrast}, and 0 or more is needed.")


def _pixels(shape: tuple[int, int], centre, valid) -> tuple[np.ndarray, np.ndarray]:
    """Directions of the valid pixels, and half the width of each as a sine."""
    directions = pixel_directions(shape, centre)[valid]
    # A pixel's angle goes with the cosine squared away from the pattern centre, and with the cosine
    # around it.
    softness = 0.5 * directions[:, 2] ** 1.5 / (centre[2] * shape[0])
    return np.ascontiguousarray(directions.T, np.float32), softness.astype(np.float32)


def _weights(counts: np.ndarray, fewest: float) -> np.ndarray:
    """Of the sums that a band's score is made of."""
    n_azimuths, n_elevations = counts.shape
    weights = np.empty((n_azimuths, len(HALF_BINS), 4, n_elevations), np.float32)
    _radon_kernels.score_weights(counts, np.array(HALF_BINS), MARGIN_BINS, fewest, weights)
    return weights


def _candidates(sums, weights, nodes, n: int) -> np.ndarray:
    """Normals at the highest peaks of the filtered Radon transform, at most n, well apart."""
    scores = np.empty_like(sums)
    peaks = np.empty(sums.shape, bool)
    _radon_kernels.band_scores(sums, weights, np.array(HALF_BINS), MARGIN_BINS, scores)
    _radon_kernels.is_peak(scores, peaks)
    ranked = nodes[peaks][np.argsort(-scores[peaks], kind="stable")]
    return ranked[_first_apart(ranked, SEPARATION, n)]


def _refine(values, directions, softness, normals, min_contrast: float, table) -> None:
    """Fit candidates to the pixels, the best of them together, and write those into the table."""
    fitted = np.full((len(normals), 5), np.nan)
    margin, limits = np.sin(np.radians(MARGIN)), np.sin(np.radians(HALF_WIDTHS))
    pixels = (values, directions, softness, margin, limits)
    _band_kernels.fit_bands(*pixels, N_ITERATIONS, normals, fitted)
    # Where bands meet, one may gain contrast by what the others explain.
    normals, fitted = _best(normals, fitted, min(min_contrast, MIN_CONTRAST), len(table))
    _backfit_kernels.fit_together(*pixels, N_SWEEPS, N_SWEEP_ITERATIONS, normals, fitted)
    normals, fitted = _best(normals, fitted, min_contrast, len(table))
    widths, _, contrasts, turns, wider = fitted.T
    degrees = np.degrees([np.arcsin(widths), turns])
    table[: len(normals)] = np.column_stack(
        [upward(normals), degrees[0], contrasts, degrees[1], wider]
    )


def _best(normals, fitted, min_contrast: float, n: int) -> tuple[np.ndarray, np.ndarray]:
    """At most n bands of the highest contrast that are apart."""
    kept = np.flatnonzero((fitted[:, 1] > 0) & (fitted[:, 2] >= min_contrast))
    kept = kept[np.argsort(-fitted[kept, 2], kind="stable")]
    kept = kept[_first_apart(normals[kept], FINAL_SEPARATION, n)]
    return normals[kept], fitted[kept]


def _first_apart(normals, degrees: float, n: int) -> np.ndarray:
    """Indices of the first n normals that are this far from all chosen before them."""
    chosen = np.empty(n, np.int64)
    cosine = np.cos(np.radians(degrees))
    return chosen[: _band_kernels.first_apart(np.ascontiguousarray(normals), cosine, n, chosen)]

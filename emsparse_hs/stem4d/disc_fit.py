# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where a disc of any intensity lies in a diffraction pattern, by maximum likelihood."""

from __future__ import annotations

import math
import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter, label

from emsparse_hs.stem4d._contrast import (
    ContrastPrior,
    independent_terms,
    n_polynomials,
    zernike,
)
from emsparse_hs.stem4d._disc_kernels import fit_discs, learn_discs
from emsparse_hs.stem4d._frames import as_frames, as_keep, check_dose
from emsparse_hs.stem4d.centroid import centroid
from emsparse_hs.stem4d.masks import disc

#: Orders of the polynomial of the intensity that are tried, one after the other.
_ORDERS = (0, 2, 4, 6, 8, 10)

#: Pixels that a term of the intensity needs at least, so that small discs get few terms.
_PIXELS_PER_TERM = 6

#: Rounds of learning at the most, and the least edge width in px that pixels can show.
_MOST_ROUNDS, _LEAST_WIDTH = 30, 0.2

#: Change of a polynomial's expected variance that is of no account.
_LEAST_CHANGE = 1e-7

#: Standard deviation in px of the blur in which the disc is first looked for.
_SMOOTHING = 1.0

#: Reduced chi-squared within which the counts are explained.
_GOOD_CHI = (0.6, 1.4)

#: Edge width over radius from which on it is no disc but a spot, which this model does not fit.
_SOFTEST = 0.5

_NO_DISC = (
    "The patterns show no disc whose radius and edge width could be estimated. Pass radius and "
    "edge_width in px, a reference pattern without the specimen, or use the centroid."
)


class DiscModel(NamedTuple):
    """What is known of the bright disc before it is fitted to each pattern.

    Attributes
    ----------
    radius : float
        In px, where the intensity is half of that inside.
    edge_width : float
        In px, the standard deviation of the Gaussian that blurs the edge.
    contrast : float64 array of shape (t - 1, t - 1), optional
        Covariance that the coefficients of the first t Zernike polynomials are expected to have, as
        parts of the mean intensity, without that of the mean itself. A guess by default;
        `estimate_disc` measures it.
    centre : (float, float), optional
        x and y in px about which the disc lies in most frames. It is then looked for within two
        and a half radii, else in the whole frame.
    """

    radius: float
    edge_width: float
    contrast: np.ndarray | None = None
    centre: tuple[float, float] | None = None


def fit_disc(
    frames: ArrayLike,
    model: DiscModel,
    mask: ArrayLike | None = None,
    *,
    dose_per_count: float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Place of the bright disc in each frame, by maximum likelihood.

    The expected counts at k are

    .. math:: I(k) = b + \tfrac12\,
        \mathrm{erfc}\!\left(\frac{|k - s| - R}{\sqrt2\, w}\right) \sum_j c_j Z_j(k)

    with the disc's place s, radius R and edge width w, a background b, and the Zernike polynomials
    Z, so that intensity that is spread unevenly over the disc is not taken for a shift, as it is by
    a centre of mass. Counts are Poisson distributed, and the coefficients c Gaussian with the
    covariance that the model expects; s, b and c are found by Fisher scoring. How many terms are
    needed is not chosen once: from an even disc on, more and more are tried until they do not pay,
    and the places are averaged with their evidence as weights (Laplace's approximation; MacKay,
    Neural Computation 4 (1992) 415), so that sigma says also what they differ by.

    Parameters
    ----------
    frames : array of shape (..., y, x)
        Counts of any real dtype and byte order.
    model : DiscModel
        Radius and edge width, from `estimate_disc` or known.
    mask : bool array of shape (y, x), optional
        True where a pixel counts. All by default.
    dose_per_count : float, optional
        Electrons a count: the gain of an integrating detector.

    Returns
    -------
    positions : float64 array of shape (..., 2)
        x and y of the disc's centre in px, the frame's first pixel at (0, 0). NaN where no disc was
        found, or a pixel that counts is NaN or infinite.
    sigma : float64 array of shape (..., 2)
        Standard deviations of x and y in px. From the counts' noise, and larger by the root of the
        reduced chi-squared where the model does not explain them.

    Raises
    ------
    ValueError
        If frames have fewer than two dimensions, the mask has another shape than a frame, radius,
        edge width or dose are not positive, or the contrast is no covariance of polynomials.
    TypeError
        If the frames are not real numbers.

    Notes
    -----
    The model is that of a disc that moves as a whole. Where a specimen's field varies over the
    probe, as in thin phase objects, it bends the rim instead: the centre of mass is exact there,
    and sigma does not cover the difference, which shows from some 1e5 electrons a pattern on.

    The disc is looked for from the centre of mass of the pixels above the mean, and found from some
    ten pixels away. It may lie partly outside the frame.
    """
    frames = as_frames(frames)
    check_dose(dose_per_count)
    _check_model(model)
    keep = as_keep(mask, frames.shape[-2:])
    stack = frames.reshape(math.prod(frames.shape[:-2]), *frames.shape[-2:])
    found = _fit(stack, keep, model, np.float32(dose_per_count))
    shape = (*frames.shape[:-2], 2)
    return found[:, :2].reshape(shape), found[:, 2:4].reshape(shape)


def _fit(frames: np.ndarray, keep: np.ndarray, model: DiscModel, electrons) -> np.ndarray:
    """x, y, their sigma, and reduced chi-squared of the disc in each frame."""
    out = np.empty((len(frames), 5))
    window, _ = _window(model)
    fit_discs(frames, keep, _starts(frames, keep, model), electrons, window, out)
    return out


def estimate_disc(
    frames: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    dose_per_count: float = 1.0,
    order: int = _ORDERS[-1],
) -> DiscModel:
    """Radius, edge width and typical contrast of the disc, from some frames of a scan.

    Radius and edge width are those of the greatest evidence of all frames together, each with its
    own place and intensity; so deflections don't blur the edge as they do in a mean pattern. What
    contrast is to be expected is learned from those frames that have one (MacKay, Neural
    Computation 4 (1992) 415): how much there is of waves of each length, in any direction, and of
    polynomials of each degree. What waves do inside the disc tells what they do at its rim, where
    they would be taken for a shift; with 1e6 electrons that halves the error at a boundary.

    Parameters
    ----------
    frames : array of shape (..., y, x)
        Some ten to a hundred frames, or a pattern that was taken without the specimen.
    mask : bool array of shape (y, x), optional
        True where a pixel counts. All by default.
    dose_per_count : float, optional
        Electrons a count.
    order : int, optional
        Degree of the intensity's polynomials at the most, even. A disc without the specimen is
        even, and 2 is enough for it: of one such pattern more would be taken for the shape of the
        edge.

    Returns
    -------
    DiscModel
        For `fit_disc`. Its contrast is that of these frames: without the specimen, it says nothing
        of those with it, and ``model._replace(contrast=None)`` is the one to fit them with.

    Raises
    ------
    ValueError
        As in `fit_disc`, and if there is no disc in the frames.
    TypeError
        If the frames are not real numbers.

    Warns
    -----
    UserWarning
        If the counts scatter otherwise than this model and their dose explain, or radius and edge
        width do not come to rest: sigma is then not to be relied on.
    """
    frames = as_frames(frames)
    check_dose(dose_per_count)
    keep = as_keep(mask, frames.shape[-2:])
    stack, electrons = frames.reshape(-1, *frames.shape[-2:]), np.float32(dose_per_count)
    model = first = _first_model(stack, keep)
    prior = ContrastPrior(order)
    for _ in range(_MOST_ROUNDS):
        n_terms = _n_terms(model.radius, order)[-1]
        model = model._replace(contrast=prior.covariance(n_terms))
        model, rests = _learn(model, prior, stack, keep, electrons)
        softness = model.edge_width / model.radius
        if not 0.5 < model.radius / first.radius < 2 or softness > _SOFTEST:
            raise ValueError(_NO_DISC)
        if rests:
            break
    model = model._replace(contrast=prior.covariance(n_terms))
    if not rests:
        _warn_of_unrest(model)
    if order == _ORDERS[-1]:
        # Of a disc without contrast only the shape is wanted.
        _warn_of_misfit(np.nanmean(_fit(stack, keep, model, electrons)[:, 4]))
    return model


def _learn(model: DiscModel, prior: ContrastPrior, frames, keep, electrons):
    """One round of learning: a better model, and whether it has come to rest.

    `prior` is changed.
    """
    window, sums = _window(model)
    n_frames, n_contrasts = len(frames), len(sums)
    matrix, right, weights = np.zeros((2, 2)), np.zeros(2), np.zeros(n_frames)
    scores = np.zeros((n_frames, n_contrasts))
    information = np.zeros((n_frames, n_contrasts, n_contrasts))
    starts = _starts(frames, keep, model)
    learn_discs(
        frames, keep, starts, electrons, window, matrix, right, scores, information, weights
    )
    if not np.linalg.det(matrix) > 0:
        raise ValueError(_NO_DISC)
    before = np.diag(prior.covariance(n_contrasts + 1))
    prior.learn(scores @ sums, sums.T @ information @ sums, weights)
    after = np.diag(prior.covariance(n_contrasts + 1))
    step = np.linalg.solve(matrix, right)
    error = np.sqrt(np.diag(np.linalg.inv(matrix)))
    limit = 0.1 * model.radius
    radius = model.radius + float(np.clip(step[0], -limit, limit))
    width = max(model.edge_width + float(np.clip(step[1], -0.5, 0.5)), _LEAST_WIDTH)
    rests = (np.abs(step) < 0.2 * error + 1e-4).all()
    rests &= (np.abs(after - before) <= 0.1 * before + _LEAST_CHANGE).all()
    return model._replace(radius=radius, edge_width=width), bool(rests)


def _first_model(frames: np.ndarray, keep: np.ndarray) -> DiscModel:
    """Disc of the area, edge and place of the brightest region of the mean frame."""
    with np.errstate(invalid="ignore"):
        mean = np.where(keep, frames.mean(0, dtype=float), 0.0)
    # Masked pixels take what is around them: gaps between chips must not cut the disc in pieces.
    smoothing = _SMOOTHING
    weight = gaussian_filter(keep.astype(float), smoothing)
    while weight.min() < 0.05 and smoothing < min(keep.shape) / 8:
        smoothing *= 1.5
        weight = gaussian_filter(keep.astype(float), smoothing)
    mean = np.nan_to_num(mean, posinf=0.0, neginf=0.0)
    mean = gaussian_filter(mean, smoothing) / np.maximum(weight, 1e-3)
    # Not the median, which is in the disc where that covers half the frame.
    background = np.percentile(mean[keep], 5)
    if not mean.max() > background:
        raise ValueError(_NO_DISC)
    peak = np.unravel_index(mean.argmax(), mean.shape)
    radii, regions = [], []
    for part in (0.25, 0.5, 0.75):
        parts, _ = label(mean > background + part * (mean.max() - background))
        regions.append(parts == parts[peak])
        radii.append(math.sqrt(regions[-1].sum() / math.pi))
    y, x = np.nonzero(regions[1])
    radius = max(radii[1], 1.5)
    # A Gaussian edge falls from three quarters to one quarter within 1.349 standard deviations.
    width = math.sqrt(max(((radii[0] - radii[2]) / 1.349) ** 2 - smoothing**2, 0.0))
    width = min(max(width, 0.7), radius / 3)
    return DiscModel(radius, width, None, (float(x.mean()), float(y.mean())))


def _starts(frames: np.ndarray, keep: np.ndarray, model: DiscModel) -> np.ndarray:
    """Where to begin to look for the disc in each frame."""
    if model.centre is not None:
        keep = keep & disc(keep.shape, model.centre, 2.5 * model.radius)
    return np.asarray(centroid(frames, keep, threshold=1.0))


def _n_terms(radius: float, order: int) -> list[int]:
    """How many terms to try one after the other: not too many for the disc's pixels."""
    most = math.pi * radius**2 / _PIXELS_PER_TERM
    numbers = [n_polynomials(k) for k in _ORDERS if k <= order]
    return [n for n in numbers if n == 1 or n <= most]


def _window(model: DiscModel) -> tuple[tuple, np.ndarray]:
    """What the compiled fit needs to know of a disc; see `_disc_kernels.fit_discs`.

    Also returned are the sums of Zernike polynomials that its terms but the first are, one a row.
    """
    reach = math.ceil(model.radius + max(4 * model.edge_width, 2.5) + 1)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    within = np.hypot(x, y) <= reach
    offsets = np.stack([x[within], y[within]]).astype(np.int64)
    contrast = model.contrast
    if contrast is None:
        contrast = ContrastPrior(_ORDERS[-1]).covariance(_n_terms(model.radius, _ORDERS[-1])[-1])
    variances, sums = independent_terms(contrast)
    polynomials = zernike(offsets / (model.radius + 1), math.isqrt(2 * len(contrast) + 2) - 1)
    terms = np.concatenate([polynomials[:1], sums @ polynomials[1:]])
    precision = np.concatenate([[0.0], 1 / variances])
    n_terms = np.array([n for n in map(n_polynomials, _ORDERS) if n <= len(terms)])
    rests = np.append(variances[::-1].cumsum()[::-1], 0.0)[n_terms - 1]
    shape = np.array([model.radius, model.edge_width], float)
    return (shape, offsets, terms.astype(np.float32), precision, n_terms, rests), sums


def _warn_of_unrest(model: DiscModel) -> None:
    warnings.warn(
        f"The disc's radius ({model.radius:.2f} px) and edge width ({model.edge_width:.2f} px) "
        "have not come to rest. Give more patterns, or a reference without the specimen.",
        stacklevel=3,
    )


def _warn_of_misfit(chi_squared: float) -> None:
    if not _GOOD_CHI[0] < chi_squared < _GOOD_CHI[1]:
        warnings.warn(
            f"The counts scatter {chi_squared:.2g} times as much around the fitted discs as single "
            "electrons do (reduced chi-squared). If a count is not an electron, pass "
            "dose_per_count. If the disc has contrast that is finer than a tenth of it, expect "
            "larger errors than sigma, although it has been multiplied by the root of this.",
            stacklevel=3,
        )


def _check_model(model: DiscModel) -> None:
    if model.contrast is not None:
        shape = np.shape(model.contrast)
        degree = math.isqrt(2 * shape[0] + 2) - 1 if shape else 0
        if shape != (n_polynomials(degree) - 1,) * 2:
            raise ValueError(
                f"The contrast has shape {shape}. It is a covariance of all Zernike polynomials up "
                "to a degree but the first, as from estimate_disc; None is a guess."
            )
    if not (math.isfinite(model.radius) and model.radius >= 1):
        raise ValueError(f"The disc's radius is {model.radius} px. At least 1 px is needed.")
    if not (math.isfinite(model.edge_width) and model.edge_width > 0):
        raise ValueError(f"The disc's edge width is {model.edge_width} px. Give a positive number.")

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What the bright disc of a scan looks like: radius, edge width, and what contrast to expect."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter, label

from emsparse_hs.stem4d._contrast import ContrastPrior
from emsparse_hs.stem4d._disc_kernels import learn_discs
from emsparse_hs.stem4d._frames import as_frames, as_keep, check_dose, fill_masked, without_spikes
from emsparse_hs.stem4d.disc_fit import (
    ORDERS,
    DiscModel,
    check_model,
    fitted,
    numbers_of_terms,
    starts_of,
    window_of,
)

#: Rounds of learning at the most, and the least edge width in px that pixels can show.
_MOST_ROUNDS, _LEAST_WIDTH = 30, 0.2

#: Change of a polynomial's expected variance that is of no account.
_LEAST_CHANGE = 1e-7

#: Standard deviation in px of the blur in which the disc is first looked for.
_SMOOTHING = 1.0

#: Reduced chi-squared within which the counts are explained.
_EXPLAINED = (0.6, 1.4)

#: Edge width over radius from which on it is no disc but a spot, which this model does not fit.
_SOFTEST = 0.5

_NO_DISC = (
    "The patterns show no disc whose radius and edge width could be estimated. Pass radius and "
    "edge_width in px, a reference pattern without the specimen, or use the centroid. Mask pixels "
    "that are always bright. If there is much less than one count a pixel in the disc because the "
    "data were normalised, pass dose_per_count."
)


def estimate_disc(
    frames: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    dose_per_count: float = 1.0,
    order: int = ORDERS[-1],
    shape: tuple[float, float] | None = None,
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
    order : {10, 8, 6, 4, 2, 0}, optional
        Degree of the intensity's polynomials at the most. A disc without the specimen is even, and
        2 is enough for it: of one such pattern more would be taken for the shape of the edge.
    shape : (float, float), optional
        Radius and edge width in px if they are known, so that only the contrast is learned.

    Returns
    -------
    DiscModel
        For `fit_disc`. Its contrast is that of these frames: without the specimen it says nothing
        of those with it. Then take the shape alone, and learn the contrast from some of those.

    Raises
    ------
    ValueError
        As in `fit_disc`, if there is no disc in the frames, or the order is not known.
    TypeError
        If the frames are not real numbers.

    Warns
    -----
    UserWarning
        If the counts scatter otherwise than this model and their dose explain, which is not said of
        lower orders, or radius and edge width do not come to rest: sigma is then not to be relied
        on.
    """
    frames = as_frames(frames)
    check_dose(dose_per_count)
    if order not in ORDERS:
        raise ValueError(f"The order is {order!r}. Choose one of {', '.join(map(str, ORDERS))}.")
    keep = as_keep(mask, frames.shape[-2:])
    stack, electrons = frames.reshape(-1, *frames.shape[-2:]), np.float32(dose_per_count)
    # A bad frame is its own affair.
    stack = stack[np.isfinite(stack[:, keep]).all(axis=1)]
    model = first = _first_model(stack, keep) if shape is None else DiscModel(*shape)
    check_model(model)
    prior = ContrastPrior(order)
    for _ in range(_MOST_ROUNDS):
        n_terms = numbers_of_terms(model.radius, order)[-1]
        model = model._replace(contrast=prior.covariance(n_terms))
        model, rests = _learn(model, prior, stack, keep, electrons, shape is None)
        softness = model.edge_width / model.radius
        if shape is None and not (0.5 < model.radius / first.radius < 2 and softness < _SOFTEST):
            raise ValueError(_NO_DISC)
        if rests:
            break
    else:
        _warn_of_unrest(model)
    n_terms = numbers_of_terms(model.radius, order)[-1]
    model = model._replace(contrast=prior.covariance(n_terms))
    if order == ORDERS[-1]:
        # Of a disc without contrast only the shape is wanted.
        _warn_of_misfit(fitted(stack, keep, model, electrons)[:, 4])
    return model


def _learn(model: DiscModel, prior: ContrastPrior, frames, keep, electrons, reshape: bool):
    """One round of learning: a better model, and whether it has come to rest.

    `prior` is changed, and the model if its shape is to be learned too.
    """
    window, sums = window_of(model)
    n_frames, n_contrasts = len(frames), len(sums)
    matrix, right, weights = np.zeros((2, 2)), np.zeros(2), np.zeros(n_frames)
    scores = np.zeros((n_frames, n_contrasts))
    information = np.zeros((n_frames, n_contrasts, n_contrasts))
    starts = starts_of(frames, keep, model)
    learn_discs(
        frames, keep, starts, electrons, window, matrix, right, scores, information, weights
    )
    before = np.diag(prior.covariance(n_contrasts + 1))
    prior.learn(scores @ sums, sums.T @ information @ sums, weights)
    after = np.diag(prior.covariance(n_contrasts + 1))
    rests = bool((np.abs(after - before) <= 0.1 * before + _LEAST_CHANGE).all())
    if reshape:
        model, shape_rests = _reshaped(model, matrix, right)
        rests &= shape_rests
    return model, rests


def _reshaped(model: DiscModel, matrix: np.ndarray, right: np.ndarray) -> tuple[DiscModel, bool]:
    """Radius and edge width after a step, and whether that was a small one."""
    if not np.linalg.det(matrix) > 0:
        raise ValueError(_NO_DISC)
    step = np.linalg.solve(matrix, right)
    error = np.sqrt(np.diag(np.linalg.inv(matrix)))
    limit = 0.1 * model.radius
    radius = model.radius + float(np.clip(step[0], -limit, limit))
    width = max(model.edge_width + float(np.clip(step[1], -0.5, 0.5)), _LEAST_WIDTH)
    rests = bool((np.abs(step) < 0.2 * error + 1e-4).all())
    return model._replace(radius=radius, edge_width=width), rests


def _first_model(frames: np.ndarray, keep: np.ndarray) -> DiscModel:
    """Disc of the area, edge and place of the brightest region of the mean frame."""
    if not len(frames):
        raise ValueError(_NO_DISC)
    # Masked pixels take what is around them: gaps between chips must not cut the disc in pieces.
    mean = fill_masked(frames.mean(0, dtype=float)[None], keep)[0]
    mean = gaussian_filter(without_spikes(mean), _SMOOTHING)
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
    width = math.sqrt(max(((radii[0] - radii[2]) / 1.349) ** 2 - _SMOOTHING**2, 0.0))
    width = min(max(width, 0.7), radius / 3)
    return DiscModel(radius, width, None, (float(x.mean()), float(y.mean())))


def _warn_of_unrest(model: DiscModel) -> None:
    warnings.warn(
        f"The disc's radius ({model.radius:.2f} px) and edge width ({model.edge_width:.2f} px) "
        "have not come to rest. Give more patterns, or a reference without the specimen.",
        stacklevel=3,
    )


def _warn_of_misfit(chi_squared: np.ndarray) -> None:
    chi_squared = chi_squared[np.isfinite(chi_squared)]
    mean = chi_squared.mean() if len(chi_squared) else 1.0
    if not _EXPLAINED[0] < mean < _EXPLAINED[1]:
        warnings.warn(
            f"The counts scatter {mean:.2g} times as much around the fitted discs as single "
            "electrons do (reduced chi-squared). If a count is not an electron, pass "
            "dose_per_count. A radius and an edge width that were passed may be wrong. If the disc "
            "has contrast that is finer than a tenth of it, errors are larger than sigma, although "
            "it has been multiplied by the root of this.",
            stacklevel=3,
        )

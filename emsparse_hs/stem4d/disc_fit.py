# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where a disc of any intensity lies in a diffraction pattern, by maximum likelihood."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from emsparse_hs.stem4d._contrast import (
    ContrastPrior,
    independent_terms,
    n_polynomials,
    zernike,
)
from emsparse_hs.stem4d._disc_kernels import fit_discs
from emsparse_hs.stem4d._frames import as_frames, as_keep, check_dose
from emsparse_hs.stem4d.centroid import centroid
from emsparse_hs.stem4d.masks import disc

#: Orders of the polynomial of the intensity that are tried, one after the other.
ORDERS = (0, 2, 4, 6, 8, 10)

#: Pixels that a term of the intensity needs at least, so that small discs get few terms.
_PIXELS_PER_TERM = 6


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
    The polynomials are those of a disc one pixel larger. From 1.1 of its radii on they go on as
    constants, but for a gradient, so that they don't take the tail of a soft edge for theirs.

    The edge is taken for that of a soft aperture. If it is the detector that blurs, contrast is
    blurred with it, and a gradient of g of the mean a pixel looks like a shift by g w².

    The model is that of a disc that moves as a whole. Where a specimen's field varies over the
    probe, as in thin phase objects, it bends the rim instead: the centre of mass is exact there,
    and sigma does not cover the difference, which shows from some 1e5 electrons a pattern on.

    The disc is looked for from the centre of mass of the pixels above the mean, and found from some
    ten pixels away. It may lie partly outside the frame.
    """
    frames = as_frames(frames)
    check_dose(dose_per_count)
    check_model(model)
    keep = as_keep(mask, frames.shape[-2:])
    stack = frames.reshape(math.prod(frames.shape[:-2]), *frames.shape[-2:])
    found = fitted(stack, keep, model, np.float32(dose_per_count))
    shape = (*frames.shape[:-2], 2)
    return found[:, :2].reshape(shape), found[:, 2:4].reshape(shape)


def fitted(frames: np.ndarray, keep: np.ndarray, model: DiscModel, electrons) -> np.ndarray:
    """x, y, their sigma, and reduced chi-squared of the disc in each frame."""
    out = np.empty((len(frames), 5))
    window, _ = window_of(model)
    fit_discs(frames, keep, starts_of(frames, keep, model), electrons, window, out)
    return out


def starts_of(frames: np.ndarray, keep: np.ndarray, model: DiscModel) -> np.ndarray:
    """Where to begin to look for the disc in each frame."""
    if model.centre is not None:
        keep = keep & disc(keep.shape, model.centre, 2.5 * model.radius)
    return np.asarray(centroid(frames, keep, threshold=1.0))


def numbers_of_terms(radius: float, order: int) -> list[int]:
    """How many terms to try one after the other: not too many for the disc's pixels."""
    most = math.pi * radius**2 / _PIXELS_PER_TERM
    numbers = [n_polynomials(k) for k in ORDERS if k <= order]
    return [n for n in numbers if n == 1 or n <= most]


def window_of(model: DiscModel) -> tuple[tuple, np.ndarray]:
    """What the compiled fit needs to know of a disc; see `_disc_kernels.fit_discs`.

    Also returned are the sums of Zernike polynomials that its terms but the first are, one a row.
    """
    reach = math.ceil(model.radius + max(4 * model.edge_width, 2.5) + 1)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    within = np.hypot(x, y) <= reach
    offsets = np.stack([x[within], y[within]]).astype(np.int64)
    contrast = model.contrast
    if contrast is None:
        contrast = ContrastPrior(ORDERS[-1]).covariance(
            numbers_of_terms(model.radius, ORDERS[-1])[-1]
        )
    variances, sums = independent_terms(contrast)
    polynomials = zernike(offsets / (model.radius + 1), math.isqrt(2 * len(contrast) + 2) - 1)
    terms = np.concatenate([polynomials[:1], sums @ polynomials[1:]])
    precision = np.concatenate([[0.0], 1 / variances])
    n_terms = np.array([n for n in map(n_polynomials, ORDERS) if n <= len(terms)])
    left_out = np.append(variances[::-1].cumsum()[::-1], 0.0)[n_terms - 1]
    shape = np.array([model.radius, model.edge_width], float)
    return (shape, offsets, terms.astype(np.float32), precision, n_terms, left_out), sums


def check_model(model: DiscModel) -> None:
    """Say what is wrong with a model."""
    if not (math.isfinite(model.radius) and model.radius >= 1):
        raise ValueError(f"The disc's radius is {model.radius} px. At least 1 px is needed.")
    if not (math.isfinite(model.edge_width) and model.edge_width > 0):
        raise ValueError(f"The disc's edge width is {model.edge_width} px. Give a positive number.")
    if model.contrast is None:
        return
    contrast = np.asarray(model.contrast, float)
    degree = math.isqrt(2 * len(contrast) + 2) - 1 if contrast.ndim else 0
    if contrast.shape != (n_polynomials(degree) - 1,) * 2:
        raise ValueError(
            f"The contrast has shape {contrast.shape}. It is a covariance of all Zernike "
            "polynomials up to a degree but the first, as from estimate_disc; None is a guess."
        )
    least = 1e-6 * np.abs(contrast).max(initial=0)
    if not (
        np.isfinite(contrast).all()
        and np.allclose(contrast, contrast.T, atol=least)
        and (np.linalg.eigvalsh(contrast) >= -least).all()
    ):
        raise ValueError(
            "The contrast is no covariance: it must be symmetric, finite and without negative "
            "variances. Take it from estimate_disc, or None for a guess."
        )

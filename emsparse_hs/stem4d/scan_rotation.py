# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Rotation and handedness between the scan and the detector, from a map of deflections.

In the right frame the deflection by an electrostatic potential has no curl. Axes of arrays are
(y, x), components are (x, y), x points to the right and y downwards.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.fft

from emsparse_hs.stem4d.vector_calculus import fill_missing

#: Most rings of modes that share an estimate of signal and noise, the least modes that one has on
#: average, and times that the estimates are refined.
_RINGS, _MODES_A_RING, _ROUNDS = 20, 64, 4

#: Weights of the first midpoints (Press et al., Numerical Recipes, 2007, ch. 4.1).
_ENDS = (13 / 12, 7 / 8, 25 / 24)

#: What the sign of the structures may be.
POLARITIES = ("auto", "positive", "negative")


class ScanRotation(NamedTuple):
    """How the detector lies against the scan, and how well that is known.

    Attributes
    ----------
    angle : float
        In degrees between -180 and 180, by which the deflections are to be rotated to be in the
        frame of the scan; positive from +x (right) to +y (down), clockwise on a screen.
    sigma : float
        One standard deviation of the angle in degrees, from the noise.
    flip : bool
        Whether y of the detector is to be mirrored first, before the rotation.
    curl_ratio : float
        Power of the curl over that of the divergence that is left, with the weights of the fit: 0
        for a curl-free field without noise, 1 where nothing fits.
    other_curl_ratio : float
        The same for the other handedness. The flip is certain where it is much the larger.
    polarity_significance : float
        Skewness of the divergence in units of what chance gives in a Gaussian field as smooth.
        Below about 3 the angle may be wrong by 180 degrees.
    """

    angle: float
    sigma: float
    flip: bool
    curl_ratio: float
    other_curl_ratio: float
    polarity_significance: float


class _Fit(NamedTuple):
    angle: float
    sigma: float
    curl_ratio: float
    shrinkage: np.ndarray


def rotate_vectors(vectors: np.ndarray, angle: float, flip: bool = False) -> np.ndarray:
    r"""Rotate vectors, after mirroring them if asked.

    .. math:: x' = x \cos a - y \sin a, \quad y' = x \sin a + y \cos a

    Parameters
    ----------
    vectors : numpy or dask array of shape (..., 2)
        Components x, to the right, and y, downwards.
    angle : float
        In degrees, positive from +x to +y: clockwise on a screen.
    flip : bool
        Whether the sign of y is changed first.

    Returns
    -------
    array of the same shape
        A new one. Places are not moved, only what is there turns.
    """
    return vectors @ rotation_matrix(angle, flip).T


def rotation_matrix(angle: float, flip: bool = False) -> np.ndarray:
    """Matrix that mirrors y if asked, then rotates from +x to +y.

    Parameters
    ----------
    angle : float
        In degrees.
    flip : bool
        Whether the sign of y is changed first.

    Returns
    -------
    float64 array of shape (2, 2)
        For columns (x, y). Quarter turns are exact.
    """
    quarters = angle / 90
    if quarters == round(quarters):
        cosine, sine = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[round(quarters) % 4]
    else:
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([1.0, -1.0 if flip else 1.0])


def scan_rotation(
    deflection: np.ndarray,
    flip: bool | str = "auto",
    polarity: str = "auto",
    step: tuple[float, float] = (1.0, 1.0),
) -> ScanRotation:
    r"""Rotation that makes deflections curl-free.

    For each test function :math:`\varphi = \sin(\pi m x / L_x) \sin(\pi n y / L_y)`, which is zero
    on the borders, the divergence :math:`D = \sum F \cdot \nabla \varphi` and the curl
    :math:`C = \sum F \times \nabla \varphi` of a field that was rotated by -a are exactly
    :math:`D = D_0 \cos a` and :math:`C = -D_0 \sin a`, whatever the field does at the borders. With
    weights w the curl is smallest at

    .. math:: \tan 2a = \frac{-2 \sum w\, C D}{\sum w\, (D^2 - C^2)}

    The weights are those of maximum likelihood for Gaussian fields with power S and noise N,
    :math:`w = S / (N (S + N))`, N and S from C and D of modes of similar frequency. The idea of
    the curl-free frame is that of Lazić et al. (Ultramicroscopy 160 (2016) 265) and Savitzky et
    al. (Microsc. Microanal. 27 (2021) 712), who try angles one by one.

    Parameters
    ----------
    deflection : array of shape (y, x, 2)
        In any unit. Places without a value (NaN) are filled from their neighbours.
    flip : {"auto", True, False}
        Whether y is to be mirrored first. By default what leaves less curl.
    polarity : {"auto", "positive", "negative"}
        Curl can't tell an angle from the angle half a turn away. Electrons converge on positive
        charge. "positive": what stands out of the scan is positive, as atoms are, so that the
        divergence of the deflection has its long tail on the negative side; "negative": the
        opposite. "auto" is "positive".
    step : (float, float)
        Distance between positions along y and x, in one unit.

    Returns
    -------
    ScanRotation
        Rotate by it with ``rotate_vectors(deflection, result.angle, result.flip)``.

    Raises
    ------
    ValueError
        If the shape is not that of a scan of at least 8 x 8 positions, nothing in it varies, or an
        option is not known.
    """
    if flip not in ("auto", True, False):
        raise ValueError(f"flip is {flip!r}. Choose 'auto', True or False.")
    if polarity not in POLARITIES:
        raise ValueError(f"polarity is {polarity!r}. Choose one of {', '.join(POLARITIES)}.")
    field = _checked(deflection)
    candidates = (False, True) if flip == "auto" else (bool(flip),)
    coefficients = {
        one: _coefficients(rotate_vectors(field, 0, one), step) for one in (False, True)
    }
    fits = {one: _fit(*coefficients[one]) for one in (False, True)}
    best = min(candidates, key=lambda one: fits[one].curl_ratio)
    fit = fits[best]
    skewness = _skewness(coefficients[best], fit)
    turn = 180.0 if skewness * (-1 if polarity == "negative" else 1) > 0 else 0.0
    return ScanRotation(
        angle=(math.degrees(fit.angle) + turn + 180) % 360 - 180,
        sigma=math.degrees(fit.sigma),
        flip=best,
        curl_ratio=fit.curl_ratio,
        other_curl_ratio=fits[not best].curl_ratio,
        polarity_significance=abs(skewness),
    )


def _checked(deflection: np.ndarray) -> np.ndarray:
    field = np.asarray(deflection, float)
    if field.ndim != 3 or field.shape[-1] != 2 or min(field.shape[:2]) < 8:
        raise ValueError(
            f"The deflection has shape {field.shape}. Needed is (y, x, 2) with a scan of at least "
            "8 x 8 positions."
        )
    field = fill_missing(field)
    if not np.ptp(field, axis=(0, 1)).any():
        raise ValueError("The deflection is the same everywhere, which tells nothing of rotation.")
    # A mean has no curl, but if it is much larger than what varies, sums no longer cancel.
    return field - field.mean((0, 1))


def _coefficients(field: np.ndarray, step) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Divergence and curl against the test functions, with white noise kept white, and |k|.

    Midpoints of pixels and borders half a pixel outside make sines and cosines orthogonal.
    """
    rows, columns = field.shape[:2]
    x, y = np.moveaxis(field, -1, 0) * _integration_weights(rows)[:, None]
    x, y = np.stack([x, y]) * _integration_weights(columns)
    ky = np.arange(1, rows)[:, None] / (rows * step[0])
    kx = np.arange(1, columns) / (columns * step[1])
    k = np.hypot(ky, kx)
    along_x = _cosine(_sine(x, 0), 1) * (kx / k)
    along_y = _sine(_cosine(y, 0), 1) * (ky / k)
    turned_x = _sine(_cosine(x, 0), 1) * (ky / k)
    turned_y = _cosine(_sine(y, 0), 1) * (kx / k)
    return along_x + along_y, turned_x - turned_y, k


def _integration_weights(n: int) -> np.ndarray:
    """Midpoint rule with ends of fourth order: sums of pixels are integrals up to the borders."""
    weights = np.ones(n)
    weights[:3] = _ENDS
    weights[-3:] = _ENDS[::-1]
    return weights


def _sine(array: np.ndarray, axis: int) -> np.ndarray:
    transformed = scipy.fft.dst(array, type=2, axis=axis, norm="ortho")
    return np.take(transformed, np.arange(array.shape[axis] - 1), axis)


def _cosine(array: np.ndarray, axis: int) -> np.ndarray:
    transformed = scipy.fft.dct(array, type=2, axis=axis, norm="ortho")
    return np.take(transformed, np.arange(1, array.shape[axis]), axis)


def _fit(divergence: np.ndarray, curl: np.ndarray, k: np.ndarray) -> _Fit:
    """Angle with the least curl, its standard deviation, and the part of signal in each mode."""
    rings = _rings(k)
    total = _ring_means(divergence**2 + curl**2, rings)
    weights = shrinkage = np.ones_like(k)
    for _ in range(_ROUNDS):
        angle = 0.5 * math.atan2(
            2 * np.sum(weights * curl * divergence),
            np.sum(weights * (divergence**2 - curl**2)),
        )
        across = curl * math.cos(angle) - divergence * math.sin(angle)
        along = divergence * math.cos(angle) + curl * math.sin(angle)
        noise = np.maximum(_ring_means(across**2, rings), 1e-20 * total.max())
        signal = np.maximum(_ring_means(along**2, rings) - noise, 0)
        if not signal.any():
            break
        shrinkage = signal / (signal + noise)
        weights = shrinkage / noise
        weights = weights / weights.max()
    information = np.sum(weights * (along**2 - across**2))
    scatter = np.sum(weights**2 * along**2 * noise)
    ratio = np.sum(weights * across**2) / np.sum(weights * along**2)
    return _Fit(angle, math.sqrt(scatter) / max(information, 1e-300), float(ratio), shrinkage)


def _rings(k: np.ndarray) -> np.ndarray:
    """Number of the ring of each mode, rings of about the same width in |k|."""
    rings = max(1, min(_RINGS, k.size // _MODES_A_RING))
    order = np.empty(k.size)
    order[np.argsort(k, axis=None, kind="stable")] = np.arange(k.size) / k.size
    return (np.sqrt(order) * rings).astype(int).reshape(k.shape)


def _ring_means(power: np.ndarray, rings: np.ndarray) -> np.ndarray:
    means = np.bincount(rings.ravel(), power.ravel()) / np.bincount(rings.ravel())
    return means[rings]


def _skewness(coefficients, fit: _Fit) -> float:
    """Skewness of the divergence in the frame of the fit, over its standard deviation by chance.

    Divided by |k| and shrunk where there is noise, the divergence keeps its tail and not the noise.
    """
    divergence, curl, _ = coefficients
    along = divergence * math.cos(fit.angle) + curl * math.sin(fit.angle)
    padded = np.pad(along * fit.shrinkage, ((0, 1), (0, 1)))
    # Minus, since the integral of div F times a test function is that of -F times its gradient.
    image = -scipy.fft.idst(scipy.fft.idst(padded, type=2, axis=0), type=2, axis=1)
    image = image[2:-2, 2:-2] - image[2:-2, 2:-2].mean()
    spread = math.sqrt(np.mean(image**2))
    if not spread:
        return 0.0
    # Neighbours are alike: of a Gaussian field the mean cube has the variance 6 sum(rho^3) / n,
    # rho being the correlation of positions some steps apart.
    correlation = scipy.fft.ifft2(np.abs(scipy.fft.fft2(image)) ** 2).real / image.size / spread**2
    chance = math.sqrt(6 * max(np.sum(correlation**3), 1.0) / image.size)
    return float(np.mean(image**3) / spread**3 / chance)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Contrast inside a disc: what Zernike polynomials it is made of, and how much is to be expected.

The coefficients c of a disc's intensity, as parts of its mean, are taken for Gaussian with a
covariance that is the same in all directions: a sum of known ones with unknown powers. These are

- waves of one length that run in any direction with any phase, as interference makes them. Of a
  wave exp(i k r) the coefficient of the polynomial of degree n and frequency m is proportional to
  sqrt(n + 1) J_{n+1}(k) / k, with the sign of (-1)^((n - m) / 2) (Noll, J. Opt. Soc. Am. 66 (1976)
  207). What a wave does inside the disc so tells what it does at the rim, where it would
  otherwise be taken for a shift;
- polynomials of one degree that vary independently of each other, for all that is no wave.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import eval_jacobi, jv

#: Contrast, as a part of the mean, that is expected before the data are seen.
_EXPECTED = 0.15

#: Step in radians over the unit disc between the wave numbers.
_STEP = 0.5

#: Distance from the middle, in units of the terms' disc, beyond which curved ones are constant.
_CONSTANT_FROM = 1.1

#: Least variance of a term, of a root mean square of .01 % of the mean: an exact zero can't be
#: divided by.
_LEAST_VARIANCE = 1e-8

#: Number of measurements that what is expected counts for, and steps of learning at a time.
_FEWEST, _LEARNING_STEPS = 3, 10


def n_polynomials(degree: int) -> int:
    """How many Zernike polynomials there are up to a degree."""
    return (degree + 1) * (degree + 2) // 2


def zernike(places: np.ndarray, degree: int) -> np.ndarray:
    """Zernike polynomials up to a degree at some places, of root mean square 1 on the unit disc.

    Parameters
    ----------
    places : float array of shape (2, p)
        x and y, in radii.
    degree : int
        The greatest.

    Returns
    -------
    float64 array of shape (t, p)
    """
    distance = np.hypot(*places)
    angle = np.arctan2(places[1], places[0])
    terms = []
    for n, m in zip(*_degrees_and_turns(degree), strict=True):
        k = abs(m)
        # Without a bound they would grow fast outside, and take the tail of a soft edge for theirs;
        # a gradient goes on over it.
        radius = np.minimum(distance, _CONSTANT_FROM) if n > 1 else distance
        radial = radius**k * eval_jacobi((n - k) // 2, 0, k, 2 * radius**2 - 1)
        radial *= math.sqrt((n + 1) * (2 if m else 1))
        terms.append(radial * (np.cos(k * angle) if m >= 0 else np.sin(k * angle)))
    return np.array(terms)


def _degrees_and_turns(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Degree n of each polynomial, and its frequency m around the disc, negative for sines."""
    degrees = np.repeat(np.arange(degree + 1), np.arange(1, degree + 2))
    turns = np.concatenate([np.arange(-n, n + 1, 2) for n in range(degree + 1)])
    return degrees, turns


class ContrastPrior:
    """Contrast that is expected of the discs of a scan, with powers that can be learned.

    Parameters
    ----------
    degree : int
        Of the Zernike polynomials at the most; 0 for a disc that is even.

    Attributes
    ----------
    powers : float64 array
        Mean square of each kind of contrast, as a part of the mean intensity's square.
    """

    def __init__(self, degree: int) -> None:
        degrees, turns = _degrees_and_turns(degree)
        kinds = [np.diag(degrees == n).astype(float) for n in range(1, degree + 1)]
        powers = [_EXPECTED**2 / n for n in range(1, degree + 1)]
        wave_numbers = _STEP * np.arange(1, 2 * degree + 5 if degree else 1)
        for k in wave_numbers:
            wave = 2 * np.sqrt(degrees + 1) * jv(degrees + 1, k) / k
            wave *= (-1.0) ** ((degrees - np.abs(turns)) // 2)
            kinds.append(np.outer(wave, wave) * (turns[:, None] == turns))
            powers.append(_EXPECTED**2 / len(wave_numbers))
        self.powers = np.array(powers)
        # Without the mean, which the others are parts of.
        n_terms = len(degrees)
        self._kinds = np.array(kinds).reshape(len(kinds), n_terms, n_terms)[:, 1:, 1:]

    def covariance(self, n_terms: int) -> np.ndarray:
        """Covariance of the coefficients but the mean's; float64, of shape (t - 1, t - 1)."""
        return np.tensordot(self.powers, self._kinds[:, : n_terms - 1, : n_terms - 1], 1)

    def learn(self, scores: np.ndarray, information: np.ndarray, weights: np.ndarray) -> None:
        """Come closer to the powers of the greatest evidence of some frames.

        MacKay's fixed point (Neural Computation 4 (1992) 415): each power times what the
        coefficients show of its kind, over what they would show of it by chance.

        Parameters
        ----------
        scores : float64 array of shape (n, t - 1)
            Derivative of each frame's likelihood by the coefficients, where they are zero.
        information : float64 array of shape (n, t - 1, t - 1)
            Inverse covariance of the coefficients, from the frame's counts alone.
        weights : float64 array of shape (n,)
            Probability that a frame has contrast.
        """
        n_terms = information.shape[-1] + 1
        kinds = self._kinds[:, : n_terms - 1, : n_terms - 1]
        used = weights > 1e-3
        scores, information, weights = scores[used], information[used], weights[used]
        for _ in range(_LEARNING_STEPS):
            mixed = np.eye(n_terms - 1) + information @ self.covariance(n_terms)
            shown = np.linalg.solve(mixed, scores[:, :, None])[:, :, 0]
            shown = (shown * weights[:, None]).T @ shown
            chance = np.tensordot(weights, np.linalg.solve(mixed, information), 1)
            shown, chance = (self.powers * (kinds * each).sum((1, 2)) for each in (shown, chance))
            # What is hardly measured keeps what was expected.
            self.powers = self.powers * (shown + _FEWEST) / (chance + _FEWEST)


def independent_terms(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of polynomials that are expected to vary independently, the strongest first.

    A few of them do for contrast that is of the same kind in all frames.

    Parameters
    ----------
    covariance : float64 array of shape (t - 1, t - 1)
        Of all coefficients but the mean's.

    Returns
    -------
    variances : float64 array of shape (t - 1,)
        Falling.
    sums : float64 array of shape (t - 1, t - 1)
        Coefficients of the polynomials, one sum a row. Orthonormal.
    """
    variances, vectors = np.linalg.eigh(covariance)
    falling = np.argsort(-variances, kind="stable")
    return np.maximum(variances[falling], _LEAST_VARIANCE), vectors[:, falling].T

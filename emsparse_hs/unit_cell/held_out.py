# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
r"""Scores as if some of the electrons had been held out, to ask what predicts those best.

A count is thinned by sending each electron one way or the other; both parts are Poisson and
independent. A score sums hundreds of counts and is normal, and a normal number is thinned as well:
with noise :math:`z` of the same variance, :math:`x + z \sqrt{(1 - p) / p}` and
:math:`x - z \sqrt{p / (1 - p)}` are independent, and what they know of the expectation adds up to
what :math:`x` knows, in shares :math:`p` and :math:`1 - p` (Neufeld, Dharamshi, Gao and Witten, J.
Mach. Learn. Res. 25 (2024) 57).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.signal import windows

from emsparse_hs.unit_cell.alignment import thinned
from emsparse_hs.unit_cell.dictionary import fit_atoms, fourier_basis, parts

#: Share of the electrons that is fitted.
_FITTED = 0.9
#: Cycles a pixel along both axes beyond which there is noise alone.
_CORNER = 0.36
#: Scores that noise is estimated from, the strongest ones: weak ones are those directions among all
#: in which there happens to be much of it.
_STRONGEST = 12


@dataclass(frozen=True)
class ThinnedScores:
    """Scores of a scan, split into independent ones.

    Attributes
    ----------
    fitted, held_out : float32 arrays of shape (y, x, scores)
        Both have the expectation of the scores, and independent noise.
    noise : float
        Variance of the noise of those that are held out.
    """

    fitted: np.ndarray
    held_out: np.ndarray
    noise: float

    @classmethod
    def of(cls, scores: np.ndarray, noise: float, seed: int = 0) -> ThinnedScores:
        """Thin scores.

        Parameters
        ----------
        scores : float32 array of shape (y, x, scores)
            Of the scan.
        noise : float
            Variance of the noise in each of them, which is independent from position to position.
            If it is taken to be larger than it is, what is predicted looks somewhat worse than it
            is; if smaller, noise that both parts share passes for what is predicted.
        seed : int
            Of the noise that is added. Scores that are thinned again need another one.

        Returns
        -------
        ThinnedScores
        """
        random = np.random.default_rng(seed)
        added = random.standard_normal(scores.shape, dtype=np.float32) * np.float32(noise**0.5)
        odds = np.float32(((1 - _FITTED) / _FITTED) ** 0.5)
        return cls(scores + odds * added, scores - added / odds, noise / (1 - _FITTED))


def noise_variance(scores: np.ndarray) -> float:
    """Variance of the noise, from the corners of the scan's spectrum.

    Noise is as strong at all frequencies, while an aperture lets through only low ones, and of
    these a crystal has few.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan, of equal noise, the strongest first.

    Returns
    -------
    float
        Median of the scores. Too small if the scan was smoothed or resampled.
    """
    # A window, so that strong waves don't leak to where they are not.
    y, x = (windows.hann(n, sym=False).astype(np.float32) for n in scores.shape[:2])
    window = y[:, np.newaxis] * x
    frequencies = [np.abs(fft.fftfreq(n)) > _CORNER for n in scores.shape[:2]]
    corners = np.ix_(*frequencies)
    scale = np.square(window).sum(dtype=float)
    medians = [
        np.median(np.square(np.abs(fft.fft2(score * window)[corners])))
        for score in np.moveaxis(scores[..., :_STRONGEST], -1, 0)
    ]
    # The median of what is distributed exponentially, as the power of noise is, is ln 2.
    return float(np.median(medians) / (np.log(2) * scale))


def advantage_of_two(
    scores: ThinnedScores, fractional: np.ndarray, indices: np.ndarray, halves: np.ndarray
) -> float:
    """How much better two series predict what is held out than one does.

    Parameters
    ----------
    scores : ThinnedScores
        Of the scan.
    fractional : array of shape (y, x, 2)
        Position in the cell, in cells.
    indices : int array of shape (m, 2)
        Harmonics.
    halves : int array of shape (y, x)
        0 and 1 where the one and the other series is, and -1 elsewhere.

    Returns
    -------
    float
        Mean difference of the two squared errors, in its standard errors: above 2 or 3 if the two
        halves differ in anything. 0 without both.
    """
    halves = np.where(thinned(halves >= 0), halves, -1)
    sizes = [(halves == half).sum() for half in (0, 1)]
    if min(sizes) == 0:
        return 0.0
    of_one = _errors(scores, fractional, indices, halves >= 0)
    of_two = np.zeros_like(of_one)
    for half in (0, 1):
        own = halves == half
        of_two[own[halves >= 0]] = _errors(scores, fractional, indices, own)
    return advantage(of_one, of_two)


def advantage(of_one: np.ndarray, of_other: np.ndarray) -> float:
    """How much smaller the second errors are than the first ones, in standard errors.

    Parameters
    ----------
    of_one, of_other : arrays of shape (n,)
        Squared errors at the same positions.

    Returns
    -------
    float
        Mean difference in its standard errors, positions taken as independent.
    """
    better = of_one - of_other
    return float(better.mean() / (better.std() / np.sqrt(len(better)) + 1e-30))


def _errors(scores: ThinnedScores, fractional, indices, where) -> np.ndarray:
    """Squared errors of what one series predicts, at some positions."""
    fitted, fractional = scores.fitted[where], fractional[where]
    whole = np.ones((len(fitted), 1), np.float32)
    (series,) = fit_atoms(fitted, fractional, indices, whole)
    errors = scores.held_out[where]
    for part in parts(len(errors)):
        errors[part] -= fourier_basis(fractional[part], indices) @ series
    return np.einsum("nr,nr->n", errors, errors)

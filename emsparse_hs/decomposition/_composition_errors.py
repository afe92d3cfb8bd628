# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How well counts of components in some channels are known, and what is computed from them."""

from __future__ import annotations

import numpy as np


def sum_variances(loadings: np.ndarray, sums: np.ndarray) -> np.ndarray:
    r"""Variances of the counts that each component has in sets of channels.

    The counts of a set are Poisson distributed in each pixel, about :math:`y_i = \sum_k p_{ik}
    s_k`, where p are the parts of a component's counts that are in pixel i. For given p, the
    variances of s are at least those of the inverse of Fisher's information (Rao, Bull. Calcutta
    Math. Soc. 37 (1945) 81)

    .. math:: F_{kl} = \sum_i p_{ik} p_{il} / y_i

    A component that is alone in its pixels has those of Poisson's law, which are its counts. Others
    have more, by the noise of what is with them.

    Parameters
    ----------
    loadings : array of shape (n_pixels, n_components)
        None negative; of any scale.
    sums : array of shape (n_components, n_sets)
        Counts, over all pixels.

    Returns
    -------
    float64 array of shape (n_components, n_sets)
        In squared counts.
    """
    totals = loadings.sum(0, dtype=np.float64)
    parts = loadings / np.where(totals > 0, totals, 1)
    variances = np.zeros(sums.shape)
    for variance, counts in zip(variances.T, sums.T, strict=True):
        expected = parts @ counts
        inverse = np.divide(1, expected, out=np.zeros_like(expected), where=expected > 0)
        information = (parts * inverse[:, None]).T @ parts
        variance[:] = np.diag(np.linalg.pinv(information, hermitian=True))
    return variances


def share_errors(
    intensities: np.ndarray, covariances: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    r"""Standard errors of shares, :math:`c_l = g_l I_l / \sum_m g_m I_m`.

    Parameters
    ----------
    intensities : array of shape (n_spectra, n_lines)
        The I.
    covariances : array of shape (n_spectra, n_lines, n_lines)
        Of the intensities of each spectrum.
    factors : array of shape (n_lines,) or (n_spectra, n_lines)
        The g.

    Returns
    -------
    float64 array of shape (n_spectra, n_lines)
        To first order. NaN where the sum is not positive.
    """
    amounts = factors * intensities
    totals = amounts.sum(1, keepdims=True)
    totals = np.where(totals > 0, totals, np.nan)
    n_lines = intensities.shape[1]
    slopes = np.eye(n_lines) - (amounts / totals)[:, :, None]
    slopes = slopes * (np.broadcast_to(factors, intensities.shape) / totals)[:, None, :]
    variances = np.einsum("klm,kmn,kln->kl", slopes, covariances, slopes)
    return np.sqrt(np.maximum(variances, 0))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops of the Dirichlet prior over sparse counts; their numpy twins are in the tests.

Arrays are as in `_kernels`. The posterior of a pixel's fractions is a Dirichlet distribution. Its
shapes are those of the prior plus the counts that each component is expected to have made.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from ._kernels import _OPTIONS, TINY, _climb, _contribute, _divide, _expect, _longest

#: Shape from which on the series of the digamma function is good to 1e-6.
_LARGE = 5.0


@numba.njit(inline="always", **_OPTIONS)
def _digamma(x):
    """Digamma function of a positive number (Abramowitz and Stegun, 6.3.5 and 6.3.18)."""
    below = 0.0
    while x < _LARGE:
        below += 1 / x
        x += 1
    square = 1 / (x * x)
    return math.log(x) - 0.5 / x - square * (1 / 12 - square * (1 / 120 - square / 252)) - below


@numba.njit(inline="always", **_OPTIONS)
def _geometric_mean(shape):
    """exp(digamma(shape)), and 0 for shape 0."""
    if shape <= 0:
        return np.float32(0)
    x = np.float64(shape)
    if x >= _LARGE:
        return np.float32(_exp_digamma_series(x))
    # Five steps of digamma(x) = digamma(x + 1) - 1 / x, with one division.
    a, b, c, d = x * (x + 4), (x + 1) * (x + 3), x + 2, 2 * x + 4
    below = (d * c * (a + b) + a * b) / (a * b * c)
    return np.float32(_exp_digamma_series(x + 5) * math.exp(-below))


@numba.njit(inline="always", **_OPTIONS)
def _exp_digamma_series(x):
    # In powers of 1 / (x - 1/2), in which it converges fast: exponentiate 6.3.18 term by term.
    y = x - 0.5
    square = 1 / (y * y)
    return y * (1 + square * (1 / 24 - square * (37 / 5760 - square * (10313 / 2903040))))


@numba.njit(inline="always", **_OPTIONS)
def _infer(indices, start, n, spectra, counts, prior, most, tol, shape, w, ratio):
    """Shapes of one pixel by coordinate ascent, and the geometric means that go with them."""
    for _ in range(most):
        for q in range(w.shape[0]):
            w[q] = _geometric_mean(shape[q])
        _expect(indices, start, n, spectra, w, ratio)
        _divide(counts, n, ratio)
        _climb(indices, start, n, spectra, ratio, w)
        change, total = np.float32(0), np.float32(0)
        for q in range(w.shape[0]):
            new = prior[q] + w[q]
            change = max(change, abs(new - shape[q]))
            total += new
            shape[q] = new
        if change <= tol * total:
            break
    for q in range(w.shape[0]):
        w[q] = _geometric_mean(shape[q])


@numba.njit(inline="always", **_OPTIONS)
def _load(indices, data, start, n, spectra, counts, found):
    """Bring the counts of one pixel, and the spectra where it has some, close together."""
    for p in range(n):
        counts[p] = np.float32(data[start + p])
        for q in range(spectra.shape[1]):
            found[p, q] = spectra[indices[start + p], q]


@numba.njit(**_OPTIONS)
def infer_shapes(indptr, indices, data, first, last, spectra, prior, most, tol, shapes):
    """Bring the posterior of some pixels' fractions to its best, the spectra being fixed.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    first, last : int
        Range of pixels.
    spectra : float32 array of shape (n_features, n_components)
        Each component sums to 1.
    prior : float32 array of shape (n_pixels, n_components)
        Shapes of the prior.
    most : int
        Most iterations of a pixel.
    tol : float
        A pixel is done when no shape changes by more than this fraction of their sum.
    shapes : float32 array of shape (n_pixels, n_components)
        Start; those of the range are replaced.
    """
    longest = _longest(indptr, first, last)
    ratio, counts = np.empty(longest, np.float32), np.empty(longest, np.float32)
    rows = np.arange(longest)
    found = np.empty((longest, spectra.shape[1]), np.float32)
    w = np.empty(spectra.shape[1], np.float32)
    for i in range(first, last):
        start = indptr[i]
        n = indptr[i + 1] - start
        _load(indices, data, start, n, spectra, counts, found)
        _infer(rows, 0, n, found, counts, prior[i], most, tol, shapes[i], w, ratio)


@numba.njit(**_OPTIONS)
def variational_update(
    indptr, indices, data, first, last, spectra, prior, most, tol, shapes, numerator
):
    """Update the posterior of some pixels, and sum up what they contribute to new spectra.

    Parameters
    ----------
    indptr, indices, data, first, last, spectra, prior, most, tol, shapes
        As for `infer_shapes`.
    numerator : float32 array of shape (n_features, n_components)
        Increased by the counts that a component is expected to have made in a channel, over its
        spectrum there.
    """
    longest = _longest(indptr, first, last)
    ratio, counts = np.empty(longest, np.float32), np.empty(longest, np.float32)
    rows = np.arange(longest)
    found = np.empty((longest, spectra.shape[1]), np.float32)
    w = np.empty(spectra.shape[1], np.float32)
    for i in range(first, last):
        start = indptr[i]
        n = indptr[i + 1] - start
        _load(indices, data, start, n, spectra, counts, found)
        _infer(rows, 0, n, found, counts, prior[i], most, tol, shapes[i], w, ratio)
        _expect(rows, 0, n, found, w, ratio)
        _divide(counts, n, ratio)
        _contribute(indices, start, n, ratio, w, numerator)


@numba.njit(**_OPTIONS)
def evidence_bound(indptr, indices, data, first, last, spectra, prior, shapes):
    """Lower bound of the log evidence of some pixels' counts, as float64.

    Blei, Ng and Jordan, J. Mach. Learn. Res. 3 (2003) 993, with the distribution of each count
    over the components at its best: sum_j x_j log sum_k exp(E[log f_k]) h_kj, less the divergence
    of the posterior from the prior. The factor that depends on the counts alone is left out.

    Parameters
    ----------
    indptr, indices, data, first, last, spectra, prior, shapes
        As for `infer_shapes`.
    """
    expected = np.empty(_longest(indptr, first, last), np.float32)
    w = np.empty(spectra.shape[1], np.float32)
    bound = 0.0
    for i in range(first, last):
        start = indptr[i]
        n = indptr[i + 1] - start
        total, prior_total = 0.0, 0.0
        for q in range(w.shape[0]):
            total += shapes[i, q]
            prior_total += prior[i, q]
            w[q] = _geometric_mean(shapes[i, q])
        log_mean = _digamma(total)
        bound += math.lgamma(prior_total) - math.lgamma(total)
        for q in range(w.shape[0]):
            shape, own = np.float64(shapes[i, q]), np.float64(prior[i, q])
            if shape > 0 and own > 0:
                bound += math.lgamma(shape) - math.lgamma(own)
                bound += (own - shape) * (_digamma(shape) - log_mean)
        _expect(indices, start, n, spectra, w, expected)
        for p in range(n):
            bound += data[start + p] * (math.log(max(expected[p], TINY)) - log_mean)
    return bound


@numba.njit(**_OPTIONS)
def log_information(indptr, indices, data, first, last, spectra, prior, shapes, information):
    """Observed information on the logarithms of some pixels' abundances.

    That is the complete one less the missing one (Louis, J. R. Stat. Soc. B 44 (1982) 226): the
    shapes of the prior on the diagonal, and sum_j x_j r_jk r_jl of the parts r of each channel
    that are expected of the components.

    Parameters
    ----------
    indptr, indices, data, first, last, spectra, prior, shapes
        As for `infer_shapes`.
    information : float32 array of shape (last - first, n_components, n_components)
        Filled.
    """
    longest = _longest(indptr, first, last)
    expected, w = np.empty(longest, np.float32), np.empty(spectra.shape[1], np.float32)
    part = np.empty(spectra.shape[1], np.float32)
    for i in range(first, last):
        start = indptr[i]
        n = indptr[i + 1] - start
        own = information[i - first]
        own[:] = 0
        for q in range(w.shape[0]):
            w[q] = _geometric_mean(shapes[i, q])
            own[q, q] = prior[i, q]
        _expect(indices, start, n, spectra, w, expected)
        for p in range(n):
            j, y = indices[start + p], max(expected[p], TINY)
            for q in range(w.shape[0]):
                part[q] = w[q] * spectra[j, q] / y
            for q in range(w.shape[0]):
                for r in range(w.shape[0]):
                    own[q, r] += data[start + p] * part[q] * part[r]

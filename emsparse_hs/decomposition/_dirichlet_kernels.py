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

from ._kernels import (
    _OPTIONS,
    TINY,
    _climb,
    _contribute,
    _expect,
    _find_ratios,
    _gather,
    _sum_of_logs,
    _workspace,
)

#: Shape from which on the series of the digamma function is good to 1e-6.
_LARGE = 5.0

#: Room for the shapes of a pixel is a multiple of this, so that loops over them become vectors.
_GROUP = 8

#: Coefficients of 2^x from 0 to 1, good to 3e-9.
_POWER = np.array(
    [1.0, 0.693146933, 0.240230454, 0.0554806302, 0.00968418631, 0.00123913318, 0.000218657848],
    np.float32,
)

#: Coefficients of exp(digamma(x + 1)) - x - 1/2 in powers of 1 / (x + 3/2), good to 6e-8 of the
#: function for any positive x. The first is about 1/24, as in Abramowitz and Stegun, 6.3.18.
_REST = np.array(
    [0.04167524, 0.04151962, 0.03620005, 0.01936883, 0.01169953, -0.00990644], np.float32
)


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
def _geometric_means(shape, w):
    """Fill `w` with exp(digamma(shape)), good to 4e-6; without branches, so that it is fast.

    exp(digamma(x)) = exp(-1/x) exp(digamma(x + 1)) (Abramowitz and Stegun, 6.3.5).
    """
    one = np.float32(1)
    for q in range(w.shape[0]):
        # What comes of a smaller shape is zero to rounding.
        x = max(shape[q], np.float32(1e-3))
        power = max(np.float32(-1.442695) / x, np.float32(-120))
        whole = np.int32(power) - np.int32(1)
        part = power - np.float32(whole)
        mantissa = _POWER[6]
        for i in range(5, -1, -1):
            mantissa = mantissa * part + _POWER[i]
        u = one / (x + np.float32(1.5))
        rest = _REST[5]
        for i in range(4, -1, -1):
            rest = rest * u + _REST[i]
        scale = np.int32((whole + np.int32(127)) << np.int32(23)).view(np.float32)
        w[q] = scale * mantissa * (x + np.float32(0.5) + u * rest)


@numba.njit(**_OPTIONS)
def _shapes_of_pixel(n_components):
    """Room for a pixel's shapes, those of its prior, and their geometric means."""
    room = (n_components + _GROUP - 1) // _GROUP * _GROUP
    return np.ones(room, np.float32), np.ones(room, np.float32), np.empty(room, np.float32)


@numba.njit(inline="always", **_OPTIONS)
def _infer(found, n_components, counts, length, prior, most, tol, shape, w, ratio):
    """Shapes of one pixel by coordinate ascent, and the geometric means that go with them."""
    _geometric_means(shape, w)
    for _ in range(most):
        _climb(found, n_components, counts, length, ratio, w)
        change, all_shapes = np.float32(0), np.float32(0)
        for q in range(n_components):
            new = prior[q] + w[q]
            change = max(change, abs(new - shape[q]))
            all_shapes += new
            shape[q] = new
        _geometric_means(shape, w)
        if change <= tol * all_shapes:
            break


@numba.njit(**_OPTIONS)
def infer_shapes(indptr, indices, data, first, last, spectra, prior, most, tol, beyond, shapes):
    """Bring the posterior of some pixels' fractions to its best, the spectra being fixed.

    Returns the sum of the absolute changes of their fractions, as float64.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    first, last : int
        Range of pixels.
    spectra : float32 array of shape (n_groups, n_features, 4)
        Each component sums to 1.
    prior : float32 array of shape (n_pixels, n_components)
        Shapes of the prior.
    most : int
        Most iterations of a pixel.
    tol : float
        A pixel is done when no shape changes by more than this fraction of their sum.
    beyond : float
        By what part of the whole change shapes go further than to their best; at most to half of
        it on the way down.
    shapes : float32 array of shape (n_pixels, n_components)
        Start; those of the range are replaced.
    """
    k = shapes.shape[1]
    counts, places, ratio, found, _ = _workspace(indptr, first, last, spectra)
    shape, own, w = _shapes_of_pixel(k)
    beyond, changes = np.float32(beyond), 0.0
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, places, found)
        shape[:k] = shapes[i]
        own[:k] = prior[i]
        _infer(found, k, counts, length, own, most, tol, shape, w, ratio)
        before = shapes[i].sum()
        for q in range(k):
            further = shape[q] + beyond * (shape[q] - shapes[i, q])
            shape[q] = max(further, shape[q] / 2)
        after = shape[:k].sum()
        for q in range(k):
            changes += abs(shape[q] / after - shapes[i, q] / before)
            shapes[i, q] = shape[q]
    return changes


@numba.njit(**_OPTIONS)
def variational_update(
    indptr, indices, data, first, last, spectra, prior, most, tol, shapes, numerator
):
    """Update the posterior of some pixels, and sum up what they contribute to new spectra.

    Parameters
    ----------
    indptr, indices, data, first, last, spectra, prior, most, tol, shapes
        As for `infer_shapes`.
    numerator : float32 array of shape (n_groups, n_features, 4)
        Increased by the counts that a component is expected to have made in a channel, over its
        spectrum there.
    """
    k = shapes.shape[1]
    counts, places, ratio, found, _ = _workspace(indptr, first, last, spectra)
    shape, own, w = _shapes_of_pixel(k)
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, places, found)
        shape[:k] = shapes[i]
        own[:k] = prior[i]
        _infer(found, k, counts, length, own, most, tol, shape, w, ratio)
        shapes[i] = shape[:k]
        _find_ratios(found, w, k, counts, length, ratio)
        _contribute(places, n, ratio, w, numerator)


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
    k = shapes.shape[1]
    counts, places, expected, found, _ = _workspace(indptr, first, last, spectra)
    shape, _, w = _shapes_of_pixel(k)
    bound = 0.0
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, places, found)
        shape[:k] = shapes[i]
        _geometric_means(shape, w)
        all_shapes, all_of_prior = 0.0, 0.0
        for q in range(k):
            all_shapes += shapes[i, q]
            all_of_prior += prior[i, q]
        log_mean = _digamma(all_shapes)
        bound += math.lgamma(all_of_prior) - math.lgamma(all_shapes)
        for q in range(k):
            mine, own = np.float64(shapes[i, q]), np.float64(prior[i, q])
            if mine > 0 and own > 0:
                bound += math.lgamma(mine) - math.lgamma(own)
                bound += (own - mine) * (_digamma(mine) - log_mean)
        _expect(found, w, k, length, expected)
        bound += _sum_of_logs(counts, expected, length) - counts[:n].sum() * log_mean
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
    k = shapes.shape[1]
    counts, places, expected, found, _ = _workspace(indptr, first, last, spectra)
    shape, _, w = _shapes_of_pixel(k)
    part, longest = np.empty(k, np.float32), len(counts)
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, places, found)
        shape[:k] = shapes[i]
        _geometric_means(shape, w)
        own = information[i - first]
        own[:] = 0
        for q in range(k):
            own[q, q] = prior[i, q]
        _expect(found, w, k, length, expected)
        for p in range(n):
            y = max(expected[p], TINY)
            for q in range(k):
                part[q] = w[q] * found[q * longest + p] / y
            for q in range(k):
                for r in range(k):
                    own[q, r] += counts[p] * part[q] * part[r]

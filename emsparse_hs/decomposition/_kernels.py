# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops over sparse counts; their numpy twins are in the tests.

Counts are in compressed sparse rows (CSR): `indptr`, `indices` and `data` of any real dtype, one
row a pixel. The number of components is a multiple of `GROUP`, filled up with zeros, so that four
of them stay in registers while a loop goes over the counts of a pixel.
"""

import math
from typing import Any

import numba
import numpy as np

#: Components that are worked on at once.
GROUP = 4

#: A smaller expected count is none: the logarithm of the model is cut off there.
TINY = np.float32(1e-30)

#: Smaller fractions are set to zero: many processors are slow with denormal numbers.
SMALLEST = np.float32(1e-12)

#: Neighbouring elements that are skipped together if all are zero.
STRIDE = 16

# Sums may be fused and reordered, which vector instructions need. NaN and infinities keep their
# meaning.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


@numba.njit(**_OPTIONS)
def multiplicative_update(
    indptr, indices, data, first, last, spectra, scale, loadings, numerator, totals
):
    """Update the loadings of some pixels, and sum up what they contribute to new spectra.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    first, last : int
        Range of pixels.
    spectra : float32 array of shape (n_features, n_components)
        Each component sums to 1.
    scale : float32 array of shape (n_components,)
        Factor of the loadings, left over from the last normalisation of the spectra.
    loadings : float32 array of shape (n_pixels, n_components)
        In counts; those of the range are replaced.
    numerator : float32 array of shape (n_features, n_components)
        Increased by sum_i (x_ij / y_ij) w_ik, with the new loadings.
    totals : float64 array of shape (n_components,)
        Increased by sum_i w_ik.
    """
    n_components = spectra.shape[1]
    longest = _longest(indptr, first, last)
    ratio = np.empty(longest, np.float32)
    counts = np.empty(longest, np.float32)
    w = np.empty(n_components, np.float32)
    for i in range(first, last):
        start = indptr[i]
        n = indptr[i + 1] - start
        for p in range(n):
            counts[p] = np.float32(data[start + p])
        for q in range(n_components):
            w[q] = loadings[i, q] * scale[q]
        _expect(indices, start, n, spectra, w, ratio)
        _divide(counts, n, ratio)
        _climb(indices, start, n, spectra, ratio, w)
        for q in range(n_components):
            loadings[i, q] = w[q]
            totals[q] += w[q]
        _expect(indices, start, n, spectra, w, ratio)
        _divide(counts, n, ratio)
        _contribute(indices, start, n, ratio, w, numerator)


@numba.njit(**_OPTIONS)
def maximise_likelihood(indptr, indices, data, first, last, spectra, max_iter, tol, loadings):
    """Iterate the loadings of some pixels to their maximum likelihood, the spectra being fixed.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    first, last : int
        Range of pixels.
    spectra : float32 array of shape (n_features, n_components)
        Each component sums to 1.
    max_iter : int
        Most iterations of a pixel.
    tol : float
        A pixel is done when no loading changes by more than this fraction of its counts.
    loadings : float32 array of shape (n_pixels, n_components)
        Start, in counts; those of the range are replaced.
    """
    n_components = spectra.shape[1]
    longest = _longest(indptr, first, last)
    ratio = np.empty(longest, np.float32)
    counts = np.empty(longest, np.float32)
    rows = np.arange(longest)
    found = np.empty((longest, n_components), np.float32)
    w = np.empty(n_components, np.float32)
    for i in range(first, last):
        start = indptr[i]
        n = indptr[i + 1] - start
        total = np.float32(0)
        for p in range(n):
            counts[p] = np.float32(data[start + p])
            total += counts[p]
            for q in range(n_components):
                found[p, q] = spectra[indices[start + p], q]
        for q in range(n_components):
            w[q] = loadings[i, q]
        for _ in range(max_iter):
            _expect(rows, 0, n, found, w, ratio)
            _divide(counts, n, ratio)
            _climb(rows, 0, n, found, ratio, w)
            change = np.float32(0)
            for q in range(n_components):
                change = max(change, abs(w[q] - loadings[i, q]))
                loadings[i, q] = w[q]
            if change <= tol * total:
                break


@numba.njit(**_OPTIONS)
def log_likelihood(indptr, indices, data, first, last, spectra, scale, loadings):
    """Sum of x_ij log y_ij over the stored counts of some pixels, as float64.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    first, last : int
        Range of pixels.
    spectra : float32 array of shape (n_features, n_components)
        Spectra of the model.
    scale : float32 array of shape (n_components,)
        Factor of the loadings.
    loadings : float32 array of shape (n_pixels, n_components)
        Loadings of the model.
    """
    n_components = spectra.shape[1]
    expected = np.empty(_longest(indptr, first, last), np.float32)
    w = np.empty(n_components, np.float32)
    total = 0.0
    for i in range(first, last):
        start = indptr[i]
        n = indptr[i + 1] - start
        for q in range(n_components):
            w[q] = loadings[i, q] * scale[q]
        _expect(indices, start, n, spectra, w, expected)
        for p in range(n):
            total += data[start + p] * math.log(max(expected[p], TINY))
    return total


@numba.njit(**_OPTIONS)
def _longest(indptr, first, last):
    longest = 0
    for i in range(first, last):
        longest = max(longest, indptr[i + 1] - indptr[i])
    return longest


@numba.njit(inline="always", **_OPTIONS)
def _expect(indices, start, n, spectra, w, expected):
    """Fill `expected` with the model's counts y where counts are stored."""
    for p in range(n):
        expected[p] = 0
    for q in range(0, w.shape[0], GROUP):
        w0, w1, w2, w3 = w[q], w[q + 1], w[q + 2], w[q + 3]
        for p in range(n):
            # Unsigned, so that no check for negative indices stands in the innermost loop.
            j = np.uint32(indices[start + p])
            expected[p] += (w0 * spectra[j, q] + w1 * spectra[j, q + 1]) + (
                w2 * spectra[j, q + 2] + w3 * spectra[j, q + 3]
            )


@numba.njit(inline="always", **_OPTIONS)
def _divide(counts, n, ratio):
    """Turn the model's counts y into ratios x / y, 0 where the model says a count can't be."""
    for p in range(n):
        y = ratio[p]
        ratio[p] = counts[p] / y if y > TINY else np.float32(0)


@numba.njit(inline="always", **_OPTIONS)
def _climb(indices, start, n, spectra, ratio, w):
    """Multiply the loadings of one pixel by sum_j (x_j / y_j) h_kj, and flush what is nothing."""
    total = np.float32(0)
    for q in range(0, w.shape[0], GROUP):
        g0 = g1 = g2 = g3 = np.float32(0)
        for p in range(n):
            j = np.uint32(indices[start + p])
            r = ratio[p]
            g0 += r * spectra[j, q]
            g1 += r * spectra[j, q + 1]
            g2 += r * spectra[j, q + 2]
            g3 += r * spectra[j, q + 3]
        w[q] *= g0
        w[q + 1] *= g1
        w[q + 2] *= g2
        w[q + 3] *= g3
        total += (w[q] + w[q + 1]) + (w[q + 2] + w[q + 3])
    for q in range(w.shape[0]):
        if w[q] < SMALLEST * total:
            w[q] = 0


@numba.njit(inline="always", **_OPTIONS)
def _contribute(indices, start, n, ratio, w, numerator):
    """Add (x_j / y_j) w_k of one pixel."""
    for q in range(0, w.shape[0], GROUP):
        w0, w1, w2, w3 = w[q], w[q + 1], w[q + 2], w[q + 3]
        for p in range(n):
            j = np.uint32(indices[start + p])
            r = ratio[p]
            numerator[j, q] += r * w0
            numerator[j, q + 1] += r * w1
            numerator[j, q + 2] += r * w2
            numerator[j, q + 3] += r * w3


@numba.njit(**_OPTIONS)
def count_stored(rows, stored):
    """Count the elements of each row that are not zero (NaN is not).

    Parameters
    ----------
    rows : array of shape (n_pixels, n_features)
        C-contiguous, of any real dtype.
    stored : integer array of shape (n_pixels,)
        Filled.
    """
    for i in range(rows.shape[0]):
        n = np.int32(0)
        for j in range(rows.shape[1]):
            n += np.int32(rows[i, j] != 0)
        stored[i] = n


@numba.njit(**_OPTIONS)
def fill_stored(rows, indptr, indices, data):
    """Copy the elements that are not zero, and where they are.

    Parameters
    ----------
    rows : array of shape (n_pixels, n_features)
        C-contiguous, of any real dtype.
    indptr : integer array of shape (n_pixels + 1,)
        Where each row starts in the following two, from `count_stored`.
    indices : int32 array
        Filled with features.
    data : array of the dtype of `rows`
        Filled with values.
    """
    n_features = rows.shape[1]
    whole = n_features - n_features % STRIDE
    for i in range(rows.shape[0]):
        p = indptr[i]
        for first in range(0, whole, STRIDE):
            n = np.int32(0)
            for j in range(first, first + STRIDE):
                n += np.int32(rows[i, j] != 0)
            if n:
                for j in range(first, first + STRIDE):
                    if rows[i, j] != 0:
                        indices[p] = j
                        data[p] = rows[i, j]
                        p += 1
        for j in range(whole, n_features):
            if rows[i, j] != 0:
                indices[p] = j
                data[p] = rows[i, j]
                p += 1


@numba.njit(**_OPTIONS)
def sum_by_label(indptr, indices, data, labels, sums):
    """Sum the spectra of the pixels of each label.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    labels : integer array of shape (n_pixels,)
        From 0 on.
    sums : float64 array of shape (n_labels, n_features)
        Increased.
    """
    for i in range(labels.shape[0]):
        label = labels[i]
        for p in range(indptr[i], indptr[i + 1]):
            sums[label, indices[p]] += data[p]


@numba.njit(**_OPTIONS)
def weighted_gram(indptr, indices, data, first, last, weights, bins, gram):
    """Sum the outer products of the weighted rows of some pixels: the lower triangle.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    first, last : int
        Range of pixels.
    weights : float32 array of shape (n_pixels,)
        Factor of each pixel's spectrum.
    bins : int32 array of shape (n_features,)
        Which features are added up before anything else; ascending.
    gram : float32 array of shape (n_bins, n_bins)
        Increased.
    """
    found = np.empty(gram.shape[0], np.int32)
    values = np.empty(gram.shape[0], np.float32)
    for i in range(first, last):
        n = 0
        for p in range(indptr[i], indptr[i + 1]):
            b = bins[indices[p]]
            if n == 0 or found[n - 1] != b:
                found[n] = b
                values[n] = 0
                n += 1
            values[n - 1] += weights[i] * np.float32(data[p])
        for p in range(n):
            for q in range(p + 1):
                gram[found[p], found[q]] += values[p] * values[q]

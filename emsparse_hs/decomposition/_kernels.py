# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops over sparse counts; their numpy twins are in the tests.

Counts are in compressed sparse rows (CSR): `indptr`, `indices` and `data` of any real dtype, one
row a pixel. What belongs to a pixel is brought together first, so that vectors of neighbouring
values can be worked on.
"""

import math
from typing import Any

import numba
import numpy as np

from emsparse_hs._vectors import vectors

#: Values that are worked on at once.
LANES = 16
_of = vectors(LANES)
zeros, load, store, total = _of.zeros, _of.load, _of.store, _of.total
add_scaled, add_product, quotient = _of.add_scaled, _of.add_product, _of.quotient

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
    counts, ratio, found = _workspace(indptr, first, last, n_components)
    w = np.empty(n_components, np.float32)
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, found)
        for q in range(n_components):
            w[q] = loadings[i, q] * scale[q]
        _find_ratios(found, w, n_components, counts, length, ratio)
        _climb(found, n_components, ratio, length, w)
        for q in range(n_components):
            loadings[i, q] = w[q]
            totals[q] += w[q]
        _find_ratios(found, w, n_components, counts, length, ratio)
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
    counts, ratio, found = _workspace(indptr, first, last, n_components)
    w = np.empty(n_components, np.float32)
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, found)
        own = counts[:n].sum()
        w[:] = loadings[i]
        for _ in range(max_iter):
            _find_ratios(found, w, n_components, counts, length, ratio)
            _climb(found, n_components, ratio, length, w)
            change = np.float32(0)
            for q in range(n_components):
                change = max(change, abs(w[q] - loadings[i, q]))
                loadings[i, q] = w[q]
            if change <= tol * own:
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
    counts, expected, found = _workspace(indptr, first, last, n_components)
    w = np.empty(n_components, np.float32)
    likelihood = 0.0
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, found)
        for q in range(n_components):
            w[q] = loadings[i, q] * scale[q]
        _expect(found, w, n_components, length, expected)
        for p in range(n):
            likelihood += counts[p] * math.log(max(expected[p], TINY))
    return likelihood


@numba.njit(**_OPTIONS)
def _workspace(indptr, first, last, n_components):
    """Room for one pixel: its counts, a value for each, and the spectra where it has counts.

    The spectra are one after the other, each as long as the counts, which is a multiple of the
    length of a vector.
    """
    longest = 0
    for i in range(first, last):
        longest = max(longest, indptr[i + 1] - indptr[i])
    longest = (longest + LANES - 1) // LANES * LANES
    counts, values = np.empty(longest, np.float32), np.empty(longest, np.float32)
    return counts, values, np.empty(longest * n_components, np.float32)


@numba.njit(inline="always", **_OPTIONS)
def _gather(indices, data, start, n, spectra, counts, found):
    """Bring what belongs to one pixel together; how long it is, with zeros at the end."""
    length = (n + LANES - 1) // LANES * LANES
    longest, n_components = counts.shape[0], spectra.shape[1]
    for p in range(n, length):
        counts[p] = 0
        for q in range(n_components):
            found[q * longest + p] = 0
    for p in range(n):
        counts[p] = np.float32(data[start + p])
    # Four at once, so that the innermost loops are not over a handful of components.
    fours = n_components - n_components % 4
    for q in range(0, fours, 4):
        place = q * longest
        for p in range(n):
            # Unsigned, so that no check for negative indices stands in the innermost loop.
            j = np.uint32(indices[start + p])
            found[place + p] = spectra[j, q]
            found[place + longest + p] = spectra[j, q + 1]
            found[place + 2 * longest + p] = spectra[j, q + 2]
            found[place + 3 * longest + p] = spectra[j, q + 3]
    for q in range(fours, n_components):
        for p in range(n):
            found[q * longest + p] = spectra[np.uint32(indices[start + p]), q]
    return length


@numba.njit(inline="always", **_OPTIONS)
def _expect(found, w, n_components, length, expected):
    """Fill `expected` with the model's counts y where counts are stored."""
    longest = expected.shape[0]
    for p in range(0, length, LANES):
        y = zeros()
        for q in range(n_components):
            y = add_scaled(y, w[q], load(found, q * longest + p))
        store(expected, p, y)


@numba.njit(inline="always", **_OPTIONS)
def _find_ratios(found, w, n_components, counts, length, ratio):
    """Fill `ratio` with x / y, which is 0 where the model says a count can't be."""
    longest = ratio.shape[0]
    for p in range(0, length, LANES):
        y = zeros()
        for q in range(n_components):
            y = add_scaled(y, w[q], load(found, q * longest + p))
        store(ratio, p, quotient(load(counts, p), y, TINY))


@numba.njit(inline="always", **_OPTIONS)
def _climb(found, n_components, ratio, length, w):
    """Multiply the loadings of one pixel by sum_j (x_j / y_j) h_kj, and flush what is nothing."""
    longest = ratio.shape[0]
    all_of_pixel = np.float32(0)
    for q in range(n_components):
        gradient = zeros()
        for p in range(0, length, LANES):
            gradient = add_product(gradient, load(ratio, p), load(found, q * longest + p))
        w[q] *= total(gradient)
        all_of_pixel += w[q]
    for q in range(n_components):
        if w[q] < SMALLEST * all_of_pixel:
            w[q] = 0


@numba.njit(inline="always", **_OPTIONS)
def _contribute(indices, start, n, ratio, w, numerator):
    """Add (x_j / y_j) w_k of one pixel."""
    n_components = numerator.shape[1]
    fours = n_components - n_components % 4
    for q in range(0, fours, 4):
        w0, w1, w2, w3 = w[q], w[q + 1], w[q + 2], w[q + 3]
        for p in range(n):
            j = np.uint32(indices[start + p])
            r = ratio[p]
            numerator[j, q] += r * w0
            numerator[j, q + 1] += r * w1
            numerator[j, q + 2] += r * w2
            numerator[j, q + 3] += r * w3
    for q in range(fours, n_components):
        for p in range(n):
            numerator[np.uint32(indices[start + p]), q] += ratio[p] * w[q]


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

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops that make sparse counts, and sums over them; their numpy twins are in the tests.

Counts are in compressed sparse rows (CSR), one row a pixel.
"""

import numba
import numpy as np

from ._kernels import _OPTIONS

#: Neighbouring elements that are skipped together if all are zero.
STRIDE = 16


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
def sum_in_bands(indptr, indices, data, bands, first, sums):
    """Sum the channels of each band, in some pixels.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    bands : integer array of shape (n_features,)
        Of each channel.
    first : int
        The first pixel.
    sums : float32 array of shape (n_some, n_bands)
        Increased.
    """
    for i in range(sums.shape[0]):
        for p in range(indptr[first + i], indptr[first + i + 1]):
            sums[i, bands[indices[p]]] += data[p]


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


@numba.njit(**_OPTIONS)
def place_rows(own_indptr, own_indices, own_data, places, indptr, indices, data):
    """Copy rows of counts to their places among others.

    Parameters
    ----------
    own_indptr, own_indices, own_data : arrays
        The rows, in CSR.
    places : integer array of shape (n_rows,)
        Which rows of the others they are.
    indptr : integer array of shape (n_all + 1,)
        Where each of the others starts.
    indices, data : arrays
        Filled there.
    """
    for i in range(len(places)):
        to = indptr[places[i]] - own_indptr[i]
        for p in range(own_indptr[i], own_indptr[i + 1]):
            indices[to + p] = own_indices[p]
            data[to + p] = own_data[p]


@numba.njit(**_OPTIONS)
def sum_rows(indptr, data, sums):
    """Fill `sums` (n_rows,), float64, with the sum of each row.

    SciPy's own sum makes float64 of all values first, which takes several times their memory.
    """
    for i in range(len(sums)):
        total = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            total += data[p]
        sums[i] = total

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops that bring counts in order; their numpy twins are in the tests."""

import numba


@numba.njit(cache=True, nogil=True)
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


@numba.njit(cache=True, nogil=True)
def sum_rows(indptr, data, sums):
    """Fill `sums` (n_rows,), float64, with the sum of each row.

    SciPy's own sum makes float64 of all values first, which takes several times their memory.
    """
    for i in range(len(sums)):
        total = 0.0
        for p in range(indptr[i], indptr[i + 1]):
            total += data[p]
        sums[i] = total

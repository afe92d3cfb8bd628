# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops over sparse counts; their numpy twins are in the tests.

Counts are in compressed sparse rows (CSR): `indptr`, `indices` and `data` of any real dtype, one
row a pixel. Spectra, and what is summed up to new ones, are in groups of four components, one
channel after the other: float32 of shape (n_groups, n_features, 4), see `in_fours`. What belongs to
a pixel is brought together first, so that vectors of neighbouring values can be worked on.
"""

from typing import Any

import numba
import numpy as np

from emsparse_hs._vector_rows import rows_of_four
from emsparse_hs._vectors import vectors

#: Values that are worked on at once.
LANES = 16
_of = vectors(LANES)
zeros, load, store, total = _of.zeros, _of.load, _of.store, _of.total
add_scaled, add_product, quotient = _of.add_scaled, _of.add_product, _of.quotient
_rows = rows_of_four(LANES)
load_some, store_places = _rows.load_some, _rows.store_places
take_columns, row_of_totals = _rows.take_columns, _rows.row_of_totals
_four = vectors(4)
load_four, store_four, add_scaled_four = _four.load, _four.store, _four.add_scaled
product_of_fours = _four.product

#: A smaller expected count is none: the logarithm of the model is cut off there.
TINY = np.float32(1e-30)

#: Smaller fractions are set to this, if they are not zero: many processors are slow with denormal
#: numbers, and what an update has made zero would stay so, whatever comes of the rest.
SMALLEST = np.float32(1e-12)

#: Coefficients of (log(1 + f) - f + f^2 / 2) / f^3 in powers of f.
_LOG = np.array(
    [
        3.3333331174e-1,
        -2.4999993993e-1,
        2.0000714765e-1,
        -1.6668057665e-1,
        1.4249322787e-1,
        -1.2420140846e-1,
        1.1676998740e-1,
        -1.1514610310e-1,
        7.0376836292e-2,
    ],
    np.float32,
)

# Sums may be fused and reordered, which vector instructions need. NaN and infinities keep their
# meaning.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


def in_fours(spectra: np.ndarray) -> np.ndarray:
    """Spectra of shape (n_features, n_components) as the loops take them.

    The number of components is rounded up to a multiple of four, with zeros.
    """
    n_features, n_components = spectra.shape
    n_groups = -(-n_components // 4)
    wide = np.zeros((n_features, 4 * n_groups), np.float32)
    wide[:, :n_components] = spectra
    return np.ascontiguousarray(wide.reshape(n_features, n_groups, 4).swapaxes(0, 1))


def from_fours(sums: np.ndarray, n_components: int) -> np.ndarray:
    """Array of shape (n_features, n_components) of what loops have summed up."""
    return sums.swapaxes(0, 1).reshape(sums.shape[1], -1)[:, :n_components]


@numba.njit(**_OPTIONS)
def multiplicative_update(
    indptr, indices, data, first, last, spectra, scale, beyond, loadings, numerator, totals
):
    """Update the loadings of some pixels, and sum up what they contribute to new spectra.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    first, last : int
        Range of pixels.
    spectra : float32 array of shape (n_groups, n_features, 4)
        Each component sums to 1.
    scale : float32 array of shape (n_components,)
        Factor of the loadings, left over from the last normalisation of the spectra.
    beyond : float
        By what part of the whole change loadings go further than to their update; on the way
        down their inverses do.
    loadings : float32 array of shape (n_pixels, n_components)
        In counts; those of the range are replaced.
    numerator : float32 array of shape (n_groups, n_features, 4)
        Increased by sum_i (x_ij / y_ij) w_ik, with the updated loadings w.
    totals : float64 array of shape (n_components,)
        Increased by sum_i w_ik.
    """
    n_components = scale.shape[0]
    counts, places, ratio, found, w = _workspace(indptr, first, last, spectra)
    beyond, nothing = np.float32(beyond), np.float32(0)
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, places, found)
        for q in range(n_components):
            loadings[i, q] *= scale[q]
            w[q] = loadings[i, q]
        _climb(found, n_components, counts, length, ratio, w)
        for q in range(n_components):
            # On the way down the inverse goes further, which never comes to zero.
            step = beyond * (w[q] - loadings[i, q])
            # Squares of counts may be beyond float32.
            further = np.float64(w[q]) * (w[q] + max(step, nothing))
            loadings[i, q] = np.float32(further / max(w[q] + max(-step, nothing), TINY))
            totals[q] += w[q]
        _find_ratios(found, w, n_components, counts, length, ratio)
        _contribute(places, n, ratio, w, numerator)


@numba.njit(**_OPTIONS)
def sum_contributions(indptr, indices, data, first, last, spectra, loadings, numerator):
    """Sum up what some pixels contribute to new spectra, their loadings being as they are.

    Parameters
    ----------
    indptr, indices, data, first, last
        As for `multiplicative_update`.
    spectra : float32 array of shape (n_groups, n_features, 4)
        Of any sums.
    loadings : float32 array of shape (n_pixels, n_components)
        In counts.
    numerator : float32 array of shape (n_groups, n_features, 4)
        Increased by sum_i (x_ij / y_ij) w_ik.
    """
    n_components = loadings.shape[1]
    counts, places, ratio, found, w = _workspace(indptr, first, last, spectra)
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, places, found)
        w[:n_components] = loadings[i]
        _find_ratios(found, w, n_components, counts, length, ratio)
        _contribute(places, n, ratio, w, numerator)


@numba.njit(**_OPTIONS)
def maximise_likelihood(indptr, indices, data, first, last, spectra, max_iter, tol, loadings):
    """Iterate the loadings of some pixels to their maximum likelihood, the spectra being fixed.

    Parameters
    ----------
    indptr, indices, data : arrays
        Counts in CSR.
    first, last : int
        Range of pixels.
    spectra : float32 array of shape (n_groups, n_features, 4)
        Each component sums to 1.
    max_iter : int
        Most iterations of a pixel.
    tol : float
        A pixel is done when no loading changes by more than this fraction of its counts.
    loadings : float32 array of shape (n_pixels, n_components)
        Start, in counts; those of the range are replaced.
    """
    n_components = loadings.shape[1]
    counts, places, ratio, found, w = _workspace(indptr, first, last, spectra)
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, places, found)
        own = counts[:n].sum()
        w[:n_components] = loadings[i]
        for _ in range(max_iter):
            _climb(found, n_components, counts, length, ratio, w)
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
    spectra : float32 array of shape (n_groups, n_features, 4)
        Spectra of the model.
    scale : float32 array of shape (n_components,)
        Factor of the loadings.
    loadings : float32 array of shape (n_pixels, n_components)
        Loadings of the model.
    """
    n_components = scale.shape[0]
    counts, places, expected, found, w = _workspace(indptr, first, last, spectra)
    likelihood = 0.0
    for i in range(first, last):
        start, n = indptr[i], indptr[i + 1] - indptr[i]
        length = _gather(indices, data, start, n, spectra, counts, places, found)
        for q in range(n_components):
            w[q] = loadings[i, q] * scale[q]
        _expect(found, w, n_components, length, expected)
        likelihood += _sum_of_logs(counts, expected, length)
    return likelihood


@numba.njit(**_OPTIONS)
def _workspace(indptr, first, last, spectra):
    """Room for one pixel: counts, where they are, a value for each, spectra there, loadings.

    The spectra are one after the other, each as long as the counts, which is a multiple of the
    length of a vector. Of loadings, too, there are as many as spectra in groups of four.
    """
    longest = 0
    for i in range(first, last):
        longest = max(longest, indptr[i + 1] - indptr[i])
    longest = (longest + LANES - 1) // LANES * LANES
    counts, values = np.empty(longest, np.float32), np.empty(longest, np.float32)
    places, found = np.empty(longest, np.uint32), np.empty(longest * 4 * len(spectra), np.float32)
    return counts, places, values, found, np.zeros(4 * len(spectra), np.float32)


@numba.njit(inline="always", **_OPTIONS)
def _gather(indices, data, start, n, spectra, counts, places, found):
    """Bring what belongs to one pixel together; how long it is, with zero counts at the end."""
    n_groups, n_features = spectra.shape[0], spectra.shape[1]
    length = (n + LANES - 1) // LANES * LANES
    longest = counts.shape[0]
    for p in range(0, length, LANES):
        store(counts, p, load_some(data, start + p, n - p))
        store_places(indices, start + p, n - p, places, p)
    for q in range(n_groups):
        for p in range(0, length, LANES):
            to = 4 * q * longest + p
            take_columns(spectra, 4 * q * n_features, places, p, found, to, longest)
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
def _climb(found, n_components, counts, length, ratio, w):
    """Multiply the loadings of one pixel by sum_j (x_j / y_j) h_kj.

    The ratios x / y are kept. They are 0 where the model says a count can't be.
    """
    longest = ratio.shape[0]
    a = b = c = d = zeros()
    for p in range(0, length, LANES):
        y = zeros()
        for q in range(n_components):
            y = add_scaled(y, w[q], load(found, q * longest + p))
        r = quotient(load(counts, p), y, TINY)
        store(ratio, p, r)
        a = add_product(a, r, load(found, p))
        b = add_product(b, r, load(found, longest + p))
        c = add_product(c, r, load(found, 2 * longest + p))
        d = add_product(d, r, load(found, 3 * longest + p))
    store_four(w, 0, product_of_fours(load_four(w, 0), row_of_totals(a, b, c, d)))
    for q in range(4, n_components, 4):
        a = b = c = d = zeros()
        place = q * longest
        for p in range(0, length, LANES):
            r = load(ratio, p)
            a = add_product(a, r, load(found, place + p))
            b = add_product(b, r, load(found, place + longest + p))
            c = add_product(c, r, load(found, place + 2 * longest + p))
            d = add_product(d, r, load(found, place + 3 * longest + p))
        store_four(w, q, product_of_fours(load_four(w, q), row_of_totals(a, b, c, d)))
    _keep_up(w, n_components)


@numba.njit(inline="always", **_OPTIONS)
def _keep_up(w, n_components):
    """Keep what is next to nothing of a pixel from becoming nothing."""
    all_of_pixel = np.float32(0)
    for q in range(n_components):
        all_of_pixel += w[q]
    least = SMALLEST * all_of_pixel
    for q in range(n_components):
        w[q] = max(w[q], least) if w[q] > 0 else np.float32(0)


@numba.njit(inline="always", **_OPTIONS)
def _contribute(places, n, ratio, w, numerator):
    """Add (x_j / y_j) w_k of one pixel."""
    n_groups, n_features = numerator.shape[0], numerator.shape[1]
    for q in range(n_groups):
        own, offset = load_four(w, 4 * q), 4 * q * n_features
        for p in range(n):
            place = offset + np.intp(places[p])
            sums = add_scaled_four(load_four(numerator, place), ratio[p], own)
            store_four(numerator, place, sums)


@numba.njit(inline="always", **_OPTIONS)
def _sum_of_logs(counts, expected, length):
    """Sum of x log y of one pixel, each logarithm good to 2e-7 of itself.

    A polynomial on the mantissa between the roots of 1/2 and of 2 (S. L. Moshier's logf in the
    Cephes library), without branches, so that it is fast.
    """
    likelihood = np.float32(0)
    for p in range(length):
        bits = np.float32(max(expected[p], TINY)).view(np.int32)
        exponent = (bits - np.int32(0x3F3504F3)) >> np.int32(23)
        f = np.int32(bits - (exponent << np.int32(23))).view(np.float32) - np.float32(1)
        series = _LOG[8]
        for n in range(7, -1, -1):
            series = series * f + _LOG[n]
        square, whole = f * f, np.float32(exponent)
        log = f * square * series - np.float32(0.5) * square + f
        likelihood += counts[p] * (log + np.float32(0.69314718) * whole)
    return np.float64(likelihood)

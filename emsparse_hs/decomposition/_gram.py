# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Gram matrix of the features of scaled rows, and its leading axes."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import ArpackError, eigsh

from ._csr_kernels import weighted_gram
from ._model import in_threads

#: Neighbouring features beyond this number are added up.
MOST_BINS = 2048

#: Counts that are added to those of each feature where noise is scaled. Those with hardly any
#: would get such large weights by these that single stray counts made the leading axes.
RAISED_BY = 2.0

#: Rows that are worked on at once, and whose sums in float32 are added in float64.
_AT_ONCE = 32_768


def bins_of(n_features: int) -> np.ndarray:
    """Bin of each feature, int32, ascending: one each, unless there are too many."""
    n_bins = min(n_features, MOST_BINS)
    return (np.arange(n_features, dtype=np.int64) * n_bins // n_features).astype(np.int32)


def poisson_weights(sums: np.ndarray, unit: float) -> np.ndarray:
    """Factor of each feature, in which Poisson noise is about as strong in all.

    Parameters
    ----------
    sums : float64 array of shape (n_features,)
        Counts of each feature.
    unit : float
        What one count is. It decides only how much features with hardly any counts weigh.

    Returns
    -------
    float64 array of shape (n_features,)
        The inverse root of a feature's share of all counts, which is raised a little. With the
        inverse root of a pixel's counts as the other factor, Poisson noise gets unit variance. Zero
        for features that have no counts.
    """
    shares = (sums + RAISED_BY * unit) / max(sums.sum(), np.finfo(float).tiny)
    return np.where(sums > 0, inverse_root(shares), 0)


def inverse_root(means: np.ndarray) -> np.ndarray:
    """One over the root, and 0 where there is nothing."""
    some = means > 0
    return np.where(some, 1 / np.sqrt(np.where(some, means, 1)), 0)


def gram_of_rows(rows, weights: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """Sum of the outer products of weighted rows, features being added up in bins.

    Parameters
    ----------
    rows : csr_array or float32 array of shape (n_pixels, n_features)
        Data.
    weights : float64 array of shape (n_pixels,)
        Factor of each row.
    bins : int32 array of shape (n_features,)
        From `bins_of`.

    Returns
    -------
    float64 array of shape (n_bins, n_bins)
        Symmetric.
    """
    n_bins = int(bins[-1]) + 1
    part = _gram_of_stored if sparse.issparse(rows) else _gram_of_dense
    firsts = range(0, rows.shape[0], _AT_ONCE)
    spans = [(first, min(first + _AT_ONCE, rows.shape[0])) for first in firsts]
    weights = weights.astype(np.float32)
    gram = np.zeros((n_bins, n_bins))
    for one in in_threads(lambda *span: part(rows, weights, bins, n_bins, *span), spans):
        gram += one
    return gram


def _gram_of_stored(rows, weights, bins, n_bins: int, first: int, last: int) -> np.ndarray:
    gram = np.zeros((n_bins, n_bins), np.float32)
    weighted_gram(rows.indptr, rows.indices, rows.data, first, last, weights, bins, gram)
    return gram + np.tril(gram, -1).T


def _gram_of_dense(rows, weights, bins, n_bins: int, first: int, last: int) -> np.ndarray:
    scaled = rows[first:last] * weights[first:last, None]
    if n_bins < rows.shape[1]:
        scaled = np.add.reduceat(scaled, np.searchsorted(bins, np.arange(n_bins)), axis=1)
    return scaled.T @ scaled


def product(rows, columns: np.ndarray) -> np.ndarray:
    """Rows times columns, rounded alike whichever rows are together.

    Parameters
    ----------
    rows : array, CSR or LinearOperator of shape (n_pixels, n_features)
        Data.
    columns : float array of shape (n_features, n_columns)
        Spectra, say.

    Returns
    -------
    float array of shape (n_pixels, n_columns)
        Of float64 if rows are dense.
    """
    if not isinstance(rows, np.ndarray):
        return rows @ columns.astype(np.float32, copy=False)
    columns = columns.astype(np.float64)
    firsts = range(0, len(rows), _AT_ONCE)
    return np.concatenate([rows[first : first + _AT_ONCE] @ columns for first in firsts])


def leading_axes(gram: np.ndarray, n_axes: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues and their eigenvectors.

    Parameters
    ----------
    gram : float64 array of shape (n_bins, n_bins)
        Symmetric.
    n_axes : int
        How many.

    Returns
    -------
    values : float64 array of shape (n_axes,)
        Descending.
    axes : float64 array of shape (n_bins, n_axes)
        As columns, each with a sum that is not negative.
    """
    first, few = np.random.RandomState(0).uniform(size=len(gram)), len(gram) >= 10 * n_axes
    try:
        found = eigsh(gram, n_axes, which="LA", v0=first, tol=1e-5) if few else None
    except ArpackError:
        # Data without counts have no direction to begin with.
        found = None
    values, axes = np.linalg.eigh(gram) if found is None else found
    order = np.argsort(-values)[:n_axes]
    values, axes = np.maximum(values[order], 0), axes[:, order]
    return values, axes * np.where(axes.sum(0) < 0, -1, 1)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra to start a factorisation from."""

from __future__ import annotations

import warnings

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from ._csr_kernels import sum_by_label
from ._gram import bins_of
from .clustering import SphericalKMeans
from .counts import pixel_sums
from .pca import WeightedGramPCA
from .sparse_nmf import SparseNMF

#: Multiplications that the channels' Gram matrix may take, at about a nanosecond each.
MOST_PRODUCTS = 2e9

#: Stored counts that are factorised where there are more, and most iterations for that.
MOST_FACTORISED, MOST_ITERATIONS = 600_000, 100

#: Share of the mean spectrum in each start: what is zero stays zero in multiplicative updates.
SHARE_OF_MEAN = 1e-3


def cluster_start(
    counts: sparse.csr_array, n_components: int, random_state=None, scan=None
) -> np.ndarray:
    """Sum spectra of pixels that look alike.

    Pixels are compared in the space of the leading principal axes of the scaled counts (see
    `WeightedGramPCA`), and by direction alone, since thickness is no phase (see
    `SphericalKMeans`). Where there are many, not all of them are taken for the axes.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    n_components : int
        Number of spectra.
    random_state : int, RandomState instance or None
        Of the clustering, and of the choice of pixels where not all are used.
    scan : tuple of int or bool array, optional
        Where the pixels are: neighbours are averaged before they are compared.

    Returns
    -------
    spectra : float64 array of shape (n_components, n_features)
        Each sums to 1, that of the cluster with most counts first. A thousandth of each is the
        mean spectrum, so that no channel that has counts is zero.
    """
    mean = feature_sums(counts)
    sums = np.zeros((n_components, counts.shape[1]))
    if n_components == 1:
        sums[0] = mean
    else:
        labels = _clusters(counts, n_components, check_random_state(random_state), scan)
        sum_by_label(counts.indptr, counts.indices, counts.data, labels, sums)
        sums = sums[np.argsort(-sums.sum(1), kind="stable")]
    return with_mean(sums, mean)


def scaled_nmf_start(counts: sparse.csr_array, n_components: int, random_state=None) -> np.ndarray:
    r"""Factorise scaled counts by least squares.

    Counts are scaled and factorised by `SparseNMF`. Where phases are nowhere alone, as in
    particles with a shell on a support, sums of pixels are all mixtures, and these spectra are
    purer.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    n_components : int
        Number of spectra.
    random_state : int, RandomState instance or None
        Of the choice of pixels where not all are used.

    Returns
    -------
    spectra : float64 array of shape (n_components, n_features)
        Each sums to 1. A thousandth of each is the mean spectrum.
    """
    random = check_random_state(random_state)
    filled = np.flatnonzero(np.diff(counts.indptr))
    share = MOST_FACTORISED / max(counts.nnz, 1)
    some = counts[filled[_some(random, len(filled), max(int(share * len(filled)), 2000))]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = SparseNMF(n_components, init="axes", max_iter=MOST_ITERATIONS).fit(some)
    return with_mean(model.components_, feature_sums(counts))


def feature_sums(counts: sparse.csr_array) -> np.ndarray:
    """Sum all pixels.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.

    Returns
    -------
    float64 array of shape (n_features,)
        Counts of each feature.
    """
    sums = np.zeros((1, counts.shape[1]))
    labels = np.zeros(counts.shape[0], np.int32)
    sum_by_label(counts.indptr, counts.indices, counts.data, labels, sums)
    return sums[0]


def _clusters(counts, n_components: int, random, scan) -> np.ndarray:
    """Label of each pixel."""
    scores = WeightedGramPCA(n_components).fit(_few_enough(counts, n_components, random))
    seed = random.randint(2**31 - 1)
    # A pixel's direction is as certain as it has counts.
    weights = pixel_sums(counts)
    means = SphericalKMeans(n_components, random_state=seed)
    return means.fit(scores.transform(counts), sample_weight=weights, scan=scan).labels_


def _few_enough(counts, n_axes: int, random) -> sparse.csr_array:
    """Pixels whose Gram matrix does not take too long."""
    n_bins = int(bins_of(counts.shape[1])[-1]) + 1
    products = np.square(np.minimum(np.diff(counts.indptr), n_bins), dtype=np.float64).sum()
    share = MOST_PRODUCTS / max(products, 1)
    if share >= 1:
        return counts
    filled = np.flatnonzero(np.diff(counts.indptr))
    return counts[filled[_some(random, len(filled), max(int(share * len(filled)), 10 * n_axes))]]


def with_mean(spectra: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Spectra of sum 1 with a little of the mean spectrum in each."""
    sums = spectra.sum(1, keepdims=True)
    spectra = spectra / np.where(sums > 0, sums, 1) + SHARE_OF_MEAN * mean / mean.sum()
    return spectra / spectra.sum(1, keepdims=True)


def _some(random, total: int, most: int) -> np.ndarray:
    if total <= most:
        return np.arange(total)
    return np.sort(random.choice(total, most, replace=False))

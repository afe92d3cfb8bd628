# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra to start a factorisation from."""

from __future__ import annotations

import math
import warnings

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh
from sklearn.exceptions import ConvergenceWarning

from ._kernels import sum_by_label, weighted_gram

#: Neighbouring features beyond this number are added up where pixels are compared.
MOST_BINS = 2048

#: Multiplications that the pixels' Gram matrix may take, at about a nanosecond each.
MOST_PRODUCTS = 2e9

#: Pixels that the clusters are found with; the others are assigned to them.
MOST_CLUSTERED = 20_000

#: Shares of the mean channel's and the mean pixel's counts that are added to each one's own where
#: noise is scaled. Those with hardly any counts would get such large weights by these that single
#: stray counts made the leading axes.
SHARE_OF_CHANNEL, SHARE_OF_PIXEL = 0.3, 0.1

#: Share of the mean spectrum in each start: what is zero stays zero in multiplicative updates.
SHARE_OF_MEAN = 1e-3


def cluster_start(counts: sparse.csr_array, n_components: int, random_state=None) -> np.ndarray:
    r"""Sum spectra of pixels that look alike.

    Pixels are compared in the space of the leading principal axes of the scaled counts

    .. math:: x_{ij} \big/ \sqrt{\bar{x}_{i\cdot}\, \bar{x}_{\cdot j}}

    in which Poisson noise is as strong in all channels (Keenan and Kotula, Surf. Interface Anal.
    36 (2004) 203; the means are raised a little, so that hardly any counts don't weigh most), and
    by direction alone, since thickness is no phase: k-means sees unit
    vectors. The axes are those of the Gram matrix of the channels, which is summed in one pass
    over the stored counts. Where there are many, neighbouring channels are added up for that,
    and not all pixels are taken.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    n_components : int
        Number of spectra.
    random_state : int, RandomState instance or None
        Of the clustering, and of the choice of pixels where not all are used.

    Returns
    -------
    spectra : float64 array of shape (n_components, n_features)
        Each sums to 1, that of the cluster with most counts first. A thousandth of each is the
        mean spectrum, so that no channel that has counts is zero.
    """
    from sklearn.utils import check_random_state

    random = check_random_state(random_state)
    mean = feature_sums(counts)
    sums = np.zeros((n_components, counts.shape[1]))
    if n_components == 1:
        sums[0] = mean
    else:
        labels = _clusters(counts, mean, n_components, random)
        sum_by_label(counts.indptr, counts.indices, counts.data, labels, sums)
        sums = sums[np.argsort(-sums.sum(1), kind="stable")]
    totals = sums.sum(1, keepdims=True)
    spectra = sums / np.where(totals > 0, totals, 1) + SHARE_OF_MEAN * mean / mean.sum()
    return spectra / spectra.sum(1, keepdims=True)


def scaled_nmf_start(counts: sparse.csr_array, n_components: int, random_state=None) -> np.ndarray:
    r"""Factorise scaled counts by least squares.

    Counts are scaled as for `cluster_start`, and factorised by scikit-learn's `NMF`. Where phases
    are nowhere alone, as in particles with a shell on a support, sums of pixels are all mixtures,
    and these spectra are purer.

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
    from sklearn.decomposition import NMF
    from sklearn.utils import check_random_state

    random = check_random_state(random_state)
    mean = feature_sums(counts)
    filled = np.flatnonzero(np.diff(counts.indptr))
    some = counts[filled[_some(random, len(filled), MOST_CLUSTERED)]]
    pixel_means = some.sum(1, dtype=np.float64) / some.shape[1]
    features = np.flatnonzero(mean)
    weights = 1 / np.sqrt(mean[features] / counts.shape[0])
    scaled = some[:, features].astype(np.float32)
    scaled = sparse.diags_array(1 / np.sqrt(pixel_means)) @ scaled @ sparse.diags_array(weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = NMF(n_components, init="nndsvda", max_iter=200, random_state=random)
        model.fit(scaled.astype(np.float32))
    spectra = np.zeros((n_components, counts.shape[1]))
    spectra[:, features] = model.components_ / weights
    sums = spectra.sum(1, keepdims=True)
    spectra = spectra / np.where(sums > 0, sums, 1) + SHARE_OF_MEAN * mean / mean.sum()
    return spectra / spectra.sum(1, keepdims=True)


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


def _clusters(counts, mean, n_components: int, random) -> np.ndarray:
    """Label of each pixel, 0 for empty ones."""
    from sklearn.cluster import KMeans

    filled = np.flatnonzero(np.diff(counts.indptr))
    scores = _scores(counts, mean, n_components, random)
    # In float64, so that the order of the threads' sums can't be seen in the labels.
    directions = scores[filled].astype(np.float64)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True) + 1e-12
    some = _some(random, len(filled), MOST_CLUSTERED)
    seed = random.randint(2**31 - 1)
    # A pixel's direction is as certain as it has counts.
    weights = counts.sum(1, dtype=np.float64)[filled[some]]
    means = KMeans(n_components, n_init=4, random_state=seed).fit(
        directions[some], sample_weight=weights
    )
    labels = np.zeros(counts.shape[0], np.int32)
    labels[filled] = means.predict(directions)
    return labels


def _scores(counts, mean, n_axes: int, random) -> np.ndarray:
    """Scaled counts of each pixel along the principal axes."""
    n_pixels, n_features = counts.shape
    least_pixels = 10 * n_axes
    n_bins = min(n_features, MOST_BINS, math.isqrt(int(MOST_PRODUCTS / least_pixels)))
    bins = (np.arange(n_features, dtype=np.int64) * n_bins // n_features).astype(np.int32)
    pixel_sums, bin_sums = counts.sum(1, dtype=np.float64), np.bincount(bins, mean)
    pixel_weights = _inverse_root((pixel_sums + SHARE_OF_PIXEL * pixel_sums.mean()) / n_features)
    bin_weights = _inverse_root((bin_sums + SHARE_OF_CHANNEL * bin_sums.mean()) / n_pixels)
    products = np.square(np.minimum(np.diff(counts.indptr), n_bins), dtype=np.float64)
    share = MOST_PRODUCTS / max(products.sum(), 1)
    pixels = _some(random, n_pixels, max(int(share * n_pixels), least_pixels))
    gram = np.zeros((n_bins, n_bins), np.float32)
    arrays = counts.indptr, counts.indices, counts.data
    weighted_gram(*arrays, pixels, pixel_weights, bins, bin_weights, gram)
    axes = _leading_axes(gram.astype(np.float64), n_axes, random)
    scaled_axes = (bin_weights[:, None] * axes)[bins].astype(np.float32)
    return (counts @ scaled_axes) * pixel_weights[:, None]


def _leading_axes(gram: np.ndarray, n_axes: int, random) -> np.ndarray:
    """Eigenvectors of the largest eigenvalues, as columns."""
    n_bins = len(gram)
    if n_bins < 10 * n_axes:
        return np.linalg.eigh(gram)[1][:, -n_axes:]
    first = random.uniform(size=n_bins)
    return eigsh(gram, n_axes, which="LA", v0=first, tol=1e-4)[1]


def _inverse_root(means: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.where(means > 0, 1 / np.sqrt(means), 0).astype(np.float32)


def _some(random, total: int, most: int) -> np.ndarray:
    if total <= most:
        return np.arange(total)
    return np.sort(random.choice(total, most, replace=False))

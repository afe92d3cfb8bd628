# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How the pixels of a signal's blocks are sorted into phases by the direction of their spectra."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from emsparse_hs.blocks import Blocks
from emsparse_hs.decomposition import SphericalKMeans, WeightedGramPCA, smooth_directions
from emsparse_hs.decomposition._refusals import ALL_ZERO
from emsparse_hs.fitting import learn, transformed


class Phases(NamedTuple):
    """What clusters of directions were found.

    Attributes
    ----------
    labels : integer array of shape navigation_shape
        Cluster of each pixel, -1 where it has none.
    directions : float64 array of shape (n_pixels, n_axes)
        Of the kept pixels, in C order of the scan.
    sums : float64 array of shape (n_clusters, n_features)
        Sum of the spectra of each cluster, of kept features.
    clusterer : object
        The fitted estimator.
    """

    labels: np.ndarray
    directions: np.ndarray
    sums: np.ndarray
    clusterer: Any


def find_phases(
    clusterer, blocks: Blocks, n_axes: int, width: float | None, scaling: str | None, **how
) -> Phases:
    """Cluster pixels by the direction of their scaled spectra along the leading axes.

    The data are read three times, block by block: for the axes, for where pixels are along them,
    and for the sums. Only the scores of all pixels are in memory.

    Parameters
    ----------
    clusterer : object
        With scikit-learn's ``fit_predict``; cloned, never changed. `SphericalKMeans` gets pixels
        weighted by their counts.
    blocks : Blocks
        The data.
    n_axes : int
        Number of axes.
    width : float or None
        Of the neighbourhood over which scores are averaged, in px. None for that of
        `SphericalKMeans`, the given one or that by default.
    scaling : "poisson" or None
        As for `WeightedGramPCA`.
    **how
        As for `Blocks.map`: progress and workers.

    Returns
    -------
    Phases
        With the clusters that have pixels, in the order of the clusterer. Those without counts
        are none of its business.
    """
    from sklearn.base import clone

    pca = learn(WeightedGramPCA(n_axes, scaling=scaling), blocks, **how)
    keep = blocks.navigation_keep
    scores = transformed(blocks, pca, how)[keep]
    clusterer = clone(clusterer)
    spherical = clusterer if isinstance(clusterer, SphericalKMeans) else SphericalKMeans()
    width = spherical.width if width is None else width
    directions = smooth_directions(scores, keep, width)
    some = directions.any(1)
    if not some.any():
        raise ValueError(ALL_ZERO)
    if clusterer is spherical:
        # A pixel's direction is as certain as it has counts; scores add up to about these.
        counts = np.maximum(scores[some] @ pca.components_.sum(1), 0) if scaling else None
        there = keep.copy()
        there[keep] = some
        clusterer.set_params(width=width)
        found = clusterer.fit(scores[some], sample_weight=counts, scan=there).labels_
    else:
        found = clusterer.fit_predict(directions[some])
    numbers = np.unique(found[found >= 0])
    n_clusters = len(numbers)
    clusters = np.full(len(some), -1, np.int32)
    clusters[some] = np.where(found < 0, -1, np.searchsorted(numbers, found))
    labels = blocks.place(clusters, fill=-1)
    sums = blocks.reduce(_sums_of, np.add, n_clusters, per_pixel=[labels], **how)
    return Phases(labels, directions, sums, clusterer)


def _sums_of(rows: np.ndarray, labels: np.ndarray, n_clusters: int) -> np.ndarray:
    """Sum of the rows of each label, in float64."""
    sums = np.zeros((n_clusters, rows.shape[1]))
    for label in range(n_clusters):
        np.sum(rows[labels == label], axis=0, dtype=np.float64, out=sums[label])
    return sums

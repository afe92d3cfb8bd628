# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The one place that writes a signal's ``learning_results``."""

from __future__ import annotations

import numpy as np
from hyperspy.signal import BaseSignal

from emsparse_hs.blocks import Blocks


def write_learning_results(
    signal: BaseSignal,
    components: np.ndarray,
    loadings: np.ndarray,
    algorithm: str,
    blocks: Blocks,
) -> None:
    """Give a signal the results of a decomposition, as HyperSpy's own would have.

    Afterwards HyperSpy's plots, models, blind source separation, clustering and saving work on
    them. Results of an earlier blind source separation are removed, since they refer to an
    earlier decomposition.

    Parameters
    ----------
    signal : BaseSignal
        Eager or lazy; only its ``learning_results`` change.
    components : array of shape (n_components, n_features)
        Spectra or patterns of the features that `blocks` keeps.
    loadings : array of shape navigation_shape + (n_components,)
        NaN where masked.
    algorithm : str
        Name of the algorithm: an object could not be saved.
    blocks : Blocks
        What was decomposed: it knows the masks.
    """
    n_components = len(components)
    factors = np.full((blocks.signal_keep.size, n_components), np.nan, components.dtype)
    factors[blocks.signal_keep.ravel()] = components.T
    results = signal.learning_results
    results.factors = factors
    results.loadings = loadings.reshape(-1, n_components)
    results.decomposition_algorithm = str(algorithm)
    results.output_dimension = n_components
    # Without it cluster_analysis("decomposition") asks for a number of components.
    results.number_significant_components = n_components
    results.navigation_mask = _mask(blocks.navigation_keep)
    results.signal_mask = _mask(blocks.signal_keep)
    results.poissonian_noise_normalized = False
    results.unfolded = False
    for name in _OF_OTHER_DECOMPOSITIONS:
        setattr(results, name, None)


#: Fields that would speak of an earlier decomposition, or that only some algorithms have.
_OF_OTHER_DECOMPOSITIONS = (
    "bss_algorithm",
    "bss_factors",
    "bss_loadings",
    "centre",
    "explained_variance",
    "explained_variance_ratio",
    "mean",
    "original_shape",
    "unmixing_matrix",
)


def order_clusters(signal: BaseSignal) -> None:
    """Put the clusters of a signal in order of size, the largest first.

    That is the order that HyperSpy documents; HyperSpy 2.5 gets it right for two clusters only.
    The algorithm is kept by its name, since an object could not be saved.

    Parameters
    ----------
    signal : BaseSignal
        After `cluster_analysis`; only its ``learning_results`` change.
    """
    results = signal.learning_results
    # Stable, so that clusters of one size keep their places.
    order = np.argsort(-results.cluster_labels.sum(axis=1), kind="stable")
    for name in _OF_EACH_CLUSTER:
        values = getattr(results, name, None)
        if values is not None:
            setattr(results, name, values[order])
    if not isinstance(results.cluster_algorithm, str | None):
        results.cluster_algorithm = type(results.cluster_algorithm).__name__


_OF_EACH_CLUSTER = (
    "cluster_labels",
    "cluster_sum_signals",
    "cluster_centroid_signals",
    "cluster_distances",
    "cluster_centroids",
)


def _mask(keep: np.ndarray) -> np.ndarray | None:
    return None if keep.all() else ~keep

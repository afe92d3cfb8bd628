# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The one place that writes a signal's ``learning_results``, and reads them."""

from __future__ import annotations

import numpy as np
from hyperspy.signal import BaseSignal

from emsparse_hs.blocks import Blocks
from emsparse_hs.fitting import Fit
from emsparse_hs.phases import Phases


def write_learning_results(
    signal: BaseSignal, fit: Fit, blocks: Blocks, left_out: float = np.nan
) -> None:
    """Give a signal the results of a decomposition, as HyperSpy's own would have.

    Afterwards HyperSpy's plots, models, blind source separation, clustering and saving work on
    them. What was made of an earlier decomposition is removed: sources and clusters.

    Parameters
    ----------
    signal : BaseSignal
        Eager or lazy; only its ``learning_results`` change.
    fit : Fit
        What the estimator made of the blocks.
    blocks : Blocks
        What was decomposed: it knows the masks.
    left_out : float
        What factors are in masked channels. With 0 the results have no signal mask, so that blind
        source separation and models need not be told of it.
    """
    _write_components(signal, fit.components, fit.loadings, blocks, left_out)
    results = signal.learning_results
    # By name: an object could not be saved.
    results.decomposition_algorithm = type(fit.estimator).__name__
    for name in ("explained_variance", "explained_variance_ratio"):
        setattr(results, name, getattr(fit.estimator, f"{name}_", None))
    results.navigation_mask = _mask(blocks.navigation_keep)
    results.signal_mask = None if left_out == 0 else _mask(blocks.signal_keep)
    # Fields of our own are saved as well.
    results.emsparse_signal_mask = _mask(blocks.signal_keep)
    results.emsparse_spatial = getattr(fit.estimator, "spatial_", None)
    with_prior = results.emsparse_spatial is not None
    results.emsparse_alpha = fit.estimator.alpha if with_prior else None
    results.poissonian_noise_normalized = False
    results.unfolded = False


def check_decomposed(signal: BaseSignal) -> None:
    """Refuse a signal without a decomposition of its pixels and channels.

    Parameters
    ----------
    signal : BaseSignal
        Eager or lazy.

    Raises
    ------
    ValueError
        If there is no decomposition, or the signal was cropped since.
    """
    results, axes = signal.learning_results, signal.axes_manager
    if results.loadings is None or results.factors is None:
        raise ValueError(
            f"{signal!r} has no decomposition. Run s.emsparse.decomposition(output_dimension=3) "
            "or s.decomposition(...) before."
        )
    shapes = axes._navigation_shape_in_array, axes._signal_shape_in_array
    sizes = len(results.loadings), len(results.factors)
    if sizes != tuple(int(np.prod(shape)) for shape in shapes):
        raise ValueError(
            f"{signal!r} has other pixels or channels than when it was decomposed. Decompose it "
            "again."
        )


def read_decomposition(signal: BaseSignal) -> tuple[np.ndarray, np.ndarray, Blocks]:
    """A signal's decomposition, and what it is one of.

    Parameters
    ----------
    signal : BaseSignal
        Eager or lazy.

    Returns
    -------
    loadings : array of shape (n_pixels, n_components)
        Of the pixels that were not masked.
    factors : array of shape (n_features, n_components)
        Of the channels that were not masked.
    blocks : Blocks
        Their data.

    Raises
    ------
    ValueError
        If there is no decomposition, it is one of centred data, or the signal was cropped since.
    """
    check_decomposed(signal)
    results, axes = signal.learning_results, signal.axes_manager
    if results.mean is not None:
        raise ValueError(
            "The decomposition is one of centred data, whose noise is not known from it. Decompose "
            "without centre, or with s.emsparse.decomposition()."
        )
    # Of files that are read lazily they are dask arrays.
    loadings, factors = np.asarray(results.loadings), np.asarray(results.factors)
    pixels = _masked(results.navigation_mask, axes._navigation_shape_in_array)
    blocks = Blocks.of(signal, pixels.T, left_out_channels(signal))
    loadings = loadings[blocks.navigation_keep.ravel()]
    factors = factors[blocks.signal_keep.ravel()]
    return loadings, factors, blocks


def left_out_channels(signal: BaseSignal) -> np.ndarray:
    """Which channels a decomposition knows nothing of.

    Parameters
    ----------
    signal : BaseSignal
        After a decomposition.

    Returns
    -------
    bool array of the signal's shape
        True where they were masked.
    """
    results, shape = signal.learning_results, signal.axes_manager._signal_shape_in_array
    mask = _masked(results.signal_mask, shape)
    left_out = getattr(results, "emsparse_signal_mask", None)
    if left_out is None:
        return mask
    # HyperSpy's own decompositions know nothing of it.
    nothing = ~np.any(np.nan_to_num(np.asarray(results.factors)), 1).reshape(shape)
    return mask | (np.asarray(left_out) & nothing)


def _masked(mask, shape: tuple[int, ...]) -> np.ndarray:
    return np.zeros(shape, bool) if mask is None else np.reshape(np.asarray(mask, bool), shape)


def prior_of(signal: BaseSignal) -> tuple[float, float] | None:
    """Shape of the prior and strength of the neighbours with which `PoissonNMF` found the loadings.

    Parameters
    ----------
    signal : BaseSignal
        After a decomposition.

    Returns
    -------
    tuple of float, or None
        As parameters `alpha` and `spatial`. None if something else found them.
    """
    results = signal.learning_results
    spatial = getattr(results, "emsparse_spatial", None)
    # HyperSpy's own decompositions leave what was there before.
    if spatial is None or results.decomposition_algorithm != "PoissonNMF":
        return None
    return float(results.emsparse_alpha), float(spatial)


def replace_components(
    signal: BaseSignal, components: np.ndarray, loadings: np.ndarray, blocks: Blocks
) -> None:
    """Give a signal other components in place of those of its decomposition.

    Parameters
    ----------
    signal : BaseSignal
        After a decomposition; only its ``learning_results`` change.
    components : array of shape (n_components, n_features)
        Of kept features.
    loadings : array of shape (n_pixels, n_components)
        Of kept pixels.
    blocks : Blocks
        As `read_decomposition` gives it.
    """
    results = signal.learning_results
    _write_components(signal, components, blocks.place(loadings), blocks, 0.0)
    if results.signal_mask is not None:
        results.factors[np.ravel(results.signal_mask).astype(bool)] = np.nan
    # They were of the components before.
    results.explained_variance = results.explained_variance_ratio = None


def _write_components(
    signal: BaseSignal, components, loadings, blocks: Blocks, left_out: float
) -> None:
    n_components = len(components)
    results = signal.learning_results
    for name in _OF_OTHER_DECOMPOSITIONS:
        setattr(results, name, None)
    results.factors = np.ascontiguousarray(all_features(components, blocks, left_out).T)
    results.loadings = loadings.reshape(-1, n_components)
    results.output_dimension = n_components
    # Without it cluster_analysis("decomposition") asks for a number of components.
    results.number_significant_components = n_components


#: Fields that would speak of an earlier decomposition.
_OF_OTHER_DECOMPOSITIONS = (
    "bss_algorithm",
    "bss_factors",
    "bss_loadings",
    "centre",
    "cluster_algorithm",
    "cluster_centers",
    "cluster_centers_estimated",
    "cluster_centroid_signals",
    "cluster_centroids",
    "cluster_distances",
    "cluster_labels",
    "cluster_membership",
    "cluster_metric",
    "cluster_metric_data",
    "cluster_metric_index",
    "cluster_sum_signals",
    "estimated_number_of_clusters",
    "mean",
    "number_of_clusters",
    "original_shape",
    "unmixing_matrix",
)


def write_clusters(signal: BaseSignal, phases: Phases, blocks: Blocks) -> None:
    """Give a signal the results of a cluster analysis, as HyperSpy's own would have.

    Parameters
    ----------
    signal : BaseSignal
        Eager or lazy; only its ``learning_results`` change.
    phases : Phases
        What was found.
    blocks : Blocks
        What was clustered: it knows the masks.

    Raises
    ------
    ValueError
        If there is no cluster.
    """
    n_clusters = len(phases.sums)
    if not n_clusters:
        raise ValueError(
            f"{phases.clusterer!r} found no cluster. Change its parameters: directions are unit "
            "vectors, so that distances are from 0 to 2."
        )
    keep = blocks.navigation_keep.ravel()
    labels = phases.labels.ravel() == np.arange(n_clusters)[:, None]
    members = [phases.directions[one[keep]] for one in labels]
    centroids = np.array([one.mean(0) for one in members])
    distances = np.full(labels.shape, np.nan)
    for centroid, row in zip(centroids, distances, strict=True):
        row[keep] = np.linalg.norm(phases.directions - centroid, axis=1)
    results = signal.learning_results
    results.number_of_clusters = n_clusters
    results.cluster_algorithm = phases.clusterer
    results.cluster_labels = labels
    results.cluster_centroids = centroids
    results.cluster_distances = distances
    results.cluster_sum_signals = all_features(phases.sums, blocks)
    # The pixel that is nearest, among those of the cluster.
    nearest = np.where(labels, distances, np.inf).argmin(1)
    results.cluster_centroid_signals = _spectra_at(signal, nearest, blocks)
    order_clusters(signal)


def all_features(rows: np.ndarray, blocks: Blocks, left_out: float = np.nan) -> np.ndarray:
    """Spectra or patterns of kept features among all.

    Parameters
    ----------
    rows : array of shape (n_rows, n_features)
        Of kept features.
    blocks : Blocks
        It knows which those are.
    left_out : float
        Value of the others.

    Returns
    -------
    array of shape (n_rows, n_all_features)
        Of the dtype of `rows`, or float64 if that is no floating point.
    """
    dtype = rows.dtype if rows.dtype.kind == "f" else np.float64
    placed = np.full((len(rows), blocks.signal_keep.size), left_out, dtype)
    placed[:, blocks.signal_keep.ravel()] = rows
    return placed


def _spectra_at(signal: BaseSignal, pixels: np.ndarray, blocks: Blocks) -> np.ndarray:
    """Spectra of some pixels, which are numbered in C order of the scan."""
    places = [np.unravel_index(pixel, blocks.navigation_shape) for pixel in pixels]
    data = signal._data_aligned_with_axes
    spectra = np.stack([np.asarray(data[place]).ravel() for place in places])
    return all_features(spectra[:, blocks.signal_keep.ravel()], blocks)


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

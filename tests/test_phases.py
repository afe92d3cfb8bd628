# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Clusters of directions through the accessor: known phases, any layout, and HyperSpy."""

import warnings

import dask.array as da
import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import SphericalKMeans, WeightedGramPCA

SCAN, CHANNELS = (24, 30), 128
CHUNKS = [None, (7, 11, -1), (24, 30, 50), (5, 30, 17)]


@pytest.fixture(scope="module")
def truth():
    return simulate_spectra(SCAN, CHANNELS, 100, seed=1000)


def signal_of(truth, chunks=None):
    s = hs.signals.Signal1D(truth.counts.copy())
    if chunks:
        s = s.as_lazy()
        s.rechunk(nav_chunks=chunks[:2], sig_chunks=chunks[2:])
    return s


def cluster(s, **kwargs):
    kwargs = {"n_clusters": 4, "random_state": 0, "show_progressbar": False, **kwargs}
    return s.emsparse.cluster_analysis("directions", return_info=True, **kwargs)


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("masked", [False, True])
def test_clusters_are_those_of_the_estimators(truth, chunks, masked):
    keep, channels = np.ones(SCAN, bool), np.ones(CHANNELS, bool)
    if masked:
        keep[5:9, :20], channels[90:] = False, False
    s = signal_of(truth, chunks)
    cluster(s, navigation_mask=(~keep).T, signal_mask=~channels)
    rows = truth.counts[keep][:, channels]
    scores = WeightedGramPCA(4).fit_transform(rows)
    expected = SphericalKMeans(4, random_state=0).fit(scores, sample_weight=rows.sum(1), scan=keep)
    results = s.learning_results
    labels = results.cluster_labels.reshape(4, *SCAN)
    assert adjusted_rand_score(expected.labels_, labels.argmax(0)[keep]) > 0.99
    assert not labels[:, ~keep].any() and labels[:, keep].sum(0).max() == 1
    sums = np.array([truth.counts[label].sum(0) for label in labels], float)
    sums[:, ~channels] = np.nan
    np.testing.assert_array_equal(results.cluster_sum_signals, sums)
    assert (np.diff(labels.sum((1, 2))) <= 0).all()


@pytest.mark.parametrize("seed", range(1000, 1004))
def test_finds_the_phases_whatever_the_thickness(seed):
    truth = simulate_spectra((48, 48), 256, 40, seed=seed)
    s = signal_of(truth)
    cluster(s)
    found = s.learning_results.cluster_labels.argmax(0)
    dominant = truth.abundances.reshape(-1, 4).argmax(1)
    assert adjusted_rand_score(dominant, found) > 0.85


@pytest.mark.parametrize("algorithm", [GaussianMixture(4, random_state=0), HDBSCAN(30, copy=True)])
def test_takes_any_clustering(truth, algorithm):
    s = signal_of(truth)
    info = cluster(s, n_clusters=None, algorithm=algorithm, n_axes=4)
    assert type(info) is type(algorithm) and info is not algorithm
    results = s.learning_results
    assert results.cluster_algorithm == type(algorithm).__name__
    assert 2 <= results.number_of_clusters == len(results.cluster_labels)


def test_hyperspy_goes_on_with_the_results(truth, tmp_path):
    s = signal_of(truth)
    cluster(s)
    s.plot_cluster_results()
    plt.close("all")
    mean = s.get_cluster_signals("mean").data
    labels = s.learning_results.cluster_labels.reshape(4, *SCAN)
    np.testing.assert_allclose(mean[1], truth.counts[labels[1]].mean(0))
    nearest = s.get_cluster_signals("centroid").data
    assert (truth.counts[labels[2]] == nearest[2]).all(1).any()
    s.save(tmp_path / "clusters.hspy")
    loaded = hs.load(tmp_path / "clusters.hspy")
    np.testing.assert_array_equal(
        loaded.learning_results.cluster_labels, s.learning_results.cluster_labels
    )


def test_empty_pixels_have_no_phase(truth):
    s = signal_of(truth)
    s.data[3:6, 4:9] = 0
    cluster(s)
    labels = s.learning_results.cluster_labels.reshape(4, *SCAN)
    assert not labels[:, 3:6, 4:9].any()
    assert labels.any(0).sum() == np.prod(SCAN) - 15


@pytest.mark.parametrize("algorithm", [None, GaussianMixture(4, random_state=0)])
@pytest.mark.parametrize("scaling", ["poisson", None])
def test_empty_pixels_are_no_cluster(truth, algorithm, scaling):
    s = signal_of(truth)
    s.data[:, ::2] = 0
    n_clusters = 4 if algorithm is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        cluster(s, n_clusters=n_clusters, algorithm=algorithm, scaling=scaling, n_axes=4)
    results = s.learning_results
    assert results.cluster_labels.sum(1).min() > 0 and results.cluster_labels.sum() == 24 * 15
    assert np.isfinite(results.cluster_centroids).all()
    if algorithm is None and scaling:
        # Nor do they move those that are there.
        keep = np.zeros(SCAN, bool)
        keep[:, 1::2] = True
        other = signal_of(truth)
        cluster(other, navigation_mask=~keep.T)
        np.testing.assert_array_equal(results.cluster_labels, other.learning_results.cluster_labels)


class Halves(ClusterMixin, BaseEstimator):
    """Two clusters, of the numbers 1 and 4."""

    def fit_predict(self, X, y=None):
        return np.where(np.arange(len(X)) < len(X) // 2, 4, 1)


def test_clusters_without_pixels_are_left_out(truth):
    s = signal_of(truth)
    cluster(s, n_clusters=None, algorithm=Halves())
    labels = s.learning_results.cluster_labels.reshape(2, *SCAN)
    np.testing.assert_array_equal(labels[0, :12], False)
    np.testing.assert_array_equal(labels[1, :12], True)


def test_a_clustering_keeps_its_width(truth):
    assert cluster(signal_of(truth), width=3.0).width == 3
    assert cluster(signal_of(truth)).width == 0.8
    own = SphericalKMeans(4, width=2.0, random_state=0)
    s = signal_of(truth)
    assert cluster(s, n_clusters=None, algorithm=own, n_axes=4).width == 2
    same = signal_of(truth)
    cluster(same, width=2.0)
    np.testing.assert_array_equal(
        s.learning_results.cluster_labels, same.learning_results.cluster_labels
    )
    assert cluster(s, n_clusters=None, algorithm=own, width=0.5).width == 0.5 and own.width == 2


def test_patterns_are_clustered_as_well():
    random = np.random.default_rng(0)
    patterns = random.gamma(0.2, 20, (2, 12, 14))
    kinds = np.zeros((9, 10), int)
    kinds[:, 4:] = 1
    s = hs.signals.Signal2D(random.poisson(patterns[kinds]))
    cluster(s, n_clusters=2)
    np.testing.assert_array_equal(s.learning_results.cluster_labels[0].reshape(9, 10), kinds == 1)


def test_more_than_memory_is_not_needed(truth):
    """Blocks are read three times, and never all of them at once."""
    reads = []
    blocks = da.map_blocks(
        lambda block: (reads.append(block.shape), block)[1],
        da.from_array(truth.counts, chunks=(6, 30, -1)),
        dtype=truth.counts.dtype,
        meta=np.empty((0, 0, 0), truth.counts.dtype),
    )
    s = hs.signals.Signal1D(blocks).as_lazy()
    cluster(s)
    # The spectra nearest to the centroids are read one by one.
    assert 3 * 4 < reads.count((6, 30, CHANNELS)) <= 3 * 4 + 4


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        (dict(n_clusters=None), ValueError, "Say how many clusters"),
        (dict(algorithm=KMeans(3)), TypeError, "Leave n_clusters out"),
        (dict(n_clusters=None, algorithm="kmeans"), TypeError, "fit_predict is needed"),
        (dict(n_axes=999), ValueError, "999 axes can't be had"),
        (dict(n_axes=0), ValueError, "n_axes=0|0 axes|n_components=0"),
        (dict(preprocessing="norm"), TypeError, "takes no preprocessing, but n_axes"),
        (dict(n_clusters=None, algorithm=HDBSCAN(700, copy=True)), ValueError, "found no cluster"),
    ],
)
def test_refuses_what_it_cant_do(truth, kwargs, error, message):
    with pytest.raises(error, match=message):
        cluster(signal_of(truth), **kwargs)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Clusters of directions: known kinds, whatever the intensity, and what neighbours are good for."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import SphericalKMeans, WeightedGramPCA, smooth_directions


def rays(seed, n=300, spread=0.05):
    """Vectors about three directions, of very different length."""
    random = np.random.default_rng(seed)
    labels = random.integers(3, size=n)
    vectors = np.eye(3, 5)[labels] + random.normal(0, spread, (n, 5))
    return vectors * random.uniform(0.1, 100, (n, 1)), labels


#: As for scikit-learn's KMeans: the random choice of first centres is another one.
RANDOM = dict.fromkeys(
    (
        "check_sample_weight_equivalence_on_dense_data",
        "check_sample_weight_equivalence_on_sparse_data",
    ),
    "starts are drawn with other weights",
)


@parametrize_with_checks(
    [SphericalKMeans(3, random_state=0)], expected_failed_checks=lambda estimator: RANDOM
)
def test_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("seed", range(1000, 1004))
def test_length_does_not_matter(seed):
    vectors, labels = rays(seed)
    model = SphericalKMeans(3, random_state=0).fit(vectors)
    assert adjusted_rand_score(labels, model.labels_) == 1
    np.testing.assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1)
    np.testing.assert_array_equal(model.predict(7 * vectors), model.labels_)


def test_each_sample_is_with_the_centre_of_highest_cosine_and_centres_are_directions_of_sums():
    vectors, _ = rays(0, spread=0.6)
    weights = np.random.default_rng(1).uniform(0, 3, len(vectors))
    model = SphericalKMeans(3, random_state=0).fit(vectors, sample_weight=weights)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_array_equal((unit @ model.cluster_centers_.T).argmax(1), model.labels_)
    for k, center in enumerate(model.cluster_centers_):
        total = (weights[:, None] * unit)[model.labels_ == k].sum(0)
        np.testing.assert_allclose(center, total / np.linalg.norm(total), atol=1e-12)


def test_neighbours_tell_phases_apart_that_counts_alone_do_not():
    truth = simulate_spectra(shape=(48, 48), counts_per_pixel=6, seed=1000)
    rows = truth.counts.reshape(48 * 48, -1)
    dominant = truth.abundances.reshape(48 * 48, -1).argmax(1)
    scores = WeightedGramPCA(4).fit_transform(rows)
    scored = {}
    for name, scan in (("alone", None), ("neighbours", (48, 48))):
        model = SphericalKMeans(4, random_state=0)
        labels = model.fit(scores, sample_weight=rows.sum(1), scan=scan).labels_
        scored[name] = adjusted_rand_score(dominant, labels)
    assert scored["neighbours"] > scored["alone"] + 0.15
    assert scored["neighbours"] > 0.8


def test_smoothing_stays_inside_masks_and_leaves_empty_pixels_alone():
    scores = np.array([[1.0, 0], [0, 0], [0, 1], [0, 1]])
    keep = np.array([[True, True, False], [False, True, True]])
    found = smooth_directions(scores, keep, 0.8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), [1, 0, 1, 1])
    assert found[0, 1] > 0
    np.testing.assert_allclose(smooth_directions(scores, keep, 0)[0], [1, 0])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(n_clusters=0), "n_clusters=0"),
        (dict(n_clusters=400), "300 samples only"),
        (dict(width=-1), "width=-1"),
    ],
)
def test_refuses_bad_parameters(bad, message):
    with pytest.raises(ValueError, match=message):
        SphericalKMeans(**bad).fit(rays(0)[0])


def test_refuses_negative_weights():
    with pytest.raises(ValueError, match="sample_weight has negative values"):
        SphericalKMeans(3).fit(rays(0)[0], sample_weight=np.r_[-1, np.ones(299)])


def test_warns_where_samples_still_change_their_cluster():
    random = np.random.default_rng(0)
    with pytest.warns(ConvergenceWarning, match="after 1 iterations"):
        SphericalKMeans(8, max_iter=1, random_state=0).fit(random.uniform(0, 1, (2000, 3)))

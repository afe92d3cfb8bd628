# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The start from clusters: pure pixels are found."""

import numpy as np
import pytest

from emsparse_hs.decomposition import _gram, clustering, start
from emsparse_hs.decomposition.counts import as_counts


def pure_pixels(random, n_pixels=240, n_features=41):
    """Counts of pixels that are each of one of three kinds, at very different intensity."""
    spectra = random.dirichlet(np.full(n_features, 0.3), 3)
    labels = random.choice(3, n_pixels, p=[0.5, 0.3, 0.2])
    intensity = random.uniform(20, 200, n_pixels)
    return random.poisson(intensity[:, None] * spectra[labels]), labels


@pytest.mark.parametrize("n_axes", [2, 5])
def test_multiplications_are_bounded_for_dense_pixels(n_axes, monkeypatch):
    """All pixels are filled alike, so that the limit holds whichever are chosen."""
    monkeypatch.setattr(start, "MOST_PRODUCTS", 1e5)
    rows, _ = pure_pixels(np.random.default_rng(0))
    few = start._few_enough(as_counts(rows + 1), n_axes, np.random.RandomState(0))
    assert len(rows) > few.shape[0] == max(10 * n_axes, int(1e5 / 41**2))


@pytest.mark.parametrize("seed", range(1000, 1003))
@pytest.mark.parametrize("limited", [False, True])
def test_clusters_of_pure_pixels_are_their_kinds(seed, limited, monkeypatch):
    if limited:
        monkeypatch.setattr(_gram, "MOST_BINS", 20)
        monkeypatch.setattr(start, "MOST_PRODUCTS", 3e4)
        monkeypatch.setattr(clustering, "MOST_CLUSTERED", 100)
    rows, labels = pure_pixels(np.random.default_rng(seed))
    spectra = start.cluster_start(as_counts(rows), 3, random_state=0)
    sums = np.stack([rows[labels == k].sum(0) for k in range(3)]).astype(float)
    sums = sums[np.argsort(-sums.sum(1))]
    expected = sums / sums.sum(1, keepdims=True)
    assert np.abs(spectra - expected).sum(1).max() < 0.01


def test_spectra_sum_to_one_and_are_zero_only_without_counts():
    rows, _ = pure_pixels(np.random.default_rng(0))
    rows[:, [3, 7]] = 0
    rows[::5] = 0
    spectra = start.cluster_start(as_counts(rows), 4, random_state=0)
    np.testing.assert_allclose(spectra.sum(1), 1)
    np.testing.assert_array_equal((spectra > 0).all(0), rows.any(0))


def test_one_component_is_the_mean():
    rows, _ = pure_pixels(np.random.default_rng(0))
    mean = rows.sum(0) / rows.sum()
    np.testing.assert_allclose(start.cluster_start(as_counts(rows), 1), mean[None])


def test_same_random_state_same_start():
    counts = as_counts(pure_pixels(np.random.default_rng(0))[0])
    first, second = (start.cluster_start(counts, 3, random_state=5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("n_stray", [1, 100])
def test_single_stray_counts_make_no_spectrum(n_stray):
    """The only count of a pixel, in a channel that has no other one."""
    random = np.random.default_rng(4)
    spectra = np.zeros((2, 200))
    spectra[0, :40], spectra[1, 20:60] = random.gamma(1, 1, (2, 40))
    spectra /= spectra.sum(1, keepdims=True)
    rows = random.poisson(30 * spectra[random.integers(2, size=600)])
    rows[:n_stray] = 0
    rows[np.arange(n_stray), 60 + np.arange(n_stray)] = 1
    found = start.cluster_start(as_counts(rows), 2, random_state=0)
    unit = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in (found, spectra)]
    assert (unit[0] @ unit[1].T).max(0).min() > 0.99


@pytest.mark.parametrize("factor", [1e-15, 1e20, 1e26])
@pytest.mark.parametrize("mean", [0.3, 30])
def test_clusters_do_not_depend_on_the_unit(factor, mean):
    random = np.random.default_rng(0)
    spectra = random.dirichlet(np.ones(40), 2)
    x = random.poisson(40 * mean * np.repeat(spectra, 50, 0)).astype(float)
    one, other = (
        start.cluster_start(as_counts(scale * x), 2, random_state=0) for scale in (1.0, factor)
    )
    np.testing.assert_allclose(other, one, rtol=0.01, atol=1e-4)

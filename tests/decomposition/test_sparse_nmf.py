# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Least-squares NMF: the conditions of a minimum, scikit-learn's, known truth, and penalties."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment, nnls
from sklearn.decomposition import NMF
from sklearn.utils.estimator_checks import parametrize_with_checks

from emsparse_hs.decomposition import SparseNMF
from emsparse_hs.decomposition._hals_kernels import descend


def edges(seed, n_pixels=500, n_channels=80, dose=2000.0, n_components=3):
    """Counts, abundances and spectra of edges on a background: all channels are filled."""
    random = np.random.default_rng(seed)
    energy = np.arange(n_channels)
    onsets = random.permutation(np.linspace(15, 60, n_components))
    spectra = np.array([(energy / 20 + 1) ** -2 + 0.8 * (energy > e) for e in onsets])
    spectra /= spectra.sum(1, keepdims=True)
    abundances = dose * random.dirichlet(np.full(n_components, 0.4), n_pixels)
    return random.poisson(abundances @ spectra), abundances, spectra


def matched(true, found):
    """Cosines of true spectra with those found, and their order."""
    unit = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in (true, found)]
    cosines = unit[0] @ unit[1].T
    rows, columns = linear_sum_assignment(-cosines)
    return cosines[rows, columns], columns


@parametrize_with_checks(
    [
        SparseNMF(random_state=0),
        SparseNMF(scaling=None, sparsity=0.1, orthogonality=0.1, random_state=0),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


def test_descent_ends_at_non_negative_least_squares():
    random = np.random.default_rng(0)
    spectra, data = random.random((20, 4)), random.normal(1, 2, (9, 20))
    rows = np.zeros((9, 4), np.float32)
    products, gram = (data @ spectra).astype("f4"), (spectra.T @ spectra).astype("f4")
    descend(products, gram, np.zeros(4, "f4"), 0, 9, 3000, 1e-8, rows)
    expected = np.array([nnls(spectra, row)[0] for row in data])
    np.testing.assert_allclose(rows, expected, atol=2e-3)


def test_penalties_of_descent_by_the_conditions_of_a_minimum():
    """The gradient is zero where rows are positive, and not negative elsewhere."""
    random = np.random.default_rng(1)
    spectra, data = random.random((20, 4)), random.normal(1, 2, (30, 20))
    products, gram = (data @ spectra).astype("f4"), (spectra.T @ spectra).astype("f4")
    prices = np.array([0.5, 0, 3, 1], np.float32)
    rows = np.zeros((30, 4), np.float32)
    descend(products, gram, prices, 0, 30, 3000, 1e-8, rows)
    gradient = rows @ gram - products + prices
    assert np.abs(gradient[rows > 0]).max() < 1e-3
    assert gradient[rows == 0].min() > -1e-3
    assert (rows == 0).any() and (rows > 0).any()


def test_without_scaling_it_fits_as_well_as_scikit_learn():
    data = np.random.default_rng(0).random((200, 30))
    ours = SparseNMF(4, scaling=None, tol=1e-6, max_iter=3000).fit(data)
    peer = NMF(4, init="nndsvda", tol=1e-8, max_iter=3000).fit(data)
    assert ours.reconstruction_err_ == pytest.approx(peer.reconstruction_err_, rel=5e-3)
    model = ours.transform(data) @ ours.components_
    assert np.linalg.norm(data - model) == pytest.approx(ours.reconstruction_err_, rel=1e-4)


@pytest.mark.parametrize("seed", range(1000, 1004))
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_finds_edges_and_their_loadings_in_counts(seed, convert):
    counts, abundances, spectra = edges(seed)
    model = SparseNMF(3, random_state=0)
    loadings = model.fit_transform(convert(counts))
    cosines, order = matched(spectra, model.components_)
    assert cosines.min() > 0.99
    assert np.abs(loadings[:, order] - abundances).mean() < 0.08 * 2000
    np.testing.assert_allclose(loadings.sum(1), counts.sum(1), rtol=0.1)
    assert model.noise_ == pytest.approx(1, abs=0.05)
    np.testing.assert_allclose(model.transform(convert(counts)), loadings, atol=0.05)


@pytest.mark.parametrize("seed", range(1000, 1003))
def test_compressed_data_give_the_same_spectra(seed):
    counts, _, _ = edges(seed)
    model, compressed = SparseNMF(3, random_state=0), SparseNMF(3, random_state=0)
    model.fit(counts)
    pca = compressed.compressor(80)
    for part in np.array_split(counts, 4):
        pca.partial_fit(part)
    loadings = compressed.fit_transform_compressed(pca.transform(counts), pca)
    cosines, order = matched(model.components_, compressed.components_)
    assert cosines.min() > 0.9999
    expected = model.transform(counts)
    assert np.abs(loadings[:, order] - expected).mean() < 0.02 * 2000
    assert compressed.noise_ == pytest.approx(model.noise_, abs=0.02)


def test_sparsity_makes_zeros():
    counts, _, _ = edges(0, dose=300)
    zeros = [
        (SparseNMF(3, random_state=0, sparsity=sparsity).fit_transform(counts) == 0).mean()
        for sparsity in (0.0, 0.5, 2.0)
    ]
    assert zeros[0] < zeros[1] < zeros[2]


def test_orthogonality_separates_maps():
    counts, _, _ = edges(0, dose=300)

    def overlap(orthogonality):
        loadings = SparseNMF(3, random_state=0, orthogonality=orthogonality).fit_transform(counts)
        gram = loadings.T @ loadings
        return 1 - np.trace(gram) / gram.sum()

    overlaps = [overlap(orthogonality) for orthogonality in (0.0, 0.02, 0.05)]
    assert overlaps[0] > overlaps[1] > overlaps[2]
    assert overlap(1.0) < 1e-3


@pytest.mark.parametrize("seed", range(1000, 1004))
def test_relevance_leaves_the_components_there_are(seed):
    counts, _, spectra = edges(seed)
    model = SparseNMF(6, random_state=0, ard=True, sparsity=0.5, max_iter=2000).fit(counts)
    assert len(model.components_) == 3
    assert matched(spectra, model.components_)[0].min() > 0.99


@pytest.mark.parametrize("seed", range(1000, 1004))
@pytest.mark.parametrize("dose", [2e4, 2e5, 2e6])
def test_relevance_makes_split_spectra_whole(seed, dose):
    """Where noise is weak, a spectrum in two parts fits as well, and hardly changes in a step."""
    counts, _, spectra = edges(seed, dose=dose)
    model = SparseNMF(6, random_state=0, ard=True, sparsity=0.5)
    loadings = model.fit_transform(counts)
    assert len(model.components_) == 3
    assert matched(spectra, model.components_)[0].min() > 0.999
    np.testing.assert_allclose(model.transform(counts), loadings, atol=1e-4 * dose)


@pytest.mark.parametrize("n_components", [1, 3])
def test_relevance_where_there_is_hardly_anything_but_noise(n_components):
    counts = np.random.default_rng(0).poisson(0.02, (200, 80))
    model = SparseNMF(n_components, random_state=0, ard=True)
    assert model.fit_transform(counts).shape == (200, len(model.components_))
    assert len(model.components_) <= 1


@pytest.mark.parametrize("dose", [2e5, 2e9])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_noise_is_what_the_model_leaves(dose, convert):
    """Also where that is less than the square of the data can say in float32."""
    counts, _, _ = edges(0, dose=dose)
    model = SparseNMF(3, random_state=0)
    left = counts - model.fit_transform(convert(counts)).astype(float) @ model.components_
    sums = counts.sum(1, keepdims=True), counts.sum(0) / counts.sum()
    square = (left**2 / (sums[0] * sums[1])).sum()
    assert model.noise_ == pytest.approx(np.sqrt(square / (497 * 77)), rel=0.05)


def test_components_are_in_order_of_their_counts():
    """Few thick pixels have more counts than many thin ones, but less where counts are scaled."""
    _, _, spectra = edges(0)
    abundances = np.repeat(np.diag([500.0, 4000.0, 400.0]), (200, 60, 240), axis=0)
    counts = np.random.default_rng(0).poisson(abundances @ spectra)
    model = SparseNMF(3, random_state=0)
    totals = model.fit_transform(counts).sum(0)
    assert (np.diff(totals) < 0).all()
    np.testing.assert_array_equal(matched(spectra, model.components_)[1], [1, 0, 2])
    model = SparseNMF(3, init=spectra).fit(counts)
    np.testing.assert_array_equal(matched(spectra, model.components_)[1], [0, 1, 2])


def test_scale_of_the_data_does_not_matter():
    counts, _, _ = edges(0)
    one, other = (SparseNMF(3, random_state=0).fit(rows) for rows in (counts, counts * 1e-6))
    np.testing.assert_allclose(one.components_, other.components_, atol=2e-4)


def test_starts_from_given_spectra():
    counts, _, spectra = edges(0)
    model = SparseNMF(3, init=spectra, max_iter=1, tol=0).fit(counts)
    assert matched(spectra, model.components_)[0].min() > 0.9995


def test_empty_pixels_and_channels_are_zero():
    counts, _, _ = edges(0)
    counts[::7] = 0
    counts[:, 5] = 0
    model = SparseNMF(3, random_state=0)
    loadings = model.fit_transform(counts)
    assert not loadings[::7].any() and not model.components_[:, 5].any()
    assert np.isfinite(loadings).all()


@pytest.mark.parametrize("init", ["clusters", "axes"])
def test_spectra_of_nothing_are_zero(init):
    model = SparseNMF(2, init=init, random_state=0)
    assert not model.fit_transform(np.zeros((20, 100))).any()
    assert not model.components_.any() and model.noise_ == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(n_components=0), "n_components=0"),
        (dict(n_components=81), "81 axes can't be had"),
        (dict(sparsity=-1), "sparsity=-1"),
        (dict(orthogonality=1.5), "orthogonality=1.5, and a number from 0 to 1"),
        (dict(ard="no"), "ard='no' is not known. Use True or False"),
        (dict(init="random"), "init='random' is not known"),
        (dict(init=np.ones((2, 5))), r"init is of shape \(2, 5\)"),
    ],
)
def test_refuses_bad_parameters(bad, message):
    with pytest.raises(ValueError, match=message):
        SparseNMF(**{"n_components": 3, **bad}).fit(edges(0)[0])

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Principal axes from the Gram matrix: its definition, NumPy's decomposition, and Poisson noise."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.utils.estimator_checks import parametrize_with_checks

from emsparse_hs.decomposition import WeightedGramPCA, _gram
from emsparse_hs.decomposition._gram import bins_of, gram_of_rows
from emsparse_hs.decomposition.counts import as_counts


def counts_of(seed=0, n_pixels=400, n_features=37, n_components=3, mean=30.0):
    """Counts of a few spectra at very different intensity."""
    random = np.random.default_rng(seed)
    spectra = random.dirichlet(np.full(n_features, 0.3), n_components)
    abundances = random.gamma(0.5, 2 * mean / n_components, (n_pixels, n_components))
    return random.poisson(abundances @ spectra)


def scaled(rows):
    """As the docstring says, but for the few counts that channels are raised by."""
    totals, sums = rows.sum(1), rows.sum(0)
    unit = (rows.astype(float) ** 2).sum() / rows.sum()
    raised = (sums + _gram.RAISED_BY * unit) / sums.sum()
    weights = np.where(sums > 0, 1 / np.sqrt(raised), 0)
    return rows / np.sqrt(np.where(totals > 0, totals, np.inf))[:, None] * weights


@parametrize_with_checks([WeightedGramPCA(2), WeightedGramPCA(2, scaling=None)])
def test_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_bins", [5, 11])
@pytest.mark.parametrize("convert", [as_counts, lambda rows: rows.astype(np.float32)])
def test_gram_by_its_definition(n_bins, convert, monkeypatch):
    monkeypatch.setattr(_gram, "MOST_BINS", n_bins)
    monkeypatch.setattr(_gram, "_AT_ONCE", 6)
    random = np.random.default_rng(0)
    rows, weights = random.poisson(0.4, (13, 11)), random.random(13)
    bins = bins_of(11)
    binned = np.stack([rows[:, bins == k].sum(1) for k in range(n_bins)], 1)
    expected = (weights[:, None] * binned).T @ (weights[:, None] * binned)
    np.testing.assert_allclose(gram_of_rows(convert(rows), weights, bins), expected, rtol=1e-5)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array, lambda x: x.astype("f8")])
def test_axes_are_those_of_numpys_decomposition(convert):
    rows = counts_of()
    model = WeightedGramPCA(3)
    loadings = model.fit_transform(convert(rows))
    u, s, v = np.linalg.svd(scaled(rows), full_matrices=False)
    np.testing.assert_allclose(model.explained_variance_, s[:3] ** 2 / len(rows), rtol=1e-4)
    np.testing.assert_allclose(
        model.explained_variance_ratio_, s[:3] ** 2 / (s**2).sum(), rtol=1e-4
    )
    best = (u[:, :3] * s[:3]) @ v[:3]
    totals = np.sqrt(rows.sum(1, keepdims=True))
    found = loadings @ model.components_ / np.where(totals > 0, totals, 1)
    np.testing.assert_allclose(found * model.feature_weights_, best, atol=1e-3 * best.max())


def test_blocks_in_any_order_give_the_same_as_all_at_once():
    rows = counts_of()
    model = WeightedGramPCA(3).fit(rows)
    parts = [slice(300, 400), slice(0, 7), slice(7, 300)]
    in_blocks = WeightedGramPCA(3)
    for part in parts:
        in_blocks.partial_fit(rows[part])
    assert in_blocks.n_samples_seen_ == 400
    np.testing.assert_allclose(in_blocks.components_, model.components_, rtol=1e-3, atol=1e-6)


def test_noise_of_counts_has_unit_variance():
    """Beyond the leading axes there is nothing but noise, as much in each direction."""
    rows = counts_of(3, 3000, 40, mean=400)
    model = WeightedGramPCA(3).fit(rows)
    left = (model.total_variance_ - model.explained_variance_.sum()) / (40 - 3)
    assert left == pytest.approx(1, abs=0.03)


def test_without_scaling_data_may_be_negative():
    random = np.random.default_rng(0)
    rows = random.normal(size=(50, 12))
    model = WeightedGramPCA(12, scaling=None)
    np.testing.assert_allclose(model.inverse_transform(model.fit_transform(rows)), rows, atol=1e-5)


def test_many_channels_are_added_up(monkeypatch):
    """Then a model of smooth spectra is still one."""
    monkeypatch.setattr(_gram, "MOST_BINS", 20)
    spectra = np.repeat(np.random.default_rng(0).dirichlet(np.ones(20), 2), 3, axis=1) / 3
    rows = np.random.default_rng(1).gamma(1, 500, (300, 2)) @ spectra
    model = WeightedGramPCA(2)
    np.testing.assert_allclose(
        model.inverse_transform(model.fit_transform(rows)), rows, atol=1e-2 * rows.max()
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dict(n_components=0), "n_components=0"),
        (dict(n_components=99), "99 axes can't be had"),
        (dict(scaling="keenan"), "scaling='keenan' is not known"),
    ],
)
def test_refuses_bad_parameters(bad, message):
    with pytest.raises(ValueError, match=message):
        WeightedGramPCA(**bad).fit(counts_of())


def test_refuses_negative_counts():
    rows = counts_of()
    rows[0, 0] = -1
    for data in (rows, sparse.csr_array(rows), rows + 5.0 * (rows >= 0)):
        with pytest.raises(ValueError, match="Negative values in data"):
            WeightedGramPCA(2).fit(data)


@pytest.mark.parametrize("n_features", [10, 100])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_axes_of_nothing(n_features, convert):
    """Few channels or many, as in an empty part of a map."""
    model = WeightedGramPCA(2)
    loadings = model.fit_transform(convert(np.zeros((20, n_features))))
    assert loadings.shape == (20, 2) and not loadings.any()
    assert not model.components_.any() and not model.explained_variance_.any()

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Data that are no counts any more: what is found of their scale, and what is said of it."""

import warnings

import numpy as np
import pytest

from emsparse_hs.decomposition import PoissonNMF, as_counts, merge_components, select_n_components
from emsparse_hs.decomposition._scale import are_counts, common_factor

FACTORS = [0.7, 1 / 255, 3.7e-5, 1.0000001, 12.34, 2.5]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("mean", [0.3, 40, 3000])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_finds_what_counts_were_multiplied_by(factor, mean, dtype):
    counts = np.random.default_rng(0).poisson(mean, (60, 50))
    # Values of which the least one is no single count.
    counts += 2 * (counts > 0) if mean > 1 else 0
    found = common_factor(as_counts((counts * factor).astype(dtype)).data)
    assert found == pytest.approx(factor, rel=1e-6)
    again = np.round((counts * factor).astype(dtype) / float(f"{found:.6g}"))
    np.testing.assert_array_equal(again, counts)


@pytest.mark.parametrize("mean", [0.3, 40])
def test_finds_nothing_where_each_pixel_has_a_scale_of_its_own(mean):
    counts = np.random.default_rng(0).poisson(mean, (60, 50)).astype(float)
    assert common_factor(as_counts(counts / (1 + counts.sum(1, keepdims=True))).data) is None
    assert common_factor(as_counts(np.sqrt(counts) + 0.1).data) is None
    assert common_factor(np.zeros(0, np.float32)) is None


def said(fit):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit()
    return [w for w in caught if "are no counts" in str(w.message)]


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(0).poisson(0.8, (60, 30))


@pytest.mark.parametrize("way", ["fit", "fit_transform", "partial_fit"])
def test_scaled_counts_are_told_once_with_their_factor(counts, way):
    def fit(x):
        model = PoissonNMF(2, random_state=0, max_iter=3, tol=0)
        getattr(model, way)(x)
        model.transform(x)
        model.components_.sum()

    (warning,) = said(lambda: fit(0.7 * counts))
    assert "whole numbers times 0.7, and counts after s.data = (s.data / 0.7).round()" in str(
        warning.message
    )
    (warning,) = said(lambda: fit(counts / (1 + counts.sum(1, keepdims=True))))
    assert "as they were counted, without scaling" in str(warning.message)
    assert not said(lambda: fit(counts.astype(float)))
    assert not said(lambda: fit(counts.astype("f4")))


def test_without_prior_a_factor_changes_no_spectrum(counts):
    model = PoissonNMF(2, prior=None, random_state=0)
    assert not said(lambda: model.fit(0.7 * counts))
    assert said(lambda: model.fit(counts / (1 + counts.sum(1, keepdims=True))))


def test_errors_name_the_factor(counts):
    message = r"whole numbers.*times 0\.7, and counts after"
    with pytest.raises(ValueError, match=message):
        select_n_components(0.7 * counts, [1])
    with pytest.raises(ValueError, match=message):
        assert not said(lambda: PoissonNMF("auto").fit(0.7 * counts))
    with pytest.raises(ValueError, match=message):
        merge_components(0.7 * counts, np.ones((1, 30)), np.ones((60, 1)))
    with pytest.raises(ValueError, match=r"whole numbers.*times 1e-06, and counts after"):
        merge_components(1e-6 * counts, np.ones((1, 30)), np.ones((60, 1)))


@pytest.mark.parametrize("gain", [2, 3, 10])
@pytest.mark.parametrize("dtype", ["u2", "i8", "f4"])
def test_whole_multiples_of_counts_are_told_too(counts, gain, dtype):
    scaled = (gain * counts).astype(dtype)
    message = rf"whole numbers times {gain}, and counts after s.data = \(s.data / {gain}\).round"
    with pytest.warns(UserWarning, match=message):
        PoissonNMF(2, random_state=0, max_iter=3, tol=0).fit(scaled)
    with pytest.raises(ValueError, match=message):
        select_n_components(scaled, [1])
    with pytest.raises(ValueError, match=message):
        merge_components(scaled, np.ones((1, 30)), np.ones((60, 1)))


def test_a_few_even_counts_are_counts():
    assert are_counts(as_counts(np.full((9, 10), 2)))
    assert not are_counts(as_counts(np.full((10, 10), 2)))
    mostly_even = np.full((300, 300), 2)
    mostly_even[-1, -1] = 3
    assert are_counts(as_counts(mostly_even))


@pytest.mark.parametrize("mean", [0.5, 30, 3000])
def test_scaling_and_back_in_float32_leaves_counts(mean):
    counts = np.random.default_rng(0).poisson(mean, (200, 50)).astype("f4")
    weights = np.sqrt(counts.mean(1, keepdims=True) + 1) * np.sqrt(counts.mean(0) + 1)
    back = counts / weights.astype("f4") * weights.astype("f4")
    assert not np.array_equal(back, counts)
    np.testing.assert_array_equal(as_counts(back).toarray(), counts)
    assert as_counts(back).dtype.kind == "u"


def test_values_are_not_rounded_that_are_no_counts():
    # Of such large values a part in a hundred thousand is more than one.
    values = np.random.default_rng(0).uniform(1e5, 2e5, (50, 20))
    np.testing.assert_array_equal(as_counts(values).toarray(), values.astype("f4"))
    tiny = np.array([[3.0, 1e-7, 2.0]])
    np.testing.assert_array_equal(as_counts(tiny).toarray(), tiny.astype("f4"))

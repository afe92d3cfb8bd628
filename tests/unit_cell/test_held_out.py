# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Thinned scores: are they independent, is the noise known, do they tell two series from one."""

import numpy as np
import pytest

from emsparse_hs.unit_cell.held_out import (
    ThinnedScores,
    advantage,
    advantage_of_two,
    noise_variance,
)

SHAPE = (96, 88)


def fractional_of(scan):
    middle = (np.array(scan.labels.shape) - 1) / 2
    return (np.moveaxis(np.indices(scan.labels.shape), 0, -1) - middle) @ scan.reciprocal.T


def test_parts_are_independent_and_as_noisy_as_they_say():
    random = np.random.default_rng(3)
    expected = random.uniform(0, 50, (200, 150, 2))
    noise = 4.0
    scores = (expected + 2.0 * random.standard_normal(expected.shape)).astype(np.float32)
    thin = ThinnedScores.of(scores, noise)
    fitted, held_out = thin.fitted - expected, thin.held_out - expected
    n = expected.size
    assert fitted.mean() == pytest.approx(0, abs=4 * np.sqrt(noise / 0.9 / n))
    assert fitted.var() == pytest.approx(noise / 0.9, rel=0.03)
    assert held_out.var() == pytest.approx(thin.noise, rel=0.03)
    assert thin.noise == pytest.approx(noise / 0.1)
    assert abs(np.corrcoef(fitted.ravel(), held_out.ravel())[0, 1]) < 4 / np.sqrt(n)


def test_what_they_know_adds_up():
    scores = np.random.default_rng(0).standard_normal((40, 30, 3)).astype(np.float32)
    thin = ThinnedScores.of(scores, 1.0)
    np.testing.assert_allclose(0.9 * thin.fitted + 0.1 * thin.held_out, scores, atol=1e-5)


def test_parts_are_independent_when_thinned_again():
    scores = np.random.default_rng(5).standard_normal((100, 90, 2)).astype(np.float32)
    outer = ThinnedScores.of(scores, 1.0, seed=1)
    inner = ThinnedScores.of(outer.fitted, 1 / 0.9)
    for one, other in (
        (inner.fitted, inner.held_out),
        (inner.fitted, outer.held_out),
        (inner.held_out, outer.held_out),
    ):
        related = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(related) < 4 / np.sqrt(one.size)


def test_thinned_normal_scores_are_as_thinned_counts():
    """A model chosen by thinned scores is judged as by electrons that went one way or the other."""
    random = np.random.default_rng(1)
    # Two places whose patterns of 900 pixels differ, and scores along the difference.
    first, second = random.gamma(2.0, 3.0, (2, 900))
    counts = np.concatenate(
        [random.poisson(first, (4000, 900)), random.poisson(second, (4000, 900))]
    )
    scale = np.sqrt((first + second) / 2)
    axis = (first - second) / scale
    axis /= np.linalg.norm(axis)
    held = random.binomial(counts, 0.1)
    by_counts = (held / 0.1 / scale) @ axis
    by_scores = ThinnedScores.of(
        ((counts / scale) @ axis).reshape(80, 100, 1).astype(np.float32), 1.0
    ).held_out.ravel()
    for half in (slice(4000), slice(4000, None)):
        assert by_scores[half].mean() == pytest.approx(by_counts[half].mean(), abs=0.25)
        assert by_scores[half].std() == pytest.approx(by_counts[half].std(), rel=0.08)


@pytest.mark.parametrize("noise", [0.05, 0.5, 5.0])
def test_noise_of_a_crystal(series_scan, noise):
    scan = series_scan(SHAPE, noise=noise, reciprocal=0.6 * np.eye(2) * 0.15)
    assert noise_variance(scan.scores) == pytest.approx(noise**2, rel=0.15)


def test_no_noise_is_no_noise(series_scan):
    scan = series_scan(SHAPE, noise=0.0, reciprocal=0.6 * np.eye(2) * 0.15)
    assert noise_variance(scan.scores) < 1e-5 * scan.scores.var()


def halves(step):
    labels = np.zeros(SHAPE, int)
    labels[:, step:] = 1
    return labels


@pytest.mark.parametrize("noise", [0.3, 3.0])
def test_two_series_are_better_where_there_are_two(series_scan, noise):
    labels = halves(40)
    scan = series_scan(SHAPE, labels=labels, noise=noise, seed=4)
    thin = ThinnedScores.of(scan.scores, noise**2)
    assert advantage_of_two(thin, fractional_of(scan), scan.indices, labels) > 10


@pytest.mark.parametrize("seed", range(6))
def test_two_series_are_no_better_where_there_is_one(series_scan, seed):
    scan = series_scan(SHAPE, noise=3.0, seed=seed)
    thin = ThinnedScores.of(scan.scores, 9.0)
    assert advantage_of_two(thin, fractional_of(scan), scan.indices, halves(40)) < 2


def test_halves_elsewhere_do_not_count(series_scan):
    labels = halves(40)
    scan = series_scan(SHAPE, labels=labels, noise=0.3, seed=4)
    thin = ThinnedScores.of(scan.scores, 0.09)
    labels[:, 40:] = -1
    assert advantage_of_two(thin, fractional_of(scan), scan.indices, labels) == 0


def test_advantage_is_in_standard_errors():
    random = np.random.default_rng(0)
    drawn = [advantage(*random.standard_normal((2, 500)) + [[0.3], [0.0]]) for _ in range(300)]
    assert np.std(drawn) == pytest.approx(1, rel=0.15)
    assert np.mean(drawn) == pytest.approx(0.3 * np.sqrt(250), rel=0.1)


def test_noise_of_principal_scores():
    """Weak principal scores are those with much noise by chance, and do not count."""
    random = np.random.default_rng(2)
    counts = random.standard_normal((40 * 50, 300))
    left, values, _ = np.linalg.svd(counts, full_matrices=False)
    strong = random.standard_normal((40 * 50, 12))
    weak = (left * values)[:, :52]
    assert weak.var() > 1.4
    scores = np.concatenate([strong, weak], axis=1).reshape(40, 50, 64).astype(np.float32)
    assert noise_variance(scores) == pytest.approx(1, rel=0.15)

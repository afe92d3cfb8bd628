# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Expected contrast against waves that were drawn, and polynomials that were integrated."""

import numpy as np
import pytest

from emsparse_hs.stem4d._contrast import ContrastPrior, independent_terms, n_polynomials, zernike

DEGREE = 8


@pytest.fixture(scope="module")
def unit_disc():
    """Places on a fine grid within the unit disc, and the polynomials there."""
    axis = np.linspace(-1, 1, 401)
    places = np.stack(np.meshgrid(axis, axis)).reshape(2, -1)
    places = places[:, np.hypot(*places) <= 1]
    return places, zernike(places, DEGREE)


def test_polynomials_are_orthonormal(unit_disc):
    _, polynomials = unit_disc
    assert len(polynomials) == n_polynomials(DEGREE)
    products = polynomials @ polynomials.T / polynomials.shape[1]
    np.testing.assert_allclose(products, np.eye(len(products)), atol=0.03)


@pytest.mark.parametrize("wave_number", [0.5, 3.0, 5.5])
def test_covariance_is_that_of_waves(unit_disc, wave_number):
    places, polynomials = unit_disc
    random = np.random.default_rng(3)
    angles, phases = random.uniform(0, 2 * np.pi, (2, 4000))
    along = places[:, ::7].T @ np.stack([np.cos(angles), np.sin(angles)])
    waves = np.sqrt(2) * np.cos(wave_number * along + phases)
    coefficients = (polynomials[1:, ::7] @ waves) / len(along)
    prior = ContrastPrior(DEGREE)
    # Polynomials come first, then waves in steps of a half.
    prior.powers = (np.arange(len(prior.powers)) == DEGREE - 1 + 2 * wave_number).astype(float)
    np.testing.assert_allclose(
        prior.covariance(len(polynomials)), np.cov(coefficients, bias=True), atol=0.03
    )


def test_learns_which_waves_there_are():
    prior, truth = ContrastPrior(DEGREE), ContrastPrior(DEGREE)
    truth.powers = np.where(np.arange(len(truth.powers)) == DEGREE + 5, 0.04, 0.0)
    n_terms = n_polynomials(DEGREE)
    covariance = truth.covariance(n_terms)
    random = np.random.default_rng(4)
    contrast = random.multivariate_normal(np.zeros(n_terms - 1), covariance, 200)
    noise = 0.01
    seen = contrast + noise * random.normal(size=contrast.shape)
    information = np.broadcast_to(np.eye(n_terms - 1) / noise**2, (200, n_terms - 1, n_terms - 1))
    for _ in range(10):
        prior.learn(seen / noise**2, information, np.ones(200))
    learned = prior.covariance(n_terms)
    assert np.linalg.norm(learned - covariance) < 0.1 * np.linalg.norm(covariance)


def test_little_evidence_changes_little():
    prior = ContrastPrior(DEGREE)
    before = prior.powers.copy()
    prior.learn(np.zeros((1, 44)), np.eye(44)[None] * 1e-3, np.ones(1))
    np.testing.assert_allclose(prior.powers, before, rtol=1e-2)


def test_independent_terms_are_uncorrelated_and_fall():
    covariance = ContrastPrior(DEGREE).covariance(n_polynomials(DEGREE))
    variances, sums = independent_terms(covariance)
    np.testing.assert_allclose(sums @ covariance @ sums.T, np.diag(variances), atol=1e-7)
    assert (np.diff(variances) <= 0).all()

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Errors of sums and shares against their scatter."""

import numpy as np
import pytest

from emsparse_hs.decomposition._composition_errors import share_errors, sum_variances


def test_pure_components_have_poissons_variance():
    loadings = np.zeros((30, 3))
    loadings[:10, 0], loadings[10:25, 1] = 2, np.arange(1, 16)
    sums = np.array([[40.0, 3], [50, 0], [0, 0]])
    np.testing.assert_allclose(sum_variances(loadings, sums), sums, rtol=1e-6)


def test_mixed_components_have_more():
    random = np.random.default_rng(0)
    loadings = random.gamma(0.5, 1, (200, 2))
    loadings /= loadings.sum(0)
    sums = np.array([[400.0], [900.0]])
    found = []
    for _ in range(400):
        counts = random.poisson(loadings @ sums)[:, 0]
        best = sums[:, 0]
        # Newton's steps to the maximum of the likelihood.
        for _ in range(8):
            expected = loadings @ best
            curvature = (loadings * (counts / expected**2)[:, None]).T @ loadings
            best = best + np.linalg.solve(curvature, loadings.T @ (counts / expected) - 1)
        found.append(best)
    variances = sum_variances(loadings, sums)[:, 0]
    assert (variances > 1.3 * sums[:, 0]).all()
    np.testing.assert_allclose(variances, np.var(found, axis=0), rtol=0.25)


@pytest.mark.parametrize("each", [False, True])
def test_errors_of_shares_are_those_of_drawn_intensities(each):
    random = np.random.default_rng(0)
    intensities = np.array([[100.0, 300, 50], [20, 500, 80]])
    root = random.standard_normal((2, 3, 3))
    covariances = root @ root.swapaxes(1, 2)
    factors = np.array([1.0, 2, 0.5])
    factors = factors * np.array([[1.0], [1.7]]) if each else factors
    drawn = intensities + np.einsum("klm,nkm->nkl", root, random.standard_normal((4000, 2, 3)))
    shares = factors * drawn / (factors * drawn).sum(-1, keepdims=True)
    found = share_errors(intensities, covariances, factors)
    np.testing.assert_allclose(found, shares.std(0), rtol=0.08)


def test_errors_of_nothing_are_not_known():
    assert np.isnan(share_errors(np.zeros((1, 2)), np.ones((1, 2, 2)), np.ones(2))).all()

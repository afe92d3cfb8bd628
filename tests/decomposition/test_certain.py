# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra that are learned from the abundances that are certain."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emsparse_hs.decomposition import PoissonNMF, as_counts
from emsparse_hs.decomposition._certain import CERTAIN, PASSES, spectra_of_certain
from emsparse_hs.decomposition._dirichlet import DirichletModel
from emsparse_hs.decomposition._neighbours import Neighbours
from emsparse_hs.decomposition._variational import solve_variational

SCAN = (30, 34)


def rare_phase(seed, counts=40):
    """Counts of two matrix phases and of a rare one that shares lines, fractions and spectra."""
    random = np.random.default_rng(seed)
    spectra = random.dirichlet(np.full(50, 0.4), 3)
    spectra[2] = 0.6 * spectra[2] + 0.4 * spectra[0]
    place = gaussian_filter(random.normal(size=SCAN), 4) > 0
    fractions = np.stack([place, ~place, np.zeros(SCAN)], -1).astype(float)
    fractions[4:9, 5:9] = (0.2, 0, 0.8)
    fractions[20:24, 20:25] = (0, 0.2, 0.8)
    fractions = fractions.reshape(-1, 3)
    return random.poisson(counts * fractions @ spectra), fractions, spectra


def at_rest(x, fractions, spectra, n_known=0):
    keep = np.ones(SCAN, bool)
    model = DirichletModel(as_counts(x), spectra, fractions, 0.02, 5.0, Neighbours(keep), n_known)
    model.settle(30, 1e-3)
    return model


def cosines(one, other):
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return (one * other).sum(1) / norms


def test_is_that_of_the_obvious_formula():
    x, fractions, spectra = rare_phase(0)
    model = at_rest(x, fractions, spectra)
    w = model.abundances().astype(float)
    w[w < CERTAIN * model.widths()] = 0
    h = model.spectra.astype(float).T
    for _ in range(PASSES):
        y = w @ h
        h = (h * (w.T @ np.divide(x, y, out=np.zeros(x.shape), where=y > 0))) + model.of_mean
        h /= w.sum(0)[:, None]
    found = spectra_of_certain(model)
    np.testing.assert_allclose(found, h / h.sum(1, keepdims=True), rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_rare_phase_gets_its_own_spectrum_back(seed):
    x, fractions, spectra = rare_phase(seed)
    # Its spectrum has taken on some of the matrix's.
    mixed = spectra.copy()
    mixed[2] = 0.8 * spectra[2] + 0.2 * spectra[1]
    model = at_rest(x, fractions, mixed)
    found = spectra_of_certain(model)
    assert cosines(found, spectra)[2] > max(0.97, cosines(mixed, spectra)[2])
    assert cosines(found, spectra)[:2].min() > 0.995
    # Where all that the posterior gives to it counts, the matrix comes in.
    for _ in range(20):
        model.update()
    assert cosines(found, spectra)[2] > cosines(model.components(), spectra)[2]


def test_known_spectra_and_those_of_nothing_stay_as_they_are():
    x, fractions, spectra = rare_phase(0)
    nowhere = np.roll(spectra[2], 7)
    four = np.vstack([spectra, nowhere])
    fractions = np.hstack([fractions, np.zeros((len(x), 1))])
    model = at_rest(x, fractions, four, n_known=1)
    model.shapes[:, 3] = 1e-4
    before, shapes = model.components(), model.shapes.copy()
    found = spectra_of_certain(model)
    np.testing.assert_allclose(found[[0, 3]], before[[0, 3]], rtol=1e-5)
    assert np.abs(found[1] - before[1]).max() > 1e-4
    np.testing.assert_array_equal(model.components(), before)
    np.testing.assert_array_equal(model.shapes, shapes)
    np.testing.assert_allclose(found.sum(1), 1)


@pytest.mark.parametrize("seed", range(3))
def test_spectra_are_better_where_neighbours_are_unlike_too(seed):
    random = np.random.default_rng(seed)
    spectra = random.dirichlet(np.full(60, 0.4), 3)
    phases = random.choice(3, SCAN[0] * SCAN[1], p=(0.5, 0.4, 0.1))
    counts = as_counts(random.poisson(40 * spectra[phases]))
    model, keep = PoissonNMF(3, random_state=0), np.ones(SCAN, bool)
    worst = []
    for certain in (False, True):
        found = solve_variational(model, counts, keep, certain=certain).components
        unit = [h / np.linalg.norm(h, axis=1, keepdims=True) for h in (spectra, found)]
        worst.append((unit[0] @ unit[1].T).max(1).min())
    assert worst[1] > worst[0]


@pytest.mark.parametrize("dose", [2, 40])
def test_one_spectrum_is_the_sum_of_all_pixels(dose):
    x = np.random.default_rng(0).poisson(dose * np.full((1020, 20), 0.05))
    for scan in (None, SCAN):
        found = PoissonNMF(1, random_state=0).fit(x, scan=scan)
        np.testing.assert_allclose(found.components_[0], x.sum(0) / x.sum(), rtol=1e-4)
        assert found.spatial_ == 0

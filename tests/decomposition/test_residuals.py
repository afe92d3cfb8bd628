# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where a model does not explain the counts, and phases that are found there."""

import numpy as np
import pytest

from emsparse_hs.decomposition import (
    PoissonNMF,
    _births,
    _variational,
    as_counts,
    misfit,
    residuals,
)
from emsparse_hs.decomposition._climb import rough_climb, sharp_fractions
from emsparse_hs.decomposition._neighbours import Neighbours

SHAPE = (72, 150)


def spectra_of(random, n_spectra, n_features=200):
    return 0.7 * random.dirichlet(np.full(n_features, 0.2), n_spectra) + 0.3 / n_features


def map_with_particle(seed, radius=3.0, dose=40):
    """Two halves, and a particle of a third phase: counts, spectra, abundances, its pixels."""
    random = np.random.default_rng(seed)
    spectra = spectra_of(random, 3)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    centre = random.uniform(15, np.array(SHAPE) - 15)
    particle = np.hypot(y - centre[0], x - centre[1]) < radius
    left = x < SHAPE[1] / 2
    phases = np.stack([left & ~particle, ~left & ~particle, particle], -1)
    abundances = dose * phases.reshape(-1, 3).astype(float)
    return random.poisson(abundances @ spectra), spectra, abundances, particle.ravel()


def slow_misfit(counts, expected, keep, width):
    """From the definition, pixel by pixel."""
    reach = int(np.ceil(4 * width))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    g = np.exp(-0.5 * (y**2 + x**2) / width**2)
    g /= g.sum()
    bands = residuals._bands(as_counts(counts))
    in_bands = np.eye(bands.max() + 1)[bands]
    there = np.pad(keep, reach).astype(float)
    scans = np.zeros((2, *np.array(keep.shape) + 2 * reach, bands.max() + 1))
    inner = scans[:, reach:-reach, reach:-reach]
    inner[0][keep], inner[1][keep] = counts @ in_bands, expected @ in_bands
    result = np.zeros(keep.shape)
    for i, j in np.argwhere(keep):
        x, y = scans[:, i : i + 2 * reach + 1, j : j + 2 * reach + 1]
        residual = (g[..., None] * (x - y)).sum((0, 1))
        noise = (g[..., None] ** 2 * y).sum((0, 1))
        near = there[i : i + 2 * reach + 1, j : j + 2 * reach + 1]
        one = (g**4 * near).sum() / (g**2 * near).sum()
        scale = np.maximum(noise, one * residuals.LEAST_COUNTS)
        variance = ((2 * noise + one) * noise / scale**2).sum()
        result[i, j] = ((residual**2 - noise) / scale).sum() / np.sqrt(
            variance + residuals.LEAST_VARIANCE
        )
    return result[keep]


@pytest.mark.parametrize("width", [0.7, 1.5])
@pytest.mark.parametrize("gaps", [False, True])
def test_misfit_is_chi_squared_of_smooth_residuals(width, gaps):
    random = np.random.default_rng(0)
    keep = np.ones((70, 9), bool)
    if gaps:
        keep = random.random(keep.shape) < 0.8
    spectra = spectra_of(random, 2, 90)
    loadings = random.uniform(0, 20, (keep.sum(), 2))
    counts = random.poisson(loadings @ spectra * 1.1)
    excess = misfit(counts, spectra, loadings, scan=keep, width=width)
    slow = slow_misfit(counts, loadings @ spectra, keep, width)
    np.testing.assert_allclose(excess, slow, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("dose", [0.003, 0.1, 1, 10, 1000])
@pytest.mark.parametrize("scan", [SHAPE, SHAPE[0] * SHAPE[1]])
def test_misfit_of_the_truth_is_noise(dose, scan):
    counts, spectra, abundances, _ = map_with_particle(1, dose=dose)
    excess = misfit(counts, spectra, abundances, scan=scan)
    assert abs(excess.mean()) < 0.15
    assert excess.std() < 1.15
    assert excess.std() > 0.75 or dose < 1
    assert excess.max() < residuals.EXCESSIVE


def test_layers_of_a_stack_have_nothing_to_do_with_each_other():
    counts, spectra, abundances, _ = map_with_particle(2)
    alone = misfit(counts, spectra[:2], abundances[:, :2], scan=SHAPE)
    twice = [np.concatenate([one, one]) for one in (counts, abundances[:, :2])]
    stack = misfit(twice[0], spectra[:2], twice[1], scan=(2, *SHAPE))
    np.testing.assert_allclose(stack, np.tile(alone, 2), rtol=1e-4, atol=1e-4)
    region = residuals.worst_region(stack, np.ones((2, *SHAPE), bool))
    assert len(set(region // len(counts))) == 1


def test_a_phase_without_a_spectrum_stands_out_as_one_region():
    counts, spectra, abundances, particle = map_with_particle(3)
    loadings = abundances[:, :2] + abundances[:, 2:] / 2
    excess = misfit(counts, spectra[:2], loadings, scan=SHAPE)
    assert excess[particle].min() > residuals.EXCESSIVE / 2
    assert excess[particle].mean() > 2 * residuals.EXCESSIVE
    region = residuals.worst_region(excess, np.ones(SHAPE, bool))
    found = np.zeros(len(counts), bool)
    found[region] = True
    assert particle[found].mean() > 0.75
    assert found[particle].mean() > 0.4
    assert residuals.worst_region(np.zeros(len(counts)), np.ones(SHAPE, bool)) is None


def test_misfit_refuses_what_is_no_model_of_the_counts():
    counts, spectra, abundances, _ = map_with_particle(3)
    for wrong in (abundances[:, :2], abundances[:-1]):
        with pytest.raises(ValueError, match="no model of counts"):
            misfit(counts, spectra, wrong, scan=SHAPE)
    for width in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="positive number of pixels"):
            misfit(counts, spectra, abundances, scan=SHAPE, width=width)
    holed = np.where(np.arange(len(abundances))[:, None] == 5, np.nan, abundances)
    with pytest.raises(ValueError, match="NaN or infinite"):
        misfit(counts, spectra, holed, scan=SHAPE)
    with pytest.raises(ValueError, match="scan has"):
        misfit(counts, spectra, abundances, scan=(3, 3))


@pytest.mark.parametrize("seed", range(4))
def test_a_phase_that_no_start_has_is_born_where_the_fit_is_worst(seed):
    counts, spectra, _, particle = map_with_particle(seed, radius=5)
    # One half twice, and nothing for the particle.
    start = np.stack([spectra[0], spectra[0] + 1e-3 / 200, spectra[1]])
    climb = climb_of(counts, start)
    assert worst_cosine(spectra, climb.model.components()) < 0.9
    born = _births.with_births(climb, PoissonNMF(3), np.random.RandomState(0))
    assert worst_cosine(spectra, born.model.components()) > 0.97
    loadings = born.model.abundances()
    rare = loadings[particle].sum(0).argmax()
    assert loadings[particle, rare].sum() > 0.85 * loadings[particle].sum()
    assert loadings[~particle, rare].sum() < 0.02 * loadings[~particle].sum()


def test_spectra_that_explain_the_counts_are_left_alone():
    counts, spectra, _, _ = map_with_particle(0)
    climb = climb_of(counts, spectra)
    assert _births.with_births(climb, PoissonNMF(3), np.random.RandomState(0)) is climb


def test_known_spectra_are_never_given_up():
    counts, spectra, _, particle = map_with_particle(0, radius=5)
    start = np.stack([spectra[0], spectra[1], spectra[0] + 1e-3 / 200, spectra[1] + 1e-3 / 200])
    known = PoissonNMF(4, known_components=start[:2])
    climb = climb_of(counts, start, known)
    born = _births.with_births(climb, known, np.random.RandomState(0))
    assert born is not climb
    np.testing.assert_allclose(
        born.model.components()[:2], start[:2] / start[:2].sum(1, keepdims=True), rtol=1e-5
    )
    assert worst_cosine(spectra, born.model.components()) > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_what_is_kept_predicts_new_counts_better(seed, monkeypatch):
    """Too few spectra: whichever is given up, another phase goes without."""
    random = np.random.default_rng(seed)
    spectra = spectra_of(random, 4)
    phases = random.integers(0, 4, (6, 10)).repeat(12, 0).repeat(15, 1)
    abundances = 30.0 * (phases.reshape(-1, 1) == np.arange(4))
    counts, new = (random.poisson(abundances @ spectra) for _ in range(2))
    climb = climb_of(counts, spectra[:3])
    tried = []
    reborn = _births._reborn
    monkeypatch.setattr(_births, "_reborn", lambda *a: tried.append(1) or reborn(*a))
    born = _births.with_births(climb, PoissonNMF(3), np.random.RandomState(0))
    assert 1 <= len(tried) <= 3
    scores = []
    for model in (climb.model, born.model):
        expected = model.fractions() @ model.components() + 1e-12
        scores.append((new * np.log(expected)).sum())
    assert scores[1] >= scores[0]


def test_births_go_on_counting_passes():
    counts, spectra, _, _ = map_with_particle(0, radius=5)
    climb = climb_of(counts, np.stack([spectra[0], spectra[0] + 1e-3 / 200, spectra[1]]))
    climb.n_iter = 1000
    model = PoissonNMF(3, max_iter=1010)
    born = _births.with_births(climb, model, np.random.RandomState(0))
    assert born is not climb
    assert 1000 < born.n_iter <= 1010


def test_a_rare_phase_does_not_drown_in_the_start():
    counts, spectra, _, particle = map_with_particle(0)
    fractions = sharp_fractions(as_counts(counts), spectra, by_size=True)
    np.testing.assert_allclose(fractions.sum(1), 1, rtol=1e-5)
    assert fractions[~particle, 2].mean() < 0.03
    assert fractions[particle, 2].mean() > 0.7
    # Nor in that of a fit.
    neighbours = Neighbours(np.ones(SHAPE, bool))
    start = _variational._start(PoissonNMF(3, random_state=0), as_counts(counts), neighbours)
    assert start.fractions().min() < 0.09


def climb_of(counts, start, estimator=None):
    neighbours = Neighbours(np.ones(SHAPE, bool))
    estimator = PoissonNMF(len(start)) if estimator is None else estimator
    return rough_climb(estimator, as_counts(counts), neighbours, start)


def worst_cosine(spectra, components):
    def units(rows):
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    return (units(spectra) @ units(components).T).max(1).min()

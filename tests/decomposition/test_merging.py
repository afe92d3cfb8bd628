# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Components that are one pattern, and those that are not."""

import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs.decomposition import as_counts, merge_components
from emsparse_hs.decomposition._judge import Judge
from emsparse_hs.decomposition._likeness import most_nearly_one

SCAN = (40, 48)


def wedge(seed, likeness=0.0, n_features=150, dose=40):
    """Two halves and a frame of three phases, of a thickness that goes from 0.3 to 1.7.

    The last two have so much of their spectra in common.
    """
    random = np.random.default_rng(seed)
    spectra = random.dirichlet(np.full(n_features, 0.3), 3)
    spectra[2] = likeness * spectra[1] + (1 - likeness) * spectra[2]
    y, x = np.mgrid[: SCAN[0], : SCAN[1]]
    phase = np.where(y < 12, 0, np.where(x < 24, 1, 2))
    thickness = np.linspace(0.3, 1.7, SCAN[0])[:, None]
    abundances = dose * thickness[..., None] * (phase[..., None] == np.arange(3))
    abundances = abundances.reshape(-1, 3)
    return random.poisson(abundances @ spectra), spectra, abundances


def split_by_intensity(spectra, abundances, phase):
    """The phase twice, once where it is thick and once where it is thin, of other scales."""
    part = abundances[:, phase]
    thick = part > np.median(part[part > 0])
    components = np.vstack([spectra, 3 * spectra[phase]])
    loadings = np.column_stack([abundances, np.where(thick, part, 0) / 3])
    loadings[thick, phase] = 0
    return components, loadings


@pytest.mark.parametrize("scan", [None, SCAN])
@pytest.mark.parametrize("phase", [0, 2])
@pytest.mark.parametrize("seed", range(2))
def test_a_phase_split_by_intensity_is_one(seed, phase, scan):
    counts, spectra, abundances = wedge(seed)
    components, loadings = split_by_intensity(spectra, abundances, phase)
    merged = merge_components(counts, components, loadings, scan=scan, random_state=seed)
    groups = [(0,), (1,), (2,)]
    groups[phase] = (phase, 3)
    assert merged.groups == groups
    np.testing.assert_allclose(merged.components, spectra, atol=1e-12)
    np.testing.assert_allclose(merged.loadings, abundances, rtol=1e-12)


@pytest.mark.parametrize("scan", [None, SCAN])
@pytest.mark.parametrize("seed", range(2))
def test_phases_that_are_alike_stay_two(seed, scan):
    counts, spectra, abundances = wedge(seed, likeness=0.7)
    cosine = spectra[1] @ spectra[2] / np.linalg.norm(spectra[1]) / np.linalg.norm(spectra[2])
    assert cosine > 0.9
    merged = merge_components(counts, spectra, abundances, scan=scan, random_state=seed)
    assert merged.groups == [(0,), (1,), (2,)]


def test_spectra_fitted_to_the_noise_of_one_phase_are_one():
    random = np.random.default_rng(0)
    spectrum = random.dirichlet(np.full(150, 0.3))
    counts = random.poisson(np.full((1920, 1), 40.0) * spectrum)
    # Each learned from its own half.
    halves = np.arange(1920) % 2 == np.arange(2)[:, None]
    spectra = np.array([counts[half].sum(0) for half in halves], float)
    loadings = halves.T * counts.sum(1)[:, None] / spectra.sum(1)
    merged = merge_components(counts, spectra, loadings, random_state=0)
    assert merged.groups == [(0, 1)]
    np.testing.assert_allclose(merged.components[0], counts.sum(0) / counts.sum())


def test_spectra_gain_nothing_by_noise_they_were_fitted_to():
    random = np.random.default_rng(0)
    spectrum = random.dirichlet(np.full(800, 0.5))
    counts = as_counts(random.poisson(np.full((400, 1), 30.0) * spectrum))
    halves = np.arange(400) % 2 == np.arange(2)[:, None]
    spectra = np.array([counts[half].sum(0) for half in halves], float)
    spectra /= spectra.sum(1, keepdims=True)
    together = np.asarray(counts.sum(0), float)[None] / counts.sum()
    judge = Judge(counts, None, np.random.RandomState(0))
    assert judge.score(spectra).sum() < judge.score(together).sum()


def test_model_is_the_same_in_sum():
    counts, spectra, abundances = wedge(3)
    components, loadings = split_by_intensity(spectra * 1.02, abundances, 1)
    merged = merge_components(counts, components, loadings, random_state=0)
    before, after = loadings @ components, merged.loadings @ merged.components
    np.testing.assert_allclose(after.sum(0), before.sum(0))
    np.testing.assert_allclose(after.sum(1), before.sum(1))


def test_most_nearly_one_is_the_pair_that_can_best_be_spared():
    spectra = np.array([[0.5, 0.5, 0], [0, 0.5, 0.5], [0.45, 0.5, 0.05]])
    assert most_nearly_one(1000 * spectra) == (0, 2)
    # Of few counts even a quite different one loses little.
    assert most_nearly_one(np.array([1000, 1, 1000])[:, None] * spectra) == (1, 2)


def test_what_are_no_components_of_counts_is_refused():
    counts, spectra, abundances = wedge(0)
    with pytest.raises(ValueError, match="whole numbers"):
        merge_components(counts / 2, spectra, abundances)
    with pytest.raises(ValueError, match="negative"):
        merge_components(counts, -spectra, abundances)
    with pytest.raises(ValueError, match="no counts"):
        merge_components(0 * counts, spectra, abundances)
    # Rounding is no scaling.
    rounded = merge_components(counts * (1 + 1e-6), spectra, abundances, random_state=0)
    assert rounded.groups == [(0,), (1,), (2,)]
    with pytest.raises(ValueError, match="no model of counts"):
        merge_components(counts, spectra, abundances[:, :2])


@pytest.mark.parametrize("lazy", [False, True])
def test_at_the_signal(lazy):
    counts, spectra, abundances = wedge(1)
    components, loadings = split_by_intensity(spectra, abundances, 1)
    s = hs.signals.Signal1D(counts.reshape(*SCAN, -1).astype(np.uint16))
    s = s.as_lazy() if lazy else s
    mask = np.zeros(SCAN, bool)
    mask[:3] = True
    channels = np.arange(150) >= 140
    results = s.learning_results
    results.loadings, results.factors = loadings.copy(), components.T.copy()
    results.navigation_mask, results.signal_mask = mask, channels
    results.bss_factors = np.ones((150, 2))
    assert s.emsparse.merge_components(random_state=0) == [(0,), (1, 3), (2,)]
    assert results.bss_factors is None
    assert results.output_dimension == 3
    np.testing.assert_array_equal(np.isnan(results.loadings[:, 0]), mask.ravel())
    np.testing.assert_array_equal(np.isnan(results.factors[:, 0]), channels)
    model = results.loadings[~mask.ravel()] @ results.factors[~channels].T
    np.testing.assert_allclose(model, (abundances @ spectra)[~mask.ravel()][:, ~channels])
    before = results.loadings.copy()
    assert s.emsparse.merge_components(random_state=0) == [(0,), (1,), (2,)]
    np.testing.assert_array_equal(results.loadings, before)

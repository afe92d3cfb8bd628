# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra that hold parts of others, known because they were put there."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import PoissonNMF
from emsparse_hs.decomposition._purer import purer_spectra


def spectra(n=300):
    """Three on one background, with a line of each."""
    channels = np.arange(n)
    found = np.stack(
        [0.2 / n + 0.08 * np.exp(-0.5 * ((channels - at) / 4) ** 2) / 10 for at in (60, 150, 240)]
    )
    return found / found.sum(1, keepdims=True)


@pytest.mark.parametrize("total", [1e4, 1e7])
def test_takes_away_what_was_added(total):
    pure = spectra()
    mixed = pure.copy()
    mixed[2] = 0.6 * pure[2] + 0.3 * pure[0] + 0.1 * pure[1]
    found = purer_spectra(mixed, np.array([1e7, 1e7, total]))
    np.testing.assert_allclose(found.sum(1), 1)
    # Lines of the others are gone but for noise; a background in common may be gone as well.
    lines = pure[:2].argmax(1)
    assert (found[2, lines] < (0.1 if total > 1e6 else 0.5) * mixed[2, lines]).all()
    assert found[2, 240] > mixed[2, 240]
    np.testing.assert_array_equal(mixed[2], 0.6 * pure[2] + 0.3 * pure[0] + 0.1 * pure[1])


def test_known_spectra_stay_and_help():
    pure = spectra()
    mixed = pure.copy()
    mixed[0], mixed[2] = 0.5 * pure[0] + 0.5 * pure[1], 0.5 * pure[1] + 0.5 * pure[2]
    found = purer_spectra(mixed, np.full(3, 1e7), n_known=2)
    np.testing.assert_array_equal(found[:2], mixed[:2])
    assert found[2, 150] < 0.1 * mixed[2, 150]


def test_nothing_to_take_away():
    apart = np.zeros((3, 90))
    apart[0, :30], apart[1, 30:60], apart[2, 60:] = 1, 1, 1
    assert purer_spectra(apart / 30, np.full(3, 1e6)) is None
    assert purer_spectra(spectra()[:1], np.array([1e6])) is None
    # Nothing is known of what made no counts.
    mixed = spectra()
    mixed[2] = 0.5 * (mixed[0] + mixed[2])
    assert purer_spectra(mixed, np.array([0.0, 0.0, 0.0])) is None
    found = purer_spectra(mixed, np.array([1e6, 0.0, 1e6]))
    np.testing.assert_array_equal(found[1], mixed[1])


def test_a_fit_whose_passes_are_used_up_is_left_as_it_is():
    truth = simulate_spectra((40, 48), 256, 50, seed=0)
    x = truth.counts.reshape(-1, 256)
    few, more = (
        PoissonNMF(4, random_state=0, tol=0, max_iter=n).fit(x, scan=(40, 48)).objective_
        for n in (20, 25)
    )
    assert few - more < 1e-3 * abs(more)


@pytest.mark.parametrize("seed, shape, least", [(0, (64, 64), 0.99), (3, (40, 48), 0.97)])
def test_a_particle_that_is_nowhere_alone(seed, shape, least):
    truth = simulate_spectra(shape, 512, 50, seed=seed)
    model = PoissonNMF(4, random_state=0).fit(truth.counts.reshape(-1, 512), scan=shape)
    units = [
        s / np.linalg.norm(s, axis=1, keepdims=True) for s in (truth.spectra, model.components_)
    ]
    assert (units[0] @ units[1].T).max(1).min() > least

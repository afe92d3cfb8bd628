# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra that hold parts of others, known because they were put there."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import PoissonNMF, as_counts
from emsparse_hs.decomposition._dirichlet import DirichletModel
from emsparse_hs.decomposition._neighbours import Neighbours
from emsparse_hs.decomposition._purer import (
    Purer,
    counts_seen,
    likely_ones,
    parts_removed,
    purer_spectra,
    redistributed,
    warn_of_removed,
    with_purer,
)


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
    found, parts = purer_spectra(mixed, np.diag([1e7, 1e7, total]))[2]
    assert parts.sum() == pytest.approx(1)
    if total > 1e6:
        np.testing.assert_allclose(parts[0], 0.3, atol=0.15)
    np.testing.assert_allclose(found.sum(), 1)
    # Lines of the others are gone but for noise; a background in common may be gone as well.
    lines = pure[:2].argmax(1)
    assert (found[lines] < (0.1 if total > 1e6 else 0.5) * mixed[2, lines]).all()
    assert found[240] > mixed[2, 240]
    np.testing.assert_array_equal(mixed[2], 0.6 * pure[2] + 0.3 * pure[0] + 0.1 * pure[1])


def test_known_spectra_stay_and_help():
    pure = spectra()
    mixed = pure.copy()
    mixed[0], mixed[2] = 0.5 * pure[0] + 0.5 * pure[1], 0.5 * pure[1] + 0.5 * pure[2]
    found = purer_spectra(mixed, 1e7 * np.eye(3), n_known=2)
    assert list(found) == [2]
    assert found[2].spectrum[150] < 0.1 * mixed[2, 150]


def test_other_counts_in_the_same_pixels_are_noise():
    pure = spectra()
    mixed = pure.copy()
    mixed[2] = 0.7 * pure[2] + 0.3 * pure[0]
    mixed[2, 10:30] *= 0.1  # Less than there should be of the first, as if by chance.
    alone, among = np.diag([1e7, 1e7, 1e5]), np.diag([1e7, 1e7, 1e5])
    among[2, 0] = 1e6
    at = pure[0].argmax()
    left = [purer_spectra(mixed, seen)[2].spectrum[at] for seen in (alone, among)]
    assert left[1] < left[0] <= mixed[2, at]


def test_counts_that_are_seen_where_a_component_is():
    random = np.random.default_rng(0)
    counts = random.poisson(0.3, (24, 300))
    model = model_of(counts, spectra(), (4, 6))
    seen = counts_seen(model)
    twin = [
        [(model.fractions()[:, k] * model.abundances()[:, q]).sum() for q in range(3)]
        for k in range(3)
    ]
    np.testing.assert_allclose(seen, twin, rtol=1e-5)
    np.testing.assert_allclose(seen.sum(1), model.abundances().sum(0), rtol=1e-5)


def test_redistributed_fractions_expect_the_same_counts():
    pure = spectra()
    one = Purer(pure[2], np.array([0.3, 0.1, 0.6]))
    mixed = with_purer(pure, {2: Purer(one.parts @ pure, one.parts)})
    fractions = np.random.default_rng(0).dirichlet(np.ones(3), 7)
    found = redistributed(fractions, {2: one})
    np.testing.assert_allclose(found @ with_purer(mixed, {2: one}), fractions @ mixed, rtol=1e-6)
    np.testing.assert_allclose(redistributed(fractions, {}), fractions, rtol=1e-6)


def test_parts_of_two_that_were_mixed_with_each_other():
    pure = spectra()
    share = np.array([[0.6, 0.4, 0], [0.3, 0.7, 0], [0, 0, 1]])
    mixed = share @ pure
    # 4/7 of the second in the first leave 3/7 of the pure one, and half of the first likewise.
    found = {0: Purer(pure[0], np.array([3, 4, 0]) / 7), 1: Purer(pure[1], np.array([1, 1, 0]) / 2)}
    np.testing.assert_allclose(redistributed(np.eye(3), found), share, atol=1e-6)
    np.testing.assert_allclose(parts_removed(found, 3), share - np.diag(np.diag(share)), atol=1e-6)
    np.testing.assert_allclose(redistributed(np.eye(3), found) @ pure, mixed, atol=1e-6)


def test_nothing_to_take_away():
    apart = np.zeros((3, 90))
    apart[0, :30], apart[1, 30:60], apart[2, 60:] = 1, 1, 1
    assert not purer_spectra(apart / 30, 1e6 * np.eye(3))
    assert not purer_spectra(spectra()[:1], np.array([[1e6]]))
    # Of few counts nothing is known.
    assert 2 not in purer_spectra(spectra(), np.diag([1e6, 1e6, 1e3]))
    # Nothing is known of what made no counts.
    mixed = spectra()
    mixed[2] = 0.5 * (mixed[0] + mixed[2])
    assert not purer_spectra(mixed, np.zeros((3, 3)))
    assert 1 not in purer_spectra(mixed, np.diag([1e6, 0.0, 1e6]))


@pytest.mark.parametrize("purer", [True, np.bool_(False)])
def test_what_is_made_purer_can_be_chosen(purer):
    """A particle that is nowhere alone, or of a phase that has its surroundings' lines."""
    truth = simulate_spectra((40, 48), 512, 50, seed=2)
    counts = truth.counts.reshape(-1, 512)
    model = PoissonNMF(4, purer=purer, random_state=0).fit(counts, scan=(40, 48))
    found = model.components_
    assert model.removed_.any() == purer
    units = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in (truth.spectra, found)]
    assert ((units[0] @ units[1].T).max(1).min() > 0.98) == purer
    with pytest.raises(ValueError, match="purer"):
        PoissonNMF(3, purer="very").fit(counts)


def test_parts_removed_are_in_the_order_of_the_spectra():
    """Put back they make the spectra that are found without."""
    truth = simulate_spectra((40, 48), 512, 50, seed=2)
    counts = truth.counts.reshape(-1, 512)
    models = [PoissonNMF(4, purer=p, random_state=0) for p in (True, False)]
    pure, mixed = (model.fit(counts, scan=(40, 48)).components_ for model in models)
    removed = models[0].removed_
    assert not np.diagonal(removed).any()
    assert removed.max() > 0.15
    put_back = (removed + np.diag(1 - removed.sum(1))) @ pure
    units = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in (put_back, mixed)]
    k = removed.sum(1).argmax()
    assert (units[0][k] @ units[1].T).max() > 0.995
    assert not models[1].removed_.any()


def test_says_what_was_taken_away_if_it_is_much():
    """An inclusion that has half its counts in the lines of what is around it, by nature."""
    pure = simulate_spectra((20, 20), 512, seed=0).spectra[:3]
    maps = np.zeros((48, 48, 3))
    maps[:24, :, 0], maps[24:, :, 1] = 50, 50
    maps[4:18, 14:34] = 25, 0, 25
    counts = np.random.default_rng(0).poisson(maps.reshape(-1, 3) @ pure)
    with pytest.warns(UserWarning, match="component 2, .* component 1 .* purer=False") as told:
        model = PoissonNMF(3, random_state=0).fit(counts, scan=(48, 48))
    assert len(told) == 1
    assert f"{model.removed_[2, 1]:.0%} as that of component 1" in str(told[0].message)
    np.testing.assert_allclose(model.removed_[2], [0, 0.5, 0], atol=0.1)


def test_says_nothing_of_little(recwarn):
    warn_of_removed(np.array([[0, 0.3], [0, 0]]))
    assert not recwarn
    with pytest.warns(UserWarning, match="40% as that of component 1 and 5% .* 2 was"):
        warn_of_removed(np.array([[0, 0.4, 0.05, 0.01], *np.zeros((3, 4))]))


def model_of(counts, components, scan):
    """At rest with neighbours that weigh 20 counts."""
    fractions = np.full((len(counts), len(components)), 1 / len(components))
    neighbours = Neighbours(np.ones(scan, bool))
    model = DirichletModel(as_counts(counts), components, fractions, 0.02, 20.0, neighbours)
    model.settle(30, 2e-3)
    return model


@pytest.mark.parametrize("dose", [20, 400])
def test_the_purer_spectrum_is_taken_unless_pixels_speak_against_it(dose):
    random, pure = np.random.default_rng(0), spectra()
    mixed = pure.copy()
    mixed[2] = 0.7 * pure[2] + 0.3 * pure[0]
    maps = np.zeros((20, 30, 3))
    maps[:10, :, 0], maps[10:, :15, 1], maps[10:, 15:, 2] = dose, dose, dose
    # Counts of what is nowhere without the first, and of what is so by nature.
    maps[10:, 15:, 0] = np.linspace(0.4, 1.5, 15) * dose
    for truth, wanted in ((pure, pure[2]), (mixed, mixed[2])):
        if truth is mixed:
            maps[10:, 15:, 0] = 0
        counts = random.poisson(maps.reshape(-1, 3) @ truth)
        model = model_of(counts, mixed, (20, 30))
        one = Purer(pure[2], np.array([0.3, 0, 0.7]))
        found = likely_ones({2: one}, mixed, model, np.random.RandomState(0))
        np.testing.assert_array_equal(with_purer(mixed, found)[2], wanted)


def test_evidence_is_compared_at_few_counts(monkeypatch):
    seen, bound = [], DirichletModel.bound
    monkeypatch.setattr(
        DirichletModel, "bound", lambda self: seen.append(self.counts.sum()) or bound(self)
    )
    counts = np.random.default_rng(0).poisson(np.full((600, 300), 400 / 300))
    model = model_of(counts, spectra(), (20, 30))
    one = Purer(spectra()[1], np.array([0.0, 1, 0]))
    likely_ones({1: one}, spectra(), model, np.random.RandomState(0))
    assert len(seen) == 2
    np.testing.assert_allclose(seen, 50 * 600, rtol=0.01)


def test_nothing_is_taken_where_too_few_pixels_judge_it():
    """Of line scans any spectrum is likely, and 90 % may go."""
    counts = np.random.default_rng(0).poisson(50 * np.repeat(spectra(), 160, 0))
    for scan, taken in (((20, 24), False), ((20, 25), True)):
        n = np.prod(scan)
        model = model_of(np.resize(counts, (n, 300)), spectra(), scan)
        one = Purer(spectra()[2], np.array([0, 0, 1.0]))
        found = likely_ones({2: one}, spectra(), model, np.random.RandomState(0))
        assert bool(found) == taken


def test_nothing_is_taken_of_spectra_that_no_line_tells_apart():
    """Edges on one background: all but a little of one could be the other's."""
    channels = np.arange(300)
    background = np.exp(-channels / 100)
    alike = np.stack([background, background * (1 + 0.05 * (channels > 150))])
    assert not purer_spectra(alike / alike.sum(1, keepdims=True), 1e8 * np.eye(2))


def test_two_are_judged_together(monkeypatch):
    """Each is likely beside the other as it was, and both would have changed places."""
    pure = spectra()
    mixed = pure.copy()
    mixed[0], mixed[1] = 0.5 * pure[0] + 0.5 * pure[1], 0.4 * pure[0] + 0.6 * pure[1]
    bounds = {frozenset(): 0.0, frozenset({0}): -1.0, frozenset({1}): -2.0}
    monkeypatch.setattr(DirichletModel, "settle", lambda *_, **__: None)
    asked = []

    def bound(self):
        changed = np.abs(self.components() - mixed).max(1) > 1e-6
        asked.append(frozenset(np.flatnonzero(changed).tolist()))
        return bounds.get(asked[-1], -1e4)

    counts = np.random.default_rng(0).poisson(50 * np.repeat(pure, 200, 0))
    model = model_of(counts, mixed, (20, 30))
    monkeypatch.setattr(DirichletModel, "bound", bound)
    purer = {
        0: Purer(pure[0], np.array([0.5, 0.5, 0])),
        1: Purer(pure[1], np.array([0.4, 0.6, 0])),
    }
    assert list(likely_ones(purer, mixed, model, np.random.RandomState(0))) == [0]
    assert frozenset({0, 1}) in asked


@pytest.mark.parametrize("seed, shape, least", [(0, (64, 64), 0.99), (3, (40, 48), 0.97)])
def test_a_particle_that_is_nowhere_alone(seed, shape, least):
    truth = simulate_spectra(shape, 512, 50, seed=seed)
    model = PoissonNMF(4, random_state=0).fit(truth.counts.reshape(-1, 512), scan=shape)
    units = [
        s / np.linalg.norm(s, axis=1, keepdims=True) for s in (truth.spectra, model.components_)
    ]
    assert (units[0] @ units[1].T).max(1).min() > least

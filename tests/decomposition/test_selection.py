# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The number of components, against known truth."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import PoissonNMF, as_counts, select_n_components, selection
from emsparse_hs.decomposition._variational import settled, solve_variational

SCAN = (40, 48)


@pytest.fixture(scope="module")
def counts():
    return simulate_spectra(SCAN, 128, seed=1000).counts.reshape(-1, 128)


def grains(n_phases, seed):
    """Stripes of phases that border on each other sharply."""
    random = np.random.default_rng(seed)
    spectra = random.dirichlet(np.full(60, 0.3), n_phases)
    phases = (np.add.outer(np.arange(32) // 5, np.arange(32) // 7)) % n_phases
    return random.poisson(30 * spectra[phases.ravel()])


@pytest.mark.parametrize("n_phases", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_finds_the_number_of_phases(n_phases, seed):
    x = grains(n_phases, seed)
    found = select_n_components(x, range(1, 8), scan=(32, 32), random_state=0)
    assert found.n_components == n_phases
    np.testing.assert_array_equal(found.candidates, range(1, 8))
    assert found.errors[found.gains.argmax()] == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_the_estimator_chooses_by_itself(seed):
    x = grains(3, seed)
    model = PoissonNMF("auto", random_state=0)
    loadings = model.fit_transform(x, scan=(32, 32))
    assert model.components_.shape == (3, 60)
    assert loadings.shape == (1024, 3)
    # It went on to two more that were no better.
    np.testing.assert_array_equal(model.selection_.candidates, range(1, 6))
    same = PoissonNMF(3, random_state=0).fit(x, scan=(32, 32))
    np.testing.assert_array_equal(model.components_, same.components_)
    assert same.selection_ is None


def test_numbers_are_those_that_are_possible(monkeypatch):
    x = np.random.default_rng(0).poisson(5, (40, 6))
    found = select_n_components(x, random_state=0)
    np.testing.assert_array_equal(found.candidates, range(1, 7))
    known = PoissonNMF(known_components=x[:2], random_state=0)
    np.testing.assert_array_equal(select_n_components(x, estimator=known).candidates, range(2, 7))
    # Otherwise nothing is fitted.
    monkeypatch.setattr(selection._HeldOut, "hear", None)
    with pytest.raises(ValueError, match=r"candidates=\[1, .* 7\], and 1 to 6 components"):
        select_n_components(x, range(1, 8), random_state=0)
    with pytest.raises(ValueError, match=r"candidates=\[1\], and 2 to 6 .* than are known"):
        select_n_components(x, [1], estimator=known)
    for wrong in (x[0], x[:2, :3]):
        with pytest.raises(ValueError, match="known_components are of shape"):
            select_n_components(x, estimator=PoissonNMF(known_components=wrong))
    with pytest.raises(ValueError, match="All values of the data are zero"):
        select_n_components(np.zeros_like(x))


def test_gains_are_those_of_the_definition():
    x = grains(2, 0)
    found = select_n_components(x, [2], scan=(32, 32), share=0.6, random_state=3)
    random = np.random.RandomState(3)
    known, unseen = selection.thin_counts(as_counts(x), 0.6, random)
    model = PoissonNMF(2, random_state=random.randint(2**31 - 1))
    keep = np.ones((32, 32), bool)
    solution = solve_variational(model, known, keep, certain=False)
    w = settled(known, solution.components, solution.prior, keep).abundances()
    known, unseen = known.toarray(), unseen.toarray()
    mean = known.sum(0) / known.sum()
    predicted = w / w.sum(1, keepdims=True) @ solution.components
    always = mean > 0
    ratio = 0.99 * predicted[:, always] / mean[always] + 0.01
    expected = (unseen[:, always] * np.log(ratio)).sum() / len(x)
    np.testing.assert_allclose(found.gains, expected, rtol=1e-4)


def test_likelihood_has_gains_too():
    x = grains(2, 0)
    likely = PoissonNMF(prior=None)
    found = select_n_components(x, [1, 2], estimator=likely, scan=(32, 32), random_state=3)
    assert found.n_components == 2
    assert found.gains[1] > 1


def test_more_components_than_needed_score_lower(counts):
    found = select_n_components(counts, [1, 3, 4, 9], scan=SCAN, random_state=0)
    assert found.gains[0] == pytest.approx(0, abs=0.05)
    assert found.gains[-1] < found.gains.max() - 2 * found.errors[-1]
    assert found.n_components in (3, 4)


def test_known_spectra_are_counted(counts):
    truth = simulate_spectra(SCAN, 128, seed=1000)
    model = PoissonNMF("auto", known_components=truth.spectra[:2], random_state=0)
    model.fit(counts, scan=SCAN)
    assert model.selection_.candidates[0] == 2
    assert model.selection_.n_components >= 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(4))
def test_few_counts_and_empty_pixels(seed):
    x = np.random.default_rng(seed).poisson(0.3 * np.full((60, 5), 0.2))
    found = select_n_components(x, [1, 2], random_state=0)
    assert found.n_components == 1
    np.testing.assert_allclose(found.gains[0], 0, atol=1e-6)
    # So few that the part which is known may be empty.
    x = np.zeros((20, 9), int)
    x[3, 4], x[5, 6] = 1, 1
    assert PoissonNMF("auto", random_state=seed).fit(x).components_.shape == (1, 9)


def test_the_estimator_says_the_seed():
    x = grains(2, 0)
    estimator = PoissonNMF(random_state=3)
    found = [select_n_components(x, [1, 2], estimator=estimator).gains for _ in range(2)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": []}, "from 1 on"),
        ({"candidates": [0, 1]}, "from 1 on"),
        ({"candidates": [1.5, 2]}, "whole numbers from 1 on"),
        ({"share": 0}, "share=0"),
        ({"share": 1.0}, "share=1.0"),
        ({"scan": (3, 3)}, "shape of the scan"),
    ],
)
def test_says_what_is_wrong(counts, arguments, message):
    with pytest.raises(ValueError, match=message):
        select_n_components(counts, **arguments)


def test_counts_must_be_whole(counts):
    with pytest.raises(ValueError, match="whole numbers"):
        select_n_components(counts * 0.7)
    with pytest.raises(ValueError, match="say how many components"):
        PoissonNMF("auto").fit(counts * 0.7)
    with pytest.raises(ValueError, match="All values of the data are zero"):
        PoissonNMF("auto").fit(np.zeros((4, 5), int))
    with pytest.raises(ValueError, match="n_components='Auto' is not known. Use 'auto'"):
        PoissonNMF("Auto").fit(counts)
    with pytest.raises(ValueError, match="spatial='Auto' is not known. Use 'auto'"):
        PoissonNMF(2, spatial="Auto").fit(counts)


def test_says_which_numbers_are_done(counts):
    done = []
    select_n_components(counts, [3, 1, 2, 3], random_state=0, callback=done.append)
    assert done == [1, 2, 3]


def test_the_evidence_shows_as_a_table():
    found = select_n_components(grains(2, 0), [1, 2, 4], scan=(32, 32), random_state=0)
    title, header, *rows = repr(found).splitlines()
    assert title == "2 components, by counts that were set aside"
    assert header.split()[0] == "Components"
    assert [row.split()[0] for row in rows] == ["1", "2", "4"]
    best = int(found.gains.argmax())
    assert rows[best].split()[2:] == ["0.0000", "±", "0.0000"]
    assert f"{found.errors[0]:.4f}" in rows[0]
    assert found._repr_html_().count("<tr>") == 4

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Poisson NMF by maximum likelihood: its definition, scikit-learn's, and known truth."""

import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import (
    PoissonNMF,
    SparseNMF,
    WeightedGramPCA,
    _kernels,
    _model,
    poisson_nmf,
)
from emsparse_hs.decomposition._model import CountModel
from emsparse_hs.decomposition._momentum import Momentum
from emsparse_hs.decomposition.counts import as_counts

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


likeliest = partial(PoissonNMF, prior=None)


def problem(n_components=3, shape=(90, 37), seed=0):
    """Counts, and abundances and spectra to start from."""
    random = np.random.default_rng(seed)
    n_pixels, n_features = shape
    abundances = 1 + random.gamma(0.5, 20, (n_pixels, n_components))
    spectra = random.dirichlet(np.full(n_features, 0.3), n_components)
    start = random.gamma(2, 1, (n_pixels, n_components)), random.gamma(2, 1, spectra.shape)
    return random.poisson(abundances @ spectra), *start


def divergence(x, y):
    x, y = x.ravel(), y.ravel()
    logs = np.zeros(len(x))
    logs[x > 0] = x[x > 0] * np.log(x[x > 0] / y[x > 0])
    return (logs - x + y).sum()


def ratio(x, y):
    return np.divide(x, y, out=np.zeros_like(y), where=y > 0)


def updated(x, w, h):
    """One pass of Lee and Seung's updates, as they wrote them."""
    w = w * (ratio(x, w @ h) @ h.T) / h.sum(1)
    h = h * (w.T @ ratio(x, w @ h)) / w.sum(0)[:, None]
    return w, h


def worst_cosine(true, found):
    unit = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in (true, found)]
    cosines = unit[0] @ unit[1].T
    return cosines[linear_sum_assignment(-cosines)].min()


@parametrize_with_checks([PoissonNMF(max_iter=500, prior=prior) for prior in (None, "dirichlet")])
def test_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


def test_dask_arrays_are_fitted_as_any_other():
    x = problem()[0]
    # Sparse blocks are none that scikit-learn would read.
    chunked = da.from_array(x, chunks=(25, 20)).map_blocks(sparse.csr_array)
    ours, other = (PoissonNMF(3, random_state=0).fit(counts) for counts in (chunked, x))
    np.testing.assert_array_equal(ours.components_, other.components_)
    np.testing.assert_array_equal(ours.transform(chunked), other.transform(x))
    with pytest.raises(ValueError, match="X has 36 features, but PoissonNMF is expecting 37"):
        ours.transform(chunked[:, 1:])


@pytest.mark.parametrize("estimator", [PoissonNMF(2), SparseNMF(2), WeightedGramPCA(2)])
def test_says_how_a_map_becomes_rows(estimator):
    counts = np.ones((3, 4, 6), np.uint8)
    for data in (counts, da.from_array(counts)):
        with pytest.raises(ValueError, match=r"pass data.reshape\(-1, 6\).* scan=\(3, 4\)"):
            estimator.fit(data)
    for signal in (hs.signals.Signal1D(counts), hs.signals.Signal1D(counts).as_lazy()):
        with pytest.raises(ValueError, match=r"s.emsparse.* or pass s.data.reshape\(-1, 6\)"):
            estimator.fit(signal)


@pytest.mark.parametrize("n_components", [1, 3, 4, 5, 9])
def test_passes_equal_their_definition(n_components):
    x, w, h = problem(n_components)
    model = CountModel(as_counts(x), h, w)
    for _ in range(3):
        model.update()
        w, h = updated(x, w, h)
    sums = h.sum(1)
    np.testing.assert_allclose(model.components(), h / sums[:, None], rtol=1e-4, atol=1e-7)
    loadings = (model.loadings * model.scale)[:, :n_components]
    np.testing.assert_allclose(loadings, w * sums, rtol=1e-4, atol=1e-5)


def sklearns(n_components, n_iter, x, w, h):
    """Loadings, spectra and divergence of scikit-learn's multiplicative updates."""
    options = {"solver": "mu", "beta_loss": "kullback-leibler", "init": "custom", "tol": 0}
    peer = NMF(n_components, max_iter=n_iter, **options)
    w = peer.fit_transform(x.astype(float), W=w.copy(), H=h.copy())
    return w, peer.components_, peer.reconstruction_err_**2 / 2


@pytest.mark.parametrize("n_iter", [1, 20, 55])
def test_same_iterates_as_scikit_learn(n_iter):
    x, w, h = problem()
    _, spectra, objective = sklearns(3, n_iter, x, w, h)
    spectra = spectra / spectra.sum(1, keepdims=True)
    model = CountModel(as_counts(x), h, w)
    for _ in range(n_iter):
        model.update()
    np.testing.assert_allclose(model.components(), spectra, rtol=1e-4, atol=1e-6)
    y = (model.loadings * model.scale) @ model.components()
    np.testing.assert_allclose(divergence(x, y), objective, rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n_components", [2, 5])
def test_as_far_as_scikit_learn_in_fewer_passes(n_components, seed):
    x, w, h = problem(n_components, seed=seed)
    _, _, objective = sklearns(n_components, 40, x, w, h)
    model = likeliest(n_components, init=(w, h), max_iter=30, tol=0).fit(x)
    assert model.objective_ < objective * (1 + 1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_same_optimum_as_scikit_learn(seed):
    x, w, h = problem(seed=seed)
    # There is more than one, so what comes first is the same.
    w, h, _ = sklearns(3, 300, x, w, h)
    _, peers, objective = sklearns(3, 3000, x, w, h)
    model = likeliest(3, init=(w, h), max_iter=1500, tol=0).fit(x)
    np.testing.assert_allclose(model.objective_, objective, rtol=1e-4)
    found = peers / peers.sum(1, keepdims=True)
    np.testing.assert_allclose(model.components_, found, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_ends_where_nothing_can_be_gained(seed):
    x, w, h = problem(seed=seed)
    model = likeliest(3, init=(w, h), max_iter=3000, tol=0)
    w, h = model.fit_transform(x).astype(float), model.components_
    ratios = x / np.maximum(w @ h, 1e-30)
    # Karush, Kuhn and Tucker: level where there is some, downhill where there is none.
    for values, gradient in ((w, ratios @ h.T - 1), (h, (w.T @ ratios) / w.sum(0)[:, None] - 1)):
        share = values / values.max()
        assert np.abs(share * gradient).max() < 2e-3
        assert gradient[share < 1e-6].max() < 0.1


def test_objective_is_the_divergence_and_never_rises():
    x, w, h = problem()
    model = likeliest(3, init=(w, h), max_iter=300, tol=0).fit(x)
    np.testing.assert_allclose(model.objective_history_[0], divergence(x, w @ h), rtol=1e-5)
    assert (np.diff(model.objective_history_) <= 1e-6 * model.objective_history_[0]).all()


def test_steps_that_lead_upwards_are_taken_back(monkeypatch):
    x, w, h = problem()
    model = likeliest(3, init=(w, h), max_iter=20, tol=0)
    plain = CountModel(as_counts(x), h, w)
    plain.pass_over(10, further=False)

    def too_far(momentum, old, new):
        momentum.factor = 50.0
        return np.roll(new, 3, axis=0)

    monkeypatch.setattr(Momentum, "prolonged", too_far)
    history = model.fit(x).objective_history_
    assert history[1] == history[0] > history[2]
    np.testing.assert_allclose(model.components_, plain.components(), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("beyond", [0.0, 0.7, 4.0])
def test_loadings_go_further(beyond):
    x, w, h = problem()
    model = CountModel(as_counts(x), h, w)
    model.update()
    before = (model.loadings * model.scale).astype(float)
    plain = CountModel(as_counts(x), model.components(), before)
    model._momentum.factor = beyond
    model.update_further()
    plain.update()
    step = beyond * (plain.loadings - before)
    # Upwards by the step, downwards by the inverse's.
    further = np.where(step > 0, plain.loadings + step, plain.loadings**2 / (plain.loadings - step))
    np.testing.assert_allclose(model.loadings, further, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(model.scale, plain.scale, rtol=1e-5)


@pytest.mark.parametrize("prior", [None, "dirichlet"])
@pytest.mark.parametrize(("n_iter", "length"), [(5, 2), (10, 2), (12, 3), (30, 4)])
@pytest.mark.parametrize("scan", [None, (15, 6)])
def test_history_is_of_every_tenth_pass_and_the_last(prior, n_iter, length, scan):
    x, _, h = problem()
    model = PoissonNMF(3, prior=prior, init=h, max_iter=n_iter, tol=0).fit(x, scan=scan)
    assert model.n_iter_ == n_iter
    assert len(model.objective_history_) == length
    assert len(np.unique(model.objective_history_)) == length


def unequal(parts=(0.1, 0.6, 0.3), seed=0):
    """Counts of stripes of phases, which have these parts of all counts."""
    random = np.random.default_rng(seed)
    spectra = random.dirichlet(np.full(40, 0.3), len(parts))
    phases = np.repeat(np.arange(len(parts)), np.round(400 * np.array(parts)).astype(int))
    return random.poisson(60 * spectra[phases]), spectra


@pytest.mark.parametrize("prior", [None, "dirichlet"])
@pytest.mark.parametrize("init", ["auto", "cluster", "nmf"])
@pytest.mark.parametrize("way", ["fit", "partial_fit"])
@pytest.mark.parametrize("seed", range(3))
def test_the_largest_component_comes_first(prior, init, way, seed):
    x, spectra = unequal(seed=seed)
    model = PoissonNMF(3, prior=prior, init=init, random_state=0)
    getattr(model, way)(x)
    sums = model.transform(x).sum(0)
    assert (np.diff(sums) < 0).all()
    assert worst_cosine(spectra[[1]], model.components_[[0]]) > 0.98
    assert worst_cosine(spectra[[0]], model.components_[[2]]) > 0.9


@pytest.mark.parametrize("prior", [None, "dirichlet"])
def test_known_components_come_first_and_those_of_init_stay_in_order(prior):
    x, spectra = unequal()
    model = PoissonNMF(3, prior=prior, known_components=spectra[[2, 0]], random_state=0).fit(x)
    np.testing.assert_allclose(model.components_[:2], spectra[[2, 0]], rtol=1e-4, atol=1e-7)
    model = PoissonNMF(4, prior=prior, known_components=spectra[[0]], random_state=0).fit(x)
    np.testing.assert_allclose(model.components_[0], spectra[0], rtol=1e-4, atol=1e-7)
    assert (np.diff(model.transform(x).sum(0)[1:]) < 0).all()
    for given in (spectra, (np.ones((len(x), 3)), spectra)):
        model = PoissonNMF(3, prior=prior, init=given, random_state=0).fit(x)
        for one, other in zip(model.components_, spectra, strict=True):
            assert worst_cosine(one[None], other[None]) > 0.9


@pytest.mark.parametrize("prior", ["dirichlet", None])
def test_order_is_of_counts_after_those_known(prior):
    random = np.random.default_rng(0)
    spectra = random.dirichlet(np.ones(40), 4)
    x = random.poisson(random.gamma(1, (5, 2, 4, 9), (500, 4)) @ spectra)
    model = PoissonNMF(4, prior=prior, known_components=spectra[:1], random_state=0)
    totals = model.fit_transform(x).sum(0)
    np.testing.assert_array_equal(np.argsort(-totals[1:]), [0, 1, 2])
    assert worst_cosine(model.components_[:1], spectra[:1]) > 0.9999


def test_order_is_of_counts_where_spectra_are_alike():
    # Two of the three have one spectrum but for noise: the sum of all pixels does not tell them.
    random = np.random.default_rng(0)
    spectra = random.dirichlet(np.ones(60), 2)
    x = random.poisson(random.gamma(1, (30, 6), (900, 2)) @ spectra)
    totals = PoissonNMF(5, random_state=0).fit_transform(x, scan=(30, 30)).sum(0)
    assert (np.diff(totals) <= 0.02 * totals.max()).all()


def test_known_spectra_stay_as_they_are():
    x, w, h = problem()
    known = h[[1]]
    model = likeliest(3, known_components=7 * known, random_state=0, max_iter=200, tol=0).fit(x)
    np.testing.assert_allclose(model.components_[[0]], known / known.sum(), rtol=1e-5)
    assert (np.diff(model.objective_history_) <= 1e-6 * model.objective_history_[0]).all()
    given = likeliest(3, known_components=known, init=(w, h[[1, 0, 2]]), max_iter=1, tol=0).fit(x)
    start = np.vstack([known / known.sum(), h[[0, 2]]])
    _, *others = updated(x, w, start)[1]
    np.testing.assert_allclose(given.components_[0], known[0] / known.sum(), rtol=1e-5)
    others = [other / other.sum() for other in others]
    np.testing.assert_allclose(given.components_[1:], others, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f4"])
@pytest.mark.parametrize("index", ["i4", "i8"])
@pytest.mark.parametrize("counted", [1, 15, 16, 17, 32, 50])
def test_pixels_of_any_length_up_to_the_last_one(dtype, index, counted):
    random = np.random.default_rng(counted)
    x = np.zeros((4, 50))
    for row in x:
        row[random.permutation(50)[:counted]] = 1 + random.poisson(3, counted)
    counts = as_counts(x)
    counts.data, counts.indices = counts.data.astype(dtype), counts.indices.astype(index)
    counts.indptr = counts.indptr.astype(index)
    w, h = random.random((4, 3)), random.random((3, 50))
    model = CountModel(counts, h, w)
    likelihood = (x * np.log(w @ h)).sum()
    np.testing.assert_allclose(model.log_likelihood(), likelihood, rtol=1e-5, atol=1e-4)
    model.update()
    w, h = updated(x, w, h)
    h /= h.sum(1, keepdims=True)
    np.testing.assert_allclose(model.components(), h, rtol=1e-4, atol=1e-6)


def test_sums_of_logarithms():
    y = np.logspace(-29, 29, 3001).astype(np.float32)
    y = np.concatenate([y, np.linspace(0.5, 2, 3000, dtype=np.float32)])
    one = np.ones(1, np.float32)
    found = np.array([_kernels._sum_of_logs(one, y[n : n + 1], 1) for n in range(len(y))])
    np.testing.assert_allclose(found, np.log(y.astype(float)), rtol=2e-7, atol=2e-8)
    assert _kernels._sum_of_logs(one, 0 * one, 1) == pytest.approx(np.log(1e-30), rel=1e-6)


def test_stops_when_little_is_gained():
    x, *start = problem()
    model = likeliest(3, init=tuple(start), max_iter=1000, tol=1e-3).fit(x)
    decrease = -np.diff(model.objective_history_) / model.objective_history_[0]
    assert decrease[-1] < 1e-3 <= decrease[:-1].min()
    assert model.n_iter_ == 10 * len(decrease) < 1000


@pytest.mark.filterwarnings("ignore:The data are no counts")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("counts", "n_components"),
    [
        ([[5, 3, 2]], 1),
        (np.arange(1, 20)[:, None], 1),
        (np.outer(np.arange(1, 20), [3, 1, 7]), 1),
        (np.outer(np.arange(1, 200), [3000, 100, 7777]), 1),
        (np.outer(np.arange(1, 20), [3, 1, 7, 9]), 3),
    ],
)
@pytest.mark.parametrize("factor", [1, 1e-6, 0.3])
def test_stops_at_once_where_the_start_is_exact(counts, n_components, factor):
    x = np.asarray(counts) * factor
    model = likeliest(n_components, random_state=0)
    loadings = model.fit_transform(x)
    assert model.n_iter_ == 10
    np.testing.assert_allclose(loadings @ model.components_, x, rtol=1e-4)
    assert 0 <= model.objective_history_.min()
    assert model.objective_history_.max() < 1e-6 * x.sum()


def test_without_tolerance_it_runs_to_the_end():
    model = likeliest(1, tol=0, max_iter=40).fit([[5, 3, 2]])
    assert model.n_iter_ == 40


def test_warns_when_it_was_not_done():
    x, *start = problem()
    with pytest.warns(ConvergenceWarning, match="after 12 iterations.*max_iter"):
        likeliest(3, init=tuple(start), max_iter=12).fit(x)


def test_counts_are_conserved():
    x, *_ = problem()
    model = likeliest(3, random_state=0, max_iter=2000, tol=1e-9)
    loadings = model.fit_transform(x)
    np.testing.assert_allclose(model.components_.sum(1), 1)
    np.testing.assert_allclose(loadings.sum(1), x.sum(1), rtol=1e-5)
    # At a stationary point the model has as many counts as the data in each channel as well.
    np.testing.assert_allclose((loadings @ model.components_).sum(0), x.sum(0), rtol=0.01, atol=0.2)


def test_transform_is_the_maximum_of_the_likelihood():
    x, *_ = problem()
    model = likeliest(3, random_state=0).fit(x)
    w, h = model.transform(x).astype(float), model.components_
    y = np.maximum(w @ h, 1e-30)
    gradient = (x / y) @ h.T - 1
    # Karush, Kuhn and Tucker: level where there is some, downhill where there is none.
    assert np.abs(gradient * w / x.sum(1, keepdims=True)).max() < 1e-3
    assert gradient[w < 1e-3].max() < 0.05


def test_score_is_the_mean_log_likelihood():
    x, *_ = problem()
    model = likeliest(3, random_state=0).fit(x)
    y = np.maximum(model.transform(x) @ model.components_, 1e-30)
    np.testing.assert_allclose(model.score(x), (x * np.log(y) - y).sum() / len(x), rtol=1e-5)


@pytest.mark.parametrize("seed", range(1000, 1006))
def test_finds_the_spectra_of_a_simulated_map(seed):
    truth = simulate_spectra(seed=seed)
    x = truth.counts.reshape(-1, truth.counts.shape[-1])
    model = likeliest(4, random_state=0).fit(x)
    *majors, particle = range(4)
    assert worst_cosine(truth.spectra[majors], model.components_) > 0.99
    # 1 % of the counts, and nowhere alone.
    assert worst_cosine(truth.spectra[[particle]], model.components_) > 0.85


def test_blocks_give_the_same_as_the_whole():
    x, *_ = problem()
    whole = likeliest(3, random_state=0).fit(x)
    blocks = likeliest(3, random_state=0)
    for rows in (x[:10], x[10:11], x[11:]):
        blocks.partial_fit(rows)
    np.testing.assert_array_equal(blocks.components_, whole.components_)
    assert blocks.n_iter_ == whole.n_iter_
    assert blocks.objective_ == whole.objective_


def test_a_block_more_is_taken_into_account_and_fit_forgets():
    x, *_ = problem()
    model = likeliest(3, random_state=0).partial_fit(x[:60])
    part = model.components_
    whole = model.partial_fit(x[60:]).components_
    np.testing.assert_array_equal(whole, clone(model).fit(x).components_)
    np.testing.assert_array_equal(model.fit(x[:60]).components_, part)
    np.testing.assert_array_equal(model.partial_fit(x).components_, whole)


def test_solves_once_for_all_blocks(monkeypatch):
    x, *_ = problem()
    solve, calls = poisson_nmf.solve, []
    monkeypatch.setattr(poisson_nmf, "solve", lambda *a: calls.append(a) or solve(*a))
    model = likeliest(3, random_state=0)
    for rows in np.array_split(x, 4):
        model.partial_fit(rows)
    assert not calls
    for rows in np.array_split(x, 4):
        model.transform(rows)
    assert len(calls) == 1


def test_threads_that_ask_at_once_share_one_solution(monkeypatch):
    x, *_ = problem()
    calls, asked, solve = [], threading.Barrier(6), poisson_nmf.solve

    def slow(*arguments):
        calls.append(arguments)
        time.sleep(0.2)
        return solve(*arguments)

    def ask(_):
        asked.wait()
        return model.transform(x)

    monkeypatch.setattr(poisson_nmf, "solve", slow)
    model = likeliest(3, random_state=0)
    for rows in np.array_split(x, 4):
        model.partial_fit(rows)
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(ask, range(6)))
    assert len(calls) == 1
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    assert pickle.loads(pickle.dumps(model)).n_iter_ == clone(model).fit(x).n_iter_


def test_a_block_that_comes_while_another_thread_solves_is_not_lost(monkeypatch):
    x, *_ = problem()
    solve, started, go_on = poisson_nmf.solve, threading.Event(), threading.Event()

    def waiting(*arguments):
        started.set()
        go_on.wait(10)
        return solve(*arguments)

    model = likeliest(3, random_state=0).partial_fit(x[:60])
    monkeypatch.setattr(poisson_nmf, "solve", waiting)
    with ThreadPoolExecutor(2) as pool:
        pool.submit(lambda: model.components_)
        started.wait(10)
        block = pool.submit(model.partial_fit, x[60:])
        wait([block], timeout=0.3)
        go_on.set()
    np.testing.assert_array_equal(model.components_, clone(model).fit(x).components_)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csr_array])
def test_same_result_for_every_kind_of_array(dtype, form):
    x, *_ = problem()
    expected = likeliest(3, random_state=0)
    loadings = expected.fit_transform(x)
    if form is not np.asarray:
        dtype = dtype.replace(">", "")
    model = likeliest(3, random_state=0)
    np.testing.assert_array_equal(model.fit_transform(form(x.astype(dtype))), loadings)
    np.testing.assert_array_equal(model.components_, expected.components_)
    assert loadings.dtype == np.float32


@pytest.mark.parametrize("factor", [3e-7, 0.3, 3e5])
def test_scale_of_the_data_does_not_matter(factor):
    x, *_ = problem()
    expected = likeliest(3, random_state=0).fit(x)
    model = likeliest(3, random_state=0)
    loadings = model.fit_transform(x * factor)
    np.testing.assert_allclose(model.components_, expected.components_, rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(loadings.sum(1), x.sum(1) * factor, rtol=1e-4)


def test_ranges_and_threads_give_the_same(monkeypatch):
    x, *_ = problem(5, (700, 11))
    expected = likeliest(5, random_state=0).fit(x).components_
    monkeypatch.setattr(_model, "RANGE", 300)
    results = []
    for n_threads in (1, 3):
        monkeypatch.setattr(_model, "cpu_count", lambda n=n_threads: n)
        assert len(_model.ranges(as_counts(x), 55)) > 5
        results.append(likeliest(5, random_state=0).fit(x).components_)
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0], expected, rtol=1e-3, atol=1e-5)


def test_a_fit_in_the_background_runs_on_all_threads(monkeypatch):
    x, *_ = problem(5, (700, 11))
    climb, names, both = CountModel._climb, set(), threading.Barrier(2, timeout=10)

    def recorded(model, first, last):
        if not names:
            both.wait()
        names.add(threading.get_ident())
        return climb(model, first, last)

    monkeypatch.setattr(_model, "RANGE", 300)
    monkeypatch.setattr(_model, "cpu_count", lambda: 2)
    model = likeliest(5, random_state=0).fit(x)
    monkeypatch.setattr(CountModel, "_climb", recorded)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(model.transform, x).result()
    assert len(names) == 2


def test_spectra_and_loadings_hold_no_denormal_numbers():
    x, w, h = problem()
    w[:, 1] *= 1e-39
    h[2, ::2] *= 1e-39
    model = CountModel(as_counts(x), h, w)
    for _ in range(3):
        for values in (model.spectra, model.scale):
            assert not ((values > 0) & (values < 1e-30)).any()
        model.update()
        assert not ((model.loadings > 0) & (model.loadings < 1e-30)).any()
        w, h = updated(x, w, h)
    h /= h.sum(1, keepdims=True)
    # A fraction of 1e-12 is no loss.
    np.testing.assert_allclose(model.components()[[0, 2]], h[[0, 2]], rtol=1e-4, atol=1e-7)


@pytest.mark.filterwarnings("error")
def test_empty_pixels_and_channels():
    x, *_ = problem()
    x[[0, 5, 89]] = 0
    x[:, [0, 20, 36]] = 0
    model = likeliest(3, random_state=0, max_iter=1000)
    loadings = model.fit_transform(x)
    assert (loadings[[0, 5, 89]] == 0).all()
    assert (model.components_[:, [0, 20, 36]] == 0).all()
    assert np.isfinite(loadings).all() and np.isfinite(model.components_).all()
    new = np.zeros((2, x.shape[1]))
    new[0, 20] = 7
    assert (model.transform(new) == 0).all()
    np.testing.assert_allclose(model.score(new), 7 * np.log(1e-30) / 2)


def test_start_from_spectra_alone():
    x, _, h = problem()
    model = likeliest(3, init=h, max_iter=7, tol=0).fit(x)
    flat = np.repeat(x.sum(1, keepdims=True) / 3, 3, axis=1)
    h = h / h.sum(1, keepdims=True)
    same = likeliest(3, init=(flat, h), max_iter=7, tol=0).fit(x)
    np.testing.assert_allclose(model.components_, same.components_, rtol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components=0"),
        ({"n_components": -1}, "n_components=-1"),
        ({"n_components": 2.0}, "n_components=2.0, and a whole number"),
        ({"n_components": True}, "n_components=True"),
        ({"n_components": 38}, "n_components=38 .* n_features = 37"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"tol": -1}, "tol=-1"),
        ({"tol": np.nan}, "tol=nan"),
        ({"init": "nndsvd"}, "init='nndsvd' is not known"),
        ({"init": (1, 2, 3)}, r"init=\(1, 2, 3\) is not known"),
        ({"purer": "no"}, "purer='no' is not known"),
        ({"init": np.ones((2, 36))}, r"spectra of shape \(2, 36\).*\(2, 37\)"),
        ({"init": -np.ones((2, 37))}, "negative"),
        ({"init": (np.ones((89, 2)), np.ones((2, 37)))}, r"abundances of shape \(89, 2\)"),
        ({"init": (np.zeros((90, 2)), np.ones((2, 37)))}, "all zero"),
    ],
)
def test_says_what_is_wrong_with_parameters(parameters, message):
    x, *_ = problem()
    with pytest.raises(ValueError, match=message):
        likeliest(**parameters).fit(x)
    with pytest.raises(ValueError, match=message):
        likeliest(**parameters).partial_fit(x).components_  # noqa: B018


@pytest.mark.parametrize(
    ("bad", "message"),
    [(-1, "Negative values"), (np.nan, "NaN"), (np.inf, "inf"), (1j, "Complex data")],
)
def test_says_what_is_wrong_with_counts(bad, message):
    x = problem()[0].astype(type(bad) if isinstance(bad, complex) else float)
    model = likeliest(2).fit(problem()[0])
    x[4, 7] = bad
    for method in (model.fit, model.partial_fit, model.transform, model.fit_transform):
        with pytest.raises(ValueError, match=message):
            method(x)


def test_no_counts_and_not_fitted():
    with pytest.raises(ValueError, match="All values of the data are zero"):
        likeliest(1).fit(np.zeros((4, 5)))
    with pytest.raises(NotFittedError, match="not fitted"):
        likeliest(1).transform(np.ones((4, 5)))
    assert not hasattr(likeliest(1), "components_")
    assert not hasattr(likeliest(1), "mean_")


@pytest.mark.parametrize("signal_type", ["", "EDS_TEM"])
@pytest.mark.parametrize("chunks", [None, (5, 11), (12, 11)])
def test_hyperspys_own_decomposition(signal_type, chunks):
    import hyperspy.api as hs

    if signal_type:
        pytest.importorskip("exspy")
    truth = simulate_spectra((12, 11), 100, seed=0)
    s = hs.signals.Signal1D(truth.counts.astype(np.float32))
    s.set_signal_type(signal_type)
    if chunks:
        s = s.as_lazy()
        s.data = s.data.rechunk((*chunks, -1))
    # EDS signals are scaled, and their vacuum is masked, by default.
    options = {"normalize_poissonian_noise": False, "navigation_mask": None, "print_info": False}
    s.decomposition(algorithm=likeliest(3, random_state=0), **options)
    x = truth.counts.reshape(-1, 100)
    model = likeliest(3, random_state=0)
    loadings = model.fit_transform(x)
    np.testing.assert_allclose(s.learning_results.factors, model.components_.T, rtol=1e-5)
    np.testing.assert_allclose(s.learning_results.loadings, loadings, rtol=1e-5)
    counts = s.get_decomposition_model().sum(axis="sig").data
    np.testing.assert_allclose(counts, truth.counts.sum(-1), rtol=1e-4)


@pytest.mark.parametrize("unit", [1e-15, 1e20, 1e25])
def test_spectra_do_not_depend_on_the_unit_of_counts(unit):
    rng = np.random.default_rng(30)
    x = rng.poisson(rng.gamma(0.5, 5, (50, 3)) @ rng.gamma(0.5, 1, (3, 40))).astype(float)
    w, h = rng.random((50, 3)), rng.random((3, 40))
    found = []
    for scale in (1, unit):
        model = PoissonNMF(3, prior=None, init=(w * scale, h), max_iter=40, tol=0)
        found.append((model.fit_transform(x * scale) / scale, model.components_))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-2, atol=1e-3 * x.max())
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-3)

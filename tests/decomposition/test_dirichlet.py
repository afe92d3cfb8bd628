# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The Dirichlet prior of Poisson NMF against its definition, exact integrals and known truth."""

from functools import partial

import numpy as np
import pytest
from numba import njit
from scipy.integrate import quad
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln, psi
from scipy.stats import beta
from sklearn.exceptions import NotFittedError

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import _dirichlet_kernels, _neighbours, _variational
from emsparse_hs.decomposition._dirichlet import CLIMB_TOL, CLIMBS, DirichletModel
from emsparse_hs.decomposition._momentum import Momentum
from emsparse_hs.decomposition._neighbours import WIDTH, Neighbours, some_tiles
from emsparse_hs.decomposition.counts import as_counts
from emsparse_hs.decomposition.poisson_nmf import PoissonNMF

ALPHA = 0.3

likeliest = partial(PoissonNMF, prior=None)


def problem(n_components=3, shape=(90, 37), seed=0):
    """Counts, and spectra to start from."""
    random = np.random.default_rng(seed)
    n_pixels, n_features = shape
    abundances = 1 + random.gamma(0.5, 20, (n_pixels, n_components))
    spectra = random.dirichlet(np.full(n_features, 0.3), n_components)
    return random.poisson(abundances @ spectra), random.gamma(2, 1, spectra.shape)


def cosines(true, found):
    unit = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in (true, found)]
    products = unit[0] @ unit[1].T
    return products[linear_sum_assignment(-products)]


def worst_cosine(true, found):
    return cosines(true, found).min()


def inferred(x, h, prior, shape):
    """Coordinate ascent of one pixel, as Blei, Ng and Jordan wrote it."""
    for _ in range(CLIMBS):
        parts = np.exp(psi(shape))[:, None] * h
        new = prior + (x * parts / parts.sum(0)).sum(1)
        change = np.abs(new - shape).max() / new.sum()
        shape = new
        if change <= CLIMB_TOL:
            break
    return shape


def bound(x, h, prior, shape):
    logs = psi(shape) - psi(shape.sum())
    likelihood = (x * np.log(np.exp(logs) @ h)).sum()
    divergence = gammaln(shape.sum()) - gammaln(shape).sum() - gammaln(prior.sum())
    divergence += gammaln(prior).sum() + ((shape - prior) * logs).sum()
    return likelihood - divergence


def model_of(x, h, **parameters):
    flat = np.full((len(x), len(h)), 1 / len(h))
    return DirichletModel(as_counts(x), h, flat, ALPHA, **parameters)


@pytest.mark.parametrize("n_components", [2, 3, 4, 5, 9])
def test_a_pass_equals_its_definition(n_components):
    x, h = problem(n_components)
    h = h / h.sum(1, keepdims=True)
    prior = np.full(n_components, ALPHA)
    start = prior + x.sum(1, keepdims=True) / n_components
    shapes = np.array([inferred(*pixel) for pixel in zip(x, [h] * 90, [prior] * 90, start)])  # noqa: B905
    parts = np.exp(psi(shapes))[:, :, None] * h
    made = (x[:, None] * parts / parts.sum(1, keepdims=True)).sum(0)
    model = model_of(x, h)
    model.update()
    np.testing.assert_allclose(model.shapes[:, :n_components], shapes, rtol=1e-4, atol=1e-5)
    expected = made / made.sum(1, keepdims=True)
    np.testing.assert_allclose(model.components(), expected, rtol=1e-3, atol=1e-6)


def test_bound_equals_its_definition():
    x, h = problem()
    model = model_of(x, h / h.sum(1, keepdims=True))
    model.infer(3, 0)
    prior, h = np.full(3, ALPHA), model.components()
    expected = sum(bound(x[i], h, prior, model.shapes[i, :3].astype(float)) for i in range(len(x)))
    np.testing.assert_allclose(model.bound(), expected, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.3, 2.0])
def test_bound_is_below_the_evidence_and_close_to_it(alpha):
    random = np.random.default_rng(0)
    h = random.dirichlet(np.full(6, 0.4), 2)
    x = random.poisson(8 * (0.7 * h[0] + 0.3 * h[1]), (20, 6))
    flat = np.full((20, 2), 0.5)
    for one in x:
        model = DirichletModel(as_counts(one[None]), h, flat[:1], alpha)
        model.infer(500, 1e-7)

        def likelihood(f, one=one):
            return np.prod((f * h[0] + (1 - f) * h[1]) ** one)

        # In the distribution function of the prior, so that its poles do no harm.
        exact = quad(lambda p: likelihood(beta.ppf(p, alpha, alpha)), 0, 1, limit=500)[0]
        assert np.log(exact) - 1.6 < model.bound() < np.log(exact) + 1e-4


def test_bound_rises_without_momentum(monkeypatch):
    monkeypatch.setattr(Momentum, "prolonged", lambda self, old, new: new)
    x, h = problem()
    model = model_of(x, h)
    bounds = []
    for _ in range(40):
        model.update()
        bounds.append(model.bound())
    assert (np.diff(bounds) > -1e-6 * abs(bounds[0])).all()


def test_momentum_goes_to_a_higher_bound_in_the_same_number_of_passes(monkeypatch):
    x, h = problem()
    with_momentum, without = model_of(x, h), model_of(x, h)
    for _ in range(30):
        with_momentum.update()
    monkeypatch.setattr(Momentum, "prolonged", lambda self, old, new: new)
    for _ in range(30):
        without.update()
    assert with_momentum.bound() > without.bound()


@pytest.mark.parametrize("shape", [(40,), (7, 9), (3, 7, 9)])
@pytest.mark.parametrize("masked", [False, True])
def test_means_of_neighbours(shape, masked):
    random = np.random.default_rng(0)
    keep = random.random(shape) < 0.7 if masked else np.ones(shape, bool)
    values = random.random((keep.sum(), 4)).astype(np.float32)
    found = Neighbours(keep).means(values)
    places = np.argwhere(keep)
    for i, place in enumerate(places):
        offsets = places - place
        near = (np.abs(offsets) <= 2).all(1) & (offsets[:, : len(shape) - 2] == 0).all(1)
        near[i] = False
        weights = np.exp(-0.5 * (offsets**2).sum(1) / WIDTH**2) * near
        expected = weights @ values / weights.sum() if near.any() else np.zeros(4)
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


def scene(seed, counts_per_pixel=50.0):
    truth = simulate_spectra((40, 48), 256, counts_per_pixel, seed)
    return truth, truth.counts.reshape(-1, 256), truth.abundances.reshape(-1, 4)


def error(abundances, truth, spectra, true_spectra):
    """Root mean square error of abundances, each matched to its spectrum."""
    unit = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in (true_spectra, spectra)]
    order = (unit[0] @ unit[1].T).argmax(1)
    return np.sqrt(((abundances[:, order] - truth) ** 2).mean())


@pytest.mark.parametrize("seed", [1000, 1001, 1002])
def test_better_than_maximum_likelihood_at_few_counts(seed):
    truth, x, abundances = scene(seed, 20)
    bayes = PoissonNMF(4, random_state=0)
    ours = bayes.fit_transform(x, scan=(40, 48))
    assert worst_cosine(truth.spectra[:3], bayes.components_) > 0.99
    likely = likeliest(4, random_state=0)
    theirs = likely.fit_transform(x)
    assert worst_cosine(truth.spectra, bayes.components_) > worst_cosine(
        truth.spectra, likely.components_
    )
    # As good as the most likely abundances for the true spectra, at least.
    likely = likeliest(4, init=truth.spectra, max_iter=1, tol=0).fit(x)
    likely._solution = likely._solution._replace(components=truth.spectra)
    best = error(likely.transform(x), abundances, truth.spectra, truth.spectra)
    mine = error(ours, abundances, bayes.components_, truth.spectra)
    assert mine < 1.01 * best
    assert mine < error(theirs, abundances, likely.components_, truth.spectra)


def test_abundances_add_up_to_the_counts():
    _, x, _ = scene(0)
    loadings = PoissonNMF(3, random_state=0).fit_transform(x, scan=(40, 48))
    np.testing.assert_allclose(loadings.sum(1), x.sum(1), rtol=1e-5)
    assert loadings.dtype == np.float32


def test_transform_of_the_same_scan_gives_the_same_maps():
    _, x, _ = scene(0)
    model = PoissonNMF(4, random_state=0)
    loadings = model.fit_transform(x, scan=(40, 48))
    again = model.transform(x, scan=(40, 48))
    np.testing.assert_array_equal(again, loadings)
    part = model.transform(x)
    assert np.abs(part - loadings).mean() > 0.1
    posterior = model.posterior(x, scan=(40, 48))
    np.testing.assert_array_equal(posterior.abundances, again)


def test_pixels_that_are_left_out_are_no_neighbours():
    _, x, _ = scene(0)
    keep = np.ones((40, 48), bool)
    keep[:, 20:] = False
    part = PoissonNMF(3, random_state=0)
    whole = PoissonNMF(3, random_state=0)
    masked = part.fit_transform(x[keep.ravel()], scan=keep)
    cut = whole.fit_transform(x.reshape(40, 48, -1)[:, :20].reshape(800, -1), scan=(40, 20))
    np.testing.assert_allclose(masked, cut, atol=0.02 * cut.mean())


@pytest.mark.parametrize("scan, spatial", [((40, 48), 0), ((40 * 48, 1, 1), "auto")])
def test_no_neighbours_is_the_same_as_no_scan(scan, spatial):
    _, x, _ = scene(0)
    with_scan = PoissonNMF(3, random_state=0, spatial=spatial).fit(x, scan=scan)
    without = PoissonNMF(3, random_state=0).fit(x)
    np.testing.assert_array_equal(with_scan.components_, without.components_)
    assert with_scan.spatial_ == without.spatial_ == 0


@pytest.mark.parametrize("seed", [1000, 1001])
@pytest.mark.parametrize("scan", [None, (40, 48)])
def test_known_spectra_stay_as_they_are(seed, scan):
    truth, x, _ = scene(seed)
    known = truth.spectra[[3, 1]]
    model = PoissonNMF(4, known_components=7 * known, random_state=0).fit(x, scan=scan)
    np.testing.assert_allclose(model.components_[:2], known, rtol=1e-5, atol=1e-9)
    known_worst = worst_cosine(truth.spectra, model.components_)
    assert known_worst > 0.995
    free = PoissonNMF(4, random_state=0).fit(x, scan=scan)
    assert worst_cosine(truth.spectra, free.components_) < known_worst


@pytest.mark.parametrize("seed", [1000, 1001, 1002])
def test_widths_tell_the_errors(seed):
    truth, x, abundances = scene(seed)
    model = PoissonNMF(4, known_components=truth.spectra, random_state=0).fit(x, scan=(40, 48))
    found = model.posterior(x, scan=(40, 48))
    some = found.abundances > 3
    off = (found.abundances - abundances)[some] / found.widths[some]
    assert 0.8 < np.sqrt((off**2).mean()) < 1.25


def test_more_is_asked_of_neighbours_where_maps_are_smooth():
    random = np.random.default_rng(0)
    h = random.dirichlet(np.full(40, 0.3), 2)
    smooth = np.full((900, 1), 0.4)
    rough = random.integers(0, 2, (900, 1))
    strengths = []
    for f in (rough, smooth):
        x = random.poisson(15 * (f * h[0] + (1 - f) * h[1]))
        strengths.append(PoissonNMF(2, random_state=0).fit(x, scan=(30, 30)).spatial_)
    assert strengths[0] <= 2.5
    assert strengths[1] >= 40


def core_shell(seed):
    """Cores with shells, on a support that is everywhere: spectra, abundances (y, x, phase)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64]
    chord, core = np.zeros((2, 64, 64))
    for cy, cx in random.uniform(0, 64, (22, 2)):
        distance = np.hypot(y - cy, x - cx) / random.uniform(3, 6)
        chord = np.maximum(chord, np.sqrt(np.clip(1 - distance**2, 0, None)))
        inner = 0.8 * np.sqrt(np.clip(1 - (distance / 0.8) ** 2, 0, None))
        core = np.maximum(core, inner)
    spectra = 0.8 * random.dirichlet(np.full(120, 0.15), 3) + 0.2 / 120
    maps = np.stack([np.full((64, 64), 0.6), 1.2 * core, 1.2 * (chord - core).clip(0)], -1)
    return spectra, 60 * maps


@pytest.mark.parametrize("seed", range(4))
def test_phases_that_are_nowhere_alone_are_told_apart(seed, monkeypatch):
    spectra, maps = core_shell(seed)
    x = np.random.default_rng(seed).poisson(maps.reshape(-1, 3) @ spectra)
    model = PoissonNMF(3, random_state=0).fit(x, scan=(64, 64))
    assert worst_cosine(spectra, model.components_) > 0.98
    # Sums of pixels are what the evidence is highest for.
    monkeypatch.setattr(_variational, "likely_ones", lambda *_: {})
    model = PoissonNMF(3, random_state=0).fit(x, scan=(64, 64))
    assert worst_cosine(spectra, model.components_) < 0.96


@pytest.mark.parametrize("init", ["cluster", "nmf", "auto"])
@pytest.mark.parametrize("scan", [None, (40, 48)])
def test_all_starts_lead_to_spectra(init, scan):
    truth, x, _ = scene(1001)
    model = PoissonNMF(4, init=init, random_state=0).fit(x, scan=scan)
    np.testing.assert_allclose(model.components_.sum(1), 1)
    assert worst_cosine(truth.spectra[:3], model.components_) > 0.6


def test_start_from_given_spectra_and_abundances():
    truth, x, abundances = scene(0)
    one = PoissonNMF(4, init=truth.spectra, random_state=0).fit(x)
    two = PoissonNMF(4, init=(abundances, truth.spectra), random_state=0).fit(x)
    for model in (one, two):
        assert worst_cosine(truth.spectra[:3], model.components_) > 0.99


@pytest.mark.parametrize("with_loadings", [False, True])
def test_known_spectra_take_the_first_places_of_a_start(with_loadings):
    truth, x, abundances = scene(0)
    start = np.vstack([np.ones(256), truth.spectra[1:]])
    init = (abundances, start) if with_loadings else start
    model = PoissonNMF(4, init=init, known_components=truth.spectra[:1]).fit(x)
    np.testing.assert_allclose(model.components_[0], truth.spectra[0], rtol=1e-5, atol=1e-9)
    assert worst_cosine(truth.spectra[:3], model.components_) > 0.99


@pytest.mark.parametrize("scan", [60, (60,), [60], np.ones(60, bool)])
def test_line_scans(scan):
    _, x, _ = scene(0)
    model = PoissonNMF(2, random_state=0).fit(x[:60], scan=scan)
    same = PoissonNMF(2, random_state=0).fit(x[:60], scan=(1, 60))
    np.testing.assert_allclose(model.components_, same.components_, rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("error")
def test_empty_pixels_and_channels():
    _, x, _ = scene(0)
    x = x.copy()
    x[::7] = 0
    x[:, :30] = 0
    model = PoissonNMF(3, random_state=0)
    loadings = model.fit_transform(x, scan=(40, 48))
    assert (loadings[::7] == 0).all()
    assert (model.components_[:, :30] == 0).all()
    assert np.isfinite(loadings).all()
    widths = model.posterior(x, scan=(40, 48)).widths
    assert np.isfinite(widths).all()


def test_counts_that_are_not_whole_are_taken():
    _, x, _ = scene(0)
    model = PoissonNMF(3, random_state=0).fit(x * 0.7, scan=(40, 48))
    assert model.spatial_ == _variational.SPATIAL_OF_SPECTRA


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"prior": "gamma"}, "prior='gamma' is not known"),
        ({"alpha": 0}, "alpha=0, and a number from 1e-06"),
        ({"alpha": 1e45}, "alpha=1e.45"),
        ({"spatial": True}, "spatial=True"),
        ({"spatial": 1e45}, "spatial=1e.45"),
        ({"n_components": "auto", "init": np.ones((2, 37))}, "init has a number of spectra"),
        ({"alpha": "learn"}, "alpha='learn'"),
        ({"spatial": -1}, "spatial=-1, and a number from 0"),
        ({"spatial": np.nan}, "spatial=nan"),
        ({"known_components": np.ones((1, 36))}, r"shape \(1, 36\).*37"),
        ({"known_components": np.ones(37)}, r"shape \(37,\)"),
        ({"known_components": np.ones((3, 37))}, "3 known spectra.*n_components=2"),
        ({"known_components": -np.ones((1, 37))}, "negative"),
        ({"known_components": np.zeros((1, 37))}, "all zero"),
    ],
)
def test_says_what_is_wrong_with_parameters(parameters, message):
    x, _ = problem()
    with pytest.raises(ValueError, match=message):
        PoissonNMF(**{"n_components": 2, **parameters}).fit(x)


@pytest.mark.parametrize("scan", [(-9, -10), (9.5, 10), "9x10", np.ones((9, 10), np.uint8)])
def test_says_that_it_is_no_scan(scan):
    x, _ = problem()
    with pytest.raises(ValueError, match="neither the shape of the scan nor a bool array"):
        PoissonNMF(2).fit(x, scan=scan)


def test_a_given_strength_is_kept_for_later_scans():
    _, x, _ = scene(0)
    model = PoissonNMF(3, spatial=20, random_state=0).fit(x)
    assert model.spatial_ == 20
    assert np.abs(model.transform(x, scan=(40, 48)) - model.transform(x)).mean() > 0.1
    assert model.score(x, scan=(40, 48)) < model.score(x)


def test_a_fit_that_fails_leaves_nothing_behind():
    x, _ = problem()
    model = PoissonNMF(2, random_state=0).fit(x)
    with pytest.raises(ValueError, match="n_components=30"):
        model.set_params(n_components=30).fit(x[:, :10])
    with pytest.raises(NotFittedError):
        model.transform(x)


@pytest.mark.parametrize("scan", [(9, 9), np.ones((9, 11), bool), np.zeros((10, 9), bool)])
def test_says_that_the_scan_does_not_fit(scan):
    x, _ = problem()
    with pytest.raises(ValueError, match="counts of 90.*shape of the scan"):
        PoissonNMF(2).fit(x, scan=scan)
    with pytest.raises(ValueError, match="counts of 90.*shape of the scan"):
        PoissonNMF(2).fit(x).transform(x, scan=scan)


def test_maximum_likelihood_has_no_widths():
    x, _ = problem()
    with pytest.raises(ValueError, match="prior='dirichlet'"):
        likeliest(2, max_iter=1, tol=0).fit(x).posterior(x)


def test_geometric_means_are_those_of_scipy():
    shapes = np.geomspace(0.0125, 1e6, 4001, dtype=np.float32)[:4000]
    found = geometric_means(shapes)
    np.testing.assert_allclose(found, np.exp(psi(shapes.astype(float))), rtol=5e-6)
    # What is smaller has no part in a pixel.
    assert geometric_means(np.zeros(8, np.float32)).max() < 1e-30


@njit
def geometric_means(shapes):
    """The inlined loop, called."""
    means = np.empty_like(shapes)
    _dirichlet_kernels._geometric_means(shapes, means)
    return means


@pytest.mark.parametrize("masked", [False, True])
def test_some_tiles_of_a_scan(masked):
    keep = np.ones((3, 130, 70), bool)
    keep[:, 60:70, 5:50] = not masked
    rows, tiles = some_tiles(keep, 9000, np.random.RandomState(0))
    assert 9000 <= len(rows) == tiles.sum() < 9000 + 64**2
    assert len(np.unique(rows)) == len(rows)
    # Rows are in the order of the tiles: neighbours in a tile are neighbours in the scan.
    places = np.argwhere(keep)[rows]
    numbers = np.full(tiles.shape, -1)
    numbers[tiles] = np.arange(len(rows))
    beside = tiles[:, :, 1:] & tiles[:, :, :-1]
    steps = places[numbers[:, :, 1:][beside]] - places[numbers[:, :, :-1][beside]]
    np.testing.assert_array_equal(steps, np.broadcast_to([0, 0, 1], steps.shape))


@pytest.mark.parametrize(
    ("shape", "tile"), [((500, 3, 1), (3, 1)), ((7, 1, 80), (1, 16)), ((400,), (1, 16))]
)
def test_tiles_of_thin_scans_are_as_thin(shape, tile):
    rows, tiles = some_tiles(np.ones(shape, bool), 100, np.random.RandomState(0))
    assert tiles.shape[1:] == tile and tiles.all() and len(rows) == tiles.size


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (1, 1, 30)])
def test_a_line_is_one_whatever_axes_it_has(shape):
    values = np.random.default_rng(0).random((30, 2), np.float32)
    expected = Neighbours(np.ones(30, bool)).means(values)
    np.testing.assert_array_equal(Neighbours(np.ones(shape, bool)).means(values), expected)
    assert not Neighbours(np.ones((30, 1, 1), bool)).means(values).any()


@pytest.mark.parametrize("scan", [None, (512, 512)])
def test_a_particle_in_the_middle_of_nothing_is_found(scan):
    """None of the pixels that are drawn at random would have counts."""
    random = np.random.default_rng(0)
    counts = np.zeros((512, 512, 8), np.uint8)
    counts[100:108, 100:108] = random.poisson(3, (8, 8, 8))
    model = PoissonNMF(2, random_state=0).fit(counts.reshape(-1, 8), scan=scan)
    np.testing.assert_allclose(model.components_.sum(1), 1)
    assert not model.transform(np.zeros((3, 8))).any()


@pytest.mark.parametrize("scan", [(64, 80), None])
def test_a_large_map_starts_from_some_of_it(scan, monkeypatch):
    """The first fits are made to few pixels, the last one to all of them."""
    truth = simulate_spectra((64, 80), 256, 60, seed=1001)
    rows = truth.counts.reshape(64 * 80, -1)
    expected = PoissonNMF(4, random_state=0).fit(rows, scan=scan)
    seen = []
    update = DirichletModel.update

    def counting(self):
        seen.append(len(self.shapes))
        return update(self)

    monkeypatch.setattr(DirichletModel, "update", counting)
    monkeypatch.setattr(_variational, "MOST_AT_FIRST", 2000)
    monkeypatch.setattr(_neighbours, "SIDE", 16)
    model = PoissonNMF(4, random_state=0).fit(rows, scan=scan)
    n_last = seen.count(len(rows))
    assert 0 < n_last == model.n_iter_ < len(seen) and seen[-n_last:] == n_last * [len(rows)]
    # The particle, which is nowhere alone, may be in none of the tiles.
    assert np.sort(cosines(expected.components_, model.components_))[1] > 0.995

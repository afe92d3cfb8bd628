# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Estimators through the driver against the same estimators on the dense matrix."""

import contextlib
import itertools
import mmap

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF, PCA, FastICA, IncrementalPCA, MiniBatchNMF, TruncatedSVD

from emsparse_hs import Blocks, PoissonNMF, _reading, fitting
from emsparse_hs.decomposition import SparseNMF, WeightedGramPCA
from emsparse_hs.fitting import fit_blocks, learn

SHAPE = (12, 10, 48)
CHUNKS = [(12, 10, 48), *itertools.product((5,), (4, 10), (48, 20))]


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(0)
    expected = rng.gamma(0.5, 20, (*SHAPE[:2], 3)) @ rng.gamma(0.4, 1, (3, SHAPE[2]))
    return rng.poisson(expected).astype("u2")


@pytest.fixture(scope="module")
def mask():
    return np.random.default_rng(1).random(SHAPE[:2]) > 0.8


def signals(counts):
    yield hs.signals.Signal1D(counts)
    for chunks in CHUNKS:
        yield hs.signals.Signal1D(da.from_array(counts, chunks=chunks)).as_lazy()


def dense_model(estimator, rows):
    """What scikit-learn itself makes of the kept pixels."""
    return estimator.inverse_transform(estimator.fit_transform(rows))


@pytest.mark.parametrize(
    "estimator",
    [
        NMF(3, random_state=0),
        TruncatedSVD(3, algorithm="arpack"),
        PCA(3),
        MiniBatchNMF(3, random_state=0),
        IncrementalPCA(3),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_model_is_that_of_the_dense_matrix(counts, mask, estimator):
    """Whatever the chunks: what fits into memory is fitted at once, in the order of the scan."""
    expected = dense_model(estimator, counts[~mask])
    for signal in signals(counts):
        signal.emsparse.decomposition(estimator, navigation_mask=mask.T)
        model = np.asarray(signal.get_decomposition_model().data)
        np.testing.assert_allclose(model[~mask], expected, rtol=1e-10, atol=1e-10)
        assert np.isnan(model[mask]).all()


@pytest.fixture
def one_by_one(monkeypatch):
    """Make small data go block by block, as large ones do."""
    monkeypatch.setattr(fitting, "AT_ONCE", 0)
    for name, size in (("SMALLEST", 1), ("USUAL", 5000), ("LARGEST", 6000)):
        monkeypatch.setattr(_reading, name, size)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("estimator", [MiniBatchNMF(3, random_state=0), IncrementalPCA(3)])
def test_one_block_after_the_other(counts, mask, estimator):
    dense = dense_model(estimator, counts[~mask].astype(float))
    best = np.linalg.norm(dense - counts[~mask])
    for signal in signals(counts):
        signal.emsparse.decomposition(estimator, navigation_mask=mask.T, n_passes=60)
        model = np.asarray(signal.get_decomposition_model().data)
        assert np.linalg.norm(model[~mask] - counts[~mask]) < 1.1 * best
        assert np.isnan(model[mask]).all()


@pytest.mark.usefixtures("one_by_one")
def test_blocks_with_few_pixels_are_joined(counts):
    mask = np.zeros(SHAPE[:2], bool)
    mask[:5, :4] = mask[10:, 8:] = True
    mask[0, 0] = mask[11, 9] = False
    signal = hs.signals.Signal1D(da.from_array(counts, chunks=(5, 4, 48))).as_lazy()
    signal.emsparse.decomposition(IncrementalPCA(3), navigation_mask=mask.T)
    model = np.asarray(signal.get_decomposition_model().data)[~mask]
    expected = dense_model(IncrementalPCA(3), counts[~mask])
    np.testing.assert_allclose(
        np.linalg.norm(model - counts[~mask]), np.linalg.norm(expected - counts[~mask]), rtol=0.02
    )


@pytest.mark.usefixtures("one_by_one")
def test_progress_of_learning(counts, capfd):
    signal = hs.signals.Signal1D(counts)
    signal.emsparse.decomposition(IncrementalPCA(3), show_progressbar=True)
    assert "Learn: 100%" in capfd.readouterr().err
    signal.emsparse.decomposition(IncrementalPCA(3), show_progressbar=False)
    assert not capfd.readouterr().err


def test_poisson_nmf_takes_integers_and_masks(counts, mask):
    channels = np.arange(SHAPE[2]) % 7 == 0
    estimator = PoissonNMF(3, random_state=0)
    rows = counts[~mask][:, ~channels]
    expected = PoissonNMF(**estimator.get_params())
    maps = expected.fit_transform(rows, scan=~mask)
    for signal in signals(counts):
        signal.emsparse.decomposition(estimator, navigation_mask=mask.T, signal_mask=channels)
        results = signal.learning_results
        loadings = results.loadings.reshape(*SHAPE[:2], 3)
        np.testing.assert_allclose(results.factors[~channels].T, expected.components_)
        np.testing.assert_allclose(loadings[~mask], maps, rtol=1e-4, atol=1e-3)
        assert np.isnan(loadings[mask]).all() and np.isnan(results.factors[channels]).all()
        # The model has the counts of the data, pixel by pixel.
        np.testing.assert_allclose(loadings[~mask].sum(1), rows.sum(1), rtol=1e-3)


@pytest.mark.parametrize(
    "estimator", [PCA(3, whiten=True), IncrementalPCA(3, whiten=True), FastICA(3, random_state=0)]
)
def test_a_model_that_hyperspy_can_not_make_is_refused(counts, estimator):
    signal = hs.signals.Signal1D(counts)
    with pytest.raises(ValueError, match="not loadings times components_"):
        signal.emsparse.decomposition(estimator)
    assert signal.learning_results.loadings is None


def test_the_estimator_and_the_data_are_not_changed(counts):
    estimator, before = MiniBatchNMF(3, random_state=0), counts.copy()
    hs.signals.Signal1D(counts).emsparse.decomposition(estimator)
    assert not hasattr(estimator, "components_")
    hs.signals.Signal1D(counts).emsparse.decomposition(estimator, output_dimension=2)
    assert not hasattr(estimator, "components_") and estimator.n_components == 3
    np.testing.assert_array_equal(counts, before)
    assert counts.dtype == "u2"
    floats = hs.signals.Signal1D(counts.astype(float))
    with contextlib.suppress(ValueError):
        floats.emsparse.decomposition(IncrementalPCA(3, copy=False))
    np.testing.assert_array_equal(floats.data, before)


def test_output_dimension_wins(counts):
    signal = hs.signals.Signal1D(counts)
    signal.emsparse.decomposition(MiniBatchNMF(3, random_state=0), output_dimension=4)
    assert signal.learning_results.loadings.shape == (120, 4)


def test_an_interruption_leaves_the_signal_as_it_was(counts):
    class Interrupted(MiniBatchNMF):
        def fit_transform(self, X, y=None):
            raise KeyboardInterrupt

    signal = hs.signals.Signal1D(counts)
    signal.emsparse.decomposition("PoissonNMF", 2)
    before = dict(signal.learning_results.__dict__)
    with pytest.raises(KeyboardInterrupt):
        signal.emsparse.decomposition(Interrupted(3))
    assert signal.learning_results.__dict__ == before


@pytest.mark.usefixtures("one_by_one")
def test_loading_everything_is_said(counts):
    with pytest.warns(UserWarning, match="TruncatedSVD has no partial_fit"):
        hs.signals.Signal1D(counts).emsparse.decomposition(TruncatedSVD(2))


@pytest.mark.parametrize("wrong", [0, -1, 49, 500])
def test_impossible_number_of_components(counts, wrong):
    signal = hs.signals.Signal1D(counts)
    with pytest.raises(ValueError, match="components can't be had.*1 to 48"):
        signal.emsparse.decomposition("PoissonNMF", wrong)
    with pytest.raises(ValueError, match="components can't be had"):
        signal.emsparse.decomposition(NMF(3), wrong)
    assert signal.learning_results.loadings is None


def test_other_bad_input(counts):
    signal = hs.signals.Signal1D(counts)
    with pytest.raises(ValueError, match="No algorithm is called 'SVD'"):
        signal.emsparse.decomposition("SVD", 3)
    with pytest.raises(ValueError, match="output_dimension=3"):
        signal.emsparse.decomposition()
    with pytest.raises(TypeError, match="scikit-learn's contract"):
        signal.emsparse.decomposition(object())
    with pytest.raises(TypeError, match="scikit-learn's contract"):
        signal.emsparse.decomposition(MiniBatchNMF, output_dimension=3)
    with pytest.raises(TypeError, match="max_iter"):
        signal.emsparse.decomposition(NMF(3), max_iter=3)
    with pytest.raises(TypeError, match="no components_"):
        signal.emsparse.decomposition(KMeans(3))
    with pytest.raises(TypeError, match="transform"):
        signal.emsparse.decomposition(BaseEstimator())


@pytest.mark.parametrize("value", [-1, np.nan])
@pytest.mark.parametrize("as_lazy", [False, True])
def test_impossible_counts(counts, value, as_lazy):
    data = counts.astype(float)
    data[3, 4, 5] = value
    signal = hs.signals.Signal1D(data)
    signal = signal.as_lazy() if as_lazy else signal
    with pytest.raises(ValueError, match="Negative" if value == -1 else "NaN"):
        signal.emsparse.decomposition("PoissonNMF", 2)
    assert signal.learning_results.loadings is None


def test_empty_pixels_have_no_loadings(counts):
    data = counts.copy()
    data[2:4] = 0
    signal = hs.signals.Signal1D(data)
    signal.emsparse.decomposition("PoissonNMF", 2)
    loadings = signal.learning_results.loadings.reshape(12, 10, 2)
    assert (loadings[2:4] == 0).all() and (loadings[4:].sum(-1) > 0).all()


def test_blocks_are_merged_where_an_estimator_can():
    rows = np.random.default_rng(0).poisson(3.0, (8, 9, 20))
    s = hs.signals.Signal1D(rows).as_lazy()
    s.rechunk(nav_chunks=(3, 4))
    blocks = Blocks.of(s)
    model = WeightedGramPCA(3)
    learned = learn(model, blocks, show_progressbar=False)
    assert learned is not model and not model.__sklearn_is_fitted__()
    expected = WeightedGramPCA(3).fit(rows.reshape(72, 20))
    np.testing.assert_allclose(learned.components_, expected.components_, rtol=1e-4, atol=1e-7)
    assert learned.n_samples_seen_ == 72


@pytest.mark.parametrize("masked", [False, True])
def test_large_dense_data_are_reduced_before(masked, monkeypatch):
    random = np.random.default_rng(1)
    spectra = random.dirichlet(np.full(40, 0.3), 3)
    rows = random.poisson(500 * random.dirichlet(np.full(3, 0.3), (12, 15)) @ spectra)
    keep = np.ones((12, 15), bool)
    keep[2:4, :7] = not masked
    s = hs.signals.Signal1D(rows).as_lazy()
    s.rechunk(nav_chunks=(5, 4))
    at_once = SparseNMF(3, random_state=0).fit(rows[keep])
    monkeypatch.setattr(fitting, "AT_ONCE", 1)
    # Nothing but what is left of them is fitted.
    monkeypatch.setattr(SparseNMF, "fit_transform", None)
    fit = fit_blocks(SparseNMF(3, random_state=0), Blocks.of(s, (~keep).T), show_progressbar=False)
    np.testing.assert_allclose(fit.components, at_once.components_, atol=2e-3)
    s.emsparse.decomposition("SparseNMF", 3, random_state=0, navigation_mask=(~keep).T)
    np.testing.assert_array_equal(s.learning_results.factors.T, fit.components)
    np.testing.assert_array_equal(np.isnan(fit.loadings).all(-1), ~keep)
    assert np.abs(fit.loadings[keep] - at_once.transform(rows[keep])).mean() < 5


def test_few_channels_are_reduced_to_as_many_axes(monkeypatch):
    rows = np.random.default_rng(0).poisson(20.0, (9, 10, 6))
    monkeypatch.setattr(fitting, "AT_ONCE", 1)
    model = SparseNMF(4, random_state=0, max_iter=5, tol=0)
    fit = fit_blocks(model, Blocks.of(hs.signals.Signal1D(rows)), show_progressbar=False)
    assert fit.components.shape == (4, 6)


def is_in_file(array):
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array is not None


def test_data_beyond_memory_are_kept_in_files(counts, mask, monkeypatch):
    expected = None
    for free in (2**40, 0):
        monkeypatch.setattr(fitting, "free_memory", lambda free=free: free)
        for signal in signals(counts):
            blocks, estimator = Blocks.of(signal, navigation_mask=mask.T), PoissonNMF(3)
            rows = fitting.held_rows(estimator, blocks, show_progressbar=False)
            assert is_in_file(rows.data) is (free == 0)
            np.testing.assert_array_equal(rows.toarray(), counts[~mask])
            fit = fit_blocks(PoissonNMF(3, random_state=0), blocks, show_progressbar=False)
            expected = fit.loadings if expected is None else expected
            np.testing.assert_allclose(fit.loadings, expected, rtol=1e-5)

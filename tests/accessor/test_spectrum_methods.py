# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Decompositions of spectrum images through the accessor: neighbours, numbers, messages."""

import dataclasses
import inspect
import re
import warnings

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from emsparse_hs import plotting
from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import PoissonNMF, SparseNMF, misfit, select_n_components
from emsparse_hs.plotting import plot_n_components
from emsparse_hs.residuals import find_residuals

SCAN, CHANNELS = (24, 30), 128


@pytest.fixture(scope="module")
def truth():
    return simulate_spectra(SCAN, CHANNELS, 100, seed=1000)


def signal_of(truth, chunks=None, signal_type=""):
    s = hs.signals.Signal1D(truth.counts)
    s.set_signal_type(signal_type)
    axis = s.axes_manager[-1]
    axis.scale, axis.offset, axis.units = truth.energy_scale, truth.energy_offset, "keV"
    if chunks:
        s = s.as_lazy()
        s.rechunk(nav_chunks=chunks[:2], sig_chunks=chunks[2:])
    return s


CHUNKS = [None, (7, 11, -1), (24, 30, 50)]


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("masked", [False, True])
def test_pixels_are_told_where_they_are(truth, chunks, masked):
    s = signal_of(truth, chunks)
    keep = np.ones(SCAN, bool)
    if masked:
        keep[5:9, :20] = False
    s.emsparse.decomposition(output_dimension=4, navigation_mask=(~keep).T, random_state=0)
    model = PoissonNMF(4, random_state=0)
    expected = model.fit_transform(truth.counts[keep], scan=keep)
    assert model.spatial_ > 0
    np.testing.assert_array_equal(s.learning_results.factors.T, model.components_)
    loadings = s.learning_results.loadings.reshape(*SCAN, 4)
    np.testing.assert_array_equal(loadings[keep], expected)
    assert (np.diff(loadings[keep].sum(0)) < 0).all()
    assert np.isnan(loadings[~keep]).all()


def test_numbers_of_components_start_at_those_known(truth):
    s = signal_of(truth).isig[:6]
    found = s.emsparse.select_n_components(known_components=truth.spectra[:2, :6], random_state=0)
    np.testing.assert_array_equal(found.candidates, range(2, found.candidates[-1] + 1))
    assert 2 < found.candidates[-1] <= 6


@pytest.mark.parametrize("chunks", CHUNKS)
def test_number_of_components(truth, chunks):
    s = signal_of(truth, chunks)
    found = s.emsparse.select_n_components(range(2, 6), random_state=0)
    rows = truth.counts.reshape(-1, CHANNELS)
    expected = select_n_components(rows, range(2, 6), scan=SCAN, random_state=0)
    np.testing.assert_array_equal(found.gains, expected.gains)
    assert found.n_components == expected.n_components
    assert s.learning_results.loadings is None


def test_automatic_output_dimension(truth):
    s = signal_of(truth)
    model = s.emsparse.decomposition(output_dimension="auto", random_state=0, return_info=True)
    assert s.learning_results.output_dimension == model.selection_.n_components
    assert s.learning_results.factors.shape[1] == model.selection_.n_components


def test_known_components_have_all_channels(truth):
    s = signal_of(truth)
    channels = np.arange(CHANNELS) < 9
    known = truth.spectra[[2]]
    found = []
    for form in (known, hs.signals.Signal1D(known), known[0]):
        s.emsparse.decomposition(
            output_dimension=3, signal_mask=channels, known_components=form, random_state=0
        )
        found.append(s.learning_results.factors)
    expected = known[0, ~channels] / known[0, ~channels].sum()
    np.testing.assert_allclose(found[0][~channels, 0], expected, rtol=1e-4, atol=1e-9)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    with pytest.raises(ValueError, match=f"all {CHANNELS} channels"):
        s.emsparse.decomposition(output_dimension=3, known_components=known[:, :90])


@pytest.mark.parametrize("algorithm", [PoissonNMF, SparseNMF])
def test_starts_have_all_channels(truth, algorithm):
    s = signal_of(truth)
    channels, pixels = np.arange(CHANNELS) < 9, np.zeros(SCAN, bool)
    pixels[4:9] = True
    masks = dict(signal_mask=channels, navigation_mask=pixels.T)
    spectra = truth.spectra[:3].copy()
    expected = algorithm(3, init=spectra[:, ~channels], random_state=0)
    expected.fit_transform(
        truth.counts[~pixels][:, ~channels],
        **({"scan": ~pixels} if algorithm is PoissonNMF else {}),
    )
    spectra[:, channels] = np.nan
    for init in (spectra, hs.signals.Signal1D(spectra)):
        estimator = algorithm(3, init=init, random_state=0)
        for call in (dict(algorithm=estimator), dict(algorithm=algorithm.__name__, init=init)):
            options = {} if "init" not in call else dict(output_dimension=3, random_state=0)
            s.emsparse.decomposition(**call, **options, **masks)
            found = s.learning_results.factors[~channels].T
            np.testing.assert_allclose(found, expected.components_, rtol=1e-5, atol=1e-9)
        assert estimator.init is init
    with pytest.raises(ValueError, match=f"init has .* all {CHANNELS} channels"):
        s.emsparse.decomposition(algorithm(3, init=spectra[:, 9:]), **masks)


def test_pairs_of_starts_and_known_spectra_of_an_estimator(truth):
    s = signal_of(truth)
    pixels, spectra = np.zeros(SCAN, bool), truth.spectra
    pixels[4:9] = True
    masks = dict(signal_mask=np.arange(CHANNELS) < 9, navigation_mask=pixels.T)
    maps = truth.abundances.reshape(-1, 4)
    signals = (
        hs.signals.Signal2D(truth.abundances.transpose(2, 0, 1)),
        hs.signals.Signal1D(spectra),
    )
    found = []
    for init in ((maps, spectra), signals):
        s.emsparse.decomposition(PoissonNMF(4, init=init, prior=None, max_iter=2), **masks)
        found.append(s.learning_results.factors)
    np.testing.assert_array_equal(*found)
    with pytest.raises(ValueError, match=f"init has .* all {maps.shape[0]} pixels"):
        s.emsparse.decomposition(PoissonNMF(4, init=(maps[1:], spectra)), **masks)
    s.emsparse.decomposition(PoissonNMF(4, known_components=spectra[:2], random_state=0), **masks)
    known = spectra[:2, 9:] / spectra[:2, 9:].sum(1, keepdims=True)
    np.testing.assert_allclose(s.learning_results.factors[9:, :2].T, known, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_components_add_up_to_the_data(truth, chunks):
    s = signal_of(truth, chunks)
    s.metadata.General.title = "map"
    s.metadata.set_item("Sample.elements", ["Al", "Fe"])
    s.emsparse.decomposition(output_dimension=3, random_state=0)
    spectra = s.emsparse.component_spectra()
    assert spectra.data.shape == (3, CHANNELS)
    # They are so few that they are never lazy.
    assert isinstance(spectra.data, np.ndarray) and not spectra._lazy
    np.testing.assert_allclose(spectra.data.sum(), truth.counts.sum(), rtol=1e-5)
    assert spectra.metadata.Sample.elements == ["Al", "Fe"]
    spectra.metadata.Sample.elements.append("Ni")
    assert s.metadata.Sample.elements == ["Al", "Fe"]
    assert spectra.axes_manager[-1].scale == s.axes_manager[-1].scale
    assert spectra.metadata.General.title == "Components of map"


def test_masked_channels_are_zero(truth):
    s = signal_of(truth)
    channels = np.arange(CHANNELS) < 9
    mask = np.zeros(SCAN, bool)
    mask[3] = True
    s.emsparse.decomposition(
        output_dimension=2, signal_mask=channels, navigation_mask=mask.T, random_state=0
    )
    spectra = s.emsparse.component_spectra().data
    assert (spectra[:, channels] == 0).all()
    np.testing.assert_allclose(spectra.sum(), truth.counts[~mask][:, ~channels].sum(), rtol=1e-5)


def test_what_is_missing_is_said(truth):
    s = signal_of(truth)
    with pytest.raises(ValueError, match="has no decomposition"):
        s.emsparse.component_spectra()
    s.emsparse.decomposition(output_dimension=2, random_state=0)
    with pytest.raises(ValueError, match="no EDS map"):
        s.emsparse.quantify_components([1.0])
    with pytest.raises(TypeError, match="given as candidates"):
        s.emsparse.select_n_components(n_components=3)
    with pytest.raises(ValueError, match="'auto' to have the number chosen"):
        s.emsparse.decomposition()
    for algorithm in ("PoissonNMF", "SparseNMF"):
        for number in ("Auto", 2.0, [1, 2], True):
            message = rf"output_dimension={re.escape(repr(number))} .*'auto' in small letters"
            with pytest.raises(ValueError, match=message):
                s.emsparse.decomposition(algorithm, output_dimension=number)
    with pytest.raises(ValueError, match=r"candidates=4, and several .* range\(1, 9\)"):
        s.emsparse.select_n_components(4)
    s.change_dtype("float32")
    s.data *= 0.7
    with pytest.raises(ValueError, match="whole numbers"):
        s.emsparse.select_n_components()


@pytest.mark.parametrize("lazy", [False, True])
def test_scaled_data_are_told_once_and_so_is_their_factor(truth, lazy):
    s = signal_of(truth, (7, 11, -1) if lazy else None)
    s.change_dtype("float32")
    options = dict(output_dimension=2, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        s.emsparse.decomposition(**options)
        assert not [w for w in caught if "whole numbers" in str(w.message)]
        s.data = s.data * 0.7
        s.emsparse.decomposition(**options)
    said = [str(w.message) for w in caught if "whole numbers" in str(w.message)]
    assert len(said) == 1 and "whole numbers times 0.7" in said[0]
    with pytest.raises(ValueError, match="times 0.7"):
        s.emsparse.select_n_components([1, 2])
    with pytest.raises(ValueError, match="times 0.7"):
        s.emsparse.decomposition(output_dimension="auto")
    # What is said to be done helps.
    s.data = (s.data / 0.7).round()
    s.emsparse.select_n_components([1], random_state=0)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("algorithm", ["PoissonNMF", "SparseNMF", "WeightedGramPCA"])
@pytest.mark.parametrize("mean", [0.5, 30])
def test_data_without_their_background_are_refused_with_advice(lazy, algorithm, mean):
    counts = np.random.default_rng(0).poisson(mean, (12, 10, 20)).astype(float)
    s = hs.signals.Signal1D(counts - np.where(counts, mean / 2, 0))
    s.data[0, 0, 0] = -1
    s = s.as_lazy() if lazy else s
    with pytest.raises(ValueError, match="Add back what was subtracted.*SparseNMF"):
        s.emsparse.decomposition(algorithm, output_dimension=2)
    s.emsparse.decomposition("WeightedGramPCA", output_dimension=2, scaling=None)


@pytest.mark.parametrize("name", ["plot_components", "plot_residuals"])
def test_methods_have_the_arguments_of_the_functions(truth, name):
    method, function = getattr(signal_of(truth).emsparse, name), getattr(plotting, name)
    ours, theirs = (inspect.signature(one).parameters for one in (method, function))
    assert {k: v.default for k, v in ours.items()} == {
        k: v.default for k, v in theirs.items() if k != "signal"
    }


def test_figure_of_the_evidence(truth):
    found = select_n_components(
        truth.counts.reshape(-1, CHANNELS), range(1, 5), scan=SCAN, random_state=0
    )
    figure = plot_n_components(found)
    whole, near = figure.axes
    assert whole.get_title("left") == f"{found.n_components} components"
    one = dataclasses.replace(found, n_components=1)
    assert plot_n_components(one).axes[0].get_title("left") == "1 component"
    assert repr(one).startswith("1 component,")
    assert "-0.0000" not in repr(dataclasses.replace(found, gains=-1e-9 * found.gains))
    np.testing.assert_allclose(whole.lines[0].get_ydata(), found.gains)
    np.testing.assert_allclose(near.lines[0].get_ydata(), found.gains.max() - found.gains)
    assert near.yaxis_inverted()
    plt.close("all")


def with_zero_peak(units="keV"):
    """An EDS map with a peak at zero energy in which counts are the same everywhere."""
    random = np.random.default_rng(0)
    counts = random.poisson(0.5, (12, 10, 80)).astype(np.uint16)
    counts[..., 8:13] += 30
    s = hs.signals.Signal1D(counts)
    s.set_signal_type("EDS_TEM")
    axis = s.axes_manager.signal_axes[0]
    factor = {"keV": 1, "eV": 1000}[units]
    axis.units, axis.scale, axis.offset = units, 0.02 * factor, -0.2 * factor
    return s


@pytest.mark.parametrize("units", ["keV", "eV"])
def test_zero_peak_is_left_out_and_that_is_said(units, caplog):
    s = with_zero_peak(units)
    below = s.axes_manager.signal_axes[0].axis < 0.12 * (1 if units == "keV" else 1000)
    s.emsparse.decomposition(output_dimension=2, random_state=0)
    assert "16 channels below 0.12 keV are left out" in caplog.text
    assert (s.learning_results.factors[below] == 0).all()
    s.blind_source_separation(2, print_info=False)
    assert np.isfinite(s.get_decomposition_model().data).all()
    # Nor does merging bring NaN.
    assert s.emsparse.merge_components(random_state=0) == [(0, 1)]
    assert (s.learning_results.factors[below] == 0).all()
    # The zero peak does not count as unexplained.
    assert s.emsparse.misfit().data.max() < 10
    total = s.data[..., ~below].sum()
    assert np.sum(s.learning_results.loadings) == pytest.approx(total, rel=1e-3)
    s.emsparse.cluster_analysis("directions", n_clusters=2, random_state=0)
    assert np.isnan(s.learning_results.cluster_sum_signals[:, below]).all()
    s.emsparse.select_n_components([1], random_state=0)
    # Once for a signal.
    assert caplog.text.count("are left out") == 1


def test_a_signal_that_was_cropped_is_to_be_decomposed_again(truth):
    s = signal_of(truth)
    s.emsparse.decomposition(output_dimension=2, random_state=0)
    s.crop(0, 0, 3)
    for method in ("misfit", "plot_components", "component_spectra"):
        with pytest.raises(ValueError, match="Decompose it again"):
            getattr(s.emsparse, method)()


def test_zero_peak_stays_where_a_mask_says_so_or_there_is_none(caplog):
    s = with_zero_peak()
    s.emsparse.decomposition(output_dimension=1, signal_mask=np.zeros(80, bool))
    assert np.isfinite(s.learning_results.factors).all()
    for offset in (1.0, 0.01):
        s.axes_manager.signal_axes[0].offset = offset
        s.emsparse.decomposition(output_dimension=1)
        assert (s.learning_results.factors > 0).all()
    generic = hs.signals.Signal1D(with_zero_peak().data)
    generic.emsparse.decomposition(output_dimension=1)
    assert np.isfinite(generic.learning_results.factors).all()
    assert "left out" not in caplog.text


@pytest.mark.parametrize("lazy", [False, True])
def test_posterior_is_that_of_the_estimator(truth, lazy):
    s = signal_of(truth)
    s = s.as_lazy() if lazy else s
    mask = np.zeros(SCAN, bool)
    mask[2] = True
    options = dict(output_dimension=3, navigation_mask=mask.T, random_state=0)
    model = s.emsparse.decomposition(**options, return_info=True)
    found = s.emsparse.posterior()
    expected = model.posterior(truth.counts[~mask], scan=~mask)
    for signal, values in zip(found, expected, strict=True):
        assert signal.axes_manager.navigation_shape == (3,)
        assert [a.scale for a in signal.axes_manager.signal_axes] == [
            a.scale for a in s.axes_manager.navigation_axes
        ]
        assert np.isnan(signal.data[:, mask]).all()
        np.testing.assert_allclose(signal.data[:, ~mask].T, values, rtol=1e-4, atol=1e-3)
    loadings = s.get_decomposition_loadings().data
    np.testing.assert_allclose(found.abundances.data, loadings, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("stored", ["", "eager", "lazy"])
def test_posterior_has_the_loadings(truth, stored, tmp_path):
    s = signal_of(truth)
    s.emsparse.decomposition(output_dimension=3, alpha=0.2, random_state=0)
    loadings, excess = s.get_decomposition_loadings().data, s.emsparse.misfit().data
    if stored:
        s.save(tmp_path / "s.hspy")
        s = hs.load(tmp_path / "s.hspy", lazy=stored == "lazy")
        # Of a lazy one the results are lazy, too.
        np.testing.assert_array_equal(s.emsparse.misfit().data, excess)
        assert s.emsparse.component_spectra().data.sum() == pytest.approx(truth.counts.sum())
    np.testing.assert_allclose(s.emsparse.posterior().abundances.data, loadings, rtol=1e-3)
    for other in (dict(alpha=0.02), dict(spatial=0)):
        assert np.abs(s.emsparse.posterior(**other).abundances.data - loadings).max() > 0.1
    # Of another decomposition nothing is known.
    if s._lazy:
        s.compute(show_progressbar=False)
    s.change_dtype("float64")
    s.decomposition(algorithm="NMF", output_dimension=3, print_info=False)
    found = s.emsparse.posterior(random_state=0).abundances.data
    used = s.emsparse.posterior(alpha=0.02, spatial="auto", random_state=0).abundances.data
    np.testing.assert_array_equal(found, used)
    s.emsparse.decomposition("SparseNMF", 3, random_state=0)
    assert s.learning_results.emsparse_alpha is s.learning_results.emsparse_spatial is None


@pytest.mark.parametrize(
    ("shape", "n_components"),
    [((1,), 1), ((1, 1), 1), ((7, 1), 1), ((1, 7), 1), ((7, 1), 2), ((1, 7), 2)],
)
def test_posterior_of_a_few_pixels(shape, n_components):
    s = hs.signals.Signal1D(np.random.default_rng(0).poisson(3.0, (*shape, 40)))
    known = np.random.default_rng(1).gamma(1.0, 1.0, (n_components, 40))
    s.learning_results.factors = known.T
    s.learning_results.loadings = np.ones((np.prod(shape), n_components))
    found = s.emsparse.posterior(spatial=0)
    wanted = shape if n_components == 1 else (2, *shape)
    assert found.abundances.data.shape == found.widths.data.shape == wanted
    np.testing.assert_allclose(found.abundances.data.sum(), s.data.sum(), rtol=1e-4)


def test_a_line_that_no_component_has_is_a_residual():
    """Known spectra without a line, and a particle that has it."""
    known = np.ones((1, 60))
    known[0, 50] = 0
    s = hs.signals.Signal1D(np.random.default_rng(0).poisson(2 * known * np.ones((20, 20, 1))))
    s.data[8:11, 8:11, 50] = 40
    s.emsparse.decomposition(output_dimension=1, known_components=known)
    found = find_residuals(s, 1, 1.5, show_progressbar=False)
    assert found.excess.max() > 100 and found.counted[0, 50] == 360
    rows, results = s.data.reshape(400, 60), s.learning_results
    expected = misfit(rows, results.factors.T, results.loadings, scan=(20, 20))
    np.testing.assert_array_equal(s.emsparse.misfit().data.ravel(), expected)
    assert s.emsparse.merge_components(random_state=0) == [(0,)]
    widths = s.emsparse.posterior().widths.data
    assert np.isfinite(widths).all()
    assert widths.dtype == s.emsparse.misfit().data.dtype == expected.dtype == np.float32


def test_posterior_of_spectra_that_something_else_found(truth):
    s = signal_of(truth)
    s.change_dtype("float64")
    s.decomposition(algorithm="NMF", output_dimension=3, print_info=False)
    found = s.emsparse.posterior(random_state=0)
    np.testing.assert_allclose(found.abundances.data.sum(0), s.data.sum(-1), rtol=1e-3)
    assert (found.widths.data > 0).all()
    s.decomposition(output_dimension=3, print_info=False)
    with pytest.raises(ValueError, match="decomposition has negative spectra"):
        s.emsparse.posterior()


@pytest.mark.parametrize("shown", [True, False])
def test_the_search_for_a_number_shows_its_progress(truth, capsys, shown):
    signal_of(truth).emsparse.select_n_components([1, 2], random_state=0, show_progressbar=shown)
    printed = capsys.readouterr()
    assert ("n_components" in printed.err + printed.out) is shown
    assert ("2/2" in printed.err + printed.out) is shown


def test_known_spectra_are_of_the_channels_of_the_data(truth):
    s = signal_of(truth)
    s.emsparse.decomposition(output_dimension=2, random_state=0)
    known = s.get_decomposition_factors().inav[:1]
    axis = known.axes_manager[-1]
    # What files round is no other axis.
    axis.offset += 0.01 * axis.scale
    s.emsparse.decomposition(output_dimension=2, known_components=known, random_state=0)
    s.emsparse.decomposition(output_dimension=2, known_components=hs.signals.Signal1D(known.data))
    for name, value in {
        "offset": axis.offset + 0.3,
        "scale": 2 * axis.scale,
        "units": "eV",
    }.items():
        other = known.deepcopy()
        setattr(other.axes_manager[-1], name, value)
        message = "known_components are on another axis: from .*, and data from .* keV"
        with pytest.raises(ValueError, match=message):
            s.emsparse.decomposition(output_dimension=2, known_components=other)
        with pytest.raises(ValueError, match=message):
            s.emsparse.select_n_components([2], known_components=other)


def test_arguments_that_are_not_there_are_told_with_those_that_are(truth):
    s = signal_of(truth)
    with pytest.raises(
        TypeError, match="has no known_component; it takes prior, .*known_components"
    ):
        s.emsparse.decomposition(output_dimension=2, known_component=truth.spectra)
    with pytest.raises(TypeError, match="PoissonNMF has no known_component; it takes"):
        s.emsparse.select_n_components(known_component=truth.spectra)
    with pytest.raises(TypeError, match="given as output_dimension here"):
        s.emsparse.decomposition("PoissonNMF", n_components=3)
    with pytest.raises(ValueError, match="SparseNMF can't .* output_dimension=6, ard=True"):
        s.emsparse.decomposition("SparseNMF", output_dimension="auto")
    with pytest.raises(ValueError, match="WeightedGramPCA can't .*select_n_components"):
        s.emsparse.decomposition("WeightedGramPCA", output_dimension="auto")


@pytest.mark.parametrize("algorithm", ["PoissonNMF", "SparseNMF", "WeightedGramPCA", "directions"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("lazy", [False, True])
def test_what_is_no_number_is_told_alike(truth, algorithm, value, lazy):
    s = signal_of(truth)
    s.change_dtype("float32")
    # In dense data and in sparse ones.
    for background in (0, 1):
        s.data += background
        s.data[3, 5, 7] = value
        one = s.as_lazy() if lazy else s
        with pytest.raises(ValueError, match="NaN or infinity in data: 1 counts are .*with a mask"):
            if algorithm == "directions":
                one.emsparse.cluster_analysis("directions", n_clusters=2)
            else:
                one.emsparse.decomposition(algorithm, output_dimension=2)


def test_data_that_are_all_zero_are_told_so(truth):
    s = signal_of(truth)
    s.data = 0 * s.data
    for call, arguments in (
        ("decomposition", dict(output_dimension=2)),
        ("decomposition", dict(output_dimension="auto")),
        ("select_n_components", {}),
        ("cluster_analysis", dict(cluster_source="directions", n_clusters=2)),
    ):
        with pytest.raises(ValueError, match="All values of the data are zero"):
            getattr(s.emsparse, call)(**arguments)


def test_what_can_be_clustered_is_said(truth):
    s = signal_of(truth)
    for source in ("direction", 3):
        message = f"cluster_source={source!r} is not known. Use 'directions'"
        with pytest.raises(ValueError, match=message):
            s.emsparse.cluster_analysis(source, n_clusters=2)
    with pytest.raises(ValueError, match="n_clusters=5000, and there are 720 samples only"):
        s.emsparse.cluster_analysis("directions", n_clusters=5000)
    with pytest.raises(ValueError, match="n_clusters='3', and a whole number"):
        s.emsparse.cluster_analysis("directions", n_clusters="3")


def test_masks_of_whole_numbers_are_0_and_1(truth):
    s = signal_of(truth)
    counts = s.sum("sig")
    with pytest.raises(TypeError, match="navigation mask is of dtype uint.* not just 0 and 1"):
        s.emsparse.decomposition(output_dimension=2, navigation_mask=counts)
    low = counts < 90
    maps = []
    for mask in (low, hs.signals.BaseSignal(low.data.astype(np.uint8)).T):
        s.emsparse.decomposition(output_dimension=2, navigation_mask=mask, random_state=0)
        maps.append(s.learning_results.loadings)
    np.testing.assert_array_equal(*maps)

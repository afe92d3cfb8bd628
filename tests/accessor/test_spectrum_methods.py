# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Decompositions of spectrum images through the accessor: neighbours, numbers, compositions."""

import copy
import dataclasses
import re
import warnings

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import PoissonNMF, select_n_components
from emsparse_hs.plotting import plot_n_components

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


def test_composition_of_components():
    pytest.importorskip("exspy")
    truth = simulate_spectra(SCAN, 512, 400, seed=1000)
    s = signal_of(truth, signal_type="EDS_TEM")
    s.set_microscope_parameters(beam_energy=200)
    lines = ["Al_Ka", "Fe_Ka", "Ni_Ka", "Ti_Ka"]
    s.add_lines(lines)
    s.emsparse.decomposition(output_dimension=4, random_state=0)
    found = s.emsparse.quantify_components([1.0] * 4)
    # The same tools on the true spectra.
    true = s.emsparse.component_spectra()
    true.data = 1e5 * truth.spectra
    intensities = true.get_lines_intensity(
        lines, background_windows=true.estimate_background_windows([2, 2], xray_lines=lines)
    )
    expected = true.quantification(
        intensities, "CL", [1.0] * 4, navigation_mask=None, show_progressbar=False
    )
    unit = [
        a / np.linalg.norm(a, axis=1, keepdims=True)
        for a in (truth.spectra, np.nan_to_num(s.learning_results.factors.T))
    ]
    order = (unit[0] @ unit[1].T).argmax(1)
    # Platinum has none of these elements.
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours.data[order][:3], theirs.data[:3], atol=5)
    # Factors go with their lines.
    backwards = s.emsparse.quantify_components([4.0, 3.0, 2.0, 1.0], lines[::-1])
    forwards = s.emsparse.quantify_components([1.0, 2.0, 3.0, 4.0], lines)
    for one, other in zip(backwards[::-1], forwards, strict=True):
        np.testing.assert_allclose(one.data, other.data)
    nickel_iron = {s.metadata.Sample.elements[0]: s.data[order][2] for s in found}
    assert nickel_iron["Fe"] + nickel_iron["Ni"] > 95
    with pytest.raises(ValueError, match="Al_Ka.*smaller line_width"):
        s.emsparse.quantify_components([1.0] * 4, line_width=(30, 2))


@pytest.mark.parametrize("level", [0.2, -0.2])
def test_less_than_nothing_of_an_element_is_said(level):
    pytest.importorskip("exspy")
    s = hs.signals.Signal1D(np.ones((2, 400), np.float32))
    s.axes_manager[-1].scale, s.axes_manager[-1].units, s.axes_manager[-1].name = 0.02, "keV", "E"
    s.set_signal_type("EDS_TEM")
    s.set_microscope_parameters(beam_energy=200, energy_resolution_MnKa=130)
    lines = ["Al_Ka", "Fe_Ka", "Ni_Ka"]
    s.add_lines(lines)
    energies = s.axes_manager[-1].axis
    near = {"Al_Ka": np.abs(energies - 1.487) < 0.08, "Fe_Ka": np.abs(energies - 6.404) < 0.08}
    near["Ni_Ka"] = np.abs(energies - 7.478) < 0.08
    s.data[:, near["Fe_Ka"] | near["Ni_Ka"]] += 1
    # A line, or a dip, of aluminium in the second component alone.
    s.data[1, near["Al_Ka"]] += level
    s.learning_results.factors, s.learning_results.loadings = s.data.T.copy(), np.eye(2)
    s.learning_results.output_dimension = 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        aluminium, *_ = s.emsparse.quantify_components([1.0] * 3)
    said = [str(w.message) for w in caught if "below the background" in str(w.message)]
    assert (aluminium.data[1] < 0) == (level < 0) == bool(said)
    assert all("Al_Ka in component 1" in text and "Fe_Ka" not in text for text in said)
    assert all(w.filename == __file__ for w in caught if str(w.message) in said)


FACTORS = {"Al_Ka": 1.0, "Fe_Ka": 1.5, "Ni_Ka": 2.0}


def stripes(lazy=False, n_stripes=2):
    """Rows of Al and Fe beside rows of Fe and Ni, each row a component that is alone there."""
    random = np.random.default_rng(1)
    energies = 0.02 * np.arange(400)
    peak = {
        line: np.exp(-0.5 * ((energies - energy) / 0.04) ** 2)
        for line, energy in {"Al_Ka": 1.487, "Fe_Ka": 6.404, "Ni_Ka": 7.478}.items()
    }
    means = np.stack([peak["Al_Ka"] + peak["Fe_Ka"], peak["Fe_Ka"] + 2 * peak["Ni_Ka"]]) + 0.1
    counts = random.poisson(30 * means[np.arange(n_stripes) % 2][:, None] * np.ones((1, 5, 1)))
    s = hs.signals.Signal1D(counts.astype(np.uint16))
    s.axes_manager[-1].scale, s.axes_manager[-1].units, s.axes_manager[-1].name = 0.02, "keV", "E"
    s = s.as_lazy() if lazy else s
    s.set_signal_type("EDS_TEM")
    s.set_microscope_parameters(beam_energy=200, energy_resolution_MnKa=130)
    sums = counts.sum(1).astype(float)
    loadings = np.eye(n_stripes)[:, None] * counts.sum(-1)[..., None]
    s.learning_results.factors = (sums / sums.sum(1, keepdims=True)).T
    s.learning_results.loadings = loadings.reshape(-1, n_stripes).astype(float)
    s.learning_results.output_dimension = n_stripes
    return s


@pytest.mark.filterwarnings("ignore:Lines are below")
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("units", ["atomic", "weight"])
def test_errors_of_compositions_are_their_scatter(lazy, units):
    pytest.importorskip("exspy")
    s = stripes(lazy, 300)
    found = s.emsparse.quantify_components(FACTORS, composition_units=units)
    for same in (slice(0, None, 2), slice(1, None, 2)):
        scatter, errors = found.compositions[same].std(0), found.errors[same].mean(0)
        # A standard deviation of 150 is known to 6 %.
        np.testing.assert_allclose(errors, scatter, rtol=0.2)


def test_compositions_are_a_list_and_a_table():
    pytest.importorskip("exspy")
    found = stripes().emsparse.quantify_components(FACTORS)
    assert isinstance(found, list)
    assert found.elements == [s.metadata.Sample.elements[0] for s in found] == ["Al", "Fe", "Ni"]
    assert found.lines == list(FACTORS)
    np.testing.assert_array_equal(found.compositions[:, 1], found[1].data)
    title, header, first, second = repr(found).splitlines()
    assert title == "Atomic percent"
    assert header.split() == ["Component", *FACTORS]
    assert f"{found.compositions[0, 0]:.2f} ± {found.errors[0, 0]:.2f}" in first
    assert len(header) == len(first) == len(second)
    assert found._repr_html_().count("<td") == 6
    assert repr(copy.deepcopy(found)) == repr(found)
    found.errors[1, 2] = 12345.6
    assert repr(found).splitlines()[3].endswith(f"  {found.compositions[1, 2]:.0f} ± >100")


def test_absorption_is_in_the_errors_too():
    pytest.importorskip("exspy")
    s = stripes()
    s.set_microscope_parameters(tilt_stage=0, azimuth_angle=0, elevation_angle=20)
    lines = ["Al_Ka", "Fe_Ka"]
    plain = s.emsparse.quantify_components(FACTORS, lines)
    thick = dict(absorption_correction=True, thickness=2000.0)
    found, mass_thickness = s.emsparse.quantify_components(FACTORS, lines, **thick)
    assert mass_thickness.data.shape == (2,)
    share, before = found.compositions[0] / 100, plain.compositions[0] / 100
    assert share[0] > before[0] + 0.05
    # The error of the ratio of two lines stays what it is.
    expected = plain.errors[0] * share * (1 - share) / (before * (1 - before))
    np.testing.assert_allclose(found.errors[0], expected, rtol=0.01)


def test_errors_are_not_known_where_loadings_are_negative():
    pytest.importorskip("exspy")
    s = stripes()
    s.learning_results.loadings[0, 1] = -1
    assert np.isnan(s.emsparse.quantify_components(FACTORS).errors).all()


def test_factors_by_line_or_in_order():
    pytest.importorskip("exspy")
    s = stripes()
    expected = s.emsparse.quantify_components([1.0, 1.5, 2.0], list(FACTORS)).compositions
    found = s.emsparse.quantify_components({"Ni_Ka": 2.0, "Al_Ka": 1.0, "Fe_Ka": 1.5})
    assert found.lines == ["Ni_Ka", "Al_Ka", "Fe_Ka"]
    np.testing.assert_allclose(found.compositions[:, [1, 2, 0]], expected)
    some = s.emsparse.quantify_components(FACTORS, ["Al_Ka", "Fe_Ka"])
    assert some.lines == ["Al_Ka", "Fe_Ka"]


def test_lines_are_left_out():
    pytest.importorskip("exspy")
    s = stripes()
    s.set_elements(["Al", "Fe", "Ni"])
    whole = s.emsparse.quantify_components(FACTORS)
    for form in ("Fe_Ka", ["Fe_Ka"]):
        less = s.emsparse.quantify_components([1.0, 1.5, 2.0], without_lines=form)
        assert less.lines == ["Al_Ka", "Ni_Ka"]
        rest = whole.compositions[0, [0, 2]]
        np.testing.assert_allclose(less.compositions[0], 100 * rest / rest.sum())
        np.testing.assert_allclose(less.compositions.sum(1), 100)
    one = s.emsparse.quantify_components(FACTORS, without_lines={1: ["Al_Ka"]})
    np.testing.assert_array_equal(one.compositions[0], whole.compositions[0])
    np.testing.assert_array_equal(one.errors[0], whole.errors[0])
    assert np.isnan([one.compositions[1, 0], one.errors[1, 0]]).all()
    assert "–" in repr(one).splitlines()[3] and "–" not in repr(one).splitlines()[2]
    rest = whole.compositions[1, 1:]
    np.testing.assert_allclose(one.compositions[1, 1:], 100 * rest / rest.sum())
    # Of two that add up to 100 % the errors are the same.
    np.testing.assert_allclose(one.errors[1, 1], one.errors[1, 2])


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["Al_Ka", "Fe_Ka", "Al_Ka"], {}, "'Al_Ka' is in xray_lines 2 times"),
        (["Al_Ka", "Fe"], {}, "'Fe' is no X-ray line of Fe, which has .*Fe_Ka"),
        (["Al_Ka", "Fe_Kz"], {}, "'Fe_Kz' is no X-ray line of Fe, which has .*Fe_Ka"),
        (["Al_Ka", "Xx_Ka"], {}, "'Xx_Ka' is no X-ray line. .*'Fe_Ka'"),
        (["Al_Ka", "Fe_Ka", "Fe_La"], {}, "Fe would count 2 times, with Fe_Ka, Fe_La"),
        (["Al_Ka", "Cu_Ka"], {}, "Cu_Ka can't be seen: the axis goes from 0 to 7.98 keV"),
        (["Al_Ka", "Si_Ka"], {}, "no factors for Si_Ka"),
        (None, {"factors": [1.0, 2.0]}, "2 factors for the 3 lines.*{'Al_Ka': 1.0}"),
        (["Fe_Ka"], {}, "there is Fe_Ka. Pass two or more"),
        ([], {}, "there is no line. Pass two or more"),
        (None, {"factors": 1.0}, r"factors=1.0, and one for each of the lines \['Al_Ka'"),
        (None, {"composition_units": "percent"}, "'percent' is not known. Use 'atomic' or"),
        (None, {"factors": [1.0, 2.0, np.nan]}, "factor of Ni_Ka is nan"),
        (None, {"factors": [1.0, None, 2.0]}, "factor of Fe_Ka is nan"),
        (None, {"factors": [0.0, 1.0, 2.0]}, "factor of Al_Ka is 0"),
        (None, {"without_lines": ["Cu_Ka"]}, r"\['Cu_Ka'\] of component 0"),
        (None, {"without_lines": {2: ["Fe_Ka"]}}, "component 2, and there are components 0 to 1"),
        (None, {"without_lines": {1: list(FACTORS)}}, "leaves nothing of component 1"),
    ],
)
@pytest.mark.parametrize("lazy", [False, True])
def test_says_what_is_wrong_with_lines_and_factors(lines, options, message, lazy):
    pytest.importorskip("exspy")
    s = stripes(lazy)
    s.set_elements(["Al", "Fe", "Ni"])
    options = {"factors": FACTORS, **options}
    with pytest.raises(ValueError, match=message):
        s.emsparse.quantify_components(xray_lines=lines, **options)


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
    assert caplog.text.count("are left out") == 2
    s.emsparse.select_n_components([1], random_state=0)
    assert caplog.text.count("are left out") == 3


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
    found = s.emsparse.posterior(spatial=model.spatial_)
    expected = model.posterior(truth.counts[~mask], scan=~mask)
    for signal, values in zip(found, expected, strict=True):
        assert signal.axes_manager.navigation_shape == (3,)
        assert [a.scale for a in signal.axes_manager.signal_axes] == [
            a.scale for a in s.axes_manager.navigation_axes
        ]
        assert np.isnan(signal.data[:, mask]).all()
        np.testing.assert_allclose(signal.data[:, ~mask].T, values, rtol=1e-4, atol=1e-3)
    loadings = s.get_decomposition_loadings().data
    np.testing.assert_allclose(found.abundances.data, loadings, rtol=1e-2, atol=0.1)


def test_posterior_of_spectra_that_something_else_found(truth):
    s = signal_of(truth)
    s.change_dtype("float64")
    s.decomposition(algorithm="NMF", output_dimension=3, print_info=False)
    found = s.emsparse.posterior(random_state=0)
    np.testing.assert_allclose(found.abundances.data.sum(0), s.data.sum(-1), rtol=1e-3)
    assert (found.widths.data > 0).all()
    s.decomposition(output_dimension=3, print_info=False)
    with pytest.raises(ValueError, match="negative"):
        s.emsparse.posterior()


def test_factors_are_as_many_as_lines_on_the_axis(truth):
    pytest.importorskip("exspy")
    s = signal_of(truth, signal_type="EDS_TEM")
    s.set_microscope_parameters(beam_energy=200)
    s.add_lines(["Al_Ka", "Fe_Ka"])
    s.emsparse.decomposition(output_dimension=2, random_state=0)
    with pytest.raises(ValueError, match=r"3 factors for the 2 lines \['Al_Ka', 'Fe_Ka'\]"):
        s.emsparse.quantify_components([1.0] * 3)


@pytest.mark.parametrize("shown", [True, False])
def test_the_search_for_a_number_shows_its_progress(truth, capsys, shown):
    signal_of(truth).emsparse.select_n_components([1, 2], random_state=0, show_progressbar=shown)
    printed = capsys.readouterr()
    assert ("n_components" in printed.err + printed.out) is shown
    assert ("2/2" in printed.err + printed.out) is shown

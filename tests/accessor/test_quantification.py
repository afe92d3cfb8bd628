# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compositions of components: exSpy's of the true spectra, errors, and lines that don't fit."""

import copy
import warnings

import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs.accessor import _quantification
from emsparse_hs.data import simulated_spectrum_image

pytest.importorskip("exspy")

SCAN = (24, 30)


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


def test_composition_of_components():
    s, truth = simulated_spectrum_image(1000, shape=SCAN, counts_per_pixel=400)
    del s.metadata.Sample
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
    s.data *= 100
    s.learning_results.factors, s.learning_results.loadings = s.data.T.copy(), np.eye(2)
    s.learning_results.output_dimension = 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        aluminium, *_ = s.emsparse.quantify_components([1.0] * 3)
    said = [str(w.message) for w in caught if "below the background" in str(w.message)]
    assert (aluminium.data[1] < 0) == (level < 0) == bool(said)
    assert all("Al_Ka in component 1" in text and "Fe_Ka" not in text for text in said)
    assert all(w.filename == __file__ for w in caught if str(w.message) in said)


@pytest.mark.filterwarnings("ignore:Lines are below")
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("units", ["atomic", "weight"])
def test_errors_of_compositions_are_their_scatter(lazy, units):
    s = stripes(lazy, 120)
    found = s.emsparse.quantify_components(FACTORS, composition_units=units)
    for same in (slice(0, None, 2), slice(1, None, 2)):
        scatter, errors = found.compositions[same].std(0), found.errors[same].mean(0)
        # A standard deviation of 60 is known to 9 %.
        np.testing.assert_allclose(errors, scatter, rtol=0.3)


def test_compositions_are_a_list_and_a_table():
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


def test_negative_spectra_are_no_counts():
    s = stripes()
    s.emsparse.decomposition("WeightedGramPCA", 2)
    with pytest.raises(ValueError, match="WeightedGramPCA has negative spectra or maps"):
        s.emsparse.quantify_components(FACTORS)


@pytest.mark.parametrize(
    ("signal_type", "installed", "message"),
    [
        ("EDS_SEM", True, r"bulk sample \(SEM\).*thin samples. If it is one, use s.set_signal"),
        ("", True, "no EDS map of a thin sample, .* If it is one, use s.set_signal"),
        ("", False, "no EDS map of a thin sample, .* If it is one, install exspy and use"),
    ],
)
def test_says_why_a_signal_has_no_factors(signal_type, installed, message, monkeypatch):
    s = stripes()
    s.set_signal_type(signal_type)
    if not installed:
        monkeypatch.setattr(_quantification, "is_installed", lambda package: False)
    with pytest.raises(ValueError, match=message):
        s.emsparse.quantify_components(FACTORS)


def with_lines(levels, background=0.1):
    """Spectra of some heights of lines, each alone in its pixel, without noise."""
    energies = 0.02 * np.arange(400)
    places = {"Mg_Ka": 1.2536, "Al_Ka": 1.4865, "Si_Ka": 1.7397, "Fe_Ka": 6.4039}
    sigma = {line: 0.034 if energy < 2 else 0.06 for line, energy in places.items()}
    data = np.full((len(levels), 400), float(background))
    for row, heights in zip(data, levels, strict=True):
        for line, area in heights.items():
            shape = np.exp(-0.5 * ((energies - places[line]) / sigma[line]) ** 2)
            row += area * shape / shape.sum()
    s = hs.signals.Signal1D(data.astype(np.float32))
    s.axes_manager[-1].scale, s.axes_manager[-1].units, s.axes_manager[-1].name = 0.02, "keV", "E"
    s.set_signal_type("EDS_TEM")
    s.set_microscope_parameters(beam_energy=200, energy_resolution_MnKa=130)
    s.learning_results.factors, s.learning_results.loadings = s.data.T.copy(), np.eye(len(levels))
    s.learning_results.output_dimension = len(levels)
    return s


@pytest.mark.parametrize("level", [-10, -100])
def test_two_lines_one_of_which_is_below_nothing(level):
    s = with_lines([{"Al_Ka": 100, "Fe_Ka": 100}, {"Al_Ka": level, "Fe_Ka": 300 + level}], 50)
    factors = {"Al_Ka": 1.0, "Fe_Ka": 1.0}
    with pytest.warns(UserWarning, match="Al_Ka in component 1") as caught:
        found = s.emsparse.quantify_components(factors, composition_units="weight")
    assert "component 0" not in str(caught[0].message)
    share = 100 * level / (300 + 2 * level)
    np.testing.assert_allclose(found.compositions, [[50, 50], [share, 100 - share]], atol=2)
    assert (found.errors > 0).all()


def test_nothing_is_known_of_what_is_below_nothing():
    s = with_lines([{"Al_Ka": -50, "Fe_Ka": -60}, {"Al_Ka": 500, "Fe_Ka": 500}], 50)
    s.set_microscope_parameters(tilt_stage=0, azimuth_angle=0, elevation_angle=20)
    factors = {"Al_Ka": 1.0, "Fe_Ka": 1.0}
    said = "No line of component 0 is more than 3 standard errors above"
    for thick in ({}, dict(absorption_correction=True, thickness=1e-9)):
        with pytest.warns(UserWarning, match=said):
            found = s.emsparse.quantify_components(factors, composition_units="weight", **thick)
        found = found[0] if thick else found
        assert np.isnan(found.compositions[0]).all() and np.isnan(found.errors[0]).all()
        np.testing.assert_allclose(found.compositions[1], 50, atol=1)


def test_background_is_not_on_lines_of_other_elements():
    s = with_lines([{"Mg_Ka": 1000, "Al_Ka": 100, "Si_Ka": 100}])
    factors = {"Al_Ka": 1.0, "Si_Ka": 1.0}
    with pytest.warns(UserWarning, match="Al_Ka in component 0.*add_elements"):
        s.emsparse.quantify_components(factors)
    # An element whose line is not said has one all the same.
    for lines, elements in ((["Mg_Ka"], ["Mg"]), ([], ["Mg"]), (["Al_Ka"], ["Al", "Mg"])):
        s.metadata.set_item("Sample.xray_lines", lines)
        s.metadata.set_item("Sample.elements", elements)
        found = s.emsparse.quantify_components(factors, composition_units="weight")
        np.testing.assert_allclose(found.compositions, 50, atol=1)


def test_where_other_lines_leave_nothing_on_one_side():
    s = with_lines([{"Mg_Ka": 1000, "Al_Ka": 100, "Si_Ka": 100}]).isig[1.13:]
    s.learning_results.factors, s.learning_results.loadings = s.data.T.copy(), np.eye(1)
    s.set_elements(["Mg"])
    factors = {"Al_Ka": 1.0, "Si_Ka": 1.0}
    found = s.emsparse.quantify_components(factors, composition_units="weight")
    np.testing.assert_allclose(found.compositions, 50, atol=1)


@pytest.mark.parametrize("widths", [(0.1, 0.2), (2, 0.9), (np.nan, 2), 2.0, (1, 2, 3)])
def test_background_on_the_line_itself_is_refused(widths):
    s = with_lines([{"Al_Ka": 1000, "Fe_Ka": 1000}])
    factors = {"Al_Ka": 1.0, "Fe_Ka": 1.0}
    with pytest.raises(ValueError, match="two numbers from 1 on are needed"):
        s.emsparse.quantify_components(factors, line_width=widths)
    found = s.emsparse.quantify_components(factors, line_width=(1, 1), composition_units="weight")
    np.testing.assert_allclose(found.compositions, 50, atol=1)


def test_components_that_are_masked_are_not_known():
    s = stripes()
    found = s.emsparse.quantify_components(FACTORS, navigation_mask=np.array([True, False]))
    assert np.isnan(found.compositions[0]).all() and np.isfinite(found.compositions[1]).all()
    assert "–" in repr(found).splitlines()[2] and "–" not in repr(found).splitlines()[3]


def test_factors_by_line_or_in_order():
    s = stripes()
    expected = s.emsparse.quantify_components([1.0, 1.5, 2.0], list(FACTORS)).compositions
    found = s.emsparse.quantify_components({"Ni_Ka": 2.0, "Al_Ka": 1.0, "Fe_Ka": 1.5})
    assert found.lines == ["Ni_Ka", "Al_Ka", "Fe_Ka"]
    np.testing.assert_allclose(found.compositions[:, [1, 2, 0]], expected)
    some = s.emsparse.quantify_components(FACTORS, ["Al_Ka", "Fe_Ka"])
    assert some.lines == ["Al_Ka", "Fe_Ka"]


def test_lines_are_left_out():
    s = stripes()
    s.set_elements(["Al", "Fe", "Ni"])
    whole = s.emsparse.quantify_components(FACTORS)
    for form in ("Fe_Ka", ["Fe_Ka"], np.array(["Fe_Ka"]), iter(["Fe_Ka"])):
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
    s = stripes(lazy)
    s.set_elements(["Al", "Fe", "Ni"])
    options = {"factors": FACTORS, **options}
    with pytest.raises(ValueError, match=message):
        s.emsparse.quantify_components(xray_lines=lines, **options)


def test_factors_are_as_many_as_lines_on_the_axis():
    s, _ = simulated_spectrum_image(1000, shape=SCAN, n_channels=128, counts_per_pixel=100)
    del s.metadata.Sample
    s.add_lines(["Al_Ka", "Fe_Ka"])
    s.emsparse.decomposition(output_dimension=2, random_state=0)
    with pytest.raises(ValueError, match=r"3 factors for the 2 lines \['Al_Ka', 'Fe_Ka'\]"):
        s.emsparse.quantify_components([1.0] * 3)


@pytest.mark.parametrize("seed", [1000, 1001, 1002, 1003])
def test_components_without_lines_are_told_in_one_sentence(seed):
    s = with_lines([{"Mg_Ka": 1000, "Al_Ka": 1000, "Fe_Ka": 1000}, {}], 5)
    s.data = np.random.default_rng(seed).poisson(s.data).astype(np.float32)
    s.learning_results.factors = s.data.T.copy()
    with pytest.warns(UserWarning, match="No line of component 1 is") as caught:
        found = s.emsparse.quantify_components({"Mg_Ka": 1.0, "Al_Ka": 1.0, "Fe_Ka": 1.0})
    assert len(caught) == 1
    assert np.isfinite(found.errors[0]).all() and np.isnan(found.compositions[1]).all()
    assert repr(found).splitlines()[3].split() == ["1", "–", "–", "–"]


@pytest.mark.parametrize("stored", [False, True])
def test_lines_in_masked_channels_are_refused(stored, tmp_path):
    s, _ = simulated_spectrum_image(1000, shape=SCAN, counts_per_pixel=400)
    axis = s.axes_manager[-1]
    factors = {"Al_Ka": 1.0, "Fe_Ka": 1.0, "Ni_Ka": 1.0}
    masked = np.abs(axis.axis - 6.4) < 0.1
    s.emsparse.decomposition(output_dimension=2, random_state=0, signal_mask=masked)
    if stored:
        s.save(tmp_path / "decomposed.zspy")
        s = hs.load(tmp_path / "decomposed.zspy", lazy=True)
    message = r"Fe_Ka and its background are from 5\.\d+ to 6\.\d+ keV.*without_lines=\['Fe_Ka'\]"
    with pytest.raises(ValueError, match=message):
        s.emsparse.quantify_components(factors)
    assert s.emsparse.quantify_components(factors, without_lines="Fe_Ka").elements == ["Al", "Ni"]
    # A background alone is enough.
    masked = np.abs(axis.axis - 6.75) < 0.05
    s.emsparse.decomposition(output_dimension=2, random_state=0, signal_mask=masked)
    with pytest.raises(ValueError, match="Fe_Ka and its background"):
        s.emsparse.quantify_components(factors)
    s.emsparse.decomposition(output_dimension=2, random_state=0)
    assert s.emsparse.quantify_components(factors).elements == ["Al", "Fe", "Ni"]


def test_errors_have_a_digit():
    found = stripes().emsparse.quantify_components(FACTORS)
    found[0].data, found.errors[:, 0] = np.array([0.01234, 12.34567]), [0.0004, 0.0]
    first, second = repr(found).splitlines()[2:]
    assert "0.0123 ± 0.0004" in first and "12.35 ± 0.00" in second

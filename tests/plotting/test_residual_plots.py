# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What a decomposition leaves unexplained: the map at the signal, the figure, and lines in it."""

import hyperspy.api as hs
import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from emsparse_hs.plotting import plot_components, plot_residuals  # noqa: E402
from emsparse_hs.residuals import find_residuals  # noqa: E402

PARTICLES = ((10, 30), (28, 8))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def with_particles(pattern=False, lazy=False):
    """One phase that has a component, and two particles that have none, of a line at channel 60."""
    random = np.random.default_rng(0)
    matrix = 0.5 * random.dirichlet(np.full(100, 0.3)) + 0.005
    line = matrix + 0.4 * (np.abs(np.arange(100) - 60) < 2)
    y, x = np.mgrid[:40, :48]
    particle = np.any([np.hypot(y - cy, x - cx) < 3 for cy, cx in PARTICLES], axis=0)
    counts = random.poisson(30 * np.where(particle[..., None], line, matrix)).astype(np.uint16)
    kind = hs.signals.Signal2D if pattern else hs.signals.Signal1D
    s = kind(counts.reshape(40, 48, 10, 10) if pattern else counts)
    s = s.as_lazy(chunks=(16, 48) + s.data.shape[2:]) if lazy else s
    for axis, scale in zip(s.axes_manager.navigation_axes, (2.0, 3.0), strict=True):
        axis.units, axis.scale = "nm", scale
    s.learning_results.loadings = np.full((40 * 48, 1), 30 * matrix.sum())
    s.learning_results.factors = (matrix / matrix.sum())[:, None]
    return s, particle


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("pattern", [False, True])
def test_regions_are_the_particles_and_their_sums_the_data(pattern, lazy):
    s, particle = with_particles(pattern, lazy)
    residuals = find_residuals(s, 5, 1.5, show_progressbar=False)
    assert residuals.excess.shape == (40, 48)
    assert len(residuals.counted) == residuals.regions.max() == 2
    found = {int(residuals.regions[place]) for place in PARTICLES}
    assert found == {1, 2}
    assert particle[residuals.regions > 0].mean() > 0.7
    for number in (1, 2):
        there = np.asarray(s.data)[residuals.regions == number]
        np.testing.assert_array_equal(residuals.counted[number - 1], there.sum(0))
        assert residuals.expected.shape == residuals.counted.shape
    line = residuals.counted.reshape(2, -1)[:, 60] / residuals.expected.reshape(2, -1)[:, 60]
    assert (line > 3).all()


def test_map_at_the_signal_has_the_axes_of_the_scan():
    s, particle = with_particles()
    s.metadata.General.title = "grid"
    excess = s.emsparse.misfit()
    assert isinstance(excess, hs.signals.Signal2D)
    assert [axis.scale for axis in excess.axes_manager.signal_axes] == [2.0, 3.0]
    assert excess.metadata.General.title == "Misfit of grid"
    assert excess.data[particle].min() > 5 * excess.data[~particle].std()


def test_what_was_left_out_of_the_decomposition_is_left_out():
    s, _ = with_particles()
    masked = np.zeros((40, 48), bool)
    masked[:20] = True
    s.learning_results.navigation_mask = masked
    s.learning_results.signal_mask = np.arange(100) > 90
    s.learning_results.loadings[masked.ravel()] = np.nan
    s.learning_results.factors[91:] = np.nan
    residuals = find_residuals(s, 3, 1.5)
    np.testing.assert_array_equal(np.isnan(residuals.excess), masked)
    assert len(residuals.counted) == 1
    np.testing.assert_array_equal(np.isnan(residuals.counted[0]), np.arange(100) > 90)
    plot_residuals(s).draw_without_rendering()


@pytest.mark.parametrize("pattern", [False, True])
def test_figure_shows_map_and_worst_regions(pattern):
    s, _ = with_particles(pattern)
    figure = s.emsparse.plot_residuals(n_regions=1)
    figure.draw_without_rendering()
    residuals = find_residuals(s, 1, 1.5)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), residuals.excess)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1"]
    size = (residuals.regions == 1).sum()
    titles = [a.get_title(loc="right") for a in figure.axes]
    assert f"1: {size} px, misfit {residuals.excess.max():.0f}" in titles
    if not pattern:
        expected = figure.axes[1].child_axes[0].lines[0].get_ydata()
        np.testing.assert_array_equal(expected, residuals.expected[0])


@pytest.mark.parametrize("lazy", [False, True])
def test_data_that_are_no_counts_are_told(lazy):
    s, _ = with_particles(lazy=lazy)
    s.data = s.data * 0.7
    with pytest.warns(UserWarning, match="the data are none.*times 0.7"):
        s.emsparse.misfit()
    with pytest.warns(UserWarning, match="the data are none.*times 0.7"):
        plot_residuals(s)


def test_figure_of_a_decomposition_that_explains_all():
    s, particle = with_particles()
    s.learning_results.navigation_mask = particle
    figure = plot_residuals(s)
    assert figure.axes[0].get_title(loc="left") == "No region is above 10"


@pytest.mark.filterwarnings("ignore:Residuals are compared")
def test_figure_of_data_that_are_no_counts_says_so():
    s, _ = with_particles()
    s.data = s.data * 0.01
    s.learning_results.loadings *= 0.01
    figure = plot_residuals(s)
    assert "noise is not known" in figure.axes[0].get_title(loc="left")


@pytest.mark.parametrize("lazy", [False, True])
def test_residuals_of_a_line_scan(lazy):
    s, particle = with_particles(lazy=lazy)
    loadings = s.learning_results.loadings.reshape(40, 48, 1)[PARTICLES[0][0]]
    factors, row = s.learning_results.factors, PARTICLES[0][0]
    s, particle = s.inav[:, row], particle[row]
    s.learning_results.loadings, s.learning_results.factors = loadings, factors
    figure = s.emsparse.plot_residuals()
    figure.draw_without_rendering()
    residuals = find_residuals(s, 3, 1.5)
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_ydata(), residuals.excess)
    assert figure.axes[0].get_xlabel().endswith("(nm)")
    (number, *_) = figure.axes[0].texts
    assert number.get_text() == "1" and abs(number.get_position()[0] / 2 - PARTICLES[0][1]) < 3
    assert figure.axes[1].get_title(loc="right").startswith("1: ")


def test_spectra_of_all_regions_are_below_each_other():
    s, _ = with_particles()
    s.data[20:26, 20:26, 30] += 1000
    figure = plot_residuals(s)
    figure.draw_without_rendering()
    places = [a.get_position() for axes in figure.axes[1:] for a in axes.child_axes]
    assert len(places) == 6
    np.testing.assert_allclose([p.x0 for p in places], places[0].x0)


def test_what_has_no_residuals_is_refused():
    s, _ = with_particles()
    with pytest.raises(ValueError, match="0 navigation and 1 signal axes, and one or two of each"):
        plot_residuals(s.inav[3, 3])
    for wrong in (0, 2.5, "auto", True):
        with pytest.raises(ValueError, match="n_regions"):
            plot_residuals(s, n_regions=wrong)
    for ends in ((8, 1), (1000, 2000)):
        with pytest.raises(ValueError, match="signal_range"):
            plot_residuals(s, signal_range=ends)
        with pytest.raises(ValueError, match="signal_range"):
            plot_components(s, signal_range=ends)
    s.learning_results.mean = np.zeros(100)
    with pytest.raises(ValueError, match="centred"):
        s.emsparse.misfit()
    s.learning_results.factors = None
    with pytest.raises(ValueError, match="no decomposition"):
        s.emsparse.misfit()


def marked(axes):
    return {text.get_text(): text.xy[0] for text in axes.texts}


def test_lines_of_the_elements_are_marked_where_they_are():
    s, _ = with_particles()
    s.set_signal_type("EDS_TEM")
    axis = s.axes_manager.signal_axes[0]
    axis.name, axis.scale, axis.units = "E", 0.1, "keV"
    s.add_elements(["Fe", "Cu", "Au"])
    figure = plot_components(s)
    spectrum = next(a for a in figure.axes if a.get_xlabel() == "E (keV)")
    lines = marked(spectrum)
    assert lines["Fe Kα"] == pytest.approx(6.404, abs=2e-3)
    assert lines["Cu Kα"] == pytest.approx(8.048, abs=2e-3)
    assert "Au Kα" not in lines and "Au Lα" in lines
    axis.units, axis.scale = "eV", 100.0
    figure = plot_residuals(s, n_regions=1)
    assert marked(figure.axes[1].child_axes[0])["Fe Kα"] == pytest.approx(6404, abs=2)


def test_edges_of_the_elements_are_marked_where_they_are():
    s, _ = with_particles()
    s.set_signal_type("EELS")
    axis = s.axes_manager.signal_axes[0]
    axis.name, axis.scale, axis.offset, axis.units = "E", 5.0, 400, "eV"
    s.add_elements(["Mn", "O"])
    figure = plot_components(s)
    spectrum = next(a for a in figure.axes if a.get_xlabel() == "E (eV)")
    lines = marked(spectrum)
    assert lines["O K"] == 532 and lines["Mn L3"] == 640


def test_inner_shells_are_named_first_where_there_is_no_room_for_all():
    s, _ = with_particles()
    s.set_signal_type("EDS_TEM")
    axis = s.axes_manager.signal_axes[0]
    axis.name, axis.scale, axis.units = "E", 0.1, "keV"
    s.add_elements(["Si", "Hf", "Ti", "O"])
    s.metadata.Sample.elements.append("Xx")
    figure = plot_components(s)
    spectrum = next(a for a in figure.axes if a.get_xlabel() == "E (keV)")
    upper = {text.get_text() for text in spectrum.texts if text.get_position()[1] == 0}
    assert "Si Kα" in upper and "O Kα" in upper
    assert "Hf Mα" not in upper and "Ti Ll" not in upper

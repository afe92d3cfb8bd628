# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What the figure of a decomposition shows, read back from the figure."""

import hyperspy.api as hs
import matplotlib
import numpy as np
import pytest

matplotlib.use("agg")

from matplotlib import pyplot as plt  # noqa: E402

from emsparse_hs.plotting.decomposition import composite, plot_components  # noqa: E402


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def decomposed(navigation=(6, 9), signal=(31,), n_components=3, sign=1):
    """A signal with known results: counts are exactly loadings times factors."""
    random = np.random.default_rng(0)
    loadings = random.gamma(1, 5, (int(np.prod(navigation)), n_components))
    factors = sign * random.dirichlet(np.ones(int(np.prod(signal))), n_components).T
    data = (loadings @ factors.T).reshape(*navigation, *signal)
    s = (hs.signals.Signal1D if len(signal) == 1 else hs.signals.Signal2D)(data)
    for axis, name in zip(s.axes_manager.navigation_axes, "xy", strict=False):
        axis.name, axis.units, axis.scale, axis.offset = name, "nm", 2.0, 10.0
    for axis in s.axes_manager.signal_axes:
        axis.name, axis.units, axis.scale, axis.offset = "Energy", "keV", 0.1, 0.2
    s.learning_results.loadings, s.learning_results.factors = loadings, factors
    return s


def axes_by_label(figure):
    """Axes that hold images, and axes that hold spectra."""
    maps = [a for a in figure.axes if a.images]
    spectra = [a for a in figure.axes if a.get_xlabel() == "Energy (keV)"]
    return maps, spectra


def test_maps_and_spectra_add_up_to_the_data():
    s = decomposed()
    # HyperSpy may scale the one by what it takes from the other.
    s.learning_results.loadings = s.learning_results.loadings / 7
    s.learning_results.factors = s.learning_results.factors * 7
    figure = plot_components(s)
    maps, spectra = axes_by_label(figure)
    assert len(maps) == len(spectra) == 4
    np.testing.assert_allclose(sum(a.images[0].get_array() for a in maps[:3]), s.data.sum(-1))
    total = sum(a.lines[0].get_ydata() for a in spectra[:3])
    np.testing.assert_allclose(total, s.data.sum((0, 1)))
    figure.draw_without_rendering()


def test_axes_are_calibrated():
    s = decomposed()
    maps, spectra = axes_by_label(plot_components(s, signal_range=(1, 2)))
    assert maps[0].images[0].get_extent() == [9, 27, 21, 9]
    np.testing.assert_allclose(spectra[0].lines[0].get_xdata(), np.arange(1, 2.05, 0.1))
    assert spectra[0].get_ylabel() == "counts / channel (√ scale)"
    texts = [text.get_text() for a in maps[0].artists for text in a.findobj(plt.Text)]
    assert "5 nm" in texts


def test_length_of_the_bar_is_legible():
    s = decomposed(navigation=(40, 8))
    for axis in s.axes_manager.navigation_axes:
        axis.units, axis.scale = "µm", 0.004
    figure = plot_components(s)
    figure.draw_without_rendering()
    wide, _ = axes_by_label(plot_components(decomposed()))
    maps, _ = axes_by_label(figure)
    # There is no room for it in a narrow map.
    assert maps[0].get_xlabel() == "10 nm"
    texts = [text.get_text() for a in maps[0].artists for text in a.findobj(plt.Text)]
    assert not any(texts)
    ratios = [axes.get_gridspec().get_width_ratios()[0] for axes in (maps[0], wide[0])]
    assert ratios[0] < 0.6 < ratios[1] == 1
    (bar,) = wide[0].artists
    assert all(part.get_path_effects() for part in (*bar.findobj(plt.Rectangle)[:1],))


def test_axes_without_units_have_ticks_in_place_of_a_bar():
    s = decomposed()
    for axis in s.axes_manager.navigation_axes:
        axis.units = ""
    maps, _ = axes_by_label(plot_components(s))
    assert not maps[0].artists
    assert maps[0].get_xlabel() == "x (px)"
    assert len(maps[0].get_xticks())


@pytest.mark.parametrize("lazy", [False, True])
def test_masked_is_grey_and_left_out(lazy):
    s = decomposed()
    s = s.as_lazy() if lazy else s
    mask = np.zeros((6, 9), bool)
    mask[1:3, 4:8] = True
    s.learning_results.navigation_mask = mask
    s.learning_results.signal_mask = np.arange(31) < 5
    maps, spectra = axes_by_label(plot_components(s))
    np.testing.assert_array_equal(
        np.isnan(np.ma.filled(maps[0].images[0].get_array(), np.nan)), mask
    )
    assert matplotlib.colors.to_hex(maps[0].get_facecolor()) == "#999999"
    np.testing.assert_array_equal(maps[-1].images[0].get_array()[..., 3] == 0, mask)
    np.testing.assert_array_equal(np.isnan(spectra[0].lines[0].get_ydata()), np.arange(31) < 5)


def test_chosen_components_and_their_names():
    s = decomposed(n_components=4)
    one = axes_by_label(plot_components(s, components=2))[1]
    assert [a.get_title(loc="right") for a in one] == ["Component 2"]
    figure = plot_components(s, components=[2, 0], names=["core", "shell"], scale="log")
    maps, spectra = axes_by_label(figure)
    factors = s.learning_results.factors
    shown = spectra[0].lines[0].get_ydata()
    np.testing.assert_allclose(shown / shown.sum(), factors[:, 2])
    assert [a.get_title(loc="right") for a in spectra[:2]] == ["core", "shell"]
    assert [text.get_text() for text in maps[-1].get_legend().get_texts()] == ["core", "shell"]
    # One legend is enough, and does not cover a peak.
    assert spectra[-1].get_legend() is None


def test_of_many_components_the_first_are_shown():
    s = decomposed(n_components=20)
    figure = plot_components(s)
    assert len(axes_by_label(figure)[1]) == 9
    assert figure.get_suptitle() == "The first 8 of 20 components"
    assert len(axes_by_label(plot_components(s, components=range(10)))[1]) == 11


@pytest.mark.parametrize("lazy", [False, True])
def test_one_component_is_shown_once(lazy):
    s = decomposed(n_components=1)
    maps, spectra = axes_by_label(plot_components(s.as_lazy() if lazy else s))
    assert len(maps) == len(spectra) == 1
    assert spectra[0].get_title(loc="right") == "Component 0"


def test_negative_factors_are_shown_as_they_are():
    s = decomposed(sign=-1)
    _, spectra = axes_by_label(plot_components(s))
    np.testing.assert_allclose(spectra[1].lines[0].get_ydata(), s.learning_results.factors[:, 1])
    assert spectra[1].get_ylabel() == "arb. units"


def test_profiles_of_a_line_scan():
    s = decomposed(navigation=(13,))
    figure = plot_components(s)
    profiles = [a for a in figure.axes if a.get_xlabel() == "x (nm)"]
    np.testing.assert_allclose(sum(a.lines[0].get_ydata() for a in profiles[:3]), s.data.sum(-1))
    np.testing.assert_allclose(profiles[0].lines[0].get_xdata(), 10 + 2 * np.arange(13))
    assert len(profiles[3].lines) == 3
    figure.draw_without_rendering()


def test_patterns_as_factors():
    s = decomposed(signal=(7, 5))
    figure = plot_components(s)
    images = [a.images[0].get_array() for a in figure.axes if a.images]
    assert [image.shape for image in images].count((7, 5)) == 3
    figure.draw_without_rendering()


def test_composite_is_the_mixture_of_colors():
    maps = np.array([[[10, 0, 10, 0, np.nan]], [[0, 4, 4, 0, 4]]])
    image = composite(maps, ["red", "blue"])
    expected = [[1, 0, 0, 1], [0, 0, 1, 1], [0.5, 0, 0.5, 1], [0, 0, 0, 1]]
    np.testing.assert_allclose(image[0, :4], expected, atol=0.02)
    assert image[0, 4, 3] == 0


def test_says_what_is_missing():
    s = decomposed()
    with pytest.raises(ValueError, match="Components .*0 to 2"):
        plot_components(s, components=[3])
    with pytest.raises(ValueError, match="2 names for 3"):
        plot_components(s, names=["a", "b"])
    with pytest.raises(ValueError, match="scale='cubic'"):
        plot_components(s, scale="cubic")
    with pytest.raises(ValueError, match="3 navigation"):
        plot_components(decomposed(navigation=(2, 3, 4)))
    s.learning_results.loadings = None
    with pytest.raises(ValueError, match="no decomposition.*output_dimension"):
        plot_components(s)

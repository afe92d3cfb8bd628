# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Figures of bands: what is drawn lies where the bands are."""

import matplotlib
import numpy as np
import pytest
from hyperspy.signals import Signal2D

from emsparse_hs.accessor._ebsd import EBSDMethods
from emsparse_hs.data._simulated_patterns import simulate_patterns
from emsparse_hs.ebsd.geometry import angles_from_normals
from emsparse_hs.plotting import plot_bands, plot_radon
from emsparse_hs.plotting.bands import N_NUMBERED

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

CENTRE, SHAPE = (0.45, 0.3, 0.6), (40, 48)


@pytest.fixture(scope="module")
def scan():
    patterns = Signal2D(simulate_patterns((2, 3), SHAPE, CENTRE, seed=7).patterns)
    methods = EBSDMethods(patterns)
    quiet = {"show_progressbar": False}
    return patterns, methods.detect_bands(5, CENTRE, **quiet), methods.radon(CENTRE, **quiet)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_edges_lie_at_the_half_width_from_the_band(scan):
    patterns, bands, _ = scan
    figure = plot_bands(patterns.inav[1, 0], bands.inav[1, 0], n_bands=3, title="Nickel")
    left, right = figure.axes
    assert not left.lines
    assert len(right.lines) == 2 * 3 + 1
    one = bands.inav[1, 0]
    middle = CENTRE[0] * SHAPE[1] - 0.5, CENTRE[1] * SHAPE[0] - 0.5
    for i, line in enumerate(right.lines[:6]):
        rank, sign = i // 2, (-1, 1)[i % 2]
        x, y = line.get_data()
        seen = np.isfinite(x)
        rays = np.column_stack(
            [x - middle[0], middle[1] - y, np.full(x.shape, CENTRE[2] * SHAPE[0])]
        )
        rays = rays[seen] / np.linalg.norm(rays[seen], axis=1, keepdims=True)
        angles = np.degrees(np.arcsin(rays @ one.normals[rank]))
        np.testing.assert_allclose(angles, sign * one.half_widths[rank], atol=1e-6)
        assert seen.sum() > 100
    x, y = right.lines[-1].get_data()
    assert (x, y) == (pytest.approx(middle[0]), pytest.approx(middle[1]))
    assert figure.get_suptitle() == "Nickel"


def test_the_pattern_is_shown_as_it_is_if_asked(scan):
    patterns, bands, _ = scan
    figure = plot_bands(patterns.inav[0, 0].data, bands.inav[0, 0], corrected=False)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), patterns.data[0, 0])


def test_plot_on_follows_the_navigator(scan):
    patterns, bands, _ = scan
    patterns.axes_manager.indices = (2, 1)
    figure = bands.plot_on(patterns)
    expected = plot_bands(patterns.inav[2, 1], bands.inav[2, 1])
    for one, other in zip(figure.axes[1].lines, expected.axes[1].lines, strict=True):
        np.testing.assert_array_equal(one.get_data(), other.get_data())


def test_points_lie_on_bright_spots_of_the_radon_transform(scan):
    _, bands, radon = scan
    one, map_ = bands.inav[0, 1], radon.inav[0, 1]
    figure = plot_radon(map_, one)
    places = [c.lines[0].get_xydata()[0] for c in figure.axes[0].containers]
    np.testing.assert_allclose(np.transpose(places), angles_from_normals(one.normals))
    azimuth, elevation = map_.axes_manager.signal_axes
    values = [
        map_.data[elevation.value2index(float(y)), azimuth.value2index(float(x))] for x, y in places
    ]
    assert min(values) > np.nanpercentile(map_.data, 90)
    assert plot_radon(map_).axes[0].get_xlabel() == "azimuth (°)"


def test_bands_that_were_not_found_are_not_drawn(scan):
    patterns, bands, _ = scan
    one = bands.inav[0, 0].deepcopy()
    one.data[2:] = np.nan
    assert len(plot_bands(patterns.inav[0, 0], one).axes[1].lines) == 2 * 2 + 1


def test_the_first_bands_are_numbered(scan):
    patterns, _, radon = scan
    bands = EBSDMethods(patterns).detect_bands(40, CENTRE, min_contrast=2, show_progressbar=False)
    one = bands.inav[0, 0]
    found = int(np.isfinite(one.half_widths).sum())
    assert found > N_NUMBERED
    axes = plot_bands(patterns.inav[0, 0], one).axes[1]
    assert len(axes.lines) == 2 * found + 1
    assert {int(text.get_text()) for text in axes.texts} <= set(range(1, N_NUMBERED + 1))
    axes = plot_radon(radon.inav[0, 0], one).axes[0]
    assert len(axes.containers) == found and len(axes.texts) == N_NUMBERED


def test_a_pattern_with_a_dead_pixel_is_shown(scan):
    patterns, bands, _ = scan
    spoilt = patterns.inav[0, 0].data.astype(float)
    spoilt[3, 5] = np.nan
    shown = plot_bands(spoilt, bands.inav[0, 0]).axes[0].images[0].get_array()
    assert shown[3, 5] == 0 and np.std(shown) == pytest.approx(1, abs=0.1)


def test_says_what_is_wrong(scan):
    patterns, bands, radon = scan
    with pytest.raises(ValueError, match="n_bands is 0, and at least 1"):
        bands.plot_on(patterns, n_bands=0)
    with pytest.raises(TypeError, match="figure is of type Axes, and a Figure or SubFigure"):
        plot_radon(radon.inav[0, 0], figure=plt.figure().subplots())
    with pytest.raises(ValueError, match="one pattern"):
        plot_bands(patterns, bands.inav[0, 0])
    with pytest.raises(ValueError, match="those of many"):
        plot_bands(patterns.inav[0, 0], bands)
    with pytest.raises(ValueError, match="another|of shape"):
        plot_bands(patterns.inav[0, 0].isig[:30, :], bands.inav[0, 0])
    with pytest.raises(ValueError, match="one pattern"):
        plot_radon(radon)

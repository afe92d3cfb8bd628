# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Profiles of maps of vectors: what is averaged, where, and the bands around it."""

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from emsparse_hs.plotting import plot_profile
from emsparse_hs.plotting import profile as profile_module
from emsparse_hs.signals import ElectricField


@pytest.fixture(params=[False, True], ids=["eager", "lazy"])
def field(request):
    made = ElectricField(np.random.default_rng(0).normal(size=(9, 12, 2)))
    made.units = "V/nm"
    for axis, scale in zip(made.axes_manager.navigation_axes, (0.5, 0.5), strict=True):
        axis.scale, axis.units, axis.offset = scale, "nm", 10
    noise = hs.signals.Signal1D(np.random.default_rng(1).uniform(1, 2, (9, 12, 2)))
    made.set_noise_variance(noise)
    yield made.as_lazy() if request.param else made
    plt.close("all")


def values(signal):
    return np.asarray(signal.data)


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def band_heights(figure, component):
    vertices = figure.axes[0].collections["xy".index(component)].get_paths()[0].vertices
    return np.ptp(vertices[np.isclose(vertices[:, 0], 1.0)][:, 1])


@pytest.mark.parametrize("width", [1, 3])
def test_middle_row_by_default(field, width):
    figure = plot_profile(field, width=width)
    expected = values(field)[4 - width // 2 : 5 + width // 2].mean(0)
    for i, name in enumerate("xy"):
        line = lines(figure)[name]
        np.testing.assert_allclose(line.get_ydata(), expected[:, i])
        np.testing.assert_allclose(line.get_xdata(), 0.5 * np.arange(12))
    noise = values(field.metadata.Signal.Noise_properties.variance)
    sigma = np.sqrt(noise[4 - width // 2 : 5 + width // 2, 2, 1].sum()) / width
    assert band_heights(figure, "y") == pytest.approx(2 * sigma)
    assert figure.axes[0].get_ylabel() == "Electric field (V/nm)"
    assert figure.axes[0].get_xlabel() == "distance (nm)"


def test_column_from_the_bottom_up(field):
    figure = plot_profile(field, start=(11, 14), end=(11, 10))
    np.testing.assert_allclose(lines(figure)["x"].get_ydata(), values(field)[::-1, 2, 0])


def test_oblique_line(field):
    figure = plot_profile(field, start=(10, 10), end=(14, 14))
    x = lines(figure)["x"]
    assert x.get_xdata()[-1] == pytest.approx(np.hypot(4, 4))
    ends = values(field)[0, 0, 0], values(field)[8, 8, 0]
    np.testing.assert_allclose(x.get_ydata()[[0, -1]], ends)


def test_holes_and_borders_are_left_out():
    data = np.ones((5, 6, 2))
    data[2, 3] = np.nan
    made = ElectricField(data)
    figure = plot_profile(made, width=3)
    np.testing.assert_array_equal(lines(figure)["y"].get_ydata(), 1)
    one = lines(plot_profile(made))["y"].get_ydata()
    np.testing.assert_array_equal(np.isnan(one), np.arange(6) == 3)
    border = plot_profile(made, start=(0, 0), end=(5, 0), width=3)
    np.testing.assert_array_equal(lines(border)["x"].get_ydata(), 1)
    assert not figure.axes[0].collections
    plt.close("all")


def test_line_scan(field):
    line = field.inav[:, 3]
    figure = plot_profile(line)
    np.testing.assert_allclose(lines(figure)["x"].get_ydata(), values(field)[3, :, 0])
    np.testing.assert_allclose(lines(figure)["x"].get_xdata(), 10 + 0.5 * np.arange(12))
    with pytest.raises(ValueError, match="Crop it"):
        plot_profile(line, start=(0, 0))


def test_says_what_is_wrong(field):
    with pytest.raises(ValueError, match="no map of vectors"):
        plot_profile(hs.signals.Signal1D(np.zeros((3, 4, 5))))
    with pytest.raises(ValueError, match="width is 0"):
        plot_profile(field, width=0)
    with pytest.raises(ValueError, match="no length"):
        plot_profile(field, start=(11, 11), end=(11, 11))


@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize(("start", "end"), [((0, 5), (11, 5)), ((1, 1), (9, 9)), ((0, 2), (11, 8))])
def test_no_position_is_averaged_twice(width, start, end):
    scan = hs.signals.Signal1D(np.zeros((12, 12, 2)))
    _, (rows, columns) = profile_module._line(scan.axes_manager.navigation_axes, start, end, width)
    first = profile_module._first_of_their_kind(rows, columns)
    for point in range(rows.shape[1]):
        taken = {(r, c) for r, c in zip(rows[:, point], columns[:, point], strict=True)}
        assert first[:, point].sum() == len(taken)
    if start[1] == end[1]:
        assert all(len(set(rows[:, point])) == width for point in range(rows.shape[1]))


def test_axes_may_fall():
    made = ElectricField(np.indices((9, 12)).transpose(1, 2, 0).astype(float))
    made.axes_manager[0].scale, made.axes_manager[0].offset = -1, 11
    made.axes_manager[1].scale, made.axes_manager[1].offset = -1, 8
    default = lines(made.plot_profile())
    np.testing.assert_array_equal(default["x"].get_ydata(), 4)
    np.testing.assert_array_equal(default["y"].get_ydata(), np.arange(12))
    part = lines(made.plot_profile(start=(8, 5), end=(2, 5)))
    np.testing.assert_array_equal(part["x"].get_ydata(), 3)
    np.testing.assert_array_equal(part["y"].get_ydata(), np.arange(3, 10))
    plt.close("all")


def test_the_width_is_perpendicular_in_space():
    """An edge across an oblique line is as sharp with any width."""
    rows, columns = np.indices((41, 61))
    y, x = 2.0 * rows, 0.5 * columns
    direction = np.array([20.0, 50.0]) / np.hypot(20, 50)
    beyond = (x - 15) * direction[0] + (y - 35) * direction[1] > 0
    made = ElectricField(np.stack([beyond, beyond], -1).astype(float))
    made.axes_manager[0].scale, made.axes_manager[1].scale = 0.5, 2.0
    for width in (1, 9):
        line = lines(made.plot_profile(start=(5, 10), end=(25, 60), width=width))["x"]
        mixed = line.get_xdata()[(line.get_ydata() > 0.01) & (line.get_ydata() < 0.99)]
        assert len(mixed) == 0 or np.ptp(mixed) < 3
    plt.close("all")


def test_the_band_is_that_of_the_positions_that_were_taken():
    made = ElectricField(np.zeros((12, 12, 2)))
    made.set_noise_variance(hs.signals.Signal1D(np.ones((12, 12, 2))))
    figure = made.plot_profile(start=(1, 1), end=(9, 9), width=4)
    vertices = figure.axes[0].collections[0].get_paths()[0].vertices
    _, (rows, columns) = profile_module._line(made.axes_manager.navigation_axes, (1, 1), (9, 9), 4)
    numbers = [len(set(zip(*each, strict=True))) for each in zip(rows.T, columns.T, strict=True)]
    assert min(numbers) < 4
    assert vertices[:, 1].max() == pytest.approx(1 / np.sqrt(min(numbers)))
    plt.close("all")

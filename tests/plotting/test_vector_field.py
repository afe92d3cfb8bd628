# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The map of vectors: its colours mean what the wheel says, and the arrows point that way."""

import colorsys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.quiver import Quiver

from emsparse_hs.plotting import plot_vector_field
from emsparse_hs.plotting.vector_field import direction_colours
from emsparse_hs.signals import ElectricField


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def uniform_field(x, y, shape=(12, 17)):
    field = ElectricField(np.full((*shape, 2), (x, y), float))
    field.units = "V/nm"
    for axis, name, scale in zip(field.axes_manager.navigation_axes, "xy", (0.5, 0.5), strict=True):
        axis.name, axis.scale, axis.units = name, scale, "nm"
    return field


def panel(figure, label):
    boxes = [*figure.axes, *(inset for axes in figure.axes for inset in axes.child_axes)]
    return next(axes for axes in boxes if axes.get_label() == label)


def colour_of_wheel(figure, x, y):
    """What the wheel shows at a place, x to the right and y down the screen."""
    axes = panel(figure, "wheel")
    image = axes.images[0]
    assert axes.yaxis_inverted()
    left, right, bottom, top = image.get_extent()
    pixels = image.get_array()
    column = round((x - left) / (right - left) * (pixels.shape[1] - 1))
    row = round((y - top) / (bottom - top) * (pixels.shape[0] - 1))
    return np.asarray(pixels[row, column])


@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_map_has_the_colour_that_the_wheel_shows_in_that_direction(degrees):
    x, y = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    figure = plot_vector_field(uniform_field(3 * x, 3 * y), limit=3)
    shown = panel(figure, "direction").images[0].get_array()
    legend = colour_of_wheel(figure, 0.98 * x, 0.98 * y)
    np.testing.assert_allclose(shown[4, 6], legend[:3], atol=0.03)
    assert legend[3] == 1


@pytest.mark.parametrize(("x", "y"), [(2, 0), (0, 2), (-2, 0), (0, -2), (1, -2)])
def test_arrows_point_where_the_vectors_go(x, y):
    figure = plot_vector_field(uniform_field(x, y))
    axes = panel(figure, "direction")
    arrows = next(artist for artist in axes.collections if isinstance(artist, Quiver))
    assert axes.yaxis_inverted()
    # Of the screen, where y points upwards.
    assert arrows.angles == "uv"
    np.testing.assert_allclose(arrows.U, x)
    np.testing.assert_allclose(arrows.V, -y)


def test_magnitude_is_brightness_and_direction_is_not():
    angles = np.deg2rad(np.arange(0, 360, 5))
    around = direction_colours(np.stack([np.cos(angles), np.sin(angles)], axis=-1), 1.0)
    luminance = np.where(around <= 0.04045, around / 12.92, ((around + 0.055) / 1.055) ** 2.4)
    luminance = luminance @ [0.2126, 0.7152, 0.0722]
    lightness = 116 * np.cbrt(luminance) - 16
    assert np.ptp(lightness) < 10
    along = direction_colours(np.stack([np.linspace(0, 1.5, 31), np.zeros(31)], axis=-1), 1.0)
    assert (along[0] == 0).all()
    assert (np.diff(along[:21].sum(-1)) > 0).all()
    np.testing.assert_array_equal(along[20:], np.broadcast_to(along[20], (11, 3)))


def test_hue_goes_once_around_the_circle():
    angles = np.deg2rad(np.arange(0, 360, 3))
    colours = direction_colours(np.stack([np.cos(angles), np.sin(angles)], axis=-1), 1.0)
    hues = np.unwrap([2 * np.pi * colorsys.rgb_to_hsv(*colour)[0] for colour in colours])
    assert (np.diff(hues) > 0).all() or (np.diff(hues) < 0).all()
    assert abs(hues[-1] - hues[0]) == pytest.approx(2 * np.pi, rel=0.05)
    assert colours.min() >= 0 and colours.max() <= 1


def test_components_are_shown_around_zero_with_units():
    field = uniform_field(-2.0, 1.0)
    field.data[3, 4] = (4, 0)
    figure = plot_vector_field(field)
    for label, values in zip("xy", np.moveaxis(field.data, -1, 0), strict=True):
        image = panel(figure, label).images[0]
        np.testing.assert_array_equal(image.get_array(), values)
        assert image.norm.vmin == -image.norm.vmax
        assert image.colorbar.ax.get_ylabel() == f"{label} component (V/nm)"
    assert panel(figure, "magnitude").get_ylabel() == "magnitude (V/nm)"


def test_scan_axes_are_calibrated():
    figure = plot_vector_field(uniform_field(1, 1, shape=(6, 10)))
    axes = panel(figure, "direction")
    assert axes.get_xlabel() == "x (nm)" and axes.get_ylabel() == "y (nm)"
    np.testing.assert_allclose(axes.images[0].get_extent(), (-0.25, 4.75, 2.75, -0.25))


def test_places_without_value_are_grey_and_do_no_harm():
    field = uniform_field(1.0, 0.0)
    field.data[2:9, 3:11] = np.nan
    figure = plot_vector_field(field)
    figure.canvas.draw()
    shown = panel(figure, "direction").images[0].get_array()
    assert np.ptp(shown[4, 5]) == 0 and shown[4, 5, 0] > 0.5
    assert np.isfinite(shown).all()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_field_of_nothing(value):
    plot_vector_field(uniform_field(value, value)).canvas.draw()


def test_lazy_signal_is_drawn_and_stays_lazy():
    field = uniform_field(1.0, 2.0).as_lazy()
    plot_vector_field(field, arrows=0, title="film")
    assert field._lazy


def test_draws_in_a_given_figure():
    figure = plt.figure(layout="constrained")
    assert plot_vector_field(uniform_field(1, 0), figure=figure) is figure


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="two navigation axes"):
        plot_vector_field(ElectricField(np.zeros((5, 2))))
    with pytest.raises(ValueError, match="s.inav"):
        plot_vector_field(ElectricField(np.zeros((3, 4, 5, 2))))
    with pytest.raises(ValueError, match="limit"):
        plot_vector_field(uniform_field(1, 0), limit=0)

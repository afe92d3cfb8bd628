# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The class of electric fields: units, magnitude, plots."""

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from emsparse_hs.signals import ElectricField


@pytest.fixture(params=[False, True], ids=["eager", "lazy"])
def field(request):
    made = ElectricField(np.random.default_rng(0).normal(size=(4, 5, 2)))
    made.units = "V/angstrom"
    for axis, name, scale in zip(made.axes_manager.navigation_axes, "xy", (0.2, 0.3), strict=True):
        axis.name, axis.scale, axis.units = name, scale, "nm"
    return made.as_lazy() if request.param else made


def test_units_are_in_the_metadata_and_survive(field, tmp_path):
    assert field.metadata.Signal.quantity == "Electric field (V/Å)"
    field.save(tmp_path / "field.hspy")
    for other in (field.deepcopy(), field.inav[1:3], hs.load(tmp_path / "field.hspy")):
        assert isinstance(other, ElectricField)
        assert other.units == "V/angstrom"


def test_nothing_is_known_of_bare_data():
    field = ElectricField(np.zeros((4, 5, 2)))
    assert (field.units, field.thickness, field.beam_energy) == (None, None, None)


def test_magnitude_is_an_image_of_the_scan(field):
    magnitude = field.magnitude()
    assert isinstance(magnitude, hs.signals.Signal2D)
    assert magnitude._lazy == field._lazy
    expected = np.linalg.norm(np.asarray(field.data), axis=-1)
    np.testing.assert_allclose(np.asarray(magnitude.data), expected)
    assert [axis.scale for axis in magnitude.axes_manager.signal_axes] == [0.2, 0.3]
    assert magnitude.metadata.Signal.quantity == "Electric field (V/Å)"


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 2), (0, 1)), ((3, 4, 5, 2), (1, 2)), ((2, 3, 4, 5, 2), (2, 2))],
)
def test_magnitude_of_line_scans_and_stacks(shape, expected):
    data = np.random.default_rng(0).normal(size=shape)
    magnitude = ElectricField(data).magnitude()
    axes = magnitude.axes_manager
    assert (axes.navigation_dimension, axes.signal_dimension) == expected
    np.testing.assert_allclose(magnitude.data, np.linalg.norm(data, axis=-1))


def test_plot_field_and_hyperspy_s_own_plot(field):
    assert field.plot_field().axes
    field.plot()
    plt.close("all")


def test_data_are_untouched_by_magnitude_and_plot(field):
    before = np.array(field.data)
    field.magnitude()
    field.plot_field()
    plt.close("all")
    np.testing.assert_array_equal(np.asarray(field.data), before)

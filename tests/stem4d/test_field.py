# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Deflection against the signs of mechanics, and the units of detectors."""

import dask.array as da
import numpy as np
import pytest

from emsparse_hs.electron import relativistic_wavelength
from emsparse_hs.stem4d import deflection_to_field, milliradians_per_unit


@pytest.mark.parametrize(
    ("units", "size"), [("V/angstrom", 4.89), ("V/nm", 48.9), ("V/m", 4.89e10), ("MV/cm", 489.0)]
)
def test_field_of_one_milliradian_over_ten_nanometres(units, size):
    field = deflection_to_field(1.0, thickness=10, beam_energy=300, units=units)
    assert field == pytest.approx(-size, rel=1e-3)


def test_electrons_that_go_to_the_right_met_a_field_to_the_left():
    field = deflection_to_field(np.array([[2.0, 0.0], [0.0, -1.0]]), 5, 200)
    assert field[0, 0] < 0 == field[0, 1]
    assert field[1, 1] > 0 == field[1, 0]


def test_a_dask_array_stays_lazy():
    angles = np.random.default_rng(0).random((3, 4, 2))
    lazy = deflection_to_field(da.from_array(angles), 5, 200)
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), deflection_to_field(angles, 5, 200))


@pytest.mark.parametrize(
    ("units", "size"),
    [("mrad", 1), ("rad", 1e3), ("µrad", 1e-3), ("μrad", 1e-3), ("deg", np.pi / 0.18)],
)
def test_units_of_angles(units, size):
    assert milliradians_per_unit(units) == pytest.approx(size)


@pytest.mark.parametrize(
    ("units", "per_angstrom"),
    [("1/Å", 1), ("Å^-1", 1), ("Å⁻¹", 1), ("$A^{-1}$", 1), (r"$\AA^{-1}$", 1), ("1 / A", 1)]
    + [("k_A^-1", 1), ("1/nm", 0.1), ("nm^-1", 0.1), ("k_nm^-1", 0.1), ("q_A^-1", 0.5 / np.pi)]
    + [("q_nm^-1", 0.05 / np.pi)],
)
def test_units_of_spatial_frequencies(units, per_angstrom):
    expected = per_angstrom * relativistic_wavelength(300) * 1e3
    assert milliradians_per_unit(units, 300) == pytest.approx(expected)


@pytest.mark.parametrize("units", ["px", "cm", "<undefined>", ""])
def test_other_units_are_no_angle(units):
    assert milliradians_per_unit(units, 300) is None


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="positive number of nm"):
        deflection_to_field(1.0, 0, 300)
    with pytest.raises(ValueError, match="V/nm"):
        deflection_to_field(1.0, 10, 300, units="kV")
    with pytest.raises(ValueError, match="beam_energy in keV"):
        milliradians_per_unit("1/nm")

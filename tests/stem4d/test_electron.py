# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Wavelength and deflection against tables, textbooks and the signs of mechanics."""

import dask.array as da
import numpy as np
import pytest
from scipy.constants import e, physical_constants

from emsparse_hs.stem4d import (
    deflection_to_field,
    interaction_constant,
    milliradians_per_unit,
    relativistic_wavelength,
    volts_per_radian,
)


@pytest.mark.parametrize(
    ("beam_energy", "wavelength"),
    # Kirkland, Advanced Computing in Electron Microscopy, table 2.2.
    [(100, 0.0370), (200, 0.0251), (300, 0.0197), (1000, 0.0087)],
)
def test_wavelength_of_the_table(beam_energy, wavelength):
    assert relativistic_wavelength(beam_energy) == pytest.approx(wavelength, abs=5e-5)


def test_interaction_constant_of_the_textbook():
    """Kirkland, eq. 5.6 in its other form, with the electron's rest energy."""
    rest = physical_constants["electron mass energy equivalent in MeV"][0] * 1e6
    volts = 2e5
    expected = 2 * np.pi / (relativistic_wavelength(200) * volts)
    expected *= (rest + volts) / (2 * rest + volts)
    assert interaction_constant(200) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("beam_energy", "volts"), [(300, 489_026), (200, 343_741), (80, 149_171)])
def test_volts_per_radian_is_momentum_times_velocity(beam_energy, volts):
    """From energy and momentum only: p v / e = (T^2 + 2 T m c^2) / (T + m c^2) / e."""
    rest = physical_constants["electron mass energy equivalent"][0]
    kinetic = beam_energy * 1e3 * e
    expected = (kinetic**2 + 2 * kinetic * rest) / (kinetic + rest) / e
    assert volts_per_radian(beam_energy) == pytest.approx(expected, rel=1e-12)
    assert volts_per_radian(beam_energy) == pytest.approx(volts, abs=0.5)


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
    + [("k_A^-1", 1), ("1/nm", 0.1), ("nm^-1", 0.1), ("k_nm^-1", 0.1), ("q_A^-1", 0.5 / np.pi)],
)
def test_units_of_spatial_frequencies(units, per_angstrom):
    expected = per_angstrom * relativistic_wavelength(300) * 1e3
    assert milliradians_per_unit(units, 300) == pytest.approx(expected)


@pytest.mark.parametrize("units", ["px", "cm", "<undefined>", ""])
def test_other_units_are_no_angle(units):
    assert milliradians_per_unit(units, 300) is None


@pytest.mark.parametrize("beam_energy", [0, -300, np.nan])
def test_says_what_is_wrong_with_the_beam_energy(beam_energy):
    with pytest.raises(ValueError, match="positive number of keV"):
        relativistic_wavelength(beam_energy)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="positive number of nm"):
        deflection_to_field(1.0, 0, 300)
    with pytest.raises(ValueError, match="V/nm"):
        deflection_to_field(1.0, 10, 300, units="kV")
    with pytest.raises(ValueError, match="beam_energy in keV"):
        milliradians_per_unit("1/nm")

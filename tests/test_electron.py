# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Wavelength, interaction constant and deflection against tables and textbooks."""

import numpy as np
import pytest
from scipy.constants import e, physical_constants

from emsparse_hs.electron import (
    interaction_constant,
    lorentz_factor,
    relativistic_wavelength,
    volts_per_radian,
)


@pytest.mark.parametrize(
    ("beam_energy", "wavelength"),
    # Kirkland, Advanced Computing in Electron Microscopy, table 2.2.
    [(20, 0.0859), (100, 0.0370), (200, 0.0251), (300, 0.0197), (1000, 0.0087)],
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


def test_lorentz_factor_is_that_of_the_velocity():
    """Kirkland, table 2.2: at 300 keV the electron has 0.776 of the speed of light."""
    assert np.sqrt(1 - lorentz_factor(300) ** -2) == pytest.approx(0.776, abs=1e-3)


@pytest.mark.parametrize("beam_energy", [0, -300, 300_000, np.nan, np.inf])
@pytest.mark.parametrize(
    "function", [lorentz_factor, relativistic_wavelength, interaction_constant, volts_per_radian]
)
def test_says_what_is_wrong_with_the_beam_energy(function, beam_energy):
    with pytest.raises(ValueError, match="positive number of keV"):
        function(beam_energy)

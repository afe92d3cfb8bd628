# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The fast electron: wavelength, interaction constant, and how far a field deflects it.

Voltages are positive and angles small.
"""

from __future__ import annotations

import math

from scipy.constants import angstrom, c, e, h, m_e

#: Far above any microscope's: more is an energy in another unit.
MOST_KEV = 10_000


def lorentz_factor(beam_energy: float) -> float:
    r"""Mass of the fast electron in units of its rest mass.

    .. math:: \gamma = 1 + E / (m_0 c^2)

    Parameters
    ----------
    beam_energy : float
        Kinetic energy E in keV.

    Returns
    -------
    float
        1.58706 at 300 keV.

    Raises
    ------
    ValueError
        If the beam energy is not positive.
    """
    if not 0 < beam_energy <= MOST_KEV:
        raise ValueError(
            f"The beam energy is {beam_energy}. Give a positive number of keV, up to {MOST_KEV}."
        )
    return 1 + beam_energy * 1e3 * e / (m_e * c**2)


def _velocity(beam_energy: float) -> float:
    return c * math.sqrt(1 - lorentz_factor(beam_energy) ** -2)


def relativistic_wavelength(beam_energy: float) -> float:
    r"""Wavelength of the fast electron.

    .. math:: \lambda = h / (\gamma m_0 v)

    (Kirkland, Advanced Computing in Electron Microscopy, 2020, eq. 2.5).

    Parameters
    ----------
    beam_energy : float
        In keV.

    Returns
    -------
    float
        In angstrom: 0.019687 at 300 keV.

    Raises
    ------
    ValueError
        If the beam energy is not positive.
    """
    momentum = lorentz_factor(beam_energy) * m_e * _velocity(beam_energy)
    return h / momentum / angstrom


def interaction_constant(beam_energy: float) -> float:
    r"""Phase that a projected potential gives to the fast electron.

    .. math:: \sigma = 2 \pi \gamma m_0 e \lambda / h^2

    (Kirkland, Advanced Computing in Electron Microscopy, 2020, eq. 5.6).

    Parameters
    ----------
    beam_energy : float
        In keV.

    Returns
    -------
    float
        In rad/(V angstrom): 6.526e-4 at 300 keV.

    Raises
    ------
    ValueError
        If the beam energy is not positive.
    """
    wavelength = relativistic_wavelength(beam_energy) * angstrom
    mass = lorentz_factor(beam_energy) * m_e
    return 2 * math.pi * mass * e * wavelength / h**2 * angstrom


def volts_per_radian(beam_energy: float) -> float:
    r"""Field times thickness that deflects the fast electron by one radian.

    .. math:: \gamma m_0 v^2 / e

    Parameters
    ----------
    beam_energy : float
        In keV.

    Returns
    -------
    float
        In V: 489 026 at 300 keV.

    Raises
    ------
    ValueError
        If the beam energy is not positive.
    """
    return lorentz_factor(beam_energy) * m_e * _velocity(beam_energy) ** 2 / e

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From deflection to field, and from a detector's units to angles.

Angles are small, and a deflection is positive where the electrons go.
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from scipy.constants import angstrom, e, h, milli, nano

from emsparse_hs.electron import relativistic_wavelength, volts_per_radian

#: Size of each unit of the electric field in V/m.
FIELD_UNITS = {"V/m": 1.0, "V/nm": 1e9, "V/angstrom": 1e10, "V/Å": 1e10, "MV/cm": 1e8}

#: Size of the units of an angle in mrad.
_ANGLES = {
    "rad": 1e3,
    "mrad": 1.0,
    **dict.fromkeys(("urad", "\u00b5rad", "\u03bcrad"), 1e-3),
    **dict.fromkeys(("deg", "°"), math.radians(1e3)),
}

#: Size of the units of a spatial frequency in 1/angstrom, as files and packages spell them.
_FREQUENCIES = {
    **dict.fromkeys(("1/a", "1/å", "a^-1", "å^-1", "1/angstrom", "angstrom^-1", "k_a^-1"), 1.0),
    **dict.fromkeys(("1/nm", "nm^-1", "k_nm^-1"), 0.1),
    "q_a^-1": 0.5 / math.pi,
    "q_nm^-1": 0.05 / math.pi,
}


def deflection_to_field(
    deflection: ArrayLike, thickness: float, beam_energy: float, units: str = "V/angstrom"
):
    r"""Mean electric field along the path of the electrons, from their deflection.

    .. math:: E = -\frac{\gamma m_0 v^2}{e\, t}\, \theta

    (Müller et al., Nat. Commun. 5 (2014) 5653; Lazić et al., Ultramicroscopy 160 (2016) 265). The
    sign is that of the force on a negative charge: electrons that go towards +x have met a field
    that points to -x.

    Parameters
    ----------
    deflection : numpy or dask array, or number
        In mrad, positive where the electrons go.
    thickness : float
        Of the specimen in nm.
    beam_energy : float
        In keV.
    units : {"V/angstrom", "V/Å", "V/nm", "V/m", "MV/cm"}
        Of the field.

    Returns
    -------
    same type as `deflection`
        One component of the field for each component of the deflection.

    Raises
    ------
    ValueError
        If thickness or beam energy is not positive, or the unit is not known.

    Notes
    -----
    Exact for a thin phase object, where it is the field averaged over the probe and along the
    path. In a crystal more than a few nm thick, electrons are scattered more than once and the
    result is no more than an apparent field.
    """
    if units not in FIELD_UNITS:
        raise ValueError(f"The unit {units!r} is not known. Known are {', '.join(FIELD_UNITS)}.")
    if not (isinstance(thickness, Real) and math.isfinite(thickness) and thickness > 0):
        raise ValueError(f"The thickness is {thickness!r}. Give a positive number of nm.")
    factor = -volts_per_radian(beam_energy) * 1e-3 / (thickness * nano) / FIELD_UNITS[units]
    return np.multiply(factor, deflection)


def tesla_metres_per_radian(beam_energy: float) -> float:
    r"""Magnetic field times thickness that deflects the fast electron by one radian.

    .. math:: h / (e \lambda)

    Parameters
    ----------
    beam_energy : float
        In keV.

    Returns
    -------
    float
        In T m: 2.1007e-3 at 300 keV.

    Raises
    ------
    ValueError
        If the beam energy is not positive.
    """
    return h / (e * relativistic_wavelength(beam_energy) * angstrom)


def deflection_to_induction(deflection, thickness: float | None, beam_energy: float):
    r"""Magnetic induction in the plane of the specimen, from the deflection of electrons.

    The force on an electron with velocity v along z is :math:`F = -e\, v\, \hat z \times B`, hence

    .. math:: B_x t = -\frac{h}{e \lambda} \theta_y, \quad B_y t = \frac{h}{e \lambda} \theta_x

    (Chapman, J. Phys. D 17 (1984) 623). x points to the right, y downwards, as arrays lie, and
    :math:`z = x \times y` away from the viewer. That is the way of the beam if the image shows the
    specimen as seen from the source. Seen from the other side the sign of B is the opposite.

    Parameters
    ----------
    deflection : numpy or dask array of shape (..., 2)
        Components (x, y) in mrad, positive where the electrons go, in the frame of the scan.
    thickness : float or None
        Of the specimen in nm. None for the product of induction and thickness.
    beam_energy : float
        In keV.

    Returns
    -------
    same type as `deflection`
        Components (x, y) in T, or in T nm without thickness.

    Raises
    ------
    ValueError
        If thickness or beam energy is not positive.
    """
    if thickness is not None and not (np.isfinite(thickness) and thickness > 0):
        raise ValueError(f"The thickness is {thickness} nm. Give a positive number of nm, or None.")
    factor = tesla_metres_per_radian(beam_energy) * milli / nano / (thickness or 1.0)
    return deflection @ (factor * np.array([[0.0, 1.0], [-1.0, 0.0]]))


def milliradians_per_unit(units: str, beam_energy: float | None = None) -> float | None:
    r"""Size of a detector's unit as an angle.

    Angles are converted; spatial frequencies k by :math:`\theta = \lambda k`.

    Parameters
    ----------
    units : str
        Such as "mrad", "rad", "1/nm", "1/Å", "Å^-1", "k_A^-1", or "q_A^-1", which is
        2 pi k as pyxem has it.
    beam_energy : float, optional
        In keV; needed for spatial frequencies.

    Returns
    -------
    float or None
        In mrad. None where the unit is neither, such as "px" or "cm".

    Raises
    ------
    ValueError
        If the unit is a spatial frequency and the beam energy is missing or not positive.
    """
    if units in _ANGLES:
        return _ANGLES[units]
    plain = units.lower()
    for character in " ${}":
        plain = plain.replace(character, "")
    plain = plain.replace("⁻¹", "^-1").replace("\\aa", "å").replace("\u212b", "å")
    if plain not in _FREQUENCIES:
        return None
    if beam_energy is None:
        raise ValueError(
            f"The detector is calibrated in {units}, and the beam energy is not known. Set "
            "metadata.Acquisition_instrument.TEM.beam_energy in keV."
        )
    return _FREQUENCIES[plain] * relativistic_wavelength(beam_energy) * 1e3

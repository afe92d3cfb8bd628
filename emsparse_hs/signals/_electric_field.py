# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of electric fields."""

from __future__ import annotations

from hyperspy.signals import Signal1D, Signal2D

from emsparse_hs.signals._scan_maps import computed, scan_image, scan_step_in_nm
from emsparse_hs.signals._vector_map import VectorMap
from emsparse_hs.stem4d.field import FIELD_UNITS
from emsparse_hs.stem4d.vector_calculus import PERMITTIVITY, divergence, potential

#: Units of a charge density in e/nm^3.
_DENSITIES = {"e/nm^3": 1.0, "e/angstrom^3": 1e3}


class ElectricField(VectorMap, Signal1D):
    """Electric field in the plane of the specimen.

    The navigation axes are the scan, the signal axis holds the components (x, y). x points to the
    right and y downwards, as the detector's array lies. Units, thickness and beam energy are in
    ``metadata.Electric_field``.
    """

    _signal_type = "electric_field"

    @property
    def units(self) -> str | None:
        """Unit of the data, such as "V/angstrom", or None where it was not said."""
        return self.metadata.get_item("Electric_field.units", default=None)

    @units.setter
    def units(self, units: str) -> None:
        self.metadata.set_item("Electric_field.units", units)
        symbol = units.replace("angstrom", "Å")
        self.metadata.set_item("Signal.quantity", f"Electric field ({symbol})")

    @property
    def thickness(self) -> float | None:
        """Thickness of the specimen in nm that the field was calculated with."""
        return self.metadata.get_item("Electric_field.thickness", default=None)

    @property
    def beam_energy(self) -> float | None:
        """Beam energy in keV that the field was calculated with."""
        return self.metadata.get_item("Electric_field.beam_energy", default=None)

    def charge_density(self, units: str = "e/nm^3") -> Signal2D:
        r"""Density of charge that makes the field.

        .. math:: \rho = \varepsilon_0\, \nabla \cdot E

        (Müller et al., Nat. Commun. 5 (2014) 5653). It is the total charge, nuclei and
        electrons, averaged along the path of the beam and over the probe.

        Parameters
        ----------
        units : {"e/nm^3", "e/angstrom^3"}
            Of the density, in elementary charges.

        Returns
        -------
        Signal2D
            Positive where positive charge is. NaN where the field or too many neighbours have no
            value. Computed, even if this signal is lazy. With its variance if the field has one.

        Raises
        ------
        ValueError
            If a unit of field, scan or density is not known, or the scan has not two uniform axes
            of at least three positions.
        """
        if units not in _DENSITIES:
            raise ValueError(f"The unit {units!r} is not known. Known are {', '.join(_DENSITIES)}.")
        step, factor = scan_step_in_nm(self), self._volts_per_nanometre()
        factor *= PERMITTIVITY["nm"] / _DENSITIES[units]
        data, variance = computed(self)
        density, spread = divergence(data, step, variance)
        return scan_image(
            self,
            density * factor,
            f"Charge density ({units.replace('angstrom', 'Å')})",
            None if spread is None else spread * factor**2,
        )

    def potential(
        self, pad: str | None = "mirror", highpass: float | None = None, projected: bool = False
    ) -> Signal2D:
        r"""Electrostatic potential, mean along the path of the beam.

        The one whose negative gradient comes nearest to the field, in the sense of least squares.
        Its constant can't be known: the mean is set to zero.

        Parameters
        ----------
        pad : {"mirror", None}
            How the field goes on beyond the scan: as the mirror image of the potential, which is
            right for any field, or, with None, periodically.
        highpass : float, optional
            Subtract the potential blurred by a Gaussian of this standard deviation, in the unit of
            the scan's axes: noise in the field makes slow waves in the potential.
        projected : bool
            Whether to multiply by the thickness, for the projected potential in V nm.

        Returns
        -------
        Signal2D
            In V, or V nm. Places without a field are filled from their neighbours for the
            integration, and are NaN in the result. Computed, even if this signal is lazy.

        Raises
        ------
        ValueError
            If the unit of field or scan is not known, the scan has not two uniform axes, the
            thickness is needed and not known, or `pad` or `highpass` has no meaning.

        Notes
        -----
        See `emsparse_hs.stem4d.potential`. No variance is given, since errors of neighbours are
        strongly correlated.
        """
        thickness = self.thickness if projected else 1.0
        if thickness is None:
            raise ValueError(
                "The projected potential needs the thickness, which is not known. Set it with "
                's.metadata.set_item("Electric_field.thickness", 20), in nm.'
            )
        step, factor = scan_step_in_nm(self), self._volts_per_nanometre()
        if highpass is not None:
            highpass = highpass * step[1] / self.axes_manager.navigation_axes[0].scale
        data, _ = computed(self)
        values = potential(data, step, pad, highpass) * (factor * thickness)
        return scan_image(
            self, values, "Projected potential (V nm)" if projected else "Potential (V)"
        )

    def _volts_per_nanometre(self) -> float:
        if self.units not in FIELD_UNITS:
            raise ValueError(
                f"The field is in {self.units}. Set its unit, such as s.units = 'V/nm'; known are "
                f"{', '.join(FIELD_UNITS)}."
            )
        return FIELD_UNITS[self.units] / FIELD_UNITS["V/nm"]

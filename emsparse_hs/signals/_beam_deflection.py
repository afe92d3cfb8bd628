# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of the deflection of the beam."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emsparse_hs._optional import require
from emsparse_hs.signals._vector_map import VectorMap
from emsparse_hs.stem4d.field import deflection_to_field, milliradians_per_unit

if TYPE_CHECKING:
    from pyxem.signals import BeamShift

    from emsparse_hs.signals._electric_field import ElectricField
else:
    BeamShift = require("pyxem.signals", extra="diffraction").BeamShift


class BeamDeflection(VectorMap, BeamShift):
    """Deflection of the beam at each position of the scan.

    The navigation axes are the scan, the signal axis holds the components (x, y). They are positive
    where the electrons go on the detector: x to the right, y downwards, as the array of a frame
    lies. A pyxem `BeamShift` has the opposite sign, since it is what brings the beam back; see
    `to_beam_shift`. All that does not depend on the sign is inherited from there.

    ``units`` is a list of the unit of each component: "mrad", or "px" where the detector is not
    calibrated. How the deflection was measured is in ``metadata.Beam_deflection``: `method`,
    `centre` (what the deflection counts from), `scale` (size of a detector pixel in x and y, in
    those units).
    """

    _signal_type = "beam_deflection"

    def to_electric_field(
        self, thickness: float, units: str = "V/angstrom", beam_energy: float | None = None
    ) -> ElectricField:
        r"""Mean electric field along the path of the electrons.

        .. math:: E = -\frac{\gamma m_0 v^2}{e\, t}\, \theta

        (Müller et al., Nat. Commun. 5 (2014) 5653; Lazić et al., Ultramicroscopy 160 (2016) 265).
        Where the electrons go to the right, the field points to the left.

        Parameters
        ----------
        thickness : float
            Of the specimen in nm.
        units : {"V/angstrom", "V/nm", "V/m", "MV/cm"}
            Of the field.
        beam_energy : float, optional
            In keV. That of ``metadata.Acquisition_instrument.TEM.beam_energy`` by default.

        Returns
        -------
        ElectricField
            Of the same scan. Lazy if this signal is.

        Raises
        ------
        ValueError
            If the deflection is not an angle, thickness or beam energy is missing or not positive,
            or the unit is not known.

        Notes
        -----
        Valid for a thin phase object. For a crystal of more than a few nm the result is no more
        than an apparent field.
        """
        angles = self.data * self._milliradians()
        if beam_energy is None:
            beam_energy = self._beam_energy_of_metadata()
        field = self._deepcopy_with_new_data(
            deflection_to_field(angles, thickness, beam_energy, units)
        )
        field.set_signal_type("electric_field")
        del field.metadata.VectorMetadata
        field.units = units
        field.metadata.set_item("Electric_field.thickness", float(thickness))
        field.metadata.set_item("Electric_field.beam_energy", float(beam_energy))
        return field

    def to_beam_shift(self):
        """Shifts that take the deflection back, with pyxem's sign and in px.

        They are fit for pyxem's `center_direct_beam(shifts=...)`, which then brings the beam of
        each pattern to the place the deflection counts from. Measure the deflection with
        ``centre=(width / 2, height / 2)`` to bring it to the middle of the detector, as pyxem's
        own `get_direct_beam_position` does.

        Returns
        -------
        pyxem.signals.BeamShift
            Minus the deflection, in px. Lazy if this signal is.

        Raises
        ------
        ValueError
            If the deflection is an angle, and the size of a detector pixel is not in the metadata.
        """
        shift = self._deepcopy_with_new_data(-self.data / self._units_per_pixel())
        shift.set_signal_type("beam_shift")
        shift.units = ["px", "px"]
        shift.column_names = ["x-shift", "y-shift"]
        metadata = shift.metadata
        if metadata.has_item("Beam_deflection"):
            del metadata.Beam_deflection
        metadata.set_item("Signal.quantity", "Beam shift (px)")
        return shift

    def calibrate_electric_shifts(self, thickness: float) -> ElectricField:
        """Electric field in MV/cm, under pyxem's name; see `to_electric_field`.

        pyxem's own method of this name is right for the sign of a deflection, which is that of
        this class, and gives the opposite of the field for its own beam shifts.

        Parameters
        ----------
        thickness : float
            Of the specimen in nm.

        Returns
        -------
        ElectricField
            In MV/cm.
        """
        return self.to_electric_field(thickness, units="MV/cm")

    def pixels_to_calibrated_units(self, signal_axes=None, inplace=False, **kwargs):
        """Not needed: a deflection is in mrad as soon as the detector is calibrated.

        Raises
        ------
        ValueError
            Always. pyxem's method would scale a second time what has its scale already.
        """
        raise ValueError(
            "A deflection takes its units from the detector when it is measured. Calibrate the "
            "detector's axes, in mrad or in 1/angstrom with a beam energy, and call "
            "s.emsparse.beam_deflection() again."
        )

    def _beam_energy_of_metadata(self) -> float:
        path = "Acquisition_instrument.TEM.beam_energy"
        beam_energy = self.metadata.get_item(path, default=None)
        if beam_energy is None:
            raise ValueError(
                "The field depends on the beam energy, which is not known. Pass beam_energy=300 "
                f"(in keV), or set it with s.metadata.set_item({path!r}, 300)."
            )
        return beam_energy

    def _milliradians(self) -> np.ndarray:
        """Size of the units of x and y in mrad."""
        sizes = [milliradians_per_unit(str(units)) for units in self.units]
        if None in sizes:
            raise ValueError(
                f"The deflection is in {self.units}, and an angle is needed. Calibrate the "
                "detector's axes, in mrad, or in 1/angstrom with the beam energy in the metadata "
                '(s.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 300)), and measure '
                "again; or multiply the deflection by the angle of a pixel in mrad and set its "
                'units to ["mrad", "mrad"].'
            )
        return np.array(sizes, float)

    def _units_per_pixel(self) -> np.ndarray:
        scale = self.metadata.get_item("Beam_deflection.scale", default=None)
        if scale is not None:
            return np.array(scale, float)
        if list(self.units) == ["px", "px"]:
            return np.ones(2)
        raise ValueError(
            f"The deflection is in {self.units}, and how much a detector pixel is in these units "
            'is not known. Set it with s.metadata.set_item("Beam_deflection.scale", [x, y]).'
        )

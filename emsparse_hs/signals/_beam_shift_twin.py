# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ties a deflection to pyxem's beam shifts, which have the opposite sign."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emsparse_hs.signals._scan_maps import set_variance, variance_of

if TYPE_CHECKING:
    from emsparse_hs.signals._electric_field import ElectricField


class BeamShiftTwin:
    """Mixin for `BeamDeflection`: to pyxem's class, and its methods with the sign that is right."""

    # Of the signal class that this is mixed into.
    data: Any
    metadata: Any
    units: Any
    to_electric_field: Any
    _deepcopy_with_new_data: Any

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
            If the deflection is an angle, and the size of a detector pixel is not in the metadata;
            or it was rotated, so that it is no longer in the frame of the detector.
        """
        sizes, variance = self._units_per_pixel(), variance_of(self)
        shift = self._deepcopy_with_new_data(-self.data / sizes)
        shift.set_signal_type("beam_shift")
        shift.units = ["px", "px"]
        shift.column_names = ["x-shift", "y-shift"]
        metadata = shift.metadata
        if metadata.has_item("Beam_deflection"):
            del metadata.Beam_deflection
        metadata.set_item("Signal.quantity", "Beam shift (px)")
        if variance is not None:
            set_variance(shift, variance / sizes**2)
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

    def _units_per_pixel(self) -> np.ndarray:
        if self.metadata.get_item("Beam_deflection.is_rotated", default=False):
            raise ValueError(
                "The deflection was rotated into the frame of the scan, and patterns are shifted "
                "in that of the detector. Take to_beam_shift() of the deflection before rotate()."
            )
        scale = self.metadata.get_item("Beam_deflection.scale", default=None)
        if scale is not None:
            return np.array(scale, float)
        if list(self.units) == ["px", "px"]:
            return np.ones(2)
        raise ValueError(
            f"The deflection is in {self.units}, and how much a detector pixel is in these units "
            'is not known. Set it with s.metadata.set_item("Beam_deflection.scale", [x, y]).'
        )

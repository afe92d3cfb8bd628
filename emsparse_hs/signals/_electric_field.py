# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of electric fields."""

from __future__ import annotations

from hyperspy.signals import Signal1D

from emsparse_hs.signals._vector_map import VectorMap


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

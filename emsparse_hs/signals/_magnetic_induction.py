# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of magnetic induction."""

from __future__ import annotations

from hyperspy.signals import Signal1D

from emsparse_hs.signals._vector_map import VectorMap


class MagneticInduction(VectorMap, Signal1D):
    """Magnetic induction in the plane of the specimen.

    The navigation axes are the scan, the signal axis holds the components (x, y). x points to the
    right and y downwards, as the detector's array lies. Units, thickness and beam energy are in
    ``metadata.Magnetic_induction``.
    """

    _signal_type = "magnetic_induction"

    @property
    def units(self) -> str | None:
        """Unit of the data: "T", or "T nm" for induction times thickness; None if not said."""
        return self.metadata.get_item("Magnetic_induction.units", default=None)

    @units.setter
    def units(self, units: str) -> None:
        self.metadata.set_item("Magnetic_induction.units", units)
        self.metadata.set_item("Signal.quantity", f"Magnetic induction ({units})")

    @property
    def thickness(self) -> float | None:
        """Thickness of the specimen in nm that the induction was calculated with, if any."""
        return self.metadata.get_item("Magnetic_induction.thickness", default=None)

    @property
    def beam_energy(self) -> float | None:
        """Beam energy in keV that the induction was calculated with."""
        return self.metadata.get_item("Magnetic_induction.beam_energy", default=None)

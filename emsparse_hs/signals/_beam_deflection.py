# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of the deflection of the beam."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from emsparse_hs._masks import as_mask
from emsparse_hs._optional import require
from emsparse_hs.signals._beam_shift_twin import BeamShiftTwin
from emsparse_hs.signals._scan_maps import (
    beam_energy_of,
    computed,
    eager_twin,
    scan_step,
    set_variance,
    variance_of,
)
from emsparse_hs.signals._vector_map import VectorMap
from emsparse_hs.stem4d.descan import descan_surface
from emsparse_hs.stem4d.field import (
    deflection_to_field,
    deflection_to_induction,
    milliradians_per_unit,
)
from emsparse_hs.stem4d.scan_rotation import (
    ScanRotation,
    rotate_vectors,
    rotation_matrix,
    scan_rotation,
)

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from pyxem.signals import BeamShift

    from emsparse_hs.signals._electric_field import ElectricField
    from emsparse_hs.signals._magnetic_induction import MagneticInduction
else:
    BeamShift = require("pyxem.signals", extra="diffraction").BeamShift

#: Significance, in standard deviations, from which on the sign of what stands out is believed.
_SURE_OF_POLARITY = 3

#: How much more curl the wrong handedness leaves at the least where the right one is believed.
_SURE_OF_FLIP = 1.5


class BeamDeflection(VectorMap, BeamShiftTwin, BeamShift):
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

    def subtract_descan(
        self,
        order: int = 1,
        mask: BaseSignal | np.ndarray | None = None,
        reference: BeamDeflection | None = None,
        robust: bool = True,
    ) -> BeamDeflection:
        """Subtract the slow drift of the beam over the scan, a smooth surface in x and in y.

        Parameters
        ----------
        order : {1, 2}
            Plane, or polynomial of second order.
        mask : BaseSignal or array of bool, optional
            True where a position is left out of the fit, such as on the specimen. Of the scan, or
            of all positions of a stack of scans; an array in HyperSpy's order (x, y).
        reference : BeamDeflection, optional
            Of the same scan without the specimen, measured with the same ``centre``. The surface is
            then fitted to it, and the mask is its own. If that centre is a place or "axes", and not
            the mean of each scan, the reference is also the zero of the result.
        robust : bool
            Whether the fit leaves out by itself what is off the surface, as a specimen that covers
            up to a third of the scan. See `emsparse_hs.stem4d.descan_surface`.

        Returns
        -------
        BeamDeflection
            A new one, computed even if this signal is lazy. Each scan of a stack has its own
            surface, a line scan a line. The variance stays: that of the fit is neglected.

        Raises
        ------
        ValueError
            If there is no scan, the reference has another shape, unit or centre, the order is not
            known or too few positions count.
        TypeError
            If the mask is not boolean, or the reference no deflection.
        """
        data, variance = computed(self)
        source = data if reference is None else self._checked_reference(reference)
        scan_dimension = min(2, data.ndim - 1)
        if not scan_dimension:
            raise ValueError(f"{self!r} has no scan, so that there is no drift to subtract.")
        scan = data.shape[-1 - scan_dimension : -1]
        # One mask of the scan does for all scans of a stack.
        of_scan = getattr(getattr(mask, "data", mask), "ndim", data.ndim - 1) == scan_dimension
        masked = as_mask(mask, scan if of_scan else data.shape[:-1], "navigation", flip=True)
        keep = np.ones(data.shape[:-1], bool)
        if masked is not None:
            keep &= ~masked
        scans = zip(source.reshape(-1, *scan, 2), keep.reshape(-1, *scan), strict=True)
        surfaces = [descan_surface(one, order, kept, robust) for one, kept in scans]
        return eager_twin(self, data - np.reshape(surfaces, data.shape), variance)

    def estimate_scan_rotation(
        self, flip: bool | str = "auto", polarity: str = "auto"
    ) -> ScanRotation:
        r"""Rotation and handedness between detector and scan, from the curl of the deflection.

        In the frame of the scan the deflection by any electrostatic potential has no curl. The
        angle is found in closed form, with the weights of maximum likelihood; see
        `emsparse_hs.stem4d.scan_rotation`. Magnetic deflections have no divergence instead, so that
        the angle found for them is 90 degrees off. Subtract the descan first.

        Parameters
        ----------
        flip : {"auto", True, False}
            Whether y of the detector is mirrored. By default what leaves less curl.
        polarity : {"auto", "positive", "negative"}
            Curl can't tell the angle from the one half a turn away. "positive", and "auto": what
            stands out of the scan has a positive charge, as atoms have, to which electrons
            converge, so that the divergence of the deflection has its long tail on the negative
            side. "negative": the opposite.

        Returns
        -------
        ScanRotation
            Angle and its standard deviation in degrees, flip, and how certain these are; for
            `rotate`.

        Raises
        ------
        ValueError
            If the scan has not two uniform axes of the same unit with at least 8 positions, the
            deflection is the same everywhere, or an option is not known.

        Warns
        -----
        UserWarning
            If `polarity` is "auto", and what stands out is not clear enough to tell; or `flip` is,
            and both handednesses leave about as much curl.
        """
        step, _ = scan_step(self)
        data, _ = computed(self)
        if data.ndim != 3:
            raise ValueError(
                f"{self!r} is a stack of scans. Choose one with s.inav, or average those of the "
                "same rotation with s.mean(axis=...)."
            )
        found = scan_rotation(data, flip, polarity, step)
        if flip == "auto" and found.other_curl_ratio < _SURE_OF_FLIP * found.curl_ratio:
            warnings.warn(
                f"Whether y is mirrored is a guess: {found.curl_ratio:.2g} of the power is curl if "
                f"flip={found.flip}, and {found.other_curl_ratio:.2g} if not. Decide with another "
                "scan of the same microscope, and pass flip=True or False.",
                stacklevel=2,
            )
        if polarity == "auto" and found.polarity_significance < _SURE_OF_POLARITY:
            warnings.warn(
                f"The angle of {found.angle:.1f} degrees may be wrong by 180: charges of both "
                "signs stand out alike. Decide with what is known of the specimen, and pass "
                'polarity="positive" or "negative".',
                stacklevel=2,
            )
        return found

    def rotate(self, angle: float | ScanRotation, flip: bool = False) -> BeamDeflection:
        r"""Rotate the vectors, in their places, into the frame of the scan.

        .. math:: x' = x \cos a - y \sin a, \quad y' = x \sin a + y \cos a

        with -y for y if flipped.

        Parameters
        ----------
        angle : float or ScanRotation
            In degrees, positive from +x (right) to +y (down), clockwise on a screen; or what
            `estimate_scan_rotation` gives, which holds angle and flip.
        flip : bool
            Whether the sign of y is changed first.

        Returns
        -------
        BeamDeflection
            A new one, lazy if this signal is. With a variance, that of each component: rotation
            correlates their errors where they were not the same, and that is neglected.

        Raises
        ------
        ValueError
            If the two components have different units.
        """
        if isinstance(angle, ScanRotation):
            angle, _, flip, *_ = angle
        if len(set(map(str, self.units))) > 1:
            raise ValueError(
                f"The components are in {self.units}. Bring them to one unit before rotating."
            )
        variance = variance_of(self)
        rotated = self._deepcopy_with_new_data(rotate_vectors(self.data, angle, flip))
        rotated.metadata.set_item("Beam_deflection.is_rotated", True)
        if variance is not None:
            set_variance(rotated, variance @ (rotation_matrix(angle, flip) ** 2).T)
        return rotated

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
        units : {"V/angstrom", "V/Å", "V/nm", "V/m", "MV/cm"}
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
        angles, beam_energy = self._milliradians(beam_energy)
        matrix = deflection_to_field(np.diag(angles), thickness, beam_energy, units)
        field = self._converted(matrix, "electric_field")
        field.units = units
        field.metadata.set_item("Electric_field.thickness", float(thickness))
        field.metadata.set_item("Electric_field.beam_energy", float(beam_energy))
        return field

    def to_magnetic_induction(
        self, thickness: float | None = None, beam_energy: float | None = None
    ) -> MagneticInduction:
        r"""Magnetic induction in the plane of the specimen.

        .. math:: B_x t = -\frac{h}{e \lambda} \theta_y, \quad B_y t = \frac{h}{e \lambda} \theta_x

        from the force :math:`F = -e\, v \times B` (Chapman, J. Phys. D 17 (1984) 623). x points to
        the right, y downwards, and the beam away from the viewer: the image shows the specimen as
        seen from the source. Seen from the other side the sign of B is the opposite. Where
        electrons go to the right, the induction points downwards.

        Parameters
        ----------
        thickness : float, optional
            Of the specimen in nm. Without it the result is induction times thickness.
        beam_energy : float, optional
            In keV. That of ``metadata.Acquisition_instrument.TEM.beam_energy`` by default.

        Returns
        -------
        MagneticInduction
            In T, or T nm without thickness. Lazy if this signal is. `rotate` the deflection into
            the frame of the scan before.

        Raises
        ------
        ValueError
            If the deflection is not an angle, thickness or beam energy is not positive, or the beam
            energy is not known.

        Notes
        -----
        An electric field deflects too, and a single measurement can't tell the two apart.
        """
        angles, beam_energy = self._milliradians(beam_energy)
        matrix = deflection_to_induction(np.diag(angles), thickness, beam_energy)
        induction = self._converted(matrix, "magnetic_induction")
        induction.units = "T nm" if thickness is None else "T"
        if thickness is not None:
            induction.metadata.set_item("Magnetic_induction.thickness", float(thickness))
        induction.metadata.set_item("Magnetic_induction.beam_energy", float(beam_energy))
        return induction

    def _checked_reference(self, reference: BeamDeflection) -> np.ndarray:
        if not isinstance(reference, BeamDeflection):
            raise TypeError(
                f"The reference is {reference!r}. Pass a BeamDeflection of the scan without "
                "specimen, as s.emsparse.beam_deflection() gives it."
            )
        centres = [
            each.metadata.get_item("Beam_deflection.centre", default=None)
            for each in (self, reference)
        ]
        if centres[0] != centres[1]:
            raise ValueError(
                f"The deflection counts from {centres[0]!r}, the reference from {centres[1]!r}. "
                'Measure both with the same centre; if that is a place (x, y) or "axes", the '
                "reference is also the zero of the result."
            )
        if reference.data.shape != self.data.shape or list(reference.units) != list(self.units):
            raise ValueError(
                f"The reference has shape {reference.data.shape} in {reference.units}, and "
                f"{self.data.shape} in {self.units} is needed. Crop or rebin one of the two scans, "
                "and measure both with the same calibration."
            )
        return computed(reference)[0]

    def _converted(self, matrix: np.ndarray, signal_type: str):
        """Deflection times a matrix, and its variance, as a signal of another type."""
        variance = variance_of(self)
        result = self._deepcopy_with_new_data(self.data @ matrix)
        result.set_signal_type(signal_type)
        del result.metadata.VectorMetadata
        if variance is not None:
            set_variance(result, variance @ matrix**2)
        return result

    def _milliradians(self, beam_energy: float | None) -> tuple[np.ndarray, float]:
        """Size of the units of x and y in mrad, and the beam energy in keV."""
        if beam_energy is None:
            path = "Acquisition_instrument.TEM.beam_energy"
            beam_energy = self.metadata.get_item(path, default=None)
        sizes = [milliradians_per_unit(str(units), beam_energy) for units in self.units]
        # That it is an angle comes first: without one no beam energy helps.
        if None in sizes:
            raise ValueError(
                f"The deflection is in {self.units}, and an angle is needed. Calibrate the "
                "detector's axes, in mrad, or in 1/angstrom with the beam energy in the metadata "
                '(s.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 300)), and measure '
                "again; or multiply the deflection by the angle of a pixel in mrad and set its "
                'units to ["mrad", "mrad"].'
            )
        return np.array(sizes, float), beam_energy_of(self) if beam_energy is None else beam_energy

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for scans of diffraction patterns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from emsparse_hs._optional import require
from emsparse_hs.accessor._base import frame_shape
from emsparse_hs.accessor._beam import check_arguments, find_beam, finder_of
from emsparse_hs.accessor._grouping import GroupingMethods
from emsparse_hs.accessor._unit_cells import UnitCellMethods
from emsparse_hs.blocks import Blocks
from emsparse_hs.signals._provenance import kept_metadata
from emsparse_hs.signals._scan_maps import set_variance
from emsparse_hs.stem4d import annulus as ring
from emsparse_hs.stem4d import milliradians_per_unit

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from numpy.typing import ArrayLike

    from emsparse_hs.signals import BeamDeflection, TiltSeries


#: Units of detectors that have not been calibrated.
_NO_ANGLES = {"", "<undefined>", "None", "px", "pixel", "pixels", "um", "µm", "mm", "cm", "m"}


class DiffractionMethods(UnitCellMethods, GroupingMethods):
    """Methods for scans of diffraction patterns: 4D-STEM and its relatives."""

    _kind = "diffraction patterns"
    _made_by = "Move the patterns to the signal axes with s.transpose(signal_axes=2)."

    def beam_deflection(
        self,
        method: str = "centroid",
        *,
        mask=None,
        annulus: tuple[float, float] | None = None,
        centre: str | Sequence[float] = "mean",
        threshold: float | None = None,
        reference=None,
        radius: float | None = None,
        edge_width: float | None = None,
        dose_per_count: float = 1.0,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> BeamDeflection:
        """Deflection of the beam at each position of the scan, with its standard deviation.

        Parameters
        ----------
        method : {"centroid", "disc", "template", "edge"}
            How the beam is found. "centroid": the centre of mass of the counts, the fastest and
            right for thin phase objects. "disc": the most probable place of a disc whose intensity
            may be spread unevenly, as it is in crystals and at boundaries, where a centre of mass
            is not that of the disc. "template": correlation with a reference pattern. "edge":
            correlation of rims. Only the centroid is exact where the field varies over the probe;
            only the sigma of the disc covers uneven intensity. See `emsparse_hs.stem4d` and there
            `centroid`, `fit_disc`, `match_template` and `match_edge`.
        mask : BaseSignal or bool array of shape (y, x), optional
            True where a detector pixel is ignored: a dead one, a beam stop.
        annulus : (float, float), optional
            Inner and outer radius in px of the part of the detector that counts, around `centre`,
            or around the middle of the detector if `centre` is "mean". For a ring elsewhere pass
            ``mask=~emsparse_hs.stem4d.annulus(shape, centre, inner, outer)``.
        centre : "mean", "axes" or (float, float)
            What the deflection counts from. "mean": the mean over the scan, since where the beam
            goes without a specimen is seldom known (a mean field is lost with it). "axes": the zero
            of the detector's axes. (x, y): a place on the detector in px, the first pixel at
            (0, 0).
        threshold : float, optional
            For "centroid": pixels below so many times the mean of their frame are ignored.
        reference : BaseSignal or array of shape (y, x), optional
            For "template" and "edge": the pattern that is looked for, best one without the
            specimen. For "disc": what radius and edge width are estimated from. Of a scan the mean
            is taken, or, for "disc", each pattern. Some hundred patterns of the signal itself by
            default, which are read at once, also for a lazy result. From these "disc" learns in any
            case what contrast to expect.
        radius, edge_width : float, optional
            For "disc", in px, if they are known: where the intensity is half of that inside, and
            the standard deviation of the blur of the edge. Estimated by default.
        dose_per_count : float, optional
            Electrons a count, which the standard deviation depends on: 1 for detectors that count.
        show_progressbar, num_workers
            As in HyperSpy.
        lazy_output : bool, optional
            Whether to compute nothing yet. As the signal is, by default.

        Returns
        -------
        BeamDeflection
            In mrad where the detector's axes are in mrad, rad, degrees, or 1/angstrom or 1/nm with
            a beam energy in the metadata; in px otherwise. Positive where the electrons go: x to
            the right and y downwards, as the array of a frame lies. Its `sigma` is the standard
            deviation from the counts' noise.

        Raises
        ------
        ValueError
            If the method or the centre is not known, an argument is of another method, there are
            no navigation axes, the signal is not of two dimensions, mask and annulus leave no
            pixel, no disc is found to take radius and edge width of, or a number is out of range.
        TypeError
            If the data are complex or ragged.

        Warns
        -----
        UserWarning
            If frames without counts, without a beam that could be found, or with NaN, have no
            deflection: it is NaN, and they don't count in the mean. If the centre of others lies
            outside the detector, as it may where negative counts outweigh positive ones. Neither
            is said of a lazy result.
        """
        shape = frame_shape(self._signal)
        zero = _zero_of_deflection(self._signal, centre)
        given = {
            "threshold": threshold,
            "reference": reference,
            "radius": radius,
            "edge_width": edge_width,
        }
        check_arguments(method, given)
        pixels = _pixels_that_count(self._signal, mask, annulus, zero)
        blocks = Blocks.of(self._signal)
        finder = finder_of(method, blocks, pixels, dose_per_count, given)
        lazy = self._signal._lazy if lazy_output is None else lazy_output
        found = blocks.map(
            find_beam,
            shape,
            pixels,
            *finder,
            output_shape=(4,),
            lazy_output=lazy,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )
        if not lazy:
            _warn_of_bad_frames(found[..., :2], shape, method)
        scale, units = _calibration(self._signal)
        positions = found[..., :2]
        deflection = (positions - (_mean(positions) if zero is None else zero)) * scale
        about = {
            "method": method,
            "centre": centre if isinstance(centre, str) else [float(value) for value in centre],
            "scale": scale.tolist(),
            "dose_per_count": float(dose_per_count),
        } | finder.about()
        variance = (found[..., 2:] * scale) ** 2
        return _as_beam_deflection(self._signal, deflection, variance, units, about)

    def as_tilt_series(self, tilts: ArrayLike) -> TiltSeries:
        """Return images that are no patterns but a tilt series as such, with the data shared.

        Parameters
        ----------
        tilts : array of shape (tilt,)
            In degrees. Of two navigation axes, as of maps of several elements at each tilt, they
            are for the one called "Tilt", or else of that length.

        Returns
        -------
        TiltSeries
            Lazy if the signal is. The signal is left as it is.

        Raises
        ------
        ValueError
            If the tilts can't be those of the images.
        """
        from emsparse_hs.accessor._tilt_series import as_tilt_series

        return as_tilt_series(self._signal, tilts)


def _zero_of_deflection(signal: BaseSignal, centre) -> np.ndarray | None:
    """Place on the detector (x, y) in px that the deflection counts from; None for the mean."""
    if isinstance(centre, str) and centre == "mean":
        return None
    if isinstance(centre, str) and centre == "axes":
        return np.array(_zero_of_axes(signal))
    place = np.array(np.nan) if isinstance(centre, str) else np.asarray(centre, float)
    if place.shape != (2,) or not np.isfinite(place).all():
        raise ValueError(f'The centre is {centre!r}. Pass "mean", "axes" or (x, y) in px.')
    return place


def _pixels_that_count(signal: BaseSignal, mask, annulus, zero) -> np.ndarray | None:
    """Detector pixels that are not ignored, or None if all count."""
    shape = frame_shape(signal)
    keep = np.ones(shape, bool)
    if mask is not None:
        # Masks come in many forms, which the driver knows; one pattern is enough to ask it.
        first = (slice(0, 1),) * signal.axes_manager.navigation_dimension
        keep &= Blocks.of(signal.inav[first] if first else signal, signal_mask=mask).signal_keep
    if annulus is not None:
        middle = ((shape[1] - 1) / 2, (shape[0] - 1) / 2)
        keep &= ring(shape, middle if zero is None else tuple(zero), *annulus)
    if not keep.any():
        raise ValueError(
            "Mask and annulus leave no detector pixel. True in the mask means ignored; radii are "
            f"in px of frames of {shape[1]} x {shape[0]} px."
        )
    return None if keep.all() else keep


def _mean(positions):
    """Mean over the scan of the positions that there are, lazy if they are."""
    scan = tuple(range(positions.ndim - 1))
    if isinstance(positions, da.Array):
        return da.nanmean(positions, axis=scan)
    if np.isnan(positions).all():
        return np.full(2, np.nan)
    return np.nanmean(positions, axis=scan)


def _zero_of_axes(signal: BaseSignal) -> tuple[float, float]:
    axes = signal.axes_manager.signal_axes
    if not all(axis.is_uniform for axis in axes) or not any(axis.offset for axis in axes):
        raise ValueError(
            "The detector's axes don't say where their zero is. Set their offset, or pass centre "
            "as (x, y) in px."
        )
    return -axes[0].offset / axes[0].scale, -axes[1].offset / axes[1].scale


def _calibration(signal: BaseSignal) -> tuple[np.ndarray, str]:
    """Size of a detector pixel in x and y, and its unit."""
    axes = signal.axes_manager.signal_axes
    beam_energy = signal.metadata.get_item("Acquisition_instrument.TEM.beam_energy", default=None)
    try:
        sizes = [milliradians_per_unit(str(axis.units), beam_energy) for axis in axes]
    except ValueError as error:
        warnings.warn(f"{error} The deflection is given in px.", stacklevel=3)
        return np.ones(2), "px"
    unknown = {str(axis.units) for axis, size in zip(axes, sizes, strict=True) if size is None}
    if unknown - _NO_ANGLES:
        warnings.warn(
            f"The detector's axes are in {', '.join(sorted(unknown))}, which is no angle that is "
            "known: the deflection is given in px. Known are mrad, rad, deg, and 1/angstrom or "
            "1/nm with a beam energy.",
            stacklevel=3,
        )
    if unknown or not all(axis.is_uniform for axis in axes):
        return np.ones(2), "px"
    # A falling axis says how the plot is labelled; the deflection follows the array.
    return np.array([abs(axes[i].scale) * sizes[i] for i in range(2)]), "mrad"


def _warn_of_bad_frames(positions: np.ndarray, shape: tuple[int, int], method: str) -> None:
    """Say once how many frames have no centre, or one that makes no sense."""
    lost = np.isnan(positions).any(-1)
    edges = np.array(shape[::-1]) - 1
    outside = ~lost & ((positions < 0) | (positions > edges)).any(-1)
    if lost.any():
        warnings.warn(
            f"{lost.sum()} of {lost.size} frames have no counts, NaN among them, or no beam that "
            "could be found: their deflection is NaN.",
            stacklevel=3,
        )
    # A disc may well have its centre outside; a centre of mass of counts can't.
    if method == "centroid" and outside.any():
        warnings.warn(
            f"The centre of mass of {outside.sum()} of {outside.size} frames lies outside the "
            "detector, since negative counts outweigh positive ones. Subtract less background, or "
            "take a smaller part of the detector with annulus or mask.",
            stacklevel=3,
        )


def _as_beam_deflection(signal: BaseSignal, deflection, variance, units: str, about: dict):
    """The result as a signal of the same scan."""
    require("pyxem", extra="diffraction")
    from emsparse_hs.signals import BeamDeflection, LazyBeamDeflection

    scan = [axis.get_axis_dictionary() for axis in signal.axes_manager.navigation_axes[::-1]]
    component = {"size": 2, "name": "component", "navigate": False}
    metadata = kept_metadata(signal) | {"Beam_deflection": about}
    kind = LazyBeamDeflection if isinstance(deflection, da.Array) else BeamDeflection
    result = kind(deflection, axes=[*scan, component], metadata=metadata)
    result.units = [units, units]
    result.column_names = ["x", "y"]
    result.metadata.set_item("Signal.quantity", f"Deflection ({units})")
    set_variance(result, variance)
    return result

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for EBSD patterns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
from hyperspy.signals import LazySignal2D, Signal2D

from emsparse_hs._masks import as_mask
from emsparse_hs.accessor._base import SignalMethods, frame_shape
from emsparse_hs.blocks import Blocks
from emsparse_hs.ebsd.bands import MIN_CONTRAST, check_wanted, detect_bands
from emsparse_hs.ebsd.geometry import as_pattern_centre
from emsparse_hs.ebsd.radon import STEP, radon_angles, radon_transform
from emsparse_hs.signals._provenance import kept_metadata

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

    from emsparse_hs.signals import KikuchiBands

#: What kikuchipy's detectors have where no pattern centre is known.
_UNKNOWN_CENTRE = (0.5, 0.5, 0.5)
#: How to say where the pattern centre is.
_SET_CENTRE = (
    "Pass pattern_centre=(PCx, PCy, PCz) in Bruker's convention (from the left in widths, from the "
    "top in heights, distance in heights), or set s.detector.pc of a kikuchipy signal."
)


class EBSDMethods(SignalMethods):
    """Methods for EBSD patterns: kikuchipy's signals, or any of two signal axes."""

    _kind = "EBSD patterns"
    _made_by = 'Install kikuchipy and use s.set_signal_type("EBSD").'

    def radon(
        self,
        pattern_centre=None,
        *,
        step: float = STEP,
        navigation_mask=None,
        signal_mask=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> Signal2D:
        """Radon transform along great circles, in which bands are points.

        Parameters
        ----------
        pattern_centre : array of shape (3,) or (..., 3), optional
            In Bruker's convention, one for all patterns or one each in the order of the data.
            That of ``s.detector`` by default.
        step : float
            Of both angles in degrees.
        navigation_mask : BaseSignal or bool array, optional
            True where patterns are left out: the transform is NaN there.
        signal_mask : BaseSignal or bool array of shape (y, x), optional
            True where a detector pixel is left out, such as outside a round screen.
        show_progressbar, num_workers
            As in HyperSpy.
        lazy_output : bool, optional
            Whether to compute nothing yet. As the signal is, by default.

        Returns
        -------
        Signal2D
            Over azimuth (from 0 to 180 degrees) and elevation (in degrees), see
            `emsparse_hs.ebsd.radon.radon_transform`. NaN where a great circle meets no pixel.

        Raises
        ------
        ValueError
            If the pattern centre is not known or does not fit, or a mask does not fit.
        TypeError
            If the data are complex or ragged.
        """
        centres = self._pattern_centres(pattern_centre)
        shape = frame_shape(self._signal)
        azimuths, elevations = radon_angles(shape, centres.reshape(-1, 3), step)
        data = self._map(
            _radon_rows,
            centres,
            (azimuths, elevations),
            (navigation_mask, signal_mask),
            output_shape=(elevations.size, azimuths.size),
            dtype=np.float32,
            lazy_output=self._signal._lazy if lazy_output is None else lazy_output,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )
        return _as_radon(self._signal, data, centres, azimuths, elevations)

    def detect_bands(
        self,
        n_bands: int = 12,
        pattern_centre=None,
        *,
        min_contrast: float = MIN_CONTRAST,
        navigation_mask=None,
        signal_mask=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> KikuchiBands:
        """Find the Kikuchi bands of each pattern: normals, half widths, contrasts.

        A static background, which all patterns share, is better removed before: with kikuchipy,
        ``s.remove_static_background()``. The broad background of each pattern is removed here.

        Parameters
        ----------
        n_bands : int
            Bands to find in each pattern.
        pattern_centre : array of shape (3,) or (..., 3), optional
            In Bruker's convention, one for all patterns or one each in the order of the data.
            That of ``s.detector`` by default. It should be right to 0.5 %.
        min_contrast : float
            Contrast that a band needs: where fewer bands have it, the rest is NaN. Noise alone has
            about one band a pattern above the default, and hardly any above 5.
        navigation_mask : BaseSignal or bool array, optional
            True where patterns are left out: their bands are NaN.
        signal_mask : BaseSignal or bool array of shape (y, x), optional
            True where a detector pixel is left out, such as outside a round screen.
        show_progressbar, num_workers
            As in HyperSpy.
        lazy_output : bool, optional
            Whether to compute nothing yet. As the signal is, by default.

        Returns
        -------
        KikuchiBands
            See `emsparse_hs.ebsd.bands.detect_bands` for the method.

        Raises
        ------
        ValueError
            If the pattern centre is not known or does not fit, `n_bands` is below 1,
            `min_contrast` below 0, or a mask does not fit.
        TypeError
            If the data are complex or ragged, or `n_bands` is not whole.
        """
        check_wanted(n_bands, min_contrast)
        frame_shape(self._signal)
        centres = self._pattern_centres(pattern_centre)
        data = self._map(
            _band_rows,
            centres,
            (n_bands, min_contrast),
            (navigation_mask, signal_mask),
            output_shape=(n_bands, 5 if centres.ndim == 1 else 8),
            dtype=np.float64,
            lazy_output=self._signal._lazy if lazy_output is None else lazy_output,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )
        return _as_bands(self._signal, data, centres)

    def _pattern_centres(self, pattern_centre) -> np.ndarray:
        """One pattern centre for all, or one for each pattern in the order of the data."""
        scan = self._signal.axes_manager._navigation_shape_in_array
        if pattern_centre is None:
            pattern_centre = _centre_of_detector(self._signal)
        centres = np.asarray(pattern_centre, float)
        if centres.ndim > 1:
            if centres.shape not in ((1, 3), (*scan, 3)):
                raise ValueError(
                    f"There are pattern centres of shape {centres.shape}, and the scan has the "
                    f"shape {scan}: (3,) or {(*scan, 3)} is needed. {_SET_CENTRE}"
                )
            flat = as_pattern_centre(centres.reshape(-1, 3))
            return flat[0] if (flat == flat[0]).all() else centres
        return as_pattern_centre(centres)

    def _map(self, function, centres, args, masks, **kwargs):
        """Work on each pattern with its pattern centre; also on a pattern without a scan."""
        blocks = _blocks(self._signal, *masks)
        if centres.ndim == 1:
            result = blocks.map(function, centres, blocks.signal_keep, *args, **kwargs)
        else:
            result = blocks.map(function, blocks.signal_keep, *args, per_pixel=[centres], **kwargs)
        return result if self._signal.axes_manager.navigation_dimension else result[0]


def _centre_of_detector(signal: BaseSignal) -> np.ndarray:
    """Pattern centres of a kikuchipy signal, in Bruker's convention as kikuchipy keeps them."""
    detector = getattr(signal, "detector", None)
    if detector is None:
        raise ValueError(f"{signal!r} has no pattern centre. {_SET_CENTRE}")
    centres = np.asarray(detector.pc, float)
    if (centres == _UNKNOWN_CENTRE).all():
        raise ValueError(
            f"The pattern centre is {_UNKNOWN_CENTRE}, which kikuchipy sets where it is not known. "
            f"{_SET_CENTRE} If it is right, pass it."
        )
    # kikuchipy keeps one axis where there is one centre for all.
    return centres.reshape(3) if centres.size == 3 else centres


def _blocks(signal: BaseSignal, navigation_mask, signal_mask) -> Blocks:
    if signal.axes_manager.navigation_dimension:
        return Blocks.of(signal, navigation_mask, signal_mask)
    # A pattern without a scan: a scan of one.
    mask = as_mask(signal_mask, frame_shape(signal), "signal")
    return Blocks.from_array(signal._data_aligned_with_axes[np.newaxis], 1, signal_mask=mask)


def _frames(rows: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Patterns of a block, zero where masked."""
    frames = np.zeros((len(rows), *keep.shape), rows.dtype)
    frames[:, keep] = rows
    return frames


def _radon_rows(rows, centre, keep, azimuths, elevations) -> np.ndarray:
    frames = _frames(rows, keep)
    return radon_transform(frames, centre, azimuths, elevations, ~keep).transpose(0, 2, 1)


def _band_rows(rows, centre, keep, n_bands: int, min_contrast: float) -> np.ndarray:
    frames = _frames(rows, keep)
    normals, half_widths, contrasts = detect_bands(frames, centre, n_bands, ~keep, min_contrast)
    columns = [normals, half_widths[..., None], contrasts[..., None]]
    if centre.ndim > 1:
        # Where pattern centres differ, each pattern keeps its own.
        columns.append(np.broadcast_to(centre[:, None], normals.shape))
    return np.concatenate(columns, axis=-1)


def _as_bands(signal: BaseSignal, data, centres) -> KikuchiBands:
    from emsparse_hs.signals import KikuchiBands, LazyKikuchiBands

    kind = LazyKikuchiBands if isinstance(data, da.Array) else KikuchiBands
    axes = [
        {"name": "band", "size": data.shape[-2], "navigate": False},
        {"name": "quantity", "size": data.shape[-1], "navigate": False},
    ]
    return kind(data, **_description(signal, axes, centres, "Kikuchi_bands", "Kikuchi bands"))


def _as_radon(signal: BaseSignal, data, centres, azimuths, elevations) -> Signal2D:
    kind = LazySignal2D if isinstance(data, da.Array) else Signal2D
    axes = [_angle("elevation", elevations), _angle("azimuth", azimuths)]
    return kind(data, **_description(signal, axes, centres, "Radon_transform", "Radon transform"))


def _angle(name: str, degrees: np.ndarray) -> dict:
    """An axis of angles."""
    return {
        "name": name,
        "units": "°",
        "size": degrees.size,
        "offset": float(degrees[0]),
        "scale": float(degrees[1] - degrees[0]),
        "navigate": False,
    }


def _description(signal: BaseSignal, axes: list[dict], centres, node: str, title: str) -> dict:
    """Axes and metadata of a result, the scan's own first."""
    scan = [axis.get_axis_dictionary() for axis in signal.axes_manager.navigation_axes[::-1]]
    metadata = kept_metadata(signal)
    metadata.setdefault("General", {})["title"] = f"{title}: {signal.metadata.General.title}"
    # The mean where centres differ: what is exact is in the data then.
    metadata[node] = {
        "pattern_centre": np.asarray(centres).reshape(-1, 3).mean(0).tolist(),
        "pattern_shape": list(frame_shape(signal)),
    }
    return {"axes": [*scan, *axes], "metadata": metadata}

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""EBSD patterns block by block: where their centres are, and what is made of each block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emsparse_hs._masks import as_mask
from emsparse_hs.accessor._base import frame_shape
from emsparse_hs.blocks import Blocks
from emsparse_hs.ebsd.bands import detect_bands
from emsparse_hs.ebsd.geometry import as_pattern_centre
from emsparse_hs.ebsd.radon import radon_transform

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

#: What kikuchipy's detectors have where no pattern centre is known.
_UNKNOWN_CENTRE = (0.5, 0.5, 0.5)
#: How to say where the pattern centre is.
_SET_CENTRE = (
    "Pass pattern_centre=(PCx, PCy, PCz) in Bruker's convention (from the left in widths, from the "
    "top in heights, distance in heights), or set s.detector.pc of a kikuchipy signal."
)


def _centre_of_detector(signal: BaseSignal, detector) -> np.ndarray:
    """Pattern centres of kikuchipy's detector, in Bruker's convention as kikuchipy keeps them."""
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


def pattern_centres_of(signal: BaseSignal, pattern_centre) -> np.ndarray:
    """One pattern centre for all, or one for each pattern in the order of the data."""
    scan = signal.axes_manager._navigation_shape_in_array
    if pattern_centre is None:
        pattern_centre = _centre_of_detector(signal, getattr(signal, "detector", None))
    elif hasattr(pattern_centre, "pc"):
        pattern_centre = _centre_of_detector(signal, pattern_centre)
    centres = np.asarray(pattern_centre, float)
    if centres.ndim > 1:
        if centres.shape not in ((1, 3), (*scan, 3)):
            raise ValueError(
                f"There are pattern centres of shape {centres.shape}, and the scan has the shape "
                f"{scan}: (3,) or {(*scan, 3)} is needed. {_SET_CENTRE}"
            )
        flat = as_pattern_centre(centres.reshape(-1, 3))
        return flat[0] if (flat == flat[0]).all() else centres
    return as_pattern_centre(centres)


def blocks_of(signal: BaseSignal, navigation_mask, signal_mask) -> Blocks:
    """Blocks of patterns; masks that are arrays have the order (y, x), as labels and maps have."""
    axes, data = signal.axes_manager, signal._data_aligned_with_axes
    off_screen = as_mask(signal_mask, frame_shape(signal), "signal")
    if axes.navigation_dimension:
        left_out = as_mask(navigation_mask, axes._navigation_shape_in_array, "navigation")
        return Blocks.from_array(data, axes.navigation_dimension, left_out, off_screen)
    if navigation_mask is not None:
        raise ValueError("There is one pattern, and a navigation mask is for a scan. Leave it out.")
    # A pattern without a scan: a scan of one.
    return Blocks.from_array(data[np.newaxis], 1, signal_mask=off_screen)


def _frames(rows: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """Patterns of a block, zero where masked."""
    frames = np.zeros((len(rows), *keep.shape), rows.dtype)
    frames[:, keep] = rows
    return frames


def radon_rows(rows, centre, keep, azimuths, elevations) -> np.ndarray:
    frames = _frames(rows, keep)
    return radon_transform(frames, centre, azimuths, elevations, ~keep).transpose(0, 2, 1)


def band_rows(rows, centre, keep, n_bands: int, min_contrast: float) -> np.ndarray:
    frames = _frames(rows, keep)
    bands = detect_bands(frames, centre, n_bands, ~keep, min_contrast)
    # A pattern without bands has a contrast of 0, and one that is left out, or all NaN, has none.
    seen = np.isfinite(rows).any(axis=1)
    bands.contrasts[seen, 0] = np.nan_to_num(bands.contrasts[seen, 0])
    columns = [bands.normals, *(quantity[..., None] for quantity in bands[1:])]
    if centre.ndim > 1:
        # Where pattern centres differ, each pattern keeps its own.
        columns.append(np.broadcast_to(centre[:, None], bands.normals.shape))
    return np.concatenate(columns, axis=-1)

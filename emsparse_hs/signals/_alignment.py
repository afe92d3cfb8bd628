# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Images of a tilt series moved by whole pixels, and turned only where that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emsparse_hs.signals._request import check_images
from emsparse_hs.tomography import series
from emsparse_hs.tomography.alignment import estimate_displacements, moved_image, turned_back
from emsparse_hs.tomography.axis_angle import estimate_axis_angle

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries


def align(signal: TiltSeries, angle: float | str) -> TiltSeries:
    """Aligned copy of a series; see `TiltSeries.align`."""
    return moved(signal, *displacements(signal, angle))


def displacements(signal: TiltSeries, angle: float | str) -> tuple[NDArray[np.intp], float]:
    """Pixels (across, along the tilt axis) by which images are displaced, (2, tilt), and angle."""
    check_images(signal)
    angle, tilts = _checked(angle), signal.tilts
    sinogram = series.sinogram_of(np.asarray(signal._data_aligned_with_axes), signal.tilt_axis)
    if isinstance(angle, str):
        angle = estimate_axis_angle(sinogram, tilts)
    found = estimate_displacements(turned_back(sinogram, angle), tilts)
    return np.rint(found).astype(int), angle


def moved(signal: TiltSeries, found: NDArray[np.intp], angle: float) -> TiltSeries:
    """Copy of a series with these displacements, and the angle of the tilt axis, undone."""
    images, axis = np.asarray(signal._data_aligned_with_axes), signal.tilt_axis
    if angle:
        images = images.astype(np.result_type(images, np.float32))
    sinogram = turned_back(series.sinogram_of(images, axis), angle)
    result = signal._deepcopy_with_new_data(np.empty_like(images))
    result._lazy = False
    result._assign_subclass()
    moved = series.sinogram_of(result.data, axis)
    for a, (shift, slide) in enumerate(found.T):
        moved[:, a] = moved_image(sinogram[:, a], -slide, -shift)
    about = {"shifts": found[0], "slides": found[1], "axis_angle": float(angle)}
    for name, values in about.items():
        result.metadata.set_item(f"Tomography.alignment.{name}", values)
    return result


def _checked(angle: float | str) -> float | str:
    if angle == "auto":
        return angle
    try:
        value = float(angle)
    except (TypeError, ValueError):
        value = np.nan
    if not abs(value) < 45:
        raise ValueError(
            f"The angle of the tilt axis is 'auto' or a number within 45 degrees, not {angle!r}. "
            "A vertical axis is set by s.set_tilts(s.tilts, axis='y')."
        )
    return value

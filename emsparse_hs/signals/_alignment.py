# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Images of a tilt series moved by whole pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emsparse_hs.signals._request import check_images
from emsparse_hs.tomography import series
from emsparse_hs.tomography.alignment import estimate_displacements, moved_image

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries


def align(signal: TiltSeries) -> TiltSeries:
    """Aligned copy of a series; see `TiltSeries.align`."""
    return moved(signal, displacements(signal))


def displacements(signal: TiltSeries) -> NDArray[np.intp]:
    """By how many pixels (across, along the tilt axis) each image is displaced: (2, tilt)."""
    check_images(signal)
    sinogram = series.sinogram_of(np.asarray(signal._data_aligned_with_axes), signal.tilt_axis)
    return np.rint(estimate_displacements(sinogram, signal.tilts)).astype(int)


def moved(signal: TiltSeries, found: NDArray[np.intp]) -> TiltSeries:
    """Copy of a series with these displacements undone."""
    images = np.asarray(signal._data_aligned_with_axes)
    axis = signal.tilt_axis
    sinogram = series.sinogram_of(images, axis)
    result = signal._deepcopy_with_new_data(np.empty_like(images))
    result._lazy = False
    result._assign_subclass()
    moved = series.sinogram_of(result.data, axis)
    for a, (shift, slide) in enumerate(found.T):
        moved[:, a] = moved_image(sinogram[:, a], -slide, -shift)
    for name, values in zip(("shifts", "slides"), found, strict=True):
        result.metadata.set_item(f"Tomography.alignment.{name}", values)
    return result

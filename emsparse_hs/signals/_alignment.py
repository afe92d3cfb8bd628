# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Images of a tilt series moved by whole pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emsparse_hs.signals._request import check_images
from emsparse_hs.tomography import estimate_displacements, series

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries


def align(signal: TiltSeries) -> TiltSeries:
    """Aligned copy of a series; see `TiltSeries.align`."""
    check_images(signal)
    images = np.asarray(signal._data_aligned_with_axes)
    axis = signal.tilt_axis
    sinogram = series.sinogram_of(images, axis)
    found = np.rint(estimate_displacements(sinogram, signal.tilts)).astype(int)
    result = signal._deepcopy_with_new_data(np.empty_like(images))
    result._lazy = False
    result._assign_subclass()
    moved = series.sinogram_of(result.data, axis)
    for a, (shift, slide) in enumerate(found.T):
        moved[:, a] = _moved(sinogram[:, a], -slide, -shift)
    for name, values in zip(("shifts", "slides"), found, strict=True):
        result.metadata.set_item(f"Tomography.alignment.{name}", values)
    return result


def _moved(image: NDArray, along: int, across: int) -> NDArray:
    """Image (slice, detector) moved by whole pixels, with the median of its border beyond it."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    result = np.full_like(image, np.median(border))
    (rows, from_rows), (columns, from_columns) = (
        _overlap(n, move) for n, move in zip(image.shape, (along, across), strict=True)
    )
    result[rows, columns] = image[from_rows, from_columns]
    return result


def _overlap(n: int, move: int) -> tuple[slice, slice]:
    """Where n moved pixels lie, and which they are."""
    move = int(np.clip(move, -n, n))
    return slice(max(move, 0), n + min(move, 0)), slice(max(-move, 0), n - max(move, 0))

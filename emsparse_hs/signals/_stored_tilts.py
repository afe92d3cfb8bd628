# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tilts that are in the metadata: those of etspy, of the stage, or of what was planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

_STAGE = "Acquisition_instrument.TEM.Stage.tilt_alpha"
#: What DigitalMicrograph was told before it recorded a stack.
_PLAN = "ImageList.TagGroup0.ImageTags.Tomography.Tomography_setup.Tilt_angles"


def stored_tilts(signal: BaseSignal) -> ArrayLike:
    """What etspy has in memory or wrote into the metadata, or what the microscope wrote.

    Raises
    ------
    ValueError
        If there is none of these.
    """
    # Of a TomoStack. They follow when it is sliced, as what it wrote when it was saved does not;
    # they are zero where etspy lost them, which is refused if they are nowhere else.
    own = None if signal._signal_type == "tilt_series" else getattr(signal, "tilts", None)
    if own is not None and np.any(_values(own)):
        return _values(own)
    stored = signal.metadata.get_item("Tomography.tilts", default=None)
    if stored is None:
        stored = own
    # The metadata of files that were stacked are those of the first of them.
    for find in (_of_each_file, _of_the_stage, _of_the_plan):
        stored = find(signal) if stored is None else stored
    if stored is None:
        raise ValueError(
            "There are no tilts in metadata.Tomography.tilts, where etspy stores them, nor one an "
            f"image in metadata.{_STAGE}, nor in the tags of DigitalMicrograph. Pass the angles in "
            "degrees, or the path of a .rawtlt, .tlt or .mdoc file."
        )
    return _values(stored)


def _values(stored: Any) -> ArrayLike:
    """Numbers of a signal, also of one that was saved as a dictionary, or of an array."""
    if hasattr(stored, "as_dictionary"):
        stored = stored.as_dictionary()
    return stored["data"] if isinstance(stored, Mapping) else getattr(stored, "data", stored)


def _of_the_stage(signal: BaseSignal) -> NDArray | None:
    """Tilts in the metadata of MRC and DM files: one an image, filled up with zeros or none.

    A single number there is the tilt of one image, and says nothing of the others.
    """
    stored = np.atleast_1d(np.asarray(signal.metadata.get_item(_STAGE, default=()), dtype=object))
    if stored.ndim != 1:
        return None
    try:
        values = stored.astype(np.float64)
    except (TypeError, ValueError):
        return None
    for n in sorted(axis.size for axis in signal.axes_manager.navigation_axes):
        if 1 < n <= len(values) and not values[n:].any():
            return values[:n]
    return None


def _of_each_file(signal: BaseSignal) -> NDArray | None:
    """Tilts of images that were files of their own, whose metadata `hyperspy.api.stack` keeps."""
    files = signal.original_metadata.get_item("stack_elements", default=None)
    if files is None:
        return None
    names = [f"element{k}.metadata.{_STAGE}" for k in range(len(files))]
    found = [files.get_item(name, default=None) for name in names]
    if any(value is None for value in found):
        return None
    # That of an MRC file is filled up with zeros.
    return np.array([np.ravel(value)[0] for value in found], np.float64)


def _of_the_plan(signal: BaseSignal) -> NDArray | None:
    """Tilts from one end to the other in even steps, as DigitalMicrograph was told to take.

    None unless they are as many as the images.
    """
    plan = signal.original_metadata.get_item(_PLAN, default=None)
    if plan is None or plan.get_item("Tilt_model", default="") != "equal":
        return None
    names = "Minimum_tilt_angle_deg", "Maximum_tilt_angle_deg", "Tilt_angle_step_deg"
    low, high, step = (float(plan.get_item(name, default=np.nan)) for name in names)
    direction = plan.get_item("Tilt_direction", default="")
    if not (low < high and step > 0) or direction not in ("min -> max", "max -> min"):
        return None
    steps = step * np.arange(int(np.floor((high - low) / step + 1e-6)) + 1)
    if len(steps) not in [axis.size for axis in signal.axes_manager.navigation_axes]:
        return None
    return low + steps if direction == "min -> max" else high - steps

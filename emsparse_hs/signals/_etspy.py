# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tilt series and tomograms as signals of etspy, which is imported for nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from emsparse_hs._optional import require
from emsparse_hs.signals._provenance import kept_metadata
from emsparse_hs.signals._request import check_even
from emsparse_hs.signals._spectral_series import check_one_map

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries
    from emsparse_hs.signals._tomogram import Tomogram


def to_tomo_stack(series: TiltSeries) -> Any:
    """TomoStack of a tilt series; see `TiltSeries.to_etspy`."""
    etspy = require("etspy.base", extra=None)
    check_one_map(series)
    check_even(series.axes_manager.signal_axes)
    tilts = series.tilts
    images = np.asarray(series._data_aligned_with_axes)
    x, y = series.axes_manager.signal_axes
    if series.tilt_axis == "y":
        images, x, y = images.transpose(0, 2, 1), y, x
    # The tilts themselves are beside it: this axis is for plots, and uniform whatever they are.
    step = float((tilts[-1] - tilts[0]) / max(1, len(tilts) - 1)) or 1.0
    projections = {"name": "Projections", "units": "degrees", "size": len(tilts), "navigate": True}
    projections |= {"offset": float(tilts[0]), "scale": step}
    return etspy.TomoStack(
        images,
        tilts=tilts,
        shifts=_shifts_of(series),
        axes=[projections, *_named([y, x], "yx")],
        metadata=kept_metadata(series),
    )


def to_rec_stack(tomogram: Tomogram) -> Any:
    """RecStack of a tomogram; see `Tomogram.to_etspy`."""
    etspy = require("etspy.base", extra=None)
    check_one_map(tomogram)
    axes = tomogram.axes_manager
    check_even(axes._axes)
    known = tomogram.metadata.get_item("Reconstruction", default=None)
    metadata = kept_metadata(tomogram)
    if known is not None:
        metadata["Reconstruction"] = known.as_dictionary()
    return etspy.RecStack(
        np.asarray(tomogram._data_aligned_with_axes),
        axes=_named([*axes.navigation_axes, *axes.signal_axes[::-1]], "xzy"),
        metadata=metadata,
    )


def _shifts_of(series: TiltSeries) -> Any:
    """By how much images were moved along (y, x): to etspy these are (across, along) the axis."""
    known = series.metadata.get_item("Tomography.alignment", default=None)
    if known is None:
        return None
    moved = -np.stack([np.asarray(known.shifts), np.asarray(known.slides)], axis=1).astype(float)
    # Of a part of the images it can't be told whose they are.
    return moved if len(moved) == len(series.tilts) else None


def _named(axes: Sequence, names: str) -> list[dict[str, Any]]:
    return [
        axis.get_axis_dictionary() | {"name": name}
        for axis, name in zip(axes, names[-len(axes) :], strict=True)
    ]

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Results of EBSD patterns as signals: bands, Radon transforms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np
from hyperspy.signals import LazySignal2D, Signal2D

from emsparse_hs.accessor._base import frame_shape
from emsparse_hs.signals._provenance import kept_metadata

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

    from emsparse_hs.signals import KikuchiBands


def as_bands(signal: BaseSignal, data, centres) -> KikuchiBands:
    from emsparse_hs.signals import KikuchiBands, LazyKikuchiBands

    kind = LazyKikuchiBands if isinstance(data, da.Array) else KikuchiBands
    axes = [
        {"name": "band", "size": data.shape[-2], "navigate": False},
        {"name": "quantity", "size": data.shape[-1], "navigate": False},
    ]
    about = _description(signal, axes, centres, "Kikuchi_bands", "Kikuchi bands")
    # A part of the quantities would be taken for bands without errors or centres.
    about["metadata"]["Kikuchi_bands"]["n_quantities"] = data.shape[-1]
    return kind(data, **about)


def as_radon(signal: BaseSignal, data, centres, azimuths, elevations) -> Signal2D:
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

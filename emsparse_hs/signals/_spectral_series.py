# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Several maps at each tilt, as of elements: what is done with one map is done with each.

Series and tomograms of several maps have a second navigation axis. Figures of a reconstruction
then have one more axis in front, that of the maps.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from hyperspy.signal import BaseSignal
from numpy.typing import NDArray

from emsparse_hs.signals._alignment import displacements, moved
from emsparse_hs.signals._reconstruction import project, reconstruct, reconstruct_directly
from emsparse_hs.signals._request import Request
from emsparse_hs.signals._tilt_axis import place_of_tilts

if TYPE_CHECKING:
    from hyperspy.signals import Signal2D

    from emsparse_hs.signals._tilt_series import TiltSeries
    from emsparse_hs.signals._tomogram import Tomogram

#: What is the same for all maps, since it was asked for.
_SHARED = {"prior", "method", "dims", "tilts", "window", "n_iterations", "bounds"}
_SHARED |= {"map_axis", "n_maps"}
#: What may be refined of each map by itself. All others are of the specimen and its holder.
_OF_EACH_MAP = {"gain", "background"}


def has_maps(signal: Signal2D) -> bool:
    """Whether there are several maps, along a second navigation axis."""
    return signal.axes_manager.navigation_dimension == 2


def check_one_map(signal: Signal2D) -> None:
    """Say how to pick a map where there are several."""
    if has_maps(signal):
        index = "[0, :]" if _place_of_maps(signal) == 0 else "[:, 0]"
        raise ValueError(f"{signal!r} holds several maps. Pick one of them: s.inav{index}.")


def check_own_figures(tomogram: Signal2D) -> None:
    """Check that figures of a reconstruction are not those of several maps."""
    check_one_map(tomogram)
    if tomogram.metadata.has_item("Reconstruction.map_axis"):
        raise ValueError(
            f"{tomogram!r} was made of several maps, and the figures of its reconstruction are "
            "those of each. Pick a map by s.inav, as long as they are there."
        )


def reconstruct_maps(signal: TiltSeries, request: Request) -> Tomogram:
    """Tomograms of all maps; see `TiltSeries.reconstruct`."""
    place = place_of_tilts(signal)
    shared = [name for name in request.refine if name not in _OF_EACH_MAP]
    if shared:
        axis = signal.axes_manager.navigation_axes[1 - place]
        raise ValueError(
            f"refine={shared!r} is the same for all maps. Find it with their sum, "
            f"total = s.sum(axis={str(axis.name)!r}).reconstruct(refine='shift'), and pass "
            "shifts=total.metadata.Reconstruction.shifts; or take s.align() first, or "
            "s.align(angle='auto') for the angle."
        )

    n_maps, x0 = _axis_of_maps(signal).size, request.x0
    of_each = isinstance(x0, BaseSignal) and has_maps(x0)
    if of_each and _axis_of_maps(x0).size != n_maps:
        raise ValueError(f"x0 has {_axis_of_maps(x0).size} maps, and the series {n_maps}.")

    def one(part: TiltSeries, k: int) -> Tomogram:
        return reconstruct(part, replace(request, x0=_map_of(x0, k) if of_each else x0))

    return _of_each_map(one, signal)


def reconstruct_maps_directly(signal: TiltSeries, *args) -> Tomogram:
    """Tomograms of all maps; see `reconstruct_directly`."""
    return _of_each_map(lambda part, _: reconstruct_directly(part, *args), signal)


def project_maps(tomogram: Tomogram, *args) -> TiltSeries:
    """Tilt series of all maps; see `Tomogram.project`."""
    return _of_each_map(lambda part, _: project(part, *args), tomogram)


def align_maps(signal: TiltSeries, angle: float | str) -> TiltSeries:
    """Aligned copy, with displacements found from the sum of the maps; see `TiltSeries.align`."""
    found, turned = displacements(signal.sum(axis=_place_of_maps(signal)), angle)
    dtype = np.result_type(signal.data, np.float32) if turned else signal.data.dtype
    result = signal._deepcopy_with_new_data(np.empty(signal.data.shape, dtype))
    result._lazy = False
    result._assign_subclass()
    for k in range(_axis_of_maps(signal).size):
        part = moved(_map_of(signal, k), found, turned)
        # A view of the result.
        _map_of(result, k)._data_aligned_with_axes[:] = part.data
    found_of_all = part.metadata.Tomography.alignment.as_dictionary()
    result.metadata.set_item("Tomography.alignment", found_of_all)
    return result


def pick_figures(tomogram: Tomogram, part: Tomogram, slices: Sequence) -> None:
    """Leave the figures of those maps in a part of a tomogram that were picked.

    Parameters
    ----------
    tomogram : Tomogram
        What was sliced.
    part : Tomogram
        What came of it.
    slices : sequence of int or slice
        One for each axis of the array.
    """
    name = tomogram.metadata.get_item("Reconstruction.map_axis", default=None)
    names = [str(axis.name) for axis in tomogram.axes_manager._axes]
    if name is None or names.count(name) != 1:
        return
    index, size = slices[names.index(name)], tomogram.axes_manager._axes[names.index(name)].size
    known = tomogram.metadata.Reconstruction.as_dictionary()
    # Files that were opened lazily have lazy figures.
    known = {key: np.asarray(v) if isinstance(v, da.Array) else v for key, v in known.items()}
    if known.get("n_maps", size) != size:
        # Maps were cropped or summed since: which figures are whose can't be told.
        known = {key: v for key, v in known.items() if key in _SHARED}
    figures = {key: _picked(v, index) if _is_of_maps(v, size) else v for key, v in known.items()}
    figures |= {key: known[key] for key in known.keys() & _SHARED}
    if isinstance(index, slice):
        figures["n_maps"] = len(range(*index.indices(size)))
    else:
        for key in ("map_axis", "n_maps"):
            figures.pop(key, None)
        if np.ndim(figures.get("gap_history", 0)) == 2:
            history = np.asarray(figures["gap_history"])
            figures["gap_history"] = history[np.isfinite(history).all(axis=1)]
    part.metadata.set_item("Reconstruction", figures)


def _place_of_maps(signal: Signal2D) -> int:
    """Which of both navigation axes, as HyperSpy counts them, is that of the maps."""
    if signal._signal_type == "tilt_series":
        return 1 - place_of_tilts(signal)
    names = [str(axis.name) for axis in signal.axes_manager.navigation_axes]
    known = signal.metadata.get_item("Reconstruction.map_axis", default=None)
    return names.index(known) if known in names else 1


def _axis_of_maps(signal: Signal2D) -> Any:
    return signal.axes_manager.navigation_axes[_place_of_maps(signal)]


def _map_of(signal: Any, k: int) -> Any:
    """Series or tomogram of one map."""
    everything = slice(None)
    return signal.inav[(k, everything) if _place_of_maps(signal) == 0 else (everything, k)]


def _of_each_map(function: Callable[[Any, int], Any], signal: Signal2D) -> Any:
    """What a function makes of each map, along their axis, which comes first in the array.

    Warnings and errors say which map they are of.
    """
    axis = _axis_of_maps(signal).get_axis_dictionary()
    name = str(axis["name"])
    axis["name"] = name = "Map" if name in ("<undefined>", "None", "") else name
    results = []
    for k in range(axis["size"]):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                results.append(function(_map_of(signal, k), k))
            except (TypeError, ValueError) as error:
                error.add_note(f"This is of {name} {k}.")
                raise
        for each in caught:
            warnings.warn(f"{name} {k}: {each.message}", each.category, stacklevel=4)
    first = results[0]
    axes = [axis, *(each.get_axis_dictionary() for each in first.axes_manager._axes)]
    metadata = first.metadata.as_dictionary()
    if "Reconstruction" in metadata:
        known = [each.metadata.Reconstruction.as_dictionary() for each in results]
        metadata["Reconstruction"] = _joined(known) | {"map_axis": name, "n_maps": len(known)}
    stack = da.stack if first._lazy else np.stack
    return type(first)(stack([each.data for each in results]), axes=axes, metadata=metadata)


def _joined(known: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of all maps; NaN where one lacks what others have."""
    names = dict.fromkeys(name for figures in known for name in figures)
    return {
        name: known[0][name]
        if name in _SHARED
        else _rows([figures.get(name, np.nan) for figures in known])
        for name in names
    }


def _rows(values: list) -> NDArray | list:
    """An array with one more axis in front if possible; shorter histories are filled with NaN."""
    arrays = [np.asarray(value) for value in values]
    if any(array.dtype.kind not in "biuf" for array in arrays):
        return values
    if len({array.shape[1:] for array in arrays}) == 1 and arrays[0].ndim:
        longest = max(map(len, arrays))
        if any(len(array) < longest for array in arrays):
            pads = [((0, longest - len(a)),) + ((0, 0),) * (a.ndim - 1) for a in arrays]
            arrays = [
                np.pad(a.astype(float), pad, constant_values=np.nan)
                for a, pad in zip(arrays, pads, strict=True)
            ]
    return np.stack(arrays) if len({array.shape for array in arrays}) == 1 else values


def _is_of_maps(values: Any, n_maps: int) -> bool:
    """Whether there is one for each map."""
    is_sequence = isinstance(values, list) or (isinstance(values, np.ndarray) and values.ndim)
    return bool(is_sequence) and len(values) == n_maps


def _picked(values: Any, index: int | slice) -> Any:
    """Figures of one map or some; numbers become those of Python, as with one map alone."""
    if isinstance(values, np.ndarray):
        found = values[index]
        return found.item() if np.ndim(found) == 0 else found
    return values[index]

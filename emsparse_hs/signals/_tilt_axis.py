# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How tilts get onto a signal's navigation axis, and from there."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emsparse_hs.signals._mrc import TILT_AXIS
from emsparse_hs.signals._stored_tilts import stored_tilts

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

#: Name and units of the axis that holds tilts; etspy and readers use other ones for guesses.
NAME, UNITS = "Tilt", "°"
#: What HyperSpy calls an axis without a name.
_UNNAMED = "<undefined>"
#: Steps that differ by less, in degrees, are the same: text files give two digits or more.
_SAME_STEP = 1e-4


def axis_of_tilts(tilts: NDArray) -> dict[str, Any]:
    """HyperSpy's dictionary of an axis with these values, uniform if they are."""
    axis: dict[str, Any] = {"name": NAME, "units": UNITS, "navigate": True, "size": len(tilts)}
    steps = np.diff(tilts)
    if len(steps) and np.ptp(steps) > _SAME_STEP:
        return axis | {"_type": "DataAxis", "axis": tilts}
    step = float((tilts[-1] - tilts[0]) / len(steps)) if len(steps) else 1.0
    return axis | {"_type": "UniformDataAxis", "offset": float(tilts[0]), "scale": step}


def place_of_tilts(signal: BaseSignal) -> int:
    """Which of the one or two navigation axes, as HyperSpy counts them, holds tilts.

    Raises
    ------
    ValueError
        If there is none, or both are called so.
    """
    axes = signal.axes_manager.navigation_axes
    places = [k for k, a in enumerate(axes) if (str(a.name), str(a.units)) == (NAME, UNITS)]
    if len(axes) > 2 or len(places) != 1:
        found = ", ".join(f"{axis.name!r} in {axis.units!s}" for axis in axes) or "none"
        raise ValueError(
            f"The tilts are not known: they need a navigation axis {NAME!r} in {UNITS!r}, and "
            f"there is {found}. Set them with s.set_tilts(angles), s.set_tilts('series.rawtlt'), "
            "or s.set_tilts() for a file of etspy."
        )
    return places[0]


def tilts_of(signal: BaseSignal) -> NDArray[np.float64]:
    """Tilts in degrees from the navigation axis that holds them.

    Raises
    ------
    ValueError
        If there is none, all are zero, or some are beyond 180 degrees.
    """
    axis = signal.axes_manager.navigation_axes[place_of_tilts(signal)]
    tilts = np.array(axis.axis, dtype=np.float64)
    if len(tilts) > 1 and not tilts.any():
        raise ValueError("All tilts are zero. Set them with s.set_tilts(angles).")
    if np.abs(tilts).max(initial=0.0) > 180:
        raise ValueError(
            f"The tilts go from {tilts[0]:g} to {tilts[-1]:g} degrees, beyond 180, as where "
            "HyperSpy stacks series. Set them with s.set_tilts(angles)."
        )
    return tilts


def _place_for_tilts(signal: BaseSignal, n_tilts: int) -> int:
    """Which navigation axis so many tilts are for: the one called so, or of that length."""
    axes = signal.axes_manager.navigation_axes
    places = [k for k, axis in enumerate(axes) if str(axis.name) == NAME or len(axes) == 1]
    places = places or [k for k, axis in enumerate(axes) if axis.size == n_tilts]
    if len(places) != 1:
        sizes = " and ".join(f"{axis.name!s} of {axis.size}" for axis in axes)
        raise ValueError(
            f"It is not clear which navigation axis the {n_tilts} tilts are for: there are {sizes}."
            f" Say it with s.axes_manager.navigation_axes[0].name = {NAME!r}, or [1]."
        )
    return places[0]


def write_tilts(signal: BaseSignal, tilts: NDArray) -> None:
    """Make the navigation axis that they are for one that holds these tilts."""
    place = _place_for_tilts(signal, len(tilts))
    axis = signal.axes_manager.navigation_axes[place]
    wanted = axis_of_tilts(tilts)
    if wanted["_type"] == "DataAxis":
        if axis.is_uniform:
            axis.convert_to_non_uniform_axis()
            axis = signal.axes_manager.navigation_axes[place]
        axis.axis = wanted["axis"]
    else:
        if not axis.is_uniform:
            # A step that is not quite even would stop the conversion, so it is made even first.
            axis.axis = np.arange(axis.size, dtype=float)
            axis.convert_to_uniform_axis()
            axis = signal.axes_manager.navigation_axes[place]
        axis.scale, axis.offset = wanted["scale"], wanted["offset"]
    axis.name, axis.units = NAME, UNITS


def tilt_axis_of(signal: BaseSignal) -> str:
    """Which axis of the images the tilt axis lies along: "x", the horizontal one, or "y".

    It is kept by its name, so that it is found where the images were transposed.

    Raises
    ------
    ValueError
        If none, or both, of the images' axes have that name.
    """
    stored = signal.metadata.get_item("Tomography.tilt_axis", default=None)
    if stored is None:
        return _tilt_axis_of_label(signal)
    names = [str(axis.name) for axis in signal.axes_manager.signal_axes]
    if names.count(stored) != 1:
        raise ValueError(
            f"The tilt axis is along {stored!r}, and the axes of the images are {names}. Say where "
            "it is with s.set_tilts(s.tilts, axis='x')."
        )
    return "xy"[names.index(stored)]


def _tilt_axis_of_label(signal: BaseSignal) -> str:
    """Which axis a label of the MRC file says, "x" if there is none."""
    labels = signal.original_metadata.get_item("std_header.LABELS", default="")
    try:
        # The reader of MRC files gives all lines as one hexadecimal number.
        text = bytes.fromhex(labels).decode("ascii", "replace")
    except (TypeError, ValueError):
        return "x"
    letter = text.partition(TILT_AXIS)[2][:1]
    return letter if letter in ("x", "y") else "x"


def write_tilt_axis(signal: BaseSignal, letter: str) -> None:
    """Keep the tilt axis by the name of that axis of the images, which gets one if it has none."""
    x, y = signal.axes_manager.signal_axes
    if str(x.name) == str(y.name):
        x.name, y.name = "x", "y"
    for axis, other, names in ((x, y, "xy"), (y, x, "yx")):
        if str(axis.name) == _UNNAMED:
            axis.name = names[0] if str(other.name) != names[0] else names[1]
    signal.metadata.set_item("Tomography.tilt_axis", str({"x": x, "y": y}[letter].name))


def read_tilts(
    signal: BaseSignal, tilts: ArrayLike | str | PathLike | None, sort: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Tilts in degrees from an array, a text file, or metadata; checked, and the images' order.

    Raises
    ------
    ValueError
        If they can't be those of the signal's images.
    """
    axes = signal.axes_manager
    if axes.navigation_dimension not in (1, 2) or axes.signal_dimension != 2:
        raise ValueError(
            f"{signal!r} is no tilt series: a navigation axis, or two for several maps at each "
            "tilt, and two signal axes are needed. Use s.transpose(signal_axes=2), and s.inav for "
            "one series of several."
        )
    if tilts is None:
        tilts = stored_tilts(signal)
    elif isinstance(tilts, (str, PathLike)):
        tilts = _from_file(tilts)
    try:
        values = np.asarray(tilts, dtype=np.float64).squeeze()
    except (TypeError, ValueError) as error:
        raise ValueError(f"Tilts are numbers in degrees, not {tilts!r}.") from error
    values = np.atleast_1d(values)
    order = np.argsort(values, kind="stable") if sort and values.ndim == 1 else slice(None)
    size = axes.navigation_axes[_place_for_tilts(signal, len(values))].size
    return checked_tilts(values[order], size), np.arange(len(values))[order]


def sort_images(signal: BaseSignal, order: NDArray[np.intp]) -> None:
    """Put the images of a signal in this order."""
    axis = signal.axes_manager.navigation_axes[_place_for_tilts(signal, len(order))]
    signal.data = np.take(signal.data, order, axis=axis.index_in_array)


def _from_file(path: str | PathLike) -> NDArray[np.float64]:
    """Tilts of a text file: one a line, or SerialEM's metadata, one a section."""
    if Path(path).suffix.lower() == ".mdoc":
        return _from_mdoc(Path(path))
    try:
        return np.loadtxt(path, dtype=np.float64, ndmin=1)
    except ValueError as error:
        raise ValueError(
            f"{path} holds something else than one tilt a line (.rawtlt, .tlt): {error}"
        ) from error


def _from_mdoc(path: Path) -> NDArray[np.float64]:
    """Tilts of the sections [ZValue = k] in the order of k, whatever their order in the file.

    Of files without such sections, [FrameSet = k].
    """
    kinds: dict[str, dict[int, float]] = {"ZValue": {}, "FrameSet": {}}
    section: tuple[str, int] | None = None
    for line in path.read_text(errors="replace").splitlines():
        name, _, value = (part.strip(" []\t") for part in line.partition("="))
        try:
            if line.lstrip().startswith("["):
                section = (name, int(value)) if name in kinds else None
            elif name == "TiltAngle" and section is not None:
                kinds[section[0]][section[1]] = float(value)
        except ValueError as error:
            raise ValueError(f"{path} has a line {line!r}, where a number is needed.") from error
    tilts = kinds["ZValue"] or kinds["FrameSet"]
    if not tilts:
        raise ValueError(f"{path} has no TiltAngle in a section [ZValue = ...].")
    return np.array([tilts[k] for k in sorted(tilts)])


def checked_tilts(
    tilts: NDArray, n_images: int, zeros_are_lost: bool = True
) -> NDArray[np.float64]:
    """Check that these can be the tilts of so many images.

    Raises
    ------
    ValueError
        If their number differs, or they are not finite, not within 180 degrees, or not in order.
    """
    if tilts.shape != (n_images,):
        raise ValueError(
            f"There are tilts of shape {tilts.shape} for {n_images} images. Pass one an image."
        )
    if not np.isfinite(tilts).all() or np.abs(tilts).max() > 180:
        raise ValueError("Tilts must be finite and within 180 degrees. Give them in degrees.")
    if zeros_are_lost and n_images > 1 and not tilts.any():
        raise ValueError(
            "All tilts are zero, as in files of etspy that were opened by hs.load. Pass the angles "
            "in degrees, or open the file as a tilt series and use s.set_tilts()."
        )
    steps = np.diff(tilts)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ValueError(
            "Tilts must increase, or decrease, from image to image, and none may be there twice. "
            "s.set_tilts(tilts, sort=True) sorts both; keep one image of those with the same tilt."
        )
    return tilts

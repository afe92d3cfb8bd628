# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tomograms and tilt series as files of the MRC2014 format, for tomviz, ParaView and IMOD.

Cheng et al., J. Struct. Biol. 192 (2015) 146.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import dask.array as da
import numpy as np
from numpy.typing import NDArray
from rsciio.utils.path import overwrite as ask_to_overwrite

from emsparse_hs._optional import require
from emsparse_hs._version import __version__
from emsparse_hs.signals._request import check_even

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal

    from emsparse_hs.signals._tilt_series import TiltSeries
    from emsparse_hs.signals._tomogram import Tomogram

#: Endings of files that are written here and not by HyperSpy.
VOLUMES, SERIES = (".mrc", ".rec", ".map"), (".mrc", ".st", ".ali")
#: Units of axes that have not been calibrated. To pint a px is a length, 1/96 of an inch.
_NO_UNITS = {"", "<undefined>", "None", "px", "pixel", "pixels"}
_FLOAT32 = 2
#: How the label begins that says which axis of the images the tilt axis lies along.
TILT_AXIS = "Images at each tilt, with the tilt axis along "
_ORDER = "Sections: slices across the tilt axis. Rows: z, depth. Columns: y."


def mrc_path(
    filename: str | os.PathLike | None,
    extension: str | None,
    file_format: str | None,
    endings: tuple[str, ...],
) -> Path | None:
    """File that arguments of HyperSpy's `save` name, None if it has none of the endings."""
    if not isinstance(filename, (str, os.PathLike)) or file_format not in (None, "MRC"):
        return None
    path = Path(filename)
    if extension is not None:
        path = path.with_suffix("." + extension.lstrip("."))
    return path if path.suffix.lower() in endings else None


def write_volume(tomogram: Tomogram, path: Path, overwrite: bool | None) -> None:
    """Write a tomogram, some slices at a time; see `Tomogram.save`."""
    require("mrcfile", extra="tomography")
    axes = _axes_of_file(tomogram)
    voxel_size, origin = _in_angstrom(axes)
    if _may_write(path, overwrite):
        _write(tomogram, path.resolve(), voxel_size, origin, _ORDER, is_volume=True)


def write_series(series: TiltSeries, path: Path, overwrite: bool | None) -> None:
    """Write images some at a time, and their tilts beside them; see `TiltSeries.save`."""
    require("mrcfile", extra="tomography")
    *axes, _ = _axes_of_file(series)
    (x, y), origin = _in_angstrom(axes)
    path = path.resolve()
    # So IMOD calls the tilts of aligned images, and those that were recorded.
    beside = path.with_suffix(".tlt" if path.suffix.lower() == ".ali" else ".rawtlt")
    if _may_write(path, overwrite) and _may_write(beside, overwrite):
        # Pixels of a stack have no depth; by custom it is that along x.
        order = TILT_AXIS + series.tilt_axis
        _write(series, path, (x, y, x), (*origin, 0.0), order, is_volume=False)
        beside.write_text("".join(f"{tilt:.10g}\n" for tilt in series.tilts))


def _may_write(path: Path, overwrite: bool | None) -> bool:
    """Whether there is no such file, or it may go."""
    if overwrite not in (None, True, False):
        raise ValueError(f"overwrite can only be None, True or False, not {overwrite!r}.")
    return ask_to_overwrite(path) if overwrite is None else overwrite or not path.exists()


def _write(
    signal: BaseSignal,
    path: Path,
    voxel_size: Sequence[float],
    origin: Sequence[float],
    order: str,
    is_volume: bool,
) -> None:
    import mrcfile

    path.parent.mkdir(parents=True, exist_ok=True)
    # A signal may be read from the very file, and what was there stays if anything goes wrong.
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    data = signal._data_aligned_with_axes
    try:
        with mrcfile.new_mmap(part, data.shape, mrc_mode=_FLOAT32, overwrite=True) as file:
            (file.set_volume if is_volume else file.set_image_stack)()
            file.voxel_size = tuple(voxel_size)
            for name, value in zip("xyz", origin, strict=True):
                file.header.origin[name] = value
            for label in (_title(signal), order):
                file.add_label(label)
            _write_images(file, data)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _axes_of_file(signal: BaseSignal) -> list:
    """Axes of the file's columns, rows and sections."""
    axes = signal.axes_manager
    if axes.navigation_dimension != 1 or axes.signal_dimension != 2:
        raise ValueError(
            f"{signal!r} is no single stack of images, as MRC files hold. Pick one map with "
            "s.inav, or save it as .hspy or .zspy."
        )
    return [*axes.signal_axes, *axes.navigation_axes]


def _in_angstrom(axes: Sequence) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Size of a voxel, and where the first one lies."""
    check_even(axes)
    if all(str(axis.units) in _NO_UNITS for axis in axes):
        warnings.warn(
            "The size of a voxel is not known: the file says 1 Å on all axes. Set scale and units "
            "of the axes before saving.",
            stacklevel=4,
        )
        # Not 0, which stands for unknown too, but shrinks the volume to nothing in some programs.
        return (1.0,) * len(axes), (0.0,) * len(axes)
    units = [_angstrom_per_unit(axis) for axis in axes]
    scales = tuple(axis.scale * unit for axis, unit in zip(axes, units, strict=True))
    if min(scales) <= 0:
        raise ValueError(
            f"Voxels have sizes of {scales} Å, and an MRC file needs positive ones. Reverse the "
            "axis that has a negative scale first."
        )
    return scales, tuple(axis.offset * unit for axis, unit in zip(axes, units, strict=True))


def _angstrom_per_unit(axis) -> float:
    """How long the unit of an axis is."""
    from hyperspy.api import _ureg as registry

    units = str(axis.units)
    try:
        if units not in _NO_UNITS:
            return float(registry(units).to("angstrom").magnitude)
    except Exception:  # pint's errors are many, and those of its parser are not its own
        pass
    raise ValueError(
        f"The axis {axis.name!s} is in {units!r}, and files of the MRC format hold lengths. Set "
        "the units of all axes of space, such as 'nm', or of none."
    )


def _title(signal: BaseSignal) -> str:
    """What the file says of itself, in a line of at most 80 printable ASCII characters."""
    title = " ".join(str(signal.metadata.get_item("General.title", default="")).split())
    made = f"emsparse_hs {__version__} {title}".encode("ascii", "replace").decode()
    return made[:80].strip()


def _write_images(file, data: NDArray | da.Array) -> None:
    """Images and the header's least, largest and mean value and standard deviation."""
    if isinstance(data, da.Array):
        # At once, since neighbouring chunks may have tasks in common that take long.
        da.store(data, file.data, lock=True)
    else:
        file.data[:] = data
    low, high, sums = np.inf, -np.inf, np.zeros(2)
    for image in file.data:
        values = image.ravel().astype(np.float64)
        low, high = min(low, values.min()), max(high, values.max())
        sums += values.sum(), values @ values
    mean, square = sums / file.data.size
    header = file.header
    header.dmin, header.dmax, header.dmean = low, high, mean
    header.rms = np.sqrt(max(square - mean**2, 0.0))

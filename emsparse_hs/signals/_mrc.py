# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A tomogram as a file of the MRC2014 format, which tomviz, ParaView and IMOD open.

Cheng et al., J. Struct. Biol. 192 (2015) 146.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from uuid import uuid4

import numpy as np
from rsciio.utils.path import overwrite as ask_to_overwrite

from emsparse_hs._optional import require
from emsparse_hs._version import __version__
from emsparse_hs.blocks import Blocks
from emsparse_hs.signals._request import check_even

if TYPE_CHECKING:
    from emsparse_hs.signals._tomogram import Tomogram

#: Endings of files that are written here and not by HyperSpy.
ENDINGS = (".mrc", ".rec", ".map")
#: Units of axes that have not been calibrated. To pint a px is a length, 1/96 of an inch.
_NO_UNITS = {"", "<undefined>", "None", "px", "pixel", "pixels"}
_FLOAT32 = 2
_ORDER = "Sections: slices across the tilt axis. Rows: z, depth. Columns: y."


def is_mrc(filename: Any) -> TypeGuard[str | os.PathLike]:
    """Whether this is the name of a file that is written here."""
    return isinstance(filename, (str, os.PathLike)) and Path(filename).suffix.lower() in ENDINGS


def write_mrc(tomogram: Tomogram, filename: str | os.PathLike, overwrite: bool | None) -> None:
    """Write a tomogram, some slices at a time; see `Tomogram.save`."""
    mrcfile = require("mrcfile", extra="tomography")
    if overwrite not in (None, True, False):
        raise ValueError(f"overwrite can only be None, True or False, not {overwrite!r}.")
    axes = _axes_of_file(tomogram)
    voxel_size, origin = _in_angstrom(axes)
    blocks = Blocks.of(tomogram)
    path = Path(filename).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not (ask_to_overwrite(path) if overwrite is None else overwrite or not path.exists()):
        return
    # A tomogram may be read from the very file, and what was there stays if anything goes wrong.
    part = path.with_name(f"{path.name}.{uuid4().hex}.part")
    shape = tuple(axis.size for axis in reversed(axes))
    try:
        with mrcfile.new_mmap(part, shape, mrc_mode=_FLOAT32, overwrite=True) as file:
            file.set_volume()
            file.voxel_size = voxel_size
            for name, value in zip("xyz", origin, strict=True):
                file.header.origin[name] = value
            for label in _labels(tomogram):
                file.add_label(label)
            _write_slices(file, blocks)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _axes_of_file(tomogram: Tomogram) -> list:
    """Axes of the file's columns, rows and sections."""
    axes = tomogram.axes_manager
    if axes.navigation_dimension != 1 or axes.signal_dimension != 2:
        raise ValueError(
            f"{tomogram!r} is no single volume of slices, as MRC files hold. Pick one map with "
            "s.inav, or save it as .hspy or .zspy."
        )
    found = [*axes.signal_axes, *axes.navigation_axes]
    check_even(found)
    return found


def _in_angstrom(axes: Sequence) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Size of a voxel, and where the first one lies."""
    if all(str(axis.units) in _NO_UNITS for axis in axes):
        warnings.warn(
            "The size of a voxel is not known: the file says 1 Å on all axes. Set scale and units "
            "of the axes before saving.",
            stacklevel=4,
        )
        # Not 0, which stands for unknown too, but shrinks the volume to nothing in some programs.
        return (1.0,) * 3, (0.0,) * 3
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
        "the units of all three axes, such as 'nm', or of none."
    )


def _labels(tomogram: Tomogram) -> list[str]:
    """What the file says of itself, in lines of at most 80 printable ASCII characters."""
    title = " ".join(str(tomogram.metadata.get_item("General.title", default="")).split())
    made = f"emsparse_hs {__version__} {title}".encode("ascii", "replace").decode()
    return [made[:80].strip(), _ORDER]


def _write_slices(file, blocks: Blocks) -> None:
    """Slices and the header's least, largest and mean value and standard deviation."""
    low, high, sums, index = np.inf, -np.inf, np.zeros(2), 0
    for rows in blocks:
        for row in rows:
            file.data[index] = row.reshape(file.data.shape[1:])
            values = row.astype(np.float64)
            low, high = min(low, values.min()), max(high, values.max())
            sums += values.sum(), values @ values
            index += 1
    mean, square = sums / file.data.size
    header = file.header
    header.dmin, header.dmax, header.dmean = low, high, mean
    header.rms = np.sqrt(max(square - mean**2, 0.0))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What a tomogram knows of the images that it was made of."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emsparse_hs.signals._spectral_series import check_own_figures
from emsparse_hs.tomography import Imaging, ParallelBeam

if TYPE_CHECKING:
    from emsparse_hs.signals._tomogram import Tomogram

#: Slices on either side that a slide of less than a pixel draws on.
_NEIGHBOURS = 6


def imaging_of(tomogram: Tomogram, tilts: NDArray) -> Imaging:
    """Shifts, slides, gains, backgrounds and angle of the images, as given or refined.

    Those of the nearest tilt that they are known of.
    """
    check_own_figures(tomogram)
    about = tomogram.metadata.get_item("Reconstruction", default=None)
    known = {} if about is None else about.as_dictionary()
    if "shifts" not in known:
        return Imaging.ideal(len(tilts))
    nearest = np.abs(np.subtract.outer(tilts, known["tilts"])).argmin(axis=1)
    imaging = Imaging.ideal(len(tilts), np.asarray(known["shifts"])[nearest])
    if "gains" not in known:
        return imaging
    names = ("slides", "gains", "backgrounds")
    imaging = replace(imaging, **{name: np.asarray(known[name])[nearest] for name in names})
    return replace(imaging, axis_angle=float(known.get("axis_angle", 0.0)))


def fitted_sinogram(tomogram: Tomogram, tilts: NDArray, index: int) -> NDArray[np.float32]:
    """What would be measured of one slice (tilt, detector), as the tomogram has it."""
    volume = tomogram._data_aligned_with_axes
    imaging = imaging_of(tomogram, tilts)
    n_slices, _, width = volume.shape
    # A turned line draws on further slices.
    reach = _NEIGHBOURS + int(np.ceil(abs(np.sin(np.deg2rad(imaging.axis_angle))) * width / 2))
    first = max(index - reach, 0)
    part = np.asarray(volume[first : index + reach + 1])
    operator = ParallelBeam(tilts, part.shape[2], part.shape[1:], imaging.shifts)
    middle = (n_slices - 1) / 2 - first
    return imaging.imaged(operator.forward(part), middle)[index - first]

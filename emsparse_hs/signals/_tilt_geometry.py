# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""At which tilts the images of a series were taken, and about which axis."""

from __future__ import annotations

from os import PathLike

import numpy as np
from hyperspy.signal import BaseSignal
from numpy.typing import ArrayLike, NDArray

from emsparse_hs.signals._tilt_axis import (
    read_tilts,
    sort_images,
    tilt_axis_of,
    tilts_of,
    write_tilt_axis,
    write_tilts,
)


class TiltGeometry(BaseSignal):
    """The part of `TiltSeries` that knows of tilts."""

    @property
    def tilts(self) -> NDArray[np.float64]:
        """Tilt of each image in degrees.

        Raises
        ------
        ValueError
            If they have not been set, or are all zero.
        """
        return tilts_of(self)

    @property
    def tilt_axis(self) -> str:
        """Axis of the images along which the tilt axis lies: "x", the horizontal one, or "y".

        It follows the images where they are transposed, since it is kept by the axis' name.

        Raises
        ------
        ValueError
            If the axis of that name is gone.
        """
        return tilt_axis_of(self)

    def set_tilts(
        self,
        tilts: ArrayLike | str | PathLike | None = None,
        axis: str | None = None,
        sort: bool = False,
    ) -> None:
        """Say at which tilts the images were taken.

        Axes of the images without a name, or with the same, are called "x" and "y" from then on.
        Of two navigation axes the tilts are for the one called "Tilt", or else of that length.

        Parameters
        ----------
        tilts : array of shape (tilt,), path, or None
            In degrees, in the order of the images; or a text file with one number a line (.rawtlt,
            .tlt) or of SerialEM (.mdoc). None takes what etspy stored in
            ``metadata.Tomography.tilts``, or else what the microscope stored for each image in
            ``metadata.Acquisition_instrument.TEM.Stage.tilt_alpha``, there or in each file of
            those that `hyperspy.api.load` stacked, or what DigitalMicrograph was told to take.
        axis : {"x", "y"}, optional
            Axis of the images along which the tilt axis lies: "x", the horizontal one, or "y". As
            it was by default, which is "x" as in etspy.
        sort : bool, optional
            Sort tilts, and the images with them, as a series that was taken to both sides in turn
            needs it. The signal then holds its images in that order.

        Raises
        ------
        ValueError
            If there are not as many tilts as images, they are not finite, all zero, not in order,
            or beyond 180 degrees, or the axis is unknown, or it is not clear which of two
            navigation axes they are for. The signal stays as it was.
        """
        if axis not in (None, "x", "y"):
            raise ValueError(f"The tilt axis lies along 'x' or 'y' of the images, not {axis!r}.")
        values, order = read_tilts(self, tilts, sort)
        axis = self.tilt_axis if axis is None else axis
        if sort:
            sort_images(self, order)
        write_tilts(self, values)
        write_tilt_axis(self, axis)

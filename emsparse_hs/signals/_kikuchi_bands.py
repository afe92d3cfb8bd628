# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of Kikuchi bands: patterns as short lists of planes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hyperspy.signals import Signal2D

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from matplotlib.figure import Figure, SubFigure

#: What is known of each band, in the order of the axis "quantity".
_QUANTITIES = ("normal x", "normal y", "normal z", "half width", "contrast")
#: Appended where each pattern has its own pattern centre.
_CENTRE_QUANTITIES = ("PCx", "PCy", "PCz")


class KikuchiBands(Signal2D):
    """Kikuchi bands of each pattern of a scan, the highest contrast first.

    The data have the shape (..., n_bands, 5): the scan, the bands, and of each band the x, y and z
    of its unit normal in the detector's frame (`emsparse_hs.ebsd.geometry`), its half width in
    degrees, and its contrast, see `emsparse_hs.ebsd.bands`. NaN where a pattern has fewer bands.
    Three columns follow with PCx, PCy and PCz if the patterns' centres differ; they are then cut
    and saved with the rest. A centre that all patterns share is in
    ``metadata.Kikuchi_bands.pattern_centre``.
    """

    _signal_type = "kikuchi_bands"

    @property
    def normals(self):
        """Unit normals of the bands' planes in the detector's frame, shape (..., n_bands, 3)."""
        return self._columns(0, 3)

    @property
    def half_widths(self):
        """Half widths in degrees, shape (..., n_bands)."""
        return self._columns(3, 4)[..., 0]

    @property
    def contrasts(self):
        """Contrasts, in standard errors, shape (..., n_bands)."""
        return self._columns(4, 5)[..., 0]

    @property
    def pattern_centre(self):
        """Pattern centre in Bruker's convention.

        Of shape (3,) if all patterns share it, of shape (..., 3) if each has its own.
        """
        every = len(_QUANTITIES) + len(_CENTRE_QUANTITIES)
        if self._aligned().shape[-1] == every:
            return self._columns(len(_QUANTITIES), every)[..., 0, :]
        return np.array(self.metadata.Kikuchi_bands.pattern_centre, dtype=float)

    @property
    def pattern_shape(self) -> tuple[int, int]:
        """Height and width in px of the patterns that the bands were found in."""
        height, width = self.metadata.Kikuchi_bands.pattern_shape
        return int(height), int(width)

    def plot_on(self, patterns: BaseSignal, n_bands: int | None = None) -> Figure | SubFigure:
        """Draw the bands on the pattern at which the patterns' navigator stands.

        Parameters
        ----------
        patterns : BaseSignal
            The scan that the bands were found in, or the pattern if there is only one.
        n_bands : int, optional
            Draw so many, the highest contrast first. All by default.

        Returns
        -------
        Figure
            See `emsparse_hs.plotting.plot_bands`.

        Raises
        ------
        ValueError
            If the scans or the patterns differ in shape.
        """
        from emsparse_hs.plotting import plot_bands

        scan = patterns.axes_manager.navigation_shape
        if scan != self.axes_manager.navigation_shape:
            raise ValueError(
                f"The patterns' scan has the shape {scan}, the bands' has "
                f"{self.axes_manager.navigation_shape}. Pass the patterns that the bands are of."
            )
        if not scan:
            return plot_bands(patterns, self, n_bands=n_bands)
        place = patterns.axes_manager.indices
        return plot_bands(patterns.inav[place], self.inav[place], n_bands=n_bands)

    def _aligned(self):
        return self._data_aligned_with_axes

    def _columns(self, first: int, last: int):
        """Some of the quantities, whatever was done to the order and number of bands."""
        data = self._aligned()
        quantity = self.axes_manager.signal_axes[0]
        complete = data.shape[-1] in (len(_QUANTITIES), len(_QUANTITIES + _CENTRE_QUANTITIES))
        if quantity.name != "quantity" or not complete:
            raise ValueError(
                f"The first signal axis is {quantity.name!r} of size {data.shape[-1]}, and must be "
                f"'quantity' with all of {_QUANTITIES}. Choose bands with s.isig[:, :n], and leave "
                "the first signal axis whole."
            )
        return data[..., first:last]

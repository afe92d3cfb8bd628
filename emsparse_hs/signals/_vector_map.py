# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What maps of vectors have in common, whatever the vectors are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from matplotlib.figure import Figure, SubFigure


class VectorMap:
    """Mixin for signals whose navigation is the scan and whose signal axis holds (x, y)."""

    # Of the signal class that this is mixed into.
    data: Any
    isig: Any
    metadata: Any

    def magnitude(self) -> BaseSignal:
        """Length of each vector.

        Returns
        -------
        Signal2D or Signal1D
            An image of a scan of two or more axes (those beyond the second stay navigation axes), a
            profile of a line scan. Lazy if this signal is.
        """
        lengths = self.isig[0]
        lengths.data = np.hypot(self.data[..., 0], self.data[..., 1])
        lengths.set_signal_type("")
        dimension = min(2, lengths.axes_manager.navigation_dimension)
        return lengths.transpose(signal_axes=dimension) if dimension else lengths

    def plot_field(self, **kwargs) -> Figure | SubFigure:
        """Plot direction and magnitude in colour, with maps of the two components.

        Parameters
        ----------
        **kwargs
            For `emsparse_hs.plotting.plot_vector_field`.

        Returns
        -------
        matplotlib.figure.Figure
            HyperSpy's own `plot` is there as well, and does what it does for any signal.
        """
        from emsparse_hs.plotting import plot_vector_field

        return plot_vector_field(self, **kwargs)

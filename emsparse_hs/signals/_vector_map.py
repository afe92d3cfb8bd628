# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What maps of vectors have in common, whatever the vectors are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from emsparse_hs.signals._scan_maps import computed, plain, scan_image, scan_step, variance_of
from emsparse_hs.stem4d.vector_calculus import curl, divergence

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from hyperspy.signals import Signal1D, Signal2D
    from matplotlib.figure import Figure, SubFigure


class VectorMap:
    """Mixin for signals whose navigation is the scan and whose signal axis holds (x, y)."""

    # Of the signal class that this is mixed into.
    data: Any
    isig: Any
    metadata: Any

    @property
    def sigma(self) -> Signal1D:
        """One standard deviation of each component, in the unit of the data.

        It is the root of ``metadata.Signal.Noise_properties.variance``, where HyperSpy keeps the
        variance and slices and rebins it with the signal.

        Raises
        ------
        ValueError
            If the signal has no variance.
        """
        variance = variance_of(self)
        if variance is None:
            raise ValueError(
                f"{self!r} has no variance. Measure it with s.emsparse.beam_deflection(), which "
                "estimates it, or set it with set_noise_variance(signal of the same shape)."
            )
        result = plain(self, variance**0.5)
        result.metadata.General.title = self.metadata.General.title
        quantity = self.metadata.get_item("Signal.quantity", default="")
        result.metadata.set_item("Signal.quantity", f"Standard deviation of {quantity}".strip())
        return result

    def magnitude(self) -> BaseSignal:
        """Length of each vector.

        Returns
        -------
        Signal2D or Signal1D
            An image of a scan of two or more axes (those beyond the second stay navigation axes), a
            profile of a line scan. Lazy if this signal is. The variance, if there is one, is
            that of small independent errors.
        """
        x, y = self.data[..., 0], self.data[..., 1]
        variance = variance_of(self)
        lengths = self._image_of(np.hypot(x, y))
        if variance is not None:
            # A zero vector has no direction; either component's error is then that of the length.
            square = np.maximum(x**2 + y**2, np.finfo(float).tiny)
            spread = (x**2 * variance[..., 0] + y**2 * variance[..., 1]) / square
            spread = np.where((x == 0) & (y == 0), variance.mean(-1), spread)
            lengths.set_noise_variance(self._image_of(spread))
        return lengths

    def divergence(self) -> Signal2D:
        r"""Divergence :math:`\partial_x F_x + \partial_y F_y`.

        Returns
        -------
        Signal2D
            In the unit of the data per unit of the scan, such as mrad/nm; NaN where a position or
            too many neighbours have no value. Computed, even if this signal is lazy. With its
            variance if the signal has one.

        Raises
        ------
        ValueError
            If the scan has not two uniform axes of the same unit with at least three positions.

        Notes
        -----
        Differences of fourth order, see `emsparse_hs.stem4d.divergence`.
        """
        return self._derived(divergence, "Divergence")

    def curl(self) -> Signal2D:
        r"""Curl :math:`\partial_x F_y - \partial_y F_x`, positive where x turns to y.

        Returns
        -------
        Signal2D
            In the unit of the data per unit of the scan, such as mrad/nm; NaN where a position or
            too many neighbours have no value. Computed, even if this signal is lazy. With its
            variance if the signal has one.

        Raises
        ------
        ValueError
            If the scan has not two uniform axes of the same unit with at least three positions.

        Notes
        -----
        Zero, but for noise, for the field of any charges. Magnetic deflections have a curl, and a
        scan that is rotated against the detector gives one.
        """
        return self._derived(curl, "Curl")

    def _derived(self, derivative, name: str) -> Signal2D:
        step, length = scan_step(self)
        data, variance = computed(self)
        if min(data.shape[-3:-1]) < 3:
            raise ValueError(
                f"The scan has {data.shape[-3:-1]} positions, and derivatives need 3 on each axis."
            )
        values, spread = derivative(data, step, variance)
        unit = self._unit_of_data()
        # What was multiplied by a length, as T nm, loses it again.
        per_length = unit.removesuffix(f" {length}")
        per_length = f"{unit}/{length}" if per_length == unit else per_length
        return scan_image(self, values, f"{name} ({per_length})" if unit else name, spread)

    def _unit_of_data(self) -> str:
        """From the signal's "quantity (unit)"."""
        quantity = self.metadata.get_item("Signal.quantity", default="")
        return quantity.partition("(")[2].rstrip(") ")

    def _image_of(self, data) -> BaseSignal:
        """An array over the scan as an image, or a profile of a line scan."""
        component = self.isig[0]
        if component.metadata.has_item("Signal.Noise_properties"):
            del component.metadata.Signal.Noise_properties
        component.data = data
        component.set_signal_type("")
        dimension = min(2, component.axes_manager.navigation_dimension)
        return component.transpose(signal_axes=dimension) if dimension else component

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

    def plot_profile(self, **kwargs) -> Figure | SubFigure:
        """Plot the components along a line of the scan, with bands of one standard deviation.

        Parameters
        ----------
        **kwargs
            For `emsparse_hs.plotting.plot_profile`, such as ``start``, ``end`` and ``width``.

        Returns
        -------
        matplotlib.figure.Figure
            See there.
        """
        from emsparse_hs.plotting import plot_profile

        return plot_profile(self, **kwargs)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of the probabilities of the 14 Bravais lattices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hyperspy.signals import Signal1D

from emsparse_hs.ebsd.bravais import ANSWERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from orix.crystal_map import CrystalMap


class BravaisProbabilities(Signal1D):
    """Probabilities of the 14 Bravais lattices, and of 'unknown', for each pattern of a scan.

    The data have the shape (..., 15), in the order of `lattices`, and sum to 1; NaN where a pattern
    was left out.
    """

    _signal_type = "bravais_probabilities"

    @property
    def lattices(self) -> tuple[str, ...]:
        """Symbols of the lattices in the order of the data, then 'unknown'."""
        return ANSWERS

    def most_probable(self) -> np.ndarray:
        """The most probable answer for each pattern.

        Returns
        -------
        str array of the scan's shape
            One of `lattices`, empty where a pattern was left out.
        """
        data = self._all_answers()
        known = np.isfinite(data).all(axis=-1)
        best = np.where(np.isfinite(data), data, -1).argmax(axis=-1)
        return np.where(known, np.array(ANSWERS)[best], "")

    def _all_answers(self) -> np.ndarray:
        """The data, of shape (..., 15)."""
        data = np.asarray(self._data_aligned_with_axes)
        if data.shape[-1] != len(ANSWERS):
            raise ValueError(
                f"There are {data.shape[-1]} probabilities of a pattern, and {len(ANSWERS)} are "
                "needed to tell which is which. Leave the signal axis whole."
            )
        return data

    def plot_map(self, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
        """Plot the map of the most probable lattices.

        Parameters
        ----------
        figure : Figure or SubFigure, optional
            To draw in. A new one by default.

        Returns
        -------
        Figure or SubFigure
            See `emsparse_hs.plotting.plot_lattice_map`.
        """
        from emsparse_hs.plotting import plot_lattice_map

        return plot_lattice_map(self, figure=figure)

    def add_to(self, xmap: CrystalMap) -> None:
        """Write the probabilities into the properties of a crystal map.

        Parameters
        ----------
        xmap : orix.crystal_map.CrystalMap
            Of the same scan. Its ``prop`` gets ``bravais_aP`` to ``bravais_cF``,
            ``bravais_unknown``.

        Raises
        ------
        ValueError
            If the map has another shape, or lacks some of its points.
        """
        data = self._all_answers().reshape(-1, len(ANSWERS))
        scan = self.axes_manager._navigation_shape_in_array
        # A crystal map drops axes of length 1.
        alike = [n for n in xmap.shape if n > 1] == [n for n in scan if n > 1]
        if not alike or xmap.size != len(data):
            raise ValueError(
                f"The crystal map has {xmap.size} points of shape {xmap.shape}, and the scan has "
                f"{len(data)} of shape {scan}. Pass the map of the same scan, with all points."
            )
        for name, values in zip(ANSWERS, data.T, strict=True):
            xmap.prop[f"bravais_{name}"] = values

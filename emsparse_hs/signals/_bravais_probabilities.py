# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signal class of the probabilities of the 14 Bravais lattices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hyperspy.signals import Signal1D

from emsparse_hs.ebsd import BRAVAIS_LATTICES

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from orix.crystal_map import CrystalMap

#: What a pattern may be, in the order of the signal axis.
ANSWERS = (*BRAVAIS_LATTICES, "unknown")


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
        data = np.asarray(self._data_aligned_with_axes)
        known = np.isfinite(data).all(axis=-1)
        best = np.where(np.isfinite(data), data, -1).argmax(axis=-1)
        return np.where(known, np.array(ANSWERS)[best], "")

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
            If the map has another number of points.
        """
        data = np.asarray(self._data_aligned_with_axes).reshape(-1, len(ANSWERS))
        whole = int(np.prod(xmap.shape)) == len(data) and xmap.size == len(data)
        if not whole:
            raise ValueError(
                f"The crystal map has {xmap.size} points of shape {xmap.shape}, and there are "
                f"{len(data)} patterns. Pass the map of the same scan, with all of its points."
            )
        for name, values in zip(ANSWERS, data.T, strict=True):
            xmap.prop[f"bravais_{name}"] = values

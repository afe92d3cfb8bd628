# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The crystal lattices that a scan is periodic with, in the units of the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hyperspy.signals import Signal2D

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from emsparse_hs.unit_cell.lattice import LatticeFit
    from emsparse_hs.unit_cells import Scores


class ScanLattice:
    """Lattices of a scan: vectors, grains, shifts of lines, and positions in the cell.

    Parameters
    ----------
    fit : LatticeFit
        In pixels of the scan, see `emsparse_hs.unit_cell`.
    scores : Scores
        What it was found in.
    axes : list of dict
        HyperSpy's axes of the scan, y and x: uniform and of one unit.
    """

    def __init__(self, fit: LatticeFit, scores: Scores, axes: list[dict]) -> None:
        self.fit = fit
        self.scores = scores
        self.axes = [{**axis, "navigate": False} for axis in axes]

    def __repr__(self) -> str:
        cells = ", ".join(
            f"{a:.4g} x {b:.4g} {self.units}, {angle:.2f}°"
            for (a, b), angle in zip(self.lengths, self.angles, strict=True)
        )
        count = "" if len(self.lengths) == 1 else f"{len(self.lengths)} lattices, "
        return f"<ScanLattice: {count}{cells}>"

    @property
    def units(self) -> str:
        """Unit of lengths: that of the scan, or "px"."""
        units = str(self.axes[0].get("units"))
        return "px" if units in ("<undefined>", "None", "") else units

    @property
    def _scale(self) -> np.ndarray:
        """From one pixel to the next along y and x; negative for a falling axis."""
        return np.array([axis.get("scale", 1.0) for axis in self.axes])

    @property
    def reciprocal_vectors(self) -> np.ndarray:
        """Two vectors of each lattice, (lattices, 2, 2): one a row, x and y in cycles a unit."""
        return (self.fit.alignment.reciprocal / self._scale)[..., ::-1]

    @property
    def reciprocal_errors(self) -> np.ndarray:
        """Standard errors of the components of `reciprocal_vectors`.

        From how much parts of the scan disagree, and the scores of its patterns: walls and changes
        of thickness matter more than noise. Steady drift and strain are not in them.
        """
        variance = np.einsum("kii->ki", self.fit.alignment.covariance).reshape(-1, 2, 2)
        return (np.sqrt(np.maximum(variance, 0)) / np.abs(self._scale))[..., ::-1]

    @property
    def vectors(self) -> np.ndarray:
        """Edges of the unit cell of each lattice, (lattices, 2, 2): one a row, x and y."""
        return np.swapaxes(np.linalg.inv(self.reciprocal_vectors), 1, 2)

    @property
    def lengths(self) -> np.ndarray:
        """Of the edges of each cell, (lattices, 2)."""
        return np.linalg.norm(self.vectors, axis=2)

    @property
    def angles(self) -> np.ndarray:
        """Between the edges of each cell in degrees, (lattices,)."""
        cosine = (self.vectors[:, 0] * self.vectors[:, 1]).sum(1) / self.lengths.prod(1)
        return np.degrees(np.arccos(np.clip(cosine, -1, 1)))

    @property
    def length_errors(self) -> np.ndarray:
        """Standard errors of the lengths, (lattices, 2).

        See `reciprocal_errors`.
        """
        errors = []
        for reciprocal, covariance in zip(
            self.fit.alignment.reciprocal, self.fit.alignment.covariance, strict=True
        ):
            slopes = _slopes(lambda r: self._lengths_of(r), reciprocal)
            errors.append(np.sqrt(np.einsum("ik,kl,il->i", slopes, covariance, slopes)))
        return np.array(errors)

    def _lengths_of(self, reciprocal: np.ndarray) -> np.ndarray:
        return np.linalg.norm(np.linalg.inv(reciprocal / self._scale), axis=0)

    @property
    def row_shift(self) -> np.ndarray:
        """Shift of each line of the scan, (lines, 2): x and y in the unit of the scan."""
        return (self.fit.alignment.row_shift * self._scale)[:, ::-1]

    def grains(self) -> Signal2D:
        """Lattice of each position.

        Returns
        -------
        Signal2D
            int8 map of the scan, from 0.
        """
        return self._image(self.fit.grains, "Lattice")

    def displacement(self) -> Signal2D:
        """Slow displacement of the specimen's cells from the regular lattice.

        Returns
        -------
        Signal2D
            Two maps of the scan, x and y in its unit. Mean and linear part are in the lattice, and
            what whole lines have in common is in `row_shift`. Near walls between domains, and
            where thickness changes, it also follows what these do to patterns.
        """
        maps = np.moveaxis(self.fit.alignment.displacement() * self._scale, -1, 0)[::-1]
        return self._image(maps, f"Displacement ({self.units})")

    def positions(self, lattice: int = 0) -> Signal2D:
        """Where in the unit cell the probe stands.

        Parameters
        ----------
        lattice : int
            Of which lattice.

        Returns
        -------
        Signal2D
            Two maps of the scan, u and v along the edges of the cell, from 0 to 1.

        Raises
        ------
        ValueError
            If there is no such lattice.
        """
        if not 0 <= lattice < len(self.lengths):
            raise ValueError(
                f"There is no lattice {lattice}: there are {len(self.lengths)}, counted from 0."
            )
        maps = np.moveaxis(self.fit.alignment.fractional(lattice) % 1.0, -1, 0)
        return self._image(maps.astype(np.float32), "Position in the cell")

    def _image(self, data: np.ndarray, quantity: str) -> Signal2D:
        stack = [{"name": "component", "navigate": True, "size": 2}] if data.ndim == 3 else []
        image = Signal2D(data, axes=[*stack, *self.axes])
        image.metadata.set_item("Signal.quantity", quantity)
        image.metadata.General.title = quantity
        return image

    def plot(self, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
        """Plot what the scan looks like with the cells drawn in, and the shifts of its lines.

        Parameters
        ----------
        figure : Figure or SubFigure, optional
            To draw in. A new one by default.

        Returns
        -------
        Figure or SubFigure
            See `emsparse_hs.plotting.plot_scan_lattice`.
        """
        from emsparse_hs.plotting import plot_scan_lattice

        return plot_scan_lattice(self, figure=figure)


def _slopes(function, matrix: np.ndarray) -> np.ndarray:
    """Derivatives of a function of a 2 x 2 matrix by its components."""
    step = 1e-6 * np.linalg.norm(matrix)
    columns = []
    for k in range(4):
        change = step * (np.arange(4) == k).reshape(2, 2)
        columns.append((function(matrix + change) - function(matrix - change)) / (2 * step))
    return np.stack(columns, axis=-1)

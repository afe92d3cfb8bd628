# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A reconstructed volume, slice by slice along the tilt axis."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from hyperspy.signals import Signal2D
from numpy.typing import ArrayLike

from emsparse_hs.signals._etspy import to_rec_stack
from emsparse_hs.signals._mrc import VOLUMES, mrc_path, write_volume
from emsparse_hs.signals._reconstruction import project
from emsparse_hs.signals._spectral_series import has_maps, pick_figures, project_maps
from emsparse_hs.signals._tilt_axis import checked_tilts

if TYPE_CHECKING:
    from emsparse_hs.signals._tilt_series import TiltSeries


class Tomogram(Signal2D):
    """A volume as slices (z, y) across the tilt axis, which is the navigation axis.

    The data have the shape (slice, z, y), as etspy's reconstructions have. What is known of the
    reconstruction is in ``metadata.Reconstruction``; see `TiltSeries.reconstruct`. Tomograms of
    several maps have a second navigation axis, and figures of each; ``s.inav`` picks both.
    """

    _signal_type = "tomogram"

    def _slicer(self, slices, isNavigation=None, out=None):
        """Slice as HyperSpy does, with the figures of the maps that are left."""
        result = super()._slicer(slices, isNavigation, out)
        part = result if out is None else out
        pick_figures(self, part, self._get_array_slices(slices, isNavigation))
        return result

    def project(
        self,
        tilts: ArrayLike,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> TiltSeries:
        """Project the volume, as the microscope would see it.

        Parameters
        ----------
        tilts : array of shape (tilt,)
            In degrees, increasing or decreasing.
        show_progressbar : bool, optional
            As HyperSpy's preferences say by default.
        num_workers : int, optional
            Number of threads. All cores by default.
        lazy_output : bool, optional
            Whether the series is lazy: as the tomogram is, by default.

        Returns
        -------
        TiltSeries
            Images (y, x) with the tilt axis along x and as many pixels along y as the volume has.

        Raises
        ------
        ValueError
            If the tilts are not finite and in order, the tomogram has no navigation axis, or its
            voxels are not evenly spaced.
        """
        tilts = np.atleast_1d(np.asarray(tilts, dtype=np.float64))
        tilts = checked_tilts(tilts, tilts.size, zeros_are_lost=False)
        lazy_output = self._lazy if lazy_output is None else lazy_output
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        if has_maps(self):
            return project_maps(self, tilts, lazy_output, how)
        return project(self, tilts, lazy_output, how)

    def save(
        self,
        filename: str | PathLike | None = None,
        overwrite: bool | None = None,
        extension: str | None = None,
        file_format: str | None = None,
        **kwds,
    ) -> None:
        """Save the tomogram, as .mrc, .rec or .map for tomviz, ParaView, IMOD and others.

        All other endings are HyperSpy's. Files of the MRC2014 format hold float32 and, of all that
        is known, the size of a voxel and, as a label, the title. Their sections are the slices
        across the tilt axis, rows z and columns y, as `tilt` of IMOD writes them; ``trimvol -rx``
        there makes sections across the beam of them. `hyperspy.api.load` reads all three with
        ``file_format="MRC"``, with the axes along x, y and z called "z", "x" and "y", and without
        the scale of the first. Lazy tomograms are written some slices at a time. It needs the
        package mrcfile.

        Parameters
        ----------
        filename, overwrite, extension, file_format, **kwds
            As in HyperSpy.

        Raises
        ------
        ImportError
            If mrcfile is not installed.
        ValueError
            If an MRC file can't hold it: several maps, uneven voxels, units that are no lengths.

        Warns
        -----
        UserWarning
            If the axes have no units. The file then says 1 Å for each voxel.
        """
        path = mrc_path(filename, extension, file_format, VOLUMES)
        if path is None:
            super().save(filename, overwrite, extension, file_format, **kwds)
        else:
            write_volume(self, path, overwrite, **kwds)

    def to_etspy(self) -> Any:
        """Return the tomogram as RecStack of etspy, with the data shared.

        Data of a lazy tomogram are computed. The way back is ``s.set_signal_type("tomogram")``. It
        needs the package etspy.

        Returns
        -------
        etspy.base.RecStack
            Slices (z, y) along x.

        Raises
        ------
        ImportError
            If etspy is not installed.
        ValueError
            If there are several maps, or voxels are not evenly spaced.
        """
        return to_rec_stack(self)

    def plot_slices(self, **kwargs):
        """Plot three slices through the volume; see `plotting.plot_orthogonal_slices`."""
        from emsparse_hs.plotting import plot_orthogonal_slices

        return plot_orthogonal_slices(self, **kwargs)

    def plot_convergence(self):
        """Plot how the gap closed, and residuals; see `plotting.plot_convergence`."""
        from emsparse_hs.plotting import plot_convergence

        return plot_convergence(self)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A single-axis tilt series, with its tilts on the navigation axis."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from hyperspy.signals import Signal2D
from numpy.typing import ArrayLike

from emsparse_hs.signals._alignment import align
from emsparse_hs.signals._etspy import to_tomo_stack
from emsparse_hs.signals._mrc import SERIES, mrc_path, write_series
from emsparse_hs.signals._reconstruction import reconstruct, reconstruct_directly
from emsparse_hs.signals._request import Request
from emsparse_hs.signals._spectral_series import (
    align_maps,
    check_one_map,
    has_maps,
    reconstruct_maps,
    reconstruct_maps_directly,
)
from emsparse_hs.signals._tilt_geometry import TiltGeometry
from emsparse_hs.signals._tilt_score import TiltScore, score_tilts

if TYPE_CHECKING:
    from emsparse_hs.signals._tomogram import Tomogram


class TiltSeries(TiltGeometry, Signal2D):
    """Projections of a specimen that was tilted about one axis.

    The tilts are the values of the navigation axis, which is called "Tilt" and has units of
    degrees. So they stay with their images whatever is done to the signal. An axis of another
    name or other units is never taken for them: say what the tilts are with `set_tilts`. Parts that
    `hyperspy.api.stack` puts together along that axis need it again, since HyperSpy continues the
    tilts of the first one.

    A second navigation axis is one of several maps at each tilt, such as those of elements. They
    are reconstructed one by one, and aligned as one.
    """

    _signal_type = "tilt_series"

    def reconstruct(
        self,
        prior: str = "tv",
        lambda_: float | str = "auto",
        dims: int = 3,
        bounds: tuple[float, float | None] = (0, None),
        weights: str | None = None,
        edge: float | None = None,
        shifts: ArrayLike | None = None,
        tol: float = 1e-3,
        max_iter: int = 1000,
        x0: str | Tomogram | None = None,
        refine: Sequence[str] = (),
        block: int | str | None = None,
        halo: int = 48,
        device: str = "cpu",
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> Tomogram:
        """Reconstruct the volume, with as little structure as explains the images.

        Minimises half the squared difference between images and projections plus `lambda_` times
        the prior: for "tv" the volume's total variation, which is small where the volume consists
        of a few regions of constant density (Goris et al., Ultramicroscopy 113 (2012) 120; Leary et
        al., Ultramicroscopy 131 (2013) 70). How good the result is, is certified: see `gap` below
        and `emsparse_hs.tomography.reconstruct_tv`.

        Parameters
        ----------
        prior : {"tv", "huber", "tgv", "wavelet", "identity"}, optional
            What the volume is expected to have little of: total variation; the same without steps
            in gradients of density, Huber's; total generalised variation, which leaves even slopes
            free, see `emsparse_hs.tomography.reconstruct_tgv`; wavelet coefficients, see
            `emsparse_hs.tomography.reconstruct_wavelets`; or the densities themselves, as of single
            atoms or particles of a few voxels in nothing, and of nothing larger.
        lambda_ : float, "auto" or "cv", optional
            Weight of the prior, in units of the images. "auto" leaves out every fifth tilt, finds
            the weight that predicts them best from the others on a coarse grid, and takes as much
            more as brings volumes nearest to the truth. "cv" is the weight that predicts best
            itself, with all slices and pixels; "auto" is the same of "tgv", "wavelet" and
            "identity", and, with some of the slices, where residuals are far above the noise.
        dims : {3, 2}, optional
            Gradient in three dimensions, or in each slice across the tilt axis by itself. In two,
            slices are reconstructed some at a time. In three they are one problem, which takes more
            than ten times the volume's size in memory, or several; see `block`.
        bounds : (float, float or None), optional
            Least and largest density. Subtract the background of the images first: what has no
            density must project to zero. Integers wrap below zero, so
            ``s.change_dtype("float32")`` comes before.
        weights : {"poisson"}, optional
            Trust each pixel by its variance, as of counted electrons, which is found from the
            images; see `emsparse_hs.tomography.counting_precision`. All the same by default.
        edge : float, optional
            For "huber", the difference between neighbouring voxels below which gradients are made
            smooth, in units of the density. A twentieth of the typical density by default.
        shifts : array of shape (tilt,) or float, optional
            By how many pixels each image is displaced perpendicular to the tilt axis; a number
            where the axis is off the middle of the images.
        tol : float, optional
            Relative duality gap at which to stop: how far the objective may be above its minimum.
        max_iter : int, optional
            Iterations at the most.
        x0 : Tomogram or "wbp", optional
            Where to start: another tomogram, or weighted back-projection. The solution on a coarse
            grid by default, which is best. The result does not depend on it but for `tol`.
        refine : sequence of {"shift", "slide", "gain", "background", "angle"}, optional
            What each tilt did to its image, to be found from the images in five rounds with the
            reconstruction and undone: a displacement of up to some pixels across or along the tilt
            axis, a factor, a constant; and the angle of up to some 5 degrees by which the tilt axis
            is turned in all images, which interpolates them. A background that all images share is
            density to it, and the volume may end up displaced: a displacement of it can't be told
            from one of the images. All images are loaded for it. See
            `emsparse_hs.tomography.refine`.
        block : int, str or None, optional
            How many slices are reconstructed at once with `dims` 3: a number, to which the halo is
            added; as many as memory allows, such as "8 GiB"; or "auto", half of what is free. If
            that holds all slices they are one problem, and the result is exact. A lazy series, and
            any on a graphics card, has "auto" by default, any other is one problem. Free memory is
            that of the machine, or of the card: where a job may use less, say so. Slices are worked
            on 64 at a time, so that 64 n - 2 `halo` are best.
        halo : int, optional
            Further slices on either side of a block, in which it goes over into the next. With 48
            of them the worst slice was off by 0.0002 in the median of 16 simulations, and by 0.0009
            at most, less than `tol` leaves of one problem; with 32 by 0.0005 and 0.002.
        device : {"cpu", "cuda"}, optional
            What computes: the processor, or, but for "tgv", a graphics card of Nvidia through CuPy.
        show_progressbar : bool, optional
            As HyperSpy's preferences say by default.
        num_workers : int, optional
            Number of threads. All cores by default.
        lazy_output : bool, optional
            Whether the tomogram is lazy: as the series is, by default. With `dims` 2, or in blocks,
            it is computed only when needed, and its metadata lack what is known only afterwards.

        Returns
        -------
        Tomogram
            Slices (z, y) along the tilt axis, in units of the images a pixel. Its
            ``metadata.Reconstruction`` holds ``prior``, ``dims``, ``lambda_``, ``sigma`` (the
            estimated noise), ``kappa`` (`lambda_` over sigma and the root of the number of tilts),
            ``iterations``, ``gap`` (relative), ``chi_squared`` (1 if residuals are as large as the
            noise), ``residual_per_tilt`` (root mean square) and, of one problem, ``gap_history``;
            in blocks ``block``, ``halo`` and ``seam``, by how much blocks differ where they meet,
            over the volume's root mean square, and the gap is the worst of all blocks' problems;
            with `refine` ``shifts`` and ``slides`` (px), ``gains``, ``backgrounds`` and
            ``axis_angle`` too: degrees from the axis of the images along which the tilt axis
            should lie towards their other axis, in growing indices. Of a tilt axis along x that is
            clockwise as displayed, along y counter-clockwise. Of several maps it is one volume for
            each, along the axis of the maps, with its own figures in arrays.

        Raises
        ------
        ValueError
            If the tilts are not set, there are fewer than two, the images' pixels are not evenly
            spaced, the prior is unknown, or on a graphics card "tgv", data are not finite, or a
            parameter is out of range.

        Warns
        -----
        UserWarning
            If the tilts span less than 10 degrees, or most pixels are negative where the
            density must not be, or the images do not go down to zero at their edges. If `tol` was
            not reached, or, with `lambda_` "auto" or "cv", the noise does not explain the
            residuals; neither of these is said of a lazy result that is not computed.
        """
        request = Request(
            prior=prior,
            lambda_=lambda_,
            dims=dims,
            bounds=bounds,
            weights=weights,
            edge=edge,
            shifts=shifts,
            tol=tol,
            max_iter=max_iter,
            x0=x0,
            refine=(refine,) if isinstance(refine, str) else tuple(refine),
            block="auto" if block is None and (self._lazy or device == "cuda") else block,
            halo=halo,
            device=device,
            lazy_output=self._lazy if lazy_output is None else lazy_output,
            how={"show_progressbar": show_progressbar, "num_workers": num_workers},
        )
        if has_maps(self):
            return reconstruct_maps(self, request)
        return reconstruct(self, request)

    def reconstruct_wbp(
        self,
        window: str = "hann",
        shifts: ArrayLike | None = None,
        device: str = "cpu",
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> Tomogram:
        """Reconstruct by weighted back-projection, the quickest look at a series.

        Parameters
        ----------
        window : {"hann", "cosine", "ramp"}, optional
            What the ramp filter is multiplied by against noise; "ramp" is nothing.
        shifts, device, show_progressbar, num_workers, lazy_output
            As for `reconstruct`.

        Returns
        -------
        Tomogram
            Densities, negative ones included; see `emsparse_hs.tomography.reconstruct_wbp`.

        Raises
        ------
        ValueError
            As `reconstruct` does, or if the window is unknown.
        """
        lazy_output = self._lazy if lazy_output is None else lazy_output
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        directly = reconstruct_maps_directly if has_maps(self) else reconstruct_directly
        return directly(self, "wbp", {"window": window}, shifts, lazy_output, how, device)

    def reconstruct_sirt(
        self,
        max_iter: int = 30,
        bounds: tuple[float | None, float | None] = (0, None),
        shifts: ArrayLike | None = None,
        device: str = "cpu",
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        lazy_output: bool | None = None,
    ) -> Tomogram:
        """Reconstruct by the simultaneous iterative technique, which the field compares with.

        Parameters
        ----------
        max_iter : int, optional
            Number of iterations. They bring out details first and noise later.
        bounds : (float or None, float or None), optional
            Least and largest density.
        shifts, device, show_progressbar, num_workers, lazy_output
            As for `reconstruct`.

        Returns
        -------
        Tomogram
            Densities; see `emsparse_hs.tomography.reconstruct_sirt`.

        Raises
        ------
        ValueError
            As `reconstruct` does.
        """
        lazy_output = self._lazy if lazy_output is None else lazy_output
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        settings = {"n_iterations": max_iter, "bounds": tuple(bounds)}
        directly = reconstruct_maps_directly if has_maps(self) else reconstruct_directly
        return directly(self, "sirt", settings, shifts, lazy_output, how, device)

    def align(self, angle: float | str = 0.0) -> TiltSeries:
        """Move images by whole pixels to where the tilt axis is in the middle.

        Displacements are found from the images' sums along and across the tilt axis; see
        `emsparse_hs.tomography.estimate_displacements`. Nothing is interpolated, so that noise
        stays what it is, unless an angle is given: what is left, fractions of a pixel and of a
        degree, is for ``reconstruct(refine=("shift", "slide", "angle"))``. What moves in from
        outside is the median of the image's border. All images are loaded. Of several maps the sum
        is aligned, and each of them is moved by the same.

        Parameters
        ----------
        angle : float or "auto", optional
            By how many degrees the tilt axis is turned from the axis of the images along which it
            should lie towards their other axis, in growing indices: of a tilt axis along x that is
            clockwise as displayed, along y counter-clockwise. The images are turned back about
            their middle by cubic splines, and no longer integers. "auto" finds angles of up to 10
            degrees; see `emsparse_hs.tomography.estimate_axis_angle`.

        Returns
        -------
        TiltSeries
            A copy, whose ``metadata.Tomography.alignment`` holds ``shifts`` and ``slides``, by how
            many pixels the images had been displaced across and along the axis, and
            ``axis_angle``, by which they had been turned.

        Raises
        ------
        ValueError
            If the tilts are not set, there are fewer than three, an image is empty, or the
            angle is neither "auto" nor within 45 degrees.
        """
        return align_maps(self, angle) if has_maps(self) else align(self, angle)

    def score_tilts(self, step: int = 5, method: str = "tv", **kwargs) -> TiltScore:
        """Leave out tilts, predict them from the others, and say how well: an honest score.

        No truth is needed, so it tells on real data which method, prior or `lambda_` is better.
        What is left out plays no part, not even in choosing `lambda_`. So what is refined is known
        of it only as far as it lies between that of its neighbours: displacements or gains that
        are random from tilt to tilt stay in the score.

        Parameters
        ----------
        step : int, optional
            One in so many tilts is left out; never the first nor the last one.
        method : {"tv", "huber", "tgv", "wavelet", "identity", "wbp", "sirt"}, optional
            Prior of `reconstruct`, or another method.
        **kwargs
            As for `reconstruct`, `reconstruct_wbp` or `reconstruct_sirt`.

        Returns
        -------
        TiltScore
            Errors of the left out tilts, and those of interpolating between their neighbours.

        Raises
        ------
        ValueError
            If too few tilts are left, or as the method does.
        """
        check_one_map(self)
        return score_tilts(self, step, method, kwargs)

    def save(
        self,
        filename: str | PathLike | None = None,
        overwrite: bool | None = None,
        extension: str | None = None,
        file_format: str | None = None,
        **kwds,
    ) -> None:
        """Save the series, as .mrc, .st or .ali for IMOD and others, with its tilts beside it.

        The tilts go to a file of the same name that ends in .rawtlt, a line for each, as
        `set_tilts` reads them. All other endings are HyperSpy's. Files of the MRC2014 format hold
        float32 and, of all that is known, the size of a pixel and, as labels, the title and along
        which axis the tilt axis is. Lazy series are written some images at a time. It needs the
        package mrcfile.

        Parameters
        ----------
        filename, overwrite, extension, file_format, **kwds
            As in HyperSpy. Nothing is written unless both files may be.

        Raises
        ------
        ImportError
            If mrcfile is not installed.
        ValueError
            If an MRC file can't hold it: several maps, uneven pixels, units that are no lengths.

        Warns
        -----
        UserWarning
            If the axes have no units. The file then says 1 Å for each pixel.
        """
        path = mrc_path(filename, extension, file_format, SERIES)
        if path is None:
            super().save(filename, overwrite, extension, file_format, **kwds)
        else:
            write_series(self, path, overwrite, **kwds)

    def to_etspy(self) -> Any:
        """Return the series as TomoStack of etspy, with the data shared.

        Images are transposed where the tilt axis is along y, since it is along x there, and data
        of a lazy series are computed. What `align` moved images by is in ``shifts``. The way back
        is ``s.emsparse.as_tilt_series()``. It needs the package etspy.

        Returns
        -------
        etspy.base.TomoStack
            Images (tilt, y, x) with their tilts.

        Raises
        ------
        ImportError
            If etspy is not installed.
        ValueError
            If the tilts are not set, there are several maps, or pixels are not evenly spaced.
        """
        return to_tomo_stack(self)

    def plot_sinogram(self, tomogram: Tomogram, **kwargs):
        """Plot a slice's measured and fitted projections; see `plotting.plot_sinogram`."""
        from emsparse_hs.plotting import plot_sinogram

        return plot_sinogram(self, tomogram, **kwargs)

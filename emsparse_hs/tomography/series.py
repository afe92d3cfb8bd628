# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A whole tilt series reconstructed, at once or as functions of its images and its slices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._solving import Reconstruction
from .filtered import reconstruct_wbp
from .noise import noise_variances
from .projector import ParallelBeam
from .second_order import reconstruct_tgv
from .sirt import reconstruct_sirt
from .total_variation import reconstruct_tv
from .wavelets import reconstruct_wavelets

#: Solvers of priors that have one of their own.
_SOLVERS: dict[str, Callable[..., Reconstruction]] = {
    "wavelet": reconstruct_wavelets,
    "tgv": reconstruct_tgv,
}


@dataclass(frozen=True)
class SliceRows:
    """How a reconstructed slice and its figures lie in a row of numbers.

    Voxels come first, then number of iterations, gap and root of the objective, then the root mean
    square residual of each tilt. It is the objective's root since that is as small as the data,
    and no overflow of float32.

    Attributes
    ----------
    size : int
        Pixels of a slice along y and z.
    n_tilts : int
        Number of tilts.
    """

    size: int
    n_tilts: int

    @property
    def length(self) -> int:
        """Numbers in a row."""
        return self.size**2 + 3 + self.n_tilts

    def join(
        self,
        volume: NDArray,
        iterations: NDArray,
        gap: NDArray,
        objective: NDArray,
        residuals: NDArray,
    ) -> NDArray[np.float32]:
        """Rows of some slices (slice, length), with residuals of shape (slice, tilt)."""
        figures = np.stack([iterations, gap, np.sqrt(objective)], axis=1)
        columns = volume.reshape(len(volume), -1), figures, residuals
        return np.concatenate(columns, axis=1, dtype=np.float32)

    def split(self, rows: NDArray) -> tuple[NDArray, dict]:
        """Volume and figures of all slices, from rows in a numpy or dask array.

        Returns
        -------
        volume : array of shape (slice, z, y)
            Densities, of the kind of `rows`.
        figures : dict
            ``iterations`` and ``gap``, the largest of all slices, ``objective``, their sum, and
            ``residual_per_tilt``. Empty for a dask array, which is not computed.
        """
        n_voxels = self.size**2
        volume = rows[:, :n_voxels].reshape(len(rows), self.size, self.size)
        if not isinstance(rows, np.ndarray):
            return volume, {}
        rest = rows[:, n_voxels:].astype(np.float64)
        iterations, gap, root = rest[:, :3].T
        return volume, {
            "iterations": int(iterations.max()),
            "gap": float(gap.max()),
            "objective": float((root**2).sum()),
            "residual_per_tilt": np.sqrt(np.mean(rest[:, 3:] ** 2, axis=0)),
        }


def sinogram_of(images: NDArray, tilt_axis: str) -> NDArray:
    """Images (tilt, y, x) as sinogram (slice, tilt, detector), a view.

    Parameters
    ----------
    images : array of shape (tilt, y, x)
        The series.
    tilt_axis : {"x", "y"}
        Axis of the images along which the tilt axis lies.

    Returns
    -------
    array of shape (slice, tilt, detector)
        Slices follow each other along the tilt axis.
    """
    return images.transpose((2, 0, 1) if tilt_axis == "x" else (1, 0, 2))


def levels_of_rows(rows: NDArray, shape: tuple[int, int], across: int) -> NDArray[np.float64]:
    """Noise, median and border of each image.

    Parameters
    ----------
    rows : array of shape (tilt, y * x)
        Some images of the series, flat.
    shape : tuple of int
        Their shape (y, x).
    across : int
        Axis of the images across the tilt axis, 0 or 1.

    Returns
    -------
    float64 array of shape (tilt, 3)
        Variance of the noise as in `estimate_noise`, median, and the lower one of the medians of
        both edges across the tilt axis, where vacuum may be.

    Raises
    ------
    ValueError
        If an image is smaller than 3 x 3 pixels or holds values that are not finite.
    """
    images = rows.reshape(-1, *shape)
    edges = np.median(np.take(images, (0, -1), axis=across + 1), axis=2 - across)
    medians = np.median(rows, axis=1)
    return np.stack([noise_variances(images), medians, edges.min(axis=1)], axis=1)


def reconstruct_regularised(
    sinogram: NDArray,
    operator: ParallelBeam,
    settings: dict[str, Any],
    callback: Callable[[int, float], object] | None = None,
) -> Reconstruction:
    """Reconstruct slices with little total variation, few dense voxels, or both.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections.
    operator : ParallelBeam
        Projector.
    settings : dict
        As for `reconstruct_tv`, or, with a ``prior`` of "wavelet" or "tgv", `reconstruct_wavelets`
        or `reconstruct_tgv`; in place of ``precision`` ``noise``, a `CountingNoise` or None, and
        ``start`` may be "wbp", for weighted back-projection.
    callback : callable, optional
        As for `reconstruct_tv`.

    Returns
    -------
    Reconstruction
        As of `reconstruct_tv`.
    """
    settings = dict(settings)
    noise = settings.pop("noise", None)
    if noise is not None:
        settings["precision"] = noise.precision(sinogram)
    if isinstance(settings.get("start"), str):
        settings["start"] = reconstruct_wbp(sinogram, operator)
    kind = _SOLVERS.get(settings.pop("prior", ""), reconstruct_tv)
    return kind(sinogram, operator, callback=callback, **settings)


def reconstruct_slices(
    rows: NDArray, operator: ParallelBeam, settings: dict[str, Any]
) -> NDArray[np.float32]:
    """Reconstruct some slices, each by itself, in two dimensions.

    Parameters
    ----------
    rows : array of shape (slice, tilt * detector)
        Sinogram of each slice, flat.
    operator : ParallelBeam
        Projector.
    settings : dict
        As in `reconstruct_regularised`.

    Returns
    -------
    float32 array of shape (slice, length)
        Slices and figures as `SliceRows` says.
    """
    operator = operator.in_one_thread()
    sinogram = rows.reshape(len(rows), operator.n_tilts, operator.detector_size)
    with operator.device.turn:
        result = reconstruct_regularised(sinogram, operator, settings)
        residual = np.subtract(sinogram, operator.forward(result.volume), dtype=np.float64)
    return SliceRows(operator.detector_size, operator.n_tilts).join(
        result.volume,
        result.iterations_per_slice,
        result.gap_per_slice,
        result.objective_per_slice,
        np.sqrt(np.mean(residual**2, axis=2)),
    )


def reconstruct_slices_directly(
    rows: NDArray,
    operator: ParallelBeam,
    method: str,
    settings: dict[str, Any],
) -> NDArray[np.float32]:
    """Reconstruct some slices by weighted back-projection or SIRT.

    Parameters
    ----------
    rows, operator
        As in `reconstruct_slices`.
    method : {"wbp", "sirt"}
        The method.
    settings : dict
        Further arguments of `reconstruct_wbp` or `reconstruct_sirt`.

    Returns
    -------
    float32 array of shape (slice, z, y)
        Densities.
    """
    operator = operator.in_one_thread()
    sinogram = rows.reshape(len(rows), operator.n_tilts, operator.detector_size)
    reconstruct = reconstruct_wbp if method == "wbp" else reconstruct_sirt
    with operator.device.turn:
        return reconstruct(sinogram, operator, **settings)


def project_slices(rows: NDArray, tilts: ArrayLike, image_shape: tuple[int, int]) -> NDArray:
    """Project some slices.

    Parameters
    ----------
    rows : array of shape (slice, z * y)
        Densities, flat.
    tilts : array of shape (tilt,)
        In degrees.
    image_shape : tuple of int
        Pixels (z, y) of a slice.

    Returns
    -------
    float32 array of shape (slice, tilt, y)
        Projections, on as many detector pixels as the slice has along y.
    """
    operator = ParallelBeam(tilts, image_shape[1], image_shape)
    return operator.forward(rows.reshape(len(rows), *image_shape))

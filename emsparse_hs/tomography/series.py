# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A whole tilt series reconstructed, at once or as functions of its images and its slices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .noise import default_weight, noise_variances
from .projector import ParallelBeam
from .total_variation import reconstruct_tv

#: Numbers that follow the voxels in a row of `reconstruct_slices`, before the residuals.
_N_FIGURES = 3


@dataclass(frozen=True)
class SeriesStatistics:
    """What a series' images say about its reconstruction.

    Attributes
    ----------
    sigma : float
        Root mean square of the noise in a pixel.
    weight : float
        Weight of total variation that goes with it; see `default_weight`.
    scale : float
        Typical norm of a slice; see `typical_norm`.
    """

    sigma: float
    weight: float
    scale: float


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


def measure_images(images: NDArray, shape: tuple[int, int], tilt_axis: str) -> NDArray[np.float64]:
    """Numbers of each image from which `summarise` gets noise and scale.

    Parameters
    ----------
    images : array of shape (tilt, y * x)
        Some images of the series, flat.
    shape : tuple of int
        Their shape (y, x).
    tilt_axis : {"x", "y"}
        As in `sinogram_of`.

    Returns
    -------
    float64 array of shape (tilt, 3)
        Variance of the noise, sum of squares, and sum over slices of the absolute of what a slice
        projects to.

    Raises
    ------
    ValueError
        If an image is smaller than 3 x 3 pixels or holds values that are not finite.
    """
    frames = images.reshape(-1, *shape).astype(np.float64)
    sums = frames.sum(axis=1 if tilt_axis == "x" else 2)
    columns = [noise_variances(frames), (frames**2).sum(axis=(1, 2)), np.abs(sums).sum(axis=1)]
    return np.stack(columns, axis=1)


def summarise(measured: NDArray) -> SeriesStatistics:
    """Noise, weight and scale of a series.

    Parameters
    ----------
    measured : array of shape (tilt, 3)
        Of all images, from `measure_images`.

    Returns
    -------
    SeriesStatistics
        Of the series.
    """
    variance = measured[:, 0].mean()
    _, squares, sums = measured.sum(axis=0)
    sigma = float(np.sqrt(variance))
    scale = float(squares / sums) if squares > 0 and sums > 0 else 1.0
    return SeriesStatistics(sigma, default_weight(sigma, len(measured)), scale)


def reconstruct_slices(
    rows: NDArray,
    tilts: ArrayLike,
    shifts: ArrayLike | None,
    weight: float,
    bounds: tuple[float, float | None],
    tolerance: float,
    max_iterations: int,
    scale: float,
) -> NDArray[np.float32]:
    """Reconstruct some slices, each by itself, with total variation in two dimensions.

    Parameters
    ----------
    rows : array of shape (slice, tilt * detector)
        Sinogram of each slice, flat.
    tilts, shifts
        As in `ParallelBeam`.
    weight, bounds, tolerance, max_iterations, scale
        As in `reconstruct_tv`.

    Returns
    -------
    float32 array of shape (slice, z * y + 3 + tilt)
        The slice, flat; iterations, gap and objective; root mean square residual of each tilt.
    """
    n_tilts = len(np.asarray(tilts))
    sinogram = rows.reshape(len(rows), n_tilts, -1)
    operator = ParallelBeam(tilts, sinogram.shape[2], shifts=shifts)
    result = reconstruct_tv(
        sinogram,
        operator,
        weight,
        bounds=bounds,
        dimensions=2,
        tolerance=tolerance,
        max_iterations=max_iterations,
        scale=scale,
    )
    residual = sinogram - operator.forward(result.volume)
    columns = (
        result.volume.reshape(len(rows), -1),
        result.iterations_per_slice[:, None],
        result.gap_per_slice[:, None],
        result.objective_per_slice[:, None],
        np.sqrt(np.mean(residual**2, axis=2)),
    )
    return np.concatenate(columns, axis=1, dtype=np.float32)


def row_length(size: int, n_tilts: int) -> int:
    """Length of a row of `reconstruct_slices`, for slices of `size` pixels along y and z."""
    return size * size + _N_FIGURES + n_tilts


def chi_squared(residual_per_tilt: NDArray, sigma: float) -> float:
    """Mean squared residual over the squared noise: about 1 if the model explains the data.

    Parameters
    ----------
    residual_per_tilt : array of shape (tilt,)
        Root mean square residual of each tilt.
    sigma : float
        Standard deviation of the noise in a pixel.

    Returns
    -------
    float
        The ratio.
    """
    return float(np.mean(residual_per_tilt**2) / sigma**2)


def split_slices(rows: NDArray, size: int) -> tuple[NDArray, dict]:
    """What `reconstruct_slices` returned, as volume and figures of the whole.

    Parameters
    ----------
    rows : numpy or dask array of shape (slice, size**2 + 3 + tilt)
        Of all slices.
    size : int
        Pixels of a slice along y and z.

    Returns
    -------
    volume : array of shape (slice, z, y)
        Densities, of the kind of `rows`.
    figures : dict
        ``iterations`` and ``gap``, the largest of all slices, ``objective``, their sum, and
        ``residual_per_tilt``. Empty for a dask array, which is not computed.
    """
    volume = rows[:, : size * size].reshape(len(rows), size, size)
    if not isinstance(rows, np.ndarray):
        return volume, {}
    iterations, gap, objective = rows[:, size * size : size * size + _N_FIGURES].T
    residuals = rows[:, size * size + _N_FIGURES :].astype(np.float64)
    figures = {
        "iterations": int(iterations.max()),
        "gap": float(gap.max()),
        "objective": float(objective.sum(dtype=np.float64)),
        "residual_per_tilt": np.sqrt(np.mean(residuals**2, axis=0)),
    }
    return volume, figures


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

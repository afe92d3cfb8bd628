# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The simultaneous iterative reconstruction technique, that the field compares with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._solving import check_iterations
from .projector import ParallelBeam


def reconstruct_sirt(
    sinogram: ArrayLike,
    operator: ParallelBeam,
    n_iterations: int = 30,
    *,
    bounds: tuple[float | None, float | None] = (0, None),
    start: ArrayLike | None = None,
    callback: Callable[[int], object] | None = None,
) -> NDArray[np.float32]:
    r"""Simultaneous iterative reconstruction technique (Gilbert, J. Theor. Biol. 36 (1972) 105).

    .. math:: x \leftarrow x + C A^T R \, (b - A x),

    with one over the sums of columns and rows of A in C and R, and x brought back within the
    bounds after each step. It fits noise in the end, so that the number of iterations is what
    regularises it.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections, in density times px.
    operator : ParallelBeam
        Projector.
    n_iterations : int, optional
        Number of steps.
    bounds : (float or None, float or None), optional
        Least and largest density.
    start : array of shape (slice, z, y), optional
        Densities to start from, zero by default.
    callback : callable, optional
        Called with the number of steps done, after each of them.

    Returns
    -------
    float32 array of shape (slice, z, y)
        Densities.

    Raises
    ------
    ValueError
        If shapes, bounds or the number of iterations are not what is needed.
    """
    sinogram = operator.checked_sinogram(sinogram)
    check_iterations(n_iterations, "n_iterations")
    if len(bounds) != 2:
        raise ValueError(f"bounds are a lower and an upper one, or None, not {bounds!r}.")
    low, high = (
        fallback if bound is None else bound
        for bound, fallback in zip(bounds, (-np.inf, np.inf), strict=True)
    )
    if not low < high:
        raise ValueError(f"bounds are {bounds}, and the lower one must be below the upper one.")
    measured = operator.sinogram_to_slabs(sinogram)
    volume = np.zeros((len(sinogram), *operator.image_shape)) if start is None else start
    x = operator.volume_to_slabs(operator.checked_volume(volume, len(sinogram)))
    per_ray, per_voxel = _one_over_sums(operator)
    residual, step = (operator.device.zeros(*each.shape[:-1]) for each in (measured, x))

    def iterate(b: int) -> None:
        """One iteration of one slab."""
        operator.forward_slabs(x[b : b + 1], residual[b : b + 1])
        np.subtract(measured[b], residual[b], out=residual[b])
        residual[b] *= per_ray
        operator.adjoint_slabs(residual[b : b + 1], step[b : b + 1])
        step[b] *= per_voxel
        x[b] += step[b]
        np.clip(x[b], low, high, out=x[b])

    for k in range(n_iterations):
        operator.each_slab(iterate, len(x))
        if callback is not None:
            callback(k + 1)
    return operator.volume_from_slabs(x, len(sinogram))


def _one_over_sums(operator: ParallelBeam) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One over the sums of rows (tilt, detector + 2, 1) and columns (z, y, 1), 0 where it is 0."""
    rays = np.zeros((operator.n_tilts, operator.detector_size + 2, 1), np.float32)
    rays[:, 1:-1, 0] = operator.forward(np.ones((1, *operator.image_shape)))[0]
    voxels = operator.adjoint(np.ones((1, operator.n_tilts, operator.detector_size)))[0]
    # Of less than a thousandth of a voxel's side nothing can be learned.
    rays, voxels = (
        operator.device.put(np.divide(1, each, out=np.zeros_like(each), where=each > 1e-3))
        for each in (rays, voxels[..., None])
    )
    return rays, voxels

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From coarse to fine: a problem with pixels twice as large, and how its solution is taken over.

What a missing wedge hides is filled in from far away, a few pixels an iteration. On a coarse grid
that is near, and an iteration costs an eighth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ._primal_dual import PrimalDual
from ._problem import Problem
from ._slabs import from_slabs, to_slabs
from .projector import ParallelBeam


def coarser(problem: Problem) -> Problem:
    """The same problem with voxels twice as large, in two dimensions of the same thickness.

    A coarse detector pixel has the mean of two, or in three dimensions of 2 x 2, in units of the
    coarse voxel. Squared residuals then count an eighth (sixteenth) of before, and the variation a
    half (quarter): so the weight of variation is a quarter, and that of the sum a half.
    """
    penalty = problem.penalty
    scaled = replace(
        penalty,
        variation=penalty.variation / 4,
        edge=penalty.edge * 2,
        total=penalty.total / 2,
    )
    data: NDArray = from_slabs(problem.measured[:, :, 1:-1], problem.n_slices)
    precision = None
    if problem.is_weighted:
        weights = from_slabs(problem.precision[:, :, 1:-1], problem.n_slices)
        # Of weighted data the weighted mean is what counts.
        precision = _halved(weights, penalty.dimensions)
        data = _halved(data * weights, penalty.dimensions) / np.maximum(precision, 1e-30)
        data /= 2
    else:
        data = coarser_data(data, penalty.dimensions)
    operator = coarser_operator(problem.operator)
    return Problem(data, operator, scaled, problem.high, precision)


def take_over(fine: PrimalDual, coarse: PrimalDual) -> None:
    """Start the fine problem from where the coarse one has come to, in x and both duals."""
    n, three = fine.problem.n_slices, fine.problem.penalty.dimensions == 3
    shape = (n, *fine.problem.operator.image_shape)
    n_coarse = coarse.problem.n_slices
    axes = (0, 1, 2) if three else (1, 2)
    data_axes = (0, 2) if three else (2,)
    q = from_slabs(coarse.q[:, :, 1:-1], n_coarse)
    data_shape = (n, q.shape[1], fine.problem.operator.detector_size)
    fine.q[:] = to_slabs(2 * _doubled(q, data_axes, data_shape), margin=1)

    def take(k: int) -> None:
        if k == 3:
            fine.x[:] = to_slabs(_doubled(from_slabs(coarse.best, n_coarse), axes, shape))
        elif len(fine.p):
            p = 4 * from_slabs(coarse.p[:, k], n_coarse)
            # Along its own axis the dual lies between two voxels.
            fine.p[:, k] = to_slabs(_doubled(p, axes, shape, between=(1, 2, 0)[k]))

    fine.problem.operator.each_slab(take, 4)
    fine.set_steps()


def coarser_operator(operator: ParallelBeam) -> ParallelBeam:
    """Projector of the coarse grid, whose centre is off the axis where a size is odd."""
    detector = -(-operator.detector_size // 2)
    shape = tuple(-(-n // 2) for n in operator.image_shape)
    radians = np.deg2rad(operator.tilts)
    # By how many fine pixels the coarse grid reaches further beyond the end.
    t, z, y = ((n % 2) / 2 for n in (operator.detector_size, *operator.image_shape))
    shifts = operator.shifts + y * np.cos(radians) - z * np.sin(radians) - t
    return ParallelBeam(
        operator.tilts, detector, shape, shifts / 2, num_workers=operator.num_workers
    )


def coarser_data(sinogram: NDArray, dimensions: int) -> NDArray:
    """Sinogram on the coarse grid, in density times the coarse px."""
    return _halved(sinogram, dimensions) / 2


def _halved(sinogram: NDArray, dimensions: int) -> NDArray:
    """Mean of neighbouring detector pixels, in three dimensions of neighbouring slices as well."""
    axes = (0, 2) if dimensions == 3 else (2,)
    for axis in axes:
        n = sinogram.shape[axis]
        even = np.take(sinogram, range(0, n, 2), axis)
        odd = np.take(sinogram, np.minimum(np.arange(1, n + 1, 2), n - 1), axis)
        sinogram = (even + odd) / 2
    return sinogram


def _doubled(
    array: NDArray, axes: tuple[int, ...], shape: tuple[int, ...], between: int | None = None
) -> NDArray[np.float32]:
    """Linear interpolation to twice as many values along some axes, cut to a shape.

    Along the axis `between` values belong to the border with the next one.
    """
    for axis in axes:
        here = np.moveaxis(array, axis, 0)
        double = np.empty((2 * len(here), *here.shape[1:]), np.float32)
        if axis == between:
            double[1::2] = here
            double[0] = 0.5 * here[0]
            np.add(here[1:], here[:-1], out=double[2::2])
            double[2::2] *= 0.5
        else:
            quarter = 0.25 * here
            np.multiply(here, 0.75, out=double[::2])
            double[1::2] = double[::2]
            double[2::2] += quarter[:-1]
            double[0] += quarter[0]
            double[1:-1:2] += quarter[1:]
            double[-1] += quarter[-1]
        array = np.moveaxis(double, 0, axis)
    return np.ascontiguousarray(array[tuple(slice(n) for n in shape)])

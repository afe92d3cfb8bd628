# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From coarse to fine: a problem with pixels twice as large, and how its solution is taken over.

What a missing wedge hides is filled in from far away, a few pixels an iteration. On a coarse grid
that is near, and an iteration costs an eighth.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._primal_dual import PrimalDual
from ._problem import Problem
from ._slabs import slices_of
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
        wavelets=penalty.wavelets / 4,
        edge=penalty.edge * 2,
        total=penalty.total / 2,
        length=penalty.length / 2,
        slope=penalty.slope * 2,
    )
    from_slabs = problem.operator.sinogram_from_slabs
    data: NDArray = from_slabs(problem.measured, problem.n_slices)
    precision = None
    if problem.is_weighted:
        weights = from_slabs(problem.precision, problem.n_slices)
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

    def enlarge(slabs: NDArray, between: int | None = None) -> NDArray[np.float32]:
        """Slabs on the fine grid; `between` is the axis (z, y, slice) with values on borders."""
        rows, columns = fine.problem.operator.image_shape
        slabs = _more_slices(slabs, coarse, fine, between == 2)
        slabs = _doubled(slabs, 1, between == 0)[:, :rows]
        return _doubled(slabs, 2, between == 1)[:, :, :columns]

    def take_volume() -> None:
        fine.x[:] = enlarge(coarse.best)

    def take_data_dual() -> None:
        q = _doubled(_more_slices(2 * coarse.q, coarse, fine)[:, :, 1:-1], 2)
        fine.q[:, :, 1:-1] = q[:, :, : fine.problem.operator.detector_size]

    takes = take_volume, take_data_dual
    fine.problem.operator.each_slab(lambda k: takes[k](), len(takes))
    fine.prior.take_over(coarse.prior, enlarge)
    fine.set_steps()


def _more_slices(
    slabs: NDArray, coarse: PrimalDual, fine: PrimalDual, between: bool = False
) -> NDArray[np.float32]:
    """Slabs with the slices of the fine problem, on the coarse grid in the other directions."""
    if fine.problem.penalty.dimensions == 2:
        return slabs
    slices = slices_of(slabs, coarse.problem.n_slices)
    return fine.problem.device.to_slabs(_doubled(slices, 0, between)[: fine.problem.n_slices])


def coarser_operator(operator: ParallelBeam) -> ParallelBeam:
    """Projector of the coarse grid, whose centre is off the axis where a size is odd."""
    detector = -(-operator.detector_size // 2)
    shape = tuple(-(-n // 2) for n in operator.image_shape)
    radians = np.deg2rad(operator.tilts)
    # By how many fine pixels the coarse grid reaches further beyond the end.
    t, z, y = ((n % 2) / 2 for n in (operator.detector_size, *operator.image_shape))
    shifts = operator.shifts + y * np.cos(radians) - z * np.sin(radians) - t
    how: dict[str, Any] = {"num_workers": operator.num_workers, "device": operator.device.name}
    return ParallelBeam(operator.tilts, detector, shape, shifts / 2, **how)


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


def _doubled(array: NDArray, axis: int, between: bool = False) -> NDArray[np.float32]:
    """Linear interpolation to twice as many values along an axis.

    Values belong to the middle of two of the new ones, or, `between`, to the border with the next.
    """
    shape = list(array.shape)
    shape[axis] *= 2
    result = np.empty_like(array, dtype=np.float32, shape=shape)
    here, double = np.moveaxis(array, axis, 0), np.moveaxis(result, axis, 0)
    if between:
        double[0], double[1::2] = 0.5 * here[0], here
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
    return result

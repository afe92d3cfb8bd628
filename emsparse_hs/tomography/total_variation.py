# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Reconstruction of a volume with little total variation, with a proof of how good it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import noise
from ._coarse import coarser, take_over
from ._primal_dual import PrimalDual
from ._problem import Penalty, Problem
from .projector import ParallelBeam

#: Iterations from one look at the gap to the next at least, and as a part of those done; a look
#: costs as much as four of them.
_LOOK_EVERY, _LOOK_PART = 20, 0.25
#: Images are not made coarser than this; how far a coarse problem is solved.
_SMALLEST, _COARSE_TOLERANCE, _COARSE_ITERATIONS = 32, 3e-3, 60


@dataclass(frozen=True)
class Reconstruction:
    """A volume, and how well it solves the problem that was set.

    Attributes
    ----------
    volume : float32 array of shape (slice, z, y)
        Densities.
    weight : float
        Weight of total variation.
    n_iterations : int
        Iterations taken.
    gap : float
        Relative duality gap, from 0 to 1: the objective is at most this fraction of itself above
        the least possible one. In two dimensions the largest of all slices. NaN if rounding or
        overflow broke the proof.
    objective : float
        Half the sum of squared residuals plus the weighted total variation.
    residual_per_tilt : float64 array of shape (tilt,)
        Root mean square of measured minus projected values, in units of the data.
    converged : bool
        Whether the gap is within the tolerance.
    gap_per_slice, objective_per_slice : float64 array of shape (slice,)
        In two dimensions, where each slice is a problem by itself; empty in three.
    iterations_per_slice : int64 array of shape (slice,)
        Likewise.
    """

    volume: NDArray[np.float32]
    weight: float
    n_iterations: int
    gap: float
    objective: float
    residual_per_tilt: NDArray[np.float64]
    converged: bool
    gap_per_slice: NDArray[np.float64]
    objective_per_slice: NDArray[np.float64]
    iterations_per_slice: NDArray[np.int64]

    def chi_squared(self, sigma: float) -> float:
        """Mean squared residual over the squared noise: about 1 if the model explains the data."""
        return noise.chi_squared(self.residual_per_tilt, sigma)


def reconstruct_tv(
    sinogram: ArrayLike,
    operator: ParallelBeam,
    weight: float,
    *,
    bounds: tuple[float, float | None] = (0, None),
    dimensions: int = 3,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    callback: Callable[[int, float], object] | None = None,
) -> Reconstruction:
    r"""Volume x that explains the data b with little total variation.

    .. math::
        \min_{l \le x \le h} \tfrac12 \lVert A x - b\rVert^2 + \lambda \sum_j |\nabla x|_j

    with the isotropic total variation (Rudin, Osher and Fatemi, Physica D 60 (1992) 259) of forward
    differences, by the primal-dual algorithm (Chambolle and Pock, J. Math. Imaging Vis. 40 (2011)
    120) with over-relaxation (Condat, J. Optim. Theory Appl. 158 (2013) 460). Its steps are set
    from the data, and it works in units of the data, so that nothing changes when units do.

    It stops by the duality gap, which bounds from above how far the objective is from its minimum,
    in exact terms and without any assumption on the solution. With x counted from l, and any q and
    :math:`|p_j| \le \lambda`, the objective can't be below

    .. math:: -\tfrac12\lVert q\rVert^2 - \langle b, q\rangle - \sum_j u_j \max(0, -v_j),
        \quad v = A^T q + \nabla^T p,

    where no :math:`x_j` of the minimum exceeds :math:`u_j`. This is the upper bound h, or, where
    there is none, what the data allow: as neither A nor x is negative,
    :math:`x_j \sum_i A_{ij}^2 \le (A^T A x)_j`, and the residual of the minimum is not above that
    of any other x. Since that is generous, q is first raised by the constant that makes the bound
    best. p and q are means over the later half of the iterations, or less. The objective is never
    negative, so 0 is a bound as well. Where the minimum itself is 0, as for data without noise and
    a weight of 0, no relative gap can tell how near it is: the gap is 1 until the data are met.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections, in density times px.
    operator : ParallelBeam
        Projector.
    weight : float
        :math:`\lambda`, in units of the projections; see `default_weight`. With 0 the least
        squares within the bounds are sought.
    bounds : (float, float or None), optional
        Least and largest density. The least one must be finite: positivity is what makes the gap
        computable.
    dimensions : {3, 2}, optional
        Gradient in the volume, or in each slice by itself. In two dimensions each slice has steps
        and a gap of its own, so that its result does not depend on the other slices.
    tolerance : float, optional
        Relative duality gap at which to stop.
    max_iterations : int, optional
        Where to stop at the latest.
    callback : callable, optional
        Called with the number of iterations done and the latest gap (NaN at first), after each of
        them. What it raises ends the reconstruction.

    Returns
    -------
    Reconstruction
        The volume, the gap and the residuals.

    Raises
    ------
    ValueError
        If shapes, weight, bounds, dimensions, tolerance or iterations are not what is needed, or
        data are not finite.
    """
    sinogram = _checked_sinogram(sinogram, operator)
    low, high = _checked_settings(weight, bounds, dimensions, tolerance, max_iterations)
    unit = _unit(sinogram, low)
    penalty = Penalty(variation=weight / unit, dimensions=dimensions)
    problem = _problem(sinogram, operator, penalty, (low / unit, high / unit), unit)
    solver = _started(problem)
    _solve(solver, tolerance, max_iterations, callback)
    gap = float(solver.gap.max())
    volume = operator.volume_from_slabs(solver.best, len(sinogram))
    volume *= np.float32(unit)
    volume += np.float32(low)
    objective = solver.objective * unit**2
    per_slice = solver.gap, objective, solver.iterations
    return Reconstruction(
        volume,
        float(weight),
        solver.n_iterations,
        gap,
        float(objective.sum()),
        residual_per_tilt(sinogram, volume, operator),
        bool(gap <= tolerance),
        *(per_slice if dimensions == 2 else np.empty((3, 0))),
    )


def _solve(
    solver: PrimalDual,
    tolerance: float,
    max_iterations: int,
    callback: Callable[[int, float], object] | None = None,
) -> None:
    """Iterate until the gap is within the tolerance."""
    gap, next_look = np.nan, _LOOK_EVERY
    while not solver.done.all():
        k = solver.n_iterations + 1
        if k in (next_look, max_iterations):
            # Only a step without over-relaxation ends within the bounds.
            solver.iterate(relaxation=1.0)
            gap = float(solver.look(tolerance, last=k == max_iterations).max())
            next_look = k + max(_LOOK_EVERY, int(_LOOK_PART * k))
        else:
            solver.iterate()
        if callback is not None:
            callback(k, gap)


def _started(problem: Problem) -> PrimalDual:
    """Solver that starts from the solution of a coarser problem, if that is not too coarse."""
    solver = PrimalDual(problem)
    if min(problem.operator.image_shape) >= 2 * _SMALLEST:
        coarse = _started(coarser(problem))
        _solve(coarse, _COARSE_TOLERANCE, _COARSE_ITERATIONS)
        take_over(solver, coarse)
    return solver


def _problem(
    sinogram: NDArray,
    operator: ParallelBeam,
    penalty: Penalty,
    bounds: tuple[float, float],
    unit: float,
) -> Problem:
    """Problem in other units, with densities counted from the lower bound."""
    low, high = bounds
    data = sinogram / np.float32(unit)
    if low:
        data -= low * operator.forward(np.ones((1, *operator.image_shape)))
    return Problem(data, operator, penalty, high - low)


def _unit(sinogram: NDArray, low: float) -> float:
    """Unit in which no value is large and some are near 1, a power of 2 for exactness.

    Squares of float32 below 1e-19 or above 1e19 are lost.
    """
    largest = max(float(sinogram.max()), -float(sinogram.min()), abs(low))
    return float(2.0 ** np.floor(np.log2(largest))) if largest > 0 else 1.0


def residual_per_tilt(
    sinogram: NDArray, volume: NDArray, operator: ParallelBeam
) -> NDArray[np.float64]:
    """Root mean square of measured minus projected values at each tilt.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Measured projections.
    volume : array of shape (slice, z, y)
        Densities.
    operator : ParallelBeam
        Projector.

    Returns
    -------
    float64 array of shape (tilt,)
        In units of the projections.
    """
    residual = np.asarray(sinogram, np.float32) - operator.forward(volume)
    squares = np.einsum("std,std->t", residual, residual, dtype=np.float64)
    return np.sqrt(squares / (residual.shape[0] * residual.shape[2]))


def _checked_sinogram(sinogram: ArrayLike, operator: ParallelBeam) -> NDArray[np.float32]:
    sinogram = np.asarray(sinogram)
    if sinogram.dtype.kind not in "biuf":
        raise TypeError(f"Projections must be real numbers, these are {sinogram.dtype}.")
    shape = (operator.n_tilts, operator.detector_size)
    if sinogram.ndim != 3 or sinogram.shape[1:] != shape or not len(sinogram):
        raise ValueError(
            f"The sinogram has shape {sinogram.shape}, and the projector takes (slice, tilt, "
            f"detector) with (tilt, detector) = {shape}."
        )
    with np.errstate(over="ignore"):
        sinogram = sinogram.astype(np.float32)
    if not np.isfinite(sinogram).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(sinogram))} projected values are NaN, infinite or "
            "beyond float32. Replace them, for instance by the mean of their neighbours."
        )
    return sinogram


def _checked_settings(
    weight: float,
    bounds: tuple[float, float | None],
    dimensions: int,
    tolerance: float,
    max_iterations: int,
) -> tuple[float, float]:
    if not (np.isfinite(weight) and weight >= 0):
        raise ValueError(f"The weight of total variation must be 0 or more, not {weight}.")
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3, not {dimensions}.")
    if not tolerance >= 0:
        raise ValueError(f"The tolerance must be 0 or more, not {tolerance}.")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be 1 or more, not {max_iterations}.")
    low, high = bounds
    high = np.inf if high is None else high
    if low is None or not np.isfinite(low) or not low < high:
        raise ValueError(
            f"bounds are {bounds}, and a finite lower one is needed, below the upper one: "
            "(0, None) for densities that are not negative."
        )
    return float(low), float(high)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Reconstruction of a volume with little total variation, with a proof of how good it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import noise
from ._coarse import coarser, take_over
from ._primal_dual import PrimalDual
from ._problem import Penalty, Problem
from .projector import ParallelBeam

#: Iterations from one look at the gap to the next at least, and as a part of those done; a look
#: costs as much as four of them.
_LOOK_EVERY, _LOOK_PART = 20, 0.15
#: Images are not made coarser than this; how far a coarse problem is solved.
_SMALLEST, _COARSE_TOLERANCE, _COARSE_ITERATIONS = 32, 1e-2, 40


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
        Half the sum of squared residuals plus what the volume is to have little of, each with
        its weights.
    residual_per_tilt : float64 array of shape (tilt,)
        Root mean square of measured minus projected values, in units of the data.
    converged : bool
        Whether the gap is within the tolerance.
    gap_per_slice, objective_per_slice : float64 array of shape (slice,)
        In two dimensions, where each slice is a problem by itself; empty in three.
    iterations_per_slice : int64 array of shape (slice,)
        Likewise.
    gap_history : float64 array of shape (look, 2)
        Iteration and gap of each look at it.
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
    gap_history: NDArray[np.float64]

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
    edge: float = 0.0,
    sparsity: float = 0.0,
    precision: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    callback: Callable[[int, float], object] | None = None,
) -> Reconstruction:
    r"""Volume x that explains the data b with little total variation.

    .. math::
        \min_{l \le x \le h} \tfrac12 \sum_i w_i (A x - b)_i^2 + \lambda \sum_j H(|\nabla x|_j)
            + \mu \sum_j x_j

    with the isotropic total variation (Rudin, Osher and Fatemi, Physica D 60 (1992) 259) of forward
    differences, H being the identity, or Huber's function, a parabola below `edge` (Huber, Ann.
    Math. Stat. 35 (1964) 73). By the primal-dual algorithm (Chambolle and Pock, J. Math. Imaging
    Vis. 40 (2011) 120) for volume and data, with over-relaxation (Condat, J. Optim. Theory Appl.
    158 (2013) 460); in each of its iterations the gradient's dual is moved on by some accelerated
    steps, which cost less than a projection. It begins on a coarse grid. Steps are set from the
    data, and it works in units of the data, so that nothing changes when units do.

    It stops by the duality gap, which bounds from above how far the objective is from its minimum,
    in exact terms and without any assumption on the solution. With x counted from l, and any q and
    :math:`|p_j| \le \lambda`, the objective can't be below

    .. math:: -\tfrac12 \sum_i q_i^2 / w_i - \langle b, q\rangle
        - \frac{e}{2 \lambda} \sum_j |p_j|^2 - \sum_j u_j \max(0, -v_j),
        \quad v = A^T q + \nabla^T p + \mu,

    where no :math:`x_j` of the minimum exceeds :math:`u_j`. This is the upper bound h, or, where
    there is none, what the data allow: as neither A nor x is negative,
    :math:`x_j \sum_i A_{ij}^2 \le (A^T A x)_j`, and the residual of the minimum is not above that
    of any other x. Since that is generous, p is first moved to where v is least negative, and q is
    raised by the constant (times w) that makes the bound best. The objective is never negative, so
    0 is a bound as well. Where the minimum itself is 0, as for data without noise and a weight of
    0, no relative gap can tell how near it is: the gap is 1 until the data are met.

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
    edge : float, optional
        Difference between neighbouring voxels below which Huber's function is a parabola, which
        makes gradients smooth instead of stepped. 0 for total variation.
    sparsity : float, optional
        :math:`\mu`, the weight of the sum of all densities, which is their 1-norm. It needs 0 as
        the lower bound.
    precision : array of shape (slice, tilt, detector), optional
        Weights w of the squared residuals, for instance one over their variances times the mean
        variance. 1 by default.
    start : array of shape (slice, z, y), optional
        Densities to start from, instead of the solution on a coarse grid.
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
    sinogram = operator.checked_sinogram(sinogram)
    low, high = checked_bounds(bounds, sparsity)
    check_settings(weight, edge, sparsity, dimensions, tolerance, max_iterations)
    unit = _unit(sinogram, low)
    penalty = Penalty(weight / unit, edge / unit, sparsity / unit, dimensions)
    problem = _problem(sinogram, operator, penalty, (low / unit, high / unit), unit, precision)
    if start is None:
        solver = _started(problem)
    else:
        solver = PrimalDual(problem)
        solver.start((operator.checked_volume(start, len(sinogram)) - low) / unit)
    history = _solve(solver, tolerance, max_iterations, callback)
    return _result(solver, sinogram, weight, (low, unit), tolerance, history)


def _result(
    solver: PrimalDual,
    sinogram: NDArray,
    weight: float,
    scale: tuple[float, float],
    tolerance: float,
    history: NDArray,
) -> Reconstruction:
    """What was found, in units of the data; `scale` is the density of 0 and of a unit."""
    (low, unit), operator = scale, solver.problem.operator
    gap = float(solver.gap.max())
    volume = operator.volume_from_slabs(solver.best, len(sinogram))
    volume *= np.float32(unit)
    volume += np.float32(low)
    objective = solver.objective * unit**2
    # In three dimensions there is one problem for all slices.
    own = slice(None) if solver.problem.penalty.dimensions == 2 else slice(0)
    return Reconstruction(
        volume,
        float(weight),
        solver.n_iterations,
        gap,
        float(objective.sum()),
        residual_per_tilt(sinogram, volume, operator),
        bool(gap <= tolerance),
        solver.gap[own],
        objective[own],
        solver.iterations[own],
        history,
    )


def _solve(
    solver: PrimalDual,
    tolerance: float,
    max_iterations: int,
    callback: Callable[[int, float], object] | None = None,
) -> NDArray[np.float64]:
    """Iterate until the gap is within the tolerance; iteration and gap of each look (look, 2)."""
    gap, next_look, history = np.nan, _LOOK_EVERY, []
    while not solver.done.all():
        k = solver.n_iterations + 1
        if k in (next_look, max_iterations):
            # Only a step without over-relaxation ends within the bounds.
            solver.iterate(relaxation=1.0)
            gap = float(solver.look(tolerance, last=k == max_iterations).max())
            history.append((k, gap))
            next_look = k + max(_LOOK_EVERY, int(_LOOK_PART * k))
        else:
            solver.iterate()
        if callback is not None:
            callback(k, gap)
    return np.array(history, dtype=np.float64).reshape(-1, 2)


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
    precision: ArrayLike | None,
) -> Problem:
    """Problem in other units, with densities counted from the lower bound."""
    low, high = bounds
    data = sinogram / np.float32(unit)
    if low:
        data -= low * operator.forward(np.ones((1, *operator.image_shape)))
    if precision is not None:
        precision = operator.checked_sinogram(precision)
        if precision.shape != data.shape or precision.min() < 0 or not precision.any():
            raise ValueError(
                "The precision must have the shape of the sinogram, no negative element, and not "
                "only zeros."
            )
    return Problem(data, operator, penalty, high - low, precision)


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


def check_settings(
    weight: float,
    edge: float,
    sparsity: float,
    dimensions: int,
    tolerance: float,
    max_iterations: int,
) -> None:
    """Say what is wrong with arguments of `reconstruct_tv`, if anything is."""
    for name, value in (
        ("weight of total variation", weight),
        ("edge", edge),
        ("sparsity", sparsity),
    ):
        if not isinstance(value, Real) or not (np.isfinite(value) and value >= 0):
            raise ValueError(f"The {name} must be a number of 0 or more, not {value!r}.")
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3, not {dimensions}.")
    if not tolerance >= 0:
        raise ValueError(f"The tolerance must be 0 or more, not {tolerance}.")
    check_iterations(max_iterations, "max_iterations")


def check_iterations(number: object, name: str) -> None:
    """Say so if this is no whole number above 0."""
    if not isinstance(number, Integral) or number < 1:
        raise ValueError(f"{name} must be a whole number of 1 or more, not {number!r}.")


def checked_bounds(bounds: tuple[float, float | None], sparsity: float) -> tuple[float, float]:
    """Lower and upper bound, infinite where it is None, or an error that says what is needed."""
    low, high = bounds
    high = np.inf if high is None else high
    if low is None or not np.isfinite(low) or not low < high:
        raise ValueError(
            f"bounds are {bounds}, and a finite lower one is needed, below the upper one: "
            "(0, None) for densities that are not negative."
        )
    if sparsity and low:
        raise ValueError(f"Sparsity needs 0 as the lower bound, not {low}.")
    return float(low), float(high)

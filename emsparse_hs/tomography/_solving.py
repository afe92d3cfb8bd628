# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From data and a penalty to a volume, with a proof of how good it is."""

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
        Weight of the prior.
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


def minimise(
    sinogram: ArrayLike,
    operator: ParallelBeam,
    weight: float,
    penalty: Penalty,
    *,
    bounds: tuple[float, float | None],
    precision: ArrayLike | None,
    start: ArrayLike | None,
    tolerance: float,
    max_iterations: int,
    callback: Callable[[int, float], object] | None,
) -> Reconstruction:
    """Volume that minimises what `reconstruct_tv` says, with any penalty; arguments as there."""
    sinogram = operator.checked_sinogram(sinogram)
    low, high = checked_bounds(bounds, penalty.total)
    unit = _unit(sinogram, low)
    scaled = penalty.in_units_of(unit)
    problem = _problem(sinogram, operator, scaled, (low / unit, high / unit), unit, precision)
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
        ("weight of the prior", weight),
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

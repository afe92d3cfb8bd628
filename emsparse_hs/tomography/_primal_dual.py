# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The primal-dual algorithm, on slabs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ._certificate import Certificate
from ._kernels import SLAB
from ._prior import Prior
from ._problem import Problem
from ._second_order import SecondOrder
from ._variation import Variation
from ._wavelets import Wavelets

#: Over-relaxation; any value below 2 converges. It saves a quarter of the iterations.
_RELAXATION = 1.8
#: Sweeps before a look at the gap. 15, 30 and 60 gave gaps of 0.0018, 0.0013 and 0.0010.
_SWEEPS_TO_LOOK = 30
#: Step of the volume in these sweeps, in steps of an iteration. With an upper bound, 1, 10 and 100
#: gave gaps of 0.01, 0.0008 and 0.0007 after 60 iterations; without, nothing depends on it.
_FAR = np.float32(100)
#: By how much the step of the data's dual is above the one that bounds iterations best.
_HURRY = 3.0


class PrimalDual:
    """State of the primal-dual algorithm, in slabs, and one iteration of it.

    Attributes
    ----------
    x, q : float32 arrays of slabs
        The volume, and the dual of the data.
    prior : Prior
        With a dual of its own.
    done : bool array of shape (n_problems,)
        Problems whose gap is within the tolerance, or that were looked at for the last time.
    gap, objective : float64 array of shape (n_problems,)
        As of the look at which the problem was done, or the latest.
    iterations : int64 array of shape (n_problems,)
        Until it was done.
    best : float32 array of slabs
        x where a problem is done.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem, self.certificate = problem, Certificate(problem)
        self.x, self.slope = problem.empty_volume(), problem.empty_volume()
        self.prior = prior_of(problem)
        self.q, self.projection = problem.empty_sinogram(), problem.empty_sinogram()
        self.per_ray, self.typical_ray, self.per_voxel = self._norms_of_projector()
        self.n_iterations = self.n_since = 0
        self.done = np.zeros(problem.n_problems, bool)
        self.gap = np.full(problem.n_problems, np.inf)
        self.objective = np.full(problem.n_problems, np.inf)
        self.iterations = np.zeros(problem.n_problems, np.int64)
        # In three dimensions there is nothing to go on with once the one problem is done.
        self.best = problem.empty_volume() if problem.n_problems > 1 else self.x
        self.set_steps()

    def start(self, volume: NDArray) -> None:
        """Start from a volume (slice, z, y), with the dual of the data that belongs to it."""
        problem = self.problem
        self.x[:] = problem.device.to_slabs(np.clip(volume, 0, problem.high))
        problem.objective(self.x, self.projection)
        self.q[:] = (self.projection - problem.measured) * problem.precision
        self.set_steps()

    def iterate(self, relaxation: float = _RELAXATION) -> None:
        """Take one step in x and one in both duals."""
        self.n_iterations += 1
        self.n_since += 1
        self._each_slab(lambda b: self.problem.leave_slope(b, self.q, self.slope))
        self.prior.sweep(self.prior.n_sweeps, self.x, self.slope, self.step, 1.0, self._each_slab)
        self.prior.add_slope(self.slope, self._each_slab)
        self._each_slab(lambda b: self._move(b, relaxation))

    def evaluate(self) -> NDArray[np.float64]:
        """What is minimised, of each problem; leaves the projection of x in its place."""
        return self.problem.objective(self.x, self.projection) + self.prior.value(self.x)

    def look(self, tolerance: float, last: bool = False) -> NDArray[np.float64]:
        """Relative gap of each problem; keeps x where it is within the tolerance."""
        problem = self.problem
        objective = self.evaluate()
        self._each_slab(lambda b: problem.leave_slope(b, self.q, self.slope))
        # Far from any volume, sweeps make the slope as little negative as they can. But at an upper
        # bound it is to be negative, and a short dual is what Huber's function wants as well.
        keep = 1.0 if np.isfinite(problem.high) or problem.penalty.soft else 0.0
        far = np.minimum(self.step, np.float32(1e30)) * _FAR
        self.prior.brace(_SWEEPS_TO_LOOK, self.x, self.slope, far, keep, self._each_slab)
        self.prior.add_slope(self.slope, self._each_slab)
        gap = self.certificate.gap(objective, self.q, self.prior, self.slope)
        finished = ~self.done & ((gap <= tolerance) | last)
        self.gap = np.where(self.done, self.gap, gap)
        self.objective = np.where(self.done, self.objective, objective)
        self.iterations[finished] = self.n_iterations
        self._keep(finished)
        self.done |= finished
        if self.n_since >= self.n_iterations / 2:
            self.n_since = 0
            self.set_steps()
        return self.gap

    def set_steps(self) -> None:
        """Set steps of x and q, (slab, slice), from what is known of both.

        The number of iterations is bounded by |x|^2 / tau + |q|^2 / sigma (Chambolle and Pock,
        2011), which with sigma tau |A|^2 = 1 is least at sigma = |q| / (|x| |A|).
        """
        x, q = self._norm(self.x), self._norm(self.q)
        x = np.where(x > 0, x, self.problem.scale)
        # Of data without noise the dual vanishes in the end, but not on the way.
        q = np.maximum(q, 0.01 * self._norm(self.problem.measured))
        tiny = np.finfo(np.float32).tiny
        norm = np.sqrt(self.per_voxel * self.typical_ray)
        up = _HURRY * np.maximum(q, tiny) / (np.maximum(x, tiny) * norm)
        steps = np.zeros((2, self.problem.n_slabs * SLAB), np.float32)
        steps[:, : self.problem.n_slices] = up, 0.99 / (up * self.per_voxel)
        self.up, self.step = self.problem.device.put(steps.reshape(2, -1, SLAB))

    def _norms_of_projector(self) -> tuple[NDArray, float, float]:
        """One over the sum of each row of the projector, its median, the largest sum of a column.

        Steps sigma / row and tau / column keep to sigma tau |A|^2 <= 1, since no element is
        negative (Pock and Chambolle, ICCV 2011, with alpha = 1).
        """
        operator = self.problem.operator
        rows = np.zeros((operator.n_tilts, operator.detector_size + 2), np.float32)
        rows[:, 1:-1] = operator.forward(np.ones((1, *operator.image_shape)))[0]
        columns = operator.adjoint(np.ones((1, operator.n_tilts, operator.detector_size)))
        per_ray = 1 / np.maximum(rows, 1)
        typical = float(np.median(per_ray))
        return self.problem.device.put(per_ray), typical, max(float(columns.max()), 1e-12)

    def _norm(self, slabs: NDArray) -> NDArray[np.float64]:
        problem = self.problem
        each = problem.per_slice(lambda b: problem.loops.squares(slabs[b])[: problem.counts[b]])
        return np.sqrt(problem.per_problem(each))

    def _keep(self, finished: NDArray) -> None:
        if self.problem.n_problems == 1:
            return
        for b in range(self.problem.n_slabs):
            chosen = np.flatnonzero(finished[self.problem.slices(b)])
            self.best[b][..., chosen] = self.x[b][..., chosen]

    def _each_slab(self, function: Callable[[int], object]) -> None:
        """Call a function of the slab's number; only for slabs that are not done, in 2D."""
        active = list(range(self.problem.n_slabs))
        if self.problem.n_problems > 1:
            active = [b for b in active if not self.done[self.problem.slices(b)].all()]
        self.problem.operator.each_slab(lambda i: function(active[i]), len(active))

    def _move(self, b: int, relaxation: float) -> None:
        problem = self.problem
        problem.loops.volume_step(self.x[b], self.slope[b], self.step[b], problem.high, relaxation)
        projection = self.projection[b : b + 1]
        # The slope has become the volume ahead.
        problem.operator.forward_slabs(self.slope[b : b + 1], projection)
        problem.loops.data_step(
            projection[0],
            problem.measured[b],
            self.up[b],
            self.per_ray,
            problem.precision[b],
            relaxation,
            self.q[b],
        )


def prior_of(problem: Problem) -> Prior:
    """Prior that the penalty of a problem asks for."""
    if problem.penalty.wavelets > 0:
        return Wavelets(problem)
    if problem.penalty.variation > 0:
        # Without slopes that are free, what is left is total variation.
        return SecondOrder(problem) if problem.penalty.slope > 0 else Variation(problem)
    return Prior(problem)

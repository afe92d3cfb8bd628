# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The primal-dual algorithm for total variation, on slabs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from . import _tv_kernels as kernels
from ._certificate import Certificate
from ._kernels import SLAB
from ._problem import Problem, squares
from ._slabs import zeros, zeros_like

#: Squared norm of the gradient in two and three dimensions.
_GRADIENT_NORM = {2: 8.0, 3: 12.0}
#: By how much the step of the gradient's dual is above the one that bounds iterations best. After
#: 320 iterations on simulated particles and needles (seeds 0 and 1), 4 and 8 left gaps of 0.001,
#: 1, 2 and 16 larger ones.
_HURRY = 4.0


class PrimalDual:
    """State of the primal-dual algorithm, in slabs, and one iteration of it.

    Attributes
    ----------
    done : bool array of shape (n_problems,)
        Problems whose gap is within the tolerance, or that were looked at for the last time.
    gap, objective : float64 array of shape (n_problems,)
        As of the look at which the problem was done, or the latest.
    iterations : int64 array of shape (n_problems,)
        Until it was done.
    best : float32 array of slabs
        x where a problem is done.
    """

    def __init__(self, problem: Problem, scale: NDArray) -> None:
        operator = problem.operator
        self.problem, self.certificate = problem, Certificate(problem)
        self.x = zeros(problem.n_slabs, *operator.image_shape)
        self.ahead, self.slope = zeros_like(self.x), zeros_like(self.x)
        self.p = zeros(problem.n_slabs, 3, *operator.image_shape)
        self.p_mean = zeros_like(self.p)
        self.q, self.q_mean, self.projection = (zeros_like(problem.measured) for _ in range(3))
        longest = operator.forward(np.ones((1, *operator.image_shape))).max()
        # Row sums times column sums bound the norm of a matrix without negative elements.
        self.norm = max(float(longest) * float(self.certificate.seen.max()), 1e-12)
        self.norms = self._expected_norms(scale)
        self.step_x, self.step_q, self.step_p = self._steps(*self.norms)
        self.n_iterations = self.n_averaged = 0
        self.done = np.zeros(problem.n_problems, bool)
        self.gap = np.full(problem.n_problems, np.inf)
        self.objective = np.full(problem.n_problems, np.inf)
        self.iterations = np.zeros(problem.n_problems, np.int64)
        # In three dimensions there is nothing to go on with once the one problem is done.
        self.best = np.zeros_like(self.x) if problem.n_problems > 1 else self.x

    def iterate(self, relaxation: float) -> None:
        """Take one step in x and one in both duals."""
        self.n_iterations += 1
        self.n_averaged += 1
        share = 1.0 / self.n_averaged
        self._each_slab(lambda b: self._move_volume(b, relaxation))
        self._each_slab(lambda b: self._move_duals(b, relaxation, share))

    def look(self, tolerance: float, last: bool = False) -> NDArray[np.float64]:
        """Relative gap of each problem; keeps x where it is within the tolerance."""
        objective = self.problem.objective(self.x, self.projection)
        gap = self.certificate.gap(objective, self.q_mean, self.p_mean, self.slope)
        finished = ~self.done & ((gap <= tolerance) | last)
        self.gap = np.where(self.done, self.gap, gap)
        self.objective = np.where(self.done, self.objective, objective)
        self.iterations[finished] = self.n_iterations
        self._keep(finished)
        self.done |= finished
        if self.n_averaged >= self.n_iterations / 2:
            self.n_averaged = 0
            self.norms = self._present_norms()
            self.step_x, self.step_q, self.step_p = self._steps(*self.norms)
        return self.gap

    def _keep(self, finished: NDArray) -> None:
        if self.problem.n_problems == 1:
            return
        for b, n in enumerate(self.problem.counts):
            chosen = finished[self.problem.slices(b)]
            self.best[b, ..., :n][..., chosen] = self.x[b, ..., :n][..., chosen]

    def _steps(self, x: NDArray, q: NDArray, p: NDArray) -> NDArray[np.float32]:
        """Steps of x, q and p from the norms of each, (3, slab, slice).

        The number of iterations is bounded by |x|^2 / tau + |q|^2 / sigma_q + |p|^2 / sigma_p
        (Chambolle and Pock, 2011), with tau = 1 / (sigma_q |A|^2 + sigma_p |grad|^2), which is
        least at sigma_q = |q| / (|x| |A|), and sigma_p likewise. The gap closes faster if the
        gradient's dual is hurried.
        """
        gradient = _GRADIENT_NORM[self.problem.dimensions]
        tiny = np.finfo(np.float32).tiny
        step_q = np.maximum(q, tiny) / (np.maximum(x, tiny) * np.sqrt(self.norm))
        step_p = _HURRY * p / (np.maximum(x, tiny) * np.sqrt(gradient))
        step_x = 0.99 / (step_q * self.norm + step_p * gradient)
        steps = np.zeros((3, self.problem.n_slabs * SLAB), np.float32)
        steps[:, : self.problem.n_slices] = step_x, step_q, step_p
        return steps.reshape(3, -1, SLAB)

    def _expected_norms(self, scale: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Norms of x, q and p from what is known before: the noise, to which the weight belongs."""
        weight, operator = self.problem.weight, self.problem.operator
        q = np.maximum(weight * np.sqrt(operator.detector_size), 0.01 * scale)
        p = np.full_like(scale, 0.5 * weight * np.sqrt(np.prod(operator.image_shape)))
        return scale, q, p

    def _present_norms(self) -> tuple[NDArray, NDArray, NDArray]:
        """Norms that x and the duals have by now, or had when they were known."""

        def norm(array: NDArray) -> NDArray:
            counts = self.problem.counts
            per_slice = self.problem.per_slice(lambda b: squares(array[b])[: counts[b]])
            return np.sqrt(self.problem.per_problem(per_slice))

        x, p = norm(self.x), norm(self.p_mean)
        # Of data without noise the dual vanishes in the end, but not on the way.
        q = np.maximum(norm(self.q), 0.01 * norm(self.problem.measured))
        # Nothing is known yet of a slice whose volume is still empty.
        known = (x > 0) & (q > 0)
        x, q, p = (
            np.where(known, now, before) for now, before in zip((x, q, p), self.norms, strict=True)
        )
        return x, q, p

    def _each_slab(self, function: Callable[[int], object]) -> None:
        """Call a function of the slab's number; only for slabs that are not done, in 2D."""
        active = list(range(self.problem.n_slabs))
        if self.problem.n_problems > 1:
            active = [b for b in active if not self.done[self.problem.slices(b)].all()]
        self.problem.operator.each_slab(lambda i: function(active[i]), len(active))

    def _move_volume(self, b: int, relaxation: float) -> None:
        problem = self.problem
        problem.operator.adjoint_slabs(self.q[b : b + 1], self.slope[b : b + 1])
        kernels.volume_step(
            self.slope[b],
            self.p[b],
            *problem.before(self.p, b),
            problem.across,
            problem.counts[b],
            self.step_x[b],
            problem.high,
            relaxation,
            self.x[b],
            self.ahead[b],
        )

    def _move_duals(self, b: int, relaxation: float, share: float) -> None:
        problem = self.problem
        projection = self.projection[b : b + 1]
        problem.operator.forward_slabs(self.ahead[b : b + 1], projection)
        kernels.data_step(
            projection[0],
            problem.measured[b],
            self.step_q[b],
            relaxation,
            share,
            self.q[b],
            self.q_mean[b],
        )
        kernels.gradient_step(
            self.ahead[b],
            *problem.after(self.ahead, b),
            problem.across,
            problem.counts[b],
            self.step_p[b],
            problem.weight,
            relaxation,
            share,
            self.p[b],
            self.p_mean[b],
        )

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The duality gap of total variation: how far above its minimum an objective can be at most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import _tv_kernels as kernels
from ._problem import Problem

#: Bisections to find the constant that raises the dual best; each reads one volume.
_BISECTIONS = 12
#: A relative gap that is negative by less is zero but for rounding. By more, something broke.
_ROUNDING = 1e-5


class Certificate:
    """The best lower bound of each problem's objective so far, and the gap to it.

    See `reconstruct_tv` for the bound.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        operator = problem.operator
        self.seen = operator.adjoint(np.ones((1, operator.n_tilts, operator.detector_size)))[0]
        largest = problem.per_slice(
            lambda b: problem.measured[b].max((0, 1))[: problem.counts[b]].astype(np.float64)
        )
        self.brightest = np.maximum(problem.per_problem(largest, np.max), 0)
        # No objective is negative.
        self.bound = np.zeros(problem.n_problems)

    def gap(
        self, objective: NDArray, q: NDArray, p: NDArray, slope: NDArray
    ) -> NDArray[np.float64]:
        """Relative gap of each problem; NaN where rounding or overflow broke it.

        Parameters
        ----------
        objective : float64 array of shape (n_problems,)
            Of the volume in question.
        q, p : float32 arrays of slabs
            Duals of data and gradient. Those of the gradient are shortened to what is allowed.
        slope : float32 array of slabs
            Room for a volume.
        """
        bound = self._lower_bound(objective, q, p, slope)
        self.bound = np.fmax(self.bound, bound)
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = np.where(objective == 0, 0.0, (objective - self.bound) / objective)
        return np.where(gap > -_ROUNDING, np.maximum(gap, 0.0), np.nan)

    def _lower_bound(
        self, objective: NDArray, q: NDArray, p: NDArray, slope: NDArray
    ) -> NDArray[np.float64]:
        """Value of the dual at q and p, raised by the best constant, of each problem."""
        problem = self.problem
        linear, value = problem.per_problem(problem.per_slice(lambda b: self._dual_sums(q, b)))
        problem.operator.each_slab(lambda b: kernels.shorten(p[b], problem.weight), problem.n_slabs)
        self.leave_slope(q, p, slope)
        # A pixel meets two detector pixels a tilt at most, so sum A^2 >= (sum A)^2 / 2 n.
        n = problem.operator.n_tilts
        reach = 2 * n * self.brightest + 2 * np.sqrt(n * objective)
        return -value - self._least_price(slope, reach, linear)

    def _dual_sums(self, q: NDArray, b: int) -> NDArray:
        """Sum of q + b, and |q|^2 / 2 + <b, q>, of each slice."""
        n = self.problem.counts[b]
        q = q[b, ..., :n].astype(np.float64)
        data = self.problem.measured[b, ..., :n].astype(np.float64)
        return np.stack([(q + data).sum((0, 1)), (q * (0.5 * q + data)).sum((0, 1))])

    def leave_slope(self, q: NDArray, p: NDArray, slope: NDArray) -> None:
        """Leave v, the adjoint of both duals, in `slope`."""
        problem = self.problem

        def of_slab(b: int) -> None:
            problem.operator.adjoint_slabs(q[b : b + 1], slope[b : b + 1])
            before = problem.before(p, b)
            kernels.add_adjoint_gradient(slope[b], p[b], *before, problem.across, problem.counts[b])

        problem.operator.each_slab(of_slab, problem.n_slabs)

    def _least_price(self, slope: NDArray, reach: NDArray, linear: NDArray) -> NDArray[np.float64]:
        """Least of what negative slopes and the constant that lifts them cost, by bisection."""
        problem = self.problem
        per_problem = problem.n_slices // problem.n_problems
        n_data = problem.operator.n_tilts * problem.operator.detector_size * per_problem
        low = np.zeros(problem.n_problems)
        price, _, enough = self._price(slope, reach, low)
        best, high = problem.per_problem(price), problem.per_problem(enough, np.max)
        for _ in range(_BISECTIONS):
            shift = (low + high) / 2
            price, fall, _ = self._price(slope, reach, shift)
            total = problem.per_problem(price) + shift * linear + shift**2 * n_data / 2
            best = np.minimum(best, total)
            rising = linear + shift * n_data > problem.per_problem(fall)
            low, high = np.where(rising, low, shift), np.where(rising, shift, high)
        return best

    def _price(self, slope: NDArray, reach: NDArray, shift: NDArray) -> NDArray[np.float64]:
        """Price, its fall, and the shift that is enough, of each slice: see the kernel."""
        problem = self.problem
        reach, shift = (np.broadcast_to(each, problem.n_slices).copy() for each in (reach, shift))

        def of_slab(b: int) -> NDArray:
            part, n = problem.slices(b), problem.counts[b]
            return np.stack(
                kernels.price_of_descent(
                    slope[b], self.seen, problem.high, reach[part], shift[part], n
                )
            )

        return problem.per_slice(of_slab)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The duality gap: how far above its minimum an objective can be at most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._prior import Prior
from ._problem import Problem

#: Parts in which the constant that raises the dual is looked for.
_BINS = 256
#: A relative gap that is negative by less is zero but for rounding. By more, something broke.
_ROUNDING = 1e-5


class Certificate:
    """The best lower bound of each problem's objective so far, and the gap to it.

    See `reconstruct_tv` for the bound.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.seen = self._seen()
        self.least = self._of_slices(problem.per_problem(problem.per_slice(self._least), np.min))
        largest = problem.per_slice(
            lambda b: problem.measured[b].max((0, 1))[: problem.counts[b]].astype(np.float64)
        )
        self.brightest = np.maximum(problem.per_problem(largest, np.max), 0)
        heaviest = problem.per_slice(
            lambda b: problem.precision[b].max((0, 1))[: problem.counts[b]].astype(np.float64)
        )
        self.heaviest = problem.per_problem(heaviest, np.max)
        # Half of it times the square of the constant is what raising the dual costs.
        self.raised = problem.per_problem(problem.per_slice(self._precisions))
        # No objective is negative.
        self.bound = np.zeros(problem.n_problems)

    def gap(
        self, objective: NDArray, q: NDArray, prior: Prior, slope: NDArray
    ) -> NDArray[np.float64]:
        """Relative gap of each problem; NaN where rounding or overflow broke it.

        Parameters
        ----------
        objective : float64 array of shape (n_problems,)
            Of the volume in question.
        q : float32 array of slabs
            Dual of the data.
        prior : Prior
            Its dual must be one that is allowed.
        slope : float32 array of slabs
            What both lead to.
        """
        bound = self._lower_bound(objective, q, prior, slope)
        self.bound = np.fmax(self.bound, bound)
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = np.where(objective == 0, 0.0, (objective - self.bound) / objective)
        return np.where(gap > -_ROUNDING, np.maximum(gap, 0.0), np.nan)

    def _seen(self) -> NDArray[np.float32]:
        """What raising the dual of each datum by its weight adds to the slope, (slab, z, y, ...).

        One slice stands for all where all data weigh the same.
        """
        operator, problem = self.problem.operator, self.problem
        if problem.is_weighted:
            return operator.adjoint_slabs(problem.precision)
        ones = np.ones((1, operator.n_tilts, operator.detector_size), np.float32)
        seen = np.repeat(operator.adjoint(ones)[..., None], problem.n_slabs, axis=0)
        return problem.device.put(seen)

    def _least(self, b: int) -> NDArray[np.float64]:
        """Least of what is seen of each slice, above 0; infinity where nothing is."""
        n = self.problem.counts[b]
        seen = np.where(self.seen[b] > 0, self.seen[b], np.inf).min((0, 1)).astype(np.float64)
        return np.broadcast_to(seen, n) if len(seen) == 1 else seen[:n]

    def _of_slices(self, numbers: NDArray) -> NDArray[np.float64]:
        """Numbers of each problem for each of its slices."""
        return np.broadcast_to(numbers, self.problem.n_slices).copy()

    def _precisions(self, b: int) -> NDArray[np.float64]:
        """Sum of the weights of a slice's data."""
        n, operator = self.problem.counts[b], self.problem.operator
        precision = self.problem.precision[b, ..., :n].astype(np.float64)
        same = 1 if self.problem.is_weighted else operator.n_tilts * operator.detector_size
        return precision.sum((0, 1)) * same

    def _lower_bound(
        self, objective: NDArray, q: NDArray, prior: Prior, slope: NDArray
    ) -> NDArray[np.float64]:
        """Value of the dual at q and the prior's, raised by the best constant, of each problem."""
        problem = self.problem
        sums = problem.per_slice(lambda b: self._dual_sums(q, prior, b))
        linear, value = problem.per_problem(sums)
        # A pixel meets two detector pixels a tilt at most, so sum A^2 >= (sum A)^2 / 2 n, or with
        # weights n times the largest of them.
        n = problem.operator.n_tilts * self.heaviest
        reach = 2 * n * self.brightest + 2 * np.sqrt(n * objective)
        return -value - self._least_price(slope, reach, linear)

    def _dual_sums(self, q: NDArray, prior: Prior, b: int) -> NDArray:
        """Sum of q + w b, and the value of the dual without its price, of each slice."""
        n = self.problem.counts[b]
        q = q[b, ..., :n].astype(np.float64)
        data = self.problem.measured[b, ..., :n].astype(np.float64)
        weights = self.problem.precision[b, ..., :n].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            half = np.where(weights > 0, 0.5 * q / weights, 0.0)
        value = (q * (half + data)).sum((0, 1)) + prior.price(b)
        return np.stack([(q + weights * data).sum((0, 1)), value])

    def _least_price(self, slope: NDArray, reach: NDArray, linear: NDArray) -> NDArray[np.float64]:
        """Least of what negative slopes and the constant that lifts them cost.

        The best constant is found from a histogram of where its effect on each voxel ends, and
        what it costs is computed exactly.
        """
        problem = self.problem
        nothing = np.zeros(problem.n_problems)
        price, _, enough = self._price(slope, reach, nothing, nothing)
        price, span = problem.per_problem(price), problem.per_problem(enough, np.max)
        _, falls, _ = self._price(slope, reach, nothing, span)
        falls = problem.per_problem(falls)
        # How fast the price falls beyond each border of two bins, and the cost rises there.
        left = np.cumsum(falls[::-1], axis=0)[::-1]
        borders = np.arange(_BINS)[:, None] / _BINS * span
        rising = linear + borders * self.raised > left
        best = np.where(rising.any(0), rising.argmax(0), _BINS) / _BINS * span
        raised, _, _ = self._price(slope, reach, best, nothing)
        cost = problem.per_problem(raised) + best * linear + best**2 * self.raised / 2
        return np.minimum(price, cost)

    def _price(
        self, slope: NDArray, reach: NDArray, shift: NDArray, span: NDArray
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Price, its falls, and the shift that is enough, of each slice: see the kernel."""
        problem = self.problem
        reach, shift, span = (self._of_slices(each) for each in (reach, shift, span))

        def of_slab(b: int) -> NDArray:
            part, n = problem.slices(b), problem.counts[b]
            price, falls, enough = problem.loops.price_of_descent(
                slope[b],
                self.seen[b],
                self.least[part],
                problem.high,
                reach[part],
                shift[part],
                n,
                _BINS,
                span[part],
            )
            return np.concatenate([price[None], enough[None], falls])

        found = problem.per_slice(of_slab)
        return found[0], found[2:], found[1]

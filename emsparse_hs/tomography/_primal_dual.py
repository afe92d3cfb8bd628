# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The primal-dual algorithm for total variation, on slabs, and its duality gap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from . import _tv_kernels as kernels
from ._kernels import SLAB
from .projector import ParallelBeam

#: Bisections to find the constant that raises the dual best; each reads one volume.
_BISECTIONS = 12
#: Squared norm of the gradient in two and three dimensions.
_GRADIENT_NORM = {2: 8.0, 3: 12.0}
#: By how much the step of the gradient's dual is above the one that bounds iterations best. After
#: 320 iterations on simulated particles and needles, 2 and 5 left smaller gaps than 10.
_HURRY = 4.0


class PrimalDual:
    """State of the primal-dual algorithm, in slabs, and one iteration of it."""

    def __init__(
        self,
        sinogram: NDArray,
        operator: ParallelBeam,
        weight: float,
        high: float,
        dimensions: int,
        scale: float,
    ) -> None:
        self.operator, self.weight, self.high = operator, float(weight), float(high)
        self.across = 1.0 if dimensions == 3 else 0.0
        self.n_slices = len(sinogram)
        self.n_problems = 1 if dimensions == 3 else self.n_slices
        self.measured = operator.sinogram_to_slabs(sinogram)
        n_slabs = len(self.measured)
        self.counts = [min(SLAB, self.n_slices - SLAB * b) for b in range(n_slabs)]
        self.x = np.zeros((n_slabs, *operator.image_shape, SLAB), np.float32)
        self.ahead, self.slope = np.zeros_like(self.x), np.zeros_like(self.x)
        self.p = np.zeros((n_slabs, 3, *operator.image_shape, SLAB), np.float32)
        self.p_mean = np.zeros_like(self.p)
        self.q, self.q_mean = np.zeros_like(self.measured), np.zeros_like(self.measured)
        self.projection = np.zeros_like(self.measured)
        self.seen = operator.adjoint(np.ones((1, operator.n_tilts, operator.detector_size)))[0]
        longest = operator.forward(np.ones((1, *operator.image_shape))).max()
        # Row sums times column sums bound the norm of a matrix without negative elements.
        self.norm = max(float(longest) * float(self.seen.max()), 1e-12)
        self._first_steps(scale)
        self.n_iterations = self.n_averaged = 0
        self.done = np.zeros(self.n_problems, bool)
        self.bound = np.full(self.n_problems, -np.inf)
        self.gap = np.full(self.n_problems, np.inf)
        self.objective = np.full(self.n_problems, np.inf)
        self.iterations = np.zeros(self.n_problems, np.int64)
        # In three dimensions there is nothing to go on with once the one problem is done.
        self.best = np.zeros_like(self.x) if self.n_problems > 1 else self.x

    def _set_steps(self, x: NDArray, q: NDArray, p: NDArray) -> None:
        """Steps from the norms of x and both duals of each problem, or what they will be.

        The number of iterations is bounded by |x|^2 / tau + |q|^2 / sigma_q + |p|^2 / sigma_p
        (Chambolle and Pock, 2011), with tau = 1 / (sigma_q |A|^2 + sigma_p |grad|^2), which is
        least at sigma_q = |q| / (|x| |A|), and sigma_p likewise. The gap closes faster if the
        gradient's dual is hurried.
        """
        gradient = _GRADIENT_NORM[3 if self.across else 2]
        tiny = np.finfo(np.float32).tiny
        step_q = np.maximum(q, tiny) / (np.maximum(x, tiny) * np.sqrt(self.norm))
        step_p = _HURRY * p / (np.maximum(x, tiny) * np.sqrt(gradient))
        steps = step_q, step_p, 0.99 / (step_q * self.norm + step_p * gradient)
        shape = len(self.x), SLAB
        self.step_q, self.step_p, self.step_x = (np.zeros(shape, np.float32) for _ in range(3))
        for target, values in zip((self.step_q, self.step_p, self.step_x), steps, strict=True):
            target.reshape(-1)[: self.n_slices] = values

    def _first_steps(self, scale: float) -> None:
        """Steps from what is known beforehand: the noise, to which the weight belongs."""
        one = np.ones(self.n_problems)
        q = self.weight * np.sqrt(self.operator.detector_size) * one
        p = 0.5 * self.weight * np.sqrt(np.prod(self.operator.image_shape)) * one
        self.norms = scale * one, np.maximum(q, 0.01 * scale), p
        self._set_steps(*self.norms)

    def _next_steps(self) -> None:
        """Steps from the norms that x and the duals have by now."""
        squares = (
            self._per_slice(lambda b: _squares(self.x[b], self.counts[b])),
            self._per_slice(lambda b: _squares(self.q[b], self.counts[b])),
            self.squares_of_p,
            self._per_slice(lambda b: _squares(self.measured[b], self.counts[b])),
        )
        x, q, p, data = (np.sqrt(self._per_problem(each)) for each in squares)
        # Of data without noise the dual vanishes in the end, but not on the way.
        q = np.maximum(q, 0.01 * data)
        # Nothing is known yet of a slice whose volume is still empty.
        known = (x > 0) & (q > 0)
        new = (x, q, p)
        self.norms = tuple(np.where(known, n, old) for n, old in zip(new, self.norms, strict=True))
        self._set_steps(*self.norms)

    def iterate(self, relaxation: float) -> None:
        """Take one step in x and one in both duals."""
        self.n_iterations += 1
        self.n_averaged += 1
        share = 1.0 / self.n_averaged
        self._each_slab(lambda b: self._move_volume(b, relaxation))
        self._each_slab(lambda b: self._move_duals(b, relaxation, share))

    def _each_slab(self, function: Callable[[int], object]) -> list:
        """Results of a function of the slab's number; only of slabs that are not done, in 2D."""
        active = list(range(len(self.x)))
        if self.n_problems > 1:
            active = [b for b in active if not self.done[self._slices(b)].all()]
        return self.operator.each_slab(lambda i: function(active[i]), len(active))

    def _slices(self, b: int) -> slice:
        return slice(b * SLAB, b * SLAB + self.counts[b])

    def _after(self, array: NDArray, b: int) -> tuple[NDArray, bool]:
        return array[min(b + 1, len(array) - 1)], b + 1 < len(array)

    def _before(self, array: NDArray, b: int) -> tuple[NDArray, bool]:
        return array[max(b - 1, 0)], b > 0

    def _move_volume(self, b: int, relaxation: float) -> None:
        self.operator.adjoint_slabs(self.q[b : b + 1], self.slope[b : b + 1])
        kernels.volume_step(
            self.slope[b],
            self.p[b],
            *self._before(self.p, b),
            self.across,
            self.counts[b],
            self.step_x[b],
            self.high,
            relaxation,
            self.x[b],
            self.ahead[b],
        )

    def _move_duals(self, b: int, relaxation: float, share: float) -> None:
        projection = self.projection[b : b + 1]
        self.operator.forward_slabs(self.ahead[b : b + 1], projection)
        kernels.data_step(
            projection[0],
            self.measured[b],
            self.step_q[b],
            relaxation,
            share,
            self.q[b],
            self.q_mean[b],
        )
        kernels.gradient_step(
            self.ahead[b],
            *self._after(self.ahead, b),
            self.across,
            self.counts[b],
            self.step_p[b],
            self.weight,
            relaxation,
            share,
            self.p[b],
            self.p_mean[b],
        )

    def look(self, tolerance: float, last: bool = False) -> NDArray[np.float64]:
        """Relative gap of each problem; keeps x where it is within the tolerance."""
        objective = self._objective()
        self.bound = np.maximum(self.bound, self._lower_bound(objective))
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = np.where(objective > 0, (objective - self.bound) / objective, 0.0)
        # Rounding may take a converged bound a hair above the objective.
        gap = np.maximum(gap, 0.0)
        finished = ~self.done & ((gap <= tolerance) | last)
        self.gap = np.where(self.done, self.gap, gap)
        self.objective = np.where(self.done, self.objective, objective)
        self.iterations[finished] = self.n_iterations
        self._keep(finished)
        self.done |= finished
        if self.n_averaged >= self.n_iterations / 2:
            self.n_averaged = 0
            self._next_steps()
        return self.gap

    def figures_per_slice(self) -> tuple[NDArray, NDArray, NDArray]:
        """Gap, objective and iterations of each slice, in two dimensions."""
        return self.gap, self.objective, self.iterations

    def _keep(self, finished: NDArray) -> None:
        if self.n_problems == 1:
            return
        for b, n in enumerate(self.counts):
            chosen = finished[self._slices(b)]
            self.best[b, ..., :n][..., chosen] = self.x[b, ..., :n][..., chosen]

    def _per_problem(self, per_slice: NDArray) -> NDArray:
        """Sums over slices (last axis) where they belong to one problem."""
        return per_slice if self.n_problems > 1 else per_slice.sum(axis=-1, keepdims=True)

    def _per_slice(self, function: Callable[[int], NDArray]) -> NDArray:
        """Results of a function of the slab, (..., slices of the slab), put together."""
        results = self.operator.each_slab(function, len(self.x))
        return np.concatenate(results, axis=-1)

    def _objective(self) -> NDArray[np.float64]:
        """Half the squared residual plus the weighted total variation, of each problem."""

        def of_slab(b: int) -> NDArray:
            n = self.counts[b]
            self.operator.forward_slabs(self.x[b : b + 1], self.projection[b : b + 1])
            residual = (self.projection[b] - self.measured[b])[..., :n]
            variation = kernels.total_variation(self.x[b], *self._after(self.x, b), self.across, n)
            squares = np.einsum("tds,tds->s", residual, residual, dtype=np.float64)
            return 0.5 * squares + self.weight * variation

        return self._per_problem(self._per_slice(of_slab))

    def _lower_bound(self, objective: NDArray) -> NDArray[np.float64]:
        """Value of the dual at the mean duals, raised by the best constant, of each problem."""
        linear, value = self._per_problem(self._per_slice(self._dual_sums))
        self.squares_of_p = self._per_slice(self._shorten_dual)
        self.operator.each_slab(self._dual_slope, len(self.x))
        brightest = self._per_slice(lambda b: self.measured[b].max((0, 1))[: self.counts[b]])
        if self.n_problems == 1:
            brightest = brightest.max(keepdims=True)
        # A pixel meets two detector pixels a tilt at most, so sum A^2 >= (sum A)^2 / 2 n.
        n = self.operator.n_tilts
        reach = 2 * n * np.maximum(brightest, 0) + 2 * np.sqrt(n * objective)
        return -value - self._least_price(reach, linear)

    def _dual_sums(self, b: int) -> NDArray:
        """Sum of q + b, and |q|^2 / 2 + <b, q>, of each slice."""
        n = self.counts[b]
        q, data = self.q_mean[b, ..., :n].astype(float), self.measured[b, ..., :n].astype(float)
        return np.stack([(q + data).sum((0, 1)), (q * (0.5 * q + data)).sum((0, 1))])

    def _shorten_dual(self, b: int) -> NDArray:
        squares = np.zeros(SLAB)
        kernels.shorten(self.p_mean[b], self.weight, squares)
        return squares[: self.counts[b]]

    def _dual_slope(self, b: int) -> None:
        """Leave v, the adjoint of both mean duals, in `slope`."""
        self.operator.adjoint_slabs(self.q_mean[b : b + 1], self.slope[b : b + 1])
        kernels.add_adjoint_gradient(
            self.slope[b],
            self.p_mean[b],
            *self._before(self.p_mean, b),
            self.across,
            self.counts[b],
        )

    def _least_price(self, reach: NDArray, linear: NDArray) -> NDArray[np.float64]:
        """Least of what negative slopes and the constant that lifts them cost, by bisection."""
        per_slice = self.n_slices // self.n_problems
        n_data = self.operator.n_tilts * self.operator.detector_size * per_slice

        def price(shift: NDArray) -> NDArray:
            every = np.broadcast_to(shift if per_slice == 1 else shift[0], self.n_slices)
            reached = np.broadcast_to(reach if per_slice == 1 else reach[0], self.n_slices)

            def of_slab(b: int) -> NDArray:
                part = self._slices(b)
                return kernels.price_of_descent(
                    self.slope[b],
                    self.seen,
                    self.high,
                    np.ascontiguousarray(reached[part]),
                    np.ascontiguousarray(every[part]),
                    self.counts[b],
                )

            return self._per_slice(of_slab)

        low = np.zeros(self.n_problems)
        parts = price(low)
        best = self._per_problem(parts[0])
        high = parts[2] if per_slice == 1 else parts[2].max(keepdims=True)
        for _ in range(_BISECTIONS):
            shift = (low + high) / 2
            parts = price(shift)
            total = self._per_problem(parts[0]) + shift * linear + shift**2 * n_data / 2
            best = np.minimum(best, total)
            rising = linear + shift * n_data > self._per_problem(parts[1])
            low, high = np.where(rising, low, shift), np.where(rising, shift, high)
        return best


def _squares(slab: NDArray, n: int) -> NDArray[np.float64]:
    """Sum of squares of each slice of a slab."""
    part = slab[..., :n]
    return np.einsum("abs,abs->s", part, part, dtype=np.float64)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Total generalised variation of second order, with a bounded slope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _second_order_kernels as loops
from ._kernels import SLAB
from ._prior import EachSlab, steps_of_dual
from ._problem import Problem
from ._variation import _NORM, Variation

#: Step of the slopes over that of the volume. With 0.1, 0.25 and 0.5 the gap was 0.0014, 0.0010 and
#: 0.0016 after 250 iterations with three sweeps.
_FIELD = 0.25
#: Part of what that step allows to the steps of both duals that the gradient's has.
_SHARE = 0.25
#: Parts of the derivative's dual that tell of differences along the slices, of slopes along z, y
#: and the slices.
_ALONG_SLICES = [4, 5, 2]


class SecondOrder(Variation):
    """Least of |gradient - v| + length |E v| over fields v of slopes with abs(v) <= slope.

    As the largest of <p, gradient> - slope |p - E^T r|_1 with abs(p) <= weight and abs(r) <= weight
    times length. The bound of v is what makes the dual finite for any p and r.

    Attributes
    ----------
    v, ahead : float32 array of slabs (slab, 3, z, y, slice)
        Slopes, and the point as far beyond them as those before are before them.
    r : float32 array of slabs (slab, 6, z, y, slice)
        Dual of the symmetrised derivative: its parts zz, yy, ss, zy, zs and ys.
    """

    #: With 3, 4, 5 and 7 the gap was 0.001 after 370, 280, 245 and 185 iterations, in equal times.
    n_sweeps = 5

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        penalty, shape = problem.penalty, problem.operator.image_shape
        self.bend = penalty.variation * penalty.length
        # There is no momentum here, so that the room of the dual before is free.
        self.v, self.ahead = problem.device.zeros(problem.n_slabs, 3, *shape), self.last
        self.r = problem.device.zeros(problem.n_slabs, 6, *shape)
        self.w = problem.empty_volume()
        self.back = [self._back(b) for b in range(problem.n_slabs)]
        self.no_slopes = np.zeros((3, *shape), np.float32)

    def value(self, x: NDArray) -> NDArray[np.float64]:
        """See `Prior`. With the present slopes, which may be better still."""
        problem, weight = self.problem, self.problem.penalty.variation

        def of_slab(b: int) -> NDArray:
            found = loops.second_order(*self._around(x, self.v, b), weight, self.bend)
            return found[: problem.counts[b]]

        return problem.per_problem(problem.per_slice(of_slab))

    def sweep(
        self, n: int, x: NDArray, slope: NDArray, step: NDArray, keep: float, each_slab: EachSlab
    ) -> None:
        """See `Prior`. By the primal-dual steps of Condat (2013) and Vu (2013)."""
        norm = _NORM[self.problem.penalty.dimensions]
        # Half the norm would be enough for a slope that stays as it is. As iterations move on, the
        # gap then stayed at 0.2.
        rise = steps_of_dual(step, norm + _FIELD / _SHARE)
        lift = steps_of_dual(step, norm * _FIELD / (1 - _SHARE))
        limit = self.problem.penalty.slope

        def move_slopes(b: int) -> None:
            field_step = np.float32(_FIELD) * step[b]
            loops.descend_field(*self._duals(b), field_step, limit, self.v[b], self.ahead[b])

        for _ in range(n):
            each_slab(move_slopes)
            self._ascend(x, slope, step, keep, self.ahead, rise, lift, each_slab)

    def brace(
        self, n: int, x: NDArray, slope: NDArray, step: NDArray, keep: float, each_slab: EachSlab
    ) -> None:
        """See `Prior`. Only the gradient's dual moves, so that the slopes stay good for the volume.

        Without an upper bound of the volume, moving all of them left the gap above 0.03.
        """
        if not keep:
            # Away from the volume its slopes mean nothing.
            super().sweep(n, x, slope, step, keep, each_slab)
            self.ahead = self.last
            return
        rise = steps_of_dual(step, _NORM[self.problem.penalty.dimensions])
        for _ in range(n):
            self._ascend(x, slope, step, keep, self.v, rise, np.zeros_like(rise), each_slab)

    def price(self, b: int) -> NDArray[np.float64] | float:
        """See `Prior`."""
        mismatch = loops.size_of_mismatch(*self._duals(b))[: self.problem.counts[b]]
        return self.problem.penalty.slope * mismatch

    def take_over(self, coarse: Any, enlarge: Callable[..., NDArray]) -> None:
        """See `Prior`. A slope lies between two voxels, as the difference that it stands for."""
        super().take_over(coarse, enlarge)

        def take(k: int) -> None:
            self.v[:, k] = enlarge(coarse.v[:, k] / 2, between=k)
            for part in (k, k + 3):
                self.r[:, part] = enlarge(8 * coarse.r[:, part])

        self.problem.operator.each_slab(take, 3)

    def _ascend(
        self,
        x: NDArray,
        slope: NDArray,
        step: NDArray,
        keep: float,
        v: NDArray,
        rise: NDArray,
        lift: NDArray,
        each_slab: EachSlab,
    ) -> None:
        """Move both duals up, for the volume that they lead to and the slopes v."""
        problem, weight = self.problem, self.problem.penalty.variation

        def find_volume(b: int) -> None:
            w = self.w[b]
            w[:] = 0
            before = self._last_before(b)
            problem.loops.add_adjoint_gradient(w, self.p[b], before, self.across[b])
            problem.loops.descend(x[b], slope[b], w, step[b], problem.high, keep, w)

        def move_duals(b: int) -> None:
            around, duals = self._around(self.w, v, b), (self.p[b], self.r[b])
            loops.ascend_duals(*around, rise[b], lift[b], weight, self.bend, *duals)

        each_slab(find_volume)
        each_slab(move_duals)

    def _around(self, x: NDArray, v: NDArray, b: int) -> tuple[NDArray, ...]:
        """Slab of a volume and of slopes, with what they need of their neighbours."""
        joins = self.back[b][0] > 0
        before = v[b - 1, ..., SLAB - 1].copy() if joins else self.no_slopes
        return x[b], self._first_after(x, b), v[b], before, self.across[b], self.back[b]

    def _duals(self, b: int) -> tuple[NDArray, ...]:
        """Slab of both duals, with what they need of their neighbours."""
        joins = b + 1 < self.problem.n_slabs and self.back[b + 1][0] > 0
        beyond = self.r[b + 1, _ALONG_SLICES, ..., 0] if joins else self.no_slopes
        return self.p[b], self.r[b], beyond, self.across[b], self.back[b]

    def _back(self, b: int) -> NDArray[np.float32]:
        """Weight of the difference to each slice of a slab from the one before."""
        back = np.roll(self.across[b], 1)
        back[0] = self.across[b - 1][-1] if b else 0
        return back

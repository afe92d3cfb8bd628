# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Wavelets: the prior is the sum of absolute coefficients of an undecimated Haar transform."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._kernels import SLAB
from ._prior import EachSlab, Prior, momenta, steps_of_dual
from ._problem import Problem


class Wavelets(Prior):
    """Sum of absolute wavelet coefficients, as the largest of <p, W x> with abs(p) <= weights.

    The undecimated transform compares all voxels at each distance, not every second one, so that
    nothing depends on where the specimen lies on the grid (Coifman and Donoho, 1995). With halves
    of sums and differences it is a part of a tight frame: W^T W is not above 1.

    Attributes
    ----------
    p, last : float32 array of slabs (slab, level, band, z, y, slice)
        The dual, and the one before it.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.deep, self.n_levels = problem.penalty.dimensions == 3, problem.penalty.levels
        self.n_bands = 7 if self.deep else 3
        shape = problem.operator.image_shape
        size = problem.n_slabs, self.n_levels, self.n_bands, *shape
        self.p, self.last = problem.device.zeros(*size), problem.device.zeros(*size)
        # Of one slab more before the first and after the last, which stay zero.
        self.volumes = problem.device.zeros(2, problem.n_slabs + 2, *shape)
        self.nothing = problem.device.zeros(self.n_bands, *shape)
        self.counts = [
            [problem.device.put(self._counts(b, level)) for level in range(self.n_levels)]
            for b in range(problem.n_slabs)
        ]

    def value(self, x: NDArray) -> NDArray[np.float64]:
        """See `Prior`."""
        problem, totals = self.problem, np.zeros(self.problem.n_slices)
        here = self._padded(x, 0)
        for level in range(self.n_levels):
            low, weight = self.volumes[1 - level % 2], self._weight(level)

            def of_slab(b: int, level: int = level, here: Any = here, low: Any = low) -> NDArray:
                found = problem.loops.size_of_wavelets(
                    here[b + 1],
                    here[b + 2],
                    2**level,
                    self.deep,
                    self.counts[b][level],
                    self.n_bands,
                    low[b + 1],
                )
                return found[: problem.counts[b]]

            totals += weight * problem.per_slice(of_slab)
            here = low
        return problem.per_problem(totals)

    def add_slope(self, slope: NDArray, each_slab: EachSlab) -> None:
        """See `Prior`."""
        lead = self._lead(0.0, each_slab)

        def of_slab(b: int) -> None:
            slope[b] += lead[b + 1]

        each_slab(of_slab)

    def sweep(
        self, n: int, x: NDArray, slope: NDArray, step: NDArray, keep: float, each_slab: EachSlab
    ) -> None:
        """See `Prior`."""
        rise = steps_of_dual(step, 1.0)
        for momentum in momenta(n):
            lead = self._lead(momentum, each_slab)

            def of_slab(b: int, lead: Any = lead) -> None:
                volume, high = lead[b + 1], self.problem.high
                self.problem.loops.descend(x[b], slope[b], volume, step[b], high, keep, volume)

            each_slab(of_slab)
            self._ascend(lead, rise, momentum, each_slab)
            self.p, self.last = self.last, self.p

    def take_over(self, coarse: Wavelets, enlarge: Callable[..., NDArray]) -> None:
        """See `Prior`. A level of the coarse grid is the next one of the fine grid."""
        for level in range(self.n_levels - 1):
            for band in range(self.n_bands):
                self.p[:, level + 1, band] = enlarge(2 * coarse.p[:, level, band])
            self._clear_beyond(level + 1)

    def _clear_beyond(self, level: int) -> None:
        """No dual where coefficients would reach beyond the volume."""
        reach = 2 ** (level + 1) - 1
        self.p[:, level, :, -reach:] = 0
        self.p[:, level, :, :, -reach:] = 0
        for b in range(self.problem.n_slabs):
            self.p[b, level] *= self.counts[b][level]

    def _lead(self, momentum: float, each_slab: EachSlab) -> NDArray[np.float32]:
        """What the dual leads to, of the slab number b at b + 1; one of `volumes`."""
        low = self.volumes[self.n_levels % 2]
        low[:] = 0
        for level in reversed(range(self.n_levels)):
            out = self.volumes[level % 2]

            def of_slab(b: int, level: int = level, low: Any = low, out: Any = out) -> None:
                before = [self.p[b - 1, level], self.last[b - 1, level]]
                before = before if b else [self.nothing, self.nothing]
                self.problem.loops.merge_wavelets(
                    low[b + 1],
                    low[b],
                    self.p[b, level],
                    before[0],
                    self.last[b, level],
                    before[1],
                    2**level,
                    self.deep,
                    momentum,
                    out[b + 1],
                )

            each_slab(of_slab)
            low = out
        return low

    def _ascend(self, here: NDArray, rise: NDArray, momentum: float, each_slab: EachSlab) -> None:
        """Move the dual up by the coefficients of a volume."""
        for level in range(self.n_levels):
            low = self.volumes[1 - level % 2]

            def of_slab(b: int, level: int = level, here: Any = here, low: Any = low) -> None:
                self.problem.loops.ascend_wavelets(
                    here[b + 1],
                    here[b + 2],
                    2**level,
                    self.deep,
                    self.counts[b][level],
                    rise[b],
                    momentum,
                    self._weight(level),
                    self.p[b, level],
                    self.last[b, level],
                    low[b + 1],
                )

            each_slab(of_slab)
            here = low

    def _padded(self, x: NDArray, which: int) -> NDArray[np.float32]:
        """Copy of a volume with an empty slab before and after."""
        self.volumes[which, 1:-1] = x
        return self.volumes[which]

    def _weight(self, level: int) -> float:
        """Weight of a level's coefficients: an edge counts alike at each distance."""
        return self.problem.penalty.wavelets / 2**level

    def _counts(self, b: int, level: int) -> NDArray[np.float32]:
        """Whether coefficients of each slice of a slab count: none that reaches beyond the end."""
        slices = np.arange(SLAB) + SLAB * b
        reach = 2 ** (level + 1) - 1 if self.deep else 0
        return (slices + reach < self.problem.n_slices).astype(np.float32)

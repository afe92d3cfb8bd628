# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What the solver needs to know of a prior: the dual that stands for it, and how it moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._problem import Problem

#: Calls a function of the slab's number for all slabs, or those that are not done.
EachSlab = Callable[[Callable[[int], object]], object]


class Prior:
    """Nothing known of the volume but its bounds; and what other priors have to say.

    A prior is the largest of <p, K x> over the duals p that are allowed, with an operator K such as
    the gradient. The solver sees the slope K^T p only.

    Attributes
    ----------
    n_sweeps : int
        Sweeps of an iteration of the solver.
    """

    n_sweeps = 0

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def value(self, x: NDArray) -> NDArray[np.float64]:
        """Prior of the volume, of each problem."""
        return np.zeros(self.problem.n_problems)

    def add_slope(self, slope: NDArray, each_slab: EachSlab) -> None:
        """Add what the dual leads to, K^T p, to `slope`."""

    def sweep(
        self, n: int, x: NDArray, slope: NDArray, step: NDArray, keep: float, each_slab: EachSlab
    ) -> None:
        """Bring the dual nearer to where it is best for the present slope, in n steps.

        That is the dual of min_w <slope, w> + |w - keep x|^2 / 2 step + prior(w) within the bounds.
        """

    def brace(
        self, n: int, x: NDArray, slope: NDArray, step: NDArray, keep: float, each_slab: EachSlab
    ) -> None:
        """Bring the dual to where the gap is small, in n steps, with arguments as in `sweep`."""
        self.sweep(n, x, slope, step, keep, each_slab)

    def price(self, b: int) -> NDArray[np.float64] | float:
        """What the dual itself costs in the lower bound, of each slice of the slab number b."""
        return 0.0

    def take_over(self, coarse: Any, enlarge: Callable[..., NDArray]) -> None:
        """Start from the dual of the same prior on the coarse grid.

        ``enlarge(slabs, between)`` interpolates slabs of the coarse grid; see there.
        """


def steps_of_dual(step: NDArray, squared_norm: float) -> NDArray[np.float32]:
    """Step of the dual of an operator K that goes with the step of the volume, 0 where that is."""
    with np.errstate(divide="ignore"):
        return np.where(step > 0, 1 / (squared_norm * step), 0).astype(np.float32)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The problem that total variation sets: its data in slabs, and its objective."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from . import _tv_kernels as kernels
from ._kernels import SLAB
from .projector import ParallelBeam


class Problem:
    """What is to be minimised: one problem in three dimensions, one a slice in two.

    Numbers "of each problem" are arrays of shape (n_problems,), and those of each slice of shape
    (n_slices,).
    """

    def __init__(
        self,
        sinogram: NDArray,
        operator: ParallelBeam,
        weight: float,
        high: float,
        dimensions: int,
    ) -> None:
        self.operator, self.weight, self.high = operator, float(weight), float(high)
        self.dimensions = dimensions
        self.across = 1.0 if dimensions == 3 else 0.0
        self.n_slices = len(sinogram)
        self.n_problems = 1 if dimensions == 3 else self.n_slices
        self.measured = operator.sinogram_to_slabs(sinogram)
        self.n_slabs = len(self.measured)
        self.counts = [min(SLAB, self.n_slices - SLAB * b) for b in range(self.n_slabs)]

    def slices(self, b: int) -> slice:
        """Slices of the slab number b."""
        return slice(b * SLAB, b * SLAB + self.counts[b])

    def after(self, array: NDArray, b: int) -> tuple[NDArray, bool]:
        """Slab after the slab number b, and whether there is one."""
        return array[min(b + 1, len(array) - 1)], b + 1 < len(array)

    def before(self, array: NDArray, b: int) -> tuple[NDArray, bool]:
        """Slab before the slab number b, and whether there is one."""
        return array[max(b - 1, 0)], b > 0

    def per_slice(self, function: Callable[[int], NDArray]) -> NDArray:
        """Results of a function of the slab's number, (..., slices of the slab), put together."""
        return np.concatenate(self.operator.each_slab(function, self.n_slabs), axis=-1)

    def per_problem(self, per_slice: NDArray, merge: Callable[..., NDArray] = np.sum) -> NDArray:
        """Numbers of each slice (last axis), merged where slices belong to one problem."""
        return per_slice if self.n_problems > 1 else merge(per_slice, axis=-1, keepdims=True)

    def objective(self, x: NDArray, projection: NDArray) -> NDArray[np.float64]:
        """Half the squared residual plus the weighted total variation, of each problem.

        Leaves the projection of x in `projection`.
        """

        def of_slab(b: int) -> NDArray:
            n = self.counts[b]
            self.operator.forward_slabs(x[b : b + 1], projection[b : b + 1])
            residual = (projection[b] - self.measured[b])[..., :n]
            variation = kernels.total_variation(x[b], *self.after(x, b), self.across, n)
            return 0.5 * squares(residual) + self.weight * variation

        return self.per_problem(self.per_slice(of_slab))


def squares(slab: NDArray) -> NDArray[np.float64]:
    """Sum of squares of each slice (last axis) of a slab."""
    flat = slab.reshape(-1, slab.shape[-1])
    return np.einsum("is,is->s", flat, flat, dtype=np.float64)

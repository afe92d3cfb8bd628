# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The problem that is set: data in slabs, what the volume is to have little of, the objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._kernels import SLAB
from .projector import ParallelBeam


@dataclass(frozen=True, kw_only=True)
class Penalty:
    """What a volume is to have little of.

    Attributes
    ----------
    variation : float
        Weight of total variation.
    edge : float
        Length of the gradient below which it counts by its square (Huber); 0 for none.
    total : float
        Weight of the sum of the densities.
    wavelets : float
        Weight of the absolute wavelet coefficients, instead of total variation.
    levels : int
        Distances, each twice the one before, at which wavelets compare voxels.
    length : float
        In px, the weight of the slopes' derivative over that of variation.
    slope : float
        Largest density a px, along each axis, that is no variation where it is even; 0 for none.
    dimensions : {3, 2}
        Gradient in the volume, or in each slice by itself.
    """

    variation: float = 0.0
    edge: float = 0.0
    total: float = 0.0
    wavelets: float = 0.0
    levels: int = 1
    length: float = 0.0
    slope: float = 0.0
    dimensions: int = 3

    def in_units_of(self, unit: float) -> Penalty:
        """The same for densities in other units."""
        return replace(
            self,
            variation=self.variation / unit,
            edge=self.edge / unit,
            total=self.total / unit,
            wavelets=self.wavelets / unit,
            slope=self.slope / unit,
        )

    @property
    def soft(self) -> float:
        """Slope of the gradient's length by its dual below the edge."""
        return self.edge / self.variation if self.variation > 0 else 0.0


class Problem:
    """What is to be minimised: one problem in three dimensions, one a slice in two.

    Numbers "of each problem" are arrays of shape (n_problems,), and those of each slice of shape
    (n_slices,).

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Data.
    operator : ParallelBeam
        Projector.
    penalty : Penalty
        What the volume is to have little of.
    high : float
        Largest density; the least one is 0.
    precision : array of shape (slice, tilt, detector), optional
        Weight of each squared residual. 1 by default.
    """

    def __init__(
        self,
        sinogram: NDArray,
        operator: ParallelBeam,
        penalty: Penalty,
        high: float,
        precision: NDArray | None = None,
    ) -> None:
        self.operator, self.penalty, self.high = operator, penalty, float(high)
        self.n_slices = len(sinogram)
        self.n_problems = 1 if penalty.dimensions == 3 else self.n_slices
        self.device, self.loops = operator.device, operator.device.loops
        self.measured = self.device.to_slabs(sinogram, margin=1)
        self.n_slabs = len(self.measured)
        self.counts = [min(SLAB, self.n_slices - SLAB * b) for b in range(self.n_slabs)]
        self.scale = self._scale(sinogram)
        if precision is None:
            precision = np.ones((self.n_slabs, 1, 1, SLAB), np.float32)
            self.precision = self.device.put(precision)
        else:
            self.precision = self.device.to_slabs(precision, margin=1)

    @property
    def is_weighted(self) -> bool:
        """Whether data have weights of their own."""
        return self.precision.shape[2] > 1

    def _scale(self, sinogram: NDArray) -> NDArray[np.float64]:
        """Norm that the volume of each problem may have."""
        if self.n_problems > 1:
            return np.array([typical_norm(each[None]) for each in sinogram])
        return np.array([typical_norm(sinogram) * np.sqrt(self.n_slices)])

    def slices(self, b: int) -> slice:
        """Slices of the slab number b."""
        return slice(b * SLAB, b * SLAB + self.counts[b])

    def per_slice(self, function: Callable[[int], NDArray]) -> NDArray:
        """Results of a function of the slab's number, (..., slices of the slab), put together."""
        parts = self.operator.each_slab(function, self.n_slabs)
        return np.concatenate([self.device.get(part) for part in parts], axis=-1)

    def per_problem(self, per_slice: NDArray, merge: Callable[..., NDArray] = np.sum) -> NDArray:
        """Numbers of each slice (last axis), merged where slices belong to one problem."""
        return per_slice if self.n_problems > 1 else merge(per_slice, axis=-1, keepdims=True)

    def objective(self, x: NDArray, projection: NDArray) -> NDArray[np.float64]:
        """Half the weighted squared residual, plus the weighted sum, of each problem.

        Leaves the projection of x in `projection`.
        """

        def of_slab(b: int) -> NDArray:
            n = self.counts[b]
            self.operator.forward_slabs(x[b : b + 1], projection[b : b + 1])
            total = self.penalty.total * x[b].sum((0, 1), dtype=np.float64)
            return (0.5 * self._misfit(projection[b], b) + total)[:n]

        return self.per_problem(self.per_slice(of_slab))

    def _misfit(self, projection: NDArray, b: int) -> NDArray[np.float64]:
        residual = projection - self.measured[b]
        if self.is_weighted:
            return np.einsum(
                "tds,tds,tds->s", residual, residual, self.precision[b], dtype=np.float64
            )
        return self.loops.squares(residual)

    def leave_slope(self, b: int, q: NDArray, slope: NDArray) -> None:
        """Leave the slope of data and sum at the dual q in `slope`, for the slab number b."""
        self.operator.adjoint_slabs(q[b : b + 1], slope[b : b + 1])
        if self.penalty.total:
            slope[b, ..., : self.counts[b]] += np.float32(self.penalty.total)

    def empty_volume(self) -> NDArray[np.float32]:
        """Slabs of a volume of zeros."""
        return self.device.zeros(self.n_slabs, *self.operator.image_shape)

    def empty_sinogram(self) -> NDArray[np.float32]:
        """Slabs of a sinogram of zeros."""
        return self.device.zeros(*self.measured.shape[:-1])


def typical_norm(sinogram: ArrayLike) -> float:
    r"""Typical root of the sum of squares of a slice, from its projections alone.

    An object of width w and density d projects to about :math:`d w` on w pixels, so that the sum
    of squares over the sum is :math:`d w`, the norm sought.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections.

    Returns
    -------
    float
        The norm, in units of density times px; 1 if all projections are zero.
    """
    sinogram = np.asarray(sinogram)
    power = np.einsum("std,std->", sinogram, sinogram, dtype=np.float64)
    sums = np.abs(sinogram.sum(axis=-1, dtype=np.float64)).sum()
    return float(power / sums) if power > 0 and sums > 0 else 1.0


def typical_density(sinogram: ArrayLike) -> float:
    """Typical density of an object, from its projections alone.

    Its projections have values of density times width, and sums of that times the width, up to a
    factor near 1.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections.

    Returns
    -------
    float
        The density, in units of the projections a px; 1 if all projections are zero.
    """
    sinogram = np.asarray(sinogram)
    sums = np.abs(sinogram.sum(axis=-1, dtype=np.float64))
    return float(typical_norm(sinogram) ** 2 * sums.sum() / (sums**2).sum()) if sums.any() else 1.0

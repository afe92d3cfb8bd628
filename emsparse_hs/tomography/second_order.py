# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Reconstruction of a volume with little total generalised variation."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

from ._problem import Penalty, typical_density
from ._solving import Reconstruction, check_settings, minimise
from .projector import ParallelBeam

#: Slope that is smooth by default, in typical densities a px.
TYPICAL_SLOPE = 0.4


def reconstruct_tgv(
    sinogram: ArrayLike,
    operator: ParallelBeam,
    weight: float,
    *,
    length: float = 2.0,
    slope: float | None = None,
    bounds: tuple[float, float | None] = (0, None),
    dimensions: int = 3,
    precision: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    callback: Callable[[int, float], object] | None = None,
) -> Reconstruction:
    r"""Volume x that explains the data b with little total generalised variation.

    .. math::
        \min_{l \le x \le h, |v_{jk}| \le V} \tfrac12 \sum_i w_i (A x - b)_i^2
            + \lambda \sum_j |\nabla x - v|_j + \lambda \ell \sum_j |\mathcal{E} v|_j

    where v are slopes of the density, and :math:`\mathcal{E} v` is their symmetrised derivative by
    backward differences (Bredies, Kunisch and Pock, SIAM J. Imaging Sci. 3 (2010) 492, with
    :math:`\alpha_1 = \lambda` and :math:`\alpha_0 = \lambda \ell`). Steps count as in total
    variation, and even slopes are free, so that gradients do not become stairs.

    The bound V of the slopes makes the certificate of `reconstruct_tv` hold here as well. With any
    :math:`|p_j| \le \lambda` and :math:`|r_j| \le \lambda \ell` the lower bound of the objective
    is the one there less

    .. math:: V \sum_{jk} |p - \mathcal{E}^T r|_{jk},

    which is what slopes of at most V can gain. With V = 0 this is total variation, and with none it
    would be total generalised variation in its own right. A voxel that no ray crosses is taken to
    be no denser than what the data allow of those that are.

    Parameters
    ----------
    sinogram, operator, bounds, dimensions, precision, start, tolerance, max_iterations, callback
        As for `reconstruct_tv`. It runs on the processor only.
    weight : float
        :math:`\lambda`, in units of the projections.
    length : float, optional
        :math:`\ell`, in px. The shorter it is, the more slopes may bend, and the more edges are
        rounded; where it is long, what is left is total variation.
    slope : float, optional
        V, the largest slope that is smooth, in density a px along each axis. By default 0.4 of
        the typical density.

    Returns
    -------
    Reconstruction
        The volume, the gap and the residuals. The objective is the one with the slopes that were
        found.

    Raises
    ------
    ValueError
        As `reconstruct_tv` does, or if length or slope are not numbers of 0 or more, or the
        projector computes on a graphics card.
    """
    check_settings(weight, 0.0, 0.0, dimensions, tolerance, max_iterations)
    check_processor(operator.device.name)
    sinogram = operator.checked_sinogram(sinogram)
    slope = TYPICAL_SLOPE * typical_density(sinogram) if slope is None else slope
    for name, value in (("length", length), ("slope", slope)):
        if not isinstance(value, Real) or not (np.isfinite(value) and value >= 0):
            raise ValueError(f"The {name} must be a number of 0 or more, not {value!r}.")
    penalty = Penalty(variation=weight, length=length, slope=slope, dimensions=dimensions)
    return minimise(
        sinogram,
        operator,
        weight,
        penalty,
        bounds=bounds,
        precision=precision,
        start=start,
        tolerance=tolerance,
        max_iterations=max_iterations,
        callback=callback,
    )


def check_processor(device: str) -> None:
    """Say so if this is not the processor, on which alone there are loops for this prior."""
    if device != "cpu":
        raise ValueError(
            "Total generalised variation is computed on the processor only. Use device='cpu', or "
            "another prior."
        )

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Reconstruction of a volume with few wavelet coefficients."""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import ArrayLike

from ._problem import Penalty
from ._solving import Reconstruction, check_iterations, check_settings, minimise
from .projector import ParallelBeam

#: Beyond these, voxels would be compared over more than one slab and the next.
_MOST_LEVELS = 7


def reconstruct_wavelets(
    sinogram: ArrayLike,
    operator: ParallelBeam,
    weight: float,
    *,
    levels: int = 1,
    bounds: tuple[float, float | None] = (0, None),
    dimensions: int = 3,
    precision: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    callback: Callable[[int, float], object] | None = None,
) -> Reconstruction:
    r"""Volume x that explains the data b with small wavelet coefficients.

    .. math::
        \min_{l \le x \le h} \tfrac12 \sum_i w_i (A x - b)_i^2
            + \lambda \sum_{k=0}^{K-1} 2^{-k} \|W_k x\|_1

    with the undecimated Haar transform, which does not depend on where the specimen lies on the
    grid (Coifman and Donoho, in: Wavelets and Statistics, 1995): :math:`W_k` has for each voxel the
    7 differences (3 in two dimensions) among it and its neighbours :math:`2^k` away, each an eighth
    (a fourth) of a sum with signs, of the means at that distance. The factor :math:`2^{-k}` makes
    an edge count alike at each distance. Coefficients that reach beyond the volume do not count.

    The solver and its certificate are those of `reconstruct_tv`. A voxel that no ray crosses is
    taken to be no denser than what the data allow of those that are.

    Parameters
    ----------
    sinogram, operator, bounds, dimensions, precision, start, tolerance, max_iterations, callback
        As for `reconstruct_tv`.
    weight : float
        :math:`\lambda`, in units of the projections.
    levels : int, optional
        K, up to 7. The volume needs :math:`2^K` voxels at least along each axis. The dual takes 7
        (3) volumes a level.

    Returns
    -------
    Reconstruction
        The volume, the gap and the residuals.

    Raises
    ------
    ValueError
        As `reconstruct_tv` does, or if there are more levels than the volume has room for.
    """
    check_settings(weight, 0.0, 0.0, dimensions, tolerance, max_iterations)
    check_iterations(levels, "levels")
    if levels > _MOST_LEVELS:
        raise ValueError(f"Wavelets have {_MOST_LEVELS} levels at the most, not {levels}.")
    sinogram = operator.checked_sinogram(sinogram)
    slices = (len(sinogram),) if dimensions == 3 else ()
    if min(*operator.image_shape, *slices) < 2**levels:
        raise ValueError(
            f"{levels} levels of wavelets need {2**levels} voxels along each axis. The volume has "
            f"{len(sinogram)} slices of {operator.image_shape}: take fewer levels, or dimensions=2 "
            "if slices are few."
        )
    penalty = Penalty(wavelets=weight, levels=levels, dimensions=dimensions)
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

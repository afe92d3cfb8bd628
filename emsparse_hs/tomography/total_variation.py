# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Reconstruction of a volume with little total variation."""

from __future__ import annotations

from collections.abc import Callable

from numpy.typing import ArrayLike

from ._problem import Penalty
from ._solving import Reconstruction, check_settings, minimise
from .projector import ParallelBeam


def reconstruct_tv(
    sinogram: ArrayLike,
    operator: ParallelBeam,
    weight: float,
    *,
    bounds: tuple[float, float | None] = (0, None),
    dimensions: int = 3,
    edge: float = 0.0,
    sparsity: float = 0.0,
    precision: ArrayLike | None = None,
    start: ArrayLike | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    callback: Callable[[int, float], object] | None = None,
) -> Reconstruction:
    r"""Volume x that explains the data b with little total variation.

    .. math::
        \min_{l \le x \le h} \tfrac12 \sum_i w_i (A x - b)_i^2 + \lambda \sum_j H(|\nabla x|_j)
            + \mu \sum_j x_j

    with the isotropic total variation (Rudin, Osher and Fatemi, Physica D 60 (1992) 259) of forward
    differences, H being the identity, or Huber's function, a parabola below `edge` (Huber, Ann.
    Math. Stat. 35 (1964) 73). By the primal-dual algorithm (Chambolle and Pock, J. Math. Imaging
    Vis. 40 (2011) 120) for volume and data, with over-relaxation (Condat, J. Optim. Theory Appl.
    158 (2013) 460); in each of its iterations the gradient's dual is moved on by some accelerated
    steps, which cost less than a projection. It begins on a coarse grid. Steps are set from the
    data, and it works in units of the data, so that nothing changes when units do.

    It stops by the duality gap, which bounds from above how far the objective is from its minimum,
    in exact terms and without any assumption on the solution. With x counted from l, and any q and
    :math:`|p_j| \le \lambda`, the objective can't be below

    .. math:: -\tfrac12 \sum_i q_i^2 / w_i - \langle b, q\rangle
        - \frac{e}{2 \lambda} \sum_j |p_j|^2 - \sum_j u_j \max(0, -v_j),
        \quad v = A^T q + \nabla^T p + \mu,

    where no :math:`x_j` of the minimum exceeds :math:`u_j`. This is the upper bound h, or, where
    there is none, what the data allow: as neither A nor x is negative,
    :math:`x_j \sum_i A_{ij}^2 \le (A^T A x)_j`, and the residual of the minimum is not above that
    of any other x. Since that is generous, p is first moved to where v is least negative, and q is
    raised by the constant (times w) that makes the bound best. The objective is never negative, so
    0 is a bound as well. Where the minimum itself is 0, as for data without noise and a weight of
    0, no relative gap can tell how near it is: the gap is 1 until the data are met.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections, in density times px.
    operator : ParallelBeam
        Projector.
    weight : float
        :math:`\lambda`, in units of the projections; see `default_weight`. With 0 the least
        squares within the bounds are sought.
    bounds : (float, float or None), optional
        Least and largest density. The least one must be finite: positivity is what makes the gap
        computable.
    dimensions : {3, 2}, optional
        Gradient in the volume, or in each slice by itself. In two dimensions each slice has steps
        and a gap of its own, so that its result does not depend on the other slices.
    edge : float, optional
        Difference between neighbouring voxels below which Huber's function is a parabola, which
        makes gradients smooth instead of stepped. 0 for total variation.
    sparsity : float, optional
        :math:`\mu`, the weight of the sum of all densities, which is their 1-norm. It needs 0 as
        the lower bound.
    precision : array of shape (slice, tilt, detector), optional
        Weights w of the squared residuals, for instance one over their variances times the mean
        variance. 1 by default.
    start : array of shape (slice, z, y), optional
        Densities to start from, instead of the solution on a coarse grid.
    tolerance : float, optional
        Relative duality gap at which to stop.
    max_iterations : int, optional
        Where to stop at the latest.
    callback : callable, optional
        Called with the number of iterations done and the latest gap (NaN at first), after each of
        them. What it raises ends the reconstruction.

    Returns
    -------
    Reconstruction
        The volume, the gap and the residuals.

    Raises
    ------
    ValueError
        If shapes, weight, bounds, dimensions, tolerance or iterations are not what is needed, or
        data are not finite.
    """
    check_settings(weight, edge, sparsity, dimensions, tolerance, max_iterations)
    penalty = Penalty(variation=weight, edge=edge, total=sparsity, dimensions=dimensions)
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

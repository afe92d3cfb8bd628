# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Drift of the undeflected beam over the scan: a smooth surface under the deflections.

The scan is never perfectly undone by the descan coils, so the beam wanders over the detector as it
moves over the specimen, by nearly a plane in each component.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement

import numpy as np

#: Positions, random starts and steps of the trimmed fit, and the part of positions it trusts.
_SAMPLE, _STARTS, _STEPS, _TRUSTED = 600, 200, 8, 0.6

#: Most rounds of reweighting.
_ROUNDS = 40

#: Residuals in robust standard deviations beyond which Tukey's biweight leaves out.
_TUKEY = 3.7

#: Quantile of residuals that tells their scale, and that of vectors of two normal components.
_QUANTILE = 0.3
_LENGTH_AT_QUANTILE = math.sqrt(-2 * math.log(1 - _QUANTILE))


def descan_surface(
    deflection: np.ndarray, order: int = 1, keep: np.ndarray | None = None, robust: bool = True
) -> np.ndarray:
    r"""Polynomial surface under the deflections of a scan.

    The robust fit starts from least trimmed squares, which a specimen at one side can't draw away
    (Rousseeuw and Van Driessen, Data Min. Knowl. Discov. 12 (2006) 29), and goes on with Tukey's
    biweight (Beaton and Tukey, Technometrics 16 (1974) 147) at the scale of that start, as MM
    estimators do (Yohai, Ann. Stat. 15 (1987) 642). A position is weighted by both components
    together, so that a specimen that deflects in x is left out of the fit of y too. What deflects
    by less than about five times the noise can't be told from the surface: mask it.

    Parameters
    ----------
    deflection : array of shape (y, x, 2) or (x, 2)
        In any unit. Places without a value (NaN) are left out.
    order : {1, 2}
        Plane, or polynomial of second order.
    keep : bool array of shape (y, x) or (x,), optional
        True where a position counts. All by default.
    robust : bool
        Whether to give less weight to what is off the surface, such as a specimen that covers up to
        about a third of the scan. False is least squares.

    Returns
    -------
    float64 array of the shape of `deflection`
        The surface, without holes.

    Raises
    ------
    ValueError
        If the order is not known, or too few positions count to fix the surface.
    """
    if order not in (1, 2):
        raise ValueError(f"The order is {order!r}. Choose 1 for a plane or 2 for second order.")
    values = np.asarray(deflection, float)
    scan = values.shape[:-1]
    terms = _terms(scan, order)
    counts = np.isfinite(values).all(-1)
    if keep is not None:
        counts &= keep
    inside, vectors = terms[counts], values[counts]
    if len(inside) < terms.shape[-1] or np.linalg.matrix_rank(inside) < terms.shape[-1]:
        raise ValueError(
            f"{len(inside)} of the {counts.size} positions of a scan count, which don't fix a "
            f"surface of order {order} with {terms.shape[-1]} terms. Mask less, or lower the order."
        )
    if robust:
        coefficients = _reweighted(inside, vectors, _trimmed(inside, vectors))
    else:
        coefficients = np.linalg.lstsq(inside, vectors, rcond=None)[0]
    return terms @ coefficients


def _terms(scan: tuple[int, ...], order: int) -> np.ndarray:
    """Products of coordinates between -1 and 1 up to an order, on the last axis."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in scan if n]
    coordinates = np.meshgrid(*axes, indexing="ij")
    products = [np.ones(scan)]
    for degree in range(1, order + 1):
        for factors in combinations_with_replacement(coordinates, degree):
            products.append(np.prod(factors, axis=0))
    return np.stack(products, axis=-1)


def _trimmed(terms: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Least trimmed squares on a sample of positions, from many random starts."""
    random = np.random.default_rng(0)
    size, count = terms.shape[1], min(len(terms), _SAMPLE)
    sample = random.permutation(len(terms))[:count]
    terms, vectors = terms[sample], vectors[sample]
    few = random.random((_STARTS, count)).argsort(axis=1)[:, :size]
    coefficients = np.linalg.pinv(terms[few]) @ vectors[few]
    trusted = max(size, int(_TRUSTED * count))
    for _ in range(_STEPS):
        length = np.linalg.norm(vectors - terms @ coefficients, axis=2)
        nearest = np.argpartition(length, trusted - 1, axis=1)[:, :trusted]
        inside = terms[nearest]
        normal = inside.swapaxes(1, 2) @ inside
        coefficients = np.linalg.pinv(normal) @ (inside.swapaxes(1, 2) @ vectors[nearest])
    length = np.linalg.norm(vectors - terms @ coefficients, axis=2)
    trimmed = np.partition(length**2, trusted - 1, axis=1)[:, :trusted].sum(1)
    return coefficients[np.argmin(trimmed)]


def _reweighted(terms: np.ndarray, vectors: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Least squares with Tukey's biweight, from a start that outliers have not drawn away.

    The scale stays that of the start: one that follows the fit grows until outliers are within.
    """
    length = np.linalg.norm(vectors - terms @ coefficients, axis=1)
    # Below the second a residual is rounding.
    scale = max(np.quantile(length, _QUANTILE) / _LENGTH_AT_QUANTILE, 1e-12 * np.abs(vectors).max())
    for _ in range(_ROUNDS):
        root = np.clip(1 - (length / (_TUKEY * max(scale, 1e-300))) ** 2, 0, None)[:, None]
        before = coefficients
        coefficients = np.linalg.lstsq(terms * root, vectors * root, rcond=None)[0]
        if np.abs(coefficients - before).max() <= 1e-7 * scale:
            break
        length = np.linalg.norm(vectors - terms @ coefficients, axis=1)
    return coefficients

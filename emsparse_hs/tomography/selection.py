# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How much total variation to allow: by the tilts that were left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ._coarse import coarser_data, coarser_operator
from .projector import ParallelBeam

#: Images are made coarser until they are not larger; as many coarse slices are enough.
_LARGEST, _SLICES = 64, 64
#: The weight with which a volume is nearest to the truth, over the one with which it predicts
#: images best, and by how much it grows with half the pixel size. Simulated particles, porous
#: ones, needles and clouds (64 and 128 px, 15 and 41 tilts, 20 and 100 counts, seed 11) have 1.1
#: to 1.5, and 1.3 to 1.5.
_NEARER, _FINER = 1.35, np.sqrt(2)
#: One of so many tilts is left out.
_LEFT_OUT = 5
#: Squared residuals, over those of the noise, that something else than noise has made.
_NOT_NOISE = 3.0
#: How far the search goes from where it starts, in steps of a factor of 2.
_REACH = 8


@dataclass(frozen=True)
class LeftOut:
    """Tilts to reconstruct from, and those to predict.

    Attributes
    ----------
    kept, left_out : int array
        Indices of the tilts.
    """

    kept: NDArray[np.intp]
    left_out: NDArray[np.intp]

    @classmethod
    def every(cls, n_tilts: int, step: int) -> LeftOut:
        """Leave out one in `step` tilts; never the first nor the last one.

        Raises
        ------
        ValueError
            If nothing is left out, or fewer than two tilts are kept.
        """
        first = min(step // 2, n_tilts - 2)
        left_out = np.arange(max(first, 1), n_tilts - 1, max(step, 1))
        kept = np.setdiff1d(np.arange(n_tilts), left_out)
        if step < 2 or not len(left_out) or len(kept) < 2:
            raise ValueError(
                f"Of {n_tilts} tilts, one in {step} can't be left out and predicted from the rest."
            )
        return cls(kept, left_out)


def select_weight(
    sinogram: NDArray,
    operator: ParallelBeam,
    reconstruct: Callable[[NDArray, ParallelBeam, float], NDArray],
    start: float,
    dimensions: int = 3,
    exact: bool = False,
    sigma: float | None = None,
) -> float:
    """Weight of total variation with which the volume is nearest to the truth, from data alone.

    Every fifth tilt is left out. Of the weights 2 and then sqrt(2) apart, the one that predicts
    the left out tilts best from the others is found, by going downhill and by a parabola through
    the last three. Prediction is best at a smaller weight than the volume is, by a factor that
    hardly depends on the specimen. It does not depend on the noise being known, or white.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections.
    operator : ParallelBeam
        Projector.
    reconstruct : callable
        Volume from sinogram, projector and weight.
    start : float
        Weight to begin with, above 0.
    dimensions : {3, 2}, optional
        Of the gradient.
    exact : bool, optional
        On the grid as it is, and the weight that predicts best itself, instead of on a coarse grid
        with the factors above.
    sigma : float, optional
        Noise of the data. Where residuals are far larger, as those of misaligned images are, no
        factors are known, and the weight is the exact one.

    Returns
    -------
    float
        The weight.

    Raises
    ------
    ValueError
        If there are fewer than three tilts.
    """
    given = sinogram, operator, reconstruct, start, dimensions
    parts = LeftOut.every(operator.n_tilts, _LEFT_OUT)
    factor = 1.0 if exact else _NEARER
    scale = 1.0
    variance = np.inf if sigma is None or exact else sigma**2
    while not exact and max(sinogram.shape[2], *operator.image_shape) > _LARGEST:
        sinogram, operator = coarser_data(sinogram, dimensions), coarser_operator(operator)
        scale, factor = scale * 4, factor * _FINER
        variance /= 16 if dimensions == 3 else 8
    some, others = operator.part(parts.kept), operator.part(parts.left_out)
    fewer = np.sqrt(len(parts.kept) / operator.n_tilts)

    residuals: dict[float, float] = {}

    def error(logarithm: float) -> float:
        """Of the tilts that were left out, for a weight."""
        weight = start / scale * 2.0**logarithm
        volume = reconstruct(sinogram[:, parts.kept], some, weight * fewer)
        residuals[logarithm] = _mean_square(some.forward(volume) - sinogram[:, parts.kept])
        return _mean_square(others.forward(volume) - sinogram[:, parts.left_out])

    best = _valley(error)
    nearest = min(residuals, key=lambda logarithm: abs(logarithm - best))
    if residuals[nearest] > _NOT_NOISE * variance:
        return select_weight(*given, exact=True)
    return float(start * factor * 2.0**best)


def _mean_square(values: NDArray) -> float:
    return float(np.square(values, dtype=np.float64).mean())


def richest_slices(
    sinogram: NDArray, operator: ParallelBeam, dimensions: int, most: int | None = None
) -> slice:
    """The neighbouring slices in which most is, as many as `select_weight` needs.

    Parameters
    ----------
    sinogram : array of shape (slice, tilt, detector)
        Projections, of numpy or dask.
    operator : ParallelBeam
        Projector.
    dimensions : {3, 2}
        Of the gradient.
    most : int, optional
        How many slices may be taken at the most.

    Returns
    -------
    slice
        All of them, if they are few.
    """
    size, n = max(operator.detector_size, *operator.image_shape), _SLICES
    while dimensions == 3 and size > _LARGEST:
        size, n = -(-size // 2), 2 * n
    n = n if most is None else min(n, most)
    if len(sinogram) <= n:
        return slice(None)
    power = np.asarray((sinogram.astype(np.float32) ** 2).sum((1, 2), dtype=np.float64))
    first = int(np.argmax(np.convolve(power, np.ones(n), "valid")))
    return slice(first, first + n)


def between_neighbours(sinogram: NDArray, tilts: NDArray, wanted: NDArray) -> NDArray[np.float64]:
    """Sinogram (slice, tilt, detector) at other tilts, linear between the nearest two."""
    order = np.argsort(tilts)
    right = np.clip(np.searchsorted(tilts[order], wanted), 1, len(tilts) - 1)
    a, b = order[right - 1], order[right]
    part = ((wanted - tilts[a]) / (tilts[b] - tilts[a]))[:, None]
    return (1 - part) * sinogram[:, a] + part * sinogram[:, b]


def relative_errors(predicted: NDArray, truth: NDArray) -> tuple[float, NDArray[np.float64]]:
    """Relative error of all tilts of a sinogram together, and of each."""
    off = np.square(predicted - truth).sum((0, 2))
    size = np.square(truth).sum((0, 2))
    each = np.sqrt(off / np.where(size > 0, size, 1))
    return float(np.sqrt(off.sum() / (size.sum() or 1.0))), each


def _valley(error: Callable[[float], float]) -> float:
    """Where a function of a logarithm is least, near 0: on whole steps, halves, and a parabola."""
    known = {0.0: error(0.0)}
    step = 1.0
    while step >= 0.5:
        lowest = min(known, key=known.__getitem__)
        beside = [lowest - step, lowest + step]
        new = [x for x in beside if x not in known and abs(x) <= _REACH]
        known |= {x: error(x) for x in new}
        if not new or min(known, key=known.__getitem__) == lowest:
            step /= 2
    lowest = min(known, key=known.__getitem__)
    left, right = lowest - 0.5, lowest + 0.5
    if left not in known or right not in known:
        return lowest
    low, mid, high = known[left], known[lowest], known[right]
    bend = low - 2 * mid + high
    return lowest + (0.25 * (low - high) / bend if bend > 0 else 0.0)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Principal scores of patterns: a few numbers for each, from passes over blocks of rows.

Counts are scaled by the square root of their mean over the scan, so that a bright disc does not
outweigh a weak one by its noise alone (Keenan and Kotula, Surf. Interface Anal. 36 (2004) 203):
then noise is as strong in each score. Scaling is linear, so that fits to scores are fits to counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

#: Values whose float copy is in memory at once: 16 MB.
_AT_ONCE = 2**22
#: Part of the mean count that a pixel's mean is taken to be at least: where nearly nothing is
#: counted, noise is not known from the mean.
_FAINTEST = 1e-3
#: Scores that are calculated beyond those asked for, so that the last ones are right.
OVERSAMPLING = 8


@dataclass(frozen=True)
class Scaling:
    """How patterns become values of equal noise, and back.

    Attributes
    ----------
    mean : float32 array of shape (pixels,)
        Mean pattern.
    scale : float32 array of shape (pixels,)
        Standard deviation of the noise of counts with that mean.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def of_mean(cls, mean: np.ndarray) -> Scaling:
        """Scaling of counts.

        Parameters
        ----------
        mean : array of shape (pixels,)
            Mean pattern.

        Returns
        -------
        Scaling
        """
        positive = np.abs(mean)
        floor = max(_FAINTEST * positive.mean(), np.finfo(np.float32).tiny)
        scale = np.sqrt(np.maximum(positive, floor))
        return cls(mean.astype(np.float32), scale.astype(np.float32))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Scale rows.

        Parameters
        ----------
        rows : array of shape (n, pixels)
            Counts.

        Returns
        -------
        float32 array of the same shape
        """
        scaled = rows.astype(np.float32)
        scaled -= self.mean
        scaled /= self.scale
        return scaled


def row_parts(rows: np.ndarray) -> Iterator[slice]:
    """Some rows after the others, so that copies of them stay small.

    Parameters
    ----------
    rows : array of shape (n, pixels)
        All of a block.

    Yields
    ------
    slice
    """
    step = max(_AT_ONCE // rows.shape[1], 1)
    for start in range(0, len(rows), step):
        yield slice(start, start + step)


def row_sums(rows: np.ndarray) -> np.ndarray:
    """What a block contributes to the mean pattern.

    Parameters
    ----------
    rows : array of shape (n, pixels)
        Counts.

    Returns
    -------
    float64 array of shape (pixels + 1,)
        The sum, and the number of rows.
    """
    return np.append(rows.sum(0, dtype=np.float64), len(rows))


def gram_times(rows: np.ndarray, scaling: Scaling, axes: np.ndarray) -> np.ndarray:
    """What a block contributes to the Gram matrix times axes.

    Parameters
    ----------
    rows : array of shape (n, pixels)
        Counts.
    scaling : Scaling
        Of the scan.
    axes : array of shape (pixels, k)
        From the round before.

    Returns
    -------
    float64 array of shape (pixels, k)
    """
    total = np.zeros(axes.shape)
    for part in row_parts(rows):
        scaled = scaling.apply(rows[part])
        total += scaled.T @ (scaled @ axes)
    return total


def projected(rows: np.ndarray, scaling: Scaling, axes: np.ndarray) -> np.ndarray:
    """Scores of rows.

    Parameters
    ----------
    rows : array of shape (n, pixels)
        Counts.
    scaling : Scaling
        Of the scan.
    axes : array of shape (pixels, k)
        Orthonormal.

    Returns
    -------
    float32 array of shape (n, k)
    """
    return np.concatenate([scaling.apply(rows[part]) @ axes for part in row_parts(rows)])


def starting_axes(sample: np.ndarray, scaling: Scaling, n_scores: int) -> np.ndarray:
    """Axes to start from: those of some patterns.

    Parameters
    ----------
    sample : array of shape (n, pixels)
        Counts of patterns from all over the scan.
    scaling : Scaling
        Of the scan.
    n_scores : int
        How many axes are wanted.

    Returns
    -------
    float32 array of shape (pixels, k)
        Orthonormal; some more than wanted if there are as many pixels.
    """
    scaled = scaling.apply(sample)
    wanted = min(n_scores + OVERSAMPLING, scaled.shape[1])
    random = np.random.default_rng(0)
    start = scaled.T @ random.standard_normal((len(scaled), wanted), dtype=np.float32)
    for _ in range(2):
        start = scaled.T @ (scaled @ np.linalg.qr(start)[0])
    return orthonormal(start)


def orthonormal(axes: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what some axes span.

    Parameters
    ----------
    axes : array of shape (pixels, k)
        Any.

    Returns
    -------
    float32 array of the same shape
    """
    return np.linalg.qr(axes)[0].astype(np.float32)


def ordered(scores: np.ndarray, axes: np.ndarray, n_scores: int) -> tuple[np.ndarray, np.ndarray]:
    """Principal scores, the strongest first.

    Parameters
    ----------
    scores : array of shape (y, x, k)
        On any orthonormal basis.
    axes : array of shape (pixels, k)
        That basis.
    n_scores : int
        How many are kept.

    Returns
    -------
    float32 array of shape (y, x, scores)
    float32 array of shape (pixels, scores)
    """
    flat = scores.reshape(-1, scores.shape[-1])
    turn = np.linalg.eigh(flat.T.astype(float) @ flat)[1][:, ::-1][:, :n_scores]
    turn = turn.astype(np.float32)
    return scores @ turn, axes @ turn

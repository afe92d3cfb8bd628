# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Which two components are most nearly one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from scipy.special import xlogy

from ._kernels import TINY


def most_nearly_one(made: np.ndarray) -> tuple[int, int]:
    """The two components that lose least likelihood with one spectrum in place of theirs.

    Parameters
    ----------
    made : array of shape (n_components, n_features)
        Counts that each of two or more has made, over all pixels.

    Returns
    -------
    tuple of int
        In ascending order.
    """
    pairs = list(combinations(range(len(made)), 2))
    return pairs[int(np.argmin([_loss(made[list(pair)]) for pair in pairs]))]


def _loss(made: np.ndarray) -> float:
    """In nats, the pixels' counts of each being what they are."""
    sums = np.maximum(made.sum(1, keepdims=True), TINY)
    together = made.sum(0) / max(made.sum(), TINY)
    return float((xlogy(made, made / sums) - xlogy(made, together)).sum())

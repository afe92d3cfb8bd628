# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra without what they may have of each other."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

#: Counts of a spectrum in a bin of channels, by which it is compared with the others.
COUNTS_OF_BIN = 25.0

#: Standard deviations that may be missing in a bin once parts of others are taken away.
BELOW = 1.0

#: Part of a spectrum that is taken away at most, and the least one that is worth it.
MOST, LEAST = 0.9, 0.02


def purer_spectra(
    components: np.ndarray, totals: np.ndarray, n_known: int = 0
) -> np.ndarray | None:
    """Take from each spectrum as much of the others as can be missing.

    A phase that is nowhere alone has been seen with others only, and where nothing tells it from
    them its spectrum may hold theirs. The purest spectrum that explains the same counts is the one
    from which no more can be taken without falling below nothing.

    Parameters
    ----------
    components : array of shape (n_components, n_features)
        Of sum 1.
    totals : array of shape (n_components,)
        Counts of each in the whole map, of which its noise is.
    n_known : int
        So many of the first are left as they are.

    Returns
    -------
    float64 array of shape (n_components, n_features), or None
        Of sum 1. None if there is hardly anything that could be taken.
    """
    purer, largest = components.astype(np.float64), 0.0
    for k in range(n_known, len(components)):
        if len(components) == 1 or not totals[k] > 0:
            continue
        others = np.delete(components, k, axis=0)
        parts = _largest_parts(components[k], others, float(totals[k]))
        left = np.maximum(components[k] - parts @ others, 0)
        if left.sum() > 0:
            purer[k] = left / left.sum()
            largest = max(largest, parts.sum())
    return purer if largest > LEAST else None


def _largest_parts(spectrum: np.ndarray, others: np.ndarray, total: float) -> np.ndarray:
    """How much of each of the others can be taken, with the largest sum: a linear program."""
    # Bins have about the same noise wherever the counts are, of this spectrum or of the others.
    mixed = 0.5 * (spectrum + others.mean(0))
    number = np.floor(np.cumsum(mixed) * total / COUNTS_OF_BIN)
    firsts = np.flatnonzero(np.diff(number, prepend=-1.0))
    own = np.add.reduceat(spectrum, firsts)
    noise = np.sqrt(np.maximum(own * total, 1)) / max(total, 1)
    limits = np.append(own + BELOW * noise, MOST)
    taken = np.vstack([np.add.reduceat(others, firsts, axis=1).T, np.ones(len(others))])
    found = linprog(-np.ones(len(others)), A_ub=taken, b_ub=limits, bounds=(0, MOST)).x
    return np.zeros(len(others)) if found is None else found

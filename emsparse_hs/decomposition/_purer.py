# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra without what they may have of each other."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from ._dirichlet import DirichletModel
from .counts import thin_counts

#: Counts in a bin of channels, by which a spectrum is compared with the others.
COUNTS_OF_BIN = 200.0

#: Standard deviations that may be missing in a bin once parts of others are taken away.
BELOW = 1.0

#: Part of a spectrum that is taken away at most, and the least one that is worth it.
MOST, LEAST = 0.9, 0.02

#: Nats a pixel by which a purer spectrum may be less likely: the prior favours pixels that are all
#: of one kind, and so spectra that are sums of pixels.
PURER = 0.02

#: Results are compared at so many counts a pixel, and with neighbours that weigh as much as this
#: part of them.
COMPARED_COUNTS, COMPARED_PART = 50, 0.2

#: Rounds over the map in which abundances come to rest, and their mean change at the end.
ROUNDS, AT_REST = 8, 2e-3


def counts_seen(model: DirichletModel) -> np.ndarray:
    """Counts of each component where each one is.

    Returns
    -------
    float64 array of shape (n_components, n_components)
        In a row those of all in the pixels of one, weighted by its fractions: their sum is the
        counts of that one.
    """
    return np.einsum("ik,il->kl", model.fractions(), model.abundances(), dtype=np.float64)


def purer_spectra(
    components: np.ndarray, seen: np.ndarray, n_known: int = 0
) -> dict[int, np.ndarray]:
    """Take from each spectrum as much of the others as can be missing.

    A phase that is nowhere alone has been seen with others only, and where nothing tells it from
    them its spectrum may hold theirs. The purest spectrum that explains the same counts is the one
    from which no more can be taken without falling below nothing.

    Parameters
    ----------
    components : array of shape (n_components, n_features)
        Of sum 1.
    seen : array of shape (n_components, n_components)
        As from `counts_seen`: a spectrum has the noise of all counts in its pixels.
    n_known : int
        So many of the first are left as they are.

    Returns
    -------
    dict of int to float64 array of shape (n_features,)
        Those from which something can be taken without the others, of sum 1, by their number.
    """
    purer = {}
    for k in range(n_known, len(components)):
        if len(components) == 1 or not seen[k].sum() > 0:
            continue
        others = np.delete(components, k, axis=0)
        parts = _largest_parts(components[k], others, seen[k].sum(), seen[k] @ components)
        left = np.maximum(components[k] - parts @ others, 0)
        if parts.sum() > LEAST and left.sum() > 0:
            purer[k] = left / left.sum()
    return purer


def _largest_parts(
    spectrum: np.ndarray, others: np.ndarray, total: float, seen: np.ndarray
) -> np.ndarray:
    """How much of each of the others can be taken, with the largest sum: a linear program."""
    # Bins have about the same noise wherever the counts are, of this spectrum or of the others.
    mixed = 0.5 * (spectrum + others.mean(0))
    number = np.floor(np.cumsum(mixed) * total / COUNTS_OF_BIN)
    firsts = np.flatnonzero(np.diff(number, prepend=-1.0))
    noise = np.sqrt(np.maximum(np.add.reduceat(seen, firsts), 1)) / max(total, 1)
    limits = np.append(np.add.reduceat(spectrum, firsts) + BELOW * noise, MOST)
    taken = np.vstack([np.add.reduceat(others, firsts, axis=1).T, np.ones(len(others))])
    found = linprog(-np.ones(len(others)), A_ub=taken, b_ub=limits, bounds=(0, MOST)).x
    return np.zeros(len(others)) if found is None else found


def likely_ones(
    purer: dict[int, np.ndarray], spectra: np.ndarray, model: DirichletModel, random
) -> dict[int, np.ndarray]:
    """Those purer spectra that are not clearly less likely than the ones there are.

    Evidence is bounded at few counts a pixel, whatever the dose: at many, the small departures of
    real maps from the prior would decide.

    Parameters
    ----------
    purer : dict of int to array of shape (n_features,)
        As from `purer_spectra`.
    spectra : array of shape (n_components, n_features)
        Those there are.
    model : DirichletModel
        At rest. Its counts, neighbours and prior are used, and its fractions to start from.
    random : RandomState
        Of the choice of counts.

    Returns
    -------
    dict of int to array of shape (n_features,)
        Some of `purer`.
    """
    if not purer:
        return {}
    counts = model.counts
    share = COMPARED_COUNTS * counts.shape[0] / counts.sum(dtype=np.float64)
    if share < 1 and counts.dtype.kind == "u":
        counts, _ = thin_counts(counts, share, random)

    def bound(spectra: np.ndarray) -> float:
        part = DirichletModel(
            counts, spectra, model.fractions(), float(model.alpha[0]), 0.0, model.neighbours
        )
        part.spatial = COMPARED_PART * counts.sum(dtype=np.float64) / counts.shape[0]
        part.settle(ROUNDS, AT_REST, weak_first=False)
        return part.bound() / counts.shape[0]

    def one_changed(k: int) -> np.ndarray:
        changed = spectra.copy()
        changed[k] = purer[k]
        return changed

    least = bound(spectra) - PURER
    return {k: purer[k] for k in purer if bound(one_changed(k)) > least}

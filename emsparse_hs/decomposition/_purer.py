# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra without what they may have of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog

from emsparse_hs._warnings import warn

from ._dirichlet import DirichletModel
from .counts import thin_counts

#: Counts in a bin of channels, by which a spectrum is compared with the others.
COUNTS_OF_BIN = 200.0

#: Counts below which nothing is known of a spectrum that could be taken away.
FEWEST_COUNTS = 10 * COUNTS_OF_BIN

#: Standard deviations that may be missing in a bin once parts of others are taken away.
BELOW = 1.0

#: Part of a spectrum that is taken away at most, and the least one that is worth it. Where more
#: could be taken no line sets a limit, as with edges on one background, and nothing is.
MOST, LEAST = 0.8, 0.02

#: Pixels that are needed to judge: in a line scan of 40 any spectrum is likely.
FEWEST_PIXELS = 500

#: Part of a spectrum from which on it is told that it was taken away: of simulated particles that
#: are nowhere alone it was a quarter, of cores of a shell 0.46.
TOLD = 1 / 3

#: Nats a pixel by which a purer spectrum may be less likely, and what that is more in small maps,
#: times the square root of their pixels: the prior favours pixels that are all of one kind, and so
#: spectra that are sums of pixels. In maps of 1900 and 16000 pixels those that are sums were up to
#: 0.036 and 0.017 less likely, and those that have lines in common 0.056 and 0.037 and more.
PURER, IN_SMALL_MAPS = 0.02, 0.85

#: Results are compared at so many counts a pixel, and with neighbours that weigh as much as this
#: part of them.
COMPARED_COUNTS, COMPARED_PART = 50, 0.15

#: Rounds over the map in which abundances come to rest, and their mean change at the end.
ROUNDS, AT_REST = 12, 1e-3


class Purer(NamedTuple):
    """A spectrum without parts of the others.

    Attributes
    ----------
    spectrum : float64 array of shape (n_features,)
        Of sum 1.
    parts : float64 array of shape (n_components,)
        What the spectrum before is made of: the purer one in its own place, and the others.
    """

    spectrum: np.ndarray
    parts: np.ndarray


def counts_seen(model: DirichletModel) -> np.ndarray:
    """Counts of each component where each one is.

    Returns
    -------
    float64 array of shape (n_components, n_components)
        In a row those of all in the pixels of one, weighted by its fractions: their sum is the
        counts of that one.
    """
    return np.einsum("ik,il->kl", model.fractions(), model.abundances(), dtype=np.float64)


def purer_spectra(components: np.ndarray, seen: np.ndarray, n_known: int = 0) -> dict[int, Purer]:
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
    dict of int to Purer
        Those from which something can be taken, by their number.
    """
    purer = {}
    for k in range(n_known, len(components)):
        if len(components) == 1 or seen[k].sum() < FEWEST_COUNTS:
            continue
        others = np.delete(components, k, axis=0)
        parts = _largest_parts(components[k], others, seen[k].sum(), seen[k] @ components)
        left = np.maximum(components[k] - parts @ others, 0)
        if LEAST < parts.sum() < MOST - 1e-6 and left.sum() > 0:
            purer[k] = Purer(left / left.sum(), np.insert(parts, k, 1 - parts.sum()))
    return purer


def with_purer(spectra: np.ndarray, purer: Mapping[int, Purer]) -> np.ndarray:
    """Spectra of shape (n_components, n_features), the purer ones in place of those before."""
    spectra = spectra.copy()
    for k, one in purer.items():
        spectra[k] = one.spectrum
    return spectra


def redistributed(fractions: np.ndarray, purer: Mapping[int, Purer]) -> np.ndarray:
    """Fractions (n_pixels, n_components) by purer spectra, about those of the same counts.

    From there the posterior is soon at rest, wherever the others are in truth.
    """
    return fractions @ _made_of(purer, fractions.shape[1]).astype(np.float32)


def parts_removed(purer: Mapping[int, Purer], n_components: int) -> np.ndarray:
    """What part of each spectrum (row) was taken to be another one's (column), and away."""
    removed = _made_of(purer, n_components)
    np.fill_diagonal(removed, 0)
    return removed


def _made_of(purer: Mapping[int, Purer], n_components: int) -> np.ndarray:
    """What each spectrum before (row) is made of: parts of the purer ones (columns).

    In its own `parts` the others are as they were before, which may have been mixed as well.
    """
    of_others, own = np.zeros((n_components, n_components)), np.ones(n_components)
    for k, one in purer.items():
        of_others[k], own[k] = one.parts, one.parts[k]
        of_others[k, k] = 0
    return np.linalg.solve(np.eye(n_components) - of_others, np.diag(own))


def warn_of_removed(removed: np.ndarray) -> None:
    """Say so where much of a spectrum was taken to be other ones'.

    Parameters
    ----------
    removed : array of shape (n_components, n_components)
        As from `parts_removed`, in the order that the user sees.
    """
    for k in np.flatnonzero(removed.sum(1) > TOLD):
        others = np.flatnonzero(removed[k] > min(LEAST, removed[k].max() / 2))
        parts = " and ".join(f"{removed[k, n]:.0%} as that of component {n}" for n in others)
        warn(
            f"From the spectrum that was found first for component {k}, {parts} was removed: they "
            "are in the same pixels, as a particle within another phase is. A phase that shares "
            "the lines by nature looks the same: if it is one, fit with purer=False."
        )


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
    purer: dict[int, Purer], spectra: np.ndarray, model: DirichletModel, random
) -> dict[int, Purer]:
    """Those purer spectra that are not clearly less likely than the ones there are.

    The likeliest comes first, and each is judged beside those that were taken. Evidence is bounded
    at few counts a pixel if counts are whole numbers: at many, the small departures of real maps
    from the prior would decide. None is taken in fewer than `FEWEST_PIXELS`.

    Parameters
    ----------
    purer : dict of int to Purer
        As from `purer_spectra`.
    spectra : array of shape (n_components, n_features)
        Those there are.
    model : DirichletModel
        At rest. Its counts, neighbours and prior are used, and its fractions to start from.
    random : RandomState
        Of the choice of counts.

    Returns
    -------
    dict of int to Purer
        Some of `purer`.
    """
    if not purer or len(model.shapes) < FEWEST_PIXELS:
        return {}
    counts, fractions, alpha = model.counts, model.fractions(), float(model.alpha[0])
    share = COMPARED_COUNTS * counts.shape[0] / counts.sum(dtype=np.float64)
    if share < 1 and counts.dtype.kind == "u":
        counts, _ = thin_counts(counts, share, random)
    strength = COMPARED_PART * counts.sum(dtype=np.float64) / counts.shape[0]

    def bound(some: Mapping[int, Purer]) -> float:
        changed, start = with_purer(spectra, some), redistributed(fractions, some)
        part = DirichletModel(counts, changed, start, alpha, strength, model.neighbours)
        part.settle(ROUNDS, AT_REST, weak_first=False)
        return part.bound() / counts.shape[0]

    margin = PURER + IN_SMALL_MAPS / np.sqrt(counts.shape[0])
    before, bounds = bound({}), {k: bound({k: one}) for k, one in purer.items()}
    taken: dict[int, Purer] = {}
    for k in sorted(bounds, key=bounds.__getitem__, reverse=True):
        # Two may each be likely beside the other as it was, and not together.
        together = {**taken, k: purer[k]}
        found = bound(together) if taken else bounds[k]
        if found > before - margin:
            taken, before = together, found
    return taken

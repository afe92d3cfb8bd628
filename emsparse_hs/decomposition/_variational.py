# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra by variational Bayes: where it starts, how pure they are, and how smooth the maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_random_state

from ._births import with_births
from ._certain import spectra_of_certain
from ._climb import SPATIAL_OF_SPECTRA, Climb, rough_climb, sharp_fractions, start_model
from ._dirichlet import DirichletModel
from ._judge import is_better, scores
from ._neighbours import Neighbours, some_tiles
from ._purer import (
    Purer,
    counts_seen,
    likely_ones,
    parts_removed,
    purer_spectra,
    redistributed,
    with_purer,
)
from ._solver import Prior, Solution, check_known, solve_likelihood, start_spectra, with_known
from .counts import thin_counts

if TYPE_CHECKING:
    from .poisson_nmf import PoissonNMF

#: Strengths that maps may have, which of them is tried first, and the share of the counts from
#: which the others are predicted.
STRENGTHS, FIRST, SHARE = (0.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0), 2, 0.8

#: Where it is asked what is certain, neighbours weigh as much as so many counts, but no more than
#: so many times what they do in the maps. With 80, spectra of thin layers are worse.
USUAL, DOUBLE = 20.0, 2.0

#: Pixels of a larger map that the first fits are made to.
MOST_AT_FIRST = 2**15

#: Rounds over the map in which abundances come to rest, and their mean change at the end.
ROUNDS, AT_REST = 30, 2e-3

#: Rounds where a fit is near already.
FEW_ROUNDS = 8


class Posterior(NamedTuple):
    """What is known of the abundances of each pixel.

    Attributes
    ----------
    abundances : float32 array of shape (n_pixels, n_components)
        In counts.
    widths : float32 array of shape (n_pixels, n_components)
        Their standard deviations, in counts.
    """

    abundances: np.ndarray
    widths: np.ndarray


def solve(estimator: PoissonNMF, counts, keep: np.ndarray | None = None) -> Solution:
    """By variational Bayes if there is a prior, else by maximum likelihood."""
    check_known(estimator, counts.shape[1])
    if estimator.n_components == "auto":
        from .selection import grow_n_components

        selection = grow_n_components(counts, estimator, keep)
        chosen = clone(estimator).set_params(n_components=selection.n_components)
        return solve(chosen, counts, keep)._replace(selection=selection)
    if estimator.prior is None:
        return solve_likelihood(estimator, counts)
    return solve_variational(estimator, counts, keep)


def solve_variational(
    estimator: PoissonNMF,
    counts: sparse.csr_array,
    keep: np.ndarray | None,
    *,
    certain: bool = True,
) -> Solution:
    """Learn spectra and maps, the estimator's parameters being checked.

    Parameters
    ----------
    estimator : PoissonNMF
        Its parameters are used.
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    keep : bool array, optional
        Where the pixels are in a scan.
    certain : bool
        Whether spectra are learned anew from the abundances that are certain, where neighbours are
        known. Those of the highest evidence tell better how many there are: one too many does more
        harm.

    Returns
    -------
    Solution
        Spectra, and the prior of the maps.
    """
    random = check_random_state(estimator.random_state)
    part, neighbours = _part(estimator, counts, keep, random)
    climb = Climb(_start(estimator, part, neighbours), estimator)
    climb.go_on(roughly=True)
    if part is not counts:
        everywhere = None if keep is None or neighbours is None else Neighbours(keep)
        climb = rough_climb(estimator, counts, everywhere, climb.model.components())
    climb = with_births(climb, estimator, random)
    climb.go_on()
    climb.warn_if_moving()
    model, spatial, purer = climb.model, estimator.spatial, dict[int, Purer]()
    n_iter, objectives, spectra = climb.n_iter, -climb.bounds(), model.components()
    of_part = model
    if part is not counts:
        fractions = sharp_fractions(part, spectra)
        of_part = start_model(estimator, part, neighbours, spectra, fractions)
        of_part.settle(ROUNDS, AT_REST)
    # Of one spectrum, and without neighbours, what is not certain are the pixels of few counts.
    if certain and model.neighbours is not None and len(spectra) > 1:
        spectra, spatial, purer = _certain_and_pure(model, of_part, estimator, random)
    elif spatial == "auto":
        spatial = _best_strength(of_part, spectra, random)
    totals = model.abundances().sum(axis=0, dtype=np.float64)
    prior, removed = Prior(estimator.alpha, float(spatial)), parts_removed(purer, len(spectra))
    return Solution(spectra, totals, n_iter, objectives, removed, prior)


def _certain_and_pure(
    model: DirichletModel, of_part: DirichletModel, estimator: PoissonNMF, random
) -> tuple[np.ndarray, float, dict[int, Purer]]:
    """Spectra of what is certain, without what they may have of each other; neighbours' strength.

    A phase that is nowhere alone has the spectrum of a sum of pixels before. Those that were made
    purer come third.
    """
    spatial, purer = estimator.spatial, dict[int, Purer]()
    asked = USUAL if isinstance(spatial, str) else _asked(spatial)
    spectra = _certain(of_part, asked, {})
    if estimator.purer:
        purer = purer_spectra(spectra, counts_seen(of_part), model.n_known)
        purer = likely_ones(purer, spectra, of_part, random)
    if purer:
        # What was taken away for its noise alone comes back.
        spectra = _certain(of_part, asked, purer)
    if isinstance(spatial, str):
        spatial = _best_strength(of_part, spectra, random)
    if of_part is not model:
        spectra = _certain(model, _asked(spatial), purer)
    elif _asked(spatial) != asked:
        spectra = _certain(model, _asked(spatial), {})
    return spectra, spatial, purer


def _asked(spatial: float) -> float:
    """What neighbours weigh where it is asked what is certain."""
    return min(USUAL, DOUBLE * spatial)


def _certain(model: DirichletModel, spatial: float, purer: Mapping[int, Purer]) -> np.ndarray:
    """Bring a model to rest with neighbours that weigh so much; spectra of what is certain then.

    Some of the model's spectra are replaced by purer ones before. Those were made of spectra of
    what is certain, from which the model's own hardly differ.
    """
    model.take(with_purer(model.components(), purer).T)
    model.start_from(redistributed(model.fractions(), purer))
    model.spatial = spatial
    model.settle(FEW_ROUNDS, AT_REST, weak_first=False)
    return spectra_of_certain(model)


def _part(estimator, counts, keep, random) -> tuple[sparse.csr_array, Neighbours | None]:
    """Counts to start with: all, or those of some tiles of a large scan."""
    if keep is not None and (estimator.spatial == 0 or max(keep.shape[-2:]) == 1):
        keep = None  # No pixel has a neighbour that counts.
    if counts.shape[0] <= MOST_AT_FIRST or not isinstance(estimator.init, str):
        return counts, None if keep is None else Neighbours(keep)
    # A particle in the middle of nothing may be all that there is.
    filled = np.flatnonzero(np.diff(counts.indptr))
    if keep is None:
        n_rows = min(MOST_AT_FIRST, len(filled))
        return counts[np.sort(random.choice(filled, n_rows, replace=False))], None
    rows, tiles = some_tiles(keep, MOST_AT_FIRST, random, filled)
    return counts[rows], Neighbours(tiles)


def settled(
    counts: sparse.csr_array, components: np.ndarray, prior: Prior, keep: np.ndarray | None
) -> DirichletModel:
    """Posterior of the abundances for given spectra.

    Parameters
    ----------
    counts : csr_array of shape (n_pixels, n_features)
        As `as_counts` makes them.
    components : array of shape (n_components, n_features)
        Spectra of sum 1.
    prior : Prior
        As learned.
    keep : bool array, optional
        Where the pixels are in a scan.

    Returns
    -------
    DirichletModel
        At rest.
    """
    neighbours = None if keep is None or not prior.spatial else Neighbours(keep)
    fractions = sharp_fractions(counts, components)
    model = DirichletModel(counts, components, fractions, prior.alpha, prior.spatial, neighbours)
    model.settle(ROUNDS, AT_REST)
    return model


def _best_strength(model: DirichletModel, spectra: np.ndarray, random) -> float:
    """The most that neighbours may weigh for some of the counts to predict the others as well.

    Each count goes to one of the two parts at random, which makes them independent if counts are
    Poisson distributed.
    """
    counts = model.counts
    if model.neighbours is None or len(spectra) == 1:
        return 0.0
    if counts.dtype.kind == "f":
        return SPATIAL_OF_SPECTRA
    known, unseen = thin_counts(counts, SHARE, random)
    if not (known.nnz and unseen.nnz):
        return SPATIAL_OF_SPECTRA
    # From those counts alone: what was found with the others knows them.
    fractions = sharp_fractions(known, spectra)
    part = DirichletModel(known, spectra, fractions, float(model.alpha[0]), 0.0, model.neighbours)

    def predicted(strength: float) -> np.ndarray:
        part.spatial = strength
        part.settle(ROUNDS, AT_REST, weak_first=False)
        return scores(known, unseen, part.abundances(), spectra)

    return _strongest(predicted)


def _strongest(predicted: Callable[[float], np.ndarray]) -> float:
    """The highest strength that predicts as well as lower ones, up or down from a usual one."""
    n, best = FIRST, predicted(STRENGTHS[FIRST])
    for higher in STRENGTHS[FIRST + 1 :]:
        score = predicted(higher)
        if is_better(best, score):
            break
        n, best = n + 1, max(best, score, key=np.sum)
    # Where already the next is worse, that may be so below as well.
    for lower in STRENGTHS[:FIRST][::-1] if n == FIRST else ():
        score = predicted(lower)
        if not is_better(score, best):
            break
        n, best = n - 1, score
    if not n or n + 1 == len(STRENGTHS):
        return STRENGTHS[n]
    between = float(np.sqrt(STRENGTHS[n] * STRENGTHS[n + 1]))
    return STRENGTHS[n] if is_better(best, predicted(between)) else between


def _start(estimator, counts, neighbours) -> DirichletModel:
    """The model to start from."""
    init = estimator.init
    scan = None if neighbours is None else neighbours.keep
    loadings, spectra = start_spectra(estimator, counts, scan)
    spectra = with_known(estimator, spectra)
    if isinstance(init, tuple):
        sums = loadings.sum(1, keepdims=True)
        fractions = loadings / np.where(sums > 0, sums, 1)
    else:
        fractions = sharp_fractions(counts, spectra, by_size=True)
    return start_model(estimator, counts, neighbours, spectra, fractions)

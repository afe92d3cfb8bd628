# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra by variational Bayes: where it starts, which result is taken, how smooth the maps are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_random_state

from ._births import with_births
from ._certain import spectra_of_certain
from ._climb import (
    SPATIAL_OF_SPECTRA,
    Climb,
    least_cosine,
    restarted,
    rough_climb,
    sharp_fractions,
    start_model,
)
from ._dirichlet import DirichletModel
from ._judge import is_better, scores
from ._neighbours import Neighbours, some_tiles
from ._purer import purer_spectra
from ._solver import Prior, Solution, check_known, solve_likelihood, start_spectra, with_known
from .counts import thin_counts
from .start import scaled_nmf_start

if TYPE_CHECKING:
    from .poisson_nmf import PoissonNMF

#: Results from several starts are compared at so many counts a pixel, and with neighbours that
#: weigh as much as this part of them.
COMPARED_COUNTS, COMPARED_PART = 50, 0.2

#: Nats a pixel by which clusters must be likelier than purer spectra: the prior favours pixels that
#: are all of one kind, and so those spectra that are sums of pixels.
PURER = 0.05

#: Cosine of spectra from which on it is not a matter of purity which ones are taken.
ALIKE = 0.99

#: Strengths that maps may have, and the share of the counts from which the others are predicted.
STRENGTHS, SHARE = (0.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0), 0.8


#: Where it is asked what is certain, neighbours weigh as much as so many counts, but no more than
#: so many times what they do in the maps, unless that is more.
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
    climb = _best_climb(estimator, part, neighbours, random)
    if part is not counts:
        everywhere = None if keep is None or neighbours is None else Neighbours(keep)
        climb = rough_climb(estimator, counts, everywhere, climb.model.components())
    climb = with_births(climb, estimator, random)
    climb.go_on()
    climb.warn_if_moving()
    model, spatial = climb.model, estimator.spatial
    spectra, objectives = model.components(), -climb.bounds()
    # Of one spectrum, and without neighbours, what is not certain are the pixels of few counts.
    certain = certain and model.neighbours is not None and len(spectra) > 1
    if spatial == "auto":
        of_part = model
        if part is not counts:
            fractions = sharp_fractions(part, spectra)
            of_part = start_model(estimator, part, neighbours, spectra, fractions)
        spatial = _best_strength(of_part, random, certain)
    prior = Prior(estimator.alpha, float(spatial))
    if certain:
        model.spatial = max(prior.spatial, min(USUAL, DOUBLE * prior.spatial))
        model.settle(FEW_ROUNDS, AT_REST)
        spectra = spectra_of_certain(model)
    return Solution(spectra, climb.n_iter, objectives, prior)


def _part(estimator, counts, keep, random) -> tuple[sparse.csr_array, Neighbours | None]:
    """Counts to start with: all, or those of some tiles of a large scan."""
    if keep is not None and estimator.spatial == 0:
        keep = None
    if counts.shape[0] <= MOST_AT_FIRST or not isinstance(estimator.init, str):
        return counts, None if keep is None else Neighbours(keep)
    if keep is None:
        rows = np.sort(random.choice(counts.shape[0], MOST_AT_FIRST, replace=False))
        return counts[rows], None
    rows, tiles = some_tiles(keep, MOST_AT_FIRST, random)
    return counts[rows], Neighbours(tiles)


def _best_climb(estimator, counts, neighbours, random) -> Climb:
    """From the start that promises most, roughly to the end."""
    climbs = [
        Climb(start_model(estimator, counts, neighbours, *start), estimator)
        for start in _starts(estimator, counts, neighbours)
    ]
    for climb in climbs:
        climb.go_on(roughly=True)
    if len(climbs) == 1:
        return climbs[0]
    best = _likeliest([climb.model for climb in climbs], random)
    # Sums of pixels that have been preferred to purer spectra are mostly pure themselves.
    return _purest(climbs[best] if best else restarted(climbs[0], estimator), estimator, random)


def _purest(climb: Climb, estimator, random) -> Climb:
    """From spectra without what they may have of each other, unless that is clearly less likely."""
    model = climb.model
    if climb.n_iter >= estimator.max_iter:
        return climb
    totals = model.abundances().sum(0, dtype=np.float64)
    purer = purer_spectra(model.components(), totals, model.n_known)
    if purer is None:
        return climb
    other = rough_climb(estimator, model.counts, model.neighbours, purer, climb.n_iter)
    if least_cosine(model.components(), other.model.components()) > ALIKE:
        return climb
    return (climb, other)[_likeliest([model, other.model], random)]


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


def _likeliest(models: list[DirichletModel], random) -> int:
    """Number of the model of which the evidence has the highest bound.

    It is bounded at few counts a pixel, whatever the dose: at many, the small departures of real
    maps from the prior would decide. The first one has to be clearly better.
    """
    counts = models[0].counts
    share = COMPARED_COUNTS * counts.shape[0] / counts.sum(dtype=np.float64)
    if share < 1 and counts.dtype.kind == "u":
        counts, _ = thin_counts(counts, share, random)
    strength = COMPARED_PART * counts.sum(dtype=np.float64) / counts.shape[0]
    bounds = np.zeros(len(models))
    for n, model in enumerate(models):
        part = _with_counts(model, counts)
        for part.spatial in (strength / 2, strength):
            part.settle(20, AT_REST)
        bounds[n] = part.bound()
    bounds[1:] += PURER * counts.shape[0]
    return int(np.argmax(bounds))


def _with_counts(model: DirichletModel, counts: sparse.csr_array) -> DirichletModel:
    """The model's spectra and prior, for part of its counts."""
    alpha = float(model.alpha[0])
    return DirichletModel(
        counts, model.components(), model.fractions(), alpha, 0.0, model.neighbours
    )


def _best_strength(model: DirichletModel, random, certain: bool) -> float:
    """The most that neighbours may weigh for some of the counts to predict the others as well.

    Each count goes to one of the two parts at random, which makes them independent if counts are
    Poisson distributed.
    """
    counts = model.counts
    if model.neighbours is None or model.spectra.shape[1] == 1:
        return 0.0
    if counts.dtype.kind == "f":
        return SPATIAL_OF_SPECTRA
    known, unseen = thin_counts(counts, SHARE, random)
    if not (known.nnz and unseen.nnz):
        return SPATIAL_OF_SPECTRA
    spectra = model.components()
    if certain:
        model.spatial = USUAL
        model.settle(FEW_ROUNDS, AT_REST)
        spectra = spectra_of_certain(model)
    # From those counts alone: what was found with the others knows them.
    fractions = sharp_fractions(known, spectra)
    part = DirichletModel(known, spectra, fractions, float(model.alpha[0]), 0.0, model.neighbours)

    def predicted(strength: float) -> np.ndarray:
        part.spatial = strength
        part.settle(ROUNDS, AT_REST)
        return scores(known, unseen, part.abundances(), spectra)

    strongest, best = STRENGTHS[0], predicted(STRENGTHS[0])
    for strength in STRENGTHS[1:]:
        score = predicted(strength)
        if is_better(best, score):
            if not strongest:
                return strongest
            between = float(np.sqrt(strongest * strength))
            return strongest if is_better(best, predicted(between)) else between
        strongest = strength
        best = max(best, score, key=np.sum)
    return strongest


def _starts(estimator, counts, neighbours) -> list[tuple[np.ndarray, np.ndarray]]:
    """Spectra and fractions to start from."""
    init = estimator.init
    scan = None if neighbours is None else neighbours.keep
    loadings, spectra = start_spectra(estimator, counts, scan)
    starts = [spectra]
    # Without neighbours the evidence does not tell which spectra are purer.
    several = isinstance(init, str) and init == "auto" and neighbours is not None
    if several and estimator.n_components > 1:
        starts.append(scaled_nmf_start(counts, estimator.n_components, estimator.random_state))
    starts = [with_known(estimator, spectra) for spectra in starts]
    if isinstance(init, tuple):
        sums = loadings.sum(1, keepdims=True)
        return [(starts[0], loadings / np.where(sums > 0, sums, 1))]
    # Only the first are of phases that have pixels of their own.
    return [
        (spectra, sharp_fractions(counts, spectra, by_size=n == 0))
        for n, spectra in enumerate(starts)
    ]

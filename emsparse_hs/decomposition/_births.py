# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Phases on so few pixels that no start has them, found by what a fit leaves unexplained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ._climb import Climb, rough_climb
from ._dirichlet import DirichletModel
from ._kernels import sum_by_label
from ._likeness import most_nearly_one
from ._model import CountModel
from ._neighbours import Neighbours, some_tiles
from .counts import thin_counts
from .residuals import misfit, worst_region
from .start import feature_sums, with_mean

if TYPE_CHECKING:
    from .poisson_nmf import PoissonNMF

#: Most regions that are tried, one after the other.
MOST_BIRTHS = 8

#: Pixels of a larger map on which a birth is tried.
MOST_PIXELS = 2**15

#: Share of the counts that spectra are learned from, to be compared by the others.
SHARE = 0.8


def with_births(climb: Climb, estimator: PoissonNMF, random) -> Climb:
    """Give spectra that can be spared to regions that have none of their own.

    The pixels of the worst region become a class, in place of one of those that the fit has put
    together, and spectra are learned anew from the classes. That is kept as long as it predicts
    counts that were set aside better.

    Parameters
    ----------
    climb : Climb
        Roughly at its end.
    estimator : PoissonNMF
        Its parameters are used.
    random : RandomState
        Of the choice of counts and pixels.

    Returns
    -------
    Climb
        Roughly at its end.
    """
    neighbours, counts = climb.model.neighbours, climb.model.counts
    if neighbours is None or counts.dtype.kind != "u" or not isinstance(estimator.init, str):
        return climb
    for _ in range(MOST_BIRTHS):
        model = climb.model
        excess = misfit(counts, model.components(), model.abundances(), scan=neighbours.keep)
        region = worst_region(excess, neighbours.keep)
        if region is None:
            break
        spectra = _better_spectra(model, estimator, region, random)
        if spectra is None:
            break
        born = rough_climb(estimator, counts, neighbours, spectra)
        born.n_iter += climb.n_iter
        climb = born
    return climb


def _better_spectra(model, estimator, region: np.ndarray, random) -> np.ndarray | None:
    """Spectra with that of the region, if they predict counts better."""
    keep = model.neighbours.keep
    rows, scan = np.arange(model.counts.shape[0]), keep
    if len(rows) > MOST_PIXELS:
        rows, scan = some_tiles(keep, MOST_PIXELS, random, region)
    seen, unseen = thin_counts(model.counts[rows], SHARE, random)
    starts = [model.components()]
    starts += _reborn(model, rows, np.isin(rows, region))
    climbs = [rough_climb(estimator, seen, Neighbours(scan), start) for start in starts]
    scores = [
        CountModel(unseen, end.model.components(), end.model.fractions()).log_likelihood()
        for end in climbs
    ]
    best = int(np.argmax(scores))
    return climbs[best].model.components() if best else None


def _reborn(model: DirichletModel, rows: np.ndarray, region: np.ndarray) -> Iterator[np.ndarray]:
    """Sums of the pixels of each class, one of which is given up for the region."""
    counts, n_known = model.counts[rows], model.n_known
    for spared in _to_be_spared(model):
        fractions = model.fractions()[rows]
        fractions[:, spared] = -1
        fractions[region, spared] = 2
        labels = fractions.argmax(1)
        sums = np.zeros(model.spectra.T.shape)
        sum_by_label(counts.indptr, counts.indices, counts.data, labels, sums)
        spectra = with_mean(sums, feature_sums(counts))
        spectra[:n_known] = model.components()[:n_known]
        yield spectra


def _to_be_spared(model: DirichletModel) -> list[int]:
    """The spectrum that prevails on fewest pixels, and the smaller of the two most nearly one."""
    spectra, fractions = model.components(), model.fractions()
    free = np.arange(model.n_known, len(spectra))
    if len(free) < 2:
        return []
    areas = np.bincount(fractions.argmax(1), minlength=len(spectra))
    made = model.abundances().sum(0, dtype=np.float64)[:, None] * spectra
    pair = free[list(most_nearly_one(made[free]))]
    smaller = pair[made[pair].sum(1).argmin()]
    return sorted({int(free[areas[free].argmin()]), int(smaller)})

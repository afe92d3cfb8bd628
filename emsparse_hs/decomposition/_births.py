# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Phases on so few pixels that no start has them, found by what a fit leaves unexplained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from ._climb import Climb, rough_climb
from ._csr_kernels import sum_by_label
from ._dirichlet import DirichletModel
from ._judge import Judge, is_better
from ._likeness import most_nearly_one
from ._neighbours import Neighbours, some_tiles
from .residuals import misfit, worst_region
from .start import feature_sums, with_mean

if TYPE_CHECKING:
    from .poisson_nmf import PoissonNMF

#: Most regions that are tried, one after the other.
MOST_BIRTHS = 8

#: Pixels of a larger map on which a birth is tried.
MOST_PIXELS = 2**15


def with_births(climb: Climb, estimator: PoissonNMF, random) -> Climb:
    """Give spectra that can be spared to regions that have none of their own.

    The pixels of the worst region become a class, in place of one of those that the fit has put
    together, and spectra are learned anew from the classes. That is kept as long as it predicts
    counts of the whole map that were set aside significantly better.

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
    may_change = isinstance(estimator.init, str) and len(climb.model.components()) > 1
    if neighbours is None or counts.dtype.kind != "u" or not may_change:
        return climb
    judge, score = None, None
    for _ in range(MOST_BIRTHS):
        model = climb.model
        excess = misfit(counts, model.components(), model.abundances(), scan=neighbours.keep)
        region = worst_region(excess, neighbours.keep)
        if region is None or model.n_known == len(model.components()):
            break
        # One judge for all regions: what is taken is better than all before.
        judge = Judge(counts, neighbours.keep, random) if judge is None else judge
        score = judge.score(model.components()) if score is None else score
        spectra = _reborn(model, estimator, neighbours.keep, region, random)
        reborn = judge.score(spectra)
        if not is_better(reborn, score):
            break
        climb = rough_climb(estimator, counts, neighbours, spectra, climb.n_iter)
        score = reborn
    return climb


def _reborn(model: DirichletModel, estimator, keep, region: np.ndarray, random) -> np.ndarray:
    """Spectra with that of the region, the others being made do with one fewer."""
    labels = model.fractions().argmax(1)
    rows, scan = np.arange(len(labels)), keep
    if len(rows) > MOST_PIXELS:
        # With the smallest class, which may be the one that is given up.
        sizes = np.bincount(labels, minlength=len(model.components()))
        smallest = np.flatnonzero(labels == np.where(sizes > 0, sizes, len(labels) + 1).argmin())
        wanted = np.concatenate([region, smallest[: MOST_PIXELS // 4]])
        rows, scan = some_tiles(keep, MOST_PIXELS, random, wanted)
    counts, neighbours = model.counts[rows], Neighbours(scan)
    starts = _starts(model, counts, rows, np.isin(rows, region))
    climbs = [rough_climb(estimator, counts, neighbours, start) for start in starts]
    best = int(np.argmax([climb.bounds()[-1] for climb in climbs]))
    return climbs[best].model.components()


def _starts(
    model: DirichletModel, counts, rows: np.ndarray, region: np.ndarray
) -> Iterator[np.ndarray]:
    """Sums of the pixels of each class, one of which is given up for the region."""
    n_known = model.n_known
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
    spectra = model.components()
    free = np.arange(model.n_known, len(spectra))
    if len(free) == 1:
        return free.tolist()
    areas = np.bincount(model.fractions().argmax(1), minlength=len(spectra))
    made = model.abundances().sum(0, dtype=np.float64)[:, None] * spectra
    pair = free[list(most_nearly_one(made[free]))]
    smaller = pair[made[pair].sum(1).argmin()]
    return sorted({int(free[areas[free].argmin()]), int(smaller)})

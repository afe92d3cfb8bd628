# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Spectra learned from the abundances that are certain."""

from __future__ import annotations

from functools import partial

import numpy as np

from . import _kernels
from ._dirichlet import DirichletModel
from ._kernels import TINY, from_fours, in_fours
from ._model import in_threads

#: Standard deviations of an abundance below which it is taken for none.
CERTAIN = 2.0

#: Passes over the counts: with abundances that stay, spectra are there soon.
PASSES = 4


def spectra_of_certain(model: DirichletModel) -> np.ndarray:
    r"""Spectra of the highest likelihood for those abundances that are certain.

    Where neighbours say that a component is not there, a pixel's posterior still gives it a little.
    Over many pixels that adds up, and the counts are other components': the spectrum of a rare one
    takes on theirs. Abundances of less than two standard deviations are nothing here.

    Parameters
    ----------
    model : DirichletModel
        At rest. It stays as it is.

    Returns
    -------
    float64 array of shape (n_components, n_features)
        Of sum 1. Known ones, and those that are certain nowhere, are as they were.
    """
    loadings = _certain_abundances(model)
    totals = loadings.sum(0, dtype=np.float64)
    fixed = totals == 0
    fixed[: model.n_known] = True
    start = model.spectra.astype(np.float64)
    spectra, totals = start.copy(), np.maximum(totals, TINY)
    for _ in range(PASSES):
        fours = in_fours(spectra)
        parts = in_threads(partial(_contributions, model, fours, loadings), model.ranges)
        sums = sum(parts, np.zeros(fours.shape))
        spectra = (spectra * from_fours(sums, len(totals)) + model.of_mean[:, None]) / totals
        spectra[:, fixed] = start[:, fixed]
    return (spectra / np.maximum(spectra.sum(0), TINY)).T


def _certain_abundances(model: DirichletModel) -> np.ndarray:
    loadings = model.abundances()

    def forget(first: int, last: int) -> None:
        loadings[first:last][model.relative_widths(first, last) > 1 / CERTAIN] = 0

    for _ in in_threads(forget, model.ranges):
        pass
    return loadings


def _contributions(model, spectra, loadings, first: int, last: int) -> np.ndarray:
    counts, numerator = model.counts, np.zeros_like(spectra)
    arrays = counts.indptr, counts.indices, counts.data
    _kernels.sum_contributions(*arrays, first, last, spectra, loadings, numerator)
    return numerator

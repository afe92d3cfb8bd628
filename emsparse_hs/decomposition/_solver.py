# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Iterations of Poisson NMF: where they start, and when they end."""

from __future__ import annotations

import numbers
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import xlogy
from sklearn.exceptions import ConvergenceWarning

from emsparse_hs._warnings import warn

from ._checks import check_choice, check_number, check_whole
from ._kernels import TINY
from ._model import RANGE, CountModel, flat_loadings
from ._refusals import ALL_ZERO
from .start import cluster_start, feature_sums, scaled_nmf_start

if TYPE_CHECKING:
    from .poisson_nmf import PoissonNMF
    from .selection import ComponentSelection

#: Iterations from one look at the objective to the next: it costs as much as an iteration.
CHECK_EVERY = 10


#: Part of the objective at the start by which it must sink in that many iterations to go on.
TOL = 1e-4


#: Counts that the prior may weigh as much as.
MOST_COUNTS = 1e6


class Prior(NamedTuple):
    """Prior of a pixel's fractions.

    Attributes
    ----------
    alpha : float
        Shape of the Dirichlet distribution.
    spatial : float
        Counts that the neighbours weigh as much as.
    """

    alpha: float
    spatial: float


class Solution(NamedTuple):
    """What a fit found.

    Attributes
    ----------
    components : float64 array of shape (n_components, n_features)
        Each sums to 1, or is zero.
    totals : float64 array of shape (n_components,)
        Their counts in all pixels.
    n_iter : int
        Passes over the counts.
    objectives : float64 array
        At the start, and after every `CHECK_EVERY` iterations and the last one.
    removed : float64 array of shape (n_components, n_components)
        What part of a spectrum (row) was taken to be another one's (column), and away.
    prior : Prior, optional
        None for maximum likelihood.
    selection : ComponentSelection, optional
        How the number of components was chosen, if it was.
    """

    components: np.ndarray
    totals: np.ndarray
    n_iter: int
    objectives: np.ndarray
    removed: np.ndarray
    prior: Prior | None = None
    selection: ComponentSelection | None = None


def solve_likelihood(estimator: PoissonNMF, counts: sparse.csr_array) -> Solution:
    """Iterate from the estimator's start, its parameters being checked, until it is done."""
    loadings, spectra = start_spectra(estimator, counts)
    known = estimator.known_components
    n_known = 0 if known is None else len(known)
    model = CountModel(counts, with_known(estimator, spectra), loadings, n_known)
    tol = TOL if estimator.tol is None else estimator.tol
    constant, total = _least_divergence(counts), counts.data.sum(dtype=np.float64)
    objectives = [_divergence(model, constant)]
    # No decrease below what rounding to float32 makes of the objective can be told from none.
    rounding = 2 * np.finfo(np.float32).eps * total
    n_iter, further = 0, True
    while n_iter < estimator.max_iter:
        n_passes, state = min(CHECK_EVERY, estimator.max_iter - n_iter), model.state()
        model.pass_over(n_passes, further)
        n_iter += n_passes
        objective = _divergence(model, constant)
        decrease = objectives[-1] - objective
        if further and decrease < -rounding:
            # Steps that went too far are taken back, and shorter ones never lead upwards.
            model.go_back(state)
            objectives.append(objectives[-1])
            further = False
            continue
        objectives.append(objective)
        further = True
        if tol > 0 and n_passes == CHECK_EVERY and decrease < tol * objectives[0] + rounding:
            break
    else:
        if tol > 0:
            warn(
                f"PoissonNMF was still improving after {n_iter} iterations. Increase max_iter, "
                "or tol where that is good enough.",
                ConvergenceWarning,
            )
    spectra = model.components()
    removed = np.zeros((len(spectra), len(spectra)))
    return Solution(spectra, model.totals(), n_iter, np.array(objectives), removed)


def _divergence(model: CountModel, constant: float) -> float:
    """Not below 0, whatever rounding makes of an exact fit."""
    return float(np.maximum(constant - model.log_likelihood() + model.total(), 0))


def _least_divergence(counts: sparse.csr_array) -> float:
    """Sum of x log x - x, in pieces: in float64 all at once would be the larger part of memory."""
    pieces = (counts.data[first : first + RANGE] for first in range(0, counts.nnz, RANGE))
    if counts.dtype in (np.uint8, np.uint16):
        # One logarithm for all counts that are equal.
        most = np.iinfo(counts.dtype).max + 1
        frequency = sum((np.bincount(x, minlength=most) for x in pieces), np.zeros(most))
        x = np.arange(most, dtype=np.float64)
        return float((frequency * (xlogy(x, x) - x)).sum())
    pieces = (x.astype(np.float64) for x in pieces)
    return float(sum((xlogy(x, x) - x).sum() for x in pieces))


def start_spectra(
    estimator: PoissonNMF, counts: sparse.csr_array, scan=None
) -> tuple[np.ndarray, np.ndarray]:
    """Loadings and spectra to start from, checked."""
    k, init = int(estimator.n_components), estimator.init
    n_pixels = int(np.count_nonzero(np.diff(counts.indptr)))
    n_features = int(np.count_nonzero(feature_sums(counts)))
    if not counts.nnz:
        raise ValueError(ALL_ZERO)
    if k > min(n_pixels, n_features):
        raise ValueError(
            f"n_components={k} spectra can't be had from counts in {n_pixels} pixels and "
            f"{n_features} channels (n_samples = {counts.shape[0]}, n_features = "
            f"{counts.shape[1]}). Take fewer, or more data."
        )
    if isinstance(init, str):
        if init == "nmf":
            return flat_loadings(counts, k), scaled_nmf_start(counts, k, estimator.random_state)
        return flat_loadings(counts, k), cluster_start(counts, k, estimator.random_state, scan)
    loadings, spectra = init if isinstance(init, tuple) else (None, init)
    spectra = _checked(spectra, (k, counts.shape[1]), "spectra")
    if loadings is None:
        # Any scale of the spectra will do where loadings are not given.
        spectra = spectra / np.maximum(spectra.sum(1, keepdims=True), TINY)
        return flat_loadings(counts, k), spectra
    return _checked(loadings, (counts.shape[0], k), "abundances"), spectra


def with_known(estimator: PoissonNMF, spectra: np.ndarray) -> np.ndarray:
    """Spectra to start from, with those that are known, which come first."""
    if estimator.known_components is None:
        return spectra
    known = np.asarray(estimator.known_components, float)
    known = known / known.sum(1, keepdims=True)
    left = list(spectra)
    for one in known:
        # Each in place of the one that is most like it, or of the first if the order was given.
        likeness = [one @ other / max(np.linalg.norm(other), TINY) for other in left]
        left.pop(int(np.argmax(likeness)) if isinstance(estimator.init, str) else 0)
    return np.vstack([known, *left])


def largest_first(estimator: PoissonNMF, solution: Solution) -> Solution:
    """The solution with its spectra in order of their counts, after those that are known.

    Spectra of the user keep their order.
    """
    if not isinstance(estimator.init, str):
        return solution
    known = estimator.known_components
    n_known = 0 if known is None else len(known)
    others = n_known + np.argsort(-solution.totals[n_known:], kind="stable")
    order = [*range(n_known), *others]
    removed = solution.removed[np.ix_(order, order)]
    components, totals = solution.components[order], solution.totals[order]
    return solution._replace(components=components, totals=totals, removed=removed)


def _checked(start, shape: tuple[int, int], name: str) -> np.ndarray:
    start = np.asarray(start)
    if start.shape != shape or start.dtype.kind not in "biuf":
        raise ValueError(
            f"init has {name} of shape {start.shape} and dtype {start.dtype}, and real numbers of "
            f"shape {shape} are needed."
        )
    if not (np.isfinite(start).all() and (start >= 0).all() and start.any()):
        raise ValueError(
            f"init has {name} that are negative, NaN, infinite or all zero. Start from positive "
            "ones."
        )
    return start


def check_parameters(estimator: PoissonNMF) -> None:
    """Refuse parameters that are out of their range, whatever the counts."""
    for name, check in (("n_components", check_whole), ("spatial", _check_counts)):
        if isinstance(getattr(estimator, name), str):
            check_choice(estimator, name, ("auto",))
        else:
            check(estimator, name)
    check_whole(estimator, "max_iter")
    if estimator.tol is not None:
        check_number(estimator, "tol")
    check_choice(estimator, "prior", ("dirichlet", None))
    check_choice(estimator, "purer", (True, False))
    if estimator.prior is None and estimator.spatial not in ("auto", 0):
        raise ValueError(
            f"spatial={estimator.spatial!r} is what neighbours weigh in the prior, and prior=None. "
            "Leave it at 'auto', or use prior='dirichlet'."
        )
    check_number(estimator, "alpha", 1e-6, MOST_COUNTS)
    names = ("auto", "cluster", "nmf")
    is_named, is_tuple = isinstance(estimator.init, str), isinstance(estimator.init, tuple)
    if (is_named and estimator.init not in names) or (is_tuple and len(estimator.init) != 2):
        raise ValueError(
            f"init={estimator.init!r} is not known. Use 'auto', 'cluster', 'nmf', an array of "
            "spectra, or a pair of arrays, abundances and spectra."
        )
    if isinstance(estimator.n_components, str) and not isinstance(estimator.init, str):
        raise ValueError(
            "init has a number of spectra, so n_components='auto' can't be. Say the number, or "
            "use init='auto'."
        )


def check_known(estimator: PoissonNMF, n_features: int) -> None:
    """Refuse known spectra that don't fit the counts."""
    known = estimator.known_components
    if known is None:
        return
    known = np.asarray(known)
    if known.ndim != 2 or known.shape[1] != n_features or known.dtype.kind not in "biuf":
        raise ValueError(
            f"known_components are of shape {known.shape} and dtype {known.dtype}, and real "
            f"numbers of shape (n_known, {n_features}) are needed."
        )
    if isinstance(estimator.n_components, numbers.Integral) and len(known) > estimator.n_components:
        raise ValueError(
            f"There are {len(known)} known spectra, and n_components={estimator.n_components} "
            "counts them as well. Take more."
        )
    if not np.isfinite(known).all() or (known < 0).any() or not known.any(1).all():
        raise ValueError(
            "known_components are negative, NaN, infinite, or one of them is all zero. Pass "
            "spectra that counts can be drawn from."
        )


def _check_counts(estimator: PoissonNMF, name: str) -> None:
    check_number(estimator, name, 0, MOST_COUNTS)

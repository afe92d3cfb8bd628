# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Non-negative factorisation of counts by Poisson maximum likelihood."""

from __future__ import annotations

import numbers
import warnings
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import xlogy
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils.validation import validate_data

from ._kernels import TINY
from ._model import RANGE, CountModel, abundances, flat_loadings
from .counts import as_counts, stack_counts
from .start import cluster_start, feature_sums

#: Iterations from one look at the objective to the next: it costs as much as an iteration.
CHECK_EVERY = 10


class Solution(NamedTuple):
    """What a fit found.

    Attributes
    ----------
    components : float64 array of shape (n_components, n_features)
        Each sums to 1, or is zero.
    n_iter : int
        Passes over the counts.
    objectives : float64 array
        At the start, and after every `CHECK_EVERY` iterations and the last one.
    """

    components: np.ndarray
    n_iter: int
    objectives: np.ndarray


class PoissonNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Spectra and abundances under which counts are most likely.

    Counts of pixel i in channel j are taken as Poisson distributed about

    .. math:: y_{ij} = \sum_k w_{ik} h_{kj}, \qquad w, h \ge 0, \quad \sum_j h_{kj} = 1

    and the generalised Kullback-Leibler divergence
    :math:`\sum_{ij} x_{ij} \log(x_{ij} / y_{ij}) - x_{ij} + y_{ij}`, half the deviance of that
    model, is minimised by multiplicative updates (Lee and Seung, Adv. Neural Inf. Process. Syst.
    13 (2001) 556; for given spectra that is the algorithm of Richardson, J. Opt. Soc. Am. 62
    (1972) 55, and Lucy, Astron. J. 79 (1974) 745). Only counts that are not zero are stored and
    worked on. The spectra sum to 1, so that abundances are in counts, and in each pixel they add
    up to the counts that it has.

    At a few counts a channel in a pixel, more iterations make a better fit and, from some point
    on, worse spectra: the default `tol` stops early.

    Parameters
    ----------
    n_components : int
        Number of spectra.
    max_iter : int
        Most passes over the counts.
    tol : float
        The fit ends when the objective sinks, in ten iterations, by less than this part of its
        value at the start. 0 for no such test.
    init : "cluster", array or pair of arrays
        Where to start: from summed spectra of pixels that look alike (see `cluster_start`); from
        spectra of shape (n_components, n_features); or from abundances of shape
        (n_pixels, n_components) and such spectra. What is zero at the start stays zero.
    random_state : int, RandomState instance or None
        Of the start from clusters. Pass an int for the same result each time.

    Attributes
    ----------
    components_ : float64 array of shape (n_components, n_features)
        The spectra. Each sums to 1; channels without counts are zero.
    n_iter_ : int
        Passes that were made over the counts.
    objective_ : float
        Divergence at the end, in nats.
    objective_history_ : float64 array
        Divergence at the start, after every tenth iteration and after the last.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    sklearn.decomposition.NMF : The same iterates with ``beta_loss="kullback-leibler"``,
        ``solver="mu"``, in general and slower.

    Notes
    -----
    After `partial_fit`, the counts of all blocks are kept, sparse, and the fit is made when a
    fitted attribute is first read. HyperSpy's lazy ``s.decomposition(algorithm=PoissonNMF(3))``,
    which hands over one block after the other, thus gets a fit with many passes over data that
    was read once. Take a new estimator, or a clone, for each such call: blocks add up.

    Counts must come as they were measured. HyperSpy's ``decomposition`` of EDS signals scales
    them by default, so pass ``normalize_poissonian_noise=False`` there: scaled counts are not
    Poisson distributed, and the spectra come out less distinct.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(0.2, (300, 64))
    >>> model = PoissonNMF(2, random_state=0).fit(counts)
    >>> model.components_.shape
    (2, 64)
    """

    # Blocks of partial_fit, and what was found: None as long as nobody asked for it.
    _blocks: list[sparse.csr_array]
    _solution: Solution | None

    def __init__(
        self,
        n_components: int = 2,
        *,
        max_iter: int = 200,
        tol: float = 1e-4,
        init="cluster",
        random_state=None,
    ) -> None:
        self.n_components = n_components
        self.max_iter = max_iter
        self.tol = tol
        self.init = init
        self.random_state = random_state

    #: In which form a block of counts is kept, and how such blocks are joined.
    convert_block = staticmethod(as_counts)
    stack_blocks = staticmethod(stack_counts)

    def fit(self, X, y=None) -> PoissonNMF:
        """Find the spectra. Blocks of earlier calls of `partial_fit` are forgotten.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype.
        y : None
            Not used.

        Returns
        -------
        PoissonNMF
            Itself.

        Raises
        ------
        ValueError
            If counts are negative, NaN, infinite or complex, or a parameter is out of its range;
            `n_components` is at most the number of pixels, and of channels, that have counts.
        """
        self._fit(X)
        return self

    def fit_transform(self, X, y=None) -> np.ndarray:
        """Find the spectra, and the abundances as `transform` does.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype.
        y : None
            Not used.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            Abundances in counts.
        """
        counts = self._fit(X)
        return abundances(counts, self.components_)

    def partial_fit(self, X, y=None) -> PoissonNMF:
        """Take one more block of counts; the fit to all of them is made when it is needed.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype.
        y : None
            Not used.

        Returns
        -------
        PoissonNMF
            Itself.
        """
        _check_parameters(self)
        counts = self._as_counts(X, reset=not hasattr(self, "n_features_in_"))
        self._blocks = [*getattr(self, "_blocks", []), counts]
        self._solution = None
        return self

    def transform(self, X) -> np.ndarray:
        """Abundances that make counts most likely, the spectra being as fitted.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            Abundances in counts. They add up to the counts of the pixel, without those in
            channels where all spectra are zero; a pixel without counts has none.
        """
        components = self._solved().components
        return abundances(self._as_counts(X, reset=False), components)

    def score(self, X, y=None) -> float:
        r"""Mean log-likelihood of a pixel, up to a term of the counts alone.

        That is the mean over the pixels of :math:`\sum_j x_{ij} \log y_{ij} - y_{ij}`: the term
        :math:`-\log x_{ij}!` is left out, since it is the same for all models. Abundances are
        those of `transform`, so to compare numbers of components score counts that were set
        aside. A count that the model says is impossible costs 69 nats.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype.
        y : None
            Not used.

        Returns
        -------
        float
            In nats.
        """
        components = self._solved().components
        counts = self._as_counts(X, reset=False)
        model = CountModel(counts, components, abundances(counts, components))
        return (model.log_likelihood() - model.total()) / counts.shape[0]

    @property
    def components_(self) -> np.ndarray:
        """Spectra of shape (n_components, n_features), each of sum 1."""
        return self._solved().components

    @property
    def n_iter_(self) -> int:
        """Passes that were made over the counts."""
        return self._solved().n_iter

    @property
    def objective_(self) -> float:
        """Divergence at the end, in nats."""
        return float(self._solved().objectives[-1])

    @property
    def objective_history_(self) -> np.ndarray:
        """Divergence at the start, after every tenth iteration and after the last."""
        return self._solved().objectives

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there is anything to fit to, if not a fit."""
        return hasattr(self, "_solution")

    def __sklearn_tags__(self):
        """Say that X may be sparse, and must not be negative."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _as_counts(self, X, reset: bool) -> sparse.csr_array:
        # as_counts tells NaN and infinities by itself, among fewer values.
        X = validate_data(self, X, reset=reset, accept_sparse="csr", ensure_all_finite=False)
        return as_counts(X)

    def _fit(self, X) -> sparse.csr_array:
        _check_parameters(self)
        counts = self._as_counts(X, reset=True)
        self._blocks = []
        self._solution = _solve(self, counts)
        return counts

    def _solved(self) -> Solution:
        if not hasattr(self, "_solution"):
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted yet. Call fit, or partial_fit for "
                "each block of counts."
            )
        if self._solution is None:
            # Joined once, so that the counts are not in memory twice from then on.
            self._blocks = [stack_counts(self._blocks)]
            self._solution = _solve(self, self._blocks[0])
        return self._solution


def _solve(estimator: PoissonNMF, counts: sparse.csr_array) -> Solution:
    loadings, spectra = _start(estimator, counts)
    model = CountModel(counts, spectra, loadings)
    constant = _least_divergence(counts)
    objectives = [constant - model.log_likelihood() + model.total()]
    for n_iter in range(1, estimator.max_iter + 1):
        model.update()
        if n_iter % CHECK_EVERY and n_iter < estimator.max_iter:
            continue
        objectives.append(constant - model.log_likelihood() + model.total())
        decrease = objectives[-2] - objectives[-1]
        if n_iter % CHECK_EVERY == 0 and decrease < estimator.tol * objectives[0]:
            break
    else:
        if estimator.tol > 0:
            warnings.warn(
                f"PoissonNMF was still improving after {n_iter} iterations. Increase max_iter, "
                "or tol; early stopping often gives better spectra.",
                ConvergenceWarning,
                stacklevel=4,
            )
    return Solution(model.components(), n_iter, np.array(objectives))


def _least_divergence(counts: sparse.csr_array) -> float:
    """Sum of x log x - x, in pieces: in float64 all at once would be the larger part of memory."""
    total = 0.0
    for first in range(0, counts.nnz, RANGE):
        x = counts.data[first : first + RANGE].astype(np.float64)
        total += float((xlogy(x, x) - x).sum())
    return total


def _start(estimator: PoissonNMF, counts: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Loadings and spectra to start from, checked."""
    k, init = estimator.n_components, estimator.init
    n_pixels = int(np.count_nonzero(np.diff(counts.indptr)))
    n_features = int(np.count_nonzero(feature_sums(counts)))
    if k > min(n_pixels, n_features):
        raise ValueError(
            f"n_components={k} spectra can't be had from counts in {n_pixels} pixels and "
            f"{n_features} channels (n_samples = {counts.shape[0]}, n_features = "
            f"{counts.shape[1]}). Take fewer, or more data."
        )
    if isinstance(init, str):
        return flat_loadings(counts, k), cluster_start(counts, k, estimator.random_state)
    loadings, spectra = init if isinstance(init, tuple) else (None, init)
    spectra = _checked(spectra, (k, counts.shape[1]), "spectra")
    if loadings is None:
        # Any scale of the spectra will do where loadings are not given.
        spectra = spectra / np.maximum(spectra.sum(1, keepdims=True), TINY)
        return flat_loadings(counts, k), spectra
    return _checked(loadings, (counts.shape[0], k), "abundances"), spectra


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


def _check_parameters(estimator: PoissonNMF) -> None:
    for name, lowest in (("n_components", 1), ("max_iter", 1)):
        value = getattr(estimator, name)
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < lowest:
            raise ValueError(f"{name}={value!r}, and a whole number from {lowest} on is needed.")
    if not isinstance(estimator.tol, numbers.Real) or not 0 <= estimator.tol < np.inf:
        raise ValueError(f"tol={estimator.tol!r}, and a number from 0 on is needed.")
    if isinstance(estimator.init, str) and estimator.init != "cluster":
        raise ValueError(
            f"init={estimator.init!r} is not known. Use 'cluster', an array of spectra, or a pair "
            "of arrays, abundances and spectra."
        )

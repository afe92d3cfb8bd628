# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Non-negative factorisation of counts by Poisson maximum likelihood."""

from __future__ import annotations

import threading

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data

from ._model import CountModel, abundances
from ._solver import Solution, check_parameters, solve
from .counts import as_counts, stack_counts

#: Of all estimators, so that each can be pickled: blocks are joined and solved in one thread.
_JOINING = threading.Lock()


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
        value at the start, or by less than rounding lets see. 0 for no such test.
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
        check_parameters(self)
        counts = self._as_counts(X, reset=not hasattr(self, "n_features_in_"))
        with _JOINING:
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
        check_parameters(self)
        counts = self._as_counts(X, reset=True)
        self._blocks = []
        self._solution = solve(self, counts)
        return counts

    def _solved(self) -> Solution:
        if not hasattr(self, "_solution"):
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted yet. Call fit, or partial_fit for "
                "each block of counts."
            )
        solution = self._solution
        if solution is not None:
            return solution
        with _JOINING:
            # Another thread may have solved it in the meantime.
            if self._solution is None:
                # Joined once, so that the counts are not in memory twice from then on.
                self._blocks = [stack_counts(self._blocks)]
                self._solution = solve(self, self._blocks[0])
            return self._solution

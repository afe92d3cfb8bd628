# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Non-negative factorisation of counts that are Poisson distributed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ._dirichlet import DirichletModel
from ._model import CountModel, abundances
from ._neighbours import as_scan
from ._purer import warn_of_removed
from ._scale import warn_of_scaled
from ._solver import Solution, check_parameters, largest_first
from ._variational import Posterior, settled, solve
from .counts import FORMATS, as_counts, by_blocks, stack_counts

if TYPE_CHECKING:
    from .selection import ComponentSelection

#: Of all estimators, so that each can be pickled: blocks are joined and solved in one thread.
_JOINING = threading.Lock()


class PoissonNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Spectra, and how many counts each of them has in each pixel.

    Counts of pixel i in channel j are taken as Poisson distributed about

    .. math:: y_{ij} = \sum_k w_{ik} h_{kj}, \qquad w, h \ge 0, \quad \sum_j h_{kj} = 1

    The spectra sum to 1, so that abundances are in counts. Only what is not zero is stored.

    **With the prior** the fractions of a pixel's counts have a Dirichlet distribution of shapes
    :math:`\alpha + \beta m_{ik}`, where m are mean fractions of its neighbours, if known. The
    fractions are integrated out by variational Bayes, as in latent Dirichlet allocation (Blei, Ng
    and Jordan, J. Mach. Learn. Res. 3 (2003) 993). That is needed at few counts a pixel: maximum
    likelihood fits each pixel's noise, and its spectra suffer. Regions that are not explained get a
    spectrum (see `misfit`), in place of one that can be spared, if that predicts unseen counts
    better. Where neighbours are known, spectra are learned anew in the end from what is certain,
    and without what they may have of each other if that is about as likely (see `purer`): a phase
    that is nowhere alone has that of a sum otherwise.

    **Without**, as in `sklearn.decomposition.NMF`, the generalised Kullback-Leibler divergence
    :math:`\sum_{ij} x_{ij} \log(x_{ij} / y_{ij}) - x_{ij} + y_{ij}`, half the deviance of that
    model, is minimised by multiplicative updates (Lee and Seung, Adv. Neural Inf. Process. Syst.
    13 (2001) 556; of given spectra Richardson, J. Opt. Soc. Am. 62 (1972) 55, and Lucy, Astron. J.
    79 (1974) 745) that go further as long as steps repeat. The better the fit the worse, from some
    point on, are the spectra: the default `tol` stops early.

    Parameters
    ----------
    n_components : int or "auto"
        Number of spectra. If "auto", as many as predict best whole counts that are set aside, by
        those of the highest evidence (see `select_n_components`).
    prior : "dirichlet" or None
        Of the fractions. None is for maximum likelihood.
    alpha : float
        Shape of the prior: the smaller, the fewer components a pixel has.
    spatial : "auto" or float
        Counts beta that the neighbours of a pixel weigh as much as, in its abundances. 0 for none.
        If "auto", the most that predict some counts that are set aside as well, or 5 where counts
        are not whole. It matters only with a `scan`. Spectra are found with 5 at most.
    known_components : array of shape (n_known, n_features), optional
        Spectra that are known: they come first, as they are but for their sums, and take the place
        of the first ones of `init` if that is an array.
    purer : bool
        Whether spectra are made as pure as the evidence lets them be, where there are neighbours.
        False where phases share lines by nature, as an oxide in its metal does.
    max_iter : int
        Most passes over the counts.
    tol : float
        With the prior, the fit ends when no spectrum changes in a pass by more than this part of
        its noise: 0.005, less above 50 counts a pixel, more in large maps. Without, when the
        objective sinks in ten iterations by less than this part (1e-4) of its value at the start,
        or by less than rounding lets see. 0 for no such test.
    init : "auto", "cluster", "nmf", array or pair of arrays
        Where to start: from summed spectra of pixels that look alike (see `cluster_start`), which
        is what "auto" does; from a factorisation of scaled counts (see `scaled_nmf_start`); from
        spectra of shape (n_components, n_features); or from abundances (n_pixels, n_components)
        and such spectra. What is zero at the start stays zero without the prior.
    random_state : int, RandomState instance or None
        Of start and counts that are set aside. An int gives the same result each time.

    Attributes
    ----------
    components_ : float64 array of shape (n_components, n_features)
        The spectra, those with most counts first after known ones, or in the order of `init`.
        Each sums to 1; channels without counts are zero.
    spatial_ : float or None
        Counts that the neighbours weigh as much as.
    removed_ : float64 array of shape (n_components, n_components)
        What part of a spectrum as found first (row) was taken to be another's (column), and away.
    selection_ : ComponentSelection or None
        How the number of components was chosen.
    n_iter_ : int
        Passes that were made over the counts.
    objective_ : float
        In nats: the divergence at the end, or the lower bound of the log evidence with its sign
        turned, up to a term of the counts alone, before spectra are learned from what is certain.
    objective_history_ : float64 array
        At the last start, after every tenth iteration from there and after the last.
    n_features_in_ : int
        Number of channels.

    Notes
    -----
    After `partial_fit`, counts of all blocks are kept, sparse, and the fit is made when a fitted
    attribute is first read, so that HyperSpy's lazy ``s.decomposition(algorithm=PoissonNMF(3))``
    makes many passes over data that is read once. Blocks add up: take a new estimator each time.
    ``s.emsparse.decomposition("PoissonNMF")`` also knows neighbours.

    Of more than 32768 pixels, some tiles decide on start, purity and neighbours' strength. A phase
    that is in none of them is found only where neighbours are known.
    HyperSpy scales EDS counts by default: pass ``normalize_poissonian_noise=False`` there.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(0.2, (300, 64))
    >>> model = PoissonNMF(2, random_state=0).fit(counts, scan=(20, 15))
    >>> model.components_.shape
    (2, 64)
    """

    # Blocks of partial_fit, and what was found: None as long as nobody asked for it.
    _blocks: list[sparse.csr_array]
    _solution: Solution | None

    def __init__(
        self,
        n_components: int | str = 2,
        *,
        prior: str | None = "dirichlet",
        alpha: float = 0.02,
        spatial: str | float = "auto",
        known_components=None,
        purer: bool = True,
        max_iter: int = 500,
        tol: float | None = None,
        init="auto",
        random_state=None,
    ) -> None:
        self.n_components = n_components
        self.prior = prior
        self.alpha = alpha
        self.spatial = spatial
        self.known_components = known_components
        self.purer = purer
        self.max_iter = max_iter
        self.tol = tol
        self.init = init
        self.random_state = random_state

    #: In which form a block of counts is kept, and how such blocks are joined.
    convert_block = staticmethod(as_counts)
    stack_blocks = staticmethod(stack_counts)

    def fit(self, X, y=None, *, scan=None) -> PoissonNMF:
        """Find the spectra. Blocks of earlier calls of `partial_fit` are forgotten.

        Parameters
        ----------
        X : array, dask array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype. A dask array is read by blocks of rows, see `as_counts`.
        y : None
            Not used.
        scan : tuple of int or bool array, optional
            Where the pixels are: the shape of a scan that has all of them, in C order, or an array
            of that shape that is True for those that are there. Neighbours are sought along its
            last two axes.

        Returns
        -------
        PoissonNMF
            Itself.

        Raises
        ------
        ValueError
            If counts are negative, NaN, infinite or complex, a parameter is out of its range, or
            the scan has another number of pixels; `n_components` is at most the number of pixels,
            and of channels, that have counts.
        """
        self._fit(X, scan)
        return self

    def fit_transform(self, X, y=None, *, scan=None) -> np.ndarray:
        """Find the spectra, and the abundances as `transform` does.

        Parameters
        ----------
        X, y, scan
            As for `fit`.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            Abundances in counts.
        """
        return self._abundances(self._fit(X, scan), scan)

    def partial_fit(self, X, y=None) -> PoissonNMF:
        """Take one more block of counts; the fit to all of them is made when it is needed.

        Parameters
        ----------
        X : array, dask array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype. Those that were passed to `fit` are not kept for it.
        y : None
            Not used.

        Returns
        -------
        PoissonNMF
            Itself.
        """
        check_parameters(self)
        counts = self._as_counts(X, reset=not hasattr(self, "_solution"))
        with _JOINING:
            self._blocks = [*getattr(self, "_blocks", []), counts]
            self._solution = None
        return self

    def transform(self, X, *, scan=None) -> np.ndarray:
        """Abundances, the spectra being as fitted.

        Parameters
        ----------
        X : array, dask array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype.
        scan : tuple of int or bool array, optional
            Where the pixels are, as for `fit`. Without, neighbours play no part, whatever the fit
            was like.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            Means of the posterior in counts, or without prior the abundances that make the counts
            most likely. They add up to the counts of the pixel; without prior, to those in
            channels where some spectrum is not zero. A pixel without counts has none.
        """
        self._solved()
        return self._abundances(self._as_counts(X, reset=False), scan)

    def posterior(self, X, *, scan=None) -> Posterior:
        """Abundances as from `transform`, and how well they are known.

        Widths come from the curvature of the posterior for given spectra and neighbours, with what
        is not known of the origin of each count taken into account. They are those of a normal
        distribution, and mean little for a component of less than a count.

        Parameters
        ----------
        X : array, dask array or CSR of shape (n_pixels, n_features)
            Counts of any real dtype.
        scan : tuple of int or bool array, optional
            Where the pixels are, as for `fit`.

        Returns
        -------
        Posterior
            Abundances and their standard deviations.

        Raises
        ------
        ValueError
            If there is no prior.
        """
        if self._solved().prior is None:
            raise ValueError("Maximum likelihood has no posterior. Fit with prior='dirichlet'.")
        model = self._settled(self._as_counts(X, reset=False), scan)
        return Posterior(model.abundances(), model.widths())

    def score(self, X, y=None, *, scan=None) -> float:
        r"""Mean log-likelihood of a pixel, up to a term of the counts alone.

        That is the mean over the pixels of :math:`\sum_j x_{ij} \log y_{ij} - y_{ij}`: the term
        :math:`-\log x_{ij}!` is left out, since it is the same for all models. Abundances are
        those of `transform`, so to compare numbers of components score counts that were set
        aside. A count that the model says is impossible costs 69 nats.

        Parameters
        ----------
        X, y, scan
            As for `fit`.

        Returns
        -------
        float
            In nats.
        """
        counts = self._as_counts(X, reset=False)
        model = CountModel(counts, self.components_, self._abundances(counts, scan))
        return (model.log_likelihood() - model.total()) / counts.shape[0]

    @property
    def components_(self) -> np.ndarray:
        """Spectra of shape (n_components, n_features), each of sum 1."""
        return self._solved().components

    @property
    def spatial_(self) -> float | None:
        """Counts that the neighbours weigh as much as, or None without prior."""
        prior = self._solved().prior
        return None if prior is None else prior.spatial

    @property
    def removed_(self) -> np.ndarray:
        """What part of a spectrum (row) was taken to be another's (column), and away."""
        return self._solved().removed

    @property
    def selection_(self) -> ComponentSelection | None:
        """How the number of components was chosen, if it was."""
        return self._solved().selection

    @property
    def n_iter_(self) -> int:
        """Passes that were made over the counts."""
        return self._solved().n_iter

    @property
    def objective_(self) -> float:
        """Divergence or turned bound of the evidence at the end, in nats."""
        return float(self._solved().objectives[-1])

    @property
    def objective_history_(self) -> np.ndarray:
        """Objective at the last start, after every tenth iteration and after the last."""
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
        X = by_blocks(X)
        X = validate_data(self, X, reset=reset, accept_sparse=FORMATS, ensure_all_finite=False)
        return as_counts(X)

    def _fit(self, X, scan) -> sparse.csr_array:
        check_parameters(self)
        counts = self._as_counts(X, reset=True)
        keep = None if scan is None else as_scan(scan, counts.shape[0])
        self.__dict__.pop("_solution", None)  # It does not belong to these features.
        self._blocks = []
        self._solution = self._solve(counts, keep)
        return counts

    def _solve(self, counts: sparse.csr_array, keep: np.ndarray | None = None) -> Solution:
        warn_of_scaled(self, counts)
        solution = largest_first(self, solve(self, counts, keep))
        warn_of_removed(solution.removed)
        return solution

    def _abundances(self, counts: sparse.csr_array, scan=None) -> np.ndarray:
        solution = self._solved()
        if solution.prior is None:
            return abundances(counts, solution.components)
        return self._settled(counts, scan).abundances()

    def _settled(self, counts: sparse.csr_array, scan) -> DirichletModel:
        """Posterior of counts for the fitted spectra and prior."""
        solution = self._solved()
        assert solution.prior is not None
        keep = None if scan is None else as_scan(scan, counts.shape[0])
        return settled(counts, solution.components, solution.prior, keep)

    def _solved(self) -> Solution:
        check_is_fitted(self)
        solution = self._solution
        if solution is not None:
            return solution
        with _JOINING:
            # Another thread may have solved it in the meantime.
            if self._solution is None:
                # Joined once, so that the counts are not in memory twice from then on.
                self._blocks = [stack_counts(self._blocks)]
                self._solution = self._solve(self._blocks[0])
            return self._solution

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Principal axes of counts whose noise is scaled, from one pass over them."""

from __future__ import annotations

import operator
import threading
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import validate_data

from ._checks import check_choice, check_whole
from ._gram import bins_of, gram_of_rows, inverse_root, leading_axes, poisson_weights, product
from ._refusals import refuse_negative, refuse_not_finite, refuse_stacked
from .counts import FORMATS, as_counts, one_a_place

#: Share of elements that are not zero up to which sparse products are faster than dense ones.
SPARSE = 0.15

#: Of all estimators, so that each can be pickled: blocks are added up in one thread.
_ADDING = threading.Lock()


class _Sums(NamedTuple):
    """What blocks add to."""

    gram: np.ndarray
    features: np.ndarray
    squares: float
    n_pixels: int

    def plus(self, other: _Sums) -> _Sums:
        """Sums of both."""
        return _Sums(*map(operator.add, self, other))


class _Axes(NamedTuple):
    """What the sums say."""

    #: float64 of shape (n_features, n_components).
    of_features: np.ndarray
    #: Factor of each feature.
    weights: np.ndarray
    #: Sums of squares along each axis, and of all.
    squares: np.ndarray
    all_squares: float


class WeightedGramPCA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Principal axes of scaled counts, from one pass over blocks of pixels in any order.

    Counts of pixel i in channel j are scaled to

    .. math:: x_{ij} \big/ \sqrt{x_{i\cdot}\, x_{\cdot j} / x_{\cdot\cdot}}

    where points are for sums. Poisson noise has unit variance in them (Keenan and Kotula, Surf.
    Interface Anal. 36 (2004) 203; sums of channels are raised by a few counts, so that those with
    hardly any don't weigh most). Each block adds to the Gram matrix of the channels, whose
    eigenvectors are the axes: that is exact, and no more than this matrix is in memory. No mean is
    subtracted, so the first component is about the mean spectrum.

    Parameters
    ----------
    n_components : int
        Number of axes.
    scaling : "poisson" or None
        None for data whose noise is as strong everywhere. They may be negative then.

    Attributes
    ----------
    components_ : float64 array of shape (n_components, n_features)
        Spectra in counts. With what `transform` makes of a pixel they are the best model of its
        scaled counts.
    explained_variance_ : float64 array of shape (n_components,)
        Mean square of the scaled counts along each axis.
    explained_variance_ratio_ : float64 array of shape (n_components,)
        As a part of the mean square of all.
    total_variance_ : float
        Mean square of all scaled counts.
    feature_weights_ : float64 array of shape (n_features,)
        Factor of each channel where counts are scaled; 0 where there are none.
    n_samples_seen_ : int
        Number of pixels.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    sklearn.decomposition.TruncatedSVD : For data that need no scaling and fit into memory.

    Notes
    -----
    Of more than 2048 channels neighbouring ones are added up for the axes, which are constant
    over these then.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(0.2, (300, 64))
    >>> WeightedGramPCA(3).fit_transform(counts).shape
    (300, 3)
    """

    _sums: _Sums
    _axes: _Axes | None

    def __init__(self, n_components: int = 10, *, scaling: str | None = "poisson") -> None:
        self.n_components = n_components
        self.scaling = scaling

    def fit(self, X, y=None) -> WeightedGramPCA:
        """Find the axes. Blocks of earlier calls of `partial_fit` are forgotten.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Counts, or data of any sign without scaling.
        y : None
            Not used.

        Returns
        -------
        WeightedGramPCA
            Itself.

        Raises
        ------
        ValueError
            If data are NaN or infinite, or negative where they are scaled, a parameter is out of
            its range, or there are fewer pixels or channels than `n_components`.
        """
        self._sums = self._sums_of(self._rows(X, reset=True))
        self._axes = None
        self._found()
        return self

    def partial_fit(self, X, y=None) -> WeightedGramPCA:
        """Add one more block, also to those of `fit`; the axes are sought when they are needed.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Counts, or data of any sign without scaling.
        y : None
            Not used.

        Returns
        -------
        WeightedGramPCA
            Itself.
        """
        first = not self.__sklearn_is_fitted__()
        sums = self._sums_of(self._rows(X, reset=first))
        with _ADDING:
            if self.__sklearn_is_fitted__():
                sums = self._sums.plus(sums)
            self._sums, self._axes = sums, None
        return self

    def merge(self, other: WeightedGramPCA) -> WeightedGramPCA:
        """Add what another estimator has seen, of blocks that this one has not.

        Parameters
        ----------
        other : WeightedGramPCA
            With the same parameters, after `fit` or `partial_fit`.

        Returns
        -------
        WeightedGramPCA
            Itself.
        """
        with _ADDING:
            self._sums, self._axes = self._sums.plus(other._sums), None
        return self

    def transform(self, X) -> np.ndarray:
        """Loadings of the components.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Counts, or data of any sign without scaling.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            Of any sign.
        """
        axes = self._found()
        rows = self._rows(X, reset=False)
        return product(rows, axes.weights[:, None] * axes.of_features).astype(np.float32)

    def inverse_transform(self, X) -> np.ndarray:
        """Counts of the model.

        Parameters
        ----------
        X : array of shape (n_pixels, n_components)
            Loadings.

        Returns
        -------
        array of shape (n_pixels, n_features)
            In counts.
        """
        return X @ self.components_

    @property
    def components_(self) -> np.ndarray:
        """Spectra of shape (n_components, n_features), in counts."""
        axes = self._found()
        bins = bins_of(len(axes.weights))
        divisor = axes.weights * np.bincount(bins)[bins]
        return axes.of_features.T / np.where(divisor > 0, divisor, np.inf)

    @property
    def explained_variance_(self) -> np.ndarray:
        """Mean square of the scaled counts along each axis."""
        return self._found().squares / self._sums.n_pixels

    @property
    def explained_variance_ratio_(self) -> np.ndarray:
        """Mean square along each axis as a part of that of all."""
        return self.explained_variance_ / max(self.total_variance_, np.finfo(float).tiny)

    @property
    def total_variance_(self) -> float:
        """Mean square of all scaled counts."""
        return self._found().all_squares / self._sums.n_pixels

    @property
    def feature_weights_(self) -> np.ndarray:
        """Factor of each channel."""
        return self._found().weights

    @property
    def n_samples_seen_(self) -> int:
        """Number of pixels."""
        return self._sums.n_pixels

    @property
    def _n_features_out(self) -> int:
        return len(self._found().squares)

    def __sklearn_is_fitted__(self) -> bool:
        """Whether there was a block."""
        return hasattr(self, "_sums")

    def __sklearn_tags__(self):
        """Say that X may be sparse, and must not be negative where it is scaled."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = self.scaling is not None
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _rows(self, X, reset: bool):
        """Checked data: sparse counts, or float32."""
        check_whole(self, "n_components")
        check_choice(self, "scaling", ("poisson", None))
        refuse_stacked(X)
        # NaN and infinities are told by sparse_or_dense.
        rows = validate_data(self, X, reset=reset, accept_sparse=FORMATS, ensure_all_finite=False)
        return sparse_or_dense(rows, counts=self.scaling is not None)

    def _sums_of(self, rows) -> _Sums:
        totals = np.asarray(rows.sum(1, dtype=np.float64)).ravel()
        # An empty pixel has no direction.
        weights = np.ones(len(totals)) if self.scaling is None else inverse_root(totals)
        features = np.asarray(rows.sum(0, dtype=np.float64)).ravel()
        gram = gram_of_rows(rows, weights, bins_of(len(features)))
        data = rows.data if sparse.issparse(rows) else rows.ravel()
        # Squares of what float32 holds can be beyond it.
        squares = float(np.einsum("i,i", data, data, dtype=np.float64, casting="unsafe"))
        return _Sums(gram, features, squares, len(totals))

    def _found(self) -> _Axes:
        if not self.__sklearn_is_fitted__():
            raise NotFittedError(
                f"This {type(self).__name__} is not fitted yet. Call fit, or partial_fit for each "
                "block."
            )
        if self._axes is None:
            self._axes = _axes_of(self._sums, int(self.n_components), self.scaling)
        return self._axes


def _axes_of(sums: _Sums, n_components: int, scaling: str | None) -> _Axes:
    n_bins, n_features = len(sums.gram), len(sums.features)
    if n_components > min(n_bins, sums.n_pixels):
        raise ValueError(
            f"n_components={n_components} axes can't be had from {sums.n_pixels} pixels of "
            f"{n_features} channels (n_samples = {sums.n_pixels}, n_features = {n_features}). "
            "Take fewer, or more data."
        )
    bins = bins_of(n_features)
    weights = np.ones(n_bins)
    if scaling is not None:
        unit = sums.squares / max(sums.features.sum(), np.finfo(float).tiny)
        weights = poisson_weights(np.bincount(bins, sums.features), unit)
    gram = sums.gram * weights[:, None] * weights
    squares, axes = leading_axes(gram, n_components)
    return _Axes(axes[bins], weights[bins], squares, float(np.trace(gram)))


def sparse_or_dense(rows, counts: bool):
    """In the form in which products are fast.

    Parameters
    ----------
    rows : array or CSR of shape (n_pixels, n_features)
        Of any real numbers.
    counts : bool
        Whether they must not be negative.

    Returns
    -------
    csr_array or float32 array of shape (n_pixels, n_features)
        Sparse if most elements are zero.

    Raises
    ------
    ValueError
        If counts are negative, or data NaN or infinite.
    """
    refuse_not_finite(rows.data if sparse.issparse(rows) else rows)
    if counts and (sparse.issparse(rows) or np.count_nonzero(rows) < SPARSE * rows.size):
        return as_counts(rows)
    if counts:
        refuse_negative(rows)
    if sparse.issparse(rows):
        return one_a_place(rows).astype(np.float32, copy=False)
    return np.asarray(rows, np.float32)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Non-negative factorisation by least squares, of counts or of dense data."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from emsparse_hs._warnings import warn

from ._checks import check_choice, check_number, check_whole
from ._gram import inverse_root
from ._hals import LeastSquares, Penalties, ScaledData
from ._refusals import refuse_stacked
from .clustering import SphericalKMeans
from .counts import FORMATS
from .pca import WeightedGramPCA, sparse_or_dense

#: Rows that are squared at once.
_AT_ONCE = 8192

#: Axes that data are compressed to, for each component.
AXES = 4

#: Iterations from one search for components that can be spared to the next, at most.
LOOK_EVERY = 100


class SparseNMF(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Spectra and their loadings by least squares of scaled data.

    Data are taken as :math:`x_{ij} = \sum_k w_{ik} h_{kj}`, :math:`w, h \ge 0`, with noise that is
    as strong everywhere once counts are scaled (see `WeightedGramPCA`). It is for EELS and other
    dense data, and for phases that are nowhere pure; `PoissonNMF` is for few counts a pixel.

    Parameters
    ----------
    n_components : int
        Number of spectra; the most there can be with `ard`.
    scaling : "poisson" or None
        None is for data whose noise is as strong everywhere.
    sparsity : float
        Each loading is pulled towards zero by so many standard deviations of its noise, which is
        estimated from what the fit leaves. 0 for none.
    orthogonality : float
        From 0 to 1: how much it costs that two components are in one pixel. At 1 hardly any pixel
        has more than one.
    ard : bool
        Whether to leave out components that are too weak to tell from noise (automatic relevance
        determination), or that explain no more than one would of noise alone. Those of few pixels
        are at risk.
    init : "clusters", "axes" or array of shape (n_components, n_features)
        Spectra to start from: sums of pixels whose spectra point in the same direction (see
        `SphericalKMeans`); or the parts of principal axes that are above or below zero (Boutsidis
        and Gallopoulos, Pattern Recognit. 41 (2008) 1350). From the latter, spectra come out as
        different from each other as counts allow.
    max_iter : int
        Most iterations.
    tol : float
        The fit ends when no spectrum, of unit norm, changes by more than this in an iteration.
    random_state : int, RandomState instance or None
        Of the start. Pass an int for the same result each time.

    Attributes
    ----------
    components_ : float64 array of shape (n_components, n_features)
        The spectra, those with most counts first, or in the order of `init`. Each sums to 1, so
        that loadings are in counts.
    noise_ : float
        Standard deviation of the scaled data about the model; 1 for Poisson noise.
    n_iter_ : int
        Iterations that were made.
    reconstruction_err_ : float
        Root of the sum of squares that is left of the scaled data.
    n_features_in_ : int
        Number of channels.

    See Also
    --------
    PoissonNMF : For few counts a pixel.
    sklearn.decomposition.NMF : For penalties of other kinds.

    Examples
    --------
    >>> import numpy as np
    >>> counts = np.random.default_rng(0).poisson(5.0, (300, 64))
    >>> SparseNMF(2).fit(counts).components_.shape
    (2, 64)
    """

    def __init__(
        self,
        n_components: int = 2,
        *,
        scaling: str | None = "poisson",
        sparsity: float = 0.0,
        orthogonality: float = 0.0,
        ard: bool = False,
        init="clusters",
        max_iter: int = 500,
        tol: float = 1e-4,
        random_state=None,
    ) -> None:
        self.n_components = n_components
        self.scaling = scaling
        self.sparsity = sparsity
        self.orthogonality = orthogonality
        self.ard = ard
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X, y=None) -> SparseNMF:
        """Find the spectra.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Data, not negative.
        y : None
            Not used.

        Returns
        -------
        SparseNMF
            Itself.

        Raises
        ------
        ValueError
            If data are negative, NaN or infinite, a parameter is out of its range, or there are
            fewer pixels or channels than `n_components`.
        """
        self.fit_transform(X)
        return self

    def fit_transform(self, X, y=None) -> np.ndarray:
        """Find the spectra and their loadings.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Data, not negative.
        y : None
            Not used.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            In counts.
        """
        rows = self._rows(X, reset=True)
        pca = WeightedGramPCA(self.n_components, scaling=self.scaling).fit(rows)
        self._feature_weights = pca.feature_weights_
        data = self._scaled(rows, self._feature_weights)
        return self._fit(data, pca.transform(rows))

    def compressor(self, most: int) -> WeightedGramPCA:
        """Estimator that reduces data to what `fit_transform_compressed` takes.

        Parameters
        ----------
        most : int
            Most axes there can be: the number of pixels or of channels, whichever is less.

        Returns
        -------
        WeightedGramPCA
            Not fitted.
        """
        self._check()
        n_axes = max(min(AXES * self.n_components, most), self.n_components)
        return WeightedGramPCA(n_axes, scaling=self.scaling)

    def fit_transform_compressed(self, scores: np.ndarray, pca: WeightedGramPCA) -> np.ndarray:
        """Find spectra and loadings of data that are not in memory.

        Of the data only their leading principal axes are left, which hold what is not noise
        (Tepper and Sapiro, IEEE Trans. Signal Process. 64 (2016) 2269).

        Parameters
        ----------
        scores : float32 array of shape (n_pixels, n_axes)
            What `pca` made of the data.
        pca : WeightedGramPCA
            From `compressor`, fitted.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            In counts.
        """
        self._check()
        self.n_features_in_ = pca.n_features_in_
        components = pca.components_.astype(np.float32)
        rows = aslinearoperator(scores) @ aslinearoperator(components)
        self._feature_weights = pca.feature_weights_
        square = pca.total_variance_ * pca.n_samples_seen_
        data = self._scaled(rows, self._feature_weights, square)
        return self._fit(data, scores[:, : self.n_components])

    def transform(self, X) -> np.ndarray:
        """Loadings, the spectra being as fitted.

        Parameters
        ----------
        X : array or CSR of shape (n_pixels, n_features)
            Data, not negative.

        Returns
        -------
        float32 array of shape (n_pixels, n_components)
            In counts, with the penalties of the fit.
        """
        check_is_fitted(self, "components_")
        data = self._scaled(self._rows(X, reset=False), self._feature_weights)
        spectra = (self.components_ * self._feature_weights).T
        model = LeastSquares(data, spectra, self._penalties())
        model.prices[:] = self._prices
        model.fit_loadings()
        return self._in_counts(model.loadings, data)

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
        check_is_fitted(self, "components_")
        return X @ self.components_

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self):
        """Say that X may be sparse, and must not be negative."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _check(self) -> None:
        for name in ("n_components", "max_iter"):
            check_whole(self, name)
        check_choice(self, "scaling", ("poisson", None))
        check_number(self, "sparsity")
        check_number(self, "orthogonality", highest=1)
        check_choice(self, "ard", (True, False))
        check_number(self, "tol")

    def _rows(self, X, reset: bool):
        self._check()
        refuse_stacked(X)
        # NaN and infinities are told by sparse_or_dense.
        rows = validate_data(self, X, reset=reset, accept_sparse=FORMATS, ensure_all_finite=False)
        return sparse_or_dense(rows, counts=True)

    def _scaled(self, rows, feature_weights: np.ndarray, square: float | None = None) -> ScaledData:
        n_pixels, n_features = rows.shape
        weights = np.ones(n_pixels)
        if self.scaling is not None:
            weights = inverse_root(np.asarray(rows @ np.ones(n_features, np.float32), float))
        if square is None:
            square = _square(rows, weights, feature_weights)
        return ScaledData(rows, weights, feature_weights, square)

    def _penalties(self) -> Penalties:
        return Penalties(float(self.sparsity), float(self.orthogonality), bool(self.ard))

    def _fit(self, data: ScaledData, scores: np.ndarray) -> np.ndarray:
        """Iterate from the start, keep what was found, and return loadings in counts."""
        model = LeastSquares(data, self._start(data, scores), self._penalties())
        model.fit_loadings()
        for n_iter in range(1, self.max_iter + 1):
            self.n_iter_ = n_iter
            rests = model.update() < self.tol
            # What a split spectrum is split into may go on changing for long.
            looks = self.ard and (rests or n_iter % LOOK_EVERY == 0)
            sparer = model.sparer() if looks else None
            if sparer is not None:
                model = sparer
            elif rests:
                break
        else:
            if self.tol > 0:
                warn(
                    f"SparseNMF was still changing its spectra after {self.n_iter_} iterations. "
                    "Increase max_iter, or tol where that is good enough.",
                    ConvergenceWarning,
                )
        # As `transform` does.
        model.fit_loadings()
        self.noise_, self.reconstruction_err_ = float(model.noise), float(np.sqrt(model.residual))
        return self._kept(model, data)

    def _kept(self, model: LeastSquares, data: ScaledData) -> np.ndarray:
        """Keep the spectra, those with most counts first, and return loadings in counts."""
        spectra = _unscaled(model.spectra.T.astype(np.float64), data.column_weights)
        sums = spectra.sum(1, keepdims=True)
        self.components_ = spectra / np.where(sums > 0, sums, 1)
        loadings = self._in_counts(model.loadings, data)
        totals = loadings.sum(0, dtype=np.float64)
        order = np.arange(len(totals))
        if isinstance(self.init, str):
            order = np.argsort(-totals, kind="stable")
        if self.ard:
            order = order[totals[order] > 0]
        self.components_, self._prices = self.components_[order], model.prices[order]
        return loadings[:, order]

    def _start(self, data: ScaledData, scores: np.ndarray) -> np.ndarray:
        """Scaled spectra of shape (n_features, n_components)."""
        if isinstance(self.init, str):
            check_choice(self, "init", ("clusters", "axes"))
            if self.init == "axes":
                scores = data.row_weights[:, None] * scores
                return _parts_of_axes(_leading(data, scores), scores)
            clusters = SphericalKMeans(self.n_components, random_state=self.random_state)
            labels = clusters.fit(scores).labels_
            members = (labels[:, None] == np.arange(self.n_components)).astype(np.float32)
            return data.transposed_times(members)
        given = np.asarray(self.init)
        shape = (self.n_components, data.shape[1])
        if given.shape != shape or given.dtype.kind not in "biuf":
            raise ValueError(
                f"init is of shape {given.shape} and dtype {given.dtype}, and real numbers of "
                f"shape {shape} are needed."
            )
        if not (np.isfinite(given).all() and (given >= 0).all()):
            raise ValueError("init has spectra that are negative, NaN or infinite.")
        return given.T * data.column_weights[:, None]

    def _in_counts(self, loadings: np.ndarray, data: ScaledData) -> np.ndarray:
        """Loadings of spectra of sum 1, from those of spectra of unit norm in scaled data."""
        norms = np.linalg.norm(self.components_ * data.column_weights, axis=1)
        divisor = data.row_weights[:, None] * np.where(norms > 0, norms, 1)
        return (loadings / np.where(divisor > 0, divisor, np.inf)).astype(np.float32)


def _leading(data: ScaledData, scores: np.ndarray) -> np.ndarray:
    """Principal axes as columns, from the scores along them."""
    axes = data.transposed_times(scores)
    return axes / np.maximum(np.linalg.norm(axes, axis=0), np.finfo(np.float32).tiny)


def _parts_of_axes(axes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The part of each axis above or below zero that says more about the data."""
    spectra = np.empty_like(axes)
    for k, (axis, score) in enumerate(zip(axes.T, scores.T, strict=True)):
        sides = [(np.maximum(s * axis, 0), np.maximum(s * score, 0)) for s in (1, -1)]
        weights = [np.linalg.norm(one) * np.linalg.norm(other) for one, other in sides]
        spectra[:, k] = sides[int(np.argmax(weights))][0]
    return spectra


def _unscaled(spectra: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return spectra / np.where(weights > 0, weights, np.inf)


def _square(rows, row_weights: np.ndarray, column_weights: np.ndarray) -> float:
    """Sum of squares of scaled data, in pieces."""
    squares, total = np.square(column_weights), 0.0
    for first in range(0, rows.shape[0], _AT_ONCE):
        part = rows[first : first + _AT_ONCE]
        part = part.astype(np.float64).power(2) if sparse.issparse(part) else np.square(part)
        total += float(np.square(row_weights[first : first + _AT_ONCE]) @ (part @ squares))
    return total

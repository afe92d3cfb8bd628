# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Phases: pixels whose spectra point in the same direction, whatever the thickness."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.ndimage import gaussian_filter1d
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from emsparse_hs._warnings import warn

from ._checks import check_number, check_whole
from ._neighbours import as_scan

#: Pixels that the first clusters are found with; the others are assigned to them.
MOST_CLUSTERED = 20_000


def smooth_directions(scores, scan=None, width: float = 0.8) -> np.ndarray:
    """Directions of scores that are averaged over neighbours.

    Parameters
    ----------
    scores : array of shape (n_pixels, n_axes)
        Such as loadings of `WeightedGramPCA`.
    scan : tuple of int or bool array, optional
        Where the pixels are: the shape of a scan that has all of them, in C order, or an array
        of that shape that is True for those that are there. Without, there are no neighbours.
    width : float
        Standard deviation of a Gaussian, in px, along the last two axes of the scan.

    Returns
    -------
    float64 array of shape (n_pixels, n_axes)
        Unit vectors. Zero where scores are.
    """
    scores = np.asarray(scores, np.float64)
    if scan is not None and width > 0:
        keep = as_scan(scan, len(scores))
        placed = np.zeros((*keep.shape, scores.shape[1]))
        placed[keep] = scores
        for axis in range(max(keep.ndim - 2, 0), keep.ndim):
            placed = gaussian_filter1d(placed, width, axis, mode="constant", truncate=3)
        # A pixel without counts stays one, whatever its neighbours have.
        scores = np.where(scores.any(1, keepdims=True), placed[keep], 0)
    norms = np.linalg.norm(scores, axis=1, keepdims=True)
    return scores / np.where(norms > 0, norms, 1)


class SphericalKMeans(ClusterMixin, BaseEstimator):
    """Clusters of directions: k-means of unit vectors, by cosine.

    Each sample goes to the centre with which it has the highest cosine; a centre is the direction
    of its samples' sum (Dhillon and Modha, Mach. Learn. 42 (2001) 143). It starts from ordinary
    k-means of the unit vectors, of at most 20000 of them.

    Parameters
    ----------
    n_clusters : int
        Number of clusters.
    width : float
        Standard deviation, in px, of the Gaussian over which scores are averaged before, where
        `scan` is passed to `fit`.
    n_init : int
        Starts of the k-means; the best is taken.
    max_iter : int
        Most iterations.
    random_state : int, RandomState instance or None
        Of the starts.

    Attributes
    ----------
    cluster_centers_ : float64 array of shape (n_clusters, n_features)
        Unit vectors.
    labels_ : int32 array of shape (n_samples,)
        Cluster of each sample.
    n_iter_ : int
        Iterations after the ordinary k-means.
    n_features_in_ : int
        Number of features.

    Examples
    --------
    >>> import numpy as np
    >>> rays = np.random.default_rng(0).uniform(1, 9, (60, 1)) * np.repeat(np.eye(3), 20, axis=0)
    >>> labels = SphericalKMeans(3, random_state=0).fit_predict(rays)
    >>> np.unique(labels[:20]).size
    1
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        width: float = 0.8,
        n_init: int = 4,
        max_iter: int = 100,
        random_state=None,
    ) -> None:
        self.n_clusters = n_clusters
        self.width = width
        self.n_init = n_init
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X, y=None, sample_weight=None, *, scan=None) -> SphericalKMeans:
        """Find the clusters.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Such as loadings of `WeightedGramPCA`, of any length.
        y : None
            Not used.
        sample_weight : array of shape (n_samples,), optional
            How much each sample counts.
        scan : tuple of int or bool array, optional
            Where the samples are, as for `smooth_directions`.

        Returns
        -------
        SphericalKMeans
            Itself.

        Raises
        ------
        ValueError
            If there are fewer samples than clusters, weights are negative, or a parameter is out of
            its range.
        """
        for name in ("n_clusters", "n_init", "max_iter"):
            check_whole(self, name)
        check_number(self, "width")
        X = validate_data(self, X, dtype=np.float64)
        if self.n_clusters > len(X):
            raise ValueError(f"n_clusters={self.n_clusters}, and there are {len(X)} samples only.")
        weights = _check_sample_weight(sample_weight, X)
        if (weights < 0).any():
            raise ValueError("sample_weight has negative values. Use 0 for what is to be left out.")
        directions = smooth_directions(X, scan, self.width)
        self.cluster_centers_ = self._first_centers(directions, weights)
        self._iterate(directions, weights)
        return self

    def predict(self, X, *, scan=None) -> np.ndarray:
        """Cluster of each sample.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            As for `fit`.
        scan : tuple of int or bool array, optional
            Where the samples are.

        Returns
        -------
        int32 array of shape (n_samples,)
            From 0 on.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return self._nearest(smooth_directions(X, scan, self.width))

    def _first_centers(self, directions: np.ndarray, weights: np.ndarray) -> np.ndarray:
        random = check_random_state(self.random_state)
        some = np.arange(len(directions))
        if len(some) > MOST_CLUSTERED:
            some = np.sort(random.choice(some, MOST_CLUSTERED, replace=False))
        means = KMeans(self.n_clusters, n_init=self.n_init, random_state=random)
        with warnings.catch_warnings():
            # Fewer distinct points than clusters: some are empty then.
            warnings.simplefilter("ignore", ConvergenceWarning)
            means.fit(directions[some], sample_weight=weights[some])
        return _unit(means.cluster_centers_)

    def _iterate(self, directions: np.ndarray, weights: np.ndarray) -> None:
        """Until no sample changes its cluster."""
        self.labels_ = self._nearest(directions)
        for n_iter in range(1, self.max_iter + 1):
            self.n_iter_ = n_iter
            sums = np.zeros_like(self.cluster_centers_)
            np.add.at(sums, self.labels_, weights[:, None] * directions)
            some = sums.any(1)
            self.cluster_centers_[some] = _unit(sums[some])
            before, self.labels_ = self.labels_, self._nearest(directions)
            if (before == self.labels_).all():
                return
        warn(
            f"Samples were still changing their cluster after {self.n_iter_} iterations. Increase "
            "max_iter.",
            ConvergenceWarning,
        )

    def _nearest(self, directions: np.ndarray) -> np.ndarray:
        return (directions @ self.cluster_centers_.T).argmax(1).astype(np.int32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norms > 0, norms, 1)

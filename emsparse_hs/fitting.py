# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How an estimator with scikit-learn's contract is fitted to a signal's blocks."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from emsparse_hs.blocks import Blocks


class Fit(NamedTuple):
    """What an estimator made of the blocks.

    Attributes
    ----------
    components : array of shape (n_components, n_features)
        Spectra or patterns, of kept features.
    loadings : array of shape navigation_shape + (n_components,)
        How much of each there is in each pixel, NaN where masked.
    estimator : object
        The fitted estimator.
    """

    components: np.ndarray
    loadings: np.ndarray
    estimator: Any


def fit_blocks(
    estimator,
    blocks: Blocks,
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> Fit:
    """Fit a copy of an estimator to blocks, each of which is read as seldom as it allows.

    An estimator that says by a method ``convert_block`` in which form it keeps a block, as
    `PoissonNMF` does with sparse counts, gets all of them in that form: one reading. One with
    ``partial_fit`` sees one block after the other: two readings and one block in memory. Any
    other gets all data at once.

    Parameters
    ----------
    estimator : object
        With ``fit_transform`` or ``partial_fit``, ``transform`` and ``components_``. It is
        cloned, never changed.
    blocks : Blocks
        The data.
    show_progressbar, num_workers
        As in HyperSpy.

    Returns
    -------
    Fit
        If the estimator subtracts a mean spectrum (``mean_``, as PCA does), that is the last
        component, with loadings of 1: HyperSpy has no other place for it, and the model is exact.

    Raises
    ------
    TypeError
        If the estimator does not keep to the contract.
    """
    from sklearn.base import clone

    _check_contract(estimator)
    estimator = clone(estimator)
    how: dict[str, Any] = {"show_progressbar": show_progressbar, "num_workers": num_workers}
    if hasattr(estimator, "convert_block"):
        held = list(blocks.hold(estimator.convert_block, **how))
        loadings = blocks.place(estimator.fit_transform(estimator.stack_blocks(held)))
    elif hasattr(estimator, "partial_fit"):
        for rows in blocks:
            estimator.partial_fit(rows)
        loadings = _transformed(blocks, estimator, how)
    else:
        if len(blocks) > 1:
            warnings.warn(
                f"{type(estimator).__name__} has no partial_fit, so all data are loaded at once.",
                stacklevel=3,
            )
        loadings = blocks.place(estimator.fit_transform(np.concatenate(list(blocks))))
    return _with_mean(estimator, loadings)


def _check_contract(estimator) -> None:
    missing = [name for name in ("get_params", "transform") if not hasattr(estimator, name)]
    if not (hasattr(estimator, "partial_fit") or hasattr(estimator, "fit_transform")):
        missing.append("fit_transform or partial_fit")
    if missing or isinstance(estimator, type):
        raise TypeError(
            f"{estimator!r} can't be used as a decomposition: it needs scikit-learn's contract "
            f"and lacks {', '.join(missing) or 'an instance (call the class)'}. Pass an estimator "
            "such as sklearn.decomposition.MiniBatchNMF(4) or emsparse_hs.PoissonNMF(4)."
        )


def _transformed(blocks: Blocks, estimator, how: dict) -> np.ndarray:
    components = _components(estimator)
    dtype = components.dtype if components.dtype.kind == "f" else np.float64
    return blocks.map(_transform, estimator, output_shape=(len(components),), dtype=dtype, **how)


def _transform(rows: np.ndarray, estimator) -> np.ndarray:
    return estimator.transform(rows)


def _components(estimator) -> np.ndarray:
    components = getattr(estimator, "components_", None)
    if components is None:
        raise TypeError(
            f"{type(estimator).__name__} has no components_ after the fit, so it is no "
            "decomposition. Clusterings belong to s.cluster_analysis."
        )
    return np.asarray(components)


def _with_mean(estimator, loadings: np.ndarray) -> Fit:
    components = _components(estimator)
    mean = getattr(estimator, "mean_", None)
    if mean is not None:
        components = np.vstack([components, mean])
        ones = np.where(np.isnan(loadings[..., :1]), np.nan, 1).astype(loadings.dtype)
        loadings = np.concatenate([loadings, ones], axis=-1)
    return Fit(components, loadings, estimator)

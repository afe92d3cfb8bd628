# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The estimator that the arguments of a method ask for."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np

#: Algorithms that go by name.
ALGORITHMS = ("PoissonNMF", "SparseNMF", "WeightedGramPCA")


def estimator_of(algorithm, output_dimension: int | str | None, kwargs: dict):
    """The estimator of that name, or the given one with that number of components."""
    if isinstance(algorithm, str):
        return _estimator_by_name(algorithm, output_dimension, kwargs)
    if kwargs:
        raise TypeError(
            f"The arguments {sorted(kwargs)} are for an algorithm that is given by name. Give "
            "them to the estimator itself."
        )
    from sklearn.base import clone

    from emsparse_hs.fitting import check_contract

    check_contract(algorithm)
    if output_dimension is None:
        return algorithm

    return clone(algorithm).set_params(n_components=output_dimension)


def _estimator_by_name(name: str, output_dimension: int | str | None, kwargs: dict):
    if name not in ALGORITHMS:
        raise ValueError(
            f"No algorithm is called {name!r} here. Use one of {ALGORITHMS} or an "
            "estimator, such as sklearn.decomposition.MiniBatchNMF(4); HyperSpy's own are at "
            "s.decomposition."
        )
    if output_dimension is None:
        raise ValueError(
            "Say how many components there are: output_dimension=3, for instance, or 'auto' to "
            "have the number chosen by counts that are set aside."
        )
    whole = isinstance(output_dimension, numbers.Integral) and not isinstance(
        output_dimension, bool
    )
    if not whole and output_dimension != "auto":
        raise ValueError(
            f"output_dimension={output_dimension!r} is not known. Say a whole number, or 'auto' in "
            "small letters to have it chosen by counts that are set aside."
        )
    if output_dimension == "auto" and name != "PoissonNMF":
        raise ValueError(
            f"{name} can't choose the number of components. Say it, or see what "
            "s.emsparse.select_n_components finds."
        )
    from emsparse_hs import decomposition

    return getattr(decomposition, name)(output_dimension, **kwargs)


def without_masked(estimator, blocks):
    """An estimator whose known and first spectra are of the channels that are used.

    Parameters
    ----------
    estimator : object
        As the user gave it; never changed. `PoissonNMF` and `SparseNMF` have such spectra.
    blocks : Blocks
        They know the masks.

    Returns
    -------
    object
        A clone, if there is anything to leave out.

    Raises
    ------
    ValueError
        If spectra are not of all channels, or abundances not of all pixels.
    """
    from sklearn.base import clone

    from emsparse_hs.decomposition import PoissonNMF, SparseNMF

    if not isinstance(estimator, PoissonNMF | SparseNMF):
        return estimator
    cut: dict[str, Any] = {}
    for name in ("known_components", "init"):
        value = getattr(estimator, name, None)
        if isinstance(value, tuple) and len(value) == 2:
            maps = _kept(_components_first(value[0]), blocks.navigation_keep, name, "pixels")
            cut[name] = maps.T, _kept(value[1], blocks.signal_keep, name, "channels")
        elif value is not None and not isinstance(value, str):
            cut[name] = _kept(value, blocks.signal_keep, name, "channels")
    return clone(estimator).set_params(**cut) if cut else estimator


def _components_first(maps) -> np.ndarray:
    """Abundances as signals have them; arrays have components last."""
    if hasattr(maps, "axes_manager"):
        return maps.data
    maps = np.asarray(maps)
    return maps.reshape(-1, maps.shape[-1]).T


def _kept(values, keep: np.ndarray, name: str, what: str) -> np.ndarray:
    """What masks leave of spectra or maps, one a row."""
    values = np.asarray(getattr(values, "data", values))
    rows = values.reshape(-1, keep.size) if values.size % keep.size == 0 else values
    if rows.ndim != 2 or rows.shape[1] != keep.size:
        raise ValueError(
            f"{name} has an array of shape {values.shape}, and values of all {keep.size} {what} "
            "are needed, those that are masked as well."
        )
    return rows[:, keep.ravel()]


def check_rank(estimator, blocks) -> None:
    """Refuse more components than pixels or channels."""
    n_components = getattr(estimator, "n_components", None)
    if n_components is None:
        return
    rank = min(blocks.n_pixels, blocks.n_features)
    if isinstance(n_components, (int, np.integer)) and not 1 <= n_components <= rank:
        raise ValueError(
            f"{n_components} components can't be had: {blocks.n_pixels} pixels of "
            f"{blocks.n_features} channels allow 1 to {rank}. Change output_dimension."
        )

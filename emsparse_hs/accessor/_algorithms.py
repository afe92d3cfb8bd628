# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The estimator that the arguments of a method ask for."""

from __future__ import annotations

import numbers

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


def without_masked_channels(kwargs: dict, blocks) -> dict:
    """The arguments, with known spectra of the channels that are used."""
    known = kwargs.get("known_components")
    if known is None:
        return kwargs
    known = np.asarray(getattr(known, "data", known))
    keep = blocks.signal_keep.ravel()
    known = known.reshape(-1, keep.size) if known.size % keep.size == 0 else known
    if known.ndim != 2 or known.shape[1] != keep.size:
        raise ValueError(
            f"known_components are of shape {known.shape}, and spectra of all {keep.size} channels "
            "are needed, one a row."
        )
    return {**kwargs, "known_components": known[:, keep]}


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

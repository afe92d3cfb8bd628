# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The estimator that the arguments of a method ask for."""

from __future__ import annotations

import inspect
import numbers
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

    from emsparse_hs.blocks import Blocks

#: Algorithms that go by name.
ALGORITHMS = ("PoissonNMF", "SparseNMF", "WeightedGramPCA")

#: What to do where an algorithm can't choose the number of components.
_ADVICE = {
    "SparseNMF": "Say the most there may be, and ard=True to have those left out that explain no "
    "more than noise: output_dimension=6, ard=True, for instance.",
    "WeightedGramPCA": "Say it; for counts s.emsparse.select_n_components() finds one.",
}


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
    from emsparse_hs import decomposition

    estimator = getattr(decomposition, name)
    check_arguments(estimator, kwargs, "output_dimension")
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
        raise ValueError(f"{name} can't choose the number of components. {_ADVICE[name]}")
    return estimator(output_dimension, **kwargs)


def check_arguments(estimator: type, kwargs: dict, number: str) -> None:
    """Refuse arguments that an estimator does not have.

    Parameters
    ----------
    estimator : type
        Of scikit-learn's contract.
    kwargs : dict
        As the user gave them.
    number : str
        The argument that the number of components is.

    Raises
    ------
    TypeError
        If there are such ones.
    """
    if "n_components" in kwargs:
        raise TypeError(f"The number of components is given as {number} here, not n_components.")
    known = [name for name in inspect.signature(estimator).parameters if name != "n_components"]
    unknown = ", ".join(name for name in kwargs if name not in known)
    if unknown:
        raise TypeError(f"{estimator.__name__} has no {unknown}; it takes {', '.join(known)}.")


def without_masked(estimator, signal: BaseSignal, blocks: Blocks):
    """An estimator whose known and first spectra are of the channels that are used.

    Parameters
    ----------
    estimator : object
        As the user gave it; never changed. `PoissonNMF` and `SparseNMF` have such spectra.
    signal : BaseSignal
        What is decomposed.
    blocks : Blocks
        They know the masks.

    Returns
    -------
    object
        A clone, if there is anything to leave out.

    Raises
    ------
    ValueError
        If spectra are not of all channels, or on another axis, or abundances not of all pixels.
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
            _check_axes(value[1], signal, name)
            cut[name] = maps.T, _kept(value[1], blocks.signal_keep, name, "channels")
        elif value is not None and not isinstance(value, str):
            _check_axes(value, signal, name)
            cut[name] = _kept(value, blocks.signal_keep, name, "channels")
    return clone(estimator).set_params(**cut) if cut else estimator


def _components_first(maps) -> np.ndarray:
    """Abundances as signals have them; arrays have components last."""
    if hasattr(maps, "axes_manager"):
        return maps.data
    maps = np.asarray(maps)
    return maps.reshape(-1, maps.shape[-1]).T


def _check_axes(values, signal: BaseSignal, name: str) -> None:
    """Refuse spectra whose channels are elsewhere, by more than half a channel."""
    if not hasattr(values, "axes_manager"):
        return
    pairs = zip(signal.axes_manager.signal_axes, values.axes_manager.signal_axes, strict=False)
    for own, other in pairs:
        # Nobody has calibrated it, and a number of channels is told elsewhere.
        plain = not _named(other.units) and np.array_equal(other.axis, np.arange(other.size))
        if plain or own.size != other.size or own.size < 2:
            continue
        units = {_named(axis.units) for axis in (own, other)} - {""}
        apart = np.abs(own.axis - other.axis).max()
        if len(units) > 1 or apart > 0.5 * np.abs(np.diff(own.axis)).min():
            raise ValueError(
                f"The spectra in {name} are on another axis: {_span(other)}, and data {_span(own)}."
                " Bring them to the channels of the data, with interpolate_on_axis for instance."
            )


def _named(units) -> str:
    """Empty where HyperSpy says they are undefined."""
    return "" if str(units) == "<undefined>" else str(units)


def _span(axis) -> str:
    return f"from {axis.low_value:.6g} to {axis.high_value:.6g} {_named(axis.units)}".strip()


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

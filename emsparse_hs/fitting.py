# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How an estimator with scikit-learn's contract is fitted to a signal's blocks."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Iterator
from copy import copy
from typing import Any, NamedTuple

import dask
import numpy as np
from hyperspy.external.progressbar import progressbar

from emsparse_hs._computing import free_memory, is_shown
from emsparse_hs._warnings import warn
from emsparse_hs.blocks import Blocks

#: Data up to so many bytes in float64 are fitted at once, as if they had come in one piece.
AT_ONCE = 2**29
#: Data that take more than this part of the free memory are kept in files, in whatever form.
PART_OF_FREE = 0.5


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
    n_passes: int = 1,
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> Fit:
    """Fit a copy of an estimator to blocks, each of which is read as seldom as it allows.

    An estimator that says by a method ``convert_block`` in which form it keeps a block, and by
    ``stack_blocks`` how those are joined, as `PoissonNMF` does with sparse counts, gets all of
    them in that form: one reading. If its ``fit_transform`` takes ``scan``, it learns where the
    pixels are. Any other gets data of up to half a gigabyte at once. Of more data, one that says
    by ``compressor`` how they are reduced, as `SparseNMF` does, gets what is left by
    ``fit_transform_compressed``: two readings. Otherwise they go block by block into
    ``partial_fit``, if there is one, and at once if not; side by side if the estimator can
    ``merge`` another one's sums into its own, as `WeightedGramPCA` can. What is fitted at once does
    not depend on chunks.

    Parameters
    ----------
    estimator : object
        With ``fit_transform`` or ``partial_fit``, ``transform`` and ``components_``. It is
        cloned, never changed.
    blocks : Blocks
        The data.
    n_passes : int
        How often ``partial_fit`` sees the data, where they go block by block. One is enough for
        `IncrementalPCA`; `MiniBatchNMF` takes one step a block, and wants many.
    show_progressbar, num_workers
        As in HyperSpy.

    Returns
    -------
    Fit
        If the estimator subtracts a mean spectrum (``mean_``, as PCA does), that is the last
        component, with loadings of 1: HyperSpy has no other place for it, and so the model is
        loadings times components.

    Raises
    ------
    TypeError
        If the estimator does not keep to the contract.
    ValueError
        If its model is not loadings times components, as with whitening.
    """
    from sklearn.base import clone

    check_contract(estimator)
    estimator = clone(estimator)
    how: dict[str, Any] = {"show_progressbar": show_progressbar, "num_workers": num_workers}
    size = 8 * blocks.n_pixels * blocks.n_features
    if hasattr(estimator, "convert_block"):
        rows = held_rows(estimator, blocks, **how)
        loadings = blocks.place(_fit_where_they_are(estimator, rows, blocks))
    elif size > AT_ONCE and hasattr(estimator, "compressor"):
        compressor = estimator.compressor(min(blocks.n_pixels, blocks.n_features))
        pca = learn(compressor, blocks, **how)
        scores = transformed(blocks, pca, how)[blocks.navigation_keep]
        loadings = blocks.place(estimator.fit_transform_compressed(scores, pca))
    elif hasattr(estimator, "partial_fit") and (
        size > AT_ONCE or not hasattr(estimator, "fit_transform")
    ):
        estimator = learn(estimator, blocks, n_passes, show_progressbar, num_workers)
        loadings = transformed(blocks, estimator, how)
    else:
        if size > AT_ONCE:
            _warn_of_memory(estimator, size)
        rows = np.concatenate(list(blocks))[blocks.scan_order]
        loadings = blocks.place(estimator.fit_transform(rows))
    return _with_mean(estimator, loadings)


def held_rows(estimator, blocks: Blocks, **how) -> Any:
    """All blocks in the form in which an estimator keeps them, joined in the order of the scan.

    Parameters
    ----------
    estimator : object
        With ``convert_block(rows)``, and ``stack_blocks(blocks, order, folder)``, whose row number
        i is the row number ``order[i]`` of all blocks. If the data take more than half of the
        memory that is free, there is a folder, to keep in files there what comes one by one.
    blocks : Blocks
        The data.
    **how
        As for `Blocks.hold`.

    Returns
    -------
    object
        One row a kept pixel.
    """
    size = blocks.n_pixels * blocks.n_features * np.dtype(blocks.dtype).itemsize
    if size <= PART_OF_FREE * free_memory():
        held = blocks.hold(estimator.convert_block, **how)
        return estimator.stack_blocks(list(held), blocks.scan_order, None)
    folder = dask.config.get("temporary-directory", None) or tempfile.gettempdir()
    return estimator.stack_blocks(_converted(blocks, estimator, how), blocks.scan_order, folder)


def _converted(blocks: Blocks, estimator, how: dict[str, Any]) -> Iterator[Any]:
    """One block after the other as an estimator keeps it, nothing of those before in memory."""
    shown = is_shown(how["show_progressbar"])
    for rows in progressbar(blocks, total=len(blocks), disable=not shown):
        yield estimator.convert_block(rows)


def check_contract(estimator) -> None:
    """Check that an object can be used as a decomposition.

    Parameters
    ----------
    estimator : object
        To be checked.

    Raises
    ------
    TypeError
        If it is a class, or lacks a method that is needed.
    """
    missing = [name for name in ("get_params", "transform") if not hasattr(estimator, name)]
    if not (hasattr(estimator, "partial_fit") or hasattr(estimator, "fit_transform")):
        missing.append("fit_transform or partial_fit")
    if missing or isinstance(estimator, type):
        raise TypeError(
            f"{estimator!r} can't be used as a decomposition: it needs scikit-learn's contract "
            f"and lacks {', '.join(missing) or 'an instance (call the class)'}. Pass an estimator "
            "such as sklearn.decomposition.MiniBatchNMF(4) or emsparse_hs.PoissonNMF(4)."
        )


def _fit_where_they_are(estimator, rows, blocks: Blocks) -> np.ndarray:
    """Tell an estimator that asks for it where in the scan the rows are."""
    if "scan" in inspect.signature(estimator.fit_transform).parameters:
        return estimator.fit_transform(rows, scan=blocks.navigation_keep)
    return estimator.fit_transform(rows)


def _warn_of_memory(estimator, size: int) -> None:
    warn(
        f"{type(estimator).__name__} has no partial_fit, so all data are loaded at once: "
        f"{size / 2**30:.1f} GiB. Take an estimator that has one to go block by block.",
    )


def learn(
    estimator,
    blocks: Blocks,
    n_passes: int = 1,
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
) -> Any:
    """Give an estimator all blocks, one after the other, or side by side if it can `merge`.

    Parameters
    ----------
    estimator : object
        With ``partial_fit``.
    blocks : Blocks
        The data.
    n_passes : int
        How often it sees them, if it can't merge.
    show_progressbar, num_workers
        As in HyperSpy.

    Returns
    -------
    object
        The fitted estimator; the given one, unless it can merge.
    """
    if hasattr(estimator, "merge"):
        return blocks.reduce(
            _fitted,
            _merged,
            estimator,
            show_progressbar=show_progressbar,
            num_workers=num_workers,
        )
    shown = is_shown(show_progressbar)
    with progressbar(total=n_passes * len(blocks), desc="Learn", disable=not shown) as bar:
        for _ in range(n_passes):
            for n_blocks, rows in _of_enough_rows(blocks, estimator):
                estimator.partial_fit(rows)
                bar.update(n_blocks)
    return estimator


def _fitted(rows: np.ndarray, estimator) -> Any:
    from sklearn.base import clone

    return clone(estimator).partial_fit(rows)


def _merged(one, other) -> Any:
    return copy(one).merge(other)


def _of_enough_rows(blocks: Blocks, estimator) -> Iterator[tuple[int, np.ndarray]]:
    """Blocks joined until each has as many rows as a first `partial_fit` may need."""
    n_components = getattr(estimator, "n_components", None)
    enough = n_components if isinstance(n_components, int | np.integer) else 1
    waiting: list[np.ndarray] = []
    left = blocks.n_pixels
    for rows in blocks:
        waiting.append(rows)
        n_rows = sum(map(len, waiting))
        # Too few must not be left over for the end.
        if n_rows >= enough and (left - n_rows >= enough or left == n_rows):
            yield len(waiting), waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
            left -= n_rows
            waiting = []


def transformed(blocks: Blocks, estimator, how: dict) -> np.ndarray:
    """Loadings of each pixel of the scan, as a fitted estimator says; NaN where masked."""
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
    some = loadings[~np.isnan(loadings[..., 0])][:100]
    if mean is not None:
        components = np.vstack([components, mean])
        ones = np.where(np.isnan(loadings[..., :1]), np.nan, 1).astype(loadings.dtype)
        loadings = np.concatenate([loadings, ones], axis=-1)
    model = loadings[~np.isnan(loadings[..., 0])][:100] @ components
    _check_model(estimator, some, model)
    return Fit(components, loadings, estimator)


def _check_model(estimator, some: np.ndarray, model: np.ndarray) -> None:
    """Compare HyperSpy's model of some pixels with the estimator's own."""
    if not hasattr(estimator, "inverse_transform"):
        return
    own = np.asarray(estimator.inverse_transform(some))
    if np.linalg.norm(model - own) > 1e-3 * np.linalg.norm(own):
        raise ValueError(
            f"The model of {estimator!r} is not loadings times components_, which is what "
            "HyperSpy makes of them. Switch whitening off, or take another estimator."
        )

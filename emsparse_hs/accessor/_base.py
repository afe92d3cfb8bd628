# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for every signal, and what it says about methods of other signals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

    from emsparse_hs.decomposition import ComponentSelection


class SignalMethods:
    """Methods that apply to any signal with navigation axes."""

    #: What the class is for, as said in errors.
    _kind = "any signal"
    #: How a signal of that kind is made of a generic one, as said in errors.
    _made_by = ""

    def __init__(self, signal: BaseSignal) -> None:
        self._signal = signal

    def __repr__(self) -> str:
        """List the methods that apply, so that a look at ``s.emsparse`` helps."""
        names = [name for name in dir(self) if not name.startswith("_")]
        return f"<emsparse methods for {self._kind}: {', '.join(names)}>"

    def decomposition(
        self,
        algorithm: str | Any = "PoissonNMF",
        output_dimension: int | str | None = None,
        *,
        navigation_mask=None,
        signal_mask=None,
        n_passes: int = 1,
        return_info: bool = False,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        **kwargs,
    ) -> Any:
        """Factorise the signal into few spectra or patterns and as many maps.

        The results are in ``s.learning_results``, so that `plot_decomposition_results`,
        `get_decomposition_model`, `blind_source_separation`, `cluster_analysis` and saving go on
        as after HyperSpy's own `decomposition`. In contrast to that, integers are taken as they
        are, maps come out in order with any chunking and any mask, and the data are never changed.

        Parameters
        ----------
        algorithm : str or estimator
            ``"PoissonNMF"``, for counts (see `emsparse_hs.PoissonNMF`), or any estimator with
            scikit-learn's contract and ``components_``. It is cloned, never changed.
        output_dimension : int or "auto", optional
            Number of components. As the estimator says, if one is given. With ``"auto"``
            `PoissonNMF` takes as many as `select_n_components` finds.
        navigation_mask : BaseSignal or bool array, optional
            True where pixels are left out; an array has HyperSpy's ``navigation_shape`` (x, y).
        signal_mask : BaseSignal or bool array, optional
            True where channels are left out.
        n_passes : int
            How often an estimator that takes one block after the other sees the data: more than
            half a gigabyte in float64, and only if it has ``partial_fit``. `MiniBatchNMF` wants
            some ten passes, `IncrementalPCA` one.
        return_info : bool
            Whether to return the fitted estimator, as in HyperSpy.
        show_progressbar, num_workers
            As in HyperSpy.
        **kwargs
            For the algorithm, where it is given by name. `known_components` may be a signal, and
            has all channels, masked ones as well.

        Returns
        -------
        estimator or None
            The fitted estimator if `return_info`.

        Raises
        ------
        ValueError
            If the algorithm is not known, the number of components is missing or not between 1
            and the rank, counts are negative or NaN (`PoissonNMF`), a mask does not fit or leaves
            nothing, there are no navigation axes, or the estimator's model is not loadings times
            components, as with whitening.
        TypeError
            If the data are complex or ragged, or the estimator lacks the contract.
        """
        from emsparse_hs.blocks import Blocks
        from emsparse_hs.fitting import fit_blocks
        from emsparse_hs.learning_results import write_learning_results

        blocks = Blocks.of(self._signal, navigation_mask, signal_mask)
        kwargs = _without_masked_channels(kwargs, blocks)
        estimator = _estimator(algorithm, output_dimension, kwargs)
        _check_rank(estimator, blocks)
        fit = fit_blocks(estimator, blocks, n_passes, show_progressbar, num_workers)
        write_learning_results(self._signal, fit, blocks)
        return fit.estimator if return_info else None

    def select_n_components(
        self,
        candidates: Iterable[int] = range(1, 9),
        *,
        navigation_mask=None,
        signal_mask=None,
        share: float = 0.7,
        random_state=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
        **kwargs,
    ) -> ComponentSelection:
        """Choose the number of components by counts that are set aside.

        Each count goes to one of two parts at random. `PoissonNMF` is fitted to one of them with
        each number of components, and scores by how well it predicts the other one. Nothing of the
        signal changes. See `emsparse_hs.plotting.plot_n_components` for a figure of the result.

        Parameters
        ----------
        candidates : iterable of int
            Numbers of components to compare.
        navigation_mask, signal_mask
            As for `decomposition`.
        share : float
            Part of the counts that models are fitted to.
        random_state : int, RandomState instance or None
            Of the choice of counts, and of the starts of the fits.
        show_progressbar, num_workers
            As in HyperSpy, for reading the data.
        **kwargs
            For `PoissonNMF`, such as ``spatial=0``.

        Returns
        -------
        ComponentSelection
            The number as ``n_components``, and the evidence for it.

        Raises
        ------
        ValueError
            If counts are not whole numbers, or as for `decomposition`.
        """
        from emsparse_hs.blocks import Blocks
        from emsparse_hs.decomposition import PoissonNMF, select_n_components
        from emsparse_hs.fitting import held_rows

        if "n_components" in kwargs:
            raise TypeError("The numbers of components to compare are given as candidates.")
        blocks = Blocks.of(self._signal, navigation_mask, signal_mask)
        estimator = PoissonNMF(**_without_masked_channels(kwargs, blocks))
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        return select_n_components(
            held_rows(estimator, blocks, **how),
            candidates,
            estimator=estimator,
            scan=blocks.navigation_keep,
            share=share,
            random_state=random_state,
        )

    def cluster_analysis(self, cluster_source="decomposition", **kwargs) -> Any:
        """Cluster as HyperSpy does, with the largest cluster first.

        HyperSpy 2.5 documents that order and mixes it up from three clusters on.

        Parameters
        ----------
        cluster_source : str or BaseSignal
            ``"decomposition"``, ``"bss"``, ``"signal"`` or a signal.
        **kwargs
            As for HyperSpy's own `cluster_analysis`, such as ``n_clusters=3``. Pixels that a
            decomposition left out are left out here too, if nothing else is said.

        Returns
        -------
        object or None
            As from HyperSpy's own: the clustering object if ``return_info=True``.
        """
        from emsparse_hs.learning_results import order_clusters

        if isinstance(cluster_source, str) and cluster_source in ("decomposition", "bss"):
            kwargs.setdefault("navigation_mask", self._signal.learning_results.navigation_mask)
        info = self._signal.cluster_analysis(cluster_source=cluster_source, **kwargs)
        order_clusters(self._signal)
        return info

    def plot_components(self, **kwargs) -> Any:
        """Plot each component's map beside its spectrum or pattern.

        Parameters
        ----------
        **kwargs
            As for `emsparse_hs.plotting.plot_components`.

        Returns
        -------
        Figure
            After a decomposition.
        """
        from emsparse_hs.plotting import plot_components

        return plot_components(self._signal, **kwargs)

    def __getattr__(self, name: str):
        """Say for which signals a method exists that this signal does not have."""
        from emsparse_hs.accessor import _methods_class, classes_with

        message = f"s.emsparse has no method {name!r}."
        if not name.startswith("_"):
            for other in map(_methods_class, classes_with(name)):
                message = (
                    f"{name!r} is for {other._kind}, and this is {self._signal!r}. {other._made_by}"
                )
        raise AttributeError(message)


def frame_shape(signal: BaseSignal) -> tuple[int, int]:
    """Height and width of a frame or pattern in px.

    Parameters
    ----------
    signal : BaseSignal
        Of two signal axes.

    Returns
    -------
    tuple of int
        In the order of the array.

    Raises
    ------
    ValueError
        If the signal has another number of signal axes.
    """
    shape = signal.axes_manager._signal_shape_in_array
    if len(shape) != 2:
        raise ValueError(
            f"{signal!r} has {len(shape)} signal axes, and patterns have two. Set them with "
            "s.transpose(signal_axes=2)."
        )
    return shape


def _estimator(algorithm, output_dimension: int | str | None, kwargs: dict):
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
    if name != "PoissonNMF":
        raise ValueError(
            f"No algorithm is called {name!r} here. Use 'PoissonNMF' or an estimator, such as "
            "sklearn.decomposition.MiniBatchNMF(4); HyperSpy's own are at s.decomposition."
        )
    if output_dimension is None:
        raise ValueError(
            "Say how many components there are: output_dimension=3, for instance, or 'auto' to "
            "have the number chosen by counts that are set aside."
        )
    from emsparse_hs.decomposition import PoissonNMF

    return PoissonNMF(output_dimension, **kwargs)


def _without_masked_channels(kwargs: dict, blocks) -> dict:
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


def _check_rank(estimator, blocks) -> None:
    n_components = getattr(estimator, "n_components", None)
    if n_components is None:
        return
    rank = min(blocks.n_pixels, blocks.n_features)
    if isinstance(n_components, (int, np.integer)) and not 1 <= n_components <= rank:
        raise ValueError(
            f"{n_components} components can't be had: {blocks.n_pixels} pixels of "
            f"{blocks.n_features} channels allow 1 to {rank}. Change output_dimension."
        )

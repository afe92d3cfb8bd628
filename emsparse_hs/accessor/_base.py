# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What ``s.emsparse`` offers for every signal, and what it says about methods of other signals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from emsparse_hs.accessor._components import ComponentMethods

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal

    from emsparse_hs.decomposition import ComponentSelection


class SignalMethods(ComponentMethods):
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
            ``"PoissonNMF"``, for counts; ``"SparseNMF"``, for EELS and other dense data;
            ``"WeightedGramPCA"`` (see `emsparse_hs.decomposition`); or any estimator with
            scikit-learn's contract and ``components_``. It is cloned, never changed.
        output_dimension : int or "auto", optional
            Number of components. As the estimator says, if one is given. With ``"auto"``
            `PoissonNMF` takes as many as `select_n_components` finds.
        navigation_mask : BaseSignal or bool array, optional
            True where pixels are left out; an array has HyperSpy's ``navigation_shape`` (x, y).
        signal_mask : BaseSignal or bool array, optional
            True where channels are left out, and factors are NaN. By default the zero peak of EDS
            maps is left out (below 0.12 keV), and factors are 0 there.
        n_passes : int
            How often an estimator that takes one block after the other sees the data: more than
            half a gigabyte in float64, and only if it has ``partial_fit``. `MiniBatchNMF` wants
            some ten passes, `IncrementalPCA` one.
        return_info : bool
            Whether to return the fitted estimator, as in HyperSpy.
        show_progressbar, num_workers
            As in HyperSpy.
        **kwargs
            For the algorithm, where it is given by name. `known_components` and `init`, also of an
            estimator that is given, may be signals, and have all channels (abundances all pixels),
            masked ones as well.

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
            If the data are complex or ragged, the estimator lacks the contract, or there are
            arguments that it does not have.
        """
        from emsparse_hs.accessor._algorithms import (
            check_rank,
            estimator_of,
            without_masked,
        )
        from emsparse_hs.accessor._zero_peak import without_zero_peak
        from emsparse_hs.blocks import Blocks
        from emsparse_hs.fitting import fit_blocks
        from emsparse_hs.learning_results import write_learning_results

        mask = without_zero_peak(self._signal, signal_mask)
        blocks = Blocks.of(self._signal, navigation_mask, mask)
        estimator = estimator_of(algorithm, output_dimension, kwargs)
        estimator = without_masked(estimator, self._signal, blocks)
        check_rank(estimator, blocks)
        fit = fit_blocks(estimator, blocks, n_passes, show_progressbar, num_workers)
        left_out = np.nan if signal_mask is not None else 0.0
        write_learning_results(self._signal, fit, blocks, left_out)
        return fit.estimator if return_info else None

    def select_n_components(
        self,
        candidates: Iterable[int] | None = None,
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
        candidates : iterable of int, optional
            Numbers of components to compare. By default 1 to 8, or as many from that of
            `known_components` on, as far as the data allow.
        navigation_mask, signal_mask
            As for `decomposition`.
        share : float
            Part of the counts that models are fitted to.
        random_state : int, RandomState instance or None
            Of the choice of counts, and of the starts of the fits.
        show_progressbar, num_workers
            As in HyperSpy, for reading the data; a second bar is of the numbers.
        **kwargs
            For `PoissonNMF`, such as ``spatial=0``.

        Returns
        -------
        ComponentSelection
            The number as ``n_components``, and the evidence for it.

        Raises
        ------
        ValueError
            If counts are not whole numbers, not all candidates are possible, or as for
            `decomposition`.
        """
        from hyperspy.external.progressbar import progressbar

        from emsparse_hs._computing import is_shown
        from emsparse_hs.accessor._algorithms import check_arguments, without_masked
        from emsparse_hs.accessor._zero_peak import without_zero_peak
        from emsparse_hs.blocks import Blocks
        from emsparse_hs.decomposition import PoissonNMF, select_n_components
        from emsparse_hs.decomposition.selection import as_candidates
        from emsparse_hs.fitting import held_rows

        check_arguments(PoissonNMF, kwargs, "candidates")
        numbers = None if candidates is None else as_candidates(candidates)
        signal_mask = without_zero_peak(self._signal, signal_mask)
        blocks = Blocks.of(self._signal, navigation_mask, signal_mask)
        estimator = without_masked(PoissonNMF(**kwargs), self._signal, blocks)
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        counts = held_rows(estimator, blocks, **how)
        shown = is_shown(show_progressbar)
        total = None if numbers is None else len(numbers)
        with progressbar(total=total, desc="n_components", disable=not shown) as bar:
            return select_n_components(
                counts,
                numbers,
                estimator=estimator,
                scan=blocks.navigation_keep,
                share=share,
                random_state=random_state,
                callback=lambda _: bar.update(),
            )

    def cluster_analysis(
        self,
        cluster_source="decomposition",
        n_clusters: int | None = None,
        *,
        algorithm: Any = None,
        return_info: bool = False,
        **kwargs,
    ) -> Any:
        """Sort pixels into clusters, the largest first.

        With ``cluster_source="directions"`` pixels are compared by the direction of their spectra
        alone, since thickness is no phase: in the space of leading principal axes of scaled counts
        (see `emsparse_hs.decomposition.WeightedGramPCA`), with neighbours averaged. No
        decomposition is needed, and of lazy data no more is in memory than some numbers a pixel.

        Any other source goes to HyperSpy's own `cluster_analysis`, which documents the order of
        size and, in version 2.5, mixes it up from three clusters on.

        The results are in ``s.learning_results``, for `plot_cluster_results`,
        `get_cluster_labels` and saving.

        Parameters
        ----------
        cluster_source : str or BaseSignal
            ``"directions"``; or, for HyperSpy, ``"decomposition"``, ``"bss"``, ``"signal"`` or a
            signal.
        n_clusters : int, optional
            Number of clusters. Not needed where the algorithm has its own.
        algorithm : object, optional
            Any clustering with scikit-learn's ``fit_predict``, such as
            ``sklearn.mixture.GaussianMixture(3)`` or ``sklearn.cluster.HDBSCAN(50)``, and for
            HyperSpy's sources what HyperSpy takes. By default `SphericalKMeans` for directions.
        return_info : bool
            Whether to return the fitted clustering, as in HyperSpy.
        **kwargs
            For directions: `n_axes` (as many as clusters, or 10), `width` (standard
            deviation in px of the Gaussian over which neighbours are averaged: that of a
            `SphericalKMeans`, or 0.8), `scaling` ("poisson", or
            None for data whose noise is as strong everywhere), `random_state`,
            `navigation_mask`, `signal_mask`, `show_progressbar` and `num_workers`, as for
            `decomposition`. For other sources, as for HyperSpy's own; pixels that a decomposition
            left out are left out here too, if nothing else is said.

        Returns
        -------
        object or None
            The clustering if `return_info`.

        Raises
        ------
        ValueError
            If there is no number of clusters, or as for `decomposition`.
        """
        from emsparse_hs.accessor._clusters import cluster_by_hyperspy, cluster_directions

        if isinstance(cluster_source, str) and cluster_source == "directions":
            info = cluster_directions(self._signal, n_clusters, algorithm, **kwargs)
        else:
            kwargs.update({"algorithm": algorithm} if algorithm is not None else {})
            info = cluster_by_hyperspy(self._signal, cluster_source, n_clusters, kwargs)
        return info if return_info else None

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

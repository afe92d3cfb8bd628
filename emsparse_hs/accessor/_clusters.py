# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Cluster analysis: HyperSpy's own, or of the directions of spectra."""

from __future__ import annotations

from typing import Any

from hyperspy.signal import BaseSignal

#: What HyperSpy's own analysis takes by name.
_SOURCES = ("decomposition", "bss", "signal")


def cluster_by_hyperspy(signal: BaseSignal, source, n_clusters: int | None, kwargs: dict) -> Any:
    """HyperSpy's own analysis, and clusters in order of size."""
    from emsparse_hs.learning_results import order_clusters

    if not isinstance(source, BaseSignal) and source not in _SOURCES:
        raise ValueError(
            f"cluster_source={source!r} is not known. Use 'directions', which needs no "
            "decomposition, 'decomposition', 'bss', 'signal' or a signal; the number of clusters "
            "is n_clusters."
        )
    if isinstance(source, str) and source in ("decomposition", "bss"):
        kwargs.setdefault("navigation_mask", signal.learning_results.navigation_mask)
    if n_clusters is not None:
        kwargs["n_clusters"] = n_clusters
    info = signal.cluster_analysis(cluster_source=source, return_info=True, **kwargs)
    order_clusters(signal)
    return info


def cluster_directions(
    signal: BaseSignal,
    n_clusters: int | None,
    algorithm: Any,
    *,
    n_axes: int | None = None,
    width: float | None = None,
    scaling: str | None = "poisson",
    random_state=None,
    navigation_mask=None,
    signal_mask=None,
    show_progressbar: bool | None = None,
    num_workers: int | None = None,
    **unknown,
) -> Any:
    """Clusters of directions; arguments as for `SignalMethods.cluster_analysis`."""
    from emsparse_hs.accessor._zero_peak import without_zero_peak
    from emsparse_hs.blocks import Blocks
    from emsparse_hs.decomposition import SphericalKMeans
    from emsparse_hs.decomposition._checks import check_whole
    from emsparse_hs.learning_results import write_clusters
    from emsparse_hs.phases import find_phases

    if unknown:
        raise TypeError(
            f"cluster_analysis('directions') takes no {', '.join(unknown)}, but n_axes, width, "
            "scaling, random_state, masks, show_progressbar and num_workers. Give the arguments of "
            "a clustering to algorithm itself."
        )
    if algorithm is None and n_clusters is None:
        raise ValueError("Say how many clusters there are: n_clusters=3, for instance.")
    if algorithm is None:
        algorithm = SphericalKMeans(n_clusters, random_state=random_state)
        check_whole(algorithm, "n_clusters")
    elif n_clusters is not None or not hasattr(algorithm, "fit_predict"):
        raise TypeError(
            f"algorithm={algorithm!r}, and a clustering with fit_predict is needed, which has its "
            "own number of clusters. Leave n_clusters out."
        )
    blocks = Blocks.of(signal, navigation_mask, without_zero_peak(signal, signal_mask))
    if n_axes is None:
        n_axes = min(n_clusters or 10, blocks.n_features, blocks.n_pixels)
    how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
    phases = find_phases(algorithm, blocks, n_axes, width, scaling, **how)
    write_clusters(signal, phases, blocks)
    return phases.clusterer

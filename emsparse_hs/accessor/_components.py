# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What can be asked of the components of a decomposition, whatever made them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from hyperspy.signal import BaseSignal
    from matplotlib.figure import Figure

    from emsparse_hs.decomposition import Posterior


class ComponentMethods:
    """Methods that apply to a signal with a decomposition."""

    _signal: BaseSignal

    def posterior(
        self,
        *,
        alpha: float | None = None,
        spatial: str | float | None = None,
        random_state=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> Posterior:
        """How much of each component a pixel has, and how well that is known.

        Abundances are inferred anew for the spectra of the decomposition, with the prior of
        `PoissonNMF`. After a decomposition by that, they are the loadings.

        Parameters
        ----------
        alpha : float, optional
            Shape of the prior, as for `PoissonNMF`. By default that of the decomposition, or 0.02
            if that knew none.
        spatial : "auto" or float, optional
            Counts that the neighbours of a pixel weigh as much as, as for `PoissonNMF`. By default
            as in the decomposition, or else "auto".
        random_state : int, RandomState instance or None
            Of the counts that are set aside to find that.
        show_progressbar, num_workers
            As in HyperSpy, for reading the data.

        Returns
        -------
        Posterior
            ``abundances`` and ``widths``, their standard deviations: signals as from
            `get_decomposition_loadings`, float32, in counts, NaN where pixels were left out. See
            `PoissonNMF.posterior` for how widths are meant.

        Raises
        ------
        ValueError
            If there is no decomposition, it is one of centred data, it has negative spectra, or
            data are negative or NaN.
        """
        from emsparse_hs.decomposition import PoissonNMF, Posterior
        from emsparse_hs.fitting import held_rows
        from emsparse_hs.learning_results import prior_of, read_decomposition

        _, factors, blocks = read_decomposition(self._signal)
        spectra = factors.T
        if spectra.min() < 0:
            raise ValueError(
                "The decomposition has negative spectra, and counts have none. Use one without, as "
                "s.emsparse.decomposition() makes."
            )
        used = prior_of(self._signal) or (0.02, "auto")
        options = {
            "alpha": used[0] if alpha is None else alpha,
            "spatial": used[1] if spatial is None else spatial,
            "random_state": random_state,
        }
        estimator = PoissonNMF(len(spectra), known_components=spectra, init=spectra, **options)
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        counts, keep = held_rows(estimator, blocks, **how), blocks.navigation_keep
        found = estimator.fit(counts, scan=keep).posterior(counts, scan=keep)
        signals = [_as_loadings(self._signal, blocks.place(values)) for values in found]
        for signal, name in zip(signals, ("Abundances", "Widths of abundances"), strict=True):
            signal.metadata.General.title = name
        return Posterior(*signals)

    def merge_components(
        self,
        *,
        random_state=None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> list[tuple[int, ...]]:
        """Merge components of the decomposition that are one pattern, as at another intensity.

        Two are one if their common spectrum predicts counts that were set aside as well as the two
        do: see `emsparse_hs.decomposition.merge_components`. ``s.learning_results`` has the spectra
        and maps of those that are left; sources and clusters made of the others are removed.

        Parameters
        ----------
        random_state : int, RandomState instance or None
            Of the choice of counts.
        show_progressbar, num_workers
            As in HyperSpy, for reading the data.

        Returns
        -------
        list of tuple of int
            For each component that is left, which ones before it is made of.

        Raises
        ------
        ValueError
            If there is no decomposition, it is one of centred data, it has negative spectra or
            maps, or data are no counts.
        """
        from emsparse_hs.decomposition import PoissonNMF, merge_components
        from emsparse_hs.fitting import held_rows
        from emsparse_hs.learning_results import read_decomposition, replace_components

        loadings, factors, blocks = read_decomposition(self._signal)
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        merged = merge_components(
            held_rows(PoissonNMF(), blocks, **how),
            factors.T,
            loadings,
            scan=blocks.navigation_keep,
            random_state=random_state,
        )
        if len(merged.groups) < len(factors.T):
            replace_components(self._signal, merged.components, merged.loadings, blocks)
        return merged.groups

    def plot_components(
        self,
        components: int | Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        scale: str = "sqrt",
        signal_range: tuple[float, float] | None = None,
    ) -> Figure:
        """Plot each component's map beside its spectrum or pattern.

        Parameters
        ----------
        components, names, scale, signal_range
            As for `emsparse_hs.plotting.plot_components`.

        Returns
        -------
        Figure
            After a decomposition.
        """
        from emsparse_hs.plotting import plot_components

        return plot_components(self._signal, components, names, scale, signal_range)

    def misfit(
        self,
        width: float = 1.5,
        *,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> BaseSignal:
        """Map of how much worse the decomposition is than noise would make it.

        Parameters
        ----------
        width : float
            Standard deviation in px of the Gaussian over which residuals are added up.
        show_progressbar, num_workers
            As in HyperSpy, for reading the data.

        Returns
        -------
        BaseSignal
            float32, of the scan's axes: standard deviations above what Poisson noise makes of it
            on average (see `emsparse_hs.decomposition.misfit`), NaN where pixels were left out.

        Raises
        ------
        ValueError
            If there is no decomposition, it is one of centred data, or data are negative or
            NaN.
        """
        from emsparse_hs.residuals import find_residuals

        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        excess = find_residuals(self._signal, 0, width, **how).excess
        result = self._signal._get_navigation_signal(data=excess)
        result = result.transpose(signal_axes=excess.ndim)
        title = self._signal.metadata.get_item("General.title", default="")
        result.metadata.General.title = f"Misfit of {title}" if title else "Misfit"
        return result

    def plot_residuals(
        self,
        n_regions: int = 3,
        width: float = 1.5,
        signal_range: tuple[float, float] | None = None,
        *,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> Figure:
        """Plot where the decomposition does not explain the data, and the worst spectra.

        Parameters
        ----------
        n_regions, width, signal_range
            As for `emsparse_hs.plotting.plot_residuals`.
        show_progressbar, num_workers
            As in HyperSpy, for reading the data.

        Returns
        -------
        Figure
            After a decomposition.
        """
        from emsparse_hs.plotting import plot_residuals

        return plot_residuals(
            self._signal, n_regions, width, signal_range, show_progressbar, num_workers
        )


def _as_loadings(signal: BaseSignal, maps: np.ndarray) -> BaseSignal:
    """As from `get_decomposition_loadings`, which fails at one component of a line of one pixel."""
    if maps.shape[-1] == 1:
        return signal._get_navigation_signal(data=maps[..., 0])
    return signal._get_loadings(maps.reshape(-1, maps.shape[-1]))

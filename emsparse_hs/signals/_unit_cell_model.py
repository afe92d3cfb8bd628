# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A scan as domains, each with a few patterns that depend on the position in the unit cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from hyperspy.signal import BaseSignal
from hyperspy.signals import LazySignal2D, Signal2D

from emsparse_hs.blocks import Blocks
from emsparse_hs.signals._stored_model import as_signal, from_signal, stored_size
from emsparse_hs.unit_cells import PlacedAtoms, misfit_sums, reconstruction

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from emsparse_hs.unit_cell.compression import CellDictionary
    from emsparse_hs.unit_cell.fitting import DomainFit


class UnitCellModel:
    """What an atomic-resolution scan consists of, once the unit cell is taken out.

    Parameters
    ----------
    fit : DomainFit
        Domains, alignment and abundances.
    dictionary : CellDictionary
        Patterns for any position in the cell.
    sums : array of shape (y, x, 4)
        From `emsparse_hs.unit_cells.misfit_sums`.
    like : dict
        ``axes`` of the signal in the order of the array, its ``metadata``, ``signal_type`` and
        ``nbytes``, and ``dose_per_count``.
    variant_trials : list of VariantTrial
        What numbers of variants were tried, if that was asked for.

    Attributes
    ----------
    splits : list of Split
        What spoke for and against domains.
    """

    def __init__(
        self,
        fit: DomainFit,
        dictionary: CellDictionary,
        sums: np.ndarray,
        like: dict[str, Any],
        variant_trials=(),
    ) -> None:
        self.fit = fit
        self.cells = dictionary
        self.sums = sums
        self.like = like
        self.splits = list(fit.splits)
        self.variant_trials = list(variant_trials)

    def __repr__(self) -> str:
        return (
            f"<UnitCellModel: {self.n_domains} domains of {self.n_variants} variants, rank "
            f"{self.rank}, {self.explained_variance:.1%} explained, "
            f"{self.compression_ratio:.0f} times smaller>"
        )

    @property
    def n_domains(self) -> int:
        """How many domains there are."""
        return len(self.fit.lattice_of)

    @property
    def n_variants(self) -> int:
        """How many variants each domain has, such as a thin and a thick one."""
        return self.fit.abundances.shape[-1]

    @property
    def rank(self) -> int:
        """How many patterns all patterns are made of."""
        return len(self.cells.patterns)

    @property
    def explained_variance(self) -> float:
        """Part of the variance of the expected patterns that the model explains.

        Of the data and of what is left the noise of counts is taken off, and twice the noise that
        the model follows with its free numbers, so that it is what the model explains of patterns
        without noise. That needs ``dose_per_count``, if the data are scaled counts.
        """
        dose = self.like["dose_per_count"]
        left, total, counts, _ = self.sums.sum((0, 1))
        noise = counts / dose
        patterns = self.cells.patterns.astype(float)
        # Noise in all terms along the patterns, and in all pixels along as many terms.
        followed = (len(self.cells.coefficients) - self.rank) * (patterns**2).sum()
        followed += self.rank * np.abs(self.cells.mean).sum()
        return float(1 - (left - noise + 2 * followed / dose) / (total - noise))

    @property
    def compression_ratio(self) -> float:
        """How many times smaller than the data that is which makes the scan anew.

        As `save` stores it, before the compression of the file, and without the maps of misfit and
        slow changes, which are stored beside it.
        """
        return self.like["nbytes"] / stored_size(self)

    @property
    def frame(self) -> tuple[int, int]:
        """Shape of a pattern."""
        return tuple(axis["size"] for axis in self.like["axes"][2:])

    def domain_map(self) -> Signal2D:
        """Domain of each position.

        Returns
        -------
        Signal2D
            int8 map of the scan, from 0.
        """
        return self._image(self.fit.labels, "Domain")

    def slow_map(self) -> Signal2D:
        """What changes slowly within domains: thickness, or tilt.

        Returns
        -------
        Signal2D
            Map of the scan: from 0 where a pattern is that of the first variant to 1 where it is
            that of the last. Their order is arbitrary in each domain: variants are patterns whose
            mixtures fit best, and may lie beyond all that is in the scan. Before the fit of
            abundances if there is only one variant.
        """
        if self.n_variants == 1:
            return self._image(self.fit.slow, "Slow changes")
        amounts = self.fit.abundances
        order = np.linspace(0, 1, self.n_variants)
        mean = (amounts * order).sum(-1) / np.maximum(amounts.sum(-1), 1e-12)
        return self._image(mean.astype(np.float32), "Slow changes")

    def abundances(self) -> Signal2D:
        """How much of each variant of each domain is where.

        Returns
        -------
        Signal2D
            Maps of the scan, domain by domain and variant by variant; not negative, and about 1
            in sum.
        """
        maps = [
            np.where(self.fit.labels == domain, self.fit.abundances[..., variant], 0)
            for domain in range(self.n_domains)
            for variant in range(self.n_variants)
        ]
        return self._image(np.array(maps, np.float32), "Abundance")

    def misfit(self) -> Signal2D:
        """Mean square of what is left, in units of the counts' noise.

        Returns
        -------
        Signal2D
            Map of the scan: 1 where the model says all that the counts say. In units of the mean
            variance of patterns if ``dose_per_count`` is infinite.
        """
        dose = self.like["dose_per_count"]
        if np.isinf(dose):
            return self._image(self.sums[..., 0] / self.sums[..., 1].mean(), "Misfit")
        counted = max(int((self.cells.mean != 0).sum()), 1)
        return self._image(self.sums[..., 3] * dose / counted, "Misfit")

    def _image(self, data: np.ndarray, quantity: str) -> Signal2D:
        scan = [{**axis, "navigate": False} for axis in self.like["axes"][:2]]
        stack = [{"name": "variant", "navigate": True, "size": len(data)}] if data.ndim > 2 else []
        image = Signal2D(data, axes=[*stack, *scan])
        image.metadata.set_item("Signal.quantity", quantity)
        image.metadata.General.title = quantity
        return image

    def pattern(self, u: float, v: float, domain: int = 0, variant: int | str = 0) -> Signal2D:
        """Pattern at a position in the unit cell.

        Parameters
        ----------
        u, v : float
            Position along the edges of the cell, in cells.
        domain : int
            Which domain.
        variant : int or "wall"
            Which variant, or what is added to the variants at a wall, which may be negative.

        Returns
        -------
        Signal2D
            Expected counts, of the type of the scan.

        Raises
        ------
        ValueError
            If there is no such domain or variant.
        """
        patterns = self._patterns(np.array([[u, v]], float), domain, variant)
        return self._signal(patterns.reshape(self.frame), self.like["axes"][2:])

    def dictionary(self, domain: int = 0, variant: int | str = 0, n: int = 8) -> Signal2D:
        """Patterns on a grid over the unit cell.

        Parameters
        ----------
        domain, variant
            As for `pattern`.
        n : int
            Positions along each edge of the cell.

        Returns
        -------
        Signal2D
            Expected counts, of the type of the scan. Its navigation axes are v and u, in cells.
        """
        if not isinstance(n, (int, np.integer)) or n < 1:
            raise ValueError(f"{n!r} positions along an edge of the cell. Pass 1 or more.")
        steps = np.arange(n) / n
        v, u = np.meshgrid(steps, steps, indexing="ij")
        patterns = self._patterns(np.stack([u.ravel(), v.ravel()], axis=-1), domain, variant)
        kind = {"scale": 1 / n, "units": "cells", "size": n, "navigate": True}
        axes = [{"name": name, **kind} for name in ("v", "u")]
        return self._signal(patterns.reshape(n, n, *self.frame), [*axes, *self.like["axes"][2:]])

    def _patterns(self, places: np.ndarray, domain: int, variant: int | str) -> np.ndarray:
        if not isinstance(domain, (int, np.integer)) or not 0 <= domain < self.n_domains:
            raise ValueError(
                f"There is no domain {domain!r}: there are {self.n_domains}, counted from 0."
            )
        has_wall = self.cells.n_atoms > self.n_variants
        is_wall = has_wall and isinstance(variant, str) and variant == "wall"
        is_number = isinstance(variant, (int, np.integer)) and 0 <= variant < self.n_variants
        if not is_wall and not is_number:
            wall = ', and "wall"' if has_wall else ""
            raise ValueError(
                f"There is no variant {variant!r}: there are {self.n_variants}, from 0 on{wall}."
            )
        amounts = np.zeros((len(places), self.cells.n_atoms), np.float32)
        amounts[:, self.n_variants if is_wall else int(variant)] = 1
        labels = np.full(len(places), domain)
        if is_wall:
            return self.cells.mixture(labels, amounts, places) @ self.cells.patterns
        return self.cells.predict(labels, amounts, places)

    def _signal(self, data, axes: list[dict]) -> Any:
        """A signal of the type of the scan."""
        kind = Signal2D if isinstance(data, np.ndarray) else LazySignal2D
        signal = kind(data, axes=axes, metadata=self.like["metadata"])
        signal.set_signal_type(self.like["signal_type"])
        return signal

    def reconstruct(self) -> Any:
        """Make the patterns anew, without noise.

        Returns
        -------
        LazySignal2D
            float32 counts of the scan, of its type, such as ElectronDiffraction2D, so that
            ``beam_deflection`` and all else go on with it. Nothing is computed yet.
        """
        data = reconstruction(self.cells, PlacedAtoms.of(self.fit), self.frame)
        return self._signal(data, self.like["axes"])

    def residual(self, signal: BaseSignal) -> Any:
        """What the model leaves of the scan.

        Parameters
        ----------
        signal : BaseSignal
            The scan.

        Returns
        -------
        LazySignal2D
            float32 counts of the scan less those of `reconstruct`. Nothing is computed yet.

        Raises
        ------
        ValueError
            If the signal has another shape.
        TypeError
            If it is no signal.
        """
        data = da.asarray(self._data_of(signal))
        made = reconstruction(self.cells, PlacedAtoms.of(self.fit), self.frame)
        return self._signal(data.astype(np.float32) - made, self.like["axes"])

    def _data_of(self, signal: BaseSignal) -> Any:
        """Patterns of the scan that the model is of, the axes in the model's order."""
        if not isinstance(signal, BaseSignal):
            raise TypeError(f"{type(signal).__name__} is no signal. Pass the scan itself.")
        shape = tuple(axis["size"] for axis in self.like["axes"])
        data = signal._data_aligned_with_axes
        if data.shape != shape:
            raise ValueError(
                f"The signal has shape {data.shape}, and the model is of a scan of {shape}. "
                "Pass the scan that it was made of."
            )
        return data

    def truncated(self, rank: int, signal: BaseSignal) -> UnitCellModel:
        """The same with fewer patterns, for more compression.

        Parameters
        ----------
        rank : int
            How many patterns all patterns are made of.
        signal : BaseSignal
            The scan, to calculate anew what is explained.

        Returns
        -------
        UnitCellModel

        Raises
        ------
        ValueError
            If the rank is not between 1 and that of the model, or the signal has another shape.
        """
        if not isinstance(rank, (int, np.integer)) or not 1 <= rank <= self.rank:
            raise ValueError(f"The rank is {rank!r}. Choose one from 1 to {self.rank}.")
        blocks = Blocks.from_array(self._data_of(signal), 2)
        cells = self.cells.truncated(rank)
        placed = PlacedAtoms.of(self.fit)
        sums = misfit_sums(blocks, cells, placed, show_progressbar=False)
        return UnitCellModel(self.fit, cells, sums, self.like, self.variant_trials)

    def save(self, path: str | Path, **kwargs) -> None:
        """Save the model.

        Coefficients and patterns are stored in float16.

        Parameters
        ----------
        path : str or Path
            With the extension ``.zspy`` or ``.hspy``.
        **kwargs
            For HyperSpy's ``save``, such as ``overwrite=True``.

        Raises
        ------
        ValueError
            If the extension is another one.
        """
        if Path(path).suffix not in (".zspy", ".hspy"):
            raise ValueError(f"{path} is neither .zspy nor .hspy. Choose one of these formats.")
        as_signal(self).save(path, **kwargs)

    @classmethod
    def load(cls, path: str | Path) -> UnitCellModel:
        """Read a model that was saved.

        Parameters
        ----------
        path : str or Path
            Of the file.

        Returns
        -------
        UnitCellModel

        Raises
        ------
        ValueError
            If there is something else in the file.
        """
        import hyperspy.api as hs

        return from_signal(hs.load(path), cls)

    def plot(
        self, domain: int | None = None, variant: int = 0, figure: Figure | SubFigure | None = None
    ) -> Figure | SubFigure:
        """Plot domains, slow changes, misfit, and patterns over the unit cell.

        Parameters
        ----------
        domain : int, optional
            Whose patterns are shown. Those of the first two domains by default.
        variant : int
            Which variant of it.
        figure : Figure or SubFigure, optional
            To draw in. A new one by default.

        Returns
        -------
        Figure or SubFigure
            See `emsparse_hs.plotting.plot_unit_cells`.
        """
        from emsparse_hs.plotting import plot_unit_cells

        return plot_unit_cells(self, domain=domain, variant=variant, figure=figure)

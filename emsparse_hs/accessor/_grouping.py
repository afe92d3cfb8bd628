# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Grouping of nanobeam patterns by phase, for ``s.emsparse``."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emsparse_hs.accessor._base import SignalMethods, frame_shape
from emsparse_hs.blocks import Blocks
from emsparse_hs.signals._provenance import kept_metadata
from emsparse_hs.stem4d.bragg_presence import (
    PresenceGrid,
    bragg_presence,
    compact_presence,
    find_direct_beam,
    presence_grid,
)
from emsparse_hs.stem4d.disc_shape import estimate_disc
from emsparse_hs.stem4d.grouping import Merge, group_patterns

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from matplotlib.figure import Figure, SubFigure

#: Patterns that the radius of the discs is estimated from.
_SAMPLE = 96


@dataclass(frozen=True, repr=False)
class PatternGroups:
    """Phases in a scan, from ``s.emsparse.group_patterns()``.

    Attributes
    ----------
    labels : hyperspy.signals.Signal2D, Signal1D or BaseSignal
        int16 map: phase of each pattern, the most frequent one first, from 0 on. -1 where there
        are no Bragg discs, or where a pattern was left out.
    exemplars : BaseSignal or None
        Mean pattern of each phase, of the class of the patterns, in float32. None without phases.
    presence : float32 array of shape (n_phases, cells in y, cells in x)
        Mean presence of discs in each phase.
    discs : list of float64 arrays of shape (n, 3)
        Of each phase: x and y of its discs in px, and their weight, from 0 to 1.
    evidence : list of Merge
        What speaks for each number of phases: ``log_odds`` of one phase less, the number of discs
        that two of them share, and of those that are in conflict. Above 0 two are one.
    beam_radius : float
        Radius of a disc in px.
    centre : (float, float)
        x and y of the direct beam in px.
    """

    labels: BaseSignal
    exemplars: BaseSignal | None
    presence: np.ndarray
    discs: list[np.ndarray]
    evidence: list[Merge]
    beam_radius: float
    centre: tuple[float, float]

    def __repr__(self) -> str:
        labels = np.asarray(self.labels.data)
        shares = [f"{(labels == phase).mean():.0%}" for phase in range(self.n_phases)]
        return f"<PatternGroups: {self.n_phases} phases of {', '.join(shares) or 'nothing'}>"

    @property
    def n_phases(self) -> int:
        """How many phases there are."""
        return len(self.discs)

    def plot(self, **kwargs) -> Figure | SubFigure:
        """Plot the map of the phases, and the exemplar of each with the discs that tell it.

        Parameters
        ----------
        **kwargs
            For `emsparse_hs.plotting.plot_phases`.

        Returns
        -------
        Figure or SubFigure
        """
        from emsparse_hs.plotting import plot_phases

        return plot_phases(self, **kwargs)


class GroupingMethods(SignalMethods):
    """Methods that tell the phases in scans of nanobeam diffraction patterns."""

    def bragg_presence(
        self,
        beam_radius: float,
        *,
        centre: Sequence[float] | None = None,
        mask=None,
        dose_per_count: float = 1.0,
        contrast: float = 0.5,
        lazy_output: bool | None = None,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> BaseSignal:
        """How surely there is a Bragg disc at each place of each pattern, whatever its intensity.

        It depends little on bend and thickness, so that decompositions and clusterings of the
        result tell phases. See `emsparse_hs.stem4d.bragg_presence` for how it is found.

        Parameters
        ----------
        beam_radius : float
            Radius of a disc in px.
        centre : (float, float), optional
            x and y of the direct beam in px, the first pixel at (0, 0). The brightest disc of the
            mean pattern by default, for which all patterns are read at once.
        mask : BaseSignal or bool array of shape (y, x), optional
            True where a detector pixel is ignored.
        dose_per_count : float, optional
            Electrons a count. Data that were scaled need it, or noise is taken for discs.
        contrast : float, optional
            How far a disc rises above the background, in units of this, for a presence of 1.
        lazy_output : bool, optional
            Whether to compute nothing yet. As the signal is, by default.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        BaseSignal
            Of the class and with the axes of the signal, in float32 from 0 to 1.

        Raises
        ------
        ValueError
            If there are no navigation axes, the signal is not of two dimensions, or a number or
            the mask is out of range.
        TypeError
            If the data are complex or ragged.
        """
        shape = frame_shape(self._signal)
        blocks = Blocks.of(self._signal)
        keep = _keep_of(self._signal, mask)
        how: dict[str, Any] = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        if centre is None:
            centre = find_direct_beam(_mean_pattern(blocks, keep, how), beam_radius)
        # What is wrong is said at once, also for a lazy result.
        args = (shape, float(beam_radius), tuple(centre), keep, dose_per_count, contrast)
        _presence_of(np.zeros((1, np.prod(shape)), np.uint8), *args)
        lazy = self._signal._lazy if lazy_output is None else lazy_output
        found = blocks.map(
            _presence_of, *args, output_shape=shape, dtype=np.float32, lazy_output=lazy, **how
        )
        return _like(self._signal, found, "Presence of Bragg discs")

    def group_patterns(
        self,
        n_phases: int | Literal["auto"] = "auto",
        *,
        beam_radius: float | None = None,
        centre: Sequence[float] | None = None,
        mask=None,
        navigation_mask=None,
        dose_per_count: float = 1.0,
        contrast: float = 0.5,
        n_groups: int = 64,
        width: float = 0.8,
        random_state=0,
        show_progressbar: bool | None = None,
        num_workers: int | None = None,
    ) -> PatternGroups:
        """Give patterns of one phase one label, although bend and thickness change them.

        For nanobeam patterns with sharp Bragg discs that don't overlap. Where discs are is kept of
        each pattern, some hundred bytes; patterns are sorted into many groups, and groups whose
        discs lie on one lattice are joined. A phase in another orientation is another one here,
        and a superlattice is not told from the lattice below it.
        The patterns are read three times, block by block.

        Parameters
        ----------
        n_phases : int or "auto"
            How many phases there are. By default as many as have discs in conflict: so near to
            each other that one lattice has no room for both.
        beam_radius : float, optional
            Radius of a disc in px. Estimated from some patterns by default.
        centre : (float, float), optional
            x and y of the direct beam in px. The brightest disc of the mean pattern by default.
        mask : BaseSignal or bool array of shape (y, x), optional
            True where a detector pixel is ignored.
        navigation_mask : BaseSignal or bool array, optional
            True where a pattern is left out; an array has HyperSpy's ``navigation_shape`` (x, y).
        dose_per_count, contrast : float, optional
            As for `bragg_presence`.
        n_groups : int, optional
            Groups that patterns are sorted into first. More find phases that are more rare.
        width : float, optional
            Standard deviation in px of the Gaussian over which evidence of neighbours is pooled.
        random_state : int or None
            Of the first groups.
        show_progressbar, num_workers
            As in HyperSpy.

        Returns
        -------
        PatternGroups
            Map of labels, a mean pattern a phase, and the evidence for their number.

        Raises
        ------
        ValueError
            If there are no navigation axes, the signal is not of two dimensions, no discs are
            found to estimate their radius of, or a number or a mask is out of range.
        TypeError
            If the data are complex or ragged.

        Warns
        -----
        UserWarning
            If there are no phases, or fewer than asked for.
        """
        shape = frame_shape(self._signal)
        blocks = Blocks.of(self._signal, navigation_mask)
        keep = _keep_of(self._signal, mask)
        how = {"show_progressbar": show_progressbar, "num_workers": num_workers}
        if beam_radius is None:
            beam_radius = _radius_of(blocks, keep, dose_per_count)
        if centre is None:
            centre = find_direct_beam(_mean_pattern(blocks, keep, how), beam_radius)
        grid = presence_grid(shape, beam_radius, centre)
        presence = _kept_presence(blocks, (grid, keep, dose_per_count, contrast), how)
        found = group_patterns(
            presence,
            grid,
            blocks.navigation_keep,
            n_phases,
            n_groups=n_groups,
            width=width,
            random_state=random_state,
        )
        _warn_of_few(found.labels, n_phases)
        means = _means_of(blocks, found.labels, found.n_phases, how)
        return PatternGroups(
            labels=_map_of(self._signal, found.labels),
            exemplars=_one_a_phase(self._signal, means) if len(means) else None,
            presence=found.presence,
            discs=found.discs,
            evidence=found.merges,
            beam_radius=grid.beam_radius,
            centre=grid.centre,
        )


def _warn_of_few(labels: np.ndarray, wanted: int | Literal["auto"]) -> None:
    """Say so if there are no phases, or fewer than were asked for."""
    n_found = len(np.unique(labels[labels >= 0]))
    if n_found == 0:
        warnings.warn(
            "No pattern has discs that fit on a lattice, so that there are no phases. Check the "
            "radius of the beam, and dose_per_count if the data were scaled.",
            stacklevel=3,
        )
    elif wanted != "auto" and n_found < wanted:
        warnings.warn(
            f"{wanted} phases were asked for, and patterns are of {n_found} only.", stacklevel=3
        )


def _keep_of(signal: BaseSignal, mask) -> np.ndarray | None:
    """Detector pixels that count, or None for all."""
    if mask is None:
        return None
    # Masks come in many forms, which the driver knows; one pattern is enough to ask it.
    first = (slice(0, 1),) * signal.axes_manager.navigation_dimension
    return Blocks.of(signal.inav[first], signal_mask=mask).signal_keep


def _frames(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return rows.reshape(-1, *shape)


def _presence_of(rows, shape, beam_radius, centre, keep, dose_per_count, contrast) -> np.ndarray:
    return bragg_presence(
        _frames(rows, shape),
        beam_radius,
        centre,
        mask=keep,
        dose_per_count=dose_per_count,
        contrast=contrast,
    )


def _compact_presence_of(rows, grid: PresenceGrid, keep, dose_per_count, contrast):
    return compact_presence(_frames(rows, grid.frame), grid, keep, dose_per_count, contrast)


def _sum_of(rows: np.ndarray) -> np.ndarray:
    return np.asarray(np.nansum(rows, axis=0, dtype=np.float64))


def _sums_of(rows: np.ndarray, labels: np.ndarray, n_labels: int) -> np.ndarray:
    return np.stack([_sum_of(rows[labels == label]) for label in range(n_labels)])


def _mean_pattern(blocks: Blocks, keep: np.ndarray | None, how: dict) -> np.ndarray:
    """Mean of all patterns, 0 where pixels don't count."""
    mean = blocks.reduce(_sum_of, np.add, **how).reshape(blocks.signal_shape)
    mean /= blocks.n_pixels
    return mean if keep is None else np.where(keep, mean, 0)


def _radius_of(blocks: Blocks, keep: np.ndarray | None, dose_per_count: float) -> float:
    frames = _frames(blocks.sample(_SAMPLE), blocks.signal_shape)
    try:
        # Discs are even enough here; more terms would fit what is beside them.
        return estimate_disc(frames, keep, dose_per_count=dose_per_count, order=0).radius
    except ValueError as error:
        raise ValueError(
            f"The radius of the discs can't be estimated ({error}) Pass beam_radius in px."
        ) from error


def _kept_presence(blocks: Blocks, args: tuple, how: dict):
    """Compact presence of all patterns, in C order of the scan."""
    from scipy.sparse import vstack

    held = blocks.hold(_compact_presence_of, *args, **how)
    return vstack(list(held), format="csr")[blocks.scan_order]


def _means_of(blocks: Blocks, labels: np.ndarray, n_phases: int, how: dict) -> np.ndarray:
    """Mean pattern of each phase, in float32."""
    if not n_phases:
        return np.zeros((0, *blocks.signal_shape), np.float32)
    sums = blocks.reduce(_sums_of, np.add, n_phases, per_pixel=[labels], **how)
    counts = np.bincount(labels[labels >= 0], minlength=n_phases)
    means = sums / np.maximum(counts, 1)[:, np.newaxis]
    return means.reshape(-1, *blocks.signal_shape).astype(np.float32)


def _like(signal: BaseSignal, data, title: str) -> BaseSignal:
    """A signal of the class and with the axes of another one."""
    axes = signal.axes_manager
    # In the order that the data are aligned with.
    order = [*axes.navigation_axes[::-1], *axes.signal_axes[::-1]]
    return _made(signal, data, [axis.get_axis_dictionary() for axis in order], title)


def _one_a_phase(signal: BaseSignal, means: np.ndarray) -> BaseSignal:
    phase = {"name": "phase", "size": len(means), "navigate": True}
    detector = [a.get_axis_dictionary() for a in signal.axes_manager.signal_axes[::-1]]
    return _made(signal, means, [phase, *detector], "Exemplars of phases")


def _made(signal: BaseSignal, data, axes: list[dict], title: str) -> BaseSignal:
    from hyperspy.api import signals

    metadata = kept_metadata(signal)
    metadata.setdefault("General", {})["title"] = title
    result = signals.Signal2D(data, axes=axes, metadata=metadata)
    if not isinstance(data, np.ndarray):
        result = result.as_lazy()
    if signal._signal_type:
        result.set_signal_type(signal._signal_type)
    return result


def _map_of(signal: BaseSignal, labels: np.ndarray) -> BaseSignal:
    """Labels as an image, the scan's axes its signal axes."""
    from hyperspy.api import signals

    axes = [a.get_axis_dictionary() for a in signal.axes_manager.navigation_axes[::-1]]
    for k, axis in enumerate(axes):
        axis["navigate"] = k < len(axes) - 2
    metadata = kept_metadata(signal)
    metadata.setdefault("General", {})["title"] = "Phases"
    kind = signals.Signal1D if len(axes) == 1 else signals.Signal2D
    return kind(labels, axes=axes, metadata=metadata)

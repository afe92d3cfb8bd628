# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From Kikuchi bands, as a signal, to lattices and their probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import dask.array as da
import numpy as np
from hyperspy.signal import BaseSignal

from emsparse_hs._computing import compute, compute_each
from emsparse_hs.blocks import Blocks
from emsparse_hs.ebsd import Bands, Patterns, cluster_patterns, compare_cells, solve_lattice
from emsparse_hs.ebsd._joint import FEWEST_BANDS
from emsparse_hs.ebsd.bravais import ANSWERS
from emsparse_hs.ebsd.known_cells import primitive_cell
from emsparse_hs.signals._phase_lattice import (
    PhaseLattice,
    warn_of_few_bands,
    warn_of_misfits,
    warn_of_shared_error,
)
from emsparse_hs.signals._provenance import kept_metadata

if TYPE_CHECKING:
    from orix.crystal_map import Phase

    from emsparse_hs.signals import BravaisProbabilities, KikuchiBands

#: In angstrom: no cell has an edge below the first, nor all above the second. Such a phase is in
#: nm, as kikuchipy's own, or in pm.
_SHORTEST_EDGE, _LONGEST_EDGES = 1.5, 50.0


class PatternSource(NamedTuple):
    """The patterns that bands were found in, of which few are read.

    Attributes
    ----------
    data : numpy or dask array
        The scan's axes first.
    pattern_centre : float64 array of shape (3,) or (..., 3)
    signal_mask : bool array or None
        True where a detector pixel is left out.
    num_workers : int or None
        As in HyperSpy.
    """

    data: Any
    pattern_centre: np.ndarray
    signal_mask: np.ndarray | None
    num_workers: int | None

    def of(self, chosen: np.ndarray) -> Patterns:
        """Those of a bool array of the scan's shape."""
        where = np.nonzero(chosen)

        def take(numbers) -> np.ndarray:
            places = tuple(axis[numbers] for axis in where)
            if isinstance(self.data, da.Array):
                return compute(self.data.vindex[places], False, self.num_workers)
            return self.data[places]

        alike = np.ndim(self.pattern_centre) == 1
        centre = self.pattern_centre if alike else self.pattern_centre[chosen]
        return Patterns(take, centre, self.signal_mask)


def pattern_labels(
    bands: KikuchiBands, beam_energy: float | None, options: dict, **how
) -> np.ndarray:
    """Which patterns are of one phase; see `KikuchiBands.cluster_patterns`."""
    energy = checked_beam_energy(bands, beam_energy)
    data = _complete(bands, **how)
    flat = data.reshape(-1, *data.shape[-2:])
    workers = partial(compute_each, desc="Patterns", **how)
    labels = cluster_patterns(_as_bands(flat), energy, workers=workers, **options)
    return labels.reshape(bands.axes_manager._navigation_shape_in_array)


def find_lattices(
    bands: KikuchiBands,
    labels,
    beam_energy: float | None,
    options: dict,
    source: PatternSource | None,
    **how,
) -> PhaseLattice | dict[int, PhaseLattice]:
    """The lattice of each label's patterns; see `KikuchiBands.estimate_lattice`."""
    energy = checked_beam_energy(bands, beam_energy)
    every = as_labels(labels, bands.axes_manager._navigation_shape_in_array)
    found = _of_each_label(bands, every, energy, options, source, **how)
    return found[int(labels)] if np.ndim(labels) == 0 else found


def classify(
    bands: KikuchiBands,
    labels,
    beam_energy: float | None,
    options: dict,
    source: PatternSource | None = None,
    *,
    lazy_output: bool,
    **how,
) -> BravaisProbabilities:
    """Probabilities of the lattices; see `KikuchiBands.classify_bravais`."""
    energy = checked_beam_energy(bands, beam_energy)
    scan = bands.axes_manager._navigation_shape_in_array
    if labels is None:
        found = _each(bands, energy, options, lazy_output=lazy_output, **how)
        return _as_probabilities(bands, found)
    lattices = _of_each_label(bands, as_labels(labels, scan), energy, options, source, **how)
    data = np.full((*scan, len(ANSWERS)), np.nan)
    for lattice in lattices.values():
        data[lattice.patterns] = lattice.probabilities
    return _as_probabilities(bands, data)


def phase_scores(
    bands: KikuchiBands,
    phases: Iterable[Phase] | Mapping[int, Phase],
    beam_energy: float | None,
    **how,
) -> np.ndarray:
    """Log evidence of each phase for each pattern; see `KikuchiBands.compare_phases`."""
    energy = checked_beam_energy(bands, beam_energy)
    scan = bands.axes_manager._navigation_shape_in_array
    # An orix PhaseList gives pairs of number and phase, -1 for what is not indexed.
    if isinstance(phases, Mapping):
        phases = phases.values()
    if not np.iterable(phases):
        phases = [phases]
    pairs = [phase if isinstance(phase, tuple) else (0, phase) for phase in phases]
    phases = [phase for number, phase in pairs if number >= 0]
    if not phases:
        raise ValueError("There is no phase to compare with. Pass a list of orix phases.")
    data = _complete(bands, **how)
    cells = [_cell_in_angstrom(phase) for phase in phases]
    flat = data.reshape(-1, *data.shape[-2:])
    workers = partial(compute_each, desc="Patterns", **how)
    scores = compare_cells(_as_bands(flat), cells, energy, workers=workers)
    return scores.reshape(*scan, len(phases))


def _cell_in_angstrom(phase: Phase) -> np.ndarray:
    """Primitive cell of a phase that is in angstrom, or in nm if it has to be."""
    check_phase(phase)
    parameters = phase.structure.lattice.abcABG()
    shortest = min(parameters[:3])
    scale = 10.0 if shortest < _SHORTEST_EDGE else 1.0
    if parameters == (1, 1, 1, 90, 90, 90):
        raise ValueError(
            f"The phase {phase.name!r} has no unit cell: all edges are 1. Set it in angstrom, such "
            "as with phase.structure.lattice.setLatPar(a=3.52, b=3.52, c=3.52)."
        )
    if not _SHORTEST_EDGE <= scale * shortest <= _LONGEST_EDGES:
        raise ValueError(
            f"The shortest edge of the phase {phase.name!r} is {shortest:.3g}, which no crystal "
            "has in angstrom or nm. Set the cell in angstrom, such as with "
            "phase.structure.lattice.setLatPar(a=3.52, b=3.52, c=3.52)."
        )
    return scale * primitive_cell_of(phase)


def check_phase(phase) -> None:
    """Check that something is a phase of orix.

    Raises
    ------
    TypeError
        If it is not.
    """
    if not hasattr(phase, "structure"):
        raise TypeError(
            f"{phase!r} is no phase. Pass orix.crystal_map.Phase, such as master_pattern.phase, or "
            "lattice.to_phase() of what estimate_lattice found."
        )


def primitive_cell_of(phase: Phase) -> np.ndarray:
    """Primitive cell of a phase in its own unit, rows are the basis vectors.

    Raises
    ------
    ValueError
        If it has no space group.
    """
    base = np.asarray(phase.structure.lattice.base, dtype=float)
    if phase.space_group is None:
        raise ValueError(
            f"The phase {phase.name!r} has no space group, and its centring is not known. Set "
            "phase.space_group."
        )
    letter = phase.space_group.short_name[0]
    # diffpy says H where a rhombohedral group has hexagonal axes; its own axes are primitive.
    if letter in "RH":
        letter = "R" if abs(phase.structure.lattice.gamma - 120) < 1 else "P"
    return primitive_cell(base, letter)


def checked_beam_energy(signal: BaseSignal, beam_energy: float | None) -> float:
    """The beam energy in keV: that given, or that of the metadata.

    Raises
    ------
    ValueError
        If it is not known, or not positive.
    """
    for instrument in ("SEM", "TEM"):
        if beam_energy is None:
            path = f"Acquisition_instrument.{instrument}.beam_energy"
            beam_energy = signal.metadata.get_item(path, default=None)
    try:
        energy = 0.0 if beam_energy is None else float(beam_energy)
    except (TypeError, ValueError):
        energy = 0.0
    if not energy > 0:
        raise ValueError(
            f"The beam energy is {beam_energy!r}, and widths of bands are lengths only with it. "
            "Pass beam_energy in keV, or set metadata.Acquisition_instrument.SEM.beam_energy."
        )
    return energy


def as_labels(labels, scan: tuple[int, ...]) -> np.ndarray:
    """Labels as whole numbers of the scan's shape.

    Raises
    ------
    TypeError
        If they are not whole.
    ValueError
        If the shape does not fit, or none is 0 or above.
    """
    every = np.asarray(labels._data_aligned_with_axes if isinstance(labels, BaseSignal) else labels)
    if every.dtype == bool or not np.issubdtype(every.dtype, np.integer):
        raise TypeError(
            f"Labels are of dtype {every.dtype}, and whole numbers are needed: one number for each "
            "phase, negative where a pattern is left out."
        )
    if every.ndim and every.shape != scan:
        flat = " with labels.reshape(xmap.shape)" if every.shape == (np.prod(scan),) else ""
        raise ValueError(
            f"Labels have the shape {every.shape}, and the scan has the shape {scan}. Pass one for "
            f"each pattern{flat}, or one number for all."
        )
    # Signed: what is left out gets a negative one.
    every = np.broadcast_to(every.astype(np.int64), scan)
    if not (every >= 0).any():
        raise ValueError("All labels are negative, so that no pattern is left.")
    return every


def _of_each_label(
    bands: KikuchiBands,
    labels: np.ndarray,
    energy: float,
    options: dict,
    source: PatternSource | None,
    **how,
) -> dict[int, PhaseLattice]:
    """Called by what a method calls: warnings are for whoever called the method."""
    data = _complete(bands, **how)
    labels = np.where(_left_out(data), -1, labels)
    enough = _have_enough_bands(data)
    if not (labels >= 0).any():
        raise ValueError("All patterns with labels were left out when their bands were detected.")
    each = np.unique(labels[labels >= 0]).tolist()
    # Many labels are solved side by side, of one its patterns are, within one bar.
    alone = partial(compute_each, desc="Patterns", **{**how, "show_progressbar": False})
    workers = alone if len(each) == 1 else map

    def solved(label: int) -> PhaseLattice:
        chosen = labels == label
        patterns = None if source is None else source.of(chosen)
        solution = solve_lattice(
            _as_bands(data[chosen]), energy, patterns=patterns, workers=workers, **options
        )
        return PhaseLattice(solution, chosen, label)

    found = dict(zip(each, compute_each(solved, each, "Lattices", **how), strict=True))
    for label, lattice in found.items():
        if not warn_of_few_bands(enough[lattice.patterns], f" with the label {label}", 5):
            warn_of_misfits(lattice, label, stacklevel=5)
            warn_of_shared_error(lattice, label, stacklevel=5)
    return found


def _complete(bands: KikuchiBands, **how) -> np.ndarray:
    """Normals, half widths and contrasts of all bands, computed."""
    data = bands._columns(0, 5)
    return compute(data, **how) if isinstance(data, da.Array) else data


def _left_out(data: np.ndarray) -> np.ndarray:
    """Which patterns were left out when bands were detected: not even a contrast is known."""
    return np.isnan(data[..., 4]).all(axis=-1)


def _have_enough_bands(data: np.ndarray) -> np.ndarray:
    """Which patterns have the bands that a lattice is found from."""
    return np.isfinite(data).all(axis=-1).sum(axis=-1) >= FEWEST_BANDS


def _as_bands(data: np.ndarray) -> Bands:
    return Bands(data[..., :3], data[..., 3], data[..., 4])


def _each(bands: KikuchiBands, energy: float, options: dict, **kwargs):
    """Probabilities of each pattern on its own."""
    data = bands._columns(0, 5)
    if isinstance(data, np.ndarray):
        warn_of_few_bands(_have_enough_bands(data)[~_left_out(data)], "", stacklevel=5)
    elif data.shape[-2] < FEWEST_BANDS:
        warn_of_few_bands(np.zeros(data.shape[:-2], bool), "", stacklevel=5)
    if not bands.axes_manager.navigation_dimension:
        # A pattern without a scan: a scan of one.
        blocks = Blocks.from_array(data[np.newaxis], 1)
    else:
        blocks = Blocks.from_array(data, bands.axes_manager.navigation_dimension)
    found = blocks.map(
        _probability_rows, data.shape[-2:], energy, options,
        output_shape=(len(ANSWERS),), dtype=np.float64, **kwargs,
    )  # fmt: skip
    return found if bands.axes_manager.navigation_dimension else found[0]


def _probability_rows(rows, shape: tuple[int, int], energy: float, options: dict) -> np.ndarray:
    """Of the patterns of a block, one by one."""
    table = rows.reshape(-1, *shape)
    found = np.full((len(table), len(ANSWERS)), np.nan)
    for p in np.flatnonzero(~_left_out(table)):
        found[p] = solve_lattice(_as_bands(table[p : p + 1]), energy, **options).probabilities
    return found


def _as_probabilities(bands: KikuchiBands, data) -> BravaisProbabilities:
    from emsparse_hs.signals import BravaisProbabilities, LazyBravaisProbabilities

    kind = LazyBravaisProbabilities if isinstance(data, da.Array) else BravaisProbabilities
    axes = [axis.get_axis_dictionary() for axis in bands.axes_manager.navigation_axes[::-1]]
    axes.append({"name": "lattice", "size": len(ANSWERS), "navigate": False})
    metadata = kept_metadata(bands)
    title = bands.metadata.General.title.removeprefix("Kikuchi bands: ")
    metadata.setdefault("General", {})["title"] = f"Bravais lattices: {title}"
    return kind(data, axes=axes, metadata=metadata)

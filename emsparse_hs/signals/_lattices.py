# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From Kikuchi bands, as a signal, to lattices and their probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.array as da
import numpy as np

from emsparse_hs.blocks import Blocks
from emsparse_hs.ebsd import BRAVAIS_LATTICES, Bands, compare_cells, solve_lattice
from emsparse_hs.signals._bravais_probabilities import ANSWERS
from emsparse_hs.signals._phase_lattice import PhaseLattice, warn_of_misfits
from emsparse_hs.signals._provenance import kept_metadata

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from orix.crystal_map import Phase

    from emsparse_hs.signals import BravaisProbabilities, KikuchiBands

#: Lattice points of the centred cells, as rows of their primitive bases.
_PRIMITIVE = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, 0.5], [0, -0.5, 0.5]]),
    "B": np.array([[0.5, 0, 0.5], [0, 1, 0], [-0.5, 0, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}


def find_lattices(
    bands: KikuchiBands, labels, beam_energy: float | None, options: dict
) -> PhaseLattice | dict:
    """The lattice of each label's patterns; see `KikuchiBands.estimate_lattice`."""
    energy = beam_energy_of(bands, beam_energy)
    scan = bands.axes_manager._navigation_shape_in_array
    data = np.asarray(bands._aligned())
    every = as_labels(labels, scan)
    found = {}
    for label in np.unique(every[every >= 0]).tolist():
        chosen = every == label
        solution = solve_lattice(_as_bands(data[chosen]), energy, **options)
        found[label] = PhaseLattice(solution, chosen)
        warn_of_misfits(found[label], label)
    return found[int(labels)] if np.ndim(labels) == 0 else found


def classify(
    bands: KikuchiBands, labels, beam_energy: float | None, options: dict, **kwargs
) -> BravaisProbabilities:
    """Probabilities of the lattices; see `KikuchiBands.classify_bravais`."""
    energy = beam_energy_of(bands, beam_energy)
    scan = bands.axes_manager._navigation_shape_in_array
    if labels is None:
        return _as_probabilities(bands, _each(bands, energy, options, **kwargs))
    every = as_labels(labels, scan)
    lattices = find_lattices(bands, every, energy, options)
    data = np.full((*scan, len(ANSWERS)), np.nan)
    for lattice in lattices.values():
        data[lattice.patterns] = lattice.probabilities
    return _as_probabilities(bands, data)


def phase_scores(bands: KikuchiBands, phases: list[Phase], beam_energy: float | None) -> np.ndarray:
    """Log evidence of each phase for each pattern; see `KikuchiBands.compare_phases`."""
    energy = beam_energy_of(bands, beam_energy)
    scan = bands.axes_manager._navigation_shape_in_array
    data = np.asarray(bands._aligned())
    flat = data.reshape(-1, *data.shape[-2:])
    scores = compare_cells(_as_bands(flat), [primitive_cell(p) for p in phases], energy)
    return scores.reshape(*scan, len(phases))


def primitive_cell(phase: Phase) -> np.ndarray:
    """Primitive cell of a phase in angstrom, rows are the basis vectors."""
    base = np.asarray(phase.structure.lattice.base, dtype=float)
    if phase.space_group is None:
        raise ValueError(
            f"The phase {phase.name!r} has no space group, and its centring is not known. Set "
            "phase.space_group."
        )
    letter = phase.space_group.short_name[0]
    if letter == "R" and abs(phase.structure.lattice.gamma - 120) > 1:
        letter = "P"  # Rhombohedral axes are primitive.
    return _PRIMITIVE[letter] @ base


def beam_energy_of(signal: BaseSignal, beam_energy: float | None) -> float:
    """The beam energy in keV: that given, or that of the metadata.

    Raises
    ------
    ValueError
        If it is not known, or not positive.
    """
    if beam_energy is None:
        for instrument in ("SEM", "TEM"):
            path = f"Acquisition_instrument.{instrument}.beam_energy"
            beam_energy = signal.metadata.get_item(path, default=None) or beam_energy
    if beam_energy is None or not float(beam_energy) > 0:
        raise ValueError(
            f"The beam energy is {beam_energy}, and widths of bands are lengths only with it. Pass "
            "beam_energy in keV, or set metadata.Acquisition_instrument.SEM.beam_energy."
        )
    return float(beam_energy)


def as_labels(labels, scan: tuple[int, ...]) -> np.ndarray:
    """Labels as whole numbers of the scan's shape.

    Raises
    ------
    TypeError
        If they are not whole.
    ValueError
        If the shape does not fit, or none is 0 or above.
    """
    every = np.asarray(getattr(labels, "data", labels))
    if every.dtype == bool or not np.issubdtype(every.dtype, np.integer):
        raise TypeError(
            f"Labels are of dtype {every.dtype}, and whole numbers are needed: one number for each "
            "phase, negative where a pattern is left out."
        )
    if every.ndim and every.shape != scan:
        raise ValueError(
            f"Labels have the shape {every.shape}, and the scan has the shape {scan}. Pass one for "
            "each pattern, or one number for all."
        )
    every = np.broadcast_to(every, scan)
    if not (every >= 0).any():
        raise ValueError("All labels are negative, so that no pattern is left.")
    return every


def _as_bands(data: np.ndarray) -> Bands:
    return Bands(data[..., :3], data[..., 3], data[..., 4])


def _each(bands: KikuchiBands, energy: float, options: dict, **kwargs):
    """Probabilities of each pattern on its own."""
    if not bands.axes_manager.navigation_dimension:
        return _rows(np.asarray(bands._aligned())[None].reshape(1, -1), bands, energy, options)[0]
    blocks = Blocks.of(bands)
    shape = bands._aligned().shape[-2:]
    return blocks.map(
        _probability_rows, shape, energy, options,
        output_shape=(len(ANSWERS),), dtype=np.float64, **kwargs,
    )  # fmt: skip


def _rows(rows, bands, energy: float, options: dict) -> np.ndarray:
    return _probability_rows(rows, bands._aligned().shape[-2:], energy, options)


def _probability_rows(rows, shape: tuple[int, int], energy: float, options: dict) -> np.ndarray:
    """Of the patterns of a block, one by one."""
    table = rows.reshape(-1, *shape)
    solutions = [solve_lattice(_as_bands(one[None]), energy, **options) for one in table]
    return np.array([s.probabilities for s in solutions]).reshape(len(table), len(ANSWERS))


def _as_probabilities(bands: KikuchiBands, data) -> BravaisProbabilities:
    from emsparse_hs.signals import BravaisProbabilities, LazyBravaisProbabilities

    kind = LazyBravaisProbabilities if isinstance(data, da.Array) else BravaisProbabilities
    axes = [axis.get_axis_dictionary() for axis in bands.axes_manager.navigation_axes[::-1]]
    axes.append({"name": "lattice", "size": len(ANSWERS), "navigate": False})
    metadata = kept_metadata(bands)
    title = bands.metadata.General.title.removeprefix("Kikuchi bands: ")
    metadata.setdefault("General", {})["title"] = f"Bravais lattices: {title}"
    metadata["Bravais_probabilities"] = {"lattices": list(BRAVAIS_LATTICES)}
    return kind(data, axes=axes, metadata=metadata)

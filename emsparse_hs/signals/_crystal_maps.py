# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From lattices of a scan's phases to a crystal map of orix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from emsparse_hs._optional import require
from emsparse_hs.ebsd import rotation_between
from emsparse_hs.signals._lattices import check_phase, primitive_cell_of
from emsparse_hs.signals._phase_lattice import PhaseLattice

if TYPE_CHECKING:
    from hyperspy.signal import BaseSignal
    from orix.crystal_map import CrystalMap, Phase, PhaseList

#: Of matplotlib, with which orix and kikuchipy begin as well.
_COLOURS = "blue orange green red purple brown pink olive cyan gray".split()


def as_crystal_map(
    signal: BaseSignal,
    lattices: PhaseLattice | Mapping[int, PhaseLattice],
    phases: Phase | Mapping[int, Phase] | None,
    detector,
) -> CrystalMap:
    """Phases and orientations; see `EBSDMethods.to_crystal_map`."""
    orix = require("orix.crystal_map", "ebsd")
    rotation = require("orix.quaternion", "ebsd").Rotation
    every = _by_label(lattices)
    scan = signal.axes_manager._navigation_shape_in_array
    _check_scan(every, scan)
    to_detector = _sample_to_detector(signal, detector)
    n_points = int(np.prod(scan))
    matrices = np.repeat(np.eye(3)[np.newaxis], n_points, axis=0)
    phase_id, prop = np.full(n_points, -1), _properties(every, n_points)
    kept: dict[int, Phase] = {}
    for label, phase in _chosen_phases(every, phases).items():
        # Labels of one phase, such as grains, are one phase of the map.
        number = next((n for n, other in kept.items() if _are_one(phase, other)), label)
        lattice = every[label]
        oriented = np.isfinite(lattice.orientations).all(axis=(1, 2))
        points = np.flatnonzero(lattice.patterns)[oriented]
        if points.size:
            kept[number] = phase
            turn = _turn(lattice, phase)
            matrices[points] = turn @ lattice.orientations[oriented] @ to_detector
            phase_id[points] = number
    _check_indexed(kept, every)
    return orix.CrystalMap(
        rotations=rotation.from_matrix(matrices),
        phase_id=phase_id,
        phase_list=_coloured(orix.PhaseList(phases=list(kept.values()), ids=list(kept))),
        prop=prop,
        **_coordinates(signal),
    )


def _check_scan(lattices: Mapping[int, PhaseLattice], scan: tuple[int, ...]) -> None:
    if len(scan) > 2:
        raise ValueError(
            f"The scan has the shape {scan}, and a crystal map has two axes at most. Choose a part "
            "with s.inav."
        )
    for label, lattice in lattices.items():
        if label < 0 or lattice.patterns.shape != scan:
            raise ValueError(
                f"The lattice of the label {label} was found in a scan of the shape "
                f"{lattice.patterns.shape}, and this one has the shape {scan}. Pass the lattices "
                "of this scan, by labels of 0 and above."
            )


def _by_label(lattices) -> Mapping[int, PhaseLattice]:
    every = lattices if isinstance(lattices, Mapping) else {getattr(lattices, "label", 0): lattices}
    for lattice in every.values():
        if not isinstance(lattice, PhaseLattice):
            raise TypeError(
                f"lattices is or holds a {type(lattice).__name__}. Pass what estimate_lattice "
                "gave, a PhaseLattice or a dict of label and PhaseLattice."
            )
    return every


def _turn(lattice: PhaseLattice, phase: Phase) -> np.ndarray:
    """From the phase's frame to that in which the lattice was found."""
    try:
        return rotation_between(lattice.cell, primitive_cell_of(phase))
    except ValueError as error:
        raise ValueError(
            f"The phase {phase.name!r} is not of the lattice that was found, {lattice!r}. Pass the "
            "phase of these patterns, or none."
        ) from error


def _are_one(phase: Phase, other: Phase) -> bool:
    """Whether phases have one name and one cell."""
    cells = (one.structure.lattice.abcABG() for one in (phase, other))
    return phase.name == other.name and np.allclose(*cells)


def _coloured(phases: PhaseList) -> PhaseList:
    """The phases in colours that differ: all that orix gave no other are of one."""
    others = [f"tab:{name}" for name in _COLOURS if f"tab:{name}" not in phases.colors]
    taken: set[str] = set()
    coloured = phases.deepcopy()  # the user's phases stay as they are
    for _, phase in coloured:
        if phase.color in taken and others:
            phase.color = others.pop(0)
        taken.add(phase.color)
    return coloured


def _check_indexed(phases: Mapping[int, Phase], lattices: Mapping[int, PhaseLattice]) -> None:
    if not phases:
        raise ValueError(
            f"No pattern has a lattice and an orientation: {lattices}. Find one before, or say "
            "with phases which it is, such as phases=lattice.to_phase(lattice='cF')."
        )


def _sample_to_detector(signal: BaseSignal, detector) -> np.ndarray:
    """Matrix that columns in the specimen's frame are multiplied by to be in the detector's."""
    detector = getattr(signal, "detector", None) if detector is None else detector
    if detector is None:
        raise ValueError(
            f"{signal!r} has no detector, and orientations need its tilts. Pass "
            "detector=kikuchipy.detectors.EBSDDetector(sample_tilt=70, tilt=0, azimuthal=0)."
        )
    return detector.sample_to_detector.to_matrix().reshape(3, 3)


def _chosen_phases(
    lattices: Mapping[int, PhaseLattice], phases: Phase | Mapping[int, Phase] | None
) -> dict[int, Phase]:
    """The phase of each label that has one, in the order of labels."""
    known = _known_phases(lattices, phases)
    if set(known) - set(lattices):
        raise ValueError(
            f"There are phases of the labels {sorted(known)}, and lattices of {sorted(lattices)}."
        )
    chosen = {}
    for label, lattice in sorted(lattices.items()):
        if label in known and np.isfinite(lattice.cell).all():
            chosen[label] = known[label]
        elif label not in known and lattice.lattice != "unknown":
            # Phases of a map are told apart by their names.
            name = lattice.lattice if len(lattices) == 1 else f"{lattice.lattice} {label}"
            chosen[label] = lattice.to_phase(name)
    return chosen


def _known_phases(lattices: Mapping[int, PhaseLattice], phases) -> dict[int, Phase]:
    """The phases that are given, by label; one alone, also in a list, is that of all labels."""
    if phases is None:
        return {}
    if isinstance(phases, Mapping):
        known = dict(phases)
    else:
        # An orix PhaseList gives pairs of number and phase, -1 for what is not indexed.
        listed = list(phases) if np.iterable(phases) else [phases]
        pairs = [p if isinstance(p, tuple) else (n, p) for n, p in enumerate(listed)]
        known = {number: phase for number, phase in pairs if number >= 0}
        if len(known) == 1:
            known = dict.fromkeys(lattices, *known.values())
        elif isinstance(phases, (list, tuple)):
            raise TypeError(
                f"There are {len(known)} phases in a list. Pass a dict of label and phase, or one "
                "phase for all labels."
            )
    for phase in known.values():
        check_phase(phase)
    return known


def _properties(lattices: Mapping[int, PhaseLattice], n_points: int) -> dict[str, np.ndarray]:
    """What is told of each pattern; NaN where nothing is."""
    prop = {name: np.full(n_points, np.nan) for name in ("explained", "residual")}
    for lattice in lattices.values():
        points = np.flatnonzero(lattice.patterns)
        prop["explained"][points] = lattice.explained
        prop["residual"][points] = lattice.residuals
    return prop


def _coordinates(signal: BaseSignal) -> dict:
    """Places in the scan, with their unit, as a crystal map has them."""
    axes = signal.axes_manager.navigation_axes  # x first
    if not axes:
        return {}
    grids = np.meshgrid(*(axis.axis for axis in axes[::-1]), indexing="ij")
    places = dict(zip("xy", (grid.ravel() for grid in grids[::-1]), strict=False))
    known = isinstance(axes[0].units, str) and axes[0].units not in ("", "<undefined>")
    return {**places, "scan_unit": axes[0].units if known else "px"}

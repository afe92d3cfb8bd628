# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Cells that are known, or have been found: which of them a pattern shows, and how they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import product

import numpy as np

from ._joint import Errors, band_sets, evenly, in_parts, orient_all
from .bands import Bands
from .bravais import reduced_cell
from .lattice import CENTRE_ERROR, MOST_PATTERNS, SPREAD, STRAY

#: Scales that are tried of each cell: half widths of strong bands are below the Bragg angle.
SCALES = np.exp(np.arange(0.0, 0.25, 0.03))
#: Norm of the strain, without the change of volume, up to which cells are of one lattice.
LARGEST_STRAIN = 0.05
#: Relative width of bands, when cells are known: scales of 3 % apart, and widths between orders.
_WIDTH = 0.06
#: Primitive bases of centred cells, as rows in fractions of their axes.
_PRIMITIVE = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, 0.5], [0, -0.5, 0.5]]),
    "B": np.array([[0.5, 0, 0.5], [0, 1, 0], [-0.5, 0, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}


def primitive_cell(cell, centring: str) -> np.ndarray:
    """Primitive cell of a conventional one.

    Parameters
    ----------
    cell : array of shape (3, 3)
        Rows are the basis vectors.
    centring : str
        P, A, B, C, I, F, or R for a rhombohedral lattice on hexagonal axes, obverse.

    Returns
    -------
    float64 array of shape (3, 3)
        Rows are the basis vectors; they are not reduced.

    Raises
    ------
    ValueError
        If the centring is another one.
    """
    if centring not in _PRIMITIVE:
        raise ValueError(
            f"The centring is {centring!r}, and must be one of {', '.join(_PRIMITIVE)}."
        )
    return _PRIMITIVE[centring] @ np.asarray(cell, dtype=np.float64)


def compare_cells(
    bands: Bands,
    cells,
    beam_energy: float = 20.0,
    centre_error: float = CENTRE_ERROR,
    *,
    workers: Callable[[Callable, Iterable], Iterable] = map,
) -> np.ndarray:
    """How well each of some cells explains each pattern.

    The cell with the highest evidence is the pattern's phase: that of
    `emsparse_hs.ebsd.lattice.solve_lattice`, with the orientation as the only unknown, but for one
    scale of all widths. Superlattices are not weighed as there: a superlattice with few bands of
    its own loses to the lattice below it. Cells that differ in size only are not told apart: 14 %
    made a difference of 0.1 nats a band.

    Parameters
    ----------
    bands : Bands
        Of n patterns.
    cells : sequence of array of shape (3, 3)
        Primitive cells: rows are the basis vectors in angstrom.
    beam_energy : float
        In keV.
    centre_error : float
        Standard deviation of the pattern centres' errors, over the distance.
    workers : callable
        What applies a function to each of many items, as `map` does: such as the `map` of a pool of
        threads.

    Returns
    -------
    float64 array of shape (n, n_cells)
        Log evidence per band in nats, 0 where a cell explains nothing; NaN where a pattern has too
        few bands.

    Raises
    ------
    ValueError
        If shapes don't fit, or a cell has no volume.
    """
    sets, patterns, n_patterns = band_sets(bands, beam_energy, 1.0)
    scores = np.full((n_patterns, len(cells)), np.nan)
    if not len(patterns) or not len(cells):
        return scores
    spread = np.array([np.hypot(SPREAD[0], centre_error), _WIDTH, *SPREAD[2:]])
    errors = Errors(spread, STRAY, centre_error)
    # Widths err alike in all patterns: some of them tell the scale.
    some = sets.chosen(evenly(len(sets), MOST_PATTERNS))
    reduced = [reduced_cell(cell) for cell in cells]
    trials = [(scale * cell, some) for scale in SCALES for cell in reduced]
    evidence = _evidence(trials, errors, workers).reshape(len(SCALES), len(cells), -1)
    scale = SCALES[evidence.max(axis=1).sum(axis=1).argmax()]
    parts = [sets.chosen(part) for part in in_parts(len(sets))]
    evidence = _evidence([(scale * cell, p) for cell in reduced for p in parts], errors, workers)
    scores[patterns] = evidence.reshape(len(cells), -1).T / np.diff(sets.starts)[:, None]
    return scores - np.log(STRAY)


def _evidence(trials, errors: Errors, workers) -> np.ndarray:
    """Log evidence of pairs of a cell and patterns, of all one after the other."""
    found = workers(lambda trial: orient_all(trial[0], trial[1], errors)[1], trials)
    return np.concatenate(list(found))


def relative_strain(cell, reference) -> np.ndarray:
    """Strain that makes one lattice of another, without the change of volume.

    The scale of a cell comes from the bands' widths and is not certain enough for a strain, so
    that only the deviatoric part is told.

    Parameters
    ----------
    cell, reference : array of shape (3, 3)
        Reduced cells: rows are the basis vectors.

    Returns
    -------
    float64 array of shape (3, 3)
        Symmetric and without a trace, in the frame of the reference. It is known but for the
        symmetry of the lattice: which of equivalent axes are strained, the cells don't tell.

    Raises
    ------
    ValueError
        If the cells are not those of nearly the same lattice.
    """
    left, stretches, _ = np.linalg.svd(_deformation(cell, reference))
    logs = np.log(stretches)
    return (left * (logs - logs.mean())) @ left.T


def rotation_between(cell, reference) -> np.ndarray:
    """Rotation from one frame of a lattice to another.

    Parameters
    ----------
    cell, reference : array of shape (3, 3)
        Primitive cells of nearly the same lattice: rows are the basis vectors.

    Returns
    -------
    float64 array of shape (3, 3)
        Row vectors in the frame of the reference times this are in that of the cell. It is known
        but for the symmetry of the lattice.

    Raises
    ------
    ValueError
        If the cells are not those of nearly the same lattice.
    """
    left, _, right = np.linalg.svd(_deformation(cell, reference))
    return left @ right


def _deformation(cell, reference) -> np.ndarray:
    """What vectors of the reference are multiplied by to be those of a cell, at one volume."""
    cell, reference = reduced_cell(cell), reduced_cell(reference)
    cell = cell * abs(np.linalg.det(reference) / np.linalg.det(cell)) ** (1 / 3)
    deformations = np.linalg.solve(reference, _basis_changes() @ cell)
    squares = np.linalg.eigvalsh(deformations @ deformations.transpose(0, 2, 1))
    sizes = np.linalg.norm(np.log(squares) / 2, axis=1)
    if sizes.min() > LARGEST_STRAIN:
        raise ValueError(
            f"The cells differ by {sizes.min():.0%}: they are no strained forms of one lattice. "
            "Compare solutions of the same phase."
        )
    return deformations[sizes.argmin()]


@lru_cache(maxsize=1)
def _basis_changes() -> np.ndarray:
    """Matrices of -1, 0 and 1 with the determinant 1."""
    matrices = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    changes = matrices[np.rint(np.linalg.det(matrices)) == 1]
    changes.setflags(write=False)
    return changes

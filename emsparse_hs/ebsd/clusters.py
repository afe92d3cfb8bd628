# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Which patterns are of one phase, by their bands alone.

The cell of a phase explains all of its patterns, in whatever orientation, and hardly those of
others. So each pattern is asked for cells of its own, those first that are explained least by what
is known, and a cell that explains some patterns far better is a phase more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ._joint import (
    BandSets,
    Errors,
    Fit,
    are_alike,
    band_sets,
    evenly,
    in_parts,
    orient_all,
    refine,
)
from .bands import Bands
from .bravais import reduced_cell
from .cells import find_cells
from .dissent import DISSENT, THOROUGHLY
from .lattice import (
    CENTRE_ERROR,
    MOST_PATTERNS,
    SPREAD,
    STRAY,
    STRONG_BANDS,
    WIDTH_SCALE,
    check_options,
)

#: Cells of each pattern that are tried on all.
N_OF_EACH = 2


def cluster_patterns(
    bands: Bands,
    beam_energy: float = 20.0,
    *,
    width_scale: float = WIDTH_SCALE,
    centre_error: float = CENTRE_ERROR,
    max_patterns: int = MOST_PATTERNS,
    workers: Callable[[Callable, Iterable], Iterable] = map,
) -> np.ndarray:
    """Group patterns by the cells that explain their bands.

    Parameters
    ----------
    bands : Bands
        Of n patterns, the highest contrast first; 30 of each are used.
    beam_energy : float
        In keV.
    width_scale, centre_error : float
        See `emsparse_hs.ebsd.solve_lattice`.
    max_patterns : int
        Cells are looked for in so many patterns at most, evenly spread: a phase that is in none
        of them is not found.
    workers : callable
        What applies a function to parts of the patterns once the cells are found, as `map` does:
        such as the `map` of a pool of threads.

    Returns
    -------
    int64 array of shape (n,)
        0 for patterns of the most frequent phase, and so on; -1 where a pattern has too few bands,
        or no cell explains them better than bands that are anywhere. Phases whose cells are nearly
        the same are one.

    Raises
    ------
    ValueError
        If shapes don't fit, or a number is not positive.
    """
    check_options(width_scale=width_scale, centre_error=centre_error, max_patterns=max_patterns)
    sets, numbers, n_patterns = band_sets(bands, beam_energy, width_scale)
    labels = np.full(n_patterns, -1)
    if not len(numbers):
        return labels
    sets = sets.strongest(STRONG_BANDS)
    errors = Errors(np.array(SPREAD), STRAY, centre_error)
    phases = _Phases(sets.chosen(evenly(len(sets), int(max_patterns))), errors)
    phases.find()
    found = workers(lambda part: phases.explain(sets.chosen(part)), in_parts(len(sets)))
    labels[numbers] = np.concatenate(list(found))
    return _most_frequent_first(labels)


class _Phases:
    """Cells, and the log evidence of each pattern under each.

    It is that over bands that are anywhere: a cell so large that its points are everywhere has 0.
    """

    def __init__(self, sets: BandSets, errors: Errors):
        self.sets, self.errors = sets, errors
        # Orientations are not refined: they err with the pattern centre too.
        across = np.hypot(errors.spread[0], errors.slack)
        spread = np.array([across, *errors.spread[1:]])
        self.fixed = Errors(spread, errors.stray, errors.slack)
        self.cells: list[np.ndarray] = []
        self.evidence = np.zeros((0, len(sets)))

    @property
    def best(self) -> np.ndarray:
        """The highest evidence of each pattern, at least that of bands that are anywhere."""
        return self.evidence.max(axis=0, initial=0.0)

    def find(self) -> None:
        """Find the cells that are needed."""
        waiting = set(range(len(self.sets)))
        tried: list[np.ndarray] = []
        sizes = np.diff(self.sets.starts)
        while waiting:
            explained = self.best / sizes
            p = min(waiting, key=lambda p: (explained[p], p))
            waiting.remove(p)
            for cell in self._cells_of(p):
                if not any(are_alike(cell, other) for other in tried):
                    tried.append(cell)
                    self._try(cell)

    def explain(self, sets: BandSets) -> np.ndarray:
        """The cell of highest evidence for each of other patterns, -1 if none has any."""
        anywhere = np.zeros(len(sets))
        return np.argmax([anywhere, *(self._of(cell, sets) for cell in self.cells)], axis=0) - 1

    def _cells_of(self, p: int) -> list[np.ndarray]:
        """Cells that explain a pattern far better than those that there are."""
        bands = np.ascontiguousarray(self.sets.of(p))
        contrasts = self.sets.contrasts[self.sets.starts[p] : self.sets.starts[p + 1]]
        errors = self.errors
        found = find_cells(bands, contrasts, errors.spread, errors.stray, errors.slack)
        if found and found[0].log_evidence - self.best[p] > DISSENT:
            self._orient_again(p)
        good = [c for c in found[:N_OF_EACH] if c.log_evidence - self.best[p] > DISSENT]
        return [reduced_cell(cell.basis) for cell in good]

    def _orient_again(self, p: int) -> None:
        """Only the orientation may have been missed."""
        for number, cell in enumerate(self.cells):
            again = self._of(cell, self.sets.chosen([p]), *THOROUGHLY)[0]
            self.evidence[number, p] = max(self.evidence[number, p], again)

    def _try(self, cell: np.ndarray) -> None:
        """Take a cell if it explains a pattern far better, and drop those it makes needless."""
        better = np.flatnonzero(self._of(cell, self.sets) > self.best)
        if not len(better):
            return
        members = self.sets.chosen(better)
        rotations, _ = orient_all(cell, members, self.errors)
        fit = Fit(cell, rotations, np.zeros((len(members), 3)), np.eye(6), -np.inf)
        cell = refine(fit, members, self.errors).cell
        evidence = self._of(cell, self.sets)
        if (evidence - self.best).max() > DISSENT:
            self.cells.append(cell)
            self.evidence = np.vstack([self.evidence, evidence])
            self._drop_needless()

    def _drop_needless(self) -> None:
        """Drop cells without which no pattern is explained far worse, one by one."""
        while len(self.cells) > 1:
            numbers = range(len(self.cells))
            others = [np.delete(self.evidence, i, axis=0).max(axis=0, initial=0) for i in numbers]
            losses = (self.best - others).max(axis=1)
            least = int(np.argmin(losses))
            if losses[least] > DISSENT:
                return
            del self.cells[least]
            self.evidence = np.delete(self.evidence, least, axis=0)

    def _of(self, cell, sets: BandSets, *search: int) -> np.ndarray:
        """Log evidence of a cell for each pattern."""
        return orient_all(cell, sets, self.fixed, *search)[1]


def _most_frequent_first(labels: np.ndarray) -> np.ndarray:
    """Labels renumbered from 0 without gaps; negative ones stay."""
    found, counts = np.unique(labels[labels >= 0], return_counts=True)
    order = found[np.argsort(-counts, kind="stable")]
    numbers = {label: number for number, label in enumerate(order)}
    return np.array([numbers.get(label, -1) for label in labels], dtype=np.int64)

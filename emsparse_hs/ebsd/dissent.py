# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Patterns that are of another phase than the one they were solved with.

A cell may be found that all patterns of two phases share, badly, so that none of them stands out.
Those that it explains least are solved on their own. The parent lattice of a superlattice explains
all patterns of a phase somewhat better, since it is smaller; what explains some patterns far better
and others far worse is the cell of another phase.
"""

from __future__ import annotations

import numpy as np

from . import _cell_kernels
from ._joint import BandSets, Errors, Fit, are_alike, orient_all, refine
from .bravais import reduced_cell
from .cells import find_cells

#: Log evidence by which another cell must explain one pattern better and one worse. Of 126
#: development crystals, each alone, the highest was 20 with 4 patterns and 47 with 9. Of pairs of
#: them, 9 patterns, 55 of 60 were told where each had half of these, and 51 where one had one.
DISSENT = 50.0
#: Patterns that are solved on their own.
N_ALONE = 3
#: Bands and tests, see `orient_all`, for these to be oriented in the common cell again.
THOROUGHLY = 12, 30000


def dissent(fit: Fit, sets: BandSets, errors: Errors) -> np.ndarray:
    """How much better another cell explains each pattern than the one of a fit.

    Parameters
    ----------
    fit : Fit
    sets : BandSets
        The strong bands of its patterns.
    errors : Errors

    Returns
    -------
    float64 array of shape (n_patterns,)
        Log evidence under the other cell less that under the fit's, or that of no lattice where
        this is higher. Of cells that explain one pattern better by `DISSENT` and one worse, that
        which explains most; 0 if there is none.
    """
    best = np.zeros(len(sets))
    if len(sets) == 1:
        return best
    common = np.maximum(_log_evidence(fit, sets, errors), 0)
    for cell in _other_cells(fit, sets, errors, common):
        rotations = orient_all(cell, sets, errors)[0]
        other = Fit(cell, rotations, np.zeros((len(sets), 3)), np.eye(6), -np.inf)
        gains = _log_evidence(refine(other, sets, errors), sets, errors) - common
        disagree = min(gains.max(), -gains.min()) > DISSENT
        if disagree and np.maximum(gains, 0).sum() > np.maximum(best, 0).sum():
            best = gains
    return best


def _other_cells(fit: Fit, sets: BandSets, errors: Errors, common) -> list[np.ndarray]:
    """Cells that explain the least explained patterns far better, where these are not the fit's.

    Of some of them only the orientation may have been missed: their evidence under the common cell
    is put right, in place.
    """
    cells = []
    for p in np.argsort(common / np.diff(sets.starts), kind="stable")[:N_ALONE]:
        bands = np.ascontiguousarray(sets.of(p))
        contrasts = sets.contrasts[sets.starts[p] : sets.starts[p + 1]]
        found = find_cells(bands, contrasts, errors.spread, errors.stray, errors.slack)
        if not found:
            continue
        cell, evidence = reduced_cell(found[0].basis), found[0].log_evidence
        if are_alike(cell, reduced_cell(fit.cell)):
            common[p] = max(common[p], evidence)
        elif evidence - common[p] > DISSENT:
            again = orient_all(fit.cell, sets.chosen([p]), errors, *THOROUGHLY)[1][0]
            common[p] = max(common[p], again)
            if evidence - common[p] > DISSENT:
                cells.append(cell)
    return cells


def _log_evidence(fit: Fit, sets: BandSets, errors: Errors) -> np.ndarray:
    """Of each pattern."""
    densities = np.empty(len(sets.g))
    _cell_kernels.lattice_densities(fit.cell, fit.upright(sets), errors.spread, densities)
    logs = np.log(errors.stray + (1 - errors.stray) * densities)
    return np.add.reduceat(logs, sets.starts[:-1])

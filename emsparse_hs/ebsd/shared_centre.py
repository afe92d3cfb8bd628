# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The error that the pattern centres of all patterns share.

A camera that is calibrated badly has the same error in each pattern. It strains the cells of all of
them alike, and a cubic one becomes rhombohedral or monoclinic. Different orientations tell it from
a strain: the crystal turns with them, the camera does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ._joint import (
    FITTING,
    BandSets,
    Errors,
    Fit,
    fit_patterns,
    like_orientations,
    refine,
    shares_explained,
)

#: Standard deviation of the error while it is looked for, over the distance of the screen.
LOOSE = 0.02
#: Orientations that are needed, and how often the error is looked for again.
FEWEST, MOST_STEPS = 4, 3


def fit_with_centre(
    sets: BandSets, everything: BandSets, errors: Errors
) -> tuple[Fit | None, np.ndarray]:
    """The cell that explains all patterns best, and the error that all pattern centres share.

    Parameters
    ----------
    sets, everything, errors
        As for `fit_patterns`.

    Returns
    -------
    fit : Fit or None
        Of the bands as they are without that error; None if no pattern has any cell.
    shared : float64 array of shape (3,)
        Error of all pattern centres, see `Fit`. 0 where orientations are few, or where it is not
        beyond the error that single pattern centres have anyway.
    """
    shared = np.zeros(3)
    fit = fit_patterns(sets, everything, errors)
    for _ in range(MOST_STEPS):
        if fit is None:
            break
        step = _shared_error(fit, sets.recentred(shared), errors)
        if np.abs(step).max() <= errors.slack:
            break
        nearer = shared + step
        again = fit_patterns(sets.recentred(nearer), everything.recentred(nearer), errors)
        if again is None or again.log_evidence < fit.log_evidence:
            break
        fit, shared = again, nearer
    return fit, shared


def _shared_error(fit: Fit, sets: BandSets, errors: Errors) -> np.ndarray:
    """Mean error of the pattern centres of the patterns that fit, if they may err by far."""
    patterns = np.flatnonzero(shares_explained(fit, sets, errors) > FITTING)
    if not len(patterns):
        return np.zeros(3)
    groups = like_orientations(fit.cell, fit.rotations[patterns])
    if groups.max() + 1 < FEWEST:
        return np.zeros(3)
    part = replace(fit, rotations=fit.rotations[patterns], centres=fit.centres[patterns])
    loose = Errors(errors.spread, errors.stray, LOOSE)
    centres = refine(part, sets.chosen(patterns), loose).centres
    # Patterns of one grain show the same errors again.
    return np.average(centres, axis=0, weights=1 / np.bincount(groups)[groups])

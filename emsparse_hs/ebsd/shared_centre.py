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
#: Standard errors that the mean over orientations must be: where the cell is not that of all
#: patterns, such as of two phases, errors are large too, but in all directions. Of drawn bands,
#: eight shared errors were 13 to 19, four mixtures of two phases 1.1 to 3.3, and a fifth 6.9. With
#: 4 in place of 3, two of 28 development crystals off centre were lost.
CERTAIN = 3.0


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
    for number in range(MOST_STEPS):
        if fit is None:
            break
        step, doubt = _shared_error(fit, sets.recentred(shared), errors)
        # Where there is an error at all, what is left of it need not be certain.
        least = errors.slack if number else np.maximum(errors.slack, CERTAIN * doubt)
        if (np.abs(step) <= least).all():
            break
        nearer = shared + step
        again = fit_patterns(sets.recentred(nearer), everything.recentred(nearer), errors)
        if again is None or again.log_evidence < fit.log_evidence:
            break
        fit, shared = again, nearer
    return fit, shared


def _shared_error(fit: Fit, sets: BandSets, errors: Errors) -> tuple[np.ndarray, np.ndarray]:
    """Mean error of the pattern centres of the patterns that fit, and its standard error, (3,).

    It is sought as if centres could err by far. 0 where orientations are few.
    """
    nothing = np.zeros(3), np.zeros(3)
    patterns = np.flatnonzero(shares_explained(fit, sets, errors) > FITTING)
    if not len(patterns):
        return nothing
    groups = like_orientations(fit.cell, fit.rotations[patterns])
    n_groups = groups.max() + 1
    if n_groups < FEWEST:
        return nothing
    part = replace(fit, rotations=fit.rotations[patterns], centres=fit.centres[patterns])
    loose = Errors(errors.spread, errors.stray, max(LOOSE, errors.slack))
    centres = refine(part, sets.chosen(patterns), loose).centres
    # Patterns of one grain show the same errors again.
    means = np.array([centres[groups == group].mean(axis=0) for group in range(n_groups)])
    return means.mean(axis=0), means.std(axis=0, ddof=1) / np.sqrt(n_groups)

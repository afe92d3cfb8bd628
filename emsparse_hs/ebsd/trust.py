# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How far an answer may be trusted: what known crystals say of answers that look alike."""

from __future__ import annotations

import numpy as np

#: Weights of `trust_features`, fitted to 2030 solutions by ``benchmarks/fit_trust.py``: of
#: development crystals, from drawn bands, 12 to 30 a pattern, two-beam images of 110 and 64 px and
#: dynamical ones of 110 px, 1 to 24 patterns; and of bands of no lattice: of 220 other sets of
#: those none is named.
TRUST = (-9.0, 0.21, 0.59, 7.8, 0.44, -0.73, 0.83)
#: Probabilities are taken to be no farther from 0 and 1 than this.
_LEAST = 0.02


def trust_features(
    evidence: float,
    probability: float,
    explained: float,
    n_orientations: int,
    n_superlattices: int,
    n_bands: float,
) -> np.ndarray:
    """What a solution says of itself, as numbers.

    Parameters
    ----------
    evidence : float
        Log evidence per band of the cell as it was chosen, in nats: before the last refinement,
        with the errors first assumed, and with what superlattices add.
    probability : float
        Of the most probable lattice among the symmetries of the cell.
    explained : float
        Share of bands that belong to the lattice.
    n_orientations : int
        Different ones.
    n_superlattices : int
        That few bands speak for.
    n_bands : float
        Of a pattern.

    Returns
    -------
    float64 array of shape (7,)
        1, log evidence per band, log odds of the lattice, share of bands explained, log of the
        number of orientations, number of superlattices, log of the bands of a pattern over 30.
    """
    odds = np.clip(probability, _LEAST, 1 - _LEAST)
    return np.array(
        [
            1.0,
            evidence,
            np.log(odds / (1 - odds)),
            explained,
            np.log(n_orientations),
            n_superlattices,
            np.log(n_bands / 30),
        ]
    )


def trust(features) -> float:
    """Probability that the most probable lattice is the right one: a logistic function.

    The probability among the symmetries of the cell does not know that the cell itself may be
    wrong.
    """
    return float(1 / (1 + np.exp(-np.dot(features, TRUST))))

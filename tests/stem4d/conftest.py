# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Simulated discs with known places, for all ways of finding them."""

import numpy as np
import pytest
from scipy.special import erfc


def disc_patterns(
    places, dose, random, radius=12.0, width=0.7, shape=(64, 64), contrast=False, background=0.0
):
    """Poisson counts of a disc at each place; with contrast, waves of intensity across it."""
    y, x = np.indices(shape)
    patterns = []
    for place in places:
        distance = np.hypot(x - place[0], y - place[1])
        pattern = 0.5 * erfc((distance - radius) / (np.sqrt(2) * width))
        if contrast:
            (one, other), phase = random.uniform(0, 2 * np.pi, 2), random.uniform(0, 2 * np.pi)
            middle = (shape[1] / 2, shape[0] / 2)
            along = [
                ((x - middle[0]) * np.cos(a) + (y - middle[1]) * np.sin(a)) / radius
                for a in (one, other)
            ]
            waves = (
                0.3 * along[0] + 0.3 * np.sin(2.5 * along[0] + phase) + 0.2 * np.cos(4 * along[1])
            )
            pattern *= np.clip(1 + waves, 0.05, None)
        patterns.append(dose * pattern / pattern.sum() + background)
    return random.poisson(np.array(patterns)).astype(np.uint32)


@pytest.fixture(scope="session")
def discs():
    """Function that makes patterns of discs about the middle of a frame, and their true places."""

    def make(seed, n=64, dose=3000, spread=0.6, shape=(64, 64), middle=None, **how):
        random = np.random.default_rng(seed)
        middle = (shape[1] / 2, shape[0] / 2) if middle is None else middle
        places = middle + random.uniform(-spread, spread, (n, 2))
        return disc_patterns(places, dose, random, shape=shape, **how), places

    return make

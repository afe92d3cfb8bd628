# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Fit the weights of `emsparse_hs.ebsd.trust` to answers for crystals that are known.

Run ``python benchmarks/fit_trust.py --crystals TABLE [--masters FILE]`` with the files of
``benchmarks/bravais.py``. Only crystals to develop with are taken. Bands that belong to no lattice
are among the cases, so that these are not named.
"""

import argparse
import warnings
from argparse import Namespace

import numpy as np
from bravais import crc, from_bands, from_images, from_masters
from kikuchi_truth import BEAM_ENERGY

from emsparse_hs.ebsd import Bands
from emsparse_hs.ebsd.lattice import BRAVAIS_LATTICES, WIDTH_SCALE, solve_lattice

#: Source, bands, width of patterns in px, patterns together, and crystals of a lattice at most.
CASES = (
    ("bands", 30, 0, 1, None),
    ("bands", 18, 0, 1, None),
    ("bands", 12, 0, 1, None),
    ("bands", 30, 0, 4, 9),
    ("images", 60, 110, 1, None),
    ("images", 60, 64, 1, None),
    ("images", 60, 110, 4, 9),
    ("images", 60, 64, 4, 9),
    ("images", 60, 110, 24, 9),
    ("masters", 60, 110, 1, None),
    ("masters", 60, 110, 4, None),
    ("masters", 60, 110, 24, None),
)
#: Sets of bands of no lattice, and the patterns of each.
N_NOTHING, PATTERNS_OF_NOTHING = 220, (1, 1, 1, 4, 9)
SEED = 10
#: Precision of the weights' prior, which is about zero.
PRIOR = 0.01


def no_lattice(n_patterns: int, n_bands: int, rng) -> Bands:
    """Bands in random directions with random widths."""
    normals = rng.normal(0, 1, (n_patterns, n_bands, 3)) * [1, 1, 0.5]
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    contrasts = -np.sort(-rng.uniform(4, 20, (n_patterns, n_bands)), axis=1)
    return Bands(normals, rng.uniform(0.8, 2.5, contrasts.shape), contrasts)


def answers(source: str, options: Namespace, width_scale: float):
    """Features of the answer for each crystal, and whether it is right."""
    observe = {"bands": from_bands, "images": from_images, "masters": from_masters}[source]
    crystals, draw = observe(options)
    for crystal in crystals:
        which = BRAVAIS_LATTICES.index(crystal.lattice)
        bands, patterns = draw(crystal, np.random.default_rng([SEED, crc(crystal), which]))
        solution = solve_lattice(bands, BEAM_ENERGY, width_scale=width_scale, patterns=patterns)
        if solution.hypotheses:
            best = BRAVAIS_LATTICES[int(solution.probabilities[:-1].argmax())]
            yield solution.trust_features, best == crystal.lattice


def collect(crystals: str, masters: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, whether answers are right, and the number of the case, of all cases."""
    found = []
    for number, (source, n_bands, pixels, patterns, limit) in enumerate(CASES):
        if source == "masters" and masters is None:
            continue
        options = Namespace(
            crystals=crystals, masters=masters, split="even", largest=None, limit=limit,
            real_only=False, patterns=patterns, pixels=pixels, n_bands=n_bands, bands_only=False,
        )  # fmt: skip
        scale = WIDTH_SCALE if source == "masters" else 1.0
        found += [(*one, number) for one in answers(source, options, scale)]
        print(f"{source}, {n_bands} bands, {pixels} px, {patterns} patterns: {len(found)} answers")
    rng = np.random.default_rng(SEED)
    for _ in range(N_NOTHING):
        bands = no_lattice(int(rng.choice(PATTERNS_OF_NOTHING)), int(rng.choice([30, 60])), rng)
        solution = solve_lattice(bands, BEAM_ENERGY, width_scale=1.0)
        if solution.hypotheses:
            found.append((solution.trust_features, False, -1))
    features, right, cases = zip(*found, strict=True)
    return np.array(features), np.array(right, float), np.array(cases)


def fit(features: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Weights of a logistic function, by Newton's method."""
    weights = np.zeros(features.shape[1])
    for _ in range(30):
        trusted = 1 / (1 + np.exp(-features @ weights))
        slope = features.T @ (right - trusted) - PRIOR * weights
        curvature = (features.T * (trusted * (1 - trusted))) @ features
        weights += np.linalg.solve(curvature + PRIOR * np.eye(len(weights)), slope)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--crystals", required=True, help="table of crystals, JSON")
    parser.add_argument("--masters", help="master patterns, npz")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    features, right, cases = collect(options.crystals, options.masters)
    weights = fit(features, right)
    print(f"TRUST = ({', '.join(f'{w:.2f}' for w in weights)})")
    trusted = 1 / (1 + np.exp(-features @ weights))
    for case in np.unique(cases):
        here = cases == case
        title = CASES[case][:4] if case >= 0 else "no lattice"
        print(
            f"{title}: {here.sum()} answers, right {right[here].mean():.3f}, trusted "
            f"{trusted[here].mean():.3f}, at most {trusted[here].max():.2f}"
        )


if __name__ == "__main__":
    main()

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Patterns of several unknown phases, grouped by their bands: how often the groups are right.

Run ``python benchmarks/phase_clusters.py TABLE --split odd`` with the table of
``scripts/collect_crystals.py``. Two-beam images of crystals that are drawn at random, or of one
alone, are mixed. Printed are in how many mixtures each pattern came to its phase, in how many the
number of phases was right, too small and too large, the adjusted Rand index and the share of
patterns without a label in the mean, and the CPU time of a mixture without the detection.
"""

import argparse
import time

import numpy as np
from bravais import MIN_CONTRAST, choose_crystals, crc
from kikuchi_truth import BEAM_ENERGY, PATTERN_CENTRE, draw_images, read_crystals, two_beam
from sklearn.metrics import adjusted_rand_score

from emsparse_hs.ebsd import Bands, cluster_patterns, detect_bands

#: Patterns of each phase in a mixture.
MIXTURES = [(12,), (6, 6), (9, 3), (8, 1), (4, 4, 4), (12, 8, 4), (6, 6, 6, 6)]


def all_bands(options) -> list[Bands]:
    """Bands of as many patterns of each crystal as a mixture has at most."""
    most = max(max(sizes) for sizes in MIXTURES)
    found = []
    for crystal in choose_crystals(read_crystals(options.crystals), options):
        rng = np.random.default_rng([options.seed, crc(crystal)])
        images = draw_images(two_beam(crystal), most, options.pixels, rng)
        bands = detect_bands(images, PATTERN_CENTRE, options.n_bands, min_contrast=MIN_CONTRAST)
        found.append(bands)
    return found


def mix(parts: list[Bands], sizes, rng) -> tuple[Bands, np.ndarray]:
    """So many patterns of each, in random order, and which phase each is of."""
    chosen = [
        rng.permutation(len(part.contrasts))[:n] for part, n in zip(parts, sizes, strict=True)
    ]
    truth = np.repeat(np.arange(len(sizes)), sizes)
    order = rng.permutation(len(truth))
    columns = [
        np.concatenate(
            [np.asarray(column)[some] for column, some in zip(each, chosen, strict=True)]
        )
        for each in zip(*((p.normals, p.half_widths, p.contrasts) for p in parts), strict=True)
    ]
    return Bands(*(column[order] for column in columns)), truth[order]


def score(bands: list[Bands], sizes, options) -> str:
    """A row of the table."""
    rng = np.random.default_rng([options.seed, *sizes])
    indices, surplus, left_out = [], [], []
    start = time.process_time()
    for _ in range(options.mixtures):
        some = rng.choice(len(bands), len(sizes), replace=False)
        mixed, truth = mix([bands[i] for i in some], sizes, rng)
        labels = cluster_patterns(mixed, BEAM_ENERGY, width_scale=1.0)
        surplus.append(labels.max() + 1 - len(sizes))
        labelled = labels >= 0
        left_out.append(1 - labelled.mean())
        indices.append(adjusted_rand_score(truth[labelled], labels[labelled]))
    seconds = (time.process_time() - start) / options.mixtures
    surplus, indices = np.array(surplus), np.array(indices)
    patterns = " + ".join(map(str, sizes))
    return (
        f"{patterns:>15} {(indices > 1 - 1e-9).sum():7} {(surplus == 0).sum():7} "
        f"{(surplus < 0).sum():6} {(surplus > 0).sum():6} {indices.mean():7.3f} "
        f"{np.mean(left_out):8.1%} {seconds:6.1f}"
    )


def parse() -> argparse.Namespace:
    """Arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crystals", help="table of scripts/collect_crystals.py")
    parser.add_argument("--split", choices=["even", "odd"], help="even: to develop with")
    parser.add_argument("--limit", type=int, default=9, help="crystals of each lattice")
    parser.add_argument("--largest", type=int, help="atoms of the largest primitive cell")
    parser.add_argument("--real-only", action="store_true")
    parser.add_argument("--pixels", type=int, default=110, help="width of a pattern")
    parser.add_argument("--n-bands", type=int, default=60)
    parser.add_argument("--mixtures", type=int, default=60, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options = parse()
    bands = all_bands(options)
    print(f"{len(bands)} crystals, {options.mixtures} mixtures of each kind")
    print("       patterns   right  phases    few   many    Rand left out      s")
    for sizes in MIXTURES:
        print(score(bands, sizes, options), flush=True)


if __name__ == "__main__":
    main()

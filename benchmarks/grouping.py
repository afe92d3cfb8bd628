# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Phases in nanobeam scans: accuracy of the labels against other ways, and whether their number is.

Run it with ``python benchmarks/grouping.py --seeds 0 1 2``. Scans of 72 x 72 patterns with 3000
electrons each are simulated, easy ones and hard ones with 2.5 times the bend and twice the
thickness. Ours finds the number of phases, the radius of the discs and the direct beam itself; the
others are told the number. Patterns are summed 2 x 2 px for these, which makes them faster and
better. What has no label counts as wrong. Accuracies are of the best permutation of the labels.
"""

import argparse
import time
import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF

from emsparse_hs.accessor._grouping import GroupingMethods
from emsparse_hs.data import simulated_phases

LEVELS = {"easy": {}, "hard": {"bend": 2.5, "thickness": 2.0}}


def accuracy(labels, phases):
    """Part that is right when labels are numbered in the best way; -1 is always wrong."""
    counts = np.zeros((labels.max() + 1, phases.max() + 1))
    labelled = labels >= 0
    np.add.at(counts, (labels[labelled], phases[labelled]), 1)
    rows, columns = linear_sum_assignment(-counts)
    return counts[rows, columns].sum() / phases.size


def ours(signal):
    found = GroupingMethods(signal).group_patterns(show_progressbar=False, num_workers=1)
    return found.labels.data, found.n_phases


def features(signal):
    data = signal.data.astype(np.float32)
    y, x = data.shape[2:]
    return data.reshape(-1, y // 2, 2, x // 2, 2).sum((2, 4)).reshape(-1, y * x // 4)


def clusters(values, signal, n_phases):
    found = KMeans(n_phases, n_init=5, random_state=0).fit_predict(values)
    return found.reshape(signal.data.shape[:2]), n_phases


def kmeans_of_roots(signal, n_phases):
    return clusters(np.sqrt(features(signal)), signal, n_phases)


def kmeans_of_nmf(signal, n_phases):
    model = NMF(20, init="nndsvda", max_iter=150)
    loadings = model.fit_transform(features(signal)) * model.components_.sum(1)
    return clusters(loadings / loadings.std(0), signal, n_phases)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--levels", nargs="+", default=list(LEVELS), choices=list(LEVELS))
    parser.add_argument("--phases", type=int, default=3, help="true number of phases")
    parser.add_argument("--ours", action="store_true", help="leave the others out")
    chosen = parser.parse_args()
    warnings.filterwarnings("ignore")
    ways = {"ours": ours}
    if not chosen.ours:
        ways["k-means, NMF-20"] = lambda signal: kmeans_of_nmf(signal, chosen.phases)
        ways["k-means, roots"] = lambda signal: kmeans_of_roots(signal, chosen.phases)
    for level in chosen.levels:
        rows = []
        for seed in chosen.seeds:
            signal, truth = simulated_phases(seed, n_phases=chosen.phases, **LEVELS[level])
            row = []
            for way in ways.values():
                start = time.process_time()
                labels, n_phases = way(signal)
                right = accuracy(labels, truth.phases)
                row.append((right, n_phases, time.process_time() - start))
            rows.append(row)
            said = "; ".join(
                f"{name} {right:.4f} ({seconds:.1f} s)"
                for name, (right, _, seconds) in zip(ways, row, strict=True)
            )
            print(f"{level} seed {seed}: phases {row[0][1]}; {said}", flush=True)
        table = np.array(rows)
        means = "; ".join(
            f"{name} {value:.4f}" for name, value in zip(ways, table[..., 0].mean(0), strict=True)
        )
        number = (table[:, 0, 1] == chosen.phases).sum()
        print(f"{level} mean: number right in {number} of {len(table)}; {means}", flush=True)


if __name__ == "__main__":
    main()

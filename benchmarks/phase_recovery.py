# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How well phases are recovered from simulated EDS maps.

Run it with ``python benchmarks/phase_recovery.py --kinds coreshell minor --seeds 1000 1001``. Of
each map are printed: the least cosine of a true spectrum with that found; the error of abundances,
root mean square, relative to that of maximum likelihood with the true spectra; the adjusted Rand
index of the phase that most counts of a pixel are of; and CPU seconds, for ours only. With
``--choose`` the number of components is chosen as well, in a fit of its own. The kind "big" is left
out unless it is named: it has a million pixels.
"""

import argparse
import time
import warnings

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score
from spectra_truth import KINDS, TrueMap, true_map

from emsparse_hs.decomposition import PoissonNMF


def matched(true: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosine of each true spectrum with the one found for it, 0 if there is none, and which."""
    unit = [s / np.linalg.norm(s, axis=1, keepdims=True) for s in (true, found)]
    cosines = unit[0] @ unit[1].T
    rows, columns = linear_sum_assignment(-cosines)
    best, which = np.zeros(len(true)), np.full(len(true), -1)
    best[rows], which[rows] = cosines[rows, columns], columns
    return best, which


def error(truth: TrueMap, abundances: np.ndarray) -> float:
    """Root mean square over pixels and phases, in counts."""
    return float(np.sqrt(np.square(abundances - truth.abundances).mean()))


def fitted(truth: TrueMap, **options) -> tuple[PoissonNMF, np.ndarray, float]:
    """The model, its abundances, and CPU seconds."""
    start = time.process_time()
    model = PoissonNMF(**options, random_state=0)
    abundances = model.fit_transform(truth.counts, scan=truth.shape)
    return model, abundances, time.process_time() - start


def recover(kind: str, seed: int, choose: bool) -> str:
    """A line of the table."""
    truth = true_map(kind, seed)
    n_phases = len(truth.spectra)
    model, abundances, seconds = fitted(truth, n_components=n_phases)
    cosines, which = matched(truth.spectra, model.components_)
    abundances = abundances[:, which]
    likeliest = fitted(truth, n_components=n_phases, prior=None, known_components=truth.spectra)[1]
    ratio = error(truth, abundances) / error(truth, likeliest)
    rand = adjusted_rand_score(truth.abundances.argmax(1), abundances.argmax(1))
    line = f"{kind:<10}{seed:>5}{cosines.min():>14.4f}{ratio:>12.2f}{rand:>9.3f}{seconds:>8.1f}"
    if choose:
        model, _, seconds = fitted(truth, n_components="auto")
        least = matched(truth.spectra, model.components_)[0].min()
        line += f"{len(model.components_):>9} of {n_phases}{least:>10.4f}{seconds:>8.1f}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    usual = [kind for kind in KINDS if kind != "big"]
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=usual)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1000])
    parser.add_argument("--choose", action="store_true", help="the number of components as well")
    options = parser.parse_args()
    # What is compiled is so before anything is timed.
    small = true_map("coreshell", 0, (32, 32))
    for components in (3, "auto"):
        fitted(small, n_components=components)
    header = f"{'kind':<10}{'seed':>5}{'least cosine':>14}{'error':>12}{'Rand':>9}{'CPU s':>8}"
    print(header + (f"{'chosen':>14}{'cosine':>10}{'CPU s':>8}" if options.choose else ""))
    for kind in options.kinds:
        for seed in options.seeds:
            print(recover(kind, seed, options.choose), flush=True)


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()

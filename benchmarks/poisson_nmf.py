# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Poisson NMF against scikit-learn's, and full decompositions against HyperSpy's.

Maximum likelihood starts from the same values and makes the same number of iterations.

Run it with ``python benchmarks/poisson_nmf.py``. Times are CPU seconds of the whole process, the
best of as many repetitions for each, without compilation.
"""

import argparse
import time
import warnings

import hyperspy.api as hs
import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF

from emsparse_hs.data._simulated_spectra import simulate_spectra
from emsparse_hs.decomposition import PoissonNMF, _model, as_counts
from emsparse_hs.decomposition._model import CountModel


def best_of(repetitions, function):
    """Smallest CPU and wall time in seconds, and the result."""
    times = []
    for _ in range(repetitions):
        cpu, wall = time.process_time(), time.perf_counter()
        result = function()
        times.append((time.process_time() - cpu, time.perf_counter() - wall))
    return *np.min(times, axis=0), result


def conversion(rows, repetitions):
    print(f"\ndense to CSR, {rows.shape[0]} x {rows.shape[1]}, GB/s of the dense array")
    for dtype in ("u1", "u2", "f4"):
        dense = rows.astype(dtype)
        as_counts(dense)
        ours, _, _ = best_of(repetitions, lambda dense=dense: as_counts(dense))
        peer, _, _ = best_of(repetitions, lambda dense=dense: sparse.csr_array(dense))
        rate = dense.nbytes / 1e9 / ours
        print(f"  {dtype}: {rate:5.2f}, scipy {dense.nbytes / 1e9 / peer:5.2f}, {peer / ours:.1f}x")


def passes(counts, n_components, repetitions):
    start = np.random.default_rng(1)
    spectra = start.random((n_components, counts.shape[1]))
    loadings = np.full((counts.shape[0], n_components), 50 / n_components)
    print(f"\none pass, k = {n_components}, ns per stored count")
    for n_threads in (1, 2):
        _model.cpu_count = lambda n=n_threads: n
        model = CountModel(counts, spectra, loadings)
        model.update()
        cpu, wall, _ = best_of(repetitions, model.update)
        scaled = 1e9 / counts.nnz
        print(f"  {n_threads} threads: {cpu * scaled:.2f} CPU, {wall * scaled:.2f} wall")


def against_peers(rows, counts, n_components, n_iter, repetitions):
    random = np.random.default_rng(0)
    start = (
        random.random((rows.shape[0], n_components)),
        random.random((n_components, rows.shape[1])),
    )
    ours = PoissonNMF(n_components, prior=None, init=start, max_iter=n_iter, tol=0)
    cpu, wall, _ = best_of(repetitions, lambda: ours.fit(counts))
    print(f"\n{n_iter} iterations, k = {n_components}, fit alone")
    print(f"  {'':32}{'CPU s':>8}{'wall s':>8}{'ratio':>8}  objective")
    print(f"  {'PoissonNMF':32}{cpu:8.3f}{wall:8.3f}{1:8.1f}  {ours.objective_:.1f}")
    dense = rows.astype(np.float32)
    for name, data in (("dense", dense), ("CSR", sparse.csr_matrix(dense))):
        peer = NMF(
            n_components,
            solver="mu",
            beta_loss="kullback-leibler",
            init="custom",
            max_iter=n_iter,
            tol=0,
        )

        def fit(peer=peer, data=data):
            w, h = (part.astype(np.float32) for part in start)
            return peer.fit_transform(data, W=w, H=h)

        theirs, their_wall, _ = best_of(repetitions, fit)
        # scikit-learn reports the root of twice the divergence.
        objective = peer.reconstruction_err_**2 / 2
        name = f"sklearn NMF(kl, mu) float32 {name}"
        print(f"  {name:32}{theirs:8.3f}{their_wall:8.3f}{theirs / cpu:8.1f}  {objective:.1f}")


def full_fits(truth, n_components, repetitions):
    """From a map as it is loaded to spectra and maps, the start included."""
    true = truth.spectra / np.linalg.norm(truth.spectra, axis=1, keepdims=True)

    def ours(prior):
        def decompose():
            s = hs.signals.Signal1D(truth.counts)
            options = {"output_dimension": n_components, "prior": prior, "random_state": 0}
            s.emsparse.decomposition(**options, show_progressbar=False)
            return s

        return decompose

    def theirs(**options):
        def decompose():
            # HyperSpy takes floats only.
            s = hs.signals.Signal1D(truth.counts.astype(np.float32))
            s.decomposition(output_dimension=n_components, print_info=False, **options)
            return s

        return decompose

    fits = {
        "PoissonNMF": ours("dirichlet"),
        "PoissonNMF, no prior": ours(None),
        "HyperSpy NMF": theirs(algorithm="NMF"),
        "HyperSpy NMF, scaled": theirs(algorithm="NMF", normalize_poissonian_noise=True),
        "HyperSpy ORNMF": theirs(algorithm="ORNMF"),
    }
    print(f"\nfull fit, k = {n_components}")
    print(f"  {'':24}{'CPU s':>8}{'wall s':>8}{'ratio':>8}  least cosine")
    first = None
    for name, fit in fits.items():
        cpu, wall, s = best_of(repetitions, fit)
        first = first or cpu
        found = s.learning_results.factors.T
        found = found / np.linalg.norm(found, axis=1, keepdims=True)
        cosines = true @ found.T
        least = cosines[linear_sum_assignment(-cosines)].min()
        print(f"  {name:24}{cpu:8.2f}{wall:8.2f}{cpu / first:8.1f}  {least:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="pixels along x and y")
    parser.add_argument("--channels", type=int, default=1024)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    hs.set_log_level("ERROR")
    truth = simulate_spectra((options.size, options.size), options.channels, seed=1000)
    rows = truth.counts.reshape(-1, options.channels)
    counts = as_counts(rows)
    zeros = 100 * (1 - counts.nnz / rows.size)
    print(f"{rows.shape[0]} pixels x {rows.shape[1]} channels, {zeros:.1f} % zeros")
    conversion(rows, options.repetitions)
    cpus = _model.cpu_count
    for n_components in (4, 8):
        passes(counts, n_components, 3 * options.repetitions)
    _model.cpu_count = cpus
    against_peers(rows, counts, 4, options.iterations, options.repetitions)
    full_fits(truth, 4, options.repetitions)


if __name__ == "__main__":
    main()

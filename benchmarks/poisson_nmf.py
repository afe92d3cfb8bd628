# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Poisson NMF against scikit-learn's, and full decompositions against HyperSpy's.

Maximum likelihood starts from the same values and ends where the objective is as low as the peers'
after a number of iterations.

Run it with ``OMP_NUM_THREADS=1 python benchmarks/poisson_nmf.py``, and with ``--espm PYTHON``, an
interpreter that has espm, to have its SmoothNMF among the peers. Times are CPU seconds of the whole
process, the best of as many repetitions for each, without compilation.
"""

import argparse
import subprocess
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy
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


def divergence(counts, loadings, spectra):
    """In float64, whatever the peers report."""
    x = counts.data.astype(float)
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    loadings, spectra = loadings.astype(float), spectra.astype(float)
    y = np.einsum("pk,pk->p", loadings[rows], spectra.T[counts.indices])
    total = loadings.sum(0) @ spectra.sum(1)
    return (xlogy(x, x) - xlogy(x, np.maximum(y, 1e-30)) - x).sum() + total


def sklearns(data, start, n_iter):
    """Fit of multiplicative updates."""
    options = {"solver": "mu", "beta_loss": "kullback-leibler", "init": "custom", "tol": 0}
    peer = NMF(start[0].shape[1], max_iter=n_iter, **options)
    w, h = (part.astype(np.float32) for part in start)
    return peer.fit_transform(data, W=w, H=h), peer.components_


def espms(interpreter, rows, start, n_iter):
    """CPU seconds and divergence of the fit alone."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "problem.npz"
        np.savez(file, counts=rows, loadings=start[0], spectra=start[1])
        script = Path(__file__).with_name("_espm_smooth_nmf.py")
        command = [interpreter, str(script), str(file), str(n_iter)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return map(float, output.split()[-2:])


def fewest(fit, objective, most):
    """Fit with the fewest iterations that comes as low."""
    least = 1
    while least < most:
        middle = (least + most) // 2
        if fit(middle).objective_ <= objective:
            most = middle
        else:
            least = middle + 1
    return most


def against_peers(rows, counts, n_components, n_iter, options):
    random = np.random.default_rng(0)
    start = (
        random.random((rows.shape[0], n_components)),
        random.random((n_components, rows.shape[1])),
    )

    def ours(n_iter):
        model = PoissonNMF(n_components, prior=None, init=start, max_iter=n_iter, tol=0)
        return model.fit(counts)

    # The slower ones once: they take minutes.
    repetitions = options.repetitions if n_iter <= 20 else 1
    dense = rows.astype(np.float32)
    peers = []
    for name, data in (("dense", dense), ("CSR", sparse.csr_matrix(dense))):
        fit = partial(sklearns, data, start, n_iter)
        theirs, _, result = best_of(repetitions, fit)
        peers.append((f"sklearn NMF(kl, mu) {name}", n_iter, theirs, divergence(counts, *result)))
    if options.espm and n_iter <= 20:
        peers.append(("espm SmoothNMF", n_iter, *espms(options.espm, rows, start, n_iter)))
    n_passes = fewest(ours, peers[1][-1], n_iter)
    cpu, _, model = best_of(3 * options.repetitions, lambda: ours(n_passes))
    print(f"\nas low as {n_iter} multiplicative updates, k = {n_components}, fit alone")
    print(f"  {'':28}{'passes':>8}{'CPU s':>9}{'ratio':>8}  objective")
    for name, passes_, seconds, objective in (
        ("PoissonNMF", n_passes, cpu, model.objective_),
        *peers,
    ):
        print(f"  {name:28}{passes_:8}{seconds:9.3f}{seconds / cpu:8.1f}  {objective:.1f}")


def full_fits(truth, n_components, repetitions):
    """From a map as it is loaded to spectra and maps, the start included."""
    true = truth.spectra / np.linalg.norm(truth.spectra, axis=1, keepdims=True)

    def ours(prior):
        s = hs.signals.Signal1D(truth.counts)
        options = {"output_dimension": n_components, "prior": prior, "random_state": 0}
        s.emsparse.decomposition(**options, show_progressbar=False)
        return s.learning_results.factors.T

    def theirs(lazy=False, **options):
        # HyperSpy takes floats only.
        s = hs.signals.Signal1D(truth.counts.astype(np.float32))
        s = s.as_lazy() if lazy else s
        s.decomposition(output_dimension=n_components, print_info=False, **options)
        return np.asarray(s.learning_results.factors.T)

    def descent():
        rows = truth.counts.reshape(-1, truth.counts.shape[-1]).astype(np.float32)
        return NMF(n_components).fit(sparse.csr_matrix(rows)).components_

    fits = {
        "PoissonNMF": partial(ours, "dirichlet"),
        "PoissonNMF, no prior": partial(ours, None),
        "HyperSpy NMF": partial(theirs, algorithm="NMF"),
        "HyperSpy NMF, scaled": partial(theirs, algorithm="NMF", normalize_poissonian_noise=True),
        "sklearn NMF(cd) CSR": descent,
        "HyperSpy ORNMF, lazy": partial(theirs, lazy=True, algorithm="ORNMF"),
    }
    print(f"\nfull fit, k = {n_components}")
    print(f"  {'':24}{'CPU s':>8}{'wall s':>8}{'ratio':>8}  least cosine")
    first = None
    for name, fit in fits.items():
        # It takes minutes.
        cpu, wall, found = best_of(1 if "ORNMF" in name else repetitions, fit)
        first = first or cpu
        found = found / np.linalg.norm(found, axis=1, keepdims=True)
        cosines = true @ found.T
        least = cosines[linear_sum_assignment(-cosines)].min()
        print(f"  {name:24}{cpu:8.2f}{wall:8.2f}{cpu / first:8.1f}  {least:.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="pixels along x and y")
    parser.add_argument("--channels", type=int, default=1024)
    parser.add_argument("--iterations", type=int, nargs="+", default=[20, 200])
    parser.add_argument("--components", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1000, help="of the simulated map")
    parser.add_argument("--espm", help="interpreter that has espm")
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    hs.set_log_level("ERROR")
    hs.preferences.General.show_progressbar = False
    truth = simulate_spectra((options.size, options.size), options.channels, seed=options.seed)
    rows = truth.counts.reshape(-1, options.channels)
    counts = as_counts(rows)
    zeros = 100 * (1 - counts.nnz / rows.size)
    print(f"{rows.shape[0]} pixels x {rows.shape[1]} channels, {zeros:.1f} % zeros")
    conversion(rows, options.repetitions)
    cpus = _model.cpu_count
    for n_components in (3, 4, 5, 8):
        passes(counts, n_components, 3 * options.repetitions)
    # On one core, as the peers are.
    _model.cpu_count = lambda: 1
    for n_iter in options.iterations:
        against_peers(rows, counts, options.components, n_iter, options)
    _model.cpu_count = cpus
    full_fits(truth, options.components, options.repetitions)


if __name__ == "__main__":
    main()

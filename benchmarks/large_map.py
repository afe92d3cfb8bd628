# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A decomposition of a million spectra from a lazy file: time and memory, reading included.

Run it with ``python benchmarks/large_map.py``. The map is simulated and written to a zarr file
first, which takes a minute. The decomposition runs in a process of its own, after one of a small
map that compiles the kernels. Memory is read from /proc, as Linux has it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import hyperspy.api as hs
import numpy as np
from scipy.optimize import linear_sum_assignment

from emsparse_hs.data._simulated_spectra import simulate_spectra


def write(folder: Path, size: int, channels: int) -> None:
    """Signal and true spectra of a map: phases of a smaller one side by side, with noise anew."""
    truth = simulate_spectra((min(size, 250),) * 2, channels, seed=1000)
    n_times = -(-size // truth.abundances.shape[0])
    abundances = np.tile(truth.abundances, (n_times, n_times, 1))[:size, :size]
    random = np.random.default_rng(0)
    counts = np.empty((size, size, channels), np.uint8)
    for row, expected in zip(counts, abundances, strict=True):
        row[:] = random.poisson(expected @ truth.spectra)
    print(f"{size} x {size} x {channels} {counts.dtype}, {counts.mean():.4f} counts a channel")
    signal = hs.signals.Signal1D(counts)
    signal.save(folder / f"{size}.zspy", chunks=(min(size, 125), min(size, 125), channels))
    np.save(folder / f"{size}.npy", truth.spectra)


def peak() -> float:
    """Largest resident memory so far, in MB, of this process alone."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def decompose(folder: Path, size: int, n_components: int) -> None:
    """Load, decompose and compare to the truth."""
    wall, cpu = time.perf_counter(), time.process_time()
    s = hs.load(folder / f"{size}.zspy", lazy=True)
    options = {"output_dimension": n_components, "random_state": 0, "return_info": True}
    model = s.emsparse.decomposition(**options, show_progressbar=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    true = np.load(folder / f"{size}.npy")
    true, found = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (true, model.components_))
    cosines = true @ found.T
    least = cosines[linear_sum_assignment(-cosines)].min()
    passes = f"{model.n_iter_} passes, least cosine {least:.4f}"
    print(f"  {size} x {size}, k = {n_components}: {wall:.1f} s, {cpu:.1f} CPU s, {passes}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1000, help="pixels along x and y")
    parser.add_argument("--channels", type=int, default=1024)
    parser.add_argument("--components", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="of files that were written before")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    hs.set_log_level("ERROR")
    if options.folder:
        import emsparse_hs.fitting  # noqa: F401

        decompose(options.folder, 64, options.components)
        before = peak()
        decompose(options.folder, options.size, options.components)
        print(
            f"  {peak() - before:.0f} MB above the {before:.0f} MB of the imports and a small map"
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        for size in (64, options.size):
            write(Path(folder), size, options.channels)
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--folder", folder], check=True)


if __name__ == "__main__":
    main()

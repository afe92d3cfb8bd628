# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Deflection of the beam: how fast it is, and how much memory it takes, against its peers.

Run it with ``python benchmarks/beam_deflection.py``, and with ``--libertem PYTHON`` to compare with
LiberTEM, which has an environment of its own: PYTHON is its interpreter. A scan of uint16 patterns
is written to a temporary folder, read once so that it is in the page cache, and removed.

Each contestant runs in a process of its own, on two threads if nothing else is said, several times
in turn with the others; the best wall and CPU time count. Wall times need idle cores; where others
compute, the ratios of CPU seconds are the ones to read.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import numpy as np

DETECTOR = (128, 128)
FRAME_BYTES = 2 * DETECTOR[0] * DETECTOR[1]
#: Patterns that are read at once where no dask is in play: 32 MiB.
N_AT_ONCE = 1024
#: pyxem sees one of so many lines of the scan: it is slow.
PYXEM_LINES = 8


def write_scan(path, n_bytes):
    """Write patterns of a disc that wanders, and return the shape of the scan."""
    side = max(16, round((n_bytes / FRAME_BYTES) ** 0.5))
    random = np.random.default_rng(0)
    y, x = np.indices(DETECTOR)
    shifts = random.normal(0, 2, (side, 2)) + np.array(DETECTOR) / 2
    discs = np.stack([400.0 * (np.hypot(x - sx, y - sy) < 30) + 3 for sx, sy in shifts])
    line = random.poisson(discs).astype("u2")
    with open(path, "wb") as file:
        for i in range(side):
            file.write(np.roll(line, (i % 7, i % 5), (1, 2)).tobytes())
    return side, side


def mapped(path, scan):
    return np.memmap(path, "u2", "r", 0, (scan[0] * scan[1], *DETECTOR))


def annulus_mask():
    from emsparse_hs.stem4d import annulus

    return annulus(DETECTOR, (63.5, 63.5), 10, 45)


def lazy_signal(path, scan):
    """Lazy as RosettaSciIO's readers make it: each task opens the file."""
    import hyperspy.api as hs
    from rsciio.utils.file import memmap_distributed

    chunks = ("auto", "auto", -1, -1)
    data = memmap_distributed(str(path), np.dtype("u2"), shape=(*scan, *DETECTOR), chunks=chunks)
    signal = hs.signals.Signal2D(data).as_lazy()
    signal.set_signal_type("electron_diffraction")
    return signal


def on_threads(n_threads, function, n_items):
    """Call function(start, stop) for stretches of items on some threads."""
    starts = iter(range(0, n_items, N_AT_ONCE))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                start = next(starts, None)
            if start is None:
                return
            function(start, min(start + N_AT_ONCE, n_items))

    threads = [threading.Thread(target=work) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# Contestants: each returns functions by name, and what scales their work to the whole file.


def contest_reading(path, scan):
    import numba

    @numba.njit(nogil=True)
    def total(words):
        result = np.uint64(0)
        for i in range(len(words)):
            result += words[i]
        return result

    def read(start, stop):
        total(mapped(path, scan)[start:stop].reshape(-1).view("u8"))

    already = mapped(path, scan)

    def read_again(start, stop):
        total(already[start:stop].reshape(-1).view("u8"))

    n = scan[0] * scan[1]
    return {
        "read, file opened in the task, 1 thread": lambda: on_threads(1, read, n),
        "read, file opened in the task, 2 threads": lambda: on_threads(2, read, n),
        "read, already mapped, 1 thread": lambda: on_threads(1, read_again, n),
        "read, already mapped, 2 threads": lambda: on_threads(2, read_again, n),
    }, 1


def contest_kernel(path, scan):
    from emsparse_hs.stem4d import centroid

    already = mapped(path, scan)
    mask = annulus_mask()
    n = scan[0] * scan[1]

    def opened(start, stop):
        centroid(mapped(path, scan)[start:stop])

    def bare(start, stop):
        centroid(already[start:stop])

    def masked(start, stop):
        centroid(already[start:stop], mask)

    def above(start, stop):
        centroid(already[start:stop], threshold=1.0)

    return {
        "centroid, already mapped, 1 thread": lambda: on_threads(1, bare, n),
        "centroid, already mapped, 2 threads": lambda: on_threads(2, bare, n),
        "centroid, file opened in the task, 2 threads": lambda: on_threads(2, opened, n),
        "centroid, annulus, 2 threads": lambda: on_threads(2, masked, n),
        "centroid, threshold, 2 threads": lambda: on_threads(2, above, n),
    }, 1


def contest_ours(path, scan):
    import emsparse_hs  # noqa: F401  registers s.emsparse

    signal = lazy_signal(path, scan)
    place = {"centre": (0, 0), "lazy_output": False, "show_progressbar": False}

    def lazy():
        return signal.emsparse.beam_deflection(**place).data

    def masked():
        signal.emsparse.beam_deflection(mask=~annulus_mask(), **place)

    return {"ours, lazy": lazy, "ours, lazy, annulus": masked}, 1


def contest_pyxem(path, scan):
    n_lines = max(1, scan[0] // PYXEM_LINES)
    signal = lazy_signal(path, scan).inav[:, :n_lines]
    # What is returned counts from the middle of the detector, with the other sign.
    half = np.array(DETECTOR[::-1]) / 2

    def lazy():
        shifts = signal.get_direct_beam_position(method="center_of_mass", lazy_output=True)
        shifts.compute(show_progressbar=False)
        return half - shifts.data

    return {"pyxem center_of_mass, lazy": lazy}, scan[0] / n_lines


def contest_libertem(path, scan):
    from libertem.api import Context
    from libertem.udf.com import CoMParams, CoMUDF

    functions = {}
    for executor in ("threads", "inline"):
        context = Context.make_with(executor, **({"cpus": 2} if executor == "threads" else {}))
        data = context.load(
            "raw", path=str(path), nav_shape=scan, sig_shape=DETECTOR, dtype="uint16"
        )

        def run(context=context, data=data):
            udf = CoMUDF(CoMParams(cy=0, cx=0))
            found = context.run_udf(dataset=data, udf=udf)
            return np.stack([found["raw_com"].data[..., i] for i in (1, 0)], -1)

        functions[f"LiberTEM CoMUDF, {executor}"] = run
    return functions, 1


CONTESTANTS = {
    name.removeprefix("contest_"): function
    for name, function in list(globals().items())
    if name.startswith("contest_")
}


def anonymous_memory():
    """Anonymous memory of this process in MB; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))


def watched(function):
    """Result of the function, and by how many MB anonymous memory grew at most."""
    start = anonymous_memory()
    peaks = [start]
    done = threading.Event()

    def watch():
        while not done.wait(0.002):
            peaks.append(anonymous_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        return function(), max(peaks) - start
    finally:
        done.set()
        thread.join()


def contest(name, path, scan, repetitions, folder):
    """Run in a process of its own: times, memory, and positions in a file."""
    warnings.simplefilter("ignore")
    functions, factor = CONTESTANTS[name](path, scan)
    times, memory = {}, {}
    for function_name, function in functions.items():
        # The first run also compiles what has to be.
        positions, memory[function_name] = watched(function)
        if positions is not None:
            np.save(folder / f"{name}.npy", positions)
    for _ in range(repetitions):
        for function_name, function in functions.items():
            cpu, wall = time.process_time(), time.perf_counter()
            function()
            new = np.array([time.perf_counter() - wall, time.process_time() - cpu]) * factor
            times[function_name] = np.minimum(times.get(function_name, np.inf), new)
    print(json.dumps({k: [*map(float, v), memory[k]] for k, v in times.items()}))


def run_apart(name, interpreter, path, scan, options, folder):
    """Results of one contestant, in an interpreter whose threads are known."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")
    }
    for key in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        environment[f"{key}_NUM_THREADS"] = "2" if key == "NUMBA" else "1"
    environment["DASK_NUM_WORKERS"] = "2"
    arguments = [interpreter, __file__, "--contest", name, str(path), *map(str, scan)]
    arguments += [str(options.repetitions), str(folder)]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def speed(options, folder):
    """Speed, memory and agreement on one file."""
    path = folder / "scan.raw"
    scan = write_scan(path, options.file_size * 1e9)
    size = path.stat().st_size / 1e9
    print(f"{scan[0]} x {scan[1]} patterns of {DETECTOR[0]} x {DETECTOR[1]} uint16, {size:.2f} GB")
    interpreters = dict.fromkeys(("reading", "kernel", "ours", "pyxem"), sys.executable)
    if options.libertem:
        interpreters["libertem"] = options.libertem
    best = {}
    for _ in range(options.rounds):
        for name, interpreter in interpreters.items():
            found = run_apart(name, interpreter, path, scan, options, folder)
            for function_name, new in found.items():
                old = best.get(function_name, new)
                best[function_name] = np.minimum(old, new)[:2].tolist() + [max(old[2], new[2])]
    print(f"  {'':46}{'GB/s':>7}{'wall s':>8}{'CPU s':>8}{'anon. MB':>10}")
    for name, (wall, cpu, memory) in best.items():
        print(f"  {name:46}{size / wall:7.2f}{wall:8.3f}{cpu:8.3f}{memory:10.0f}")
    print(f"  (pyxem ran on 1 of {PYXEM_LINES} lines of the scan; its times are scaled to all)")
    print_ratios(best)
    print_agreement(folder)


def print_ratios(best):
    print("\n  'ours, lazy' against             wall ratio  CPU ratio")
    wall, cpu, _ = best["ours, lazy"]
    for name, (their_wall, their_cpu, _) in best.items():
        if name.startswith(("pyxem", "LiberTEM")) or "2 threads" in name:
            print(f"  {name:46}{their_wall / wall:7.2f}{their_cpu / cpu:11.2f}")


def print_agreement(folder):
    ours = np.load(folder / "ours.npy")
    print("\n  largest difference of the positions in px")
    for name in ("pyxem", "libertem"):
        if (folder / f"{name}.npy").exists():
            theirs = np.load(folder / f"{name}.npy")
            print(f"  {name:46}{np.abs(ours[: len(theirs)] - theirs).max():10.1e}")


SECTIONS = {"speed": speed}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file-size", type=float, default=1.21, help="GB")
    parser.add_argument("--libertem", metavar="PYTHON", help="interpreter that has LiberTEM")
    parser.add_argument("--repetitions", type=int, default=3, help="runs in one process")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each contestant")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--contest", nargs=6, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contest:
        name, path, *scan, repetitions, folder = options.contest
        contest(name, path, tuple(map(int, scan)), int(repetitions), Path(folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        for section in options.sections:
            SECTIONS[section](options, Path(folder))


if __name__ == "__main__":
    main()

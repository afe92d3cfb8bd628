# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Unit cells of atomic-resolution scans: how true the model is, and what a large scan takes.

Run it with OMP_NUM_THREADS=1. ``python benchmarks/unit_cells.py quality TABLE`` compares models,
and with ``--peers`` SVD and NMF, to the truth of simulated scans of a crystal, with a table from
``scripts/simulate_unit_cells.py``. ``stream`` writes a large scan to a temporary zarr file and
makes a model of it lazily, reading included. ``image FILE`` finds the lattice of a measured image.

EV is the part of the variance of patterns without noise, in counts, that is explained; r48 and r64
are truncated models, with x times less to store. *of error* is the lattice's error in units of
its standard error. Parameters are coefficients, patterns and abundances. Times are CPU seconds of
all threads.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import dask.array as da
import hyperspy.api as hs
import numpy as np
import zarr
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from emsparse_hs.data import simulated_domains
from emsparse_hs.data._simulated_domains import ConvergentBeamTable, SimulatedDomains
from emsparse_hs.data._simulated_domains import simulated_domains as simulate

SCAN = (160, 160)
#: Ranks of truncated models and of SVD, and components of NMF.
RANKS, SVD_RANKS, NMF_RANK = (48, 64), (20, 60), 20
#: Angstrom from the wall to where positions are off it; blur of loadings (sigma) in cells.
OFF_WALL, BLUR = 2.0, 0.5
#: Pixels of the large scan along each edge of a simulated one, and bytes of a chunk.
FINER, CHUNK = 4, 2**26


class Column(NamedTuple):
    """One number a scan."""

    name: str
    format: str
    #: Of the values of all scans.
    worst: Callable[[Sequence[float]], float]


COLUMNS = [
    Column("EV", ".4f", min),
    Column("EV own", ".4f", min),
    *(c for k in RANKS for c in (Column(f"EV r{k}", ".4f", min), Column(f"x r{k}", ".0f", min))),
    Column("domains", ".0f", max),
    Column("right", ".4f", min),
    Column("off wall", ".4f", min),
    Column("lattice", ".1e", max),
    Column("of error", ".2f", max),
    Column("lines px", ".4f", max),
    Column("rank", ".0f", max),
    Column("par 1e6", ".3f", max),
    Column("CPU s", ".1f", max),
]
PEERS = [
    *(Column(f"SVD-{k}", ".4f", min) for k in SVD_RANKS),
    Column(f"NMF-{NMF_RANK}", ".4f", min),
    Column("NMF par", ".3f", max),
    Column("NMF CPU", ".1f", max),
    Column("NMF right", ".4f", min),
    Column("NMF off", ".4f", min),
]


def line(scan: str, columns: Sequence[Column], row: dict[str, float] | None = None) -> str:
    """One line of the table; its head without a row."""
    cells = [c.name if row is None else format(row[c.name], c.format) for c in columns]
    return f"{scan:>8}" + "".join(f"{cell:>10}" for cell in cells)


class Truth:
    """Patterns without noise of a simulated scan, to compare others to."""

    def __init__(self, scan: SimulatedDomains) -> None:
        self.scan = scan
        self.expected = scan.expectation()
        mean = self.expected.mean((0, 1), dtype=float).astype(np.float32)
        self.variance = np.square(self.expected - mean).sum(dtype=float)

    def explained(self, patterns: np.ndarray) -> float:
        """Part of the variance that patterns explain."""
        left = self.expected - patterns.reshape(self.expected.shape)
        return float(1 - np.square(left, out=left).sum(dtype=float) / self.variance)

    def right(self, labels: np.ndarray) -> tuple[float, float]:
        """Part of all positions, and of those off the wall, of the right domain."""
        right = matched(labels, self.scan.domains) == self.scan.domains
        return float(right.mean()), float(right[self.scan.distance > OFF_WALL].mean())


def matched(labels: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Labels renamed to the true ones that they agree best with; -1 if there are too many."""
    table = np.zeros((labels.max() + 1, true.max() + 1))
    np.add.at(table, (labels, true), 1)
    names = np.full(len(table), -1)
    found, own = linear_sum_assignment(-table)
    names[found] = own
    return names[labels]


def lattice_errors(alignment: Any, true: np.ndarray) -> tuple[float, float]:
    """Of the worst reciprocal basis: relative, and in standard errors of its components.

    Infinite for a finer or coarser lattice.
    """

    def errors(own: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> tuple[float, float]:
        change = np.round(wanted @ np.linalg.inv(own))
        if not np.isclose(abs(np.linalg.det(change)), 1):
            return np.inf, np.inf
        off = np.linalg.inv(change) @ wanted - own
        relative = np.linalg.norm(change @ off) / np.linalg.norm(wanted)
        return float(relative), float(np.sqrt((off.ravel() ** 2 / np.diag(known)).mean()))

    found = list(zip(alignment.reciprocal, alignment.covariance, strict=True))
    return max(min(errors(*own, wanted) for own in found) for wanted in true)


def of_model(signal: Any, truth: Truth) -> dict[str, float]:
    """What is to be said of the model of a scan."""
    start = time.process_time()
    lattice = signal.emsparse.find_scan_lattice(len(truth.scan.reciprocal), show_progressbar=False)
    model = signal.emsparse.unit_cell_model(lattice, show_progressbar=False)
    row = {"CPU s": time.process_time() - start}
    for rank in RANKS:
        smaller = model.truncated(min(rank, model.rank), signal)
        row[f"EV r{rank}"] = truth.explained(smaller.reconstruct().data.compute())
        row[f"x r{rank}"] = smaller.compression_ratio
    alignment, cells = model.fit.alignment, model.cells
    abundances = model.fit.labels.size * model.n_variants
    right, off_wall = truth.right(model.fit.labels)
    shift = alignment.row_shift - truth.scan.row_shift
    off, of_error = lattice_errors(alignment, truth.scan.reciprocal)
    return row | {
        "EV": truth.explained(model.reconstruct().data.compute()),
        "EV own": model.explained_variance,
        "domains": model.n_domains,
        "right": right,
        "off wall": off_wall,
        "lattice": off,
        "of error": of_error,
        "lines px": float(np.sqrt((shift**2).mean())),
        "rank": model.rank,
        "par 1e6": (cells.coefficients.size + cells.patterns.size + abundances) / 1e6,
    }


def of_peers(truth: Truth) -> dict[str, float]:
    """What SVD and NMF explain, and what domains the loadings of NMF tell."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import NMF
    from sklearn.utils.extmath import randomized_svd

    n_pixels = truth.expected[0, 0].size
    counts = truth.scan.data.reshape(-1, n_pixels).astype(np.float32)
    mean = counts.mean(0)
    u, values, v = randomized_svd(counts - mean, max(SVD_RANKS), n_iter=5, random_state=0)
    row = {f"SVD-{k}": truth.explained(u[:, :k] * values[:k] @ v[:k] + mean) for k in SVD_RANKS}
    start = time.process_time()
    nmf = NMF(NMF_RANK, init="nndsvda", max_iter=100, random_state=0)
    loadings = nmf.fit_transform(counts)
    row["NMF CPU"] = time.process_time() - start
    row[f"NMF-{NMF_RANK}"] = truth.explained(loadings @ nmf.components_)
    row["NMF par"] = NMF_RANK * (len(counts) + n_pixels) / 1e6
    # In counts, so that it does not matter how NMF scales its factors.
    maps = (loadings * nmf.components_.sum(1)).reshape(*truth.expected.shape[:2], -1)
    cell = np.sqrt(np.prod(truth.scan.table.cell)) / truth.scan.scan_step
    maps = gaussian_filter(maps, (BLUR * cell, BLUR * cell, 0))
    labels = KMeans(2, n_init=10, random_state=0).fit_predict(maps.reshape(len(counts), -1))
    row["NMF right"], row["NMF off"] = truth.right(labels.reshape(truth.scan.domains.shape))
    return row


def summary(rows: list[dict[str, float]], columns: list[Column], n_scans: int, n_true: int) -> None:
    """Mean and worst of the scans of one dose, and how many of them have the right domains."""
    if rows:
        values = {column.name: [row[column.name] for row in rows] for column in columns}
        print(line("mean", columns, {name: fmean(own) for name, own in values.items()}))
        print(line("worst", columns, {c.name: c.worst(values[c.name]) for c in columns}))
    n_right = sum(row["domains"] == n_true for row in rows)
    print(f"  {n_right} of {n_scans} scans have the right number of domains", flush=True)


def quality(given: argparse.Namespace) -> None:
    """Scans of a crystal, dose by dose."""
    table = ConvergentBeamTable.load(given.table)
    columns = COLUMNS + (PEERS if given.peers else [])
    for dose in given.dose:
        print(f"{Path(given.table).name}, {given.kind}, {dose:g} electrons a pattern")
        print(line("seed", columns), flush=True)
        rows = []
        for seed in given.seeds:
            settings = {"table": table, "scan_shape": SCAN, "dose": dose}
            signal, scan = simulated_domains(given.kind, seed, **settings)
            truth = Truth(scan)
            try:
                row = of_model(signal, truth)
            except ValueError as error:
                print(f"{seed:>8}  {error}", flush=True)
                continue
            if given.peers:
                row |= of_peers(truth)
            rows.append(row)
            print(line(str(seed), columns, row), flush=True)
        summary(rows, columns, len(given.seeds), 1 if given.kind == "single" else 2)


def seed_range(text: str) -> range:
    """Seeds from "100-109", or a single one."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def upsampled(counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Patterns on a finer detector: each electron in any of the smaller pixels of its own."""
    n_y, n_x = counts.shape[-2:]
    flat = counts.reshape(-1)
    pixel = np.repeat(np.arange(flat.size), flat)
    part = random.integers(0, FINER**2, len(pixel), dtype=np.uint8)
    finer = np.bincount(pixel * FINER**2 + part, minlength=flat.size * FINER**2).astype(np.uint16)
    finer = finer.reshape(*counts.shape, FINER, FINER).swapaxes(-3, -2)
    return finer.reshape(*counts.shape[:-2], n_y * FINER, n_x * FINER)


def write(folder: str, file: str | None, gigabytes: float, dose: float) -> None:
    """Write a large scan with many walls, and the truth."""
    table = ConvergentBeamTable.load(file)
    frame = tuple(FINER * n for n in table.patterns.shape[1:])
    line_bytes = 2 * int(np.prod(frame))
    side = max(round((gigabytes * 1e9 / line_bytes) ** 0.5), SCAN[0])
    scan = simulate("wall", 10, table, (side, side), dose)
    lines = max(CHUNK // (side * line_bytes), 1)
    layout: dict[str, Any] = {"shape": (side, side, *frame), "chunks": (lines, side, *frame)}
    stored = zarr.open(f"{folder}/scan.zarr", mode="w", dtype="u2", **layout)
    random = np.random.default_rng(0)
    for start in range(0, side, lines):
        stored[start : start + lines] = upsampled(scan.data[start : start + lines], random)
    instrument = {name: getattr(table, name) for name in ("beam_energy", "convergence_angle")}
    stored.attrs.update({"step": scan.scan_step / 10, "instrument": instrument})
    truth = {name: getattr(scan, name) for name in ("domains", "distance", "reciprocal")}
    np.savez(f"{folder}/truth.npz", **truth)


def large_scan(path: str) -> Any:
    """Lazy signal of a file."""
    attributes = dict(zarr.open(path, mode="r").attrs)
    signal = hs.signals.Signal2D(da.from_zarr(path)).as_lazy()
    for axis in signal.axes_manager.navigation_axes:
        axis.scale, axis.units = attributes["step"], "nm"
    signal.metadata.set_item("Acquisition_instrument.TEM", attributes["instrument"])
    return signal


def peak() -> float:
    """Largest resident memory of this process so far, in MB, as Linux counts it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def stream(given: argparse.Namespace) -> None:
    """A large scan, lazily: time and memory of all that is done with it."""
    with tempfile.TemporaryDirectory() as folder:
        # In a process of its own, whose memory does not count.
        arguments = (folder, given.table, given.gigabytes, given.dose)
        writer = multiprocessing.get_context("spawn").Process(target=write, args=arguments)
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("The scan could not be written.")
        signal = large_scan(f"{folder}/scan.zarr")
        before, wall, cpu = peak(), time.perf_counter(), time.process_time()
        lattice = signal.emsparse.find_scan_lattice(show_progressbar=False)
        found = time.process_time() - cpu
        model = signal.emsparse.unit_cell_model(lattice, show_progressbar=False)
        wall, cpu, memory = time.perf_counter() - wall, time.process_time() - cpu, peak()
        with np.load(f"{folder}/truth.npz") as truth:
            right = matched(model.fit.labels, truth["domains"]) == truth["domains"]
            off_wall = right[truth["distance"] > OFF_WALL].mean()
            error, _ = lattice_errors(model.fit.alignment, truth["reciprocal"])
    data, chunk = signal.data, signal.data.blocks[0].nbytes / 1e6
    print(f"{data.shape}, {data.nbytes / 1e9:.2f} GB, chunks of {chunk:.0f} MB")
    print(f"  {model!r}")
    print(f"  domains right {right.mean():.4f}, off walls {off_wall:.4f}, lattice {error:.1e}")
    print(f"  {wall:.1f} s, {cpu:.1f} CPU s, of which {found:.1f} for the lattice")
    print(f"  {memory:.0f} MB at most, {before:.0f} MB before")


def image(given: argparse.Namespace) -> None:
    """The lattice of a measured image."""
    signal = hs.load(given.file)
    start = time.process_time()
    lattice = signal.emsparse.find_scan_lattice(show_progressbar=False)
    used = time.process_time() - start
    pairs = zip(lattice.lengths[0], lattice.length_errors[0], strict=True)
    lengths = " and ".join(f"{length:.5g} +- {error:.1g}" for length, error in pairs)
    angle = lattice.angles[0]
    print(f"{signal}: {lengths} {lattice.units}, {angle:.3f} degrees, {used:.1f} CPU s")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("quality", help=quality.__doc__)
    command.add_argument("table", help=".npz file of scripts/simulate_unit_cells.py")
    command.add_argument("--kind", choices=("wall", "grains", "single"), default="wall")
    command.add_argument("--seeds", type=seed_range, default=range(100, 110), help="100-109")
    command.add_argument("--dose", type=float, nargs="+", default=[3000, 800, 100])
    command.add_argument("--peers", action="store_true", help="SVD and NMF too")
    command.set_defaults(run=quality)
    command = commands.add_parser("stream", help=stream.__doc__)
    command.add_argument("--gigabytes", type=float, default=4)
    command.add_argument("--table", help="as for quality; that of the package by default")
    command.add_argument("--dose", type=float, default=3000)
    command.set_defaults(run=stream)
    command = commands.add_parser("image", help=image.__doc__)
    command.add_argument("file")
    command.set_defaults(run=image)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    hs.set_log_level("ERROR")
    given.run(given)


if __name__ == "__main__":
    main()

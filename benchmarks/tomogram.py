# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tomograms: projector against ASTRA, SIRT against etspy, total variation, and errors.

Run it with ``python benchmarks/tomogram.py``, with OMP_NUM_THREADS=1; parts by name after it.
``--etspy PYTHON`` is an interpreter of an environment with etspy, ``--needle FILE`` the aligned
series in etspy's wheel, HAADF_Aligned.hspy. Times are CPU seconds of one thread, the least of
several runs. Seeds 200 and on were not looked at while anything was chosen.
"""

import argparse
import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import (
    ParallelBeam,
    default_weight,
    estimate_noise,
    reconstruct_sirt,
    reconstruct_tgv,
    reconstruct_tv,
    reconstruct_wavelets,
    select_weight,
)

TILTS = np.linspace(-70, 70, 71)
KINDS = ("particles", "porous", "needle", "clouds")
#: Runs in the other environment: seconds and volume of etspy's SIRT.
ETSPY = """
import sys, time
import numpy as np
from etspy.api import TomoStack
data = np.load(sys.argv[1])
stack = TomoStack(data["images"], tilts=data["tilts"])
start = time.process_time()
volume = stack.reconstruct(
    "SIRT", iterations=30, constrain=True, cuda=False, ncores=1, show_progressbar=False
)
print(time.process_time() - start)
np.save(sys.argv[2], volume.data)
"""


def seconds(function, n: int = 5) -> float:
    """Least CPU time of n runs, after one that compiles."""
    function()
    times = []
    for _ in range(n):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def error(volume: np.ndarray, truth: np.ndarray) -> float:
    """Relative error."""
    return float(np.linalg.norm(volume - truth) / np.linalg.norm(truth))


def projector() -> None:
    """A slice of 256 x 256 px at 71 tilts, of a slab of 64."""
    import astra

    rng = np.random.default_rng(0)
    volume = rng.random((64, 256, 256)).astype(np.float32)
    operator = ParallelBeam(TILTS, 256)
    slabs = operator.volume_to_slabs(volume)
    rays, back = operator.forward_slabs(slabs), operator.volume_to_slabs(volume)
    pixels = astra.create_vol_geom(256, 256)
    detector = astra.create_proj_geom("parallel", 1.0, 256, np.deg2rad(TILTS))
    number = astra.create_projector("linear", detector, pixels)
    image = astra.data2d.create("-vol", pixels, volume[0])
    sinogram = astra.data2d.create("-sino", detector, 0)
    ours = (
        seconds(lambda: operator.forward_slabs(slabs, rays)) / 64,
        seconds(lambda: operator.adjoint_slabs(rays, back)) / 64,
    )
    for kind, own, target in zip(
        ("FP", "BP"), ours, ("VolumeDataId", "ReconstructionDataId"), strict=True
    ):
        settings = astra.astra_dict(kind)
        settings |= {"ProjectorId": number, "ProjectionDataId": sinogram, target: image}
        algorithm = astra.algorithm.create(settings)
        peer = seconds(lambda algorithm=algorithm: astra.algorithm.run(algorithm))
        name = {"FP": "forward", "BP": "back"}[kind]
        print(f"  {name}: {own * 1e3:.3f} ms a slice, ASTRA {peer * 1e3:.1f} ms, {peer / own:.0f}x")


def threads() -> None:
    """Two threads against one, in seconds of the clock."""
    series = simulate_tilt_series("particles", 256, 256, TILTS, seed=200)
    sinogram = np.ascontiguousarray(series.images.transpose(2, 0, 1))
    times = {}
    for _ in range(3):
        for n in (1, 2):
            operator = ParallelBeam(TILTS, 256, num_workers=n)
            start = time.perf_counter()
            reconstruct_tv(sinogram, operator, 200.0, max_iterations=100)
            times.setdefault(n, []).append(time.perf_counter() - start)
    one, two = (min(times[n]) for n in (1, 2))
    print(f"  1 thread {one:.1f} s, 2 threads {two:.1f} s, {one / two:.2f}x")


def solver() -> None:
    """A volume of 256^3 voxels at 71 tilts, with lambda from left out tilts."""
    series = simulate_tilt_series("particles", 256, 256, TILTS, seed=200)
    sinogram = np.ascontiguousarray(series.images.transpose(2, 0, 1))
    operator = ParallelBeam(TILTS, 256)
    weight = chosen(sinogram[64:192], operator, series.images)
    reconstruct_tv(sinogram[:4], operator, weight, max_iterations=20)
    for n in (5, 10, 12, 20, 1000):
        start = time.process_time()
        result = reconstruct_tv(sinogram, operator, weight, max_iterations=n)
        used = time.process_time() - start
        print(
            f"  {result.n_iterations} iterations: {used:.1f} CPU s, gap {result.gap:.1e}, "
            f"error {error(result.volume, series.volume):.4f}"
        )


def cuda() -> None:
    """A graphics card beside the processor, in seconds of the clock, transfers included."""
    series = simulate_tilt_series("particles", 256, 256, TILTS, seed=200)
    sinogram = np.ascontiguousarray(series.images.transpose(2, 0, 1))
    for n, name in ((60, "60 iterations"), (1000, "to a gap of 0.001")):
        for device in ("cpu", "cuda"):
            operator = ParallelBeam(TILTS, 256, num_workers=os.cpu_count() or 1, device=device)
            reconstruct_tv(sinogram[:70], operator, 200.0, max_iterations=20)
            start = time.perf_counter()
            result = reconstruct_tv(sinogram, operator, 200.0, max_iterations=n)
            used = time.perf_counter() - start
            print(
                f"  {device}, {name}: {used:.2f} s, {result.n_iterations} iterations, "
                f"gap {result.gap:.1e}, error {error(result.volume, series.volume):.4f}",
                flush=True,
            )


def sirt(python: str | None) -> None:
    """SIRT, 30 iterations, of 256 x 256 px at 71 tilts."""
    series = simulate_tilt_series("particles", 256, 64, TILTS, seed=200)
    sinogram = np.ascontiguousarray(series.images.transpose(2, 0, 1))
    operator = ParallelBeam(TILTS, 256)
    own = seconds(lambda: reconstruct_sirt(sinogram, operator, 30), 2) / 64
    found = reconstruct_sirt(sinogram[30:34], operator, 30)
    print(f"  {own:.4f} s a slice, error {error(found, series.volume[30:34]):.4f}")
    if python is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        data, result = Path(folder) / "data.npz", Path(folder) / "volume.npy"
        np.savez(data, images=series.images[:, :, 30:34], tilts=TILTS)
        command = [python, "-c", ETSPY, str(data), str(result)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        peer, volume = float(out.split()[-1]) / 4, np.load(result)
    print(f"  etspy {peer:.3f} s a slice, error {error(volume, series.volume[30:34]):.4f}")
    print(f"  {peer / own:.0f}x")


def chosen(sinogram: np.ndarray, operator: ParallelBeam, images: np.ndarray) -> float:
    """Weight that left out tilts choose, as ``lambda_="auto"`` does."""

    def volume(part, projector, weight):
        return reconstruct_tv(part, projector, weight, tolerance=1e-2, max_iterations=80).volume

    start = default_weight(estimate_noise(images), operator.n_tilts)
    return select_weight(sinogram, operator, volume, start)


def errors(seeds: list[int]) -> None:
    """Error with the chosen weight over that of the best of a grid, and the best of SIRT."""
    worst, pairs = 0.0, []
    for kind in KINDS:
        for n_tilts, counts in ((15, 100), (41, 100), (41, 20)):
            for seed in seeds:
                tilts = np.linspace(-70, 70, n_tilts)
                series = simulate_tilt_series(kind, 128, 32, tilts, counts, seed=seed)
                sinogram = np.ascontiguousarray(series.images.transpose(2, 0, 1))
                operator = ParallelBeam(tilts, 128)
                weight = chosen(sinogram, operator, series.images)
                result = reconstruct_tv(sinogram, operator, weight)
                off, grid = error(result.volume, series.volume), []
                for factor in 2.0 ** np.arange(-1, 1.1, 0.25):
                    other = reconstruct_tv(sinogram, operator, factor * weight, tolerance=2e-3)
                    grid.append(error(other.volume, series.volume))
                steps, x = [], None
                for n in (5, 5, 5, 5, 10, 20):
                    x = reconstruct_sirt(sinogram, operator, n, start=x)
                    steps.append(error(x, series.volume))
                ratio = off / min(grid)
                worst = max(worst, ratio)
                pairs.append(result.n_iterations)
                print(
                    f"  {kind}, {n_tilts} tilts, {counts} counts, seed {seed}: error {off:.4f}, "
                    f"{ratio:.3f} of the best weight's; SIRT at its best {min(steps):.4f}; "
                    f"gap 0.001 after {result.n_iterations} iterations",
                    flush=True,
                )
    print(f"  worst {worst:.3f}; iterations up to {max(pairs)}, median {np.median(pairs):.0f}")


def sparse(sinogram: np.ndarray, operator: ParallelBeam, weight: float, **settings):
    """Reconstruction of few densities, without total variation."""
    return reconstruct_tv(sinogram, operator, 0.0, sparsity=weight, **settings)


def least_error(error_with: Callable[[float], float], start: float) -> tuple[float, float]:
    """Least error and its weight, of a grid of steps by sqrt(2) that ends beyond it both ways."""
    best, weight = error_with(start), start
    for step in (np.sqrt(2), np.sqrt(0.5)):
        for k in itertools.count(1):
            found = error_with(start * step**k)
            if found > best:
                break
            best, weight = found, start * step**k
    return best, weight


def priors(seeds: list[int]) -> None:
    """Least error of each prior over weights, the weight, and iterations to a gap of 0.001."""
    # With where the search begins: few densities have other minima at low weights, with errors
    # above those of nothing at all.
    methods = {
        "tv": (reconstruct_tv, 1),
        "tgv": (reconstruct_tgv, 1),
        "wavelets, 1 level": (reconstruct_wavelets, 1),
        "wavelets, 2 levels": (partial(reconstruct_wavelets, levels=2), 1),
        "identity": (sparse, 16),
    }
    for kind, n_tilts, seed in itertools.product(KINDS, (15, 41), seeds):
        tilts = np.linspace(-70, 70, n_tilts)
        series = simulate_tilt_series(kind, 64, 32, tilts, 100, seed=seed)
        sinogram = np.ascontiguousarray(series.images.transpose(2, 0, 1))
        operator = ParallelBeam(tilts, 64)
        usual = default_weight(estimate_noise(series.images), n_tilts)
        for name, (method, factor) in methods.items():
            solve = partial(method, sinogram, operator)

            def error_with(weight: float, solve=solve, truth=series.volume) -> float:
                return error(solve(weight, tolerance=1e-2).volume, truth)

            start = time.process_time()
            _, weight = least_error(error_with, factor * usual)
            result = solve(weight)
            print(
                f"  {kind}, {n_tilts} tilts, seed {seed}, {name}: "
                f"error {error(result.volume, series.volume):.4f} with {weight / usual:.2f} "
                f"sigma sqrt(n), {result.n_iterations} iterations, gap {result.gap:.1e}, "
                f"{time.process_time() - start:.0f} CPU s with the search",
                flush=True,
            )


def needle(file: str) -> None:
    """Every eighth tilt of a measured needle predicts the others."""
    import hyperspy.api as hs

    from emsparse_hs.signals._tilt_score import score_parts
    from emsparse_hs.tomography.selection import LeftOut

    signal = hs.load(file, signal_type="tilt_series").isig[96:128, :]
    signal.set_tilts(np.arange(-76, 77, 2.0))
    kept = np.arange(0, 77, 8)
    parts = LeftOut(kept, np.setdiff1d(np.arange(kept[-1]), kept))
    everything = ("shift", "slide", "gain", "background")
    for arguments in (
        {"method": "sirt", "max_iter": 100},
        {"lambda_": "auto"},
        {"lambda_": "cv"},
        {"lambda_": "cv", "refine": everything},
    ):
        method = arguments.pop("method", "tv")
        if method == "tv":
            arguments["tol"] = 3e-3
        score = score_parts(signal, parts, method, arguments | {"show_progressbar": False})
        print(f"  {method} {arguments}: {score}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["projector", "threads", "solver", "sirt"])
    parser.add_argument("--etspy")
    parser.add_argument("--needle")
    parser.add_argument("--seeds", nargs="*", type=int, default=[200, 201])
    chosen_parts = parser.parse_args()
    for part in chosen_parts.parts:
        print(part, flush=True)
        {
            "projector": projector,
            "threads": threads,
            "solver": solver,
            "cuda": cuda,
            "sirt": lambda: sirt(chosen_parts.etspy),
            "errors": lambda: errors(chosen_parts.seeds),
            "priors": lambda: priors(chosen_parts.seeds),
            "needle": lambda: needle(chosen_parts.needle),
        }[part]()

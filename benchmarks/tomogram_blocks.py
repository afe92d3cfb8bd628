# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tomograms in blocks of slices: how far they are from the joint problem, and their memory.

Run it with ``python benchmarks/tomogram_blocks.py``, with OMP_NUM_THREADS=1 and parts by name.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from tomogram import KINDS, chosen

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import TiltSeries
from emsparse_hs.tomography import ParallelBeam, halo, reconstruct_tv

#: Runs in a process of its own: bytes of memory that a reconstruction takes at its peak.
MEMORY = """
import resource, sys
import numpy as np
import hyperspy.api as hs
series = hs.load(sys.argv[1], lazy=True)
arguments = eval(sys.argv[2])
slices, lazy = arguments.pop("slices"), arguments.pop("lazy")
arguments |= {"lambda_": 200.0, "lazy_output": False, "show_progressbar": False, "tol": 1.0}
series.isig[:2, :].reconstruct(**arguments | {"dims": 2})
series = series.isig[:slices, :]
if not lazy:
    series.compute(show_progressbar=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tomogram = series.reconstruct(**arguments)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
np.save(sys.argv[3], tomogram.data)
"""


def memory() -> None:
    """Peak memory of a lazy series of 256 px, 512 slices and 31 tilts, beyond that of imports."""
    tilts = np.linspace(-70, 70, 31)
    images = simulate_tilt_series("porous", 256, 64, tilts, seed=200).images
    series = TiltSeries(np.tile(images, (1, 1, 8)))
    series.set_tilts(tilts)
    megabyte, volume = 1e6, 4 * 256**2
    with tempfile.TemporaryDirectory() as folder:
        file, results = Path(folder) / "series.zspy", []
        series.save(file, chunks=(31, 64, 64))
        for name, arguments in (
            ("one window of 256 slices alone", {"dims": 3, "lazy": False, "slices": 256}),
            ("in blocks, lazy", {"dims": 3, "lazy": True, "block": 160}),
            ("in blocks, eager", {"dims": 3, "lazy": False, "block": 160}),
            ("two dimensions, lazy", {"dims": 2, "lazy": True}),
        ):
            given = {"slices": 512, "max_iter": 20} | arguments
            result = Path(folder) / f"{len(results)}.npy"
            command = [sys.executable, "-c", MEMORY, str(file), repr(given), str(result)]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            taken = float(run.stdout.split()[-1]) / megabyte
            results.append(np.load(result))
            size = volume * len(results[-1]) / megabyte
            print(f"  {name}: {taken:.0f} MB, its result {size:.0f} MB", flush=True)
        off = np.abs(results[1] - results[2]).max() / results[2].max()
        print(f"  lazy and eager blocks differ by {off:.1e} of the largest density")


def blocks(seeds: list[int]) -> None:
    """Two blocks that go over into each other, against the joint problem, by their halo."""
    found: dict[int, list] = {}
    for kind, n_tilts, counts, seed in itertools.product(KINDS, (15, 41), (20, 100), seeds):
        tilts = np.linspace(-70, 70, n_tilts)
        series = simulate_tilt_series(kind, 64, 128, tilts, counts, seed=seed)
        sinogram = np.ascontiguousarray(series.images.transpose(2, 0, 1))
        operator = ParallelBeam(tilts, 64)
        weight = chosen(sinogram[32:96], operator, series.images)
        print(f"  {kind}, {n_tilts} tilts, {counts} counts, seed {seed}", flush=True)
        for h, off in seams(sinogram, operator, weight).items():
            found.setdefault(h, []).append(off)
            print("   ", h, " ".join(f"{each:.1e}" for each in off), flush=True)
    print("  halo; median and worst: worst slice, the same with the default tolerance, seam")
    for h, cases in found.items():
        numbers = np.stack([np.median(cases, axis=0), np.max(cases, axis=0)], axis=1)
        print(f"  {h}", *(f"{median:.1e} {most:.1e}  " for median, most in numbers))


def seams(sinogram: np.ndarray, operator: ParallelBeam, weight: float) -> dict[int, tuple]:
    """By halo: off by how much is the worst slice, as root mean square over that of the volume.

    That of nearly exact solutions, that of the joint problem with the default tolerance, and by how
    much two nearly exact blocks differ in the middle.
    """
    exactly = {"tolerance": 1e-5, "max_iterations": 1500}
    exact, usual = (
        reconstruct_tv(sinogram, operator, weight, **way).volume for way in (exactly, {})
    )
    size = np.sqrt(np.square(exact, dtype=np.float64).mean())

    def off(one: np.ndarray, other: np.ndarray) -> float:
        return float(np.sqrt(np.square(one - other).mean((-1, -2)).max()) / size)

    found = {}
    for h in (8, 16, 32, 48):
        parts = halo.windows(len(sinogram), len(sinogram) // 2 - h, h)
        volume, middle = np.zeros_like(exact), []
        for part, share in zip(parts, halo.shares(parts), strict=True):
            data = sinogram[part.first : part.stop]
            block = reconstruct_tv(data, operator, weight, **exactly).volume
            volume[part.first : part.stop] += share[:, None, None] * block
            middle.append(block[len(sinogram) // 2 - part.first])
        found[h] = off(volume, exact), off(usual, exact), off(*middle)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["blocks", "memory"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[21])
    arguments = parser.parse_args()
    for part in arguments.parts:
        print(part, flush=True)
        {"blocks": lambda: blocks(arguments.seeds), "memory": memory}[part]()

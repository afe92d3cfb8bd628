# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Simulate dynamical master patterns of a table of crystals, on a GPU where there is one.

Usage: ``python scripts/simulate_masters.py crystals.json masters.npz``, with the table that
``collect_crystals.py`` writes. It needs de-ebsd (0.2.1, GPL-3.0-or-later), PyTorch and spglib, on
which the project does not depend.

Intensities are those of Bloch waves with Bethe potentials, summed over the depths that a Monte
Carlo simulation gives at 70 degrees of tilt. All atoms are passed to de-ebsd without symmetry, so
its settings of space groups are not made use of; directions that are equivalent by spglib's point
group are simulated once.

The file holds ``maps``, uint8 of shape (n, 2, 2 npx + 1, 2 npx + 1): both hemispheres in the square
Lambert projection, rows along y and columns along x of the crystal's frame, each crystal stretched
to 0 to 255; ``cells`` of shape (n, 3, 3), the edges in that frame in angstrom, one a row; and
``manifest``, in JSON: a dictionary for each map with how it was made.
"""

import argparse
import json
import signal
import time
import zlib
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import spglib
import torch
from de_ebsd import BetheParameters, BlochPrismBackend, Crystal, DepthDistribution
from de_ebsd.core.lambert import master_pattern_grid
from de_ebsd.crystal.data.scattering_tables import ELEMENT_SYMBOLS
from de_ebsd.crystal.structure_factors import compute_structure_factors
from de_ebsd.diffraction.backends import SimulationInputs

#: Angstrom in a nanometre, de-ebsd's unit.
ANGSTROM = 10
#: Of the specimen in degrees.
TILT = 70.0
#: Seconds between two writings of the file.
SAVE_EVERY = 60
#: Not along any symmetry element, so that it tells equivalent directions apart.
PROBE = np.array([1.0, 0.6180339, 0.2360679])


class TooLong(Exception):
    """A crystal took longer than it may."""


@contextmanager
def at_most(seconds: float):
    """Stop what takes longer, which memory and the time on a GPU may not allow."""

    def stop(*_):
        raise TooLong(f"longer than {seconds:g} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def as_crystal(entry: dict) -> Crystal:
    """de-ebsd's crystal, of all atoms and no symmetry."""
    cell = np.array(entry["cell"])
    a, b, c = np.linalg.norm(cell, axis=1)
    cosines = [cell[1] @ cell[2] / b / c, cell[0] @ cell[2] / a / c, cell[0] @ cell[1] / a / b]
    alpha, beta, gamma = np.degrees(np.arccos(cosines))
    symbols = [ELEMENT_SYMBOLS[number - 1] for number in entry["numbers"]]
    return Crystal.from_parameters(
        a=a / ANGSTROM,
        b=b / ANGSTROM,
        c=c / ANGSTROM,
        alpha=alpha,
        beta=beta,
        gamma=gamma,
        space_group=1,
        atoms=list(zip(symbols, entry["positions"], strict=True)),
    )


def point_group(cell: np.ndarray, entry: dict) -> np.ndarray:
    """Rotations of the crystal's frame, (n, 3, 3), that act on directions as columns."""
    atoms = (cell, entry["positions"], entry["numbers"])
    found = spglib.get_symmetry_dataset(atoms, symprec=0.02)
    to_frame, rotations = cell.T, np.unique(found.rotations, axis=0)
    return to_frame @ rotations @ np.linalg.inv(to_frame)


def distinct(directions: np.ndarray, rotations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of each set of equivalent directions, and which of them each direction is.

    Parameters
    ----------
    directions : float64 array of shape (n, 3)
    rotations : float64 array of shape (n_rotations, 3, 3)

    Returns
    -------
    representatives : float64 array of shape (n_distinct, 3)
    which : int array of shape (n,)
    """
    best, highest = directions.copy(), np.full(len(directions), -np.inf)
    for rotation in rotations:
        turned = directions @ rotation.T
        along = turned @ PROBE
        is_higher = along > highest + 1e-9
        best[is_higher], highest[is_higher] = turned[is_higher], along[is_higher]
    _, first, which = np.unique(best.round(4), axis=0, return_index=True, return_inverse=True)
    return best[first], which.ravel()


def prepare(crystal: Crystal, options, device: str) -> BlochPrismBackend:
    """Bloch waves of a crystal, ready for directions."""
    factors = compute_structure_factors(crystal, options.beam_energy, options.spacing / ANGSTROM)
    depths = DepthDistribution.from_simulation(
        crystal,
        options.beam_energy,
        tilt_deg=TILT,
        n_electrons=options.electrons,
        seed=options.seed,
    )
    strong, weak, cutoff = options.bethe
    waves = BlochPrismBackend(torch.complex64)
    waves.prepare(
        SimulationInputs(
            structure_factors=factors,
            bethe=BetheParameters(strong=strong, weak=weak, cutoff=cutoff),
            monte_carlo=depths,
            device=torch.device(device),
            dtype=torch.float32,
        )
    )
    return waves


def master_pattern(entry: dict, options, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Both hemispheres, (2, 2 npx + 1, 2 npx + 1), and the cell's edges in their frame."""
    crystal = as_crystal(entry)
    cell = np.array(crystal.direct_structure_matrix).T * ANGSTROM
    north = master_pattern_grid(options.npx, dtype=torch.float64).numpy().reshape(-1, 3)
    directions = np.concatenate([north, north * [1, 1, -1]])
    representatives, which = distinct(directions, point_group(cell, entry))
    waves = prepare(crystal, options, device)
    beams = torch.as_tensor(representatives, dtype=torch.float32, device=device)
    with torch.no_grad():
        intensities = waves.intensities(beams).float().cpu().numpy()
    size = 2 * options.npx + 1
    return intensities[which].reshape(2, size, size), cell


def as_bytes(intensities: np.ndarray) -> np.ndarray:
    """Stretched to 0 to 255, but for the lowest and the highest of two thousand."""
    low, high = np.percentile(intensities, [0.05, 99.95])
    return np.rint(np.clip((intensities - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def in_turn(crystals: list[dict], options) -> list[dict]:
    """Small crystals first and all lattices in turn, so that none is missing if time runs out."""
    queues = defaultdict(list)
    for entry in sorted(crystals, key=lambda entry: entry["atoms_per_primitive_cell"]):
        if entry["atoms_per_primitive_cell"] <= options.largest:
            parity = zlib.crc32(entry["name"].encode()) % 2
            queues[entry["lattice"], parity].append(entry)
    ranked = [
        (rank, key, entry)
        for key, queue in queues.items()
        for rank, entry in enumerate(queue[: options.limit])
    ]
    return [entry for *_, entry in sorted(ranked, key=lambda item: item[:2])]


def save(path: Path, maps: list, cells: list, manifest: list) -> None:
    """Write the file."""
    if maps:
        np.savez_compressed(path, maps=maps, cells=cells, manifest=json.dumps(manifest))


def simulate(crystals: list[dict], options) -> None:
    """Simulate until the crystals or the time are used up."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    settings = {
        "npx": options.npx,
        "smallest_spacing": options.spacing,
        "beam_energy": options.beam_energy,
        "bethe": options.bethe,
        "electrons": options.electrons,
        "seed": options.seed,
    }
    maps, cells, manifest = [], [], []
    start = saved = time.monotonic()
    for entry in crystals:
        began = time.monotonic()
        if began - start > options.seconds:
            break
        identity = {key: entry[key] for key in ("name", "lattice", "atoms_per_primitive_cell")}
        try:
            with at_most(options.longest):
                intensities, cell = master_pattern(entry, options, device)
        except (TooLong, RuntimeError, ValueError) as fault:
            print(f"{identity}: {fault!r:.150}", flush=True)
            if device == "cuda":
                torch.cuda.empty_cache()
            continue
        maps.append(as_bytes(intensities))
        cells.append(cell)
        used = round(time.monotonic() - began, 2)
        manifest.append(identity | settings | {"device": device, "seconds": used})
        print(f"{identity}: {used} s", flush=True)
        if time.monotonic() - saved > SAVE_EVERY:
            save(options.masters, maps, cells, manifest)
            saved = time.monotonic()
    save(options.masters, maps, cells, manifest)
    print(f"{len(maps)} maps in {time.monotonic() - start:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="JSON file to read")
    parser.add_argument("masters", type=Path, help="npz file to write")
    parser.add_argument("--npx", type=int, default=120, help="half of a map's width in px")
    parser.add_argument("--spacing", type=float, default=0.6, help="the smallest, in angstrom")
    parser.add_argument("--beam-energy", type=float, default=20.0, help="in keV")
    parser.add_argument(
        "--bethe", type=float, nargs=3, default=(4, 20, 50), help="strong, weak and cutoff"
    )
    parser.add_argument("--electrons", type=int, default=4000, help="of the Monte Carlo simulation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--largest", type=int, default=30, help="atoms of a primitive cell")
    parser.add_argument("--limit", type=int, help="crystals a lattice and parity")
    parser.add_argument("--names", nargs="*", help="only these crystals")
    parser.add_argument("--seconds", type=float, default=1500, help="for all crystals")
    parser.add_argument("--longest", type=float, default=25, help="seconds for one crystal")
    options = parser.parse_args()
    crystals = json.loads(options.table.read_text())
    if options.names:
        crystals = [entry for entry in crystals if entry["name"] in options.names]
    simulate(in_turn(crystals, options), options)


if __name__ == "__main__":
    main()

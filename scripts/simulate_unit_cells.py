# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Simulate convergent-beam patterns against the probe's position, across a wall between domains.

Usage: ``python scripts/simulate_unit_cells.py CRYSTAL table.npz [--rank 256]``, with a crystal of
`CRYSTALS`. It needs abTEM and ASE, on which the project does not depend, and some 3 minutes on one
core.

The specimen is periodic with one cell along x and with two domains along y, so that the probe sees
two walls. Potentials of independent atoms (Lobato) are abTEM's, the multislice is that of Kirkland
(Advanced Computing in Electron Microscopy, 2020, ch. 6) with two slices a cell. There are no
phonons, and the source is a point.

The file holds a table of rank ``--rank``, which keeps it small: ``scores`` of shape
(positions y, positions x, thicknesses, rank) and ``patterns`` (rank, 32, 32) in float16. Their
product is the part of the beam in each pixel of the detector. ``lost`` is the part of the table's
variance that the rank leaves out. Lengths are in angstrom, angles in mrad, the energy in keV.

The table that comes with the package is ``PbTiO3 cbed_PbTiO3.npz --rank 64 --cells-between 10
--thicknesses 3``.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import abtem
import numpy as np
import scipy.fft
from abtem.core.energy import energy2sigma, energy2wavelength
from ase import Atoms

#: Detector, in px.
DETECTOR = 32
#: Sampling of the wave in angstrom, before it is rounded to a grid that transforms fast.
SAMPLING = 0.15
#: Cells of the supercell along x, which tells how finely the aperture is sampled.
CELLS_X = 6


@dataclass(frozen=True)
class Crystal:
    """Two domains of a crystal, and how it is looked at."""

    #: ``atoms(order)`` gives element and fractional coordinates (x, y, z) of a cell whose order
    #: parameter is between 1 (first domain) and -1 (second).
    atoms: object
    #: Edges x and y of a cell, and along the beam.
    cell: tuple[float, float, float]
    #: Cells along y of each domain, and half the width of a wall in cells.
    n_cells: tuple[int, int]
    wall_width: float
    beam_energy: float
    convergence_angle: float
    detector_step: float
    #: Positions a cell along x and y: half a step of Nyquist or finer.
    positions: tuple[int, int]
    #: Cells between two thicknesses, and how many of them.
    cells_between: int = 5
    n_thicknesses: int = 6
    #: Where the first domain begins and ends, in cells beyond the first of its cells and beyond
    #: the last: of a sharp interface midway between two planes of atoms.
    ends: tuple[float, float] = (0.0, 0.0)


def lead_titanate(order: float):
    """PbTiO3, P4mm, looked at along a; the polarisation is along y (180 degree wall)."""
    return [
        ("Pb", (0, 0, 0)),
        ("Ti", (0.5, 0.5 + 0.0377 * order, 0.5)),
        ("O", (0.5, 0.1118 * order, 0.5)),
        ("O", (0, 0.5 + 0.1174 * order, 0.5)),
        ("O", (0.5, 0.5 + 0.1174 * order, 0)),
    ]


def bismuth_ferrite(order: float):
    """Pseudo-cubic BiFeO3 whose projected polarisation turns from [11] to [-11] (109 degrees)."""
    d, e = 0.035, 0.065
    return [
        ("Bi", (0.9 * d * order, 0.9 * d, 0)),
        ("Fe", (0.5 + 0.4 * d * order, 0.5 + 0.4 * d, 0.5)),
        ("O", (0.5 - e * order, -e, 0.5)),
        ("O", (-e * order, 0.5 - e, 0.5)),
        ("O", (0.5 - e * order, 0.5 - e, 0)),
    ]


def titanate_on_aluminate(order: float):
    """SrTiO3 and, beyond sharp interfaces of TiO2 and LaO planes, LaAlO3 strained to it."""
    large, small = ("Sr", "Ti") if order > 0 else ("La", "Al")
    oxygen = [(0.5, 0, 0.5), (0, 0.5, 0.5), (0.5, 0.5, 0)]
    return [(large, (0, 0, 0)), (small, (0.5, 0.5, 0.5)), *(("O", place) for place in oxygen)]


CRYSTALS = {
    "PbTiO3": Crystal(
        lead_titanate, (3.904, 4.152, 3.904), (6, 6), 0.6, 300, 18, 2.3, (16, 17)
    ),
    "BiFeO3": Crystal(
        bismuth_ferrite, (3.962, 3.962, 3.962), (5, 7), 0.5, 200, 22, 2.7, (18, 18)
    ),
    "SrTiO3-LaAlO3": Crystal(
        titanate_on_aluminate, (3.905, 3.905, 3.905), (6, 6), 0.1, 300, 21.4, 2.6, (18, 18),
        ends=(0.25, -0.25),
    ),
}  # fmt: skip


def supercell(crystal: Crystal) -> Atoms:
    """One slab of the specimen, a cell thick, with smooth walls at 0 and between the domains."""
    n_first, n = crystal.n_cells[0], sum(crystal.n_cells)

    def order(row: float) -> float:
        walls = np.tanh(np.array([row, n_first - row, n - row]) / crystal.wall_width)
        return float(walls.prod())

    symbols, places = [], []
    for row in range(n):
        for column in range(CELLS_X):
            for k, (symbol, inside) in enumerate(crystal.atoms(1.0)):
                # Where the atom is when not displaced tells how far across a wall it is.
                own = order((row + round(2 * inside[1]) / 2) % n)
                symbol, inside = crystal.atoms(own)[k]
                symbols.append(symbol)
                places.append(np.add(inside, (column, row - crystal.ends[0], 0)) * crystal.cell)
    size = np.multiply(crystal.cell, (CELLS_X, n, 1))
    atoms = Atoms(symbols, positions=places, cell=size, pbc=True)
    atoms.wrap()
    return atoms


def fast_length(length: float) -> int:
    """Even number of samples that transforms fast."""
    n = int(np.ceil(length / SAMPLING))
    while n % 2 or scipy.fft.next_fast_len(n) != n:
        n += 1
    return n


class Multislice:
    """Waves through the specimen, for probes side by side along x."""

    def __init__(self, crystal: Crystal):
        self.crystal = crystal
        energy = crystal.beam_energy * 1e3
        self.wavelength = energy2wavelength(energy)
        atoms = supercell(crystal)
        size = atoms.cell.lengths()
        shape = tuple(fast_length(length) for length in size[:2])
        slices = abtem.Potential(
            atoms, gpts=shape, slice_thickness=size[2] / 2, parametrization="lobato",
            projection="infinite",
        ).build().compute().array  # fmt: skip
        self.k = [np.fft.fftfreq(n, length / n) for n, length in zip(shape, size, strict=False)]
        square = self.k[0][:, None] ** 2 + self.k[1] ** 2
        inside = square < (2 / 3 * min(abs(k).max() for k in self.k)) ** 2
        waves = np.exp(1j * energy2sigma(energy) * slices)
        self.slices = scipy.fft.ifft2(scipy.fft.fft2(waves) * inside).astype(np.complex64)
        step = size[2] / len(slices)
        fresnel = np.exp(-1j * np.pi * self.wavelength * step * square) * inside
        self.fresnel = fresnel.astype(np.complex64)
        self.aperture = self._aperture(np.sqrt(square), size)
        self.binning = [self._binning(k) for k in self.k]
        self.length = size[1]

    def _aperture(self, radius: np.ndarray, size) -> np.ndarray:
        """Of unit power, with an edge as wide as a sample."""
        edge = np.hypot(*(1 / size[:2])) / 2
        cut = self.crystal.convergence_angle * 1e-3 / self.wavelength
        aperture = np.clip((cut - radius) / edge + 0.5, 0, 1)
        return aperture / np.linalg.norm(aperture)

    def _binning(self, k: np.ndarray) -> np.ndarray:
        """Part of each sample of the wave that falls on each pixel, (pixels, samples)."""
        angle = np.fft.fftshift(k) * self.wavelength * 1e3
        width = angle[1] - angle[0]
        edges = (np.arange(DETECTOR + 1) - DETECTOR / 2) * self.crystal.detector_step
        low = np.maximum(edges[:-1, None], angle - width / 2)
        high = np.minimum(edges[1:, None], angle + width / 2)
        return np.clip(high - low, 0, None) / width

    def line(self, y: float, xs: np.ndarray) -> np.ndarray:
        """Patterns of a line of probes, of shape (x, thickness, 32, 32)."""
        shift_x = np.exp(-2j * np.pi * np.multiply.outer(xs, self.k[0]))
        shift_y = np.exp(-2j * np.pi * y * self.k[1])
        wave = scipy.fft.ifft2(self.aperture * shift_y * shift_x[:, :, None], norm="ortho")
        wave = wave.astype(np.complex64)
        patterns = []
        for n in range(1, self.crystal.cells_between * self.crystal.n_thicknesses + 1):
            for part in self.slices:
                spread = scipy.fft.fft2(wave * part, overwrite_x=True)
                wave = scipy.fft.ifft2(spread * self.fresnel, overwrite_x=True)
            if n % self.crystal.cells_between == 0:
                patterns.append(self._detected(wave))
        return np.stack(patterns, axis=1)

    def _detected(self, wave: np.ndarray) -> np.ndarray:
        intensity = np.abs(scipy.fft.fft2(wave, norm="ortho")) ** 2
        intensity = np.fft.fftshift(intensity, axes=(1, 2))
        # Rows of the detector are y, the last axis of the wave.
        return self.binning[1] @ intensity.swapaxes(1, 2) @ self.binning[0].T


def simulate(crystal: Crystal, workers: int) -> tuple[np.ndarray, Multislice]:
    """Table of shape (y, x, thickness, 32, 32)."""
    slices = Multislice(crystal)
    n_x, n_y = crystal.positions[0], crystal.positions[1] * sum(crystal.n_cells)
    xs = np.arange(n_x) * crystal.cell[0] / n_x
    ys = np.arange(n_y) * slices.length / n_y
    with ThreadPoolExecutor(workers) as pool:
        return np.stack(list(pool.map(lambda y: slices.line(y, xs), ys))), slices


def compressed(table: np.ndarray, rank: int) -> dict:
    """Two factors of a table, and what they leave out."""
    rows = table.reshape(-1, DETECTOR**2)
    values, axes = np.linalg.eigh(rows.T @ rows)
    axes = axes[:, ::-1][:, :rank]
    scores = rows @ axes
    scale = np.abs(scores).max()
    scattered = ((rows - rows.mean(0)) ** 2).sum()
    return {
        "scores": (scores / scale).reshape(*table.shape[:3], rank).astype(np.float16),
        "patterns": (axes.T * scale).reshape(rank, DETECTOR, DETECTOR).astype(np.float16),
        "lost": values[:-rank].sum() / scattered,
    }


def main() -> None:
    """Simulate one crystal."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crystal", choices=CRYSTALS)
    parser.add_argument("file")
    parser.add_argument("--rank", type=int, default=256)
    parser.add_argument("--cells-between", type=int, default=5)
    parser.add_argument("--thicknesses", type=int, default=6)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    abtem.config.set({"local_diagnostics.progress_bar": False})
    crystal = replace(
        CRYSTALS[given.crystal],
        cells_between=given.cells_between,
        n_thicknesses=given.thicknesses,
    )
    table, slices = simulate(crystal, given.workers)
    factors = compressed(table, given.rank)
    print(f"left out of the variance: {factors['lost']:.1e}, beam: {table.sum((3, 4)).min():.3f}")
    step = crystal.cells_between * crystal.cell[2]
    np.savez_compressed(
        given.file,
        **factors,
        cell=crystal.cell[:2],
        period=slices.length,
        wall=(crystal.n_cells[0] + crystal.ends[1] - crystal.ends[0]) * crystal.cell[1],
        thickness=step * np.arange(1, crystal.n_thicknesses + 1),
        beam_energy=crystal.beam_energy,
        convergence_angle=crystal.convergence_angle,
        detector_step=crystal.detector_step,
    )


if __name__ == "__main__":
    main()

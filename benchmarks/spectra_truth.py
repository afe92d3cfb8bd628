# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Simulated EDS maps of seven kinds with known truth.

Compositions, background and resolution vary with the seed, as do maps and counts. Seeds below 1000
are for development, those from 1000 on for scores: nothing is set on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

#: Characteristic lines: energy in keV, and weight relative to the strongest one. Energies are
#: rounded from J. A. Bearden, Rev. Mod. Phys. 39 (1967) 78; weights are rough.
LINES = {
    "C": ((0.277, 1.0),),
    "N": ((0.392, 1.0),),
    "O": ((0.525, 1.0),),
    "Mg": ((1.254, 1.0),),
    "Al": ((1.487, 1.0),),
    "Si": ((1.740, 1.0), (1.836, 0.03)),
    "S": ((2.309, 1.0), (2.465, 0.06)),
    "Ca": ((3.692, 1.0), (4.013, 0.13), (0.341, 0.1)),
    "Ti": ((4.512, 1.0), (4.933, 0.12), (0.452, 0.25)),
    "Fe": ((6.405, 1.0), (7.059, 0.13), (0.705, 0.45)),
    "Co": ((6.931, 1.0), (7.649, 0.13), (0.776, 0.5)),
    "Ni": ((7.480, 1.0), (8.267, 0.13), (0.851, 0.55)),
    "Cu": ((8.046, 1.0), (8.904, 0.13), (0.930, 0.6)),
    "Zn": ((8.637, 1.0), (9.570, 0.14), (1.012, 0.6)),
    "Sr": ((1.806, 1.0), (1.872, 0.6), (14.165, 0.4)),
    "Hf": ((7.899, 1.0), (9.023, 0.55), (1.646, 0.6)),
    "W": ((8.398, 1.0), (9.672, 0.55), (1.775, 0.6)),
    "Pt": ((9.442, 1.0), (11.071, 0.55), (2.051, 0.6)),
}

#: Highest energy and that of the electrons in keV; FWHM^2 = noise^2 + FANO * energy.
E_MAX, E_BEAM, FANO = 20.0, 200.0, 2.4544e-3

#: Phases: X-rays of each element, relative to the others.
OXIDES = (
    {"O": 3, "Sr": 1, "Ti": 1},
    {"O": 2, "Ti": 1},
    {"O": 3, "Al": 2, "Fe": 0.1},
    {"O": 1, "Ni": 1, "Fe": 0.3},
)
SILICATES = (
    {"O": 3, "Mg": 0.9, "Fe": 0.1, "Si": 1, "Al": 0.05},
    {"O": 1, "Mg": 0.8, "Fe": 0.25},
    {"O": 3, "Ca": 1, "Si": 1, "Ti": 0.05},
    {"O": 3, "Mg": 0.6, "Fe": 0.4, "Si": 0.8, "Al": 0.4},
    {"Fe": 1, "Ni": 0.2, "S": 0.5},
)
METALS = ({"Cu": 1}, {"Ni": 1, "Cu": 0.02}, {"Zn": 0.5, "Al": 0.5, "Cu": 0.2})
LAYERS = (
    {"Si": 1},
    {"Si": 1, "O": 2},
    {"Hf": 1, "O": 2},
    {"Ti": 1, "N": 1},
    {"W": 1},
    {"Al": 1, "O": 0.2},
)
PARTICLES = ({"C": 5, "Si": 1, "O": 0.5}, {"Pt": 2, "Ni": 1}, {"Co": 1, "O": 1})


class Kind(NamedTuple):
    """What a map shows.

    Attributes
    ----------
    phases : tuple of dict
        X-rays of each element.
    abundances : callable
        Of a shape and a random generator: an array of shape (y, x, phase).
    counts : float
        Mean of a pixel.
    n_channels : int
    shape : tuple of int
        Pixels in y and x.
    """

    phases: tuple[dict[str, float], ...]
    abundances: Callable
    counts: float
    n_channels: int = 1024
    shape: tuple[int, int] = (128, 128)


@dataclass(frozen=True)
class TrueMap:
    """A map, and what it was drawn from.

    Attributes
    ----------
    shape : tuple of int
        Pixels in y and x.
    counts : uint16 csr_array of shape (n_pixels, n_channels)
    abundances : float64 array of shape (n_pixels, n_phases)
        In counts.
    spectra : float64 array of shape (n_phases, n_channels)
        Each sums to 1.
    """

    shape: tuple[int, int]
    counts: sparse.csr_array
    abundances: np.ndarray
    spectra: np.ndarray


def true_map(kind: str, seed: int, shape: tuple[int, int] | None = None) -> TrueMap:
    """Draw a map of one of the `KINDS`, of another shape if one is given."""
    what = KINDS[kind]
    shape = shape or what.shape
    # Maps of kinds that differ in their counts alone are others, too (Bernstein's hash).
    number = reduce(lambda hashed, letter: (33 * hashed + ord(letter)) % 2**31, kind, 5381)
    random = np.random.default_rng([seed, number])
    abundances = what.abundances(shape, random).reshape(-1, len(what.phases))
    abundances *= what.counts / abundances.sum(1).mean()
    spectra = np.stack([spectrum(phase, what.n_channels, random) for phase in what.phases])
    return TrueMap(shape, drawn(abundances, spectra, random), abundances, spectra)


def spectrum(phase: dict[str, float], n_channels: int, random) -> np.ndarray:
    """Lines on bremsstrahlung, of sum 1; each element's amount varies by 15 %."""
    amounts = {k: part * np.exp(0.15 * random.standard_normal()) for k, part in phase.items()}
    share, resolution = random.uniform(0.12, 0.35), random.uniform(0.125, 0.15)
    energies = (np.arange(n_channels) + 0.5) * E_MAX / n_channels
    # The resolution is that at Mn K-alpha.
    noise2 = max(resolution**2 - FANO * 5.9, 0.04**2)
    lines = np.zeros(n_channels)
    for element, amount in amounts.items():
        for energy, weight in LINES[element]:
            sigma = np.sqrt(noise2 + FANO * energy) / 2.3548
            lines += amount * weight / sigma * np.exp(-0.5 * ((energies - energy) / sigma) ** 2)
    window = 1 - np.exp(-((energies / 0.35) ** 2))
    # Kramers' law (Phil. Mag. 46 (1923) 836), with less of what the detector lets through.
    bremsstrahlung = (E_BEAM / np.maximum(energies, 0.05) - 1) * np.exp(-energies / 12)
    lines, bremsstrahlung = lines * window, bremsstrahlung * window**2
    return (1 - share) * lines / lines.sum() + share * bremsstrahlung / bremsstrahlung.sum()


def drawn(abundances: np.ndarray, spectra: np.ndarray, random) -> sparse.csr_array:
    """Poisson distributed counts, count by count: no dense array is needed."""
    shape = len(abundances), spectra.shape[1]
    total = sparse.csr_array(shape, dtype=np.uint16)
    for expected, one in zip(abundances.T, spectra, strict=True):
        offsets = np.concatenate([[0], np.cumsum(random.poisson(expected))])
        below = np.cumsum(one)
        channels = np.searchsorted(below / below[-1], random.random(offsets[-1]), side="right")
        counts = np.ones(offsets[-1], np.uint16)
        total = total + sparse.csr_array((counts, channels.astype(np.int32), offsets), shape)
    return total


def grains(shape: tuple[int, int], n_grains: int, n_phases: int, blur: float, random) -> np.ndarray:
    """Fractions of phases in Voronoi cells, each of one phase, blurred."""
    centres = random.uniform(0, 1, (n_grains, 2)) * shape
    phases = random.choice(n_phases, n_grains)
    phases[:n_phases] = np.arange(n_phases)
    nearest = cKDTree(centres).query(np.indices(shape).reshape(2, -1).T)[1]
    labels = phases[nearest].reshape(shape)
    maps = [gaussian_filter((labels == k).astype(float), blur) for k in range(n_phases)]
    return np.stack(maps, -1) / np.sum(maps, 0)[..., None]


def uneven(shape: tuple[int, int], width: float, low: float, high: float, random) -> np.ndarray:
    """Smooth noise from `low` to `high`."""
    noise = gaussian_filter(random.standard_normal(shape), width, mode="wrap")
    return low + (high - low) * (noise - noise.min()) / np.ptp(noise)


def to_disc(shape: tuple[int, int], n: int, smallest: float, largest: float, random) -> np.ndarray:
    """Distance of each pixel to the nearest of some discs' centres, in radii of the disc."""
    distance = np.full(shape, np.inf)
    y, x = np.indices(shape)
    for _ in range(n):
        centre, radius = random.uniform(0, 1, 2) * shape, random.uniform(smallest, largest)
        distance = np.minimum(distance, np.hypot(y - centre[0], x - centre[1]) / radius)
    return distance


def wedge(shape: tuple[int, int], random) -> np.ndarray:
    """Grains of four phases in a foil that gets thicker."""
    maps = grains(shape, 60, 4, 1.0, random)
    thickness = np.linspace(0.6, 1.4, shape[1]) * uneven(shape, 30, 0.8, 1.2, random)
    return maps * thickness[..., None]


def inclusions(shape: tuple[int, int], random) -> np.ndarray:
    """Grains of four phases, and eight small inclusions of a fifth."""
    maps = grains(shape, 120, 4, 1.5, random)
    fifth = 0.8 * (to_disc(shape, 8, 3, 6, random) < 1)[..., None]
    maps = np.concatenate([maps * (1 - fifth), fifth], -1)
    return maps * uneven(shape, 20, 0.7, 1.3, random)[..., None]


def diffusion(shape: tuple[int, int], random) -> np.ndarray:
    """Three phases that pass into each other."""
    x = np.linspace(-1, 1, shape[1]) + 0.15 * uneven(shape, 25, -1, 1, random)
    y = np.linspace(-1, 1, shape[0])[:, None] + 0.15 * uneven(shape, 25, -1, 1, random)
    right, lower = 1 / (1 + np.exp(-x / 0.18)), 1 / (1 + np.exp(-(y - 0.3) / 0.15))
    return np.stack([(1 - right) * (1 - lower), right * (1 - lower), lower], -1)


def layers(shape: tuple[int, int], random) -> np.ndarray:
    """Six layers, of which one is three pixels thick and one five."""
    y = np.arange(shape[0])[:, None] + 4 * uneven(shape, 15, -1, 1, random)
    thicknesses = [0, 0.33, 0.1, 3 / shape[0], 5 / shape[0], 0.3]
    below = [1 / (1 + np.exp(cut - y)) for cut in np.cumsum(thicknesses) * shape[0]]
    below = np.stack([np.ones(shape), *below[1:], np.zeros(shape)], -1)
    return (below[..., :-1] - below[..., 1:]).clip(0)


def shells(shape: tuple[int, int], random) -> np.ndarray:
    """Particles with a shell on a support: core and shell are nowhere alone."""
    distance = to_disc(shape, 45, 0.03 * shape[0], 0.07 * shape[0], random)

    def chord(distance: np.ndarray) -> np.ndarray:
        return np.sqrt(np.clip(1 - distance**2, 0, None))

    core = 0.8 * chord(distance / 0.8)
    shell = (chord(distance) - core).clip(0)
    return np.stack([uneven(shape, 40, 0.5, 0.7, random), 1.2 * core, 1.2 * shell], -1)


#: The seven kinds, and the fifth in a large map, where the inclusions are on 0.06 % of the pixels.
KINDS = {
    "grains": Kind(OXIDES, wedge, 50),
    "lowdose": Kind(OXIDES, wedge, 10),
    "minor": Kind(SILICATES, inclusions, 50),
    "highdose": Kind(SILICATES, inclusions, 1000),
    "gradient": Kind(METALS, diffusion, 50),
    "device": Kind(LAYERS, layers, 80, 2048),
    "coreshell": Kind(PARTICLES, shells, 50),
    "big": Kind(SILICATES, inclusions, 50, shape=(1000, 1000)),
}

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A simulated EDS map of grains, a diffusion profile and a particle, with known truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Characteristic lines: energy in keV, and weight relative to the strongest of the element.
#: Rounded from J. A. Bearden, Rev. Mod. Phys. 39 (1967) 78.
LINES: dict[str, tuple[tuple[float, float], ...]] = {
    "O": ((0.525, 1.0),),
    "Al": ((1.487, 1.0),),
    "Si": ((1.740, 1.0), (1.836, 0.03)),
    "Ti": ((0.452, 0.2), (4.511, 1.0), (4.932, 0.12)),
    "Fe": ((0.705, 0.4), (6.404, 1.0), (7.058, 0.13)),
    "Ni": ((0.851, 0.5), (7.478, 1.0), (8.265, 0.13)),
    "Pt": ((2.051, 0.6), (9.442, 1.0), (11.071, 0.6)),
}

#: Phases: X-rays of each element, relative to the others.
PHASES: dict[str, dict[str, float]] = {
    "rutile": {"Ti": 1.0, "O": 0.8},
    "alumina": {"Al": 1.0, "O": 0.9},
    "nickel iron": {"Ni": 1.0, "Fe": 0.7},
    "platinum": {"Pt": 1.0},
}

#: Width (FWHM) of Mn K-alpha at 5.895 keV, and energy an electron-hole pair in silicon takes
#: times the Fano factor and (2.355)^2, all in keV: FWHM^2 = noise^2 + FANO * energy.
RESOLUTION, FANO = 0.130, 2.45e-3


@dataclass(frozen=True)
class SimulatedSpectra:
    """A spectrum image, and what it was made from.

    Attributes
    ----------
    counts : unsigned array of shape (y, x, energy)
        Poisson distributed; of the smallest dtype that holds them.
    spectra : float64 array of shape (phase, energy)
        True spectra; each sums to 1.
    abundances : float64 array of shape (y, x, phase)
        True abundances in counts.
    phases : tuple of str
        Their names.
    energy_scale, energy_offset : float
        Width of a channel, and the middle of the first one, in keV.
    pixel_size : float
        In nm.
    """

    counts: np.ndarray
    spectra: np.ndarray
    abundances: np.ndarray
    phases: tuple[str, ...]
    energy_scale: float
    energy_offset: float
    pixel_size: float


def simulate_spectra(
    shape: tuple[int, int] = (40, 48),
    n_channels: int = 512,
    counts_per_pixel: float = 50.0,
    seed: int = 0,
) -> SimulatedSpectra:
    """Simulate an EDS map of three phases and a particle of a fourth.

    Grains of rutile and alumina border on a nickel-iron layer into which they pass gradually. A
    platinum particle lies on them. The foil gets thicker to the right by a factor of two.

    Parameters
    ----------
    shape : tuple of int
        Pixels in y and x.
    n_channels : int
        Channels of 20 keV / `n_channels` each.
    counts_per_pixel : float
        Mean over the map.
    seed : int
        Of the grains, of the compositions (each varies by a tenth) and of the counts.

    Returns
    -------
    SimulatedSpectra
        Counts and truth.

    Raises
    ------
    ValueError
        If there are fewer than 8 pixels along an axis, 64 channels, or no counts.
    """
    if min(shape) < 8 or n_channels < 64 or not counts_per_pixel > 0:
        raise ValueError(
            f"A map of {shape} pixels, {n_channels} channels and {counts_per_pixel} counts a "
            "pixel can't be simulated. Take at least 8 x 8 pixels, 64 channels and some counts."
        )
    random = np.random.default_rng(seed)
    scale = 20 / n_channels
    energies = (np.arange(n_channels) + 0.5) * scale
    spectra = np.stack([_spectrum(parts, energies, random) for parts in PHASES.values()])
    abundances = _maps(shape, random)
    abundances *= counts_per_pixel / abundances.sum(-1).mean()
    counts = _sample(abundances, spectra, random)
    return SimulatedSpectra(counts, spectra, abundances, tuple(PHASES), scale, scale / 2, 2.0)


def _spectrum(parts: dict[str, float], energies: np.ndarray, random) -> np.ndarray:
    """Lines of a phase on its bremsstrahlung, of sum 1."""
    noise2 = RESOLUTION**2 - FANO * 5.895
    lines = np.zeros_like(energies)
    for element, part in parts.items():
        amount = part * np.exp(0.1 * random.standard_normal())
        for energy, weight in LINES[element]:
            sigma = np.sqrt(noise2 + FANO * energy) / 2.355
            lines += amount * weight / sigma * np.exp(-0.5 * ((energies - energy) / sigma) ** 2)
    # Kramers' law for electrons of 200 keV (Phil. Mag. 46 (1923) 836).
    bremsstrahlung = (200 - energies) / energies
    # A thin window, which also bounds what diverges at zero energy.
    window = 1 - np.exp(-((energies / 0.4) ** 3))
    share = random.uniform(0.2, 0.3)
    lines, bremsstrahlung = lines * window, bremsstrahlung * window
    return (1 - share) * lines / lines.sum() + share * bremsstrahlung / bremsstrahlung.sum()


def _maps(shape: tuple[int, int], random) -> np.ndarray:
    """How much of each phase there is, times the thickness; shape (y, x, phase)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    y, x = y / shape[0], x / shape[1]
    seeds = random.uniform(0, 1, (12, 2))
    nearest = np.hypot(y[..., None] - seeds[:, 0], x[..., None] - seeds[:, 1]).argmin(-1)
    rutile = (nearest % 2 == 0).astype(float)
    metal = 1 / (1 + np.exp(-(y - 0.7) / 0.06))
    centre = random.uniform(0.2, 0.45), random.uniform(0.25, 0.75)
    inside = np.hypot(y - centre[0], x - centre[1]) / 0.13
    particle = 0.8 * np.sqrt(np.clip(1 - inside**2, 0, None))
    maps = [rutile * (1 - metal), (1 - rutile) * (1 - metal), metal]
    maps = [part * (1 - particle) for part in maps] + [particle]
    return np.stack(maps, -1) * (1 + x)[..., None]


def _sample(abundances: np.ndarray, spectra: np.ndarray, random) -> np.ndarray:
    counts = random.poisson(abundances @ spectra)
    return counts.astype(np.min_scalar_type(counts.max()))

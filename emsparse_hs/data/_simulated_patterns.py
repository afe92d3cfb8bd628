# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Simulated Kikuchi patterns of a cubic crystal, with the true bands."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.spatial.transform import Rotation

from emsparse_hs.ebsd.geometry import as_pattern_centre, pixel_directions, upward
from emsparse_hs.electron import relativistic_wavelength

#: Positions of the atoms in the cubic cell, in fractions of its edge.
_ATOMS: dict[str, list[tuple[float, float, float]]] = {
    "sc": [(0, 0, 0)],
    "bcc": [(0, 0, 0), (0.5, 0.5, 0.5)],
    "fcc": [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)],
}
_ATOMS["diamond"] = _ATOMS["fcc"] + [(x + 0.25, y + 0.25, z + 0.25) for x, y, z in _ATOMS["fcc"]]

#: Shape of a band: how high its interior stands, and how much brighter it is just inside of each
#: edge than just outside.
_INTERIOR, _EDGE = 0.5, 0.8


@dataclass(frozen=True)
class SimulatedPatterns:
    """Kikuchi patterns and what they show.

    Attributes
    ----------
    patterns : uint8 array of shape (y, x, height, width)
        Intensities.
    pattern_centre : float64 array of shape (3,)
        In Bruker's convention.
    orientations : float64 array of shape (y, x, 3, 3)
        Matrices that turn a vector of the crystal's frame, a column, into the detector's frame.
    miller_indices : int array of shape (n_reflectors, 3)
        One of each pair h, -h, the strongest first.
    normals : float64 array of shape (y, x, n_reflectors, 3)
        Unit normals of the reflecting planes in the detector's frame.
    half_widths : float64 array of shape (n_reflectors,)
        Bragg angles in degrees.
    strengths : float64 array of shape (n_reflectors,)
        Fourier coefficients of the potential, the largest is 1.
    beam_energy : float
        In keV.
    """

    patterns: np.ndarray
    pattern_centre: np.ndarray
    orientations: np.ndarray
    miller_indices: np.ndarray
    normals: np.ndarray
    half_widths: np.ndarray
    strengths: np.ndarray
    beam_energy: float


def simulate_patterns(
    navigation_shape: tuple[int, int] = (3, 4),
    shape: tuple[int, int] = (80, 96),
    pattern_centre=(0.45, 0.3, 0.6),
    *,
    structure: str = "fcc",
    lattice_parameter: float = 3.52,
    atomic_number: int = 28,
    beam_energy: float = 20.0,
    noise: float = 0.5,
    oversampling: int = 2,
    seed: int = 0,
) -> SimulatedPatterns:
    r"""Simulate patterns of a cubic crystal in random orientations.

    Each reflecting plane contributes a band of half width :math:`\theta`, the Bragg angle, whose
    height is proportional to the Fourier coefficient :math:`U_g` of the crystal's potential and
    whose edges are as soft as the reflection is wide, :math:`\lambda U_g / g` (the two-beam case
    of dynamical diffraction: Reimer, Transmission Electron Microscopy, Springer (1984), 7.2).
    Bands are added up, so intensities at zone axes are not those of a dynamical calculation;
    positions, widths and the order of strengths are.

    Parameters
    ----------
    navigation_shape : tuple of int
        Rows and columns of the scan.
    shape : tuple of int
        Height and width of a pattern in px.
    pattern_centre : array of shape (3,)
        In Bruker's convention.
    structure : {"fcc", "bcc", "sc", "diamond"}
        Of the crystal, of one element.
    lattice_parameter : float
        Edge of the cubic cell in angstrom.
    atomic_number : int
        Of the element.
    beam_energy : float
        In keV.
    noise : float
        Standard deviation of white noise, in those of the bands.
    oversampling : int
        Rays a pixel along each side: a pixel sees the mean of what falls on it.
    seed : int
        Of orientations and noise.

    Returns
    -------
    SimulatedPatterns

    Raises
    ------
    ValueError
        If the structure is not known, the beam energy not positive, the pattern centre or the shape
        of the scan not one, or the atomic number below 1.
    """
    _check(navigation_shape, atomic_number)
    centre = as_pattern_centre(pattern_centre)
    rng = np.random.default_rng(seed)
    indices, spacings, strengths = _reflectors(structure, lattice_parameter, atomic_number)
    wavelength = relativistic_wavelength(beam_energy)
    sines = wavelength / (2 * spacings)
    softness = np.maximum(wavelength * strengths * spacings, 0.003)
    relative = strengths / strengths[0]
    n_patterns = int(np.prod(navigation_shape))
    orientations = Rotation.random(n_patterns, random_state=rng).as_matrix()
    unit = indices / np.linalg.norm(indices, axis=1, keepdims=True)
    normals = np.einsum("nij,gj->ngi", orientations, unit)
    counts = _render(normals, sines, softness, relative, shape, centre, oversampling, noise, rng)
    return SimulatedPatterns(
        patterns=counts.reshape(*navigation_shape, *shape),
        pattern_centre=centre,
        orientations=orientations.reshape(*navigation_shape, 3, 3),
        miller_indices=indices,
        normals=upward(normals).reshape(*navigation_shape, -1, 3),
        half_widths=np.degrees(np.arcsin(sines)),
        strengths=relative,
        beam_energy=float(beam_energy),
    )


def _check(navigation_shape, atomic_number: int) -> None:
    if np.shape(navigation_shape) != (2,) or min(navigation_shape) < 1:
        raise ValueError(
            f"navigation_shape is {navigation_shape}, and rows and columns of the scan are needed, "
            "such as (3, 4)."
        )
    if not atomic_number >= 1:
        raise ValueError(f"atomic_number is {atomic_number}, and at least 1 is needed.")


def _reflectors(structure: str, edge: float, atomic_number: int, smallest_spacing: float = 0.65):
    """Miller indices, spacings in angstrom, Fourier coefficients in 1/angstrom**2, sorted.

    Scattering factors are those of a screened Coulomb potential with the Thomas-Fermi radius
    (Wentzel, Z. Phys. 40 (1926) 590), damped by a Debye-Waller factor with B = 0.5 angstrom**2.
    """
    if structure not in _ATOMS:
        raise ValueError(f"The structure is {structure!r}, and can be one of {sorted(_ATOMS)}.")
    largest = int(edge / smallest_spacing) + 1
    indices = np.array(
        [i for i in product(range(-largest, largest + 1), repeat=3) if i > (0, 0, 0)]
    )
    g = np.linalg.norm(indices, axis=1) / edge
    structure_factor = np.exp(2j * np.pi * indices @ np.array(_ATOMS[structure]).T).sum(1)
    screening_radius = 0.885 * 0.529 / atomic_number ** (1 / 3)
    s = g / 2
    scattering = 0.0239 * atomic_number / (s**2 + (4 * np.pi * screening_radius) ** -2)
    strengths = np.abs(structure_factor) * scattering * np.exp(-0.5 * s**2) / (np.pi * edge**3)
    seen = (g < 1 / smallest_spacing) & (strengths > 0.02 * strengths.max())
    order = np.flatnonzero(seen)[np.argsort(-strengths[seen], kind="stable")]
    return indices[order], 1 / g[order], strengths[order]


def _render(normals, sines, softness, strengths, shape, centre, oversampling, noise, rng):
    """Patterns as a camera stores them, of shape (n, height, width)."""
    fine_shape = (shape[0] * oversampling, shape[1] * oversampling)
    directions = pixel_directions(fine_shape, centre).reshape(-1, 3)
    bands = np.empty((len(normals), *shape))
    for one, planes in zip(bands, normals, strict=True):
        fine = _sum_of_bands(directions, planes, sines, softness, strengths)
        one[:] = fine.reshape(shape[0], oversampling, shape[1], oversampling).mean((1, 3))
    return _as_counts(bands, pixel_directions(shape, centre)[..., 2], noise, rng)


def _sum_of_bands(directions, normals, sines, softness, strengths) -> np.ndarray:
    """Intensity in each direction: interiors, and edges bright on the inside."""
    total = np.zeros(len(directions))
    for normal, sine, soft, strength in zip(normals, sines, softness, strengths, strict=True):
        x = np.abs(directions @ normal)
        inner, mirrored = (x - sine) / soft, (x + sine) / soft
        interior = 0.5 * (1 - inner / np.sqrt(1 + inner**2))
        edge = mirrored / (1 + mirrored**2) - inner / (1 + inner**2)
        total += strength * (_INTERIOR * interior + _EDGE * edge)
    return total


def _as_counts(bands, cosines, noise: float, rng) -> np.ndarray:
    """On a broad background around the pattern centre, noisy, in 8 bits."""
    spread = bands.std((1, 2), keepdims=True)
    bands = (bands - bands.mean((1, 2), keepdims=True)) / np.where(spread > 0, spread, 1)
    bands += rng.normal(0, noise, bands.shape)
    counts = 12 * (bands + 6 * cosines**3) + 60
    return np.clip(np.rint(counts), 0, 255).astype(np.uint8)

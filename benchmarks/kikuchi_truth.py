# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Crystals, their reflecting planes, and bands and Kikuchi patterns drawn from them.

Scattering factors are those of a screened Coulomb potential with the Thomas-Fermi radius (Wentzel,
Z. Phys. 40 (1926) 590), with one Debye-Waller factor for all atoms. A crystal's frame is that of
its cell's rows; a random rotation turns it into the frame of the detector.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from emsparse_hs.ebsd import Bands, pixel_directions
from emsparse_hs.ebsd.geometry import upward
from emsparse_hs.electron import lorentz_factor, relativistic_wavelength

#: In keV.
BEAM_ENERGY = 20.0
#: Debye-Waller factor in square angstrom.
DEBYE_WALLER = 0.5
#: Pattern centre that images are made around.
PATTERN_CENTRE = (0.5, 0.5, 0.64)
#: Primitive cells in fractions of conventional ones, by the second letter of the lattice.
PRIMITIVE = {
    "P": np.eye(3),
    "C": np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2]]) / 2,
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}
#: Shape of a two-beam band: how high its interior stands, how much brighter it is just inside of
#: each edge than just outside, and the least softness of the edges, as the sine of an angle.
INTERIOR, EDGE, SOFTEST = 0.5, 0.8, 0.004
#: Contrast of a drawn pattern's strongest band, as in images of 110 x 110 px.
STRONGEST = 20.0
#: Bands thinner than this, as a length of g in 1/angstrom, have less contrast.
THIN = 0.25
#: Bands nearer than this, in degrees, are found as one.
SEPARATION = 2.0
#: How a detector that is wrong is asked for in a command line.
OFFSET = {"type": float, "nargs": 3, "default": (0, 0, 0), "metavar": ("X", "Y", "Z")}


@dataclass(frozen=True)
class Crystal:
    """A crystal in its conventional cell.

    Attributes
    ----------
    name : str
    lattice : str
        Bravais lattice in Pearson's notation.
    cell : float64 array of shape (3, 3)
        Edges in angstrom, one a row.
    positions : float64 array of shape (n_atoms, 3)
        In fractions of the edges.
    numbers : int array of shape (n_atoms,)
        Atomic numbers.
    n_primitive : int
        Atoms in the primitive cell.
    is_real : bool
    """

    name: str
    lattice: str
    cell: np.ndarray
    positions: np.ndarray
    numbers: np.ndarray
    n_primitive: int
    is_real: bool

    @property
    def primitive_cell(self) -> np.ndarray:
        """Edges in angstrom, one a row, not reduced."""
        return PRIMITIVE[self.lattice[1]] @ self.cell


def read_crystals(path: str | Path) -> list[Crystal]:
    """Read the table that ``scripts/collect_crystals.py`` writes."""
    return [
        Crystal(
            name=entry["name"],
            lattice=entry["lattice"],
            cell=np.array(entry["cell"]),
            positions=np.array(entry["positions"]),
            numbers=np.array(entry["numbers"]),
            n_primitive=entry["atoms_per_primitive_cell"],
            is_real=entry["source"] != "random",
        )
        for entry in json.loads(Path(path).read_text())
    ]


@dataclass(frozen=True)
class Reflectors:
    """One of each pair g, -g, the strongest first.

    Attributes
    ----------
    indices : int array of shape (n, 3)
        Miller indices in the conventional cell.
    normals : float64 array of shape (n, 3)
        Unit vectors along g in the crystal's frame.
    lengths : float64 array of shape (n,)
        Of g in 1/angstrom.
    strengths : float64 array of shape (n,)
        Fourier coefficients of the potential, U_g, in 1/angstrom**2.
    """

    indices: np.ndarray
    normals: np.ndarray
    lengths: np.ndarray
    strengths: np.ndarray


def find_reflectors(
    crystal: Crystal, smallest_spacing: float = 0.8, weakest: float = 0.01, most: int = 350
) -> Reflectors:
    """Reflecting planes of a crystal.

    Parameters
    ----------
    crystal : Crystal
    smallest_spacing : float
        Of the planes, in angstrom.
    weakest : float
        Least strength, over that of the strongest.
    most : int
        How many, at most.
    """
    largest = np.ceil(np.linalg.norm(crystal.cell, axis=1) / smallest_spacing).astype(int)
    grid = np.meshgrid(*(np.arange(-n, n + 1) for n in largest), indexing="ij")
    indices = np.stack(grid, axis=-1).reshape(-1, 3)
    # Points of the grid are in order, and each is opposite to one as far from the other end.
    indices = indices[len(indices) // 2 + 1 :]
    g = indices @ np.linalg.inv(crystal.cell).T
    lengths = np.linalg.norm(g, axis=1)
    near = lengths < 1 / smallest_spacing
    indices, g, lengths = indices[near], g[near], lengths[near]
    volume = abs(np.linalg.det(crystal.cell))
    factors = np.abs(_structure_factors(crystal, indices, lengths))
    strengths = lorentz_factor(BEAM_ENERGY) * factors / (np.pi * volume)
    order = np.argsort(-strengths, kind="stable")[:most]
    order = order[strengths[order] > weakest * strengths[order[0]]]
    normals = g[order] / lengths[order, None]
    return Reflectors(indices[order], normals, lengths[order], strengths[order])


def _structure_factors(crystal: Crystal, indices, lengths) -> np.ndarray:
    """Complex, in angstrom, of shape (n,)."""
    s_squared = (lengths / 2) ** 2
    total = np.zeros(len(indices), complex)
    for number in np.unique(crystal.numbers):
        radius = 0.885 * 0.529 / number ** (1 / 3)
        scattering = 0.023934 * number / (s_squared + (4 * np.pi * radius) ** -2)
        phases = 2 * np.pi * indices @ crystal.positions[crystal.numbers == number].T
        total += scattering * np.exp(1j * phases).sum(1)
    return total * np.exp(-DEBYE_WALLER * s_squared)


@dataclass(frozen=True)
class Planes:
    """Sets of parallel planes, each one band with edges of several orders, the strongest first.

    Attributes
    ----------
    normals : float64 array of shape (n, 3)
        Unit vectors in the crystal's frame.
    lengths, strengths : float64 array of shape (n, 2)
        Of the two strongest orders: of g in 1/angstrom, and over the strongest reflector's. A
        second order that is not there has no strength.
    totals : float64 array of shape (n,)
        Strengths of all orders together.
    """

    normals: np.ndarray
    lengths: np.ndarray
    strengths: np.ndarray
    totals: np.ndarray


def parallel_planes(crystal: Crystal, most: int = 160) -> Planes:
    """Gather the orders of each set of planes, down to weak ones."""
    reflectors = find_reflectors(crystal, smallest_spacing=0.9, weakest=0.004, most=2 * most)
    divisors = np.gcd.reduce(reflectors.indices, axis=1)
    orders: dict[tuple, list[int]] = {}
    for i, index in enumerate(reflectors.indices // divisors[:, None]):
        orders.setdefault(tuple(index), []).append(i)
    sets = list(orders.values())[:most]
    relative = reflectors.strengths / reflectors.strengths[0]
    two = np.array([(found * 2)[:2] for found in sets])
    strengths = relative[two]
    strengths[[len(found) == 1 for found in sets], 1] = 0
    return Planes(
        normals=reflectors.normals[two[:, 0]],
        lengths=reflectors.lengths[two],
        strengths=strengths,
        totals=np.array([relative[found].sum() for found in sets]),
    )


@dataclass(frozen=True)
class BandNoise:
    """What is wrong with bands that were found.

    Attributes
    ----------
    direction : float
        Standard deviation of each component of a normal, in degrees.
    width, contrast : float
        Standard deviations of the logarithms.
    spurious, dropped : float
        Fractions of the bands.
    centre : float
        Standard deviation of the pattern centre, in distances of the screen.
    view : float
        Half angle of the cone that is seen, in degrees.
    """

    direction: float = 0.3
    width: float = 0.05
    contrast: float = 0.25
    spurious: float = 0.03
    dropped: float = 0.05
    centre: float = 0.003
    view: float = 35.0


def draw_bands(
    planes: Planes, n_patterns: int, n_bands: int, rng, noise: BandNoise | None = None
) -> Bands:
    """Bands as they may be found in patterns of random orientation."""
    noise = noise or BandNoise()
    table = np.full((n_patterns, n_bands, 5), np.nan)
    for rows in table:
        normals, lengths, contrasts = _visible_bands(planes, noise, rng)
        kept = _first_apart(normals, n_bands)
        normals, lengths, contrasts = normals[kept], lengths[kept], contrasts[kept]
        _add_spurious(normals, lengths, noise.spurious, rng)
        sines = relativistic_wavelength(BEAM_ENERGY) * lengths / 2
        rows[: len(kept), :3] = upward(normals)
        rows[: len(kept), 3] = np.degrees(np.arcsin(sines))
        rows[: len(kept), 4] = STRONGEST * contrasts / contrasts.max(initial=0)
    return Bands(table[..., :3], table[..., 3], table[..., 4])


def _visible_bands(planes: Planes, noise: BandNoise, rng):
    """Noisy normals in the detector's frame, lengths and contrasts, the highest first."""
    normals = planes.normals @ Rotation.random(random_state=rng).as_matrix().T
    edge = math.sin(math.radians(noise.view))
    seen = (np.abs(normals[:, 2]) <= edge) & (rng.random(len(normals)) >= noise.dropped)
    normals, n = normals[seen], int(seen.sum())
    # Of two orders, one or the other has the edges that are found.
    clearness = planes.strengths[seen] * np.sqrt(planes.lengths[seen])
    order = np.argmax(clearness * np.exp(rng.normal(0, 0.25, (n, 2))), axis=1)
    lengths = planes.lengths[seen][np.arange(n), order]
    contrasts = (planes.strengths[seen][np.arange(n), order] + planes.totals[seen]) / 2
    contrasts *= np.sqrt(lengths) * np.minimum(lengths / THIN, 1)
    contrasts *= 1 - 0.5 * np.abs(normals[:, 2]) / edge
    contrasts *= np.exp(rng.normal(0, noise.contrast, n))
    ranked = np.argsort(-contrasts)
    normals = _with_centre_off(normals, noise.centre * rng.normal(0, 1, 3))
    normals = normals + rng.normal(0, math.radians(noise.direction), normals.shape)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    lengths = lengths * np.exp(rng.normal(0, noise.width, n))
    return normals[ranked], lengths[ranked], contrasts[ranked]


def _with_centre_off(normals: np.ndarray, shift) -> np.ndarray:
    """Normals, not of unit length, as seen from a source point that is taken to be elsewhere."""
    # Rays become (x + dx z, y + dy z, (1 + dz) z) but for a factor, and normals change inversely.
    x, y = normals[:, 0] / (1 + shift[2]), normals[:, 1] / (1 + shift[2])
    return np.stack([x, y, normals[:, 2] - shift[0] * x - shift[1] * y], axis=1)


def _first_apart(normals: np.ndarray, most: int) -> list[int]:
    """Indices of the first normals that are apart from all chosen before them."""
    chosen: list[int] = []
    cosine = math.cos(math.radians(SEPARATION))
    for i, normal in enumerate(normals):
        if len(chosen) < most and (np.abs(normals[chosen] @ normal) <= cosine).all():
            chosen.append(i)
    return chosen


def _add_spurious(normals: np.ndarray, lengths: np.ndarray, fraction: float, rng) -> None:
    """Put bands that are nowhere in place of some, in place; the first three stay."""
    is_spurious = rng.random(len(normals)) < fraction
    is_spurious[:3] = False
    n = int(is_spurious.sum())
    anywhere = rng.normal(0, 1, (n, 3)) * [1, 1, 0.5]
    normals[is_spurious] = anywhere / np.linalg.norm(anywhere, axis=1, keepdims=True)
    lengths[is_spurious] = rng.choice(lengths, n) * np.exp(rng.normal(0, 0.25, n))


def two_beam(crystal: Crystal) -> Callable[[np.ndarray], np.ndarray]:
    """Intensity of a crystal in directions of its frame, (n, 3), as a sum of two-beam bands."""
    reflectors = find_reflectors(crystal)
    wavelength = relativistic_wavelength(BEAM_ENERGY)
    sines = wavelength * reflectors.lengths / 2
    softness = np.maximum(wavelength * reflectors.strengths / reflectors.lengths, SOFTEST)
    relative = reflectors.strengths / reflectors.strengths[0]
    return lambda rays: _sum_of_bands(rays, reflectors.normals, sines, softness, relative)


@numba.njit(fastmath=True, cache=True)
def _sum_of_bands(rays, normals, sines, softness, strengths):
    """Intensity in each direction, (n,): interiors, and edges bright on the inside."""
    total = np.zeros(len(rays))
    for i in range(len(rays)):
        for j in range(len(normals)):
            along = 0.0
            for axis in range(3):
                along += rays[i, axis] * normals[j, axis]
            x = abs(along)
            inner = (x - sines[j]) / softness[j]
            mirrored = (x + sines[j]) / softness[j]
            # What is left so far outside is not seen.
            if inner < 12:
                interior = 0.5 * (1 - inner / math.sqrt(1 + inner * inner))
                edges = mirrored / (1 + mirrored * mirrored) - inner / (1 + inner * inner)
                total[i] += strengths[j] * (INTERIOR * interior + EDGE * edges)
    return total


def from_master(maps: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Intensity in directions of the crystal's frame, (n, 3), bilinear in a master pattern.

    Parameters
    ----------
    maps : array of shape (2, size, size)
        Upper and lower hemisphere in the square Lambert projection.
    """
    half, values = (maps.shape[1] - 1) / 2, maps.astype(float)

    def intensity(rays: np.ndarray) -> np.ndarray:
        across, down = _square_lambert(rays)
        places = np.array([rays[:, 2] < 0, (down + 1) * half, (across + 1) * half])
        return map_coordinates(values, places, order=1, mode="nearest")

    return intensity


def _square_lambert(rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square Lambert projection (Rosca, 2010) of unit vectors: two coordinates from -1 to 1."""
    x, y, z = rays.T
    is_across = np.abs(y) <= np.abs(x)
    larger, smaller = np.where(is_across, x, y), np.where(is_across, y, x)
    main = np.copysign(np.sqrt(1 - np.minimum(np.abs(z), 1)), larger)
    with np.errstate(invalid="ignore"):
        turn = np.arctan(smaller / larger)
    side = main * 4 / np.pi * np.where(larger == 0, 0, turn)
    return np.where(is_across, main, side), np.where(is_across, side, main)


def draw_images(
    intensity: Callable[[np.ndarray], np.ndarray],
    n_patterns: int,
    n_pixels: int,
    rng,
    noise: float = 0.5,
    jitter: float = 0.003,
) -> np.ndarray:
    """Noisy patterns of random orientation.

    Parameters
    ----------
    intensity : callable
        See `two_beam` and `from_master`.
    n_patterns, n_pixels : int
        How many, and their width and height in px.
    rng : numpy.random.Generator
    noise : float
        Standard deviation, in those of the pattern.
    jitter : float
        Standard deviation of the pattern centre around `PATTERN_CENTRE`.

    Returns
    -------
    float64 array of shape (n_patterns, n_pixels, n_pixels)
    """
    images = np.empty((n_patterns, n_pixels, n_pixels))
    for image in images:
        rotation = Rotation.random(random_state=rng).as_matrix()
        centre = np.array(PATTERN_CENTRE) + rng.normal(0, jitter, 3)
        rays = pixel_directions(image.shape, centre).reshape(-1, 3) @ rotation
        image[:] = intensity(rays).reshape(image.shape)
        image[:] = (image - image.mean()) / image.std() + rng.normal(0, noise, image.shape)
    return images

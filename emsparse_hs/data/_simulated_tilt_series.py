# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A tilt series of particles, a porous one, a needle or a smooth cloud, whose volume is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Points a pixel and direction at which projections and volume are sampled.
_OVERSAMPLING = 3


@dataclass(frozen=True)
class SimulatedTiltSeries:
    """A tilt series and the truth behind it.

    Attributes
    ----------
    images : float32 array of shape (tilt, y, x)
        Projections with noise, in density times px. The tilt axis is along x.
    clean_images : float32 array of shape (tilt, y, x)
        The same without noise.
    volume : float32 array of shape (x, z, y)
        Density of each voxel.
    tilts : float64 array of shape (tilt,)
        In degrees.
    pixel_size : float
        In nm.
    """

    images: NDArray[np.float32]
    clean_images: NDArray[np.float32]
    volume: NDArray[np.float32]
    tilts: NDArray[np.float64]
    pixel_size: float

    def __repr__(self) -> str:
        n_slices, *_, size = self.volume.shape
        return (
            f"<SimulatedTiltSeries {len(self.tilts)} tilts, volume of {n_slices} slices of "
            f"{size} x {size} px>"
        )


def simulate_tilt_series(
    kind: str = "particles",
    size: int = 64,
    n_slices: int = 24,
    tilts: ArrayLike | None = None,
    counts: float = 100.0,
    background: float = 2.0,
    pixel_size: float = 1.0,
    seed: int = 0,
) -> SimulatedTiltSeries:
    """Simulate a tilt series with known volume.

    The specimen is made of spheroids, or of Gaussian clouds, whose projections are known exactly:
    they are computed from the formula at three points a pixel and direction, so that no
    reconstruction shares its projector with the data. Noise is that of counted electrons.

    Parameters
    ----------
    kind : {"particles", "porous", "needle", "clouds"}, optional
        Spheres with a dense core, one particle with many pores, a needle along the tilt axis that
        holds a dense precipitate and voids, or clouds without any edge.
    size : int, optional
        Pixels along y and z.
    n_slices : int, optional
        Pixels along x, the tilt axis.
    tilts : array of shape (tilt,), optional
        In degrees; 41 from -70 to 70 by default.
    counts : float, optional
        Mean counts in the brightest pixel of the series, without the background.
    background : float, optional
        Mean counts a pixel without specimen, subtracted from the images.
    pixel_size : float, optional
        In nm.
    seed : int, optional
        Seed of shapes and noise.

    Returns
    -------
    SimulatedTiltSeries
        Images, volume and tilts.

    Raises
    ------
    ValueError
        If the kind is unknown or counts are not positive.
    """
    if kind not in _SPECIMENS:
        raise ValueError(f"No specimen {kind!r} is known, choose one of {sorted(_SPECIMENS)}.")
    if counts <= 0 or background < 0:
        raise ValueError(f"counts ({counts}) must be positive, background ({background}) not less.")
    rng = np.random.default_rng(seed)
    angles = np.linspace(-70, 70, 41) if tilts is None else np.asarray(tilts, dtype=np.float64)
    parts = _SPECIMENS[kind](rng, size, n_slices)
    project, voxels = (_cloud_images, _cloud_voxels) if kind == "clouds" else (_project, _voxels)
    clean = project(parts, angles, size, n_slices)
    unit = clean.max() / counts
    noisy = (rng.poisson(clean / unit + background) - background) * unit
    return SimulatedTiltSeries(
        noisy.astype(np.float32),
        clean.astype(np.float32),
        voxels(parts, size, n_slices).astype(np.float32),
        angles,
        pixel_size,
    )


def _particles(rng: np.random.Generator, size: int, n_slices: int) -> NDArray:
    """Rows of (x, z, y, semi-axis along x, radius, density): six spheres with a dense core."""
    rows: list[tuple[float, ...]] = []
    while len(rows) < 12:
        radius = rng.uniform(0.08, 0.16) * size
        centre = (rng.uniform(0, n_slices), *rng.uniform(-0.36, 0.36, 2) * size)
        apart = [np.hypot(*np.subtract(row[:3], centre)[1:]) > row[4] + radius for row in rows[::2]]
        if np.hypot(*centre[1:]) + radius < 0.47 * size and all(apart):
            core = rng.uniform(0.4, 0.7) * radius
            rows += [(*centre, radius, radius, 1.0), (*centre, core, core, rng.uniform(0.5, 1.5))]
        elif rng.random() < 0.01:
            rows = []
    return np.array(rows)


def _needle(rng: np.random.Generator, size: int, n_slices: int) -> NDArray:
    """Rows as in `_particles`: a long spheroid, a dense precipitate and ten voids in it."""
    radius = 0.3 * size
    middle = n_slices / 2
    rows = [(middle, 0.0, 0.0, 1.5 * n_slices, radius, 1.0)]
    for i in range(11):
        void = rng.uniform(0.04, 0.09) * size
        distance, angle = rng.uniform(0, 0.75) * (radius - void), rng.uniform(0, 2 * np.pi)
        centre = (rng.uniform(0, n_slices), distance * np.sin(angle), distance * np.cos(angle))
        rows.append((*centre, void, void, 1.0 if i == 0 else -0.9))
    # Voids that overlap would make a negative density.
    kept = [rows[0]]
    for row in rows[1:]:
        if all(np.linalg.norm(np.subtract(row[:3], k[:3])) > row[4] + k[4] for k in kept[1:]):
            kept.append(row)
    return np.array(kept)


def _porous(rng: np.random.Generator, size: int, n_slices: int) -> NDArray:
    """Rows as in `_particles`: a spheroid and up to sixty pores that do not touch."""
    radius, middle = 0.36 * size, n_slices / 2
    rows: list[tuple[float, ...]] = [(middle, 0.0, 0.0, 0.9 * n_slices, radius, 1.0)]
    for _ in range(60):
        pore = rng.uniform(0.025, 0.07) * size
        distance, angle = (0.8 * radius - pore) * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        centre = (rng.uniform(0, n_slices), distance * np.sin(angle), distance * np.cos(angle))
        if all(np.linalg.norm(np.subtract(centre, k[:3])) > k[4] + pore for k in rows[1:]):
            rows.append((*centre, pore, pore, -1.0))
    return np.array(rows)


def _clouds(rng: np.random.Generator, size: int, n_slices: int) -> NDArray:
    """Rows as in `_particles`, with the standard deviation instead of semi-axis and radius."""
    widths = rng.uniform(0.05, 0.11, 8) * size
    places = rng.uniform(-0.2, 0.2, (8, 2)) * size
    x, densities = rng.uniform(0, n_slices, 8), rng.uniform(0.5, 1.5, 8)
    return np.column_stack([x, places, widths, widths, densities])


_SPECIMENS = {
    "particles": _particles,
    "porous": _porous,
    "needle": _needle,
    "clouds": _clouds,
}


def _project(spheroids: NDArray, tilts: NDArray, size: int, n_slices: int) -> NDArray:
    """Mean over each pixel of the path through each spheroid times its density."""
    x, y = _sampling(n_slices) + 0.5, _sampling(size) - (size - 1) / 2
    images = np.zeros((len(tilts), size, n_slices))
    for image, tilt in zip(images, np.deg2rad(tilts), strict=True):
        for cx, cz, cy, half_length, radius, density in spheroids:
            centre = cy * np.cos(tilt) - cz * np.sin(tilt)
            chord = 1 - ((x - cx) / half_length) ** 2 - (((y - centre) / radius) ** 2)[:, None]
            image += density * 2 * radius * _binned(np.sqrt(np.maximum(chord, 0)))
    return images


def _voxels(spheroids: NDArray, size: int, n_slices: int) -> NDArray:
    """Mean density of each voxel, (x, z, y)."""
    x, z = _sampling(n_slices) + 0.5, _sampling(size) - (size - 1) / 2
    volume = np.zeros((n_slices, size, size))
    for cx, cz, cy, half_length, radius, density in spheroids:
        in_plane = ((z - cz)[:, None] ** 2 + (z - cy) ** 2) / radius**2
        for s, plane in enumerate(volume):
            along = ((x[s * _OVERSAMPLING : (s + 1) * _OVERSAMPLING] - cx) / half_length) ** 2
            plane += density * np.mean([_binned(in_plane + a < 1) for a in along], axis=0)
    return volume


def _cloud_images(clouds: NDArray, tilts: NDArray, size: int, n_slices: int) -> NDArray:
    """Mean over each pixel of the projections of Gaussian clouds."""
    x, y = _sampling(n_slices) + 0.5, _sampling(size) - (size - 1) / 2
    images = np.zeros((len(tilts), size, n_slices))
    for image, tilt in zip(images, np.deg2rad(tilts), strict=True):
        for cx, cz, cy, _, width, density in clouds:
            centre = cy * np.cos(tilt) - cz * np.sin(tilt)
            distance = ((x - cx) ** 2 + ((y - centre) ** 2)[:, None]) / width**2
            image += density * np.sqrt(2 * np.pi) * width * _binned(np.exp(-distance / 2))
    return images


def _cloud_voxels(clouds: NDArray, size: int, n_slices: int) -> NDArray:
    """Density of Gaussian clouds in the middle of each voxel, (x, z, y)."""
    x, z = np.arange(n_slices) + 0.5, np.arange(size) - (size - 1) / 2
    volume = np.zeros((n_slices, size, size))
    for cx, cz, cy, _, width, density in clouds:
        distance = ((x - cx) ** 2)[:, None, None] + ((z - cz) ** 2)[:, None] + (z - cy) ** 2
        volume += density * np.exp(-distance / (2 * width**2))
    return volume


def _sampling(size: int) -> NDArray:
    """Positions in px at which `size` pixels are sampled, the first pixel's centre at 0."""
    return (np.arange(size * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - 0.5


def _binned(samples: NDArray) -> NDArray:
    """Mean over each pixel's samples."""
    rows, columns = (n // _OVERSAMPLING for n in samples.shape)
    return samples.reshape(rows, _OVERSAMPLING, columns, _OVERSAMPLING).mean(axis=(1, 3))

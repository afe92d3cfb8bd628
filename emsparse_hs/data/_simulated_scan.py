# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A simulated 4D-STEM scan of a pure phase object whose potential and field are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from emsparse_hs.electron import interaction_constant, relativistic_wavelength

#: Frame size in px; pixels of the simulated wave in nm, and how many of them make a scan step.
_FRAME, _PIXEL, _STEP = 64, 0.25, 4

#: Radius of the bright disc, and width of its edge, in detector px.
_RADIUS, _EDGE = 13.5, 2.0

#: Where the particles are, y and x in parts of the scan, before chance moves them a little.
_PLACES = np.array([(0.24, 0.2), (0.22, 0.78), (0.5, 0.5), (0.78, 0.22), (0.76, 0.8)])


@dataclass(frozen=True)
class SimulatedScan:
    """A 4D-STEM scan with the truth behind it.

    Attributes
    ----------
    data : array of shape (y, x, ky, kx)
        Counts if a dose was given, in uint16 or what a higher dose needs, else the part of the
        beam in each pixel in float32.
    field : float64 array of shape (y, x, 2)
        The x and y components of the electric field in V/angstrom, averaged along the path of the
        electrons and over the probe: what a measurement of the deflection should give.
    potential : float64 array of shape (y, x)
        Projected potential in V nm.
    scan_step : float
        In nm.
    detector_step : float
        Size of a detector pixel in mrad.
    detector_centre : (float, float)
        Where x and y of an undeflected beam are, in px.
    convergence_angle : float
        Semi-angle of the probe in mrad.
    beam_energy : float
        In keV.
    thickness : float
        Of the specimen in nm.
    """

    data: np.ndarray
    field: np.ndarray
    potential: np.ndarray
    scan_step: float
    detector_step: float
    detector_centre: tuple[float, float]
    convergence_angle: float
    beam_energy: float
    thickness: float


def simulated_scan(
    seed: int = 0,
    scan_shape: tuple[int, int] = (40, 48),
    dose: float | None = 10_000,
    beam_energy: float = 300.0,
    thickness: float = 30.0,
) -> SimulatedScan:
    r"""Scan of a film with charged particles, as a pure phase object.

    Each particle has a Gaussian projected potential V. The wave behind the specimen is
    :math:`\psi = p\, e^{i \sigma V}` with the probe p, and a frame is the squared modulus of its
    Fourier transform (Kirkland, Advanced Computing in Electron Microscopy, 2020, ch. 5). The
    field is the analytic gradient, averaged with the weights :math:`|p|^2`.

    Parameters
    ----------
    seed : int
        Of places, sizes and charges of the particles, and of the noise.
    scan_shape : (int, int)
        Positions of the probe (y, x), 1 nm apart.
    dose : float, optional
        Electrons a frame, with Poisson noise. None gives the expectation without noise.
    beam_energy : float
        In keV.
    thickness : float
        In nm; the charges are as large as to give the same projected potential in any thickness.

    Returns
    -------
    SimulatedScan
        Frames of 64 x 64 px and the truth.

    Raises
    ------
    ValueError
        If the dose is not positive or above 1e18, or the scan has no two axes of positive length.

    Notes
    -----
    Without noise the centroid gives the true field to better than 1e-6 of its maximum. What is
    left is float32, and the part of the probe and of the diffracted wave outside the frame.
    """
    if dose is not None and not 0 < dose <= 1e18:
        raise ValueError(
            f"The dose is {dose} electrons a frame. Give a positive one up to 1e18, or None."
        )
    if len(scan_shape) != 2 or min(scan_shape) < 1:
        raise ValueError(f"The scan has shape {scan_shape}. Two positive lengths are needed.")
    random = np.random.default_rng(seed)
    y, x = _grid(scan_shape)
    potential, gradient_y, gradient_x = _particles(y, x, scan_shape, random)
    probe = _probe()
    wave = np.exp(1j * interaction_constant(beam_energy) * 10 * potential)
    intensity = np.abs(probe) ** 2
    # V/nm of field are a tenth of V/angstrom.
    gradients = np.stack([gradient_x, gradient_y], axis=-1) / (10 * thickness)
    half = _FRAME // 2
    places = tuple(slice(half, half + _STEP * n, _STEP) for n in scan_shape)
    step = 1e2 * relativistic_wavelength(beam_energy) / (_FRAME * _PIXEL)
    return SimulatedScan(
        data=_frames(wave, probe, dose, random),
        field=-np.einsum("yxcij,ij->yxc", _windows(gradients), intensity),
        potential=potential[places],
        scan_step=_STEP * _PIXEL,
        detector_step=step,
        detector_centre=(half, half),
        convergence_angle=_RADIUS * step,
        beam_energy=beam_energy,
        thickness=thickness,
    )


def _grid(scan_shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Places y and x in nm of the pixels that all probes together see; the scan starts at 0."""
    size = [_STEP * (n - 1) + _FRAME for n in scan_shape]
    y, x = np.ogrid[: size[0], : size[1]]
    return (y - _FRAME // 2) * _PIXEL, (x - _FRAME // 2) * _PIXEL


def _particles(y, x, scan_shape: tuple[int, int], random) -> tuple[np.ndarray, ...]:
    """Projected potential in V nm and its gradient in V along y and x."""
    extent = np.array(scan_shape) * _STEP * _PIXEL
    potential, gradient_y, gradient_x = (np.zeros((y.size, x.size)) for _ in range(3))
    for sign, place in zip((1, -1, -1, 1, 1), _PLACES, strict=True):
        place = place + random.uniform(-0.07, 0.07, 2)
        width = random.uniform(3.0, 4.5)
        # Peaks that go with the width give all particles fields of similar size.
        peak = sign * random.uniform(90, 120) * width
        dy, dx = y - place[0] * extent[0], x - place[1] * extent[1]
        bump = peak * np.exp(-(dy**2 + dx**2) / (2 * width**2))
        potential += bump
        gradient_y -= dy / width**2 * bump
        gradient_x -= dx / width**2 * bump
    return potential, gradient_y, gradient_x


def _probe() -> np.ndarray:
    """Wave of the probe in the middle of a frame, of unit power.

    The soft edge of the aperture keeps the probe's tails within the frame.
    """
    k = np.fft.fftfreq(_FRAME, 1 / _FRAME)
    radius = np.hypot(k[:, None], k)
    aperture = 1 / (1 + np.exp((radius - _RADIUS) / (_EDGE / 2)))
    probe = np.fft.fftshift(np.fft.ifft2(aperture))
    return probe / np.linalg.norm(probe)


def _windows(array: np.ndarray) -> np.ndarray:
    """What the probe sees at each position of the scan; the last two axes are y and x."""
    return sliding_window_view(array, (_FRAME, _FRAME), axis=(0, 1))[::_STEP, ::_STEP]


def _dtype_of_counts(dose: float) -> np.dtype:
    """Smallest dtype from 16 bits on for twice the dose, which no pixel gets."""
    return np.promote_types(np.uint16, np.min_scalar_type(int(2 * dose)))


def _frames(wave: np.ndarray, probe: np.ndarray, dose: float | None, random) -> np.ndarray:
    """Diffraction pattern of each position, a line of the scan at a time to save memory."""
    windows = _windows(wave)
    frames = np.empty(windows.shape, np.float32 if dose is None else _dtype_of_counts(dose))
    for line, seen in zip(frames, windows, strict=True):
        pattern = np.abs(np.fft.fft2(seen * probe, norm="ortho")) ** 2
        pattern = np.fft.fftshift(pattern, axes=(-2, -1))
        line[:] = pattern if dose is None else random.poisson(dose * pattern)
    return frames

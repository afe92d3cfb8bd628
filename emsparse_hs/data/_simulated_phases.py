# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A simulated nanobeam 4D-STEM scan of a bent, strained foil of several known phases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

#: What follows is in px of a frame of this size, and grows with the frame.
_FRAME = 64
#: Disc: radius and width of its edge.
_RADIUS, _EDGE = 2.0, 0.35
#: Vectors of a reciprocal lattice: lengths, and angle between them in degrees.
_LENGTHS, _ANGLES = (7.0, 11.0), (75.0, 95.0)
#: Reflections beyond this distance from the direct beam have no intensity.
_LARGEST = 30.0
#: Decay of structure factors exp(-g^2 / 500), and curvature of Ewald's sphere in excitation error
#: per px, in units of one over the thickness unit.
_DECAY, _CURVATURE = 500.0, 0.002
#: Thickness: mean and standard deviation. Excitation error per px from bending: the latter.
_THICKNESS, _BEND = (1.2, 0.35), 0.035
#: Lengths in scan positions, of a scan of 72, over which bend, thickness and strain change.
_SMOOTH = {"bend": 10 / 72, "thickness": 14 / 72, "strain": 16 / 72}
#: Standard deviation of the diffuse background, as part of the frame.
_DIFFUSE = 0.3


@dataclass(frozen=True, repr=False)
class SimulatedPhases:
    """A nanobeam scan with the truth behind it.

    Attributes
    ----------
    data : array of shape (y, x, ky, kx)
        Counts in uint16, or the part of the electrons in each pixel in float32 without a dose.
    phases : int8 array of shape (y, x)
        Which phase is where, from 0 on; -1 where there is no crystal.
    lattices : float64 array of shape (n_phases, 2, 2)
        Two vectors (y, x) of the unstrained reciprocal lattice of each phase, in px.
    strain : float64 array of shape (y, x, 2)
        Relative change of the y and x components of all reciprocal vectors.
    thickness : float64 array of shape (y, x)
        In units in which a disc with an excitation error of 1 vanishes at 1.
    beam_radius : float
        Radius of a disc in px.
    centre : (float, float)
        x and y of the direct beam in px.
    """

    data: np.ndarray
    phases: np.ndarray
    lattices: np.ndarray
    strain: np.ndarray
    thickness: np.ndarray
    beam_radius: float
    centre: tuple[float, float]

    def __repr__(self) -> str:
        return f"<SimulatedPhases {self.data.shape}, {self.phases.max() + 1} phases>"


def simulated_phases(
    seed: int = 0,
    scan_shape: tuple[int, int] = (72, 72),
    dose: float | None = 3000,
    *,
    bend: float = 1.0,
    thickness: float = 1.0,
    strain: float = 0.008,
    n_phases: int = 3,
    frame: int = 64,
    background: float = 0.05,
    amorphous: bool = False,
) -> SimulatedPhases:
    r"""Scan of a foil whose grains are cells of a Voronoi tessellation, each of one phase.

    Kinematical two-beam intensities: a reflection with the structure factor F and the excitation
    error s has :math:`I = F^2 t^2 \mathrm{sinc}^2(t s)` at the thickness t (Williams and Carter,
    Transmission Electron Microscopy, 2009, ch. 13). The excitation error follows the bend of the
    foil and the curvature of Ewald's sphere, so that most discs of a bent and thick foil are gone
    at any one place; strain moves discs by parts of a pixel.

    Parameters
    ----------
    seed : int
        Of everything that is drawn at random.
    scan_shape : (int, int)
        Positions of the probe (y, x).
    dose : float, optional
        Electrons a frame, with Poisson noise. None gives the expectation without noise.
    bend, thickness : float
        Times as much as usual. A bend of 2.5 and a thickness of 2 make phases hard to tell.
    strain : float
        Standard deviation.
    n_phases : int
        Number of phases, 1 to 20, each a random lattice with random structure factors.
    frame : int
        Height and width of a frame in px, 32 at least. Discs and lattices grow with it.
    background : float
        Part of the electrons that is scattered diffusely, from 0 on and below 1.
    amorphous : bool
        Whether some grains are amorphous: they have the direct beam and the diffuse background.

    Returns
    -------
    SimulatedPhases
        Frames and the truth.

    Raises
    ------
    ValueError
        If a parameter is out of its range.
    """
    _check(scan_shape, dose, n_phases, frame, background)
    random = np.random.default_rng(seed)
    phases = _grains(scan_shape, n_phases + amorphous, random)
    maps = {name: _smooth_maps(scan_shape, width, random) for name, width in _SMOOTH.items()}
    depth = thickness * np.maximum(_THICKNESS[0] + _THICKNESS[1] * maps["thickness"][..., 0], 0.05)
    tilt, strains = bend * _BEND * maps["bend"], strain * maps["strain"]
    lattices = _lattices(n_phases, random)
    scale, middle = frame / _FRAME, frame // 2
    data = np.empty((*scan_shape, frame, frame), np.float32 if dose is None else np.uint16)
    for phase, lattice in enumerate([*lattices, None][: n_phases + amorphous]):
        here = phases == phase
        reflections = _reflections(lattice, random)
        intensities = _intensities(reflections, depth[here], tilt[here])
        places = middle + scale * reflections[:, :2] * (1 + strains[here][:, np.newaxis])
        data[here] = _counts(places, intensities, frame, background, dose, random)
    return SimulatedPhases(
        data=data,
        phases=np.where(phases < n_phases, phases, -1).astype(np.int8),
        lattices=lattices * scale,
        strain=strains,
        thickness=depth,
        beam_radius=_RADIUS * scale,
        centre=(middle, middle),
    )


def _check(scan_shape, dose, n_phases, frame, background) -> None:
    if len(scan_shape) != 2 or min(scan_shape) < 1:
        raise ValueError(f"The scan has shape {scan_shape}. Two positive lengths are needed.")
    if dose is not None and not 0 < dose <= 30_000:
        raise ValueError(
            f"The dose is {dose} electrons a frame. Give a positive one up to 30000, which uint16 "
            "holds, or None."
        )
    if not 1 <= n_phases <= 20:
        raise ValueError(f"There are {n_phases} phases, and 1 to 20 are possible.")
    if frame < 32:
        raise ValueError(f"The frame is of {frame} px, and discs need 32 at least.")
    if not 0 <= background < 1:
        raise ValueError(f"The background is {background}. Needed is 0 <= background < 1.")


def _grains(scan_shape: tuple[int, int], n_kinds: int, random) -> np.ndarray:
    """Kind of each position: that of the nearest of some points, two or three a kind."""
    y, x = np.indices(scan_shape)
    points = random.uniform(0, scan_shape, (2 * n_kinds + 1, 2))
    kinds = np.append(np.arange(2 * n_kinds) % n_kinds, random.integers(n_kinds))
    distances = [(y - point[0]) ** 2 + (x - point[1]) ** 2 for point in points]
    return kinds[np.argmin(distances, axis=0)]


def _smooth_maps(scan_shape: tuple[int, int], width: float, random) -> np.ndarray:
    """Two smooth maps of mean 0 and standard deviation 1, of shape (y, x, 2)."""
    noise = random.standard_normal((*scan_shape, 2))
    sigma = width * max(scan_shape)
    smooth = gaussian_filter(noise, (sigma, sigma, 0))
    smooth -= smooth.mean((0, 1))
    spread = smooth.std((0, 1))
    return smooth / np.where(spread > 0, spread, 1)


def _lattices(n_phases: int, random) -> np.ndarray:
    """Two vectors (y, x) of each phase, in any orientation."""
    lengths = random.uniform(*_LENGTHS, (n_phases, 2))
    first = random.uniform(0, np.pi, n_phases)
    angles = np.stack([first, first + np.radians(random.uniform(*_ANGLES, n_phases))], axis=1)
    return lengths[..., np.newaxis] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _reflections(lattice: np.ndarray | None, random) -> np.ndarray:
    """Place (y, x) and squared structure factor of each; the direct beam, with 0, is first."""
    direct = np.zeros((1, 3))
    if lattice is None:
        return direct
    order = np.arange(-4, 5)
    indices = np.stack(np.meshgrid(order, order, indexing="ij"), axis=-1).reshape(-1, 2)
    places = indices[indices.any(1)] @ lattice
    factors = random.uniform(0.3, 1, len(places)) * np.exp(-(places**2).sum(1) / _DECAY)
    near = np.hypot(*places.T) <= _LARGEST
    return np.concatenate([direct, np.column_stack([places, factors**2])[near]])


def _intensities(reflections: np.ndarray, depth: np.ndarray, tilt: np.ndarray) -> np.ndarray:
    """Of each position and reflection."""
    error = tilt @ reflections[:, :2].T + _CURVATURE * np.hypot(*reflections[:, :2].T)
    depth = depth[:, np.newaxis]
    intensities = 0.2 * reflections[:, 2] * (depth * np.sinc(depth * error)) ** 2
    intensities[:, 0] = np.exp(-depth[:, 0] / 2)
    return intensities


def _counts(places, intensities, frame: int, background: float, dose, random) -> np.ndarray:
    """Frames of the positions of a phase, some at a time to save memory."""
    along = np.exp(-(((np.arange(frame) / frame - 0.5) / _DIFFUSE) ** 2) / 2)
    diffuse = np.outer(along, along)
    diffuse *= background / diffuse.sum()
    frames = np.empty((len(places), frame, frame), np.float32 if dose is None else np.uint16)
    step = max(1, 2**22 // frame**2)
    for start in range(0, len(places), step):
        part = slice(start, start + step)
        drawn = _discs(places[part], intensities[part], frame)
        drawn *= (1 - background) / drawn.sum((1, 2), keepdims=True)
        drawn += diffuse
        frames[part] = drawn if dose is None else random.poisson(dose * drawn)
    return frames


def _discs(places: np.ndarray, intensities: np.ndarray, frame: int) -> np.ndarray:
    """Discs with a soft edge, drawn about their places without rounding these."""
    scale = frame / _FRAME
    reach = int(np.ceil(scale * (_RADIUS + 8 * _EDGE)))
    offsets = np.arange(-reach, reach + 1)
    # A margin takes what lies outside of the frame.
    size, margin = frame + 4 * reach, 2 * reach
    frames = np.zeros((len(places), size, size))
    every = np.arange(len(places))[:, np.newaxis, np.newaxis]
    for k in range(places.shape[1]):
        place = np.clip(places[:, k], -reach, frame + reach)
        pixel = np.rint(place).astype(int)
        y, x = (pixel[:, i, np.newaxis] + offsets for i in range(2))
        distance = np.hypot(
            (y - place[:, :1])[:, :, np.newaxis], (x - place[:, 1:])[:, np.newaxis, :]
        )
        disc = 1 / (1 + np.exp((distance / scale - _RADIUS) / _EDGE))
        own = intensities[:, k, np.newaxis, np.newaxis]
        frames[every, (y + margin)[:, :, np.newaxis], (x + margin)[:, np.newaxis, :]] += own * disc
    return frames[:, margin : margin + frame, margin : margin + frame]

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A simulated atomic-resolution 4D-STEM scan of two domains or grains, with the truth behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

#: How much finer the table is made by its Fourier series, before it is interpolated.
_FINER = 3
#: Electrons a pattern of which no pixel gets more than 16 bits hold.
_HIGHEST_DOSE = 500_000
#: Patterns that are in memory at once, in float32.
_AT_ONCE = 4096


@dataclass(frozen=True)
class ConvergentBeamTable:
    """Patterns against the position of the probe, across the wall between two domains.

    Attributes
    ----------
    scores : float32 array of shape (y, x, thicknesses, rank)
        At positions that are periodic in both directions.
    patterns : float32 array of shape (rank, 32, 32)
        Scores times patterns are the part of the beam in each pixel.
    cell : (float, float)
        Edges x and y of a cell in angstrom.
    period, wall : float
        Length of the table along y, and where the second domain begins, in angstrom.
    thickness : float64 array
        In angstrom.
    beam_energy, convergence_angle, detector_step : float
        In keV, mrad and mrad.
    """

    scores: np.ndarray
    patterns: np.ndarray
    cell: tuple[float, float]
    period: float
    wall: float
    thickness: np.ndarray
    beam_energy: float
    convergence_angle: float
    detector_step: float

    @classmethod
    def load(cls, path: str | Path | None = None) -> ConvergentBeamTable:
        """Read what ``scripts/simulate_unit_cells.py`` wrote.

        Parameters
        ----------
        path : str or Path, optional
            Of the .npz file. By default the one that comes with the package: a 180 degree wall in
            PbTiO3, 300 kV, 18 mrad, multislice, of rank 64.

        Returns
        -------
        ConvergentBeamTable
        """
        path = Path(__file__).parent / "files" / "cbed_PbTiO3.npz" if path is None else path
        with np.load(path) as stored:
            numbers = ("period", "wall", "beam_energy", "convergence_angle", "detector_step")
            return cls(
                scores=stored["scores"].astype(np.float32),
                patterns=stored["patterns"].astype(np.float32),
                cell=tuple(stored["cell"].tolist()),
                thickness=stored["thickness"].astype(float),
                **{name: float(stored[name]) for name in numbers},
            )


@dataclass(frozen=True, repr=False)
class SimulatedDomains:
    """An atomic-resolution 4D-STEM scan with the truth behind it.

    Attributes
    ----------
    data : array of shape (y, x, 32, 32)
        Counts in uint16.
    domains : int8 array of shape (y, x)
        0 or 1.
    distance : float32 array of shape (y, x)
        To the nearest wall or grain boundary in angstrom.
    thickness : float32 array of shape (y, x)
        In angstrom.
    reciprocal : float64 array of shape (lattices, 2, 2)
        Two reciprocal vectors (y, x) of the scan's lattice in cycles a px, one a row. One lattice
        for domains, two for grains.
    row_shift : float64 array of shape (y, 2)
        Jitter of each line (y, x) in px.
    scan_step : float
        In angstrom.
    dose : float
        Electrons a pattern.
    table : ConvergentBeamTable
        What the patterns are from.
    scores : float32 array of shape (y, x, rank)
        Their product with the patterns of the table is the expectation, without noise.
    """

    data: np.ndarray
    domains: np.ndarray
    distance: np.ndarray
    thickness: np.ndarray
    reciprocal: np.ndarray
    row_shift: np.ndarray
    scan_step: float
    dose: float
    table: ConvergentBeamTable
    scores: np.ndarray

    def __repr__(self) -> str:
        shape, share = self.data.shape, self.domains.mean()
        return f"<SimulatedDomains {shape}, {self.dose:g} electrons, {share:.0%} in domain 1>"

    def expectation(self) -> np.ndarray:
        """Counts without noise.

        Returns
        -------
        float32 array of shape (y, x, 32, 32)
        """
        rows = _expected_rows(self.scores, self.table, self.dose)
        return np.concatenate(list(rows)).reshape(self.data.shape)


def simulated_domains(
    kind: str = "wall",
    seed: int = 0,
    table: ConvergentBeamTable | None = None,
    scan_shape: tuple[int, int] = (160, 160),
    dose: float = 3000,
    scan_step: float = 0.23,
    thickness: tuple[float, float] = (60.0, 110.0),
    row_jitter: float = 0.06,
) -> SimulatedDomains:
    """Scan of a crystal with a wall between domains, or a boundary between two rotated grains.

    The scan is rotated by any angle against the crystal, drifts by up to 1 % in both directions,
    and each line of it is off by the jitter.

    Parameters
    ----------
    kind : {"wall", "grains", "single"}
        Two domains of one lattice; two grains of the first domain, rotated by 15 to 35 degrees; or
        the first domain alone.
    seed : int
        Of the angles, the drift, the place of the wall, the wedge and all noise.
    table : ConvergentBeamTable, optional
        Of a crystal. That of PbTiO3 by default.
    scan_shape : (int, int)
        Positions (y, x).
    dose : float
        Electrons a pattern.
    scan_step : float
        In angstrom.
    thickness : (float, float)
        Of the two ends of a wedge, in angstrom.
    row_jitter : float
        Standard deviation of the shift of a line in each direction, in angstrom.

    Returns
    -------
    SimulatedDomains

    Raises
    ------
    ValueError
        If the kind is not known, a number is out of range, or the wedge leaves the thicknesses of
        the table.
    """
    table = ConvergentBeamTable.load() if table is None else table
    _check(kind, scan_shape, dose, scan_step, thickness, table)
    random = np.random.default_rng(seed)
    n_y, n_x = scan_shape
    drift = random.uniform(-0.01, 0.01, 2)
    shift = row_jitter / scan_step * _without_trend(random.standard_normal((n_y, 2)))
    to_crystal = _rotation(random.uniform(0, 360)) * scan_step
    # Along the lines of the scan nothing drifts: they are fast.
    drifted = np.eye(2) + np.outer(drift, (1, 0))
    index = np.moveaxis(np.indices(scan_shape), 0, -1) - np.array([n_y / 2, n_x / 2])
    steps = index @ drifted.T + shift[:, np.newaxis]
    wedge = _wedge(scan_shape, thickness, random)
    place_in = _across_wall if kind == "wall" else _in_grains
    matrices, domains, distance, place = place_in(
        kind, index, steps, to_crystal, scan_step, table, random
    )
    scores = _interpolated(table, place, wedge)
    rows = _expected_rows(scores, table, dose)
    counts = [random.poisson(part).astype(np.uint16) for part in rows]
    return SimulatedDomains(
        data=np.concatenate(counts).reshape(*scan_shape, *table.patterns.shape[1:]),
        domains=domains,
        distance=distance.astype(np.float32),
        thickness=wedge.astype(np.float32),
        reciprocal=np.stack([m @ drifted for m in matrices])
        / np.array(table.cell)[::-1, np.newaxis],
        row_shift=shift,
        scan_step=scan_step,
        dose=dose,
        table=table,
        scores=scores,
    )


def _check(kind, scan_shape, dose, scan_step, thickness, table) -> None:
    """Raise if there is no such scan."""
    if kind not in ("wall", "grains", "single"):
        raise ValueError(f'The kind is {kind!r}. Choose "wall", "grains" or "single".')
    if not 0 < dose <= _HIGHEST_DOSE or scan_step <= 0 or min(scan_shape) < 2:
        raise ValueError(
            f"The dose is {dose}, the step {scan_step} and the scan {scan_shape}. Choose a dose up "
            f"to {_HIGHEST_DOSE} electrons a pattern, a positive step, and 2 lines or more."
        )
    if min(thickness) < table.thickness[0] or max(thickness) > table.thickness[-1]:
        raise ValueError(
            f"The wedge is from {min(thickness)} to {max(thickness)} angstrom, and the table from "
            f"{table.thickness[0]} to {table.thickness[-1]}. Choose a thickness within it."
        )


def _across_wall(kind, index, steps, to_crystal, scan_step, table, random):
    """Matrix, domains, distance to the next wall and places of a scan with a wall in its middle."""
    middle = table.wall + random.uniform(-0.15, 0.15) * len(index) * scan_step
    place = np.array([middle, random.uniform(0, table.cell[0])]) + steps @ to_crystal.T
    domains = (place[..., 0] % table.period > table.wall).astype(np.int8)
    return [to_crystal], domains, _distance_to_wall(place[..., 0], table), place


def _in_grains(kind, index, steps, to_crystal, scan_step, table, random):
    """The same of two grains, or of one crystal, of the table's first domain."""
    matrices, cell = [to_crystal], np.array(table.cell[::-1])
    domains, distance = _boundary(index, scan_step, random)
    if kind == "grains":
        turn = random.uniform(15, 35) * random.choice([-1, 1])
        matrices.append(_rotation(turn) @ to_crystal)
    else:
        domains, distance = np.zeros_like(domains), np.full(domains.shape, np.inf)
    own = np.stack([steps @ m.T + random.uniform(0, 4, 2) for m in matrices])
    place = np.take_along_axis(own, domains[np.newaxis, ..., np.newaxis].astype(int), axis=0)[0]
    # The middle cell of the first domain, again and again.
    place[..., 0] = place[..., 0] % cell[0] + cell[0] * (table.wall // (2 * cell[0]))
    return matrices, domains, distance, place


def _without_trend(shift: np.ndarray) -> np.ndarray:
    """What is left of the shifts of lines when the part that the lattice takes up is gone."""
    line = np.linspace(-1, 1, len(shift))
    terms = np.stack([np.ones_like(line), line], axis=-1)
    return shift - terms @ np.linalg.lstsq(terms, shift, rcond=None)[0]


def _rotation(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def _wedge(scan_shape: tuple[int, int], ends: tuple[float, float], random) -> np.ndarray:
    """Thickness that goes from one end to the other in some direction, not quite linearly."""
    y, x = (np.linspace(-1, 1, n) for n in scan_shape)
    angle = random.uniform(0, 2 * np.pi)
    ramp = np.cos(angle) * y[:, None] + np.sin(angle) * x
    ramp = (ramp - ramp.min()) / np.ptp(ramp)
    ramp += random.uniform(-0.4, 0.4) * ramp * (1 - ramp)
    return ends[0] + (ends[1] - ends[0]) * np.clip(ramp, 0, 1)


def _distance_to_wall(y: np.ndarray, table: ConvergentBeamTable) -> np.ndarray:
    y = y % table.period
    return np.min([np.abs(y - table.wall), y, table.period - y], axis=0)


def _boundary(index: np.ndarray, scan_step: float, random) -> tuple[np.ndarray, np.ndarray]:
    """Grain of each position, 0 or 1, and distance to a gently curved boundary in angstrom."""
    angle = random.uniform(0, 2 * np.pi)
    along = index @ np.array([np.sin(angle), np.cos(angle)])
    across = index @ np.array([np.cos(angle), -np.sin(angle)])
    size = min(index.shape[:2])
    bow = random.uniform(-0.1, 0.1) * size * np.cos(2 * np.pi * along / (1.5 * size))
    across = across - bow - random.uniform(-0.1, 0.1) * size
    return (across > 0).astype(np.int8), np.abs(across) * scan_step


def _finer(table: np.ndarray, axis: int) -> np.ndarray:
    """The same Fourier series at more positions along an axis."""
    n = table.shape[axis]
    terms = np.fft.rfft(table, axis=axis)
    if n % 2 == 0:
        terms[(slice(None),) * axis + (n // 2,)] *= 0.5
    return (np.fft.irfft(terms, n=n * _FINER, axis=axis) * _FINER).astype(np.float32)


def _cubic(fraction: np.ndarray) -> np.ndarray:
    """Weights of four neighbours (Keys, IEEE Trans. Acoust. 29 (1981) 1153)."""
    d, d2, d3 = fraction, fraction**2, fraction**3
    parts = [-d + 2 * d2 - d3, 2 - 5 * d2 + 3 * d3, d + 4 * d2 - 3 * d3, d3 - d2]
    return np.stack(parts, axis=-1) / 2


def _interpolated(table: ConvergentBeamTable, place: np.ndarray, thickness: np.ndarray):
    """Scores at places (y, x) of the crystal, linear between thicknesses."""
    n_y, n_x = (n * _FINER for n in table.scores.shape[:2])
    y = place[..., 0].ravel() / table.period * n_y
    x = place[..., 1].ravel() / table.cell[0] * n_x
    j, i = np.floor(y).astype(int), np.floor(x).astype(int)
    weights_y, weights_x = _cubic(y - j).astype(np.float32), _cubic(x - i).astype(np.float32)
    steps = np.arange(len(table.thickness))
    level = np.interp(thickness.ravel(), table.thickness, steps)
    scores = np.zeros((y.size, table.scores.shape[-1]), np.float32)
    for step in steps:
        part = np.clip(1 - np.abs(level - step), 0, None).astype(np.float32)
        here = np.flatnonzero(part)
        if not here.size:
            continue
        fine = _finer(_finer(table.scores[:, :, step], 0), 1)
        for a in range(4):
            for b in range(4):
                weight = weights_y[here, a] * weights_x[here, b] * part[here]
                neighbour = fine[(j[here] + a - 1) % n_y, (i[here] + b - 1) % n_x]
                scores[here] += weight[:, np.newaxis] * neighbour
    return scores.reshape(*place.shape[:-1], -1)


def _expected_rows(
    scores: np.ndarray, table: ConvergentBeamTable, dose: float
) -> Iterator[np.ndarray]:
    """Expected counts, some patterns at a time."""
    flat = scores.reshape(-1, scores.shape[-1])
    patterns = table.patterns.reshape(len(table.patterns), -1)
    for start in range(0, len(flat), _AT_ONCE):
        yield np.clip(dose * (flat[start : start + _AT_ONCE] @ patterns), 0, None)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""One cell for many patterns: candidates, orientations, refinement."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from emsparse_hs.electron import relativistic_wavelength

from . import _cell_kernels, _index_kernels, _refinement_kernels
from .bands import Bands
from .bravais import near_symmetries, reciprocal_indices, reduced_cell
from .cells import find_cells
from .superlattices import NEAR, add_superlattices, nearest_rotation

#: Bands that a pattern needs.
FEWEST_BANDS = 8
#: Patterns that candidates are taken from, candidates of each, and candidates kept of all.
N_SOURCES, N_OF_EACH, N_CANDIDATES = 6, 3, 10
#: Patterns on which candidates are compared before the best few go to all.
N_SCREENED, N_FINALISTS = 4, 3
#: Two cells are one whose volumes, lengths and cosines differ by less, the first two relatively.
ALIKE = (0.12, 0.05, 0.06)
#: Log evidence that a candidate is thought worth more for each e-fold of patterns that have it.
WORTH_OF_REPEATS = 8.0
#: Bands that orientations are made from, those tried, and the factor on the spreads meanwhile.
N_STRONG, N_TESTS, LOOSE = 7, 3000, 1.3
#: Lattice points are used up to this length, over that of the longest band.
BEYOND = 1.15
#: Bands are used for that if they are not longer than this, over the median.
WIDEST = 2.5
#: Factors on the spreads in the steps of the two refinements of a candidate, and of the last one.
_FIRST, _SECOND = np.array([2.0, 1.4, 1.0, 1.0, 1.0]), np.array([1.5, 1.2, 1.0, 1.0])
_LAST = np.array([1.3, 1.0, 1.0, 1.0])
#: A pattern fits a cell if more than this part of its bands is more probably of it than not.
FITTING = 0.5
#: Orientations nearer than this, in radians, are alike.
SAME_ORIENTATION = np.radians(5.0)
#: Patterns that a worker orients at once.
AT_ONCE = 64
#: Share of bands with no place in the lattice, where weak ones are taken too.
STRAY_OF_WEAK = 0.25


@dataclass(frozen=True, eq=False)
class BandSets:
    """Bands of many patterns as vectors in the detector's frame.

    Attributes
    ----------
    g : float64 array of shape (n, 3)
        In 1/angstrom; of each pattern the highest contrast first.
    contrasts : float64 array of shape (n,)
    starts : int array of shape (n_patterns + 1,)
    shift : float64 array of shape (3,)
        Error of all pattern centres that was undone, see `Fit`.
    """

    g: np.ndarray
    contrasts: np.ndarray
    starts: np.ndarray
    shift: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, p: int) -> np.ndarray:
        """Bands of one pattern."""
        return self.g[self.starts[p] : self.starts[p + 1]]

    def strongest(self, n: int) -> BandSets:
        """Of each pattern the first n bands at most."""
        places = np.arange(len(self.g)) - np.repeat(self.starts[:-1], np.diff(self.starts))
        kept = places < n
        lengths = np.minimum(np.diff(self.starts), n)
        starts = np.cumsum([0, *lengths])
        return replace(self, g=self.g[kept], contrasts=self.contrasts[kept], starts=starts)

    def recentred(self, centre) -> BandSets:
        """The same without an error of all pattern centres."""
        right = np.empty_like(self.g)
        _refinement_kernels.undistorted(self.g, centre, right)
        return replace(self, g=right, shift=self.shift + centre)

    def chosen(self, patterns) -> BandSets:
        """The same of some of the patterns."""
        parts = [slice(self.starts[p], self.starts[p + 1]) for p in patterns]
        lengths = [part.stop - part.start for part in parts]
        return replace(
            self,
            g=np.concatenate([self.g[part] for part in parts]),
            contrasts=np.concatenate([self.contrasts[part] for part in parts]),
            starts=np.cumsum([0, *lengths]),
        )


def band_sets(
    bands: Bands, beam_energy: float, width_scale: float
) -> tuple[BandSets, np.ndarray, int]:
    """Bands as vectors of the patterns that have enough of them.

    Returns
    -------
    sets : BandSets
    patterns : int array
        Which patterns those are.
    n_patterns : int
        How many there were.

    Raises
    ------
    ValueError
        If shapes don't fit, or the beam energy is not positive.
    """
    normals = np.asarray(bands.normals, dtype=np.float64)
    half_widths = np.asarray(bands.half_widths, dtype=np.float64)
    contrasts = np.asarray(bands.contrasts, dtype=np.float64)
    shape = half_widths.shape
    if len(shape) != 2 or normals.shape != (*shape, 3) or contrasts.shape != shape:
        raise ValueError(
            f"Normals, half widths and contrasts have the shapes {normals.shape}, {shape} and "
            f"{contrasts.shape}; (n, n_bands, 3) and twice (n, n_bands) are needed."
        )
    half_widths = np.where(np.isfinite(half_widths), half_widths, np.nan)
    sines = np.sin(np.radians(width_scale * half_widths))
    lengths = 2 * sines / relativistic_wavelength(beam_energy)
    known = (np.linalg.norm(normals, axis=-1) > 0.5) & (lengths > 0) & (contrasts > 0)
    known &= np.isfinite(lengths) & np.isfinite(contrasts)
    patterns = np.flatnonzero(known.sum(axis=1) >= FEWEST_BANDS)
    g = normals * lengths[..., None]
    starts = np.cumsum([0, *known[patterns].sum(axis=1)])
    ranked = np.argsort(-np.where(known, contrasts, 0)[patterns], axis=1, kind="stable")
    row = patterns[:, None]
    kept = known[row, ranked]
    return BandSets(g[row, ranked][kept], contrasts[row, ranked][kept], starts), patterns, shape[0]


@dataclass(frozen=True, eq=False)
class Errors:
    """How bands err, and pattern centres.

    Attributes
    ----------
    spread : float64 array of shape (4,)
        See `emsparse_hs.ebsd._cell_kernels`.
    stray : float
        Share of bands with no place in the lattice.
    slack : float
        Standard deviation of the error of a pattern centre, over the distance.
    """

    spread: np.ndarray
    stray: float
    slack: float

    def widened(self, factor: float) -> np.ndarray:
        """Spreads of direction and width times a factor."""
        return self.spread * (factor, factor, 1, 1)


@dataclass(frozen=True, eq=False)
class Fit:
    """A cell on all patterns.

    Attributes
    ----------
    cell : float64 array of shape (3, 3)
        Rows in angstrom in the crystal's frame.
    rotations : float64 array of shape (n_patterns, 3, 3)
        Row vectors of the crystal's frame times these are in the detector's.
    centres : float64 array of shape (n_patterns, 3)
        Errors of the pattern centre.
    information : float64 array of shape (6, 6)
        Inverse covariance of the reciprocal lattice's strain.
    log_evidence : float
    gains : tuple of (int, float)
        Superlattices that few bands speak for.
    pooled : tuple of (int, float)
        Superlattices that only all patterns together show: they pay a higher price, and are no
        reason for doubt.
    """

    cell: np.ndarray
    rotations: np.ndarray
    centres: np.ndarray
    information: np.ndarray
    log_evidence: float
    gains: tuple[tuple[int, float], ...] = ()
    pooled: tuple[tuple[int, float], ...] = ()

    def upright(self, sets: BandSets) -> np.ndarray:
        """All bands in the crystal's frame."""
        turned = np.empty_like(sets.g)
        for p, (rotation, centre) in enumerate(zip(self.rotations, self.centres, strict=True)):
            bands = sets.of(p)
            right = np.empty_like(bands)
            _refinement_kernels.undistorted(bands, centre, right)
            turned[sets.starts[p] : sets.starts[p + 1]] = right @ rotation.T
        return turned


def fit_patterns(sets: BandSets, everything: BandSets, errors: Errors) -> Fit | None:
    """The cell that explains all patterns best; None if no pattern has any.

    Parameters
    ----------
    sets : BandSets
        The strong bands, from which cells are found.
    everything : BandSets
        Weak bands of the same patterns too: only superlattices are looked for in these.
    errors : Errors
    """
    best = None
    for cell in _candidates(sets, errors):
        fit = _with_superlattices(_fit_cell(cell, sets, errors), sets, everything, errors)
        if best is None or fit.log_evidence > best.log_evidence:
            best = fit
    return best


def refine(fit: Fit, sets: BandSets, errors: Errors, widths=_LAST) -> Fit:
    """Refine the cell, the orientations and the pattern centres of a fit."""
    cell, rotations = fit.cell.copy(), fit.rotations.copy()
    centres, information = fit.centres.copy(), np.empty((6, 6))
    _refinement_kernels.refine_cell(
        cell, rotations, centres, sets.g, sets.starts, errors.spread, errors.stray, widths,
        errors.slack, information,
    )  # fmt: skip
    return replace(fit, cell=cell, rotations=rotations, centres=centres, information=information)


def orient_all(
    cell, sets: BandSets, errors: Errors, n_strong: int = N_STRONG, n_tests: int = N_TESTS
) -> tuple[np.ndarray, np.ndarray]:
    """Orientation of a cell in each pattern, and the log evidence of each."""
    lengths = np.linalg.norm(sets.strongest(N_STRONG).g, axis=1)
    # A stray band may be wider than any of a lattice.
    longest = min(lengths.max(), WIDEST * np.median(lengths))
    points, lengths = _reciprocal_points(cell, BEYOND * longest)
    rotations = np.repeat(np.eye(3)[None], len(sets), axis=0)
    evidence = np.empty(len(sets))
    for p in range(len(sets)):
        evidence[p] = _index_kernels.orient(
            cell, points, lengths, sets.of(p), errors.widened(LOOSE), errors.stray, n_strong,
            n_tests, rotations[p],
        )  # fmt: skip
    nothing = np.diff(sets.starts) * np.log(errors.stray)
    found = np.isfinite(evidence)
    rotations[~found] = np.eye(3)
    return rotations, np.where(found, evidence, nothing)


def like_orientations(cell, rotations) -> np.ndarray:
    """Numbers of groups of patterns whose orientations are alike, but for a lattice's symmetry.

    Patterns of one grain show the same bands with the same errors: they say little more than one.
    """
    symmetry = near_symmetries(cell @ cell.T, NEAR)[-1]
    turns = np.array([nearest_rotation(cell, rotation.T) for rotation in symmetry.rotations])
    first: list[np.ndarray] = []
    groups = np.empty(len(rotations), int)
    for p, rotation in enumerate(rotations):
        equal = turns @ rotation
        cosines = [(np.einsum("nij,ij->n", equal, one).max() - 1) / 2 for one in first]
        groups[p] = int(np.argmax(cosines)) if cosines else 0
        if not cosines or max(cosines) < np.cos(SAME_ORIENTATION):
            groups[p] = len(first)
            first.append(rotation)
    return groups


def shares_explained(fit: Fit, sets: BandSets, errors: Errors) -> np.ndarray:
    """Share of each pattern's bands that more probably belong to the lattice than not."""
    densities = np.empty(len(sets.g))
    _cell_kernels.lattice_densities(fit.cell, fit.upright(sets), errors.spread, densities)
    belongs = (1 - errors.stray) * densities > errors.stray
    return np.add.reduceat(belongs, sets.starts[:-1]) / np.diff(sets.starts)


def residual_angles(fit: Fit, sets: BandSets, errors: Errors) -> np.ndarray:
    """Angles in degrees between each pattern's bands that belong to the lattice and its planes.

    Their root mean square, NaN where no band belongs.
    """
    upright, found = fit.upright(sets), np.full(len(sets), np.nan)
    for p in range(len(sets)):
        bands = upright[sets.starts[p] : sets.starts[p + 1]]
        number, across, *_ = _refinement_kernels.residual_sums(
            fit.cell, bands, errors.spread, errors.stray
        )
        if number > 0:
            found[p] = np.degrees(np.sqrt(2 * across / number))
    return found


def _candidates(sets: BandSets, errors: Errors) -> list[np.ndarray]:
    """Cells of some of the patterns, the most promising few."""
    pool: list[list] = []
    for p in evenly(len(sets), N_SOURCES):
        bands = np.ascontiguousarray(sets.of(p))
        contrasts = sets.contrasts[sets.starts[p] : sets.starts[p + 1]]
        found = find_cells(bands, contrasts, errors.spread, errors.stray, errors.slack)
        pool += [[c.log_evidence, reduced_cell(c.basis)] for c in found[:N_OF_EACH]]
    pool.sort(key=lambda c: -c[0])
    cells = _without_doubles(pool)
    if len(sets) == 1:
        return cells[:1]
    if len(sets) > N_SCREENED:
        some = sets.chosen(evenly(len(sets), N_SCREENED))
        cells.sort(key=lambda cell: -orient_all(cell, some, errors)[1].sum())
    return cells[:N_FINALISTS]


def _without_doubles(pool: list[list]) -> list[np.ndarray]:
    """Different cells, first those of high evidence that many patterns have."""
    kept: list[list] = []
    for evidence, cell in pool:
        alike = next((k for k in kept if are_alike(k[2], cell)), None)
        if alike is None:
            kept.append([evidence, 1, cell])
        else:
            alike[1] += 1
    kept.sort(key=lambda k: -(k[0] + WORTH_OF_REPEATS * np.log(k[1])))
    return [cell for _, _, cell in kept[:N_CANDIDATES]]


def are_alike(one, other) -> bool:
    """Whether two reduced cells are the same within the errors of one pattern."""
    lengths, others = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
    cosines = [
        np.abs((c @ c.T) / np.outer(n, n))[[1, 0, 0], [2, 2, 1]]
        for c, n in ((one, lengths), (other, others))
    ]
    volumes = abs(np.linalg.det(one) / np.linalg.det(other))
    return bool(
        abs(volumes - 1) < ALIKE[0]
        and np.abs(lengths / others - 1).max() < ALIKE[1]
        and np.abs(cosines[0] - cosines[1]).max() < ALIKE[2]
    )


def _fit_cell(cell, sets: BandSets, errors: Errors) -> Fit:
    """Orient and refine a cell twice: the second time with the better cell."""
    fit = Fit(cell, np.eye(3)[None], np.zeros((len(sets), 3)), np.eye(6), -np.inf)
    for widths in (_FIRST, _SECOND):
        if len(sets) > 1:
            fit = replace(fit, rotations=orient_all(fit.cell, sets, errors)[0])
        fit = refine(fit, sets, errors, widths)
    return fit


def _with_superlattices(fit: Fit, sets: BandSets, everything: BandSets, errors: Errors) -> Fit:
    """Add superlattices, from the patterns that fit."""
    fits = shares_explained(fit, sets, errors) > FITTING
    if not fits.any():
        fits[:] = True
    patterns = np.flatnonzero(fits)
    part = replace(fit, rotations=fit.rotations[patterns], centres=fit.centres[patterns])
    strong, weak = sets.chosen(patterns), everything.chosen(patterns)
    groups = like_orientations(fit.cell, part.rotations)
    found = add_superlattices(
        fit.cell, part.upright(weak), weak.starts, errors.spread, STRAY_OF_WEAK, groups
    )
    rotations = fit.rotations.copy()
    rotations[patterns] = found.turns.transpose(0, 2, 1) @ part.rotations
    evidence = _cell_kernels.log_evidence(
        fit.cell, part.upright(strong), errors.spread, errors.stray
    )
    # Patterns that don't fit are as good as noise.
    lost = (len(sets.g) - len(strong.g)) * np.log(errors.stray)
    return replace(
        fit,
        cell=found.cell,
        rotations=rotations,
        gains=found.gains,
        log_evidence=evidence + lost + found.gain,
    )


def _reciprocal_points(cell, longest: float) -> tuple[np.ndarray, np.ndarray]:
    """Points of the reciprocal lattice up to a length, the shortest first, and their lengths."""
    points = reciprocal_indices(cell, longest) @ np.linalg.inv(cell).T
    lengths = np.linalg.norm(points, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[(lengths[order] > 0) & (lengths[order] < longest)]
    return np.ascontiguousarray(points[order]), lengths[order]


def evenly(n: int, count: int) -> np.ndarray:
    """At most so many of n numbers, evenly spread."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).astype(int))


def in_parts(n: int) -> list[np.ndarray]:
    """Numbers of patterns, as many as a worker has at once."""
    return np.array_split(np.arange(n), -(-n // AT_ONCE))

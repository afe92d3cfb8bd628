# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The lattice of an unknown phase, from the Kikuchi bands of one or many of its patterns."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from emsparse_hs.electron import relativistic_wavelength

from . import _cell_kernels, _refinement_kernels
from ._joint import (
    FITTING,
    BandSets,
    Errors,
    Fit,
    band_sets,
    evenly,
    in_parts,
    like_orientations,
    orient_all,
    refine,
    residual_angles,
    shares_explained,
)
from .bands import Bands
from .bravais import ANSWERS, BRAVAIS_LATTICES, Symmetry
from .dissent import dissent
from .oriented_patterns import Patterns, check_patterns, look_at
from .pooled_contrast import FEWEST_ORIENTATIONS, add_pooled_superlattices
from .posterior import (
    Hypothesis,
    cell_parameters,
    compare_symmetries,
    lattice_probabilities,
    parameter_errors,
    symmetric_cell,
)
from .shared_centre import FEWEST, fit_with_centre
from .trust import TRUST, trust, trust_features

__all__ = ["BRAVAIS_LATTICES", "LatticeSolution", "solve_lattice"]

#: What is first assumed of bands: the errors of direction (radians) and width (relative), that of
#: the widths between two orders, and their share; and the share of bands of no plane.
SPREAD, STRAY = (np.radians(0.3), 0.05, 0.25, 0.15), 0.08
#: Errors that the bands themselves may show instead.
SPREAD_LIMITS = ((np.radians(0.1), 0.02), (np.radians(0.6), 0.10))
#: Bands of the assumed errors that those found are averaged with.
PRIOR_BANDS = 20
#: Bragg angle over half width, see `solve_lattice`.
WIDTH_SCALE = 1.13
#: Standard deviation of the pattern centres' errors, over the distance of the screen.
CENTRE_ERROR = 0.004
#: Bands of each pattern, the highest contrast first, from which cells are found; weaker ones tell
#: of superlattices only.
STRONG_BANDS = 30
#: Patterns that the cell is found and refined from, at most; the rest is only oriented.
MOST_PATTERNS = 48


@dataclass(frozen=True, eq=False)
class LatticeSolution:
    """The lattice of one phase.

    Attributes
    ----------
    probabilities : float64 array of shape (15,)
        Of the lattices in `BRAVAIS_LATTICES`, then of 'unknown'.
    cell : float64 array of shape (3, 3)
        Reduced primitive cell: rows in angstrom in the crystal's frame. NaN if there is none.
    conventional_cell : float64 array of shape (3, 3)
        Conventional cell of the most probable lattice, in the same frame, with its symmetry.
    parameters, errors : float64 array of shape (6,)
        Lengths in angstrom and angles in degrees of the conventional cell, and standard errors,
        with what is left however many bands there are: about 0.1 % and 0.11 degrees
        (`emsparse_hs.ebsd.posterior.FLOOR`). Lengths share a scale that comes from the bands'
        widths; their errors don't hold what `width_scale` is wrong by, which is 5 % and more.
    strain_covariance : float64 array of shape (6, 6)
        Covariance of the cell: of the strain xx, yy, zz, yz, xz, xy of its reciprocal lattice, in
        the crystal's frame. Only of the bands' scatter, without what is always left.
    hypotheses : list of Hypothesis
        Symmetries of the cell, the most probable first.
    symmetry : Symmetry or None
        That of the conventional cell: the most probable one of the most probable of the 14
        lattices, also where 'unknown' is more probable than any of them.
    superlattices : tuple of (int, float)
        Index of each superlattice that few bands speak for, or what only all patterns together
        show, and the log evidence that it adds.
    n_pooled : int
        How many of these, the last ones, only all patterns together show.
    orientations : float64 array of shape (n_patterns, 3, 3)
        Row vectors in the crystal's frame times these are in the detector's; NaN where a pattern
        has too few bands.
    centre_errors : float64 array of shape (n_patterns, 3)
        What is to be added to the assumed pattern centre: x to the right and y up over the
        distance, and the distance, relative. NaN where it was not refined.
    explained : float64 array of shape (n_patterns,)
        Share of each pattern's bands that belong to the lattice; NaN where there are too few.
    residuals : float64 array of shape (n_patterns,)
        Angles in degrees between those bands and the lattice's planes, their root mean square; NaN
        where there is no orientation.
    dissent : float64 array of shape (n_patterns,)
        How much better another cell explains each pattern, see `emsparse_hs.ebsd.dissent`: 0 if
        none does; NaN for patterns that the cell was not found from.
    log_evidence : float
        Per strong band of the patterns that the cell was found from, in nats over a band of no
        lattice: 0 where the cell explains nothing. A superlattice has less than its parent, but for
        what its own bands add, since its points are denser.
    spread : float64 array of shape (4,)
        Errors of the bands, see `emsparse_hs.ebsd._cell_kernels`.
    trust_features : float64 array of shape (7,)
        What it was trusted by, see `emsparse_hs.ebsd.trust`; NaN if there is no cell.
    """

    probabilities: np.ndarray
    cell: np.ndarray
    conventional_cell: np.ndarray
    parameters: np.ndarray
    errors: np.ndarray
    strain_covariance: np.ndarray
    hypotheses: list[Hypothesis]
    symmetry: Symmetry | None
    superlattices: tuple[tuple[int, float], ...]
    n_pooled: int
    orientations: np.ndarray
    centre_errors: np.ndarray
    shared_centre_error: np.ndarray
    explained: np.ndarray
    residuals: np.ndarray
    dissent: np.ndarray
    log_evidence: float
    spread: np.ndarray
    trust_features: np.ndarray

    @property
    def lattice(self) -> str:
        """The most probable of the 14 lattices, or 'unknown'."""
        return ANSWERS[int(np.argmax(self.probabilities))]

    @property
    def fits(self) -> np.ndarray:
        """Whether more than half of each pattern's bands belong to the lattice."""
        return self.explained > FITTING

    def __repr__(self) -> str:
        """The lattice, its probability and its edges."""
        said = self.lattice
        if self.symmetry is not None:
            said += f" ({self.probabilities.max():.0%})"
            if self.lattice == "unknown":
                likeliest = self.symmetry.lattice
                share = self.probabilities[BRAVAIS_LATTICES.index(likeliest)]
                said += f", else {likeliest} ({share:.0%})"
            a, b, c = self.parameters[:3]
            said += f", a, b, c = {a:.3f}, {b:.3f}, {c:.3f} angstrom"
        return f"<LatticeSolution: {said}, {len(self.explained)} patterns>"


def solve_lattice(
    bands: Bands,
    beam_energy: float = 20.0,
    *,
    width_scale: float = WIDTH_SCALE,
    centre_error: float = CENTRE_ERROR,
    max_patterns: int = MOST_PATTERNS,
    patterns: Patterns | None = None,
    workers: Callable[[Callable, Iterable], Iterable] = map,
) -> LatticeSolution:
    r"""Find the lattice of an unknown phase.

    Bands are vectors g of the reciprocal lattice: a direction, and by Bragg's law a length from the
    half width. A cell is scored by the evidence of all bands,

    .. math:: \sum_i \ln\left[a + (1 - a)\,\frac{1}{V} N(g_i;\, q_i,\, \Sigma)\right]

    with the nearest lattice point q and the volume V: a cell twice as large has its points twice
    as dense, and must place them twice as well. Cells of some patterns are candidates for all;
    those of the highest evidence are refined on all patterns at once: one metric, and an
    orientation and a pattern centre for each. An error that the pattern centres of different
    orientations share is found with it (`emsparse_hs.ebsd.shared_centre`). Superlattices are added
    whose bands are few (`emsparse_hs.ebsd.superlattices`), or whose bands are too weak to be found
    in a pattern but show in all patterns together (`emsparse_hs.ebsd.pooled_contrast`), and the
    symmetries that the metric nearly has are compared (`emsparse_hs.ebsd.posterior`).

    Parameters
    ----------
    bands : Bands
        Of the patterns of one phase, as `emsparse_hs.ebsd.detect_bands` finds them, the highest
        contrast first: 60 of them, where there are so many. Cells are found from the first 30, and
        superlattices from all.
    beam_energy : float
        In keV.
    width_scale : float
        Bragg angle over the half width of a band. It scales all lengths, and hardly matters for
        the lattice. Edges of bands lie inside of the Bragg angle: by 13 % in the median of
        patterns that were simulated dynamically, from 8 % for light to 17 % for heavy elements,
        and by more in measured ones of low resolution. Find it from a known phase.
    centre_error : float
        Standard deviation of the pattern centres' errors, over the distance of the screen, beyond
        one that all share.
    max_patterns : int
        The cell is found from so many patterns at most, evenly spread; all are oriented.
    patterns : Patterns, optional
        What the bands were found in, to look for superlattices whose bands are too weak to be
        found: of at least 4 different orientations. Only those the cell is found from are taken.
    workers : callable
        What applies a function to parts of the patterns that are only oriented, as `map` does: such
        as the `map` of a pool of threads.

    Returns
    -------
    LatticeSolution
        With the lattice 'unknown' where bands don't fit into any lattice, or are too few.

    Raises
    ------
    TypeError
        If `patterns` are no `Patterns`, or not real.
    ValueError
        If shapes don't fit, a number is not positive, or a pattern centre is not one.
    """
    check_options(width_scale=width_scale, centre_error=centre_error, max_patterns=max_patterns)
    sets, numbers, n_patterns = band_sets(bands, beam_energy, width_scale)
    if patterns is not None:
        check_patterns(patterns, n_patterns)
    if not len(numbers):
        return _nothing(n_patterns)
    some = evenly(len(sets), int(max_patterns))
    everything, sets = sets.chosen(some), sets.strongest(STRONG_BANDS)
    chosen = sets.chosen(some)
    errors = Errors(np.array(SPREAD), STRAY, centre_error)
    fit, shared = fit_with_centre(chosen, everything, errors)
    if fit is None:
        return _nothing(n_patterns)
    sets, chosen = sets.recentred(shared), chosen.recentred(shared)
    fit = refine(fit, chosen, errors)
    errors = _measured_errors(fit, chosen, errors)
    fit = refine(fit, chosen, errors)
    if patterns is not None:
        half_wavelength = relativistic_wavelength(beam_energy) / 2 / width_scale
        fit = _with_pooled_contrast(fit, chosen, errors, patterns, numbers[some], half_wavelength)
    everywhere = _all_oriented(fit, some, sets, errors, workers)
    others = dissent(fit, chosen, errors)
    return _solution(fit, everywhere, sets, errors, numbers, n_patterns, chosen, others)


def _with_pooled_contrast(fit: Fit, sets, errors, patterns, numbers, half_wavelength) -> Fit:
    """Add superlattices that the patterns that fit show together."""
    fits = shares_explained(fit, sets, errors) > FITTING
    if not fits.any():
        return fit
    groups = like_orientations(fit.cell, fit.rotations[fits])
    if groups.max() + 1 < FEWEST_ORIENTATIONS:
        return fit
    # Patterns of one grain show the same errors again.
    weights = 1 / np.bincount(groups)[groups]
    centres = fit.centres[fits] + sets.shift
    views = look_at(patterns, numbers[fits], fit.rotations[fits], centres, weights)
    cell, gains = add_pooled_superlattices(fit.cell, views, half_wavelength)
    return refine(replace(fit, cell=cell, pooled=gains), sets, errors) if gains else fit


def check_options(**options: float) -> None:
    """Check that numbers are positive.

    Raises
    ------
    ValueError
        If one is not.
    """
    for name, value in options.items():
        if not 1e-6 < value < np.inf:
            raise ValueError(f"{name} is {value}, and must be above 0 and finite.")
    if "max_patterns" in options and options["max_patterns"] < 1:
        raise ValueError(f"max_patterns is {options['max_patterns']}, and at least 1 is needed.")


def _measured_errors(fit: Fit, sets: BandSets, errors: Errors) -> Errors:
    """Errors as the residuals of a fit show them, averaged with what is assumed."""
    sums = _refinement_kernels.residual_sums(
        fit.cell, fit.upright(sets), errors.spread, errors.stray
    )
    number, across, along, loose, everything = sums
    # Each pattern's orientation and centre, and the cell, were fitted to the same bands.
    left = max(1 - (2 * 3 * len(sets) + 6) / max(3 * number, 1), 0.3)
    prior = np.array(SPREAD)
    squares = np.array([across, along]) / left + PRIOR_BANDS * prior[:2] ** 2
    measured = np.sqrt(squares / (number + PRIOR_BANDS))
    low, high = SPREAD_LIMITS
    measured = np.clip(measured, low, high)
    share = (loose + PRIOR_BANDS * prior[3]) / (number + loose + PRIOR_BANDS)
    stray = (everything - number - loose + PRIOR_BANDS * STRAY) / (everything + PRIOR_BANDS)
    return Errors(np.array([*measured, prior[2], share]), float(stray), errors.slack)


def _all_oriented(fit: Fit, some, sets: BandSets, errors: Errors, workers) -> Fit:
    """The fit with an orientation for every pattern; those beyond the fit have no centre."""
    if len(some) == len(sets):
        return fit
    parts = [sets.chosen(part) for part in in_parts(len(sets))]
    found = workers(lambda part: orient_all(fit.cell, part, errors)[0], parts)
    rotations = np.concatenate(list(found))
    rotations[some] = fit.rotations
    centres = np.zeros((len(sets), 3))
    centres[some] = fit.centres
    return replace(fit, rotations=rotations, centres=centres)


def _log_evidence(fit: Fit, sets: BandSets, errors: Errors) -> float:
    """Of a band in the mean, over that of a band of no lattice."""
    total = _cell_kernels.log_evidence(fit.cell, fit.upright(sets), errors.spread, errors.stray)
    return total / len(sets.g) - float(np.log(errors.stray))


def _solution(
    fit: Fit, everywhere: Fit, sets, errors, numbers, n_patterns: int, chosen: BandSets, others
) -> LatticeSolution:
    """What is told of a fit."""
    # Edges of a band are of unequal brightness, which shifts it: the same in patterns alike.
    n_different = like_orientations(fit.cell, fit.rotations).max() + 1
    covariance = np.linalg.inv(fit.information) * (len(fit.rotations) / n_different)
    hypotheses = compare_symmetries(fit.cell, covariance)
    known = lattice_probabilities(hypotheses)
    lattice = BRAVAIS_LATTICES[int(np.argmax(known))]
    symmetry = next(h.symmetry for h in hypotheses if h.symmetry.lattice == lattice)
    cell = symmetric_cell(fit.cell, symmetry)
    shares = shares_explained(everywhere, sets, errors)
    shows = shares > 0
    angles = residual_angles(everywhere, sets, errors)
    refined = numbers[evenly(len(sets), len(fit.rotations))]
    evidence, bands = fit.log_evidence / len(chosen.g), len(chosen.g) / len(chosen)
    said = trust_features(evidence, known.max(), shares.mean(), n_different, len(fit.gains), bands)
    # The rest is for a lattice that is none of those compared, as where weak bands were missed.
    unknown = max(1 - trust(said) / known.max(), 0.0)
    return LatticeSolution(
        probabilities=np.append(known * (1 - unknown), unknown),
        cell=fit.cell,
        conventional_cell=cell,
        parameters=cell_parameters(cell),
        errors=parameter_errors(fit.cell, symmetry, covariance),
        strain_covariance=covariance,
        hypotheses=hypotheses,
        symmetry=symmetry,
        superlattices=fit.gains + fit.pooled,
        n_pooled=len(fit.pooled),
        orientations=_placed(everywhere.rotations[shows], numbers[shows], n_patterns),
        centre_errors=_placed(fit.centres + sets.shift, refined, n_patterns),
        shared_centre_error=sets.shift if n_different >= FEWEST else np.full(3, np.nan),
        explained=_placed(shares, numbers, n_patterns),
        residuals=_placed(angles[shows], numbers[shows], n_patterns),
        dissent=_placed(others, refined, n_patterns),
        log_evidence=_log_evidence(fit, chosen, errors),
        spread=errors.spread,
        trust_features=said,
    )


def _placed(values, patterns, n_patterns: int) -> np.ndarray:
    """What is known of some of the patterns, NaN of the others."""
    placed = np.full((n_patterns, *values.shape[1:]), np.nan)
    placed[patterns] = values
    return placed


def _nothing(n_patterns: int) -> LatticeSolution:
    """What is said of patterns that have no lattice."""
    return LatticeSolution(
        probabilities=np.append(np.zeros(len(BRAVAIS_LATTICES)), 1.0),
        cell=np.full((3, 3), np.nan),
        conventional_cell=np.full((3, 3), np.nan),
        parameters=np.full(6, np.nan),
        errors=np.full(6, np.nan),
        strain_covariance=np.full((6, 6), np.nan),
        hypotheses=[],
        symmetry=None,
        superlattices=(),
        n_pooled=0,
        orientations=np.full((n_patterns, 3, 3), np.nan),
        centre_errors=np.full((n_patterns, 3), np.nan),
        shared_centre_error=np.full(3, np.nan),
        explained=np.full(n_patterns, np.nan),
        residuals=np.full(n_patterns, np.nan),
        dissent=np.full(n_patterns, np.nan),
        log_evidence=0.0,
        spread=np.array(SPREAD),
        trust_features=np.full(len(TRUST), np.nan),
    )

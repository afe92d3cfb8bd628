# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
r"""Superlattices from the contrast at predicted places, pooled over many oriented patterns.

A superlattice's own bands may be too weak to be found in any pattern. Where they are is known, once
the lattice below it and the orientation of each pattern are: what all patterns say of the height
of their edges is added up.

First all patterns are fitted as a sum of bands of the lattice, each with a profile of its own.
Against what is left, and the profile of the parallel band, the edges of a reflection that is not
of the lattice have a height a with the error s. Most of those that are tried belong to no lattice,
and say how large errors are; those of parallel planes, which are inside of other bands, have an
error of their own. For a superlattice of which a share f of the reflections is seen, with heights
that are spread like a half of a normal distribution of the width A, the evidence is

.. math:: \sum_i \ln\left[1 - f + f\,\frac{p(a_i \mid A, s_i)}{p(a_i \mid 0, s_i)}\right]

in the mean over some f and A. Reflections that the lattice's symmetry makes equal count as one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import log_ndtr

from . import _edge_kernels
from .bravais import near_symmetries, reciprocal_indices, reduced_cell
from .oriented_patterns import Views
from .superlattices import MOST_STEPS, all_superlattices, variants

#: Log evidence that a superlattice must have. Of 126 development crystals in 24 two-beam images
#: each, true ones that longer reflections brought had 17 to 27, and false ones up to 3.4, or 6.7
#: in a cell that was wrong before; of 34 in dynamical images nothing changes the answer.
PRICE = 8.0
#: Patterns of different orientation below which nothing is pooled.
FEWEST_ORIENTATIONS = 4
#: Known bands: their number, and the longest, in 1/angstrom.
N_KNOWN, LONGEST_KNOWN = 100, 1.0
#: Reflections of a superlattice: how many at most, the shortest first, and the longest.
N_EXTRA, LONGEST_EXTRA = 80, 1.0
#: Bins of a known band's profile and their width, and that of the bins about an edge; sines.
N_BINS, STEP, FINE_STEP = 50, 0.004, 0.0025
#: Half width of the strip about an edge, a sine.
WINDOW = 0.03
#: Pixels where the known bands add up to more, in standard deviations, are left out: zone axes are
#: no sum of bands.
BRIGHTEST = 1.5
#: Shares f of reflections that are seen, and widths A of their heights in standard deviations.
SHARES, HEIGHTS = np.array([0.15, 0.35, 0.7, 0.98]), np.array([0.03, 0.06, 0.12, 0.25, 0.5])
#: Errors: share of those that are larger, and how much; the least, in errors of white noise.
LARGER, HOW_MUCH, LEAST = 0.05, 3.0, 0.7
#: Heights below so many errors say how large these are; a factor on that, for caution.
USUAL, CAUTION = 3.5, 1.05
#: Standard deviation of normal numbers over the median of their absolute values.
_FROM_MEDIAN = 1.48
#: Distortion up to which a rotation is a symmetry.
NEAR = 0.01
#: Reflections' indices are whole numbers times 1 over this.
_PARTS = 12


class Reflections(NamedTuple):
    """Reflections of a lattice's superlattices that are none of the lattice.

    Attributes
    ----------
    indices : int array of shape (n, 3)
        In the lattice's reciprocal basis, in twelfths.
    members : dict
        Which of them belong to each superlattice, the shortest first, by its place in
        `all_superlattices`.
    """

    indices: np.ndarray
    members: dict[int, np.ndarray]


def add_pooled_superlattices(
    cell, views: Views, half_wavelength: float
) -> tuple[np.ndarray, tuple[tuple[int, float], ...]]:
    """Add the superlattices that the contrast at predicted places speaks for, one by one.

    Only those that have the lattice's symmetry are looked for: of others each pattern may show
    another variant.

    Parameters
    ----------
    cell : array of shape (3, 3)
        Rows are the basis vectors in angstrom, in the crystal's frame.
    views : Views
        Of at least some patterns of different orientation.
    half_wavelength : float
        In angstrom, over `width_scale`: times the length of g it is the sine of a half width.

    Returns
    -------
    cell : float64 array of shape (3, 3)
        Reduced cell of the last superlattice.
    gains : tuple of (int, float)
        Index of each superlattice and its log evidence.
    """
    cell, gains = reduced_cell(cell), []
    for _ in range(MOST_STEPS):
        place, gain = _best_superlattice(cell, views, half_wavelength)
        if gain < PRICE:
            break
        matrices, indices, _ = all_superlattices()
        cell = reduced_cell(matrices[place] @ cell)
        gains.append((int(indices[place]), gain))
    return cell, tuple(gains)


def _best_superlattice(cell, views: Views, half_wavelength: float) -> tuple[int, float]:
    """The superlattice of the highest evidence, and that."""
    rotations = near_symmetries(cell @ cell.T, NEAR)[-1].rotations.transpose(0, 2, 1)
    orbits, _ = variants(np.ascontiguousarray(rotations))
    alone = np.flatnonzero(np.bincount(orbits)[orbits] == 1)
    # All of the small indices say how large errors are.
    indices = all_superlattices()[1]
    tried = np.union1d(alone, np.flatnonzero(indices < indices.max()))
    reflections = find_reflections(cell, tried)
    families = _families(reflections.indices, rotations)
    scores, information, parallel = _measured(cell, views, half_wavelength, reflections.indices)
    ratios = _log_ratios(scores, information, parallel, families)
    best, highest = 0, -np.inf
    for k in alone.tolist():
        gain = _evidence(ratios[np.unique(families[reflections.members[k]])])
        if gain > highest:
            best, highest = k, gain
    return best, highest


def find_reflections(cell, superlattices) -> Reflections:
    """Reflections of some superlattices that the lattice has not.

    Parameters
    ----------
    cell : float64 array of shape (3, 3)
    superlattices : int array of shape (n,)
        Which of `all_superlattices`.

    Returns
    -------
    Reflections
    """
    reciprocal = np.linalg.inv(cell).T
    places: dict[tuple, int] = {}
    members = {}
    for k in superlattices.tolist():
        # Of other than reduced bases the box that holds all reflections may be a thousand times it.
        larger = reduced_cell(all_superlattices()[0][k] @ cell)
        matrix = np.rint(larger @ np.linalg.inv(cell))
        longest = _reach(larger)
        points = reciprocal_indices(larger, longest)
        points = points[len(points) // 2 + 1 :]
        indices = np.rint(_PARTS * points @ np.linalg.inv(matrix).T).astype(int)
        lengths = np.linalg.norm(indices @ reciprocal, axis=1) / _PARTS
        extra = (lengths < longest) & (indices % _PARTS != 0).any(axis=1)
        shortest = np.argsort(lengths[extra], kind="stable")[:N_EXTRA]
        mine = [max(tuple(h), tuple(-h)) for h in indices[extra][shortest]]
        members[k] = np.array([places.setdefault(h, len(places)) for h in mine], int)
    return Reflections(np.array(list(places), int).reshape(-1, 3), members)


def _reach(cell) -> float:
    """Length below which a cell has some three times `N_EXTRA` reflections, but for opposites."""
    volume = abs(np.linalg.det(cell))
    return float(min((3 * N_EXTRA / (2 / 3 * np.pi * volume)) ** (1 / 3), LONGEST_EXTRA))


def _families(indices, rotations) -> np.ndarray:
    """Numbers of sets of reflections that a lattice's symmetry turns into each other."""
    turned = np.rint(indices @ np.linalg.inv(rotations).transpose(0, 2, 1)).astype(int)
    # One number for each reflection, and the same for its opposite.
    base = 2 * np.abs(turned).max(initial=0) + 1
    numbers = np.abs(turned @ (base**2, base, 1)).min(axis=0)
    return np.unique(numbers, return_inverse=True)[1]


def _measured(
    cell, views: Views, half_wavelength: float, indices
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, information and whether it is parallel to a known band, of each reflection."""
    known = _known_planes(cell)
    normals = known @ np.linalg.inv(cell).T
    normals /= np.linalg.norm(normals, axis=1)[:, None]
    args = views.centres, views.rotations
    left, profiles = views.images.copy(), np.zeros((len(known), N_BINS))
    _edge_kernels.fit_profiles(left, views.cosines, *args, normals, STEP, 2, profiles)
    cosines = np.where(views.images - left > BRIGHTEST, 0, views.cosines)
    left[:], profiles[:] = views.images, 0
    _edge_kernels.fit_profiles(left, cosines, *args, normals, STEP, 3, profiles)
    primitive = indices // np.gcd.reduce(indices, axis=1)[:, None]
    at = {tuple(sign * h): i for i, h in enumerate(known) for sign in (1, -1)}
    planes = np.array([at.get(tuple(h), -1) for h in primitive], int)
    reciprocal = np.linalg.inv(cell).T
    spacings = np.linalg.norm(primitive @ reciprocal, axis=1)
    scores, information = np.empty((2, len(indices)))
    _edge_kernels.edge_contrasts(
        left, cosines, *args, views.weights, indices @ reciprocal / _PARTS, spacings,
        half_wavelength, planes, profiles, np.array([FINE_STEP, STEP]), WINDOW, scores, information,
    )  # fmt: skip
    return scores, information, planes >= 0


def _known_planes(cell) -> np.ndarray:
    """Indices of the lattice's planes, the widest spaced first, without multiples and opposites."""
    indices = reciprocal_indices(cell, LONGEST_KNOWN)
    indices = indices[len(indices) // 2 + 1 :]
    indices = indices[np.gcd.reduce(indices, axis=1) == 1]
    lengths = np.linalg.norm(indices @ np.linalg.inv(cell).T, axis=1)
    order = np.argsort(lengths, kind="stable")[:N_KNOWN]
    return indices[order[lengths[order] < LONGEST_KNOWN]]


def _log_ratios(scores, information, is_parallel, families) -> np.ndarray:
    """Log likelihood ratio of each family for each of `HEIGHTS` against none.

    Errors are as large as the heights of all families say, apart for those of parallel planes.
    """
    scores, information = (np.bincount(families, x) for x in (scores, information))
    is_parallel = np.bincount(families, is_parallel) > 0
    seen = information > 0
    errors = 1 / np.sqrt(np.where(seen, information, 1))
    z = scores * errors
    for kind in (seen & is_parallel, seen & ~is_parallel):
        scale = _scale(z[kind])
        z[kind] /= scale
        errors[kind] *= scale
    ratios = _log_density(z, HEIGHTS / errors[:, None]) - _log_density(z, np.zeros(1))
    return np.where(seen[:, None], ratios, 0.0)


def _scale(z) -> float:
    """Standard deviation of most of the heights over their errors."""
    if not len(z):
        return 1.0
    usual = z[np.abs(z) < USUAL * max(_FROM_MEDIAN * np.median(np.abs(z)), 0.5)]
    return max(CAUTION * float(np.sqrt(np.mean(usual**2))), LEAST)


def _log_density(z, widths) -> np.ndarray:
    """Log density of heights z with the error 1, or at times more, spread over some widths."""
    total = np.array(-np.inf)
    for share, error in ((1 - LARGER, 1.0), (LARGER, HOW_MUCH)):
        variance = error**2 + widths**2
        part = log_ndtr(z[:, None] * widths / (error * np.sqrt(variance))) + np.log(2)
        part = part - 0.5 * (np.log(2 * np.pi * variance) + z[:, None] ** 2 / variance)
        total = np.logaddexp(total, np.log(share) + part)
    return total


def _evidence(ratios) -> float:
    """Log evidence of a superlattice from those of its families, of shape (families, heights)."""
    if not len(ratios):
        return -np.inf
    each = np.logaddexp(np.log1p(-SHARES), np.log(SHARES) + ratios[..., None]).sum(axis=0)
    return float(np.logaddexp.reduce(each.ravel()) - np.log(each.size))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The lattices of a scan: vectors, grains, and where in the cell each position is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from emsparse_hs.unit_cell.alignment import Alignment, align
from emsparse_hs.unit_cell.assignment import assign
from emsparse_hs.unit_cell.dictionary import normal_equations, ridged
from emsparse_hs.unit_cell.lock_in import (
    cell_length,
    centred_positions,
    lock_in,
    on_scan,
    refine_by_phases,
)
from emsparse_hs.unit_cell.reciprocal import (
    LEAST_SHARE,
    Peaks,
    basis_of_peaks,
    finer_lattices,
    harmonics,
    on_nodes,
    oriented,
    spectral_peaks,
)
from emsparse_hs.unit_cell.segmentation import SMALLEST, Split, segment
from emsparse_hs.unit_cell.vector_errors import vector_covariance

#: Scores that peaks and phases are looked for in: the strongest ones.
_N_SCORES = 12
#: Harmonics that lattices are fitted with, in lengths of the longer vector, and those whose power
#: tells which lattice is where.
_FITTED, _COMPARED = 6.5, 1.5
#: Standard deviation in cells of the average of that power.
_WIDTH = 0.7
#: Weak peaks are looked for in parts of so many cells, whose edges fade over so many cells.
_TILE, _SOFT = 8.0, 2.0
#: How often a lattice is made twice as fine, how many lengths of a vector are searched for that,
#: and how many times as strong as beside it, at so many steps of resolution, peaks have to be: on
#: simulated single domains of SrTiO3 true ones were 2.6 times and more, and false ones 2.2 times at
#: most; in grains, which are smaller, true ones were from 1.9 times on, so that some are missed.
_HALVINGS, _SEARCHED, _AROUND, _LEAST_EXCESS = 2, 2.1, 3.0, 2.4
#: Finest frequency of a series in cycles a pixel; standard deviations of noise by which a harmonic
#: has to exceed what noise gives.
_FINEST, _SIGNIFICANT = 0.48, 6.0
#: Rounds of labels and lattices.
_ROUNDS = 2


@dataclass(frozen=True)
class LatticeFit:
    """Lattices that were found in a scan.

    Attributes
    ----------
    alignment : Alignment
        Vectors, shifts of lines, slow displacement.
    grains : int8 array of shape (y, x)
        Lattice of each position.
    shares : float64 array of shape (lattices,)
        How much of the peaks of the power spectrum each lattice explains, about.
    """

    alignment: Alignment
    grains: np.ndarray
    shares: np.ndarray


def find_lattices(scores: np.ndarray, n_lattices: int = 1) -> LatticeFit:
    """Find the lattices that a scan is periodic with.

    Vectors start from peaks of the power spectrum, go on with the most frequent steps of phases,
    and end with a fit of series to the inside of domains (see `align`), so that walls don't shift
    them.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan, the strongest first, or images on the last axis.
    n_lattices : int
        How many lattices there are, each in its own grains.

    Returns
    -------
    LatticeFit

    Raises
    ------
    ValueError
        If fewer lattices are found.
    """
    strongest = np.ascontiguousarray(scores[..., :_N_SCORES])
    shape = scores.shape[:2]
    reciprocal, shares = _from_peaks(strongest, n_lattices)
    grains = np.zeros(shape, np.int8)
    if n_lattices > 1:
        for _ in range(_ROUNDS):
            grains = _strongest_lattice(strongest, reciprocal)
            reciprocal = np.stack(
                [_refined(strongest, pair, grains == k) for k, pair in enumerate(reciprocal)]
            )
    else:
        reciprocal = _refined(strongest, reciprocal[0], np.ones(shape, bool))[np.newaxis]
    reciprocal = np.stack([oriented(pair) for pair in reciprocal])
    alignment = Alignment.regular(reciprocal, shape)
    indices = fitted_harmonics(reciprocal)
    for _ in range(_ROUNDS):
        labels, lattice_of, _ = segmented(strongest, alignment, grains)
        whole = np.ones((*shape, 1), np.float32)
        alignment = align(scores, alignment, labels, lattice_of, whole, indices)
        if n_lattices > 1:
            labels = assign(scores, alignment, labels, lattice_of, whole, indices)
            grains = lattice_of[labels].astype(np.int8)
            _check_grains(grains, n_lattices)
    # Before slow displacement takes up what parts of the scan disagree in.
    covariance = vector_covariance(scores, alignment, labels, lattice_of, indices)
    alignment = align(
        scores, alignment, labels, lattice_of, whole, indices, rounds=2, vectors=False, slow=True
    )
    alignment = replace(alignment, covariance=covariance)
    return LatticeFit(alignment, grains, shares)


def fitted_harmonics(reciprocal: np.ndarray, cutoff: float | None = None) -> list[np.ndarray]:
    """Harmonics of each lattice up to a cut-off, or up to a few orders.

    Parameters
    ----------
    reciprocal : array of shape (lattices, 2, 2)
        Vectors in cycles a pixel.
    cutoff : float, optional
        In cycles a pixel; never more than the sampling allows.

    Returns
    -------
    list of int arrays of shape (m, 2)
    """
    found = []
    for vectors in reciprocal:
        limit = _FITTED * np.linalg.norm(vectors, axis=1).max() if cutoff is None else cutoff
        found.append(harmonics(vectors, min(limit, _FINEST)))
    return found


def significant_cutoff(scores: np.ndarray, lattice: LatticeFit) -> float:
    """Highest spatial frequency of the series that stands out of the noise.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    lattice : LatticeFit
        Of the scan.

    Returns
    -------
    float
        In cycles a pixel. At most 0.48, what the sampling allows.
    """
    highest = 0.0
    for k, vectors in enumerate(lattice.alignment.reciprocal):
        own = lattice.grains == k
        indices = harmonics(vectors, _FINEST)
        x, fractional = scores[own], lattice.alignment.fractional(k)[own]
        whole = np.ones((len(x), 1), np.float32)
        gram, products = normal_equations(x, fractional, indices, whole)
        terms = np.linalg.solve(ridged(gram), products)
        noise = (np.vdot(x, x) - np.vdot(terms, products)) / x.size
        m = len(indices)
        power = (terms[1 : m + 1] ** 2 + terms[m + 1 :] ** 2).sum(1)
        # Both terms of a harmonic have the noise of a mean of all positions.
        expected = 2 * x.shape[1] * noise / len(x)
        seen = power > expected * (1 + _SIGNIFICANT / np.sqrt(x.shape[1]))
        lengths = np.linalg.norm(indices @ vectors, axis=1)
        lowest = np.linalg.norm(vectors, axis=1).max()
        highest = max(highest, lengths[seen].max(initial=lowest))
    return float(min(highest * 1.001, _FINEST))


def _from_peaks(scores: np.ndarray, n_lattices: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of each lattice, the strongest first, and what part of the peaks it explains."""
    shape = scores.shape[:2]
    scaled = scores / np.maximum(scores.std((0, 1)), 1e-12)
    peaks = spectral_peaks(np.moveaxis(scaled, -1, 0))
    total, left = peaks.power.sum(), peaks
    vectors, shares = [], []
    for k in range(n_lattices):
        pair, share = basis_of_peaks(left, shape) if len(left.power) > 1 else (None, 0.0)
        if pair is None or share < LEAST_SHARE:
            count = "no lattice" if k == 0 else f"only {k} of {n_lattices} lattices"
            raise ValueError(
                f"There is {count} that the scan is periodic with, of at least 3 periods in each "
                "direction. If the specimen is a crystal, check that the scan's step is finer than "
                "half of a lattice plane's distance, or take a part that is crystalline."
            )
        vectors.append(pair)
        shares.append(share * left.power.sum() / total)
        away = ~on_nodes(left, pair, 1.5 / min(shape))
        left = Peaks(left.vectors[away], left.power[away])
    return np.stack(vectors), np.array(shares)


def _check_grains(grains: np.ndarray, n_lattices: int) -> None:
    """Raise if a lattice is nowhere."""
    shares = np.bincount(grains.ravel(), minlength=n_lattices) / grains.size
    if shares.min() < SMALLEST:
        raise ValueError(
            f"Of {n_lattices} lattices one is the strongest in only {shares.min():.1%} of the "
            "scan. Ask for fewer. Lattices on top of each other, as in a moire, have no grains of "
            "their own, and this model does not describe them."
        )


def _refined(scores: np.ndarray, pair: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Vectors from phases, of a lattice twice as fine if weak peaks between the strong ones say so.

    Of a cell that is nearly centred, the peaks that are not of the centred one are weak.
    """
    pair = refine_by_phases(scores, pair, mask)
    for _ in range(_HALVINGS):
        options = [(_excess(scores, pair, finer, mask), finer) for finer in finer_lattices(pair)]
        excess, finer = max(options, key=lambda option: option[0])
        if excess < _LEAST_EXCESS:
            break
        pair = refine_by_phases(scores, finer, mask)
    return pair


def _excess(scores, pair, finer, mask) -> float:
    """Power on nodes of a finer lattice that the other lacks, relative to that around them.

    Geometric mean of the nodes, since some may be peaks of something else. One that is weaker than
    what is around it counts as 1: that it is missing says nothing.
    """
    indices = harmonics(finer, _SEARCHED * np.linalg.norm(pair, axis=1).max())
    nodes = indices @ finer
    coarse = nodes @ np.linalg.inv(pair)
    nodes = nodes[np.abs(coarse - np.round(coarse)).max(1) > 0.25]
    cell = cell_length(pair)
    angles = np.arange(8) * np.pi / 4
    directions = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    power = np.zeros((len(nodes), 2))
    # Part by part, since walls at equal distances have peaks of their own in a large scan.
    for tile in _tiles(mask.shape, _TILE * cell):
        own = mask[tile]
        if own.mean() < 0.25:
            continue
        # Without a soft edge the strong peaks' side lobes hide the weak ones.
        inside = distance_transform_edt(np.pad(own, 1))[1:-1, 1:-1] / (_SOFT * cell)
        window = np.sin(np.pi / 2 * np.minimum(inside, 1)) ** 2
        windowed = (scores[tile] - scores[tile][own].mean(0)) * window[..., np.newaxis]
        around = _AROUND / min(own.shape) * directions
        for node, sums in zip(nodes, power, strict=True):
            beside = [_power(windowed, node + step) for step in around]
            sums += _power(windowed, node), sum(beside) / len(beside)
    ratios = power[:, 0] / (power[:, 1] + 1e-30)
    return float(np.exp(np.log(np.maximum(ratios, 1)).mean())) if len(ratios) > 1 else 0.0


def _tiles(shape: tuple[int, ...], size: float) -> list[tuple[slice, ...]]:
    """Equal parts of a scan, of about a size or somewhat more."""
    edges = [np.linspace(0, n, max(int(n // size), 1) + 1).astype(int) for n in shape]
    along = [[slice(i, j) for i, j in zip(e[:-1], e[1:], strict=True)] for e in edges]
    return [(y, x) for y in along[0] for x in along[1]]


def _power(windowed: np.ndarray, vector: np.ndarray) -> float:
    """Of the scores at one frequency."""
    y, x = (
        np.exp(-2j * np.pi * v * np.arange(n))
        for v, n in zip(vector, windowed.shape[:2], strict=True)
    )
    return float((np.abs(np.einsum("y,yxc,x->c", y, windowed, x, optimize=True)) ** 2).sum())


def _strongest_lattice(scores: np.ndarray, reciprocal: np.ndarray) -> np.ndarray:
    """Lattice whose low harmonics are strongest at each position."""
    shape = scores.shape[:2]
    positions = centred_positions(shape)
    step, powers = 1, []
    cell = float(np.max([cell_length(vectors) for vectors in reciprocal]))
    for vectors in reciprocal:
        indices = harmonics(vectors, _COMPARED * np.linalg.norm(vectors, axis=1).max())
        found = lock_in(scores, positions @ vectors.T, indices, cell, _WIDTH)
        power = (np.abs(found.maps) ** 2).sum((2, 3))
        powers.append(power / np.quantile(power, 0.95))
        step = found.step
    return on_scan(np.argmax(powers, axis=0), step, shape).astype(np.int8)


def segmented(
    scores: np.ndarray, alignment: Alignment, grains: np.ndarray, n_domains: int | None = None
) -> tuple[np.ndarray, np.ndarray, list[Split]]:
    """Domains of all grains, before their walls are found exactly.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    alignment : Alignment
        Of the scan.
    grains : int array of shape (y, x)
        Lattice of each position.
    n_domains : int, optional
        In each lattice. Found by default.

    Returns
    -------
    int8 array of shape (y, x)
        Domain of each position.
    int array of shape (domains,)
        Lattice of each domain.
    list of Split
        What spoke for and against domains.
    """
    labels = np.zeros(scores.shape[:2], np.int8)
    lattice_of: list[int] = []
    splits: list[Split] = []
    for k, vectors in enumerate(alignment.reciprocal):
        own = grains == k
        if not own.any():
            continue
        mask = None if own.all() else own
        found = segment(scores, alignment.fractional(k), vectors, mask, n_domains)
        labels[own] = found.labels[own] + len(lattice_of)
        lattice_of += [k] * (int(found.labels.max()) + 1)
        splits += found.splits
    there = np.unique(labels)
    labels = np.searchsorted(there, labels).astype(np.int8)
    return labels, np.array(lattice_of)[there], splits

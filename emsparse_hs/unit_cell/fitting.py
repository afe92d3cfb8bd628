# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Domains, shifts of lines and abundances of a scan, in turns, from its scores."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emsparse_hs.unit_cell.alignment import Alignment, align, off_walls, thinned
from emsparse_hs.unit_cell.assignment import assign, sharpen_grains
from emsparse_hs.unit_cell.dictionary import (
    evaluate,
    fit_atoms,
    fourier_basis,
    non_negative,
    parts,
    pooled,
)
from emsparse_hs.unit_cell.lattice import LatticeFit, segmented
from emsparse_hs.unit_cell.lock_in import cell_length
from emsparse_hs.unit_cell.segmentation import Split, slow_map

#: Rounds of labels, shifts and abundances.
_ROUNDS = 6
#: Standard deviation in cells of the neighbourhood that shares its abundances.
NEIGHBOURHOOD = 0.5


@dataclass(frozen=True)
class DomainFit:
    """Where a scan is in which cell of which domain, and how much of each variant is there.

    Attributes
    ----------
    alignment : Alignment
        Lattices and shifts.
    labels : int8 array of shape (y, x)
        Domain of each position.
    lattice_of : int array of shape (domains,)
        Lattice of each domain.
    abundances : float32 array of shape (y, x, variants)
        Of the variants of a position's own domain.
    slow : float32 array of shape (y, x)
        Between 0 and 1, where positions are within the slow changes of their domain.
    splits : list of Split
        What spoke for and against domains.
    """

    alignment: Alignment
    labels: np.ndarray
    lattice_of: np.ndarray
    abundances: np.ndarray
    slow: np.ndarray
    splits: list[Split]


def fit_domains(
    scores: np.ndarray,
    lattice: LatticeFit,
    indices: list[np.ndarray],
    n_domains: int | None = None,
    n_variants: int = 2,
) -> DomainFit:
    """Find the domains of a scan and the abundances of their variants.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    lattice : LatticeFit
        Of the scan.
    indices : list of int arrays of shape (m, 2)
        Harmonics of each lattice.
    n_domains : int, optional
        In each lattice. Found by default.
    n_variants : int
        Patterns whose mixture a domain's pattern is, such as those of a thin and a thick place.

    Returns
    -------
    DomainFit
    """
    labels, lattice_of, splits = segmented(scores, lattice.alignment, lattice.grains, n_domains)
    alignment = lattice.alignment
    whole = np.ones((*labels.shape, 1), np.float32)
    # A narrow strip of a domain is found by what it is like, wherever it is.
    labels = assign(scores, alignment, labels, lattice_of, whole, indices, band=np.inf, rounds=3)
    slow = _slow_maps(scores, alignment, labels, lattice_of)
    abundances = between_knots(slow, n_variants)
    fit = DomainFit(alignment, labels, lattice_of, abundances, slow, splits)
    for _ in range(_ROUNDS):
        fit = refine(scores, fit, indices)
    labels = sharpen_grains(
        scores, fit.alignment, fit.labels, fit.lattice_of, fit.abundances, indices
    )
    # A domain may have lost all of its positions to others.
    there, labels = np.unique(labels, return_inverse=True)
    labels = labels.reshape(fit.labels.shape).astype(np.int8)
    fit = replace(fit, labels=labels, lattice_of=fit.lattice_of[there])
    return replace(fit, abundances=adding_up(_abundances(scores, fit, indices), labels))


def refine(scores: np.ndarray, fit: DomainFit, indices: list[np.ndarray]) -> DomainFit:
    """One round of shifts of lines, labels and abundances.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    fit : DomainFit
        To start from.
    indices : list of int arrays of shape (m, 2)
        Harmonics of each lattice.

    Returns
    -------
    DomainFit
    """
    alignment = align(
        scores, fit.alignment, fit.labels, fit.lattice_of, fit.abundances, indices,
        rounds=1, vectors=False,
    )  # fmt: skip
    labels = assign(
        scores, alignment, fit.labels, fit.lattice_of, fit.abundances, indices, rounds=2
    )
    moved = replace(fit, alignment=alignment, labels=labels)
    return replace(moved, abundances=_abundances(scores, moved, indices))


def _slow_maps(scores, alignment, labels, lattice_of) -> np.ndarray:
    slow = np.zeros(labels.shape, np.float32)
    for k, vectors in enumerate(alignment.reciprocal):
        own = np.isin(labels, np.flatnonzero(lattice_of == k))
        if own.any():
            of_lattice = np.where(own, labels, -1)
            slow += slow_map(scores, alignment.fractional(k), vectors, of_lattice) * own
    return slow


def between_knots(slow: np.ndarray, n_variants: int) -> np.ndarray:
    """Abundances of variants that stand for equidistant values of a slow map.

    Parameters
    ----------
    slow : array of shape (y, x)
        From 0 to 1.
    n_variants : int
        How many values.

    Returns
    -------
    float32 array of shape (y, x, variants)
        Linear between the two next ones; their sum is 1.
    """
    if n_variants == 1:
        return np.ones((*slow.shape, 1), np.float32)
    knots = np.arange(n_variants)
    place = slow[..., np.newaxis] * (n_variants - 1)
    return np.clip(1 - np.abs(place - knots), 0, None).astype(np.float32)


def adding_up(abundances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Abundances whose sum is about 1, by the scales of the variants.

    A variant may be scaled if its abundances are scaled inversely. With a sum of 1 its patterns are
    as bright as those of the scan, and the abundances are its shares in them.

    Parameters
    ----------
    abundances : float32 array of shape (y, x, variants)
        Not negative.
    labels : int array of shape (y, x)
        Domain of each position; each domain's variants are scaled on their own.

    Returns
    -------
    float32 array of shape (y, x, variants)
    """
    scaled = abundances.copy()
    for label in np.unique(labels):
        own = labels == label
        amounts = abundances[own].astype(float)
        gram = amounts.T @ amounts
        small = (1e-9 * np.trace(gram) + 1e-30) * np.eye(len(gram))
        scales = np.linalg.solve(gram + small, amounts.sum(0))
        if scales.min() <= 0:
            scales = np.full(len(gram), len(amounts) / max(amounts.sum(), 1e-30))
        scaled[own] *= scales.astype(np.float32)
    return scaled


def fit_all_atoms(
    scores: np.ndarray, fit: DomainFit, indices: list[np.ndarray]
) -> list[np.ndarray]:
    """Atoms of each domain, from its inside.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    fit : DomainFit
        Of the scan.
    indices : list of int arrays of shape (m, 2)
        Harmonics of each lattice.

    Returns
    -------
    list of float32 arrays of shape (variants, terms, scores)
        One a domain.
    """
    inside = fitted_places(fit)
    atoms = []
    for label, k in enumerate(fit.lattice_of):
        own = inside & (fit.labels == label)
        fractional = fit.alignment.fractional(k)[own]
        atoms.append(fit_atoms(scores[own], fractional, indices[k], fit.abundances[own]))
    return atoms


def fitted_places(fit: DomainFit) -> np.ndarray:
    """Positions that atoms are fitted to: off walls, or all of a domain that has no inside.

    Of large scans not all, see `thinned`.

    Parameters
    ----------
    fit : DomainFit
        Of the scan.

    Returns
    -------
    bool array of shape (y, x)
    """
    cells = np.array([cell_length(fit.alignment.reciprocal[k]) for k in fit.lattice_of])
    inside = off_walls(fit.labels, cells)
    for label in range(len(fit.lattice_of)):
        own = fit.labels == label
        if (inside & own).sum() < 0.3 * own.sum():
            inside |= own
    return thinned(inside)


def _abundances(scores: np.ndarray, fit: DomainFit, indices: list[np.ndarray]) -> np.ndarray:
    """Non-negative abundances that neighbours of the same domain share."""
    shape, n = fit.labels.shape, fit.abundances.shape[-1]
    if n == 1:
        return fit.abundances
    atoms = fit_all_atoms(scores, fit, indices)
    new = fit.abundances.copy()
    for label, k in enumerate(fit.lattice_of):
        own = fit.labels == label
        x, fractional = scores[own], fit.alignment.fractional(k)[own]
        gram = np.empty((len(x), n, n), np.float32)
        products = np.empty((len(x), n), np.float32)
        for part in parts(len(x)):
            patterns = evaluate(atoms[label], fourier_basis(fractional[part], indices[k]))
            gram[part] = np.einsum("nar,nbr->nab", patterns, patterns)
            products[part] = np.einsum("nar,nr->na", patterns, x[part])
        full_gram, full_products = np.zeros((*shape, n, n), np.float32), np.zeros((*shape, n))
        full_gram[own], full_products[own] = gram, products
        width = NEIGHBOURHOOD * cell_length(fit.alignment.reciprocal[k])
        new[own] = non_negative(
            pooled(full_gram, width)[own], pooled(full_products, width)[own], fit.abundances[own]
        )
    return new

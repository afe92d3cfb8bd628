# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Which domain a position belongs to: the one whose atoms explain it and its neighbours best."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from emsparse_hs.unit_cell.alignment import Alignment, off_walls, thinned
from emsparse_hs.unit_cell.dictionary import evaluate, fit_atoms, fourier_basis, parts, pooled
from emsparse_hs.unit_cell.lock_in import cell_length

#: Standard deviation in cells of the neighbourhood whose misfit counts. Across a wall between
#: domains patterns change within a cell, and what is smaller follows the probe's position in the
#: cell; the boundary of two lattices is as sharp as the probe.
_NEIGHBOURHOOD, _AT_GRAINS = 0.3, 0.06
#: Positions within so many cells of a wall may change sides in one round.
_BAND = 1.5
#: Rounds, and part of the positions whose change is none.
_ROUNDS, _NONE = 10, 1e-4
#: What abundances are held to beforehand, as a part of what the data say.
_PRIOR = 0.5


def assign(
    scores: np.ndarray,
    alignment: Alignment,
    labels: np.ndarray,
    lattice_of: np.ndarray,
    abundances: np.ndarray,
    indices: list[np.ndarray],
    band: float = _BAND,
    rounds: int = _ROUNDS,
    neighbourhood: float = _NEIGHBOURHOOD,
) -> np.ndarray:
    """Move walls to where the atoms of both sides explain equally well.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    alignment : Alignment
        Of the scan.
    labels : int array of shape (y, x)
        Domain of each position to start from.
    lattice_of : int array of shape (domains,)
        Which lattice a domain has.
    abundances : float32 array of shape (y, x, variants)
        What positions near a wall are expected to be mixtures of.
    indices : list of int arrays of shape (m, 2)
        Harmonics for each lattice.
    band : float
        Cells by which a wall moves in a round at most.
    rounds : int
        At most.
    neighbourhood : float
        Standard deviation in cells of the Gaussian over which misfit is summed.

    Returns
    -------
    int8 array of shape (y, x)
    """
    n = len(lattice_of)
    if n < 2:
        return labels
    cells = np.array([cell_length(alignment.reciprocal[k]) for k in lattice_of])
    width = neighbourhood * cells.mean()
    flat = scores.reshape(-1, scores.shape[-1])
    amounts = abundances.reshape(len(flat), -1)
    for _ in range(rounds):
        near = _near_walls(labels, n, band * cells.mean())
        inside = thinned(off_walls(labels, cells))
        misfits = np.full((n, *labels.shape), np.inf, np.float32)
        for label in range(n):
            own = (inside & (labels == label)).ravel()
            if not own.any():
                continue
            lattice = lattice_of[label]
            fractional = alignment.fractional(lattice).reshape(-1, 2)
            atoms = fit_atoms(flat[own], fractional[own], indices[lattice], amounts[own])
            places = np.flatnonzero(near)
            misfits[label] = _pooled_misfit(
                flat, fractional, indices[lattice], amounts, atoms, places, labels.shape, width
            )
        moved = np.where(near, misfits.argmin(0), labels).astype(np.int8)
        changed = (moved != labels).mean()
        labels = moved
        if changed < _NONE:
            break
    return labels


def sharpen_grains(
    scores: np.ndarray,
    alignment: Alignment,
    labels: np.ndarray,
    lattice_of: np.ndarray,
    abundances: np.ndarray,
    indices: list[np.ndarray],
) -> np.ndarray:
    """Move boundaries between different lattices to the pixel.

    Parameters
    ----------
    scores, alignment, labels, lattice_of, abundances, indices
        As for `assign`.

    Returns
    -------
    int8 array of shape (y, x)
        Labels; what only changed within a lattice is as it was.
    """
    if len(np.unique(lattice_of)) < 2:
        return labels
    sharp = assign(
        scores, alignment, labels, lattice_of, abundances, indices,
        rounds=3, neighbourhood=_AT_GRAINS,
    )  # fmt: skip
    return np.where(lattice_of[sharp] != lattice_of[labels], sharp, labels).astype(np.int8)


def _near_walls(labels: np.ndarray, n: int, distance: float) -> np.ndarray:
    near = np.zeros(labels.shape, bool)
    for label in range(n):
        own = labels == label
        if own.any() and not own.all():
            near |= own & (distance_transform_edt(own) < distance)
    return near


def _pooled_misfit(
    scores, fractional, indices, amounts, atoms, places, shape: tuple[int, int], width: float
) -> np.ndarray:
    """Misfit of one domain's atoms, but for the square of the data, which all have in common."""
    n = len(atoms)
    gram = np.zeros((shape[0] * shape[1], n, n), np.float32)
    products = np.zeros((len(gram), n), np.float32)
    for part in parts(len(places)):
        here = places[part]
        basis = fourier_basis(fractional[here], indices)
        patterns = evaluate(atoms, basis)
        gram[here] = np.einsum("nar,nbr->nab", patterns, patterns)
        products[here] = np.einsum("nar,nr->na", patterns, scores[here])
    gram = pooled(gram.reshape(*shape, n, n), width).reshape(-1, n, n)[places]
    products = pooled(products.reshape(*shape, n), width).reshape(-1, n)[places]
    expected = amounts[places]
    prior = _PRIOR * gram + 1e-6 * np.einsum("naa->n", gram)[:, None, None] * np.eye(n)
    right = products + np.einsum("nab,nb->na", prior, expected)
    best = np.linalg.solve(gram + prior, right[..., np.newaxis])[..., 0]
    misfit = np.full(shape[0] * shape[1], np.inf, np.float32)
    explained = 2 * (best * products).sum(1) - np.einsum("na,nab,nb->n", best, gram, best)
    misfit[places] = -explained
    return misfit.reshape(shape)

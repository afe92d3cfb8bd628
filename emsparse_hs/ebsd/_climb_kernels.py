# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled search among the super- and sublattices of a cell."""

import math

import numba
import numpy as np

from ._cell_kernels import lattice_densities, log_evidence
from ._refinement_kernels import refine_cell, undistorted

#: A neighbour whose evidence per band is so much lower before it is refined is not refined.
_PROMISING = 0.25
#: Factors on the spreads in the steps of a refinement.
_START = (2.5, 1.6, 1.2, 1.0)
_SETTLE = (1.3, 1.0, 1.0)


@numba.njit(nogil=True, cache=True)
def settle_cell(cell, g, spread, stray, slack, widths):
    """Refine a cell on the bands of one pattern in place; its log evidence.

    The cell ends in the detector's frame, and the error of the pattern centre is not kept.
    """
    rotations, centres = np.empty((1, 3, 3)), np.zeros((1, 3))
    rotations[0] = np.eye(3)
    starts = np.array([0, len(g)])
    information = np.empty((6, 6))
    refine_cell(cell, rotations, centres, g, starts, spread, stray, widths, slack, information)
    upright = np.empty_like(g)
    undistorted(g, centres[0], upright)
    cell[:] = cell @ rotations[0]
    return log_evidence(cell, upright, spread, stray)


@numba.njit(nogil=True, cache=True)
def climb(cell, g, spread, stray, slack, relatives, limits, n_steps, least):
    """Go to the super- or sublattice of the highest evidence, again and again.

    Parameters
    ----------
    cell : float64 array of shape (3, 3)
        Changed.
    g : float64 array of shape (n, 3)
    spread, stray, slack
        As for `refine_cell`.
    relatives : float64 array of shape (n_relatives, 3, 3)
        Matrices that make the other cells of this one.
    limits : float64 array of shape (2,)
        Smallest and largest volume.
    n_steps : int
        At most.
    least : float
        Evidence per band that a step must bring.

    Returns
    -------
    float
        Log evidence.
    """
    n = len(g)
    evidence = settle_cell(cell, g, spread, stray, slack, np.array(_START))
    for _ in range(n_steps):
        highest, chosen = evidence + least * n, cell.copy()
        for k in range(len(relatives)):
            other = relatives[k] @ cell
            volume = abs(np.linalg.det(other))
            if not limits[0] <= volume <= limits[1]:
                continue
            if log_evidence(other, g, spread, stray) < highest - _PROMISING * n:
                continue
            reached = settle_cell(other, g, spread, stray, slack, np.array(_SETTLE))
            if reached > highest:
                highest, chosen = reached, other
        if highest == evidence + least * n:
            break
        evidence = highest
        cell[:] = chosen
    return evidence


@numba.njit(nogil=True, cache=True)
def superlattice_gains(cell, g, starts, spread, stray, known, matrices, shares, gains):
    r"""What superlattices add to each pattern's evidence if a share of the bands is theirs alone.

    .. math:: \sum_i \ln\frac{a + (1 - a)\,((1 - s)\,p_i + s\,p'_i)}{a + (1 - a)\,p_i}

    Reflections of a superlattice are weak: were they taken for as likely as those of the lattice
    itself, a few of them could not pay for all those that are not seen.

    Parameters
    ----------
    cell : float64 array of shape (3, 3)
    g : float64 array of shape (n, 3)
        Bands of all patterns in the crystal's frame.
    starts : int64 array of shape (n_patterns + 1,)
    spread : float64 array of shape (4,)
    stray : float
        a, the share of bands with no place in any lattice.
    known : float64 array of shape (n,)
        p, the density of each band in the lattice.
    matrices : float64 array of shape (n_matrices, 3, 3)
        Of each superlattice: its cell is matrix @ cell.
    shares : float64 array of shape (n_shares,)
        s, tried in turn.
    gains : float64 array of shape (n_patterns, n_matrices, n_shares)
        Filled.
    """
    new = np.empty(len(g))
    gains[:] = 0
    for k in range(len(matrices)):
        lattice_densities(matrices[k] @ cell, g, spread, new)
        for p in range(len(starts) - 1):
            for i in range(starts[p], starts[p + 1]):
                before = stray + (1 - stray) * known[i]
                change = (1 - stray) * (new[i] - known[i]) / before
                for j in range(len(shares)):
                    gains[p, k, j] += math.log(1 + shares[j] * change)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where in the unit cell each position of a scan is: lattices, shifts of lines, slow displacement.

The scores of a domain are a Fourier series of the position in the cell. What the series explains
best tells where the positions are: lattice vectors by Gauss and Newton with the series eliminated
(variable projection: Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973) 413; Kaufman, BIT 15 (1975)
49), and shifts of lines, which the series hardly depends on, in turns with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from emsparse_hs.unit_cell._nodes import at_nodes, between_nodes
from emsparse_hs.unit_cell.dictionary import (
    design,
    fourier_basis,
    mixtures,
    normal_equations,
    parts,
    pooled,
    ridged,
    series_gradient,
)
from emsparse_hs.unit_cell.lock_in import cell_length, centred_positions

#: Part of a cell at each side of a wall that does not count: atoms are elsewhere there.
WALL = 0.75
#: Positions that a fit of the lattice uses at most.
_MOST = 60_000
#: Width in cells over which displacement is averaged.
_SMOOTH = 1.5
#: Change in cells that ends the rounds.
_CONVERGED = 2e-5


@dataclass(frozen=True)
class Alignment:
    """Lattices of a scan and how its positions are off the regular grid.

    Attributes
    ----------
    reciprocal : float64 array of shape (lattices, 2, 2)
        Two vectors (y, x) of each lattice in cycles a pixel, one a row.
    row_shift : float64 array of shape (y, 2)
        Shift (y, x) of each line of the scan in pixels, without mean and trend.
    nodes : float64 array of shape (grid y, grid x, 2)
        Slow displacement (y, x) in pixels, without mean and linear part, at nodes of a grid from
        the first to the last position of the scan. It is linear between them.
    shape : (int, int)
        Of the scan.
    covariance : float64 array of shape (lattices, 4, 4)
        Of the components of the vectors, see `vector_covariance`; NaN before the end.
    """

    reciprocal: np.ndarray
    row_shift: np.ndarray
    nodes: np.ndarray
    shape: tuple[int, int]
    covariance: np.ndarray

    @classmethod
    def regular(cls, reciprocal: np.ndarray, shape: tuple[int, int]) -> Alignment:
        """All positions where they should be.

        Parameters
        ----------
        reciprocal : array of shape (lattices, 2, 2)
            Of the lattices.
        shape : (int, int)
            Of the scan.

        Returns
        -------
        Alignment
        """
        n = len(reciprocal)
        return cls(
            np.array(reciprocal, float),
            np.zeros((shape[0], 2)),
            np.zeros((2, 2, 2)),
            (int(shape[0]), int(shape[1])),
            np.full((n, 4, 4), np.nan),
        )

    def positions(self) -> np.ndarray:
        """True positions in pixels from the middle of the scan.

        Returns
        -------
        float64 array of shape (y, x, 2)
        """
        regular = centred_positions(self.shape)
        return regular + self.row_shift[:, np.newaxis] + self.displacement()

    def displacement(self) -> np.ndarray:
        """Slow displacement at each position.

        Returns
        -------
        float64 array of shape (y, x, 2)
            y and x, in pixels.
        """
        return between_nodes(self.nodes, self.shape)

    def fractional(self, lattice: int) -> np.ndarray:
        """Positions in the cell of one of the lattices.

        Parameters
        ----------
        lattice : int
            Which one.

        Returns
        -------
        float64 array of shape (y, x, 2)
            In cells, not reduced to one cell; 0 in the middle of the scan.
        """
        return self.positions() @ self.reciprocal[lattice].T


def off_walls(labels: np.ndarray, cells: np.ndarray, distance: float = WALL) -> np.ndarray:
    """Which positions are inside of their domain.

    Parameters
    ----------
    labels : int array of shape (y, x)
        Domain of each position, -1 for none.
    cells : array of shape (domains,)
        Size of a cell in pixels.
    distance : float
        From a wall, in cells.

    Returns
    -------
    bool array of shape (y, x)
    """
    return distance_to_walls(labels, cells) > distance


def distance_to_walls(labels: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Distance of each position from the next other domain, in cells of its own.

    Parameters
    ----------
    labels : int array of shape (y, x)
        Domain of each position.
    cells : array of shape (domains,)
        Size of a cell in pixels.

    Returns
    -------
    float64 array of shape (y, x)
        Infinite if there is no other domain.
    """
    distance = np.full(labels.shape, np.inf)
    for label, cell in enumerate(cells):
        own = labels == label
        if not own.all():
            distance[own] = distance_transform_edt(own)[own] / cell
    return distance


@dataclass
class _Equations:
    """Normal equations of the vectors of a lattice, and of a shift at each position."""

    gram: np.ndarray
    right: np.ndarray
    #: (y, x, 2, 2) and (y, x, 2), in pixels.
    local_gram: np.ndarray
    local_right: np.ndarray


def align(
    scores: np.ndarray,
    alignment: Alignment,
    labels: np.ndarray,
    lattice_of: np.ndarray,
    abundances: np.ndarray,
    indices: list[np.ndarray],
    rounds: int = 8,
    vectors: bool = True,
    slow: bool = False,
) -> Alignment:
    """Refine lattices, shifts of lines and, if wanted, slow displacement.

    Parameters
    ----------
    scores : float32 array of shape (y, x, scores)
        Of the scan.
    alignment : Alignment
        To start from.
    labels : int array of shape (y, x)
        Domain of each position, -1 for none.
    lattice_of : int array of shape (domains,)
        Which lattice a domain has.
    abundances : float32 array of shape (y, x, variants)
        How a position is a mixture of the variants of its domain.
    indices : list of int arrays of shape (m, 2)
        Harmonics for each lattice.
    rounds : int
        At most.
    vectors, slow : bool
        Whether to change the lattices, and to estimate slow displacement.

    Returns
    -------
    Alignment
    """
    cells = np.array([cell_length(alignment.reciprocal[k]) for k in lattice_of])
    thin = thinned(off_walls(labels, cells))
    # Shifts of lines also from what is at a wall, where nothing else of a line is left.
    used = thin if vectors else np.ones(labels.shape, bool)
    for _ in range(rounds):
        change = 0.0
        reciprocal = alignment.reciprocal.copy()
        local_gram = np.zeros((*labels.shape, 2, 2))
        local_right = np.zeros((*labels.shape, 2))
        for k in range(len(reciprocal)):
            domains = [labels == d for d in np.flatnonzero(lattice_of == k)]
            for_k = [
                _equations(scores, alignment, k, thin & d, used & d, abundances, indices[k])
                for d in domains
                if (thin & d).any()
            ]
            if not for_k:
                continue
            local_gram += sum(e.local_gram for e in for_k)
            local_right += sum(e.local_right for e in for_k)
            if vectors:
                step = _vector_step(for_k)
                reciprocal[k] += step
                change = max(change, np.abs(step).max() * max(labels.shape))
        cell = cells.mean()
        row_step = _row_step(local_gram.sum(1), local_right.sum(1), labels, len(lattice_of))
        change = max(change, np.abs(row_step).max() / cell)
        nodes = alignment.nodes
        if slow:
            step = _slow_step(local_gram, local_right, _SMOOTH * cell)
            nodes = at_nodes(_without_lattice(alignment.displacement() + step), cell)
        alignment = replace(
            alignment,
            reciprocal=reciprocal,
            row_shift=alignment.row_shift + row_step,
            nodes=nodes,
        )
        if change < _CONVERGED:
            break
    return alignment


def thinned(inside: np.ndarray) -> np.ndarray:
    """Positions that atoms are fitted to: of large scans some, in every line.

    Parameters
    ----------
    inside : bool array of shape (y, x)
        All that could be used.

    Returns
    -------
    bool array of shape (y, x)
        About 60 000 of them at most, spread evenly.
    """
    thin = max(int(np.ceil(inside.sum() / _MOST)), 1)
    # Steps that have no period in common with any lattice (a golden section in two dimensions).
    y, x = np.ogrid[: inside.shape[0], : inside.shape[1]]
    return inside & ((0.7548776662 * x + 0.5698402910 * y) % 1 < 1 / thin)


def _equations(
    scores: np.ndarray,
    alignment: Alignment,
    lattice: int,
    fitted: np.ndarray,
    used: np.ndarray,
    abundances: np.ndarray,
    indices: np.ndarray,
) -> _Equations:
    """One domain's say on its lattice and on shifts; atoms are of `fitted`, the rest of `used`."""
    maps = (scores, abundances, alignment.fractional(lattice), centred_positions(used.shape))
    x, amounts, fractional, _ = (values[fitted] for values in maps)
    gram, products = normal_equations(x, fractional, indices, amounts)
    inverse = np.linalg.inv(ridged(gram))
    x, amounts, fractional, regular = (values[used] for values in maps)
    reciprocal = alignment.reciprocal[lattice].astype(np.float32)
    atoms = (inverse @ products).astype(np.float32).reshape(amounts.shape[1], -1, x.shape[1])
    slopes = series_gradient(atoms, indices)
    own, mixed, right = np.zeros((4, 4)), 0.0, np.zeros(4)
    local_gram, local_right = np.empty((len(x), 2, 2)), np.empty((len(x), 2))
    for part in parts(len(x)):
        basis = fourier_basis(fractional[part], indices)
        weight = amounts[part]
        left = x[part] - mixtures(atoms, basis, weight)
        along = np.stack([mixtures(slope, basis, weight) for slope in slopes])
        jacobian = vector_slopes(along, regular[part]).reshape(4, -1)
        own += jacobian @ jacobian.T
        right += jacobian @ left.ravel()
        terms = design(basis, weight)
        by_score = jacobian.reshape(4, len(terms), -1)
        mixed = mixed + np.einsum("nt,knr->ktr", terms, by_score, optimize=True)
        pixels = np.einsum("inr,ik->knr", along, reciprocal)
        local_gram[part] = np.einsum("knr,lnr->nkl", pixels, pixels)
        local_right[part] = np.einsum("knr,nr->nk", pixels, left)
    solved = np.einsum("st,ktr->ksr", inverse, mixed, optimize=True)
    shape = (*used.shape, 2)
    places = np.flatnonzero(used)
    return _Equations(
        own - np.einsum("ktr,ltr->kl", mixed, solved),
        right,
        _placed(local_gram, places, (*shape, 2)),
        _placed(local_right, places, shape),
    )


def vector_slopes(along: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Change of scores at positions by the components of the lattice's vectors.

    Parameters
    ----------
    along : float32 array of shape (2, n, scores)
        Change by the two fractional coordinates.
    positions : array of shape (n, 2)
        From the middle of the scan in pixels.

    Returns
    -------
    float32 array of shape (4, n, scores)
    """
    # The change of fractional coordinate i is the sum of change (i, k) x position k.
    steps = positions.T.astype(np.float32)[np.newaxis, ..., np.newaxis]
    return (along[:, np.newaxis] * steps).reshape(4, *along.shape[1:])


def _placed(values: np.ndarray, places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    full = np.zeros((shape[0] * shape[1], *shape[2:]))
    full[places] = values
    return full.reshape(shape)


def _vector_step(equations: list[_Equations]) -> np.ndarray:
    """Change of the two vectors."""
    gram = sum(e.gram for e in equations)
    right = sum(e.right for e in equations)
    return (np.linalg.pinv(gram, rcond=1e-9, hermitian=True) @ right).reshape(2, 2)


def _row_step(gram: np.ndarray, right: np.ndarray, labels: np.ndarray, n: int) -> np.ndarray:
    """Shift of each line, without what lattice and series take up.

    That is mean and trend, and, since the origin of each domain's series is free, a shift of all
    lines of one domain: along with a trend in each, it would pass for another lattice.
    """
    known = np.einsum("nii->n", gram)
    ridge = 1e-2 * known.mean() / 2 * np.eye(2)
    step = np.linalg.solve(gram + ridge, right[..., np.newaxis])[..., 0]
    line = np.linspace(-1, 1, len(step))
    shares = [(labels == label).mean(1) for label in range(1, n)]
    terms = np.stack([np.ones_like(line), line, *shares], axis=-1)
    # A line that lies in a wall says nothing, and stays where it is.
    used = known > 0.05 * known.mean()
    step[used] -= terms[used] @ np.linalg.lstsq(terms[used], step[used])[0]
    step[~used] = 0
    return step


def _slow_step(gram: np.ndarray, right: np.ndarray, width: float) -> np.ndarray:
    """Displacement that neighbours agree on."""
    gram, right = pooled(gram, width), pooled(right, width)
    usual = np.einsum("yxii->yx", gram).mean() / 2
    return np.linalg.solve(gram + 0.05 * usual * np.eye(2), right[..., np.newaxis])[..., 0]


def _without_lattice(displacement: np.ndarray) -> np.ndarray:
    """Without mean and linear part, and without what whole lines have in common."""
    displacement = displacement - displacement.mean(1, keepdims=True)
    positions = centred_positions(displacement.shape[:2]).reshape(-1, 2)
    terms = np.concatenate([np.ones((len(positions), 1)), positions], axis=1)
    flat = displacement.reshape(-1, 2)
    return (flat - terms @ np.linalg.lstsq(terms, flat)[0]).reshape(displacement.shape)

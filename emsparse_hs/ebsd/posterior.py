# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
r"""Which Bravais lattice a measured cell is: the probability of each.

Each symmetry that the cell has nearly is a hypothesis. Under it the metric lies in a linear space,
up to the uncertainty of the measurement, and anywhere in that space; so that the hypotheses are
compared by

.. math:: p(G \mid S) = N(y_S;\, 0,\, C_S)\; w^{-(f_S - 1)}

with the deviation y from the space, its covariance C and the number f of free parameters, each of
which spreads over w: H. Jeffreys, Theory of Probability (1961), chapter 5. A higher symmetry is
believed where the deviation is within the error, since a lower one would have to meet it by chance.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from .bravais import (
    BRAVAIS_LATTICES,
    COLUMNS,
    ROWS,
    Symmetry,
    conventional_cell,
    metric_matrix,
    metric_vector,
    near_symmetries,
)

#: Relative metric parameters of lattices spread over so much; chosen on development crystals.
WIDTH = 0.5
#: Error of relative metric parameters that is there however many bands are fitted: 0.1 % of a
#: length, 0.11 degrees of a right angle. Chosen on development crystals: angles of 19 cells, from 8
#: two-beam images each with a pattern centre wrong by 0.3 %, are off by 0.9 errors (root mean
#: square), and by 2.1 without it.
FLOOR = 0.002
#: Distortion up to which a symmetry is a hypothesis.
NEAR = 0.08


class Hypothesis(NamedTuple):
    """A symmetry of a cell, and how probable it is among all others.

    Attributes
    ----------
    symmetry : Symmetry
    probability : float
    misfit : float
        Squared deviation of the metric in standard errors; for k constraints, k is expected.
    """

    symmetry: Symmetry
    probability: float
    misfit: float

    def __repr__(self) -> str:
        """The lattice, its probability, and the misfit of as much as is expected."""
        misfit = f"misfit {self.misfit:.1f} of {6 - self.symmetry.n_free}"
        return f"<Hypothesis {self.symmetry.lattice}, {self.probability:.0%}, {misfit}>"


def metric_covariance(cell, strain_covariance) -> np.ndarray:
    """Covariance of a cell's metric, from that of the strain of its reciprocal lattice.

    Parameters
    ----------
    cell : array of shape (3, 3)
        Rows are the basis vectors in angstrom.
    strain_covariance : array of shape (6, 6)
        Of xx, yy, zz, yz, xz, xy in the frame of the cell.

    Returns
    -------
    float64 array of shape (6, 6)
        Of the metric's elements 11, 22, 33, 23, 13, 12 in angstrom^4.
    """
    jacobian = np.empty((6, 6))
    for k, (i, j) in enumerate(zip(ROWS, COLUMNS, strict=True)):
        unit = np.zeros((3, 3))
        unit[i, j] = unit[j, i] = 1
        # The direct lattice shrinks as the reciprocal one grows.
        jacobian[:, k] = metric_vector(-2 * cell @ unit @ cell.T)
    return jacobian @ strain_covariance @ jacobian.T


def _relative_covariance(cell, strain_covariance, floor: float) -> tuple[np.ndarray, np.ndarray]:
    """What makes a metric relative, and the covariance of the relative one with the floor."""
    lengths = np.linalg.norm(cell, axis=1)
    scale = 1 / (lengths[ROWS] * lengths[COLUMNS])
    covariance = metric_covariance(cell, strain_covariance) * np.outer(scale, scale)
    return scale, covariance + floor**2 * np.eye(6)


def compare_symmetries(cell, strain_covariance) -> list[Hypothesis]:
    """All symmetries that a cell may have, the most probable first.

    Parameters
    ----------
    cell : array of shape (3, 3)
        A reduced cell.
    strain_covariance : array of shape (6, 6)
        Of the reciprocal lattice's strain xx, yy, zz, yz, xz, xy.

    Returns
    -------
    list of Hypothesis
        Probabilities sum to 1.
    """
    cell = np.asarray(cell, dtype=np.float64)
    metric = cell @ cell.T
    scale, covariance = _relative_covariance(cell, strain_covariance, FLOOR)
    symmetries = near_symmetries(metric, NEAR)
    fits = [_fit(s, metric_vector(metric), scale, covariance) for s in symmetries]
    # Each lattice is as probable as any other before, however many settings of it there are.
    settings = Counter(s.lattice for s in symmetries)
    logs = np.array([log for log, _ in fits])
    logs -= np.log([settings[s.lattice] for s in symmetries])
    probabilities = np.exp(logs - np.logaddexp.reduce(logs))
    order = np.argsort(-probabilities, kind="stable")
    return [Hypothesis(symmetries[i], float(probabilities[i]), fits[i][1]) for i in order]


def _fit(symmetry: Symmetry, vector, scale, covariance) -> tuple[float, float]:
    """Log probability density of a metric under a symmetry, and its squared misfit."""
    log, misfit = -(symmetry.n_free - 1) * np.log(WIDTH), 0.0
    if symmetry.n_free < 6:
        allowed = scale[:, None] * symmetry.projector / scale
        # Orthonormal directions in which a metric with the symmetry has no part.
        broken = np.linalg.svd(allowed)[0][:, symmetry.n_free :]
        deviation = broken.T @ (scale * vector)
        error = broken.T @ covariance @ broken
        misfit = float(deviation @ np.linalg.solve(error, deviation))
        log -= 0.5 * (misfit + np.linalg.slogdet(2 * np.pi * error)[1])
    return log, misfit


def lattice_probabilities(hypotheses: list[Hypothesis]) -> np.ndarray:
    """Probability of each Bravais lattice, whatever its axes.

    Parameters
    ----------
    hypotheses : list of Hypothesis
        Of `compare_symmetries`.

    Returns
    -------
    float64 array of shape (14,)
        In the order of `emsparse_hs.ebsd.bravais.BRAVAIS_LATTICES`.
    """
    probabilities = np.zeros(len(BRAVAIS_LATTICES))
    for hypothesis in hypotheses:
        probabilities[BRAVAIS_LATTICES.index(hypothesis.symmetry.lattice)] += hypothesis.probability
    return probabilities


def symmetric_cell(cell, symmetry: Symmetry) -> np.ndarray:
    """The conventional cell that has a symmetry exactly, nearest to a cell that has it nearly.

    Parameters
    ----------
    cell : array of shape (3, 3)
        A reduced cell.
    symmetry : Symmetry
        Of `emsparse_hs.ebsd.bravais.near_symmetries`.

    Returns
    -------
    float64 array of shape (3, 3)
        Rows in the frame of the cell, strained without a rotation.
    """
    cell = np.asarray(cell, dtype=np.float64)
    metric = metric_matrix(symmetry.projector @ metric_vector(cell @ cell.T))
    inverse = np.linalg.inv(cell)
    values, axes = np.linalg.eigh(inverse @ metric @ inverse.T)
    strain = (axes * np.sqrt(values)) @ axes.T
    return conventional_cell(cell, symmetry) @ strain


def cell_parameters(cell) -> np.ndarray:
    """Lengths a, b, c in angstrom and angles alpha, beta, gamma in degrees of a cell."""
    lengths = np.linalg.norm(cell, axis=-1)
    unit = np.asarray(cell) / lengths[:, None]
    cosines = np.array([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]])
    return np.concatenate([lengths, np.degrees(np.arccos(np.clip(cosines, -1, 1)))])


def parameter_errors(
    cell, symmetry: Symmetry, strain_covariance, floor: float = FLOOR
) -> np.ndarray:
    """Standard errors of the parameters of a conventional cell, to first order.

    They hold the error of the metric that symmetries are compared with: what is left however many
    bands are fitted too.

    Parameters
    ----------
    cell : array of shape (3, 3)
        A reduced cell.
    symmetry : Symmetry
        That its conventional cell is given: what it fixes has no error.
    strain_covariance : array of shape (6, 6)
        Of the reciprocal lattice's strain xx, yy, zz, yz, xz, xy in the frame of the cell.
    floor : float
        Error of relative metric parameters that is there however many bands are fitted.

    Returns
    -------
    float64 array of shape (6,)
        In angstrom and degrees, in the order of `cell_parameters`.
    """
    step = 1e-6
    cell = np.asarray(cell, dtype=np.float64)
    scale, covariance = _relative_covariance(cell, strain_covariance, floor)
    relative = scale * metric_vector(cell @ cell.T)
    jacobian = np.empty((6, 6))
    for k, change in enumerate(step * np.eye(6)):
        # A cell is any with its metric: parameters don't depend on its frame.
        more, less = (
            np.linalg.cholesky(metric_matrix((relative + sign * change) / scale))
            for sign in (1, -1)
        )
        difference = cell_parameters(symmetric_cell(more, symmetry))
        difference -= cell_parameters(symmetric_cell(less, symmetry))
        jacobian[:, k] = difference / (2 * step)
    parameters = cell_parameters(symmetric_cell(cell, symmetry))
    # Variances of what does not vary round to either side of zero.
    errors = np.sqrt(np.maximum(np.diag(jacobian @ covariance @ jacobian.T), 0))
    return np.where(errors < 1e-6 * parameters, 0.0, errors)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled refinement of one cell on the bands of many patterns."""

import math

import numba
import numpy as np

from ._cell_kernels import match, turned_cell

#: Unknowns of a cell's strain; of a pattern: three angles, and three of its pattern centre.
_N_STRAINS, _N_PATTERN = 6, 6
_N = _N_STRAINS + _N_PATTERN
#: Indices of the strain's components: xx, yy, zz, yz, xz, xy.
_ROWS, _COLUMNS = (0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)
#: A strain that the first guess of a cell may have, and an angle of an orientation in radians: so
#: wide that they matter only where bands say nothing.
_WIDE_STRAIN, _WIDE_ANGLE = 0.2, 0.2


@numba.njit(nogil=True, cache=True)
def refine_cell(cell, rotations, centres, g, starts, spread, stray, widths, slack, information):
    r"""Refine a cell, each pattern's orientation and its pattern centre, by Gauss-Newton steps.

    Bands are weighted with the probability that they belong to the lattice, so that each step is
    one of expectation-maximisation of the mixture. The patterns' unknowns are eliminated.

    Parameters
    ----------
    cell : float64 array of shape (3, 3)
        In the crystal's frame; changed.
    rotations : float64 array of shape (n_patterns, 3, 3)
        Crystal's frame to detector's: row vectors times this; changed.
    centres : float64 array of shape (n_patterns, 3)
        Errors of the pattern centre: of x and y over the distance, and of the distance, relative;
        changed.
    g : float64 array of shape (n, 3)
        Bands of all patterns in the detector's frame.
    starts : int64 array of shape (n_patterns + 1,)
        Where a pattern's bands begin.
    spread : float64 array of shape (4,)
    stray : float
        Share of bands with no place in the lattice.
    widths : float64 array of shape (n_steps,)
        Factor on the spreads in each step.
    slack : float
        Standard deviation of the errors of the pattern centre.
    information : float64 array of shape (6, 6)
        Filled: inverse covariance of the strain xx, yy, zz, yz, xz, xy.

    Returns
    -------
    float
        Log evidence before the last step.
    """
    equations, right = np.empty((_N, _N)), np.empty(_N)
    gain, solved = np.empty((len(rotations), _N_PATTERN, _N_STRAINS)), np.empty((len(rotations), 6))
    evidence = -np.inf
    factors = np.ones(4)
    for width in widths:
        factors[:2] = width
        reciprocal = np.ascontiguousarray(np.linalg.inv(cell).T)
        information[:] = np.eye(_N_STRAINS) / _WIDE_STRAIN**2
        vector, evidence = np.zeros(_N_STRAINS), 0.0
        for p in range(len(rotations)):
            bands = g[starts[p] : starts[p + 1]]
            evidence += _equations(
                cell,
                reciprocal,
                rotations[p],
                centres[p],
                bands,
                spread * factors,
                stray,
                slack,
                equations,
                right,
            )
            inner = equations[_N_STRAINS:, _N_STRAINS:].copy()
            mixed = equations[_N_STRAINS:, :_N_STRAINS].copy()
            gain[p] = np.linalg.solve(inner, mixed)
            solved[p] = np.linalg.solve(inner, right[_N_STRAINS:].copy())
            information += equations[:_N_STRAINS, :_N_STRAINS] - mixed.T @ gain[p]
            vector += right[:_N_STRAINS] - mixed.T @ solved[p]
        strain = np.linalg.solve(information, vector)
        _strain_cell(cell, strain)
        for p in range(len(rotations)):
            step = solved[p] - gain[p] @ strain
            _turn(rotations[p], step[:3])
            centres[p] += step[3:]
    return evidence


@numba.njit(nogil=True, cache=True)
def _equations(cell, reciprocal, rotation, centre, g, spread, stray, slack, equations, right):
    """Fill J'WJ and J'Wr of one pattern, strains first; the log evidence of its bands."""
    equations[:] = 0
    right[:] = 0
    for a in range(3):
        equations[_N_STRAINS + a, _N_STRAINS + a] = 1 / _WIDE_ANGLE**2
        equations[9 + a, 9 + a] = 1 / slack**2
        right[9 + a] = -centre[a] / slack**2
    volume = abs(np.linalg.det(cell))
    turned = np.empty((3, 3))
    turned_cell(cell, rotation, turned)
    shown = np.ascontiguousarray(np.linalg.inv(turned).T)
    jacobian, residual, h, target = np.empty((_N, 3)), np.empty(3), np.empty(3), np.empty(3)
    evidence = 0.0
    for band in g:
        length = math.sqrt(band[0] ** 2 + band[1] ** 2 + band[2] ** 2)
        _undistort(band, centre, length, target)
        density, loosely = match(turned, shown, target, spread, h)
        inside = (1 - stray) * density / volume
        evidence += math.log(stray + inside)
        belongs = inside / (stray + inside)
        if belongs < 1e-3:
            continue
        _jacobian(reciprocal, rotation, h, band, centre, length, jacobian, residual)
        # Errors are relative to where the band should be: relative to the band itself, those that
        # came out wide would count less, and the cell would come out too large.
        for a in range(3):
            target[a] = band[a] - residual[a]
        size = math.sqrt(target[0] ** 2 + target[1] ** 2 + target[2] ** 2)
        relative = spread[2] if loosely else spread[1]
        across, along = belongs / (size * spread[0]) ** 2, belongs / (size * relative) ** 2
        _accumulate(jacobian, residual, target, size, across, along, equations, right)
    return evidence


@numba.njit(nogil=True, cache=True)
def undistorted(g, centre, out):
    """Bands of one pattern as they would be with the right pattern centre."""
    for i in range(len(g)):
        length = math.sqrt(g[i, 0] ** 2 + g[i, 1] ** 2 + g[i, 2] ** 2)
        _undistort(g[i], centre, length, out[i])


@numba.njit(nogil=True, cache=True, inline="always")
def _undistort(band, centre, length, out):
    """Undo what an error of the pattern centre does to a normal, to first order."""
    x, y = band[0] * (1 + centre[2]), band[1] * (1 + centre[2])
    z = band[2] + centre[0] * band[0] + centre[1] * band[1]
    scale = length / math.sqrt(x * x + y * y + z * z)
    out[0], out[1], out[2] = x * scale, y * scale, z * scale


@numba.njit(nogil=True, cache=True, inline="always")
def _jacobian(reciprocal, rotation, h, band, centre, length, jacobian, residual):
    """Change of the predicted band with each unknown, and what is left to the measured one."""
    q, shown = np.empty(3), np.empty(3)
    for a in range(3):
        q[a] = h[0] * reciprocal[0, a] + h[1] * reciprocal[1, a] + h[2] * reciprocal[2, a]
    for a in range(3):
        shown[a] = q[0] * rotation[0, a] + q[1] * rotation[1, a] + q[2] * rotation[2, a]
    size = math.sqrt(shown[0] ** 2 + shown[1] ** 2 + shown[2] ** 2)
    x, y = shown[0] * (1 - centre[2]), shown[1] * (1 - centre[2])
    z = shown[2] - centre[0] * shown[0] - centre[1] * shown[1]
    scale = size / math.sqrt(x * x + y * y + z * z)
    x, y, z = x * scale, y * scale, z * scale
    residual[0], residual[1], residual[2] = band[0] - x, band[1] - y, band[2] - z
    for k in range(_N_STRAINS):
        i, j = _ROWS[k], _COLUMNS[k]
        for a in range(3):
            jacobian[k, a] = q[i] * rotation[j, a]
            if i != j:
                jacobian[k, a] += q[j] * rotation[i, a]
    jacobian[6, 0], jacobian[6, 1], jacobian[6, 2] = 0.0, -z, y
    jacobian[7, 0], jacobian[7, 1], jacobian[7, 2] = z, 0.0, -x
    jacobian[8, 0], jacobian[8, 1], jacobian[8, 2] = -y, x, 0.0
    jacobian[9, 0], jacobian[9, 1], jacobian[9, 2] = 0.0, 0.0, -x
    jacobian[10, 0], jacobian[10, 1], jacobian[10, 2] = 0.0, 0.0, -y
    jacobian[11, 0], jacobian[11, 1], jacobian[11, 2] = -x, -y, 0.0
    for k in range(9, _N):
        # Widths tell of lengths, whatever the pattern centre: only directions change.
        along = (jacobian[k, 0] * x + jacobian[k, 1] * y + jacobian[k, 2] * z) / size**2
        jacobian[k, 0] -= along * x
        jacobian[k, 1] -= along * y
        jacobian[k, 2] -= along * z


@numba.njit(nogil=True, cache=True, inline="always")
def _accumulate(jacobian, residual, band, length, across, along, equations, right):
    """Add a band, with one weight across its direction and another along it."""
    x, y, z = band[0] / length, band[1] / length, band[2] / length
    excess = along - across
    radial = residual[0] * x + residual[1] * y + residual[2] * z
    for i in range(_N):
        mine = jacobian[i, 0] * x + jacobian[i, 1] * y + jacobian[i, 2] * z
        right[i] += excess * mine * radial + across * (
            jacobian[i, 0] * residual[0]
            + jacobian[i, 1] * residual[1]
            + jacobian[i, 2] * residual[2]
        )
        for j in range(i + 1):
            other = jacobian[j, 0] * x + jacobian[j, 1] * y + jacobian[j, 2] * z
            value = excess * mine * other + across * (
                jacobian[i, 0] * jacobian[j, 0]
                + jacobian[i, 1] * jacobian[j, 1]
                + jacobian[i, 2] * jacobian[j, 2]
            )
            equations[i, j] += value
            if i != j:
                equations[j, i] += value


@numba.njit(nogil=True, cache=True)
def _strain_cell(cell, strain):
    """Strain the reciprocal lattice, at most by a tenth in a step."""
    largest = 0.0
    for k in range(_N_STRAINS):
        largest = max(largest, abs(strain[k]))
    if largest > 0.1:
        strain *= 0.1 / largest
    matrix = np.eye(3)
    for k in range(_N_STRAINS):
        matrix[_ROWS[k], _COLUMNS[k]] += strain[k]
        if _ROWS[k] != _COLUMNS[k]:
            matrix[_COLUMNS[k], _ROWS[k]] += strain[k]
    cell[:] = cell @ np.linalg.inv(matrix)


@numba.njit(nogil=True, cache=True)
def _turn(rotation, angles):
    """Turn a rotation further in the detector's frame, by a vector of angles in radians."""
    angle = math.sqrt(angles[0] ** 2 + angles[1] ** 2 + angles[2] ** 2)
    if angle < 1e-15:
        return
    x, y, z = angles[0] / angle, angles[1] / angle, angles[2] / angle
    angle = min(angle, 0.1)
    c, s = math.cos(angle), math.sin(angle)
    for row in rotation:
        along = (row[0] * x + row[1] * y + row[2] * z) * (1 - c)
        u, v, w = y * row[2] - z * row[1], z * row[0] - x * row[2], x * row[1] - y * row[0]
        row[0], row[1], row[2] = (
            row[0] * c + u * s + x * along,
            row[1] * c + v * s + y * along,
            row[2] * c + w * s + z * along,
        )


@numba.njit(nogil=True, cache=True)
def residual_sums(cell, g, spread, stray):
    """How far bands are from their lattice points, weighted with the probability of belonging.

    Returns
    -------
    tuple of float
        Weight of the bands of the right width; half the sum of their squared angles to the points'
        directions, in radians; the sum of their squared relative deviations of length; weight of
        those with only the direction of a point; number of all bands.
    """
    reciprocal = np.ascontiguousarray(np.linalg.inv(cell).T)
    volume = abs(np.linalg.det(cell))
    h = np.empty(3)
    number, across, along, loose = 0.0, 0.0, 0.0, 0.0
    for band in g:
        h[:] = 0
        density, loosely = match(cell, reciprocal, band, spread, h)
        inside = (1 - stray) * density / volume
        belongs = inside / (stray + inside)
        if h[0] == 0 and h[1] == 0 and h[2] == 0:
            continue
        if loosely:
            loose += belongs
            continue
        length, size, dot = 0.0, 0.0, 0.0
        for a in range(3):
            q = h[0] * reciprocal[0, a] + h[1] * reciprocal[1, a] + h[2] * reciprocal[2, a]
            length += band[a] * band[a]
            size += q * q
            dot += q * band[a]
        length, size = math.sqrt(length), math.sqrt(size)
        angle = math.acos(min(dot / (length * size), 1.0))
        number += belongs
        across += 0.5 * belongs * angle * angle
        along += belongs * (size / length - 1) ** 2
    return number, across, along, loose, float(len(g))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lattices to be found again: cells, turns, and the planes that patterns show."""

from itertools import product

import numpy as np
import pytest

from emsparse_hs.electron import relativistic_wavelength

#: Primitive vectors as rows in units of the conventional ones; R has hexagonal axes.
_PRIMITIVE = {
    "P": np.eye(3),
    "C": np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2]]) / 2,
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}

#: Bands drawn of a pattern.
_N_BANDS = 30
#: Phases that patterns are drawn of: centring, lengths in angstrom, angles in degrees.
_PHASES = {
    "austenite": ("F", 3.6, 3.6, 3.6),
    "ferrite": ("I", 2.87, 2.87, 2.87),
    "rutile": ("P", 4.6, 4.6, 2.96),
    "corundum": ("R", 4.76, 4.76, 12.99, 90, 90, 120),
}


def _conventional(a, b, c, alpha=90, beta=90, gamma=90):
    """Rows with these lengths and angles in degrees."""
    ca, cb, cg = np.cos(np.radians([alpha, beta, gamma]))
    sg = np.sin(np.radians(gamma))
    y = (ca - cb * cg) / sg
    return np.array(
        [[a, 0, 0], [b * cg, b * sg, 0], [c * cb, c * y, c * np.sqrt(1 - cb**2 - y**2)]]
    )


def _primitive(centring, *parameters):
    return _PRIMITIVE[centring] @ _conventional(*parameters)


def _rotation(rng):
    """A random rotation."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.diag(r))
    return q * np.linalg.det(q)


def _planes(cell, longest):
    """Reciprocal lattice points without multiples and opposites up to a length, shortest first."""
    most = np.ceil(longest * np.linalg.norm(cell, axis=1)).astype(int)
    indices = np.array([h for h in product(*[range(-m, m + 1) for m in most]) if h > (0, 0, 0)])
    indices = indices[np.gcd.reduce(indices, axis=1) == 1]
    points = indices @ np.linalg.inv(cell).T
    lengths = np.linalg.norm(points, axis=1)
    order = np.argsort(lengths, kind="stable")
    return points[order[lengths[order] < longest]]


@pytest.fixture(scope="session")
def conventional_axes():
    """Function from lengths and angles in degrees to basis vectors as rows."""
    return _conventional


@pytest.fixture(scope="session")
def primitive_cell():
    """Function from the centring and the conventional parameters to primitive vectors as rows."""
    return _primitive


@pytest.fixture(scope="session")
def random_rotation():
    """Function from a random generator to a rotation."""
    return _rotation


@pytest.fixture(scope="session")
def planes_of():
    """Function from a cell and a length to the planes with g below it, the widest spaced first."""
    return _planes


@pytest.fixture(scope="session")
def draw_phase():
    """Function that draws bands of a phase, with errors of 0.2 degrees and 3 % of width."""

    def make(name, n_patterns, seed):
        rng = np.random.default_rng(seed)
        planes = _planes(_primitive(*_PHASES[name]), 1.6)
        table = np.empty((n_patterns, _N_BANDS, 5))
        for rows in table:
            g = planes @ _rotation(rng)
            lengths = np.linalg.norm(g, axis=1)
            g = g[np.abs(g[:, 2]) < 0.57 * lengths][:60]
            strengths = rng.lognormal(0, 0.3, len(g)) / np.linalg.norm(g, axis=1)
            strongest = np.argsort(-strengths)[:_N_BANDS]
            g, lengths = g[strongest], np.linalg.norm(g[strongest], axis=1)
            normals = g / lengths[:, None] + rng.normal(0, np.radians(0.2), g.shape)
            rows[:, :3] = normals / np.linalg.norm(normals, axis=1)[:, None]
            sines = relativistic_wavelength(20.0) * lengths * rng.normal(1, 0.03, len(g)) / 2
            rows[:, 3], rows[:, 4] = np.degrees(np.arcsin(sines)), 10 * strengths[strongest]
        return table

    return make

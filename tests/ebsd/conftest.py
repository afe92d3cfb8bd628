# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lattices to be found again: cells, turns, and the planes that patterns show."""

from itertools import product

import numpy as np
import pytest

#: Primitive vectors as rows in units of the conventional ones; R has hexagonal axes.
_PRIMITIVE = {
    "P": np.eye(3),
    "C": np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2]]) / 2,
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
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

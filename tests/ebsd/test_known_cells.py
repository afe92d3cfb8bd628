# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""How cells that are known differ: strains, rotations, what is no strained form of the other."""

import numpy as np
import pytest

from emsparse_hs.ebsd.known_cells import primitive_cell, relative_strain, rotation_between

#: One that changes the basis and not the lattice.
CHANGE = np.array([[1, 1, 0], [0, 1, -1], [0, 0, 1]])


def strained(seed):
    """A cell of two short edges and a long one, and a deviatoric strain of 2 %."""
    rng = np.random.default_rng(seed)
    cell = np.diag([3, 3.3, 15]) + rng.normal(0, 0.5, (3, 3))
    strain = rng.normal(size=(3, 3))
    strain += strain.T - np.eye(3) * np.trace(strain) / 1.5
    return cell, 0.02 * strain / np.linalg.norm(strain)


@pytest.mark.parametrize("seed", range(30))
def test_the_strain_is_the_least_that_makes_the_other_cell(seed, random_rotation):
    cell, strain = strained(seed)
    values, axes = np.linalg.eigh(strain)
    stretch = (axes * np.exp(values)) @ axes.T
    turn = random_rotation(np.random.default_rng(seed))
    found = relative_strain(1.2 * CHANGE @ cell @ stretch @ turn, cell)
    assert np.linalg.norm(found) <= 0.02 * (1 + 1e-6)
    np.testing.assert_allclose(np.linalg.eigvalsh(found), values, atol=1e-6)
    np.testing.assert_allclose(rotation_between(cell @ turn, cell), turn, atol=1e-9)


@pytest.mark.parametrize("length", [1.0, 13.0, 100.0])
def test_long_edges_do_not_hide_that_others_differ(length):
    with pytest.raises(ValueError, match="no strained forms of one lattice"):
        relative_strain(np.diag([3.5, 3, length]), np.diag([3, 3, length]))
    relative_strain(np.diag([3.1, 3, length]), np.diag([3, 3, length]))


@pytest.mark.parametrize(
    ("centring", "points"), list(zip("PABCIRF", (1, 2, 2, 2, 2, 3, 4), strict=True))
)
def test_a_primitive_cell_has_one_lattice_point(centring, points):
    cell = np.array([[3.0, 0, 0], [-1.5, 2.6, 0], [0.2, 0.1, 5]])
    found = primitive_cell(cell, centring)
    assert np.linalg.det(cell) / np.linalg.det(found) == pytest.approx(points)
    # The conventional axes are vectors of the lattice.
    axes = cell @ np.linalg.inv(found)
    np.testing.assert_allclose(axes, np.rint(axes), atol=1e-9)

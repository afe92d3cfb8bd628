# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Bravais lattices: cells made of known ones, and definitions written out."""

from itertools import combinations, product

import numpy as np
import pytest

from emsparse_hs.ebsd.bravais import (
    BRAVAIS_LATTICES,
    conventional_cell,
    distortions,
    metric_matrix,
    metric_vector,
    near_symmetries,
    reduced_cell,
    two_fold_axes,
)

N_FREE = dict(zip(BRAVAIS_LATTICES, (6, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1), strict=True))
ORDERS = dict(zip("amothc", (1, 2, 4, 8, 12, 24), strict=True))
POINTS = {"P": 1, "C": 2, "I": 2, "R": 3, "F": 4}


def random_parameters(family, rng):
    """Conventional lengths and angles with the conditions of a family and no others."""
    a, b, c = rng.permutation([3.1, 4.3, 5.9]) + rng.uniform(0, 0.9, 3)
    if family == "a":
        return a, b, c, *(rng.uniform(65, 85, 3) if rng.random() < 0.5 else rng.uniform(95, 113, 3))
    if family == "m":
        return a, b, c, 90, rng.uniform(95, 110), 90
    return {
        "o": (a, b, c), "t": (a, a, c), "h": (a, a, c, 90, 90, 120), "c": (a, a, a),
    }[family]  # fmt: skip


def random_unimodular(rng):
    """A product of steps that each add one row to another, with either determinant."""
    matrix = np.eye(3, dtype=int) * rng.choice([-1, 1])
    for _ in range(6):
        i, j = rng.permutation(3)[:2]
        matrix[i] += rng.integers(-2, 3) * matrix[j]
    return matrix


@pytest.fixture
def hidden(primitive_cell, random_rotation):
    """Function that makes a lattice's cell, in any basis and orientation, and its parameters."""

    def make(lattice, rng):
        parameters = random_parameters(lattice[0], rng)
        cell = primitive_cell(lattice[1], *parameters) @ random_rotation(rng)
        return random_unimodular(rng) @ cell, np.array([*parameters, 90, 90, 90][:6])

    return make


def angles_of(cell):
    unit = cell / np.linalg.norm(cell, axis=1)[:, None]
    return np.degrees(np.arccos([unit[1] @ unit[2], unit[0] @ unit[2], unit[0] @ unit[1]]))


def in_plane_reduced(one, other):
    """Gauss's reduction of a plane lattice: lengths and the angle that is not acute, in degrees."""
    while True:
        one, other = sorted((one, other), key=np.linalg.norm)
        times = round(one @ other / (one @ one))
        if times == 0:
            break
        other = other - times * one
    lengths = np.linalg.norm(one), np.linalg.norm(other)
    return *lengths, np.degrees(np.arccos(-abs(one @ other) / np.prod(lengths)))


@pytest.mark.parametrize("lattice", BRAVAIS_LATTICES)
def test_each_lattice_is_recognised_in_any_basis(lattice, hidden):
    rng = np.random.default_rng(BRAVAIS_LATTICES.index(lattice))
    for _ in range(6):
        cell = reduced_cell(hidden(lattice, rng)[0])
        symmetry = near_symmetries(cell @ cell.T, 1e-5)[-1]
        assert symmetry.lattice == lattice
        assert symmetry.n_free == N_FREE[lattice]
        assert len(symmetry.rotations) == (6 if lattice == "hR" else ORDERS[lattice[0]])


@pytest.mark.parametrize("lattice", BRAVAIS_LATTICES)
def test_the_conventional_cell_is_that_which_was_hidden(lattice, hidden, conventional_axes):
    rng = np.random.default_rng(100 + BRAVAIS_LATTICES.index(lattice))
    for _ in range(6):
        given, truth = hidden(lattice, rng)
        cell = reduced_cell(given)
        made = conventional_cell(cell, near_symmetries(cell @ cell.T, 1e-5)[-1])
        in_cell = made @ np.linalg.inv(given)
        np.testing.assert_allclose(in_cell, np.rint(in_cell), atol=1e-6)
        assert np.linalg.det(made) > 0
        assert np.linalg.det(made) / abs(np.linalg.det(given)) == pytest.approx(POINTS[lattice[1]])
        lengths, angles = np.linalg.norm(made, axis=1), angles_of(made)
        if lattice in ("oP", "oI", "oF"):
            truth[:3] = np.sort(truth[:3])
        if lattice == "oC":
            truth[:2] = np.sort(truth[:2])
        if lattice == "mC":
            # Which of its plane's vectors are a and c follows from the centred face.
            a, _, c = conventional_axes(*truth)
            assert lengths[1] == pytest.approx(truth[1])
            assert in_plane_reduced(made[0], made[2]) == pytest.approx(in_plane_reduced(a, c))
            continue
        if lattice[0] == "m":
            a, _, c = conventional_axes(*truth)
            truth[0], truth[2], truth[4] = in_plane_reduced(a, c)
        if lattice == "aP":
            truth[:3], truth[3:] = np.linalg.norm(cell, axis=1), angles_of(cell)
        np.testing.assert_allclose(lengths, truth[:3], rtol=1e-9)
        np.testing.assert_allclose(angles, truth[3:], atol=1e-6)


@pytest.mark.parametrize(
    "lattice",
    [
        "oC",
        "mC",
    ],
)
def test_the_centred_face_is_c(lattice, hidden):
    rng = np.random.default_rng(5)
    for _ in range(12):
        given, _ = hidden(lattice, rng)
        cell = reduced_cell(given)
        made = conventional_cell(cell, near_symmetries(cell @ cell.T, 1e-5)[-1])
        middle = (made[0] + made[1]) / 2 @ np.linalg.inv(given)
        np.testing.assert_allclose(middle, np.rint(middle), atol=1e-6)


@pytest.mark.parametrize("lattice", BRAVAIS_LATTICES)
def test_the_reduced_cell_has_the_shortest_vectors_of_the_same_lattice(lattice, hidden):
    rng = np.random.default_rng(200 + BRAVAIS_LATTICES.index(lattice))
    whole = np.array([h for h in product(range(-3, 4), repeat=3) if any(h)])
    for _ in range(8):
        given, _ = hidden(lattice, rng)
        before = given.copy()
        cell = reduced_cell(given)
        np.testing.assert_array_equal(given, before)
        change = cell @ np.linalg.inv(given)
        np.testing.assert_allclose(change, np.rint(change), atol=1e-6)
        assert abs(np.linalg.det(change)) == pytest.approx(1)
        assert np.linalg.det(cell) > 0
        vectors = whole @ cell
        vectors = vectors[np.argsort(np.linalg.norm(vectors, axis=1))]
        shortest = [vectors[0]]
        for v in vectors:
            if np.linalg.matrix_rank([*shortest, v], tol=1e-6) > len(shortest):
                shortest.append(v)
        expected = np.linalg.norm(shortest, axis=1)
        np.testing.assert_allclose(np.linalg.norm(cell, axis=1), expected, rtol=1e-8)
        angles = angles_of(cell)
        assert (angles < 90 - 1e-7).all() or (angles > 90 - 1e-5).all()


@pytest.mark.parametrize(
    "cell",
    [
        np.zeros((3, 3)),
        [[1, 2, 3], [2, 4, 6], [0, 0, 1]],
        [[1, 0, 0], [0, 1, 0], [1, 1, 1e-12]],
        np.full((3, 3), np.nan),
        np.eye(2),
    ],
)
def test_a_cell_without_volume_is_refused(cell):
    with pytest.raises(ValueError, match="no volume"):
        reduced_cell(cell)


def test_there_are_81_two_fold_axes():
    axes = two_fold_axes()
    assert len(np.unique(axes, axis=0)) == len(axes) == 81
    for axis in axes:
        np.testing.assert_allclose(np.sort(np.linalg.eigvals(axis).real), [-1, -1, 1], atol=1e-7)
        np.testing.assert_array_equal(axis @ axis, np.eye(3))


def test_distortions_are_the_largest_relative_changes_of_a_length():
    rng = np.random.default_rng(1)
    cell = reduced_cell(rng.normal(size=(3, 3)) + 3 * np.eye(3))
    directions = rng.normal(size=(200_000, 3))
    squares = np.einsum("ni,ij,nj->n", directions, cell @ cell.T, directions)
    for axis, value in list(zip(two_fold_axes(), distortions(cell @ cell.T), strict=True))[::8]:
        turned = directions @ axis.T
        changed = np.einsum("ni,ij,nj->n", turned, cell @ cell.T, turned)
        # Of a square, half the change is that of the length, to first order.
        assert value == pytest.approx(np.abs(changed / squares - 1).max() / 2, rel=0.02)


@pytest.mark.parametrize("lattice", BRAVAIS_LATTICES)
def test_projectors_leave_what_the_rotations_leave(lattice, hidden):
    rng = np.random.default_rng(300)
    cell = reduced_cell(hidden(lattice, rng)[0])
    for symmetry in near_symmetries(cell @ cell.T, 1e-5):
        projector = symmetry.projector
        np.testing.assert_allclose(projector @ projector, projector, atol=1e-12)
        assert np.trace(projector) == pytest.approx(symmetry.n_free)
        assert symmetry.n_free == N_FREE[symmetry.lattice]
        any_metric = metric_matrix(projector @ rng.normal(size=6))
        for w in symmetry.rotations:
            np.testing.assert_allclose(w.T @ any_metric @ w, any_metric, atol=1e-12)
        vector = metric_vector(cell @ cell.T)
        np.testing.assert_allclose(projector @ vector, vector, atol=1e-9)


@pytest.mark.parametrize("lattice", ["cF", "hP", "oI"])
def test_rotations_are_a_group(lattice, hidden):
    cell = reduced_cell(hidden(lattice, np.random.default_rng(7))[0])
    rotations = near_symmetries(cell @ cell.T, 1e-5)[-1].rotations
    members = {r.tobytes() for r in rotations}
    assert len(members) == len(rotations)
    assert all((a @ b).tobytes() in members for a, b in product(rotations, repeat=2))


@pytest.mark.parametrize(
    ("lattice", "subgroups"),
    [
        ("cP", {"cP": 1, "tP": 3, "hR": 4, "oP": 1, "oC": 3, "mP": 3, "mC": 6, "aP": 1}),
        ("cI", {"cI": 1, "tI": 3, "hR": 4, "oI": 1, "oF": 3, "mC": 9, "aP": 1}),
        ("cF", {"cF": 1, "tI": 3, "hR": 4, "oF": 1, "oI": 3, "mC": 9, "aP": 1}),
    ],
)
def test_a_nearly_cubic_cell_has_all_subgroups_within_the_tolerance(
    lattice, subgroups, primitive_cell, random_rotation
):
    """Of the 30 subgroups of a cube's rotations, 22 hold all rotations of some lattice."""
    cell = primitive_cell(lattice[1], 4, 4, 4) @ np.diag([1, 1, 1.01])
    cell = reduced_cell(cell @ random_rotation(np.random.default_rng(2)))
    found = [s.lattice for s in near_symmetries(cell @ cell.T, 0.013)]
    assert {name: found.count(name) for name in found} == subgroups
    assert [len(s.rotations) for s in near_symmetries(cell @ cell.T, 0.013)] == sorted(
        len(s.rotations) for s in near_symmetries(cell @ cell.T, 0.013)
    )
    within = near_symmetries(cell @ cell.T, 0.007)
    assert within[-1].lattice == ("tP" if lattice == "cP" else "tI")
    assert sum(s.lattice in ("cP", "cI", "cF", "hR") for s in within) == 0
    assert within[0].lattice == "aP"


def test_a_metric_is_its_six_elements():
    metric = np.array([[1.0, 6, 5], [6, 2, 4], [5, 4, 3]])
    np.testing.assert_array_equal(metric_vector(metric), [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(metric_matrix([1, 2, 3, 4, 5, 6]), metric)


def test_symmetries_differ(primitive_cell):
    cell = reduced_cell(primitive_cell("F", 4, 4, 4))
    groups = [
        frozenset(r.tobytes() for r in s.rotations) for s in near_symmetries(cell @ cell.T, 0.01)
    ]
    assert all(one != other for one, other in combinations(groups, 2))


def test_rhombohedral_cells_are_obverse(hidden):
    rng = np.random.default_rng(8)
    for _ in range(20):
        given, _ = hidden("hR", rng)
        cell = reduced_cell(given)
        a, b, c = conventional_cell(cell, near_symmetries(cell @ cell.T, 1e-5)[-1])
        point = (2 * a + b + c) / 3 @ np.linalg.inv(given)
        np.testing.assert_allclose(point, np.rint(point), atol=1e-6)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Superlattices: all there are, and those of simulated bands found again."""

from itertools import permutations, product

import numpy as np
import pytest

from emsparse_hs.ebsd.superlattices import PRICE, PRICE_OF_INDEX, add_superlattices, superlattices

SPREAD = np.array([np.radians(0.3), 0.05, 0.25, 0.15])
#: The same without widths between two orders.
EXACT = np.array([np.radians(0.3), 0.05, 0.25, 0])
STRAY = 0.08
N_BANDS = 30
#: Direct basis vectors are doubled or tripled along one axis, or a centred lattice made primitive.
MATRICES = {
    2: np.diag([1.0, 1, 2]),
    3: np.diag([3.0, 1, 1]),
    4: np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]]),
}


def points_of_lattice(matrix, n):
    """Which vectors of 0..n-1 whole numbers are of the lattice of a matrix's rows.

    The lattice of index n holds n times every vector, so that these say all of it.
    """
    cube = np.array(list(product(range(n), repeat=3)))
    indices = cube @ np.linalg.inv(matrix)
    return frozenset(map(tuple, cube[np.abs(indices - np.rint(indices)).max(axis=1) < 1e-6]))


def log_evidence(cells, shares, g, stray=STRAY):
    """Sum of log densities, where of several cells each counts with its share."""
    mixed = sum(s * densities(c, g) for c, s in zip(cells, shares, strict=True))
    return np.log(stray + (1 - stray) * mixed).sum()


def densities(cell, g):
    """By definition: the nearest of all lattice points, widths as good as those of most bands."""
    reciprocal = np.linalg.inv(cell).T
    steps = np.array(list(product(range(-5, 6), repeat=3)))
    found = []
    for band in g:
        length = np.linalg.norm(band)
        apart = (np.rint(cell @ band) + steps) @ reciprocal - band
        apart = apart[np.linalg.norm(apart + band, axis=1) > 1e-9]
        radial = apart @ band / length
        squares = (apart**2).sum(axis=1) - radial**2
        across = EXACT[0] * length
        turned = squares / (across * (1 + radial / length)) ** 2
        along = EXACT[1] * length
        nearest = (turned + (radial / along) ** 2).min()
        found.append(np.exp(-nearest / 2) / along / across**2 / (2 * np.pi) ** 1.5)
    return np.array(found) / abs(np.linalg.det(cell))


@pytest.fixture
def patterns(planes_of):
    """Function that makes bands of one lattice, of which some are of a superlattice alone.

    Each pattern is turned by one of the rotations given, in turn, before the few are chosen.
    """

    def make(cell, larger, n_patterns, n_extra, turns=None, seed=0):
        turns = [np.eye(3)] if turns is None else turns
        rng = np.random.default_rng(seed)
        main = planes_of(cell, 0.9)[:60]
        extra = planes_of(larger, 0.7)
        h = extra @ cell.T
        extra = extra[np.abs(h - np.rint(h)).max(axis=1) > 1e-6][:25]
        bands = []
        for p in range(n_patterns):
            strong = rng.choice(len(main), N_BANDS - n_extra, replace=False)
            weak = extra[rng.choice(len(extra), n_extra, replace=False)] @ turns[p % len(turns)]
            bands.append(noisy(np.concatenate([main[strong], weak]), rng))
        return np.concatenate(bands), np.arange(n_patterns + 1) * N_BANDS

    return make


def noisy(g, rng):
    """Bands with errors of 0.2 degrees and 3 % of width, of either sign."""
    length = np.linalg.norm(g, axis=1)[:, None]
    g = g + rng.normal(0, np.radians(0.2), g.shape) * length
    g *= length / np.linalg.norm(g, axis=1)[:, None] * rng.normal(1, 0.03, length.shape)
    return g * rng.choice([-1, 1], length.shape)


@pytest.mark.parametrize(("index", "number"), [(2, 7), (3, 13), (4, 35)])
def test_there_are_so_many_superlattices(index, number):
    matrices = superlattices(index)
    assert matrices.shape == (number, 3, 3)
    np.testing.assert_allclose(np.linalg.det(matrices), index)
    np.testing.assert_array_equal(matrices, np.rint(matrices))
    assert len({points_of_lattice(m, index) for m in matrices}) == number


@pytest.mark.parametrize("index", [2, 3, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_superlattice_of_few_bands_is_found(index, seed, patterns, random_rotation):
    cell = 4.1 * random_rotation(np.random.default_rng(seed + 20))
    larger = MATRICES[index] @ cell
    g, starts = patterns(cell, larger, 20, 3, seed=seed)
    before = g.copy()
    found = add_superlattices(cell, g, starts, SPREAD, STRAY)
    np.testing.assert_array_equal(g, before)
    assert np.prod([i for i, _ in found.gains]) == index
    np.testing.assert_array_equal(found.turns, np.eye(3)[None].repeat(20, 0))
    change = found.cell @ np.linalg.inv(larger)
    np.testing.assert_allclose(change, np.rint(change), atol=1e-6)


def test_patterns_of_other_variants_are_turned_to_the_same_one(patterns, random_rotation):
    """Doubled along any of three axes of a cube, and bands as exact as they are."""
    cell = 4.1 * random_rotation(np.random.default_rng(3))
    axis = cell.sum(axis=0) / np.linalg.norm(cell.sum(axis=0))
    third = 2 * np.pi / 3
    k = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(third) * k + (1 - np.cos(third)) * k @ k
    variants = [np.eye(3), turn, turn.T]
    g, starts = patterns(cell, MATRICES[2] @ cell, 18, 3, turns=variants, seed=4)
    found = add_superlattices(cell, g, starts, SPREAD, STRAY)
    assert [i for i, _ in found.gains] == [2]
    by_pattern = g.reshape(18, N_BANDS, 3)
    turned = by_pattern @ found.turns
    # Turns are rotations that take the lattice to itself.
    np.testing.assert_allclose(
        found.turns @ found.turns.transpose(0, 2, 1), np.eye(3)[None].repeat(18, 0), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(found.turns), 1)
    whole = np.linalg.solve(cell.T, (cell @ found.turns).transpose(0, 2, 1))
    np.testing.assert_allclose(whole, np.rint(whole), atol=1e-6)
    # The last three bands of each are of the superlattice: at half an order of one axis only.
    weak = turned[:, -3:].reshape(-1, 3)
    orders = weak @ cell.T
    half = (np.abs(orders - np.rint(orders)) > 0.3).mean(axis=0)
    assert sorted(half.round(1)) == pytest.approx([0, 0, 1], abs=0.11)
    orders = weak @ found.cell.T
    assert (np.abs(orders - np.rint(orders)).max(axis=1) < 0.3).mean() > 0.9
    assert len(np.unique(found.turns.round(6), axis=0)) == 3


def test_six_variants_are_one_superlattice(patterns, random_rotation):
    """Vectors whose first index and twice the second one are four times a whole number together."""
    cell = 4.1 * random_rotation(np.random.default_rng(3))
    larger = np.array([[2.0, 1, 0], [0, 2, 0], [0, 0, 1]]) @ cell
    axes = [np.eye(3)[list(order)] for order in permutations(range(3))]
    turns = [np.linalg.inv(cell) @ (p * np.linalg.det(p)) @ cell for p in axes]
    g, starts = patterns(cell, larger, 24, 3, turns=turns, seed=4)
    found = add_superlattices(cell, g, starts, SPREAD, STRAY)
    assert [i for i, _ in found.gains] == [4]
    weak = (g.reshape(24, N_BANDS, 3) @ found.turns)[:, -3:].reshape(-1, 3)
    orders = weak @ found.cell.T
    assert (np.abs(orders - np.rint(orders)).max(axis=1) < 0.3).mean() > 0.95
    assert len(np.unique(found.turns.round(6), axis=0)) == 6


@pytest.mark.parametrize("n_patterns", [1, 20])
def test_a_lattice_without_any_is_left_alone(n_patterns, patterns, random_rotation):
    for seed in range(3):
        cell = 4.1 * random_rotation(np.random.default_rng(seed))
        g, starts = patterns(cell, MATRICES[2] @ cell, n_patterns, 0, seed=seed)
        found = add_superlattices(cell, g, starts, EXACT, STRAY)
        assert add_superlattices(cell, g, starts, SPREAD, STRAY).gains == found.gains == ()
        assert abs(np.linalg.det(found.cell)) == pytest.approx(4.1**3)
        np.testing.assert_array_equal(found.turns, np.eye(3)[None].repeat(n_patterns, 0))
        assert found.gain == 0


def test_stray_bands_make_no_superlattice(patterns, random_rotation):
    rng = np.random.default_rng(11)
    cell = 4.1 * random_rotation(rng)
    g, starts = patterns(cell, MATRICES[2] @ cell, 20, 0, seed=7)
    strays = rng.normal(size=(40, 3))
    strays *= rng.uniform(0.3, 0.8, (40, 1)) / np.linalg.norm(strays, axis=1)[:, None]
    g.reshape(20, N_BANDS, 3)[:, :2] = strays.reshape(20, 2, 3)
    assert add_superlattices(cell, g, starts, SPREAD, STRAY).gains == ()


def test_the_gain_is_that_of_the_evidence(patterns, random_rotation):
    """Of one pattern: the mean over the three variants of what each adds with its share."""
    cell = 4.1 * random_rotation(np.random.default_rng(5))
    g, starts = patterns(cell, MATRICES[2] @ cell, 1, 8, seed=5)
    found = add_superlattices(cell, g, starts, EXACT, STRAY)
    assert [i for i, _ in found.gains] == [2]
    variants = [np.diag(d) @ cell for d in ([1.0, 1, 2], [1.0, 2, 1], [2.0, 1, 1])]
    known = log_evidence([cell], [1], g)
    gains = [
        [log_evidence([cell, v], [1 - s, s], g) - known for v in variants]
        for s in (0.01, 0.02, 0.04, 0.08, 0.15, 0.3)
    ]
    expected = (np.logaddexp.reduce(gains, axis=1) - np.log(3)).max()
    assert found.gains[0][1] == pytest.approx(expected, rel=1e-6)
    price = PRICE * (1 + np.log(1)) + PRICE_OF_INDEX * 0
    assert found.gain == pytest.approx(expected - price, rel=1e-6)


def test_patterns_of_one_group_count_as_one(patterns, random_rotation):
    """The same pattern again and again is no new evidence."""
    cell = 4.1 * random_rotation(np.random.default_rng(6))
    g, _ = patterns(cell, MATRICES[2] @ cell, 1, 8, seed=6)
    once = add_superlattices(cell, g, np.array([0, len(g)]), EXACT, STRAY)
    starts = np.arange(13) * len(g)
    often = add_superlattices(cell, np.tile(g, (12, 1)), starts, EXACT, STRAY, np.zeros(12, int))
    assert often.gains[0] == pytest.approx(once.gains[0])
    assert often.gain == pytest.approx(once.gain)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Grouping by Bragg discs: known phases, their number, and what is no crystal."""

from itertools import permutations

import numpy as np
import pytest
from scipy.sparse import csr_array

from emsparse_hs.data._simulated_phases import simulated_phases
from emsparse_hs.stem4d import compact_presence, group_patterns, presence_grid
from emsparse_hs.stem4d._disc_sets import (
    cells_of,
    compare,
    find_discs,
    log_odds,
    part_in,
    union,
)
from emsparse_hs.stem4d.grouping import _without_mixtures

SHAPE = (36, 44)


def accuracy(labels, phases):
    """Part of the labels that are right, numbered in the best way; -1 is -1."""
    n = max(labels.max(), phases.max()) + 1
    tries = (np.append(order, -1) for order in permutations(range(n)))
    return max((order[labels] == phases).mean() for order in tries)


def compact(scan):
    grid = presence_grid(scan.data.shape[2:], scan.beam_radius, scan.centre)
    return compact_presence(scan.data.reshape(-1, *scan.data.shape[2:]), grid), grid


@pytest.fixture(scope="module")
def three():
    scan = simulated_phases(2, SHAPE, bend=2.5, thickness=2)
    return scan, *compact(scan)


@pytest.mark.parametrize("n_phases", [1, 2, 4])
def test_number_and_places_of_phases(n_phases):
    scan = simulated_phases(1, SHAPE, bend=1.5, thickness=1.5, n_phases=n_phases, frame=48)
    found = group_patterns(*compact(scan), np.ones(SHAPE, bool))
    assert found.n_phases == n_phases
    assert accuracy(found.labels, scan.phases) > 0.98
    counts = np.bincount(found.labels[found.labels >= 0])
    assert (np.diff(counts) <= 0).all()


def test_bent_thick_foil_and_what_is_reported(three):
    scan, presence, grid = three
    found = group_patterns(presence, grid, np.ones(SHAPE, bool))
    assert found.n_phases == 3 and accuracy(found.labels, scan.phases) > 0.98
    assert found.labels.dtype == np.int16 and found.labels.shape == SHAPE
    by_hand = presence.toarray().reshape(*SHAPE, *grid.shape) / 255
    for phase in range(3):
        mean = by_hand[found.labels == phase].mean(0)
        np.testing.assert_allclose(found.presence[phase], mean, atol=1e-5)
    # The evidence turns where the number is.
    odds = {merge.n_phases: merge.log_odds for merge in found.merges}
    assert odds[4] > 0 > odds[3] and odds[2] < 0
    assert [merge.n_phases for merge in found.merges][-1] == 2


def test_discs_are_those_of_the_lattices(three):
    scan, presence, grid = three
    found = group_patterns(presence, grid, np.ones(SHAPE, bool))
    for phase, discs in enumerate(found.discs):
        true = np.bincount(scan.phases[found.labels == phase]).argmax()
        sure = discs[discs[:, 2] > 0.5, 1::-1] - scan.centre[::-1]
        indices = sure @ np.linalg.inv(scan.lattices[true])
        assert len(sure) > 10
        assert np.abs((np.rint(indices) - indices) @ scan.lattices[true]).max() < 1.5


def test_a_given_number_is_kept(three):
    _, presence, grid = three
    for n_phases in (1, 2, 5):
        found = group_patterns(presence, grid, np.ones(SHAPE, bool), n_phases)
        assert found.n_phases == len(found.discs) == len(found.presence) == n_phases


@pytest.mark.parametrize("dose", [1000, 30_000])
def test_what_is_no_crystal_has_no_phase(dose):
    scan = simulated_phases(1, SHAPE, dose=dose, n_phases=2, amorphous=True)
    found = group_patterns(*compact(scan), np.ones(SHAPE, bool))
    assert found.n_phases == 2
    assert accuracy(found.labels, scan.phases) > 0.97
    assert 0.9 < (found.labels[scan.phases < 0] < 0).mean()


def test_a_scan_without_any_crystal_has_no_phases():
    grid = presence_grid((64, 64), 2.0, (32, 32))
    frames = np.random.default_rng(0).poisson(0.02, (60, 64, 64))
    found = group_patterns(compact_presence(frames, grid), grid, np.ones((6, 10), bool))
    assert found.n_phases == 0 and (found.labels == -1).all() and not found.merges
    assert found.presence.shape == (0, *grid.shape)


def test_one_pattern_is_enough():
    scan = simulated_phases(0, (1, 1))
    found = group_patterns(*compact(scan), np.ones((1, 1), bool))
    assert found.n_phases == 1 and found.labels.tolist() == [[0]]


def test_patterns_that_were_left_out_have_no_phase(three):
    scan, presence, grid = three
    keep = np.random.default_rng(0).random(SHAPE) > 0.2
    found = group_patterns(presence[np.flatnonzero(keep.ravel())], grid, keep)
    assert (found.labels[~keep] == -1).all()
    assert found.n_phases == 3
    assert accuracy(found.labels[keep], scan.phases[keep]) > 0.97


def test_seed_decides_all_and_input_is_untouched(three):
    _, presence, grid = three
    before = presence.copy()
    one, other = (group_patterns(presence, grid, np.ones(SHAPE, bool)) for _ in range(2))
    np.testing.assert_array_equal(one.labels, other.labels)
    assert (presence != before).nnz == 0


def test_phases_that_show_different_discs_are_one_if_their_lattice_is():
    lattice = np.array([(8.0 * i, 8.0 * j, 1.0) for i in range(6) for j in range(6)])
    left, right = lattice[lattice[:, 0] < 30], lattice[lattice[:, 0] > 10]
    assert log_odds(*compare(left, right, 2.0)) > 3
    moved = right + [3.0, 0, 0]
    assert log_odds(*compare(left, moved, 2.0)) < -3
    # A little strain is no conflict, and no evidence is none.
    assert compare(left, right * [1.01, 1, 1], 2.0)[1] == 0
    assert compare(left, np.empty((0, 3)), 2.0) == (0, 0)


def test_coincidences_alone_do_not_outweigh_conflicts():
    assert log_odds(100, 0) == pytest.approx(np.log(1000))
    assert log_odds(100, 5) < 0


def lattice_of(step, angle):
    """Discs of a square lattice about the middle of a frame of 64 px."""
    i, j = np.mgrid[-3:4, -3:4].reshape(2, -1)
    x = step * (i * np.cos(angle) - j * np.sin(angle)) + 32
    y = step * (i * np.sin(angle) + j * np.cos(angle)) + 32
    inside = (np.abs(x - 32) < 30) & (np.abs(y - 32) < 30) & ((i != 0) | (j != 0))
    return np.column_stack([x, y, np.ones_like(x)])[inside]


def test_a_mixture_of_two_phases_is_no_third_one():
    grid = presence_grid((64, 64), 2.0, (32, 32))
    one, other = lattice_of(9, 0.1), lattice_of(10.5, 0.6)
    mixture = union(one, other, 2.0)
    assert part_in(mixture, [one, other], 2.0) == 1
    assert part_in(one, [other], 2.0) < 0.4
    assert part_in(one, [np.empty((0, 3))], 2.0) == 0
    phases = [mixture, one, other]
    labels = np.repeat([0, 1, 2], (4, 28, 16))
    shown = np.array([cells_of(discs, grid) for discs in phases])[labels]
    presence = csr_array(255 * shown.astype("u1"))
    scan = np.ones((6, 8), bool)
    labels, left = _without_mixtures(labels, phases, presence, grid, scan, 0.0)
    assert [len(discs) for discs in left] == [len(one), len(other)]
    np.testing.assert_array_equal(labels[4:], np.repeat([0, 1], (28, 16)))


def test_union_has_no_disc_twice():
    one = np.array([(8.0, 8.0, 0.4), (16.0, 8.0, 1.0)])
    other = np.array([(8.5, 8.0, 0.9), (24.0, 8.0, 0.5)])
    joined = union(one, other, 2.0)
    assert joined.tolist() == [[16, 8, 1], [8.5, 8, 0.9], [24, 8, 0.5]]


def test_cells_of_a_disc_are_about_it():
    grid = presence_grid((40, 52), 2.0, (20, 20))
    covered = cells_of(np.array([[11.0, 30.0, 1.0]]), grid).reshape(grid.shape)
    y, x = np.nonzero(covered)
    np.testing.assert_allclose(grid.to_pixels(np.array([x.mean(), y.mean()])), [11, 30], atol=1)
    assert 3 <= covered.sum() <= 9
    assert not cells_of(np.empty((0, 3)), grid).any()
    assert len(find_discs(np.zeros(grid.shape), grid)) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_phases": 0}, "n_phases=0"),
        ({"n_phases": "many"}, "n_phases='many'"),
        ({"n_phases": 9, "n_groups": 4}, "n_groups=4"),
        ({"width": -1}, "width is -1"),
        ({"scan": np.ones((3, 4), bool)}, "each of the 12 patterns"),
    ],
)
def test_says_what_is_wrong(three, wrong, message):
    _, presence, grid = three
    with pytest.raises(ValueError, match=message):
        group_patterns(**{"presence": presence, "grid": grid, "scan": np.ones(SHAPE, bool)} | wrong)


def test_says_where_there_is_nothing():
    grid = presence_grid((40, 52), 2.0, (20, 20))
    with pytest.raises(ValueError, match="no patterns"):
        group_patterns(csr_array((0, np.prod(grid.shape)), dtype="u1"), grid, np.zeros((2, 3)))

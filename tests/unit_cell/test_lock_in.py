# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Local amplitudes against sums over all neighbours, and vectors against those of the waves."""

import numpy as np
import pytest

from emsparse_hs.unit_cell.lock_in import (
    cell_length,
    centred_positions,
    lock_in,
    refine_by_phases,
)

PAIR = np.array([[0.117, 0.041], [-0.032, 0.139]])


def test_cell_length_is_the_largest_distance_of_planes():
    assert cell_length(np.diag([1 / 7, 1 / 9])) == pytest.approx(9)
    # A hexagonal cell of edges 8 has planes 8 sin 60 degrees apart.
    edges = 8 * np.array([[1, 0], [0.5, np.sqrt(0.75)]])
    assert cell_length(np.linalg.inv(edges).T) == pytest.approx(8 * np.sqrt(0.75))


@pytest.mark.parametrize("shape", [(4, 7), (5, 6)])
def test_positions_count_from_the_middle(shape):
    positions = centred_positions(shape)
    assert positions.shape == (*shape, 2)
    np.testing.assert_allclose(positions.mean((0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(positions[2, 3] - positions[1, 1], [1, 2])


def slow_lock_in(scores, fractional, indices, cell, width, mask):
    """Every point of the grid from every pixel, with the same Gaussian, cut at 4 of its widths."""
    step = max(round(cell / 4), 1)
    sigma = width * cell / step
    reach = int(4 * sigma + 0.5)
    gauss = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    gauss /= gauss.sum()
    grid = tuple(-(-n // step) for n in scores.shape[:2])
    maps = np.zeros((*grid, len(indices), scores.shape[2]), complex)
    weight = np.zeros(grid)
    for a, b in np.ndindex(*grid):
        for y, x in np.ndindex(*scores.shape[:2]):
            far_y, far_x = y // step - a, x // step - b
            if max(abs(far_y), abs(far_x)) > reach:
                continue
            own = gauss[far_y + reach] * gauss[far_x + reach] * mask[y, x]
            weight[a, b] += own
            waves = np.exp(-2j * np.pi * (indices @ fractional[y, x]))
            maps[a, b] += own * waves[:, np.newaxis] * scores[y, x]
        maps[a, b] /= weight[a, b]
    return maps, weight / step**2


@pytest.mark.parametrize("masked", [False, True])
def test_amplitudes_are_sums_over_neighbours(masked):
    random = np.random.default_rng(0)
    shape = (23, 18)
    scores = random.standard_normal((*shape, 2))
    fractional = centred_positions(shape) @ PAIR.T + 0.1 * random.standard_normal((*shape, 2))
    mask = random.uniform(0, 1, shape) if masked else np.ones(shape)
    indices = np.array([[0, 0], [1, 0], [1, -2]])
    found = lock_in(scores, fractional, indices, 8.2, 0.5, mask if masked else None)
    maps, weight = slow_lock_in(scores, fractional, indices, 8.2, 0.5, mask)
    np.testing.assert_allclose(found.weight, weight, rtol=1e-5)
    np.testing.assert_allclose(found.maps, maps, atol=1e-5)
    assert found.step == 2


def test_amplitude_of_a_wave_does_not_depend_on_the_place():
    fractional = centred_positions((80, 80)) @ PAIR.T
    phase = 2 * np.pi * fractional @ [1, -1]
    scores = (0.4 + 1.5 * np.cos(phase - 0.7))[..., np.newaxis]
    indices = np.array([[0, 0], [1, -1], [1, 0]])
    found = lock_in(scores, fractional, indices, cell_length(PAIR), 0.7)
    inside = np.s_[10:-10, 10:-10]
    assert found.maps[inside].shape[0] > 10
    np.testing.assert_allclose(found.maps[inside][:, :, 0, 0], 0.4, atol=0.01)
    np.testing.assert_allclose(found.maps[inside][:, :, 1, 0], 0.75 * np.exp(-0.7j), atol=0.01)
    np.testing.assert_allclose(found.maps[inside][:, :, 2, 0], 0, atol=0.01)
    np.testing.assert_allclose(found.weight[inside], 1, atol=1e-3)


def test_vectors_are_those_of_the_waves(series_scan):
    scan = series_scan(noise=0.3, seed=1)
    start = scan.reciprocal + [[0.004, -0.003], [0.002, 0.004]]
    found = refine_by_phases(scan.scores, start)
    np.testing.assert_allclose(found, scan.reciprocal, atol=0.01 / 64)


def test_a_wall_does_not_turn_the_vectors(series_scan):
    """Half a cell of shift from one side to the other: as a whole the scan has another vector."""
    shape = (64, 72)
    beyond = np.zeros((*shape, 2))
    beyond[:, 36:] = [0.5, 0] @ np.linalg.inv(series_scan().reciprocal).T
    scan = series_scan(shape, shift=beyond, seed=2)
    found = refine_by_phases(scan.scores, scan.reciprocal + 1e-3)
    np.testing.assert_allclose(found, scan.reciprocal, atol=0.04 / 64)


def test_only_what_is_in_the_mask_counts(series_scan):
    inside = np.zeros((64, 72), bool)
    inside[:, :40] = True
    scan = series_scan(seed=3)
    other = series_scan(seed=4, reciprocal=scan.reciprocal * 1.03)
    mixed = np.where(inside[..., np.newaxis], scan.scores, 3 * other.scores)
    found = refine_by_phases(mixed, scan.reciprocal + 1e-3, inside)
    np.testing.assert_allclose(found, scan.reciprocal, atol=0.03 / 64)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Vectors, shifts of lines and displacement of series that were shifted by known amounts."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from emsparse_hs.unit_cell.alignment import Alignment, align, distance_to_walls, off_walls

SHAPE = (64, 72)
ONE = np.zeros(1, int)
WHOLE = np.ones((*SHAPE, 1), np.float32)
#: Changes of vectors of up to a third of a cycle a scan.
WRONG = np.array([[0.003, -0.002], [0.002, 0.004]])


def jitter(seed, size=0.3):
    """Shifts of lines without mean and trend, which are the lattice's."""
    shift = size * np.random.default_rng(seed).standard_normal((SHAPE[0], 2))
    line = np.linspace(-1, 1, SHAPE[0])
    for k in (0, 1):
        shift[:, k] -= np.polyval(np.polyfit(line, shift[:, k], 1), line)
    return shift


def aligned(scan, reciprocal, labels=None, lattice_of=ONE, **how):
    start = Alignment.regular(np.reshape(reciprocal, (-1, 2, 2)), SHAPE)
    labels = np.zeros(SHAPE, int) if labels is None else labels
    indices = [scan.indices] * len(start.reciprocal)
    return align(scan.scores, start, labels, lattice_of, WHOLE, indices, **how)


def test_regular_positions():
    pair = np.array([[[0.1, 0.02], [-0.03, 0.2]], [[0.2, 0.0], [0.0, 0.3]]])
    start = Alignment.regular(pair, (5, 8))
    positions = start.positions()
    assert positions.shape == (5, 8, 2)
    np.testing.assert_allclose(positions[2, 3], [0, -0.5])
    np.testing.assert_allclose(positions[4, 0], [2, -3.5])
    for k in (0, 1):
        np.testing.assert_allclose(start.fractional(k)[4, 0], pair[k] @ [2, -3.5])


def test_positions_are_the_sum_of_all_shifts():
    random = np.random.default_rng(0)
    nodes = random.standard_normal((3, 4, 2))
    rows = random.standard_normal((11, 2))
    moved = replace(Alignment.regular(np.eye(2)[np.newaxis], (11, 14)), nodes=nodes, row_shift=rows)
    y, x = np.linspace(0, 10, 3), np.linspace(0, 13, 4)
    places = np.moveaxis(np.indices((11, 14)), 0, -1)
    expected = RegularGridInterpolator((y, x), nodes)(places)
    np.testing.assert_allclose(moved.displacement(), expected, atol=1e-12)
    whole = places - [5, 6.5] + rows[:, np.newaxis] + expected
    np.testing.assert_allclose(moved.positions(), whole, atol=1e-12)
    np.testing.assert_allclose(moved.fractional(0), whole, atol=1e-12)


def test_distance_to_walls_in_cells():
    random = np.random.default_rng(1)
    labels = (random.random((12, 15)) > 0.3).astype(int) + (np.arange(15) > 9)
    cells = np.array([2.0, 5.0, 3.0])
    found = distance_to_walls(labels, cells)
    places = np.argwhere(labels >= 0)
    flat = labels.ravel()
    for n, place in enumerate(places):
        others = places[flat != flat[n]]
        expected = np.linalg.norm(others - place, axis=1).min() / cells[flat[n]]
        assert found[tuple(place)] == pytest.approx(expected)
    np.testing.assert_array_equal(off_walls(labels, cells, 0.45), found > 0.45)
    assert np.isinf(distance_to_walls(np.zeros((4, 4), int), cells[:1])).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_vectors_and_shifts_of_lines(series_scan, seed):
    rows = jitter(seed)
    shift = np.broadcast_to(rows[:, np.newaxis], (*SHAPE, 2))
    scan = series_scan(SHAPE, shift=shift, seed=seed)
    found = aligned(scan, scan.reciprocal + WRONG, rounds=20)
    np.testing.assert_allclose(found.reciprocal[0], scan.reciprocal, atol=0.004 / 64)
    error = found.row_shift - rows
    assert np.sqrt((error**2).mean()) < 0.02
    np.testing.assert_allclose(found.row_shift.mean(0), 0, atol=1e-9)
    assert not found.displacement().any()


def test_known_vectors_stay(series_scan):
    rows = jitter(2)
    scan = series_scan(SHAPE, shift=np.broadcast_to(rows[:, np.newaxis], (*SHAPE, 2)), seed=2)
    found = aligned(scan, scan.reciprocal, rounds=8, vectors=False)
    np.testing.assert_array_equal(found.reciprocal[0], scan.reciprocal)
    assert np.sqrt(((found.row_shift - rows) ** 2).mean()) < 0.02


def test_domains_share_the_lattice_of_a_scan(series_scan):
    labels = np.zeros(SHAPE, int)
    labels[:, 30:] = 1
    rows = jitter(3)
    shift = np.broadcast_to(rows[:, np.newaxis], (*SHAPE, 2))
    scan = series_scan(SHAPE, labels=labels, shift=shift, seed=3)
    found = aligned(scan, scan.reciprocal + WRONG, labels, np.zeros(2, int), rounds=20)
    np.testing.assert_allclose(found.reciprocal[0], scan.reciprocal, atol=0.006 / 64)
    assert np.sqrt(((found.row_shift - rows) ** 2).mean()) < 0.03


@pytest.mark.parametrize("seed", [6, 7, 8])
def test_domains_one_after_the_other(series_scan, seed):
    """The origin of each domain is free, so that a step between their lines, and with it a trend
    of all lines, would pass for another lattice."""
    labels = np.zeros(SHAPE, int)
    labels[30:] = 1
    rows = jitter(seed)
    terms = np.stack([np.ones(64), np.arange(64), labels[:, 0]], axis=-1)
    # Next to the wall lines say nothing.
    said = np.abs(np.arange(64) - 29.5) > 7
    rows[~said], terms[~said] = 0, 0
    rows -= terms @ np.linalg.lstsq(terms, rows, rcond=None)[0]
    shift = np.broadcast_to(rows[:, np.newaxis], (*SHAPE, 2))
    scan = series_scan(SHAPE, labels=labels, shift=shift, seed=seed)
    found = aligned(scan, scan.reciprocal + WRONG, labels, np.zeros(2, int), rounds=20)
    np.testing.assert_allclose(found.reciprocal[0], scan.reciprocal, atol=0.07 / 64)
    # Orthogonal to what the lattice and the origins of the series take up.
    step = found.row_shift[30:].mean(0) - found.row_shift[:30].mean(0)
    np.testing.assert_allclose(step, 0, atol=1e-9)
    np.testing.assert_allclose(found.row_shift[said], rows[said], atol=0.25)


def test_each_grain_has_a_lattice_and_lines_are_common(series_scan):
    labels = np.zeros(SHAPE, int)
    labels[:, 38:] = 1
    rows = jitter(4)
    shift = np.broadcast_to(rows[:, np.newaxis], (*SHAPE, 2))
    pairs = np.array([[[0.117, 0.041], [-0.032, 0.139]], [[0.13, -0.03], [0.05, 0.11]]])
    scan = series_scan(SHAPE, labels=labels, shift=shift, reciprocal=pairs, seed=4)
    found = aligned(scan, pairs + 0.5 * WRONG, labels, np.arange(2), rounds=20)
    np.testing.assert_allclose(found.reciprocal, pairs, atol=0.01 / 64)
    assert np.sqrt(((found.row_shift - rows) ** 2).mean()) < 0.03


def test_slow_displacement(series_scan):
    y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    bow = 0.6 * np.stack([(x**2 - 1 / 3), x * y], axis=-1)
    scan = series_scan(SHAPE, shift=bow, seed=5)
    still = aligned(scan, scan.reciprocal, rounds=6, vectors=False)
    found = aligned(scan, scan.reciprocal, rounds=6, vectors=False, slow=True)
    expected = still.positions() * 0 + bow
    left = found.positions() - np.moveaxis(np.indices(SHAPE), 0, -1) + (np.array(SHAPE) - 1) / 2
    error = left - expected
    error -= error.mean((0, 1))
    assert np.sqrt((error**2).mean()) < 0.15 * bow.std()
    assert np.sqrt(((bow - found.row_shift[:, np.newaxis]) ** 2).mean()) > 0.7 * bow.std()

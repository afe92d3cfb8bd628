# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Walls that start at a wrong place end at the true one."""

import numpy as np
import pytest

from emsparse_hs.unit_cell.alignment import Alignment
from emsparse_hs.unit_cell.assignment import assign, sharpen_grains

SHAPE = (60, 70)
WHOLE = np.ones((*SHAPE, 1), np.float32)
GRAINS = np.array([[[0.117, 0.041], [-0.032, 0.139]], [[0.13, -0.03], [0.05, 0.11]]])


def side(place):
    """1 beyond a wavy boundary."""
    y, x = np.indices(SHAPE)
    return (x > place + 3 * np.sin(y / 9)).astype(np.int8)


def assigned(scan, labels, reciprocal, lattice_of, function=assign, **how):
    alignment = Alignment.regular(np.reshape(reciprocal, (-1, 2, 2)), SHAPE)
    indices = [scan.indices] * len(alignment.reciprocal)
    return function(scan.scores, alignment, labels, np.array(lattice_of), WHOLE, indices, **how)


@pytest.mark.parametrize("off", [-5, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_wall_between_domains(series_scan, off, seed):
    truth = side(33)
    scan = series_scan(SHAPE, labels=truth.astype(int), noise=0.5, seed=seed, same=0.6)
    start = side(33 + off)
    before = start.copy()
    found = assigned(scan, start, scan.reciprocal, [0, 0])
    assert found.dtype == np.int8
    np.testing.assert_array_equal(start, before)
    assert (start != truth).mean() > 0.05
    assert (found != truth).mean() < 0.012


def test_a_wall_moves_by_the_band_at_most(series_scan):
    truth = side(33)
    scan = series_scan(SHAPE, labels=truth.astype(int), seed=2)
    start = side(47)
    found = assigned(scan, start, scan.reciprocal, [0, 0], rounds=1, band=0.3)
    y, x = np.indices(SHAPE)
    beyond = np.abs(x - 47 - 3 * np.sin(y / 9)) > 4
    np.testing.assert_array_equal(found[beyond], start[beyond])
    assert (found != start).any()


def test_a_strip_that_was_not_seen_is_found_anywhere(series_scan):
    """A third stripe is of the first domain again."""
    truth = side(24)
    truth[:, 55:] = 0
    scan = series_scan(SHAPE, labels=truth.astype(int), noise=0.3, seed=3)
    found = assigned(scan, side(24), scan.reciprocal, [0, 0], band=np.inf, rounds=3)
    assert (found != truth).mean() < 0.03


def test_one_domain_has_no_wall(series_scan):
    scan = series_scan(SHAPE, seed=4)
    labels = np.zeros(SHAPE, np.int8)
    np.testing.assert_array_equal(assigned(scan, labels, scan.reciprocal, [0]), labels)


def test_boundaries_of_grains_are_sharp_to_the_pixel(series_scan):
    truth = side(35)
    scan = series_scan(SHAPE, labels=truth.astype(int), reciprocal=GRAINS, seed=5)
    coarse = assigned(scan, side(38), GRAINS, [0, 1])
    sharp = assigned(scan, coarse, GRAINS, [0, 1], sharpen_grains)
    assert (sharp != truth).mean() < min((coarse != truth).mean(), 0.004)


def test_only_boundaries_of_grains_are_sharpened(series_scan):
    truth = side(35)
    scan = series_scan(SHAPE, labels=truth.astype(int), seed=6)
    start = side(38)
    found = assigned(scan, start, scan.reciprocal, [0, 0], sharpen_grains)
    np.testing.assert_array_equal(found, start)

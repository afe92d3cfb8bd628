# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The lattice of a scan that has one, and an error for one that has none."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emsparse_hs.unit_cell.alignment import Alignment
from emsparse_hs.unit_cell.lattice import (
    LatticeFit,
    find_lattices,
    fitted_harmonics,
    segmented,
    significant_cutoff,
)

SHAPE = (72, 80)
PAIR = np.array([[0.117, 0.041], [-0.032, 0.139]])


def changed(found, truth):
    """The true vectors in the basis that was found, whose determinant is how much finer it is."""
    change = np.round(found @ np.linalg.inv(truth))
    return change @ truth, abs(np.linalg.det(change))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("pair", [PAIR, np.diag([0.094, 0.131])])
def test_one_lattice(series_scan, seed, pair):
    scan = series_scan(SHAPE, noise=0.5, seed=seed, reciprocal=pair)
    found = find_lattices(scan.scores)
    truth, finer = changed(found.alignment.reciprocal[0], pair)
    assert finer == pytest.approx(1)
    np.testing.assert_allclose(found.alignment.reciprocal[0], truth, atol=0.01 / 72)
    assert found.shares[0] > 0.9 and not found.grains.any()


def test_walls_and_shifts_of_lines_do_not_turn_it(series_scan):
    """A wall at which everything is also displaced by a part of a cell."""
    labels = np.zeros(SHAPE, int)
    labels[:, 44:] = 1
    rows = 0.25 * np.random.default_rng(0).standard_normal((72, 1, 2))
    shift = rows + 0.3 * np.linalg.inv(PAIR).sum(1) * labels[..., np.newaxis]
    scan = series_scan(SHAPE, labels=labels, shift=shift, seed=4)
    found = find_lattices(scan.scores).alignment
    truth, finer = changed(found.reciprocal[0], PAIR)
    assert finer == pytest.approx(1)
    # The trend of the shifts is the lattice's.
    line = np.linspace(-1, 1, 72)
    trend = np.polyfit(line, rows[:, 0], 1)
    drifted = truth + np.outer(truth @ trend[0] / 35.5, [1, 0])
    np.testing.assert_allclose(found.reciprocal[0], drifted, atol=0.015 / 72)
    left = rows[:, 0] - np.outer(line, trend[0]) - trend[1]
    assert np.sqrt(((found.row_shift - left) ** 2).mean()) < 0.04


@pytest.mark.parametrize("size", [0.05, 0.1, 0.3])
def test_weak_peaks_of_a_cell_that_is_nearly_centred(size):
    """What is odd in h + k is weak, and the weakest is found only if it is looked for; noise alone
    does not make the lattice finer."""
    y, x = np.moveaxis(np.indices(SHAPE), 0, 0) - np.array([36, 40])[:, None, None]
    u, v = (2 * np.pi * (g[0] * y + g[1] * x) for g in np.array([[0.08, 0.01], [-0.012, 0.09]]))
    random = np.random.default_rng(5)
    for weak, expected in ((size, 1), (0.0, 2)):
        image = np.cos(u + v) + 0.8 * np.cos(u - v + 1) + 0.4 * np.cos(2 * u)
        image += weak * (np.cos(u + 2) + np.cos(v - 1)) + 0.2 * random.standard_normal(SHAPE)
        scores = image[..., np.newaxis].astype(np.float32)
        pair = find_lattices(scores).alignment.reciprocal[0]
        area = abs(np.linalg.det([[0.08, 0.01], [-0.012, 0.09]]))
        assert abs(np.linalg.det(pair)) / area == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("n_scores", [1, 8])
@pytest.mark.parametrize("noise", [0, 0.1])
@pytest.mark.parametrize("width", [0, 2, 3, 8])
def test_noise_and_blobs_have_none(width, noise, n_scores):
    for seed in range(3):
        random = np.random.default_rng(seed)
        scores = random.standard_normal((*SHAPE, n_scores))
        blobs = gaussian_filter(scores, (width, width, 0))
        blobs += noise * blobs.std() * random.standard_normal(blobs.shape)
        for n in (1, 2):
            with pytest.raises(ValueError, match="no lattice that the scan is periodic with"):
                find_lattices(blobs.astype(np.float32), n)


def test_lines_are_no_lattice():
    """A grating is periodic in one direction only."""
    y, x = np.indices(SHAPE)
    random = np.random.default_rng(6)
    image = np.cos(0.7 * x) + 0.5 * np.cos(1.4 * x) + 0.3 * random.standard_normal(SHAPE)
    with pytest.raises(ValueError, match="at least 3 periods in each direction"):
        find_lattices(image[..., np.newaxis].astype(np.float32))


def test_one_of_two(series_scan):
    scan = series_scan(SHAPE, seed=7)
    with pytest.raises(ValueError, match="only 1 of 2 lattices"):
        find_lattices(scan.scores, 2)


def test_lattices_on_top_of_each_other_are_no_grains(series_scan):
    one = series_scan(SHAPE, seed=7).scores
    other = series_scan(SHAPE, seed=8, reciprocal=[[0.13, -0.03], [0.05, 0.11]]).scores
    with pytest.raises(ValueError, match="Ask for fewer"):
        find_lattices(one + 0.6 * other, 2)


@pytest.mark.parametrize("seed", [0, 1])
def test_two_grains(series_scan, seed):
    grains = np.zeros((96, 100), int)
    grains[:, 52:] = 1
    pairs = np.array([PAIR, [[0.13, -0.03], [0.05, 0.11]]])
    scan = series_scan((96, 100), labels=grains, reciprocal=pairs, seed=seed)
    found = find_lattices(scan.scores, 2)
    order = (0, 1) if found.grains[:, :40].mean() < 0.5 else (1, 0)
    assert (np.take(order, found.grains) == grains).mean() > 0.98
    for own, truth in zip(found.alignment.reciprocal[list(order)], pairs, strict=True):
        expected, finer = changed(own, truth)
        assert finer == pytest.approx(1)
        np.testing.assert_allclose(own, expected, atol=0.03 / 96)
    assert (found.shares > 0.2).all() and found.shares.sum() <= 1


def test_harmonics_up_to_a_frequency():
    pairs = np.array([np.diag([0.1, 0.1]), np.diag([0.2, 0.2]), np.diag([0.02, 0.02])])
    assert [len(own) for own in fitted_harmonics(pairs[:2], 0.21)] == [6, 2]
    # Never finer than the scan's step can show.
    for cutoff in (None, 9.0):
        for pair, own in zip(pairs[:2], fitted_harmonics(pairs[:2], cutoff), strict=True):
            nodes = np.stack(np.meshgrid(*[np.arange(-9, 10) * pair[0, 0]] * 2), axis=-1)
            lengths = np.linalg.norm(nodes, axis=-1)
            assert 2 * len(own) == ((lengths > 0) & (lengths < 0.48)).sum()
    # By default some orders are enough.
    few = fitted_harmonics(pairs[2:])[0]
    assert 4 <= np.abs(few).max() <= 8


@pytest.mark.parametrize("order", [1, 2])
def test_cutoff_is_the_highest_frequency_of_the_series(series_scan, order):
    scan = series_scan(SHAPE, order=order, noise=1.0, decay=0.7, seed=8)
    alignment = Alignment.regular(scan.reciprocal[np.newaxis], SHAPE)
    fit = LatticeFit(alignment, np.zeros(SHAPE, np.int8), np.ones(1))
    highest = np.linalg.norm(scan.indices @ scan.reciprocal, axis=1).max()
    found = significant_cutoff(scan.scores, fit)
    assert highest <= found < highest * 1.01
    noisy = significant_cutoff(scan.scores + 300 * series_scan(SHAPE, noise=0.1).scores, fit)
    assert noisy <= 0.48


def test_cutoff_of_noise_is_the_first_order(series_scan):
    random = np.random.default_rng(9)
    scores = random.standard_normal((*SHAPE, 6)).astype(np.float32)
    alignment = Alignment.regular(PAIR[np.newaxis], SHAPE)
    found = significant_cutoff(scores, LatticeFit(alignment, np.zeros(SHAPE, np.int8), np.ones(1)))
    assert found == pytest.approx(np.linalg.norm(PAIR, axis=1).max(), rel=0.01)


def test_domains_of_grains_are_counted_on(series_scan):
    """A grain of two domains beside one of one."""
    shape = (96, 120)
    labels = np.zeros(shape, int)
    labels[:, 60:], labels[48:, 60:] = 1, 2
    grains = (labels > 0).astype(np.int8)
    pairs = np.array([PAIR, [[0.13, -0.03], [0.05, 0.11]]])
    scan = series_scan(shape, labels=labels, reciprocal=pairs[[0, 1, 1]], seed=10)
    alignment = Alignment.regular(pairs, shape)
    found, lattice_of, splits = segmented(scan.scores, alignment, grains)
    np.testing.assert_array_equal(lattice_of, [0, 1, 1])
    assert sum(split.accepted for split in splits) == 1
    right = (found == labels).mean(), (found == np.take([0, 2, 1], labels)).mean()
    assert max(right) > 0.96
    two = segmented(scan.scores, alignment, grains, 2)
    np.testing.assert_array_equal(two[1], [0, 0, 1, 1])
    assert set(np.unique(two[0])) == {0, 1, 2, 3}

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Errors of lattice vectors, against the scatter of many scans and against leaving parts out."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from emsparse_hs.unit_cell.alignment import Alignment, align
from emsparse_hs.unit_cell.vector_errors import vector_covariance

SHAPE = (64, 72)
ONE = np.zeros(1, int)


def fitted(scan, labels=None, lattice_of=(0,), reciprocal=None, rounds=4, start=None):
    labels = np.zeros(SHAPE, np.int8) if labels is None else labels
    lattice_of = np.array(lattice_of)
    pairs = scan.reciprocal[np.newaxis] if reciprocal is None else reciprocal
    whole = np.ones((*SHAPE, 1), np.float32)
    indices = [scan.indices] * len(pairs)
    start = Alignment.regular(pairs, SHAPE) if start is None else start
    found = align(scan.scores, start, labels, lattice_of, whole, indices, rounds=rounds)
    return found, vector_covariance(scan.scores, found, labels, lattice_of, indices)


def squared_z(found, covariance, truth):
    return (found - truth).ravel() ** 2 / np.diag(covariance)


def test_noise_counts_twice(series_scan):
    """Parts and scores both have it: squares of errors are half of what they are said to be."""
    ratios = []
    for seed in range(30):
        scan = series_scan(SHAPE, noise=0.5, seed=100 + seed)
        found, covariance = fitted(scan)
        ratios.append(squared_z(found.reciprocal[0], covariance[0], scan.reciprocal))
    assert 0.35 < np.mean(ratios) < 0.8


def blocks_of_displacement(seed, size):
    """Another displacement in each of 64 equal parts."""
    random = np.random.default_rng(seed)
    return np.kron(random.normal(0, size, (8, 8, 2)), np.ones((8, 9, 1)))


def test_parts_that_disagree_are_seen(series_scan):
    ratios, beyond_noise = [], []
    for seed in range(20):
        scan = series_scan(SHAPE, shift=blocks_of_displacement(seed, 0.3), noise=0.1, seed=seed)
        found, covariance = fitted(scan)
        ratios.append(squared_z(found.reciprocal[0], covariance[0], scan.reciprocal))
        quiet = series_scan(SHAPE, noise=0.1, seed=seed)
        beyond_noise.append(np.trace(covariance[0]) / np.trace(fitted(quiet)[1][0]))
    assert 0.4 < np.mean(ratios) < 2
    assert np.median(beyond_noise) > 10


def test_scores_that_disagree_are_seen(series_scan):
    """A phase that drifts in some scores only, as with thickness, is no noise either."""
    ratios = []
    for seed in range(20):
        scan = series_scan(SHAPE, n_scores=12, noise=0.1, seed=seed)
        drift = np.random.default_rng(seed).normal(0, 0.05, 12)
        ramp = np.linspace(-1, 1, SHAPE[1])[:, np.newaxis]
        # What each score would look like somewhat further, linearly.
        further = np.roll(scan.clean, -1, axis=1) - np.roll(scan.clean, 1, axis=1)
        scan.scores[:] += (further * ramp * drift).astype(np.float32)
        found, covariance = fitted(scan)
        ratios.append(squared_z(found.reciprocal[0], covariance[0], scan.reciprocal))
    assert 0.1 < np.mean(ratios) < 2.5


def vectors_of(scan, used):
    """Vectors by a general optimiser, the series solved for anew at each step."""
    middle = (np.array(SHAPE) - 1) / 2
    places = (np.moveaxis(np.indices(SHAPE), 0, -1) - middle)[used]
    values = scan.scores[used].astype(float)

    def left(vector):
        phase = 2 * np.pi * (places @ vector.reshape(2, 2).T @ scan.indices.T)
        terms = np.concatenate([np.ones((len(phase), 1)), np.cos(phase), np.sin(phase)], axis=1)
        return (values - terms @ np.linalg.lstsq(terms, values)[0]).ravel()

    return least_squares(left, scan.reciprocal.ravel(), x_scale=1e-3).x


def test_as_when_parts_are_left_out(series_scan):
    """The jackknife that this stands for, with a fit for each of the parts left out."""
    shift = blocks_of_displacement(0, 0.1)
    # A cell of 6 px, so that there are 8 parts along each axis that are wider than one.
    pair = np.array([[0.16, 0.05], [-0.04, 0.18]])
    scan = series_scan(SHAPE, n_scores=1, shift=shift, noise=0.05, seed=0, order=1, reciprocal=pair)
    numbers = np.kron(np.arange(64).reshape(8, 8), np.ones((8, 9)))
    jackknife = np.var([vectors_of(scan, numbers != k) for k in range(64)], axis=0) * 63
    vectors = vectors_of(scan, numbers >= 0).reshape(1, 2, 2)
    covariance = vector_covariance(
        scan.scores,
        Alignment.regular(vectors, SHAPE),
        np.zeros(SHAPE, np.int8),
        ONE,
        [scan.indices],
    )
    np.testing.assert_allclose(np.diag(covariance[0]), jackknife, rtol=0.15)


def halves():
    labels = np.zeros(SHAPE, np.int8)
    labels[30:] = 1
    return labels


def grains_with_jitter(series_scan, seed, size, memory=0.0):
    """Two lattices, each in lines of its own, and shifts of lines without trend."""
    turn = np.deg2rad(20)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    first = np.array([[0.117, 0.041], [-0.032, 0.139]])
    pairs = np.stack([first, first @ rotation])
    rows = size * np.random.default_rng(seed).standard_normal((SHAPE[0], 2))
    for k in range(1, len(rows)):
        rows[k] = memory * rows[k - 1] + np.sqrt(1 - memory**2) * rows[k]
    line = np.stack([np.ones(SHAPE[0]), np.arange(SHAPE[0])], axis=-1)
    rows -= line @ np.linalg.lstsq(line, rows)[0]
    shift = np.broadcast_to(rows[:, np.newaxis], (*SHAPE, 2))
    return pairs, series_scan(
        SHAPE, labels=halves().astype(int), shift=shift, noise=0.1, seed=seed, reciprocal=pairs
    )


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_lines_of_a_grain_have_a_trend(series_scan, memory):
    ratios, without = [], []
    for seed in range(16):
        pairs, scan = grains_with_jitter(series_scan, seed, 0.3, memory)
        found, covariance = fitted(scan, halves(), (0, 1), pairs)
        pairs_of_values = zip(found.reciprocal, covariance, pairs, strict=True)
        ratios.append([squared_z(*values) for values in pairs_of_values])
        still = grains_with_jitter(series_scan, seed, 0.0)[1]
        without.append(covariance / fitted(still, halves(), (0, 1), pairs)[1])
    # Components along y are the ones that it matters for.
    assert 0.3 < np.mean(np.array(ratios)[..., [0, 2]]) < (1.6 if memory == 0 else 3.5)
    assert np.median(without, axis=0)[0, 0, 0] > 10


def test_a_lattice_that_is_nowhere_has_no_errors(series_scan):
    scan = series_scan(SHAPE)
    pairs = np.stack([scan.reciprocal, 1.1 * scan.reciprocal])
    _, covariance = fitted(scan, reciprocal=pairs)
    assert np.isfinite(covariance[0]).all() and np.isnan(covariance[1]).all()


@pytest.mark.parametrize("size", [15, 30])
@pytest.mark.parametrize("n_scores", [1, 6])
def test_a_small_grain_is_not_too_sure(series_scan, size, n_scores):
    """In the corner of the scan: in parts of its own, or without errors if these are too few."""
    ratios = []
    labels = np.zeros(SHAPE, np.int8)
    labels[:size, :size] = 1
    for seed in range(12):
        scan = series_scan(
            SHAPE, n_scores=n_scores, labels=labels.astype(int), noise=0.3, seed=seed
        )
        pairs = np.stack([scan.reciprocal] * 2)
        found, covariance = fitted(scan, labels, (0, 1), pairs)
        if np.isfinite(covariance[1]).all():
            ratios.append(squared_z(found.reciprocal[1], covariance[1], scan.reciprocal))
    assert not ratios or np.mean(ratios) < 3

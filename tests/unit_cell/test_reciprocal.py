# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Peaks and reduced bases against cosines of known vectors and against trying everything out."""

import numpy as np
import pytest

from emsparse_hs.unit_cell.reciprocal import (
    LEAST_SHARE,
    Peaks,
    basis_of_peaks,
    finer_lattices,
    harmonics,
    on_nodes,
    reduced,
    spectral_peaks,
)

PAIR = np.array([[0.117, 0.041], [-0.032, 0.139]])
#: Reduced already, but for the sign of the second.
CASES = [PAIR, np.diag([0.1, 0.1]), [[0.1, 0.0], [0.05, 0.0866]], [[0.04, 0.0], [0.019, 0.3]]]


def combinations(vectors, order):
    steps = np.arange(-order, order + 1)
    indices = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
    return indices, indices @ np.asarray(vectors)


def same_lattice(one, other):
    change = np.asarray(one) @ np.linalg.inv(other)
    whole = np.allclose(change, np.round(change), atol=1e-6)
    return whole and abs(abs(np.linalg.det(change)) - 1) < 1e-6


def images_of(vectors, amplitudes, shape=(72, 90), noise=0.1, n=1, seed=0):
    random = np.random.default_rng(seed)
    y, x = np.indices(shape)
    images = []
    for _ in range(n):
        image = noise * random.standard_normal(shape)
        for (g_y, g_x), size in zip(vectors, amplitudes, strict=True):
            phase = random.uniform(0, 2 * np.pi)
            image += size * np.cos(2 * np.pi * (g_y * y + g_x * x) + phase)
        images.append(image)
    return np.array(images)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("change", [(1, 0, 0, 1), (2, 1, 1, 1), (0, -1, 1, 4), (3, -2, 4, -3)])
def test_reduced_are_the_two_shortest(case, change):
    given = np.reshape(change, (2, 2)) @ np.array(case)
    found = reduced(given)
    assert same_lattice(found, given)
    indices, vectors = combinations(given, 12)
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.argsort(lengths)[1:]
    first = vectors[order[0]]
    across = [k for k in order if abs(np.linalg.det([first, vectors[k]])) > 1e-9]
    expected = [lengths[order[0]], lengths[across[0]]]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), expected, rtol=1e-9)
    assert found[0, 0] > 0 or (found[0, 0] == 0 and found[0, 1] > 0)
    # Both bases of a lattice are turned the same way, so that results can be compared.
    assert found[0, 1] * found[1, 0] - found[0, 0] * found[1, 1] > 0
    np.testing.assert_allclose(reduced(found), found)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cutoff", [0.05, 0.31, 0.48])
def test_harmonics_are_a_half_of_all_nodes_within_the_radius(case, cutoff):
    found = harmonics(np.array(case), cutoff)
    indices, vectors = combinations(case, 30)
    within = (np.linalg.norm(vectors, axis=1) <= cutoff) & indices.any(1)
    expected = {tuple(index) for index in indices[within]}
    half = {tuple(index) for index in found}
    assert len(half) == len(found)
    assert half | {(-h, -k) for h, k in half} == expected
    assert len(expected) == 2 * len(half)
    lengths = np.linalg.norm(found @ np.array(case), axis=1)
    assert (np.diff(lengths) >= -1e-12).all()


@pytest.mark.parametrize("n", [1, 12])
def test_peaks_are_where_the_cosines_are(n):
    vectors = np.array([[0.1234, 0.0711], [-0.0911, 0.1502], [0.0, 0.2017], [0.3003, -0.2999]])
    sizes = np.array([1.0, 0.7, 0.5, 0.3])
    peaks = spectral_peaks(images_of(vectors, sizes, n=n))
    assert len(peaks.power) == 4
    expected = np.where(vectors[:, :1] < 0, -vectors, vectors)
    np.testing.assert_allclose(peaks.vectors, expected, atol=0.05 / 72)
    np.testing.assert_allclose(peaks.power / peaks.power[0], sizes**2, rtol=0.1)


def test_no_peaks_in_noise_nor_of_less_than_three_periods():
    assert not len(spectral_peaks(images_of([], [], n=1, seed=1)).power)
    assert not len(spectral_peaks(images_of([], [], n=12, seed=2)).power)
    slow = spectral_peaks(images_of([(2 / 72, 0.0), (0.0, 2.5 / 90)], [1, 1]))
    assert not len(slow.power)


def lattice_peaks(pair, order=3, spread=0.0, seed=0):
    random = np.random.default_rng(seed)
    indices, vectors = combinations(pair, order)
    half = (vectors[:, 0] > 0) & (np.linalg.norm(vectors, axis=1) < 0.5)
    vectors = vectors[half] + spread * random.standard_normal((half.sum(), 2))
    power = np.exp(-np.linalg.norm(vectors, axis=1) / 0.1) * random.uniform(0.3, 1, len(vectors))
    order = np.argsort(-power)
    return Peaks(vectors[order], power[order])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("case", [PAIR, np.diag([0.11, 0.09])])
def test_basis_spans_all_peaks(case, seed):
    pair, share = basis_of_peaks(lattice_peaks(case, spread=1e-3, seed=seed), (80, 80))
    change = np.round(pair @ np.linalg.inv(case))
    assert abs(np.linalg.det(change)) == pytest.approx(1)
    np.testing.assert_allclose(pair, change @ case, atol=8e-3)
    assert share > 0.95


def test_basis_of_the_stronger_of_two_lattices():
    angle = np.deg2rad(23)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    strong, weak = lattice_peaks(PAIR), lattice_peaks(PAIR @ turn, seed=1)
    both = Peaks(
        np.concatenate([strong.vectors, weak.vectors]),
        np.concatenate([strong.power, 0.2 * weak.power]),
    )
    order = np.argsort(-both.power)
    pair, share = basis_of_peaks(Peaks(both.vectors[order], both.power[order]), (80, 80))
    assert same_lattice(pair, PAIR)
    assert LEAST_SHARE < share < 0.9


def test_peaks_anywhere_are_no_lattice():
    random = np.random.default_rng(3)
    shares = []
    for _ in range(20):
        vectors = random.uniform([0, -0.35], [0.35, 0.35], (40, 2))
        shares.append(basis_of_peaks(Peaks(vectors, np.ones(40)), (80, 80))[1])
    assert np.max(shares) < LEAST_SHARE
    along = np.outer(np.arange(1, 5), [0.05, 0.07])
    assert basis_of_peaks(Peaks(along, np.ones(4)), (80, 80))[1] == 0


def test_on_nodes_against_all_nodes():
    random = np.random.default_rng(4)
    vectors = random.uniform(-0.4, 0.4, (200, 2))
    nodes = combinations(PAIR, 8)[1]
    nearest = np.linalg.norm(vectors[:, np.newaxis] - nodes, axis=2).min(1)
    found = on_nodes(Peaks(vectors, np.ones(200)), PAIR, 0.03)
    np.testing.assert_array_equal(found, nearest < 0.03)


def test_finer_lattices_are_all_that_are_twice_as_fine():
    found = finer_lattices(PAIR)
    for k, pair in enumerate(found):
        change = PAIR @ np.linalg.inv(pair)
        np.testing.assert_allclose(change, np.round(change), atol=1e-9)
        assert abs(np.linalg.det(pair)) == pytest.approx(abs(np.linalg.det(PAIR)) / 2)
        assert not any(same_lattice(pair, other) for other in found[:k])
    assert len(found) == 3

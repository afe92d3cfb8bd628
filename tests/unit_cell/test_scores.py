# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What blocks contribute to scores, against the same written for the whole array."""

import numpy as np
import pytest

from emsparse_hs.unit_cell.scores import (
    Scaling,
    gram_times,
    ordered,
    orthonormal,
    projected,
    row_sums,
    starting_axes,
)


def counts(n=5000, n_pixels=30, seed=0):
    """Poisson counts of three patterns."""
    random = np.random.default_rng(seed)
    patterns = random.gamma(1, 4, (3, n_pixels))
    return random.poisson(random.dirichlet(np.ones(3), n) @ patterns).astype(np.uint16)


def scaling_of(rows):
    return Scaling.of_mean(rows.mean(0))


def test_noise_of_scaled_counts_is_one():
    random = np.random.default_rng(1)
    mean = np.array([0.5, 3.0, 40.0, 900.0])
    rows = random.poisson(mean, (20_000, 4)).astype(np.uint16)
    scaled = Scaling.of_mean(mean).apply(rows)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(scaled.std(0), 1, rtol=0.03)


def test_pixels_without_counts_don_t_blow_up():
    scaling = Scaling.of_mean(np.array([0.0, -2.0, 8.0, 1e-9]))
    floor = 1e-3 * 10 / 4
    np.testing.assert_allclose(scaling.scale**2, [floor, 2, 8, floor], rtol=1e-3)
    np.testing.assert_array_equal(scaling.mean, np.float32([0.0, -2.0, 8.0, 1e-9]))
    assert np.isfinite(Scaling.of_mean(np.zeros(3)).apply(np.zeros((2, 3), np.uint8))).all()


def test_sums_add_up_over_blocks():
    rows = np.full((7, 4), 60_000, np.uint16)
    rows[:, 1] = np.arange(7)
    total = row_sums(rows[:3]) + row_sums(rows[3:])
    np.testing.assert_array_equal(total, [420_000, 21, 420_000, 420_000, 7])


@pytest.mark.parametrize("ends", [(5000,), (1, 2048, 2049, 5000)])
def test_gram_matrix_times_axes(ends):
    rows = counts()
    scaling = scaling_of(rows)
    axes = np.random.default_rng(2).standard_normal((30, 4)).astype(np.float32)
    starts = (0, *ends[:-1])
    blocks = [gram_times(rows[a:b], scaling, axes) for a, b in zip(starts, ends, strict=True)]
    scaled = (rows - rows.mean(0)) / np.sqrt(rows.mean(0))
    expected = scaled.T @ scaled @ axes
    np.testing.assert_allclose(sum(blocks), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert sum(blocks).dtype == np.float64


def test_scores_of_rows():
    rows = counts()
    axes = orthonormal(np.random.default_rng(3).standard_normal((30, 4)))
    found = projected(rows, scaling_of(rows), axes)
    expected = (rows - rows.mean(0)) / np.sqrt(rows.mean(0)) @ axes
    assert found.dtype == np.float32 and found.shape == (5000, 4)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_orthonormal_basis_of_the_same_space():
    axes = np.random.default_rng(4).standard_normal((30, 5))
    found = orthonormal(axes).astype(float)
    np.testing.assert_allclose(found.T @ found, np.eye(5), atol=1e-6)
    np.testing.assert_allclose(found @ (found.T @ axes), axes, atol=1e-5)


@pytest.mark.parametrize(("n_scores", "expected"), [(2, 10), (25, 30), (99, 30)])
def test_axes_to_start_from_hold_the_strongest(n_scores, expected):
    rows = counts()
    scaling = scaling_of(rows)
    axes = starting_axes(rows[::2], scaling, n_scores)
    assert axes.shape == (30, expected) and axes.dtype == np.float32
    np.testing.assert_allclose(axes.T @ axes, np.eye(expected), atol=1e-5)
    leading = np.linalg.svd(scaling.apply(rows), full_matrices=False)[2][:2]
    inside = np.linalg.norm(leading @ axes, axis=1)
    assert (inside > 0.97).all()


def test_principal_scores_are_those_of_singular_values():
    random = np.random.default_rng(5)
    clean = random.standard_normal((300, 6)) * [9, 6, 4, 2, 1, 0.5]
    axes = orthonormal(random.standard_normal((20, 6)))
    turn = np.linalg.qr(random.standard_normal((6, 6)))[0].astype(np.float32)
    scores = (clean @ turn).astype(np.float32).reshape(15, 20, 6)
    found, turned = ordered(scores, axes, 4)
    left, values, _ = np.linalg.svd(clean, full_matrices=False)
    flat = found.reshape(300, 4)
    signs = np.sign((flat * left[:, :4]).sum(0))
    np.testing.assert_allclose(flat * signs, left[:, :4] * values[:4], atol=1e-3)
    # With their own axes they are the same patterns, of which the rest is what was left out.
    np.testing.assert_allclose(turned.T @ turned, np.eye(4), atol=1e-5)
    whole = scores.reshape(300, 6) @ axes.T
    left_out = np.linalg.norm(whole - flat @ turned.T)
    assert left_out == pytest.approx(np.linalg.norm(values[4:]), rel=1e-3)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Fourier series, their atoms and abundances against sums written out, and scipy."""

import numpy as np
import pytest
from scipy.optimize import nnls

from emsparse_hs.unit_cell.dictionary import (
    design,
    evaluate,
    fit_atoms,
    fourier_basis,
    non_negative,
    normal_equations,
    parts,
    pooled,
    ridged,
    series_gradient,
)

INDICES = np.array([[0, 1], [1, 0], [1, -1], [2, 1], [0, 3]])


def written_out(fractional, indices):
    rows = []
    for u, v in fractional:
        phases = [2 * np.pi * (h * u + k * v) for h, k in indices]
        cosines = [np.sqrt(2) * np.cos(p) for p in phases]
        rows.append([1, *cosines, *(np.sqrt(2) * np.sin(p) for p in phases)])
    return np.array(rows)


def test_basis_is_the_series_written_out():
    fractional = np.random.default_rng(0).uniform(-30, 30, (50, 2))
    found = fourier_basis(fractional, INDICES)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, written_out(fractional, INDICES), atol=2e-5)


def test_basis_is_orthonormal_over_the_cell():
    steps = np.arange(12) / 12
    cell = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    basis = fourier_basis(cell, INDICES).astype(float)
    np.testing.assert_allclose(basis.T @ basis / len(cell), np.eye(11), atol=1e-6)


def test_no_harmonics_are_a_constant():
    np.testing.assert_array_equal(fourier_basis(np.ones((3, 2)), np.zeros((0, 2), int)), 1)


def test_gradient_is_that_of_finite_differences():
    random = np.random.default_rng(1)
    atoms = random.standard_normal((2, 11, 3))
    fractional, step = random.uniform(0, 1, (20, 2)), 1e-5
    slopes = series_gradient(atoms, INDICES)
    assert slopes.shape == (2, *atoms.shape)
    for axis in (0, 1):
        change = step * np.eye(2)[axis]
        later = evaluate(atoms, written_out(fractional + change, INDICES))
        before = evaluate(atoms, written_out(fractional - change, INDICES))
        found = evaluate(slopes[axis], written_out(fractional, INDICES))
        np.testing.assert_allclose(found, (later - before) / (2 * step), atol=1e-5)


def test_design_and_evaluate_fit_together():
    random = np.random.default_rng(2)
    basis, amounts = random.standard_normal((7, 11)), random.uniform(0, 1, (7, 3))
    atoms = random.standard_normal((3, 11, 4))
    terms = design(basis, amounts)
    for n in range(7):
        np.testing.assert_allclose(terms[n], np.kron(amounts[n], basis[n]))
    mixed = sum(amounts[:, a, np.newaxis] * (basis @ atoms[a]) for a in range(3))
    np.testing.assert_allclose(terms @ atoms.reshape(33, 4), mixed)
    np.testing.assert_allclose(np.einsum("na,nar->nr", amounts, evaluate(atoms, basis)), mixed)


@pytest.mark.parametrize("n", [0, 1, 8192, 8193, 20_000])
def test_parts_are_all_positions_in_order(n):
    places = [k for part in parts(n) for k in range(part.start, part.stop)]
    assert places == list(range(n))


def test_normal_equations_of_more_than_one_part():
    random = np.random.default_rng(3)
    n = 9000
    fractional, amounts = random.uniform(0, 5, (n, 2)), random.uniform(0, 1, (n, 2))
    scores = random.standard_normal((n, 4))
    gram, products = normal_equations(scores, fractional, INDICES, amounts)
    basis = fourier_basis(fractional, INDICES).astype(float)
    terms = np.concatenate([amounts[:, :1] * basis, amounts[:, 1:] * basis], axis=1)
    np.testing.assert_allclose(gram, terms.T @ terms, rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(products, terms.T @ scores, rtol=1e-4, atol=1e-2)


def test_fit_finds_the_atoms():
    random = np.random.default_rng(4)
    atoms = random.standard_normal((2, 11, 4))
    fractional, amounts = random.uniform(0, 9, (3000, 2)), random.uniform(0, 1, (3000, 2))
    clean = design(written_out(fractional, INDICES), amounts) @ atoms.reshape(22, 4)
    found = fit_atoms(clean, fractional, INDICES, amounts)
    assert found.shape == atoms.shape and found.dtype == np.float32
    np.testing.assert_allclose(found, atoms, atol=6e-3)
    noisy = clean + 0.1 * random.standard_normal(clean.shape)
    left = fit_atoms(noisy, fractional, INDICES, amounts) - found
    # As much noise as least squares lets through: that of the inverse of the Gram matrix.
    gram = normal_equations(clean, fractional, INDICES, amounts)[0]
    expected = 0.1 * np.sqrt(np.diag(np.linalg.inv(gram)).mean())
    assert np.sqrt((left**2).mean()) == pytest.approx(expected, rel=0.2)


def test_a_ridge_is_small_and_makes_any_gram_matrix_invertible():
    terms = np.random.default_rng(5).standard_normal((40, 6))
    gram = terms.T @ terms
    np.testing.assert_allclose(ridged(gram), gram, atol=2e-4 * np.trace(gram) / 6)
    terms[:, 3] = terms[:, 2]
    assert np.linalg.cond(ridged(terms.T @ terms)) < 1e6
    np.linalg.cholesky(ridged(np.zeros((4, 4))))


@pytest.mark.parametrize("masked", [False, True])
def test_pooled_is_a_gaussian_sum(masked):
    random = np.random.default_rng(6)
    values = random.standard_normal((14, 11, 2, 3))
    inside = random.random((14, 11)) > 0.4
    found = pooled(values, 1.3, inside if masked else None)
    y, x = np.indices((14, 11))
    for a, b in ((0, 0), (6, 5), (13, 2)):
        weight = np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * 1.3**2))
        weight[(abs(y - a) > 5) | (abs(x - b) > 5)] = 0
        weight /= np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.3**2)).sum() ** 2
        weight = weight * inside if masked else weight
        expected = (weight[..., np.newaxis, np.newaxis] * values).sum((0, 1))
        np.testing.assert_allclose(found[a, b], expected, atol=1e-12)


@pytest.mark.parametrize("n_atoms", [1, 2, 3])
def test_non_negative_is_that_of_scipy(n_atoms):
    random = np.random.default_rng(7)
    patterns = random.standard_normal((60, 20, n_atoms)) + 0.4
    data = random.standard_normal((60, 20)) + 0.3
    gram = np.einsum("npa,npb->nab", patterns, patterns)
    products = np.einsum("npa,np->na", patterns, data)
    found = non_negative(gram, products, np.ones((60, n_atoms)))
    expected = np.array([nnls(a, b)[0] for a, b in zip(patterns, data, strict=True)])
    assert (expected == 0).any() and (expected > 0).any()
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_non_negative_goes_on_without_data():
    start = np.full((3, 2), 0.5)
    found = non_negative(np.zeros((3, 2, 2)), np.zeros((3, 2)), start)
    np.testing.assert_array_equal(found, start)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Domains and abundances of scans whose domains are mixtures of two known atoms."""

import numpy as np
import pytest

from emsparse_hs.unit_cell.alignment import Alignment
from emsparse_hs.unit_cell.dictionary import evaluate, fit_atoms, fourier_basis
from emsparse_hs.unit_cell.fitting import (
    DomainFit,
    adding_up,
    between_knots,
    fit_all_atoms,
    fit_domains,
    fitted_places,
    refine,
)
from emsparse_hs.unit_cell.lattice import LatticeFit

SHAPE = (80, 76)


def mixtures():
    y, x = (np.linspace(0, 1, n) for n in SHAPE)
    ramp = (y[:, np.newaxis] + 0.3 * x) / 1.3
    return np.stack([1 - 0.8 * ramp, 0.2 + 0.8 * ramp], axis=-1)


def walls():
    labels = np.zeros(SHAPE, int)
    labels[:, 35:] = 1
    return labels


def jitter(seed):
    shift = 0.2 * np.random.default_rng(seed).standard_normal((SHAPE[0], 1, 2))
    return np.broadcast_to(shift, (*SHAPE, 2))


@pytest.fixture(scope="module")
def scan(series_scan):
    return series_scan(
        SHAPE, labels=walls(), amounts=mixtures(), shift=jitter(0), noise=0.4, seed=0, same=0.5
    )


def known(scan):
    """The true lattice."""
    pairs = np.reshape(scan.reciprocal, (-1, 2, 2))
    return LatticeFit(Alignment.regular(pairs, SHAPE), np.zeros(SHAPE, np.int8), np.ones(1))


@pytest.fixture(scope="module")
def fit(scan):
    return fit_domains(scan.scores, known(scan), [scan.indices])


def predicted(scan, fit):
    """Scores of all positions, from atoms of the whole of each domain."""
    made = np.empty(scan.clean.shape)
    for label in range(len(fit.lattice_of)):
        own = fit.labels == label
        fractional, amounts = fit.alignment.fractional(0)[own], fit.abundances[own]
        atoms = fit_atoms(scan.scores[own], fractional, scan.indices, amounts)
        patterns = evaluate(atoms, fourier_basis(fractional, scan.indices))
        made[own] = np.einsum("na,nar->nr", amounts, patterns)
    return made


def error(scan, made):
    """Part of the variance without noise that is not explained."""
    clean = scan.clean - scan.clean.mean((0, 1))
    return ((made - scan.clean) ** 2).sum() / (clean**2).sum()


@pytest.mark.parametrize("n", [1, 2, 4])
def test_between_knots(n):
    slow = np.random.default_rng(0).random((5, 6))
    slow[0, :2] = 0, 1
    found = between_knots(slow, n)
    assert found.shape == (5, 6, n) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
    assert ((found > 0).sum(-1) <= 2).all() and (found >= 0).all()
    if n > 1:
        # The mean of the knots is the place.
        np.testing.assert_allclose(found @ np.linspace(0, 1, n), slow, atol=1e-6)


def test_domains_are_the_true_ones(scan, fit):
    right = (fit.labels == walls()).mean()
    assert max(right, 1 - right) > 0.99
    np.testing.assert_array_equal(fit.lattice_of, [0, 0])
    assert fit.splits[0].accepted


def test_series_explain_what_is_no_noise(scan, fit):
    assert error(scan, predicted(scan, fit)) < 0.02
    one = fit_domains(scan.scores, known(scan), [scan.indices], n_variants=1)
    np.testing.assert_array_equal(one.abundances, 1)
    assert error(scan, predicted(scan, one)) > 2 * error(scan, predicted(scan, fit))


def test_abundances_are_those_of_the_truth_in_another_basis(scan, fit):
    """Of the same two atoms all pairs of mixtures are as good, so that true abundances are linear
    in those that are found."""
    assert fit.abundances.min() >= 0 and fit.abundances.dtype == np.float32
    for label in (0, 1):
        own = (fit.labels == label) & (np.abs(np.arange(SHAPE[1]) - 35) > 5)
        found, truth = fit.abundances[own], mixtures()[own]
        left = truth - found @ np.linalg.lstsq(found, truth, rcond=None)[0]
        assert np.sqrt((left**2).mean()) < 0.2 * truth.std()


def test_shifts_of_lines_are_found(scan, fit):
    shift = scan.shift[:, 0] - scan.shift[:, 0].mean(0)
    line = np.linspace(-1, 1, SHAPE[0])
    trend = np.polyfit(line, shift, 1)
    shift = shift - np.outer(line, trend[0]) - trend[1]
    found = fit.alignment.row_shift
    assert np.sqrt(((found - shift) ** 2).mean()) < 0.5 * shift.std()
    # The lattice stays as it was given.
    np.testing.assert_array_equal(fit.alignment.reciprocal[0], scan.reciprocal)


@pytest.mark.parametrize("n_domains", [1, 2])
def test_as_many_domains_as_asked_for(series_scan, n_domains):
    scan = series_scan(SHAPE, amounts=mixtures(), noise=0.4, seed=1)
    fit = fit_domains(scan.scores, known(scan), [scan.indices], n_domains, 2)
    assert len(fit.lattice_of) == n_domains == len(np.unique(fit.labels))


def test_a_round_does_not_change_what_it_starts_from(scan, fit):
    before = fit.labels.copy(), fit.abundances.copy(), fit.alignment.row_shift.copy()
    refine(scan.scores, fit, [scan.indices])
    after = fit.labels, fit.abundances, fit.alignment.row_shift
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_atoms_are_fitted_inside_of_domains_or_to_all_of_a_thin_one():
    labels = np.zeros((40, 60), np.int8)
    labels[:, 30:34] = 1
    alignment = Alignment.regular(np.diag([1 / 8, 1 / 8])[np.newaxis], labels.shape)
    amounts = np.ones((40, 60, 1), np.float32)
    fit = DomainFit(alignment, labels, np.zeros(2, int), amounts, labels * 0.0, [])
    found = fitted_places(fit)
    np.testing.assert_array_equal(found[:, 30:34], True)
    # 0.75 cells of 8 px.
    np.testing.assert_array_equal(found[:, :24], True)
    np.testing.assert_array_equal(found[:, 24:30], False)
    np.testing.assert_array_equal(found[:, 34:40], False)
    np.testing.assert_array_equal(found[:, 40:], True)


def test_atoms_of_each_domain(series_scan):
    scan = series_scan(SHAPE, labels=walls(), amounts=mixtures(), noise=0.01, seed=2)
    alignment = known(scan).alignment
    amounts = mixtures().astype(np.float32)
    labels = walls().astype(np.int8)
    fit = DomainFit(alignment, labels, np.zeros(2, int), amounts, labels * 0.0, [])
    found = fit_all_atoms(scan.scores, fit, [scan.indices])
    for label in (0, 1):
        np.testing.assert_allclose(found[label], scan.atoms[label], atol=0.03)


def test_shares_of_variants_add_up(fit):
    total = fit.abundances.sum(-1)
    assert total.mean() == pytest.approx(1, abs=0.02) and total.std() < 0.15


def test_scales_of_variants_do_not_matter():
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(3), (30, 20)).astype(np.float32)
    labels = (np.arange(20) > 8).astype(np.int8) * np.ones((30, 1), np.int8)
    scaled = shares * np.where(labels[..., np.newaxis], [2.0, 0.1, 5.0], [30.0, 1.0, 0.7])
    np.testing.assert_allclose(adding_up(scaled.astype(np.float32), labels), shares, rtol=1e-4)


def test_a_variant_that_is_nowhere_stays_nowhere():
    amounts = np.zeros((8, 9, 2), np.float32)
    amounts[..., 0] = 4
    scaled = adding_up(amounts, np.zeros((8, 9), np.int8))
    np.testing.assert_allclose(scaled, amounts / 4, rtol=1e-5)


def test_nothing_stays_nothing():
    assert not adding_up(np.zeros((4, 5, 2), np.float32), np.zeros((4, 5), np.int8)).any()

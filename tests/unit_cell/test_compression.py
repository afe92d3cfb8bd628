# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Dictionaries of few patterns against the expectation that counts were drawn from."""

import numpy as np
import pytest

from emsparse_hs.unit_cell.alignment import Alignment
from emsparse_hs.unit_cell.compression import (
    CellDictionary,
    all_abundances,
    compress,
    domain_grams,
    domain_products,
    merged,
)
from emsparse_hs.unit_cell.fitting import DomainFit
from emsparse_hs.unit_cell.scores import Scaling

RANK, PIXELS, N = 3, 50, 6000
#: Harmonics of two domains.
INDICES = [np.array([[0, 1], [1, 0], [1, 1]]), np.array([[0, 1], [2, -1]])]


def terms_of(fractional, amounts, indices):
    """Design matrix, atom by atom, written out."""
    phases = 2 * np.pi * fractional @ indices.T
    waves = [np.sqrt(2) * np.cos(phases), np.sqrt(2) * np.sin(phases)]
    series = np.hstack([np.ones((len(phases), 1)), *waves])
    return np.hstack([amounts[:, [a]] * series for a in range(amounts.shape[1])])


class Scan:
    """Counts of two domains whose terms have coefficients of low rank."""

    def __init__(self, seed=0, dose=30.0, strength=0.15):
        random = np.random.default_rng(seed)
        self.labels = random.integers(0, 2, N)
        part = random.uniform(0, 1, N)
        self.amounts = np.stack([part, 1 - part], axis=-1).astype(np.float32)
        self.fractional = random.uniform(0, 1, (N, 2)).astype(np.float32)
        patterns = random.standard_normal((RANK, PIXELS))
        self.mean = dose * random.uniform(0.5, 1.5, PIXELS)
        expected = np.tile(self.mean, (N, 1))
        for label, indices in enumerate(INDICES):
            own = self.labels == label
            terms = terms_of(self.fractional[own], self.amounts[own], indices)
            coefficients = random.standard_normal((terms.shape[1], RANK))
            expected[own] += strength * terms @ coefficients @ patterns * np.sqrt(self.mean)
        self.expected = np.maximum(expected, 0)
        self.counts = random.poisson(self.expected).astype(np.uint16)

    def maps(self):
        return self.labels, self.amounts, self.fractional

    def dictionary(self, rows=None, rank=None):
        rows = self.counts if rows is None else rows
        scaling = Scaling.of_mean(rows.mean(0))
        products, squares = domain_products(rows, *self.maps(), scaling, INDICES)
        grams = domain_grams(*self.maps(), INDICES)
        parts = compress(grams, products, squares, N, scaling, rank)
        return CellDictionary(*parts[:2], scaling.mean, INDICES, np.arange(2), 2, parts[2])


@pytest.fixture(scope="module")
def scan():
    return Scan()


def test_products_of_blocks_are_those_of_all(scan):
    scaling = Scaling.of_mean(scan.counts.mean(0))
    cuts = [slice(0, 1), slice(1, 2500), slice(2500, N)]
    found = None
    for cut in cuts:
        part = domain_products(scan.counts[cut], *(m[cut] for m in scan.maps()), scaling, INDICES)
        found = part if found is None else merged(found, part)
    scaled = (scan.counts - scan.counts.mean(0)) / np.sqrt(scan.counts.mean(0))
    assert found[1] == pytest.approx((scaled**2).sum(), rel=1e-4)
    grams = domain_grams(*scan.maps(), INDICES)
    for label, indices in enumerate(INDICES):
        own = scan.labels == label
        terms = terms_of(scan.fractional[own], scan.amounts[own], indices)
        np.testing.assert_allclose(found[0][label], terms.T @ scaled[own], atol=0.05)
        np.testing.assert_allclose(grams[label], terms.T @ terms, rtol=1e-4, atol=0.05)


def test_a_block_without_a_domain_adds_nothing(scan):
    scaling = Scaling.of_mean(scan.counts.mean(0))
    first = scan.labels == 0
    maps = [m[first] for m in scan.maps()]
    products, _ = domain_products(scan.counts[first], *maps, scaling, INDICES)
    assert not products[1].any() and products[0].any()


def test_rank_is_that_of_the_truth(scan):
    cells = scan.dictionary()
    assert cells.patterns.shape == (RANK, PIXELS)
    assert (cells.singular_values[:RANK] > 1).all() and (cells.singular_values[RANK:] < 1).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_prediction_is_nearer_to_the_expectation_than_counts(seed):
    """By as much as there are fewer free numbers."""
    scan = Scan(seed)
    cells = scan.dictionary()
    found = cells.predict(*scan.maps())
    error = ((found - scan.expected) ** 2).sum()
    noise = ((scan.counts - scan.expected) ** 2).sum()
    n_terms = len(cells.coefficients)
    free = cells.patterns.shape[0] * (n_terms + PIXELS) + PIXELS
    assert error < 1.2 * noise * free / (N * PIXELS)


def test_shrinking_is_better_than_cutting_off():
    """Of weak patterns the noise adds to each singular value, which is taken off again."""
    scan = Scan(3, strength=0.03)
    scaling = Scaling.of_mean(scan.counts.mean(0))
    grams = domain_grams(*scan.maps(), INDICES)

    def errors_of(rows, squares=None):
        products, found = domain_products(rows, *scan.maps(), scaling, INDICES)
        parts = compress(grams, products, found if squares is None else squares, N, scaling, RANK)
        cells = CellDictionary(*parts[:2], scaling.mean, INDICES, np.arange(2), 2, parts[2])
        return ((cells.predict(*scan.maps()) - scan.expected) ** 2).sum()

    shrunk = errors_of(scan.counts)
    # With the squares of the fit alone there is no noise to take off.
    cut = errors_of(scan.counts, squares=0.0)
    assert shrunk < 0.97 * cut


def test_noise_alone_has_no_patterns():
    """The largest singular value of noise is above the edge in about one of six cases, slightly,
    and then it is shrunk to nearly nothing."""
    scan, ranks = Scan(4), []
    for seed in range(10):
        rows = np.random.default_rng(seed).poisson(scan.mean, (N, PIXELS)).astype(np.uint16)
        cells = scan.dictionary(rows)
        ranks.append(len(cells.patterns))
        assert 0.85 < cells.singular_values[0] < 1.06
        made = cells.predict(*scan.maps())
        np.testing.assert_allclose(((made - cells.mean) ** 2).mean(), 0, atol=1e-3 * rows.var())
    assert max(ranks) <= 1 and np.mean(ranks) < 0.45


def test_without_noise_nothing_is_shrunk(scan):
    exact = scan.mean + (scan.expected - scan.mean) * 0.3
    cells = scan.dictionary(exact, rank=2 * RANK)
    np.testing.assert_allclose(cells.predict(*scan.maps()), exact, atol=5e-3 * exact.mean())


def test_mixture_is_written_out_atom_by_atom(scan):
    cells = scan.dictionary()
    labels, amounts, fractional = (m[:40] for m in scan.maps())
    found = cells.mixture(labels, amounts, fractional)
    first = 2 * 7
    for n in range(40):
        place = slice(0, first) if labels[n] == 0 else slice(first, None)
        terms = terms_of(fractional[[n]], amounts[[n]], INDICES[labels[n]])
        np.testing.assert_allclose(found[n], (terms @ cells.coefficients[place])[0], atol=1e-4)
    patterns = cells.predict(labels, amounts, fractional)
    expected = np.maximum(found @ cells.patterns + cells.mean, 0)
    np.testing.assert_allclose(patterns, expected, rtol=1e-5, atol=1e-5)
    assert patterns.dtype == np.float32
    # A cell further is the same place.
    further = cells.predict(labels, amounts, fractional + [3, -2])
    np.testing.assert_allclose(further, patterns, atol=1e-3)


def test_expected_counts_are_not_negative(scan):
    cells = scan.dictionary()
    far = 30 * scan.amounts[:500]
    found = cells.predict(scan.labels[:500], far, scan.fractional[:500])
    assert found.min() == 0
    mixed = cells.mixture(scan.labels[:500], far, scan.fractional[:500])
    assert (mixed @ cells.patterns + cells.mean).min() < 0


def test_fewer_patterns_are_the_strongest(scan):
    cells = scan.dictionary()
    errors = []
    for rank in (1, 2, RANK):
        part = cells.truncated(rank)
        assert part.patterns.shape == (rank, PIXELS) and part.coefficients.shape[1] == rank
        errors.append(((part.predict(*scan.maps()) - scan.expected) ** 2).sum())
    assert errors[0] > errors[1] > errors[2]
    asked = scan.dictionary(rank=2)
    np.testing.assert_allclose(
        asked.predict(*scan.maps()), cells.truncated(2).predict(*scan.maps()), atol=1e-3
    )


def test_the_atom_of_a_wall_ends_a_cell_away():
    labels = np.zeros((12, 60), np.int8)
    labels[:, 33:] = 1
    alignment = Alignment.regular(np.diag([1 / 8, 1 / 10])[np.newaxis], labels.shape)
    amounts = np.random.default_rng(5).random((12, 60, 2)).astype(np.float32)
    fit = DomainFit(alignment, labels, np.zeros(2, int), amounts, labels * 0.0, [])
    found = all_abundances(fit)
    np.testing.assert_array_equal(found[..., :2], amounts)
    distance = np.where(np.arange(60) < 33, 33 - np.arange(60), np.arange(60) - 32)
    expected = np.maximum(1 - distance / 10, 0)
    np.testing.assert_allclose(found[..., 2], np.tile(expected, (12, 1)), atol=1e-6)
    alone = DomainFit(alignment, 0 * labels, np.zeros(1, int), amounts, labels * 0.0, [])
    assert all_abundances(alone) is amounts

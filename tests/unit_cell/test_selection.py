# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The number of variants, and whether the expected error is the one that there is."""

import numpy as np
import pytest

from emsparse_hs.unit_cell.alignment import Alignment
from emsparse_hs.unit_cell.dictionary import evaluate, fit_atoms, fourier_basis
from emsparse_hs.unit_cell.fitting import fit_domains
from emsparse_hs.unit_cell.lattice import LatticeFit
from emsparse_hs.unit_cell.selection import choose_n_variants

SHAPE = (64, 72)


def mixtures(n):
    ramp = np.linspace(0, n - 1, SHAPE[1])
    amounts = np.clip(1 - np.abs(ramp[:, np.newaxis] - np.arange(n)), 0, None)
    return np.broadcast_to(amounts, (*SHAPE, n)) if n > 1 else np.ones((*SHAPE, 1))


def known(scan):
    alignment = Alignment.regular(scan.reciprocal[np.newaxis], SHAPE)
    return LatticeFit(alignment, np.zeros(SHAPE, np.int8), np.ones(1))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_as_many_variants_as_there_are(series_scan, n):
    scan = series_scan(SHAPE, amounts=mixtures(n), noise=0.3, seed=n)
    fit, trials = choose_n_variants(scan.scores, known(scan), [scan.indices], 1)
    assert fit.abundances.shape == (*SHAPE, n)
    assert [trial.n_variants for trial in trials] == list(range(1, n + 2))
    assert all(trial.advantage > 5 for trial in trials[1:n]) and trials[0].advantage == np.inf
    errors = [trial.error for trial in trials]
    assert all(a - b > 0.005 for a, b in zip(errors[:n], errors[1:n], strict=False))
    assert errors[n - 1] - errors[n] < 0.005


def true_error(scan, n):
    """What a fit with some variants leaves of the scores without noise."""
    fit = fit_domains(scan.scores, known(scan), [scan.indices], 1, n)
    flat = scan.scores.reshape(-1, 6)
    fractional, amounts = fit.alignment.fractional(0).reshape(-1, 2), fit.abundances.reshape(-1, n)
    atoms = fit_atoms(flat, fractional, scan.indices, amounts)
    patterns = evaluate(atoms, fourier_basis(fractional, scan.indices))
    made = np.einsum("na,nar->nr", amounts, patterns)
    total = ((scan.scores - scan.scores.mean((0, 1))) ** 2).sum()
    return ((made - scan.clean.reshape(-1, 6)) ** 2).sum() / total


def test_error_of_what_is_held_out_is_that_of_the_patterns_without_noise(series_scan):
    scan = series_scan(SHAPE, amounts=mixtures(2), noise=2.0, seed=10)
    _, trials = choose_n_variants(scan.scores, known(scan), [scan.indices], 1)
    one, two = (true_error(scan, n) for n in (1, 2))
    # In so small a scan the noise, here most of the variance, is known to some percent.
    assert trials[0].error == pytest.approx(one, abs=0.06)
    assert trials[0].error - trials[1].error == pytest.approx(one - two, abs=0.006)

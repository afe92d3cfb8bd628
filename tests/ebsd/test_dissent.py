# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Patterns of two phases that are solved as one."""

import numpy as np
import pytest

from emsparse_hs.ebsd._joint import Errors, Fit, band_sets
from emsparse_hs.ebsd.bands import Bands
from emsparse_hs.ebsd.dissent import DISSENT, dissent
from emsparse_hs.ebsd.lattice import CENTRE_ERROR, STRAY, solve_lattice

#: Bands of a pattern that is drawn.
N_BANDS = 30


def solve(*tables, **options):
    table = np.concatenate(tables)
    bands = Bands(table[..., :3], table[..., 3], table[..., 4])
    return solve_lattice(bands, width_scale=1.0, **options)


@pytest.mark.parametrize("name", ["austenite", "ferrite", "rutile", "corundum"])
@pytest.mark.parametrize("n_patterns", [1, 2, 6])
def test_patterns_of_one_phase_agree(name, n_patterns, draw_phase):
    found = solve(draw_phase(name, n_patterns, seed=1))
    np.testing.assert_array_equal(found.dissent, np.zeros(n_patterns))


@pytest.mark.parametrize(
    ("one", "other"),
    [("austenite", "ferrite"), ("ferrite", "austenite"), ("rutile", "corundum")],
)
@pytest.mark.parametrize("n_others", [1, 3])
def test_patterns_of_another_phase_are_told(one, other, n_others, draw_phase):
    found = solve(draw_phase(one, 6, seed=2), draw_phase(other, n_others, seed=3))
    assert np.flatnonzero(found.dissent > 0).tolist() == list(range(6, 6 + n_others))
    assert found.dissent.max() > DISSENT


def test_noise_is_no_other_phase(draw_phase):
    rng = np.random.default_rng(4)
    table = draw_phase("rutile", 6, seed=4)
    normals = rng.normal(size=(2, N_BANDS, 3))
    table[:2, :, :3] = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    solution = solve(table)
    assert solution.fits.tolist() == [False] * 2 + [True] * 4
    np.testing.assert_array_equal(solution.dissent, np.zeros(6))


def test_only_patterns_that_the_cell_is_found_from_are_asked(draw_phase):
    # Every second pattern is of the other phase, and the cell is found from the first and the last.
    table = np.stack([draw_phase("austenite", 4, seed=5), draw_phase("ferrite", 4, seed=6)], axis=1)
    found = solve(table.reshape(8, N_BANDS, 5), max_patterns=2)
    assert np.isfinite(found.dissent).tolist() == [True] + 6 * [False] + [True]
    assert np.nanmax(found.dissent) > DISSENT


def test_a_parent_lattice_is_no_other_phase(draw_phase):
    table = draw_phase("austenite", 4, seed=7)
    found = solve(table)
    bands = Bands(table[..., :3], table[..., 3], table[..., 4])
    sets, _, _ = band_sets(bands, 20.0, 1.0)
    # With eight times as many reflections the cell is worse for every pattern than its parent.
    larger = 2 * found.cell
    fit = Fit(larger, found.orientations, found.centre_errors, np.eye(6), 0.0)
    assert not dissent(fit, sets, Errors(found.spread, STRAY, CENTRE_ERROR)).any()


def test_no_lattice_has_no_dissent():
    table = np.full((3, N_BANDS, 5), np.nan)
    assert np.isnan(solve(table).dissent).all()

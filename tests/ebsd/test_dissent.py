# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Patterns of two phases that are solved as one."""

import numpy as np
import pytest

from emsparse_hs.ebsd._joint import Errors, Fit, band_sets
from emsparse_hs.ebsd.bands import Bands
from emsparse_hs.ebsd.dissent import DISSENT, dissent
from emsparse_hs.ebsd.lattice import CENTRE_ERROR, STRAY, solve_lattice
from emsparse_hs.electron import relativistic_wavelength

N_BANDS = 30
CELLS = {
    "austenite": ("F", 3.6, 3.6, 3.6),
    "ferrite": ("I", 2.87, 2.87, 2.87),
    "rutile": ("P", 4.6, 4.6, 2.96),
    "corundum": ("R", 4.76, 4.76, 12.99, 90, 90, 120),
}


@pytest.fixture
def draw(primitive_cell, planes_of, random_rotation):
    """Function that draws bands of a phase, with errors of 0.2 degrees and 3 % of width."""

    def make(name, n_patterns, seed):
        rng = np.random.default_rng(seed)
        planes = planes_of(primitive_cell(*CELLS[name]), 1.6)
        table = np.empty((n_patterns, N_BANDS, 5))
        for rows in table:
            g = planes @ random_rotation(rng)
            lengths = np.linalg.norm(g, axis=1)
            g = g[np.abs(g[:, 2]) < 0.57 * lengths][:60]
            strengths = rng.lognormal(0, 0.3, len(g)) / np.linalg.norm(g, axis=1)
            strongest = np.argsort(-strengths)[:N_BANDS]
            g, lengths = g[strongest], np.linalg.norm(g[strongest], axis=1)
            normals = g / lengths[:, None] + rng.normal(0, np.radians(0.2), g.shape)
            rows[:, :3] = normals / np.linalg.norm(normals, axis=1)[:, None]
            sines = relativistic_wavelength(20.0) * lengths * rng.normal(1, 0.03, len(g)) / 2
            rows[:, 3], rows[:, 4] = np.degrees(np.arcsin(sines)), 10 * strengths[strongest]
        return table

    return make


def solve(*tables, **options):
    table = np.concatenate(tables)
    bands = Bands(table[..., :3], table[..., 3], table[..., 4])
    return solve_lattice(bands, width_scale=1.0, **options)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("n_patterns", [1, 2, 6])
def test_patterns_of_one_phase_agree(name, n_patterns, draw):
    found = solve(draw(name, n_patterns, seed=1))
    np.testing.assert_array_equal(found.dissent, np.zeros(n_patterns))


@pytest.mark.parametrize(
    ("one", "other"),
    [("austenite", "ferrite"), ("ferrite", "austenite"), ("rutile", "corundum")],
)
@pytest.mark.parametrize("n_others", [1, 3])
def test_patterns_of_another_phase_are_told(one, other, n_others, draw):
    found = solve(draw(one, 6, seed=2), draw(other, n_others, seed=3))
    assert np.flatnonzero(found.dissent > 0).tolist() == list(range(6, 6 + n_others))
    assert found.dissent.max() > DISSENT


def test_noise_is_no_other_phase(draw):
    rng = np.random.default_rng(4)
    table = draw("rutile", 6, seed=4)
    normals = rng.normal(size=(2, N_BANDS, 3))
    table[:2, :, :3] = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    solution = solve(table)
    assert solution.fits.tolist() == [False] * 2 + [True] * 4
    np.testing.assert_array_equal(solution.dissent, np.zeros(6))


def test_only_patterns_that_the_cell_is_found_from_are_asked(draw):
    # Every second pattern is of the other phase, and the cell is found from the first and the last.
    table = np.stack([draw("austenite", 4, seed=5), draw("ferrite", 4, seed=6)], axis=1)
    found = solve(table.reshape(8, N_BANDS, 5), max_patterns=2)
    assert np.isfinite(found.dissent).tolist() == [True] + 6 * [False] + [True]
    assert np.nanmax(found.dissent) > DISSENT


def test_a_parent_lattice_is_no_other_phase(draw):
    table = draw("austenite", 4, seed=7)
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

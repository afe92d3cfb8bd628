# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Pattern centres that err in all patterns alike."""

import numpy as np
import pytest

from emsparse_hs.ebsd import Bands, cluster_patterns, solve_lattice

LATTICES = {"austenite": "cF", "ferrite": "cI", "rutile": "tP", "corundum": "hR"}


def off_centre(table, error):
    """Bands as they are with a wrong pattern centre: in x and y by a shear, in z by a stretch."""
    table = table.copy()
    x, y, z = np.moveaxis(table[..., :3], -1, 0)
    x, y = x / (1 + error[2]), y / (1 + error[2])
    normals = np.stack([x, y, z - error[0] * x - error[1] * y], axis=-1)
    table[..., :3] = normals / np.linalg.norm(normals, axis=-1, keepdims=True)
    return Bands(table[..., :3], table[..., 3], table[..., 4])


@pytest.mark.parametrize("name", LATTICES)
@pytest.mark.parametrize("error", [(0.02, 0, 0), (-0.01, 0.02, 0.015)])
def test_lattice_and_error_are_found_together(name, error, draw_phase):
    bands = off_centre(draw_phase(name, 9, seed=11), error)
    found = solve_lattice(bands, width_scale=1.0)
    assert found.lattice == LATTICES[name]
    centres = np.median(found.centre_errors, axis=0)
    # What is left is within the error that single centres may have.
    np.testing.assert_allclose(centres[:2], error[:2], atol=0.005)
    # The distance is nearly the scale of the widths.
    assert abs(centres[2] - error[2]) < 0.012


def test_right_centres_stay(draw_phase):
    found = solve_lattice(off_centre(draw_phase("rutile", 9, seed=12), (0, 0, 0)), width_scale=1.0)
    assert np.abs(np.median(found.centre_errors, axis=0)).max() < 0.002


def test_few_orientations_tell_no_error_from_a_strain(draw_phase):
    table = draw_phase("austenite", 3, seed=13)
    bands = off_centre(np.concatenate([table, table, table]), (0.02, 0, 0))
    assert np.abs(solve_lattice(bands, width_scale=1.0).centre_errors).max() < 0.015


def test_patterns_beyond_those_solved_are_oriented_with_it(draw_phase):
    bands = off_centre(draw_phase("ferrite", 14, seed=14), (0.02, -0.02, 0))
    found = solve_lattice(bands, width_scale=1.0, max_patterns=8)
    assert found.lattice == "cI"
    beyond = np.isnan(found.centre_errors[:, 0])
    assert beyond.sum() == 6
    assert found.residuals[beyond].max() < 0.5


def test_phases_are_told_apart_off_centre(draw_phase):
    table = np.concatenate([draw_phase("austenite", 7, 15), draw_phase("rutile", 4, 15)])
    labels = cluster_patterns(off_centre(table, (0.02, 0.01, -0.01)), width_scale=1.0)
    assert labels.tolist() == [0] * 7 + [1] * 4


@pytest.mark.parametrize("names", [("corundum", "austenite"), ("corundum", "ferrite")])
@pytest.mark.parametrize("seed", [16, 17, 18])
def test_two_phases_make_no_shared_error(names, seed, draw_phase):
    table = np.concatenate([draw_phase(n, k, seed) for n, k in zip(names, (5, 4), strict=True)])
    found = solve_lattice(off_centre(table, (0, 0, 0)), width_scale=1.0)
    assert found.dissent.max() > 0
    assert np.abs(np.median(found.centre_errors, axis=0)).max() < 0.006

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Symmetries compared: errors against repeated measurements, known lattices with noise."""

import numpy as np
import pytest

from emsparse_hs.ebsd.bravais import BRAVAIS_LATTICES, near_symmetries, reduced_cell
from emsparse_hs.ebsd.posterior import (
    FLOOR,
    NEAR,
    cell_parameters,
    compare_symmetries,
    lattice_probabilities,
    metric_covariance,
    parameter_errors,
    symmetric_cell,
)


def strain_matrix(strain):
    """From xx, yy, zz, yz, xz, xy."""
    xx, yy, zz, yz, xz, xy = strain
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])


def strained(cell, strain):
    """The cell whose reciprocal lattice is that of a cell, strained."""
    return np.linalg.inv((np.linalg.inv(cell).T @ (np.eye(3) + strain_matrix(strain))).T)


def some_covariance(size, seed=0):
    """A covariance with correlations, of standard errors about a size."""
    matrix = np.random.default_rng(seed).normal(size=(6, 6)) / np.sqrt(6)
    return size**2 * (matrix @ matrix.T + 0.1 * np.eye(6))


def measured(cell, covariance, n, seed=0):
    """The cell as n measurements show it."""
    rng = np.random.default_rng(seed)
    return [strained(cell, s) for s in rng.multivariate_normal(np.zeros(6), covariance, n)]


@pytest.fixture
def skew(random_rotation):
    """A cell without symmetry."""
    cell = [[3.2, 0, 0], [-0.7, 4.4, 0], [-0.9, -1.1, 5.6]]
    return reduced_cell(cell @ random_rotation(np.random.default_rng(4)))


def test_the_metric_scatters_as_its_covariance_says(skew):
    covariance = some_covariance(1e-4)
    cells = measured(skew, covariance, 20_000)
    metrics = np.array([(c @ c.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] for c in cells])
    scatter, expected = np.cov(metrics.T), metric_covariance(skew, covariance)
    size = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        scatter / np.outer(size, size), expected / np.outer(size, size), atol=0.05
    )


def test_parameters_scatter_as_their_errors_say(skew):
    covariance = some_covariance(1e-4, seed=1)
    scatter = np.std([cell_parameters(c) for c in measured(skew, covariance, 20_000)], axis=0)
    symmetry = near_symmetries(skew @ skew.T, 1e-5)[-1]
    found = parameter_errors(skew, symmetry, covariance, floor=0)
    np.testing.assert_allclose(scatter, found, rtol=0.03)


def test_parameters_scatter_by_the_floor_too(skew):
    """Relative metrics err by it, each on its own, on top of what the bands err by."""
    rng, covariance = np.random.default_rng(2), some_covariance(FLOOR / 2, seed=1)
    lengths = np.linalg.norm(skew, axis=1)
    parameters = []
    for cell in measured(skew, covariance, 20_000):
        error = np.triu(rng.normal(0, FLOOR, (3, 3)))
        error = error + np.triu(error, 1).T
        metric = cell @ cell.T + error * np.outer(lengths, lengths)
        parameters.append(cell_parameters(np.linalg.cholesky(metric)))
    symmetry = near_symmetries(skew @ skew.T, 1e-5)[-1]
    expected = parameter_errors(skew, symmetry, covariance)
    np.testing.assert_allclose(np.std(parameters, axis=0), expected, rtol=0.03)
    assert (expected > 1.05 * parameter_errors(skew, symmetry, covariance, floor=0)).all()


def test_cells_of_many_bands_have_an_error_too():
    """Of right angles the floor itself, of an edge half of it, of three equal ones their mean."""
    nothing = np.zeros((6, 6))
    orthogonal = near_symmetries(np.diag([9.0, 16, 25]), 1e-5)
    lattice = {s.lattice: s for s in orthogonal}
    right_angles = parameter_errors(np.diag([3.0, 4, 5]), lattice["aP"], nothing)
    np.testing.assert_allclose(right_angles[:3], FLOOR / 2 * np.array([3, 4, 5]), rtol=1e-4)
    np.testing.assert_allclose(right_angles[3:], np.degrees(FLOOR), rtol=1e-4)
    cubic = near_symmetries(4 * np.eye(3), 1e-5)[-1]
    errors = parameter_errors(2 * np.eye(3), cubic, nothing)
    np.testing.assert_allclose(errors[:3], 2 * FLOOR / 2 / np.sqrt(3), rtol=1e-4)
    np.testing.assert_array_equal(errors[3:], 0)


def test_what_a_symmetry_fixes_has_no_error():
    """Of a tetragonal cell, a is the mean of two edges, and c the third one."""
    cell, covariance = np.diag([3.0, 3.0, 5.0]), some_covariance(1e-3)
    symmetry = near_symmetries(cell @ cell.T, 1e-5)[-1]
    errors = parameter_errors(cell, symmetry, covariance, floor=0)
    mean = np.array([0.5, 0.5, 0, 0, 0, 0])
    expected = 3 * np.sqrt(mean @ covariance @ mean)
    np.testing.assert_allclose(errors[:2], expected, rtol=1e-4)
    assert errors[2] == pytest.approx(5 * np.sqrt(covariance[2, 2]), rel=1e-4)
    np.testing.assert_allclose(errors[3:], 0, atol=1e-6)


def test_errors_do_not_depend_on_the_frame_of_an_isotropic_strain(skew, random_rotation):
    """A change of scale alone: lengths err as it does, and angles do not."""
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = 1e-6
    lengths = np.linalg.norm(skew, axis=1)
    for seed in range(3):
        turned = skew @ random_rotation(np.random.default_rng(seed))
        symmetry = near_symmetries(turned @ turned.T, 1e-5)[-1]
        errors = parameter_errors(turned, symmetry, covariance, floor=0)
        np.testing.assert_allclose(errors[:3], 1e-3 * lengths, rtol=1e-4)
        np.testing.assert_allclose(errors[3:], 0, atol=1e-7)


@pytest.mark.parametrize(
    "parameters", [(3, 4, 5, 90, 90, 90), (4, 4, 6.1, 90, 90, 120), (3, 4, 5, 75, 81, 97)]
)
def test_parameters_of_a_cell(parameters, conventional_axes, random_rotation):
    cell = conventional_axes(*parameters) @ random_rotation(np.random.default_rng(0))
    np.testing.assert_allclose(cell_parameters(cell), parameters, rtol=1e-9)


@pytest.mark.parametrize("centring", "PIF")
@pytest.mark.parametrize(("stretch", "family"), [(1.0, "c"), (1.02, "t")])
def test_cubic_and_slightly_tetragonal_cells_are_told_apart(
    centring, stretch, family, primitive_cell, random_rotation
):
    cell = primitive_cell(centring, 4, 4, 4 * stretch)
    cell = reduced_cell(cell @ random_rotation(np.random.default_rng(3)))
    covariance = some_covariance(5e-4)
    found = [
        compare_symmetries(reduced_cell(c), covariance)[0].symmetry.lattice
        for c in measured(cell, covariance, 25, seed=8)
    ]
    expected = {"c": "c" + centring, "t": "tP" if centring == "P" else "tI"}[family]
    assert found.count(expected) >= 24


def test_a_distortion_within_the_error_is_none(primitive_cell):
    """The same cell is cubic if poorly known, and tetragonal if well."""
    cell = reduced_cell(primitive_cell("P", 4, 4, 4.08))
    assert compare_symmetries(cell, some_covariance(0.03))[0].symmetry.lattice == "cP"
    assert compare_symmetries(cell, some_covariance(1e-4))[0].symmetry.lattice == "tP"


def test_probabilities_are_of_all_symmetries(skew, primitive_cell):
    for cell in (skew, reduced_cell(primitive_cell("F", 4, 4.02, 4.05))):
        hypotheses = compare_symmetries(cell, some_covariance(2e-3))
        each = [h.probability for h in hypotheses]
        assert sum(each) == pytest.approx(1)
        assert each == sorted(each, reverse=True)
        of_lattices = lattice_probabilities(hypotheses)
        assert of_lattices.shape == (14,) and of_lattices.sum() == pytest.approx(1)
        for lattice, value in zip(BRAVAIS_LATTICES, of_lattices, strict=True):
            mine = [h.probability for h in hypotheses if h.symmetry.lattice == lattice]
            assert value == pytest.approx(sum(mine))
    assert len(compare_symmetries(skew, some_covariance(1e-3))) == 1


def test_probabilities_do_not_depend_on_frame_and_unit(primitive_cell, random_rotation):
    cell = reduced_cell(primitive_cell("I", 4, 4.05, 4.1))
    covariance = 1e-6 * np.diag([1, 1, 1, 0.5, 0.5, 0.5])
    expected = lattice_probabilities(compare_symmetries(cell, covariance))
    assert (expected > 1e-3).sum() > 1
    for other in (cell @ random_rotation(np.random.default_rng(1)), 10 * cell):
        found = lattice_probabilities(compare_symmetries(other, covariance))
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_misfit_of_the_true_symmetry_is_its_number_of_constraints(primitive_cell):
    """Of a squared deviation in standard errors, which are made much larger than the floor."""
    cell = reduced_cell(primitive_cell("P", 4, 4, 4))
    covariance = some_covariance(3 * FLOOR, seed=2)
    misfits = []
    for c in measured(cell, covariance, 300, seed=5):
        cubic = [h for h in compare_symmetries(c, covariance) if h.symmetry.lattice == "cP"]
        misfits += [h.misfit for h in cubic]
    assert len(misfits) > 290
    assert np.mean(misfits) == pytest.approx(5, abs=0.7)


@pytest.mark.parametrize(
    ("lattice", "parameters"),
    [
        ("cF", (4, 4, 4)),
        ("tI", (4, 4, 6.5)),
        ("hP", (3, 3, 5, 90, 90, 120)),
        ("hR", (4, 4, 7, 90, 90, 120)),
        ("oC", (3.4, 4.6, 5.9)),
        ("mP", (3.4, 4.6, 5.9, 90, 99, 90)),
    ],
)
def test_a_symmetric_cell_has_its_symmetry_exactly(
    lattice, parameters, primitive_cell, random_rotation
):
    rng = np.random.default_rng(9)
    exact = reduced_cell(primitive_cell(lattice[1], *parameters) @ random_rotation(rng))
    full = np.array([*parameters, 90, 90, 90][:6])
    for size in (0, 1e-3):
        cell = strained(exact, rng.normal(0, size, 6))
        symmetry = next(
            s for s in near_symmetries(cell @ cell.T, NEAR)[::-1] if s.lattice == lattice
        )
        made = symmetric_cell(cell, symmetry)
        found = cell_parameters(made)
        np.testing.assert_allclose(found[:3], full[:3], rtol=1e-9 + 4 * size)
        np.testing.assert_allclose(found[3:], full[3:], atol=1e-5 + 300 * size)
        fixed = full[3:] != 99
        np.testing.assert_allclose(found[3:][fixed], full[3:][fixed], atol=1e-5)
        if lattice[0] in "cth":
            assert found[1] == pytest.approx(found[0], rel=1e-9)
        if lattice[0] == "c":
            assert found[2] == pytest.approx(found[0], rel=1e-9)
        # What makes it of vectors of the measured cell is a strain, so that it is not turned.
        indices = np.rint(made @ np.linalg.inv(cell))
        strain = np.linalg.solve(indices @ cell, made)
        np.testing.assert_allclose(strain, strain.T, atol=1e-9)
        np.testing.assert_allclose(strain, np.eye(3), atol=1e-9 + 5 * size)

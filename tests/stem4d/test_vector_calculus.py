# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Derivatives and integrals of vector maps against analytic potentials."""

import numpy as np
import pytest

from emsparse_hs.stem4d import curl, divergence, potential
from emsparse_hs.stem4d.vector_calculus import PERMITTIVITY, fill_missing

STEP = (0.5, 0.4)


def gaussians(shape=(60, 70), particles=((1, 12, 15, 3.0), (-0.7, 26, 3, 2.5), (0.5, 0, 28, 4))):
    """Potential, its field -grad V and the field's divergence; two particles cross the borders."""
    y, x = (STEP[i] * np.indices(shape)[i] for i in (0, 1))
    total, field, charge = np.zeros(shape), np.zeros((*shape, 2)), np.zeros(shape)
    for peak, x0, y0, width in particles:
        square = ((x - x0) ** 2 + (y - y0) ** 2) / width**2
        bump = peak * np.exp(-square / 2)
        total += bump
        field += np.stack([x - x0, y - y0], -1) / width**2 * bump[..., None]
        charge += bump * (2 - square) / width**2
    return total, field, charge


def test_divergence_of_the_field_of_gaussians():
    _, field, charge = gaussians()
    error = np.abs(divergence(field, STEP)[0] - charge) / np.abs(charge).max()
    assert error[2:-2, 2:-2].max() < 1e-3
    assert error.max() < 2e-2


def test_curl_of_a_field_is_zero_and_of_a_vortex_is_positive_from_x_to_y():
    _, field, charge = gaussians()
    assert np.abs(curl(field, STEP)[0]).max() < 0.01 * np.abs(charge).max()
    y, x = np.indices((7, 9)) * np.reshape(STEP, (2, 1, 1))
    np.testing.assert_allclose(curl(np.stack([-y, x], -1), STEP)[0], 2)
    np.testing.assert_allclose(divergence(np.stack([-y, x], -1), STEP)[0], 0, atol=1e-12)
    np.testing.assert_allclose(divergence(np.stack([3 * x, y], -1), STEP)[0], 4)


@pytest.mark.parametrize("derivative", [divergence, curl])
def test_variance_is_that_of_many_repetitions(derivative):
    random = np.random.default_rng(0)
    sigma = random.uniform(0.5, 2, (6, 7, 2))
    sigma[2, 3] = np.nan
    noise = sigma * random.normal(size=(4000, 6, 7, 2))
    claimed = derivative(noise[0], STEP, sigma**2)[1]
    measured = derivative(noise, STEP)[0].var(axis=0)
    np.testing.assert_array_equal(np.isnan(claimed), np.isnan(measured))
    ratio = measured / claimed
    assert np.nanmin(ratio) > 0.87 and np.nanmax(ratio) < 1.13


def test_holes_stay_holes_and_touch_nothing_else():
    _, field, charge = gaussians()
    before = field.copy()
    field[20, 30] = field[0, 5] = np.nan
    result = divergence(field, STEP)[0]
    assert np.isnan(result).sum() == 2
    assert np.nanmax(np.abs(result - charge)) < 2e-2 * np.abs(charge).max()
    whole, holed = potential(before, STEP), potential(field, STEP)
    assert np.isnan(holed).sum() == 2
    assert np.nanmax(np.abs(whole - holed)) < 2e-3 * np.ptp(whole)
    assert np.isnan(field).sum() == 4


def test_filling_is_linear_inside():
    y, x = np.indices((8, 9)).astype(float)
    plane = np.stack([x - 2 * y, 3 * x + y], -1)
    holed = plane.copy()
    holed[3:5, 4] = np.nan
    np.testing.assert_allclose(fill_missing(holed), plane)
    assert fill_missing(plane) is plane
    with pytest.raises(ValueError, match="all are NaN"):
        fill_missing(np.full((4, 5, 2), np.nan))


def test_filling_all_but_a_line():
    holed = np.full((5, 6, 2), np.nan)
    holed[2] = 7
    np.testing.assert_array_equal(fill_missing(holed), 7)


def test_potential_of_a_field_that_goes_on_beyond_the_borders():
    expected, field, _ = gaussians()
    error = potential(field, STEP) - expected
    error -= error.mean()
    assert np.abs(error).max() < 1e-3 * np.ptp(expected)


@pytest.mark.parametrize("shape", [(16, 21), (2, 3), (1, 6)])
def test_potential_of_constant_and_linear_fields(shape):
    y, x = np.indices(shape) * np.reshape(STEP, (2, 1, 1))
    expected = -(2 * x - 3 * y + 0.5 * x**2 + 0.2 * x * y)
    field = np.stack([2 + x + 0.2 * y, -3 + 0.2 * x], -1)
    np.testing.assert_allclose(potential(field, STEP), expected - expected.mean(), atol=1e-9)


def test_potential_of_a_periodic_field():
    shape = (24, 30)
    y, x = (2 * np.pi * np.indices(shape)[i] / shape[i] for i in (0, 1))
    expected = np.cos(2 * x + y) + 0.3 * np.sin(3 * y)
    length = np.multiply(shape, STEP)
    along_x = 2 * np.sin(2 * x + y) * 2 * np.pi / length[1]
    along_y = (np.sin(2 * x + y) - 0.9 * np.cos(3 * y)) * 2 * np.pi / length[0]
    found = potential(np.stack([along_x, along_y], -1), STEP, pad=None)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("pad", ["mirror", None])
def test_highpass_takes_slow_waves(pad):
    _, field, _ = gaussians()
    whole = potential(field, STEP, pad)
    barely, much = (potential(field, STEP, pad, highpass=length) for length in (100.0, 1.0))
    assert np.abs(barely - whole).max() < 0.05 * np.ptp(whole)
    assert np.ptp(much) < 0.2 * np.ptp(whole)


def test_stacks_are_integrated_scan_by_scan():
    _, field, _ = gaussians()
    stack = np.stack([field, 2 * field])
    np.testing.assert_allclose(potential(stack, STEP)[1], 2 * potential(field, STEP))


def test_permittivity():
    assert PERMITTIVITY["angstrom"] == pytest.approx(5.5263e-3, rel=1e-4)
    assert PERMITTIVITY["nm"] == pytest.approx(10 * PERMITTIVITY["angstrom"])


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="Choose 'mirror' or None"):
        potential(np.zeros((4, 5, 2)), STEP, pad="wrap")
    with pytest.raises(ValueError, match="positive length"):
        potential(np.zeros((4, 5, 2)), STEP, highpass=0)


def test_potential_of_cubic_order_is_exact_up_to_the_borders():
    y, x = np.indices((9, 12)) * np.reshape(STEP, (2, 1, 1))
    expected = x**3 - 2 * x**2 * y + 0.5 * y**3
    field = -np.stack([3 * x**2 - 4 * x * y, -2 * x**2 + 1.5 * y**2], -1)
    np.testing.assert_allclose(potential(field, STEP), expected - expected.mean(), atol=1e-9)


def test_highpass_subtracts_the_blur_that_it_states():
    """Of a Gaussian of width a, blurred by b, the width is the root of a^2 + b^2."""
    y, x = (0.25 * (np.indices((160, 160))[i] - 79.5) for i in (0, 1))
    square = x**2 + y**2
    bump = np.exp(-square / 2)
    field = np.stack([x * bump, y * bump], -1)
    for length in (0.3, 1.0):
        blurred = np.exp(-square / 2 / (1 + length**2)) / (1 + length**2)
        found = potential(field, (0.25, 0.25), highpass=length)
        expected = bump - blurred
        np.testing.assert_allclose(found, expected - expected.mean(), atol=4e-4)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The drift of the beam under a specimen that covers a third of the scan."""

import numpy as np
import pytest

from emsparse_hs.stem4d import descan_surface

SHAPE = (60, 75)
Y, X = np.indices(SHAPE)
PLANE = np.stack([0.03 * X - 0.02 * Y + 3, 0.01 * X + 0.05 * Y], -1)
CURVED = PLANE + np.stack([4e-4 * X * Y, 3e-4 * (Y - 20) ** 2 - 2e-4 * X**2], -1)

SPECIMENS = {
    "corner": (Y < 33) & (X < 40),
    "middle": (np.abs(Y - 30) < 17) & (np.abs(X - 37) < 20),
    "side": X < 22,
}


def scan(surface, area=None, jump=(0.0, 0.0), sigma=0.3, seed=0):
    values = surface + sigma * np.random.default_rng(seed).normal(size=surface.shape)
    if area is not None:
        values[area] += jump
    return values


@pytest.mark.parametrize(("order", "surface"), [(1, PLANE), (2, CURVED)])
@pytest.mark.parametrize("robust", [True, False])
def test_surface_without_noise_is_exact(order, surface, robust):
    np.testing.assert_allclose(descan_surface(surface, order, robust=robust), surface, atol=1e-9)


@pytest.mark.parametrize("area", SPECIMENS)
@pytest.mark.parametrize(
    ("order", "surface", "jump"),
    [
        (1, PLANE, (2.0, 0.0)),
        (1, PLANE, (20.0, 30.0)),
        (2, CURVED, (0.0, -6.0)),
        (2, CURVED, (20.0, 30.0)),
    ],
)
def test_specimen_does_not_draw_the_surface(area, jump, order, surface):
    """Jumps from 7 (plane) or 20 times the noise on; the specimen covers 29 to 30 %."""
    values = scan(surface, SPECIMENS[area], jump)
    error = np.abs(descan_surface(values, order) - surface).max()
    assert error < (0.09 if order == 1 else 0.2)
    plain = np.abs(descan_surface(values, order, robust=False) - surface).max()
    assert plain > 3 * error


def test_robust_fit_costs_little_where_nothing_is_there():
    errors = {True: [], False: []}
    for seed in range(20):
        values = scan(PLANE, seed=seed)
        for robust, found in errors.items():
            found.append(descan_surface(values, robust=robust) - PLANE)
    assert np.std(errors[True]) < 1.15 * np.std(errors[False])


def test_what_is_masked_or_missing_does_not_count():
    values = scan(PLANE, SPECIMENS["side"], (50.0, 0.0), sigma=0)
    masked = descan_surface(values, keep=~SPECIMENS["side"], robust=False)
    np.testing.assert_allclose(masked, PLANE, atol=1e-9)
    values[SPECIMENS["side"]] = np.nan
    np.testing.assert_allclose(descan_surface(values), PLANE, atol=1e-9)


@pytest.mark.parametrize("order", [1, 2])
def test_line_scan(order):
    x = np.arange(40.0)
    line = np.stack([0.1 * x + 2, -0.3 * x], -1)
    values = line.copy()
    values[:9] += (5, 0)
    np.testing.assert_allclose(descan_surface(values, order), line, atol=1e-9)


def test_deflection_of_zero_and_of_one_value():
    np.testing.assert_array_equal(descan_surface(np.zeros((5, 6, 2))), 0)
    np.testing.assert_allclose(descan_surface(np.full((5, 6, 2), 7.0)), 7)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="Choose 1 for a plane"):
        descan_surface(PLANE, 3)
    with pytest.raises(ValueError, match="2 of the 12 positions"):
        descan_surface(np.zeros((3, 4, 2)), keep=np.arange(12).reshape(3, 4) < 2)
    with pytest.raises(ValueError, match="don't fix a surface"):
        descan_surface(np.zeros((1, 9, 2)), 1)

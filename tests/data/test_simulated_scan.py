# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The simulated scan against electrodynamics and the statistics of counts."""

import dataclasses

import numpy as np
import pytest

from emsparse_hs.data._simulated_scan import simulated_scan
from emsparse_hs.stem4d import centroid, deflection_to_field


@pytest.fixture(scope="module")
def scan():
    return simulated_scan(seed=1, scan_shape=(18, 23), dose=None)


def measured_field(scan):
    deflection = (centroid(scan.data) - scan.detector_centre) * scan.detector_step
    return deflection_to_field(deflection, scan.thickness, scan.beam_energy)


@pytest.mark.parametrize("beam_energy", [80.0, 300.0])
def test_centroid_gives_the_true_field(beam_energy):
    """Ehrenfest's theorem, here limited by float32 (1e-7) and the tails beyond the frame."""
    scan = simulated_scan(1, (18, 23), dose=None, beam_energy=beam_energy, thickness=12.0)
    field = measured_field(scan)
    slope = np.vdot(field, scan.field) / np.vdot(scan.field, scan.field)
    assert slope == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(field, scan.field, atol=1e-6 * np.abs(scan.field).max())


def test_field_is_minus_the_gradient_of_the_potential():
    """The probe of 0.6 nm blurs the field of particles of 4 nm by a few per cent."""
    scan = simulated_scan(2, dose=None)
    gradient = np.stack(np.gradient(scan.potential, scan.scan_step)[::-1], axis=-1)
    expected = -gradient / scan.thickness / 10
    inside = np.s_[1:-1, 1:-1]
    error = np.abs(scan.field[inside] - expected[inside]).max()
    assert error < 0.06 * np.abs(expected).max()


def test_field_has_no_curl():
    scan = simulated_scan(3, dose=None)
    field_x, field_y = np.moveaxis(scan.field, -1, 0)
    slopes = np.gradient(field_x, axis=0), np.gradient(field_y, axis=1)
    curl = (slopes[1] - slopes[0])[1:-1, 1:-1]
    assert np.abs(curl).max() < 0.05 * np.abs(slopes[0]).max()


def test_the_whole_beam_is_in_the_frame(scan):
    assert scan.data.dtype == np.float32
    assert scan.data.shape == (18, 23, 64, 64)
    np.testing.assert_allclose(scan.data.sum((2, 3), dtype=float), 1, atol=1e-6)


def test_counts_are_poisson_around_the_expectation(scan):
    counts = simulated_scan(seed=1, scan_shape=(18, 23), dose=500)
    assert counts.data.dtype == np.uint16
    expected = 500 * scan.data.astype(float)
    chi_squared = ((counts.data - expected) ** 2 / np.maximum(expected, 1e-12))[expected > 0.1]
    assert chi_squared.mean() == pytest.approx(1, abs=0.02)
    np.testing.assert_array_equal(counts.field, scan.field)


@pytest.mark.parametrize(("dose", "dtype"), [(3e4, "u2"), (1e9, "u4"), (1e13, "u8")])
def test_no_dose_is_too_high_for_the_dtype(dose, dtype):
    counts = simulated_scan(scan_shape=(2, 3), dose=dose).data
    assert counts.dtype == dtype
    totals = counts.sum((2, 3), dtype=float)
    np.testing.assert_allclose(totals, dose, rtol=0, atol=6 * np.sqrt(dose) + 1e-6 * dose)


def test_seed_decides_all(scan):
    again = simulated_scan(seed=1, scan_shape=(18, 23), dose=None)
    np.testing.assert_array_equal(again.data, scan.data)
    assert not np.allclose(simulated_scan(2, (18, 23), dose=None).potential, scan.potential)


def test_is_frozen(scan):
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan.thickness = 3


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="dose"):
        simulated_scan(dose=0)
    with pytest.raises(ValueError, match="dose is inf"):
        simulated_scan(dose=np.inf)
    with pytest.raises(ValueError, match="Two positive lengths"):
        simulated_scan(scan_shape=(4, 0))

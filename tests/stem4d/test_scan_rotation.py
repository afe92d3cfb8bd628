# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Rotation between scan and detector, on fields of random atoms whose rotation is known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emsparse_hs.data._simulated_scan import simulated_scan
from emsparse_hs.stem4d import centroid, rotate_vectors, scan_rotation
from emsparse_hs.stem4d.scan_rotation import rotation_matrix


def attraction(seed, shape=(64, 80), count=60, widths=(1.5, 4.0), step=(1.0, 1.0), sign=1):
    """Deflection by positive particles, to which electrons converge; some cross the borders."""
    random = np.random.default_rng(seed)
    y, x = (step[i] * np.indices(shape)[i] for i in (0, 1))
    total = np.zeros((*shape, 2))
    for _ in range(count):
        x0 = random.uniform(-5, x.max() + 5)
        y0 = random.uniform(-5, y.max() + 5)
        width = random.uniform(*widths)
        bump = (
            random.uniform(0.5, 1) / width * np.exp(-(np.hypot(x - x0, y - y0) ** 2) / 2 / width**2)
        )
        total += sign * np.stack([x0 - x, y0 - y], -1) * bump[..., None]
    return total


def on_detector(field, angle, flip, noise=0.0, seed=0):
    """What a detector records from which `angle` and `flip` bring back the field."""
    turned = field @ np.linalg.inv(rotation_matrix(angle, flip)).T
    sigma = noise * np.sqrt(np.mean(field**2))
    return turned + sigma * np.random.default_rng(seed).normal(size=field.shape)


def difference(one, other):
    return (one - other + 180) % 360 - 180


def test_convention_of_rotation():
    right = np.array([1.0, 0.0])
    np.testing.assert_array_equal(rotate_vectors(right, 90), [0, 1])
    np.testing.assert_array_equal(rotate_vectors(right, -180), [-1, 0])
    np.testing.assert_allclose(rotate_vectors(right, 30), [np.sqrt(3) / 2, 0.5])
    # The mirror comes before the rotation.
    np.testing.assert_array_equal(rotate_vectors(np.array([0.0, 1.0]), 90, flip=True), [1, 0])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("angle", [-170.0, -90.0, -33.3, 0.0, 4.5, 90.0, 121.0, 180.0])
def test_without_noise(angle, flip):
    field = attraction(1)
    found = scan_rotation(on_detector(field, angle, flip))
    assert found.flip == flip
    assert abs(difference(found.angle, angle)) < 0.02
    assert -180 <= found.angle <= 180
    assert found.curl_ratio < 1e-3 < 0.1 < found.other_curl_ratio
    back = rotate_vectors(on_detector(field, angle, flip), found.angle, found.flip)
    np.testing.assert_allclose(back, field, atol=1e-3 * np.abs(field).max())


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_error_is_that_of_maximum_likelihood_and_is_claimed(noise):
    """Known noise and known directions of all vectors would give the bound."""
    errors, claims = [], []
    for seed in range(60):
        random = np.random.default_rng(30_000 + seed)
        angle, flip = random.uniform(-180, 180), bool(random.integers(2))
        field = attraction(seed=20_000 + seed)
        found = scan_rotation(on_detector(field, angle, flip, noise, seed))
        assert found.flip == flip
        errors.append(difference(found.angle, angle))
        claims.append(found.sigma)
    rms = np.sqrt(np.mean(np.square(errors)))
    bound = np.degrees(noise / np.sqrt(2 * 64 * 80))
    assert rms < (1.3 if noise < 1 else 1.6) * bound
    assert 0.8 < np.sqrt(np.mean((np.array(errors) / claims) ** 2)) < 1.2


def test_polarity():
    field = on_detector(attraction(3), 20, False, noise=0.3)
    assert abs(difference(scan_rotation(field).angle, 20)) < 1
    assert abs(difference(scan_rotation(field, polarity="positive").angle, 20)) < 1
    assert abs(difference(scan_rotation(field, polarity="negative").angle, 200)) < 1
    assert abs(difference(scan_rotation(-field).angle, 200)) < 1
    assert scan_rotation(field).polarity_significance > 10


def test_flip_may_be_given():
    field = on_detector(attraction(3), 20, True)
    assert scan_rotation(field, flip=True).flip is True
    wrong = scan_rotation(field, flip=False)
    assert wrong.flip is False
    assert wrong.curl_ratio > 100 * wrong.other_curl_ratio


def test_pixels_need_not_be_square():
    field = attraction(4, step=(0.5, 1.0))
    found = scan_rotation(on_detector(field, 50, False), step=(0.5, 1.0))
    assert abs(difference(found.angle, 50)) < 0.05
    assert scan_rotation(on_detector(field, 50, False)).curl_ratio > 100 * found.curl_ratio


def test_holes_and_user_data():
    field = on_detector(attraction(5), 50, False)
    field[10:12, 20] = np.nan
    before = field.copy()
    assert abs(difference(scan_rotation(field).angle, 50)) < 0.1
    np.testing.assert_array_equal(field, before)


def test_a_constant_and_scale_change_nothing():
    field = on_detector(attraction(6), 50, False, 0.3)
    found = scan_rotation(field)
    other = scan_rotation(1e-6 * field)
    assert found.angle == pytest.approx(other.angle, abs=1e-9)
    for constant in (3, 1e3, 1e6):
        shifted = scan_rotation(field + (constant, -constant))
        assert shifted.angle == pytest.approx(found.angle, abs=1e-6)


def test_says_what_is_wrong():
    field = attraction(1, (8, 9))
    with pytest.raises(ValueError, match="flip is 'yes'"):
        scan_rotation(field, flip="yes")
    with pytest.raises(ValueError, match="polarity"):
        scan_rotation(field, polarity="both")
    with pytest.raises(ValueError, match="8 x 8"):
        scan_rotation(field[:5])
    with pytest.raises(ValueError, match="the same everywhere"):
        scan_rotation(np.ones((9, 9, 2)))


@pytest.mark.parametrize("dose", [None, 3000])
@pytest.mark.parametrize("seed", [601, 602, 603])
def test_simulated_scan(seed, dose):
    """Its particles have both signs, so that half a turn is left open."""
    scan = simulated_scan(seed=seed, scan_shape=(40, 48), dose=dose)
    deflection = np.asarray(centroid(scan.data)) - scan.detector_centre
    angle, flip = 40.0 * (seed - 600), seed % 2 == 0
    found = scan_rotation(on_detector(deflection, angle, flip))
    error = (found.angle - angle + 90) % 180 - 90
    assert found.flip == flip
    assert abs(error) < (0.01 if dose is None else 4 * found.sigma)
    assert dose is None or 0.1 < found.sigma < 0.6


def test_significance_of_polarity_is_that_of_chance_in_smooth_fields():
    """A Gaussian random potential has no polarity, however alike neighbours are."""
    random = np.random.default_rng(9)
    found = []
    for _ in range(60):
        potential = gaussian_filter(random.normal(size=(64, 64)), 6, mode="wrap")
        down, across = np.gradient(potential)
        found.append(scan_rotation(np.stack([across, down], -1)).polarity_significance)
    assert np.mean(np.array(found) > 5) < 0.05
    assert np.sqrt(np.mean(np.square(found))) < 2

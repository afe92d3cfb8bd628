# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The angle of the tilt axis, known because images were made with it or turned."""

import numpy as np
import pytest
from scipy.ndimage import rotate, shift

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import Imaging, axis_angle, estimate_axis_angle
from emsparse_hs.tomography.axis_angle import _step

TILTS = np.linspace(-70, 70, 31)


def clouds(angle, shifts=None, slides=None, shape=(40, 52), n_clouds=8, seed=81):
    """Sinogram of clouds in closed form, the axis turned from slices towards detector."""
    rng = np.random.default_rng(seed)
    along, y, z = rng.uniform(-15, 15, n_clouds), *rng.uniform(-12, 12, (2, n_clouds))
    s, t = ((np.arange(n) - (n - 1) / 2)[:, None] for n in shape)
    turn = np.deg2rad(angle)
    images = []
    for a, tilt in enumerate(np.deg2rad(TILTS)):
        across = y * np.cos(tilt) - z * np.sin(tilt)
        s0 = along + (0 if slides is None else slides[a])
        t0 = across + (0 if shifts is None else shifts[a])
        s1 = s0 * np.cos(turn) - t0 * np.sin(turn)
        t1 = s0 * np.sin(turn) + t0 * np.cos(turn)
        images.append(np.exp(-((s - s1) ** 2) / 8) @ np.exp(-((t - t1) ** 2) / 8).T)
    return np.stack(images, axis=1)


@pytest.mark.parametrize("angle", [-5, 0, 3])
def test_finds_the_angle_of_clouds(angle):
    sinogram = clouds(angle)
    assert estimate_axis_angle(sinogram, TILTS) == pytest.approx(angle, abs=0.05)
    rng = np.random.default_rng(82)
    noisy = 7 * (sinogram + rng.normal(0, 0.05, sinogram.shape)) + 300
    assert estimate_axis_angle(noisy, TILTS) == pytest.approx(angle, abs=0.3)


def test_displaced_images_have_an_angle_too():
    rng = np.random.default_rng(83)
    sinogram = clouds(4, *rng.uniform(-1, 1, (2, 31))) * rng.uniform(0.8, 1.2, 31)[:, None]
    assert estimate_axis_angle(sinogram, TILTS) == pytest.approx(4, abs=0.3)
    far = clouds(4, *rng.uniform(-6, 6, (2, 31)), shape=(52, 64))
    assert estimate_axis_angle(far, TILTS) == pytest.approx(4, abs=0.5)


@pytest.mark.parametrize("kind", ["needle", "particles"])
def test_specimens_may_go_on_beyond_the_images(kind):
    series = simulate_tilt_series(kind, 56, 70, TILTS, counts=300, seed=84)
    whole = np.pad(series.images.transpose(2, 0, 1), ((0, 0), (0, 0), (5, 5)))
    # Positive angles of scipy turn the first of both axes towards the second one.
    turned = rotate(whole, -3.0, axes=(0, 2), reshape=False, order=3)[15:-15]
    assert estimate_axis_angle(turned, TILTS) == pytest.approx(-3, abs=0.3)


@pytest.mark.parametrize("angle", [-8, 5])
def test_what_comes_in_from_outside_is_left_out_of_each_alignment(angle):
    series = simulate_tilt_series("particles", 64, 64, TILTS, counts=100, seed=31)
    turned = rotate(series.images.transpose(2, 0, 1), angle, axes=(0, 2), reshape=False, order=3)
    assert estimate_axis_angle(turned[12:-12], TILTS) == pytest.approx(angle, abs=0.35)


@pytest.mark.parametrize("kind", ["clouds", "particles"])
def test_images_that_are_far_off_do_not_lead_astray(kind):
    rng = np.random.default_rng(85)
    series = simulate_tilt_series(kind, 64, 48, TILTS, counts=100, seed=86)
    images = rotate(series.images, -4, axes=(2, 1), reshape=False, order=3, mode="nearest")
    moved = [shift(image, rng.normal(0, 3, 2), order=1, mode="nearest") for image in images]
    sinogram = np.stack(moved).transpose(2, 0, 1)[4:-4]
    assert estimate_axis_angle(sinogram, TILTS) == pytest.approx(4, abs=0.5)


def test_a_rod_tells_by_its_direction():
    s, t = (np.arange(n) - (n - 1) / 2 for n in (40, 52))
    rod = np.exp(-((t - s[:, None] * np.tan(np.deg2rad(2))) ** 2) / 20)
    sinogram = rod[:, None].repeat(31, axis=1)
    assert estimate_axis_angle(sinogram, TILTS) == pytest.approx(2, abs=0.02)
    # Most of it at once.
    assert _step(sinogram, TILTS)[0] == pytest.approx(2, rel=0.05)


def test_large_images_are_made_smaller():
    sinogram = clouds(2).repeat(3, axis=0).repeat(3, axis=2)
    assert estimate_axis_angle(sinogram, TILTS) == pytest.approx(2, abs=0.1)


def test_does_not_tell_what_is_uncertain(monkeypatch):
    sinogram = clouds(4)
    assert estimate_axis_angle(sinogram[15:25], TILTS) == 0
    assert estimate_axis_angle(clouds(14), TILTS) == 0
    noisy = sinogram + np.random.default_rng(85).normal(0, 0.05, sinogram.shape)
    assert estimate_axis_angle(noisy, TILTS) != 0
    monkeypatch.setattr(axis_angle, "_LARGEST_ERROR", 0.01)
    assert estimate_axis_angle(noisy, TILTS) == 0


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="Three tilts"):
        estimate_axis_angle(clouds(0)[:, :2], TILTS[:2])
    sinogram = clouds(0)
    sinogram[:, 4] = 0
    with pytest.raises(ValueError, match="is empty"):
        estimate_axis_angle(sinogram, TILTS)


def test_images_of_a_turned_axis():
    rng = np.random.default_rng(86)
    slides = rng.uniform(-1, 1, 31)
    ideal = Imaging.ideal(31)
    imaging = Imaging(ideal.shifts, slides, ideal.gains, ideal.backgrounds, 4.0)
    straight, measured = clouds(0), clouds(4, slides=slides)
    np.testing.assert_allclose(imaging.imaged(straight), measured, atol=0.01)
    np.testing.assert_allclose(imaging.corrected(measured), straight, atol=0.01)
    assert imaging.between(TILTS, TILTS[3:5]).axis_angle == 4
    # Some slices are turned about the middle of all of them.
    part = imaging.imaged(straight[8:30], middle=19.5 - 8)
    np.testing.assert_allclose(part[4:-4], measured[12:26], atol=0.01)


def test_scipy_turns_in_the_same_direction():
    imaging = Imaging(np.zeros(31), np.zeros(31), np.ones(31), np.zeros(31), 5.0)
    straight = clouds(0)
    expected = rotate(straight, 5.0, axes=(0, 2), reshape=False, order=3, mode="nearest")
    np.testing.assert_allclose(imaging.imaged(straight), expected, atol=1e-6)

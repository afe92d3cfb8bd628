# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Weighted back-projection and SIRT against what is known of them."""

import numpy as np
import pytest

from emsparse_hs.tomography import ParallelBeam, reconstruct_sirt, reconstruct_wbp


def relative_error(volume, truth):
    return np.linalg.norm(volume - truth) / np.linalg.norm(truth)


def cloud(tilts, size=49, width=4.0, z=5.0, y=-7.0):
    """Sinogram and slice of a Gaussian cloud, exact (the tilt axis is in the middle)."""
    t = np.arange(size) - (size - 1) / 2
    centres = y * np.cos(np.deg2rad(tilts)) - z * np.sin(np.deg2rad(tilts))
    sinogram = np.sqrt(2 * np.pi) * width * np.exp(-((t - centres[:, None]) ** 2) / 2 / width**2)
    image = np.exp(-((t[:, None] - z) ** 2 + (t - y) ** 2) / 2 / width**2)
    # Corners are seen by a part of the tilts.
    return sinogram[None], image[None], np.hypot(t, t[:, None]) < size / 2


@pytest.mark.parametrize("window", ["ramp", "hann", "cosine"])
@pytest.mark.parametrize("order", [1, -1])
def test_back_projection_inverts_many_tilts_without_noise(window, order):
    tilts = np.linspace(-90, 90, 121)[:-1][::order]
    sinogram, image, inside = cloud(tilts)
    volume = reconstruct_wbp(sinogram, ParallelBeam(tilts, 49), window)
    assert volume.dtype == np.float32
    assert relative_error(volume * inside, image * inside) < 0.04
    assert volume.max() == pytest.approx(1, abs=0.05)


def test_tilts_far_apart_weigh_more():
    tilts = np.concatenate([np.linspace(-90, 0, 60), np.linspace(6, 84, 14)])
    sinogram, image, inside = cloud(tilts)
    volume = reconstruct_wbp(sinogram, ParallelBeam(tilts, 49))
    assert relative_error(volume * inside, image * inside) < 0.06


def test_sirt_equals_its_slow_twin():
    rng = np.random.default_rng(62)
    operator = ParallelBeam([-60, -20, 5, 50], 9, (7, 8), [0.2, 0, -1, 3])
    sinogram = rng.random((3, 4, 9))
    unit = np.eye(56).reshape(-1, 7, 8)
    matrix = operator.forward(unit).reshape(56, -1).T.astype(float)
    rows, columns = matrix.sum(1), matrix.sum(0)
    rows, columns = (
        np.where(each > 1e-3, 1 / np.maximum(each, 1e-3), 0) for each in (rows, columns)
    )
    expected = np.zeros((56, 3))
    data = sinogram.reshape(3, -1).T
    for _ in range(7):
        step = columns[:, None] * (matrix.T @ (rows[:, None] * (data - matrix @ expected)))
        expected = np.clip(expected + step, 0, 0.05)
    seen = []
    found = reconstruct_sirt(sinogram, operator, 7, bounds=(0, 0.05), callback=seen.append)
    np.testing.assert_allclose(found.reshape(3, -1).T, expected, atol=1e-6)
    assert seen == list(range(1, 8))
    begun = reconstruct_sirt(sinogram, operator, 3, bounds=(0, 0.05))
    continued = reconstruct_sirt(sinogram, operator, 4, bounds=(0, 0.05), start=begun)
    np.testing.assert_allclose(continued, found, atol=1e-6)


def test_say_what_is_wrong():
    operator = ParallelBeam([0, 10], 8)
    sinogram = np.ones((1, 2, 8))
    with pytest.raises(ValueError, match="window 'hamming'"):
        reconstruct_wbp(sinogram, operator, "hamming")
    with pytest.raises(ValueError, match="n_iterations"):
        reconstruct_sirt(sinogram, operator, 0)
    with pytest.raises(ValueError, match="whole number"):
        reconstruct_sirt(sinogram, operator, 2.5)
    with pytest.raises(ValueError, match="3 slices for 1"):
        reconstruct_sirt(sinogram, operator, start=np.ones((3, 8, 8)))
    with pytest.raises(ValueError, match="a lower and an upper one"):
        reconstruct_sirt(sinogram, operator, bounds=(0,))
    with pytest.raises(ValueError, match="bounds"):
        reconstruct_sirt(sinogram, operator, bounds=(1, 0))
    with pytest.raises(ValueError, match="2 projected values are NaN"):
        reconstruct_wbp(np.where(np.arange(8) > 6, np.nan, sinogram), operator)
    with pytest.raises(ValueError, match="volume has shape"):
        reconstruct_sirt(sinogram, operator, start=np.ones((8, 8)))

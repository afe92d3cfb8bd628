# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The noise estimate on images whose noise is known."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import counting_precision, default_weight, estimate_noise


@pytest.mark.parametrize("sigma", [0.1, 30.0])
def test_finds_white_noise_on_slopes_and_edges(sigma):
    rng = np.random.default_rng(10)
    y, x = np.mgrid[:90, :70]
    image = 200 * sigma * (y > 40) + 3 * sigma * x
    images = image + rng.normal(0, sigma, (4, 90, 70))
    assert estimate_noise(images) == pytest.approx(sigma, rel=0.05)


@pytest.mark.parametrize("kind", ["particles", "needle"])
@pytest.mark.parametrize("seed", [11, 12])
def test_finds_counting_noise(kind, seed):
    series = simulate_tilt_series(kind, seed=seed)
    true = np.std(series.images - series.clean_images)
    assert estimate_noise(series.images) == pytest.approx(true, rel=0.1)


def test_follows_the_units_and_the_dtype():
    counts = np.random.default_rng(13).poisson(50, (3, 40, 30)).astype(np.uint16)
    sigma = estimate_noise(counts)
    assert estimate_noise(counts * 8.0) == pytest.approx(8 * sigma)
    assert estimate_noise(np.zeros((5, 5))) == 0


@pytest.mark.parametrize("mean", [1.0, 3.0, 10.0])
def test_finds_the_noise_of_few_counts(mean):
    counts = np.random.default_rng(14).poisson(mean, (4, 90, 80))
    assert estimate_noise(counts) == pytest.approx(np.sqrt(mean), rel=0.08)


def test_interpolation_hides_noise_as_documented():
    """Of the mean of two neighbours the second difference is (1, -1, -1, 1) / 2, not (1, -2, 1)."""
    noise = np.random.default_rng(15).normal(0, 1, (4, 90, 80))
    shifted = (noise + np.roll(noise, 1, axis=-1)) / 2
    assert estimate_noise(shifted) == pytest.approx(np.sqrt(6 * 1) / 6, rel=0.05)
    assert shifted.std() == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_weight_is_noise_of_a_back_projected_voxel():
    assert default_weight(3.0, 25) == 15


@pytest.mark.parametrize("images", [np.zeros((5, 2)), np.zeros(9)])
def test_says_what_is_wrong(images):
    with pytest.raises(ValueError, match="3 x 3"):
        estimate_noise(images)
    with pytest.raises(ValueError, match="NaN"):
        estimate_noise(np.full((5, 5), np.nan))


@pytest.mark.parametrize("gain, readout", [(1.0, 0.0), (30.0, 50.0)])
def test_precision_of_counts_follows_their_variance(gain, readout):
    rng = np.random.default_rng(27)
    mean = np.broadcast_to(5 + 60 * np.exp(-((np.arange(80) - 40) ** 2) / 300), (30, 15, 80))
    counted = gain * rng.poisson(mean) + rng.normal(0, readout, mean.shape)
    precision = counting_precision(counted)
    variance = gain**2 * mean + readout**2
    expected = variance.mean() / variance
    np.testing.assert_allclose(precision.mean((0, 1)), expected[0, 0], rtol=0.2)
    assert precision.dtype == np.float32
    np.testing.assert_allclose(counting_precision(counted * 1e3), precision, rtol=1e-3)


def test_precision_of_white_noise_and_of_none_is_even():
    noise = np.random.default_rng(28).normal(100, 3, (20, 9, 40))
    np.testing.assert_allclose(counting_precision(noise), 1, atol=0.1)
    np.testing.assert_array_equal(counting_precision(np.zeros((2, 3, 8))), 1)

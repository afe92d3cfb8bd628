# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Templates and rims at known places between the pixels, and their standard deviations."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.special import erfc

from emsparse_hs.stem4d import match_edge, match_template, mean_template
from emsparse_hs.stem4d._frames import fill_masked

METHODS = [match_template, match_edge]


def template(shape=(64, 64)):
    y, x = np.indices(shape)
    distance = np.hypot(x - shape[1] / 2, y - shape[0] / 2)
    return 0.5 * erfc((distance - 12) / (np.sqrt(2) * 0.7))


def rms(values):
    return np.sqrt(np.mean(np.square(values)))


@pytest.mark.parametrize("match", METHODS)
def test_smooth_patterns_are_found_exactly(match):
    y, x = np.indices((48, 64))
    places = np.array([[30.0, 22.0], [31.3, 20.9], [18.25, 30.5]])
    frames = [1e4 * np.exp(-((x - a) ** 2 + (y - b) ** 2) / 12) for a, b in places]
    found, _ = match(frames, frames[0])
    np.testing.assert_allclose(found, places, atol=5e-3)


def test_place_is_that_of_the_highest_correlation(discs):
    """Against a search on a fine grid of shifted templates."""
    frames, _ = discs(300, n=3)
    smooth = gaussian_filter(template(), 1)
    found, _ = match_template(frames, smooth)
    fy, fx = np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64), indexing="ij")
    spectrum = np.fft.fft2(smooth)
    for frame, place in zip(frames, found, strict=True):
        grid = [(dx, dy) for dx in np.arange(-4, 5) / 50 for dy in np.arange(-4, 5) / 50]
        sums = []
        for dx, dy in grid:
            shift = place + (dx, dy) - 32
            wave = np.exp(-2j * np.pi * (fx * shift[0] + fy * shift[1]))
            sums.append((frame * np.fft.ifft2(spectrum * wave).real).sum())
        assert grid[int(np.argmax(sums))] == (0, 0)


@pytest.mark.parametrize("match", METHODS)
@pytest.mark.parametrize("dose", [300, 3000, 300_000])
def test_sigma_is_the_scatter_of_even_discs(match, dose, discs):
    frames, places = discs(301, n=300, dose=dose)
    found, sigma = match(frames, template())
    assert 0.9 < rms((found - places) / sigma) < 1.15


def test_rims_mind_uneven_intensity_less(discs):
    frames, places = discs(302, contrast=True)
    errors = [rms(match(frames, template())[0] - places) for match in METHODS]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("match", METHODS)
@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "f4", ">f8"])
def test_any_dtype_and_layout(match, dtype, discs):
    frames, _ = discs(303, n=4, shape=(48, 64))
    expected = match(frames, template((48, 64)))
    found = match(frames.astype(dtype).reshape(2, 2, 48, 64), template((48, 64)))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.reshape(-1, 2), other, rtol=1e-6)


@pytest.mark.parametrize("match", METHODS)
def test_dead_pixels_are_filled(match, discs):
    frames, places = discs(304, n=32, dose=30_000)
    mask = np.ones((64, 64), bool)
    mask[[20, 40, 44], [33, 25, 32]] = False
    spoilt = np.where(mask, frames, np.nan)
    found, sigma = match(spoilt, template(), mask)
    assert np.isfinite(sigma).all()
    assert rms(found - places) < 1.5 * rms(match(frames, template())[0] - places)


@pytest.mark.parametrize("match", METHODS)
def test_bad_frames_are_nan_and_input_is_untouched(match, discs):
    frames = discs(305, n=4)[0].astype(float)
    frames[1] = 0
    frames[2, 3, 3] = np.nan
    before = frames.copy()
    found, sigma = match(frames, template())
    np.testing.assert_array_equal(np.isnan(found[:, 0]), [False, True, True, False])
    np.testing.assert_array_equal(np.isnan(sigma[:, 1]), [False, True, True, False])
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("match", METHODS)
def test_a_disc_at_the_frames_edge_does_not_come_back_at_the_other(match, discs):
    frames, places = discs(306, n=16, middle=(6.0, 32.0), dose=100_000)
    found, _ = match(frames, template())
    assert np.abs(found - places).max() < 3


@pytest.mark.parametrize("match", METHODS)
def test_says_what_is_wrong(match, discs):
    frames, _ = discs(307, n=2)
    with pytest.raises(ValueError, match="reference pattern has shape"):
        match(frames, template((48, 64)))
    for bad in (np.zeros((64, 64)), np.full((64, 64), np.nan)):
        with pytest.raises(ValueError, match="empty, even, or has NaN"):
            match(frames, bad)
    with pytest.raises(ValueError, match="electrons a count"):
        match(frames, template(), dose_per_count=-1)
    if match is match_edge:
        with pytest.raises(ValueError, match="smoothing"):
            match(frames, template(), smoothing=0)


@pytest.mark.parametrize("match", METHODS)
def test_a_level_that_is_everywhere_pulls_nothing(match, discs):
    """Of about the disc's own intensity, in a frame that is not square about it."""
    frames, places = discs(308, n=200, dose=30_000, shape=(48, 64), spread=2.0, background=60)
    found, sigma = match(frames, 30_000 / (144 * np.pi) * template((48, 64)) + 60)
    assert 0.85 < rms((found - places) / sigma) < 1.2


@pytest.mark.parametrize("dose", [300, 3000])
def test_the_mean_of_the_frames_themselves_serves(discs, dose):
    """Each frame's own noise is in it, and must not be what is found."""
    frames, places = discs(309, n=200, dose=dose)
    found, sigma = match_template(frames, mean_template(frames[:96]))
    error = found - places
    error -= error.mean(0)
    assert 0.85 < rms(error / sigma) < 1.15


def test_bad_frames_are_not_in_the_mean(discs):
    frames = discs(310, n=8)[0].astype(float)
    spoilt = frames.copy()
    spoilt[2, 30, 30] = np.nan
    expected = mean_template(np.delete(frames, 2, axis=0))
    np.testing.assert_array_equal(mean_template(spoilt), expected)
    mask = np.ones((64, 64), bool)
    mask[30, 30] = False
    np.testing.assert_allclose(
        mean_template(spoilt, mask)[mask], mean_template(frames, mask)[mask], rtol=1e-12
    )


def test_masked_pixels_take_what_is_around_them_however_far():
    random = np.random.default_rng(0)
    keep = np.ones((40, 50), bool)
    keep[5:30, 10:40] = False
    filled = fill_masked(np.where(keep, 7.0, 1e9)[None] + 0 * random.random((2, 1, 1)), keep)
    np.testing.assert_allclose(filled, 7)

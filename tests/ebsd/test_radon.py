# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The Radon transform against slow obvious twins, and on patterns whose transform is known."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from emsparse_hs.ebsd import _radon_kernels
from emsparse_hs.ebsd.geometry import normals_from_angles, pixel_directions
from emsparse_hs.ebsd.radon import (
    CLIP,
    centres_in_pixels,
    normalise_patterns,
    radon_angles,
    radon_transform,
)

SHAPE = (22, 31)
CENTRE = (0.42, 0.3, 0.6)


def sum_along_line(image, centre, azimuth, elevation):
    """By definition: linear interpolation where the line meets each column, or each row."""
    height, width = image.shape
    cosine, sine = np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth))
    distance = np.tan(np.radians(elevation)) * centre[2]
    if abs(sine) >= abs(cosine):
        x = np.arange(width, dtype=float)
        y = centre[1] + (cosine * (x - centre[0]) - distance) / sine
    else:
        y = np.arange(height, dtype=float)
        x = centre[0] + (distance + sine * (y - centre[1])) / cosine
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return map_coordinates(image, [y[inside], x[inside]], order=1, mode="nearest").sum()


def test_sums_equal_their_definition():
    images = np.random.default_rng(0).random((*SHAPE, 3)).astype(np.float32)
    azimuths, elevations = np.arange(0.3, 180, 7.1), np.arange(-50.2, 51, 4.7)
    centre = centres_in_pixels(CENTRE, (1, *SHAPE))[0]
    sums = np.empty((len(azimuths), len(elevations), 3), np.float32)
    phi, rho = np.radians(azimuths), np.radians(elevations)
    _radon_kernels.radon_sums(images, centre, np.cos(phi), np.sin(phi), np.tan(rho), sums)
    expected = [
        [[sum_along_line(image, centre, a, e) for image in np.moveaxis(images, -1, 0)]
         for e in elevations]
        for a in azimuths
    ]  # fmt: skip
    np.testing.assert_allclose(sums, expected, atol=1e-3)


def test_scores_equal_their_definition():
    rng = np.random.default_rng(1)
    sums = rng.normal(size=(3, 17)).astype(np.float32)
    counts = rng.integers(0, 9, (3, 17)).astype(np.float32)
    half_bins, margin, fewest = (1, 3), 2, 3
    expected = np.full(sums.shape, -np.inf)
    for i, j in np.ndindex(sums.shape):
        for half in half_bins:
            parts = [
                slice(max(j - half, 0), j + half + 1),
                slice(max(j - half - margin, 0), max(j - half, 0)),
                slice(j + half + 1, j + half + 1 + margin),
            ]
            n = [counts[i, part].sum() for part in parts]
            if min(counts[i, j], n[1], n[2]) < fewest:
                expected[i, j] = max(expected[i, j], 0)
                continue
            mean = [sums[i, part].sum() / m for part, m in zip(parts, n, strict=True)]
            sides = [(mean[0] - mean[k]) / np.sqrt(1 / n[0] + 1 / n[k]) for k in (1, 2)]
            expected[i, j] = max(expected[i, j], min(sides))
    scores, weights = np.empty_like(sums), np.empty((3, 2, 4, 17), np.float32)
    _radon_kernels.score_weights(counts, np.array(half_bins), margin, fewest, weights)
    _radon_kernels.band_scores(sums, weights, np.array(half_bins), margin, scores)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert (scores > 0).any() and (scores < 0).any() and (scores == 0).any()


def test_peaks_go_on_across_the_end_of_the_azimuths():
    scores = np.ones((5, 7), np.float32)
    scores[0, 1], scores[-1, -1] = 2, 3
    scores[-1, -2] = 2.5
    peaks = np.empty(scores.shape, bool)
    _radon_kernels.is_peak(scores, peaks)
    # Azimuth 0 at elevation rho borders on azimuth 180 at -rho.
    assert not peaks[0, 1]
    assert peaks[-1, -1]


def test_a_band_is_a_bright_interval_of_its_width():
    """A narrow view, in which great circles near a band's middle hardly leave it."""
    shape, centre = (60, 70), (0.5, 0.5, 2.5)
    directions = pixel_directions(shape, centre)
    normal = normals_from_angles(40.0, 1.0)
    pattern = 0.0 + (np.abs(directions @ normal) < np.sin(np.radians(2.0)))
    azimuths, elevations = np.array([40.0]), np.arange(-8, 9.01, 0.25)
    profile = radon_transform(pattern[None], centre, azimuths, elevations)[0, 0]
    bright = elevations[profile > np.nanmax(profile) / 2]
    assert bright.min() == pytest.approx(1.0 - 2.0, abs=0.3)
    assert bright.max() == pytest.approx(1.0 + 2.0, abs=0.3)


def test_transform_of_what_does_not_depend_on_brightness_contrast_and_dtype():
    patterns = np.random.default_rng(2).integers(0, 200, (3, *SHAPE)).astype(np.uint8)
    angles = radon_angles(SHAPE, CENTRE, 6)
    reference = radon_transform(patterns, CENTRE, *angles)
    assert np.isfinite(reference).any()
    for other in (patterns.astype("i4") * 1000 - 7, patterns * 1e-30, patterns.astype("f4")):
        np.testing.assert_allclose(radon_transform(other, CENTRE, *angles), reference, atol=1e-4)


def test_a_smooth_background_leaves_little():
    directions = pixel_directions((60, 60), (0.42, 0.21, 0.5))
    noise = np.random.default_rng(3).normal(size=(1, 60, 60))
    plain = normalise_patterns(noise)[0]
    with_background = normalise_patterns(noise + 25 * directions[..., 2] ** 2)[0]
    assert np.corrcoef(plain.ravel(), with_background.ravel())[0, 1] > 0.98
    # The rim, where a mean over the neighbourhood is one-sided, is as good.
    assert np.corrcoef(plain[0, 0], with_background[0, 0])[0, 1] > 0.98


def test_masked_pixels_do_not_count():
    patterns = np.random.default_rng(4).random((2, *SHAPE))
    mask = np.hypot(*(np.indices(SHAPE) - np.array([[[10.5]], [[15]]]))) > 10
    angles = radon_angles(SHAPE, CENTRE, 5)
    spoilt = np.where(mask, 1e6, patterns)
    one, other = (radon_transform(p, CENTRE, *angles, mask) for p in (patterns, spoilt))
    np.testing.assert_array_equal(one, other)
    assert np.isnan(one).sum() > np.isnan(radon_transform(patterns, CENTRE, *angles)).sum()
    images, valid, _ = normalise_patterns(patterns, mask)
    assert (images[:, mask] == 0).all() and (valid == ~mask).all()
    np.testing.assert_allclose(images[:, valid].mean(1), 0, atol=0.05)


def test_each_pattern_has_its_own_centre():
    patterns = np.random.default_rng(5).random((2, *SHAPE))
    centres = np.array([CENTRE, (0.5, 0.4, 0.7)])
    angles = radon_angles(SHAPE, centres, 5)
    both = radon_transform(patterns, centres, *angles)
    for i in range(2):
        one = radon_transform(patterns[i : i + 1], centres[i], *angles)[0]
        np.testing.assert_array_equal(both[i], one)


def test_useless_patterns_are_nan_and_input_is_untouched():
    patterns = np.random.default_rng(6).random((4, *SHAPE))
    patterns[0], patterns[1], patterns[2] = 0, 7, np.nan
    before = patterns.copy()
    result = radon_transform(patterns, CENTRE, *radon_angles(SHAPE, CENTRE, 5))
    assert np.isnan(result[:3]).all() and np.isfinite(result[3]).any()
    np.testing.assert_array_equal(patterns, before)


def test_pixels_that_are_not_finite_are_masked_in_their_own_pattern():
    patterns = np.random.default_rng(7).random((3, *SHAPE))
    mask = np.zeros(SHAPE, bool)
    mask[3, 4] = mask[10:12] = True
    spoilt = patterns.copy()
    spoilt[1, mask] = np.nan
    angles = radon_angles(SHAPE, CENTRE, 5)
    result = radon_transform(spoilt, CENTRE, *angles)
    np.testing.assert_array_equal(result[::2], radon_transform(patterns[::2], CENTRE, *angles))
    np.testing.assert_array_equal(result[1], radon_transform(patterns, CENTRE, *angles, mask)[1])


def test_angles_reach_the_farthest_corner():
    azimuths, elevations = radon_angles(SHAPE, CENTRE, 2.0)
    corner = np.degrees(np.arccos(pixel_directions(SHAPE, CENTRE)[..., 2].min()))
    np.testing.assert_allclose(azimuths, np.arange(0, 180, 2))
    np.testing.assert_allclose(elevations, -elevations[::-1])
    assert elevations[-2] < corner <= elevations[-1]


def test_angles_reach_the_farthest_corner_of_any_pattern():
    shape, centres = (60, 80), np.array([(0.5, 0.3, 0.6), (0.75, 0.2, 0.5), (0.45, 0.5, 0.7)])
    corner = np.degrees(np.arccos(pixel_directions(shape, centres)[..., 2].min()))
    assert corner == pytest.approx(68.49, abs=0.01)
    for step in (0.5, 2.0):
        elevations = radon_angles(shape, centres, step)[1]
        assert elevations[-2] < corner <= elevations[-1]


def test_images_are_cut():
    pattern = np.random.default_rng(7).normal(size=(1, *SHAPE))
    pattern[0, 5, 5] = 1000
    assert np.abs(normalise_patterns(pattern)[0]).max() <= CLIP


@pytest.mark.parametrize(
    ("patterns", "mask", "error", "message"),
    [
        (np.zeros((2, 9, 9), complex), None, TypeError, "real"),
        (np.zeros((9, 9)), None, ValueError, "have shape"),
        (np.zeros((2, 9, 4)), None, ValueError, "at least 8"),
        (np.zeros((2, 9, 10)), np.zeros((10, 9), bool), ValueError, "mask has shape"),
    ],
)
def test_says_what_is_wrong(patterns, mask, error, message):
    with pytest.raises(error, match=message):
        normalise_patterns(patterns, mask)


def test_says_what_is_wrong_with_a_step():
    with pytest.raises(ValueError, match="step"):
        radon_angles(SHAPE, CENTRE, 0)


def test_centres_may_change_between_patterns():
    """Patterns are summed in runs of one centre: the runs' borders must not matter."""
    patterns = np.random.default_rng(3).random((40, *SHAPE)).astype(np.float32)
    centres = np.repeat([CENTRE, (0.4, 0.35, 0.7), CENTRE], [19, 1, 20], axis=0)
    azimuths, elevations = np.arange(0, 180, 9.0), np.arange(-40, 41, 5.0)
    together = radon_transform(patterns, centres, azimuths, elevations)
    alone = [
        radon_transform(pattern[np.newaxis], centre, azimuths, elevations)[0]
        for pattern, centre in zip(patterns, centres, strict=True)
    ]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)

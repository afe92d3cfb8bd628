# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Bands: known ones recovered, symmetry kept, real nickel against its reflectors."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from emsparse_hs.data._simulated_patterns import simulate_patterns
from emsparse_hs.ebsd import _backfit_kernels, _band_kernels
from emsparse_hs.ebsd.bands import FINAL_SEPARATION, MIN_CONTRAST, _pixels, detect_bands
from emsparse_hs.ebsd.geometry import normals_from_angles, pixel_directions, upward

CENTRE = (0.45, 0.3, 0.6)


def angles_to_nearest(normals, truth):
    """Degrees from each band to the nearest plane, and the first plane of that normal."""
    found = normals[np.isfinite(normals[:, 0])]
    cosines = np.abs(found @ truth.T)
    nearest = cosines.max(1)
    # Higher orders of a plane have the same normal and come after the first.
    first = (cosines > nearest[:, None] - 1e-9).argmax(1)
    return np.degrees(np.arccos(np.clip(nearest, -1, 1))), first


def one_band(normal, half_width, shape, centre, noise=0.3, seed=0):
    """A plateau with sharp edges, seen by pixels of finite size, on white noise."""
    fine = pixel_directions((4 * shape[0], 4 * shape[1]), centre) @ normal
    inside = np.abs(fine) < np.sin(np.radians(half_width))
    pixels = inside.reshape(shape[0], 4, shape[1], 4).mean((1, 3))
    return pixels + np.random.default_rng(seed).normal(0, noise, shape)


@pytest.mark.parametrize("half_width", [0.9, 1.5, 2.6])
@pytest.mark.parametrize(
    ("azimuth", "elevation"), [(0, 3), (37, -14), (90, 8), (145, 21), (178, 0)]
)
def test_a_single_band_is_recovered(azimuth, elevation, half_width):
    normal = normals_from_angles(azimuth, elevation)
    pattern = one_band(normal, half_width, (90, 112), CENTRE)
    bands = detect_bands(pattern[None], CENTRE, 3)
    angle = np.degrees(np.arccos(min(1, abs(bands.normals[0, 0] @ normal))))
    assert angle < 0.15
    assert bands.half_widths[0, 0] == pytest.approx(half_width, abs=0.15)
    assert bands.contrasts[0, 0] > 3 * np.nan_to_num(bands.contrasts[0, 1])


def test_bands_of_simulated_patterns_are_true():
    errors, widths = [], []
    for seed in (10, 11):
        data = simulate_patterns((2, 3), (80, 96), CENTRE, seed=seed)
        bands = detect_bands(data.patterns.reshape(6, 80, 96), CENTRE, 12)
        for i, truth in enumerate(data.normals.reshape(6, -1, 3)):
            error, plane = angles_to_nearest(bands.normals[i], truth)
            errors.append(error)
            found = np.isfinite(bands.half_widths[i])
            ratio = bands.half_widths[i][found] / data.half_widths[plane]
            widths.append(ratio[error < 1])
    errors, widths = np.concatenate(errors), np.concatenate(widths)
    assert len(errors) > 130
    assert (errors < 1).mean() > 0.95
    assert np.median(errors[errors < 1]) < 0.2
    assert np.median(widths) == pytest.approx(1, abs=0.04)


def test_a_quarter_turn_of_the_pattern_turns_the_bands():
    centre, turned_centre = (0.4, 0.3, 0.6), (0.3, 0.6, 0.6)
    data = simulate_patterns((2, 3), (72, 72), centre, seed=1)
    patterns = data.patterns.reshape(6, 72, 72)
    bands = detect_bands(patterns, centre, 6)
    turned = detect_bands(np.rot90(patterns, axes=(1, 2)), turned_centre, 6)
    # Anticlockwise as seen: x becomes y, y becomes -x.
    expected = np.stack(
        [-bands.normals[..., 1], bands.normals[..., 0], bands.normals[..., 2]], axis=-1
    )
    for one, other in zip(expected, turned.normals, strict=True):
        error, partner = angles_to_nearest(one, other)
        assert (error < 0.1).sum() >= 5


def test_bands_are_ranked_unit_vectors_and_apart():
    data = simulate_patterns((1, 3), (80, 96), CENTRE, seed=2)
    bands = detect_bands(data.patterns[0], CENTRE, 10)
    normals, contrasts = bands.normals, bands.contrasts
    assert normals.shape == (3, 10, 3)
    for quantity in bands[1:]:
        assert quantity.shape == (3, 10)
        np.testing.assert_array_equal(np.isfinite(quantity), np.isfinite(contrasts))
    np.testing.assert_array_equal(normals, upward(normals))
    for planes, values in zip(normals, contrasts, strict=True):
        found = np.isfinite(values)
        planes, values = planes[found], values[found]
        assert len(values) >= 9
        np.testing.assert_allclose(np.linalg.norm(planes, axis=-1), 1)
        assert (np.diff(values) <= 0).all() and (values >= MIN_CONTRAST).all()
        cosines = np.abs(planes @ planes.T)[~np.eye(len(values), dtype=bool)]
        assert cosines.max() < np.cos(np.radians(FINAL_SEPARATION))


def test_what_does_not_depend_on_the_other_patterns():
    data = simulate_patterns((1, 4), (60, 72), CENTRE, seed=3)
    patterns = data.patterns[0]
    centres = CENTRE + np.random.default_rng(0).normal(0, 0.02, (4, 3))
    together = detect_bands(patterns, centres, 8)
    for i in range(4):
        alone = detect_bands(patterns[i : i + 1], centres[i], 8)
        for one, other in zip(together, alone, strict=True):
            np.testing.assert_allclose(one[i], other[0], atol=1e-9)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i4", "f4", "f8"])
def test_every_dtype_gives_the_same(dtype):
    data = simulate_patterns((1, 2), (60, 72), CENTRE, seed=4)
    reference = detect_bands(data.patterns[0], CENTRE, 6)
    other = detect_bands(data.patterns[0].astype(dtype), CENTRE, 6)
    for one, two in zip(reference, other, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_useless_patterns_are_nan_and_input_is_untouched():
    patterns = np.random.default_rng(0).random((4, 40, 48)).astype(np.float32)
    patterns[3, 10:14] += 1
    patterns[0], patterns[1], patterns[2] = 0, 7, np.inf
    before = patterns.copy()
    bands = detect_bands(patterns, CENTRE, 5)
    assert all(np.isnan(values[:3]).all() for values in bands)
    assert np.isfinite(bands.contrasts[3]).any()
    np.testing.assert_array_equal(patterns, before)
    assert detect_bands(patterns[:0], CENTRE, 5).normals.shape == (0, 5, 3)


def test_what_lies_in_the_mask_does_not_matter():
    data = simulate_patterns((1, 2), (60, 72), CENTRE, seed=5)
    mask = np.hypot(*(np.indices((60, 72)) - np.array([[[30]], [[36]]]))) > 30
    spoilt = np.where(mask, 255, data.patterns[0])
    one, other = (detect_bands(p, CENTRE, 6, mask) for p in (data.patterns[0], spoilt))
    np.testing.assert_array_equal(one.normals, other.normals)


@pytest.mark.parametrize("own_centres", [False, True])
def test_pixels_that_are_not_finite_are_masked_in_their_own_pattern(own_centres):
    data = simulate_patterns((2, 2), (60, 72), CENTRE, seed=5)
    patterns = data.patterns.reshape(4, 60, 72).astype(np.float32)
    masks = np.zeros(patterns.shape, bool)
    masks[1, 20, 30] = masks[2, :9] = masks[3, 20, 30] = True
    spoilt = np.where(masks, np.float32([np.nan, np.inf, -np.inf, np.nan])[:, None, None], patterns)
    centres = np.tile(CENTRE, (4, 1)) if own_centres else CENTRE
    found = detect_bands(spoilt, centres, 6)
    for i, mask in enumerate(masks):
        expected = detect_bands(patterns[i : i + 1], CENTRE, 6, mask)
        assert np.isfinite(expected.contrasts).sum() > 4
        for values, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(values[i], wanted[0], atol=1e-9)


def in_single_precision(values, directions, softness):
    """As the kernels take them."""
    one_by_one = np.ascontiguousarray(directions.T, np.float32)
    return values.astype(np.float32), one_by_one, softness.astype(np.float32)


def test_the_contrast_equals_its_definition():
    rng = np.random.default_rng(1)
    directions = pixel_directions((30, 40), CENTRE).reshape(-1, 3)
    values = rng.normal(size=len(directions)).astype(np.float32)
    normals = normals_from_angles([30.0], [5.0])
    fitted = np.empty((1, 3))
    margin, limits = np.sin(np.radians(1.5)), np.sin(np.radians([0.5, 4.5]))
    pixels = in_single_precision(values, directions, np.full(len(values), 0.01))
    _band_kernels.fit_bands(*pixels, margin, limits, 4, normals, fitted)
    x = np.abs(directions @ normals[0])
    width = fitted[0, 0]
    inside, beside = values[x <= width], values[(x > width) & (x <= width + margin)]
    error = np.sqrt(inside.var() / (inside.size - 1) + beside.var() / (beside.size - 1))
    assert fitted[0, 2] == pytest.approx((inside.mean() - beside.mean()) / error, rel=1e-4)


@pytest.mark.parametrize("shape", [(40, 48), (60, 72)])
def test_noise_has_about_one_band_a_pattern(shape):
    noise = np.random.default_rng(13).normal(size=(40, *shape))
    numbers = [
        np.isfinite(detect_bands(noise, CENTRE, 12, min_contrast=least).half_widths).sum(1).mean()
        for least in (0, MIN_CONTRAST, 5)
    ]
    assert numbers[0] > 11.5 and numbers[1] < 2 and numbers[2] < 0.2


def test_bands_of_less_contrast_are_left_out_and_no_others():
    data = simulate_patterns((1, 3), (60, 72), CENTRE, seed=12)
    every = detect_bands(data.patterns[0], CENTRE, 12)
    some = detect_bands(data.patterns[0], CENTRE, 12, min_contrast=9)
    for one, other in zip(every, some, strict=True):
        keep = every.contrasts >= 9
        np.testing.assert_array_equal(other[keep], one[keep])
        assert np.isnan(other[~keep]).all()


def test_bands_that_cross_are_fitted_together():
    """Two wide bands meet at 12 degrees: on its own each is drawn to the other."""
    shape, centre = (90, 112), (0.5, 0.5, 0.7)
    truth = normals_from_angles(np.array([60.0, 72.0]), np.array([3.0, -4.0]))
    pattern = sum(one_band(n, 2.0, shape, centre, noise=0) for n in truth)
    pattern = pattern + np.random.default_rng(3).normal(0, 0.3, shape)
    values = (pattern - pattern.mean()).ravel().astype(np.float32)
    directions = pixel_directions(shape, centre).reshape(-1, 3)
    softness = 0.5 * directions[:, 2] ** 1.5 / (centre[2] * shape[0])
    margin, limits = np.sin(np.radians(1.5)), np.sin(np.radians([0.5, 4.5]))
    pixels = (*in_single_precision(values, directions, softness), margin, limits)
    normals, fitted = truth.copy(), np.empty((2, 5))
    _band_kernels.fit_bands(*pixels, 8, normals, fitted)
    apart = angles_to_nearest(normals, truth)[0], abs(np.degrees(fitted[:, 0]) - 2)
    _backfit_kernels.fit_together(*pixels, 4, 2, normals, fitted)
    together = angles_to_nearest(normals, truth)[0], abs(np.degrees(fitted[:, 0]) - 2)
    assert together[0].max() < 0.06 and together[1].max() < 0.06
    assert together[0].sum() < 0.7 * apart[0].sum()
    np.testing.assert_allclose(fitted[:, 1], 1, atol=0.1)


def test_a_band_without_height_stays():
    """Its normal is not determined: a step would go anywhere."""
    directions = pixel_directions((30, 40), CENTRE).reshape(-1, 3)
    values = 1e-8 * np.random.default_rng(2).normal(size=len(directions)).astype(np.float32)
    start = normals_from_angles(np.array([30.0, 110.0]), np.array([5.0, -12.0]))
    normals, fitted = start.copy(), np.empty((2, 3))
    margin, limits = np.sin(np.radians(1.5)), np.sin(np.radians([0.5, 4.5]))
    pixels = in_single_precision(values, directions, np.full(len(values), 0.01))
    _band_kernels.fit_bands(*pixels, margin, limits, 8, normals, fitted)
    np.testing.assert_allclose(normals, start, atol=1e-4)


@pytest.mark.parametrize("distance", [0.25, 0.6])
def test_pixels_are_as_large_as_the_screen_together(distance):
    """Of a pixel, the square of twice half its width is its solid angle."""
    shape, valid = (60, 72), np.ones((60, 72), bool)
    softness = _pixels(shape, np.array([0.45, 0.3, distance]), valid)[1]
    x = (np.array([0, 1]) - 0.45) * shape[1] / shape[0]
    y = np.array([0.3, 0.3 - 1])[:, None]
    # Solid angle of a rectangle from the source point to each of its corners.
    corners = np.arctan(x * y / (distance * np.sqrt(x**2 + y**2 + distance**2)))
    solid_angle = corners[0, 1] - corners[0, 0] - corners[1, 1] + corners[1, 0]
    assert (4 * softness**2).sum() == pytest.approx(solid_angle, rel=1e-3)


@pytest.mark.parametrize(("azimuth", "elevation"), [(20, 45), (100, -50), (160, 38)])
def test_a_band_far_from_the_pattern_centre_is_recovered(azimuth, elevation):
    centre, normal = (0.5, 0.4, 0.3), normals_from_angles(azimuth, elevation)
    pattern = one_band(normal, 2.0, (90, 112), centre)
    bands = detect_bands(pattern[None], centre, 3)
    assert np.degrees(np.arccos(min(1, abs(bands.normals[0, 0] @ normal)))) < 0.2
    assert bands.half_widths[0, 0] == pytest.approx(2.0, abs=0.2)


def test_the_number_of_bands_is_whole():
    with pytest.raises(TypeError, match="n_bands is 2.5"):
        detect_bands(np.zeros((2, 20, 30)), CENTRE, 2.5)


def nickel():
    """Measured patterns without static background, their centres, true normals, half widths."""
    kikuchipy = pytest.importorskip("kikuchipy")
    signal = kikuchipy.data.nickel_ebsd_small()
    signal.remove_static_background(show_progressbar=False)
    families = [(1, 1, 1), (0, 0, 2), (0, 2, 2), (1, 1, 3)]
    planes = [
        h
        for h in product(range(-3, 4), repeat=3)
        if h > (0, 0, 0) and tuple(sorted(map(abs, h))) in families
    ]
    g = np.linalg.norm(planes, axis=1)
    to_crystal = signal.xmap.rotations.to_matrix()
    to_detector = signal.detector.sample_to_detector.to_matrix().squeeze()
    normals = np.einsum("ij,nkj,gk->ngi", to_detector, to_crystal, np.array(planes) / g[:, None])
    # Electrons of 20 keV have 0.0859 angstrom, and nickel's cell 3.524.
    half_widths = np.degrees(np.arcsin(0.0859 * g / 3.524 / 2))
    return signal.data.reshape(-1, 60, 60), signal.detector.pc.reshape(-1, 3), normals, half_widths


def test_strong_bands_of_real_nickel_are_true_reflectors():
    patterns, centres, truth, half_widths = nickel()
    bands = detect_bands(patterns, centres, 8)
    errors, planes = zip(
        *[angles_to_nearest(n, t) for n, t in zip(bands.normals, truth, strict=True)], strict=True
    )
    errors, planes = np.array(errors), np.array(planes)
    assert (errors < 1).mean() > 0.93
    assert np.median(errors) < 0.5
    ratio = (bands.half_widths / half_widths[planes])[errors < 1]
    assert 0.7 < np.median(ratio) < 1.1


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"n_bands": 0}, "n_bands is 0"),
        ({"min_contrast": -1.0}, "min_contrast is -1"),
        ({"min_contrast": np.nan}, "min_contrast is nan"),
        ({"pattern_centre": (0.5, 0.5)}, "pattern centre has shape"),
        ({"pattern_centre": np.full((3, 3), 0.5)}, "one for each of 2"),
        ({"signal_mask": np.zeros((3, 3), bool)}, "mask has shape"),
    ],
)
def test_says_what_is_wrong(kwargs, message):
    with pytest.raises(ValueError, match=message):
        detect_bands(**{"patterns": np.zeros((2, 20, 30)), "pattern_centre": CENTRE} | kwargs)


def test_standard_errors_are_the_scatter_over_draws_of_the_noise():
    normal = normals_from_angles(37, -14)
    medians = []
    for noise in (0.25, 0.5):
        drawn = [one_band(normal, 1.8, (60, 72), CENTRE, noise, seed) for seed in range(80)]
        bands = detect_bands(np.array(drawn), CENTRE, 1)
        normals, half_widths = bands.normals[:, 0], bands.half_widths[:, 0]
        sigma, of_width = bands.direction_sigmas[:, 0], bands.width_sigmas[:, 0]
        off = np.degrees(np.linalg.norm(normals - normals.mean(axis=0), axis=1))
        assert np.sqrt(np.mean((off / sigma) ** 2)) == pytest.approx(1, abs=0.25)
        scatter = np.std(half_widths) / np.mean(half_widths)
        assert scatter / np.median(of_width) == pytest.approx(1, abs=0.25)
        medians.append(np.median([sigma, of_width], axis=1))
    np.testing.assert_allclose(np.divide(*medians[::-1]), 2, rtol=0.15)


def test_standard_errors_of_simulated_patterns_are_those_of_true_bands():
    turns, widths = [], []
    for seed in (10, 11, 12):
        data = simulate_patterns((3, 4), (64, 64), CENTRE, seed=seed)
        bands = detect_bands(data.patterns.reshape(12, 64, 64), CENTRE, 12)
        for i, truth in enumerate(data.normals.reshape(12, -1, 3)):
            found = np.isfinite(bands.contrasts[i])
            error, plane = angles_to_nearest(bands.normals[i], truth)
            ratio = np.log(bands.half_widths[i][found] / data.half_widths[plane])
            near, like = error < 1, (error < 1) & (np.abs(ratio) < 0.25)
            turns.append(np.stack([bands.direction_sigmas[i][found], error])[:, near])
            widths.append(np.stack([bands.width_sigmas[i][found], ratio])[:, like])
    (sigma, error), (of_width, ratio) = np.hstack(turns), np.hstack(widths)
    assert len(sigma) > 400 and sigma.max() > 3 * sigma.min()
    for half in (sigma < np.median(sigma), sigma >= np.median(sigma)):
        # Two of three are nearer than their standard error.
        assert np.quantile((error / sigma)[half], 0.66) == pytest.approx(0.75, abs=0.12)
    scatter = median_abs_deviation(ratio / of_width, scale="normal")
    assert scatter == pytest.approx(0.9, abs=0.25)

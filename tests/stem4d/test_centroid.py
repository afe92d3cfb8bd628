# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The centroid against its definition, under a known shift, and for all that detectors deliver."""

import numpy as np
import pytest

from emsparse_hs.stem4d import annulus, centroid, disc

DTYPES = ["u1", "u2", ">u2", "i2", "i4", ">i4", "u4", "i8", "u8", "f2", "f4", ">f4", "f8", ">f8"]


def centroid_by_definition(frames, mask=None):
    """In Python's integers of any size, or in float64."""
    frames = np.asarray(frames)
    kind = object if frames.dtype.kind in "biu" else float
    weights = frames.astype(kind) * (1 if mask is None else mask.astype(kind))
    y, x = np.indices(frames.shape[-2:])
    total, moment_x, moment_y = (np.asarray((weights * w).sum((-2, -1))) for w in (1, x, y))
    return np.stack([moment_x / total, moment_y / total], axis=-1).astype(float)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 5), (3, 7, 5), (2, 3, 7, 5), (4, 1, 5), (4, 7, 1)])
def test_equals_its_definition(dtype, shape, masked):
    frames = np.random.default_rng(0).poisson(9, shape).astype(dtype)
    mask = np.random.default_rng(1).random(shape[-2:]) > 0.3 if masked else None
    expected = centroid_by_definition(frames.astype(frames.dtype.newbyteorder("=")), mask)
    np.testing.assert_allclose(centroid(frames, mask), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "i4", "u4"])
def test_full_counts_do_not_overflow(dtype):
    frames = np.full((2, 90, 70), np.iinfo(dtype).max, dtype)
    frames[1, :30] = 0
    np.testing.assert_array_equal(centroid(frames), [[34.5, 44.5], [34.5, 59.5]])


@pytest.mark.parametrize("shape", [(65_537, 2), (65_538, 2), (2, 65_537), (2, 65_538)])
def test_full_counts_in_more_rows_than_32_bits_can_sum(shape):
    frames = np.full(shape, 65_535, "u2")
    expected = [(shape[1] - 1) / 2, (shape[0] - 1) / 2]
    np.testing.assert_array_equal(centroid(frames), expected)


def test_integers_are_summed_exactly():
    frames = np.random.default_rng(2).integers(0, 65_536, (3, 64, 48), "u2")
    np.testing.assert_array_equal(centroid(frames), centroid_by_definition(frames))


def test_negative_counts_enter_as_they_are():
    frames = np.random.default_rng(0).integers(-20, 30, (3, 7, 5)).astype("i4")
    np.testing.assert_allclose(centroid(frames), centroid_by_definition(frames), rtol=1e-12)


def test_bool_frames_are_counts_of_zero_and_one():
    frames = np.random.default_rng(0).random((3, 7, 5)) > 0.4
    np.testing.assert_allclose(centroid(frames), centroid_by_definition(frames), rtol=1e-12)


def test_any_memory_layout():
    frames = np.random.default_rng(0).poisson(9, (6, 14, 10)).astype("u2")
    expected = centroid_by_definition(frames[::2, ::2, ::-1])
    np.testing.assert_allclose(centroid(frames[::2, ::2, ::-1]), expected, rtol=1e-12)
    np.testing.assert_allclose(centroid(np.asfortranarray(frames)), centroid(frames), rtol=1e-12)


def test_follows_a_shifted_disc():
    frames = np.stack([disc((64, 48), (20 + s, 30), 7.9) for s in (0, 1, 5)]).astype("u2")
    np.testing.assert_allclose(np.diff(centroid(frames)[:, 0]), [1, 4])
    np.testing.assert_allclose(centroid(frames)[:, 1], 30)


def test_annulus_sees_only_what_lies_in_it():
    frames = np.zeros((1, 40, 50), "u2")
    frames[0, 20, 25] = 1000
    frames[0, 20, 35] = 3
    np.testing.assert_array_equal(centroid(frames, annulus((40, 50), (25, 20), 5, 12)), [[35, 20]])


@pytest.mark.parametrize("dtype", ["u1", "i4", "f4"])
def test_empty_frame_is_nan_and_input_is_untouched(dtype):
    frames = np.zeros((2, 4, 6), dtype)
    frames[1, 2, 3] = 1
    before = frames.copy()
    assert np.isnan(centroid(frames)[0]).all()
    np.testing.assert_array_equal(centroid(frames)[1], [3, 2])
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_pixel_spoils_its_frame_only_and_a_mask_mends_it(bad):
    frames = np.random.default_rng(0).random((3, 7, 5))
    expected = centroid(frames)
    frames[1, 4, 2] = bad
    assert np.isnan(centroid(frames)[1]).all()
    np.testing.assert_array_equal(centroid(frames)[[0, 2]], expected[[0, 2]])
    mask = np.ones((7, 5), bool)
    mask[4, 2] = False
    assert np.isfinite(centroid(frames, mask)).all()


@pytest.mark.parametrize("shape", [(3, 0, 5), (3, 5, 0), (2, 3, 0, 0), (0, 0)])
@pytest.mark.parametrize("masked", [False, True])
def test_frames_without_pixels_have_no_centroid(shape, masked):
    centres = centroid(np.zeros(shape, "u2"), np.ones(shape[-2:], bool) if masked else None)
    np.testing.assert_array_equal(centres, np.full((*shape[:-2], 2), np.nan))


def test_no_frames_and_no_pixels():
    assert centroid(np.zeros((0, 4, 6), "u2")).shape == (0, 2)
    assert np.isnan(centroid(np.ones((3, 4, 6)), np.zeros((4, 6), bool))).all()


def moments_by_definition(frame, mask=None, threshold=None):
    """Sum, centre (x, y) and second moments about it of one frame, pixel by pixel in float64."""
    frame = frame.astype(float)
    counts = np.ones(frame.shape, bool) if mask is None else mask
    if threshold is not None:
        counts = counts & ~(frame < threshold * frame[counts].mean())
    y, x = np.nonzero(counts)
    weights = frame[counts]
    centre = np.array([weights @ x, weights @ y]) / weights.sum()
    second = weights @ np.square(np.stack([x, y], -1) - centre)
    return weights.sum(), centre, second


@pytest.mark.parametrize("threshold", [None, 0, 0.8, 1.5])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_threshold_and_sigma_equal_their_definition(dtype, masked, threshold):
    frames = np.random.default_rng(0).poisson(9, (2, 3, 7, 5)).astype(dtype)
    frames[0, 1] //= 4  # each frame has a mean of its own
    mask = np.random.default_rng(1).random((7, 5)) > 0.3 if masked else None
    before = frames.copy()
    positions, sigma = centroid(
        frames, mask, threshold=threshold, dose_per_count=2.5, return_sigma=True
    )
    for index in np.ndindex(2, 3):
        total, centre, second = moments_by_definition(frames[index], mask, threshold)
        np.testing.assert_allclose(positions[index], centre, rtol=1e-12)
        np.testing.assert_allclose(sigma[index], np.sqrt(second / 2.5) / total, rtol=1e-12)
    np.testing.assert_array_equal(frames, before)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u4"])
def test_threshold_of_full_counts_does_not_overflow(dtype):
    frames = np.full((90, 70), np.iinfo(dtype).max, dtype)
    frames[:30] = 1
    np.testing.assert_array_equal(centroid(frames, threshold=0.5), [34.5, 59.5])


def test_threshold_sees_only_the_pixels_that_count():
    frame = np.array([[1, 3, 0], [0, 0, 10_000]], "u2")
    mask = np.array([[1, 1, 1], [1, 1, 0]], bool)
    np.testing.assert_array_equal(centroid(frame, mask, threshold=2), [1, 0])
    assert np.isnan(centroid(frame, mask, threshold=100)).all()


def test_pixels_at_the_threshold_count():
    np.testing.assert_array_equal(centroid(np.full((3, 5), 7, "u2"), threshold=1), [2, 1])


def test_threshold_zero_ignores_negative_counts():
    frame = np.array([[5, -3, 5], [-20, 0, 0]], "i2")
    np.testing.assert_array_equal(centroid(frame, threshold=0), [1, 0])


@pytest.mark.parametrize("threshold", [None, 0.5, 1.7])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4", "f4", "f8"])
def test_agrees_with_pyxem(dtype, threshold):
    diffraction = pytest.importorskip("pyxem.utils.diffraction")
    frames = np.random.default_rng(0).poisson(9, (5, 40, 30)).astype(dtype)
    theirs = [diffraction.center_of_mass_from_image(f.copy(), None, threshold) for f in frames]
    np.testing.assert_allclose(centroid(frames, threshold=threshold), theirs, atol=1e-6)


@pytest.mark.filterwarnings("ignore:'where' used without 'out'")
@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_agrees_with_libertem(dtype):
    """It sums in float32, so that large sums, and places far from its zero, would differ more."""
    api = pytest.importorskip("libertem.api")
    udf = pytest.importorskip("libertem.udf.com")
    frames = np.random.default_rng(1).poisson(3, (4, 5, 24, 32)).astype(dtype)
    with api.Context.make_with("inline") as context:
        dataset = context.load("memory", data=frames, sig_dims=2)
        parameters = udf.CoMParams(cy=11.5, cx=15.5)
        found = context.run_udf(dataset, udf.CoMUDF(parameters))["raw_shifts"].data
    np.testing.assert_allclose(centroid(frames) - (15.5, 11.5), found[..., ::-1], atol=1e-6)


def test_sigma_is_the_scatter_of_a_poisson_disc():
    radius, n_electrons, dose = 12, 3000, 4
    ideal = disc((64, 64), (31.3, 30.6), radius) * (n_electrons / (np.pi * radius**2))
    electrons = np.random.default_rng(5).poisson(ideal, (3000, 64, 64))
    expected = radius / (2 * np.sqrt(n_electrons))  # 0.1095 px, of a uniform disc
    for frames, per_count in ((electrons.astype("u2"), 1), (electrons.astype("f4") / dose, dose)):
        positions, sigma = centroid(frames, dose_per_count=per_count, return_sigma=True)
        np.testing.assert_allclose(positions.std(0), expected, rtol=0.04)
        np.testing.assert_allclose(sigma.mean(0), expected, rtol=0.01)


def test_sigma_of_one_pixel_is_zero_wherever_it_lies():
    frames = np.zeros((1, 3, 1003), "u4")
    frames[0, 2, 997] = 3_000_001
    positions, sigma = centroid(frames, return_sigma=True)
    np.testing.assert_array_equal(positions, [[997, 2]])
    np.testing.assert_array_equal(sigma, [[0, 0]])


@pytest.mark.filterwarnings("error")
def test_sigma_is_nan_where_counting_statistics_make_no_sense():
    frames = np.zeros((4, 3, 5))
    frames[1] = -1
    frames[2, 1] = [-1, 0, 9, 0, -1]  # a negative second moment along x, zero along y
    frames[3, 1] = [1, 0, 9, 0, np.nan]
    positions, sigma = centroid(frames, return_sigma=True)
    np.testing.assert_array_equal(np.isnan(positions).any(-1), [True, False, False, True])
    np.testing.assert_array_equal(sigma[2], [np.nan, 0])
    assert np.isnan(sigma[[0, 1, 3]]).all()


def test_a_sum_too_large_for_float64_has_no_centre():
    frame = np.zeros((3, 5))
    frame[[0, 1], [0, 1]] = 1e308
    assert np.isnan(centroid(frame)).all()


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="mask has shape"):
        centroid(np.zeros((3, 4, 6)), np.ones((6, 4)))
    with pytest.raises(ValueError, match="two dimensions"):
        centroid(np.zeros(4))
    with pytest.raises(TypeError, match="complex128"):
        centroid(np.zeros((3, 4, 6), complex))
    for threshold in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="The threshold is"):
            centroid(np.zeros((3, 4, 6)), threshold=threshold)
    for dose in (0, -1, np.nan, np.inf):
        with pytest.raises(ValueError, match="electrons a count"):
            centroid(np.zeros((3, 4, 6)), dose_per_count=dose)


def test_disc_and_annulus_have_the_area_of_their_circles():
    shape, centre = (90, 110), (52.3, 44.1)
    assert disc(shape, centre, 30).sum() == pytest.approx(np.pi * 900, rel=5e-3)
    assert annulus(shape, centre, 15, 30).sum() == pytest.approx(np.pi * 675, rel=5e-3)
    np.testing.assert_array_equal(annulus(shape, centre, 0, 30), disc(shape, centre, 30))


def test_masks_say_what_is_wrong():
    with pytest.raises(ValueError, match="inner < outer"):
        annulus((9, 8), (4, 4), 5, 3)
    with pytest.raises(ValueError, match="negative"):
        disc((9, 8), (4, 4), -1)

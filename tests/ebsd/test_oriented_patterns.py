# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Patterns as they are seen with their orientations."""

import numpy as np
import pytest

from emsparse_hs.ebsd import Patterns, pixel_directions
from emsparse_hs.ebsd.oriented_patterns import look_at

SHAPE, CENTRE = (72, 80), np.array([0.48, 0.45, 0.62])


def see(images, centre=CENTRE, mask=None, take=None):
    """All patterns of an array, in no orientation of note."""
    n = len(images)
    patterns = Patterns(take or images.__getitem__, centre, mask)
    return look_at(
        patterns, np.arange(n), np.tile(np.eye(3), (n, 1, 1)), np.zeros((n, 3)), np.ones(n)
    )


@pytest.fixture
def large():
    """Two smooth patterns of 432 x 480 px."""
    rows, columns = np.indices((432, 480)) / 30
    return np.stack([np.sin(rows) * np.cos(columns), np.sin(rows + columns)])


def test_pattern_centres_are_those_assumed_and_their_errors():
    """Errors are to the right and upwards over the distance, and of the distance, relative."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, *SHAPE))
    errors = np.array([[0.02, 0.01, -0.03], [0, 0, 0]])
    centres = np.array([CENTRE, CENTRE + 0.02])
    for given in (centres, CENTRE):
        patterns = Patterns(images.__getitem__, given)
        views = look_at(patterns, np.arange(2), np.eye(3)[None].repeat(2, 0), errors, np.ones(2))
        for p, centre in enumerate(np.broadcast_to(given, (2, 3))):
            right = errors[p] * centre[2] * (SHAPE[0] / SHAPE[1], -1, 1)
            cosines = pixel_directions(SHAPE, centre + right)[..., 2]
            np.testing.assert_allclose(views.cosines[p], cosines, rtol=1e-5)
            assert views.centres[p, 3] == pytest.approx(1 / cosines.min(), rel=1e-5)


def test_large_patterns_are_averaged():
    """Pixels of a quarter of the size show the same directions."""
    images = np.random.default_rng(0).normal(size=(3, *SHAPE))
    large = images.repeat(3, axis=1).repeat(3, axis=2)
    # A row and a column that don't fill a square.
    large = np.pad(large, ((0, 0), (0, 1), (0, 2)))
    shape = large.shape[1:]
    centre = CENTRE * (3 * SHAPE[1] / shape[1], 3 * SHAPE[0] / shape[0], 3 * SHAPE[0] / shape[0])
    averaged = see(large, centre)
    assert averaged.images.shape[1:] == (108, 121)
    centre *= 1, shape[0] / 216, shape[0] / 216
    expected = pixel_directions((108, 121), centre)[..., 2]
    np.testing.assert_allclose(averaged.cosines[0], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["random", "rows"])
def test_squares_with_some_masked_pixels_count(kind, large):
    """What is masked there may be anything, also not a number."""
    mask = np.zeros(large.shape[1:], bool)
    if kind == "random":
        mask = np.random.default_rng(0).random(mask.shape) < 0.05
    else:
        mask[::4] = True
    expected = see(large)
    large[:, mask] = np.nan
    found = see(large, mask=mask)
    assert found.images.shape == (2, 108, 120)
    np.testing.assert_array_equal(found.cosines, expected.cosines)
    assert (found.cosines > 0).all()
    # Their middles are a little elsewhere.
    np.testing.assert_allclose(found.images, expected.images, atol=0.2)


def test_squares_with_too_few_valid_pixels_are_masked(large):
    mask = np.zeros(large.shape[1:], bool)
    mask[:4, :2], mask[4:8, :3], mask[8:12, :4] = True, True, True
    masked = see(large, mask=mask).cosines == 0
    assert masked[:, 1:3, 0].all() and masked.sum() == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x * 1e38).astype(np.float32),
        lambda x: (x * 100).astype(np.int64) + 2**40,
        lambda x: (x * 100 + 128).astype(np.uint8),
        lambda x: (x * 1e-30).astype(np.float32),
    ],
    ids=["large", "offset", "bytes", "small"],
)
def test_dtypes_are_not_exceeded(change, large):
    changed = change(large)
    before = changed.copy()
    found = see(changed)
    assert len(found.images) == 2
    np.testing.assert_allclose(found.images, see(large).images, atol=0.1)
    np.testing.assert_array_equal(changed, before)


def test_pixels_of_large_patterns_that_are_not_finite_are_left_out(large):
    large[0, 0, :2] = np.inf, -np.inf
    images = see(large).images
    assert len(images) == 2
    assert np.isfinite(images).all()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"take": lambda n: np.ones((3, 432, 480))}, ValueError, "gave 3 patterns, and 2 were"),
        ({"take": lambda n: np.ones((432, 480))}, ValueError, "is needed"),
        ({"take": lambda n: np.ones((2, 432, 480)) * 1j}, TypeError, "real ones are needed"),
        ({"mask": np.zeros((432, 48), bool)}, ValueError, "The mask has shape"),
    ],
)
def test_says_what_is_wrong(options, error, message, large):
    with pytest.raises(error, match=message):
        see(large, **options)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Presence of Bragg discs: the same for faint and bright ones, and nothing for noise."""

import numpy as np
import pytest

from emsparse_hs.stem4d import (
    bragg_presence,
    compact_presence,
    disc,
    find_direct_beam,
    presence_grid,
)

SHAPE, CENTRE, RADIUS = (58, 66), (31.0, 27.0), 2.5
#: x, y and electrons a pixel.
DISCS = [(12, 14, 2.0), (46, 11, 20.0), (17, 44, 200.0), (50, 43, 2000.0)]


def expected(background=0.1, discs=DISCS, scale=1.0):
    frame = np.full(SHAPE, background)
    for x, y, height in [(*CENTRE, 3000.0), *discs]:
        frame += height * disc(SHAPE, (x, y), RADIUS)
    return scale * frame


def counts(n=40, seed=0, **how):
    return np.random.default_rng(seed).poisson(expected(**how), (n, *SHAPE)).astype("u2")


def blob(presence, x, y):
    return presence[..., disc(SHAPE, (x, y), 2 * RADIUS)].sum(-1)


def test_faint_and_bright_discs_are_as_present():
    found = bragg_presence(counts(), RADIUS, CENTRE).mean(0)
    assert found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    sizes = [blob(found, x, y) for x, y, _ in DISCS]
    # Intensities differ a thousandfold.
    assert max(sizes) < 2 * min(sizes)
    for x, y, _ in DISCS:
        assert found[y, x] > 0.95
    elsewhere = np.all([~disc(SHAPE, (x, y), 2 * RADIUS) for x, y, _ in DISCS], axis=0)
    assert found[elsewhere].sum() < 0.05 * sum(sizes)


@pytest.mark.parametrize("level", [0.003, 0.03, 0.3, 3, 30])
def test_noise_is_no_disc(level):
    frames = np.random.default_rng(0).poisson(level, (100, *SHAPE))
    found = bragg_presence(frames, RADIUS, CENTRE)
    one = blob(bragg_presence(counts(), RADIUS, CENTRE).mean(0), *DISCS[2][:2])
    assert found.sum((1, 2)).mean() < 1.0 * one


def test_the_same_at_any_dose_that_shows_them_and_none_below():
    discs = [(12, 14, 20.0)]
    at = {
        scale: bragg_presence(counts(discs=discs, scale=scale), RADIUS, CENTRE)[:, 14, 12].mean()
        for scale in (0.003, 0.3, 3)
    }
    assert at[0.3] > 0.95 and at[3] > 0.95 and at[0.003] < 0.1


def test_scaled_counts_need_their_dose():
    frames = counts()
    same = bragg_presence(frames / 1000.0, RADIUS, CENTRE, dose_per_count=1000)
    np.testing.assert_allclose(same, bragg_presence(frames, RADIUS, CENTRE), atol=1e-3)
    assert bragg_presence(frames / 1e5, RADIUS, CENTRE)[:, 14, 12].max() < 0.5


def test_what_is_significant_may_be_no_disc():
    """A smooth background at high dose, and a disc that rises by a hundredth only."""
    frame = 1e6 + 1e4 * disc(SHAPE, (12, 14), RADIUS)
    assert bragg_presence(frame, RADIUS, CENTRE)[14, 12] < 0.05
    assert bragg_presence(frame, RADIUS, CENTRE, contrast=0.005)[14, 12] > 0.9


@pytest.mark.parametrize("shape", [SHAPE, (5, *SHAPE), (2, 3, *SHAPE)])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "i4", "f4", "f8"])
def test_any_shape_and_dtype_and_input_is_untouched(shape, dtype):
    frames = np.minimum(np.random.default_rng(0).poisson(expected(), shape), 255).astype(dtype)
    before = frames.copy()
    found = bragg_presence(frames, RADIUS, CENTRE)
    assert found.shape == shape
    np.testing.assert_array_equal(frames, before)
    whole = bragg_presence(frames.astype("f8").reshape(-1, *SHAPE), RADIUS, CENTRE)
    np.testing.assert_allclose(found, whole.reshape(shape), atol=1e-5)


def test_masked_pixels_are_not_seen():
    frames = counts()
    mask = np.ones(SHAPE, bool)
    mask[11:17, 9:16] = False
    spoilt = np.where(mask, frames, 60_000)
    found = bragg_presence(spoilt, RADIUS, CENTRE, mask=mask)
    assert not found[:, ~mask].any()
    np.testing.assert_array_equal(found, bragg_presence(frames, RADIUS, CENTRE, mask=mask))


def test_a_frame_with_nan_has_no_discs_and_spoils_no_other():
    frames = counts(3).astype(float)
    good = bragg_presence(frames, RADIUS, CENTRE)
    frames[1, 5, 7] = np.nan
    found = bragg_presence(frames, RADIUS, CENTRE)
    assert not found[1].any()
    np.testing.assert_array_equal(found[[0, 2]], good[[0, 2]])


def test_the_direct_beam_is_found_and_left_out():
    x, y = find_direct_beam(counts().mean(0), RADIUS)
    assert np.hypot(x - CENTRE[0], y - CENTRE[1]) < 0.05
    found = bragg_presence(counts(), RADIUS)
    np.testing.assert_array_equal(found, bragg_presence(counts(), RADIUS, (x, y)))
    assert not found[:, disc(SHAPE, CENTRE, 2 * RADIUS)].any()


@pytest.mark.parametrize("zoom", [1, 2, 3, 5])
def test_cells_keep_where_discs_are_in_frames_of_any_size(zoom):
    frames = np.kron(counts(10).astype("f4"), np.ones((zoom, zoom))) / zoom**2
    centre = tuple((c + 0.5) * zoom - 0.5 for c in CENTRE)
    grid = presence_grid(frames.shape[1:], zoom * RADIUS, centre)
    compact = compact_presence(frames, grid)
    assert compact.dtype == np.uint8 and compact.shape == (10, np.prod(grid.shape))
    assert compact.nnz < 0.15 * np.prod(compact.shape)
    mean = compact.toarray().reshape(10, *grid.shape).mean(0)
    y, x = np.meshgrid(*(grid.to_pixels(np.arange(n)) for n in grid.shape), indexing="ij")
    for place in DISCS:
        at = [(p + 0.5) * zoom - 0.5 for p in place[:2]]
        near = np.where(np.hypot(x - at[0], y - at[1]) < 2.5 * zoom * RADIUS, mean, 0)
        found = np.array([(near * x).sum(), (near * y).sum()]) / near.sum()
        np.testing.assert_allclose(found, at, atol=0.3 * zoom * RADIUS)


def test_cells_hold_the_presence():
    grid = presence_grid(SHAPE, RADIUS, CENTRE)
    compact = compact_presence(counts(4), grid).toarray() / 255
    whole = bragg_presence(counts(4), RADIUS, CENTRE)
    assert grid.cell == 2
    blocks = whole.reshape(4, 29, 2, 33, 2).mean((2, 4)).reshape(4, -1)
    np.testing.assert_allclose(compact, blocks, atol=0.51 / 255)
    assert compact_presence(counts(0), grid).shape == (0, 29 * 33)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beam_radius": 0}, "radius of a disc is 0"),
        ({"beam_radius": np.nan}, "radius of a disc is nan"),
        ({"centre": (90, 3)}, "no place in frames of 66 x 58"),
        ({"centre": (3,)}, "no place in frames"),
        ({"contrast": 0}, "contrast is 0"),
        ({"dose_per_count": -1}, "electrons a count"),
        ({"mask": np.ones((3, 4), bool)}, "mask has shape"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    arguments = {"beam_radius": RADIUS, "centre": CENTRE} | wrong
    with pytest.raises(ValueError, match=message):
        bragg_presence(counts(2), **arguments)


def test_says_where_nothing_is_found():
    with pytest.raises(ValueError, match="without intensity"):
        find_direct_beam(np.zeros((4, 5)), 1)
    with pytest.raises(TypeError, match="complex"):
        bragg_presence(np.zeros((9, 8), complex), 2, (4, 4))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Windows of slices: what they cover, how many fit, and that each is solved by itself."""

from contextlib import nullcontext

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import ParallelBeam, halo, reconstruct_tv
from emsparse_hs.tomography.noise import CountingNoise
from emsparse_hs.tomography.series import SliceRows

TILTS = np.linspace(-60, 60, 9)


@pytest.mark.parametrize("n_slices, block, h", [(100, 10, 3), (101, 7, 5), (64, 1, 0), (37, 20, 8)])
def test_windows_keep_each_slice_once_with_its_halo(n_slices, block, h):
    parts = halo.windows(n_slices, block, h)
    kept = np.concatenate([np.arange(n_slices)[part.kept] for part in parts])
    np.testing.assert_array_equal(kept, np.arange(n_slices))
    for part in parts:
        slices = np.arange(part.first, part.stop)
        assert len(slices) == block + 2 * h
        np.testing.assert_array_equal(slices[part.inner], np.arange(n_slices)[part.kept])
        assert part.kept.start - part.first >= h or part.kept.start == part.first == 0
        assert part.stop - part.kept.stop >= h or part.kept.stop == part.stop == n_slices
    # No fewer of that length would do.
    assert len(parts) == -(-(n_slices - 2 * h) // block)


@pytest.mark.parametrize("n_slices", [5, 12, 16])
def test_a_window_may_hold_all_slices(n_slices):
    assert halo.windows(n_slices, 10, 3) == [(0, n_slices, slice(0, n_slices))]


@pytest.mark.parametrize("n_slices, block, h", [(100, 10, 3), (101, 7, 5), (64, 1, 2), (37, 20, 8)])
def test_windows_share_slices_by_how_far_their_ends_are(n_slices, block, h):
    parts = halo.windows(n_slices, block, h)
    total = np.zeros(n_slices)
    for part, share in zip(parts, halo.shares(parts), strict=True):
        total[part.first : part.stop] += share
        # The ends of the series are no ends of the window.
        ends = share[:1] if part.first else share[-1:]
        assert 0 < ends < 0.5
    np.testing.assert_allclose(total, 1, rtol=1e-6)


def test_shares_go_with_the_squared_distance():
    one, other = halo.shares(halo.windows(12, 6, 2))
    np.testing.assert_allclose(one[:2], 1)
    np.testing.assert_allclose(other[-2:], 1)
    squares = (np.arange(8) + 0.5) ** 2
    np.testing.assert_allclose(other[:8], squares / (squares + squares[::-1]), rtol=1e-6)
    np.testing.assert_allclose(one[::-1], other, rtol=1e-6)
    assert halo.shares(halo.windows(5, 10, 3))[0].tolist() == [1] * 5
    # Without halos there is nothing to share.
    assert all((share == 1).all() for share in halo.shares(halo.windows(12, 4, 0)))


def test_a_block_is_as_large_as_memory_allows():
    operator = ParallelBeam(TILTS, 32)
    slab = 64 * 4 * (11 * 32**2 + 18 * 9 * 32)
    assert halo.slices_within(0.9 * slab, operator) == 0
    assert halo.slices_within(3.5 * slab, operator) == 192
    assert halo.slices_within(3.5 * slab, operator, "tgv") == 128
    assert halo.block_within(3.5 * slab, 192, operator, 32) is None
    assert halo.block_within(3.5 * slab, 193, operator, 32) == 128
    assert halo.block_within(3.5 * slab, 193, operator, 8) == 176
    # Half of a window is kept at least, and all of a short series.
    assert halo.block_within(0, 1000, operator, 32) == 64
    assert halo.block_within(0, 1000, operator, 0) == 64
    assert halo.block_within(0, 128, operator, 32) is None


def test_each_window_is_its_own_problem_with_one_noise_model():
    simulated = simulate_tilt_series(size=16, n_slices=20, tilts=TILTS, seed=40)
    sinogram = simulated.images.transpose(2, 0, 1)
    operator = ParallelBeam(TILTS, 16)
    noise = CountingNoise.of(sinogram)
    assert noise.gain > 0
    settings = {"weight": 3.0, "noise": noise, "max_iterations": 40}
    parts = halo.windows(20, 8, 2)
    rows = np.stack([sinogram[part.first : part.stop].reshape(-1) for part in parts])
    found = halo.reconstruct_windows(rows, operator, settings, nullcontext())
    for part, slices in zip(parts, found, strict=True):
        window = sinogram[part.first : part.stop]
        expected = reconstruct_tv(
            window, operator, 3.0, precision=noise.precision(window), max_iterations=40
        )
        volume, figures = SliceRows(16, 9).split(slices)
        np.testing.assert_allclose(volume, expected.volume, atol=1e-5 * expected.volume.max())
        np.testing.assert_allclose(
            figures["residual_per_tilt"], expected.residual_per_tilt, rtol=1e-4
        )
        assert figures["iterations"] == expected.n_iterations
        assert figures["gap"] == pytest.approx(expected.gap, rel=1e-3)


@pytest.mark.parametrize("unit", [1.0, 1e-25, 1e22])
def test_the_largest_seam_has_no_units(unit):
    rng = np.random.default_rng(51)
    volume = (unit * rng.random((4, 5, 6))).astype(np.float32)
    # Rows of slices have figures behind their voxels.
    rows = [
        np.r_[volume[k].ravel() * part, 1e30].astype(np.float32) for k, part in ((0, 0.1), (1, 0.3))
    ]
    expected = np.sqrt((0.3 * volume[1].astype(float) / unit) ** 2).ravel()
    expected = np.sqrt((expected**2).mean() / ((volume.astype(float) / unit) ** 2).mean())
    assert halo.largest_seam(rows, volume) == pytest.approx(expected, rel=1e-5)
    assert np.isnan(halo.largest_seam([], volume))

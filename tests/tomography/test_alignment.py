# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Displacements of images, known because they were made."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import estimate_displacements
from emsparse_hs.tomography.refinement import _without_moves

TILTS = np.linspace(-70, 70, 31)


def displaced(kind="particles", seed=72, **kwargs):
    series = simulate_tilt_series(kind, 64, 40, TILTS, seed=seed, **kwargs)
    rng = np.random.default_rng(73)
    shifts, slides = rng.integers(-5, 6, (2, 31))
    images = [
        np.roll(np.pad(image, ((12, 12), (0, 0))), (shift, slide), (0, 1))
        for image, shift, slide in zip(series.images, shifts, slides, strict=True)
    ]
    return np.stack(images).transpose(2, 0, 1), shifts, slides


@pytest.mark.parametrize("background", [0, 500])
def test_finds_displacements(background):
    sinogram, shifts, slides = displaced()
    found, slid = estimate_displacements(sinogram + background, TILTS)
    # But for what a displacement of the specimen would do.
    assert np.std(_without_moves(found - shifts, TILTS)) < 0.5
    assert np.std(slid - slides) < 0.4


def test_finds_where_the_axis_is():
    sinogram, _, _ = displaced()
    found, _ = estimate_displacements(sinogram, TILTS)
    moved, _ = estimate_displacements(np.roll(sinogram, 3, 2), TILTS)
    np.testing.assert_allclose(moved - found, 3, atol=0.2)


def test_noise_is_not_aligned_to_itself():
    noise = np.random.default_rng(74).normal(size=(40, 31, 64))
    noise[:, :, 20:40] += 10
    assert not estimate_displacements(noise, TILTS)[1].any()


def test_says_what_is_wrong():
    sinogram, _, _ = displaced()
    with pytest.raises(ValueError, match="Three tilts"):
        estimate_displacements(sinogram[:, :2], TILTS[:2])
    with pytest.raises(ValueError, match="for 30 tilts"):
        estimate_displacements(sinogram, TILTS[:30])
    broken = sinogram.copy()
    broken[3, 4, 5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        estimate_displacements(broken, TILTS)
    sinogram[:, 4] = 0
    with pytest.raises(ValueError, match="degrees is empty"):
        estimate_displacements(sinogram, TILTS)

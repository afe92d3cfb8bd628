# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""What each tilt did to its image, found where it is known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, rotate

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import (
    Imaging,
    ParallelBeam,
    default_weight,
    estimate_noise,
    reconstruct_tv,
    refine,
    refinement,
)
from emsparse_hs.tomography.refinement import _common_angle, _next_angle, _turn, _without_moves

TILTS = np.linspace(-70, 70, 25)


def without_moves(values):
    return _without_moves(values, TILTS)


@pytest.fixture(scope="module")
def spoiled():
    """Series whose images were displaced, dimmed and lit, and by how much."""
    series = simulate_tilt_series("particles", 48, 32, TILTS, counts=300, seed=66)
    rng = np.random.default_rng(67)
    slides = rng.normal(0, 0.6, 25)
    # A displacement of the whole volume can't be known.
    imaging = Imaging(
        without_moves(rng.normal(0, 0.7, 25)),
        slides - slides.mean(),
        rng.uniform(0.9, 1.1, 25),
        rng.normal(0, 0.5, 25),
    )
    clean = series.images.transpose(2, 0, 1)
    # Displaced in the other direction by the projector's own means.
    moved = np.empty_like(clean)
    t = np.arange(48)
    for a, shift in enumerate(imaging.shifts):
        for s in range(32):
            moved[s, a] = np.interp(t - shift, t, clean[s, a])
    weight = default_weight(estimate_noise(series.images), 25)
    return series, imaging, imaging.imaged(moved), weight


def reconstruct(weight):
    def volume(sinogram, operator):
        settings = {"tolerance": 1e-2, "max_iterations": 60}
        return reconstruct_tv(sinogram, operator, weight, **settings).volume

    return volume


def test_finds_what_was_done(spoiled):
    series, truth, sinogram, weight = spoiled
    what = ("shift", "slide", "gain", "background")
    found = refine(sinogram, ParallelBeam(TILTS, 48), reconstruct(weight), what, n_rounds=10)
    assert np.std(found.shifts - truth.shifts) < 0.06 * np.std(truth.shifts)
    assert np.std(found.slides - truth.slides) < 0.06 * np.std(truth.slides)
    gains = truth.gains / truth.gains.mean()
    assert np.std(found.gains - gains) < 0.2 * np.std(gains)
    assert found.gains.mean() == pytest.approx(1)
    assert np.std(found.backgrounds - truth.backgrounds) < 0.15 * np.std(truth.backgrounds)

    def error(data, shifts):
        volume = reconstruct(weight)(data, ParallelBeam(TILTS, 48, shifts=shifts))
        return np.linalg.norm(volume - series.volume) / np.linalg.norm(series.volume)

    best = error(truth.corrected(sinogram), truth.shifts)
    spoilt, mended = error(sinogram, None), error(found.corrected(sinogram), found.shifts)
    assert mended - best < 0.3 * (spoilt - best)


def test_leaves_alone_what_was_not_asked_for(spoiled):
    _, _, sinogram, weight = spoiled
    start = np.linspace(-0.1, 0.1, 25)
    operator = ParallelBeam(TILTS, 48, shifts=start)
    found = refine(sinogram, operator, reconstruct(weight), ("gain",), n_rounds=1)
    np.testing.assert_array_equal(found.shifts, start)
    assert not found.slides.any() and not found.backgrounds.any()
    assert np.std(found.gains) > 0.01


def test_a_good_series_stays_as_it_is():
    series = simulate_tilt_series("needle", 40, 20, TILTS, counts=300, seed=68)
    sinogram = series.images.transpose(2, 0, 1)
    weight = default_weight(estimate_noise(series.images), 25)
    found = refine(sinogram, ParallelBeam(TILTS, 40), reconstruct(weight))
    assert np.abs(found.shifts).max() < 0.15
    assert np.abs(found.gains - 1).max() < 0.03


def test_displacements_of_the_volume_are_no_shifts():
    radians = np.deg2rad(TILTS)
    kept = without_moves(0.3 * np.cos(3 * radians))
    np.testing.assert_allclose(without_moves(kept + 2 * np.cos(radians) - np.sin(radians)), kept)


def test_corrected_undoes_imaged():
    rng = np.random.default_rng(69)
    smooth = np.exp(-((np.arange(30) - 15) ** 2)[:, None, None] / 40) * np.ones((30, 25, 6))
    slides, gains = rng.normal(0, 1, 25), rng.uniform(0.5, 2, 25)
    imaging = Imaging(np.zeros(25), slides, gains, rng.normal(0, 1, 25))
    back = imaging.corrected(imaging.imaged(smooth))
    np.testing.assert_allclose(back[4:-4], smooth[4:-4], atol=2e-3)
    between = imaging.between(TILTS, (TILTS[:-1] + TILTS[1:]) / 2)
    np.testing.assert_allclose(between.gains, (gains[:-1] + gains[1:]) / 2)


@pytest.fixture(scope="module")
def turned():
    """Series whose images were turned by 3 degrees and displaced, and its weight."""
    series = simulate_tilt_series("particles", 40, 60, TILTS, counts=300, seed=76)
    whole = np.pad(series.images.transpose(2, 0, 1), ((0, 0), (0, 0), (4, 4)))
    sinogram = rotate(whole, 3.0, axes=(0, 2), reshape=False, order=3)[14:-14]
    return sinogram, default_weight(estimate_noise(series.images), 25)


@pytest.mark.parametrize("start", [None, 0.0])
def test_finds_the_angle_of_the_axis(turned, start, monkeypatch):
    sinogram, weight = turned
    if start is not None:
        monkeypatch.setattr(refinement, "estimate_axis_angle", lambda *_: start)
    operator, what = ParallelBeam(TILTS, 48), ("angle", "shift")
    found = refine(sinogram, operator, reconstruct(weight), what, 5 if start is None else 8)
    assert found.axis_angle == pytest.approx(3, abs=0.3)
    assert np.abs(found.shifts).max() < 0.4


def test_the_angle_is_fitted_to_all_tilts_together():
    rng = np.random.default_rng(77)
    # A third has nearly no contrast, and as much noise as the others.
    heights = np.repeat([1.0, 0.02], [6, 3])
    pairs = []
    for height in heights:
        p = height * gaussian_filter(rng.normal(size=(30, 40)), 4) * 50 + 3
        changed = p + 0.01 * _turn(p) - 0.2 * np.gradient(p, axis=1) + 0.3 * np.gradient(p, axis=0)
        pairs.append((1.3 * changed + 5, p))
    what = ("shift", "slide", "gain", "background")
    assert _common_angle(pairs, what) == pytest.approx(0.01, rel=0.02)
    noisy = [(image + rng.normal(0, 0.2, image.shape), p) for image, p in pairs]
    each = [_common_angle([pair], what) for pair in noisy]
    assert _common_angle(noisy, what) == pytest.approx(0.01, abs=3e-4)
    assert abs(np.mean(each) - 0.01) > 2e-3


def test_steps_of_a_part_of_what_is_missing_arrive():
    tried, angle = [], 0.0
    for _ in range(4):
        tried.append((angle, 0.06 * (1.5 - angle)))
        angle = _next_angle(tried, 60)
    assert angle == pytest.approx(1.5)


@pytest.mark.parametrize("what", [(), ("shift", "rotation")])
def test_says_what_can_be_refined(what):
    with pytest.raises(ValueError, match="one or more of"):
        refine(np.ones((1, 2, 8)), ParallelBeam([0, 10], 8), reconstruct(1.0), what)

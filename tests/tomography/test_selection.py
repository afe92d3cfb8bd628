# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The weight that is chosen by left out tilts, against the truth."""

from dataclasses import replace

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import (
    ParallelBeam,
    default_weight,
    estimate_noise,
    reconstruct_sirt,
    reconstruct_tv,
    select_weight,
)
from emsparse_hs.tomography.selection import LeftOut, _valley, richest_slices


def loosely(sinogram, operator, weight):
    return reconstruct_tv(sinogram, operator, weight, tolerance=1e-2, max_iterations=80).volume


def selected(series, start_factor=1.0, **kwargs):
    sinogram = series.images.transpose(2, 0, 1)
    operator = ParallelBeam(series.tilts, sinogram.shape[2])
    start = start_factor * default_weight(estimate_noise(series.images), len(series.tilts))
    return sinogram, operator, select_weight(sinogram, operator, loosely, start, **kwargs)


@pytest.mark.parametrize("kind", ["particles", "porous", "needle", "clouds"])
def test_is_near_the_best_weight_and_better_than_sirt(kind):
    tilts = np.linspace(-70, 70, 21)
    series = simulate_tilt_series(kind, 66, 24, tilts, counts=50, seed=63)
    sinogram, operator, weight = selected(series)

    def error(volume):
        return np.linalg.norm(volume - series.volume) / np.linalg.norm(series.volume)

    errors = [
        error(reconstruct_tv(sinogram, operator, factor * weight, tolerance=5e-3).volume)
        for factor in (0.35, 0.5, 0.7, 1, 1.4, 2, 2.8)
    ]
    assert errors[3] <= 1.08 * min(errors)
    sirt, x = [], None
    for _ in range(10):
        x = reconstruct_sirt(sinogram, operator, 4, start=x)
        sirt.append(error(x))
    assert errors[3] < 0.75 * min(sirt)


def test_does_not_depend_on_where_it_starts_nor_on_units():
    series = simulate_tilt_series("particles", 40, 12, np.linspace(-70, 70, 21), seed=64)
    weights = [selected(series, factor)[2] for factor in (0.02, 1, 30)]
    np.testing.assert_allclose(weights, weights[1], rtol=0.15)
    sinogram, operator, _ = selected(series)
    start = default_weight(estimate_noise(series.images), 21)
    other = select_weight(sinogram * 1e6, operator, loosely, start * 1e6)
    assert other / 1e6 == pytest.approx(weights[1], rel=1e-3)


def test_exact_predicts_best():
    series = simulate_tilt_series("needle", 40, 12, np.linspace(-70, 70, 21), seed=65)
    sinogram, operator, weight = selected(series, exact=True)
    parts = LeftOut.every(21, 5)
    some, others = operator.part(parts.kept), operator.part(parts.left_out)

    def error(factor):
        fewer = np.sqrt(len(parts.kept) / 21)
        volume = loosely(sinogram[:, parts.kept], some, factor * weight * fewer)
        return np.square(others.forward(volume) - sinogram[:, parts.left_out]).sum()

    assert error(1) < min(error(0.4), error(2.5))
    assert selected(series)[2] > weight


def test_residuals_that_are_no_noise_are_told():
    """Displaced images: no factors of a noise hold, and the weight is the exact one."""
    series = simulate_tilt_series("needle", 66, 12, np.linspace(-70, 70, 21), 2000, seed=70)
    sigma = estimate_noise(series.images)
    exact = selected(series, exact=True)[2]
    coarse = selected(series, sigma=sigma)[2]
    assert coarse == selected(series)[2] != exact
    moves = np.random.default_rng(71).integers(-2, 3, 21)
    images = [np.roll(image, move, 0) for image, move in zip(series.images, moves, strict=True)]
    moved = replace(series, images=np.stack(images))
    assert selected(moved, sigma=sigma)[2] == selected(moved, exact=True)[2]


def test_valley():
    for bottom in (0.3, -2.7, 5.1):
        assert _valley(lambda x, at=bottom: (x - at) ** 2) == pytest.approx(bottom)
    # Beyond its reach the end of it is returned.
    assert _valley(lambda x: x) == -8
    assert _valley(lambda x: 1.0) == 0


def test_left_out_tilts():
    parts = LeftOut.every(11, 5)
    assert parts.left_out.tolist() == [2, 7] and parts.kept.tolist() == [0, 1, 3, 4, 5, 6, 8, 9, 10]
    assert LeftOut.every(3, 5).left_out.tolist() == [1]
    for n_tilts, step in ((2, 5), (9, 1)):
        with pytest.raises(ValueError, match="can't be left out"):
            LeftOut.every(n_tilts, step)


def test_richest_slices():
    operator, finer = ParallelBeam([0, 1], 16), ParallelBeam([0, 1], 100)
    assert richest_slices(np.ones((64, 2, 16)), operator, 3) == slice(None)
    sinogram = np.zeros((300, 2, 16))
    sinogram[100:140] = 1
    # On twice as fine a grid twice as many are needed, of which pairs are put together.
    for beam, dimensions, n in ((operator, 3, 64), (finer, 3, 128), (finer, 2, 64)):
        part = richest_slices(sinogram, beam, dimensions)
        assert part.stop - part.start == n and sinogram[part].sum() == sinogram.sum()

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Total variation against a slow solver, its certificate, and known truth."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import (
    ParallelBeam,
    _primal_dual,
    default_weight,
    estimate_noise,
    reconstruct_tv,
)


def gradient(x, dimensions):
    """Forward differences along z, y and, in three dimensions, the slices; zero at the end."""
    axes = (1, 2, 0)[:dimensions]
    parts = [np.diff(x, axis=axis, append=x.take([-1], axis=axis)) for axis in axes]
    return np.stack(parts)


def objective(x, sinogram, operator, weight, dimensions):
    variation = np.sqrt((gradient(x, dimensions) ** 2).sum(0)).sum()
    residual = operator.forward(x).astype(float) - sinogram
    return 0.5 * (residual**2).sum() + weight * variation


def slow_minimum(sinogram, operator, weight, bounds, dimensions, n_iterations=6000):
    """Plain primal-dual iterations in float64 with dense matrices (Chambolle and Pock, 2011)."""
    shape = (len(sinogram), *operator.image_shape)
    unit = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    rows_a = np.stack([operator.forward(u).ravel() for u in unit], axis=1).astype(float)
    rows_g = np.stack([gradient(u, dimensions).ravel() for u in unit], axis=1)
    step_q = 0.05
    tau = 0.99 / (step_q * np.linalg.norm(rows_a, 2) ** 2 + np.linalg.norm(rows_g, 2) ** 2)
    x = np.zeros(len(unit))
    q, p = np.zeros(len(rows_a)), np.zeros(len(rows_g))
    high = np.inf if bounds[1] is None else bounds[1]
    for _ in range(n_iterations):
        new = np.clip(x - tau * (rows_a.T @ q + rows_g.T @ p), bounds[0], high)
        ahead = 2 * new - x
        x = new
        q = (q + step_q * (rows_a @ ahead - sinogram.ravel())) / (1 + step_q)
        p = (p + rows_g @ ahead).reshape(dimensions, -1)
        p = (p * weight / np.maximum(weight, np.sqrt((p**2).sum(0)))).ravel()
    return x.reshape(shape)


@pytest.fixture(scope="module")
def tiny():
    rng = np.random.default_rng(20)
    volume = np.zeros((4, 7, 6))
    volume[1:3, 2:5, 1:5] = 2
    operator = ParallelBeam([-60, -25, 0, 40, 65], 9, (7, 6), [0.3, 0, -0.4, 0, 0])
    clean = operator.forward(volume)
    return operator, clean + rng.normal(0, 0.4, clean.shape).astype(np.float32)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("bounds", [(0, None), (0, 1.5), (-0.5, None), (0.25, 3)])
def test_equals_a_slow_solver(tiny, dimensions, bounds):
    operator, sinogram = tiny
    weight = 0.7
    slow = slow_minimum(sinogram, operator, weight, bounds, dimensions)
    least = objective(slow, sinogram, operator, weight, dimensions)
    result = reconstruct_tv(
        sinogram,
        operator,
        weight,
        bounds=bounds,
        dimensions=dimensions,
        tolerance=1e-4,
        max_iterations=4000,
    )
    assert result.converged
    found = objective(result.volume, sinogram, operator, weight, dimensions)
    assert result.objective == pytest.approx(found, rel=1e-4)
    assert found <= least * (1 + 2e-4)
    assert found >= least * (1 - 1e-5)
    assert result.volume.min() >= bounds[0] - 1e-6
    assert bounds[1] is None or result.volume.max() <= bounds[1] + 1e-6


@pytest.mark.parametrize("dimensions", [2, 3])
def test_gap_bounds_the_distance_from_the_minimum(tiny, dimensions):
    operator, sinogram = tiny
    weight = 0.7
    slow = slow_minimum(sinogram, operator, weight, (0, None), dimensions)
    least = objective(slow, sinogram, operator, weight, dimensions)
    for n_iterations in (1, 20, 40, 100, 300):
        result = reconstruct_tv(
            sinogram,
            operator,
            weight,
            dimensions=dimensions,
            tolerance=0,
            max_iterations=n_iterations,
        )
        assert result.gap >= 0
        assert result.objective * (1 - result.gap) <= least * (1 + 1e-5)


def test_kernels_equal_their_twins():
    rng = np.random.default_rng(21)
    n_slices = _primal_dual.SLAB + 5
    operator = ParallelBeam([0, 30], 6, (5, 6))
    sinogram = rng.random((n_slices, 2, 6))
    for dimensions in (2, 3):
        solver = _primal_dual.PrimalDual(sinogram, operator, 0.3, np.inf, dimensions, 1.0)
        x = rng.random((n_slices, 5, 6)).astype(np.float32)
        p = rng.random((3, n_slices, 5, 6)).astype(np.float32) * 0.1
        p[dimensions:] = 0
        p[2, -1] = 0  # as the difference beyond the last slice is, from the first iteration on
        solver.x[:] = operator.volume_to_slabs(x)
        for axis in range(3):
            solver.p_mean[:, axis] = operator.volume_to_slabs(p[axis])
        variation = np.sqrt((gradient(x.astype(float), dimensions) ** 2).sum(0)).sum()
        residual = operator.forward(x) - sinogram
        expected = 0.5 * (residual**2).sum() + 0.3 * variation
        assert solver._objective().sum() == pytest.approx(expected, rel=1e-5)
        # The adjoint of the gradient by its definition: <grad x, p> = <x, adjoint p>.
        for b in range(len(solver.x)):
            solver._dual_slope(b)
        adjoint = operator.volume_from_slabs(solver.slope, n_slices)
        product = (gradient(x.astype(float), dimensions) * p[:dimensions]).sum()
        assert np.vdot(x, adjoint) == pytest.approx(product, rel=1e-4)


@pytest.mark.parametrize("kind, error", [("particles", 0.3), ("needle", 0.25)])
def test_comes_near_the_truth(kind, error):
    series = simulate_tilt_series(kind, size=48, n_slices=20, seed=22)
    sinogram = series.images.transpose(2, 0, 1)
    operator = ParallelBeam(series.tilts, 48)
    sigma = estimate_noise(series.images)
    weight = default_weight(sigma, len(series.tilts))
    result = reconstruct_tv(sinogram, operator, weight, tolerance=5e-3)
    assert result.converged
    off = np.linalg.norm(result.volume - series.volume) / np.linalg.norm(series.volume)
    assert off < error
    assert result.chi_squared(np.std(series.images - series.clean_images)) == pytest.approx(
        0.95, abs=0.1
    )
    noisier = reconstruct_tv(sinogram, operator, 0.1 * weight, tolerance=5e-3)
    assert np.linalg.norm(noisier.volume - series.volume) > np.linalg.norm(
        result.volume - series.volume
    )


def test_units_change_nothing_but_units(tiny):
    operator, sinogram = tiny
    one = reconstruct_tv(sinogram, operator, 0.7, tolerance=1e-3)
    other = reconstruct_tv(sinogram * 1e4, operator, 0.7e4, tolerance=1e-3)
    assert one.n_iterations == other.n_iterations
    np.testing.assert_allclose(other.volume, one.volume * 1e4, atol=10)


def test_slices_do_not_know_of_each_other_in_two_dimensions(tiny):
    operator, sinogram = tiny
    settings = {"dimensions": 2, "scale": 5.0, "tolerance": 1e-3}
    together = reconstruct_tv(sinogram, operator, 0.7, **settings)
    for s in range(len(sinogram)):
        alone = reconstruct_tv(sinogram[s : s + 1], operator, 0.7, **settings)
        np.testing.assert_allclose(together.volume[s], alone.volume[0], atol=1e-5)
        assert together.iterations_per_slice[s] == alone.n_iterations


def test_weight_zero_is_least_squares():
    rng = np.random.default_rng(23)
    volume = rng.random((2, 5, 6)) + 0.5
    operator = ParallelBeam(np.linspace(-85, 85, 30), 12, (5, 6))
    sinogram = operator.forward(volume)
    result = reconstruct_tv(sinogram, operator, 0.0, tolerance=1e-9, max_iterations=3000)
    np.testing.assert_allclose(result.volume, volume, atol=0.02)


def test_heavy_weight_flattens_and_empty_data_stay_empty(tiny):
    operator, sinogram = tiny
    flat = reconstruct_tv(sinogram, operator, 1e4, max_iterations=2000)
    assert np.ptp(flat.volume) < 0.02 * flat.volume.max()
    empty = reconstruct_tv(np.zeros_like(sinogram), operator, 0.7)
    assert empty.converged and empty.gap == 0 and not empty.volume.any()


def test_threads_change_nothing():
    series = simulate_tilt_series(size=16, n_slices=70, seed=24)
    sinogram = series.images.transpose(2, 0, 1)
    results = [
        reconstruct_tv(
            sinogram, ParallelBeam(series.tilts, 16, num_workers=n), 5.0, max_iterations=40
        )
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(results[0].volume, results[1].volume)


def test_callback_sees_each_iteration_and_may_stop(tiny):
    operator, sinogram = tiny
    seen = []
    result = reconstruct_tv(sinogram, operator, 0.7, callback=lambda k, gap: seen.append((k, gap)))
    assert [k for k, _ in seen] == list(range(1, result.n_iterations + 1))
    assert np.isnan(seen[0][1]) and seen[-1][1] == result.gap

    def interrupt(k, gap):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct_tv(sinogram, operator, 0.7, callback=interrupt)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"weight": -1.0}, "weight"),
        ({"weight": np.nan}, "weight"),
        ({"bounds": (None, 1)}, "finite lower"),
        ({"bounds": (2, 1)}, "below the upper"),
        ({"dimensions": 4}, "dimensions"),
        ({"max_iterations": 0}, "max_iterations"),
    ],
)
def test_says_what_is_wrong(tiny, change, message):
    operator, sinogram = tiny
    settings = {"weight": 0.7} | change
    with pytest.raises(ValueError, match=message):
        reconstruct_tv(sinogram, operator, **settings)


def test_says_what_is_wrong_with_data(tiny):
    operator, sinogram = tiny
    broken = sinogram.copy()
    broken[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="1 projected values are NaN"):
        reconstruct_tv(broken, operator, 0.7)
    with pytest.raises(ValueError, match="slice, tilt, detector"):
        reconstruct_tv(sinogram[:, :2], operator, 0.7)
    with pytest.raises(TypeError, match="real"):
        reconstruct_tv(sinogram * 1j, operator, 0.7)

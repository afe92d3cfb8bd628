# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Wavelets against a transform by its definition, a slow solver, and their certificate."""

from functools import cache
from itertools import product

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import (
    ParallelBeam,
    default_weight,
    estimate_noise,
    reconstruct_tv,
    reconstruct_wavelets,
)
from emsparse_hs.tomography._coarse import coarser, take_over
from emsparse_hs.tomography._kernels import SLAB
from emsparse_hs.tomography._primal_dual import PrimalDual
from emsparse_hs.tomography._problem import Penalty, Problem
from emsparse_hs.tomography._slabs import slices_of, zeros
from emsparse_hs.tomography._wavelet_kernels import merge_wavelets, size_of_wavelets

WEIGHT = 0.7


def signs_of_voxels(level, dimensions):
    """Each voxel that a coefficient counts, as offset (slice, z, y), with its sign in each band.

    A band has means over cubes of 2**level voxels. Along the axes (z, y, slice) that its number
    has as binary digits the further one is subtracted.
    """
    far = 2**level
    bands = list(product((0, 1), repeat=dimensions))[1:]
    for offset in np.ndindex(2 * far if dimensions == 3 else 1, 2 * far, 2 * far):
        s, z, y = offset
        is_far = np.array((z, y, s))[:dimensions] >= far
        yield offset, np.array([(-1.0) ** (band @ is_far) for band in np.array(bands)])


def room(shape, level, dimensions):
    """Part of the volume (slice, z, y) whose coefficients do not reach beyond it."""
    reach = 2 ** (level + 1) - 1
    return tuple(
        slice(0, max(0, n - reach) if axis or dimensions == 3 else n)
        for axis, n in enumerate(shape)
    )


def moved(part, offset):
    return tuple(slice(o, o + each.stop) for o, each in zip(offset, part, strict=True))


def transform(x, levels, dimensions):
    """Coefficients (level, band, slice, z, y), 0 where they would reach beyond the volume."""
    result = np.zeros((levels, 2**dimensions - 1, *x.shape))
    for level in range(levels):
        part, voxels = room(x.shape, level, dimensions), 2 ** ((level + 1) * dimensions)
        for offset, signs in signs_of_voxels(level, dimensions):
            for band, sign in enumerate(signs):
                result[(level, band, *part)] += sign / voxels * x[moved(part, offset)]
    return result


def adjoint(p, dimensions):
    """What a dual (level, band, slice, z, y) leads to."""
    result = np.zeros(p.shape[2:])
    for level, bands in enumerate(p):
        part, voxels = room(result.shape, level, dimensions), 2 ** ((level + 1) * dimensions)
        for offset, signs in signs_of_voxels(level, dimensions):
            for dual, sign in zip(bands, signs, strict=True):
                result[moved(part, offset)] += sign / voxels * dual[part]
    return result


def weights(levels, weight=WEIGHT):
    """Weight of each level, to multiply coefficients with."""
    return weight / 2.0 ** np.arange(levels)[:, None, None, None, None]


def objective(x, sinogram, operator, levels, dimensions, precision=1.0):
    residual = operator.forward(x).astype(float) - sinogram
    prior = np.abs(weights(levels) * transform(x.astype(float), levels, dimensions)).sum()
    return 0.5 * (precision * residual**2).sum() + prior


@cache
def matrix_of_transform(shape, levels, dimensions):
    """Dense matrix (coefficient, voxel) of the transform, and the weight of each coefficient."""
    unit = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    rows = np.stack([transform(u, levels, dimensions).ravel() for u in unit], axis=1)
    counts = rows.any(axis=1)
    each = np.broadcast_to(weights(levels), (levels, 2**dimensions - 1, *shape))
    return rows[counts], each.ravel()[counts]


def slow_minimum(sinogram, operator, levels, bounds, dimensions, precision, n_iterations=3000):
    """Plain primal-dual iterations in float64 with dense matrices (Chambolle and Pock, 2011)."""
    shape = (len(sinogram), *operator.image_shape)
    unit = np.eye(int(np.prod(shape))).reshape(-1, *shape)
    rows_a = np.stack([operator.forward(u).ravel() for u in unit], axis=1).astype(float)
    rows_w, weight = matrix_of_transform(shape, levels, dimensions)
    # Both parts of the dual are scaled so that no step is much too short.
    scale = 0.3
    rows_w, weight = rows_w / scale, weight * scale
    sigma = 0.1
    tau = 0.99 / (sigma * np.linalg.norm(np.concatenate([rows_a, rows_w]), 2) ** 2)
    x = np.zeros(len(unit))
    q, p = np.zeros(len(rows_a)), np.zeros(len(rows_w))
    high = np.inf if bounds[1] is None else bounds[1]
    data, precision = sinogram.ravel(), np.broadcast_to(precision, sinogram.shape).ravel()
    for _ in range(n_iterations):
        new = np.clip(x - tau * (rows_a.T @ q + rows_w.T @ p), bounds[0], high)
        ahead = 2 * new - x
        x = new
        q = (q + sigma * (rows_a @ ahead - data)) * precision / (precision + sigma)
        p = np.clip(p + sigma * (rows_w @ ahead), -weight, weight)
    return x.reshape(shape)


@pytest.fixture(scope="module")
def tiny():
    rng = np.random.default_rng(30)
    volume = np.zeros((4, 7, 6))
    volume[1:3, 2:5, 1:5] = 2
    operator = ParallelBeam([-60, -25, 0, 40, 65], 9, (7, 6), [0.3, 0, -0.4, 0, 0])
    clean = operator.forward(volume)
    return operator, clean + rng.normal(0, 0.4, clean.shape).astype(np.float32)


@pytest.fixture(scope="module")
def precision(tiny):
    rng = np.random.default_rng(31)
    shape = tiny[1].shape
    return (rng.uniform(0.2, 2, shape) * (rng.random(shape) > 0.1)).astype(np.float32)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("levels", [1, 2])
@pytest.mark.parametrize(
    "bounds, weighted",
    [((0, None), False), ((0, 1.5), True), ((-0.5, None), True), ((0.25, 3), False)],
)
def test_equals_a_slow_solver(tiny, precision, dimensions, levels, bounds, weighted):
    operator, sinogram = tiny
    trust = precision if weighted else 1.0
    slow = slow_minimum(sinogram, operator, levels, bounds, dimensions, trust)
    least = objective(slow, sinogram, operator, levels, dimensions, trust)
    settings = {"levels": levels, "bounds": bounds, "dimensions": dimensions}
    settings["precision"] = precision if weighted else None
    result = reconstruct_wavelets(
        sinogram, operator, WEIGHT, **settings, tolerance=1e-4, max_iterations=4000
    )
    assert result.converged
    found = objective(result.volume, sinogram, operator, levels, dimensions, trust)
    assert result.objective == pytest.approx(found, rel=1e-4)
    assert least * (1 - 1e-5) <= found <= least * (1 + 2e-4)
    assert result.volume.min() >= bounds[0] - 1e-6
    assert bounds[1] is None or result.volume.max() <= bounds[1] + 1e-6
    # The gap bounds the distance from the minimum wherever the solver stops.
    for n_iterations in (1, 20, 40, 100):
        short = reconstruct_wavelets(
            sinogram, operator, WEIGHT, **settings, tolerance=0, max_iterations=n_iterations
        )
        assert 0 <= short.gap <= 1
        assert short.objective * (1 - short.gap) <= least * (1 + 1e-5)


def test_gap_is_that_of_each_slice_in_two_dimensions(tiny):
    operator, sinogram = tiny
    result = reconstruct_wavelets(sinogram, operator, WEIGHT, levels=2, dimensions=2)
    each = [
        objective(x[None], data[None], operator, 2, 2)
        for x, data in zip(result.volume, sinogram, strict=True)
    ]
    np.testing.assert_allclose(result.objective_per_slice, each, rtol=1e-4)
    assert result.gap == result.gap_per_slice.max()


def random_solver(dimensions, levels, weight=WEIGHT, shape=(SLAB + 9, 9, 11)):
    """Solver of slices in two slabs, in the midst of anything; volume, slope and duals as arrays.

    Duals are 0 where coefficients would reach beyond the volume, as they are from the first on.
    """
    rng = np.random.default_rng(32)
    operator = ParallelBeam([0, 30], shape[2], shape[1:])
    penalty = Penalty(wavelets=weight, levels=levels, dimensions=dimensions)
    problem = Problem(rng.random((shape[0], 2, shape[2])), operator, penalty, 0.9)
    solver = PrimalDual(problem)
    x, slope = rng.random((2, *shape)).astype(np.float32)
    p = np.zeros((levels, 2**dimensions - 1, *shape), np.float32)
    for level in range(levels):
        part = (level, slice(None), *room(shape, level, dimensions))
        p[part] = rng.normal(0, 0.2, p[part].shape)
    solver.x[:], solver.slope[:] = operator.volume_to_slabs(x), operator.volume_to_slabs(slope)
    for level, band in product(range(levels), range(2**dimensions - 1)):
        solver.prior.p[:, level, band] = operator.volume_to_slabs(p[level, band])
    return solver, x, slope, p


def dual_of(prior):
    """Dual (level, band, slice, z, y) of a prior, from its slabs."""
    problem = prior.problem
    shape = problem.n_slices, *problem.operator.image_shape
    result = np.zeros((prior.n_levels, prior.n_bands, *shape))
    for level, band in product(range(prior.n_levels), range(prior.n_bands)):
        slabs = prior.p[:, level, band]
        result[level, band] = problem.operator.volume_from_slabs(slabs, problem.n_slices)
        # What fills the last slab up.
        assert not slabs[-1, ..., problem.counts[-1] :].any()
    return result


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_value_and_slope_equal_their_twins(dimensions, levels):
    solver, x, slope, p = random_solver(dimensions, levels)
    sizes = np.abs(weights(levels) * transform(x.astype(float), levels, dimensions))
    each = sizes.sum((0, 1, 3, 4))
    expected = each if dimensions == 2 else each.sum(keepdims=True)
    np.testing.assert_allclose(solver.prior.value(solver.x), expected, rtol=1e-5)
    solver.prior.add_slope(solver.slope, solver._each_slab)
    found = solver.problem.operator.volume_from_slabs(solver.slope, len(x))
    np.testing.assert_allclose(found, slope + adjoint(p, dimensions), atol=1e-5)
    solver.x[:] = 0.7
    assert solver.prior.value(solver.x).max() < 1e-6 * expected.min()


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("keep", [0, 1])
def test_a_sweep_equals_its_twin(dimensions, levels, keep):
    weight = 0.3
    solver, x, slope, p = random_solver(dimensions, levels, weight)
    step = np.zeros_like(solver.step)
    step.reshape(-1)[: len(x)] = np.linspace(0.5, 1.5, len(x)) if dimensions == 2 else 0.8
    solver.prior.sweep(2, solver.x, solver.slope, step, keep, solver._each_slab)
    each = step.reshape(-1)[: len(x), None, None]
    most = weights(levels, weight)
    for _ in range(2):
        w = np.clip(keep * x - each * (slope + adjoint(p, dimensions)), 0, 0.9)
        p = np.clip(p + transform(w, levels, dimensions) / each, -most, most)
    np.testing.assert_allclose(dual_of(solver.prior), p, atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_slope_is_the_adjoint_of_the_coefficients(dimensions, levels):
    """A step of 1 from a dual of 0, whose weight nothing reaches, leaves the coefficients."""
    solver, x, _, p = random_solver(dimensions, levels, weight=1e6)
    prior = solver.prior
    prior.add_slope(solver.slope, solver._each_slab)
    lead = solver.problem.operator.volume_from_slabs(solver.slope, len(x)).astype(float)
    solver.slope[:] = 0
    prior.p[:] = 0
    prior.sweep(1, solver.x, solver.slope, np.ones_like(solver.step), 1.0, solver._each_slab)
    found = dual_of(prior)
    w = np.clip(x, 0, 0.9).astype(float)
    np.testing.assert_allclose(found, transform(w, levels, dimensions), atol=1e-6)
    _, _, slope, _ = random_solver(dimensions, levels)
    assert (found * p).sum() == pytest.approx((w * (lead - slope)).sum(), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("stride", [1, 33, SLAB])
def test_slabs_meet_at_any_distance(stride):
    """Seen by the sums of a level, which are taken with nothing beyond the volume."""
    rng = np.random.default_rng(36)
    x, sums, found = zeros(3, 4, 5), zeros(3, 4, 5), zeros(3, 4, 5)
    x[:], sums[:] = rng.random((2, *x.shape))
    nothing, p, ones = zeros(4, 5), zeros(7, 4, 5), np.ones(SLAB, np.float32)
    slices = slices_of(x, 3 * SLAB).astype(float)
    expected = np.zeros(slices.shape)
    for s, z, y in product((0, stride), repeat=3):
        near = slices[s:, z:, y:]
        expected[tuple(slice(0, n) for n in near.shape)] += near / 8
    led_to = 0.0
    for b in range(3):
        after = x[b + 1] if b < 2 else nothing
        size_of_wavelets(x[b], after, stride, True, ones, 7, found[b])
        out, before = zeros(4, 5), sums[b - 1] if b else nothing
        merge_wavelets(sums[b], before, p, p, stride, True, out)
        led_to += (out.astype(float) * x[b]).sum()
    np.testing.assert_allclose(slices_of(found, 3 * SLAB), expected, atol=1e-6)
    assert (found.astype(float) * sums).sum() == pytest.approx(led_to, rel=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_transform_makes_nothing_longer(dimensions, levels):
    """The steps of the dual rest on this. Deep inside nearly nothing is lost but the mean."""
    shape = (9, 8, 10) if dimensions == 3 else (1, 20, 17)
    rng = np.random.default_rng(33)
    x = rng.normal(size=shape)
    for _ in range(12):
        x /= np.linalg.norm(x)
        x = adjoint(transform(x, levels, dimensions), dimensions)
    assert 0.8 < np.linalg.norm(x) <= 1 + 1e-12


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_coarse_solution_starts_the_fine_one_well(dimensions):
    series = simulate_tilt_series(size=33, n_slices=13, tilts=np.linspace(-70, 70, 15), seed=34)
    sinogram = series.images.transpose(2, 0, 1)
    operator = ParallelBeam(series.tilts, 33)
    weight = default_weight(estimate_noise(series.images), len(series.tilts))
    settings = {"levels": 2, "dimensions": dimensions}
    least = reconstruct_wavelets(sinogram, operator, weight, **settings).objective
    problem = Problem(sinogram, operator, Penalty(wavelets=weight, **settings), np.inf)
    empty = PrimalDual(problem).evaluate().sum()
    coarse = PrimalDual(coarser(problem))
    for _ in range(60):
        coarse.iterate()
    coarse.best[:] = coarse.x
    fine = PrimalDual(problem)
    take_over(fine, coarse)
    assert fine.evaluate().sum() - least < 0.05 * (empty - least)
    # Some iterations do not throw the volume back.
    for _ in range(3):
        fine.iterate(1.0)
    assert fine.evaluate().sum() - least < 0.05 * (empty - least)


@pytest.mark.parametrize("levels", [1, 2])
def test_heavy_weight_flattens_and_empty_data_stay_empty(tiny, levels):
    operator, sinogram = tiny
    flat = reconstruct_wavelets(sinogram, operator, 1e4, levels=levels, max_iterations=2000)
    assert np.ptp(flat.volume) < 0.02 * flat.volume.max()
    empty = reconstruct_wavelets(np.zeros_like(sinogram), operator, WEIGHT, levels=levels)
    assert empty.converged and empty.gap == 0 and not empty.volume.any()


def test_weight_zero_is_least_squares(tiny):
    operator, sinogram = tiny
    settings = {"tolerance": 1e-4, "max_iterations": 200}
    one = reconstruct_wavelets(sinogram, operator, 0.0, **settings)
    other = reconstruct_tv(sinogram, operator, 0.0, **settings)
    np.testing.assert_array_equal(one.volume, other.volume)


def test_slices_do_not_know_of_each_other_in_two_dimensions(tiny, precision):
    operator, sinogram = tiny
    sinogram = sinogram * np.array([1, 100, 1, 0.2])[:, None, None]
    settings = {"dimensions": 2, "levels": 2}
    for trust in (None, precision):
        together = reconstruct_wavelets(sinogram, operator, WEIGHT, precision=trust, **settings)
        for s in range(len(sinogram)):
            one = slice(s, s + 1)
            each = None if trust is None else trust[one]
            alone = reconstruct_wavelets(
                sinogram[one], operator, WEIGHT, precision=each, **settings
            )
            np.testing.assert_array_equal(together.volume[s], alone.volume[0])
            assert together.iterations_per_slice[s] == alone.n_iterations


@pytest.mark.parametrize("dimensions", [2, 3])
def test_threads_change_nothing(dimensions):
    series = simulate_tilt_series(size=16, n_slices=70, tilts=np.linspace(-70, 70, 9), seed=35)
    sinogram = series.images.transpose(2, 0, 1)
    settings = {"levels": 2, "dimensions": dimensions, "max_iterations": 40}
    results = [
        reconstruct_wavelets(
            sinogram, ParallelBeam(series.tilts, 16, num_workers=n), 5.0, **settings
        )
        for n in (1, 2)
    ]
    np.testing.assert_array_equal(results[0].volume, results[1].volume)


@pytest.mark.parametrize("unit", [1e-30, 1e25])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("bounds", [(0, None), (-0.5, 1.5)])
def test_units_change_nothing_but_units(tiny, unit, dimensions, bounds):
    operator, sinogram = tiny
    settings = {"levels": 2, "dimensions": dimensions}
    one = reconstruct_wavelets(sinogram, operator, WEIGHT, bounds=bounds, **settings)
    other = reconstruct_wavelets(
        sinogram * np.float64(unit),
        operator,
        WEIGHT * unit,
        bounds=[None if bound is None else bound * unit for bound in bounds],
        **settings,
    )
    assert one.converged and other.converged
    assert one.n_iterations == other.n_iterations
    np.testing.assert_allclose(other.volume / unit, one.volume, atol=1e-3)
    assert other.gap == pytest.approx(one.gap, rel=0.02)
    assert other.objective / unit**2 == pytest.approx(one.objective, rel=1e-4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"levels": 3}, "3 levels of wavelets need 8 voxels"),
        ({"levels": 3, "dimensions": 2}, "3 levels of wavelets need 8 voxels"),
        ({"levels": 0}, "levels must be a whole number"),
        ({"levels": 8}, "7 levels at the most, not 8"),
        ({"levels": 1.5}, "levels must be a whole number"),
        ({"levels": None}, "levels must be a whole number"),
        ({"weight": -1.0}, "weight"),
        ({"weight": np.nan}, "weight"),
        ({"dimensions": 4}, "dimensions"),
        ({"bounds": (None, 1)}, "finite lower"),
        ({"tolerance": -1}, "tolerance"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"precision": np.zeros((4, 5, 9))}, "only zeros"),
        ({"start": np.zeros((4, 7, 7))}, "volume has shape"),
    ],
)
def test_says_what_is_wrong(tiny, change, message):
    operator, sinogram = tiny
    settings = {"weight": WEIGHT} | change
    with pytest.raises(ValueError, match=message):
        reconstruct_wavelets(sinogram, operator, **settings)


def test_few_slices_take_few_levels_in_three_dimensions_only(tiny):
    operator, sinogram = tiny
    with pytest.raises(ValueError, match="3 slices of .* dimensions=2"):
        reconstruct_wavelets(sinogram[:3], operator, WEIGHT, levels=2)
    flat = reconstruct_wavelets(sinogram[:3], operator, WEIGHT, levels=2, dimensions=2)
    assert flat.converged

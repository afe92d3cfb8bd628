# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Total variation against a slow solver, its certificate, and known truth."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import (
    ParallelBeam,
    default_weight,
    estimate_noise,
    reconstruct_tv,
    typical_norm,
)
from emsparse_hs.tomography._certificate import Certificate
from emsparse_hs.tomography._coarse import coarser, take_over
from emsparse_hs.tomography._kernels import SLAB
from emsparse_hs.tomography._primal_dual import PrimalDual
from emsparse_hs.tomography._prior import Prior
from emsparse_hs.tomography._problem import Penalty, Problem


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
    if dimensions == 2:
        each = [
            objective(x[None], data[None], operator, weight, 2)
            for x, data in zip(result.volume, sinogram, strict=True)
        ]
        np.testing.assert_allclose(result.objective_per_slice, each, rtol=1e-4)
        assert result.gap == result.gap_per_slice.max()
        assert result.n_iterations == result.iterations_per_slice.max()
    assert found <= least * (1 + 2e-4)
    assert found >= least * (1 - 1e-5)
    assert result.volume.min() >= bounds[0] - 1e-6
    assert bounds[1] is None or result.volume.max() <= bounds[1] + 1e-6


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("bounds", [(0, None), (0, 1.7)])
@pytest.mark.parametrize(
    "extra",
    [
        {"edge": 0.3},
        {"sparsity": 0.8, "weight": 0.0},
        {"sparsity": 0.5},
        {"precision": True},
        {"edge": 0.2, "sparsity": 0.3, "precision": True},
    ],
    ids=str,
)
def test_other_objectives_are_certified_and_minimal(tiny, extra, bounds, dimensions):
    """By random neighbours, none of which is better; a convex function has no other minima."""
    operator, sinogram = tiny
    rng = np.random.default_rng(26)
    settings = {"weight": 0.7} | extra
    if "precision" in extra:
        settings["precision"] = rng.uniform(0, 2, sinogram.shape) * (
            rng.random(sinogram.shape) > 0.1
        )

    def value(x):
        length = np.sqrt((gradient(x, dimensions) ** 2).sum(0))
        edge = settings.get("edge", 0)
        parabola = length**2 / (2 * edge) if edge else length
        variation = np.where(length < edge, parabola, length - edge / 2).sum()
        residual = (operator.forward(x).astype(float) - sinogram) ** 2
        misfit = 0.5 * (residual * settings.get("precision", 1)).sum()
        return misfit + settings["weight"] * variation + settings.get("sparsity", 0) * x.sum()

    result = reconstruct_tv(
        sinogram,
        operator,
        **settings,
        bounds=bounds,
        dimensions=dimensions,
        tolerance=1e-5,
        max_iterations=6000,
    )
    assert result.gap < 1e-3
    x = result.volume.astype(float)
    assert result.objective == pytest.approx(value(x), rel=1e-4)
    high = np.inf if bounds[1] is None else bounds[1]
    least = result.objective * (1 - result.gap)
    for _ in range(300):
        size = 10 ** rng.uniform(-3, 0)
        other = np.clip(x + size * rng.normal(size=x.shape) * (rng.random(x.shape) < 0.2), 0, high)
        assert value(other) >= least * (1 - 1e-5)


def test_gap_holds_where_a_whole_slab_has_no_weight():
    """The bound of voxels that are not seen is that of the whole volume, not of their slab."""
    rng = np.random.default_rng(27)
    operator = ParallelBeam(np.linspace(-60, 60, 5), 8)
    clean = operator.forward(np.ones((2 * SLAB, 8, 8)))
    sinogram = clean + rng.normal(0, 0.3, clean.shape)
    precision = np.ones(clean.shape)
    for part in (slice(None, SLAB), slice(SLAB, None)):
        weights = precision.copy()
        weights[part] = 0
        settings = {"precision": weights, "tolerance": 0}
        long = reconstruct_tv(sinogram, operator, 0.5, max_iterations=1500, **settings)
        for n in (20, 100, 300):
            short = reconstruct_tv(sinogram, operator, 0.5, max_iterations=n, **settings)
            assert short.objective * (1 - short.gap) <= long.objective * (1 + 1e-5)


@pytest.mark.parametrize("factor", [0.01, 100.0])
@pytest.mark.parametrize("n_tilts", [1, 5])
def test_even_weights_are_another_unit(tiny, factor, n_tilts):
    operator, sinogram = tiny
    operator, sinogram = operator.part(np.arange(n_tilts)), sinogram[:, :n_tilts]
    settings = {"tolerance": 1e-4, "max_iterations": 3000}
    plain = reconstruct_tv(sinogram, operator, 0.7, **settings)
    precision = np.full(sinogram.shape, factor)
    other = reconstruct_tv(sinogram, operator, 0.7 * factor, precision=precision, **settings)
    assert other.objective / factor == pytest.approx(plain.objective, rel=5e-4)
    assert plain.converged and other.converged
    assert other.n_iterations <= 1.5 * plain.n_iterations + 20


def test_weighted_slices_do_not_know_of_each_other_in_two_dimensions(tiny):
    operator, sinogram = tiny
    precision = np.random.default_rng(28).uniform(0.1, 2, sinogram.shape)
    precision[1] *= 50
    settings = {"dimensions": 2, "tolerance": 1e-3}
    together = reconstruct_tv(sinogram, operator, 0.7, precision=precision, **settings)
    for s in range(len(sinogram)):
        one = slice(s, s + 1)
        alone = reconstruct_tv(sinogram[one], operator, 0.7, precision=precision[one], **settings)
        np.testing.assert_array_equal(together.volume[s], alone.volume[0])


@pytest.mark.parametrize("dimensions", [2, 3])
def test_starting_elsewhere_ends_at_the_same(tiny, dimensions):
    operator, sinogram = tiny
    settings = {"dimensions": dimensions, "tolerance": 1e-5, "max_iterations": 6000}
    one = reconstruct_tv(sinogram, operator, 0.7, **settings)
    start = np.full((4, 7, 6), 3.0)
    other = reconstruct_tv(sinogram, operator, 0.7, start=start, **settings)
    assert other.objective == pytest.approx(one.objective, rel=2e-4)
    warm = reconstruct_tv(
        sinogram, operator, 0.7, start=one.volume, dimensions=dimensions, tolerance=1e-3
    )
    assert warm.n_iterations <= 40
    assert one.gap_history[-1].tolist() == [one.n_iterations, one.gap]
    assert (start == 3).all()


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
        assert 0 <= result.gap <= 1
        assert result.objective * (1 - result.gap) <= least * (1 + 1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_gap_holds_for_slices_of_very_different_brightness(dimensions):
    volume = np.zeros((3, 8, 8))
    volume[2, 3:5, 3:5] = 50
    operator = ParallelBeam(np.linspace(-60, 60, 5), 8)
    sinogram = operator.forward(volume)
    settings = {"weight": 0.5, "dimensions": dimensions}
    long = reconstruct_tv(sinogram, operator, tolerance=1e-6, max_iterations=10000, **settings)
    least = objective(long.volume, sinogram, operator, 0.5, dimensions)
    for n_iterations in (1, 5, 20, 40):
        result = reconstruct_tv(
            sinogram, operator, tolerance=0, max_iterations=n_iterations, **settings
        )
        if dimensions == 3:
            assert result.objective * (1 - result.gap) <= least * (1 + 1e-5)
        else:
            bounds = result.objective_per_slice * (1 - result.gap_per_slice)
            assert (bounds <= long.objective_per_slice * (1 + 1e-5)).all()


@pytest.mark.parametrize("weight", [0.0, 1e-3])
def test_gap_of_data_without_noise_is_at_most_one(weight):
    volume = np.zeros((2, 16, 16))
    volume[:, 5:11, 4:12] = 1
    operator = ParallelBeam(np.linspace(-60, 60, 13), 16)
    sinogram = operator.forward(volume)
    for n_iterations in (20, 300):
        result = reconstruct_tv(sinogram, operator, weight, max_iterations=n_iterations)
        assert 0 <= result.gap <= 1 and not result.converged


def test_a_broken_proof_is_no_proof(tiny):
    operator, sinogram = tiny
    certificate = Certificate(Problem(sinogram[:1], operator, Penalty(variation=0.7), np.inf))
    room = np.zeros((1, *operator.image_shape, SLAB), np.float32)
    duals = np.zeros_like(certificate.problem.measured), Prior(certificate.problem)
    for bound, expected in [(0.75, 0.25), (1 + 1e-6, 0), (1.1, np.nan), (np.nan, 1)]:
        certificate.bound[:] = bound
        np.testing.assert_allclose(certificate.gap(np.ones(1), *duals, room), expected)
    for broken in (np.nan, np.inf):
        certificate.bound[:] = 0.5
        assert np.isnan(certificate.gap(np.full(1, broken), *duals, room))
    certificate.bound[:] = 0
    assert certificate.gap(np.zeros(1), *duals, room) == 0
    # A weight that float32 can not hold.
    result = reconstruct_tv(sinogram, operator, 1e300, max_iterations=40)
    assert not result.converged


def adjoint_gradient(p):
    """Sum of backward differences of a dual (3, slice, z, y), by the definition of an adjoint."""
    result = np.zeros(p.shape[1:])
    for part, axis in zip(p, (1, 2, 0), strict=True):
        part, out = np.moveaxis(part, axis, 0), np.moveaxis(result, axis, 0)
        out[:-1] -= part[:-1]
        out[1:] += part[:-1]
    return result


def random_solver(dimensions, edge=0.0):
    """Solver of slices in two slabs, in the midst of anything; volume and duals as arrays."""
    rng = np.random.default_rng(21)
    n_slices = SLAB + 5
    operator = ParallelBeam([0, 30], 6, (5, 6))
    penalty = Penalty(variation=0.3, edge=edge, dimensions=dimensions)
    problem = Problem(rng.random((n_slices, 2, 6)), operator, penalty, 0.9)
    solver = PrimalDual(problem)
    x, slope = rng.random((2, n_slices, 5, 6)).astype(np.float32)
    duals = rng.normal(0, 0.2, (2, 3, n_slices, 5, 6)).astype(np.float32)
    # As the difference beyond the last slice is, from the first iteration on.
    duals[:, dimensions:] = 0
    duals[:, 2, -1] = 0
    solver.x[:], solver.slope[:] = operator.volume_to_slabs(x), operator.volume_to_slabs(slope)
    for to, dual in zip((solver.prior.p, solver.prior.last), duals, strict=True):
        for axis in range(3):
            to[:, axis] = operator.volume_to_slabs(dual[axis])
    return solver, x, slope, *duals


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("edge", [0, 0.1])
def test_objective_and_adjoint_equal_their_twins(dimensions, edge):
    solver, x, slope, p, _ = random_solver(dimensions, edge)
    problem, operator = solver.problem, solver.problem.operator
    length = np.sqrt((gradient(x.astype(float), dimensions) ** 2).sum(0))
    parabola = length**2 / (2 * edge) if edge else length
    variation = np.where(length < edge, parabola, length - edge / 2).sum()
    data = operator.sinogram_from_slabs(problem.measured, len(x))
    expected = 0.5 * ((operator.forward(x) - data) ** 2).sum() + 0.3 * variation
    assert solver.evaluate().sum() == pytest.approx(expected, rel=1e-5)
    solver.prior.add_slope(solver.slope, solver._each_slab)
    found = operator.volume_from_slabs(solver.slope, len(x))
    np.testing.assert_allclose(found, slope + adjoint_gradient(p), atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("edge", [0, 0.1])
@pytest.mark.parametrize("keep", [0, 1])
def test_a_sweep_equals_its_twin(dimensions, edge, keep, monkeypatch):
    solver, x, slope, p, last = random_solver(dimensions, edge)
    monkeypatch.setattr("emsparse_hs.tomography._variation.momenta", lambda n: [0.6] * n)
    step = np.zeros_like(solver.step)
    step.reshape(-1)[: len(x)] = np.linspace(0.5, 1.5, len(x)) if dimensions == 2 else 0.8
    solver.prior.sweep(2, solver.x, solver.slope, step, keep, solver._each_slab)
    each = step.reshape(-1)[: len(x), None, None]
    rise = 1 / ((8 if dimensions == 2 else 12) * each)
    for _ in range(2):
        y = p + 0.6 * (p - last)
        w = np.clip(keep * x - each * (slope + adjoint_gradient(y)), 0, 0.9)
        new = y.astype(float)
        new[:dimensions] += rise * gradient(w, dimensions)
        new /= 1 + rise * edge / 0.3
        new *= 0.3 / np.maximum(0.3, np.sqrt((new**2).sum(0)))
        p, last = new, p
    for axis in range(3):
        found = solver.problem.operator.volume_from_slabs(solver.prior.p[:, axis], len(x))
        np.testing.assert_allclose(found, p[axis], atol=1e-5)


@pytest.mark.parametrize("odd", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)])
def test_a_coarse_problem_has_the_geometry_of_the_fine_one(odd):
    """A cloud far from all borders, projected on both grids."""
    rows, columns, detector = 40 + odd[0], 48 + odd[1], 50 + odd[2]
    tilts = np.linspace(-70, 70, 9)
    fine = ParallelBeam(tilts, detector, (rows, columns), np.linspace(-1, 2, 9))
    z, y = np.arange(rows)[:, None] - 17, np.arange(columns) - 22.3
    cloud = np.exp(-(z**2 + y**2) / 18)
    problem = Problem(fine.forward(np.stack([cloud] * 5)), fine, Penalty(variation=0.4), np.inf)
    other = coarser(problem)
    assert other.n_slices == 3 and other.penalty.variation == pytest.approx(0.1)
    # Mean of four voxels; the grid of an odd size reaches one further.
    padded = np.pad(cloud, ((0, odd[0]), (0, odd[1])))
    shape = other.operator.image_shape
    binned = padded.reshape(shape[0], 2, shape[1], 2).mean((1, 3))
    projected = other.operator.forward(binned[None])[0]
    data = other.operator.sinogram_from_slabs(other.measured, 1)[0]
    np.testing.assert_allclose(projected, data, atol=0.05 * data.max())
    t = np.arange(data.shape[1])
    np.testing.assert_allclose(projected @ t / projected.sum(1), data @ t / data.sum(1), atol=0.02)


def test_a_coarse_solution_starts_the_fine_one_well():
    series = simulate_tilt_series(size=65, n_slices=21, seed=25)
    sinogram = series.images.transpose(2, 0, 1)
    operator = ParallelBeam(series.tilts, 65)
    weight = default_weight(estimate_noise(series.images), len(series.tilts))
    for dimensions in (2, 3):
        penalty = Penalty(variation=weight, dimensions=dimensions)
        fine = PrimalDual(Problem(sinogram, operator, penalty, np.inf))
        empty = fine.evaluate().sum()
        coarse = PrimalDual(coarser(fine.problem))
        for _ in range(60):
            coarse.iterate()
        coarse.best[:] = coarse.x
        take_over(fine, coarse)
        began = fine.evaluate().sum()
        least = reconstruct_tv(sinogram, operator, weight, dimensions=dimensions).objective
        assert began - least < 0.03 * (empty - least)
        # The duals came along: one iteration does not throw the volume back.
        fine.iterate(1.0)
        assert fine.evaluate().sum() < began


def relative_error(volume, truth):
    return np.linalg.norm(volume - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("kind", ["particles", "needle"])
def test_comes_nearer_to_the_truth_than_its_peers(kind):
    series = simulate_tilt_series(kind, size=48, n_slices=20, seed=22)
    sinogram = series.images.transpose(2, 0, 1)
    operator = ParallelBeam(series.tilts, 48)
    sigma = estimate_noise(series.images)
    weight = default_weight(sigma, len(series.tilts))
    result = reconstruct_tv(sinogram, operator, weight, tolerance=5e-3)
    assert result.converged
    off = relative_error(result.volume, series.volume)
    # Least squares, stopped where it is best as only the truth can tell, and back projection.
    for n_iterations in (3, 5, 10, 20, 40):
        peer = reconstruct_tv(sinogram, operator, 0.0, max_iterations=n_iterations)
        assert off < 0.6 * relative_error(peer.volume, series.volume)
    back = operator.adjoint(sinogram)
    image = operator.forward(back)
    back *= (image * sinogram).sum() / (image**2).sum()
    assert off < 0.3 * relative_error(back, series.volume)
    # The minimum is not above the truth, and so explains the data as well but for the gap.
    least = objective(series.volume, sinogram, operator, weight, 3)
    assert result.objective * (1 - result.gap) <= least
    residual = sinogram - operator.forward(result.volume)
    assert result.chi_squared(sigma) == pytest.approx((residual**2).mean() / sigma**2, rel=1e-4)
    for factor in (0.1, 4):
        other = reconstruct_tv(sinogram, operator, factor * weight, tolerance=5e-3)
        assert relative_error(other.volume, series.volume) > off


@pytest.mark.parametrize("unit", [1e-30, 1e-25, 1e4, 1e25])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("bounds", [(0, None), (-0.5, 1.5)])
def test_units_change_nothing_but_units(tiny, unit, dimensions, bounds):
    operator, sinogram = tiny
    settings = {"dimensions": dimensions, "tolerance": 1e-3}
    one = reconstruct_tv(sinogram, operator, 0.7, bounds=bounds, **settings)
    other = reconstruct_tv(
        sinogram * np.float64(unit),
        operator,
        0.7 * unit,
        bounds=[None if bound is None else bound * unit for bound in bounds],
        **settings,
    )
    assert one.converged and other.converged
    assert one.n_iterations == other.n_iterations
    np.testing.assert_allclose(other.volume / unit, one.volume, atol=1e-3)
    assert other.gap == pytest.approx(one.gap, rel=0.02)
    assert other.objective / unit**2 == pytest.approx(one.objective, rel=1e-4)
    np.testing.assert_allclose(other.residual_per_tilt / unit, one.residual_per_tilt, rtol=1e-3)


@pytest.mark.parametrize("radius", [9.0, 15.0])
def test_typical_norm_is_about_the_norm_of_a_disc(radius):
    t, density = np.arange(-20, 21), 3.0
    chord = 2 * density * np.sqrt(np.maximum(radius**2 - t**2, 0))
    sinogram = np.broadcast_to(chord, (2, 7, 41))
    # The formula has 16 / 3 pi = 1.70 density radius, and the norm is 1.77 of it.
    assert typical_norm(sinogram) == pytest.approx(density * radius * np.sqrt(np.pi), rel=0.06)


def test_slices_do_not_know_of_each_other_in_two_dimensions(tiny):
    operator, sinogram = tiny
    sinogram = sinogram * np.array([1, 100, 1, 0.2])[:, None, None]
    settings = {"dimensions": 2, "tolerance": 1e-3}
    together = reconstruct_tv(sinogram, operator, 0.7, **settings)
    for s in range(len(sinogram)):
        alone = reconstruct_tv(sinogram[s : s + 1], operator, 0.7, **settings)
        np.testing.assert_array_equal(together.volume[s], alone.volume[0])
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
        ({"tolerance": np.nan}, "tolerance"),
        ({"tolerance": -1}, "tolerance"),
        ({"max_iterations": 0}, "max_iterations"),
        ({"edge": -1}, "edge"),
        ({"sparsity": np.inf}, "sparsity"),
        ({"sparsity": 1, "bounds": (-1, None)}, "0 as the lower bound"),
        ({"precision": np.zeros((4, 5, 9))}, "only zeros"),
        ({"start": np.zeros((4, 7, 7))}, "volume has shape"),
        ({"start": np.zeros((3, 7, 6))}, "3 slices for 4"),
        ({"start": np.full((4, 7, 6), np.nan)}, "168 voxels are NaN"),
        ({"max_iterations": 50.5}, "whole number"),
        ({"max_iterations": np.nan}, "whole number"),
        ({"weight": None}, "number of 0 or more"),
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

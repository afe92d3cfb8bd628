# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Total generalised variation against a slow solver, its certificate, and known truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.tomography import (
    ParallelBeam,
    default_weight,
    estimate_noise,
    reconstruct_tgv,
    reconstruct_tv,
    typical_density,
)
from emsparse_hs.tomography._coarse import coarser, take_over
from emsparse_hs.tomography._kernels import SLAB
from emsparse_hs.tomography._primal_dual import PrimalDual
from emsparse_hs.tomography._problem import Penalty, Problem
from emsparse_hs.tomography._second_order import _FIELD, _SHARE
from emsparse_hs.tomography._variation import Variation

#: Axes z, y and slice of a volume (slice, z, y), and pairs of them that parts of E v belong to.
AXES, PAIRS = (1, 2, 0), ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


def forward(x, axis):
    return np.diff(x, axis=axis, append=x.take([-1], axis=axis))


def backward(x, axis):
    return np.diff(x, axis=axis, prepend=x.take([0], axis=axis))


def difference(x, v, dimensions):
    """Gradient of x minus v, (3, slice, z, y), 0 beyond the end and across slices in 2D."""
    parts = np.zeros((3, *x.shape))
    for k in range(dimensions):
        inside = forward(np.arange(x.shape[AXES[k]]), 0)
        shape = np.ones(3, int)
        shape[AXES[k]] = -1
        parts[k] = forward(x, AXES[k]) - inside.reshape(shape) * v[k]
    return parts


def derivative(v, dimensions):
    """Symmetrised derivative of a field (3, slice, z, y): zz, yy, ss, zy, zs, ys."""

    def along(k, axis):
        return backward(v[k], AXES[axis]) if axis < dimensions else np.zeros(v.shape[1:])

    return np.stack([(along(i, j) + along(j, i)) / 2 for i, j in PAIRS])


def length(parts):
    """Length of vectors (3, ...), or norm of symmetric matrices (6, ...)."""
    weights = np.array([1, 1, 1, 2, 2, 2])[: len(parts), None, None, None]
    return np.sqrt((weights * parts**2).sum(0))


def objective(x, v, sinogram, operator, weight, bend, dimensions):
    residual = operator.forward(x).astype(float) - sinogram
    first = length(difference(x, v, dimensions)).sum()
    return (
        0.5 * (residual**2).sum() + weight * first + bend * length(derivative(v, dimensions)).sum()
    )


def slow_minimum(sinogram, operator, weight, bend, limit, high, dimensions, n=4000):
    """Plain primal-dual iterations in float64 with dense matrices (Chambolle and Pock, 2011)."""
    shape = (len(sinogram), *operator.image_shape)
    size = int(np.prod(shape))
    none = np.zeros((3, *shape))
    of_x = [difference(u, none, dimensions).ravel() for u in np.eye(size).reshape(-1, *shape)]
    of_v = [
        (difference(none[0], u, dimensions).ravel(), derivative(u, dimensions).ravel())
        for u in np.eye(3 * size).reshape(-1, 3, *shape)
    ]
    rows_x, rows_v, rows_e = (np.stack(rows, axis=1) for rows in (of_x, *zip(*of_v, strict=True)))
    rows_a = np.stack([operator.forward(u).ravel() for u in np.eye(size).reshape(-1, *shape)], 1)
    # The norm of matrices counts what is off the diagonal twice.
    twice = np.repeat([1, 1, 1, 2, 2, 2], size)
    step_q = 0.05
    tau = 0.99 / (step_q * np.linalg.norm(rows_a, 2) ** 2 + 26)
    x, v, q = np.zeros(size), np.zeros(3 * size), np.zeros(len(rows_a))
    p, r = np.zeros(3 * size), np.zeros(6 * size)
    for _ in range(n):
        new_x = np.clip(x - tau * (rows_a.T @ q + rows_x.T @ p), 0, high)
        new_v = np.clip(v - tau * (rows_v.T @ p + rows_e.T @ (twice * r)), -limit, limit)
        ahead_x, ahead_v, x, v = 2 * new_x - x, 2 * new_v - v, new_x, new_v
        q = (q + step_q * (rows_a @ ahead_x - sinogram.ravel())) / (1 + step_q)
        p = (p + rows_x @ ahead_x + rows_v @ ahead_v).reshape(3, *shape)
        p = (p * weight / np.maximum(weight, length(p))).ravel()
        r = (r + rows_e @ ahead_v).reshape(6, *shape)
        r = (r * bend / np.maximum(bend, length(r))).ravel()
    return x.reshape(shape), v.reshape(3, *shape)


@pytest.fixture(scope="module")
def tiny():
    """A ramp on a block, in few voxels, and its noisy projections."""
    rng = np.random.default_rng(20)
    volume = np.zeros((3, 6, 5))
    volume[1:, 1:5, 1:4] = np.linspace(1, 3, 4)[:, None]
    operator = ParallelBeam([-60, -25, 0, 40, 65], 8, (6, 5), [0.3, 0, -0.4, 0, 0])
    clean = operator.forward(volume)
    return operator, clean + rng.normal(0, 0.3, clean.shape).astype(np.float32)


@pytest.fixture(scope="module", params=[(2, np.inf), (3, np.inf), (3, 2.0)], ids=str)
def solved(tiny, request):
    """Settings, and the least objective that a slow solver finds with them."""
    operator, sinogram = tiny
    dimensions, high = request.param
    x, v = slow_minimum(sinogram, operator, 0.3, 0.18, 0.2, high, dimensions)
    # Slopes play a part, and so do their bound and their derivative.
    assert 0.1 < (np.abs(v) > 0.199).mean() < 0.9 and length(derivative(v, dimensions)).any()
    settings = {"length": 0.6, "slope": 0.2, "dimensions": dimensions, "bounds": (0, high)}
    return settings, objective(x, v, sinogram, operator, 0.3, 0.18, dimensions)


def test_equals_a_slow_solver(tiny, solved):
    settings, least = solved
    operator, sinogram = tiny
    result = reconstruct_tgv(
        sinogram, operator, 0.3, tolerance=2e-4, max_iterations=4000, **settings
    )
    assert result.converged
    assert least * (1 - 1e-5) <= result.objective <= least * (1 + 4e-4)
    high = settings["bounds"][1]
    assert result.volume.min() >= 0 and result.volume.max() <= high * (1 + 1e-6)


def test_gap_bounds_the_distance_from_the_minimum(tiny, solved):
    settings, least = solved
    for n in (1, 20, 40, 100, 300):
        result = reconstruct_tgv(*tiny[::-1], 0.3, tolerance=0, max_iterations=n, **settings)
        assert 0 <= result.gap <= 1
        assert result.objective * (1 - result.gap) <= least * (1 + 1e-5)


def random_solver(dimensions):
    """Solver of slices in two slabs, in the midst of anything, with its arrays."""
    rng = np.random.default_rng(21)
    n_slices = SLAB + 5
    operator = ParallelBeam([0, 30], 6, (5, 6))
    penalty = Penalty(variation=0.3, length=1.5, slope=0.2, dimensions=dimensions)
    solver = PrimalDual(Problem(rng.random((n_slices, 2, 6)), operator, penalty, 0.9))
    x, slope = rng.random((2, n_slices, 5, 6)).astype(np.float32)
    p, v, ahead = rng.uniform(-0.15, 0.15, (3, 3, n_slices, 5, 6)).astype(np.float32)
    r = rng.uniform(-0.15, 0.15, (6, n_slices, 5, 6)).astype(np.float32)
    # As they are beyond the end, and in two dimensions across slices.
    p[0, :, -1], p[1, ..., -1], p[2, -1] = 0, 0, 0
    if dimensions == 2:
        p[2], v[2], ahead[2], r[[2, 4, 5]] = 0, 0, 0, 0
    solver.x[:], solver.slope[:] = operator.volume_to_slabs(x), operator.volume_to_slabs(slope)
    prior = solver.prior
    for slabs, parts in ((prior.p, p), (prior.v, v), (prior.ahead, ahead), (prior.r, r)):
        for k, part in enumerate(parts):
            slabs[:, k] = operator.volume_to_slabs(part)
    return solver, SimpleNamespace(x=x, slope=slope, p=p, v=v, ahead=ahead, r=r)


def adjoint_of(function, dual, shape):
    """Adjoint of a linear function at a dual, by its values at all unit arrays but the last."""
    weights = np.array([1, 1, 1, 2, 2, 2])[: len(dual), None, None, None]
    result = np.zeros(shape)
    for place in np.ndindex(shape):
        unit = np.zeros(shape)
        unit[place] = 1
        result[place] = (weights * dual * function(unit)).sum()
    return result


def mismatch(p, r, dimensions):
    """p minus the adjoint derivative of r, by the rule of backward differences."""
    result = p.astype(float)
    for part, (i, j) in zip(r, PAIRS, strict=True):
        for k, axis in {(i, j), (j, i)}:
            if axis < dimensions:
                here = np.moveaxis(part, AXES[axis], 0)
                out = np.moveaxis(result[k], AXES[axis], 0)
                out[1:] -= here[1:]
                out[:-1] += here[1:]
    return result


@pytest.mark.parametrize("dimensions", [2, 3])
def test_mismatch_is_what_slopes_can_gain(dimensions):
    """The twin of the kernels has the adjoint of the derivative, by its definition."""
    rng = np.random.default_rng(22)
    shape = (3, 3, 4, 2)
    r = rng.normal(size=(6, *shape[1:]))
    expected = -adjoint_of(lambda v: derivative(v, dimensions), r, shape)
    np.testing.assert_allclose(mismatch(np.zeros(shape), r, dimensions), expected, atol=1e-12)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_value_and_price_equal_their_twins(dimensions):
    solver, a = random_solver(dimensions)
    prior, problem = solver.prior, solver.problem
    x, v = a.x.astype(float), a.v.astype(float)
    each = 0.3 * length(difference(x, v, dimensions)) + 0.45 * length(derivative(v, dimensions))
    expected = problem.per_problem(each.sum((1, 2)))
    np.testing.assert_allclose(prior.value(solver.x), expected, rtol=1e-5)
    price = np.concatenate([prior.price(b) for b in range(problem.n_slabs)])
    expected = 0.2 * np.abs(mismatch(a.p, a.r, dimensions)).sum((0, 2, 3))
    np.testing.assert_allclose(price, expected, rtol=1e-5)


def twin_of_ascent(a, v, step, keep, rise, lift, dimensions):
    none = np.zeros_like(a.v)
    lead = np.zeros(a.x.shape)
    for part, axis in zip(a.p, AXES, strict=True):
        here, out = np.moveaxis(part, axis, 0), np.moveaxis(lead, axis, 0)
        out[:-1] -= here[:-1]
        out[1:] += here[:-1]
    w = np.clip(keep * a.x - step * (a.slope + lead), 0, 0.9)
    a.p = a.p + rise * (difference(w, none, dimensions) + difference(0 * w, v, dimensions))
    a.p = a.p * 0.3 / np.maximum(0.3, length(a.p))
    a.r = a.r + lift * derivative(v, dimensions)
    a.r = a.r * 0.45 / np.maximum(0.45, length(a.r))


def check_all(solver, a):
    prior, operator = solver.prior, solver.problem.operator
    for slabs, parts in ((prior.p, a.p), (prior.v, a.v), (prior.r, a.r)):
        for k, part in enumerate(parts):
            found = operator.volume_from_slabs(slabs[:, k], len(part))
            np.testing.assert_allclose(found, part, atol=2e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_sweeps_equal_their_twins(dimensions):
    solver, a = random_solver(dimensions)
    prior, n = solver.prior, len(a.x)
    step = np.zeros_like(solver.step)
    step.reshape(-1)[:n] = np.linspace(0.5, 1.5, n) if dimensions == 2 else 0.8
    each = step.reshape(-1)[:n, None, None].astype(float)
    norm = 4 * dimensions
    rise, lift = 1 / ((norm + _FIELD / _SHARE) * each), (1 - _SHARE) / (norm * _FIELD * each)
    prior.sweep(2, solver.x, solver.slope, step, 1.0, solver._each_slab)
    for _ in range(2):
        new = np.clip(a.v + _FIELD * each * mismatch(a.p, a.r, dimensions), -0.2, 0.2)
        ahead, a.v = 2 * new - a.v, new
        twin_of_ascent(a, ahead, each, 1.0, rise, lift, dimensions)
    check_all(solver, a)
    prior.brace(2, solver.x, solver.slope, step, 1.0, solver._each_slab)
    for _ in range(2):
        twin_of_ascent(a, a.v, each, 1.0, 1 / (norm * each), 0, dimensions)
    check_all(solver, a)


def test_away_from_the_volume_the_dual_is_braced_as_that_of_variation():
    solver, a = random_solver(3)
    plain = Variation(solver.problem)
    plain.p[:] = solver.prior.p
    for prior in (solver.prior, plain):
        prior.brace(3, solver.x, solver.slope, solver.step, 0.0, solver._each_slab)
    np.testing.assert_array_equal(solver.prior.p, plain.p)
    a.p = np.stack([solver.problem.operator.volume_from_slabs(plain.p[:, k], 69) for k in range(3)])
    check_all(solver, a)


def test_without_slopes_it_is_total_variation(tiny):
    operator, sinogram = tiny
    one = reconstruct_tgv(sinogram, operator, 0.7, slope=0.0)
    np.testing.assert_array_equal(one.volume, reconstruct_tv(sinogram, operator, 0.7).volume)
    # With slopes that are as good as none, or that can't bend, it comes to the same.
    tv = reconstruct_tv(sinogram, operator, 0.7, tolerance=1e-4, max_iterations=3000)
    for settings in ({"slope": 1e-4}, {"length": 1e3, "slope": 1e-3}):
        other = reconstruct_tgv(sinogram, operator, 0.7, tolerance=1e-3, **settings)
        assert other.objective == pytest.approx(tv.objective, rel=2e-3)


def test_nothing_changes_when_units_do(tiny):
    operator, sinogram = tiny
    one = reconstruct_tgv(sinogram, operator, 0.7, slope=0.4)
    other = reconstruct_tgv(sinogram * 2**20, operator, 0.7 * 2**20, slope=0.4 * 2**20)
    np.testing.assert_array_equal(other.volume, one.volume * 2**20)


def test_a_coarse_solution_starts_the_fine_one_well():
    series = simulate_tilt_series("clouds", size=49, n_slices=9, seed=25)
    sinogram = series.images.transpose(2, 0, 1)
    operator = ParallelBeam(series.tilts, 49)
    weight = default_weight(estimate_noise(series.images), len(series.tilts))
    slope = 0.4 * typical_density(sinogram)
    for dimensions in (2, 3):
        penalty = Penalty(variation=weight, length=1.4, slope=slope, dimensions=dimensions)
        fine = PrimalDual(Problem(sinogram, operator, penalty, np.inf))
        empty = fine.evaluate().sum()
        coarse = PrimalDual(coarser(fine.problem))
        assert coarse.problem.penalty.slope == 2 * slope
        for _ in range(60):
            coarse.iterate()
        coarse.best[:] = coarse.x
        take_over(fine, coarse)
        # No dual of differences that are not there, which has a price.
        p = fine.prior.p
        assert p.any() and not p[:, 0, -1].any() and not p[:, 1, :, -1].any()
        assert not p[0, 2, ..., 8:].any() and (dimensions == 3) == p[0, 2].any()
        began = fine.evaluate().sum()
        settings = {"dimensions": dimensions, "length": 1.4, "tolerance": 3e-3}
        least = reconstruct_tgv(sinogram, operator, weight, **settings).objective
        assert began - least < 0.004 * (empty - least)
        # The duals came along: without that of the derivative it would be 0.008.
        fine.iterate(1.0)
        assert fine.evaluate().sum() - least < 0.006 * (empty - least)


def relative_error(volume, truth):
    return np.linalg.norm(volume - truth) / np.linalg.norm(truth)


def test_ramps_are_free_where_total_variation_makes_stairs():
    """Density that rises evenly across a block, which total variation makes of a few steps."""
    ramp = np.zeros((8, 32, 32))
    ramp[:, 6:26, 8:24] = 0.5 + np.linspace(0, 2, 20)[:, None]
    operator = ParallelBeam(np.linspace(-75, 75, 21), 32)
    rng = np.random.default_rng(23)
    sinogram = operator.forward(ramp)
    sinogram += rng.normal(0, 1.5, sinogram.shape).astype(np.float32)
    tv = reconstruct_tv(sinogram, operator, 6.0)
    tgv = reconstruct_tgv(sinogram, operator, 6.0)
    assert tgv.converged
    inside = (slice(None), slice(8, 24), slice(10, 22))
    off = relative_error(tgv.volume[inside], ramp[inside])
    assert off < 0.6 * relative_error(tv.volume[inside], ramp[inside])


def test_clouds_come_nearer_to_the_truth():
    series = simulate_tilt_series("clouds", size=48, n_slices=20, seed=22)
    sinogram = series.images.transpose(2, 0, 1)
    operator = ParallelBeam(series.tilts, 48)
    weight = default_weight(estimate_noise(series.images), len(series.tilts))
    settings = {"tolerance": 5e-3, "max_iterations": 200}
    tgv = reconstruct_tgv(sinogram, operator, weight, **settings)
    assert tgv.converged
    off = relative_error(tgv.volume, series.volume)
    for factor in (1, 1.4, 2):
        tv = reconstruct_tv(sinogram, operator, factor * weight, **settings)
        assert off < 0.85 * relative_error(tv.volume, series.volume)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"length": -1.0}, "length"),
        ({"slope": np.inf}, "slope"),
        ({"length": "long"}, "length"),
        ({"weight": np.nan}, "weight"),
    ],
)
def test_says_what_is_wrong(tiny, settings, message):
    operator, sinogram = tiny
    with pytest.raises(ValueError, match=message):
        reconstruct_tgv(sinogram, operator, **({"weight": 0.7} | settings))


def test_refuses_a_graphics_card(tiny, monkeypatch):
    operator, sinogram = tiny
    monkeypatch.setattr(operator.device, "name", "cuda")
    with pytest.raises(ValueError, match="processor"):
        reconstruct_tgv(sinogram, operator, 0.7)

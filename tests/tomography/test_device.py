# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""A graphics card computes what the processor does."""

import numpy as np
import pytest

from emsparse_hs.tomography import (
    ParallelBeam,
    _cuda,
    reconstruct_sirt,
    reconstruct_tv,
    reconstruct_wavelets,
)
from emsparse_hs.tomography._device import device_named
from emsparse_hs.tomography._kernels import SLAB


def _no_card() -> bool:
    try:
        return not _cuda.cupy().cuda.is_available()
    except ImportError:
        return True


needs_card = pytest.mark.skipif(_no_card(), reason="needs CuPy and a graphics card")
TILTS = np.linspace(-70, 68, 19)
#: Detector, image, slices and shifts, all different and none a multiple of another.
SIZES = 45, (37, 41), 70


def operator(device: str) -> ParallelBeam:
    detector, shape, _ = SIZES
    shifts = np.linspace(-1.3, 2.1, len(TILTS))
    return ParallelBeam(TILTS, detector, shape, shifts, device=device)


@pytest.fixture
def sinogram() -> np.ndarray:
    rng = np.random.default_rng(5)
    volume = np.zeros((SIZES[2], *SIZES[1]), np.float32)
    volume[8:66, 9:25, 12:30] = 1.5
    volume[30:50, 14:20, 18:24] = 0.4
    clean = operator("cpu").forward(volume)
    return (clean + rng.normal(0, 0.5, clean.shape)).astype(np.float32)


def test_a_device_without_a_name_is_refused():
    with pytest.raises(ValueError, match="device is one of"):
        ParallelBeam(TILTS, 16, device="gpu")


def test_says_what_is_missing(monkeypatch):
    class Nothing:
        @staticmethod
        def is_available() -> bool:
            return False

    monkeypatch.setattr(_cuda, "cupy", lambda: type("cupy", (), {"cuda": Nothing}))
    device_named.cache_clear()
    with pytest.raises(RuntimeError, match="No graphics card"):
        ParallelBeam(TILTS, 16, device="cuda")


@needs_card
def test_projects_as_the_processor_does():
    rng = np.random.default_rng(1)
    volume = rng.random((SIZES[2], *SIZES[1]), np.float32)
    rays = rng.random((SIZES[2], len(TILTS), SIZES[0]), np.float32)
    host, card = operator("cpu"), operator("cuda")
    np.testing.assert_allclose(card.forward(volume), host.forward(volume), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(card.adjoint(rays), host.adjoint(rays), rtol=1e-5, atol=1e-4)


@needs_card
def test_back_projection_is_the_exact_adjoint():
    rng = np.random.default_rng(2)
    volume = rng.standard_normal((SIZES[2], *SIZES[1])).astype(np.float32)
    rays = rng.standard_normal((SIZES[2], len(TILTS), SIZES[0])).astype(np.float32)
    card = operator("cuda")
    one = np.vdot(card.forward(volume).astype(float), rays)
    other = np.vdot(volume.astype(float), card.adjoint(rays))
    assert one == pytest.approx(other, rel=1e-5)


@needs_card
@pytest.mark.parametrize("loop", ["sweep", "first_slice", "volume_step", "data_step", "wavelets"])
def test_loops_that_change_arrays_equal_their_twins(loop):
    host, card = _results(loop, "cpu"), _results(loop, "cuda")
    for one, other in zip(host, card, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


@needs_card
@pytest.mark.parametrize("loop", ["add_adjoint_gradient", "variation", "squares", "price"])
def test_loops_that_sum_equal_their_twins(loop):
    host, card = _results(loop, "cpu"), _results(loop, "cuda")
    for one, other in zip(host, card, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5)


@needs_card
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("extra", [{}, {"edge": 0.1}, {"sparsity": 0.3}])
@pytest.mark.parametrize("high", [None, 1.0])
def test_reconstructs_as_the_processor_does(sinogram, dimensions, extra, high):
    weight = 0.0 if "sparsity" in extra else 2.0
    given = {"dimensions": dimensions, "bounds": (0, high), "tolerance": 1e-4} | extra
    host, card = (
        reconstruct_tv(sinogram, operator(device), weight, max_iterations=500, **given)
        for device in ("cpu", "cuda")
    )
    assert card.objective == pytest.approx(host.objective, rel=2e-4)
    assert card.gap <= max(1e-4, 1.2 * host.gap)
    assert np.linalg.norm(card.volume - host.volume) < 0.03 * np.linalg.norm(host.volume)


@needs_card
@pytest.mark.parametrize("dimensions", [2, 3])
def test_wavelets_are_those_of_the_processor(sinogram, dimensions):
    host, card = (
        reconstruct_wavelets(
            sinogram, operator(device), 1.0, levels=2, dimensions=dimensions, tolerance=1e-4
        )
        for device in ("cpu", "cuda")
    )
    assert card.gap <= max(1e-4, 1.2 * host.gap)
    assert card.objective == pytest.approx(host.objective, rel=2e-4)


@needs_card
def test_weighs_data_as_the_processor_does(sinogram):
    precision = np.random.default_rng(3).random(sinogram.shape, np.float32) + 0.1
    host, card = (
        reconstruct_tv(sinogram, operator(device), 1.0, precision=precision, tolerance=1e-4)
        for device in ("cpu", "cuda")
    )
    assert card.objective == pytest.approx(host.objective, rel=2e-4)


@needs_card
def test_sirt_is_that_of_the_processor(sinogram):
    host, card = (reconstruct_sirt(sinogram, operator(device), 10) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(card, host, rtol=1e-3, atol=1e-4)


def _wavelets(loops, random, across, rise, x, slope) -> list:
    """What the loops of the wavelet prior leave and return, in two and three dimensions."""
    rows, columns = SIZES[1]
    found = []
    for deep, n_bands in ((False, 3), (True, 7)):
        p, before = (0.1 * random(n_bands, rows, columns, SLAB) for _ in "12")
        low, out = x.copy(), x.copy()
        total = loops.size_of_wavelets(x, slope, 2, deep, across, n_bands, low)
        found += [total, low.copy()]
        loops.merge_wavelets(x, slope, p, before, 2, deep, out)
        loops.ascend_wavelets(x, slope, 2, deep, across, rise, 0.2, p, low)
        found += [out.copy(), p, low]
        loops.descend(x, slope, low, rise, 1.2, 0.7, out)
        found.append(out)
    return found


def _results(loop: str, name: str) -> list[np.ndarray]:
    """What a loop leaves in its arrays, or returns, on a device, from arrays of one seed."""
    device, rng = device_named(name), np.random.default_rng(7)
    rows, columns = SIZES[1]

    def random(*shape: int):
        return device.put(rng.standard_normal(shape).astype(np.float32))

    x, slope = (random(rows, columns, SLAB) for _ in range(2))
    p, last, before, last_before = (0.1 * random(3, rows, columns, SLAB) for _ in range(4))
    first, beyond, out = (random(rows, columns) for _ in range(3))
    across = device.put(np.r_[np.ones(60), np.zeros(SLAB - 60)].astype(np.float32))
    step, rise = (abs(random(SLAB)) for _ in range(2))
    loops = device.loops
    if loop == "sweep":
        numbers = (1.2, 0.7, 0.4, 0.15, 0.05)
        loops.sweep(x, slope, True, first, beyond, across, step, rise, *numbers, p, last)
        changed = [last]
    elif loop == "first_slice":
        loops.first_slice(x, slope, p, last, before, last_before, step, 1.2, 0.7, 0.4, out)
        changed = [out]
    elif loop == "wavelets":
        changed = _wavelets(loops, random, across, rise, x, slope)
    elif loop == "volume_step":
        loops.volume_step(x, slope, step, 1.2, 1.8)
        changed = [x, slope]
    elif loop == "data_step":
        precision = abs(random(rows, columns, SLAB))
        one = device.put(np.ones((1, 1, SLAB), np.float32))
        other = slope.copy()
        loops.data_step(x, p[0], step, abs(first), precision, 1.8, slope)
        loops.data_step(x, p[0], step, abs(first), one, 1.8, other)
        changed = [slope, other]
    elif loop == "add_adjoint_gradient":
        loops.add_adjoint_gradient(slope, p, beyond, across)
        changed = [slope]
    elif loop == "variation":
        changed = [loops.variation(x, beyond, across, 0.7, soft) for soft in (0.0, 0.5)]
    elif loop == "squares":
        changed = [loops.squares(x)]
    else:
        n = 61
        least, reach, shift, span = (rng.random(n) + 0.1 for _ in range(4))
        changed = []
        for seen in (abs(x), abs(first)[..., None]):
            for high in (np.inf, 0.3):
                given = slope, seen, least, high, reach, shift, n, 32, span
                changed += loops.price_of_descent(*given)
    return [device.get(each) for each in changed]

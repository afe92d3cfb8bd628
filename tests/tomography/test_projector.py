# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The projector against a slow twin, ASTRA, and what must hold for any projection."""

import multiprocessing
import os

import numpy as np
import pytest

from emsparse_hs.tomography import ParallelBeam
from emsparse_hs.tomography._kernels import SLAB

#: Both kinds of lines, both borders between them, edges-on, and beyond a quarter turn.
TILTS = np.array([-90, -76, -45, -44.9, -20, 0, 1e-9, 0.01, 10, 45, 60, 89.9, 90, 90.001, 135, 180])
#: (z, y, detector, slices), all different; one slice, and more than one slab.
SHAPES = [
    (14, 11, 17, 3),
    (11, 18, 13, 1),
    (3, 5, 4, 40),
    (1, 9, 7, 2),
    (9, 1, 5, 3),
    (37, 70, 81, 2),
]


def joseph(image, tilts, shifts, detector_size):
    """One ray and one line of pixels after the other, as the definition says."""
    n_rows, n_columns = image.shape
    y0, z0, t0 = (n_columns - 1) / 2, (n_rows - 1) / 2, (detector_size - 1) / 2
    sinogram = np.zeros((len(tilts), detector_size))
    for a, angle in enumerate(np.deg2rad(tilts)):
        cos, sin = np.cos(angle), np.sin(angle)
        for d in range(detector_size):
            t = d - t0 - shifts[a]
            if abs(cos) >= abs(sin):
                for z in range(n_rows):
                    y = y0 + (t - (z0 - z) * sin) / cos
                    inside = np.interp(y, np.arange(-1, n_columns + 1), np.pad(image[z], 1))
                    sinogram[a, d] += inside / abs(cos)
            else:
                for y in range(n_columns):
                    z = z0 - (t - (y - y0) * cos) / sin
                    inside = np.interp(z, np.arange(-1, n_rows + 1), np.pad(image[:, y], 1))
                    sinogram[a, d] += inside / abs(sin)
    return sinogram


@pytest.fixture(params=SHAPES, ids=str)
def case(request):
    z, y, detector, n_slices = request.param
    rng = np.random.default_rng(0)
    shifts = rng.uniform(-2, 2, len(TILTS))
    return (
        ParallelBeam(TILTS, detector, (z, y), shifts),
        rng.random((n_slices, z, y)).astype(np.float32),
        rng.random((n_slices, len(TILTS), detector)).astype(np.float32),
    )


def test_equals_its_slow_twin(case):
    operator, volume, _ = case
    projected = operator.forward(volume)
    assert projected.dtype == np.float32
    for s in {0, len(volume) - 1}:
        expected = joseph(volume[s], TILTS, operator.shifts, operator.detector_size)
        np.testing.assert_allclose(projected[s], expected, atol=2e-5 * expected.max())


def test_adjoint_is_exact(case):
    operator, volume, sinogram = case
    one = np.vdot(operator.forward(volume).astype(float), sinogram)
    other = np.vdot(volume.astype(float), operator.adjoint(sinogram))
    assert one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_astra(shape):
    astra = pytest.importorskip("astra")
    z, y, detector, _ = shape
    image = np.random.default_rng(1).random((z, y)).astype(np.float32)
    volume = astra.create_vol_geom(z, y)
    projections = astra.create_proj_geom("parallel", 1.0, detector, np.deg2rad(TILTS))
    projector = astra.create_projector("linear", projections, volume)
    number, expected = astra.create_sino(image, projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    found = ParallelBeam(TILTS, detector, (z, y)).forward(image[None])[0]
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


def test_whole_shifts_move_the_projections():
    rng = np.random.default_rng(2)
    volume = rng.random((2, 9, 9))
    shifts = np.array([3, -2, 0])
    still = ParallelBeam([-30, 10, 70], 25, (9, 9)).forward(volume)
    moved = ParallelBeam([-30, 10, 70], 25, (9, 9), shifts).forward(volume)
    for a, shift in enumerate(shifts):
        np.testing.assert_allclose(moved[:, a], np.roll(still[:, a], shift, axis=-1), atol=1e-4)


def test_one_shift_is_that_of_all():
    volume = np.random.default_rng(3).random((2, 9, 9))
    one = ParallelBeam([-30, 10, 70], 15, (9, 9), 1.5).forward(volume)
    np.testing.assert_array_equal(
        one, ParallelBeam([-30, 10, 70], 15, (9, 9), [1.5] * 3).forward(volume)
    )


def test_mass_is_conserved():
    y, z = np.mgrid[-20:21, -20:21]
    volume = np.exp(-(y**2 + z**2) / 50.0)[None]
    sums = ParallelBeam(np.linspace(-75, 75, 11), 61, (41, 41)).forward(volume).sum(axis=-1)
    np.testing.assert_allclose(sums, volume.sum(), rtol=1e-4)


def test_a_point_goes_where_the_geometry_says():
    volume = np.zeros((1, 21, 21))
    volume[0, 4, 13] = 1  # 6 px above the centre, 3 px to the right
    for tilt in (-60, -20, 0, 35, 80):
        projected = ParallelBeam([tilt], 41, (21, 21)).forward(volume)[0, 0]
        expected = 3 * np.cos(np.deg2rad(tilt)) + 6 * np.sin(np.deg2rad(tilt))
        centre = (projected * (np.arange(41) - 20)).sum() / projected.sum()
        assert centre == pytest.approx(expected, abs=0.3)


def test_threads_change_nothing(case):
    operator, volume, sinogram = case
    other = ParallelBeam(
        TILTS, operator.detector_size, operator.image_shape, operator.shifts, num_workers=2
    )
    np.testing.assert_array_equal(operator.forward(volume), other.forward(volume))
    np.testing.assert_array_equal(operator.adjoint(sinogram), other.adjoint(sinogram))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system forks no processes.")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own():
    operator = ParallelBeam(TILTS, 6, num_workers=2)
    volume = np.ones((3 * SLAB, 6, 6), np.float32)
    operator.forward(volume)
    forked = multiprocessing.get_context("fork").Process(target=operator.forward, args=(volume,))
    forked.start()
    forked.join(60)
    # It would wait for ever for threads that only the first process has.
    has_ended = forked.exitcode == 0
    forked.kill()
    assert has_ended


def test_linear_operator_agrees(case):
    operator, volume, sinogram = case
    linear = operator.as_linear_operator(len(volume))
    np.testing.assert_array_equal(linear @ volume.ravel(), operator.forward(volume).ravel())
    np.testing.assert_array_equal(linear.T @ sinogram.ravel(), operator.adjoint(sinogram).ravel())


@pytest.mark.parametrize(
    ("shape", "tilt", "shift"), [((1, 40), 90.001, 0), ((1, 1), 20, 1e-4), ((40, 1), 0.01, 0)]
)
def test_nothing_is_read_beyond_lines_of_one_pixel(shape, tilt, shift):
    operator = ParallelBeam([tilt], 5, shape, [shift])
    n_pixels = shape[0] * shape[1]
    memory = np.full((n_pixels + 20, SLAB), 1e30, np.float32)
    volume = memory[:n_pixels].reshape(1, *shape, SLAB)
    volume[:] = 1
    projected = operator.forward_slabs(volume)[0, :, 1:-1, 0]
    expected = joseph(volume[0, ..., 0], [tilt], [shift], 5)
    np.testing.assert_allclose(projected, expected, atol=1e-6 * max(shape))


def test_infinities_do_not_spread_to_other_slices():
    volume = np.ones((2, 5, 5))
    volume[0, 2, 2] = np.nan
    projected = ParallelBeam([0, 50], 5).forward(volume)
    assert np.isnan(projected[0]).any()
    assert np.isfinite(projected[1]).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([0, np.nan], 5), "finite"),
        (([[0, 1]], 5), "finite"),
        (([0, 1], 5, None, [0]), "1 shifts for 2 tilts"),
        (([0, 1], 0), "pixel at least"),
    ],
)
def test_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        ParallelBeam(*arguments)


@pytest.mark.parametrize("sizes", [(5.7,), (5, (5.9, 4)), (5, (4, "5"))])
def test_sizes_are_whole_numbers(sizes):
    with pytest.raises(TypeError, match="whole number of pixels"):
        ParallelBeam([0], *sizes)


def test_says_which_shape_is_needed():
    operator = ParallelBeam([0, 1], 5)
    with pytest.raises(ValueError, match="slice, z, y"):
        operator.forward(np.zeros((5, 5)))
    with pytest.raises(ValueError, match="slice, tilt, detector"):
        operator.adjoint(np.zeros((1, 3, 5)))

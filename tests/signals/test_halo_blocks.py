# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Three-dimensional reconstruction in blocks: seams, lazy and eager, memory, figures."""

import threading
import time

import numpy as np
import pytest

from emsparse_hs import _reading
from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import LazyTomogram, TiltSeries, Tomogram, _halo_blocks, _request
from emsparse_hs.tomography import Imaging, ParallelBeam, halo

TILTS = np.linspace(-60, 60, 13)
QUIET = {"show_progressbar": False}


def make_series(n_slices=48, kind="porous"):
    simulated = simulate_tilt_series(kind, 20, n_slices, TILTS, seed=41)
    series = TiltSeries(simulated.images)
    series.set_tilts(TILTS)
    return series


@pytest.fixture(params=[False, True], ids=["eager", "lazy"])
def series(request):
    made = make_series()
    return made.as_lazy() if request.param else made


def off_by(tomogram, other):
    """Root mean square of the difference in each slice, over that of the volume."""
    one, other = (np.asarray(each.data, np.float64) for each in (tomogram, other))
    return np.sqrt(np.square(one - other).mean((1, 2)) / np.square(other).mean())


@pytest.mark.parametrize("lazy, weights", [(False, None), (True, "poisson")])
def test_seams_do_not_show(lazy, weights):
    series = make_series(64)
    settings = {"lambda_": 8.0, "weights": weights} | QUIET
    joint = series.reconstruct(**settings)
    assert "block" not in joint.metadata.Reconstruction
    series = series.as_lazy() if lazy else series
    cut = off_by(series.reconstruct(block=32, halo=0, **settings), joint)
    blocks = off_by(series.reconstruct(block=32, halo=14, **settings), joint)
    # One seam, in the middle.
    assert cut[[31, 32]].min() > 0.01
    assert blocks.max() < 0.0005
    assert blocks[[0, 1, 62, 63]].max() < 0.0001


@pytest.mark.parametrize("lazy_output", [None, False])
@pytest.mark.parametrize("chunks", [(13, 20, 48), (4, 20, 48), (13, 7, 5), (1, 20, 9)])
def test_lazy_equals_eager(chunks, lazy_output):
    settings = {"lambda_": 8.0, "max_iter": 20, "tol": 1.0, "block": 14, "halo": 3} | QUIET
    series = make_series()
    series.data = np.rint(np.maximum(series.data, 0) * 10).astype(np.uint16)
    eager = series.reconstruct(**settings)
    assert type(eager) is Tomogram
    lazy = series.as_lazy()
    lazy.data = lazy.data.rechunk(chunks)
    result = lazy.reconstruct(lazy_output=lazy_output, **settings)
    assert type(result) is (LazyTomogram if lazy_output is None else Tomogram)
    np.testing.assert_allclose(np.asarray(result.data), eager.data, atol=1e-5 * eager.data.max())
    assert ("gap" in result.metadata.Reconstruction) is (lazy_output is False)
    assert result.metadata.Reconstruction.block == 14


def test_figures_are_those_of_all_blocks(series):
    tomogram = series.reconstruct(
        lambda_=8.0, block=14, halo=3, tol=1e-2, lazy_output=False, **QUIET
    )
    about = tomogram.metadata.Reconstruction
    assert (about.block, about.halo, about.dims) == (14, 3, 3)
    assert "objective" not in about and "gap_history" not in about
    sinogram = np.asarray(series.data).transpose(2, 0, 1)
    residual = sinogram - ParallelBeam(TILTS, 20).forward(tomogram.data)
    # Those of a slice are of the nearest block, and it has a share of the next one as well.
    np.testing.assert_allclose(
        about.residual_per_tilt, np.sqrt(np.square(residual).mean((0, 2))), rtol=1e-3
    )
    assert about.chi_squared == pytest.approx(np.square(residual).mean() / about.sigma**2, 1e-3)
    assert 0 < about.gap <= 1e-2 and about.iterations >= 20


def test_seam_is_what_two_blocks_differ_by():
    series = make_series()
    settings = {"lambda_": 8.0, "tol": 1e-2} | QUIET
    n = series.axes_manager.signal_axes[0].size
    tomogram = series.reconstruct(block=n - 8, halo=3, **settings)
    # Two windows of n - 2 slices, which meet in the middle of the series.
    one, other = (
        series.isig[first : first + n - 2, :].reconstruct(**settings).data for first in (0, 2)
    )
    expected = np.sqrt(np.square(one[n // 2] - other[n // 2 - 2]).mean())
    found = tomogram.metadata.Reconstruction.seam
    assert found == pytest.approx(expected / np.sqrt(np.square(tomogram.data).mean()), rel=1e-2)
    # Blocks that do not overlap can't be compared.
    assert np.isnan(series.reconstruct(block=12, halo=0, **settings).metadata.Reconstruction.seam)


def test_one_block_goes_over_into_the_next(series):
    settings = {"lambda_": 8.0, "max_iter": 20, "tol": 1.0} | QUIET
    found = np.asarray(series.reconstruct(block=36, halo=4, **settings).data)
    parts = halo.windows(48, 36, 4)
    assert len(parts) == 2
    expected = np.zeros_like(found)
    for part, share in zip(parts, halo.shares(parts), strict=True):
        window = series.isig[part.first : part.stop, :]
        block = window.reconstruct(block=44, lazy_output=False, **settings).data
        expected[part.first : part.stop] += share[:, None, None] * block
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max())


def test_gap_of_the_worst_block():
    series = make_series()
    series.data[:, :, 24:] = 0
    with pytest.warns(UserWarning, match="Stopped after 20 iterations"):
        tomogram = series.reconstruct(lambda_=0.1, block=12, halo=0, max_iter=20, **QUIET)
    with pytest.warns(UserWarning, match="Stopped after 20 iterations"):
        alone = [
            series.isig[first : first + 12, :].reconstruct(lambda_=0.1, max_iter=20, **QUIET)
            for first in (0, 12)
        ]
    gaps = [each.metadata.Reconstruction.gap for each in alone]
    assert tomogram.metadata.Reconstruction.gap == pytest.approx(max(gaps), rel=1e-3)


def test_blocks_are_as_large_as_free_memory_allows(monkeypatch):
    series = make_series(150)
    settings = {"lambda_": 8.0, "max_iter": 20, "tol": 1.0, "halo": 32} | QUIET
    exact = series.reconstruct(**settings)
    lazy = series.as_lazy()
    slab = 64 * 4 * (11 * 20**2 + 18 * 13 * 20)

    def found(free, series=lazy, **kwargs):
        monkeypatch.setattr(_halo_blocks, "free_memory", lambda: free)
        return series.reconstruct(lazy_output=False, **settings | kwargs)

    everything = found(2 * 3 * slab)
    assert "block" not in everything.metadata.Reconstruction
    np.testing.assert_allclose(everything.data, exact.data, atol=1e-5 * exact.data.max())
    assert found(2 * 2 * slab).metadata.Reconstruction.block == 64
    assert found(2 * 2 * slab, halo=8).metadata.Reconstruction.block == 112
    assert found(0, halo=8).metadata.Reconstruction.block == 48
    # Half of it, unless that is said otherwise, and of a lazy series only, unless it is asked for.
    assert "block" not in found(0, block=f"{3 * slab} B").metadata.Reconstruction
    assert found(1e12, block="1 MiB", halo=8).metadata.Reconstruction.block == 48
    assert "block" not in found(0, series).metadata.Reconstruction
    assert found(0, series, block="auto").metadata.Reconstruction.block == 64
    assert "block" not in found(0, dims=2).metadata.Reconstruction


def test_blocks_take_turns(monkeypatch):
    active, most = [], []
    solve = halo.reconstruct_regularised

    def watched(*args):
        active.append(threading.get_ident())
        most.append(len(active))
        time.sleep(0.02)
        result = solve(*args)
        active.pop()
        return result

    monkeypatch.setattr(halo, "reconstruct_regularised", watched)
    # Each a task of its own, as large ones are.
    monkeypatch.setattr(_reading, "SMALLEST", 0)
    settings = {"lambda_": 8.0, "max_iter": 5, "tol": 1.0, "block": 8, "halo": 2} | QUIET
    tomogram = make_series().as_lazy().reconstruct(**settings)
    assert not most
    tomogram.data.compute(num_workers=4)
    assert len(most) == 6 and set(most) == {1}


def test_the_weight_is_chosen_once(series):
    settings = {"max_iter": 20, "tol": 1.0, "lazy_output": False} | QUIET
    joint = series.reconstruct(block=48, **settings).metadata.Reconstruction
    blocks = series.reconstruct(block=32, halo=7, **settings).metadata.Reconstruction
    assert (blocks.sigma, blocks.block) == (joint.sigma, 32)
    assert blocks.lambda_ == pytest.approx(joint.lambda_, rel=0.15)


def test_starts_and_refinement(series):
    settings = {"lambda_": 8.0, "block": 20, "halo": 6, "lazy_output": False, "tol": 3e-3} | QUIET
    plain = series.reconstruct(**settings)
    assert off_by(series.reconstruct(x0="wbp", **settings), plain).max() < 0.01
    with pytest.raises(ValueError, match=r"blocks of 20.*block=48"):
        series.reconstruct(x0=plain, **settings)
    moved = series.deepcopy()
    moved.data = moved.data * np.linspace(0.9, 1.1, 13)[:, None, None]
    refined = moved.reconstruct(refine="gain", **settings)
    assert refined.metadata.Reconstruction.block == 20
    assert off_by(refined, plain).mean() < 0.03
    assert off_by(moved.reconstruct(**settings), plain).mean() > 0.03


def test_nothing_is_lost_along_y():
    series = make_series()
    turned = series.transpose(signal_axes=("y", "x"))
    settings = {"lambda_": 8.0, "max_iter": 20, "tol": 1.0, "block": 14, "halo": 3} | QUIET
    one, other = series.reconstruct(**settings), turned.reconstruct(**settings)
    np.testing.assert_allclose(one.data, other.data, atol=1e-4 * one.data.max())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"block": 0}, "block must be a whole number of 1 or more"),
        ({"block": 2.5}, "block must be a whole number"),
        ({"block": "much"}, "block is a number of slices, memory such as '8 GiB', or 'auto'"),
        ({"halo": -1}, "halo must be a whole number of 0 or more"),
        ({"halo": 1.5}, "halo must be a whole number of 0 or more"),
    ],
)
def test_bad_blocks_are_said(series, settings, message):
    with pytest.raises(ValueError, match=message):
        series.reconstruct(**settings)


@pytest.mark.parametrize("what", ["shift", "angle"])
def test_no_more_slices_are_refined_with_than_a_block_has(what, monkeypatch):
    found = []

    def refine(sinogram, operator, *_):
        found.append(np.asarray(sinogram))
        return Imaging.ideal(operator.n_tilts)

    monkeypatch.setattr(_request, "refine", refine)
    series = make_series(64).as_lazy()
    settings = {"lambda_": 8.0, "block": 16, "halo": 4, "tol": 1.0} | QUIET
    series.reconstruct(refine=what, **settings)
    assert len(found[0]) == 24
    if what == "angle":
        # Images turn about their middle.
        middle = np.asarray(series.data)[:, :, 20:44].transpose(2, 0, 1)
        np.testing.assert_array_equal(found[0], middle)

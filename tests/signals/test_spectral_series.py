# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tilt series of several maps at each tilt: each is as it would be alone."""

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import LazyTiltSeries, LazyTomogram, TiltSeries, Tomogram

EVEN = np.linspace(-60, 60, 9)
UNEVEN = np.sin(np.deg2rad(EVEN)) * 70
QUIET = {"show_progressbar": False}
QUICK = QUIET | {"lambda_": 4.0, "tol": 1e-2}


def make_maps(n=3, tilts=UNEVEN):
    """Images (map, tilt, y, x) of different specimens and different brightness."""
    kinds = ("particles", "needle", "porous")
    return np.stack(
        [
            (1 + k) * simulate_tilt_series(kind, 16, 7, tilts=tilts, seed=70 + k).images
            for k, kind in zip(range(n), kinds, strict=False)
        ]
    ).astype(np.float32)


def make_series(first="map", lazy=False, axis="x", names=("Element", None), tilts=UNEVEN):
    """Series with the axis of maps or that of tilts first in the array."""
    data = make_maps(tilts=tilts)
    data = data if axis == "x" else data.transpose(0, 1, 3, 2)
    sizes = data.shape
    axes = [
        {"name": names[0], "size": sizes[0], "navigate": True, "scale": 2.0, "offset": 5.0},
        {"name": names[1], "size": sizes[1], "navigate": True},
        {"name": "y", "size": sizes[2], "scale": 0.5, "units": "nm"},
        {"name": "x", "size": sizes[3], "scale": 0.5, "units": "nm"},
    ]
    axes = [{k: v for k, v in each.items() if v is not None} for each in axes]
    if first == "tilt":
        data, axes[:2] = data.transpose(1, 0, 2, 3), axes[1::-1]
    series = TiltSeries(data.copy(), axes=axes, metadata={"General": {"title": "alloy"}})
    series.set_tilts(tilts, axis)
    if lazy:
        series = series.as_lazy()
        series.data = series.data.rechunk((2, 4, 5, 16))
    return series


def alone(k, axis="x", tilts=UNEVEN):
    images = make_maps(tilts=tilts)[k]
    series = TiltSeries(images if axis == "x" else images.transpose(0, 2, 1))
    series.set_tilts(tilts, axis)
    return series


def pick(signal, k):
    """One map, or some, wherever their axis is among both."""
    place = [axis.name for axis in signal.axes_manager.navigation_axes].index("Element")
    return signal.inav[(k, slice(None)) if place == 0 else (slice(None), k)]


@pytest.mark.parametrize("tilts", [EVEN, UNEVEN, EVEN[::-1]])
@pytest.mark.parametrize("first", ["map", "tilt"])
@pytest.mark.parametrize("lazy", [False, True])
def test_tilts_are_on_the_axis_that_they_fit(first, lazy, tilts):
    series = make_series(first, lazy, tilts=tilts)
    assert type(series) is (LazyTiltSeries if lazy else TiltSeries)
    np.testing.assert_allclose(series.tilts, tilts, atol=1e-9)
    other = series.axes_manager["Element"]
    assert (other.size, other.scale, other.offset) == (3, 2.0, 5.0)
    assert series.axes_manager["Tilt"].size == 9
    # Again, by its name, and back to even steps.
    series.set_tilts(EVEN)
    np.testing.assert_allclose(series.tilts, EVEN, atol=1e-9)
    assert series.axes_manager["Tilt"].is_uniform
    with pytest.raises(ValueError, match="tilts of shape .3,. for 9 images"):
        series.set_tilts([0, 1, 2])
    np.testing.assert_allclose(pick(series, 1).tilts, EVEN, atol=1e-9)


def test_the_axis_of_tilts_that_is_not_clear():
    with pytest.raises(ValueError, match="not clear which navigation axis the 4 tilts are for"):
        TiltSeries(np.ones((3, 5, 6, 7))).set_tilts([0, 1, 2, 3])
    series = TiltSeries(np.ones((3, 3, 6, 7)))
    with pytest.raises(ValueError, match=r"navigation_axes\[0\].name = 'Tilt'"):
        series.set_tilts([0, 20, 40])
    for place in (0, 1):
        one = series.deepcopy()
        one.axes_manager.navigation_axes[place].name = "Tilt"
        one.set_tilts([0, 20, 40])
        np.testing.assert_allclose(one.axes_manager.navigation_axes[place].axis, [0, 20, 40])
        assert one.axes_manager.navigation_axes[1 - place].units != "°"
    for axis in one.axes_manager.navigation_axes:
        axis.name = "Tilt"
    with pytest.raises(ValueError, match="not clear"):
        one.set_tilts([0, 20, 40])
    with pytest.raises(ValueError, match="tilts are not known"):
        series.reconstruct()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("first", ["map", "tilt"])
def test_sorting_and_tilts_of_the_stage(first, lazy):
    series = make_series(first, lazy)
    turns = np.random.default_rng(0).permutation(9)
    expected = np.asarray(series.data)
    series.data = series.data[:, turns] if first == "map" else series.data[turns]
    stored = np.r_[UNEVEN[turns], np.zeros(1015)]
    series.metadata.set_item("Acquisition_instrument.TEM.Stage.tilt_alpha", stored)
    series.set_tilts(sort=True)
    np.testing.assert_allclose(series.tilts, UNEVEN)
    np.testing.assert_array_equal(np.asarray(series.data), expected)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("first", ["map", "tilt"])
@pytest.mark.parametrize("method", ["wbp", "sirt", "2", "3"])
def test_each_map_is_as_it_would_be_alone(method, first, lazy):
    def reconstructed(series):
        if method in ("wbp", "sirt"):
            return getattr(series, f"reconstruct_{method}")(shifts=0.5, **QUIET)
        return series.reconstruct(dims=int(method), shifts=0.5, **QUICK)

    series = make_series(first, lazy)
    before = np.array(series.data)
    tomogram = reconstructed(series)
    np.testing.assert_array_equal(np.asarray(series.data), before)
    assert type(tomogram) is (LazyTomogram if lazy else Tomogram)
    assert tomogram.data.shape == (3, 7, 16, 16) and tomogram.metadata.General.title == "alloy"
    names = [axis.name for axis in tomogram.axes_manager._axes]
    assert names == ["Element", "x", "z", "y"]
    assert tomogram.axes_manager["Element"].axis.tolist() == [5, 7, 9]
    for k in range(3):
        expected = reconstructed(alone(k)).data
        one = tomogram.inav[:, k]
        assert one.metadata.Reconstruction.shifts.tolist() == [0.5] * 9
        np.testing.assert_allclose(one.data, expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_figures_are_those_of_each_map(dims, lazy, tmp_path):
    series = make_series("tilt", lazy)
    settings = QUIET | {"dims": dims, "tol": 3e-3, "lazy_output": False, "refine": "gain"}
    tomogram = series.reconstruct(**settings)
    tomogram.save(tmp_path / "maps.hspy")
    expected = [alone(k).reconstruct(**settings).metadata.Reconstruction for k in range(3)]
    for known in (tomogram, hs.load(tmp_path / "maps.hspy")):
        about = known.metadata.Reconstruction
        assert about.prior == "tv" and about.dims == dims and about.map_axis == "Element"
        np.testing.assert_allclose(about.lambda_, [each.lambda_ for each in expected])
        assert len(set(about.lambda_)) == 3
        assert about.residual_per_tilt.shape == about.gains.shape == (3, 9)
        # Some histories are shorter than others.
        assert dims == 2 or np.isnan(about.gap_history).any()
        for k, each in enumerate(expected):
            one = known.inav[:, k].metadata.Reconstruction.as_dictionary()
            each = each.as_dictionary()
            assert one.keys() == each.keys()
            for name, value in each.items():
                if name != "prior":
                    assert np.shape(one[name]) == np.shape(value), name
                    np.testing.assert_allclose(one[name], value, rtol=1e-5)
        some = known.inav[2:4, 1:].metadata.Reconstruction
        np.testing.assert_array_equal(some.lambda_, about.lambda_[1:])
        np.testing.assert_array_equal(known.isig[:4, :].metadata.Reconstruction.gap, about.gap)
        turned = known.transpose(navigation_axes=(1, 0)).inav[9.0, :]
        np.testing.assert_allclose(turned.metadata.Reconstruction.lambda_, expected[2].lambda_)
        assert turned.data.shape == (7, 16, 16)


def test_each_map_starts_from_its_own():
    series = make_series()
    first = series.reconstruct(**QUICK)
    again = series.reconstruct(**QUICK, x0=first).metadata.Reconstruction
    assert (again.iterations <= first.metadata.Reconstruction.iterations).all()
    one = series.inav[:, 1].reconstruct(**QUICK, x0=first.inav[:, 1]).metadata.Reconstruction
    assert one.iterations == again.iterations[1]


def test_maps_without_a_name_and_one_by_itself():
    series = make_series(names=(None, None))
    tomogram = series.reconstruct_wbp(**QUIET)
    assert tomogram.metadata.Reconstruction.map_axis == "Map"
    assert "map_axis" not in tomogram.inav[:, 0].metadata.Reconstruction
    single = series.inav[:, 1:2].reconstruct(**QUICK)
    assert single.data.shape == (1, 7, 16, 16)
    assert single.metadata.Reconstruction.gap.shape == (1,)


def test_warnings_and_errors_say_of_which_map():
    series = make_series()
    with pytest.warns(UserWarning, match="Element 2: Stopped after 3 iterations") as caught:
        series.reconstruct(lambda_=4.0, max_iter=3, **QUIET)
    assert {each.filename for each in caught} == {__file__}
    assert len([each for each in caught if "Stopped" in str(each.message)]) == 3
    series.data[1, 2, 3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN") as error:
        series.reconstruct(**QUICK)
    assert error.value.__notes__ == ["This is of Element 1."]


@pytest.mark.parametrize("refine", ["shift", ("gain", "slide")])
def test_displacements_are_refined_with_the_sum(refine):
    series = make_series()
    with pytest.raises(ValueError, match=r"total = s.sum\(axis='Element'\)"):
        series.reconstruct(refine=refine, **QUICK)
    total = series.sum(axis="Element").reconstruct(refine="shift", **QUICK)
    tomogram = series.reconstruct(shifts=total.metadata.Reconstruction.shifts, **QUICK)
    assert tomogram.data.shape == (3, 7, 16, 16)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("first", ["map", "tilt"])
def test_all_maps_are_moved_alike(first, axis, lazy):
    series = make_series(first, axis=axis)
    moves = np.random.default_rng(77).integers(-2, 3, 9)
    tilts_in_array = 1 if first == "map" else 0
    images = np.moveaxis(series.data, tilts_in_array, 0)
    for image, move in zip(images, moves, strict=True):
        image[:] = np.roll(image, move, axis=(1 if axis == "x" else 2))
    before = series.data.copy()
    total = series.sum(axis="Element").align()
    aligned = (series.as_lazy() if lazy else series).align()
    assert type(aligned) is TiltSeries and aligned.data.shape == before.shape
    np.testing.assert_array_equal(series.data, before)
    for name in ("shifts", "slides"):
        found = aligned.metadata.Tomography.alignment[name]
        np.testing.assert_array_equal(found, total.metadata.Tomography.alignment[name])
    assert np.ptp(aligned.metadata.Tomography.alignment.shifts) >= 2
    np.testing.assert_allclose(aligned.tilts, series.tilts)
    assert aligned.tilt_axis == axis
    total = aligned.sum(axis="Element").data[:, 3:-3, 3:-3]
    inside = before.sum(axis=1 - tilts_in_array)
    shifts = -aligned.metadata.Tomography.alignment.shifts
    slides = -aligned.metadata.Tomography.alignment.slides
    for a in range(9):
        order = (0, 1) if axis == "x" else (1, 0)
        expected = np.roll(inside[a], (shifts[a], slides[a]), order)[3:-3, 3:-3]
        np.testing.assert_allclose(total[a], expected, rtol=1e-5)


@pytest.mark.parametrize("lazy", [False, True])
def test_projections_of_all_maps(lazy):
    tomogram = make_series().reconstruct_sirt(5, **QUIET)
    whole = tomogram.as_lazy() if lazy else tomogram
    series = whole.project([-30, 0, 40], **QUIET)
    assert type(series) is (LazyTiltSeries if lazy else TiltSeries)
    assert series.data.shape == (3, 3, 16, 7) and series.tilt_axis == "x"
    np.testing.assert_allclose(series.tilts, [-30, 0, 40])
    turned = whole.transpose(navigation_axes=(1, 0)).project([-30, 0, 40], **QUIET)
    for k in range(3):
        one = tomogram.inav[:, k].project([-30, 0, 40], **QUIET).data
        for found in (pick(series, k), pick(turned, k)):
            np.testing.assert_allclose(np.asarray(found.data), one, rtol=1e-5)


@pytest.mark.parametrize("first", ["map", "tilt"])
def test_what_needs_one_map_says_so(first, tmp_path):
    series = make_series(first)
    tomogram = series.reconstruct(**QUICK)
    index = r"s\.inav\[0, :\]" if first == "tilt" else r"s\.inav\[:, 0\]"
    with pytest.raises(ValueError, match=index):
        series.score_tilts()
    for function in (tomogram.plot_slices, tomogram.plot_convergence):
        with pytest.raises(ValueError, match=r"s\.inav\[:, 0\]"):
            function()
    with pytest.raises(ValueError, match=index):
        series.plot_sinogram(tomogram.inav[:, 1])
    with pytest.raises(ValueError, match=r"s\.inav\[:, 0\]"):
        pick(series, 1).plot_sinogram(tomogram)
    one = tomogram.inav[:, 1]
    one.plot_slices()
    one.plot_convergence()
    pick(series, 1).plot_sinogram(one)
    assert pick(series, 1).score_tilts(3, "wbp", **QUIET).error > 0
    total = tomogram.sum(axis="Element")
    total.plot_slices()
    for function in (total.plot_convergence, lambda: pick(series, 1).plot_sinogram(total)):
        with pytest.raises(ValueError, match="was made of several maps"):
            function()
    plt.close("all")


@pytest.mark.parametrize("lazy", [False, True])
def test_maps_that_hyperspy_stacked(lazy):
    maps = [alone(k).as_lazy() if lazy else alone(k) for k in range(3)]
    series = hs.stack(maps, new_axis_name="Element", show_progressbar=False)
    tomogram = series.reconstruct_wbp(**QUIET)
    assert isinstance(tomogram, Tomogram)
    expected = make_series().reconstruct_wbp(**QUIET).data
    np.testing.assert_allclose(np.asarray(tomogram.data), expected, atol=1e-5 * expected.max())


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("first", ["map", "tilt"])
def test_as_tilt_series(first, lazy):
    plain = make_series(first)
    plain.set_signal_type("")
    plain.axes_manager["Tilt"].name = "z"
    plain = plain.as_lazy() if lazy else plain
    series = plain.emsparse.as_tilt_series(UNEVEN)
    assert type(series) is (LazyTiltSeries if lazy else TiltSeries)
    np.testing.assert_allclose(series.tilts, UNEVEN)
    assert lazy or np.shares_memory(series.data, plain.data)
    found = pick(series, 2).reconstruct_wbp(**QUIET).data
    np.testing.assert_allclose(found, alone(2).reconstruct_wbp(**QUIET).data, rtol=1e-4, atol=1e-4)
    assert plain._signal_type == "" and plain.axes_manager["z"].size == 9


@pytest.mark.parametrize("ending", ["hspy", "zspy"])
def test_figures_of_a_lazily_loaded_map(ending, tmp_path):
    settings = QUIET | {"lambda_": 4.0, "tol": 1e-2}
    make_series().reconstruct(**settings).save(tmp_path / f"maps.{ending}")
    one = hs.load(tmp_path / f"maps.{ending}", lazy=True).inav[:, 1]
    about = one.metadata.Reconstruction
    assert isinstance(about.gap, float) and len(about.gap_history)
    one.plot_slices()
    one.plot_convergence()
    plt.close("all")
    one.save(tmp_path / f"one.{ending}")
    assert hs.load(tmp_path / f"one.{ending}").metadata.Reconstruction.gap == about.gap


def test_figures_whose_maps_are_unknown_are_dropped():
    tomogram = make_series().reconstruct(lambda_=4.0, tol=1e-2, **QUIET)
    tomogram.metadata.Reconstruction.note = "mine"
    gaps = tomogram.metadata.Reconstruction.gap
    assert tomogram.inav[:, 2].metadata.Reconstruction.note == "mine"
    assert tomogram.inav[:, 1:].inav[:, 1].metadata.Reconstruction.gap == gaps[2]
    cropped = tomogram.deepcopy()
    cropped.crop("Element", 1, 3)
    for changed in (cropped, tomogram.rebin(scale=(1, 3, 1, 1))):
        about = changed.inav[:, 0].metadata.Reconstruction
        assert "gap" not in about and about.prior == "tv"


def test_a_start_needs_as_many_maps():
    series = make_series()
    start = series.reconstruct(lambda_=4.0, tol=1e-1, **QUIET)
    with pytest.raises(ValueError, match="x0 has 2 maps, and the series 3"):
        series.reconstruct(lambda_=4.0, x0=start.inav[:, :2], **QUIET)

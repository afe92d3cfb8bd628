# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tilt series and tomograms as signals of etspy and back, and what etspy gets where it is not."""

import sys
from types import SimpleNamespace

import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import TiltSeries, Tomogram

EVEN = np.linspace(-60, 60, 13)
UNEVEN = np.sin(np.deg2rad(EVEN)) * 70
QUIET = {"show_progressbar": False}


def make_series(tilts=UNEVEN, axis="x", lazy=False):
    images = simulate_tilt_series("needle", size=18, n_slices=11, tilts=tilts, seed=90).images
    images = images if axis == "x" else images.transpose(0, 2, 1)
    axes = [
        {"name": "n", "size": len(tilts), "navigate": True},
        {"name": "height", "size": images.shape[1], "scale": 0.5, "offset": 3, "units": "nm"},
        {"name": "width", "size": images.shape[2], "scale": 0.5, "offset": 1, "units": "nm"},
    ]
    series = TiltSeries(images, axes=axes, metadata={"General": {"title": "needle"}})
    series.set_tilts(tilts, axis)
    return series.as_lazy() if lazy else series


def make_tomogram(axis="x", lazy=False):
    tomogram = make_series(axis=axis).reconstruct(lambda_=4.0, tol=1e-2, **QUIET)
    return tomogram.as_lazy() if lazy else tomogram


@pytest.fixture
def recorded(monkeypatch):
    """What etspy's classes would get, without etspy."""

    def record(data, **kwargs):
        return SimpleNamespace(data=data, **kwargs)

    base = SimpleNamespace(TomoStack=record, RecStack=record)
    monkeypatch.setitem(sys.modules, "etspy", SimpleNamespace(base=base))
    monkeypatch.setitem(sys.modules, "etspy.base", base)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("tilts", [EVEN, UNEVEN, EVEN[::-1], EVEN[:1]])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_what_a_stack_is_made_of(recorded, axis, tilts, lazy):
    series = make_series(tilts, axis, lazy)
    stack = series.to_etspy()
    expected = np.asarray(series.data)
    expected = expected if axis == "x" else expected.transpose(0, 2, 1)
    assert type(stack.data) is np.ndarray
    np.testing.assert_array_equal(stack.data, expected)
    assert lazy or np.shares_memory(stack.data, series.data)
    np.testing.assert_allclose(stack.tilts, tilts)
    assert stack.shifts is None and stack.metadata["General"]["title"] == "needle"
    projections, y, x = stack.axes
    assert (projections["name"], projections["units"]) == ("Projections", "degrees")
    assert projections["offset"] == pytest.approx(tilts[0])
    last = projections["offset"] + projections["scale"] * (len(tilts) - 1)
    assert last == pytest.approx(tilts[-1]) and projections["scale"] != 0
    offsets = (1, 3) if axis == "x" else (3, 1)
    assert [each["name"] for each in (x, y)] == ["x", "y"]
    assert (x["offset"], y["offset"]) == offsets and x["units"] == y["units"] == "nm"
    assert (y["size"], x["size"]) == expected.shape[1:] == (18, 11)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_shifts_are_what_images_were_moved_by(recorded, axis):
    series = make_series(EVEN, axis)
    across, along = (1, 2) if axis == "x" else (2, 1)
    series.data[4] = np.roll(series.data[4], (2, -1), (across - 1, along - 1))
    aligned = series.align()
    stack = aligned.to_etspy()
    about = aligned.metadata.Tomography.alignment
    assert about.shifts.any()
    # (y, x) in pixels, as of scipy.ndimage.shift.
    np.testing.assert_array_equal(stack.shifts, -np.stack([about.shifts, about.slides], 1))
    # Shifts do not know which images were picked since.
    assert (
        aligned.inav[1:4].to_etspy().shifts is None or not aligned.inav[1:4].to_etspy().shifts.any()
    )
    assert stack.shifts[4].tolist() == pytest.approx(stack.shifts[3] + [-2, 1], abs=1)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_what_a_volume_is_made_of(recorded, axis, lazy):
    tomogram = make_tomogram(axis, lazy)
    stack = tomogram.to_etspy()
    np.testing.assert_array_equal(stack.data, np.asarray(tomogram.data))
    assert lazy or np.shares_memory(stack.data, tomogram.data)
    assert [each["name"] for each in stack.axes] == ["x", "z", "y"]
    assert [each["size"] for each in stack.axes] == [11, 18, 18]
    # The tilt axis is where z is zero.
    along, across = (1, 3) if axis == "x" else (3, 1)
    assert [each["offset"] for each in stack.axes] == [along, -0.5 * 17 / 2, across]
    assert stack.metadata["Reconstruction"]["prior"] == "tv"
    assert Tomogram(np.ones((2, 3, 4))).to_etspy().data.shape == (2, 3, 4)


def test_what_etspy_can_not_hold(recorded):
    series = make_series()
    maps = hs.stack([series, series], new_axis_name="Element", **QUIET)
    with pytest.raises(ValueError, match=r"s\.inav\[:, 0\]"):
        maps.to_etspy()
    with pytest.raises(ValueError, match=r"s\.inav\[:, 0\]"):
        maps.reconstruct_wbp(**QUIET).to_etspy()
    with pytest.raises(ValueError, match="tilts are not known"):
        TiltSeries(np.ones((3, 4, 5))).to_etspy()
    tomogram = make_tomogram()
    for signal in (series, tomogram):
        signal.axes_manager.signal_axes[0].convert_to_non_uniform_axis()
        with pytest.raises(ValueError, match="not evenly spaced"):
            signal.to_etspy()


@pytest.mark.parametrize("make", [make_series, make_tomogram])
def test_without_etspy(make, monkeypatch):
    monkeypatch.setitem(sys.modules, "etspy", None)
    monkeypatch.setitem(sys.modules, "etspy.base", None)
    with pytest.raises(ImportError, match="pip install etspy$"):
        make().to_etspy()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("tilts", [EVEN, UNEVEN])
def test_round_trip_through_etspy(tilts, axis, lazy, tmp_path):
    etspy = pytest.importorskip("etspy.api")
    series = make_series(tilts, axis, lazy)
    series.data = series.data - series.data.min()
    stack = series.to_etspy()
    assert type(stack) is etspy.TomoStack and stack.axes_manager[0].name == "Projections"
    stack.save(tmp_path / "stack.hspy")
    expected = np.asarray(series.data)
    expected = expected if axis == "x" else expected.transpose(0, 2, 1)
    for known in (
        stack,
        etspy.load(tmp_path / "stack.hspy"),
        hs.load(tmp_path / "stack.hspy"),
    ):
        again = known.emsparse.as_tilt_series()
        np.testing.assert_allclose(again.tilts, tilts)
        np.testing.assert_array_equal(again.data, expected)
        assert again.tilt_axis == "x"
        assert [axis.scale for axis in again.axes_manager.signal_axes] == [0.5, 0.5]
    np.testing.assert_allclose(stack.inav[2:5].emsparse.as_tilt_series().tilts, tilts[2:5])
    assert etspy.load(tmp_path / "stack.hspy").tilts.data.ravel() == pytest.approx(tilts)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_etspy_reconstructs_the_same_specimen(axis, tmp_path):
    etspy = pytest.importorskip("etspy.api")
    aligned = make_series(axis=axis).align()
    stack = aligned.to_etspy()
    about = aligned.metadata.Tomography.alignment
    np.testing.assert_array_equal(stack.shifts.data, -np.stack([about.shifts, about.slides], 1))
    cropped = stack.isig[2:9, :]
    volume = cropped.reconstruct("SIRT", 30, constrain=True, cuda=False, ncores=1, **QUIET)
    ours = aligned.reconstruct_sirt(30, **QUIET)
    theirs = np.asarray(volume.data)
    assert theirs.shape == (7, 18, 18)
    assert np.corrcoef(theirs.ravel(), ours.data[2:9].ravel())[0, 1] > 0.95
    stack = ours.to_etspy()
    assert type(stack) is etspy.RecStack
    own = [(a.name, a.scale, a.units) for a in volume.axes_manager._axes]
    assert [(a.name, a.scale, a.units) for a in stack.axes_manager._axes] == own
    stack.save(tmp_path / "volume.hspy")
    for known in (stack, hs.load(tmp_path / "volume.hspy")):
        known.set_signal_type("tomogram")
        assert type(known) is Tomogram
        np.testing.assert_array_equal(known.data, ours.data)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tomograms: projecting them, and what they survive."""

import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import LazyTiltSeries, LazyTomogram, TiltSeries, Tomogram


def make_tomogram():
    simulated = simulate_tilt_series(size=16, n_slices=9, tilts=[-50, 0, 20], seed=40)
    axes = [
        {"name": "x", "size": 9, "scale": 0.5, "units": "nm", "navigate": True},
        {"name": "z", "size": 16, "scale": 0.5, "units": "nm"},
        {"name": "y", "size": 16, "scale": 0.5, "units": "nm"},
    ]
    return Tomogram(simulated.volume, axes=axes), simulated


@pytest.mark.parametrize("chunks", [None, (9, 16, 16), (4, 16, 16), (2, 5, 7)])
@pytest.mark.parametrize("tilts", [[-50, 0, 20], [10], [0, 180], [-50, -10, 30]])
def test_projects_as_the_specimen_does(tilts, chunks):
    tomogram, _ = make_tomogram()
    expected = simulate_tilt_series(size=16, n_slices=9, tilts=tilts, seed=40).clean_images
    if chunks is not None:
        tomogram = tomogram.as_lazy()
        tomogram.data = tomogram.data.rechunk(chunks)
    series = tomogram.project(tilts, show_progressbar=False)
    assert type(series) is (TiltSeries if chunks is None else LazyTiltSeries)
    images = np.asarray(series.data)
    assert np.linalg.norm(images - expected) < 0.08 * np.linalg.norm(expected)
    np.testing.assert_allclose(series.tilts, tilts)
    assert series.tilt_axis == "x"
    assert [axis.name for axis in series.axes_manager.signal_axes] == ["x", "y"]
    assert [axis.scale for axis in series.axes_manager.signal_axes] == [0.5, 0.5]


def test_reconstructs_what_it_projects():
    tomogram, _ = make_tomogram()
    series = tomogram.project(np.linspace(-80, 80, 33), show_progressbar=False)
    again = series.reconstruct(lambda_=0.05, show_progressbar=False, max_iter=500)
    off = np.linalg.norm(again.data - tomogram.data) / np.linalg.norm(tomogram.data)
    assert off < 0.1


def test_tilt_axis_of_projections_whatever_the_axes_are_called():
    volume = np.ones((9, 16, 16), np.float32)
    for names in (("y", "x"), ("x", "y"), (None, None)):
        tomogram = Tomogram(volume)
        axes = tomogram.axes_manager.navigation_axes[0], tomogram.axes_manager.signal_axes[0]
        for name, axis in zip(names, axes, strict=True):
            if name is not None:
                axis.name = name
        series = tomogram.project([-50, 0, 20], show_progressbar=False)
        assert series.tilt_axis == "x"
        assert series.transpose(signal_axes=(2, 1)).tilt_axis == "y"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_uneven_voxels_are_refused(axis):
    tomogram, _ = make_tomogram()
    tomogram.axes_manager[axis].convert_to_non_uniform_axis()
    with pytest.raises(ValueError, match="interpolate_on_axis"):
        tomogram.project([0, 10])


@pytest.mark.parametrize("tilts", [[0, np.nan], [3, 1, 2], [0, 0], [200]])
def test_bad_tilts(tilts):
    with pytest.raises(ValueError, match="Tilts must"):
        make_tomogram()[0].project(tilts)


def test_one_slice_by_itself_has_no_tilt_axis():
    with pytest.raises(ValueError, match="navigation axes"):
        make_tomogram()[0].inav[3].project([0, 1])


@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_what_is_known_of_it_is_saved(extension, tmp_path):
    series = make_tomogram()[0].project([-50, 0, 20], show_progressbar=False)
    tomogram = series.reconstruct(lambda_=0.1, max_iter=20, show_progressbar=False)
    path = tmp_path / f"tomogram.{extension}"
    tomogram.save(path)
    for lazy in (False, True):
        loaded = hs.load(path, lazy=lazy)
        assert type(loaded) is (LazyTomogram if lazy else Tomogram)
        about, known = loaded.metadata.Reconstruction, tomogram.metadata.Reconstruction
        assert about.gap == known.gap and about.lambda_ == known.lambda_
        np.testing.assert_array_equal(about.residual_per_tilt, known.residual_per_tilt)
    assert type(tomogram.inav[1:3]) is Tomogram
    assert type(tomogram.as_lazy()) is LazyTomogram

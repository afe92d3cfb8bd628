# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Figures of tomograms show the numbers they should, on axes with units."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import TiltSeries, Tomogram
from emsparse_hs.signals._imaging import fitted_sinogram
from emsparse_hs.tomography import Imaging, ParallelBeam

TILTS = np.r_[-60, -35, -20, 0, 15, 42, 61]


@pytest.fixture(scope="module")
def pair():
    images = simulate_tilt_series(size=14, n_slices=10, tilts=TILTS, seed=60).images
    axes = [{"size": 7, "navigate": True}]
    axes += [{"name": n, "size": s, "scale": 2, "units": "nm"} for n, s in (("y", 14), ("x", 10))]
    series = TiltSeries(images, axes=axes)
    series.set_tilts(TILTS)
    return series, series.reconstruct(max_iter=20, show_progressbar=False)


@pytest.fixture(autouse=True)
def closed():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("lazy", [False, True])
def test_slices_cross_in_one_voxel(pair, lazy):
    tomogram = pair[1].as_lazy() if lazy else pair[1]
    figure = tomogram.plot_slices(position=(3, 5, 8))
    volume = pair[1].data
    shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes[:3]]
    for image, expected in zip(shown, (volume[3], volume[:, 5].T, volume[:, :, 8].T), strict=True):
        np.testing.assert_array_equal(image, expected)
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes[:3]]
    assert labels == [("y (nm)", "z (nm)"), ("x (nm)", "y (nm)"), ("x (nm)", "z (nm)")]
    assert figure.axes[0].images[0].get_extent() == [-1, 27, 14, -14]
    figure.canvas.draw()


@pytest.mark.parametrize("lazy", [False, True])
def test_sinogram_shows_measured_minus_fitted(pair, lazy):
    series, tomogram = (s.as_lazy() if lazy else s for s in pair)
    figure = series.plot_sinogram(tomogram, index=4)
    measured, fitted, difference = (
        np.asarray(ax.collections[0].get_array()).reshape(7, 14) for ax in figure.axes[:3]
    )
    np.testing.assert_allclose(measured, pair[0].data[:, :, 4])
    np.testing.assert_allclose(difference, measured - fitted, atol=1e-6)
    projected = pair[1].project(TILTS, show_progressbar=False).data[:, :, 4]
    np.testing.assert_allclose(fitted, projected, atol=1e-4)
    rms = figure.axes[3].lines[0].get_xdata()
    np.testing.assert_allclose(rms, np.sqrt((difference**2).mean(axis=1)), rtol=1e-6)
    assert figure.axes[0].get_ylabel() == "Tilt (°)"
    figure.canvas.draw()


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("along", ["x", "y"])
def test_sinogram_of_the_slice_with_most_at_the_least_tilt(pair, along, lazy):
    series = pair[0].deepcopy()
    series.data *= 1e-3
    # Brighter at another tilt.
    series.data[3, :, 7], series.data[0, :, 2] = 1, 5
    if along == "y":
        series = series.transpose(signal_axes=("y", "x"))
    figure = (series.as_lazy() if lazy else series).plot_sinogram(pair[1])
    assert "= 14 " in figure.get_suptitle()
    measured = np.asarray(figure.axes[0].collections[0].get_array()).reshape(7, 14)
    assert (measured[3] == 1).all() and measured[0].max() < 1


def test_empty_and_uncalibrated_volumes_are_drawn():
    figure = Tomogram(np.zeros((3, 4, 5))).plot_slices()
    assert figure.axes[0].get_xlabel() == "axis (px)"
    figure.canvas.draw()


def test_says_what_is_wrong(pair):
    series, tomogram = pair
    with pytest.raises(ValueError, match="outside"):
        tomogram.plot_slices(position=(10, 0, 0))
    with pytest.raises(ValueError, match="no stack"):
        tomogram.inav[0].plot_slices()
    with pytest.raises(ValueError, match="no slice 10"):
        series.plot_sinogram(tomogram, index=10)
    with pytest.raises(ValueError, match="reconstructed from this series"):
        series.isig[:, 2:].plot_sinogram(tomogram)


def test_convergence_shows_gap_residuals_and_noise():
    series = simulate_tilt_series(size=14, n_slices=10, seed=61)
    signal = TiltSeries(series.images)
    signal.set_tilts(series.tilts)
    tomogram = signal.reconstruct(tol=1e-2, show_progressbar=False)
    about = tomogram.metadata.Reconstruction
    left, right = tomogram.plot_convergence().axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), about.gap_history)
    np.testing.assert_allclose(right.lines[0].get_ydata(), about.residual_per_tilt)
    np.testing.assert_allclose(right.lines[1].get_ydata(), about.sigma)
    with pytest.raises(ValueError, match="gap_history"):
        signal.reconstruct_wbp(show_progressbar=False).plot_convergence()


def test_a_sinogram_is_fitted_with_what_was_refined():
    series = simulate_tilt_series(size=18, n_slices=12, seed=62)
    gains = np.linspace(0.7, 1.3, len(series.tilts))
    signal = TiltSeries(series.images * gains[:, None, None])
    signal.set_tilts(series.tilts)
    quiet = {"tol": 1e-2, "show_progressbar": False}
    tomogram = signal.reconstruct(refine="gain", **quiet)
    about = tomogram.metadata.Reconstruction
    operator = ParallelBeam(series.tilts, 18)
    expected = operator.forward(tomogram.data)[5] * about.gains[:, None]
    found = fitted_sinogram(tomogram, series.tilts, 5)
    np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())
    some = fitted_sinogram(tomogram, series.tilts[::2], 5)
    np.testing.assert_allclose(some, expected[::2], atol=1e-4 * expected.max())
    assert len(signal.plot_sinogram(tomogram).axes) >= 4


def test_a_sinogram_is_fitted_at_the_angle_of_the_axis():
    series = simulate_tilt_series(size=18, n_slices=24, seed=63)
    signal = TiltSeries(series.images)
    signal.set_tilts(series.tilts)
    tomogram = signal.reconstruct(refine="angle", lambda_=3.0, tol=1e-2, show_progressbar=False)
    tomogram.metadata.Reconstruction.axis_angle = 6.0
    nothing = np.zeros(len(series.tilts))
    imaging = Imaging(nothing, nothing, nothing + 1, nothing, 6.0)
    expected = imaging.imaged(ParallelBeam(series.tilts, 18).forward(tomogram.data))
    for index in (0, 5, 12):
        found = fitted_sinogram(tomogram, series.tilts, index)
        np.testing.assert_allclose(found, expected[index], atol=1e-3 * expected.max())

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Example data as signals: types, calibration, and no warning that users can do nothing about."""

import logging
import warnings

import numpy as np
import pytest

from emsparse_hs import data
from emsparse_hs.data import _examples


@pytest.fixture
def without(monkeypatch):
    """Make packages seem not installed, to this module and to HyperSpy."""
    from hyperspy.extensions import ALL_EXTENSIONS

    def hide(package):
        monkeypatch.setattr(_examples, "is_installed", lambda name: name != package)
        for name, kind in list(ALL_EXTENSIONS["signals"].items()):
            if kind["module"].partition(".")[0] == package:
                monkeypatch.delitem(ALL_EXTENSIONS["signals"], name)

    return hide


def axes_of(signal):
    return [(a.name, a.units, a.scale, a.offset) for a in signal.axes_manager._axes]


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("installed", [True, False])
def test_spectrum_image(lazy, installed, without, caplog):
    if installed:
        # Its import warns of deprecated imports of its own.
        pytest.importorskip("exspy.signals")
    else:
        without("exspy")
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, logger="hyperspy"):
        warnings.simplefilter("error")
        s = data.spectrum_image(lazy=lazy)
    assert not caplog.records
    assert s.metadata.Signal.signal_type == ("EDS_TEM" if installed else "")
    assert s._lazy is lazy
    assert s.data.shape == (80, 80, 1917) and s.data.dtype == np.uint8
    assert s.metadata.Acquisition_instrument.TEM.beam_energy == 200
    assert s.axes_manager[-1].units == "keV"
    assert int(s.data.sum()) == 716887


@pytest.mark.parametrize("lazy", [False, True])
def test_nickel_patterns(lazy):
    pytest.importorskip("kikuchipy")
    s = data.nickel_patterns(lazy=lazy)
    assert s.metadata.Signal.signal_type == "EBSD" and s._lazy is lazy
    assert s.data.shape == (3, 3, 60, 60) and int(s.data.sum()) == 4732574
    np.testing.assert_allclose(s.detector.pc_average, [0.425, 0.213, 0.501], atol=1e-3)


@pytest.mark.parametrize("lazy", [False, True])
def test_needle(lazy):
    s = data.needle(lazy=lazy)
    assert s._signal_type == "tilt_series" and s._lazy is lazy
    np.testing.assert_allclose(s.tilts, np.arange(-76, 77, 2))
    assert s.data.shape == (77, 96, 64)
    assert all(axis.scale == 3.36 and axis.units == "nm" for axis in s.axes_manager.signal_axes)


@pytest.mark.filterwarnings("ignore")
def test_needle_is_a_part_of_the_whole(example):
    import hyperspy.api as hs

    # hs.load would look for the class of etspy.
    whole = hs.load(example("etspy_HAADF_Aligned.hspy"), signal_type="").data
    np.testing.assert_allclose(data.needle().data, whole[:, 80:176, 84:148], atol=0.501)


@pytest.mark.parametrize("installed", [True, False])
def test_simulated_spectrum_image(installed, without):
    if installed:
        pytest.importorskip("exspy")
    else:
        without("exspy")
    s, truth = data.simulated_spectrum_image(seed=1, shape=(9, 11), n_channels=100)
    assert s.metadata.Signal.signal_type == ("EDS_TEM" if installed else "")
    assert s.axes_manager.signal_shape == (100,) and s.data.shape == (9, 11, 100)
    np.testing.assert_array_equal(s.data, truth.counts)
    assert axes_of(s) == [("y", "nm", 2, 0), ("x", "nm", 2, 0), ("Energy", "keV", 0.2, 0.1)]
    assert s.metadata.Acquisition_instrument.TEM.beam_energy == 200
    # Where the strongest line of titanium is expected, the phase with titanium has a maximum.
    line = s.axes_manager[-1].value2index(4.511)
    rutile = truth.spectra[truth.phases.index("rutile")]
    assert rutile[line] > 5 * rutile[[line - 10, line + 10]].max()


@pytest.mark.parametrize("installed", [True, False])
def test_simulated_scan(installed, without):
    if installed:
        pytest.importorskip("pyxem")
    else:
        without("pyxem")
    s, truth = data.simulated_scan(seed=1, scan_shape=(5, 7), dose=None)
    assert s.metadata.Signal.signal_type == ("electron_diffraction" if installed else "")
    assert s.data.shape == (5, 7, 64, 64) and s.axes_manager.signal_shape == (64, 64)
    (step,) = {axis.scale for axis in s.axes_manager.signal_axes}
    assert axes_of(s)[:2] == [("y", "nm", truth.scan_step, 0), ("x", "nm", truth.scan_step, 0)]
    ky, kx = np.meshgrid(*(a.axis for a in s.axes_manager._axes[2:]), indexing="ij")
    # The bright disc ends at the convergence angle around the origin of the axes; the deflection
    # is smaller than a tenth of it.
    mean = s.data.mean((0, 1))
    distance = np.hypot(ky, kx) / truth.convergence_angle
    assert mean[distance < 0.7].min() > 5 * mean[distance > 1.3].max()
    assert step == truth.detector_step
    assert s.metadata.Acquisition_instrument.TEM.beam_energy == truth.beam_energy


@pytest.mark.parametrize("installed", [True, False])
def test_simulated_patterns(installed, without):
    if installed:
        pytest.importorskip("kikuchipy")
    else:
        without("kikuchipy")
    centre = (0.4, 0.3, 0.7)
    s, truth = data.simulated_patterns(
        seed=1, navigation_shape=(2, 3), shape=(20, 30), pattern_centre=centre, beam_energy=15.0
    )
    assert s.metadata.Signal.signal_type == ("EBSD" if installed else "")
    np.testing.assert_array_equal(s.data, truth.patterns)
    assert [axis[0] for axis in axes_of(s)] == ["y", "x", "dy", "dx"]
    assert s.metadata.Acquisition_instrument.SEM.beam_energy == 15
    if installed:
        assert s.detector.shape == (20, 30)
        np.testing.assert_allclose(s.detector.pc_average, centre)


def test_simulated_tilt_series():
    tilts = [-60, -20, 0, 15, 50]
    s, truth = data.simulated_tilt_series(seed=1, size=20, n_slices=9, tilts=tilts, pixel_size=0.5)
    assert s._signal_type == "tilt_series"
    assert s.data.shape == (5, 20, 9) and s.axes_manager.signal_shape == (9, 20)
    np.testing.assert_array_equal(s.tilts, tilts)
    np.testing.assert_array_equal(s.data, truth.images)
    assert [(a.name, a.units, a.scale) for a in s.axes_manager._axes[1:]] == [
        ("y", "nm", 0.5),
        ("x", "nm", 0.5),
    ]


@pytest.mark.parametrize(
    "simulate",
    [
        data.simulated_spectrum_image,
        data.simulated_scan,
        data.simulated_patterns,
        data.simulated_tilt_series,
    ],
)
def test_simulated_signals_have_titles_and_units_and_follow_the_seed(simulate):
    (s, _), (same, _), (other, _) = simulate(seed=3), simulate(seed=3), simulate(seed=4)
    assert s.metadata.General.title.startswith("Simulated")
    assert all(isinstance(axis.units, str) for axis in s.axes_manager._axes)
    np.testing.assert_array_equal(s.data, same.data)
    assert (s.data != other.data).any()

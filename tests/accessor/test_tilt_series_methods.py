# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""``s.emsparse`` on tilt series, our own and those that look like etspy's."""

import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs.accessor._tilt_series import TiltSeriesMethods
from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import LazyTiltSeries, TiltSeries

TILTS = np.linspace(-60, 60, 9)


class TomoStack(hs.signals.Signal2D):
    """As etspy's: an own signal type, tilts that conversions lose, and its own way to set them."""

    _signal_type = "TomoStack"
    tilts = hs.signals.Signal1D(TILTS[:, None])

    def set_tilts(self, start, increment):
        raise AssertionError("not ours to call")


def images():
    return simulate_tilt_series(size=14, n_slices=10, tilts=TILTS, seed=50).images


def own():
    series = TiltSeries(images())
    series.set_tilts(TILTS)
    return series


@pytest.fixture
def expected():
    return own().reconstruct(max_iter=20, show_progressbar=False).data


def test_own_series(expected):
    methods = own().emsparse
    assert type(methods) is TiltSeriesMethods
    result = methods.reconstruct(max_iter=20, show_progressbar=False)
    np.testing.assert_array_equal(result.data, expected)


def test_stack_in_memory(expected):
    stack = TomoStack(images())
    result = stack.emsparse.reconstruct(max_iter=20, show_progressbar=False)
    np.testing.assert_array_equal(result.data, expected)
    assert type(stack) is TomoStack


def test_specimen_and_microscope_are_kept():
    stack = TomoStack(images())
    stack.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 200.0)
    stack.metadata.set_item("Sample.description", "catalyst")
    tomogram = stack.emsparse.reconstruct(max_iter=20, show_progressbar=False)
    for signal in (stack.emsparse.as_tilt_series(), tomogram, tomogram.project([0, 20])):
        assert signal.metadata.Acquisition_instrument.TEM.beam_energy == 200.0
        assert signal.metadata.Sample.description == "catalyst"


@pytest.mark.parametrize("lazy", [False, True])
def test_file_of_etspy_without_etspy(expected, lazy):
    signal = hs.signals.Signal2D(images())
    signal.metadata.set_item("Tomography.tilts", hs.signals.Signal1D(TILTS[:, None]))
    signal = signal.as_lazy() if lazy else signal
    methods = TiltSeriesMethods(signal)
    series = methods.as_tilt_series()
    assert type(series) is (LazyTiltSeries if lazy else TiltSeries)
    result = methods.reconstruct(max_iter=20, show_progressbar=False, lazy_output=False)
    np.testing.assert_allclose(result.data, expected, atol=1e-6)
    assert signal._signal_type == ""


def test_tilts_that_were_lost():
    stack = TomoStack(images())
    stack.tilts = hs.signals.Signal1D(np.zeros((9, 1)))
    with pytest.raises(ValueError, match="All tilts are zero"):
        stack.emsparse.reconstruct()
    with pytest.raises(ValueError, match="no tilts in metadata"):
        TiltSeriesMethods(hs.signals.Signal2D(images())).reconstruct()
    np.testing.assert_allclose(stack.emsparse.as_tilt_series(TILTS).tilts, TILTS)


def test_tilts_in_memory_come_before_those_that_were_saved():
    stack = TomoStack(images()[2:6])
    stack.tilts = hs.signals.Signal1D(TILTS[2:6, None])
    stack.metadata.set_item("Tomography.tilts", hs.signals.Signal1D(TILTS[:, None]))
    np.testing.assert_allclose(stack.emsparse.as_tilt_series().tilts, TILTS[2:6])
    # As in files of etspy that `hs.load` opened.
    stack = TomoStack(images())
    stack.tilts = hs.signals.Signal1D(np.zeros((9, 1)))
    stack.metadata.set_item("Tomography.tilts", hs.signals.Signal1D(TILTS[:, None]))
    np.testing.assert_allclose(stack.emsparse.as_tilt_series().tilts, TILTS)


def test_other_signals_are_told_how():
    with pytest.raises(AttributeError, match="set_signal_type"):
        hs.signals.Signal2D(images()).emsparse.reconstruct()

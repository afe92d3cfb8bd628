# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Which lines of elements are marked where there is no room for all."""

import hyperspy.api as hs
import matplotlib.pyplot as plt
import numpy as np
import pytest

from emsparse_hs.plotting._axes import scale_counts
from emsparse_hs.plotting._lines import mark_lines


@pytest.fixture(autouse=True)
def closed():
    plt.switch_backend("agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("highest", ["Al", "Si"])
def test_the_higher_of_two_peaks_is_named(highest):
    pytest.importorskip("exspy")
    s = hs.signals.Signal1D(np.ones(2000))
    axis = s.axes_manager[0]
    axis.scale, axis.units, axis.name = 0.01, "keV", "E"
    s.set_signal_type("EDS_TEM")
    s.set_elements(["Al", "Fe", "Si"])
    energies = {"Al": 1.4865, "Si": 1.7397}
    spectrum = sum(
        (9 if element == highest else 3) * np.exp(-(((axis.axis - energy) / 0.04) ** 2))
        for element, energy in energies.items()
    )
    _, axes = plt.subplots()
    axes.plot(axis.axis, spectrum)
    # A curve that is not there everywhere.
    axes.plot(axis.axis, np.where(axis.axis < 5, np.nan, 0.1))
    axes.set_xlim(0, 20)
    mark_lines(axes, s)
    named = {text.get_text() for text in axes.texts}
    assert f"{highest} Kα" in named and "Fe Kα" in named
    assert not named & {"Al Kα", "Si Kα"} - {f"{highest} Kα"}


@pytest.mark.parametrize("scale", ["linear", "sqrt", "log"])
def test_names_are_above_the_curves_and_inside(scale):
    pytest.importorskip("exspy")
    s = hs.signals.Signal1D(np.ones(2000))
    axis = s.axes_manager[0]
    axis.scale, axis.units, axis.name, axis.offset = 0.01, "keV", "E", 1.4
    s.set_signal_type("EDS_TEM")
    s.set_elements(["Al", "Fe"])
    figure, axes = plt.subplots()
    axes.plot(axis.axis, 100 + 0 * axis.axis)
    axes.set_xlim(1.4, 21.4)
    scale_counts(axes, scale, 100.0)
    mark_lines(axes, s)
    figure.draw_without_rendering()
    curve = axes.transData.transform((2, 100))[1]
    frame = axes.get_window_extent()
    assert len(axes.texts) == 2
    for text in axes.texts:
        name = text.get_window_extent()
        assert name.y0 > curve and name.x0 > frame.x0

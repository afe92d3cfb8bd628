# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Which lines of elements are marked where there is no room for all."""

import itertools

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
def test_the_higher_of_two_peaks_is_named_first_and_all_lines_are_drawn(highest):
    pytest.importorskip("exspy")
    s = hs.signals.Signal1D(np.ones(2000))
    axis = s.axes_manager[0]
    axis.scale, axis.units, axis.name = 0.01, "keV", "E"
    s.set_signal_type("EDS_TEM")
    # A line of rubidium, 1.69 keV, is on the flank of silicon's peak.
    s.set_elements(["Al", "Fe", "Rb", "Si"])
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
    lowered = {text.get_text(): text.get_position()[1] < 0 for text in axes.texts}
    assert {name: lowered[name] for name in ("Al Kα", "Si Kα", "Fe Kα")} == {
        "Al Kα": highest != "Al",
        "Si Kα": highest != "Si",
        "Fe Kα": False,
    }
    assert "Rb Lα" not in lowered and "Rb Kα" in lowered
    drawn = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert min(abs(x - 1.694) for x in drawn) < 0.002


@pytest.mark.parametrize("elements", [["Al", "Fe"], ["Al", "Fe", "Si"]])
@pytest.mark.parametrize("scale", ["linear", "sqrt", "log"])
def test_names_are_above_the_curves_and_inside(scale, elements):
    pytest.importorskip("exspy")
    s = hs.signals.Signal1D(np.ones(2000))
    axis = s.axes_manager[0]
    axis.scale, axis.units, axis.name, axis.offset = 0.01, "keV", "E", 1.4
    s.set_signal_type("EDS_TEM")
    s.set_elements(elements)
    figure, axes = plt.subplots()
    axes.plot(axis.axis, 100 + 0 * axis.axis)
    axes.set_xlim(1.4, 21.4)
    scale_counts(axes, scale, 100.0)
    mark_lines(axes, s)
    figure.draw_without_rendering()
    curve = axes.transData.transform((2, 100))[1]
    frame = axes.get_window_extent()
    names = [text.get_window_extent() for text in axes.texts]
    assert len(names) == len(elements)
    assert all(name.y0 > curve and name.x0 > frame.x0 for name in names)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(names, 2))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Where the elements of the sample have lines and edges in a spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
from hyperspy.signal import BaseSignal
from matplotlib.axes import Axes

from emsparse_hs.plotting._axes import known

#: How many electron volts the units of an energy axis are.
_ELECTRON_VOLTS = {"keV": 1e3, "eV": 1.0}

#: Part of the axis by which names must be apart.
_APART = 0.018

#: Part of the height for curves, where names are above them.
_CURVES = 0.8

#: Part of the axis within which a peak is looked for on either side of its line.
_PEAK = 0.004


def element_lines(signal: BaseSignal) -> list[tuple[str, float]]:
    """Strongest X-ray lines, or major edges, of the elements in the metadata.

    Parameters
    ----------
    signal : BaseSignal
        An EDS or EELS signal of exSpy; others have none.

    Returns
    -------
    list of tuple
        Names such as "Fe Kα" and "Mn L3", and energies in the units of the signal axis, those of
        inner shells first.
    """
    elements = signal.metadata.get_item("Sample.elements", default=None)
    axis = signal.axes_manager.signal_axes[0]
    unit = _ELECTRON_VOLTS.get(known(axis.units))
    kind = signal._signal_type
    if elements is None or unit is None or not kind.startswith(("EDS", "EELS")):
        return []
    from exspy.material import elements as table

    found = []
    for element in elements:
        if element not in table:
            continue
        properties = table[element].Atomic_properties.as_dictionary()
        energies = _edges(properties) if kind == "EELS" else _lines(properties)
        found += [(f"{element} {name}", energy / unit) for name, energy in energies]
    inside = [line for line in found if axis.low_value < line[1] < axis.high_value]
    return sorted(inside, key=lambda line: line[0].split()[1])


def _lines(properties: dict) -> list[tuple[str, float]]:
    """The strongest of each shell, in eV."""
    lines = properties.get("Xray_lines", {})
    return [
        (name.replace("a", "α"), 1e3 * line["energy (keV)"])
        for name, line in lines.items()
        if line["weight"] == 1
    ]


def _edges(properties: dict) -> list[tuple[str, float]]:
    edges = properties.get("Binding_energies", {})
    return [
        (name, edge["onset_energy (eV)"])
        for name, edge in edges.items()
        if edge.get("relevance") == "Major"
    ]


def mark_lines(axes: Axes, signal: BaseSignal) -> None:
    """Mark lines and edges of the sample's elements in a spectrum that is shown already.

    Where there is no room for all names, those of the higher peaks are marked, or edges of inner
    shells.

    Parameters
    ----------
    axes : Axes
        Its upper limit is raised, so that curves are below the names.
    signal : BaseSignal
        What it is a spectrum of.
    """
    low, high = axes.get_xlim()
    edge = low + _APART * (high - low)
    marked: list[float] = []
    lines = element_lines(signal)
    if not signal._signal_type.startswith("EELS"):
        lines.sort(key=lambda line: -_height(axes, line[1]))
    for name, energy in lines:
        near = any(abs(energy - other) < _APART * (high - low) for other in marked)
        if near or not low < energy < high:
            continue
        marked.append(energy)
        axes.axvline(energy, color="0.5", lw=0.6, ls=":", zorder=0)
        style: dict[str, Any] = dict(
            rotation=90,
            va="top",
            ha="right" if energy > edge else "left",
            fontsize="x-small",
            color="0.35",
        )
        axes.text(energy, 0.97, name, transform=axes.get_xaxis_transform(), **style)
    if marked:
        _make_room(axes)


def _make_room(axes: Axes) -> None:
    """Leave the upper part of the axes to names."""
    scale = axes.yaxis.get_transform()
    bottom, top = scale.transform(np.array(axes.get_ylim()))
    raised = bottom + (top - bottom) / _CURVES
    axes.set_ylim(top=float(scale.inverted().transform(np.array([raised]))[0]))


def _height(axes: Axes, energy: float) -> float:
    """The most that any curve has near an energy."""
    low, high = axes.get_xlim()
    highest = 0.0
    for curve in axes.get_lines():
        x, y = (np.asarray(values, float) for values in curve.get_data())
        near = np.abs(x - energy) < _PEAK * (high - low)
        highest = max(highest, np.nanmax(y[near], initial=0.0))
    return highest

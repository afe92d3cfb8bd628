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

#: Part of the height for curves, where one row of names is above them, or two.
_CURVES = (0.8, 0.62)

#: Points from one row to the next, in which a name as "Mg Kα" fits.
_ROW = 25

#: Part of the axis on either side of a line within which its peak falls off.
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

    Where there is no room for all names beside each other, those of the higher peaks, or of edges
    of inner shells, come first, others in a row below, and what has no room there is not named.

    Parameters
    ----------
    axes : Axes
        Its upper limit is raised, so that curves are below the names.
    signal : BaseSignal
        What it is a spectrum of.
    """
    low, high = axes.get_xlim()
    apart = _APART * (high - low)
    rows: tuple[list[float], ...] = ([], [])
    lines = element_lines(signal)
    if not signal._signal_type.startswith("EELS"):
        lines.sort(key=lambda line: -_height(axes, line[1]))
    for name, energy in lines:
        if not low < energy < high:
            continue
        axes.axvline(energy, color="0.5", lw=0.6, ls=":", zorder=0)
        # Where the name ends, which is left of its line if it can be.
        side, end = ("right", energy) if energy > low + apart else ("left", energy + apart)
        for number, row in enumerate(rows):
            if all(abs(end - other) >= apart for other in row):
                row.append(end)
                _name(axes, name, energy, number, side)
                break
    for curves, row in zip(_CURVES[::-1], rows[::-1], strict=True):
        if row:
            _make_room(axes, curves)
            break


def _name(axes: Axes, name: str, energy: float, row: int, side: str) -> None:
    """Write the name of a line beside it."""
    place: dict[str, Any] = dict(xycoords=axes.get_xaxis_transform(), textcoords="offset points")
    style: dict[str, Any] = dict(rotation=90, va="top", ha=side, fontsize="x-small", color="0.35")
    axes.annotate(name, (energy, 0.97), (0, -_ROW * row), **place, **style)


def _make_room(axes: Axes, curves: float) -> None:
    """Leave the upper part of the axes to names, and that part to curves."""
    scale = axes.yaxis.get_transform()
    bottom, top = scale.transform(np.array(axes.get_ylim()))
    raised = bottom + (top - bottom) / curves
    axes.set_ylim(top=float(scale.inverted().transform(np.array([raised]))[0]))


def _height(axes: Axes, energy: float) -> float:
    """The most that any curve has at an energy above what is beside it: a flank is no peak."""
    low, high = axes.get_xlim()
    highest = 0.0
    for curve in axes.get_lines():
        x, y = (np.asarray(values, float) for values in curve.get_data())
        near = np.nan_to_num(y[np.abs(x - energy) < _PEAK * (high - low)])
        if near.size:
            highest = max(highest, near[near.size // 2] - max(near[0], near[-1]))
    return highest

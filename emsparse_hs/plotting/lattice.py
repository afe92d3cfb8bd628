# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Bravais lattices: maps, probabilities, cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from emsparse_hs.ebsd import BRAVAIS_LATTICES
from emsparse_hs.plotting._axes import MASKED, show_image

if TYPE_CHECKING:
    from emsparse_hs.signals import BravaisProbabilities, PhaseLattice

#: One hue a crystal family, darker the more its cell is centred.
COLOURS = {
    "aP": "#7f7f7f", "mP": "#c7a76c", "mC": "#8c6d31",
    "oP": "#fdae6b", "oC": "#fd8d3c", "oI": "#e6550d", "oF": "#a63603",
    "tP": "#a1d99b", "tI": "#31a354", "hR": "#9e9ac8", "hP": "#54278f",
    "cP": "#9ecae1", "cI": "#4292c6", "cF": "#084594", "unknown": "#202020",
}  # fmt: skip
#: Fades from this at probability 0 to the full colour at 1.
_FADED = 0.25


def plot_lattice_map(
    probabilities: BravaisProbabilities,
    *,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot which Bravais lattice each pattern of a scan shows.

    Colours fade where the answer is less certain; grey patterns were left out.

    Parameters
    ----------
    probabilities : BravaisProbabilities
        Of a scan with one or two axes.
    title : str, optional
        Of the figure.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With one axes, and the legend of the lattices that are there with their share.

    Raises
    ------
    ValueError
        If the scan has no axis or more than two.
    """
    dimension = probabilities.axes_manager.navigation_dimension
    if dimension != 2:
        raise ValueError(
            f"The scan has {dimension} axes, and a map has 2. Choose a part of the scan with "
            "s.inav, or plot one pattern with s.plot()."
        )
    answers = probabilities.most_probable()
    data = np.asarray(probabilities._data_aligned_with_axes)
    certain = np.nan_to_num(np.where(np.isfinite(data), data, 0).max(axis=-1))
    if figure is None:
        figure = plt.figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    image = np.zeros((*answers.shape, 4))
    for name in probabilities.lattices:
        image[answers == name] = to_rgba(COLOURS[name])
    image[..., 3] *= _FADED + (1 - _FADED) * certain
    show_image(axes, probabilities.axes_manager.navigation_axes, image)
    axes.set_facecolor("white" if (answers != "").all() else MASKED)
    _add_legend(axes, answers, probabilities.lattices)
    if title is not None:
        axes.set_title(title)
    return figure


def _add_legend(axes, answers: np.ndarray, names) -> None:
    """The lattices that are there, the most frequent first."""
    counts = {name: int((answers == name).sum()) for name in names}
    there = sorted((n for n in names if counts[n]), key=lambda n: -counts[n])
    total = max(sum(counts.values()), 1)
    patches = [
        Patch(color=COLOURS[n], label=f"{n}  {100 * counts[n] / total:.0f} %") for n in there
    ]
    axes.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0, frameon=False
    )


def plot_lattice(
    lattice: PhaseLattice,
    *,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot the probabilities of the lattices of a phase, and its cell with standard errors.

    Parameters
    ----------
    lattice : PhaseLattice
        From ``s.emsparse.estimate_lattice()``.
    title : str, optional
        Of the figure.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With three axes: probabilities, lengths, angles.
    """
    if figure is None:
        figure = plt.figure(figsize=(9.5, 3.6), layout="constrained")
    bars, lengths, angles = figure.subplots(1, 3, gridspec_kw={"width_ratios": [2.4, 1, 1]})
    names = (*BRAVAIS_LATTICES, "unknown")
    bars.bar(names, lattice.probabilities, color=[COLOURS[n] for n in names])
    bars.set_ylim(0, 1)
    bars.set_ylabel("probability")
    bars.tick_params(axis="x", rotation=60)
    _errors(lengths, ("a", "b", "c"), lattice.parameters[:3], lattice.errors[:3], "length (Å)")
    greek = ("α", "β", "γ")
    _errors(angles, greek, lattice.parameters[3:], lattice.errors[3:], "angle (°)")
    n_patterns = len(lattice.explained)
    figure.suptitle(f"{lattice.lattice}, {n_patterns} patterns" if title is None else title)
    return figure


def _errors(axes, names, values, errors, label: str) -> None:
    """Values with their errors, written beside them."""
    axes.set_ylabel(label)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.6, len(names) - 0.2)
    axes.margins(y=0.3)
    if not np.isfinite(values).all():
        axes.text(0.5, 0.5, "no cell", transform=axes.transAxes, ha="center")
        return
    axes.errorbar(range(len(names)), values, errors, fmt="o", ms=4, capsize=4, color="0.2")
    for k, (value, error) in enumerate(zip(values, errors, strict=True)):
        digits = max(0, min(3, int(np.ceil(-np.log10(max(error, 1e-3))))))
        axes.annotate(f"{value:.{digits}f}", (k, value), (7, 0), textcoords="offset points", size=8)
    spread = max(np.ptp(values), 6 * np.max(errors), 0.02 * np.max(values))
    axes.set_ylim(values.min() - 0.3 * spread, values.max() + 0.3 * spread)

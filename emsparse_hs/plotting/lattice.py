# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Bravais lattices: maps, probabilities, cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from emsparse_hs.ebsd.bravais import ANSWERS
from emsparse_hs.plotting._axes import MASKED, figure_for, show_image

if TYPE_CHECKING:
    from emsparse_hs.signals import BravaisProbabilities, PhaseLattice

#: Near hues for a family, darker the more its cell is centred; grey is for what is left out.
COLOURS = {
    "aP": "#d67ab1", "mP": "#c7a76c", "mC": "#8c6d31",
    "oP": "#fdae6b", "oC": "#fd8d3c", "oI": "#e6550d", "oF": "#a63603",
    "tP": "#a1d99b", "tI": "#31a354", "hR": "#9e9ac8", "hP": "#54278f",
    "cP": "#a3e4ea", "cI": "#1cb2c4", "cF": "#084594", "unknown": "#202020",
}  # fmt: skip
#: Hatched, as a pale 'unknown' is grey as well.
_LEFT_OUT: dict[str, Any] = {"facecolor": MASKED, "edgecolor": "white", "hatch": "////"}
#: Fades from this at probability 0 to the full colour at 1.
_FADED = 0.25


def plot_lattice_map(
    probabilities: BravaisProbabilities,
    *,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot which Bravais lattice each pattern of a scan shows.

    Colours fade where the answer is less certain; hatched patterns were left out.

    Parameters
    ----------
    probabilities : BravaisProbabilities
        Of a scan with two axes.
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
        If the scan has another number of axes.
    """
    dimension = probabilities.axes_manager.navigation_dimension
    if dimension != 2:
        raise ValueError(
            f"The scan has {dimension} navigation axes, and a map has 2. Choose a part of a larger "
            "scan with s.inav; s.plot() shows the probabilities of one pattern after the other."
        )
    answers = probabilities.most_probable()
    data = probabilities._all_answers()
    certain = np.nan_to_num(data).max(axis=-1)[..., np.newaxis]
    figure = figure_for(figure, (6.4, 4.8))
    axes = figure.subplots()
    image = np.ones((*answers.shape, 4))
    for name in probabilities.lattices:
        image[answers == name, :3] = to_rgb(COLOURS[name])
    # Towards white and not transparent, which would be towards the grey of what is left out.
    image[..., :3] = 1 - (_FADED + (1 - _FADED) * certain) * (1 - image[..., :3])
    image[answers == "", 3] = 0
    show_image(axes, probabilities.axes_manager.navigation_axes, image)
    axes.set_anchor("NW")
    axes.patch.set(**_LEFT_OUT)
    _add_legend(figure, answers, probabilities.lattices)
    if title is not None:
        axes.set_title(title)
    return figure


def _add_legend(figure, answers: np.ndarray, names) -> None:
    """The lattices that are there, the most frequent first, with shares of what is not left out."""
    counts = {name: int((answers == name).sum()) for name in names}
    there = sorted((n for n in names if counts[n]), key=lambda n: -counts[n])
    total = max(sum(counts.values()), 1)
    patches = [
        Patch(color=COLOURS[n], label=f"{n}  {100 * counts[n] / total:.0f} %") for n in there
    ]
    if (answers == "").any():
        patches.append(Patch(**_LEFT_OUT, lw=0, label="left out"))
    # Of the figure, which leaves room for it: beside axes of a fixed aspect it was cut.
    figure.legend(
        handles=patches, loc="outside right upper", frameon=False,
        title="share of patterns\n(paler: less certain)", alignment="left",
    )  # fmt: skip


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
        With three axes: probabilities, lengths, angles. The errors of lengths leave out the scale
        that they share, that of `width_scale`.
    """
    figure = figure_for(figure, (9.5, 3.6))
    bars, lengths, angles = figure.subplots(1, 3, gridspec_kw={"width_ratios": [2, 1.1, 1.1]})
    bars.bar(ANSWERS, lattice.probabilities, color=[COLOURS[n] for n in ANSWERS])
    bars.set_ylim(0, 1)
    bars.set_ylabel("probability")
    bars.tick_params(axis="x", rotation=90)
    _errors(lengths, ("a", "b", "c"), lattice.parameters[:3], lattice.errors[:3], "length (Å)")
    if np.isfinite(lattice.parameters).all():
        lengths.set_title("error of the common scale left out", size=8)
    greek = ("α", "β", "γ")
    _errors(angles, greek, lattice.parameters[3:], lattice.errors[3:], "angle (°)")
    n_patterns = len(lattice.explained)
    count = "1 pattern" if n_patterns == 1 else f"{n_patterns} patterns"
    said = lattice.lattice
    if said == "unknown" and lattice.symmetry is not None:
        said = f"unknown (cell as {lattice.symmetry.lattice})"
    figure.suptitle(f"{said}, {count}" if title is None else title)
    return figure


def _errors(axes, names, values, errors, label: str) -> None:
    """Values with their errors, written above them; whole where symmetry fixes them."""
    axes.set_ylabel(label)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    if not np.isfinite(values).all():
        axes.set_yticks([])
        axes.text(0.5, 0.5, "no cell", transform=axes.transAxes, ha="center", va="center")
        return
    axes.errorbar(range(len(names)), values, errors, fmt="o", ms=4, capsize=4, color="0.2")
    for k, (value, error) in enumerate(zip(values, errors, strict=True)):
        digits = max(0, min(3, int(np.ceil(-np.log10(max(error, 1e-3)))))) if error > 0 else 0
        text = f"{value:.{digits}f}"
        top = (k, value + error)
        axes.annotate(text, top, (0, 4), textcoords="offset points", size=8, ha="center")
    spread = max(np.ptp(values), 6 * np.max(errors), 0.02 * np.max(values))
    axes.set_ylim(values.min() - 0.4 * spread, values.max() + 0.4 * spread)

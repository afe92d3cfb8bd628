# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Phases in a nanobeam scan: where they are, and what their patterns look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle, Patch

from emsparse_hs.plotting._axes import MASKED, colour_of, show_image

if TYPE_CHECKING:
    from emsparse_hs.accessor._grouping import PatternGroups

#: Most exemplars in a row, and a disc's least weight to be marked.
_COLUMNS, _LEAST = 3, 0.3
#: Discs of two phases that are farther apart than this number of radii tell one from the other.
_TELLS = 1.0


def plot_phases(
    groups: PatternGroups,
    *,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot the map of the phases, and beside it the exemplar of each.

    Exemplars are in log scale. Circles mark the discs of a phase: those in its colour tell it,
    since no other phase has them; dotted white ones are of others too.

    Parameters
    ----------
    groups : PatternGroups
        From ``s.emsparse.group_patterns()``, of a scan with two axes.
    title : str, optional
        Of the figure.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With the axes of the map first, and one for each phase.

    Raises
    ------
    ValueError
        If the scan has another number of axes.
    """
    labels = groups.labels
    if labels.data.ndim != 2:
        raise ValueError(
            f"The scan has {labels.data.ndim} navigation axes, and a map has 2. Group the patterns "
            "of a part of the scan, chosen with s.inav."
        )
    n_rows = max(1, -(-groups.n_phases // _COLUMNS))
    n_columns = min(max(groups.n_phases, 1), _COLUMNS)
    if figure is None:
        size = (4.6 + 2.5 * n_columns, max(3.6, 2.8 * n_rows))
        figure = plt.figure(figsize=size, layout="constrained")
    cells = figure.add_gridspec(
        n_rows, 1 + n_columns, width_ratios=[max(1.5, 1.1 * n_rows)] + [1] * n_columns
    )
    _show_map(figure.add_subplot(cells[:, 0]), groups)
    for phase in range(groups.n_phases):
        row, column = divmod(phase, _COLUMNS)
        _show_exemplar(figure.add_subplot(cells[row, 1 + column]), groups, phase)
    if title is not None:
        figure.suptitle(title)
    return figure


def _show_map(axes, groups: PatternGroups) -> None:
    """The phases in colours, with a legend of their shares below."""
    labels = groups.labels.data
    image = np.zeros((*labels.shape, 4))
    patches = []
    for phase in range(groups.n_phases):
        here = labels == phase
        image[here] = (*colour_of(phase), 1)
        text = f"phase {phase}  {100 * here.mean():.0f} %"
        patches.append(Patch(color=colour_of(phase), label=text))
    if (labels < 0).any():
        text = f"no discs  {100 * (labels < 0).mean():.0f} %"
        patches.append(Patch(color=MASKED, label=text))
    show_image(axes, groups.labels.axes_manager.signal_axes, image)
    axes.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(0, -0.02), frameon=False, ncols=2
    )


def _show_exemplar(axes, groups: PatternGroups, phase: int) -> None:
    """The mean pattern in log scale, and circles about its discs."""
    assert groups.exemplars is not None
    pattern = groups.exemplars.data[phase]
    positive = pattern[pattern > 0]
    low = np.percentile(positive, 5) if positive.size else 1.0
    axes.imshow(np.log10(np.maximum(pattern, low)), cmap="gray", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(f"phase {phase}", color=colour_of(phase))
    others = [discs for k, discs in enumerate(groups.discs) if k != phase]
    for x, y, weight in groups.discs[phase]:
        if weight >= _LEAST:
            tells = not any(_has(discs, x, y, groups.beam_radius) for discs in others)
            colour, style = (colour_of(phase), "-") if tells else ("white", ":")
            radius = 1.4 * groups.beam_radius
            axes.add_patch(Circle((x, y), radius, fill=False, ec=colour, ls=style, lw=1.2))


def _has(discs: np.ndarray, x: float, y: float, beam_radius: float) -> bool:
    """Whether one of the discs is at a place."""
    return bool((np.hypot(discs[:, 0] - x, discs[:, 1] - y) <= _TELLS * beam_radius).any())

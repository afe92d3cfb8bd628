# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The evidence for a number of components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:
    from emsparse_hs.decomposition import ComponentSelection


def plot_n_components(selection: ComponentSelection) -> Figure:
    """Plot how well each number of components predicts counts that were set aside.

    Parameters
    ----------
    selection : ComponentSelection
        From ``s.emsparse.select_n_components``, or ``selection_`` of a `PoissonNMF` that chose the
        number itself.

    Returns
    -------
    Figure
        Gains over one spectrum on the left. On the right how far each number is below the best one,
        with bars of a standard error of that difference, on a scale of square roots. The number
        that was chosen is filled.
    """
    figure, (whole, near) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    numbers, below = selection.candidates, selection.gains.max() - selection.gains
    chosen = numbers == selection.n_components
    for axes, values, errors in ((whole, selection.gains, None), (near, below, selection.errors)):
        axes.plot(numbers, values, color="0.6", zorder=1)
        style = {"fmt": "o", "color": "#0072B2", "markersize": 8, "capsize": 3}
        for some, fill in ((chosen, "#0072B2"), (~chosen, "white")):
            bars = None if errors is None else errors[some]
            axes.errorbar(numbers[some], values[some], bars, markerfacecolor=fill, **style)
        axes.set_xlabel("Number of components")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    whole.set_ylabel("Gain over one spectrum (nats per pixel)")
    plural = "s" if selection.n_components > 1 else ""
    whole.set_title(f"{selection.n_components} component{plural}", loc="left")
    near.set_yscale("function", functions=(_root, np.square))
    near.set_ylim(below.max() * 1.1 + 1e-12, 0)
    near.set_ylabel("Below the best (nats per pixel)")
    return figure


def _root(values):
    return np.sqrt(np.maximum(values, 0))

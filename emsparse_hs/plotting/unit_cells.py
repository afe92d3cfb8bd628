# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lattices of atomic-resolution scans, and the domains and patterns of their unit cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from emsparse_hs.plotting._axes import MASKED, show_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from emsparse_hs.signals import ScanLattice, UnitCellModel

#: Of domains and lattices, one after the other.
_COLOURS = [plt.get_cmap("tab10")(k) for k in (0, 1, 2, 4, 6, 8, 9, 3, 5)]
#: Cells that are drawn along each edge, and part of the power spectrum that is shown in lengths of
#: the longest vector.
_DRAWN, _SHOWN = 3, 3.2
#: Domains whose patterns are shown side by side.
_GRIDS = 2


def plot_scan_lattice(
    lattice: ScanLattice,
    *,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot a scan with its cells drawn in, its power spectrum, and the shifts of its lines.

    Parameters
    ----------
    lattice : ScanLattice
        From ``s.emsparse.find_scan_lattice()``.
    title : str, optional
        Of the figure. Lengths and angles by default.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With three axes.
    """
    if figure is None:
        figure = plt.figure(figsize=(11, 3.8), layout="constrained")
    image_axes, power_axes, shift_axes = figure.subplots(1, 3)
    score = lattice.scores.values[..., 0]
    scan = lattice.grains()
    show_image(image_axes, scan.axes_manager.signal_axes, score, cmap="gray")
    image_axes.set_title("what changes most, with cells")
    _draw_cells(image_axes, lattice, scan)
    _show_power(power_axes, lattice)
    shift = lattice.row_shift
    lines = np.arange(len(shift))
    for k, name in enumerate("xy"):
        shift_axes.plot(shift[:, k], lines, lw=0.8, label=name)
    shift_axes.invert_yaxis()
    shift_axes.set_xlabel(f"shift of a line ({lattice.units})")
    shift_axes.set_ylabel("line")
    shift_axes.set_title("shifts of lines")
    shift_axes.legend()
    figure.suptitle(repr(lattice)[1:-1] if title is None else title)
    return figure


def _draw_cells(axes: Axes, lattice: ScanLattice, scan) -> None:
    """Some cells of each lattice, in the middle of its largest grain."""
    x, y = scan.axes_manager.signal_axes
    for k, cell in enumerate(lattice.vectors):
        own = np.argwhere(scan.data == k)
        if not len(own):
            continue
        middle = own[np.argmin(((own - own.mean(0)) ** 2).sum(1))]
        corner = np.array([x.axis[middle[1]], y.axis[middle[0]]])
        steps = np.arange(_DRAWN + 1) - _DRAWN / 2
        ends = np.array([-_DRAWN / 2, _DRAWN / 2])
        colour = _COLOURS[k % len(_COLOURS)]
        for step in steps:
            for along, across in ((cell[0], cell[1]), (cell[1], cell[0])):
                line = corner + ends[:, np.newaxis] * along + step * across
                axes.plot(*line.T, color=colour, lw=1, scalex=False, scaley=False)


def _show_power(axes: Axes, lattice: ScanLattice) -> None:
    """Power spectrum of the strongest scores with the first vectors."""
    scores = lattice.scores.values[..., :12]
    window = np.multiply.outer(*(np.hanning(n) for n in scores.shape[:2]))[..., np.newaxis]
    spectrum = np.fft.fft2((scores - scores.mean((0, 1))) * window, axes=(0, 1))
    power = np.fft.fftshift((np.abs(spectrum) ** 2).sum(-1), axes=(0, 1))
    n_y, n_x = power.shape
    per_pixel = lattice.fit.alignment.reciprocal
    axes.imshow(
        np.log(power + 1e-3 * power.mean()), cmap="magma", aspect="equal",
        extent=(-0.5 - 0.5 / n_x, 0.5 - 0.5 / n_x, 0.5 - 0.5 / n_y, -0.5 - 0.5 / n_y),
    )  # fmt: skip
    for k, pair in enumerate(per_pixel):
        colour = _COLOURS[k % len(_COLOURS)]
        ends = np.concatenate([pair, -pair])
        axes.plot(ends[:, 1], ends[:, 0], "o", mfc="none", mec="white", ms=13, mew=2.5)
        axes.plot(ends[:, 1], ends[:, 0], "o", mfc="none", mec=colour, ms=13, mew=1.5)
    reach = min(_SHOWN * np.linalg.norm(per_pixel, axis=-1).max(), 0.5)
    axes.set_xlim(-reach, reach)
    axes.set_ylim(reach, -reach)
    axes.set_xlabel("cycles a pixel")
    axes.set_title("power spectrum")


def plot_unit_cells(
    model: UnitCellModel,
    *,
    domain: int | None = None,
    variant: int = 0,
    n: int = 4,
    title: str | None = None,
    figure: Figure | SubFigure | None = None,
) -> Figure | SubFigure:
    """Plot domains, slow changes and misfit of a scan, and patterns over the unit cell.

    Parameters
    ----------
    model : UnitCellModel
        From ``s.emsparse.unit_cell_model()``.
    domain, variant : int
        Whose patterns are shown. Those of the first domains by default.
    n : int
        Patterns along each edge of the cell.
    title : str, optional
        Of the figure.
    figure : Figure or SubFigure, optional
        To draw in. A new one by default.

    Returns
    -------
    Figure or SubFigure
        With two subfigures: three maps, and below them a grid of patterns for each domain.

    Raises
    ------
    ValueError
        If there is no such domain or variant.
    """
    if not isinstance(variant, (int, np.integer)):
        raise ValueError(f"{variant!r} is no variant. Plot what a wall adds with model.pattern.")
    if figure is None:
        figure = plt.figure(figsize=(11, 7.4), layout="constrained")
    top, bottom = cast("np.ndarray", figure.subfigures(2, 1, height_ratios=[1, 1.55]))
    domains, slow, misfit = top.subplots(1, 3)
    misfit_name = "misfit" if np.isinf(model.like["dose_per_count"]) else "misfit (1: noise)"
    _show_domains(domains, model)
    for axes, image, name in (
        (slow, model.slow_map(), "slow changes"),
        (misfit, model.misfit(), misfit_name),
    ):
        shown = show_image(axes, image.axes_manager.signal_axes, image.data)
        # A few positions that don't fit at all would hide the rest.
        shown.set_clim(*np.quantile(image.data, [0.005, 0.995]))
        axes.set_anchor("C")
        axes.set_title(name)
        top.colorbar(shown, ax=axes)
    shown_domains = range(min(model.n_domains, _GRIDS)) if domain is None else [domain]
    parts = bottom.subfigures(1, max(len(shown_domains), 2), squeeze=False)[0]
    for part, one in zip(parts, shown_domains, strict=False):
        _show_patterns(part, model, one, variant, n)
    if title is not None:
        figure.suptitle(title)
    return figure


def _show_domains(axes: Axes, model: UnitCellModel) -> None:
    """Map of the domains, with their shares."""
    image = model.domain_map()
    colours = [_COLOURS[k % len(_COLOURS)] for k in range(model.n_domains)]
    shown = show_image(axes, image.axes_manager.signal_axes, image.data)
    shown.set_cmap(ListedColormap(colours))
    shown.set_clim(-0.5, model.n_domains - 0.5)
    axes.set_anchor("C")
    axes.set_title("domains")
    shares = np.bincount(image.data.ravel(), minlength=model.n_domains) / image.data.size
    patches = [
        Patch(color=colour, label=f"{k}: {share:.0%}")
        for k, (colour, share) in enumerate(zip(colours, shares, strict=True))
    ]
    axes.legend(handles=patches, loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False)


def _show_patterns(figure, model: UnitCellModel, domain: int, variant: int, n: int) -> None:
    """Patterns of one variant, u to the right and v downwards."""
    grid = model.dictionary(domain, variant, n).data
    brightest = np.sqrt(grid.max())
    for v, line in enumerate(figure.subplots(n, n, squeeze=False)):
        for u, axes in enumerate(line):
            axes.imshow(np.sqrt(grid[v, u]), cmap="inferno", vmin=0, vmax=brightest)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_facecolor(MASKED)
            if v == n - 1:
                axes.set_xlabel(f"{u / n:g}")
            if u == 0:
                axes.set_ylabel(f"{v / n:g}")
    figure.suptitle(f"domain {domain}, variant {variant}, over the cell (u right, v down)", size=11)

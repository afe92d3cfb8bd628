# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Figures of lattices: what is drawn is what was found."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from emsparse_hs.ebsd import BRAVAIS_LATTICES
from emsparse_hs.ebsd.lattice import _nothing
from emsparse_hs.plotting import plot_lattice, plot_lattice_map
from emsparse_hs.plotting.lattice import COLOURS
from emsparse_hs.signals import BravaisProbabilities, PhaseLattice

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")

ANSWERS = (*BRAVAIS_LATTICES, "unknown")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def probabilities(lazy=False):
    """Of 2 x 3 patterns: cF for sure, cF and cI by halves, hR; unknown, left out, cF."""
    data = np.zeros((2, 3, 15))
    data[0, 0, ANSWERS.index("cF")] = data[1, 2, ANSWERS.index("cF")] = 1
    data[0, 1, ANSWERS.index("cF")], data[0, 1, ANSWERS.index("cI")] = 0.51, 0.49
    data[0, 2, ANSWERS.index("hR")] = data[1, 0, -1] = 1
    data[1, 1] = np.nan
    signal = BravaisProbabilities(data)
    signal.axes_manager[0].name = "x"
    return signal.as_lazy() if lazy else signal


def lattice(**changes):
    found = replace(
        _nothing(7),
        probabilities=np.eye(15)[ANSWERS.index("mP")] * 0.9 + np.eye(15)[-1] * 0.1,
        parameters=np.array([4.123, 7.65, 12.9, 90, 101.25, 90]),
        errors=np.array([0.01, 0.2, 0.03, 0, 0.4, 0]),
    )
    return PhaseLattice(replace(found, **changes), np.ones(7, bool))


@pytest.mark.parametrize("lazy", [False, True])
def test_the_map_has_the_colours_of_the_lattices(lazy):
    figure = probabilities(lazy).plot_map()
    (axes,) = figure.axes
    image = axes.images[0].get_array()
    np.testing.assert_allclose(image[0, 0], (*to_rgb(COLOURS["cF"]), 1))
    np.testing.assert_allclose(image[0, 2], (*to_rgb(COLOURS["hR"]), 1))
    np.testing.assert_allclose(image[1, 0], (*to_rgb(COLOURS["unknown"]), 1))
    # The less certain is paler, and what is left out is not drawn.
    assert (image[0, 1, :3] > image[0, 0, :3]).all() and image[0, 1, 3] == 1
    assert image[1, 1, 3] == 0
    assert axes.get_xlabel() == "x (px)"
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert legend.get_title().get_text() == "share of patterns\n(paler: less certain)"
    assert texts == ["cF  60 %", "hR  20 %", "unknown  20 %", "left out"]


def test_the_legend_has_no_more_than_is_there():
    part = probabilities().inav[:2, :1]
    figure = plot_lattice_map(part, title="Scan")
    (axes,) = figure.axes
    assert axes.get_title() == "Scan"
    assert [t.get_text() for t in figure.legends[0].get_texts()] == ["cF  100 %"]


@pytest.mark.parametrize("shape", [(12, 14), (40, 6), (3, 30)], ids=str)
def test_the_legend_is_not_cut(shape):
    axes = [{"size": n, "navigate": True} for n in shape] + [{"size": 15, "navigate": False}]
    data = np.tile(np.eye(15)[ANSWERS.index("cF")], (*shape, 1))
    figure = BravaisProbabilities(data, axes=axes).plot_map()
    figure.canvas.draw()
    (legend,) = figure.legends
    box, whole = legend.get_window_extent(), figure.bbox
    assert box.x1 <= whole.x1 and box.y1 <= whole.y1
    assert box.x0 >= figure.axes[0].get_window_extent().x1


def test_what_is_left_out_does_not_look_as_what_is_unknown():
    (axes,) = probabilities().plot_map().axes
    assert axes.patch.get_hatch()


def test_colours_differ():
    assert set(COLOURS) == set(ANSWERS)
    colours = np.array([to_rgb(COLOURS[name]) for name in ANSWERS] + [(0.6, 0.6, 0.6)])
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert distances[np.triu_indices(len(colours), 1)].min() > 0.13


def test_says_which_dimensions_are_wrong():
    for wrong, number in (
        (probabilities().inav[0, 0], 0),
        (probabilities().inav[0, :], 1),
        (BravaisProbabilities(np.zeros((2, 2, 2, 15))), 3),
    ):
        with pytest.raises(ValueError, match=f"scan has {number} navigation axes"):
            wrong.plot_map()
    assert not plt.get_fignums()


def test_probabilities_and_the_cell_with_its_errors():
    figure = lattice().plot()
    bars, lengths, angles = figure.axes
    heights = [patch.get_height() for patch in bars.patches]
    np.testing.assert_allclose(heights, lattice().probabilities)
    assert [t.get_text() for t in bars.get_xticklabels()] == list(ANSWERS)
    assert bars.get_ylabel() == "probability"
    assert lengths.get_ylabel() == "length (Å)" and angles.get_ylabel() == "angle (°)"
    points = lengths.containers[0].lines[0].get_xydata()
    np.testing.assert_allclose(points[:, 1], [4.123, 7.65, 12.9])
    # As many digits as the error allows; what is fixed by symmetry is a whole number.
    assert [t.get_text() for t in lengths.texts] == ["4.12", "7.7", "12.90"]
    assert [t.get_text() for t in angles.texts] == ["90", "101.2", "90"]
    for axes in (lengths, angles):
        low, high = axes.get_ylim()
        ends = np.concatenate([line.get_ydata() for line in axes.lines])
        assert low < ends.min() and ends.max() < high
    assert lengths.get_title() == "error of the common scale left out" and not angles.get_title()
    assert figure.get_suptitle() == "mP, 7 patterns"


def test_nothing_is_drawn_where_there_is_no_cell():
    figure = plot_lattice(PhaseLattice(_nothing(1), np.ones(1, bool)))
    bars, lengths, angles = figure.axes
    assert bars.patches[-1].get_height() == 1
    for axes in (lengths, angles):
        assert [t.get_text() for t in axes.texts] == ["no cell"]
        assert not axes.lines
    assert figure.get_suptitle() == "unknown, 1 pattern"


@pytest.mark.parametrize("draw", [probabilities().plot_map, lattice().plot])
def test_draws_in_a_figure_that_is_given(draw):
    whole = plt.figure()
    left, _ = whole.subfigures(1, 2)
    assert draw(figure=left) is left
    assert left.axes and plt.get_fignums() == [whole.number]


@pytest.mark.parametrize("draw", [probabilities().plot_map, lattice().plot])
def test_says_what_to_draw_in(draw):
    with pytest.raises(TypeError, match="figure is of type Axes, and a Figure or SubFigure"):
        draw(plt.figure().subplots())


def test_a_title_is_as_asked():
    assert plot_lattice(lattice(), title="Phase 1").get_suptitle() == "Phase 1"

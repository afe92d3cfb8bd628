# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Figures of phases: what is drawn is what was found."""

from dataclasses import replace

import hyperspy.api as hs
import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from emsparse_hs.accessor._grouping import PatternGroups
from emsparse_hs.plotting import plot_phases
from emsparse_hs.plotting._axes import COLOURS, MASKED, colour_of

matplotlib.use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def groups(n_phases=2, labels=((0, 1, 0, -1), (0, 0, 1, 0))):
    """Phases that share a disc at x = 5, y = 9, and have one of their own each."""
    patterns = np.random.default_rng(0).poisson(3, (n_phases, 20, 30)).astype("f4")
    discs = [np.array([(5.0, 9, 1), (20 + k, 3 * k, 0.8), (1, 2, 0.1)]) for k in range(n_phases)]
    return PatternGroups(
        labels=hs.signals.Signal2D(np.array(labels, "i2")),
        exemplars=hs.signals.Signal2D(patterns),
        presence=np.zeros((n_phases, 10, 15), "f4"),
        discs=discs,
        evidence=[],
        beam_radius=2.0,
        centre=(15.0, 10.0),
    )


def test_the_map_has_the_colours_of_the_phases():
    figure = groups().plot(title="Scan")
    axes = figure.axes[0]
    image = axes.images[0].get_array()
    np.testing.assert_allclose(image[0, 0], (*to_rgb(COLOURS[0]), 1))
    np.testing.assert_allclose(image[0, 1], (*to_rgb(COLOURS[1]), 1))
    assert image[0, 3, 3] == 0 and axes.get_facecolor()[:3] == to_rgb(MASKED)
    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts == ["phase 0  62 %", "phase 1  25 %", "no discs  12 %"]
    assert figure.get_suptitle() == "Scan"


def test_exemplars_are_beside_it_with_their_discs():
    found = groups()
    figure = plot_phases(found)
    assert len(figure.axes) == 3
    for phase, axes in enumerate(figure.axes[1:]):
        shown = axes.images[0].get_array()
        pattern = found.exemplars.data[phase]
        bright = pattern > np.percentile(pattern[pattern > 0], 5)
        np.testing.assert_allclose(shown[bright], np.log10(pattern[bright]), rtol=1e-5)
        assert np.isfinite(shown).all()
        # Of three discs one is too seldom there; the shared one does not tell the phase.
        shared, own = axes.patches
        assert shared.center == (5, 9) and shared.get_linestyle() == ":"
        assert own.center == (20 + phase, 3 * phase) and own.get_linestyle() == "-"
        np.testing.assert_allclose(own.get_edgecolor()[:3], colour_of(phase))


def test_without_what_has_no_discs_the_legend_does_not_name_it():
    figure = plot_phases(groups(1, [[0, 0], [0, 0], [0, 0]]))
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["phase 0  100 %"]


def test_many_phases_and_none():
    assert len(plot_phases(groups(8)).axes) == 9
    nothing = replace(groups(), labels=hs.signals.Signal2D(np.full((2, 3), -1)), discs=[])
    figure = plot_phases(nothing)
    assert len(figure.axes) == 1
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["no discs  100 %"]


def test_colours_differ_also_beyond_the_seventh():
    colours = np.array([colour_of(k) for k in range(14)] + [to_rgb(MASKED)])
    distances = np.linalg.norm(colours[:, None] - colours, axis=-1)
    assert distances[np.triu_indices(len(colours), 1)].min() > 0.1


def test_draws_in_a_figure_that_is_given():
    whole = plt.figure()
    left, _ = whole.subfigures(1, 2)
    assert plot_phases(groups(), figure=left) is left
    assert left.axes and plt.get_fignums() == [whole.number]


def test_says_which_dimensions_are_wrong():
    line = replace(groups(), labels=hs.signals.Signal1D(np.array([0, 1, 1])))
    with pytest.raises(ValueError, match="scan has 1 navigation axes"):
        plot_phases(line)
    assert not plt.get_fignums()

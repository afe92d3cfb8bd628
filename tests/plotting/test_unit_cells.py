# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Figures of lattices and unit cells show the numbers they should, on the axes of the scan."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from emsparse_hs import data
from emsparse_hs.plotting import plot_scan_lattice, plot_unit_cells

QUIET = {"show_progressbar": False}


@pytest.fixture(scope="module")
def scan():
    return data.simulated_domains("wall", 0, scan_shape=(68, 64), scan_step=0.45)[0]


@pytest.fixture(scope="module")
def lattice(scan):
    return scan.emsparse.find_scan_lattice(n_scores=16, **QUIET)


@pytest.fixture(scope="module")
def model(scan, lattice):
    return scan.emsparse.unit_cell_model(lattice, **QUIET)


@pytest.fixture(autouse=True)
def closed():
    plt.switch_backend("agg")
    yield
    plt.close("all")


def shown(axes):
    return np.asarray(axes.images[0].get_array())


def showing(figure, shape):
    """Axes with an image of a shape, wherever they are in the figure."""
    return [ax for ax in figure.axes if ax.images and shown(ax).shape == shape]


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(plt.Text))


def test_lattice(lattice):
    figure = lattice.plot()
    image, power, shifts = figure.axes
    np.testing.assert_array_equal(shown(image), lattice.scores.values[..., 0])
    # In nm, with half a pixel around.
    np.testing.assert_allclose(image.images[0].get_extent(), np.array([-1, 127, 135, -1]) * 0.0225)
    figure.canvas.draw()
    # Three cells by three: four lines along each edge, of three cells each.
    lines = [np.diff(line.get_xydata(), axis=0)[0] for line in image.lines]
    for edge in lattice.vectors[0]:
        off = np.abs(np.array(lines) - 3 * edge).max(1)
        assert (off < 1e-9).sum() == 4
    assert len(lines) == 8
    ends = np.sort(np.abs(power.lines[0].get_xydata()).sum(1))
    pair = lattice.fit.alignment.reciprocal[0]
    np.testing.assert_allclose(ends, np.sort(np.tile(np.abs(pair).sum(1), 2)))
    for line, name, expected in zip(shifts.lines, "xy", lattice.row_shift.T, strict=True):
        np.testing.assert_allclose(line.get_xdata(), expected)
        assert line.get_label() == name
    assert shifts.get_xlabel() == "shift of a line (nm)"
    assert figure.get_suptitle() == repr(lattice)[1:-1]


def test_power_is_bright_on_the_nodes(lattice):
    """So that what is drawn over the spectrum is in its own units."""
    power = plot_scan_lattice(lattice, title="one").axes[1]
    spectrum = shown(power)
    left, right, bottom, top = power.images[0].get_extent()
    n_y, n_x = spectrum.shape
    nodes = power.lines[0].get_xydata()
    brightness = []
    for x, y in (*nodes, *(nodes / 2), *(1.5 * nodes)):
        column = (x - left) / (right - left) * n_x
        row = (y - top) / (bottom - top) * n_y
        near = spectrum[int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2]
        brightness.append(near.max())
    # The logarithm of the power, against that half way between nodes.
    assert min(brightness[:4]) > max(brightness[4:]) + 1
    assert power.figure.get_suptitle() == "one"


def test_two_lattices():
    scan, _ = data.simulated_domains("grains", 1, scan_shape=(80, 84), scan_step=0.35)
    lattice = scan.emsparse.find_scan_lattice(2, n_scores=16, **QUIET)
    image, power, _ = lattice.plot().axes
    assert len({tuple(line.get_xdata()) for line in power.lines}) == 2
    assert len(image.lines) == 16
    # Cells are drawn in their own grains.
    grains = lattice.grains()
    x, y = grains.axes_manager.signal_axes
    for k in (0, 1):
        middle = np.mean([line.get_xydata().mean(0) for line in image.lines[8 * k : 8 * k + 8]], 0)
        place = round(middle[1] / y.scale), round(middle[0] / x.scale)
        assert grains.data[place] == k


def test_unit_cells(model):
    figure = model.plot()
    domains, slow, misfit = showing(figure, (68, 64))
    for axes, image in ((domains, model.domain_map()), (slow, model.slow_map())):
        np.testing.assert_array_equal(shown(axes), image.data)
    np.testing.assert_allclose(shown(misfit), model.misfit().data)
    low, high = misfit.images[0].get_clim()
    inside = (model.misfit().data >= low) & (model.misfit().data <= high)
    assert 0.98 < inside.mean() < 1
    labels = [text.get_text() for text in domains.get_legend().get_texts()]
    shares = [(model.domain_map().data == k).mean() for k in (0, 1)]
    assert labels == [f"{k}: {share:.0%}" for k, share in enumerate(shares)]
    np.testing.assert_allclose(misfit.images[0].get_extent(), np.array([-1, 127, 135, -1]) * 0.0225)
    patterns = showing(figure, (32, 32))
    assert len(patterns) == 32
    second = model.dictionary(1, 0, 4).data
    np.testing.assert_allclose(shown(patterns[16]), np.sqrt(second[0, 0]))
    grid = model.dictionary(0, 0, 4).data
    np.testing.assert_allclose(shown(patterns[0]), np.sqrt(grid[0, 0]))
    # u to the right, v downwards.
    np.testing.assert_allclose(shown(patterns[1]), np.sqrt(grid[0, 1]))
    np.testing.assert_allclose(shown(patterns[8]), np.sqrt(grid[2, 0]))
    assert patterns[13].get_xlabel() == "0.25" and patterns[8].get_ylabel() == "0.5"
    assert all(f"domain {k}, variant 0" in texts(figure) for k in (0, 1))
    figure.canvas.draw()


@pytest.mark.parametrize("n", [1, 3])
def test_other_domain_and_variant(model, n):
    figure = plot_unit_cells(model, domain=1, variant=1, n=n, title="Mine")
    patterns = showing(figure, (32, 32))
    assert len(patterns) == n * n and figure.get_suptitle() == "Mine"
    np.testing.assert_allclose(shown(patterns[-1]), np.sqrt(model.dictionary(1, 1, n).data[-1, -1]))
    assert "domain 1, variant 1" in texts(figure)


def test_in_figures_that_are_there(lattice, model):
    figure = plt.figure(figsize=(12, 8))
    upper, lower = figure.subfigures(2, 1)
    assert lattice.plot(figure=upper) is upper and len(upper.axes) == 3
    assert model.plot(figure=lower) is lower
    assert plt.get_fignums() == [figure.number]
    assert len(showing(figure, (68, 64))) == 5 and len(showing(figure, (32, 32))) == 32
    figure.canvas.draw()


def test_no_such_domain(model):
    with pytest.raises(ValueError, match="There is no domain 5"):
        plot_unit_cells(model, domain=5)

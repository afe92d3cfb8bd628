# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The simulated crystal against its own lattice, table and statistics."""

import numpy as np
import pytest

from emsparse_hs import data
from emsparse_hs.data import _examples
from emsparse_hs.data._simulated_domains import (
    ConvergentBeamTable,
    _interpolated,
    simulated_domains,
)

SMALL = {"scan_shape": (40, 48), "scan_step": 0.4}


@pytest.fixture(scope="module")
def table():
    return ConvergentBeamTable.load()


@pytest.fixture(scope="module")
def wall(table):
    return simulated_domains("wall", 3, table, **SMALL)


def unexplained(values, scan, reciprocal, shift, order=6):
    """Part of the variance that is no Fourier series of the position in the cell."""
    n_y, n_x = scan.domains.shape
    places = np.moveaxis(np.indices((n_y, n_x)), 0, -1) + shift[:, np.newaxis]
    phase = 2 * np.pi * places @ reciprocal.T
    steps = range(-order, order + 1)
    waves = [h * phase[..., 0] + k * phase[..., 1] for h in steps for k in steps if (h, k) > (0, 0)]
    terms = np.stack([np.ones((n_y, n_x)), *map(np.cos, waves), *map(np.sin, waves)], axis=-1)

    def left_of(own):
        y, a = values[own], terms[own]
        return (
            ((y - a @ np.linalg.lstsq(a, y, rcond=None)[0]) ** 2).sum()
            / (y - y.mean(0)).var(0).sum()
            / len(y)
        )

    return left_of


def test_the_table_that_comes_along(table):
    n_y, n_x, n_thick, rank = table.scores.shape
    assert table.patterns.shape == (rank, 32, 32) and len(table.thickness) == n_thick
    assert (np.diff(table.thickness) > 0).all()
    assert table.period == pytest.approx(12 * table.cell[1])
    assert 0 < table.wall < table.period
    # A part of the beam is in the frame, and all of it at most, but for what the rank leaves out.
    sums = table.scores.reshape(-1, rank) @ table.patterns.sum((1, 2))
    assert 0.3 < sums.min() and sums.max() < 1.005


def test_interpolation_is_exact_at_the_table(table):
    n_y, n_x = table.scores.shape[:2]
    y, x = np.meshgrid([0, 5, 101, n_y - 1], [0, 3, n_x - 1], indexing="ij")
    place = np.stack([y * table.period / n_y, x * table.cell[0] / n_x], axis=-1)
    for level, thickness in enumerate(table.thickness):
        found = _interpolated(table, place + 1e-9, np.full(y.shape, thickness))
        expected = table.scores[y, x, level]
        np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(table.scores).max())
    # The crystal goes on in both directions, and thicknesses are mixed.
    further = place + 1e-9 + [-table.period, 3 * table.cell[0]]
    middle = _interpolated(table, further, np.full(y.shape, table.thickness[:2].mean()))
    expected = table.scores[y, x, :2].mean(2)
    np.testing.assert_allclose(middle, expected, atol=2e-4 * np.abs(table.scores).max())


def test_patterns_repeat_with_the_true_lattice(table):
    """Of one thickness, with all shifts of lines, all is a series of the position in the cell."""
    scan = simulated_domains("single", 1, table, thickness=(78.08, 78.08), **SMALL)
    values = scan.scores.reshape(*scan.domains.shape, -1)
    everywhere = np.ones(scan.domains.shape, bool)
    still = np.zeros_like(scan.row_shift)
    vectors = scan.reciprocal[0]
    assert unexplained(values, scan, vectors, scan.row_shift)(everywhere) < 1e-3
    assert unexplained(values, scan, vectors, still)(everywhere) > 0.01
    turned = vectors @ np.array([[1, 0.02], [-0.02, 1]])
    assert unexplained(values, scan, turned, scan.row_shift)(everywhere) > 0.01
    assert not scan.domains.any() and np.isinf(scan.distance).all()


@pytest.mark.parametrize("kind", ["wall", "grains"])
def test_both_domains_have_their_lattice(table, kind):
    how = {**SMALL, "scan_shape": (56, 60), "thickness": (78.08, 78.08)}
    scan = simulated_domains(kind, 2, table, **how)
    assert len(scan.reciprocal) == (2 if kind == "grains" else 1)
    values = scan.scores.reshape(*scan.domains.shape, -1)
    inside = scan.distance > (6 if kind == "wall" else 0)
    left = np.empty((2, len(scan.reciprocal)))
    for domain in (0, 1):
        own = inside & (scan.domains == domain)
        assert own.sum() > 600
        for k, vectors in enumerate(scan.reciprocal):
            left[domain, k] = unexplained(values, scan, vectors, scan.row_shift)(own)
    if kind == "wall":
        assert left.max() < 0.02
        # What is one series in each domain is none in both.
        both = unexplained(values, scan, scan.reciprocal[0], scan.row_shift)(inside)
        assert both > 0.1
    else:
        assert np.diag(left).max() < 0.02 and min(left[0, 1], left[1, 0]) > 0.2


def test_cell_is_that_of_the_table_but_for_drift(table):
    """Of up to a per cent in each direction from one line to the next."""
    off = []
    for seed in range(4):
        scan = simulated_domains("grains", seed, table, **SMALL)
        for vectors in scan.reciprocal:
            edges = np.linalg.norm(np.linalg.inv(vectors), axis=0) * scan.scan_step
            off.append(edges / table.cell[::-1] - 1)
        # The two are turned against each other by 15 to 35 degrees.
        turn = scan.reciprocal[1] @ np.linalg.inv(scan.reciprocal[0])
        cosine = np.trace(turn) / 2
        assert np.cos(np.deg2rad(37)) < cosine < np.cos(np.deg2rad(13))
    assert 1e-3 < np.abs(off).max() < 0.012


def test_distance_is_to_the_other_domain(wall):
    border = wall.distance < 0.5 * wall.scan_step
    change = np.zeros(wall.domains.shape, bool)
    change[1:] |= wall.domains[1:] != wall.domains[:-1]
    change[:, 1:] |= wall.domains[:, 1:] != wall.domains[:, :-1]
    assert change.any() and border.any()
    assert wall.distance[change].max() < 2 * wall.scan_step
    assert 0.2 < wall.domains.mean() < 0.8


def test_thickness_is_a_wedge_between_its_ends(wall):
    assert wall.thickness.shape == wall.domains.shape
    assert wall.thickness.min() == pytest.approx(60) and wall.thickness.max() == pytest.approx(110)
    slopes = np.gradient(wall.thickness.astype(float))
    assert all((slope > -1e-4).all() or (slope < 1e-4).all() for slope in slopes)


def test_shifts_of_lines_have_no_trend_and_the_size_asked_for(table):
    scan = simulated_domains("single", 5, table, (200, 8), scan_step=0.4, row_jitter=0.1)
    line = np.linspace(-1, 1, 200)
    np.testing.assert_allclose(scan.row_shift.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(line @ scan.row_shift, 0, atol=1e-9)
    np.testing.assert_allclose(scan.row_shift.std(0) * 0.4, 0.1, rtol=0.15)


def test_counts_are_poisson_around_the_expectation(wall):
    expected = wall.expectation()
    assert wall.data.dtype == np.uint16 and expected.shape == wall.data.shape
    assert expected.min() >= 0
    off = wall.data - expected
    bright = expected > 2
    assert (off[bright] ** 2 / expected[bright]).mean() == pytest.approx(1, abs=0.02)
    assert abs(off.sum()) < 5 * np.sqrt(expected.sum())
    assert 0.5 * wall.dose < expected.sum((2, 3)).mean() < wall.dose


def test_dose_scales_the_expectation(table, wall):
    twice = simulated_domains("wall", 3, table, dose=6000, **SMALL)
    np.testing.assert_allclose(twice.expectation(), 2 * wall.expectation(), rtol=1e-5, atol=1e-5)


def test_a_seed_is_a_scan(table, wall):
    again = simulated_domains("wall", 3, table, **SMALL)
    np.testing.assert_array_equal(again.data, wall.data)
    np.testing.assert_array_equal(again.row_shift, wall.row_shift)
    other = simulated_domains("wall", 4, table, **SMALL)
    assert (other.data != wall.data).mean() > 0.2
    assert not np.allclose(other.reciprocal, wall.reciprocal)


def test_wrong_arguments_say_what_is_right(table):
    with pytest.raises(ValueError, match='The kind is \'walls\'. Choose "wall", "grains" or'):
        simulated_domains("walls", table=table)
    with pytest.raises(ValueError, match="from 10 to 90 angstrom, and the table from 39.04 to"):
        simulated_domains(table=table, thickness=(90, 10))
    with pytest.raises(ValueError, match="Choose a thickness within it"):
        simulated_domains(table=table, thickness=(60, 200))


@pytest.mark.parametrize("installed", [True, False])
def test_the_signal(installed, monkeypatch, wall):
    if installed:
        pytest.importorskip("pyxem")
    else:
        monkeypatch.setattr(_examples, "is_installed", lambda name: name != "pyxem")
    signal, truth = data.simulated_domains("wall", 3, **SMALL)
    np.testing.assert_array_equal(signal.data, wall.data)
    np.testing.assert_array_equal(truth.domains, wall.domains)
    assert signal._signal_type == ("electron_diffraction" if installed else "")
    x, y = signal.axes_manager.navigation_axes
    assert (x.size, y.size, x.units, y.units) == (48, 40, "nm", "nm")
    assert x.scale == y.scale == pytest.approx(0.04)
    for axis in signal.axes_manager.signal_axes:
        assert axis.units == "mrad" and axis.scale == pytest.approx(truth.table.detector_step)
        # Zero is in the middle.
        np.testing.assert_allclose(axis.axis.sum(), 0, atol=1e-9)
    instrument = signal.metadata.Acquisition_instrument.TEM
    assert (instrument.beam_energy, instrument.convergence_angle) == (300, 18)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lattices from patterns through s.emsparse: the same as from their bands, in every layout."""

import re

import dask.array as da
import numpy as np
import pytest
from hyperspy.signals import LazySignal2D, Signal2D

from emsparse_hs.accessor._ebsd import EBSDMethods
from emsparse_hs.data._simulated_patterns import simulate_patterns
from emsparse_hs.ebsd import solve_lattice
from emsparse_hs.signals import (
    BravaisProbabilities,
    LazyBravaisProbabilities,
    PhaseLattice,
)

SCAN, SHAPE, CENTRE = (2, 3), (80, 96), (0.45, 0.3, 0.6)
BCC = simulate_patterns(SCAN, SHAPE, CENTRE, structure="bcc", lattice_parameter=2.87)
FCC = simulate_patterns(SCAN, SHAPE, CENTRE, seed=1)
#: One phase below the other, of a scan whose sides differ.
DATA = np.concatenate([BCC.patterns, FCC.patterns])
LABELS = np.repeat([0, 0, 1, 1], 3).reshape(4, 3)
QUIET = {"show_progressbar": False}
LAYOUTS = [None, (1, 2, 80, 96), (3, 1, 31, 96)]


def signal(layout=None, data=DATA):
    made = Signal2D(data.copy()) if layout is None else LazySignal2D(da.from_array(data, layout))
    made.metadata.set_item("Acquisition_instrument.SEM.beam_energy", 20.0)
    return made


@pytest.fixture(scope="module")
def bands():
    return EBSDMethods(signal()).detect_bands(60, CENTRE, **QUIET)


@pytest.fixture(scope="module")
def alone(bands):
    return bands.classify_bravais(**QUIET)


@pytest.fixture(scope="module")
def expected(bands):
    return bands.estimate_lattice(LABELS)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_lattices_are_those_of_the_bands(layout, expected):
    patterns = signal(layout)
    found = EBSDMethods(patterns).estimate_lattice(LABELS, CENTRE, **QUIET)
    assert {label: one.lattice for label, one in found.items()} == {0: "cI", 1: "cF"}
    for label, one in found.items():
        assert isinstance(one, PhaseLattice)
        np.testing.assert_array_equal(one.patterns, label == LABELS)
        np.testing.assert_allclose(one.parameters, expected[label].parameters, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(patterns.data), DATA)


@pytest.mark.parametrize("layout", LAYOUTS[:2], ids=str)
def test_progress_is_shown_for_bands_and_labels(layout, capsys):
    methods = EBSDMethods(signal(layout))
    methods.estimate_lattice(LABELS, CENTRE, n_bands=20, show_progressbar=True)
    shown = capsys.readouterr().err
    assert shown.count("100%") >= 2 and re.search(r"Lattices: 100%.* 2/2 ", shown)
    methods.estimate_lattice(LABELS, CENTRE, n_bands=20, **QUIET)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_probabilities_are_those_of_the_bands(layout, alone):
    found = EBSDMethods(signal(layout)).classify_bravais(pattern_centre=CENTRE, **QUIET)
    assert type(found) is (BravaisProbabilities if layout is None else LazyBravaisProbabilities)
    np.testing.assert_allclose(np.asarray(found.data), alone.data, atol=1e-6)
    together = EBSDMethods(signal(layout)).classify_bravais(LABELS, CENTRE, **QUIET)
    np.testing.assert_array_equal(together.most_probable(), np.array(["cI", "cF"])[LABELS])


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("scan", [(4, 3), (3, 3)], ids=str)
def test_negative_labels_are_left_out(scan, lazy):
    data, labels = DATA[: scan[0]], LABELS[: scan[0]].copy()
    labels[0, 1] = labels[2, 0] = -1
    # What is left out is not even looked at, and would spoil the lattice.
    data = data.copy()
    data[labels < 0] = np.random.default_rng(0).integers(0, 255, (2, *SHAPE))
    patterns = signal((2, 2, 80, 96) if lazy else None, data)
    found = EBSDMethods(patterns).estimate_lattice(labels, CENTRE, **QUIET)
    assert {label: one.lattice for label, one in found.items()} == {0: "cI", 1: "cF"}
    assert [one.patterns.sum() for one in found.values()] == [np.sum(labels == n) for n in (0, 1)]
    assert all(one.fits.all() for one in found.values())
    answers = EBSDMethods(patterns).classify_bravais(labels, CENTRE, **QUIET)
    np.testing.assert_array_equal(np.isnan(answers.data[..., 0]), labels < 0)
    np.testing.assert_array_equal(answers.most_probable() == "", labels < 0)


@pytest.mark.parametrize("lazy", [False, True])
def test_one_number_is_one_lattice(lazy):
    patterns = signal((2, 3, 80, 96) if lazy else None, FCC.patterns)
    found = EBSDMethods(patterns).estimate_lattice(pattern_centre=CENTRE, **QUIET)
    assert isinstance(found, PhaseLattice) and found.lattice == "cF"
    one = EBSDMethods(patterns.inav[1, 0]).estimate_lattice(pattern_centre=CENTRE, **QUIET)
    assert len(one.orientations) == 1
    point = EBSDMethods(patterns.inav[1, 0]).classify_bravais(pattern_centre=CENTRE, **QUIET)
    assert point.data.shape == (15,) and point._lazy == lazy
    np.testing.assert_allclose(np.asarray(point.data), one.probabilities, atol=1e-6)


def test_options_are_handed_on(monkeypatch):
    told = []

    def noted(bands, energy, patterns=None, workers=map, **options):
        told.append((bands.normals.shape, energy, options))
        return solve_lattice(bands, energy, **options)

    monkeypatch.setattr("emsparse_hs.signals._lattices.solve_lattice", noted)
    methods = EBSDMethods(signal(None, FCC.patterns))
    options = {"width_scale": 1.2, "centre_error": 0.01, "max_patterns": 3}
    methods.estimate_lattice(2, CENTRE, beam_energy=15.0, n_bands=12, **options, **QUIET)
    assert told == [((6, 12, 3), 15.0, options)]
    del told[:]
    methods.classify_bravais(None, CENTRE, beam_energy=15.0, n_bands=12, **options, **QUIET)
    assert told == 6 * [((1, 12, 3), 15.0, options)]
    del told[:]
    methods.classify_bravais(2, CENTRE, **QUIET)
    assert told[0][:2] == ((6, 60, 3), 20.0)
    for name in options:
        with pytest.raises(ValueError, match=f"{name} is 0"):
            methods.estimate_lattice(0, CENTRE, **{name: 0}, **QUIET)


def test_what_the_bands_depend_on_is_handed_on():
    methods = EBSDMethods(signal(None, FCC.patterns))
    hidden = np.zeros(SHAPE, bool)
    hidden[:, 5:] = True
    for options in ({"n_bands": 7}, {"min_contrast": 1000}, {"signal_mask": hidden}):
        few = methods.classify_bravais(None, CENTRE, **options, **QUIET)
        assert (few.most_probable() == "unknown").all()
        few = methods.estimate_lattice(0, CENTRE, **options, **QUIET)
        assert few.lattice == "unknown"
    assert methods.classify_bravais(None, CENTRE, lazy_output=True)._lazy


def test_pattern_centres_that_differ():
    centres = np.array(CENTRE) + np.random.default_rng(0).uniform(-0.02, 0.02, (4, 3, 3))
    data = DATA.copy()
    for seed, place in enumerate(np.ndindex(4, 3)):
        kind = {} if LABELS[place] else {"structure": "bcc", "lattice_parameter": 2.87}
        data[place] = simulate_patterns((1, 1), SHAPE, centres[place], seed=seed, **kind).patterns
    patterns = EBSDMethods(signal(None, data))
    found = patterns.estimate_lattice(LABELS, centres, **QUIET)
    assert {label: one.lattice for label, one in found.items()} == {0: "cI", 1: "cF"}
    shared = patterns.estimate_lattice(LABELS, CENTRE, **QUIET)
    assert shared[0].lattice != "cI" and shared[1].lattice != "cF"
    own = patterns.classify_bravais(None, centres, **QUIET).most_probable()
    assert np.mean(own == np.array(["cI", "cF"])[LABELS]) > 0.5


@pytest.mark.parametrize("layout", [None, (2, 3, 80, 96)], ids=["eager", "lazy"])
@pytest.mark.parametrize("name", ["estimate_lattice", "classify_bravais"])
def test_says_what_is_wrong_before_any_work(name, layout, monkeypatch):
    monkeypatch.setattr(EBSDMethods, "_map", None)
    patterns = signal(layout)
    method = getattr(EBSDMethods(patterns), name)
    with pytest.raises(TypeError, match="whole numbers are needed"):
        method(LABELS.astype(float), CENTRE)
    with pytest.raises(ValueError, match=r"shape \(3, 4\), and the scan has the shape \(4, 3\)"):
        method(LABELS.T, CENTRE)
    with pytest.raises(ValueError, match="no pattern is left"):
        method(-1 - LABELS, CENTRE)
    with pytest.raises(ValueError, match="has no pattern centre"):
        method(0)
    del patterns.metadata.Acquisition_instrument
    with pytest.raises(ValueError, match="Pass beam_energy in keV"):
        method(0, CENTRE)


def test_input_is_untouched():
    patterns, labels = signal(), LABELS.copy()
    labels[0, 0] = -1
    kept, before = labels.copy(), patterns.metadata.as_dictionary()
    EBSDMethods(patterns).classify_bravais(labels, CENTRE, **QUIET)
    np.testing.assert_array_equal(patterns.data, DATA)
    np.testing.assert_array_equal(labels, kept)
    assert patterns.metadata.as_dictionary() == before


def test_patterns_that_do_not_fit_warn_whoever_called():
    data = FCC.patterns.copy()
    data[:, 0] = np.random.default_rng(0).integers(0, 255, (2, *SHAPE))
    methods = EBSDMethods(signal(None, data))
    for call in (methods.estimate_lattice, methods.classify_bravais):
        with pytest.warns(UserWarning, match="33% of the patterns with the label 0") as caught:
            call(0, CENTRE, **QUIET)
        assert caught[-1].filename == __file__


def test_signals_of_kikuchipy():
    pytest.importorskip("kikuchipy")
    from emsparse_hs.data import simulated_patterns

    for lazy in (False, True):
        patterns, truth = simulated_patterns(1, navigation_shape=SCAN)
        patterns = patterns.as_lazy() if lazy else patterns
        found = patterns.emsparse.estimate_lattice(**QUIET)
        assert found.lattice == "cF"
        labels = np.array([[0, 0, 0], [0, 0, -1]])
        answers = patterns.emsparse.classify_bravais(labels, **QUIET)
        assert (answers.most_probable()[labels == 0] == "cF").all()
        assert patterns.emsparse.classify_bravais(**QUIET)._lazy == lazy


@pytest.fixture
def handed_on(monkeypatch):
    """Patterns of each solution, of labels in any order."""
    told = []

    def noted(bands, energy, patterns=None, workers=map, **options):
        told.append(patterns)
        return solve_lattice(bands, energy, **options)

    monkeypatch.setattr("emsparse_hs.signals._lattices.solve_lattice", noted)
    return told


def label_of(patterns, labels):
    """Of which label the first of some patterns is."""
    first = patterns.take(np.array([0]))[0]
    return next(n for n in (0, 1) if np.array_equal(first, DATA[labels == n][0]))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_patterns_of_each_label_are_handed_on(layout, handed_on):
    labels = LABELS.copy()
    labels[0, 1] = labels[3, 0] = -1
    hidden = np.zeros(SHAPE, bool)
    hidden[:, :5] = True
    methods = EBSDMethods(signal(layout))
    methods.estimate_lattice(labels, CENTRE, signal_mask=hidden, **QUIET)
    methods.classify_bravais(labels, CENTRE, signal_mask=hidden, num_workers=1, **QUIET)
    of_labels = [label_of(patterns, labels) for patterns in handed_on]
    assert sorted(of_labels[:2]) == sorted(of_labels[2:]) == [0, 1]
    for label, patterns in zip(of_labels, handed_on, strict=True):
        some = np.array([3, 0, 4])
        taken = patterns.take(some)
        assert isinstance(taken, np.ndarray)
        np.testing.assert_array_equal(taken, DATA[labels == label][some])
        np.testing.assert_array_equal(patterns.pattern_centre, CENTRE)
        np.testing.assert_array_equal(patterns.signal_mask, hidden)


def test_pattern_centres_are_handed_on(handed_on):
    centres = np.array(CENTRE) + np.random.default_rng(0).normal(0, 1e-4, (4, 3, 3))
    EBSDMethods(signal()).estimate_lattice(LABELS, centres, **QUIET)
    assert sorted(label_of(patterns, LABELS) for patterns in handed_on) == [0, 1]
    for patterns in handed_on:
        label = label_of(patterns, LABELS)
        np.testing.assert_array_equal(patterns.pattern_centre, centres[label == LABELS])
        assert patterns.signal_mask is None


def test_patterns_alone_and_bands_have_none(handed_on, bands):
    EBSDMethods(signal(None, FCC.patterns)).classify_bravais(None, CENTRE, **QUIET)
    EBSDMethods(signal(None, FCC.patterns[0, 0])).estimate_lattice(0, CENTRE, **QUIET)
    bands.estimate_lattice(LABELS)
    assert handed_on == 9 * [None]

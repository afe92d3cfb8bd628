# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lattices from bands as a signal: one a label, probabilities in every layout, what is wrong."""

import pickle
import re
import threading
import time
import warnings
from types import SimpleNamespace

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from emsparse_hs.accessor._ebsd import EBSDMethods
from emsparse_hs.data._simulated_patterns import simulate_patterns
from emsparse_hs.ebsd import BRAVAIS_LATTICES, solve_lattice
from emsparse_hs.electron import relativistic_wavelength
from emsparse_hs.signals import (
    BravaisProbabilities,
    KikuchiBands,
    LazyBravaisProbabilities,
    LazyKikuchiBands,
    PhaseLattice,
)

CENTRE, SHAPE, SCAN = (0.45, 0.3, 0.6), (80, 96), (3, 4)
EDGES = {"bcc": 2.87, "fcc": 3.52, "sc": 3.0, "diamond": 5.43}
QUIET = {"show_progressbar": False}
#: Two columns of each phase, one pattern left out.
LABELS = np.array([[4, 4, 7, 7], [4, 4, 7, 7], [4, -1, 7, 7]])
LAYOUTS = [(1, 2, 30, 5), (2, 3, 13, 5), (3, 1, 30, 2)]


def detected(structure, scan, seed=0):
    truth = simulate_patterns(
        scan, SHAPE, CENTRE, structure=structure, lattice_parameter=EDGES[structure], seed=seed
    )
    patterns = hs.signals.Signal2D(truth.patterns)
    patterns.metadata.set_item("Acquisition_instrument.SEM.beam_energy", truth.beam_energy)
    patterns.axes_manager[0].name, patterns.axes_manager[0].scale = "x", 1.5
    return EBSDMethods(patterns).detect_bands(30, CENTRE, **QUIET)


@pytest.fixture(scope="module")
def _scan():
    bands = detected("bcc", SCAN)
    bands.data[:, 2:] = detected("fcc", (3, 2), seed=1).data
    return bands


@pytest.fixture
def scan(_scan):
    """Bands of a bcc phase beside an fcc phase; and that they are not changed."""
    before, about = _scan.data.copy(), _scan.metadata.as_dictionary()
    yield _scan
    np.testing.assert_array_equal(_scan.data, before)
    assert _scan.metadata.as_dictionary() == about


@pytest.fixture(scope="module")
def alone(_scan):
    """Probabilities of each pattern on its own."""
    return _scan.classify_bravais(**QUIET)


@pytest.fixture(scope="module")
def together(_scan):
    """Lattices of both phases."""
    return _scan.estimate_lattice(LABELS)


def laid_out(bands, chunks):
    lazy = bands.as_lazy()
    lazy.data = da.from_array(bands.data, chunks=chunks)
    return lazy


def drawn(cell, n_patterns=6, seed=0, noise=0.05):
    """Bands of a known cell, with an error in degrees."""
    rng = np.random.default_rng(seed)
    indices = np.stack(np.meshgrid(*[range(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    indices = np.array([h for h in indices.tolist() if h > [0, 0, 0]])
    indices = indices[np.gcd.reduce(indices, axis=1) == 1]
    g = indices @ np.linalg.inv(cell).T
    g = g[np.argsort(np.linalg.norm(g, axis=1))[:30]]
    sines = np.linalg.norm(g, axis=1) * relativistic_wavelength(20.0) / 2
    data = np.empty((n_patterns, len(g), 5))
    for one, turn in zip(data, Rotation.random(n_patterns, random_state=rng), strict=True):
        normals = turn.apply(g / np.linalg.norm(g, axis=1, keepdims=True))
        normals += rng.normal(0, np.radians(noise), normals.shape)
        one[:, :3] = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        one[:, 3] = np.degrees(np.arcsin(sines)) * rng.normal(1, 0.01, len(g))
        one[:, 4] = np.linspace(30, 6, len(g))
    about = {"pattern_centre": list(CENTRE), "pattern_shape": list(SHAPE)}
    axes = [
        {"name": "x", "size": n_patterns},
        {"name": "band", "size": len(g), "navigate": False},
        {"name": "quantity", "size": 5, "navigate": False},
    ]
    bands = KikuchiBands(data, axes=axes, metadata={"Kikuchi_bands": about})
    bands.metadata.set_item("Acquisition_instrument.SEM.beam_energy", 20.0)
    return bands


FCC = 3.6 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def test_the_pattern_centre_is_corrected():
    truth = simulate_patterns((3, 4), SHAPE, CENTRE, structure="fcc", seed=5)
    patterns = hs.signals.Signal2D(truth.patterns)
    wrong = np.add(CENTRE, (0.012, -0.01, 0.008))
    bands = EBSDMethods(patterns).detect_bands(30, wrong, **QUIET)
    with pytest.warns(UserWarning, match="All pattern centres seem to be wrong alike"):
        found = bands.estimate_lattice(beam_energy=truth.beam_energy, width_scale=1.0)
    right = found.corrected_pattern_centre(wrong, SHAPE)
    np.testing.assert_allclose(right, CENTRE, atol=0.004)
    of_scan = found.corrected_pattern_centre(np.broadcast_to(wrong, (3, 4, 3)), SHAPE)
    np.testing.assert_array_equal(of_scan, np.broadcast_to(right, (3, 4, 3)))
    detector = SimpleNamespace(pc=wrong[None], shape=SHAPE)
    np.testing.assert_array_equal(found.corrected_pattern_centre(detector), right[None])
    with pytest.raises(ValueError, match="distance PCz positive"):
        found.corrected_pattern_centre((0.5, 0.5, -0.5), SHAPE)
    for shape in (None, (3, 4, *SHAPE)):
        with pytest.raises(ValueError, match="Pass p.detector"):
            found.corrected_pattern_centre(wrong, shape)
    few = bands.inav[:2, 0].estimate_lattice(beam_energy=truth.beam_energy, width_scale=1.0)
    with pytest.warns(UserWarning, match="fewer than four orientations"):
        few.corrected_pattern_centre(wrong, SHAPE)
    for other in (0.5, (0.5, 0.5), np.full((2, 2, 2), 0.5)):
        with pytest.raises(ValueError, match="The pattern centre has shape"):
            found.corrected_pattern_centre(other, SHAPE)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("structure", "lattice"), [("fcc", "cF"), ("bcc", "cI"), ("sc", "cP"), ("diamond", "cF")]
)
def test_one_lattice_of_all_patterns(structure, lattice, lazy):
    bands = detected(structure, (2, 4), seed=3)
    # The bands of simulated patterns end at the Bragg angle.
    found = (bands.as_lazy() if lazy else bands).estimate_lattice(width_scale=1.0)
    assert isinstance(found, PhaseLattice)
    assert found.lattice == lattice
    np.testing.assert_allclose(found.parameters[:3], EDGES[structure], rtol=0.06)
    np.testing.assert_allclose(found.parameters[3:], 90)
    assert found.probabilities.shape == (15,) and found.probabilities.sum() == pytest.approx(1)
    assert found.patterns.shape == (2, 4) and found.patterns.all()
    assert found.orientations.shape == (8, 3, 3) and found.fits.all()
    assert repr(found).startswith(f"<PhaseLattice: {lattice} (")
    assert {"plot", "to_phase", "lattice", "orientations"} <= set(dir(found))


@pytest.mark.parametrize("lazy", [False, True])
def test_one_lattice_for_each_label(scan, lazy):
    bands = scan.as_lazy() if lazy else scan
    for labels in (np.asfortranarray(LABELS), hs.signals.Signal2D(LABELS).T):
        found = bands.estimate_lattice(labels)
        assert {label: one.lattice for label, one in found.items()} == {4: "cI", 7: "cF"}
        for label, one in found.items():
            np.testing.assert_array_equal(one.patterns, label == LABELS)
            assert len(one.orientations) == np.sum(label == LABELS)
    one = bands.inav[2:, :].estimate_lattice(7)
    np.testing.assert_allclose(one.parameters, found[7].parameters)


@pytest.mark.parametrize("lazy", [False, True])
def test_progress_is_shown_for_each_label(scan, lazy, capsys):
    bands = (laid_out(scan, (2, 3, 30, 5)) if lazy else scan).inav[1:3, :1]
    labels = LABELS[:1, 1:3]
    found = bands.estimate_lattice(labels, show_progressbar=True, num_workers=1)
    assert re.search(r"Lattices: 100%.* 2/2 ", capsys.readouterr().err)
    bands.classify_bravais(labels, show_progressbar=True)
    assert re.search(r"Lattices: 100%.* 2/2 ", capsys.readouterr().err)
    quiet = bands.estimate_lattice(labels, **QUIET)
    assert capsys.readouterr().err == ""
    for label in (4, 7):
        np.testing.assert_array_equal(quiet[label].cell, found[label].cell)


@pytest.mark.parametrize("lazy", [False, True])
def test_progress_is_shown_for_scales_and_phases(scan, lazy, capsys):
    bands = (laid_out(scan, (2, 3, 30, 5)) if lazy else scan).inav[1:3, :1]
    scores = bands.compare_phases(phases(), show_progressbar=True)
    shown = capsys.readouterr().err
    # Of three phases nine scales are tried, then the best one on all patterns.
    assert re.search(r"Patterns: 100%.* 27/27 ", shown)
    assert re.search(r"Patterns: 100%.* 3/3 ", shown)
    quiet = bands.compare_phases(phases(), num_workers=1, **QUIET)
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(quiet, scores)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_so_many_are_solved_side_by_side(scan, num_workers, monkeypatch):
    together, most, lock = 0, 0, threading.Lock()

    def watched(bands, energy, **options):
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        time.sleep(0.2)
        with lock:
            together -= 1
        return nothing

    nothing = scan.isig[:, :5].estimate_lattice(**QUIET).solution
    monkeypatch.setattr("emsparse_hs.signals._lattices.solve_lattice", watched)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scan.estimate_lattice(LABELS, num_workers=num_workers, **QUIET)
    assert most == num_workers


def test_orientations_are_those_of_the_crystal():
    truth = simulate_patterns((2, 3), SHAPE, CENTRE, seed=5)
    found = EBSDMethods(hs.signals.Signal2D(truth.patterns)).estimate_lattice(
        0, CENTRE, beam_energy=20.0, **QUIET
    )
    axes = found.conventional_cell @ found.orientations
    axes /= np.linalg.norm(axes, axis=-1, keepdims=True)
    cosines = np.abs(axes @ truth.orientations.reshape(-1, 3, 3)).max(axis=-1)
    assert np.degrees(np.arccos(np.minimum(cosines, 1))).max() < 0.5


def test_two_phases_under_one_label_warn_whoever_called():
    bands = drawn(FCC, 9)
    # The other one is not even a crystal, so that no common lattice explains both.
    directions = np.random.default_rng(5).normal(size=(3, 30, 3))
    bands.data[6:, :, :3] = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    labels = np.repeat([0, -1], [6, 3])
    options = {"width_scale": 1.0}
    for call in (bands.estimate_lattice, bands.classify_bravais):
        with pytest.warns(UserWarning, match="label 0 don't fit its lattice") as caught:
            call(0, **options)
        assert caught[0].filename == __file__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(labels, **options)
    with pytest.warns(UserWarning):
        np.testing.assert_array_equal(bands.estimate_lattice(0, **options).fits, labels == 0)


def test_patterns_that_disagree_warn_whoever_called():
    both = drawn(FCC, 9)
    both.data[6:] = drawn(np.diag([4.6, 4.6, 2.96]), 3, seed=1).data
    labels = np.repeat([0, 1], [6, 3])
    for call in (both.estimate_lattice, both.classify_bravais):
        with pytest.warns(UserWarning, match="label 0 disagree.* explains 3 of the 9") as caught:
            call(0, width_scale=1.0)
        assert caught[0].filename == __file__ and len(caught) == 1
    with pytest.warns(UserWarning):
        dissent = both.estimate_lattice(0, width_scale=1.0).dissent
    np.testing.assert_array_equal(dissent > 0, labels == 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both.estimate_lattice(labels, width_scale=1.0)


@pytest.mark.parametrize("lazy", [False, True])
def test_wrong_labels(scan, lazy):
    bands = scan.as_lazy() if lazy else scan
    for call in (bands.estimate_lattice, bands.classify_bravais):
        for labels in (LABELS.astype(float), LABELS > 0, 1.0, LABELS.astype(str)):
            with pytest.raises(TypeError, match="whole numbers are needed"):
                call(labels)
        with pytest.raises(ValueError, match=r"shape \(4, 3\), and the scan has the shape \(3, 4"):
            call(LABELS.T)
        for labels in (-1, np.full(SCAN, -1)):
            with pytest.raises(ValueError, match="no pattern is left"):
                call(labels)


@pytest.mark.parametrize("energy", [None, 0.0, -5.0, np.nan, "20 kV"])
def test_beam_energy_must_be_known(scan, energy):
    bands = scan.deepcopy()
    bands.metadata.Acquisition_instrument.SEM.beam_energy = energy
    phase = pytest.importorskip("orix.crystal_map").Phase(space_group=225)
    for call, args in (
        (bands.estimate_lattice, ()),
        (bands.classify_bravais, ()),
        (bands.compare_phases, ([phase],)),
    ):
        with pytest.raises(ValueError, match="The beam energy is"):
            call(*args)


def test_where_the_beam_energy_is_taken_from(scan):
    bands = scan.inav[0, :].deepcopy()
    expected = bands.estimate_lattice().cell
    bands.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 5.0)
    np.testing.assert_array_equal(bands.estimate_lattice().cell, expected)
    del bands.metadata.Acquisition_instrument.SEM
    bands.metadata.Acquisition_instrument.TEM.beam_energy = 20.0
    np.testing.assert_array_equal(bands.estimate_lattice().cell, expected)
    bands.metadata.Acquisition_instrument.TEM.beam_energy = 5.0
    np.testing.assert_array_equal(bands.estimate_lattice(beam_energy=20.0).cell, expected)


def test_options_are_handed_on(scan, monkeypatch):
    told = []

    def noted(bands, energy, patterns=None, workers=map, **options):
        assert patterns is None
        told.append((len(bands.normals), energy, options))
        return solve_lattice(bands, energy, **options)

    monkeypatch.setattr("emsparse_hs.signals._lattices.solve_lattice", noted)
    bands = scan.inav[:2, :]
    options = {"width_scale": 1.2, "centre_error": 0.01, "max_patterns": 3}
    bands.estimate_lattice(beam_energy=15.0, **options)
    bands.classify_bravais(0, beam_energy=15.0, **options)
    assert told == 2 * [(6, 15.0, options)]
    del told[:]
    bands.classify_bravais(beam_energy=15.0, **options, **QUIET)
    assert told == 6 * [(1, 15.0, options)]
    for name in options:
        for call in (bands.estimate_lattice, bands.classify_bravais):
            with pytest.raises(ValueError, match=f"{name} is 0"):
                call(0, **{name: 0})


def test_probabilities_are_those_of_the_patterns_one_by_one(scan, alone):
    assert type(alone) is BravaisProbabilities
    assert alone.lattices == (*BRAVAIS_LATTICES, "unknown")
    assert alone.data.shape == (*SCAN, 15)
    np.testing.assert_allclose(alone.data.sum(-1), 1)
    for y, x in ((0, 0), (2, 3)):
        one = scan.inav[x, y].estimate_lattice()
        np.testing.assert_allclose(alone.data[y, x], one.probabilities, atol=1e-6)
    answers = alone.most_probable()
    assert np.mean(answers[:, :2] == "cI") > 0.6 and np.mean(answers[:, 2:] == "cF") > 0.6
    x = alone.axes_manager["x"]
    assert (x.scale, x.size) == (1.5, 4)
    assert alone.metadata.Acquisition_instrument.SEM.beam_energy == 20.0
    assert alone.metadata.General.title.startswith("Bravais lattices: ")


@pytest.mark.parametrize("chunks", LAYOUTS, ids=str)
def test_lazy_probabilities_stay_lazy_and_agree(scan, alone, chunks):
    lazy = laid_out(scan, chunks).classify_bravais(**QUIET)
    assert type(lazy) is LazyBravaisProbabilities
    assert (lazy.most_probable() == alone.most_probable()).all()
    lazy.compute(show_progressbar=False)
    assert type(lazy) is BravaisProbabilities
    np.testing.assert_allclose(lazy.data, alone.data, atol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
def test_probabilities_in_other_layouts(scan, alone, lazy):
    bands = laid_out(scan, (2, 3, 30, 5)) if lazy else scan
    turned = bands.transpose(navigation_axes=[1, 0], signal_axes=[2, 3])
    assert turned.axes_manager.navigation_shape == SCAN
    found = turned.classify_bravais(**QUIET)
    assert found._lazy == lazy
    np.testing.assert_allclose(np.asarray(found.data), alone.data.swapaxes(0, 1), atol=1e-6)
    found = turned.classify_bravais(LABELS.T)
    np.testing.assert_array_equal(np.isnan(found.data[..., 0]), LABELS.T < 0)
    line = bands.inav[:, 1].classify_bravais(**QUIET)
    np.testing.assert_allclose(np.asarray(line.data), alone.data[1], atol=1e-6)
    point = bands.inav[2, 1].classify_bravais(**QUIET)
    assert point.axes_manager.navigation_dimension == 0 and point._lazy == lazy
    np.testing.assert_allclose(np.asarray(point.data), alone.data[1, 2], atol=1e-6)
    assert str(point.most_probable()) == alone.most_probable()[1, 2]
    labelled = bands.inav[2, 1].classify_bravais(0)
    np.testing.assert_allclose(labelled.data, alone.data[1, 2], atol=1e-6)


def test_lazy_output_is_as_asked(scan):
    few = scan.inav[:2, :1]
    assert few.classify_bravais(lazy_output=True)._lazy
    assert not few.as_lazy().classify_bravais(lazy_output=False, **QUIET)._lazy


@pytest.mark.parametrize("lazy", [False, True])
def test_probabilities_by_labels(scan, together, lazy):
    bands = laid_out(scan, (2, 3, 30, 5)) if lazy else scan
    found = bands.classify_bravais(LABELS)
    for label, lattice in together.items():
        np.testing.assert_allclose(
            found.data[label == LABELS],
            np.tile(lattice.probabilities, (lattice.patterns.sum(), 1)),
        )
    answers = found.most_probable()
    assert (answers[LABELS == 4] == "cI").all() and (answers[LABELS == 7] == "cF").all()
    assert answers[2, 1] == "" and np.isnan(found.data[2, 1]).all()


def test_a_phase_of_another_of_the_possible_lattices(scan):
    lattice = scan.estimate_lattice()
    other = next(
        h.symmetry.lattice for h in lattice.hypotheses if h.symmetry.lattice != lattice.lattice
    )
    phase = lattice.to_phase(lattice=other)
    assert phase.name == other and phase.space_group.short_name[0] == other[1]
    with pytest.raises(ValueError, match="'oX' is none that this cell may have: "):
        lattice.to_phase(lattice="oX")


def test_one_phase_and_none_to_compare_with(scan):
    lattice = scan.estimate_lattice()
    phase = lattice.to_phase(lattice=lattice.symmetry.lattice)
    one = scan.compare_phases(phase)
    np.testing.assert_array_equal(one, scan.compare_phases([phase]))
    with pytest.raises(ValueError, match="no phase to compare"):
        scan.compare_phases([])


@pytest.mark.parametrize("lazy", [False, True])
def test_patterns_without_bands_are_unknown(scan, lazy):
    bands = scan.deepcopy()
    bands.data[0, 1] = np.nan
    bands.data[0, 1, 0, 4] = 0  # looked at, and none found
    bands.data[1, 1, 5:] = np.nan
    bands = bands.as_lazy() if lazy else bands
    found = bands.classify_bravais(**QUIET)
    np.testing.assert_array_equal(np.asarray(found.data)[:2, 1, -1], 1)
    assert found.most_probable()[0, 1] == "unknown"
    with pytest.warns(UserWarning, match="patterns without bands"):
        lattice = bands.inav[:2, :].estimate_lattice()
    assert lattice.lattice == "cI"
    assert np.isnan(lattice.orientations[1]).all() and np.isnan(lattice.explained[[1, 3]]).all()
    assert lattice.fits[[0, 2, 4, 5]].all() and not lattice.fits[[1, 3]].any()
    nothing = bands.inav[1:2, :2].estimate_lattice()
    assert nothing.lattice == "unknown" and np.isnan(nothing.parameters).all()
    assert "unknown" in repr(nothing)
    with pytest.raises(ValueError, match="no lattice"):
        nothing.to_phase()
    with pytest.raises(ValueError, match="no lattice"):
        nothing.corrected_pattern_centre(CENTRE, SHAPE)


@pytest.mark.parametrize("lazy", [False, True])
def test_patterns_that_were_left_out_are_not_unknown(lazy):
    """A third was left out when bands were detected, and one pattern has none."""
    truth = simulate_patterns((3, 2), SHAPE, CENTRE, seed=3)
    truth.patterns[0, 1] = 7
    patterns = hs.signals.Signal2D(truth.patterns)
    left_out = np.zeros((3, 2), bool)
    left_out[2] = True
    bands = EBSDMethods(patterns.as_lazy() if lazy else patterns).detect_bands(
        30, CENTRE, navigation_mask=left_out, **QUIET
    )
    assert bands._lazy == lazy
    options = {"beam_energy": 20.0, "width_scale": 1.0, **QUIET}
    for labels in (None, 7, np.full((3, 2), 2)):
        with warnings.catch_warnings():
            warnings.simplefilter("error" if labels is None else "ignore")
            answers = bands.classify_bravais(labels, **options).most_probable()
        assert (answers[2] == "").all()
        assert answers[0, 1] == ("unknown" if labels is None else "cF")
    with pytest.warns(UserWarning, match="25% of the patterns"):
        lattice = bands.estimate_lattice(**options)
    np.testing.assert_array_equal(lattice.patterns, ~left_out)
    labels = np.where(left_out, 5, 3)
    with pytest.warns(UserWarning, match="25% of the patterns"):
        assert list(bands.estimate_lattice(labels.astype("u1"), **options)) == [3]
    labels[0, 1] = -1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(bands.estimate_lattice(labels, **options)) == [3]
    with pytest.raises(ValueError, match="were left out when their bands were detected"):
        bands.inav[:, 2:].estimate_lattice(**options)
    scores = bands.compare_phases(phases()[:1], beam_energy=20.0)
    np.testing.assert_array_equal(
        np.isfinite(scores[..., 0]), [[True, False], [True] * 2, [False] * 2]
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_bands_are_whole(scan, lazy):
    bands = scan.as_lazy() if lazy else scan
    phase = pytest.importorskip("orix.crystal_map").Phase(space_group=225)
    for broken in (bands.isig[:3, :], bands.transpose(signal_axes=[0, 1])):
        for call, args in (
            (broken.estimate_lattice, ()),
            (broken.classify_bravais, ()),
            (broken.compare_phases, ([phase],)),
        ):
            with pytest.raises(ValueError, match="quantity"):
                call(*args)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_saved_bands_are_solved_as_before(scan, together, extension, lazy, tmp_path):
    name = tmp_path / f"bands.{extension}"
    scan.deepcopy().save(name)  # Saving adds the file's name to the metadata.
    loaded = hs.load(name, lazy=lazy)
    assert type(loaded) is (LazyKikuchiBands if lazy else KikuchiBands)
    again = loaded.estimate_lattice(LABELS)
    for label, before in together.items():
        np.testing.assert_allclose(again[label].parameters, before.parameters)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_saved_probabilities_keep_their_class(alone, extension, lazy, tmp_path):
    name = tmp_path / f"probabilities.{extension}"
    alone.save(name)
    loaded = hs.load(name, lazy=lazy)
    assert type(loaded) is (LazyBravaisProbabilities if lazy else BravaisProbabilities)
    assert type(loaded.as_lazy()) is LazyBravaisProbabilities
    np.testing.assert_array_equal(np.asarray(loaded.data), alone.data)
    assert (loaded.most_probable() == alone.most_probable()).all()
    assert loaded.lattices == (*BRAVAIS_LATTICES, "unknown")
    assert (loaded.inav[1:3, 2].most_probable() == alone.most_probable()[2, 1:3]).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_into_a_crystal_map(scan, lazy):
    crystal_map = pytest.importorskip("orix.crystal_map")
    found = scan.classify_bravais(LABELS)
    found = found.as_lazy() if lazy else found

    def empty(shape):
        coordinates, _ = crystal_map.create_coordinate_arrays(shape, (1.5,) * len(shape))
        return crystal_map.CrystalMap(
            pytest.importorskip("orix.quaternion").Rotation.identity((int(np.prod(shape)),)),
            **coordinates,
        )

    xmap = empty(SCAN)
    found.add_to(xmap)
    for k, name in enumerate(found.lattices):
        expected = np.asarray(found.data)[..., k]
        np.testing.assert_array_equal(xmap.get_map_data(f"bravais_{name}"), expected)
    found.inav[:, 1].add_to(empty((4,)))
    for shape in ((4, 3), (2, 4), (12,)):
        with pytest.raises(ValueError, match="Pass the map of the same scan"):
            found.add_to(empty(shape))
    with pytest.raises(ValueError, match="Pass the map of the same scan"):
        found.add_to(xmap[1:, :])


def test_phase_for_indexing(together):
    pytest.importorskip("orix")
    lattice = together[4]
    phase = lattice.to_phase()
    assert (phase.name, phase.space_group.number) == ("cI", 229)
    assert phase.point_group.name == "m-3m"
    cell = phase.structure.lattice
    np.testing.assert_allclose(cell.abcABG(), lattice.parameters)
    assert [a.element for a in phase.structure] == ["Fe"]
    phase = lattice.to_phase("ferrite", element="Cr")
    assert phase.name == "ferrite" and phase.structure[0].element == "Cr"


def phases(scale=1.0):
    crystal_map = pytest.importorskip("orix.crystal_map")
    structure = pytest.importorskip("diffpy.structure")
    groups = {"fcc": 225, "bcc": 229, "sc": 221}

    def cell(edge):
        return structure.Structure(lattice=structure.Lattice(edge, edge, edge, 90, 90, 90))

    return [
        crystal_map.Phase(
            name=name,
            space_group=group,
            structure=cell(scale * EDGES[name]),
        )
        for name, group in groups.items()
    ]


@pytest.mark.parametrize("lazy", [False, True])
def test_the_right_one_of_known_phases(scan, together, lazy):
    bands = (laid_out(scan, (2, 3, 30, 5)) if lazy else scan).inav[1:3, :]
    scores = bands.compare_phases(phases())
    assert scores.shape == (3, 2, 3)
    np.testing.assert_array_equal(scores.argmax(-1), 3 * [[1, 0]])
    of_list = pytest.importorskip("orix.crystal_map").PhaseList(phases())
    one = bands.inav[0, 0].compare_phases(of_list)
    np.testing.assert_allclose(one, scores[0, 0], atol=1e-6)
    by_number = bands.inav[0, 0].compare_phases(dict(enumerate(phases())))
    np.testing.assert_array_equal(by_number, one)
    # The phase that was found explains its patterns as well as the one that is known.
    found = together[7].to_phase()
    assert bands.inav[1, 0].compare_phases([found]).min() > 2


def test_patterns_without_bands_have_no_score(scan):
    bands = scan.inav[:2, :1].deepcopy()
    bands.data[0, 1, 3:] = np.nan
    scores = bands.compare_phases(phases()[:1])
    assert np.isfinite(scores[0, 0]).all() and np.isnan(scores[0, 1]).all()


def test_says_what_is_wrong_with_a_phase(scan):
    crystal_map = pytest.importorskip("orix.crystal_map")
    with pytest.raises(ValueError, match="'mine' has no space group"):
        scan.compare_phases([crystal_map.Phase("mine", structure=phases()[0].structure)])
    for scale in (100, 0.01):
        with pytest.raises(ValueError, match="no crystal has in angstrom or nm. Set the cell in"):
            scan.compare_phases(phases(scale))
    with pytest.raises(ValueError, match="'x' has no unit cell"):
        scan.compare_phases([crystal_map.Phase("x", space_group=225)])
    for wrong in (["ni"], "ni", [PhaseLattice(None, np.ones(1, bool))]):
        with pytest.raises(TypeError, match="is no phase. Pass orix.crystal_map.Phase"):
            scan.compare_phases(wrong)


def test_phases_in_nm_are_taken_as_such(scan):
    """As kikuchipy's own; also where only one edge is too short for angstrom."""
    some = scan.inav[:2, :1]
    expected = some.compare_phases(phases())
    np.testing.assert_allclose(some.compare_phases(phases(0.1)), expected, atol=1e-6)
    phase = phases(0.1)[0]
    phase.structure.lattice.setLatPar(c=2.0)
    long = phases()[0]
    long.structure.lattice.setLatPar(c=20.0)
    np.testing.assert_allclose(some.compare_phases([phase]), some.compare_phases([long]), atol=1e-6)


@pytest.mark.parametrize("lazy", [False, True])
def test_too_few_bands_warn_whoever_called(scan, lazy):
    bands = (laid_out(scan, LAYOUTS[0]) if lazy else scan).isig[:, :7]
    calls = [bands.estimate_lattice, bands.classify_bravais, lambda: bands.classify_bravais(LABELS)]
    for call in calls:
        with pytest.warns(UserWarning, match="raise n_bands or lower min_contrast") as caught:
            call()
        assert "0 of " in str(caught[0].message) and caught[0].filename == __file__
    some = scan.inav[:2, :3].deepcopy()
    some.data[:2, :, 7:] = np.nan
    with pytest.warns(UserWarning, match="2 of 6 patterns with the label 3 have the 8") as caught:
        some.estimate_lattice(3)
    assert len(caught) == 1


def test_hypotheses_are_shown_in_a_line(together):
    shown = [repr(one) for one in together[7].hypotheses]
    assert re.fullmatch(r"<Hypothesis cF, \d+%, misfit \d+\.\d of 5>", shown[0])
    assert max(map(len, shown)) < 60
    symmetry = together[7].hypotheses[0].symmetry
    assert repr(symmetry) == "<Symmetry cF, 24 rotations, 1 free>"


def test_a_lattice_can_be_pickled(together):
    again = pickle.loads(pickle.dumps(together[7]))
    assert repr(again) == repr(together[7])
    np.testing.assert_array_equal(again.orientations, together[7].orientations)


def test_says_which_class_has_no_such_attribute(together):
    with pytest.raises(AttributeError, match="'PhaseLattice' object has no attribute 'foo'"):
        together[7].foo  # noqa: B018
    with pytest.raises(TypeError, match="reference is a Phase, and strain is relative to"):
        together[7].strain_relative_to(together[7].to_phase())


def test_labels_of_a_crystal_map_are_flat(scan):
    with pytest.raises(ValueError, match=r"with labels.reshape\(xmap.shape\), or one number"):
        scan.estimate_lattice(LABELS.ravel())


def test_strain_of_a_known_cell():
    strain = np.array([[0.012, 0.004, 0], [0.004, -0.006, 0], [0, 0, -0.006]])
    reference = drawn(FCC).estimate_lattice(width_scale=1.0)
    strained = drawn(FCC @ (np.eye(3) + strain), seed=1).estimate_lattice(width_scale=1.0)
    found = strained.strain_relative_to(reference)
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    assert abs(np.trace(found)) < 1e-12
    # The axes of a cubic crystal may be named in 24 ways, so that only these can be compared.
    np.testing.assert_allclose(np.linalg.eigvalsh(found), np.linalg.eigvalsh(strain), atol=1.5e-3)
    nothing = reference.strain_relative_to(reference)
    np.testing.assert_allclose(nothing, 0, atol=1e-12)
    other = drawn(np.diag([3.0, 4.0, 5.0])).estimate_lattice(width_scale=1.0)
    with pytest.raises(ValueError, match="no strained forms of one lattice"):
        other.strain_relative_to(reference)
    nothing = drawn(FCC).isig[:, :5].estimate_lattice()
    for one, two in ((nothing, reference), (reference, nothing)):
        with pytest.raises(ValueError, match="unknown, 6 patterns> has no cell"):
            one.strain_relative_to(two)


def off(axes, others):
    """Degrees between the axes of two cells, whichever of the lattice's vectors they are."""
    axes = axes * np.cbrt(np.abs(np.linalg.det(others) / np.linalg.det(axes)))[..., None, None]
    change = np.rint(axes @ np.linalg.inv(others))
    assert (np.rint(np.abs(np.linalg.det(change))) == 1).all()
    same = change @ others
    cosines = (axes * same).sum(-1) / np.linalg.norm(axes, axis=-1) / np.linalg.norm(same, axis=-1)
    return np.degrees(np.arccos(np.minimum(cosines, 1)))


@pytest.fixture(scope="module")
def nickel():
    pytest.importorskip("kikuchipy")
    from emsparse_hs.data import nickel_patterns

    patterns = nickel_patterns()
    patterns.remove_static_background(show_progressbar=False)
    return patterns, patterns.emsparse.estimate_lattice(n_bands=12, **QUIET)


def test_measured_patterns_are_oriented_as_indexed(nickel):
    patterns, lattice = nickel
    turns = [patterns.detector.sample_to_detector * ~r for r in patterns.xmap.rotations]
    indexed = FCC @ np.stack([turn.to_matrix()[0].T for turn in turns])
    assert off(lattice.cell @ lattice.orientations, indexed).max() < 2
    phase = lattice.to_phase()
    bands = patterns.emsparse.detect_bands(12, **QUIET)
    assert bands.compare_phases([phase]).min() > 2


def test_the_phase_can_be_indexed_by_kikuchipy(nickel):
    pytest.importorskip("pyebsdindex")
    patterns, lattice = nickel
    phase = lattice.to_phase()
    phases_ = pytest.importorskip("orix.crystal_map").PhaseList(phase)
    detector = patterns.detector.deepcopy()
    detector.pc = detector.pc_average
    indexer = detector.get_indexer(phases_)
    xmap = patterns.hough_indexing(phases_, indexer, verbose=0)
    turns = [detector.sample_to_detector * ~r for r in xmap.rotations]
    base = phase.structure.lattice.base
    indexed = base @ np.stack([turn.to_matrix()[0].T for turn in turns])
    assert off(lattice.conventional_cell @ lattice.orientations, indexed).max() < 2

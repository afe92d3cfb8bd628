# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Lattice, domains and unit cells of signals: units, layouts, errors, files, and what goes on."""

import warnings
from dataclasses import replace

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs import data
from emsparse_hs.accessor._unit_cells import _warn_of_evidence
from emsparse_hs.signals import ScanLattice, UnitCellModel
from emsparse_hs.signals._stored_model import stored_size
from emsparse_hs.unit_cell import Split

QUIET = {"show_progressbar": False}
SHAPE = (68, 64)


def simulated(seed=0, kind="wall", shape=SHAPE, scan_step=0.35, **how):
    return data.simulated_domains(kind, seed, scan_shape=shape, scan_step=scan_step, **how)


@pytest.fixture(scope="module")
def scan():
    """A wall, in a scan of 0.45 angstrom steps."""
    return simulated(scan_step=0.45)


@pytest.fixture(scope="module")
def lattice(scan):
    return scan[0].emsparse.find_scan_lattice(n_scores=32, **QUIET)


@pytest.fixture(scope="module")
def model(scan, lattice):
    return scan[0].emsparse.unit_cell_model(lattice, **QUIET)


@pytest.fixture(scope="module")
def image():
    """Columns of a crystal, as in a HAADF image, without navigation axes."""
    y, x = np.indices((80, 96))
    random = np.random.default_rng(0)
    u, v = (2 * np.pi * (g[0] * y + g[1] * x) for g in ((0.1, 0.02), (-0.03, 0.12)))
    columns = 40 + 12 * np.cos(u) + 9 * np.cos(v + 1) + 6 * np.cos(u - v) + 4 * np.cos(u + v)
    signal = hs.signals.Signal2D(random.poisson(columns).astype(np.uint16))
    for axis, name in zip(signal.axes_manager.signal_axes, "xy", strict=True):
        axis.name, axis.scale, axis.units = name, 0.02, "nm"
    signal.metadata.General.title = "HAADF"
    return signal, columns


def values(signal):
    return np.asarray(signal.data)


def axes_of(signal):
    return [axis.get_axis_dictionary() for axis in signal.axes_manager._axes]


def layout(signal, chunks):
    array = da.from_array(signal.data, chunks=chunks)
    metadata = signal.metadata.as_dictionary()
    return type(signal.as_lazy())(array, axes=axes_of(signal), metadata=metadata)


def same_basis(found, truth):
    """The true vectors in the basis that was found, which has to be primitive."""
    change = np.round(found @ np.linalg.inv(truth))
    assert abs(np.linalg.det(change)) == pytest.approx(1)
    return change @ truth


def test_vectors_are_in_units_of_the_scan(scan, lattice):
    signal, truth = scan
    assert isinstance(lattice, ScanLattice) and lattice.units == "nm"
    found = lattice.reciprocal_vectors[0]
    # x before y, in cycles a nm.
    expected = same_basis(found, truth.reciprocal[0][:, ::-1] / 0.045)
    np.testing.assert_allclose(found, expected, atol=0.02 / (64 * 0.045))
    np.testing.assert_allclose(lattice.vectors[0] @ found.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(sorted(lattice.lengths[0]), [0.3904, 0.4152], rtol=0.012)
    np.testing.assert_allclose(lattice.angles, 90, atol=1)
    np.testing.assert_allclose(lattice.lengths, np.linalg.norm(lattice.vectors, axis=2))
    shift = truth.row_shift[:, ::-1] * 0.045
    assert np.sqrt(((lattice.row_shift - shift) ** 2).mean()) < 0.5 * shift.std()
    first, second = lattice.lengths[0]
    assert f"{first:.4g} x {second:.4g} nm" in repr(lattice)


def test_errors_of_lengths_are_those_of_the_vectors(lattice):
    fit = lattice.fit.alignment
    errors = np.sqrt(np.diag(fit.covariance[0])).reshape(2, 2)[:, ::-1] / 0.045
    np.testing.assert_allclose(lattice.reciprocal_errors[0], errors)
    draws = np.random.default_rng(0).multivariate_normal(
        fit.reciprocal[0].ravel(), fit.covariance[0], 4000
    )
    lengths = np.linalg.norm(np.linalg.inv(draws.reshape(-1, 2, 2) / 0.045), axis=1)
    np.testing.assert_allclose(lattice.length_errors[0], lengths.std(0), rtol=0.06)


def test_maps_of_the_lattice_have_the_axes_of_the_scan(lattice):
    alignment = lattice.fit.alignment
    x, y = lattice.grains().axes_manager.signal_axes
    assert (x.size, y.size, x.units) == (64, 68, "nm") and x.scale == pytest.approx(0.045)
    assert lattice.grains().metadata.Signal.quantity == "Lattice"
    shifted = lattice.displacement()
    assert shifted.data.shape == (2, *SHAPE)
    expected = np.moveaxis(alignment.displacement(), -1, 0)[::-1] * 0.045
    np.testing.assert_allclose(shifted.data, expected)
    u, v = lattice.positions(0).data
    assert u.min() >= 0 and v.max() <= 1 and lattice.positions().data.dtype == np.float32
    off = np.stack([u, v], axis=-1) - alignment.fractional(0)
    np.testing.assert_allclose(off, np.round(off), atol=1e-5)


def test_two_grains():
    signal, truth = simulated(1, "grains", (80, 84))
    lattice = signal.emsparse.find_scan_lattice(2, n_scores=16, **QUIET)
    grains = lattice.grains().data
    right = (grains == truth.domains).mean()
    assert max(right, 1 - right) > 0.97
    assert lattice.reciprocal_vectors.shape == (2, 2, 2)
    assert "2 lattices" in repr(lattice) and repr(lattice).count("nm") == 2
    order = (0, 1) if right > 0.5 else (1, 0)
    for found, k in zip(lattice.reciprocal_vectors, order, strict=True):
        expected = same_basis(found, truth.reciprocal[k][:, ::-1] / 0.035)
        np.testing.assert_allclose(found, expected, atol=0.04 / (80 * 0.035))
    with pytest.raises(ValueError, match="There is no lattice 2: there are 2, counted from 0"):
        lattice.positions(2)


def test_domains_are_the_true_ones(scan, model):
    truth = scan[1].domains
    found = model.domain_map()
    assert found.data.dtype == np.int8 and model.n_domains == 2
    right = (found.data == truth).mean()
    assert max(right, 1 - right) > 0.985
    assert model.splits[0].accepted
    x, y = found.axes_manager.signal_axes
    assert (x.size, y.size, x.units) == (64, 68, "nm")


def test_abundances_are_of_the_own_domain(model):
    maps = model.abundances()
    assert maps.data.shape == (4, *SHAPE) and maps.data.min() >= 0
    labels = model.domain_map().data
    for k in range(4):
        assert not maps.data[k][labels != k // 2].any()
    mixed = maps.data.sum(0)
    second = (maps.data[1] + maps.data[3]) / mixed
    np.testing.assert_allclose(model.slow_map().data, second, atol=1e-5)


@pytest.fixture(scope="module")
def fine():
    """One domain in steps that are fine enough for a series to describe it."""
    signal, truth = simulated(2, "single", scan_step=0.3)
    return signal, truth, signal.emsparse.unit_cell_model(**QUIET)


def test_misfit_of_noise_is_one(fine):
    signal, truth, model = fine
    assert model.n_domains == 1
    counts, made = signal.data.astype(float), values(model.reconstruct()).astype(float)
    mean = model.cells.mean.reshape(32, 32)
    floor = np.maximum(0.05 * mean, 1e-3 * mean.mean())
    expected = ((counts - made) ** 2 / np.maximum(made, floor)).sum((2, 3))
    # Pixels that are always empty say nothing.
    expected /= (signal.data.sum((0, 1)) > 0).sum()
    np.testing.assert_allclose(model.misfit().data, expected, rtol=2e-3)
    # As of the patterns that the counts were drawn from: about 1, less where hardly any are.
    clean = truth.expectation()
    least = ((counts - clean) ** 2 / np.maximum(clean, floor)).sum((2, 3))
    least /= (signal.data.sum((0, 1)) > 0).sum()
    assert 0.8 < np.median(least) < 1
    assert np.median(model.misfit().data) == pytest.approx(np.median(least), rel=0.06)
    # What it explains of patterns without noise, by the counts alone.
    left = ((made - clean) ** 2).sum() / ((clean - clean.mean((0, 1))) ** 2).sum()
    assert model.explained_variance == pytest.approx(1 - left, abs=0.015)
    assert f"{model.explained_variance:.1%} explained" in repr(model)


def test_compression_is_that_of_the_arrays(scan, model):
    assert scan[0].data.nbytes / model.compression_ratio == pytest.approx(stored_size(model))
    n_terms = 3 * sum(2 * len(model.cells.indices[k]) + 1 for k in (0, 0))
    least = 2 * model.rank * (n_terms + 32 * 32) + 5 * np.prod(SHAPE)
    assert least < stored_size(model) < 1.2 * least


@pytest.mark.parametrize("chunks", [(68, 64, 32, 32), (7, 64, 32, 32), (20, 9, 11, 32)])
def test_lazy_signals_give_the_same(scan, lattice, model, chunks):
    signal = layout(scan[0], chunks)
    found = signal.emsparse.find_scan_lattice(n_scores=32, **QUIET)
    expected = lattice.reciprocal_vectors
    np.testing.assert_allclose(found.reciprocal_vectors, expected, atol=1e-3)
    made = signal.emsparse.unit_cell_model(lattice, **QUIET)
    assert signal._lazy
    np.testing.assert_array_equal(made.domain_map().data, model.domain_map().data)
    np.testing.assert_allclose(made.misfit().data, model.misfit().data, rtol=5e-3)
    assert made.explained_variance == pytest.approx(model.explained_variance, abs=1e-3)
    with pytest.raises(ValueError, match="The signal has shape"):
        made.residual(signal.inav[:-1])
    np.testing.assert_allclose(
        values(made.residual(signal)), values(model.residual(scan[0])), atol=0.02
    )


def test_axes_in_any_order(scan, model):
    """The frame's axes before those of the scan in the array."""
    frames = np.moveaxis(scan[0].data, (0, 1), (2, 3)).copy()
    sizes = [(32, False), (32, False), (68, True), (64, True)]
    signal = hs.signals.BaseSignal(frames, axes=[{"size": n, "navigate": k} for n, k in sizes])
    signal = signal.as_signal2D((0, 1)) if signal.data.shape[0] != 32 else signal
    made = signal.emsparse.unit_cell_model(**QUIET)
    assert made.frame == (32, 32)
    found = made.reconstruct()
    assert found.data.shape == (*SHAPE, 32, 32)
    assert found.axes_manager.navigation_shape == (64, 68)
    left = values(made.residual(signal))
    np.testing.assert_allclose(left, scan[0].data - values(found), atol=1e-3)
    again = made.truncated(made.rank, signal)
    assert again.explained_variance == pytest.approx(made.explained_variance, abs=1e-4)


@pytest.mark.parametrize("is_lazy", [False, True])
def test_an_image_is_a_scan_of_single_values(image, is_lazy):
    signal = image[0].as_lazy() if is_lazy else image[0]
    lattice = signal.emsparse.find_scan_lattice(**QUIET)
    expected = same_basis(lattice.reciprocal_vectors[0], np.array([[1, 5], [6, -1.5]]))
    np.testing.assert_allclose(lattice.reciprocal_vectors[0], expected, atol=0.02 / (80 * 0.02))
    assert lattice.scores.values.shape == (80, 96, 1)
    assert lattice.grains().axes_manager.signal_shape == (96, 80)
    assert signal.data.shape == (80, 96) and signal.axes_manager.navigation_dimension == 0
    with pytest.raises(ValueError, match="is an image, and a model needs patterns"):
        signal.emsparse.unit_cell_model(lattice, **QUIET)


def test_units_of_a_scan_that_has_none(image):
    bare = hs.signals.Signal2D(image[0].data)
    lattice = bare.emsparse.find_scan_lattice(**QUIET)
    assert lattice.units == "px" and "px" in repr(lattice)
    expected = same_basis(lattice.reciprocal_vectors[0], np.array([[0.02, 0.1], [0.12, -0.03]]))
    np.testing.assert_allclose(lattice.reciprocal_vectors[0], expected, atol=0.02 / 80)


def test_nothing_of_the_users_changes(scan, lattice):
    signal = scan[0].deepcopy()
    before = signal.metadata.as_dictionary(), axes_of(signal)
    model = signal.emsparse.unit_cell_model(lattice, n_variants=1, **QUIET)
    model.truncated(2, signal)
    model.residual(signal).compute()
    model.reconstruct().data[0].compute()
    np.testing.assert_array_equal(signal.data, scan[0].data)
    assert signal.data.dtype == np.uint16
    assert (signal.metadata.as_dictionary(), axes_of(signal)) == before


def test_a_model_of_counts_in_memory_that_are_locked(scan, lattice):
    frozen = scan[0].data.copy()
    frozen.flags.writeable = False
    signal = hs.signals.Signal2D(frozen)
    with pytest.warns(UserWarning, match="of the variance"):
        model = signal.emsparse.unit_cell_model(lattice, n_variants=1, n_domains=1, **QUIET)
    assert model.n_domains == 1 and model.splits == []


def test_reconstruction_goes_on_as_a_scan(fine):
    """Its centre of mass is nearer to that of the truth than that of counts."""
    pytest.importorskip("pyxem")
    signal, truth, model = fine
    made = model.reconstruct()
    assert type(made).__name__ == "LazyElectronDiffraction2D"
    assert made.data.dtype == np.float32
    assert made.metadata.General.title == signal.metadata.General.title
    for new, old in zip(made.axes_manager._axes, signal.axes_manager._axes, strict=True):
        for name in ("name", "units", "size", "navigate", "scale", "offset"):
            assert getattr(new, name) == getattr(old, name)
    clean = signal._deepcopy_with_new_data(truth.expectation())
    measured, counted, true = (
        values(s.emsparse.beam_deflection(lazy_output=False, centre=(15.5, 15.5)))
        for s in (made, signal, clean)
    )
    assert ((measured - true) ** 2).mean() < 0.45 * ((counted - true) ** 2).mean()


def test_residual_is_what_is_left(scan, model):
    left = model.residual(scan[0])
    assert left._lazy and left.data.dtype == np.float32
    expected = scan[0].data - values(model.reconstruct())
    np.testing.assert_allclose(values(left), expected, atol=1e-4)
    assert left.axes_manager.navigation_shape == (64, 68)
    # Nothing is left of the mean.
    assert abs(values(left).mean()) < 0.01 * scan[0].data.mean()
    with pytest.raises(ValueError, match=r"shape \(60, 64, 32, 32\), and the model is of a scan"):
        model.residual(scan[0].inav[:, :60])


def test_truncated(scan, model):
    whole = model.truncated(model.rank, scan[0])
    assert whole.explained_variance == pytest.approx(model.explained_variance, abs=1e-4)
    less = model.truncated(4, scan[0])
    assert less.rank == 4 and less.n_domains == 2
    assert less.explained_variance < model.explained_variance
    assert less.compression_ratio > 3 * model.compression_ratio
    np.testing.assert_allclose(less.cells.patterns, model.cells.patterns[:4])
    for rank in (0, model.rank + 1):
        with pytest.raises(ValueError, match=f"The rank is {rank}. Choose one from 1 to"):
            model.truncated(rank, scan[0])
    with pytest.raises(ValueError, match="Pass the scan that it was made of"):
        model.truncated(2, scan[0].isig[:10])


def test_patterns_are_those_of_the_scan(scan, model):
    """At a place inside of a domain, variants mixed by abundances are the reconstruction."""
    places = np.argwhere(model.domain_map().data == 0)
    amounts, labels = model.abundances().data, model.domain_map().data
    fractional = model.fit.alignment.fractional(0)
    mean = model.cells.mean.reshape(32, 32)
    checked = 0
    for y, x in places[::97]:
        if (labels[max(y - 12, 0) : y + 13, max(x - 12, 0) : x + 13] != 0).any():
            continue
        u, v = fractional[y, x]
        mixed = mean.copy()
        for k in (0, 1):
            pattern = values(model.pattern(u, v, 0, k))
            if pattern.min() <= 0:
                # Cut off at zero: not the sum of its parts there.
                pattern = np.where(pattern > 0, pattern, np.nan)
            mixed = mixed + amounts[k, y, x] * (pattern - mean)
        found = values(model.reconstruct().inav[int(x), int(y)])
        seen = np.isfinite(mixed) & (found > 0)
        assert seen.mean() > 0.5
        np.testing.assert_allclose(found[seen], mixed[seen], atol=2e-3 * found.max())
        checked += 1
    assert checked > 3


def test_pattern_and_dictionary(model):
    grid = model.dictionary(1, 1, n=4)
    assert grid.data.shape == (4, 4, 32, 32)
    u, v = grid.axes_manager.navigation_axes
    assert (u.name, v.name, u.units) == ("u", "v", "cells") and u.scale == 0.25
    single = model.pattern(0.75, 0.25, 1, 1)
    np.testing.assert_allclose(grid.inav[3, 1].data, single.data, atol=1e-4)
    np.testing.assert_allclose(model.pattern(-1.25, 3.25, 1, 1).data, single.data, atol=1e-3)
    assert not np.allclose(single.data, model.pattern(0.75, 0.25, 0, 1).data, atol=0.1)
    by_numpy = model.pattern(0.75, 0.25, np.int64(1), np.int64(1))
    np.testing.assert_array_equal(by_numpy.data, single.data)
    assert single.data.min() >= 0
    wall = model.pattern(0.1, 0.2, 0, "wall")
    assert wall.data.min() < 0 and wall.axes_manager.signal_axes[0].units == "mrad"
    assert single.metadata.Signal.signal_type == model.like["signal_type"]


@pytest.mark.parametrize("domain", [2, -1])
def test_no_such_domain(model, domain):
    for ask in (lambda: model.pattern(0, 0, domain), lambda: model.dictionary(domain)):
        with pytest.raises(ValueError, match=f"no domain {domain}: there are 2, counted from 0"):
            ask()


@pytest.mark.parametrize("variant", [2, -1, "walls", 0.5])
def test_no_such_variant(model, variant):
    with pytest.raises(ValueError, match='there are 2, from 0 on, and "wall"'):
        model.pattern(0, 0, 0, variant)


def test_one_domain_has_no_wall(fine):
    with pytest.raises(ValueError, match="no variant 'wall': there are 2, from 0 on.$"):
        fine[2].pattern(0, 0, 0, "wall")


@pytest.mark.parametrize("extension", ["zspy", "hspy"])
@pytest.mark.parametrize("n_variants", ["auto", 1])
def test_saved_and_read(scan, lattice, tmp_path, extension, n_variants):
    model = scan[0].emsparse.unit_cell_model(lattice, n_variants=n_variants, **QUIET)
    path = tmp_path / f"model.{extension}"
    model.save(path)
    read = UnitCellModel.load(path)
    assert repr(read) == repr(model)
    assert read.splits == model.splits and read.variant_trials == model.variant_trials
    assert bool(model.variant_trials) == (n_variants == "auto")
    made, expected = values(read.reconstruct()), values(model.reconstruct())
    # float16: 11 bits, of each of many terms.
    np.testing.assert_allclose(made, expected, atol=2e-3 * expected.max())
    for name in ("domain_map", "misfit", "slow_map", "abundances"):
        one, other = getattr(read, name)(), getattr(model, name)()
        np.testing.assert_allclose(one.data, other.data, rtol=2e-3, atol=2e-3)
        assert one.axes_manager.signal_axes[0].units == "nm"
    again = read.reconstruct()
    assert type(again) is type(model.reconstruct())
    instrument = again.metadata.Acquisition_instrument.TEM
    assert (instrument.beam_energy, instrument.convergence_angle) == (300, 18)
    assert read.explained_variance == pytest.approx(model.explained_variance, abs=1e-3)
    assert read.compression_ratio == pytest.approx(model.compression_ratio, rel=1e-3)
    np.testing.assert_allclose(
        read.truncated(3, scan[0]).sums, model.truncated(3, scan[0]).sums, rtol=2e-2
    )
    # What is read can be saved again.
    read.save(tmp_path / f"again.{extension}")
    with pytest.raises(ValueError, match="neither .zspy nor .hspy"):
        model.save(tmp_path / "model.npz")


def test_a_file_of_something_else(scan, tmp_path):
    hs.signals.Signal2D(np.zeros((4, 4))).save(tmp_path / "image.hspy")
    with pytest.raises(ValueError, match="is no model of unit cells. Pass a file that"):
        UnitCellModel.load(tmp_path / "image.hspy")


def test_frequencies_end_with_the_aperture(fine):
    signal, _, model = fine
    lattice = signal.emsparse.find_scan_lattice(n_scores=16, **QUIET)
    pair = lattice.reciprocal_vectors[0] / 10  # in cycles an angstrom
    nodes = np.array([(h, k) for h in range(-9, 10) for k in range(-9, 10)]) @ pair
    lengths = np.linalg.norm(nodes, axis=1)

    def highest(**how):
        made = signal.emsparse.unit_cell_model(lattice, n_variants=1, n_domains=1, **how, **QUIET)
        return np.linalg.norm(made.cells.indices[0] @ pair, axis=1).max()

    # 2 alpha / lambda at 300 and 60 kV.
    with pytest.warns(UserWarning, match="of the variance of the scan"):
        found = highest(convergence_angle=6)
        longer = highest(convergence_angle=6, beam_energy=60)
    assert found == pytest.approx(lengths[lengths <= 0.012 / 0.019687].max(), abs=1e-3)
    assert longer == pytest.approx(lengths[lengths <= 0.012 / 0.048661].max(), abs=1e-3)
    assert longer < found < highest() <= min(0.036 / 0.019687, 0.48 / 0.3)
    for wrong in ({"convergence_angle": 0}, {"beam_energy": -300}):
        with pytest.raises(ValueError, match="Pass a positive number"):
            highest(**wrong)
    with pytest.raises(ValueError, match="No wave of the lattice is below the aperture's limit"):
        highest(convergence_angle=0.3)


def test_as_many_domains_as_asked_for(scan, lattice):
    model = scan[0].emsparse.unit_cell_model(lattice, n_domains=2, n_variants=3, **QUIET)
    assert (model.n_domains, model.n_variants) == (2, 3)
    assert model.abundances().data.shape == (6, *SHAPE)
    assert model.slow_map().data.min() >= 0 and model.slow_map().data.max() <= 1


def test_fewer_domains_than_asked_for_are_said(scan, lattice):
    with pytest.warns(UserWarning, match=r"9 domains were asked for, and \d found") as caught:
        scan[0].emsparse.unit_cell_model(lattice, n_domains=9, n_variants=1, **QUIET)
    assert caught[0].filename == __file__


def test_counts_of_another_size(fine):
    """The model of scaled counts is the scaled model, and as good."""
    signal, _, model = fine
    scaled = signal._deepcopy_with_new_data(signal.data * np.float32(0.25))
    made = scaled.emsparse.unit_cell_model(dose_per_count=4, **QUIET)
    assert made.explained_variance == pytest.approx(model.explained_variance, abs=2e-3)
    np.testing.assert_allclose(made.misfit().data, model.misfit().data, rtol=0.02)
    expected = values(model.reconstruct())
    np.testing.assert_allclose(4 * values(made.reconstruct()), expected, atol=0.01 * expected.max())
    with pytest.raises(ValueError, match="A count is 0 electrons. Pass a positive number"):
        scaled.emsparse.unit_cell_model(dose_per_count=0, **QUIET)


def test_a_falling_axis_turns_the_lattice(scan, lattice):
    signal = scan[0].deepcopy()
    x = signal.axes_manager.navigation_axes[0]
    x.scale = -x.scale
    found = signal.emsparse.find_scan_lattice(n_scores=32, **QUIET)
    expected = lattice.reciprocal_vectors * [-1, 1]
    np.testing.assert_allclose(found.reciprocal_vectors, expected, rtol=1e-6)
    np.testing.assert_allclose(found.row_shift, lattice.row_shift * [-1, 1])
    np.testing.assert_allclose(found.lengths, lattice.lengths)
    np.testing.assert_allclose(found.length_errors, lattice.length_errors, rtol=1e-4)


def test_the_lattice_of_an_image_of_the_scan(scan, model):
    """Of the intensity in a ring, as a HAADF detector gives it along with the patterns."""
    signal, _ = scan
    ky, kx = np.indices((32, 32)) - 15.5
    ring = np.hypot(ky, kx) > 9
    annular = hs.signals.Signal2D((signal.data * ring).sum((2, 3)))
    lattice = annular.emsparse.find_scan_lattice(**QUIET)
    assert lattice.scores.values.shape[-1] == 1
    made = signal.emsparse.unit_cell_model(lattice, **QUIET)
    assert made.n_domains == 2 and made.frame == (32, 32)
    right = (made.domain_map().data == model.domain_map().data).mean()
    assert max(right, 1 - right) > 0.95


def test_little_that_is_explained_is_said(scan, lattice):
    with pytest.warns(UserWarning, match=r"The model explains \d+% of the variance") as caught:
        scan[0].emsparse.unit_cell_model(lattice, rank=1, n_variants=1, **QUIET)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.ones((20, 8, 8)), "has 1 navigation axes, and a scan has two"),
        (np.ones((15, 40, 4, 4)), "too few to find a lattice. At least 16 along each axis"),
        (np.ones((2, 20, 20, 4, 4)), "Choose one scan of a series with s.inav"),
        (np.ones((20, 20, 4, 4)), "There is no lattice that the scan is periodic with"),
        (np.full((20, 20, 4, 4), np.nan), "The data hold NaN or infinite values"),
        (np.ones((10, 30)), "too few to find a lattice"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_scans_without_a_lattice(frames, message, is_lazy):
    signal = hs.signals.Signal2D(frames)
    signal = signal.as_lazy() if is_lazy else signal
    with pytest.raises(ValueError, match=message):
        signal.emsparse.find_scan_lattice(**QUIET)
    if frames.ndim > 2:
        with pytest.raises(ValueError, match=message):
            signal.emsparse.unit_cell_model(**QUIET)


def test_complex_data():
    signal = hs.signals.Signal2D(np.ones((20, 20, 4, 4), complex))
    with pytest.raises(TypeError, match="dtype complex128, and real numbers are needed"):
        signal.emsparse.find_scan_lattice(**QUIET)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_domains": 0}, 'The number of domains is 0. Pass 1 or more, or "auto"'),
        ({"n_domains": "all"}, "The number of domains is 'all'"),
        ({"n_variants": 1.5}, "The number of variants is 1.5"),
        ({"n_variants": -1}, 'The number of variants is -1. Pass 1 or more, or "auto"'),
        ({"rank": 0}, "The rank is 0. Pass 1 or more, or None"),
        ({"rank": 2.5}, "The rank is 2.5. Pass 1 or more, or None"),
    ],
)
def test_numbers_that_are_none(scan, lattice, wrong, message):
    with pytest.raises(ValueError, match=message):
        scan[0].emsparse.unit_cell_model(lattice, **wrong, **QUIET)


@pytest.mark.parametrize("n", [0, -2, 1.0, "auto"])
def test_number_of_lattices(scan, n):
    with pytest.raises(ValueError, match="The number of lattices is .*. Pass 1 or more"):
        scan[0].emsparse.find_scan_lattice(n, **QUIET)
    with pytest.raises(ValueError, match="The number of scores is .*. Pass 1 or more"):
        scan[0].emsparse.find_scan_lattice(n_scores=n, **QUIET)


def test_a_lattice_of_another_scan(scan, lattice):
    part = scan[0].inav[:, :60]
    with pytest.raises(ValueError, match=r"of a scan of \(68, 64\) positions, and this one has"):
        part.emsparse.unit_cell_model(lattice, **QUIET)


def test_few_cells_are_said():
    signal, _ = data.simulated_domains("single", 1, scan_shape=(110, 110))
    with pytest.warns(UserWarning, match=r"The scan is [67].\d cells across") as caught:
        signal.emsparse.find_scan_lattice(**QUIET)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    ("wanted", "split", "message"),
    [
        (2, Split(0.8, 1.0, 0.4, 50.0, False), "does not fall in 2 domains"),
        (None, Split(0.35, 1.0, 0.4, 50.0, False), "may be one domain more"),
        (None, Split(0.45, 1.0, 0.4, 50.0, False), None),
        (None, Split(0.35, 0.2, 0.4, 50.0, False), None),
        (None, Split(0.1, 1.0, 0.4, 50.0, True), None),
        (2, Split(0.1, 1.0, 0.4, 50.0, True), None),
    ],
)
def test_evidence_against_domains_is_said(fine, wanted, split, message):
    fit = replace(fine[2].fit, splits=[split])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _warn_of_evidence(fit, wanted)
    assert [message in str(one.message) for one in caught] == ([True] if message else [])


def test_data_without_noise(scan, lattice):
    signal, truth = scan
    clean = hs.signals.Signal2D(truth.expectation())
    with pytest.warns(UserWarning, match="less noise than counts. Pass dose_per_count"):
        clean.emsparse.unit_cell_model(lattice, n_variants=1, **QUIET)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The model explains")
        model = clean.emsparse.unit_cell_model(
            lattice, n_variants=1, dose_per_count=np.inf, **QUIET
        )
    made = model.reconstruct().data.compute()
    left = ((made - clean.data) ** 2).sum((2, 3))
    varies = ((clean.data - clean.data.mean((0, 1))) ** 2).sum((2, 3)).mean()
    assert model.explained_variance == pytest.approx(1 - left.mean() / varies, abs=1e-4)
    np.testing.assert_allclose(model.misfit().data, left / varies, rtol=1e-3, atol=1e-6)


def test_wrong_arguments_of_a_model(fine):
    signal, _, model = fine
    with pytest.raises(TypeError, match="ndarray is no signal. Pass the scan itself"):
        model.residual(signal.data)
    with pytest.raises(ValueError, match="The rank is 2.5"):
        model.truncated(2.5, signal)
    for domain in (0.5, None):
        with pytest.raises(ValueError, match="There is no domain"):
            model.pattern(0, 0, domain=domain)
    with pytest.raises(ValueError, match="'wall' is no variant"):
        model.plot(variant="wall")

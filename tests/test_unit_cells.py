# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Passes over blocks: the same in every layout, small in memory, and lazy where that is said."""

import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest

from emsparse_hs import unit_cells
from emsparse_hs.blocks import Blocks
from emsparse_hs.data._simulated_domains import simulated_domains
from emsparse_hs.unit_cell import (
    Alignment,
    DomainFit,
    find_lattices,
    fit_domains,
    fitted_harmonics,
)
from emsparse_hs.unit_cells import (
    PlacedAtoms,
    find_scores,
    fit_dictionary,
    misfit_sums,
    reconstruction,
)

#: Of the scan, then of the detector; None for data in memory.
CHUNKS = [None, (7, 64, 16, 14), (64, 5, 16, 14), (20, 30, 7, 5), (64, 64, 3, 14)]
FRAME = (16, 14)


def binned(frames):
    """Two detector pixels in one along both directions, and less of them along x."""
    y, x = frames.shape[:2]
    return frames.reshape(y, x, 16, 2, 16, 2).sum((3, 5), dtype=frames.dtype)[..., 1:15]


def simulated(shape, scan_step):
    scan = simulated_domains("wall", 0, scan_shape=shape, scan_step=scan_step)
    return binned(scan.data), binned(scan.expectation()), scan.domains


@pytest.fixture(scope="module")
def truth():
    """Small, and coarser than what a series describes exactly."""
    return simulated((64, 64), 0.45)


def blocks_of(array, chunks=None):
    return Blocks.from_array(da.from_array(array, chunks) if chunks else array, 2)


@pytest.fixture(scope="module")
def scores(truth):
    return find_scores(blocks_of(truth[0]), 24, show_progressbar=False)


@pytest.fixture(scope="module")
def fitted(scores):
    lattice = find_lattices(scores.values)
    indices = fitted_harmonics(lattice.alignment.reciprocal)
    return fit_domains(scores.values, lattice, indices), indices


@pytest.fixture(scope="module")
def cells(truth, scores, fitted):
    return fit_dictionary(blocks_of(truth[0]), scores.scaling, *fitted, show_progressbar=False)


def placed_rows(fit):
    return [m.reshape(m.shape[0] * m.shape[1], *m.shape[2:]) for m in PlacedAtoms.of(fit).maps()]


@pytest.mark.parametrize("chunks", CHUNKS)
def test_scores_are_principal_in_every_layout(truth, chunks, monkeypatch):
    """Whatever they start from, here a few patterns."""
    monkeypatch.setattr(unit_cells, "_SAMPLE", 100)
    counts = truth[0].reshape(64 * 64, -1).astype(float)
    mean = counts.mean(0)
    scaled = (counts - mean) / np.sqrt(np.maximum(mean, 1e-3 * mean.mean()))
    left, values, _ = np.linalg.svd(scaled, full_matrices=False)
    found = find_scores(blocks_of(truth[0], chunks), 24, show_progressbar=False, num_workers=2)
    assert found.values.shape == (64, 64, 24) and found.values.dtype == np.float32
    np.testing.assert_allclose(found.scaling.mean, mean, rtol=1e-5)
    flat = found.values.reshape(4096, -1)
    sizes = np.linalg.norm(flat, axis=0)
    # Those in the noise are not exactly the first, as nearly as strong as these.
    np.testing.assert_allclose(sizes[:6], values[:6], rtol=1e-3)
    np.testing.assert_allclose(sizes, values[:24], rtol=0.03)
    likeness = np.abs((flat / sizes * left[:, :24]).sum(0))
    assert likeness[:6].min() > 0.999


def test_fewer_scores_of_small_frames(truth):
    few = np.ascontiguousarray(truth[0][..., 6:8, 5:8])
    found = find_scores(blocks_of(few), 24, show_progressbar=False)
    assert found.values.shape == (64, 64, 6)


@pytest.mark.parametrize("chunks", CHUNKS[1:])
def test_dictionary_is_the_same_in_every_layout(truth, scores, fitted, cells, chunks):
    blocks = blocks_of(truth[0], chunks)
    found = fit_dictionary(blocks, scores.scaling, *fitted, show_progressbar=False)
    assert found.patterns.shape == cells.patterns.shape
    np.testing.assert_allclose(found.singular_values, cells.singular_values, atol=1e-3)
    rows = placed_rows(fitted[0])
    expected = cells.predict(*rows)
    np.testing.assert_allclose(found.predict(*rows), expected, atol=2e-3 * expected.max())
    one, other = (
        misfit_sums(b, cells, PlacedAtoms.of(fitted[0]), show_progressbar=False)
        for b in (blocks, blocks_of(truth[0]))
    )
    np.testing.assert_allclose(one, other, rtol=1e-4)


def test_dictionary_is_nearer_to_the_truth_than_counts():
    counts, expected, domains = simulated((96, 96), 0.3)
    blocks = blocks_of(counts)
    scores = find_scores(blocks, 24, show_progressbar=False)
    lattice = find_lattices(scores.values)
    indices = fitted_harmonics(lattice.alignment.reciprocal)
    fit = fit_domains(scores.values, lattice, indices)
    right = (fit.labels == domains).mean()
    assert max(right, 1 - right) > 0.99
    cells = fit_dictionary(blocks, scores.scaling, fit, indices, show_progressbar=False)
    made = cells.predict(*placed_rows(fit)).reshape(counts.shape)
    error, noise = (((values - expected) ** 2).sum() for values in (made, counts))
    assert error < 0.2 * noise
    # Only next to the wall is there something that is no series.
    assert error < 0.03 * ((expected - expected.mean((0, 1))) ** 2).sum()


def test_rank_that_is_asked_for(truth, scores, fitted):
    found = fit_dictionary(blocks_of(truth[0]), scores.scaling, *fitted, 3, show_progressbar=False)
    assert found.patterns.shape == (3, 16 * 14)


def test_misfit_sums(truth, fitted, cells):
    counts = truth[0].reshape(4096, -1).astype(float)
    found = misfit_sums(blocks_of(truth[0]), cells, PlacedAtoms.of(fitted[0]), False)
    assert found.shape == (64, 64, 4)
    made = cells.predict(*placed_rows(fitted[0])).astype(float)
    floor = np.maximum(0.05 * cells.mean, 1e-3 * cells.mean.mean())
    expected = [
        ((counts - made) ** 2).sum(1),
        ((counts - cells.mean) ** 2).sum(1),
        counts.sum(1),
        ((counts - made) ** 2 / np.maximum(made, floor)).sum(1),
    ]
    np.testing.assert_allclose(found.reshape(-1, 4).T, expected, rtol=2e-3)


def test_positions_in_the_cell_of_each_lattice():
    random = np.random.default_rng(0)
    pairs = np.array([np.diag([0.1, 0.13]), [[0.09, 0.05], [-0.06, 0.12]]])
    labels = np.zeros((30, 34), np.int8)
    labels[:, 15:], labels[20:, 15:] = 1, 2
    alignment = Alignment.regular(pairs, labels.shape)
    alignment.row_shift[:] = random.standard_normal((30, 2))
    amounts = random.random((30, 34, 2)).astype(np.float32)
    fit = DomainFit(alignment, labels, np.array([0, 1, 1]), amounts, labels * 0.0, [])
    placed = PlacedAtoms.of(fit)
    assert placed.fractional.min() >= 0 and placed.fractional.max() <= 1
    positions = alignment.positions()
    for y, x in ((3, 2), (4, 20), (25, 30)):
        expected = pairs[int(labels[y, x] > 0)] @ positions[y, x]
        off = placed.fractional[y, x] - expected
        np.testing.assert_allclose(off, np.round(off), atol=1e-5)
    # The third atom is that of walls.
    assert placed.amounts.shape == (30, 34, 3)
    np.testing.assert_array_equal(placed.amounts[..., :2], amounts)


@pytest.mark.parametrize("lines", [1, 7, 64])
def test_reconstruction_is_the_prediction_some_lines_at_a_time(monkeypatch, fitted, cells, lines):
    monkeypatch.setattr(unit_cells, "_CHUNK", lines * 4 * 64 * 16 * 14)
    placed = PlacedAtoms.of(fitted[0])
    calls = []
    patterns = unit_cells._patterns
    monkeypatch.setattr(unit_cells, "_patterns", lambda *a: calls.append(1) or patterns(*a))
    found = reconstruction(cells, placed, FRAME)
    assert not calls and isinstance(found, da.Array)
    assert found.shape == (64, 64, *FRAME) and found.dtype == np.float32
    assert max(found.chunks[0]) == lines and len(found.chunks[0]) == -(-64 // lines)
    with dask.config.set(scheduler="synchronous"):
        made = found.compute()
    np.testing.assert_allclose(
        made, cells.predict(*placed_rows(fitted[0])).reshape(made.shape), rtol=1e-4, atol=1e-4
    )
    if lines == 7:
        calls.clear()
        np.testing.assert_array_equal(found[20, 3].compute(scheduler="synchronous"), made[20, 3])
        assert len(calls) == 1


def block(block_info=None):
    """Counts of a chunk, which is not there before it is asked for."""
    places = block_info[None]["array-location"]
    random = np.random.default_rng(places[0][0])
    return random.integers(0, 9, block_info[None]["chunk-shape"], np.uint16)


def test_scores_of_a_large_scan(monkeypatch):
    """Of 134 MB of counts only a chunk, some copies of a part of it, and a sample are there."""
    monkeypatch.setattr(unit_cells, "_SAMPLED", 2**22)
    shape = (64, 64, 128, 128)
    array = da.map_blocks(block, chunks=((4,) * 16, (64,), (128,), (128,)), dtype=np.uint16)
    blocks = Blocks.from_array(array, 2)
    tracemalloc.start()
    try:
        with dask.config.set(scheduler="synchronous"):
            found = find_scores(blocks, 4, show_progressbar=False, num_workers=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.values.shape == (64, 64, 4)
    assert peak < 0.5 * 2 * np.prod(shape)

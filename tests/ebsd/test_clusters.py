# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Patterns grouped into phases by their bands."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from emsparse_hs.ebsd import Bands, cluster_patterns
from emsparse_hs.ebsd.clusters import _Phases


def labels_of(table, **options):
    bands = Bands(table[..., :3], table[..., 3], table[..., 4])
    return cluster_patterns(bands, width_scale=1.0, **options)


def shuffled(rng, *tables):
    """Patterns of all tables in random order, and which table each is from."""
    order = rng.permutation(sum(map(len, tables)))
    source = np.repeat(np.arange(len(tables)), list(map(len, tables)))
    return np.concatenate(tables)[order], source[order]


@pytest.mark.parametrize("name", ["austenite", "ferrite", "rutile", "corundum"])
@pytest.mark.parametrize("n_patterns", [1, 2, 9])
def test_patterns_of_one_phase_are_together(name, n_patterns, draw_phase):
    assert labels_of(draw_phase(name, n_patterns, seed=1)).tolist() == [0] * n_patterns


@pytest.mark.parametrize("numbers", [(5, 3, 0, 0), (8, 0, 1, 0), (0, 2, 4, 3), (6, 5, 4, 3)])
def test_phases_are_told_the_most_frequent_first(numbers, draw_phase):
    names = ["austenite", "ferrite", "rutile", "corundum"]
    tables = [draw_phase(name, n, seed=2) for name, n in zip(names, numbers, strict=True)]
    table, source = shuffled(np.random.default_rng(5), *tables)
    ranks = np.argsort(np.argsort(-np.array(numbers)))
    np.testing.assert_array_equal(labels_of(table), ranks[source])


def test_patterns_that_show_nothing_have_no_label(draw_phase):
    table = draw_phase("rutile", 5, seed=6)
    table[1] = np.nan
    table[3, 7:] = np.nan
    assert labels_of(table).tolist() == [0, -1, 0, -1, 0]
    assert labels_of(np.full((3, 30, 5), np.nan)).tolist() == [-1, -1, -1]


def test_noise_makes_no_phase_of_others(draw_phase):
    rng = np.random.default_rng(7)
    noise = draw_phase("rutile", 2, seed=7)
    normals = rng.normal(size=(2, 30, 3))
    noise[..., :3] = normals / np.linalg.norm(normals, axis=-1)[..., None]
    labels = labels_of(np.concatenate([draw_phase("rutile", 6, seed=8), noise]))
    assert labels[:6].tolist() == [0] * 6
    assert labels.max() == 0


def test_patterns_beyond_those_asked_get_a_label(draw_phase):
    table, source = shuffled(
        np.random.default_rng(9), draw_phase("austenite", 80, 9), draw_phase("ferrite", 40, 9)
    )
    labels = labels_of(table, max_patterns=8)
    np.testing.assert_array_equal(labels, source)
    with ThreadPoolExecutor(2) as pool:
        parallel = labels_of(table, max_patterns=8, workers=pool.map)
    np.testing.assert_array_equal(parallel, labels)


@pytest.mark.parametrize(
    ("evidence", "kept"),
    [
        # The first is best for no pattern; what nothing explains is no reason to keep it.
        ([[100, -5], [160, -69]], [1]),
        ([[100, 200], [160, 90]], [0, 1]),
        ([[100, 120], [140, 90], [60, 160]], [1, 2]),
    ],
)
def test_cells_that_no_pattern_needs_are_dropped(evidence, kept):
    phases = object.__new__(_Phases)
    phases.cells, phases.evidence = list(range(len(evidence))), np.array(evidence, float)
    phases._drop_needless()
    assert phases.cells == kept
    np.testing.assert_array_equal(phases.evidence, np.array(evidence, float)[kept])


def test_errors(draw_phase):
    table = draw_phase("rutile", 2, seed=1)
    with pytest.raises(ValueError, match="max_patterns is 0"):
        labels_of(table, max_patterns=0)
    with pytest.raises(ValueError, match="centre_error is -1"):
        labels_of(table, centre_error=-1)
    with pytest.raises(ValueError, match="have the shapes"):
        cluster_patterns(Bands(table[..., :3], table[:, :5, 3], table[..., 4]))

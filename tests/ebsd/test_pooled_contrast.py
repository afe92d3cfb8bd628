# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Superlattices whose bands are found in no pattern, but show in all together."""

from itertools import product

import numpy as np
import pytest

from emsparse_hs.ebsd import Bands, Patterns, pixel_directions, solve_lattice
from emsparse_hs.ebsd import lattice as lattice_module
from emsparse_hs.ebsd.bravais import near_symmetries
from emsparse_hs.ebsd.oriented_patterns import look_at
from emsparse_hs.ebsd.pooled_contrast import (
    HEIGHTS,
    HOW_MUCH,
    LARGER,
    LONGEST_EXTRA,
    NEAR,
    PRICE,
    SHARES,
    _evidence,
    _families,
    _log_ratios,
    add_pooled_superlattices,
    find_reflections,
)
from emsparse_hs.ebsd.superlattices import all_superlattices
from emsparse_hs.electron import relativistic_wavelength

SHAPE, CENTRE = (72, 80), np.array([0.48, 0.45, 0.62])
EDGE = 3.2
HALF_WAVELENGTH = relativistic_wavelength(20.0) / 2
BCC = EDGE / 2 * np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]])


def reflections_of_caesium_chloride(weak):
    """Vectors g in 1/angstrom and strengths; of odd indices' sums less by a factor."""
    h = np.array([h for h in product(range(-4, 5), repeat=3) if h > (0, 0, 0)])
    lengths = np.linalg.norm(h, axis=1) / EDGE
    strengths = np.exp(-2 * lengths) * np.where(h.sum(axis=1) % 2, weak, 1)
    kept = (lengths < 1) & (strengths > 0)
    return h[kept] / EDGE, strengths[kept]


def draw(g, strengths, rays):
    """Sum of plateaus with soft edges and rims."""
    total = np.zeros(rays.shape[:-1])
    for vector, strength in zip(g, strengths, strict=True):
        length = np.linalg.norm(vector)
        t = (np.abs(rays @ vector) / length - HALF_WAVELENGTH * length) / 0.005
        total += strength * (0.25 * (1 - t / np.sqrt(1 + t * t)) - 0.8 * t / (1 + t * t))
    return total


class Phase:
    """Noisy patterns in random orientations."""

    def __init__(self, weak, n, random_rotation, noise=0.5, seed=0):
        rng = np.random.default_rng(seed)
        self.rotations = np.array([random_rotation(rng) for _ in range(n)])
        rays = pixel_directions(SHAPE, CENTRE)
        g, strengths = reflections_of_caesium_chloride(weak)
        clean = np.array([draw(g, strengths, rays @ r.T) for r in self.rotations])
        self.images = clean + noise * clean.std() * rng.normal(size=clean.shape)

    def patterns(self):
        return Patterns(self.images.__getitem__, CENTRE)

    def views(self):
        n = len(self.images)
        args = self.rotations, np.zeros((n, 3)), np.ones(n)
        return look_at(self.patterns(), np.arange(n), *args)


@pytest.fixture
def phase(random_rotation):
    return lambda weak, n=12, **options: Phase(weak, n, random_rotation, **options)


@pytest.mark.parametrize("seed", [0, 1])
def test_weak_bands_of_a_superlattice_are_found_together(phase, seed):
    views = phase(0.3, seed=seed).views()
    before = views.images.copy()
    cell, gains = add_pooled_superlattices(BCC, views, HALF_WAVELENGTH)
    assert [index for index, _ in gains] == [2] and gains[0][1] > PRICE
    np.testing.assert_allclose(cell @ cell.T, EDGE**2 * np.eye(3), atol=1e-9)
    np.testing.assert_array_equal(views.images, before)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_superlattice_is_found_where_there_is_none(phase, seed):
    cell, gains = add_pooled_superlattices(BCC, phase(0, seed=seed).views(), HALF_WAVELENGTH)
    assert gains == ()
    assert abs(np.linalg.det(cell)) == pytest.approx(EDGE**3 / 2)


def test_the_wrong_orientations_show_nothing(phase, random_rotation):
    """What is found is at the predicted places and nowhere else."""
    made = phase(0.3)
    rng = np.random.default_rng(5)
    made.rotations = np.array([random_rotation(rng) for _ in made.rotations])
    assert add_pooled_superlattices(BCC, made.views(), HALF_WAVELENGTH)[1] == ()


def test_a_pattern_again_and_again_counts_as_one_with_its_weight(phase):
    """But for the profiles of the lattice's own bands, which it changes a little."""
    made = phase(0.3, 10)
    numbers = np.r_[np.zeros(20, int), 1:10]
    args = made.patterns(), numbers, made.rotations[numbers], np.zeros((29, 3))
    weights = np.r_[np.full(20, 0.05), np.ones(9)]
    gains = [
        add_pooled_superlattices(BCC, views, HALF_WAVELENGTH)[1][0][1]
        for views in (made.views(), look_at(*args, weights), look_at(*args, np.ones(29)))
    ]
    assert gains[1] == pytest.approx(gains[0], rel=0.2)
    assert abs(gains[2] - gains[0]) > 2 * abs(gains[1] - gains[0]), gains


def test_patterns_that_can_not_be_used_are_left_out(phase):
    made = phase(0.3)
    expected = add_pooled_superlattices(BCC, made.views(), HALF_WAVELENGTH)
    spoilt = phase(0.3, 14)
    spoilt.images[:12], spoilt.rotations[:12] = made.images, made.rotations
    spoilt.images[12], spoilt.images[13] = 7, np.nan
    found = add_pooled_superlattices(BCC, spoilt.views(), HALF_WAVELENGTH)
    assert found[1] == expected[1]


def test_masked_pixels_do_not_count(phase):
    made = phase(0.3)
    mask = np.zeros(SHAPE, bool)
    mask[:9], mask[:, -5:] = True, True
    args = np.arange(12), made.rotations, np.zeros((12, 3)), np.ones(12)
    found = look_at(Patterns(made.images.__getitem__, CENTRE, mask), *args)
    made.images[:, mask] = 1e6
    again = look_at(Patterns(made.images.__getitem__, CENTRE, mask), *args)
    assert (found.cosines[:, mask] == 0).all() and (found.cosines[:, ~mask] > 0).all()
    np.testing.assert_allclose(again.images, found.images, atol=1e-5)
    assert add_pooled_superlattices(BCC, again, HALF_WAVELENGTH)[1]
    made.images[:, mask] = 0
    made.images[3, :9], made.images[5, :, -5:] = np.nan, np.inf  # left out of all
    again = look_at(made.patterns(), *args)
    np.testing.assert_allclose(again.images, found.images, atol=1e-5)
    np.testing.assert_array_equal(again.cosines, found.cosines)


def test_reflections_are_those_of_the_superlattice_alone():
    matrices, indices, _ = all_superlattices()
    chosen = np.array([3, 8, 30])
    reflections = find_reflections(BCC, chosen)
    assert sorted(reflections.members) == chosen.tolist()
    reciprocal = np.linalg.inv(BCC).T
    for k, members in reflections.members.items():
        h = reflections.indices[members] / 12
        assert len(h) > 5
        assert (np.abs(h - np.rint(h)).max(axis=1) > 0.1).all()
        of_it = h @ matrices[k].T
        np.testing.assert_allclose(of_it, np.rint(of_it), atol=1e-9)
        lengths = np.linalg.norm(h @ reciprocal, axis=1)
        assert (np.diff(lengths) > -1e-9).all() and lengths.max() < LONGEST_EXTRA
        assert len({tuple(np.abs(x)) for x in h}) > 1
        assert not {tuple(x) for x in h} & {tuple(-x) for x in h}


def test_reflections_of_a_needle_are_few(monkeypatch):
    """Its superlattices as they are written down would take boxes of millions of points."""
    indices = np.indices

    def of_few(shape):
        assert np.prod(shape) < 1e5
        return indices(shape)

    monkeypatch.setattr(np, "indices", of_few)
    chosen = np.arange(len(all_superlattices()[0]))
    reflections = find_reflections(np.diag([3.0, 3.0, 100.0]), chosen)
    assert 0 < len(reflections.indices) <= 80 * len(chosen)
    matrices = all_superlattices()[0]
    for k, members in reflections.members.items():
        of_it = reflections.indices[members] / 12 @ matrices[k].T
        np.testing.assert_allclose(of_it, np.rint(of_it), atol=1e-9)


def test_families_are_what_the_symmetry_makes_equal(conventional_axes):
    h = np.array([
        [6, 0, 0], [0, 6, 0], [0, 0, 6], [-6, 0, 0],
        [6, 6, 0], [6, -6, 0], [-6, 6, 0], [6, 0, 6], [6, 0, -6],
    ])  # fmt: skip

    def families(*parameters):
        cell = conventional_axes(*parameters)
        rotations = near_symmetries(cell @ cell.T, NEAR)[-1].rotations.transpose(0, 2, 1)
        return _families(h, np.ascontiguousarray(rotations)).tolist()

    def same(found, expected):
        return np.array_equal(np.equal.outer(found, found), np.equal.outer(expected, expected))

    assert same(families(3.2, 3.2, 3.2), [0, 0, 0, 0, 1, 1, 1, 1, 1])
    assert same(families(3.2, 3.2, 4.1), [0, 0, 1, 0, 2, 2, 2, 3, 3])
    # With the axis along b.
    assert same(families(3.0, 4.1, 5.3, 90, 104, 90), [0, 1, 2, 0, 3, 3, 3, 4, 5])
    assert same(families(3.0, 4.1, 5.3, 83, 104, 95), [0, 1, 2, 0, 3, 4, 4, 5, 6])


def test_evidence_is_that_of_heights_and_errors():
    """By numerical integration over the heights; errors such that their scale is 1."""
    rng = np.random.default_rng(0)
    z = np.r_[rng.normal(0, 1 / 1.05, 4000), 0.5, 6.0]
    errors = np.r_[np.ones(4000), 0.08, 0.02]
    families, parallel = np.arange(4002), np.arange(4002) % 2 == 0
    ratios = _log_ratios(z / errors, errors**-2, parallel, families)[-2:]
    scale = [1.05 * np.sqrt(np.mean(z[p : -2 + p : 2] ** 2)) for p in (0, 1)]
    expected = np.empty((2, len(HEIGHTS)))
    for i in (0, 1):
        a = np.linspace(0, 5, 400001)

        def density(x):
            narrow = np.exp(-(x**2) / 2) * (1 - LARGER)
            return narrow + np.exp(-((x / HOW_MUCH) ** 2) / 2) * LARGER / HOW_MUCH

        place, error = z[i - 2] / scale[i], errors[i - 2] * scale[i]
        for k, width in enumerate(HEIGHTS):
            prior = np.sqrt(2 / np.pi) / width * np.exp(-((a / width) ** 2) / 2)
            seen = (prior * density(place - a / error)).sum() * (a[1] - a[0])
            expected[i, k] = np.log(seen / density(place))
    np.testing.assert_allclose(ratios, expected, atol=0.02)
    each = np.log(1 - SHARES + SHARES * np.exp(ratios[..., None])).sum(axis=0)
    assert _evidence(ratios) == pytest.approx(np.log(np.exp(each).mean()))


def test_a_lattice_is_solved_with_its_patterns(phase, monkeypatch):
    made = phase(0.3, 10)
    bands = strong_bands(made.rotations)
    parent = solve_lattice(bands, 20.0, width_scale=1.0)
    assert parent.lattice == "cI" and parent.superlattices == ()
    found = solve_lattice(bands, 20.0, width_scale=1.0, patterns=made.patterns())
    assert found.lattice == "cP"
    assert [index for index, _ in found.superlattices] == [2]
    np.testing.assert_allclose(found.parameters[:3], EDGE, rtol=0.02)
    # What all patterns show is no reason for doubt.
    assert found.probabilities.max() > parent.probabilities.max() - 0.02


def test_few_orientations_are_not_pooled(phase):
    """Patterns are not even read."""
    made = phase(0.3, 3)
    bands = strong_bands(made.rotations[[0, 1, 2] * 4])

    def take(numbers):
        raise AssertionError

    solution = solve_lattice(bands, 20.0, width_scale=1.0, patterns=Patterns(take, CENTRE))
    assert solution.lattice == "cI"


def test_patterns_are_seen_as_they_were_fitted(phase, monkeypatch):
    """Those that fit, with their own numbers; of one grain all together with the weight of one."""
    made = phase(0, 8)
    bands = strong_bands(made.rotations[[0, 1, 2, 0, 3, 4, 5, 0, 6, 7]])
    bands.normals[4], bands.half_widths[4], bands.contrasts[4] = np.nan, np.nan, np.nan
    # A pattern of something else.
    wrong = np.random.default_rng(3).normal(size=(20, 3))
    bands.normals[6] = wrong / np.linalg.norm(wrong, axis=1)[:, None]
    seen = []

    def spy(patterns, *args):
        seen.append(args)
        return look_at(patterns, *args)

    monkeypatch.setattr(lattice_module, "look_at", spy)
    images = made.images[[0, 1, 2, 0, 3, 4, 5, 0, 6, 7]]
    patterns = Patterns(images.__getitem__, CENTRE)
    found = solve_lattice(bands, 20.0, width_scale=1.0, patterns=patterns)
    assert found.lattice == "cI" and found.superlattices == ()
    ((numbers, rotations, centre_errors, weights),) = seen
    assert numbers.tolist() == [0, 1, 2, 3, 5, 7, 8, 9]
    np.testing.assert_allclose(weights, [1 / 3, 1, 1, 1 / 3, 1, 1 / 3, 1, 1])
    np.testing.assert_allclose(rotations, found.orientations[numbers])
    np.testing.assert_allclose(centre_errors, found.centre_errors[numbers])
    assert (np.abs(centre_errors).max(axis=1) > 1e-5).all()


@pytest.mark.parametrize(
    ("patterns", "error", "message"),
    [
        (np.zeros((4, 72, 80)), TypeError, "of type ndarray.*Patterns\\(array.__getitem__"),
        (Patterns(np.zeros((4, 72, 80)), CENTRE), TypeError, "`take` is of type ndarray"),
        (Patterns(print, np.tile(CENTRE, (3, 1))), ValueError, "one for each of 4 patterns"),
        (Patterns(print, CENTRE * 100), ValueError, "Bruker's convention"),
    ],
)
def test_says_what_is_wrong_before_anything_is_solved(patterns, error, message, monkeypatch):
    def too_late(*args):
        raise AssertionError

    monkeypatch.setattr(lattice_module, "fit_with_centre", too_late)
    bands = strong_bands(np.eye(3)[None].repeat(4, 0))
    with pytest.raises(error, match=message):
        solve_lattice(bands, patterns=patterns)


def strong_bands(rotations):
    """Bands of the parent lattice near the screen's middle, as they may be detected."""
    rng = np.random.default_rng(1)
    g, strengths = reflections_of_caesium_chloride(0)
    lengths = np.linalg.norm(g, axis=1)
    parallel = np.abs(g @ g.T) > 0.9999 * lengths[:, None] * lengths
    primitive = strengths >= (parallel * strengths).max(axis=1)
    g, lengths = g[primitive], lengths[primitive]
    table = np.full((len(rotations), 20, 5), np.nan)
    for rows, rotation in zip(table, rotations, strict=True):
        normals = g / lengths[:, None] @ rotation
        seen = np.flatnonzero(np.abs(normals[:, 2]) < 0.5)[:20]
        noisy = normals[seen] + rng.normal(0, 0.002, (len(seen), 3))
        rows[: len(seen), :3] = noisy / np.linalg.norm(noisy, axis=1)[:, None]
        rows[: len(seen), 3] = np.degrees(np.arcsin(HALF_WAVELENGTH * lengths[seen]))
        rows[: len(seen), 4] = 20 - np.arange(len(seen))
    return Bands(table[..., :3], table[..., 3], table[..., 4])

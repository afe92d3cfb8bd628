# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Compiled loops over bands and lattice points against slow twins and on known lattices."""

from itertools import combinations, product

import numpy as np
import pytest

from emsparse_hs.ebsd import _cell_kernels, _climb_kernels, _index_kernels, _refinement_kernels
from emsparse_hs.ebsd.geometry import to_pixels
from emsparse_hs.ebsd.superlattices import superlattices

SPREAD = np.array([np.radians(0.3), 0.05, 0.25, 0.15])
#: The same without widths between two orders.
EXACT = np.array([np.radians(0.3), 0.05, 0.25, 0.0])
STRAY = 0.08
CELL = np.array([[3.9, 0.2, 0.1], [-0.6, 4.6, 0.3], [-0.9, -1.1, 5.7]])
SHAPE = (60, 80)


def nearest_distances(cell, band, spread, lengths):
    """Of all lattice points of some lengths over a band's, the least squared distance, twice.

    In spreads, with the widths of most bands and with those of the others.
    """
    steps = np.array(list(product(range(-5, 6), repeat=3)))
    points = (np.rint(cell @ band) + steps) @ np.linalg.inv(cell).T
    length = np.linalg.norm(band)
    along = points @ band / length**2
    fits = (along > lengths[0]) & (along < lengths[1])
    points, along = points[fits], along[fits]
    sideways = points - along[:, None] * band
    # A point twice as far away may be twice as far beside the band's line.
    angles = np.linalg.norm(sideways, axis=1) / (along * length)
    squares = (angles / spread[0]) ** 2
    return [(squares + ((along - 1) / s) ** 2).min(initial=np.inf) for s in spread[1:3]]


def densities_by_definition(cell, g, spread, lengths):
    found = []
    for band in g:
        near = nearest_distances(cell, band, spread, lengths)
        size = np.linalg.norm(band) ** 3 * spread[0] ** 2 * (2 * np.pi) ** 1.5
        value = sum(
            share * np.exp(-d / 2) / s
            for d, s, share in zip(near, spread[1:3], (1 - spread[3], spread[3]), strict=True)
        )
        found.append(value / size / abs(np.linalg.det(cell)))
    return np.array(found)


def with_noise(g, spread, rng):
    """Bands that err as the spread says, across and along."""
    length = np.linalg.norm(g, axis=1)[:, None]
    turned = g + rng.normal(0, spread[0], g.shape) * length
    turned *= length / np.linalg.norm(turned, axis=1)[:, None]
    return turned * (1 + rng.normal(0, spread[1], length.shape))


def turn_about(axis, angle):
    """Rotation of row vectors about an axis by an angle in radians."""
    axis = np.asarray(axis) / np.linalg.norm(axis)
    k = np.cross(np.eye(3), -axis)
    return np.eye(3) + np.sin(angle) * k.T + (1 - np.cos(angle)) * k @ k


def is_same_lattice(cell, other, atol):
    change = cell @ np.linalg.inv(other)
    whole = np.rint(change)
    return np.abs(change - whole).max() < atol and abs(np.linalg.det(whole)) == pytest.approx(1)


@pytest.mark.parametrize("spread", [EXACT, SPREAD])
def test_densities_equal_their_definition(spread, planes_of):
    rng = np.random.default_rng(0)
    g = with_noise(np.repeat(planes_of(CELL, 0.8)[:60], 3, axis=0), EXACT, rng)
    g *= rng.choice([1, 1, 1, 0.85, 1.2], (len(g), 1)) * rng.choice([-1, 1], (len(g), 1))
    densities = np.empty(len(g))
    _cell_kernels.lattice_densities(CELL, g, spread, densities)
    expected = densities_by_definition(CELL, g, spread, (0.6, 1.6))
    # Orders at the end of the lengths that are looked for may count or not.
    narrow, wide = (densities_by_definition(CELL, g, spread, s) for s in ((0.65, 1.5), (0.4, 2.2)))
    clear = (np.abs(narrow - expected) < 1e-6 * expected) & (wide - expected < 1e-6 * expected)
    assert clear.mean() > 0.75 and (expected[clear] > 1).mean() > 0.6
    np.testing.assert_allclose(densities[clear], expected[clear], rtol=1e-5, atol=1e-12)
    assert (densities <= wide * (1 + 1e-9)).all()


def test_a_density_is_normalised():
    """The integral over a cell of reciprocal space is 1 over the cell's volume for a single point.

    With V points in a unit, the mean density is 1.
    """
    rng = np.random.default_rng(1)
    spread = np.array([0.05, 0.05, 0.25, 0.0])
    cell = np.diag([3.0, 4, 5])
    point = np.array([2, 1, -1]) @ np.linalg.inv(cell).T
    box = 0.3
    g = point + rng.uniform(-box / 2, box / 2, (200_000, 3))
    densities = densities_near(cell, g, spread, point)
    assert densities.mean() * box**3 * np.linalg.det(cell) == pytest.approx(1, abs=0.05)


def densities_near(cell, g, spread, point):
    """Densities of bands, of those of which this is the nearest lattice point."""
    densities = np.empty(len(g))
    _cell_kernels.lattice_densities(cell, g, spread, densities)
    own = (np.rint(g @ cell.T) == np.rint(cell @ point)).all(axis=1)
    return np.where(own, densities, 0)


def test_the_log_evidence_is_a_mixture(planes_of):
    rng = np.random.default_rng(2)
    g = with_noise(planes_of(CELL, 0.8)[:30], EXACT, rng)
    g[::7] *= 1.31
    densities = densities_by_definition(CELL, g, EXACT, (0.5, 2))
    expected = np.log(STRAY + (1 - STRAY) * densities).sum()
    assert _cell_kernels.log_evidence(CELL, g, EXACT, STRAY) == pytest.approx(expected, rel=1e-9)


def test_a_cell_of_half_the_points_is_more_probable(planes_of):
    g = with_noise(planes_of(CELL, 0.8)[:30], EXACT, np.random.default_rng(3))
    evidence = _cell_kernels.log_evidence(CELL, g, EXACT, STRAY)
    for matrix in superlattices(2):
        assert evidence - _cell_kernels.log_evidence(matrix @ CELL, g, EXACT, STRAY) > 0.5 * len(g)


def half_sphere(n):
    i = np.arange(n) + 0.5
    polar, azimuth = np.arccos(1 - i / n), np.pi * (1 + 5**0.5) * i
    x, y = np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth)
    return np.column_stack([x, y, np.cos(polar)])


def mean_cosines(periods, g, weights):
    return np.cos(2 * np.pi * periods @ g.T) @ weights


def found_periods(g, weights, threshold=0.45):
    periods, scores = np.empty((600, 3)), np.empty(600)
    steps = np.arange(1.8, 9, 0.1)
    n = _cell_kernels.find_periods(half_sphere(1200), g, weights, steps, threshold, periods, scores)
    return periods[:n], scores[:n]


def test_periods_are_maxima_along_their_direction(planes_of):
    rng = np.random.default_rng(4)
    g = with_noise(planes_of(CELL, 0.8)[:35], EXACT, rng)
    weights = rng.dirichlet(np.full(35, 5))
    periods, scores = found_periods(g, weights)
    assert 5 < len(periods) < 600 and scores.min() > 0.45
    np.testing.assert_allclose(scores, mean_cosines(periods, g, weights), atol=1e-9)
    lengths = np.linalg.norm(periods, axis=1)[:, None]
    for change in (-0.1, 0.1):
        beside = mean_cosines(periods * (1 + change / lengths), g, weights)
        assert (beside <= scores + 1e-9).all()


def test_the_short_vectors_of_a_lattice_are_found(planes_of, random_rotation):
    whole = np.array([h for h in product(range(-2, 3), repeat=3) if h > (0, 0, 0)])
    for seed in range(3):
        rng = np.random.default_rng(seed)
        cell = CELL @ random_rotation(rng)
        g = with_noise(planes_of(cell, 0.8)[:35], (np.radians(0.2), 0.02), rng)
        weights = np.full(35, 1 / 35)
        periods, scores = found_periods(g, weights)
        limits = np.array([1.5, 10.0])
        n = _cell_kernels.settle_periods(g, weights, limits, 0.45, 0.25, periods, scores)
        periods, scores = periods[:n], scores[:n]
        vectors = whole @ cell
        short = vectors[np.linalg.norm(vectors, axis=1) < 6.5]
        assert len(short) > 4
        for vector in short:
            apart = np.minimum(*(np.linalg.norm(periods - s * vector, axis=1) for s in (1, -1)))
            assert apart.min() < 0.06
        indices = periods[scores > 0.8] @ np.linalg.inv(cell)
        assert np.abs(indices - np.rint(indices)).max() < 0.05


def test_settled_periods_are_least_squares_and_apart(planes_of):
    rng = np.random.default_rng(6)
    g = with_noise(planes_of(CELL, 0.8)[:35], (np.radians(0.2), 0.02), rng)
    weights = rng.dirichlet(np.full(35, 5))
    guesses = np.concatenate([CELL, CELL + 0.1, -CELL, [[0.1, 0, 0]], CELL[:1] * 3])
    periods, scores = guesses.copy(), np.empty(len(guesses))
    limits = np.array([1.5, 10.0])
    n = _cell_kernels.settle_periods(g, weights, limits, 0.45, 0.25, periods, scores)
    assert n == 3
    root = np.sqrt(weights)[:, None]
    for period, score, guess in zip(periods, scores, CELL, strict=False):
        orders = np.rint(g @ guess)
        expected = np.linalg.lstsq(root * g, root[:, 0] * orders, rcond=None)[0]
        np.testing.assert_allclose(period, expected, rtol=1e-9)
        assert score == pytest.approx(mean_cosines(expected, g, weights))


def scores_of_triples(periods, g, weights, tolerances, smallest, price):
    """Scores and volumes of all sets of three that are a cell."""
    orders = periods @ g.T
    fits = np.abs(orders - np.rint(orders)) < tolerances
    found = {}
    for triple in combinations(range(len(periods)), 3):
        volume = abs(np.linalg.det(periods[list(triple)]))
        if volume >= max(smallest, 0.3 * np.linalg.norm(periods[list(triple)], axis=1).prod()):
            found[triple] = (
                weights[fits[list(triple)].all(axis=0)].sum() - price * np.log(volume),
                volume,
            )
    return found


@pytest.mark.parametrize("alike", [1, 3])
def test_the_best_triples_of_each_volume_are_chosen(alike, planes_of):
    rng = np.random.default_rng(7)
    g = with_noise(planes_of(CELL, 0.8)[:30], (np.radians(0.3), 0.05), rng)
    weights = rng.dirichlet(np.full(30, 5))
    tolerances = np.full(30, 0.12)
    whole = np.array([h for h in product(range(-1, 2), repeat=3) if h > (0, 0, 0)])
    periods = whole @ CELL
    expected = scores_of_triples(periods, g, weights, tolerances, 6.0, 0.06)
    by_volume = {}
    for score, volume in expected.values():
        by_volume.setdefault(round(volume, 6), []).append(score)
    assert len(by_volume) > 2
    kept = [s for scores in by_volume.values() for s in sorted(scores)[::-1][:alike]]
    triples, scores = np.empty((60, 3), np.int64), np.empty(60)
    _cell_kernels.choose_triples(periods, g, weights, tolerances, 6.0, 0.06, alike, triples, scores)
    chosen = np.isfinite(scores)
    np.testing.assert_allclose(np.sort(scores[chosen]), np.sort(kept))
    for triple, score in zip(triples[chosen], scores[chosen], strict=True):
        assert score == pytest.approx(expected[tuple(triple)][0])


def test_few_places_are_for_the_best_triples(planes_of):
    rng = np.random.default_rng(8)
    g = with_noise(planes_of(CELL, 0.8)[:30], (np.radians(0.3), 0.05), rng)
    weights = rng.dirichlet(np.full(30, 5))
    whole = np.array([h for h in product(range(-1, 2), repeat=3) if h > (0, 0, 0)])
    periods, tolerances = whole @ CELL, np.full(30, 0.12)
    expected = scores_of_triples(periods, g, weights, tolerances, 6.0, 0.06)
    triples, scores = np.empty((10, 3), np.int64), np.empty(10)
    _cell_kernels.choose_triples(periods, g, weights, tolerances, 6.0, 0.06, 99, triples, scores)
    best = sorted(score for score, _ in expected.values())[::-1][:10]
    np.testing.assert_allclose(np.sort(scores)[::-1], best)


def seen_with(normals, true, assumed):
    """Plane normals that a pattern shows to who takes another pattern centre for the right one.

    Two pixels of each band's middle, where the planes really cut the screen, are two directions of
    the plane that is thought to be there.
    """
    middle = np.array([0, 0, 1.0]) - normals[:, 2:] * normals
    beside = middle + 0.3 * np.cross(normals, middle)
    directions = []
    for one in (middle, beside):
        x, y = to_pixels(one, SHAPE, true)
        height, width = SHAPE
        right, up = x + 0.5 - assumed[0] * width, assumed[1] * height - y - 0.5
        directions.append(np.column_stack([right, up, np.full(len(x), assumed[2] * height)]))
    found = np.cross(*directions)
    found *= np.sign((found * normals).sum(axis=1))[:, None]
    return found / np.linalg.norm(found, axis=1)[:, None]


def centre_change(true, assumed):
    """From the assumed pattern centre to the true one: right, up and away, over the distance."""
    height, width = SHAPE
    right, down = (true[0] - assumed[0]) * width, (true[1] - assumed[1]) * height
    return np.array([right, -down, (true[2] - assumed[2]) * height]) / (true[2] * height)


@pytest.fixture
def some_patterns(planes_of, random_rotation):
    """Function that makes the bands of a cell in patterns with a wrong pattern centre."""

    def make(cell, n_patterns, assumed, true, seed=0, n_bands=30):
        rng = np.random.default_rng(seed)
        rotations = np.array([random_rotation(rng) for _ in range(n_patterns)])
        bands = []
        for rotation in rotations:
            g = planes_of(cell, 1.1) @ rotation
            lengths = np.linalg.norm(g, axis=1)[:, None]
            steep = np.abs(g[:, 2]) < np.sin(np.radians(35)) * lengths[:, 0]
            g, lengths = g[steep][:n_bands], lengths[steep][:n_bands]
            bands.append(seen_with(g / lengths, true, assumed) * lengths)
        return np.concatenate(bands), np.arange(n_patterns + 1) * n_bands, rotations

    return make


def test_what_a_wrong_pattern_centre_does_is_undone(some_patterns):
    true, assumed = np.array([0.47, 0.31, 0.62]), np.array([0.472, 0.313, 0.616])
    shown, starts, _ = some_patterns(CELL, 1, assumed, true)
    right, _, _ = some_patterns(CELL, 1, true, true)
    out = np.empty_like(shown)
    _refinement_kernels.undistorted(shown, centre_change(true, assumed), out)
    assert np.abs(shown - right).max() > 1e-3
    np.testing.assert_allclose(out, right, atol=6e-5)
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), np.linalg.norm(shown, axis=1))


def refined(cell, rotations, g, starts, spread, slack, stray=1e-6, widths=(3, 2, 1, 1, 1, 1, 1)):
    cell, rotations = cell.copy(), rotations.copy()
    centres, information = np.zeros((len(rotations), 3)), np.empty((6, 6))
    _refinement_kernels.refine_cell(
        cell, rotations, centres, g, starts, spread, stray, np.array(widths, float), slack,
        information,
    )  # fmt: skip
    return cell, rotations, centres, information


def test_a_strained_cell_its_turns_and_the_pattern_centre_are_recovered(some_patterns):
    true, assumed = np.array([0.47, 0.31, 0.62]), np.array([0.472, 0.313, 0.616])
    g, starts, rotations = some_patterns(CELL, 6, assumed, true)
    strain = np.array([[8, 2, -3], [2, -6, 4], [-3, 4, 5]]) * 1e-3
    turned = np.array([r @ turn_about((1, p, -2), 0.006) for p, r in enumerate(rotations)])
    before = g.copy()
    cell, found, centres, _ = refined(CELL @ (np.eye(3) + strain), turned, g, starts, EXACT, 100.0)
    np.testing.assert_array_equal(g, before)
    np.testing.assert_allclose(cell @ cell.T, CELL @ CELL.T, rtol=1e-6)
    np.testing.assert_allclose(cell @ found, CELL @ rotations, atol=1e-6)
    np.testing.assert_allclose(centres, np.tile(centre_change(true, assumed), (6, 1)), atol=1e-6)
    np.testing.assert_allclose(
        found @ found.transpose(0, 2, 1), np.tile(np.eye(3), (6, 1, 1)), atol=1e-9
    )


@pytest.mark.parametrize("stray", [1e-6, 0.08])
def test_errors_of_widths_do_not_change_the_scale(stray, some_patterns):
    """They are as often too narrow as too wide; the mean of so many is known to 0.1 %."""
    true = np.array([0.5, 0.5, 0.6])
    g, starts, rotations = some_patterns(CELL, 100, true, true)
    noise = np.array([np.radians(0.2), 0.05, 0.25, 0.0])
    g = with_noise(g, noise, np.random.default_rng(14))
    cell, _, _, _ = refined(CELL, rotations, g, starts, noise, 0.004, stray)
    scale = (np.linalg.det(cell) / np.linalg.det(CELL)) ** (1 / 3)
    assert scale == pytest.approx(1, abs=0.003)


def test_strays_do_not_pull(some_patterns):
    true = np.array([0.47, 0.31, 0.62])
    g, starts, rotations = some_patterns(CELL, 4, true, true)
    rng = np.random.default_rng(9)
    wild = rng.choice(len(g), 20, replace=False)
    g[wild] = rng.normal(size=(20, 3)) * 0.3
    spread = np.array([np.radians(0.1), 0.01, 0.25, 0])
    cell, _, _, _ = refined(CELL * 1.003, rotations, g, starts, spread, 0.004, stray=STRAY)
    np.testing.assert_allclose(
        np.linalg.norm(cell, axis=1), np.linalg.norm(CELL, axis=1), rtol=1e-3
    )


def predicted(cell, rotation, h, unknowns):
    """Bands of one pattern with a strain, a small turn and a pattern centre error, as defined."""
    xx, yy, zz, yz, xz, xy = unknowns[:6]
    strain = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
    g = h @ np.linalg.inv(cell).T @ (np.eye(3) + strain) @ rotation
    angle = np.linalg.norm(unknowns[6:9])
    if angle:
        axis = unknowns[6:9] / angle
        g = (
            g * np.cos(angle)
            + np.cross(axis, g) * np.sin(angle)
            + np.outer(g @ axis, axis) * (1 - np.cos(angle))
        )
    length = np.linalg.norm(g, axis=1)
    # The true pattern centre is where this says, from an assumed one in the middle of a square.
    right, up, away = unknowns[9:]
    true = np.array([0.5, 0.5, 0.6])
    assumed = true - 0.6 * np.array([right * SHAPE[0] / SHAPE[1], -up, away])
    return seen_with(g / length[:, None], true, assumed) * length[:, None]


def weighted_jacobian(cell, rotation, h, spread):
    """By central differences, of bands over their errors across and along."""
    step, columns = 1e-5, []
    for k in range(12):
        change = np.zeros(12)
        change[k] = step
        up, down = (predicted(cell, rotation, h, s * change) for s in (1, -1))
        columns.append((up - down) / (2 * step))
    g = predicted(cell, rotation, h, np.zeros(12))
    length = np.linalg.norm(g, axis=1)
    rows = []
    for i, (band, size) in enumerate(zip(g, length, strict=True)):
        n = band / size
        change = np.array([c[i] for c in columns]).T
        along, across = np.outer(n, n), np.eye(3) - np.outer(n, n)
        rows += [across @ change / (size * spread[0]), along @ change / (size * spread[1])]
    return np.concatenate(rows)


def test_the_information_is_that_of_finite_differences(some_patterns):
    true, slack = np.array([0.5, 0.5, 0.6]), 0.004
    g, starts, rotations = some_patterns(CELL, 4, true, true)
    _, _, _, information = refined(
        CELL, rotations, g, starts, EXACT, slack, widths=(1,), stray=1e-12
    )
    # Steps of a strain and a turn are held back, by so little that it hardly matters.
    expected = np.eye(6) / 0.2**2
    for p, rotation in enumerate(rotations):
        h = np.rint(g[starts[p] : starts[p + 1]] @ (CELL @ rotation).T)
        jacobian = weighted_jacobian(CELL, rotation, h, EXACT)
        normal = jacobian.T @ jacobian + np.diag([0] * 6 + [1 / 0.2**2] * 3 + [1 / slack**2] * 3)
        inner, mixed = normal[6:, 6:], normal[6:, :6]
        expected += normal[:6, :6] - mixed.T @ np.linalg.solve(inner, mixed)
    size = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(
        information / np.outer(size, size), expected / np.outer(size, size), atol=1e-4
    )


def test_strains_scatter_as_the_information_says(some_patterns):
    true, slack = np.array([0.5, 0.5, 0.6]), 0.004
    rng = np.random.default_rng(10)
    noise = np.array([np.radians(0.1), 0.02, 0.25, 0.0])
    squares = []
    for _ in range(60):
        right, up, away = rng.normal(0, slack, 3)
        assumed = true - 0.6 * np.array([right * SHAPE[0] / SHAPE[1], -up, away])
        g, starts, rotations = some_patterns(CELL, 1, assumed, true, n_bands=25)
        g = with_noise(g, noise, rng)
        cell, _, _, information = refined(CELL, rotations, g, starts, noise, slack)
        change = CELL.T @ np.linalg.inv(cell).T - np.eye(3)
        strain = (change + change.T)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / 2
        squares.append(strain @ information @ strain)
    # Of six unknowns, with a standard error of the mean of 0.45.
    assert np.mean(squares) == pytest.approx(6, abs=1.4)


def test_residual_sums_equal_their_definition(planes_of):
    rng = np.random.default_rng(11)
    q = planes_of(CELL, 0.7)[:40]
    g = with_noise(q, (np.radians(0.2), 0.02), rng)
    number, across, along, loose, everything = _refinement_kernels.residual_sums(
        CELL, g, EXACT, 1e-12
    )
    sizes, lengths = np.linalg.norm(q, axis=1), np.linalg.norm(g, axis=1)
    angles = np.arcsin(np.linalg.norm(np.cross(q, g), axis=1) / (sizes * lengths))
    assert number == pytest.approx(40) and loose == 0 and everything == 40
    assert across == pytest.approx((angles**2).sum() / 2, rel=1e-6)
    assert along == pytest.approx(((sizes / lengths - 1) ** 2).sum(), rel=1e-6)


def test_residual_sums_know_bands_of_wrong_widths_and_strays(planes_of):
    q = planes_of(CELL, 0.7)[:40]
    g = q.copy()
    g[:10] *= 1.3
    g[10:14] = np.random.default_rng(12).normal(size=(4, 3)) * 0.4
    number, across, along, loose, _ = _refinement_kernels.residual_sums(CELL, g, SPREAD, STRAY)
    assert number == pytest.approx(26, abs=1)
    assert loose == pytest.approx(10, abs=1.5)
    assert across < 26 * 0.1 * SPREAD[0] ** 2 and along < 26 * 0.1 * SPREAD[1] ** 2


def test_a_band_near_the_origin_has_no_residual():
    g = np.array([[0.05, 0, 0]])
    assert _refinement_kernels.residual_sums(CELL, g, SPREAD, STRAY) == (0, 0, 0, 0, 1)


def signed_points(cell, longest):
    """Reciprocal lattice points up to a length, the shortest first, and their lengths."""
    most = np.ceil(longest * np.linalg.norm(cell, axis=1)).astype(int)
    h = np.array([h for h in product(*[range(-m, m + 1) for m in most]) if any(h)])
    points = h @ np.linalg.inv(cell).T
    lengths = np.linalg.norm(points, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] < longest]
    return np.ascontiguousarray(points[order]), lengths[order]


@pytest.mark.parametrize("cell", [CELL, 4.05 * np.eye(3), np.diag([3.0, 3.0, 4.7])])
def test_a_known_orientation_is_found(cell, planes_of, random_rotation):
    points, lengths = signed_points(cell, 0.75)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        turn = random_rotation(rng)
        g = with_noise(planes_of(cell, 0.6)[:25] @ turn, (np.radians(0.2), 0.02), rng)
        g *= rng.choice([-1, 1], (len(g), 1))
        g[20:] = rng.normal(size=(len(g[20:]), 3)) * 0.4
        rotation = np.eye(3)
        evidence = _index_kernels.orient(cell, points, lengths, g, SPREAD, STRAY, 7, 3000, rotation)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert is_same_lattice(cell @ rotation, cell @ turn, 0.03)
        expected = _cell_kernels.log_evidence(cell @ rotation, g, SPREAD, STRAY)
        assert evidence == pytest.approx(expected)


def test_bands_of_other_lengths_have_no_orientation(planes_of):
    points, lengths = signed_points(CELL, 0.5)
    g, rotation = planes_of(CELL, 0.8)[:20] * 5, np.eye(3)
    evidence = _index_kernels.orient(CELL, points, lengths, g, SPREAD, STRAY, 7, 3000, rotation)
    assert evidence == -np.inf
    np.testing.assert_array_equal(rotation, np.eye(3))


def relatives():
    larger = [superlattices(i) for i in (2, 3, 4)]
    smaller = [np.linalg.inv(superlattices(i)) for i in (2, 3)]
    return np.ascontiguousarray(np.concatenate(larger + smaller))


@pytest.mark.parametrize(
    "factor", [np.diag([1.0, 1, 2]), np.diag([1, 1 / 2, 1]), np.diag([1.0, 2, 3]), np.eye(3)]
)
def test_a_climb_ends_at_the_right_lattice(factor, some_patterns):
    true = np.array([0.5, 0.5, 0.6])
    g, _, rotations = some_patterns(CELL, 1, true, true)
    g = with_noise(g, (np.radians(0.2), 0.02), np.random.default_rng(13))
    cell = factor @ CELL @ rotations[0] * 1.003
    evidence = _climb_kernels.climb(
        cell, g, SPREAD, STRAY, 0.004, relatives(), np.array([6.0, 1500]), 3, 0.03
    )
    assert is_same_lattice(cell, CELL @ rotations[0], 0.06)
    # Evidence is of bands with the pattern centre put right, and so a little higher.
    assert evidence > _cell_kernels.log_evidence(CELL @ rotations[0], g, SPREAD, STRAY) - 5


def test_a_climb_stays_within_the_volumes(some_patterns):
    true = np.array([0.5, 0.5, 0.6])
    g, _, rotations = some_patterns(CELL, 1, true, true)
    volume = np.linalg.det(CELL)
    cell = np.diag([1.0, 1, 2]) @ CELL @ rotations[0]
    _climb_kernels.climb(
        cell, g, SPREAD, STRAY, 0.004, relatives(), np.array([1.2, 5]) * volume, 3, 0.03
    )
    assert abs(np.linalg.det(cell)) > 1.2 * volume

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Kernels of profiles and edges beside slow numpy twins."""

import numpy as np
import pytest

from emsparse_hs.ebsd import _edge_kernels as kernels

SHAPE, STEP = (31, 38), 0.01


class Screen:
    """Patterns of one shape, each with a pattern centre and an orientation of its own."""

    def __init__(self, n, random_rotation, seed=0):
        rng = np.random.default_rng(seed)
        self.rng = rng
        self.images = rng.normal(size=(n, *SHAPE)).astype(np.float32)
        self.views = np.column_stack([rng.normal([18, 12, 25], 1.0, (n, 3)), np.full(n, 9.0)])
        rows, columns = np.indices(SHAPE)
        x = (columns - self.views[:, 0, None, None]) / self.views[:, 2, None, None]
        y = (self.views[:, 1, None, None] - rows) / self.views[:, 2, None, None]
        self.rays = np.stack([x, y, np.ones_like(x)], axis=-1)
        lengths = np.linalg.norm(self.rays, axis=-1)
        self.rays /= lengths[..., None]
        self.views[:, 3] = lengths.max(axis=(1, 2))
        self.cosines = (1 / lengths).astype(np.float32)
        self.cosines[:, 3:7, 20:30] = 0
        self.rotations = np.array([random_rotation(rng) for _ in range(n)])

    def bins(self, p, normal, step=STEP):
        """Bin of each pixel, -1 where it does not count."""
        sines = np.abs(self.rays[p] @ (normal @ self.rotations[p]))
        return np.where(self.cosines[p] > 0, (sines / step).astype(int), -1)

    def normals(self, n):
        made = self.rng.normal(size=(n, 3))
        return made / np.linalg.norm(made, axis=1)[:, None]


@pytest.fixture
def screen(random_rotation):
    return Screen(5, random_rotation)


def nearly_all_equal(found, expected):
    """Pixels at the border of a bin may fall on either side, as angles are in float32."""
    assert np.mean(np.abs(found - expected) > 1e-4) < 2e-3


def test_profiles_are_histograms(screen):
    axes = [np.eye(3)[i] @ screen.rotations[0].T for i in range(3)]
    for normal in [*screen.normals(20), *axes]:
        sums, counts = np.zeros(12), np.zeros(12)
        turned = normal @ screen.rotations[0]
        args = screen.images[0], screen.cosines[0], screen.views[0], turned, STEP
        kernels.add_to_profile(*args, sums, counts)
        bins = screen.bins(0, normal)
        expected = np.bincount(bins[bins >= 0], minlength=12)[:12]
        assert np.abs(counts - expected).sum() <= 2
        values = np.bincount(bins[bins >= 0], screen.images[0][bins >= 0], minlength=12)[:12]
        if (counts == expected).all():
            np.testing.assert_allclose(sums, values, atol=1e-4)


def test_profiles_are_subtracted(screen):
    for normal in screen.normals(10):
        profile = screen.rng.normal(size=9)
        image, turned = screen.images[1].copy(), normal @ screen.rotations[1]
        args = image, screen.cosines[1], screen.views[1], turned, STEP, profile
        kernels.subtract_profile(*args)
        bins = screen.bins(1, normal)
        inside = (bins >= 0) & (bins < 9)
        expected = screen.images[1] - np.where(inside, profile[np.clip(bins, 0, 8)], 0)
        nearly_all_equal(image, expected)


def test_a_sum_of_profiles_is_fitted(screen):
    normals, step = np.eye(3), 0.05
    profiles = screen.rng.normal(size=(3, 12))
    for p, image in enumerate(screen.images):
        image[:] = 0
        for normal, profile in zip(normals, profiles, strict=True):
            bins = screen.bins(p, normal, step)
            image += np.where((bins >= 0) & (bins < 12), profile[np.clip(bins, 0, 11)], 0)
    before = screen.images.copy()
    found = np.zeros((3, 12))
    args = screen.cosines, screen.views, screen.rotations, normals, step
    kernels.fit_profiles(screen.images, *args, 40, found)
    counts = screen.cosines > 0
    assert screen.images[counts].var() < 0.01 * before[counts].var()
    # What is left and what was found make what was there.
    for p in range(5):
        for normal, profile in zip(normals, found, strict=True):
            turned = normal @ screen.rotations[p]
            view = screen.cosines[p], screen.views[p], turned, step
            kernels.subtract_profile(screen.images[p], *view, -profile)
    nearly_all_equal(screen.images[counts], before[counts])


def edge(x):
    """Step down and rim."""
    t = x / 0.006
    return 0.5 * (1 - t / np.sqrt(1 + t**2)), -t / (1 + t**2)


def height(screen, p, g, spacing, sine, window, step, profile, known_step):
    """Least squares of all columns on the mean profile, and the inverse of its variance."""
    length = np.linalg.norm(g)
    place = sine * length
    first = int(max(place - window, 0) / step)
    last = int(np.ceil((place + window) / step))
    bins = screen.bins(p, g / length, step)
    counts = np.bincount(bins[bins >= 0], minlength=last)[first:last]
    sums = np.bincount(bins[bins >= 0], screen.images[p][bins >= 0], minlength=last)[first:last]
    x = (np.arange(first, last) + 0.5) * step
    columns = [((x - place) / window) ** i for i in range(5)]
    for order in range(1, 30):
        known = order * sine * spacing
        if place - window - sine * spacing < known < place + 1.4 * window:
            columns += [] if abs(known - place) < 1e-6 else list(edge(x - known))
    step_down, rim = edge(x - place)
    columns.append(0.5 * step_down + 0.8 * (rim - edge(x + place)[1]))
    means = sums / np.maximum(counts, 1)
    if profile is not None:
        means = means + profile[np.minimum((x / known_step).astype(int), len(profile) - 1)]
    root = np.sqrt(counts)
    design = np.array(columns).T * root[:, None]
    matrix = design.T @ design
    # All but the height looked for are held a little.
    matrix[np.diag_indices(len(matrix) - 1)] *= 1 + 1e-4
    matrix[np.diag_indices(len(matrix) - 1)] += 1e-3
    covariance = np.linalg.inv(matrix)
    return (covariance @ design.T @ (root * means))[-1], 1 / covariance[-1, -1]


@pytest.mark.parametrize("parallel", [False, True])
def test_heights_of_edges_are_least_squares(screen, parallel):
    """With more than one pattern scores and information add up, each with its weight."""
    g = screen.normals(12) * np.linspace(0.3, 0.7, 12)[:, None]
    sine, window, steps = 0.2, 0.06, np.array([0.005, 0.02])
    spacings = np.linalg.norm(g, axis=1) * np.where(parallel, 2.0, 1.3)
    planes = np.full(12, 0 if parallel else -1)
    profiles = screen.rng.normal(size=(1, 20))
    weights = np.array([1.0, 0.5, 1.0, 2.0, 1.0])
    scores, information = np.empty(12), np.empty(12)
    kernels.edge_contrasts(
        screen.images, screen.cosines, screen.views, screen.rotations, weights, g, spacings, sine,
        planes, profiles, steps, window, scores, information,
    )  # fmt: skip
    n_compared = 0
    for b in range(12):
        place = sine * np.linalg.norm(g[b])
        first, last = max(place - window, 0), place + window
        bounds = int(first / steps[0]), int(np.ceil(last / steps[0]))
        bins = [screen.bins(p, g[b] / np.linalg.norm(g[b]), steps[0]) for p in range(5)]
        near = np.array([((x >= bounds[0]) & (x < bounds[1])).sum() for x in bins])
        if (np.abs(near - 100) < 5).any():
            # The kernel may see a few pixels more or less, and leaves out fewer than 100.
            continue
        expected, known = 0.0, 0.0
        for p in np.flatnonzero(near > 100):
            args = g[b], spacings[b], sine, window, steps[0], profiles[0] if parallel else None
            value, certain = height(screen, p, *args, steps[1])
            expected += weights[p] * value * certain
            known += weights[p] * certain
        assert scores[b] == pytest.approx(expected, rel=0.05, abs=0.03 * np.sqrt(known))
        assert information[b] == pytest.approx(known, rel=0.03)
        n_compared += known > 0
    assert n_compared >= 10


def test_of_many_orders_the_nearest_are_fitted():
    design, step, spacing = np.empty((40, 22)), 0.002, 0.003
    args = step, 5, 40, design
    assert kernels._fill_design((0.0502, spacing, 0.03), *args) == 22
    x = (np.arange(5, 40) + 0.5) * step
    for i, order in enumerate(range(13, 21)):
        expected = np.transpose(edge(x - order * spacing))
        np.testing.assert_allclose(design[5:40, 5 + 2 * i : 7 + 2 * i], expected)


def test_patterns_that_show_nothing_of_a_band_say_nothing(screen):
    screen.cosines[:] = 0
    scores, information = np.empty(2), np.empty(2)
    g = 0.5 * screen.normals(2)
    kernels.edge_contrasts(
        screen.images, screen.cosines, screen.views, screen.rotations, np.ones(5), g, np.ones(2),
        0.2, np.array([-1, -1]), np.zeros((1, 3)), np.array([0.005, 0.02]), 0.06, scores,
        information,
    )  # fmt: skip
    assert (scores == 0).all() and (information == 0).all()

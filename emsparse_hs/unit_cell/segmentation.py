# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Domains of one lattice, from its lock-in maps: what differs beyond a sharp boundary.

Thickness and tilt change lock-in maps from place to place, but slowly: their values fill a band.
Two domains are two heaps with little between them, and the step from one to the other is over
within the width of the average. A scan is split in two where both are so, and where two series
predict scores that were held out better than one; and the parts again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter1d
from sklearn.utils.extmath import randomized_svd

from emsparse_hs.unit_cell.held_out import ThinnedScores, advantage_of_two, noise_variance
from emsparse_hs.unit_cell.lock_in import cell_length, lock_in, on_scan
from emsparse_hs.unit_cell.reciprocal import harmonics

#: Standard deviation in cells of the average of lock-in maps, and their harmonics in lengths of
#: the longer vector.
_WIDTH, _HARMONICS = 0.5, 2.3
#: Leading features of the scan. Of a region as many are compared as it has places that an average
#: does not share, by this number, since among few places in many dimensions there is always a gap.
_N_FEATURES, _PLACES_A_FEATURE = 8, 8
#: Points of the grid whose average lies within the scan by this part count.
_WITHIN = 0.7
#: Smallest part of a region that is a domain.
SMALLEST = 0.04
#: A split is one into domains if there is less between them than this part of what is on the
#: smaller heap, if at least this part of the step is near the boundary, and if two series are
#: better by so many standard errors. With a valley that is not much shallower it nearly is one.
DEEPEST_VALLEY, LEAST_STEP, LEAST_ADVANTAGE = 0.3, 0.75, 4.0
_NEARLY = 0.4
#: Distance from the boundary in cells within which the step has to be over, and beyond which a
#: point belongs to the inside of its part; how much of a part that is at least.
_NEAR, _INSIDE = (1.0, 2.0), 0.35
#: Rounds of the discriminant.
_ROUNDS = 15


class Split(NamedTuple):
    """A way to split a region in two, and what speaks for it.

    Attributes
    ----------
    valley : float
        Density between the two heaps as part of that of the smaller heap: 1 for none.
    step : float
        Part of the difference between them that is reached within 2 cells of the boundary.
    share : float
        Of the region that is in the smaller one.
    advantage : float
        How much better two series predict what was held out than one does, in standard errors.
    accepted : bool
        Whether the two are domains.
    """

    valley: float
    step: float
    share: float
    advantage: float
    accepted: bool

    def judged(self, advantage: float) -> Split:
        """The same with what held-out scores say."""
        judged = self._replace(advantage=advantage)
        return judged._replace(accepted=judged._is_one(DEEPEST_VALLEY))

    @property
    def nearly(self) -> bool:
        """Whether it was only just turned down."""
        return not self.accepted and self._is_one(_NEARLY)

    def _is_one(self, deepest: float) -> bool:
        is_sharp = self.step > LEAST_STEP and self.advantage > LEAST_ADVANTAGE
        return is_sharp and self.valley < deepest


class Segmentation(NamedTuple):
    """Domains on the scan."""

    #: int8 array of shape (y, x): domain of each position, -1 outside of the mask.
    labels: np.ndarray
    #: Of each region that was looked at, the best one.
    splits: list[Split]


def segment(
    scores: np.ndarray,
    fractional: np.ndarray,
    reciprocal: np.ndarray,
    mask: np.ndarray | None = None,
    n_domains: int | None = None,
) -> Segmentation:
    """Split a scan into domains.

    Parameters
    ----------
    scores : array of shape (y, x, scores)
        Of the scan.
    fractional : array of shape (y, x, 2)
        Position in the cell, in cells.
    reciprocal : array of shape (2, 2)
        Vectors of the lattice in cycles a pixel.
    mask : bool array of shape (y, x), optional
        Where the lattice is.
    n_domains : int, optional
        How many domains there are. Found by default.

    Returns
    -------
    Segmentation
    """
    indices = _low_harmonics(reciprocal)
    thin = ThinnedScores.of(scores, noise_variance(scores))
    maps = _maps(thin.fitted, fractional, reciprocal, mask)
    features, within, step = maps.features, maps.within, maps.step
    cell = cell_length(reciprocal) / step
    regions, splits = [np.ones(len(features), bool)], []
    todo = [0]
    while todo and (n_domains is None or len(regions) < n_domains):
        options = [(k, *_best_split(features, regions[k], within, cell)) for k in todo]
        k, first, split = min(options, key=lambda option: option[2].valley)
        if first is not None:
            halves = maps.on_scan(np.where(regions[k], first, -1), scores.shape[:2])
            if mask is not None:
                halves[~mask] = -1
            split = split.judged(advantage_of_two(thin, fractional, indices, halves))
        if n_domains is None or first is not None:
            splits.append(split)
        if first is None or (n_domains is None and not split.accepted):
            todo.remove(k)
            continue
        todo.append(len(regions))
        regions.append(regions[k] & ~first)
        regions[k] = regions[k] & first
        # What is across the boundary is like neither part, and no reason to split them again.
        inside = _inside(regions, within, cell)
        regions = [region & inside for region in regions]
    grid = np.zeros(within.shape, int)
    grid[within] = _nearest_region(regions, within)
    labels = _on_scan(grid, within, step, scores.shape[:2]).astype(np.int8)
    if mask is not None:
        labels[~mask] = -1
    return Segmentation(labels, splits)


def slow_map(
    scores: np.ndarray, fractional: np.ndarray, reciprocal: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """What changes most within each domain of a lattice: thickness or tilt.

    Parameters
    ----------
    scores, fractional, reciprocal
        As for `segment`.
    labels : int array of shape (y, x)
        Domain of each position, -1 outside of the lattice.

    Returns
    -------
    float32 array of shape (y, x)
        From 0 to 1 in each domain, growing in the same direction in all of them.
    """
    slow = np.zeros(labels.shape, np.float32)
    direction = None
    cell = cell_length(reciprocal)
    for label in np.unique(labels[labels >= 0]):
        own = labels == label
        if not own.all() and (distance_transform_edt(own) > _NEAR[0] * cell).mean() > 0.01:
            inside = own & (distance_transform_edt(own) > _NEAR[0] * cell)
        else:
            inside = own
        maps = _maps(scores, fractional, reciprocal, None if own.all() else inside)
        along, gradient = _along(maps)
        direction = gradient if direction is None else direction
        if gradient @ direction < 0:
            along = 1 - along
        grid = np.zeros(maps.within.shape)
        grid[maps.within] = along
        slow[own] = _on_scan(grid, maps.within, maps.step, labels.shape)[own]
    return slow


class _Maps(NamedTuple):
    """Features at the points of a grid."""

    features: np.ndarray
    #: Which points of the grid they are of.
    within: np.ndarray
    step: int

    def on_scan(self, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Integers of the points on the scan; -1 beyond them."""
        grid = np.full(self.within.shape, -1)
        grid[self.within] = values
        return on_scan(grid, self.step, shape)


def _maps(scores, fractional, reciprocal, mask) -> _Maps:
    """Leading features of the lock-in maps where these lie within the scan and the mask."""
    cell = cell_length(reciprocal)
    indices = np.concatenate([np.zeros((1, 2), int), _low_harmonics(reciprocal)])
    found = lock_in(scores, fractional, indices, cell, _WIDTH, mask)
    within = found.weight > min(_WITHIN, 0.9 * found.weight.max())
    return _Maps(_features(found.maps[within]), within, found.step)


def _low_harmonics(reciprocal: np.ndarray) -> np.ndarray:
    return harmonics(reciprocal, _HARMONICS * np.linalg.norm(reciprocal, axis=1).max())


def _features(maps: np.ndarray) -> np.ndarray:
    """Leading principal components of maps (points, harmonics, scores), the mean removed."""
    weight = np.full(maps.shape[1], np.sqrt(2))
    weight[0] = 1
    flat = (maps * weight[:, np.newaxis].astype(np.float32)).reshape(len(maps), -1)
    flat = np.concatenate([flat.real, flat.imag], axis=1)
    flat = flat - flat.mean(0)
    n = min(_N_FEATURES, *flat.shape)
    left, values, _ = randomized_svd(flat, n, random_state=0)
    return left * values


def _best_split(features, region, within, cell: float) -> tuple[np.ndarray | None, Split]:
    """The split of a region with the deepest valley between its two parts."""
    best: tuple[np.ndarray | None, Split] = (None, Split(1.0, 0.0, 0.0, 0.0, False))
    places = region.sum() / (4 * np.pi * (_WIDTH * cell) ** 2)
    if places < 1:
        return best
    points = features[region] - features[region].mean(0)
    n_compared = min(max(int(places / _PLACES_A_FEATURE), 1), *points.shape)
    left, values, _ = np.linalg.svd(points, full_matrices=False)
    points = (left * values)[:, :n_compared]
    for k in range(n_compared):
        found = _discriminated(points, points[:, k])
        if found is None:
            continue
        first, along = found
        valley = _valley(along)
        if valley >= best[1].valley and best[0] is not None:
            continue
        chosen = np.zeros(len(features), bool)
        chosen[region] = first
        projected = np.full(len(features), np.nan)
        projected[region] = along
        step = _step(chosen, projected, within, cell)
        share = min(first.mean(), 1 - first.mean())
        best = (chosen, Split(float(valley), float(step), float(share), 0.0, False))
    return best


def _discriminated(points, start) -> tuple[np.ndarray, np.ndarray] | None:
    """Two parts along Fisher's discriminant, and where points are along it: 0 and 1 the parts."""
    low, high = np.quantile(start, [0.03, 0.97])
    first = start > (low + high) / 2
    along = np.zeros(len(points))
    for _ in range(_ROUNDS):
        if not SMALLEST < first.mean() < 1 - SMALLEST:
            return None
        within = np.cov(points[first].T) * first.sum() + np.cov(points[~first].T) * (~first).sum()
        within = np.atleast_2d(within) / len(points)
        ridge = 1e-3 * np.trace(within) / len(within) * np.eye(len(within))
        direction = np.linalg.solve(within + ridge, points[first].mean(0) - points[~first].mean(0))
        along = points @ direction
        low, high = np.median(along[~first]), np.median(along[first])
        along = (along - low) / (high - low)
        before, first = first, along > 0.5
        if (before == first).all():
            break
    if not SMALLEST < first.mean() < 1 - SMALLEST:
        return None
    return first, along


def _valley(along: np.ndarray) -> float:
    """Least density between the two parts, relative to that of the smaller heap."""
    counts, _ = np.histogram(along, np.linspace(-0.5, 1.5, 41))
    density = gaussian_filter1d(counts.astype(float), 1.2)
    return density[13:28].min() / max(min(density[:20].max(), density[20:].max()), 1e-9)


def _distance(part: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Distance on the grid of all points from a part of them."""
    there = np.zeros(within.shape, bool)
    there[within] = part
    return distance_transform_edt(~there)[within]


def _inside(regions: list[np.ndarray], within: np.ndarray, cell: float) -> np.ndarray:
    """Points that are not near another region than their own."""
    inside = np.ones(len(regions[0]), bool)
    for region in regions:
        inside &= region | (_distance(region, within) > _NEAR[0] * cell)
    return inside


def _nearest_region(regions: list[np.ndarray], within: np.ndarray) -> np.ndarray:
    return np.argmin([_distance(region, within) for region in regions], axis=0)


def _step(first, along, within, cell: float) -> float:
    """Part of the difference that is reached near the boundary; 0 if a part has no inside."""
    sides = []
    there = np.isfinite(along)
    for part in (first, there & ~first):
        distance = _distance(there & ~part, within)
        if (part & (distance > _NEAR[0] * cell)).sum() < _INSIDE * part.sum():
            return 0.0
        near = part & (distance > _NEAR[0] * cell) & (distance < _NEAR[1] * cell)
        if not near.any():
            return 0.0
        sides.append(np.median(along[near]))
    return sides[0] - sides[1]


def _on_scan(grid: np.ndarray, within: np.ndarray, step: int, shape) -> np.ndarray:
    """A map of the grid on the scan; the margin is as the nearest point."""
    nearest = distance_transform_edt(~within, return_distances=False, return_indices=True)
    return on_scan(grid[tuple(nearest)], step, shape)


def _along(maps: _Maps) -> tuple[np.ndarray, np.ndarray]:
    """Leading component between 0 and 1, and in which direction of the scan it grows."""
    left = maps.features - maps.features.mean(0)
    along = left @ np.linalg.svd(left, full_matrices=False)[2][0]
    low, high = np.quantile(along, [0.02, 0.98])
    along = np.clip((along - low) / max(high - low, 1e-12), 0, 1)
    places = np.argwhere(maps.within).astype(float)
    middle = places - places.mean(0)
    return along, np.linalg.lstsq(middle, along - along.mean())[0]

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Phases in a nanobeam scan: patterns whose Bragg discs lie on one lattice get one label.

Patterns are sorted into many more groups than there are phases, each of about the same bend and
thickness. Then groups whose discs can be of one phase are joined, those first of which that is
most certain, until only groups in conflict are left.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.sparse import csr_array
from sklearn.cluster import KMeans

from emsparse_hs.stem4d._disc_sets import cells_of, compare, find_discs, log_odds, part_in, union
from emsparse_hs.stem4d.bragg_presence import PresenceGrid

#: Numbers that a pattern is described by when it is sorted into groups.
_N_FEATURES = 64
#: Patterns that the groups are found with; the others are assigned to them.
_MOST_CLUSTERED = 20_000
#: Patterns with fewer discs than this, on average over their neighbourhood, show no crystal.
_NO_CRYSTAL = 1.0
#: Unless these are on the discs of a phase: log-odds against chance. And how many a pattern has of
#: its own, as part of that average.
_CERTAIN, _OWN = 0.3, 0.2
#: Sum of the presence over the blob of one disc, in units of its squared radius.
_BLOB = 1.5
#: Probability that a disc of a pattern is not one of its phase.
_STRAY = 0.1
#: Phases that have a smaller part of the scan are nothing. Those of whose discs at least this part
#: are discs of others are mixtures at boundaries: by chance it is about a tenth.
_SMALLEST, _MIXTURE = 0.002, 0.7


class Merge(NamedTuple):
    """Two groups of patterns that were joined, or the two that would have been next.

    Attributes
    ----------
    n_phases : int
        How many there were before.
    log_odds : float
        Natural logarithm of how much more probable one phase is than two; below 0 for conflict.
    shared, conflicts : float
        Discs that coincide, and discs so near to each other that no lattice has room for both.
    """

    n_phases: int
    log_odds: float
    shared: float
    conflicts: float


class PatternGroups(NamedTuple):
    """Phases that were found in a scan.

    Attributes
    ----------
    labels : int16 array of shape (navigation_shape)
        Phase of each pattern, the most frequent one first, from 0 on. -1 where there are no Bragg
        discs, or where a pattern was left out.
    n_phases : int
        How many there are.
    presence : float32 array of shape (n_phases, cells in y, cells in x)
        Mean presence of discs in each phase.
    discs : list of float64 arrays of shape (n, 3)
        Of each phase: x and y of its discs in px, and their weight, 1 for those that are there in
        half of the patterns of some bend.
    merges : list of Merge
        The evidence: how many phases there could be, and what speaks for one less. With "auto"
        the first that is below 0 ends it; `n_phases` is less where mixtures at boundaries were
        dropped.
    """

    labels: np.ndarray
    n_phases: int
    presence: np.ndarray
    discs: list[np.ndarray]
    merges: list[Merge]


def group_patterns(
    presence: csr_array,
    grid: PresenceGrid,
    scan: np.ndarray,
    n_phases: int | Literal["auto"] = "auto",
    *,
    n_groups: int = 64,
    width: float = 0.8,
    random_state=0,
) -> PatternGroups:
    """Sort patterns into phases by where their Bragg discs are.

    Phases are told by discs in conflict. So a superlattice is not told from the lattice that it
    has all discs of, and one phase in two orientations is two.

    Parameters
    ----------
    presence : uint8 csr_array of shape (n_patterns, cells)
        From `compact_presence`.
    grid : PresenceGrid
        Of the cells.
    scan : bool array of shape (navigation_shape)
        True where the patterns are, which come in C order.
    n_phases : int or "auto"
        How many phases there are. As many as are in conflict by default.
    n_groups : int
        Groups that patterns are sorted into first. More find phases that are more rare.
    width : float
        Standard deviation in px of the Gaussian over which evidence is pooled along the last two
        axes of the scan.
    random_state : int, RandomState instance or None
        Of the first groups.

    Returns
    -------
    PatternGroups
        Labels and evidence.

    Raises
    ------
    ValueError
        If the numbers are out of range, or shapes don't fit.
    """
    scan = np.asarray(scan, bool)
    _check(presence, grid, scan, n_phases, n_groups, width)
    pooled = _pooled_features(presence, scan, width)
    first = _first_groups(pooled, n_groups, random_state)
    sets = [find_discs(mean, grid) for mean in _means(presence, first, grid)]
    crystals = [k for k, discs in enumerate(sets) if discs[:, 2].sum() >= _NO_CRYSTAL]
    phases, merges = _joined([sets[k] for k in crystals], grid.beam_radius, n_phases)
    labels = _best_phase(presence, phases, grid, scan, width)
    if n_phases == "auto":
        labels, phases = _without_mixtures(labels, phases, presence, grid, scan, width)
    order = np.argsort(-np.bincount(labels[labels >= 0], minlength=len(phases)), kind="stable")
    rank = np.append(np.argsort(order), -1)
    labels = rank[labels].astype(np.int16)
    placed = np.full(scan.shape, -1, np.int16)
    placed[scan] = labels
    means = _means(presence, labels, grid, len(phases))
    return PatternGroups(placed, len(phases), means, [phases[k] for k in order], merges)


def _check(presence, grid, scan, n_phases, n_groups, width) -> None:
    n_patterns, n_cells = presence.shape
    if n_patterns != scan.sum() or n_cells != grid.shape[0] * grid.shape[1]:
        raise ValueError(
            f"The presence has shape {presence.shape}. Needed is one row for each of the "
            f"{scan.sum()} patterns and one column for each of {grid.shape} cells."
        )
    if not n_patterns:
        raise ValueError("There are no patterns.")
    whole = isinstance(n_phases, (int, np.integer)) and n_phases >= 1
    if not (n_phases == "auto" or whole):
        raise ValueError(f'n_phases={n_phases!r}. Pass a number from 1 on, or "auto".')
    if n_groups < (2 if n_phases == "auto" else n_phases):
        raise ValueError(
            f"n_groups={n_groups}, and the groups that patterns are sorted into first have to be "
            "more than there are phases, such as 32."
        )
    if not width >= 0:
        raise ValueError(f"The width is {width} px, and it can't be negative.")


def _pooled(values: np.ndarray, scan: np.ndarray, width: float) -> np.ndarray:
    """Weighted mean of what neighbours have, for each pattern."""
    if width == 0:
        return values
    placed = np.zeros((*scan.shape, values.shape[1]), np.float32)
    placed[scan] = values
    weight = scan[..., np.newaxis].astype(np.float32)
    for axis in range(max(scan.ndim - 2, 0), scan.ndim):
        placed, weight = (
            gaussian_filter1d(array, width, axis, mode="constant", truncate=3)
            for array in (placed, weight)
        )
    return placed[scan] / weight[scan]


def _pooled_features(presence: csr_array, scan: np.ndarray, width: float) -> np.ndarray:
    """Random projections, which keep distances (Achlioptas, J. Comput. Syst. Sci. 66 (2003) 671).

    In contrast to principal components they need no look at the data, and miss no rare phase.
    """
    signs = np.random.default_rng(0).choice((-1.0, 1.0), (presence.shape[1], _N_FEATURES))
    projected = presence.astype(np.float32) @ (signs / 255).astype(np.float32)
    return _pooled(projected, scan, width)


def _first_groups(features: np.ndarray, n_groups: int, random_state) -> np.ndarray:
    random = np.random.default_rng(random_state)
    some = np.arange(len(features))
    if len(some) > _MOST_CLUSTERED:
        some = np.sort(random.choice(some, _MOST_CLUSTERED, replace=False))
    n_groups = min(n_groups, len(np.unique(features[some], axis=0)))
    means = KMeans(n_groups, n_init=1, random_state=int(random.integers(2**31)))
    means.fit(features[some])
    return means.predict(features)


def _means(presence: csr_array, labels: np.ndarray, grid, n_labels: int | None = None):
    """Mean presence, from 0 to 1, of the patterns of each label from 0 on."""
    n_labels = int(labels.max()) + 1 if n_labels is None else n_labels
    rows = np.flatnonzero(labels >= 0)
    ones = np.ones(len(rows), np.float32)
    members = csr_array((ones, (labels[rows], rows)), shape=(n_labels, len(labels)))
    counts = np.maximum(np.bincount(labels[rows], minlength=n_labels), 1)
    sums = (members @ presence.astype(np.float32)).toarray()
    return (sums / (255 * counts[:, np.newaxis])).reshape(-1, *grid.shape).astype(np.float32)


def _joined(sets: list[np.ndarray], beam_radius: float, n_phases: int | Literal["auto"]):
    """Join sets of discs until there are n_phases of them, or all are in conflict.

    Returns the sets of that number, and the evidence down to a single one.
    """
    sets, phases, merges = list(sets), None, []
    found = {
        (i, j): compare(sets[i], sets[j], beam_radius) for i in range(len(sets)) for j in range(i)
    }
    left = set(range(len(sets)))
    while len(left) > 1:
        # Of pairs that are all certain, those go first that have most discs in common.
        i, j = max(found, key=lambda pair: log_odds(*found[pair], most=np.inf))
        odds = log_odds(*found[i, j])
        enough = odds < 0 if n_phases == "auto" else len(left) <= n_phases
        if phases is None and enough:
            phases = [sets[k] for k in sorted(left)]
        merges.append(Merge(len(left), odds, *found[i, j]))
        sets[j] = union(sets[j], sets[i], beam_radius)
        left.remove(i)
        found = {pair: value for pair, value in found.items() if i not in pair}
        for k in left - {j}:
            found[max(j, k), min(j, k)] = compare(sets[j], sets[k], beam_radius)
    return [sets[k] for k in left] if phases is None else phases, merges


def _best_phase(presence: csr_array, phases, grid, scan, width: float) -> np.ndarray:
    """The phase on whose discs most of the presence lies, in a pattern and about it."""
    cell = grid.binning * grid.cell / grid.beam_radius
    discs = presence.astype(np.float32) * np.float32(cell**2 / (255 * _BLOB))
    if not phases:
        return np.full(discs.shape[0], -1)
    covered = np.stack([cells_of(phase, grid) for phase in phases], axis=1)
    # By chance a disc is on one of a phase as often as these have part of the frame. The same for
    # all phases: one of which few discs are known must not be preferred for these.
    share = np.clip(covered.mean(), 1e-3, 0.8)
    odds = np.where(covered, np.log((1 - _STRAY) / share), np.log(_STRAY / (1 - share)))
    scores = _pooled(discs @ odds.astype(np.float32), scan, width)
    own = discs.sum(1)
    pooled = _pooled(own[:, np.newaxis], scan, width)[:, 0]
    crystal = (scores.max(1) >= _CERTAIN) | (pooled >= _NO_CRYSTAL)
    # Beside a crystal, what is pooled is not a pattern's own.
    crystal &= own >= _OWN * pooled
    return np.where(crystal, scores.argmax(1), -1)


def _without_mixtures(labels, phases, presence, grid, scan, width: float):
    """Labels and phases when those with next to no patterns are dropped, and mixtures of others.

    At a boundary patterns show two phases, and their discs are in conflict with both. From the
    phase with the fewest patterns on, since a phase is part of each of its mixtures too.
    """
    kept = list(range(len(phases)))
    counts = np.bincount(labels[labels >= 0], minlength=len(phases))
    for k in np.argsort(counts, kind="stable"):
        others = [phases[other] for other in kept if other != k]
        small = counts[k] < max(_SMALLEST * len(labels), 1)
        if others and (small or part_in(phases[k], others, grid.beam_radius) >= _MIXTURE):
            kept.remove(k)
    if len(kept) == len(phases):
        return labels, phases
    phases = [phases[k] for k in kept]
    return _best_phase(presence, phases, grid, scan, width), phases

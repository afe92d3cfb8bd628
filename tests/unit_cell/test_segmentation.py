# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Domains where there is a sharp boundary, and none where patterns change slowly."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from emsparse_hs.unit_cell import segmentation
from emsparse_hs.unit_cell.lock_in import centred_positions
from emsparse_hs.unit_cell.segmentation import LEAST_ADVANTAGE, Split, segment, slow_map

SHAPE = (80, 88)


def wedge(shape=SHAPE, angle=0.4):
    y, x = (np.linspace(-1, 1, n) for n in shape)
    ramp = np.sin(angle) * y[:, np.newaxis] + np.cos(angle) * x
    return (ramp - ramp.min()) / np.ptp(ramp)


def amounts_of(ramp):
    return np.stack([1 - ramp, ramp], axis=-1)


def side(shape=SHAPE, place=0.1):
    """1 beyond an oblique boundary."""
    y, x = (np.linspace(-1, 1, n) for n in shape)
    return (x + 0.4 * y[:, np.newaxis] > place).astype(int)


def segmented(scan, **how):
    fractional = centred_positions(scan.scores.shape[:2]) @ scan.reciprocal.T
    return segment(scan.scores, fractional, scan.reciprocal, **how)


def agreement(found, truth):
    """Part of the positions that are right, whichever domain is the first."""
    return max((found == truth).mean(), (found == 1 - truth).mean())


@pytest.mark.parametrize("seed", range(4))
def test_two_domains(series_scan, seed):
    scan = series_scan(SHAPE, labels=side(), noise=0.5, seed=seed, same=0.7)
    found = segmented(scan)
    assert found.labels.dtype == np.int8 and found.labels.max() == 1
    assert agreement(found.labels, side()) > 0.95
    best = found.splits[0]
    assert best.accepted and best.valley < 0.3 and best.step > 0.75
    smaller = min(side().mean(), 1 - side().mean())
    assert best.share == pytest.approx(smaller, abs=0.06)
    assert not any(split.accepted for split in found.splits[1:])


@pytest.mark.parametrize("seed", range(4))
def test_a_wedge_is_one_domain(series_scan, seed):
    scan = series_scan(SHAPE, amounts=amounts_of(wedge()), noise=0.5, seed=seed)
    found = segmented(scan)
    assert not found.labels.any()
    assert len(found.splits) == 1 and not found.splits[0].accepted


def test_noise_is_one_domain(series_scan):
    scan = series_scan(SHAPE, noise=3.0, seed=5)
    assert not segmented(scan).labels.any()


def test_two_domains_in_a_wedge(series_scan):
    scan = series_scan(SHAPE, labels=side(), amounts=amounts_of(wedge(angle=1.6)), seed=6)
    assert agreement(segmented(scan).labels, side()) > 0.95


def test_three_domains(series_scan):
    truth = np.digitize(np.broadcast_to(np.arange(110), (90, 110)), [35, 72])
    found = segmented(series_scan((90, 110), labels=truth, seed=7))
    assert found.labels.max() == 2
    # Each true domain is nearly one found domain, and another one each.
    usual = [np.bincount(found.labels[truth == k], minlength=3) for k in range(3)]
    assert sorted(np.argmax(usual, axis=1)) == [0, 1, 2]
    assert min(counts.max() / counts.sum() for counts in usual) > 0.92


@pytest.mark.parametrize("n", [1, 2])
def test_as_many_as_asked_for(series_scan, n):
    scan = series_scan(SHAPE, amounts=amounts_of(wedge()), seed=8)
    found = segmented(scan, n_domains=n)
    assert set(np.unique(found.labels)) == set(range(n))
    assert len(found.splits) == n - 1


def test_outside_of_the_mask_is_no_domain(series_scan):
    mask = np.ones(SHAPE, bool)
    mask[60:] = False
    scan = series_scan(SHAPE, labels=side(), seed=9)
    spoilt = np.random.default_rng(9).standard_normal(scan.scores.shape).astype(np.float32)
    scan.scores = np.where(mask[..., np.newaxis], scan.scores, 5 * spoilt)
    labels = segmented(scan, mask=mask).labels
    assert (labels[60:] == -1).all() and (labels[:60] >= 0).all()
    assert agreement(labels[:60], side()[:60]) > 0.95


@pytest.mark.parametrize("seed", [10, 11])
def test_slow_map_follows_the_wedge_in_each_domain(series_scan, seed):
    """Rank correlation with the truth, of one sign, though series of the domains have nothing in
    common, and most of one is thin and most of the other thick."""
    ramp, labels = wedge(angle=1.5), side()
    ramp = np.where(labels == 1, 1 - (1 - ramp) ** 3, ramp**3)
    scan = series_scan(SHAPE, labels=labels, amounts=amounts_of(ramp), seed=seed)
    fractional = centred_positions(SHAPE) @ scan.reciprocal.T
    found = slow_map(scan.scores, fractional, scan.reciprocal, labels)
    assert found.dtype == np.float32
    assert found.min() == 0 and found.max() == 1
    signs = [spearmanr(found[labels == k], ramp[labels == k])[0] for k in (0, 1)]
    assert min(np.abs(signs)) > 0.9
    assert signs[0] * signs[1] > 0


def test_slow_map_does_not_depend_on_signs_of_components(series_scan, monkeypatch):
    scan = series_scan(SHAPE, labels=side(), amounts=amounts_of(wedge(angle=1.5)), seed=12)
    given = scan.scores, centred_positions(SHAPE) @ scan.reciprocal.T, scan.reciprocal, side()
    expected = slow_map(*given)
    along_of, calls = segmentation._along, []

    def turned(maps):
        calls.append(maps)
        along, gradient = along_of(maps)
        return (1 - along, -gradient) if len(calls) == 2 else (along, gradient)

    monkeypatch.setattr(segmentation, "_along", turned)
    np.testing.assert_allclose(slow_map(*given), expected, atol=1e-6)
    assert len(calls) == 2


def test_slow_map_is_of_the_domains_alone(series_scan):
    labels = np.where(side() == 1, 0, -1)
    scan = series_scan(SHAPE, amounts=amounts_of(wedge()), seed=11)
    fractional = centred_positions(SHAPE) @ scan.reciprocal.T
    found = slow_map(scan.scores, fractional, scan.reciprocal, labels)
    assert not found[labels < 0].any()
    assert abs(np.corrcoef(found[labels == 0], wedge()[labels == 0])[0, 1]) > 0.93


@pytest.mark.parametrize(
    ("valley", "step", "advantage", "accepted"),
    [(0.1, 1.0, 9.0, True), (0.5, 1.0, 9.0, False), (0.1, 0.5, 9.0, False), (0.1, 1.0, 1.0, False)],
)
def test_what_is_needed_for_a_domain(valley, step, advantage, accepted):
    split = Split(valley, step, 0.4, 0.0, False).judged(advantage)
    assert split == (valley, step, 0.4, advantage, accepted)


def test_evidence_of_held_out_scores(series_scan):
    found = segmented(series_scan(SHAPE, labels=side(), noise=1.0, seed=2, same=0.7)).splits[0]
    assert found.accepted and found.advantage > 10
    # In noise halves differ by chance alone, which does not help to predict.
    scores = np.random.default_rng(2).standard_normal((*SHAPE, 6)).astype(np.float32)
    nothing = series_scan(SHAPE)
    nothing.scores[:] = scores
    assert segmented(nothing).splits[0].advantage < LEAST_ADVANTAGE

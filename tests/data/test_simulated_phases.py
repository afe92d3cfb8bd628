# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The simulated phases against kinematical diffraction and the statistics of counts."""

import dataclasses

import numpy as np
import pytest

from emsparse_hs.data._simulated_phases import simulated_phases


@pytest.fixture(scope="module")
def scan():
    return simulated_phases(seed=1, scan_shape=(13, 17), dose=None, background=0, bend=0.3)


def centre_of_mass(frame, place, reach):
    y, x = np.indices(frame.shape)
    near = np.where(np.hypot(y - place[0], x - place[1]) < reach, frame, 0)
    return np.array([(near * y).sum(), (near * x).sum()]) / near.sum()


@pytest.mark.parametrize("frame", [64, 96])
def test_discs_are_where_strained_lattices_say(frame):
    """Far better than half a pixel, so that places can't have been rounded."""
    scan = simulated_phases(
        1, (5, 7), dose=None, background=0, bend=0.3, strain=0.02, n_phases=2, frame=frame
    )
    assert scan.data.shape == (5, 7, frame, frame)
    for j, i in ((0, 0), (2, 5), (4, 6)):
        lattice = scan.lattices[scan.phases[j, i]] * (1 + scan.strain[j, i])
        for h, k in ((1, 0), (0, -1), (1, -1)):
            place = np.array(scan.centre[::-1]) + h * lattice[0] + k * lattice[1]
            found = centre_of_mass(scan.data[j, i], place, 1.7 * scan.beam_radius)
            np.testing.assert_allclose(found, place, atol=0.06 * frame / 64)


def test_intensity_follows_thickness_fringes(scan):
    """Friedel pairs have one structure factor drawn each, and the same one all over a phase."""
    here = scan.phases == scan.phases[0, 0]
    place = np.array(scan.centre[::-1]) + scan.lattices[scan.phases[0, 0]][0]
    y, x = np.indices(scan.data.shape[2:])
    weak = simulated_phases(1, (13, 17), dose=None, background=0, bend=0)
    thin = weak.thickness[here]
    disc = np.hypot(y - place[0], x - place[1]) < 3.5
    beam = np.hypot(y - 32, x - 32) < 3.5
    ratio = weak.data[here][:, disc].sum(1) / weak.data[here][:, beam].sum(1)
    error = 0.002 * np.hypot(*scan.lattices[scan.phases[0, 0]][0])
    expected = (thin * np.sinc(thin * error)) ** 2 * np.exp(thin / 2)
    np.testing.assert_allclose(ratio / expected, (ratio / expected).mean(), rtol=0.02)
    assert np.ptp(expected) > 0.3 * expected.mean()


def test_frames_sum_to_one_and_background_is_part_of_them(scan):
    np.testing.assert_allclose(scan.data.sum((2, 3)), 1, rtol=1e-5)
    diffuse = simulated_phases(seed=1, scan_shape=(13, 17), dose=None, background=0.3, bend=0.3)
    np.testing.assert_allclose(diffuse.data.sum((2, 3)), 1, rtol=1e-5)
    difference = diffuse.data - 0.7 * scan.data
    assert difference.min() > 0 and difference.sum((2, 3)).mean() == pytest.approx(0.3, rel=1e-4)


def test_counts_are_poisson_around_the_expectation():
    expected = 500 * simulated_phases(1, (13, 17), dose=None).data.astype(float)
    counts = simulated_phases(1, (13, 17), dose=500)
    assert counts.data.dtype == np.uint16
    # Noise of one phase shifts the draws of the next one, so only the first has the same truth.
    first = counts.phases == 0
    chi_squared = ((counts.data - expected) ** 2 / np.maximum(expected, 1e-12))[first]
    assert chi_squared[expected[first] > 0.1].mean() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("n_phases", [1, 2, 5])
def test_has_the_phases_asked_for(n_phases):
    scan = simulated_phases(3, (40, 50), n_phases=n_phases, amorphous=True)
    assert set(np.unique(scan.phases)) == set(range(-1, n_phases))
    assert scan.lattices.shape == (n_phases, 2, 2)
    # Nothing but the direct beam and a faint background where there is no crystal.
    y, x = np.indices((64, 64))
    bright = scan.data[scan.phases < 0].mean(0)[np.hypot(y - 32, x - 32) > 5]
    assert (
        bright.max() < 0.2 < scan.data[scan.phases == 0].mean(0)[np.hypot(y - 32, x - 32) > 5].max()
    )


def test_bend_makes_discs_vanish():
    present = [
        (simulated_phases(2, (12, 14), None, bend=bend, background=0).data > 1e-4).mean()
        for bend in (0, 3)
    ]
    assert present[1] < 0.8 * present[0]


def test_seed_decides_all_and_the_truth_is_frozen(scan):
    again = simulated_phases(seed=1, scan_shape=(13, 17), dose=None, background=0, bend=0.3)
    np.testing.assert_array_equal(again.data, scan.data)
    other = simulated_phases(seed=2, scan_shape=(13, 17), dose=None, background=0, bend=0.3)
    assert not np.allclose(other.lattices, scan.lattices)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scan.beam_radius = 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scan_shape": (3, 0)}, "Two positive lengths"),
        ({"dose": 0}, "The dose is 0"),
        ({"dose": 1e6}, "30000"),
        ({"n_phases": 0}, "1 to 20"),
        ({"frame": 20}, "32 at least"),
        ({"background": 1}, "background < 1"),
    ],
)
def test_says_what_is_wrong(wrong, message):
    with pytest.raises(ValueError, match=message):
        simulated_phases(**wrong)

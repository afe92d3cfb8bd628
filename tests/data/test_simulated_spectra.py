# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The simulated EDS map against what it claims to be."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_spectra import LINES, PHASES, simulate_spectra


def test_shapes_and_sums():
    truth = simulate_spectra((17, 23), 300, counts_per_pixel=30)
    assert truth.counts.shape == (17, 23, 300)
    assert truth.abundances.shape == (17, 23, len(PHASES)) == (17, 23, len(truth.phases))
    np.testing.assert_allclose(truth.spectra.sum(1), 1)
    np.testing.assert_allclose(truth.abundances.sum(-1).mean(), 30)
    assert truth.counts.dtype == np.uint8
    assert (truth.abundances >= 0).all()


def test_counts_are_poisson_distributed_about_the_truth():
    truth = simulate_spectra(seed=1000, counts_per_pixel=200)
    expected = truth.abundances @ truth.spectra
    residual = truth.counts - expected
    # Variance equals expectation, and there is no trend, in bright and in dark channels alike.
    channels = expected.sum((0, 1))
    some = channels > 100
    variance = (residual**2).sum((0, 1))[some] / channels[some]
    assert abs(variance.mean() - 1) < 0.02
    assert abs((residual.sum((0, 1))[some] / np.sqrt(channels[some])).std() - 1) < 0.15


def test_lines_stand_where_they_belong_and_widen_with_energy():
    truth = simulate_spectra(n_channels=2000)
    energies = truth.energy_offset + truth.energy_scale * np.arange(2000)
    rutile = truth.spectra[truth.phases.index("rutile")]
    for element in ("O", "Ti"):
        (energy,) = (e for e, weight in LINES[element] if weight == 1)
        near = np.abs(energies - energy) < 0.2
        assert abs(energies[near][rutile[near].argmax()] - energy) < 0.015

    def width(phase, energy):
        spectrum = truth.spectra[truth.phases.index(phase)]
        near = np.abs(energies - energy) < 0.3
        values = spectrum[near] - spectrum[near].min()
        return (values > values.max() / 2).sum() * truth.energy_scale

    widths = [width("alumina", 1.487), width("nickel iron", 6.404), width("platinum", 9.442)]
    assert widths == sorted(widths)
    # As a silicon drift detector has it: 130 eV near Mn K-alpha.
    np.testing.assert_allclose(widths[1], 0.135, atol=0.01)


def test_phases_have_pure_pixels_a_gradient_and_a_particle():
    truth = simulate_spectra(seed=3)
    share = truth.abundances / truth.abundances.sum(-1, keepdims=True)
    assert (share[..., :3].max((0, 1)) > 0.98).all()
    metal = share[..., 2]
    profile = metal[:, 0]
    assert (np.diff(profile) >= 0).all()
    assert ((profile > 0.05) & (profile < 0.95)).sum() >= 10
    assert 0 < (share[..., 3] > 0.1).mean() < 0.1
    # Twice as thick on the right.
    totals = truth.abundances.sum(-1).mean(0)
    np.testing.assert_allclose(totals[-1] / totals[0], 2, rtol=0.05)


def test_seeds_differ_and_repeat():
    first, again, other = (simulate_spectra((9, 10), 64, seed=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.counts, again.counts)
    assert (first.counts != other.counts).any()
    assert (first.spectra != other.spectra).any()


@pytest.mark.parametrize(("dose", "dtype"), [(20, "u1"), (1e4, "u2"), (1e6, "u4"), (1e12, "u8")])
def test_many_counts_need_a_larger_dtype(dose, dtype):
    counts = simulate_spectra((9, 10), 64, counts_per_pixel=dose).counts
    assert counts.dtype == dtype
    total = 90 * dose
    np.testing.assert_allclose(counts.sum(dtype=float), total, rtol=0, atol=6 * np.sqrt(total))


@pytest.mark.parametrize(
    "parameters", [{"shape": (7, 20)}, {"n_channels": 63}, {"counts_per_pixel": 0}]
)
def test_says_what_can_not_be_simulated(parameters):
    with pytest.raises(ValueError, match="at least 8 x 8 pixels, 64 channels"):
        simulate_spectra(**parameters)

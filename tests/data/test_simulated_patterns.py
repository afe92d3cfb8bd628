# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Simulated Kikuchi patterns: textbook crystallography, patterns that show their truth."""

import numpy as np
import pytest

from emsparse_hs.data._simulated_patterns import _reflectors, simulate_patterns
from emsparse_hs.ebsd.geometry import pixel_directions


def test_shapes_and_seeds():
    data = simulate_patterns((3, 4), (32, 40), seed=1)
    n = len(data.half_widths)
    assert data.patterns.shape == (3, 4, 32, 40) and data.patterns.dtype == np.uint8
    assert data.normals.shape == (3, 4, n, 3) and data.orientations.shape == (3, 4, 3, 3)
    assert data.miller_indices.shape == (n, 3) and data.strengths.shape == (n,)
    again, other = (simulate_patterns((3, 4), (32, 40), seed=s) for s in (1, 2))
    np.testing.assert_array_equal(data.patterns, again.patterns)
    assert (data.patterns != other.patterns).mean() > 0.5


@pytest.mark.parametrize(
    ("structure", "allowed"),
    [
        ("fcc", lambda h: len(set(h % 2)) == 1),
        ("bcc", lambda h: h.sum() % 2 == 0),
        ("diamond", lambda h: (h % 2).all() or (not (h % 2).any() and h.sum() % 4 == 0)),
        ("sc", lambda h: True),
    ],
)
def test_extinctions_are_those_of_the_lattice(structure, allowed):
    data = simulate_patterns((1, 1), (16, 16), structure=structure)
    assert all(allowed(h) for h in data.miller_indices)
    assert not any((h == -data.miller_indices).all(1).any() for h in data.miller_indices)


def test_half_widths_are_bragg_angles_of_nickel():
    data = simulate_patterns((1, 1), (16, 16))
    first = np.sqrt((data.miller_indices[0] ** 2).sum())
    assert first == pytest.approx(np.sqrt(3))
    # 2 d sin(theta) = lambda with d = 3.52 / sqrt(3) angstrom at 20 kV.
    assert data.half_widths[0] == pytest.approx(1.211, abs=0.003)


def test_strengths_are_near_those_of_a_real_nickel_atom():
    """Doyle and Turner, Acta Cryst. A 24 (1968) 390, as sums of Gaussians in s = g / 2.

    A screened Coulomb potential has no shells: where nickel reflects it is up to a third too weak,
    and hardly ever too strong.
    """
    indices, spacings, strengths = _reflectors("fcc", 3.52, 28)
    a, b = (2.2100, 2.1344, 1.6891, 0.5238), (58.7273, 13.5534, 2.6094, 0.3388)
    s2 = (0.5 / spacings[:, None]) ** 2
    atom = (a * np.exp(-np.array(b) * s2)).sum(1) * np.exp(-0.5 * s2[:, 0])
    # U_g = F_g / (pi V), and four atoms in phase.
    ratio = strengths / (4 * atom / (np.pi * 3.52**3))
    assert len(ratio) > 50
    assert 0.66 < ratio.min() and ratio.max() < 1.15


def test_normals_are_the_turned_planes():
    data = simulate_patterns((2, 3), (16, 18), seed=4)
    turned = np.einsum("yxij,gj->yxgi", data.orientations, data.miller_indices)
    turned /= np.linalg.norm(turned, axis=-1, keepdims=True)
    np.testing.assert_allclose(np.abs((turned * data.normals).sum(-1)), 1)
    identity = np.einsum("yxij,yxkj->yxik", data.orientations, data.orientations)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-12)


def test_bands_are_brighter_than_what_is_beside_them():
    data = simulate_patterns((2, 3), (80, 96), noise=0.2, seed=5)
    directions = pixel_directions((80, 96), data.pattern_centre)
    brighter = []
    for pattern, planes in zip(
        data.patterns.reshape(6, 80, 96), data.normals.reshape(6, -1, 3), strict=True
    ):
        # Without the broad background.
        flat = pattern - 12.0 * 6 * directions[..., 2] ** 3
        for normal, half_width in zip(planes[:8], data.half_widths, strict=False):
            angle = np.degrees(np.arcsin(np.abs(directions @ normal)))
            inside, beside = angle < half_width, (angle > half_width) & (angle < half_width + 1.5)
            if inside.sum() > 100:
                brighter.append(flat[inside].mean() - flat[beside].mean())
    assert len(brighter) > 15 and min(brighter) > 0


def test_says_what_is_wrong_with_a_structure():
    with pytest.raises(ValueError, match="'hcp'"):
        simulate_patterns((1, 1), (16, 16), structure="hcp")


@pytest.mark.parametrize("scan", [4, (2,), (2, 2, 2), (0, 2)], ids=str)
def test_says_what_is_wrong_with_a_scan(scan):
    with pytest.raises(ValueError, match="rows and columns of the scan are needed"):
        simulate_patterns(scan, (16, 16))
    with pytest.raises(ValueError, match="atomic_number is 0"):
        simulate_patterns((1, 1), (16, 16), atomic_number=0)


@pytest.mark.parametrize("beam_energy", [-20, 0, np.nan])
def test_says_what_is_wrong_with_a_beam_energy(beam_energy):
    with pytest.raises(ValueError, match="positive number of keV"):
        simulate_patterns((1, 1), (16, 16), beam_energy=beam_energy)

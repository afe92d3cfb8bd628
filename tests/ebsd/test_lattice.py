# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Unknown lattices from the bands of patterns that are made of known ones."""

import numpy as np
import pytest

from emsparse_hs.ebsd._cell_kernels import lattice_densities
from emsparse_hs.ebsd.bands import Bands
from emsparse_hs.ebsd.bravais import BRAVAIS_LATTICES
from emsparse_hs.ebsd.cells import _place_among
from emsparse_hs.ebsd.lattice import PRIOR_BANDS, STRAY, solve_lattice
from emsparse_hs.ebsd.posterior import parameter_errors

#: Of electrons of 20 and of 10 keV, in angstrom.
WAVELENGTH, LONGER_WAVELENGTH = 0.085886, 0.122048
N_BANDS = 30
LATTICES = {
    "cF": (4.05, 4.05, 4.05),
    "tP": (4.6, 4.6, 2.96),
    "oP": (3.6, 4.7, 5.9),
    "hP": (2.95, 2.95, 4.68, 90, 90, 120),
    "hR": (4.76, 4.76, 12.99, 90, 90, 120),
    "mC": (5.5, 4.2, 9.0, 90, 104, 90),
}


def solve(bands, beam_energy=20.0, **options):
    """With half widths that are the Bragg angles, unless told otherwise."""
    return solve_lattice(bands, beam_energy, **{"width_scale": 1.0} | options)


def shown_by_a_wrong_centre(g, change):
    """Bands as they are thought to be from a pattern centre that is wrong.

    By `change`, right, up and away over the distance, the true one differs from the assumed one.
    So a pixel in the direction (x, y, z) is thought to be farther right of a centre that is too far
    left, in that of (x + change z, ...). Normals are transformed by the inverse of that.
    """
    lengths = np.linalg.norm(g, axis=1)[:, None]
    directions = np.eye(3)
    directions[:, 2] += change * (1, 1, -1)
    turned = g @ np.linalg.inv(directions)
    return turned * lengths / np.linalg.norm(turned, axis=1)[:, None]


def bands_of(g, contrasts, rng, wavelength):
    """Bands with errors of 0.2 degrees and 3 % of width, of either sign."""
    lengths = np.linalg.norm(g, axis=1)
    normals = g / lengths[:, None] + rng.normal(0, np.radians(0.2), g.shape)
    normals *= rng.choice([-1, 1], (len(g), 1)) / np.linalg.norm(normals, axis=1)[:, None]
    lengths *= rng.normal(1, 0.03, len(g))
    half_widths = np.degrees(np.arcsin(wavelength * lengths / 2))
    return normals, half_widths, contrasts


@pytest.fixture
def simulate(primitive_cell, planes_of, random_rotation):
    """Function that makes bands of a lattice in patterns, its cell and their orientations.

    Strong are planes of wide spacing, with a scatter, that cut the screen.
    """

    def make(lattice, n_patterns, seed=0, change=(0, 0, 0), wavelength=WAVELENGTH):
        rng = np.random.default_rng(seed)
        cell = primitive_cell(lattice[1], *LATTICES[lattice])
        planes = planes_of(cell, 1.6)
        rotations = np.array([random_rotation(rng) for _ in range(n_patterns)])
        patterns = []
        for rotation in rotations:
            g = planes @ rotation
            lengths = np.linalg.norm(g, axis=1)
            g = g[np.abs(g[:, 2]) < np.sin(np.radians(35)) * lengths][:60]
            strength = rng.lognormal(0, 0.3, len(g)) / np.linalg.norm(g, axis=1)
            strongest = np.argsort(-strength)[:N_BANDS]
            shown = shown_by_a_wrong_centre(g[strongest], np.array(change))
            patterns.append(bands_of(shown, 10 * strength[strongest], rng, wavelength))
        return Bands(*map(np.array, zip(*patterns, strict=True))), cell, rotations

    return make


def noise(n_patterns, seed):
    """Bands in directions and of widths that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    normals = rng.normal(size=(n_patterns, N_BANDS, 3))
    normals /= np.linalg.norm(normals, axis=-1)[..., None]
    contrasts = np.sort(rng.uniform(5, 20, (n_patterns, N_BANDS)))[:, ::-1]
    return Bands(normals, rng.uniform(0.8, 3, (n_patterns, N_BANDS)), contrasts)


def edges(lattice, parameters):
    """Lengths of a conventional cell, those of one plane of a monoclinic one in order."""
    lengths = np.array(parameters[:3])
    if lattice[0] == "m":
        lengths[[0, 2]] = np.sort(lengths[[0, 2]])
    return lengths


def is_oriented(solution, cell, rotations, patterns):
    """Whether the cell lies in each pattern as the true one, but for the lattice's symmetry."""
    found = []
    for p in patterns:
        change = solution.cell @ solution.orientations[p] @ np.linalg.inv(cell @ rotations[p])
        whole = np.rint(change)
        found.append(np.abs(change - whole).max() < 0.06 and abs(np.linalg.det(whole)) == 1)
    return np.array(found)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("lattice", LATTICES)
def test_one_pattern_is_solved(lattice, seed, simulate):
    bands, cell, rotations = simulate(lattice, 1, seed)
    solution = solve(bands)
    assert solution.lattice == lattice
    lengths = edges(lattice, solution.parameters)
    np.testing.assert_allclose(lengths, edges(lattice, LATTICES[lattice]), rtol=0.02)
    angles = (*LATTICES[lattice], 90, 90, 90)[3:6]
    np.testing.assert_allclose(solution.parameters[3:], angles, atol=0.5)
    volume = np.linalg.det(solution.cell) / np.linalg.det(cell)
    assert abs(volume) == pytest.approx(1, abs=0.05)
    assert is_oriented(solution, cell, rotations, [0]).all()
    assert solution.explained[0] > 0.9 and solution.fits.all()
    # Two components of a normal err by 0.2 degrees each, and the lattice is fitted to them.
    assert 0.15 < solution.residuals[0] < 0.32
    assert solution.superlattices == ()


@pytest.mark.parametrize("lattice", LATTICES)
def test_many_patterns_are_solved_together(lattice, simulate):
    bands, cell, rotations = simulate(lattice, 12, seed=3)
    solution = solve(bands)
    assert solution.lattice == lattice
    lengths = edges(lattice, solution.parameters)
    np.testing.assert_allclose(lengths, edges(lattice, LATTICES[lattice]), rtol=0.01)
    assert is_oriented(solution, cell, rotations, range(12)).all()
    assert (solution.explained > 0.85).all()
    # Bands are as good as was said when they were made.
    assert np.degrees(solution.spread[0]) == pytest.approx(0.2, abs=0.05)
    assert solution.spread[1] == pytest.approx(0.03, abs=0.01)


@pytest.mark.parametrize("lattice", LATTICES)
def test_what_a_solution_says_fits_together(lattice, simulate):
    solution = solve(simulate(lattice, 2, seed=5)[0])
    assert solution.probabilities.shape == (15,)
    assert solution.probabilities.sum() == pytest.approx(1)
    assert solution.lattice == BRAVAIS_LATTICES[np.argmax(solution.probabilities)]
    points = {"P": 1, "C": 2, "R": 3, "F": 4}[lattice[1]]
    volumes = np.linalg.det(solution.conventional_cell) / abs(np.linalg.det(solution.cell))
    assert volumes == pytest.approx(points, rel=0.02)
    lengths = np.linalg.norm(solution.conventional_cell, axis=1)
    np.testing.assert_allclose(lengths, solution.parameters[:3])
    assert (solution.errors[:3] > 0).all() and (solution.errors[:3] < 0.02 * lengths).all()
    assert (solution.errors[3:] < 0.5).all()
    assert solution.lattice in repr(solution) and "2 patterns" in repr(solution)
    turns = solution.orientations
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), [np.eye(3)] * 2, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turns), 1)


@pytest.mark.parametrize("lattice", ["tP", "oP"])
@pytest.mark.parametrize("change", [(0.012, -0.007, 0.009), (-0.008, 0.011, -0.01)])
def test_the_error_of_the_pattern_centre_comes_back(lattice, change, simulate):
    """It is what has to be added to the pattern centre that was assumed."""
    bands, cell, rotations = simulate(lattice, 24, seed=6, change=change)
    # Expected to be so large that it is not taken for a chance of the bands.
    solution = solve(bands, centre_error=0.03)
    assert solution.lattice == lattice
    mean = solution.centre_errors.mean(axis=0)
    np.testing.assert_allclose(mean, change, atol=0.003)
    assert is_oriented(solution, cell, rotations, range(24)).all()
    np.testing.assert_allclose(solution.parameters[:3], LATTICES[lattice][:3], rtol=0.01)


@pytest.mark.parametrize(("lattice", "n_patterns"), [("cF", 1), ("oP", 3), ("hP", 12)])
def test_the_log_evidence_is_that_of_the_solution(lattice, n_patterns, simulate):
    """Of its cell, orientations and spread, over bands of no lattice."""
    bands, _, _ = simulate(lattice, n_patterns, seed=4)
    solution = solve(bands, centre_error=1e-5)
    lengths = 2 * np.sin(np.radians(bands.half_widths)) / WAVELENGTH
    g = bands.normals * lengths[..., None] @ solution.orientations.transpose(0, 2, 1)
    densities = np.empty(g[..., 0].size)
    lattice_densities(solution.cell, g.reshape(-1, 3), solution.spread, densities)
    # All bands belong to the lattice, so that the share of those that don't is that assumed.
    stray = PRIOR_BANDS * STRAY / (densities.size + PRIOR_BANDS)
    expected = np.log(1 + (1 - stray) / stray * densities).mean()
    assert solution.log_evidence == pytest.approx(expected, abs=0.1)


def test_what_is_no_lattice_has_no_log_evidence(simulate):
    nothing = [solve(noise(4, seed)).log_evidence for seed in range(3)]
    assert 0 <= min(nothing) and max(nothing) < solve(simulate("mC", 1)[0]).log_evidence / 2
    assert solve(Bands(*(values[:, :7] for values in noise(1, 0)))).log_evidence == 0


def test_a_right_pattern_centre_is_left_alone(simulate):
    solution = solve(simulate("oP", 12, seed=7)[0], centre_error=0.01)
    assert np.abs(solution.centre_errors.mean(axis=0)).max() < 0.002


def test_the_beam_energy_is_the_scale(simulate):
    bands, _, _ = simulate("oP", 3, seed=8, wavelength=LONGER_WAVELENGTH)
    solution = solve(bands, 10.0)
    np.testing.assert_allclose(solution.parameters[:3], LATTICES["oP"][:3], rtol=0.015)


def test_half_widths_are_scaled_to_bragg_angles(simulate):
    bands, _, _ = simulate("hP", 3, seed=15)
    expected = solve(bands)
    narrow = bands._replace(half_widths=bands.half_widths / 1.2)
    solution = solve(narrow, width_scale=1.2)
    np.testing.assert_allclose(solution.cell, expected.cell, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(solution.probabilities, expected.probabilities, atol=1e-9)
    # Without it all lengths are too large by the same factor, and the lattice is known anyway.
    unscaled = solve(narrow)
    assert unscaled.lattice == "hP"
    np.testing.assert_allclose(unscaled.parameters[:3], 1.2 * expected.parameters[:3], rtol=0.01)


@pytest.mark.parametrize("n_patterns", [1, 12])
def test_noise_has_no_lattice(n_patterns):
    for seed in range(1 if n_patterns > 1 else 5):
        solution = solve(noise(n_patterns, seed))
        assert solution.lattice == "unknown"
        assert solution.probabilities[-1] > 0.5
        assert "unknown" in repr(solution)


def test_the_covariance_is_that_of_the_errors(simulate):
    bands, _, _ = simulate("mC", 6, seed=19)
    solution = solve(bands)
    assert np.linalg.eigvalsh(solution.strain_covariance).min() > 0
    found = parameter_errors(solution.cell, solution.symmetry, solution.strain_covariance)
    np.testing.assert_allclose(found, solution.errors)
    fewer = solve(Bands(*(values[:2] for values in bands)))
    assert np.trace(fewer.strain_covariance) > np.trace(solution.strain_covariance)


@pytest.mark.parametrize("n_bands", [8, 12, 15])
def test_a_few_bands_of_noise_have_no_lattice(n_bands):
    """So few fit some cell: what is told of it must not be believed."""
    named = 0
    for seed in range(12):
        bands = Bands(*(values[:, :n_bands] for values in noise(1, seed)))
        named += solve(bands).lattice != "unknown"
    assert named <= 2


def test_orders_of_bands_do_not_matter(simulate):
    bands, _, _ = simulate("tP", 2, seed=15)
    order = np.random.default_rng(0).permutation(bands.contrasts.shape[1])
    shuffled = solve(Bands(*(values[:, order] for values in bands)))
    np.testing.assert_allclose(shuffled.cell, solve(bands).cell, rtol=1e-9, atol=1e-9)


def test_a_pattern_of_another_kind_has_no_orientation(simulate):
    bands, _, _ = simulate("cF", 5, seed=18)
    bands.half_widths[4] = np.linspace(0.05, 0.1, bands.half_widths.shape[1])
    solution = solve(bands)
    assert solution.lattice == "cF" and not solution.fits[4]
    assert solution.explained[4] == 0
    assert np.isnan(solution.orientations[4]).all() and np.isnan(solution.residuals[4])
    assert (
        np.isfinite(solution.orientations[:4]).all() and np.isfinite(solution.residuals[:4]).all()
    )


def assert_nothing(solution, n_patterns):
    assert solution.lattice == "unknown" and solution.probabilities[-1] == 1
    assert np.isnan(solution.cell).all() and np.isnan(solution.conventional_cell).all()
    assert np.isnan(solution.parameters).all() and np.isnan(solution.errors).all()
    assert solution.orientations.shape == (n_patterns, 3, 3)
    assert np.isnan(solution.orientations).all() and np.isnan(solution.centre_errors).all()
    assert np.isnan(solution.residuals).all() and solution.residuals.shape == (n_patterns,)
    assert solution.hypotheses == [] and solution.superlattices == ()
    assert not solution.fits.any() and solution.fits.shape == (n_patterns,)
    assert "unknown" in repr(solution)


def test_too_few_bands_have_no_lattice(simulate):
    bands, _, _ = simulate("cF", 3)
    assert_nothing(solve(Bands(*(values[:, :7] for values in bands))), 3)
    assert_nothing(solve(Bands(*(values[:0] for values in bands))), 0)


def test_nan_is_no_band(simulate):
    bands, _, _ = simulate("cF", 3)
    assert_nothing(solve(Bands(*(np.full_like(values, np.nan) for values in bands))), 3)
    spoilt = Bands(*(values.copy() for values in bands))
    spoilt.half_widths[:, 7:] = np.nan
    assert_nothing(solve(spoilt), 3)


def test_patterns_without_bands_do_not_matter(simulate):
    bands, _, _ = simulate("tP", 4, seed=9)
    alone = solve(bands)
    spread_out = Bands(*(np.full((7, *v.shape[1:]), np.nan) for v in bands))
    kept = [0, 2, 3, 6]
    for values, few in zip(spread_out, bands, strict=True):
        values[kept] = few
    # Nor do bands that were not found, after those that were.
    longer = Bands(
        *(np.concatenate([v, np.full_like(v[:, :3], np.nan)], axis=1) for v in spread_out)
    )
    solution = solve(longer)
    np.testing.assert_allclose(solution.parameters, alone.parameters)
    np.testing.assert_allclose(solution.orientations[kept], alone.orientations)
    rest = [1, 4, 5]
    assert np.isnan(solution.orientations[rest]).all() and np.isnan(solution.explained[rest]).all()
    assert solution.fits.tolist() == [p in kept for p in range(7)]


@pytest.mark.parametrize("half_width", [0.1, 0.25])
def test_a_band_narrower_than_any_of_the_lattice_is_stray(half_width, simulate):
    bands, _, _ = simulate("cF", 2, seed=16)
    bands.half_widths[0, -1] = half_width
    assert solve(bands).lattice == "cF"


def test_bands_of_one_zone_have_no_lattice(simulate):
    """All normals lie in a plane: nothing is known of the third direction."""
    bands, _, _ = simulate("cF", 3, seed=17)
    bands.normals[..., 2] = 0
    bands.normals[:] /= np.linalg.norm(bands.normals, axis=-1)[..., None]
    assert solve(bands).lattice == "unknown"


def test_the_sign_of_normals_does_not_matter(simulate):
    bands, _, _ = simulate("oP", 2, seed=10)
    one, other = (solve(b) for b in (bands, bands._replace(normals=-bands.normals)))
    assert other.lattice == one.lattice == "oP"
    np.testing.assert_allclose(other.parameters, one.parameters, rtol=1e-3)


def test_patterns_of_something_else_do_not_fit(simulate):
    bands, _, _ = simulate("tP", 8, seed=11)
    for values, other in zip(bands, noise(2, 1), strict=True):
        values[[2, 5]] = other
    solution = solve(bands)
    assert solution.lattice == "tP"
    np.testing.assert_allclose(solution.parameters[:3], LATTICES["tP"][:3], rtol=0.015)
    assert np.flatnonzero(~solution.fits).tolist() == [2, 5]


def test_the_input_is_not_changed(simulate):
    bands, _, _ = simulate("oP", 3, seed=12)
    before = [values.copy() for values in bands]
    first = solve(bands)
    for values, old in zip(bands, before, strict=True):
        np.testing.assert_array_equal(values, old)
    # And what comes of it is the same again.
    np.testing.assert_array_equal(solve(bands).cell, first.cell)


@pytest.mark.parametrize("max_patterns", [1, 4])
def test_all_patterns_are_oriented_by_a_cell_of_some(max_patterns, simulate):
    bands, cell, rotations = simulate("hP", 11, seed=13)
    solution = solve(bands, max_patterns=max_patterns)
    assert solution.lattice == "hP"
    assert solution.orientations.shape == (11, 3, 3)
    assert is_oriented(solution, cell, rotations, range(11)).all()
    assert (solution.explained > 0.6).all()
    # Only those that the cell was refined on have a pattern centre.
    assert np.isfinite(solution.centre_errors).all(axis=1).sum() == max_patterns


def test_single_precision_and_lists_are_taken(simulate):
    bands, _, _ = simulate("tP", 2, seed=14)
    expected = solve(bands)
    single = solve(Bands(*(v.astype(np.float32) for v in bands)))
    np.testing.assert_allclose(single.parameters, expected.parameters, rtol=1e-3)
    listed = solve(Bands(*(v.tolist() for v in bands)))
    np.testing.assert_array_equal(listed.parameters, expected.parameters)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"width_scale": 0}, "width_scale is 0"),
        ({"centre_error": 0}, "centre_error is 0"),
        ({"centre_error": np.nan}, "centre_error is nan"),
        ({"max_patterns": 0}, "max_patterns is 0"),
        ({"max_patterns": -3}, "max_patterns is -3"),
        ({"beam_energy": -20}, "positive"),
    ],
)
def test_says_which_number_is_wrong(kwargs, message, simulate):
    with pytest.raises(ValueError, match=message):
        solve(simulate("cF", 2)[0], **kwargs)


@pytest.mark.parametrize(
    ("names", "part"),
    [
        (("normals",), np.s_[:, :, :2]),
        (("half_widths",), np.s_[:1]),
        (("contrasts",), np.s_[:, :5]),
        (("normals", "half_widths", "contrasts"), np.s_[0]),
    ],
)
def test_says_which_shapes_do_not_fit(names, part, simulate):
    bands, _, _ = simulate("cF", 2)
    cut = bands._replace(**{name: getattr(bands, name)[part] for name in names})
    with pytest.raises(ValueError, match=r"shapes .* are needed"):
        solve(cut)


def test_bases_of_one_lattice_are_known():
    cell = np.array([[4.0, 0.3, 0.0], [0.0, 5.0, 0.4], [0.2, 0.0, 6.0]])
    other = np.diag([2, 1, 1]) @ cell
    same = np.array([[1, 1, 0], [0, 1, -2], [0, 0, -1]]) @ cell
    near = same * np.random.default_rng(0).normal(1, 0.005, (3, 3))
    assert [_place_among(one, [other, cell]) for one in (other, same, near)] == [0, 1, 1]
    assert _place_among(np.diag([1, 3, 1]) @ cell, [other, cell]) == 2
    assert _place_among(cell, []) == 0

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Crystal maps of lattices: orientations as kikuchipy has them, phases, places in the scan."""

from types import SimpleNamespace

import numpy as np
import pytest
from hyperspy.signals import Signal2D

from emsparse_hs.accessor._ebsd import EBSDMethods
from emsparse_hs.ebsd.bravais import near_symmetries, reduced_cell
from emsparse_hs.ebsd.known_cells import primitive_cell
from emsparse_hs.electron import relativistic_wavelength
from emsparse_hs.signals import KikuchiBands, PhaseLattice
from emsparse_hs.signals._lattices import primitive_cell_of
from emsparse_hs.signals._phase_lattice import SPACE_GROUPS

crystal_map = pytest.importorskip("orix.crystal_map")
quaternion = pytest.importorskip("orix.quaternion")
vector = pytest.importorskip("orix.vector")
detectors = pytest.importorskip("kikuchipy.detectors")
structure = pytest.importorskip("diffpy.structure")

SCAN = (3, 4)
QUIET = {"show_progressbar": False}
TILTS = {"sample_tilt": 70, "tilt": 8, "azimuthal": 4, "twist": 3}
DETECTOR = detectors.EBSDDetector(shape=(100, 110), pc=(0.45, 0.3, 0.6), **TILTS)
#: Lattice parameters and space groups.
PHASES = {
    "hP": ((2.95, 2.95, 4.68, 90, 90, 120), 191),
    "mP": ((5.9, 3.4, 4.6, 90, 90, 99), 10),  # orix has the two-fold axis along c
    "oP": ((3.6, 4.7, 5.9, 90, 90, 90), 47),
}
#: Of each crystal family.
PARAMETERS = {
    "a": (3.1, 4.2, 5.3, 82, 97, 105),
    "m": (3.4, 4.6, 5.9, 90, 99, 90),
    "o": (3.6, 4.7, 5.9, 90, 90, 90),
    "t": (3.6, 3.6, 5.2, 90, 90, 90),
    "h": (2.95, 2.95, 4.68, 90, 90, 120),
    "c": (3.6, 3.6, 3.6, 90, 90, 90),
}


def known_phase(lattice, scale=1.0):
    parameters, space_group = PHASES[lattice]
    cell = structure.Lattice(*(scale * np.array(parameters[:3])), *parameters[3:])
    return crystal_map.Phase(
        lattice, space_group, structure=structure.Structure([structure.Atom("Fe")], cell)
    )


def shown(phase, rotations, seed=0):
    """Bands of a phase in known orientations, with an error of 0.05 degrees."""
    rng = np.random.default_rng(seed)
    indices = np.stack(np.meshgrid(*[range(-3, 4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    indices = np.array([h for h in indices.tolist() if h > [0, 0, 0]])
    indices = indices[np.gcd.reduce(indices, axis=1) == 1]
    g = indices @ np.linalg.inv(primitive_cell_of(phase)).T
    g = g[np.argsort(np.linalg.norm(g, axis=1))[:30]]
    lengths = np.linalg.norm(g, axis=1)
    half_widths = np.degrees(np.arcsin(lengths * relativistic_wavelength(20.0) / 2))
    to_detector = (DETECTOR.sample_to_detector * ~rotations).to_matrix()
    data = np.empty((rotations.size, len(g), 5))
    for one, matrix in zip(data, to_detector, strict=True):
        normals = g / lengths[:, None] @ matrix.T + rng.normal(0, np.radians(0.05), g.shape)
        one[:, :3] = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        one[:, 3] = half_widths * rng.normal(1, 0.01, len(g))
        one[:, 4] = np.linspace(30, 6, len(g))
    return data


def as_bands(data, scan=SCAN):
    bands = KikuchiBands(data.reshape(*scan, *data.shape[-2:]))
    bands.metadata.Kikuchi_bands = {"pattern_centre": [0.45, 0.3, 0.6], "pattern_shape": [100, 110]}
    bands.axes_manager.signal_axes[0].name = "quantity"
    bands.metadata.set_item("Acquisition_instrument.SEM.beam_energy", 20.0)
    return bands


def patterns_of(scan=SCAN):
    """What only tells the axes of the scan."""
    signal = Signal2D(np.zeros((*scan, 4, 5)))
    axes = signal.axes_manager.navigation_axes
    for axis, name, scale, offset in zip(axes, "xy", (1.5, 0.5), (0, 20.0), strict=False):
        axis.name, axis.scale, axis.offset, axis.units = name, scale, offset, "um"
    return signal


def to_map(lattices, phases=None, scan=SCAN, detector=DETECTOR):
    return EBSDMethods(patterns_of(scan)).to_crystal_map(lattices, phases, detector=detector)


def random_rotations(n, seed=3):
    matrices = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, 3, 3)))[0]
    return quaternion.Rotation.from_matrix(matrices * np.linalg.det(matrices)[:, None, None])


def misorientations(found, rotations, phase):
    """In degrees, but for the symmetry of the phase."""
    one, other = (quaternion.Orientation(r, symmetry=phase.point_group) for r in (found, rotations))
    return np.degrees(one.angle_with(other))


def axes_of(phase, rotations):
    """Basis vectors of a phase in the specimen's frame, of each orientation."""
    return phase.structure.lattice.base @ rotations.to_matrix()


def assert_same_axes(axes, others):
    """But for the lattice's symmetry, which takes its vectors to other ones of it."""
    change = axes @ np.linalg.inv(others)
    np.testing.assert_allclose(change, np.rint(change), atol=0.01)
    np.testing.assert_allclose(np.abs(np.linalg.det(np.rint(change))), 1)


@pytest.fixture(scope="module", params=PHASES)
def oriented(request):
    """A phase, its orientations and the lattice that was found."""
    phase, rotations = known_phase(request.param), random_rotations(12)
    bands = as_bands(shown(phase, rotations))
    return phase, rotations, bands.estimate_lattice(width_scale=1.0, **QUIET)


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_orientations_of_a_known_phase(oriented, scale):
    """Whatever the unit of its cell: master patterns have phases in nm."""
    phase, rotations, lattice = oriented
    known = known_phase(phase.name, scale)
    xmap = to_map(lattice, known)
    assert_same_axes(axes_of(phase, xmap.rotations), axes_of(phase, rotations))
    assert misorientations(xmap.rotations, rotations, phase).max() < 0.1
    assert xmap.phases[0].name == phase.name
    np.testing.assert_allclose(
        xmap.phases[0].structure.lattice.abcABG(), known.structure.lattice.abcABG()
    )


def test_orientations_of_the_phase_that_was_found(oriented):
    """Its axes lie in the specimen as the true ones, whichever of equal settings they are."""
    phase, rotations, lattice = oriented
    xmap = to_map(lattice)
    found = xmap.phases[0]
    assert found.name == phase.name == lattice.lattice
    assert_same_axes(axes_of(found, xmap.rotations), axes_of(phase, rotations))
    assert misorientations(xmap.rotations, rotations, found).max() < 0.1


@pytest.fixture(params=SPACE_GROUPS)
def symmetric(request):
    """A lattice in all orientations that are equal, and its cell in each."""
    family, centring = request.param
    cell = reduced_cell(
        primitive_cell(structure.Lattice(*PARAMETERS[family]).base, centring)
        @ random_rotations(1, 8).to_matrix()[0]
    )
    symmetry = near_symmetries(cell @ cell.T, 1e-6)[-1]
    assert symmetry.lattice == request.param
    turns = np.linalg.inv(cell) @ symmetry.rotations.transpose(0, 2, 1) @ cell
    orientations = turns @ random_rotations(1, 9).to_matrix()[0]
    solution = SimpleNamespace(
        cell=cell, lattice=symmetry.lattice, hypotheses=[SimpleNamespace(symmetry=symmetry)],
        orientations=orientations, explained=np.ones(len(turns)), residuals=np.zeros(len(turns)),
    )  # fmt: skip
    return PhaseLattice(solution, np.ones(len(turns), bool)), cell @ orientations


def test_the_phase_of_a_lattice_has_its_symmetry(symmetric):
    lattice, cells = symmetric
    phase = lattice.to_phase()
    equal = vector.Miller(hkl=[1, 2, 3], phase=phase).symmetrise()
    np.testing.assert_allclose(equal.hkl, np.rint(equal.hkl), atol=1e-6)
    np.testing.assert_allclose(equal.length, equal.length[0])
    assert equal.size == 2 * len(cells)
    scan = (len(cells),)
    for xmap in (to_map(lattice, scan=scan), to_map(lattice, phase, scan)):
        to_detector = (DETECTOR.sample_to_detector * ~xmap.rotations).to_matrix()
        assert_same_axes(primitive_cell_of(phase) @ to_detector.transpose(0, 2, 1), cells)
        assert misorientations(xmap.rotations, xmap.rotations[:1], phase).max() < 0.05


def test_the_phase_of_a_lattice_is_compared(symmetric):
    lattice, _ = symmetric
    standard = lattice.to_phase(unique_axis="b")
    assert standard.space_group.number == SPACE_GROUPS[lattice.lattice]
    phases = [lattice.to_phase(), standard]
    bands = as_bands(shown(phases[0], random_rotations(2)), (2,))
    scores = bands.compare_phases(phases, **QUIET)
    np.testing.assert_allclose(scores[:, 0], scores[:, 1], rtol=1e-6)
    assert scores.min() > 1
    with pytest.raises(ValueError, match="unique_axis is 'a', and must be 'b' or 'c'"):
        lattice.to_phase(unique_axis="a")


def test_places_and_properties(oriented):
    _, _, lattice = oriented
    xmap = to_map(lattice)
    assert xmap.shape == SCAN and xmap.scan_unit == "um"
    np.testing.assert_allclose(xmap.x.reshape(SCAN), [[0, 1.5, 3, 4.5]] * 3)
    np.testing.assert_allclose(xmap.y.reshape(SCAN), np.tile([[20], [20.5], [21]], 4))
    np.testing.assert_array_equal(xmap.prop["explained"], lattice.explained)
    np.testing.assert_array_equal(xmap.prop["residual"], lattice.residuals)
    assert (xmap.prop["residual"] < 0.15).all() and xmap.is_indexed.all()


@pytest.fixture(scope="module")
def grains():
    """Two phases, a third of which the bands are no lattice, and what is left out."""
    data = np.concatenate(
        [
            shown(known_phase(n), random_rotations(4, seed), seed)
            for n, seed in (("hP", 1), ("oP", 2))
        ]
        + [shown(known_phase("hP"), random_rotations(4), 3)]
    )
    data[5, 5:] = np.nan  # of so few bands there is no orientation
    data[9:, 5:] = np.nan
    labels = np.repeat([5, 2, 7], 4).reshape(SCAN)
    labels[2, 0] = -1
    with pytest.warns(UserWarning, match="don't fit"):
        lattices = as_bands(data).estimate_lattice(labels, width_scale=1.0, **QUIET)
    assert {n: one.lattice for n, one in lattices.items()} == {2: "oP", 5: "hP", 7: "unknown"}
    return labels, lattices


def test_phases_by_label(grains):
    labels, lattices = grains
    xmap = to_map(lattices)
    expected = np.where(labels == 7, -1, labels)
    expected[1, 1] = -1
    np.testing.assert_array_equal(xmap.phase_id.reshape(SCAN), expected)
    assert xmap.phases.ids == [-1, 2, 5]
    assert xmap.phases.names == ["not_indexed", "oP 2", "hP 5"]
    for label, lattice in ((2, "oP"), (5, "hP")):
        one = xmap[xmap.phase_id == label]
        assert one.phases_in_data[label].space_group.number == PHASES[lattice][1]
        np.testing.assert_allclose(
            one.phases_in_data[label].structure.lattice.abcABG(), lattices[label].parameters
        )
    np.testing.assert_array_equal(np.isnan(xmap.prop["explained"]), expected.ravel() < 0)
    assert len(set(xmap.phases.colors)) == 3


def test_one_label_keeps_its_number(grains):
    _, lattices = grains
    bands = as_bands(shown(known_phase("oP"), random_rotations(12)))
    lattice = bands.estimate_lattice(7, width_scale=1.0, **QUIET)
    assert (lattice.label, lattices[5].label) == (7, 5)
    for phases in (None, known_phase("oP"), {7: known_phase("oP")}):
        xmap = to_map(lattice, phases)
        assert xmap.phases.ids == [7] and xmap.phases.names == ["oP"]


def test_phases_of_some_labels_are_known(grains):
    labels, lattices = grains
    xmap = to_map(lattices, {5: known_phase("hP")})
    assert xmap.phases.names == ["not_indexed", "oP 2", "hP"]
    # What has no cell has no orientation, whatever the phase is.
    xmap = to_map(lattices, {7: known_phase("hP")})
    assert (xmap.phase_id[labels.ravel() == 7] == -1).all()
    with pytest.raises(
        ValueError, match=r"phases of the labels \[3\], and lattices of \[2, 5, 7\]"
    ):
        to_map(lattices, {3: known_phase("hP")})
    with pytest.raises(ValueError, match="'hP' is not of the lattice that was found.*oP") as error:
        to_map(lattices, {2: known_phase("hP")})
    assert "strain" not in str(error.value)


def test_labels_of_one_phase_are_one(grains):
    _, lattices = grains
    phase, rotations = known_phase("hP"), random_rotations(12)
    two = as_bands(shown(phase, rotations)).estimate_lattice(
        np.repeat([3, 4], 6).reshape(SCAN), width_scale=1.0, **QUIET
    )
    for phases in (phase, {3: phase, 4: phase.deepcopy()}):
        xmap = to_map(two, phases)
        assert xmap.phases.ids == [3] and (xmap.phase_id == 3).all()
    assert misorientations(xmap.rotations, rotations, phase).max() < 0.15


def test_phases_keep_the_colours_that_were_given(grains):
    _, lattices = grains
    one, other = known_phase("oP"), known_phase("hP")
    colours = to_map(lattices, {2: one, 5: other}).phases.colors
    assert colours[1] == "tab:blue" and len(set(colours)) == 3
    assert one.color == other.color == "tab:blue"
    one.color, other.color = "red", "lime"
    assert to_map(lattices, {2: one, 5: other}).phases.colors[1:] == ["red", "lime"]


def test_a_phase_list_is_taken_and_one_phase_in_a_list(grains):
    _, lattices = grains
    phase = known_phase("hP")
    for phases in (crystal_map.PhaseList(phase), [phase]):
        xmap = to_map({5: lattices[5]}, phases)
        assert xmap.phases.names[-1] == "hP" and xmap.is_indexed.any()
    both = crystal_map.PhaseList(phases=[known_phase("oP"), phase], ids=[2, 5])
    xmap = to_map(lattices, both)
    assert xmap.phases.ids[1:] == [2, 5] and xmap.phases.names[1:] == ["oP", "hP"]
    with pytest.raises(TypeError, match="2 phases in a list. Pass a dict"):
        to_map(lattices, [phase, phase])
    for wrong in ("ni", lattices[5], {5: "ni"}):
        with pytest.raises(TypeError, match="is no phase. Pass orix.crystal_map.Phase"):
            to_map({5: lattices[5]}, wrong)
    for wrong in ([lattices[5]], {5: phase}, "cF"):
        with pytest.raises(TypeError, match="Pass what estimate_lattice gave, a"):
            to_map(wrong)


@pytest.mark.parametrize("scan", [(), (12,), (1, 12), (12, 1)], ids=str)
def test_scans_of_other_shapes(scan):
    phase = known_phase("hP")
    rotations = random_rotations(max(int(np.prod(scan)), 1))
    lattice = as_bands(shown(phase, rotations), scan).estimate_lattice(width_scale=1.0, **QUIET)
    xmap = to_map(lattice, phase, scan)
    assert xmap.size == rotations.size
    assert misorientations(xmap.rotations, rotations, phase).max() < 0.4
    if scan:
        steps = np.diff(xmap.y if scan == (12, 1) else xmap.x)
        np.testing.assert_allclose(steps, 0.5 if scan == (12, 1) else 1.5)


def test_says_what_is_wrong(oriented, grains):
    _, _, lattice = oriented
    with pytest.raises(ValueError, match="no detector, and orientations need its tilts"):
        to_map(lattice, detector=None)
    with pytest.raises(ValueError, match=r"a scan of the shape \(3, 4\), and this one has .*4, 3"):
        to_map(lattice, scan=(4, 3))
    with pytest.raises(ValueError, match="two axes at most"):
        to_map(lattice, scan=(2, 3, 4))
    with pytest.raises(ValueError, match="No pattern has a lattice"):
        to_map({7: grains[1][7]})


@pytest.fixture(scope="module")
def nickel():
    """Patterns of a dynamical simulation, and their orientations."""
    data = pytest.importorskip("kikuchipy.data")
    master = data.nickel_ebsd_master_pattern_small(projection="lambert")
    rotations = random_rotations(6, seed=0)
    patterns = master.get_patterns(
        rotations.reshape(2, 3), DETECTOR, energy=20, compute=True, show_progressbar=False
    )
    patterns.metadata.set_item("Acquisition_instrument.SEM.beam_energy", 20.0)
    return master, patterns, rotations


@pytest.mark.parametrize("lazy", [False, True])
def test_patterns_of_kikuchipy_come_back(nickel, lazy):
    master, patterns, rotations = nickel
    patterns = patterns.as_lazy() if lazy else patterns
    lattice = patterns.emsparse.estimate_lattice(**QUIET)
    found = patterns.emsparse.to_crystal_map(lattice)
    assert misorientations(found.rotations, rotations, master.phase).max() < 0.5
    xmap = patterns.emsparse.to_crystal_map(lattice, master.phase)
    assert misorientations(xmap.rotations, rotations, master.phase).max() < 0.5
    patterns.xmap = xmap  # as kikuchipy's own
    if not lazy:
        refined = patterns.refine_orientation(
            xmap, DETECTOR, master, energy=20, trust_region=[2, 2, 2]
        )
        assert misorientations(refined.rotations, rotations, master.phase).max() < 0.05
        assert refined.scores.min() > 0.98

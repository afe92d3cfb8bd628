# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From a deflection to descan, rotation, induction, charge and potential, with variances."""

import hyperspy.api as hs
import numpy as np
import pytest
from scipy.constants import e, epsilon_0, h, physical_constants

pytest.importorskip("pyxem")
from emsparse_hs.signals import BeamDeflection, ElectricField, MagneticInduction  # noqa: E402
from emsparse_hs.stem4d import centroid  # noqa: E402
from emsparse_hs.stem4d.scan_rotation import ScanRotation  # noqa: E402

SHAPE = (12, 15)


def values(signal):
    return np.asarray(signal.data)


def variance(signal):
    return values(signal.metadata.Signal.Noise_properties.variance)


def calibrate(signal, scales=(0.2, 0.3), units="nm"):
    for axis, name, scale in zip(signal.axes_manager.navigation_axes, "xy", scales, strict=False):
        axis.name, axis.scale, axis.units = name, scale, units
    return signal


@pytest.fixture(params=[False, True], ids=["eager", "lazy"])
def deflection(request):
    random = np.random.default_rng(0)
    made = calibrate(BeamDeflection(random.normal(size=(*SHAPE, 2))))
    made.units = ["mrad", "mrad"]
    made.metadata.set_item("Signal.quantity", "Deflection (mrad)")
    made.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 300.0)
    noise = hs.signals.Signal1D(random.uniform(0.5, 2, (*SHAPE, 2)))
    made.set_noise_variance(noise)
    if request.param:
        made = made.as_lazy()
        made.set_noise_variance(noise.as_lazy())
    return made


def test_sigma_is_the_root_of_the_variance(deflection):
    sigma = deflection.sigma
    assert isinstance(sigma, hs.signals.Signal1D)
    assert sigma._lazy == deflection._lazy
    np.testing.assert_allclose(values(sigma) ** 2, variance(deflection))
    assert sigma.axes_manager[0].scale == 0.2
    assert sigma.metadata.Signal.quantity == "Standard deviation of Deflection (mrad)"
    part = deflection.inav[2:5, 1:3]
    np.testing.assert_allclose(values(part.sigma), values(sigma)[1:3, 2:5])
    with pytest.raises(ValueError, match="no variance"):
        _ = BeamDeflection(np.zeros((3, 4, 2))).sigma


def test_electric_field_has_the_variance(deflection):
    field = deflection.to_electric_field(10, units="V/nm")
    factor = values(field)[0, 0, 0] / values(deflection)[0, 0, 0]
    np.testing.assert_allclose(variance(field), factor**2 * variance(deflection))
    assert field.sigma._lazy == deflection._lazy


def test_induction_is_what_the_lorentz_force_needs(deflection):
    """The deflection by the force -e v x B, from B with numpy's cross product."""
    induction = deflection.to_magnetic_induction(thickness=10)
    assert isinstance(induction, MagneticInduction)
    assert induction._lazy == deflection._lazy
    assert (induction.units, induction.thickness, induction.beam_energy) == ("T", 10, 300)
    rest = physical_constants["electron mass energy equivalent in MeV"][0] * 1e3
    momentum = (
        np.sqrt(300**2 + 2 * 300 * rest)
        * 1e3
        * e
        / physical_constants["speed of light in vacuum"][0]
    )
    # The force acts for t / v, so that v drops out of the momentum -e z x B t.
    field = np.concatenate([values(induction), np.zeros((*SHAPE, 1))], -1)
    kick = -e * np.cross([0, 0, 1], field) * 10e-9
    np.testing.assert_allclose(kick[..., :2] / momentum * 1e3, values(deflection), rtol=1e-7)
    assert induction.metadata.Signal.quantity == "Magnetic induction (T)"
    assert "VectorMetadata" not in induction.metadata


def test_ten_microradians_over_ten_nanometres_are_two_tesla():
    deflection = BeamDeflection(np.array([[10.0, 0.0]]))
    deflection.units = ["urad", "urad"]
    found = deflection.to_magnetic_induction(10, beam_energy=300).data
    np.testing.assert_allclose(found, [[0, 2.1007]], rtol=1e-4)
    product = deflection.to_magnetic_induction(beam_energy=300)
    np.testing.assert_allclose(product.data, [[0, 21.007]], rtol=1e-4)
    assert (product.units, product.thickness) == ("T nm", None)
    wavelength = 1.96875e-12
    assert product.data[0, 1] == pytest.approx(h / (e * wavelength) * 1e-5 * 1e9, rel=1e-5)


def test_induction_has_the_variance_of_the_other_component(deflection):
    induction = deflection.to_magnetic_induction(10)
    factor = values(induction)[0, 0, 1] / values(deflection)[0, 0, 0]
    np.testing.assert_allclose(variance(induction), factor**2 * variance(deflection)[..., ::-1])


def test_induction_says_what_is_wrong(deflection):
    with pytest.raises(ValueError, match="positive number of nm"):
        deflection.to_magnetic_induction(-1)
    del deflection.metadata.Acquisition_instrument
    with pytest.raises(ValueError, match="Pass beam_energy=300"):
        deflection.to_magnetic_induction(10)


def test_rotate(deflection):
    before = values(deflection).copy()
    turned = deflection.rotate(90)
    assert type(turned) is type(deflection)
    x, y = np.moveaxis(before, -1, 0)
    np.testing.assert_allclose(values(turned), np.stack([-y, x], -1))
    np.testing.assert_allclose(variance(turned), variance(deflection)[..., ::-1])
    np.testing.assert_allclose(values(deflection.rotate(0, flip=True)), np.stack([x, -y], -1))
    estimate = ScanRotation(90.0, 0.1, True, 0.0, 1.0, 9.0)
    np.testing.assert_allclose(values(deflection.rotate(estimate)), np.stack([y, x], -1))
    np.testing.assert_allclose(
        variance(deflection.rotate(30))[..., 0],
        0.75 * variance(deflection)[..., 0] + 0.25 * variance(deflection)[..., 1],
    )
    np.testing.assert_array_equal(values(deflection), before)
    deflection.units = ["mrad", "px"]
    with pytest.raises(ValueError, match="one unit before"):
        deflection.rotate(10)


def test_estimate_and_rotate_bring_a_field_back(deflection):
    y, x = np.indices((40, 50))
    bumps = [(10, 12, 3.0), (30, 20, 4.0), (22, 41, 3.5)]
    field = sum(
        np.stack([x0 - x, y0 - y], -1)
        * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 2 / width**2)[..., None]
        for y0, x0, width in bumps
    )
    true = calibrate(BeamDeflection(field), (1, 1))
    true.units = ["mrad", "mrad"]
    measured = true.rotate(33, flip=True)
    if deflection._lazy:
        measured = measured.as_lazy()
    rotation = measured.estimate_scan_rotation()
    assert rotation.flip
    # Mirrored first, the same angle undoes it.
    assert rotation.angle == pytest.approx(33, abs=0.02)
    np.testing.assert_allclose(values(measured.rotate(rotation)), field, atol=1e-3)


def test_subtract_descan(deflection):
    y, x = np.indices(SHAPE)
    plane = np.stack([0.5 * x - y, 3 + 0.2 * y], -1)
    tilted = deflection._deepcopy_with_new_data(deflection.data + plane, copy_variance=True)
    result = tilted.subtract_descan(robust=False)
    assert type(result) is BeamDeflection
    expected = deflection.subtract_descan(robust=False)
    np.testing.assert_allclose(result.data, expected.data, atol=1e-9)
    np.testing.assert_allclose(result.data.mean((0, 1)), 0, atol=1e-9)
    np.testing.assert_allclose(variance(result), variance(deflection))
    assert list(result.units) == ["mrad", "mrad"]


def test_subtract_descan_of_a_reference_and_with_masks(deflection):
    y, x = np.indices(SHAPE)
    plane = np.stack([0.5 * x - y, 3 + 0.2 * y], -1)
    reference = deflection._deepcopy_with_new_data(plane)
    tilted = deflection + plane
    result = tilted.subtract_descan(reference=reference)
    np.testing.assert_allclose(result.data, values(deflection), atol=1e-9)

    specimen = deflection._deepcopy_with_new_data(plane + 7.0 * (x < 7)[..., None])
    mask = hs.signals.BaseSignal(x < 7).T
    for one in (mask, (x < 7).T):
        left = specimen.subtract_descan(mask=one, robust=False).data
        np.testing.assert_allclose(left, 7.0 * (x < 7)[..., None] * np.ones(2), atol=1e-9)


def test_subtract_descan_of_stacks_and_lines(deflection):
    y, x = np.indices(SHAPE)
    plane = np.stack([0.5 * x - y, 3 + 0.2 * y], -1)
    stack = BeamDeflection(np.stack([plane, -2 * plane, plane + 1]))
    np.testing.assert_allclose(stack.subtract_descan().data, 0, atol=1e-9)
    everything = stack.subtract_descan(mask=(x < 4).T)
    np.testing.assert_allclose(everything.data, 0, atol=1e-9)
    line = deflection.inav[:, 3].subtract_descan(robust=False)
    assert line.data.shape == (15, 2)
    np.testing.assert_allclose(line.data.mean(0), 0, atol=1e-9)
    with pytest.raises(ValueError, match="no scan"):
        deflection.inav[3, 3].subtract_descan()
    with pytest.raises(ValueError, match="reference has shape"):
        deflection.subtract_descan(reference=stack)
    with pytest.raises(TypeError, match="Pass a BeamDeflection"):
        deflection.subtract_descan(reference=plane)
    other = deflection.deepcopy()
    other.metadata.set_item("Beam_deflection.centre", "axes")
    with pytest.raises(ValueError, match="reference from 'axes'"):
        deflection.subtract_descan(reference=other)


def test_a_reference_is_the_zero_of_the_deflection():
    """A mean deflection by the specimen is not lost, nor is the descan taken for one."""
    y, x = np.indices((9, 10))
    drift = np.stack([31 + 0.1 * x, 30 - 0.2 * y], -1)
    rows, columns = np.indices((64, 64))

    def measured(places):
        across, down = (np.subtract.outer(places[..., i], axes) for i, axes in enumerate(grids))
        frames = hs.signals.Signal2D(200 * np.exp(-(across**2 + down**2) / 50))
        frames.set_signal_type("electron_diffraction")
        return frames.emsparse.beam_deflection(centre=(20, 20))

    grids = (columns, rows)
    vacuum, specimen = measured(drift), measured(drift + (1.5, -0.5))
    found = specimen.subtract_descan(reference=vacuum)
    np.testing.assert_allclose(found.data, np.broadcast_to([1.5, -0.5], (9, 10, 2)), atol=0.01)


def test_induction_times_length_loses_it_in_derivatives(deflection):
    induction = deflection.to_magnetic_induction()
    assert induction.curl().metadata.Signal.quantity == "Curl (T)"
    assert induction.divergence().metadata.Signal.quantity == "Divergence (T)"


def test_divergence_and_curl_are_images_in_units_of_the_scan(deflection):
    y, x = np.indices(SHAPE) * np.reshape((0.3, 0.2), (2, 1, 1))
    swirl = deflection._deepcopy_with_new_data(np.stack([2 * x - y, 5 * y + 4 * x], -1), True)
    for found, expected, name in [
        (swirl.divergence(), 7, "Divergence (mrad/nm)"),
        (swirl.curl(), 5, "Curl (mrad/nm)"),
    ]:
        assert type(found) is hs.signals.Signal2D
        np.testing.assert_allclose(found.data, expected)
        assert found.metadata.Signal.quantity == name
        assert [axis.scale for axis in found.axes_manager.signal_axes] == [0.2, 0.3]
        assert variance(found).shape == SHAPE


def test_derivatives_say_what_is_wrong(deflection):
    with pytest.raises(ValueError, match="a scan of two"):
        deflection.inav[:, 0].curl()
    with pytest.raises(ValueError, match="need 3"):
        deflection.inav[:2, :].curl()
    deflection.axes_manager[0].units = "um"
    with pytest.raises(ValueError, match="um and nm"):
        deflection.divergence()
    deflection.axes_manager[0].convert_to_non_uniform_axis()
    with pytest.raises(ValueError, match="not evenly spaced"):
        deflection.divergence()


def gaussian_field(units="V/angstrom", lazy=False):
    """Field of a Gaussian potential of 8 V and 2 nm width in a scan of 0.2 nm x 0.3 nm."""
    y, x = np.indices((50, 80)) * np.reshape((0.3, 0.2), (2, 1, 1))
    square = ((x - 8) ** 2 + (y - 7) ** 2) / 4
    potential = 8 * np.exp(-square / 2)
    in_volts_per_nanometre = np.stack([x - 8, y - 7], -1) / 4 * potential[..., None]
    size = {"V/angstrom": 10, "V/nm": 1, "V/m": 1e-9, "MV/cm": 0.1}[units]
    field = calibrate(ElectricField(in_volts_per_nanometre / size))
    field.units = units
    field.metadata.set_item("Electric_field.thickness", 20.0)
    return potential, square, (field.as_lazy() if lazy else field)


@pytest.mark.parametrize("units", ["V/angstrom", "V/nm", "V/m", "MV/cm"])
@pytest.mark.parametrize("lazy", [False, True])
def test_charge_density_and_potential_of_a_gaussian(units, lazy):
    potential, square, field = gaussian_field(units, lazy)
    # rho = -eps0 laplacian V, in e/nm^3 with V/nm^2.
    expected = epsilon_0 / e * 1e-9 * potential * (2 - square) / 4
    density = field.charge_density()
    np.testing.assert_allclose(density.data, expected, atol=2e-3 * expected.max())
    assert density.metadata.Signal.quantity == "Charge density (e/nm^3)"
    smaller = field.charge_density("e/angstrom^3")
    np.testing.assert_allclose(smaller.data, density.data / 1000)
    assert smaller.metadata.Signal.quantity == "Charge density (e/Å^3)"

    found = field.potential()
    error = found.data - potential
    assert np.ptp(error) < 1e-3 * np.ptp(potential)
    assert found.metadata.Signal.quantity == "Potential (V)"
    projected = field.potential(projected=True)
    np.testing.assert_allclose(projected.data, 20 * found.data)
    assert not found._lazy


def test_length_units_of_the_scan_are_converted():
    potential, _, field = gaussian_field()
    in_nm = field.potential(highpass=2.0).data
    density = field.charge_density().data
    for units, size in [("Å", 0.1), ("angstrom", 0.1), ("µm", 1e3), ("um", 1e3), ("m", 1e9)]:
        other = calibrate(field.deepcopy(), (0.2 / size, 0.3 / size), units)
        np.testing.assert_allclose(other.potential(highpass=2.0 / size).data, in_nm, atol=1e-9)
        np.testing.assert_allclose(other.charge_density().data, density, atol=1e-9)


def test_charge_density_has_the_variance_of_repetitions():
    _, _, field = gaussian_field("V/nm")
    field.set_noise_variance(hs.signals.Signal1D(np.full(field.data.shape, 0.04)))
    random = np.random.default_rng(0)
    clean = field.charge_density()
    noisy = [
        (field + 0.2 * random.normal(size=field.data.shape)).charge_density().data - clean.data
        for _ in range(30)
    ]
    ratio = np.var(noisy) / variance(clean).mean()
    assert ratio == pytest.approx(1, abs=0.03)


def test_fields_say_what_is_wrong():
    _, _, field = gaussian_field()
    with pytest.raises(ValueError, match="e/angstrom"):
        field.charge_density("C/m^3")
    bare = ElectricField(field.data)
    with pytest.raises(ValueError, match="a length is needed"):
        bare.potential()
    with pytest.raises(ValueError, match="Set its unit"):
        calibrate(bare).potential()
    with pytest.raises(ValueError, match="needs the thickness"):
        bare.potential(projected=True)


def test_magnitude_has_a_variance_along_the_vector(deflection):
    magnitude = deflection.magnitude()
    assert magnitude._lazy == deflection._lazy
    x, y = np.moveaxis(values(deflection), -1, 0)
    of_x, of_y = np.moveaxis(variance(deflection), -1, 0)
    np.testing.assert_allclose(variance(magnitude), (x**2 * of_x + y**2 * of_y) / (x**2 + y**2))


def test_without_variance_there_is_none(deflection):
    del deflection.metadata.Signal.Noise_properties
    deflection.metadata.set_item("Beam_deflection.scale", [0.5, 0.5])
    for made in (
        deflection.to_electric_field(10),
        deflection.to_magnetic_induction(),
        deflection.rotate(10),
        deflection.subtract_descan(),
        deflection.curl(),
        deflection.magnitude(),
        deflection.to_beam_shift(),
    ):
        assert not made.metadata.has_item("Signal.Noise_properties")


def test_from_a_simulated_scan_to_its_potential():
    """The probe blurs the field by a few per cent, which the potential of the truth has not."""
    from emsparse_hs.data._simulated_scan import simulated_scan

    scan = simulated_scan(seed=5, dose=None)
    deflection = BeamDeflection((centroid(scan.data) - scan.detector_centre) * scan.detector_step)
    deflection.units = ["mrad", "mrad"]
    calibrate(deflection, (scan.scan_step, scan.scan_step))
    field = deflection.to_electric_field(scan.thickness, beam_energy=scan.beam_energy)
    np.testing.assert_allclose(field.data, scan.field, atol=1e-6 * np.abs(scan.field).max())
    found = field.potential(projected=True)
    assert found.metadata.Signal.quantity == "Projected potential (V nm)"
    expected = scan.potential - scan.potential.mean()
    assert np.std(found.data - expected) < 0.05 * np.std(expected)


def test_says_where_the_handedness_is_a_guess():
    """Each component changes along its own axis only: mirrored or not, there is no curl."""
    y, x = np.indices((32, 40))
    field = np.stack([np.sin(x / 3), np.cos(y / 4)], -1)
    field += 0.1 * np.random.default_rng(0).normal(size=field.shape)
    with pytest.warns(UserWarning, match="mirrored is a guess"):
        calibrate(BeamDeflection(field), (1, 1)).estimate_scan_rotation(polarity="positive")


def test_that_it_is_no_angle_is_said_before_the_beam_energy():
    pixels = calibrate(BeamDeflection(np.zeros((*SHAPE, 2))))
    pixels.units = ["px", "px"]
    for convert in (lambda: pixels.to_electric_field(10), pixels.to_magnetic_induction):
        with pytest.raises(ValueError, match="an angle is needed"):
            convert()
    with pytest.raises(ValueError, match="'30 nm'. Give a positive number"):
        angles = calibrate(BeamDeflection(np.zeros((*SHAPE, 2))))
        angles.units = ["mrad", "mrad"]
        angles.to_electric_field("30 nm", beam_energy=300)


def test_a_rotated_deflection_is_no_shift_of_patterns(deflection):
    with pytest.raises(ValueError, match="before rotate"):
        deflection.rotate(90).to_beam_shift()


def test_spatial_frequencies_take_the_beam_energy_that_is_known():
    made = calibrate(BeamDeflection(np.ones((*SHAPE, 2))))
    made.units = ["1/nm", "1/nm"]
    with pytest.raises(ValueError, match="beam energy"):
        made.to_electric_field(10)
    passed = made.to_electric_field(10, beam_energy=300)
    made.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 300)
    np.testing.assert_array_equal(made.to_electric_field(10).data, passed.data)


def test_results_have_a_variance_of_their_own(deflection):
    found = deflection.subtract_descan(robust=False)
    expected = variance(found).copy()
    if not deflection._lazy:
        deflection.metadata.Signal.Noise_properties.variance.data[...] = 99
    np.testing.assert_array_equal(variance(found), expected)
    found.metadata.Signal.Noise_properties.variance.data[...] = 1

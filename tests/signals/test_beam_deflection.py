# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Signs and units of the deflection, what becomes of it, and what pyxem makes of it."""

import hyperspy.api as hs
import numpy as np
import pytest
from scipy.constants import e, physical_constants

from emsparse_hs.stem4d import disc

pytest.importorskip("pyxem")
from emsparse_hs.signals import BeamDeflection  # noqa: E402

#: Field times thickness in V that deflects by 1 rad, by energy and momentum at 300 kV.
REST = physical_constants["electron mass energy equivalent"][0] / e
VOLTS = (3e5**2 + 2 * 3e5 * REST) / (3e5 + REST)


def beams(shifts, scale=1.0, units="mrad", shape=(50, 60)):
    """Patterns of a disc that is shifted by whole px from (30, 25)."""
    frames = np.array([disc(shape, (30 + dx, 25 + dy), 8.1) for dx, dy in shifts]).astype("u2")
    signal = hs.signals.Signal2D(frames)
    signal.set_signal_type("electron_diffraction")
    signal.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 300.0)
    for axis in signal.axes_manager.signal_axes:
        axis.scale, axis.units = scale, units
    return signal


@pytest.fixture(params=[False, True], ids=["eager", "lazy"])
def deflection(request):
    """One px is half a mrad; beam towards +x, towards +y, and nowhere."""
    signal = beams([(2, 0), (0, 3), (0, 0)], scale=0.5)
    signal = signal.as_lazy() if request.param else signal
    return signal.emsparse.beam_deflection(centre=(30, 25))


def values(signal):
    return np.asarray(signal.data)


def test_units_are_those_of_the_detector(deflection):
    np.testing.assert_allclose(values(deflection), [[1, 0], [0, 1.5], [0, 0]], atol=1e-12)
    assert list(deflection.units) == ["mrad", "mrad"]


@pytest.mark.parametrize(
    ("units", "per_volt_per_metre"),
    [("V/m", 1), ("V/nm", 1e-9), ("V/angstrom", 1e-10), ("MV/cm", 1e-8)],
)
def test_electric_field_has_the_sign_and_size_of_physics(deflection, units, per_volt_per_metre):
    field = deflection.to_electric_field(thickness=10, units=units)
    assert type(field).__name__.removeprefix("Lazy") == "ElectricField"
    assert field._lazy == deflection._lazy
    expected = -values(deflection) * 1e-3 * VOLTS / 10e-9 * per_volt_per_metre
    np.testing.assert_allclose(values(field), expected, rtol=1e-9)
    assert values(field)[0, 0] < 0
    assert field.units == units


def test_one_milliradian_over_ten_nanometres_at_300_kilovolts(deflection):
    assert values(deflection.to_electric_field(10))[0, 0] == pytest.approx(-4.89, rel=1e-3)


def test_field_knows_where_it_comes_from(deflection):
    field = deflection.to_electric_field(thickness=12, beam_energy=80)
    assert (field.thickness, field.beam_energy, field.units) == (12, 80, "V/angstrom")
    assert field.metadata.Signal.quantity == "Electric field (V/Å)"
    assert "VectorMetadata" not in field.metadata
    assert deflection.metadata.Signal.quantity == "Deflection (mrad)"
    assert list(deflection.units) == ["mrad", "mrad"]


def test_any_angle_will_do(deflection):
    expected = values(deflection.to_electric_field(10))
    in_rad = deflection * 1e-3
    in_rad.units = ["rad", "rad"]
    np.testing.assert_allclose(values(in_rad.to_electric_field(10)), expected, rtol=1e-12)


def test_says_what_is_wrong(deflection):
    with pytest.raises(ValueError, match="positive number of nm"):
        deflection.to_electric_field(0)
    with pytest.raises(ValueError, match="V/angstrom"):
        deflection.to_electric_field(10, units="V")
    del deflection.metadata.Acquisition_instrument
    with pytest.raises(ValueError, match="Pass beam_energy=300"):
        deflection.to_electric_field(10)
    deflection.units = ["px", "px"]
    with pytest.raises(ValueError, match="an angle is needed"):
        deflection.to_electric_field(10, beam_energy=300)
    with pytest.raises(ValueError, match="an angle is needed"):
        BeamDeflection(np.zeros((3, 2))).to_electric_field(10, beam_energy=300)
    with pytest.raises(ValueError, match="a detector pixel"):
        BeamDeflection(np.zeros((3, 2))).to_beam_shift()
    with pytest.raises(ValueError, match="Calibrate the detector"):
        deflection.pixels_to_calibrated_units()


def test_beam_shift_is_minus_the_deflection_in_px(deflection):
    shift = deflection.to_beam_shift()
    assert type(shift).__name__ == ("LazyBeamShift" if deflection._lazy else "BeamShift")
    np.testing.assert_allclose(values(shift), [[-2, 0], [0, -3], [0, 0]], atol=1e-12)
    assert list(shift.units) == ["px", "px"]
    assert not shift.metadata.has_item("Beam_deflection")


def test_beam_shift_centres_the_beam():
    signal = beams([(2, 0), (-4, 3), (0, 0)], scale=0.5)
    shift = signal.emsparse.beam_deflection(centre=(30, 25)).to_beam_shift()
    centred = signal.center_direct_beam(shifts=shift, inplace=False)
    still = centred.emsparse.beam_deflection(centre=(30, 25))
    np.testing.assert_allclose(still.data, 0, atol=1e-9)


def test_pyxem_s_name_for_the_field_has_the_sign_of_physics(deflection):
    field = deflection.calibrate_electric_shifts(thickness=50)
    expected = -values(deflection) * 1e-3 * VOLTS / 50e-9 * 1e-8
    np.testing.assert_allclose(values(field), expected, rtol=1e-9)
    assert field.units == "MV/cm"


def test_pyxem_s_own_shifts_give_the_opposite_field():
    """Pinned: when pyxem mends its sign, what our docstrings say of it must change."""
    signal = beams([(1, 0)])
    shift = signal.get_direct_beam_position(method="center_of_mass")
    shift.beam_energy = 300.0
    theirs = shift.pixels_to_calibrated_units().calibrate_electric_shifts(thickness=50)
    ours = signal.emsparse.beam_deflection(centre=(30, 25)).calibrate_electric_shifts(50)
    assert ours.data[0, 0] == pytest.approx(-97.8, rel=1e-3)
    assert theirs.data[0, 0] == pytest.approx(97.8, rel=1e-3)


def same(one, other):
    assert type(one).__name__.removeprefix("Lazy") == type(other).__name__.removeprefix("Lazy")
    assert list(one.units) == list(other.units)
    kept = one.metadata.Beam_deflection.as_dictionary()
    again = other.metadata.Beam_deflection.as_dictionary()
    assert {key: np.array(value).tolist() for key, value in again.items()} == kept
    np.testing.assert_allclose(
        values(other.to_electric_field(10)), values(one.to_electric_field(10)), rtol=1e-12
    )


@pytest.mark.parametrize("suffix", [".hspy", ".zspy"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_units_survive_saving(deflection, suffix, tmp_path):
    deflection.save(tmp_path / f"deflection{suffix}")
    for is_lazy in (False, True):
        same(deflection, hs.load(tmp_path / f"deflection{suffix}", lazy=is_lazy))


def test_units_survive_copies_and_conversions(deflection):
    same(deflection, deflection.deepcopy())
    same(deflection, deflection.as_lazy())
    computed = deflection.as_lazy()
    computed.compute(close_file=False, show_progressbar=False)
    same(deflection, computed)
    part = deflection.inav[1:]
    assert list(part.units) == ["mrad", "mrad"]
    np.testing.assert_array_equal(values(part), values(deflection)[1:])


def test_inherited_plane_keeps_class_and_sign():
    y, x = np.indices((6, 7))
    plane = np.stack([0.1 * x, -0.2 * y], axis=-1)
    deflection = BeamDeflection(plane)
    deflection.units = ["mrad", "mrad"]
    fit = deflection.get_linear_plane()
    assert type(fit) is BeamDeflection
    np.testing.assert_allclose(fit.data, plane, atol=1e-9)


def test_plot_of_a_lazy_deflection_leaves_it_lazy():
    import matplotlib.pyplot as plt

    deflection = BeamDeflection(np.random.default_rng(0).random((4, 5, 2))).as_lazy()
    deflection.plot()
    plt.close("all")
    assert deflection._lazy


def test_says_when_the_half_turn_is_open():
    from emsparse_hs.data import simulated_scan

    deflection = simulated_scan(seed=0)[0].emsparse.beam_deflection()
    with pytest.warns(UserWarning, match="may be wrong by 180"):
        found = deflection.estimate_scan_rotation()
    assert found.polarity_significance < 3
    deflection.estimate_scan_rotation(polarity="positive")

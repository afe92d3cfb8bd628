# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From frames to deflection: in every layout, with every kind of frame, and against pyxem."""

import warnings

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs import data
from emsparse_hs.electron import relativistic_wavelength
from emsparse_hs.stem4d import annulus, centroid, disc

pytest.importorskip("pyxem")

SHAPE = (3, 4, 14, 10)


def counts(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).poisson(7, shape).astype("u2")


def diffraction(array, units="", scale=1.0, offset=0.0, beam_energy=None):
    signal = hs.signals.Signal2D(array)
    signal.set_signal_type("electron_diffraction")
    for axis in signal.axes_manager.signal_axes:
        axis.scale, axis.offset = scale, offset
        if units:
            axis.units = units
    if beam_energy:
        signal.metadata.set_item("Acquisition_instrument.TEM.beam_energy", beam_energy)
    return signal


def lazy(signal, chunks):
    return type(signal.as_lazy())(da.from_array(signal.data, chunks=chunks)) if chunks else signal


def deflection_of(frames, origin=(0.0, 0.0)):
    return centroid(frames) - origin


@pytest.mark.parametrize(
    "chunks",
    [None, (1, 4, 14, 10), (3, 1, 14, 10), (2, 3, 14, 10), (3, 4, 5, 10), (2, 2, 7, 3), (1,) * 4],
)
@pytest.mark.parametrize("lazy_output", [None, False, True])
def test_any_chunking_gives_the_same(chunks, lazy_output):
    signal = lazy(diffraction(counts()), chunks)
    before = np.array(signal.data)
    result = signal.emsparse.beam_deflection(lazy_output=lazy_output)
    is_lazy = chunks is not None if lazy_output is None else lazy_output
    assert type(result).__name__ == ("LazyBeamDeflection" if is_lazy else "BeamDeflection")
    assert isinstance(result.data, da.Array if is_lazy else np.ndarray)
    expected = deflection_of(counts())
    expected -= expected.mean((0, 1))
    np.testing.assert_allclose(np.asarray(result.data), expected, atol=1e-12)
    np.testing.assert_array_equal(np.asarray(signal.data), before)


@pytest.mark.parametrize("shape", [(5, 14, 10), (3, 4, 14, 10), (2, 3, 4, 14, 10)])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_any_number_of_navigation_axes(shape, is_lazy):
    signal = diffraction(counts(shape))
    signal = signal.as_lazy() if is_lazy else signal
    result = signal.emsparse.beam_deflection(centre=(4.5, 6.0))
    assert result.axes_manager.navigation_shape == signal.axes_manager.navigation_shape
    expected = deflection_of(counts(shape), (4.5, 6.0))
    np.testing.assert_allclose(np.asarray(result.data), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i4", "u4", "f4", ">f4", "f8", "?"])
def test_any_dtype(dtype):
    frames = counts().astype(dtype)
    result = diffraction(frames).emsparse.beam_deflection(centre=(0, 0))
    np.testing.assert_allclose(result.data, deflection_of(frames), atol=1e-12)


def test_saturated_frames():
    frames = np.full(SHAPE, 65_535, "u2")
    result = diffraction(frames).emsparse.beam_deflection(centre=(4.5, 6.5))
    np.testing.assert_array_equal(result.data, 0)


def test_transposed_data_keep_their_axes():
    signal = hs.signals.Signal2D(counts((14, 10, 3, 4))).transpose(signal_axes=(0, 1))
    result = signal.emsparse.beam_deflection(centre=(0, 0))
    assert result.axes_manager.navigation_shape == (4, 3)
    expected = deflection_of(counts((14, 10, 3, 4)).transpose(2, 3, 0, 1))
    np.testing.assert_allclose(result.data, expected, atol=1e-12)


def test_deflection_is_positive_where_the_electrons_go():
    beams = [disc((40, 50), (20 + dx, 25 + dy), 6.1) for dx, dy in ((0, 0), (2, 0), (0, -3))]
    result = diffraction(np.array(beams).astype("u1")).emsparse.beam_deflection(centre=(20, 25))
    np.testing.assert_allclose(result.data, [[0, 0], [2, 0], [0, -3]], atol=1e-12)


@pytest.mark.parametrize("form", ["array", "dask", "signal"])
@pytest.mark.parametrize("is_lazy", [False, True])
def test_masked_pixels_are_ignored(form, is_lazy):
    frames = counts()
    mask = np.random.default_rng(1).random(SHAPE[2:]) > 0.7
    expected = centroid(frames, ~mask)
    spoilt = np.where(mask, 60_000, frames).astype("u2")
    signal = diffraction(spoilt)
    signal = signal.as_lazy() if is_lazy else signal
    given = {"array": mask, "dask": da.from_array(mask), "signal": hs.signals.Signal2D(mask)}[form]
    result = signal.emsparse.beam_deflection(mask=given, centre=(0, 0))
    np.testing.assert_allclose(np.asarray(result.data), expected, atol=1e-12)


def test_annulus_is_around_the_centre():
    signal = diffraction(counts())
    for centre, place in (("mean", (4.5, 6.5)), ((3, 5), (3, 5))):
        keep = annulus(SHAPE[2:], place, 1.5, 4)
        expected = signal.emsparse.beam_deflection(mask=~keep, centre=centre)
        result = signal.emsparse.beam_deflection(annulus=(1.5, 4), centre=centre)
        np.testing.assert_array_equal(result.data, expected.data)


@pytest.mark.parametrize("is_lazy", [False, True])
def test_empty_frames_are_nan_and_do_not_count_in_the_mean(is_lazy):
    frames = counts()
    frames[1, 2] = 0
    signal = diffraction(frames)
    if is_lazy:
        result = signal.as_lazy().emsparse.beam_deflection()
    else:
        with pytest.warns(UserWarning, match="1 of 12 frames have no counts") as caught:
            result = signal.emsparse.beam_deflection()
        assert len(caught) == 1
    deflection = np.asarray(result.data)
    assert np.isnan(deflection).any(-1).sum() == 1 and np.isnan(deflection[1, 2]).all()
    np.testing.assert_allclose(np.nanmean(deflection, axis=(0, 1)), 0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:12 of 12 frames")
@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.parametrize("is_lazy", [False, True])
def test_a_scan_without_any_counts_is_all_nan(is_lazy):
    signal = diffraction(np.zeros(SHAPE, "u2"))
    signal = signal.as_lazy() if is_lazy else signal
    assert np.isnan(np.asarray(signal.emsparse.beam_deflection().data)).all()


def test_says_when_negative_counts_outweigh():
    frames = counts().astype("i4")
    frames[0, 0] -= 7
    frames[0, 0, 3, 3] -= frames[0, 0].sum() - 1
    with pytest.warns(UserWarning, match="1 of 12 frames lies outside the detector"):
        diffraction(frames).emsparse.beam_deflection()


@pytest.mark.parametrize(
    ("units", "size"),
    [
        ("mrad", 1.0),
        ("rad", 1e3),
        ("1/Å", 1e3 * relativistic_wavelength(200)),
        ("$A^{-1}$", 1e3 * relativistic_wavelength(200)),
        ("1/nm", 1e2 * relativistic_wavelength(200)),
    ],
)
def test_calibrated_detectors_give_milliradians(units, size):
    signal = diffraction(counts(), units, scale=0.4, offset=-2.0, beam_energy=200.0)
    result = signal.emsparse.beam_deflection(centre="axes")
    assert result.units == ["mrad", "mrad"]
    assert result.metadata.Signal.quantity == "Deflection (mrad)"
    expected = deflection_of(counts(), (5, 5)) * 0.4 * size
    np.testing.assert_allclose(result.data, expected, rtol=1e-12)


@pytest.mark.parametrize("units", ["", "px", "cm"])
def test_other_detectors_give_px(units):
    result = diffraction(counts(), units, scale=0.4).emsparse.beam_deflection(centre=(0, 0))
    assert result.units == ["px", "px"]
    np.testing.assert_allclose(result.data, deflection_of(counts()), rtol=1e-12)


def test_a_missing_beam_energy_is_said_where_it_is_needed():
    signal = diffraction(counts(), "1/nm", scale=0.4)
    with pytest.warns(UserWarning, match="beam_energy in keV.*in px"):
        result = signal.emsparse.beam_deflection()
    assert result.units == ["px", "px"]


def test_axes_and_metadata_go_along():
    signal = diffraction(counts(), "mrad", 0.4, beam_energy=200.0)
    signal.metadata.General.title = "film"
    signal.metadata.set_item("Sample.elements", ["Ti"])
    scan = signal.axes_manager.navigation_axes
    for axis, name, scale in zip(scan, "xy", (0.2, 0.3), strict=True):
        axis.name, axis.scale, axis.units, axis.offset = name, scale, "nm", 7 * scale
    result = signal.emsparse.beam_deflection()
    for given, kept in zip(scan, result.axes_manager.navigation_axes, strict=True):
        assert given.get_axis_dictionary() == kept.get_axis_dictionary()
    assert result.metadata.General.title == "film"
    assert result.metadata.Sample.elements == ["Ti"]
    assert result.metadata.Acquisition_instrument.TEM.beam_energy == 200.0
    result.metadata.Sample.elements.append("Pb")
    assert signal.metadata.Sample.elements == ["Ti"]


def test_says_what_is_wrong():
    signal = diffraction(counts())
    with pytest.raises(ValueError, match="'disk'.*'centroid'"):
        signal.emsparse.beam_deflection("disk")
    for mask in (None, np.eye(*SHAPE[2:]) > 0):
        with pytest.raises(ValueError, match="no navigation axes"):
            signal.inav[0, 0].emsparse.beam_deflection(mask=mask)
    for centre in ("middle", (1, 2, 3), (np.nan, 1), 4):
        with pytest.raises(ValueError, match='"mean", "axes" or'):
            signal.emsparse.beam_deflection(centre=centre)
    with pytest.raises(ValueError, match="Set their offset"):
        signal.emsparse.beam_deflection(centre="axes")
    with pytest.raises(ValueError, match="leave no detector pixel"):
        signal.emsparse.beam_deflection(annulus=(90, 91))
    with pytest.raises(ValueError, match="mask has shape"):
        signal.emsparse.beam_deflection(mask=np.zeros(SHAPE[:1:-1], bool))
    with pytest.raises(TypeError, match="complex"):
        hs.signals.ComplexSignal2D(counts() * 1j).emsparse.beam_deflection()


@pytest.mark.parametrize("is_lazy", [False, True])
def test_agrees_with_pyxem_but_for_the_sign(is_lazy):
    """The middle of the detector is width / 2 in pyxem, and the shift brings the beam there."""
    signal = diffraction(counts())
    signal = signal.as_lazy() if is_lazy else signal
    peer = signal.get_direct_beam_position(method="center_of_mass")
    ours = signal.emsparse.beam_deflection(centre=(SHAPE[3] / 2, SHAPE[2] / 2))
    np.testing.assert_allclose(np.asarray(ours.data), -np.asarray(peer.data), atol=1e-6)
    np.testing.assert_allclose(np.asarray(ours.to_beam_shift().data), peer.data, atol=1e-6)


@pytest.mark.parametrize("is_lazy", [False, True])
def test_simulated_scan_gives_its_true_field(is_lazy):
    signal, truth = data.simulated_scan(seed=4, scan_shape=(7, 9), dose=None)
    signal = signal.as_lazy() if is_lazy else signal
    field = signal.emsparse.beam_deflection(centre="axes").to_electric_field(truth.thickness)
    error = np.abs(np.asarray(field.data) - truth.field).max()
    assert error < 1e-6 * np.abs(truth.field).max()


@pytest.mark.parametrize("is_lazy", [False, True])
def test_real_blockfile(is_lazy, example):
    signal = hs.load(example("blockfile_3x2x144x144.blo"), lazy=is_lazy)
    x, y = np.moveaxis(np.asarray(signal.emsparse.beam_deflection(centre=(0, 0)).data), -1, 0)
    assert x.shape == (3, 2)
    assert (y.min().round(2), y.max().round(2)) == (74.65, 75.00)
    assert (x.min().round(2), x.max().round(2)) == (72.43, 72.48)


@pytest.mark.parametrize("is_lazy", [False, True])
def test_real_saturated_beam_at_the_edge(is_lazy, example):
    signal = hs.load(example("merlin_4x2x256x256_6bit.mib"), lazy=is_lazy)
    frames = np.asarray(signal.data)
    result = signal.emsparse.beam_deflection(centre=(0, 0))
    y, x = np.indices(frames.shape[-2:])
    total = frames.sum((-2, -1), dtype=float)
    expected = [(frames * w).sum((-2, -1)) / total for w in (x, y)]
    np.testing.assert_allclose(np.asarray(result.data), np.stack(expected, -1), rtol=1e-12)


def test_real_noise_with_negative_sums(example):
    signal = hs.load(example("16x16-diffraction_imagel_5x5x256x256_EDS.emi"))
    signal = signal[1] if isinstance(signal, list) else signal
    assert (signal.data.sum((-2, -1)) < 0).any()
    frames = signal.data.astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = signal.emsparse.beam_deflection(centre=(0, 0))
    assert list(result.units) == ["mrad", "mrad"]
    y, x = np.indices(frames.shape[-2:])
    expected = [(frames * w).sum((-2, -1)) / frames.sum((-2, -1)) for w in (x, y)]
    np.testing.assert_allclose(-result.to_beam_shift().data, np.stack(expected, -1), rtol=1e-9)

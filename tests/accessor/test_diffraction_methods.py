# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""From frames to deflection: in every layout, with every kind of frame, and against pyxem."""

import warnings

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs import data
from emsparse_hs.data import _simulated_scan
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


def test_unknown_units_are_named():
    with pytest.warns(UserWarning, match="in parsec, which is no angle"):
        result = diffraction(counts(), "parsec").emsparse.beam_deflection()
    assert list(result.units) == ["px", "px"]


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


METHODS = ["centroid", "disc", "template", "edge"]


@pytest.fixture(scope="module")
def scan():
    """A scan of a phase object, and what it should give."""
    return data.simulated_scan(seed=40, scan_shape=(12, 14), dose=3000)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("is_lazy", [False, True])
def test_every_method_gives_the_true_field_within_its_sigma(scan, method, is_lazy):
    signal, truth = scan
    signal = lazy(signal, (5, 14, 64, 64)) if is_lazy else signal
    for axis, given in zip(
        signal.axes_manager.signal_axes, scan[0].axes_manager.signal_axes, strict=True
    ):
        axis.scale, axis.offset, axis.units = given.scale, given.offset, given.units
    deflection = signal.emsparse.beam_deflection(method, centre="axes")
    assert deflection._lazy == is_lazy
    field = deflection.to_electric_field(truth.thickness, beam_energy=truth.beam_energy)
    error = np.asarray(field.data) - truth.field
    # A mean pattern is blurred and as far off as the mean deflection.
    error -= error.mean((0, 1)) if method in ("template", "edge") else 0
    ratio = error / np.asarray(field.sigma.data)
    assert 0.85 < np.sqrt((ratio**2).mean()) < 1.2


@pytest.mark.parametrize("method", METHODS)
def test_lazy_and_eager_agree_and_sigma_is_computed_with_the_data(scan, method):
    eager = scan[0].emsparse.beam_deflection(method)
    result = scan[0].as_lazy().emsparse.beam_deflection(method)
    result.compute(show_progressbar=False)
    assert not result.sigma._lazy
    np.testing.assert_allclose(result.data, eager.data, atol=0.02 * np.std(eager.data))
    np.testing.assert_allclose(result.sigma.data, eager.sigma.data, rtol=0.05)


def test_sigma_follows_its_pixels(scan):
    deflection = scan[0].emsparse.beam_deflection()
    part = deflection.inav[2:5, 3]
    np.testing.assert_array_equal(part.sigma.data, deflection.sigma.data[3, 2:5])


@pytest.mark.parametrize("suffix", [".hspy", ".zspy"])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_sigma_survives_saving(scan, suffix, tmp_path):
    deflection = scan[0].emsparse.beam_deflection()
    deflection.save(tmp_path / f"deflection{suffix}")
    for is_lazy in (False, True):
        again = hs.load(tmp_path / f"deflection{suffix}", lazy=is_lazy)
        np.testing.assert_allclose(np.asarray(again.sigma.data), deflection.sigma.data)


def test_gain_and_known_shape(scan):
    signal, _ = scan
    shape = {"radius": 12.6, "edge_width": 1.3}
    deflection = signal.emsparse.beam_deflection("disc", **shape)
    assert deflection.metadata.Beam_deflection.radius == 12.6
    gain = signal.emsparse.beam_deflection("centroid", dose_per_count=4)
    expected = signal.emsparse.beam_deflection("centroid").sigma.data / 2
    np.testing.assert_allclose(gain.sigma.data, expected, rtol=1e-9)


@pytest.mark.parametrize("form", ["pattern", "signal", "scan"])
@pytest.mark.parametrize("method", ["disc", "template", "edge"])
def test_a_reference_without_the_specimen(scan, method, form):
    signal = scan[0]
    pattern = (
        1e6 * np.abs(np.fft.fftshift(np.fft.fft2(_simulated_scan._probe(), norm="ortho"))) ** 2
    )
    frames = np.random.default_rng(0).poisson(pattern, (3, 4, 64, 64))
    given = {
        "pattern": frames[0, 0],
        "signal": diffraction(frames[0, 0]),
        "scan": diffraction(frames),
    }
    result = signal.emsparse.beam_deflection(method, reference=given[form], centre="axes")
    own = signal.emsparse.beam_deflection(method, centre="axes")
    difference = result.data - own.data
    difference -= difference.mean((0, 1))
    assert np.sqrt((difference**2).mean()) < 0.7 * np.sqrt((own.sigma.data**2).mean())
    with pytest.raises(ValueError, match="same detector"):
        signal.emsparse.beam_deflection(method, reference=np.ones((3, 4)))


def test_threshold_leaves_faint_pixels_out():
    signal = diffraction(counts())
    result = signal.emsparse.beam_deflection(threshold=1.2, centre=(0, 0))
    np.testing.assert_allclose(result.data, centroid(counts(), threshold=1.2), atol=1e-12)


def test_says_which_arguments_belong_to_which_method(scan):
    signal = scan[0]
    with pytest.raises(ValueError, match="threshold is for 'centroid', not for the method 'disc'"):
        signal.emsparse.beam_deflection("disc", threshold=1)
    with pytest.raises(ValueError, match="reference is for 'disc' and 'template' and 'edge'"):
        signal.emsparse.beam_deflection(reference=np.ones((64, 64)))
    with pytest.raises(ValueError, match="both radius and edge_width"):
        signal.emsparse.beam_deflection("disc", radius=12)
    with pytest.raises(ValueError, match="electrons a count"):
        signal.emsparse.beam_deflection(dose_per_count=0)


@pytest.mark.filterwarnings("ignore:The beam reaches the edge")
@pytest.mark.parametrize("method", ["disc", "template", "edge"])
def test_real_patterns_without_a_disc_give_an_answer_or_say_so(method, example):
    for name in ("blockfile_3x2x144x144.blo", "merlin_4x2x256x256_6bit.mib"):
        signal = hs.load(example(name))
        before = signal.data.copy()
        if method == "disc":
            with pytest.raises(ValueError, match="show no disc"):
                signal.emsparse.beam_deflection(method)
        else:
            result = signal.emsparse.beam_deflection(method)
            assert np.isfinite(result.data).all() and (result.sigma.data > 0).all()
        np.testing.assert_array_equal(signal.data, before)


@pytest.mark.parametrize("method", METHODS)
def test_one_bad_pixel_in_one_frame_costs_that_frame_only(scan, method):
    signal = scan[0].deepcopy()
    signal.change_dtype("float32")
    signal.data[0, 0, 30, 31] = np.nan
    with pytest.warns(UserWarning, match="1 of 168 frames"):
        result = signal.emsparse.beam_deflection(method)
    lost = np.isnan(result.data).any(-1)
    assert lost[0, 0] and lost.sum() == 1


@pytest.mark.filterwarnings("ignore:The counts scatter")
@pytest.mark.parametrize("method", ["disc", "template", "edge"])
def test_saturated_pixels_do_not_move_the_beam(scan, method):
    frames = np.minimum(scan[0].data, 6).astype("u1")
    whole = diffraction(scan[0].data).emsparse.beam_deflection(method)
    result = diffraction(frames).emsparse.beam_deflection(method)
    assert np.sqrt(np.mean((result.data - whole.data) ** 2)) < 1.5 * whole.sigma.data.mean()


@pytest.mark.parametrize("shape", [(6,), (2, 3, 1), (1, 6)])
@pytest.mark.parametrize("is_lazy", [False, True])
@pytest.mark.parametrize("method", ["disc", "template", "edge"])
def test_every_method_on_lines_and_stacks(scan, method, is_lazy, shape):
    frames = scan[0].data[4, 3:9]
    known = {"radius": 12.6, "edge_width": 1.3} if method == "disc" else {"reference": frames[0]}
    expected = diffraction(frames[None]).emsparse.beam_deflection(method, centre=(0, 0), **known)
    signal = diffraction(frames.reshape(*shape, 64, 64))
    signal = signal.as_lazy() if is_lazy else signal
    result = signal.emsparse.beam_deflection(method, centre=(0, 0), **known)
    assert result.data.shape == (*shape, 2)
    np.testing.assert_allclose(np.asarray(result.data).reshape(1, 6, 2), expected.data, atol=1e-6)
    sigma = np.asarray(result.sigma.data).reshape(1, 6, 2)
    np.testing.assert_allclose(sigma, expected.sigma.data, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_frames_need_not_be_square(scan, method):
    signal = scan[0].isig[:, 4:60]
    whole, result = (each.emsparse.beam_deflection(method) for each in (scan[0], signal))
    difference = result.data - whole.data
    assert np.sqrt(np.mean(difference**2)) < 0.5 * whole.sigma.data.mean()


@pytest.mark.filterwarnings("ignore:The counts scatter")
@pytest.mark.parametrize("method", ["disc", "template", "edge"])
def test_negative_noise_beside_the_beam(scan, method):
    """As in frames that a dark reference was subtracted from."""
    random = np.random.default_rng(7)
    frames = scan[0].data + random.normal(0, 0.5, scan[0].data.shape)
    whole = scan[0].emsparse.beam_deflection(method)
    result = diffraction(frames.round().astype("i2")).emsparse.beam_deflection(method)
    size = whole.metadata.Beam_deflection.scale[0]
    difference = result.data - whole.data / size
    assert np.sqrt(np.mean(difference**2)) < 1.5 * whole.sigma.data.mean() / size


@pytest.mark.parametrize("method", ["disc", "template", "edge"])
def test_real_noise_gives_an_answer_or_says_so(method, example):
    signal = hs.load(example("16x16-diffraction_imagel_5x5x256x256_EDS.emi"))
    signal = signal[1] if isinstance(signal, list) else signal
    before = signal.data.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = signal.emsparse.beam_deflection(method)
        except ValueError as error:
            assert "show no disc" in str(error)
        else:
            assert (result.sigma.data[np.isfinite(result.data)] > 0).all()
    np.testing.assert_array_equal(signal.data, before)


@pytest.mark.parametrize("method", ["template", "edge"])
def test_says_when_the_beam_is_cut(method):
    y, x = np.indices((40, 40))
    pattern = 50.0 * (np.hypot(x - 3, y - 20) < 8)
    frames = np.random.default_rng(0).poisson(pattern, (3, 4, 40, 40)).astype("u2")
    with pytest.warns(UserWarning, match="reaches the edge of the detector"):
        diffraction(frames).emsparse.beam_deflection(method)


@pytest.mark.parametrize("method", ["template", "edge"])
def test_a_mean_pattern_is_not_blurred_by_large_deflections(method):
    random = np.random.default_rng(8)
    places = 32 + random.uniform(-8, 8, (10, 12, 2))
    y, x = np.indices((64, 64))
    across, down = (np.subtract.outer(places[..., i], axis) for i, axis in ((0, x), (1, y)))
    frames = random.poisson(9.0 / (1 + np.exp((np.hypot(across, down) - 10) / 0.4)))
    result = diffraction(frames.astype("u2")).emsparse.beam_deflection(method, centre=(0, 0))
    error = result.data - places
    error -= error.mean((0, 1))
    # Against a blurred mean it is 0.13 px.
    assert np.sqrt(np.mean(error**2)) < 0.09
    assert 0.8 < np.sqrt(np.mean((error / result.sigma.data) ** 2)) < 1.2


@pytest.mark.parametrize("bad", [np.nan, np.inf, 60_000.0])
@pytest.mark.parametrize("method", METHODS)
def test_one_bad_pixel_does_not_spoil_what_is_learned(scan, method, bad):
    frames = scan[0].data.astype(float)
    whole = diffraction(frames).emsparse.beam_deflection(method, centre=(0, 0))
    frames[6, 7, 3, 4] = bad
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = diffraction(frames).emsparse.beam_deflection(method, centre=(0, 0))
    difference = np.delete((result.data - whole.data).reshape(-1, 2), 6 * 14 + 7, axis=0)
    assert np.sqrt(np.nanmean(difference**2)) < 0.3 * whole.sigma.data.mean()
    assert np.isfinite(difference).all()


@pytest.mark.parametrize("known", ["reference", "shape"])
def test_a_wrong_dose_is_said_whatever_is_known(scan, known):
    frames = scan[0].data * 50.0
    given = {
        "reference": {"reference": frames[:2].mean((0, 1))},
        "shape": {"radius": 12.6, "edge_width": 1.3},
    }[known]
    with pytest.warns(UserWarning, match="pass dose_per_count"):
        diffraction(frames).emsparse.beam_deflection("disc", **given)


def test_a_disc_near_the_edge_of_the_frame_is_said_for_its_rim(scan):
    y, x = np.indices((64, 64))
    pattern = 30.0 / (1 + np.exp((np.hypot(x - 31.5, y - 31.5) - 28) / 0.4))
    frames = np.random.default_rng(0).poisson(pattern, (3, 4, 64, 64)).astype("u2")
    with pytest.warns(UserWarning, match="reaches the edge of the detector"):
        diffraction(frames).emsparse.beam_deflection("edge")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        diffraction(frames).emsparse.beam_deflection("template")
        scan[0].emsparse.beam_deflection("edge")


def test_a_disc_whose_centre_is_outside_is_not_blamed_on_negative_counts():
    y, x = np.indices((40, 40))
    pattern = 50.0 * (np.hypot(x + 1, y - 20) < 8)
    frames = np.random.default_rng(0).poisson(pattern, (3, 4, 40, 40)).astype("u2")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The centre of mass")
        shape = {"radius": 8.0, "edge_width": 0.5}
        result = diffraction(frames).emsparse.beam_deflection("disc", centre=(0, 0), **shape)
    assert result.data[..., 0].max() < 0

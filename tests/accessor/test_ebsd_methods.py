# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""EBSD methods of s.emsparse: every layout gives what the arrays give; where centres come from."""

import dask.array as da
import numpy as np
import pytest
from hyperspy.signals import LazySignal2D, Signal2D

from emsparse_hs.accessor._ebsd import EBSDMethods
from emsparse_hs.data._simulated_patterns import simulate_patterns
from emsparse_hs.ebsd.bands import detect_bands
from emsparse_hs.ebsd.radon import radon_angles, radon_transform
from emsparse_hs.signals import KikuchiBands, LazyKikuchiBands

SCAN, SHAPE, N_BANDS = (3, 4), (40, 48), 6
CENTRE = (0.45, 0.3, 0.6)
DATA = simulate_patterns(SCAN, SHAPE, CENTRE, seed=6)
CENTRES = np.array(CENTRE) + np.random.default_rng(0).normal(0, 0.01, (*SCAN, 3))
QUIET = {"show_progressbar": False}
LAYOUTS = [None, (3, 4, 40, 48), (1, 2, 40, 48), (2, 3, 40, 48), (3, 1, 13, 20), (3, 4, 40, 7)]


def signal(layout=None):
    if layout is None:
        made = Signal2D(DATA.patterns.copy())
    else:
        made = LazySignal2D(da.from_array(DATA.patterns, chunks=layout))
    y, x = made.axes_manager.navigation_axes[::-1]
    x.name, x.scale, x.units, y.name = "x", 1.5, "um", "y"
    made.metadata.set_item("Acquisition_instrument.SEM.beam_energy", 20.0)
    return made


def twin(centres):
    """Bands of one pattern after the other."""
    table = np.empty((*SCAN, N_BANDS, 7))
    for place in np.ndindex(SCAN):
        centre = centres[place] if np.ndim(centres) > 1 else centres
        found = detect_bands(DATA.patterns[place][None], centre, N_BANDS)
        table[place] = np.column_stack([quantity[0] for quantity in found])
    return table


@pytest.mark.parametrize("centres", [CENTRE, CENTRES], ids=["shared", "own"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_bands_are_those_of_the_arrays(layout, centres):
    bands = EBSDMethods(signal(layout)).detect_bands(N_BANDS, centres, **QUIET)
    assert isinstance(bands, KikuchiBands if layout is None else LazyKikuchiBands)
    np.testing.assert_allclose(np.asarray(bands.data)[..., :7], twin(centres), atol=1e-9)
    np.testing.assert_allclose(np.asarray(bands.pattern_centre), centres, atol=1e-7)
    assert bands.pattern_shape == SHAPE
    x = bands.axes_manager["x"]
    assert (x.scale, x.units, x.size) == (1.5, "um", 4)
    assert bands.metadata.Acquisition_instrument.SEM.beam_energy == 20.0


@pytest.mark.parametrize("part", [slice(8), slice(7), slice(5), slice(2, None), slice(3, None)])
def test_a_part_of_the_quantities_is_none_of_other_bands(part):
    shared, own = (EBSDMethods(signal()).detect_bands(3, c, **QUIET) for c in (CENTRE, CENTRES))
    names = ["normals", "contrasts", "direction_sigmas", "width_sigmas"]
    for bands, also in ((shared, []), (own, ["pattern_centre"])):
        some = bands.isig[part]
        if some.data.shape == bands.data.shape:
            continue
        for name in names + also:
            with pytest.raises(ValueError, match="leave the first signal axis whole"):
                getattr(some, name)


@pytest.mark.parametrize("centres", [CENTRE, CENTRES], ids=["shared", "own"])
@pytest.mark.parametrize("layout", [None, (2, 3, 13, 48)], ids=str)
def test_radon_is_that_of_the_arrays_with_calibrated_axes(layout, centres):
    radon = EBSDMethods(signal(layout)).radon(centres, step=4, **QUIET)
    azimuth, elevation = radon.axes_manager.signal_axes
    angles = radon_angles(SHAPE, np.reshape(centres, (-1, 3)), 4)
    np.testing.assert_allclose(azimuth.axis, angles[0])
    np.testing.assert_allclose(elevation.axis, angles[1])
    assert (azimuth.name, azimuth.units) == ("azimuth", "°")
    assert (elevation.name, elevation.units) == ("elevation", "°")
    flat = DATA.patterns.reshape(-1, *SHAPE)
    flat_centres = centres if np.ndim(centres) == 1 else centres.reshape(-1, 3)
    expected = radon_transform(flat, flat_centres, *angles).transpose(0, 2, 1)
    np.testing.assert_allclose(np.asarray(radon.data).reshape(expected.shape), expected, atol=1e-4)


def test_lazy_output_is_as_asked():
    methods = EBSDMethods(signal())
    assert methods.detect_bands(2, CENTRE, lazy_output=True, **QUIET)._lazy
    assert methods.radon(CENTRE, step=5, lazy_output=True, **QUIET)._lazy
    lazy = EBSDMethods(signal((2, 3, 40, 48)))
    assert not lazy.detect_bands(2, CENTRE, lazy_output=False, **QUIET)._lazy


@pytest.mark.parametrize("lazy", [False, True])
def test_a_pattern_without_a_scan(lazy):
    one = signal((2, 2, 40, 48) if lazy else None).inav[1, 2]
    bands = EBSDMethods(one).detect_bands(N_BANDS, CENTRE, **QUIET)
    np.testing.assert_allclose(np.asarray(bands.data), twin(CENTRE)[2, 1])
    assert bands.axes_manager.navigation_dimension == 0
    radon = EBSDMethods(one).radon(CENTRE, step=5, **QUIET)
    assert radon.data.ndim == 2


@pytest.mark.parametrize("centres", [CENTRE, CENTRES], ids=["shared", "own"])
def test_masks(centres):
    patterns = signal()
    navigation_mask = np.zeros(SCAN, bool)
    navigation_mask[1, 2] = True
    signal_mask = np.hypot(*(np.indices(SHAPE) - np.array([[[20]], [[24]]]))) > 22
    bands = EBSDMethods(patterns).detect_bands(
        N_BANDS, centres, navigation_mask=navigation_mask, signal_mask=signal_mask, **QUIET
    )
    assert np.isnan(bands.data[1, 2]).all()
    flat = DATA.patterns.reshape(-1, *SHAPE)
    flat_centres = centres if np.ndim(centres) == 1 else centres.reshape(-1, 3)
    normals = detect_bands(flat, flat_centres, N_BANDS, signal_mask).normals
    normals = normals.reshape(*SCAN, N_BANDS, 3)
    np.testing.assert_allclose(
        bands.normals[~navigation_mask], normals[~navigation_mask], atol=1e-4
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_a_mask_of_a_square_scan_has_the_order_of_labels(lazy):
    """(y, x), as kikuchipy's maps; HyperSpy's own methods have (x, y)."""
    patterns = signal((2, 2, 40, 48) if lazy else None).inav[:3, :3]
    left_out = np.zeros((3, 3), bool)
    left_out[0, 2] = left_out[1, 0] = True
    method = EBSDMethods(patterns).detect_bands
    for mask in (left_out, da.from_array(left_out), Signal2D(left_out).T):
        bands = method(N_BANDS, CENTRE, navigation_mask=mask, **QUIET)
        np.testing.assert_array_equal(np.isnan(bands.contrasts[..., 0]), left_out)
    radon = EBSDMethods(patterns).radon(CENTRE, step=5, navigation_mask=left_out, **QUIET)
    np.testing.assert_array_equal(np.isnan(np.asarray(radon.data)).all(axis=(2, 3)), left_out)
    with pytest.raises(ValueError, match=r"\(4, 3\), and \(3, 4\) is needed.*order \(y, x\)"):
        EBSDMethods(signal()).radon(CENTRE, navigation_mask=np.zeros((4, 3), bool))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_pattern_without_numbers_is_left_out_and_a_flat_one_has_no_bands(lazy):
    patterns = signal((2, 2, 40, 48) if lazy else None)
    patterns.change_dtype("float32")
    empty, flat = np.zeros(SCAN, bool), np.zeros(SCAN, bool)
    empty[1, 2] = flat[0, 1] = True
    patterns.data[1, 2], patterns.data[0, 1] = np.nan, 7
    contrasts = np.asarray(EBSDMethods(patterns).detect_bands(N_BANDS, CENTRE, **QUIET).contrasts)
    np.testing.assert_array_equal(np.isnan(contrasts[..., 0]), empty)
    np.testing.assert_array_equal(contrasts[..., 0] == 0, flat)


def test_input_is_untouched():
    patterns = signal()
    before = patterns.metadata.as_dictionary()
    EBSDMethods(patterns).detect_bands(3, CENTRES, **QUIET)
    np.testing.assert_array_equal(patterns.data, DATA.patterns)
    assert patterns.metadata.as_dictionary() == before


@pytest.mark.parametrize(
    ("centre", "message"),
    [
        (None, "has no pattern centre"),
        (np.full((4, 3, 3), 0.4), "and the scan has the shape"),
        ((0.5, 0.5), "has shape"),
        ((0.5, 0.5, -1), "positive"),
    ],
)
def test_says_what_is_wrong_with_a_centre(centre, message):
    methods = EBSDMethods(signal())
    for method in (methods.radon, methods.detect_bands):
        with pytest.raises(ValueError, match=message):
            method(pattern_centre=centre)


def test_contrast_is_as_asked():
    every = EBSDMethods(signal()).detect_bands(N_BANDS, CENTRE, **QUIET)
    least = np.nanmedian(every.contrasts)
    some = EBSDMethods(signal()).detect_bands(N_BANDS, CENTRE, min_contrast=least, **QUIET)
    np.testing.assert_array_equal(np.isfinite(some.contrasts), every.contrasts >= least)


def test_says_what_else_is_wrong():
    with pytest.raises(TypeError, match="n_bands is 2.5"):
        EBSDMethods(signal()).detect_bands(2.5, CENTRE)
    with pytest.raises(ValueError, match="min_contrast"):
        EBSDMethods(signal()).detect_bands(3, CENTRE, min_contrast=-2)
    with pytest.raises(ValueError, match="n_bands"):
        EBSDMethods(signal()).detect_bands(0, CENTRE)
    one = EBSDMethods(signal().inav[0, 0])
    for method in (one.radon, one.detect_bands):
        with pytest.raises(ValueError, match="one pattern, and a navigation mask is for a scan"):
            method(pattern_centre=CENTRE, navigation_mask=np.zeros((3, 4), bool))
    with pytest.raises(ValueError, match="two"):
        EBSDMethods(signal().transpose(signal_axes=1)).radon(CENTRE)


def test_centres_of_kikuchipy():
    kikuchipy = pytest.importorskip("kikuchipy")
    nickel = kikuchipy.data.nickel_ebsd_small()
    nickel.remove_static_background(show_progressbar=False)
    bands = nickel.emsparse.detect_bands(**QUIET)
    np.testing.assert_allclose(bands.pattern_centre, nickel.detector.pc, atol=1e-7)
    lazy = nickel.as_lazy().emsparse.detect_bands(**QUIET)
    assert isinstance(lazy, LazyKikuchiBands)
    np.testing.assert_array_equal(np.asarray(lazy.data), bands.data)
    one = nickel.inav[2, 1].emsparse.detect_bands(**QUIET)
    np.testing.assert_allclose(one.data, bands.data[1, 2, :, :7], atol=1e-4)
    assert nickel.emsparse.radon(step=5, **QUIET).data.shape[:2] == (3, 3)
    nickel.detector.pc = (0.42, 0.21, 0.5)
    shared = nickel.emsparse.detect_bands(**QUIET)
    assert shared.data.shape[-1] == 7
    np.testing.assert_array_equal(shared.pattern_centre, (0.42, 0.21, 0.5))


def test_a_detector_of_kikuchipy_has_the_centre():
    detectors = pytest.importorskip("kikuchipy.detectors")
    patterns = signal()
    one = detectors.EBSDDetector(shape=SHAPE, pc=CENTRE, convention="bruker")
    own = detectors.EBSDDetector(shape=SHAPE, pc=CENTRES, convention="bruker")
    for detector, centre in ((one, CENTRE), (own, CENTRES)):
        bands = EBSDMethods(patterns).detect_bands(3, detector, **QUIET)
        expected = EBSDMethods(patterns).detect_bands(3, centre, **QUIET)
        np.testing.assert_allclose(bands.data, expected.data)
    with pytest.raises(ValueError, match="where it is not known"):
        EBSDMethods(patterns).detect_bands(3, detectors.EBSDDetector(shape=SHAPE))


@pytest.mark.parametrize("name", ["compare_phases", "cluster_patterns"])
def test_says_where_methods_of_bands_are(name):
    with pytest.raises(AttributeError, match=rf"s.emsparse.detect_bands\(60\).{name}"):
        getattr(EBSDMethods(signal()), name)


def test_the_default_centre_of_kikuchipy_is_none():
    kikuchipy = pytest.importorskip("kikuchipy")
    patterns = kikuchipy.signals.EBSD(DATA.patterns)
    with pytest.raises(ValueError, match="kikuchipy sets where it is not known"):
        patterns.emsparse.detect_bands()
    assert patterns.emsparse.detect_bands(3, (0.5, 0.5, 0.5), **QUIET).data.shape[-2:] == (3, 7)

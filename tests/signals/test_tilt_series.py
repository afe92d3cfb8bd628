# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tilt series: where tilts live, what they survive, and reconstruction, eager and lazy."""

import warnings

import hyperspy.api as hs
import numpy as np
import pytest
from scipy.ndimage import rotate

from emsparse_hs.data._simulated_tilt_series import simulate_tilt_series
from emsparse_hs.signals import LazyTiltSeries, LazyTomogram, TiltSeries, Tomogram
from emsparse_hs.tomography import (
    ParallelBeam,
    counting_precision,
    default_weight,
    estimate_noise,
    reconstruct_sirt,
    reconstruct_tgv,
    reconstruct_tv,
    reconstruct_wbp,
    select_weight,
    selection,
    typical_density,
)
from emsparse_hs.tomography.noise import CountingNoise

EVEN = np.linspace(-60, 60, 13)
UNEVEN = np.sin(np.deg2rad(EVEN)) * 70


def make_series(tilts=EVEN, axis="x", seed=30):
    simulated = simulate_tilt_series(size=18, n_slices=11, tilts=tilts, seed=seed)
    images = simulated.images if axis == "x" else simulated.images.transpose(0, 2, 1)
    sizes = {"y": images.shape[1], "x": images.shape[2]}
    axes = [{"name": "z", "size": len(tilts), "navigate": True}]
    for name in "yx":
        axes.append({"name": name, "size": sizes[name], "scale": 0.5, "offset": 3, "units": "nm"})
    series = TiltSeries(images.copy(), axes=axes, metadata={"General": {"title": "dots"}})
    series.set_tilts(tilts, axis)
    return series


@pytest.fixture(params=[EVEN, UNEVEN, EVEN[::-1]], ids=["even", "uneven", "decreasing"])
def series(request):
    return make_series(request.param)


def same(series, tilts):
    np.testing.assert_allclose(series.tilts, tilts, atol=1e-9)
    assert series.tilt_axis == "x"
    return True


def test_tilts_stay_with_their_images(series):
    tilts = series.tilts
    assert same(series.deepcopy(), tilts)
    assert same(series.inav[2:9], tilts[2:9])
    assert same(series.inav[::3], tilts[::3])
    assert same(series.isig[2:7, 3:], tilts)
    assert same(series.T.T, tilts)
    assert same(series + 1, tilts)
    assert same(series.map(np.abs, inplace=False, show_progressbar=False), tilts)
    lazy = series.as_lazy()
    assert isinstance(lazy, LazyTiltSeries) and same(lazy, tilts)
    assert same(lazy.inav[1:5], tilts[1:5])
    lazy.compute(show_progressbar=False)
    assert type(lazy) is TiltSeries and same(lazy, tilts)
    changed = series.deepcopy()
    changed.change_dtype("float64")
    assert same(changed, tilts)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("extension", ["hspy", "zspy"])
def test_tilts_are_saved(series, extension, lazy, tmp_path):
    path = tmp_path / f"series.{extension}"
    series.save(path)
    loaded = hs.load(path, lazy=lazy)
    assert type(loaded) is (LazyTiltSeries if lazy else TiltSeries)
    assert same(loaded, series.tilts)


def test_tilts_from_a_text_file(tmp_path):
    series = make_series()
    path = tmp_path / "series.rawtlt"
    path.write_text("\n".join(f"  {tilt:.2f}" for tilt in UNEVEN))
    series.set_tilts(path)
    np.testing.assert_allclose(series.tilts, UNEVEN, atol=0.006)
    series.set_tilts(EVEN)
    assert same(series, EVEN)
    assert series.axes_manager.navigation_axes[0].is_uniform
    path.write_text("angle\n1\n")
    with pytest.raises(ValueError, match="one tilt a line"):
        series.set_tilts(str(path))


def test_tilts_from_a_file_of_serialem(tmp_path):
    series = make_series()
    path = tmp_path / "series.mdoc"
    order = np.random.default_rng(0).permutation(13)
    sections = [f"[ZValue = {k}]\nTiltAngle = {UNEVEN[k]:.3f}\nDose = 1" for k in order]
    path.write_text("PixelSpacing = 2\n\n[T = a title]\n\n" + "\n\n".join(sections))
    series.set_tilts(path)
    np.testing.assert_allclose(series.tilts, UNEVEN, atol=1e-3)
    frames = path.read_text().replace("ZValue", "FrameSet")
    series.set_tilts(EVEN)
    path.write_text(frames)
    series.set_tilts(path)
    np.testing.assert_allclose(series.tilts, UNEVEN, atol=1e-3)
    path.write_text("[ZValue = 0]\nTiltAngle = x\n")
    with pytest.raises(ValueError, match="a number is needed"):
        series.set_tilts(path)
    path.write_text("PixelSpacing = 2\n")
    with pytest.raises(ValueError, match="no TiltAngle"):
        series.set_tilts(path)


@pytest.mark.parametrize("filled", [13, 1024])
def test_tilts_of_the_stage(filled):
    series = TiltSeries(np.ones((13, 4, 5)))
    stage = "Acquisition_instrument.TEM.Stage.tilt_alpha"
    series.metadata.set_item(stage, np.concatenate([UNEVEN, np.zeros(filled - 13)]))
    series.set_tilts()
    np.testing.assert_allclose(series.tilts, UNEVEN)


@pytest.mark.parametrize("stored", [89.997, [1.0, 2.0], np.arange(20.0), ["a"] * 13])
def test_tilts_of_the_stage_that_can_not_be(stored):
    series = TiltSeries(np.ones((13, 4, 5)))
    series.metadata.set_item("Acquisition_instrument.TEM.Stage.tilt_alpha", stored)
    with pytest.raises(ValueError, match="nor one an image"):
        series.set_tilts()


@pytest.mark.parametrize(
    "stored",
    [
        EVEN,
        EVEN.tolist(),
        EVEN[:, None],
        {"data": EVEN[:, None]},
        hs.signals.Signal1D(EVEN[:, None]),
    ],
    ids=["array", "list", "column", "dictionary", "signal"],
)
def test_tilts_that_etspy_stored(stored):
    series = make_series(UNEVEN)
    series.metadata.set_item("Tomography.tilts", stored)
    series.set_tilts()
    assert same(series, EVEN)


def test_a_navigation_axis_is_not_taken_for_tilts():
    series = TiltSeries(np.ones((5, 6, 7)))
    with pytest.raises(ValueError, match="set_tilts"):
        series.tilts  # noqa: B018
    series.axes_manager[0].name = "Tilt"
    with pytest.raises(ValueError, match="set_tilts"):
        series.reconstruct(show_progressbar=False)
    with pytest.raises(ValueError, match="set_tilts"):
        make_series().inav[3].tilts  # noqa: B018


@pytest.mark.parametrize(
    "tilts, message",
    [
        (EVEN[:-1], "13 images"),
        (np.zeros(13), "All tilts are zero"),
        (EVEN * np.nan, "finite"),
        (EVEN * 10, "180"),
        (np.roll(EVEN, 1), "sort=True"),
        (np.r_[EVEN[:1], EVEN[:-1]], "sort=True"),
        (["a"] * 13, "numbers in degrees"),
        (None, "metadata.Tomography.tilts"),
    ],
)
def test_bad_tilts_change_nothing(tilts, message):
    series = make_series(UNEVEN)
    with pytest.raises(ValueError, match=message):
        series.set_tilts(tilts)
    assert same(series, UNEVEN)


def test_bad_axis_or_dimensions():
    with pytest.raises(ValueError, match="'x' or 'y'"):
        make_series().set_tilts(EVEN, axis="z")
    with pytest.raises(ValueError, match="no tilt series"):
        TiltSeries(np.ones((2, 2, 3, 4, 5))).set_tilts([0, 1, 2])


def series_weight(series):
    """Weight that the left out tilts choose."""

    def volume(sinogram, operator, weight):
        settings = {"tolerance": 1e-2, "max_iterations": 80}
        return reconstruct_tv(sinogram, operator, weight, **settings).volume

    start = default_weight(estimate_noise(series.data), len(series.tilts))
    sinogram = series.data.transpose(2, 0, 1)
    return select_weight(sinogram, ParallelBeam(series.tilts, 18), volume, start)


def test_reconstruct_is_the_solver_with_axes_and_figures(series):
    before = series.data.copy()
    tomogram = series.reconstruct(show_progressbar=False, tol=1e-2)
    np.testing.assert_array_equal(series.data, before)
    sinogram = series.data.transpose(2, 0, 1)
    weight = series_weight(series)
    expected = reconstruct_tv(sinogram, ParallelBeam(series.tilts, 18), weight, tolerance=1e-2)
    np.testing.assert_allclose(tomogram.data, expected.volume, atol=1e-4 * expected.volume.max())
    assert type(tomogram) is Tomogram and tomogram.metadata.General.title == "dots"
    x, y, z = tomogram.axes_manager.navigation_axes + tomogram.axes_manager.signal_axes
    assert [(a.name, a.scale, a.units, a.size) for a in (x, y, z)] == [
        ("x", 0.5, "nm", 11),
        ("y", 0.5, "nm", 18),
        ("z", 0.5, "nm", 18),
    ]
    assert (x.offset, y.offset) == (3, 3) and z.axis.mean() == pytest.approx(0)
    about = tomogram.metadata.Reconstruction
    assert about.gap <= 1e-2 and about.iterations == expected.n_iterations
    assert about.lambda_ == pytest.approx(weight) and about.prior == "tv" and about.dims == 3
    assert about.kappa == pytest.approx(weight / default_weight(estimate_noise(series.data), 13))
    np.testing.assert_array_equal(about.gap_history[-1], [about.iterations, about.gap])
    np.testing.assert_allclose(about.residual_per_tilt, expected.residual_per_tilt, rtol=1e-3)
    assert about.chi_squared == pytest.approx(expected.chi_squared(about.sigma), rel=1e-3)


@pytest.mark.parametrize("dims", [2, 3])
def test_tilt_axis_along_y_is_the_same_specimen(dims):
    settings = {"show_progressbar": False, "dims": dims, "max_iter": 60}
    one = make_series().reconstruct(**settings)
    other = make_series(axis="y").reconstruct(**settings)
    np.testing.assert_allclose(one.data, other.data, atol=1e-4 * one.data.max())
    assert other.axes_manager.navigation_axes[0].name == "y"
    assert [axis.name for axis in other.axes_manager.signal_axes] == ["x", "z"]


@pytest.mark.parametrize("lazy", [False, True])
def test_transposed_images_are_the_same_specimen(lazy):
    settings = {"show_progressbar": False, "dims": 2, "max_iter": 60, "lazy_output": False}
    series = make_series()
    turned = (series.as_lazy() if lazy else series).transpose(signal_axes=("y", "x"))
    assert series.tilt_axis == "x" and turned.tilt_axis == "y"
    one, other = series.reconstruct(**settings), turned.reconstruct(**settings)
    np.testing.assert_allclose(one.data, other.data, atol=1e-4 * one.data.max())


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize(
    "names",
    [(None, None), ("x", None), ("y", None), (None, "x"), (None, "y"), (None, "h")]
    + [("x", "y"), ("y", "x"), ("w", "h"), ("w", "w"), ("x", "x"), ("y", "y")],
)
def test_the_tilt_axis_is_found_whatever_axes_are_called(names, axis):
    series = TiltSeries(np.ones((13, 5, 7)))
    for name, image_axis in zip(names, series.axes_manager.signal_axes, strict=True):
        if name is not None:
            image_axis.name = name
    assert series.tilt_axis == "x"
    series.set_tilts(EVEN, axis)
    assert series.tilt_axis == axis
    assert series.transpose(signal_axes=(2, 1)).tilt_axis == {"x": "y", "y": "x"}[axis]
    if None not in names and len(set(names)) == 2:
        assert tuple(each.name for each in series.axes_manager.signal_axes) == names


@pytest.mark.parametrize("names", [("width", "height"), ("y", "x")])
def test_a_tilt_axis_that_is_gone_is_said(names):
    series = make_series()
    for name, axis in zip(names, series.axes_manager.signal_axes, strict=True):
        axis.name = name
    series.set_tilts(EVEN, axis="x")
    assert series.tilt_axis == "x"
    series.axes_manager.signal_axes[0].name = "other"
    with pytest.raises(ValueError, match=f"tilt axis is along '{names[0]}'"):
        series.tilt_axis  # noqa: B018
    series.set_tilts(series.tilts, axis="x")
    assert series.tilt_axis == "x"


def test_series_that_can_not_be_meant():
    series = make_series()
    with pytest.raises(ValueError, match="At least two tilts"):
        series.inav[3:4].reconstruct()
    series.set_tilts(np.deg2rad(EVEN))
    with pytest.warns(UserWarning, match=r"span 2\.09 degrees"):
        series.reconstruct(max_iter=20, show_progressbar=False)
    series = make_series()
    series.axes_manager.signal_axes[1].convert_to_non_uniform_axis()
    with pytest.raises(ValueError, match="not evenly spaced"):
        series.reconstruct()


@pytest.mark.parametrize("lazy", [False, True])
def test_warns_of_images_that_are_mostly_negative(lazy):
    series = make_series()
    sigma = estimate_noise(series.data)
    median = float(np.median(np.median(series.data, axis=(1, 2))))

    def warnings_of(below, **kwargs):
        moved = series.as_lazy() if lazy else series.deepcopy()
        moved.data = moved.data - np.float32(median + below * sigma)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            moved.reconstruct(lambda_=5.0, max_iter=2, show_progressbar=False, **kwargs)
        return [str(each.message) for each in caught if "negative" in str(each.message)]

    (message,) = warnings_of(1.1)
    assert f"median of {-1.1 * sigma:.3g}" in message
    assert "Subtract the background" in message and "change_dtype('float32')" in message
    assert not warnings_of(0.9)
    assert not warnings_of(1.1, bounds=(-1e9, None))


@pytest.mark.parametrize("lazy_output", [None, False])
@pytest.mark.parametrize("chunks", [(13, 18, 11), (4, 18, 11), (13, 7, 5), (5, 7, 3), (1, 1, 1)])
def test_lazy_equals_eager(chunks, lazy_output):
    series = make_series()
    lazy = series.as_lazy()
    lazy.data = lazy.data.rechunk(chunks)
    settings = {"dims": 2, "max_iter": 60, "show_progressbar": False}
    eager = series.reconstruct(**settings)
    result = lazy.reconstruct(lazy_output=lazy_output, **settings)
    assert type(result) is (LazyTomogram if lazy_output is None else Tomogram)
    np.testing.assert_allclose(np.asarray(result.data), eager.data, atol=1e-5 * eager.data.max())
    assert result.metadata.Reconstruction.lambda_ == eager.metadata.Reconstruction.lambda_
    if lazy_output is False:
        assert result.metadata.Reconstruction.gap == eager.metadata.Reconstruction.gap


def test_slices_do_not_depend_on_their_block():
    simulated = simulate_tilt_series(size=12, n_slices=70, tilts=EVEN, seed=31)
    series = TiltSeries(simulated.images)
    series.set_tilts(EVEN)
    settings: dict = {"dims": 2, "lambda_": 3.0, "max_iter": 40, "show_progressbar": False}
    whole = series.reconstruct(**settings)
    lazy = series.as_lazy()
    lazy.data = lazy.data.rechunk((13, 12, 9))
    parts = lazy.reconstruct(**settings, lazy_output=False)
    np.testing.assert_allclose(parts.data, whole.data, atol=1e-5 * whole.data.max())


def test_lazy_in_three_dimensions_and_integers():
    series = make_series()
    series.data = np.rint(series.data * 10 + 50).astype(np.uint16)
    settings = {"max_iter": 40, "show_progressbar": False}
    lazy = series.as_lazy().reconstruct(**settings)
    assert type(lazy) is LazyTomogram
    expected = series.reconstruct(**settings).data
    np.testing.assert_allclose(lazy.data.compute(), expected, atol=1e-5 * expected.max())


def test_shifts_undo_a_misalignment():
    series = make_series()
    shifts = np.where(np.arange(13) % 2, 2, -2)
    moved = series.deepcopy()
    moved.data = np.stack([np.roll(i, k, axis=0) for i, k in zip(moved.data, shifts, strict=True)])
    settings = {"lambda_": 5.0, "show_progressbar": False}
    aligned = series.reconstruct(**settings)
    with_shifts = moved.reconstruct(shifts=shifts, **settings)
    without = moved.reconstruct(**settings)
    size = np.linalg.norm(aligned.data)
    assert np.linalg.norm(with_shifts.data - aligned.data) < 0.1 * size
    assert np.linalg.norm(without.data - aligned.data) > 0.3 * size


@pytest.mark.parametrize("dims", [2, 3])
def test_warns_once_if_the_noise_does_not_explain_the_residuals(dims):
    series = make_series()
    settings = {"dims": dims, "tol": 1e-2, "show_progressbar": False}

    def warnings_of(signal, **kwargs):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tomogram = signal.reconstruct(**settings, **kwargs)
        return [str(each.message) for each in caught], tomogram.metadata.Reconstruction

    assert not warnings_of(series)[0]
    series.data += 30 * series.data.std()
    messages, about = warnings_of(series)
    assert about.chi_squared > 3
    assert len(messages) == 2 and "at both edges across the tilt axis" in messages[0]
    messages = messages[1:]
    for value in (about.chi_squared, about.sigma):
        assert f"{value:.3g}" in messages[0]
    assert len(warnings_of(series, lambda_=float(about.lambda_))[0]) == 1


@pytest.mark.parametrize("unit", [1e-25, 1e25])
@pytest.mark.parametrize("dims", [2, 3])
def test_figures_survive_any_units(unit, dims):
    series = make_series()
    settings = {"dims": dims, "tol": 1e-2, "show_progressbar": False}
    one = series.reconstruct(lambda_=5.0, **settings).metadata.Reconstruction
    series.data = series.data * np.float32(unit)
    other = series.reconstruct(lambda_=5.0 * unit, **settings).metadata.Reconstruction
    assert other.gap == pytest.approx(one.gap, rel=0.02)
    assert other.objective / unit**2 == pytest.approx(one.objective, rel=1e-4)
    # Counts of like brightness are grouped for the noise, and rounding decides where they tie.
    assert other.chi_squared == pytest.approx(one.chi_squared, rel=0.01)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"prior": "ridge"}, "tv"),
        ({"prior": "tgv", "device": "cuda"}, "processor"),
        ({"lambda_": "best"}, "auto"),
        ({"weights": "gauss"}, "poisson"),
        ({"x0": "sirt"}, "wbp"),
        ({"x0": np.ones((11, 18, 18))}, "a tomogram"),
        ({"refine": "rotation"}, "one or more of"),
        ({"lambda_": None}, "number of 0 or more"),
        ({"bounds": (None, None)}, "finite lower"),
        ({"tol": -1}, "tolerance"),
        ({"max_iter": 1e3 / 3}, "whole number"),
        ({"lambda_": -1.0}, "weight"),
        ({"dims": 1}, "dims"),
        ({"bounds": (1, 0)}, "bounds"),
        ({"shifts": [0, 1]}, "shifts"),
        ({"max_iter": 0}, "max_iterations"),
        ({"tol": np.nan}, "tolerance"),
        ({"edge": 0.1}, "prior='huber'"),
        ({"dims": 2, "block": 4}, "no blocks"),
    ],
)
def test_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_series().reconstruct(show_progressbar=False, **arguments)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_bad_data(lazy, dims):
    series = make_series()
    series.data[3, 4, 5] = np.nan
    noiseless = make_series()
    noiseless.data[:] = 1
    imaginary = make_series()
    imaginary.data = imaginary.data * 1j
    for bad, error, message in (
        (series, ValueError, "NaN"),
        (noiseless, ValueError, "no noise"),
        (imaginary, TypeError, "real"),
    ):
        bad = bad.as_lazy() if lazy and bad is not imaginary else bad
        with pytest.raises(error, match=message):
            bad.reconstruct(dims=dims, show_progressbar=False)


@pytest.mark.parametrize("method", ["wbp", "sirt"])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("axis", ["x", "y"])
def test_direct_methods_are_the_functions_with_axes(method, lazy, axis):
    series = make_series(axis=axis)
    tilts, shifts = series.tilts, np.linspace(-1, 1, 13)
    sinogram = series.data.transpose((2, 0, 1) if axis == "x" else (1, 0, 2))
    operator = ParallelBeam(tilts, 18, shifts=shifts)
    if method == "wbp":
        settings, expected = {"window": "cosine"}, reconstruct_wbp(sinogram, operator, "cosine")
    else:
        settings = {"max_iter": 5, "bounds": (0, 3)}
        expected = reconstruct_sirt(sinogram, operator, 5, bounds=(0, 3))
    if lazy:
        series = series.as_lazy()
        series.data = series.data.rechunk((4, 7, 5))
    function = getattr(series, f"reconstruct_{method}")
    tomogram = function(**settings, shifts=shifts, show_progressbar=False)
    assert type(tomogram) is (LazyTomogram if lazy else Tomogram)
    np.testing.assert_allclose(np.asarray(tomogram.data), expected, atol=1e-4 * expected.max())
    assert tomogram.metadata.Reconstruction.method == method
    assert tomogram.axes_manager.signal_axes[1].name == "z"


def test_priors_and_weights_are_passed_on():
    series = make_series()
    sinogram, operator = series.data.transpose(2, 0, 1), ParallelBeam(series.tilts, 18)
    quiet = {"show_progressbar": False, "lambda_": 4.0, "tol": 1e-2}
    for arguments, settings in (
        ({"prior": "huber", "edge": 0.2}, {"weight": 4.0, "edge": 0.2}),
        ({"prior": "identity"}, {"weight": 0.0, "sparsity": 4.0}),
        ({"weights": "poisson"}, {"weight": 4.0, "precision": counting_precision(sinogram)}),
        ({"x0": "wbp"}, {"weight": 4.0, "start": reconstruct_wbp(sinogram, operator)}),
    ):
        expected = reconstruct_tv(sinogram, operator, **settings, tolerance=1e-2).volume
        for lazy, dims in ((False, 3), (True, 2)):
            signal = series.as_lazy() if lazy else series
            found = signal.reconstruct(**arguments, **quiet, dims=dims, lazy_output=False).data
            if dims == 2:
                more = settings | {"dimensions": 2, "tolerance": 1e-2}
                expected = reconstruct_tv(sinogram, operator, **more).volume
            np.testing.assert_allclose(found, expected, atol=1e-3 * expected.max())
    first = series.reconstruct(**quiet)
    again = series.reconstruct(**quiet, x0=first)
    assert again.metadata.Reconstruction.iterations <= first.metadata.Reconstruction.iterations
    with pytest.raises(ValueError, match="needs dims=3"):
        series.reconstruct(**quiet, x0=first, dims=2)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dims", [2, 3])
def test_slopes_are_bounded_alike_in_all_slices(lazy, dims):
    series = make_series()
    sinogram, operator = series.data.transpose(2, 0, 1), ParallelBeam(series.tilts, 18)
    settings = {"dimensions": dims, "slope": 0.4 * typical_density(sinogram), "tolerance": 1e-2}
    expected = reconstruct_tgv(sinogram, operator, 4.0, **settings).volume
    series = series.as_lazy() if lazy else series
    found = series.reconstruct(
        "tgv", 4.0, dims, tol=1e-2, show_progressbar=False, lazy_output=False
    )
    np.testing.assert_allclose(found.data, expected, atol=1e-3 * expected.max())
    about = found.metadata.Reconstruction
    assert about.prior == "tgv" and about.slope == pytest.approx(settings["slope"])


@pytest.mark.parametrize("prior", ["tv", "huber", "tgv", "identity"])
@pytest.mark.parametrize("lambda_", ["auto", "cv"])
def test_lambda_is_found_for_each_prior(prior, lambda_):
    series = make_series()
    about = series.reconstruct(prior, lambda_, tol=1e-2, show_progressbar=False)
    about = about.metadata.Reconstruction
    assert np.isfinite(about.lambda_) and about.lambda_ > 0
    assert about.prior == prior and about.gap <= 1e-2
    assert ("edge" in about) == (prior == "huber")
    assert ("slope" in about) == (prior == "tgv")


def test_refined_images_and_their_figures():
    series = make_series()
    gains = np.linspace(0.8, 1.2, 13)
    series.data = series.data * gains[:, None, None].astype(np.float32)
    before = series.data.copy()
    quiet = {"show_progressbar": False, "tol": 1e-2}
    for dims in (2, 3):
        signal = series.as_lazy() if dims == 2 else series
        tomogram = signal.reconstruct(refine=("gain",), dims=dims, lazy_output=False, **quiet)
        found = tomogram.metadata.Reconstruction.gains
        assert np.corrcoef(found, gains)[0, 1] > 0.9
        assert not tomogram.metadata.Reconstruction.shifts.any()
    np.testing.assert_array_equal(series.data, before)
    with pytest.raises(ValueError, match="one or more of"):
        series.reconstruct(refine="rotation", **quiet)


@pytest.mark.parametrize("lazy", [False, True])
def test_score_is_that_of_the_left_out_tilts(lazy):
    series = make_series(UNEVEN)
    sinogram = series.data.transpose(2, 0, 1).astype(float)
    signal = series.as_lazy() if lazy else series
    score = signal.score_tilts(4, "sirt", max_iter=10, show_progressbar=False)
    out = [2, 6, 10]
    kept = np.setdiff1d(np.arange(13), out)
    np.testing.assert_allclose(score.tilts, UNEVEN[out])
    volume = reconstruct_sirt(sinogram[:, kept], ParallelBeam(UNEVEN[kept], 18), 10)
    predicted = ParallelBeam(UNEVEN[out], 18).forward(volume)
    truth = sinogram[:, out]
    expected = np.linalg.norm(predicted - truth) / np.linalg.norm(truth)
    assert score.error == pytest.approx(expected, rel=1e-4)
    each = np.linalg.norm(predicted - truth, axis=(0, 2)) / np.linalg.norm(truth, axis=(0, 2))
    np.testing.assert_allclose(score.errors, each, rtol=1e-4)
    between = []
    for k in out:
        part = (UNEVEN[k] - UNEVEN[k - 1]) / (UNEVEN[k + 1] - UNEVEN[k - 1])
        between.append((1 - part) * sinogram[:, k - 1] + part * sinogram[:, k + 1])
    between = np.linalg.norm(np.stack(between, 1) - truth) / np.linalg.norm(truth)
    assert score.error_of_neighbours == pytest.approx(between)
    assert f"{score.error:.4g}" in str(score) and "3 tilts left out" in str(score)
    title, _, *rows = repr(score).splitlines()
    assert title == str(score)
    assert [row.split()[:2] for row in rows] == [
        [f"{tilt:.4g}", f"{error:.4g}"]
        for tilt, error in zip(score.tilts, score.errors, strict=True)
    ]
    assert score._repr_html_().count("<tr>") == 4
    assert isinstance(score.tomogram, Tomogram)


def test_score_of_a_prior_with_shifts_and_refinement():
    series = make_series()
    # Not as a displacement of the specimen would do, which is no shift.
    shifts = np.round(2 * np.sin(np.deg2rad(3 * series.tilts))).astype(int)
    pairs = zip(series.data, shifts, strict=True)
    moved = TiltSeries(np.stack([np.roll(image, shift, 0) for image, shift in pairs]))
    moved.set_tilts(series.tilts)
    quiet = {"show_progressbar": False, "tol": 1e-2}
    good = series.score_tilts(4, **quiet).error
    assert moved.score_tilts(4, **quiet, shifts=shifts).error == pytest.approx(good, rel=0.05)
    bad = moved.score_tilts(4, **quiet).error
    known = moved.score_tilts(4, **quiet, shifts=shifts, refine="gain").error
    assert known == pytest.approx(good, rel=0.1)
    refined = moved.score_tilts(4, **quiet, refine="shift").error
    assert good < refined < 0.8 * bad
    with pytest.raises(ValueError, match="can't be left out"):
        series.score_tilts(1)
    with pytest.raises(ValueError, match="whole number"):
        series.score_tilts(2.5)
    with pytest.raises(ValueError, match="2 shifts for 13 tilts"):
        series.score_tilts(4, "sirt", shifts=[1, 2])
    with pytest.raises(ValueError, match="wbp"):
        series.score_tilts(4, "fbp")


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("lazy", [False, True])
def test_align_moves_images_by_whole_pixels(axis, lazy):
    series = make_series(axis=axis)
    series.data = np.rint(100 * series.data).astype(np.int32)
    rng = np.random.default_rng(75)
    shifts, slides = rng.integers(-3, 4, (2, 13))
    # Across the axis by shifts, along it by slides.
    order = (0, 1) if axis == "x" else (1, 0)
    moves = zip(series.data, shifts, slides, strict=True)
    series.data = np.stack([np.roll(image, (a, b), order) for image, a, b in moves])
    before = series.data.copy()
    aligned = (series.as_lazy() if lazy else series).align()
    assert type(aligned) is TiltSeries and aligned.data.dtype == np.int32
    about = aligned.metadata.Tomography.alignment
    for a in range(13):
        back = np.roll(before[a], (-about.shifts[a], -about.slides[a]), order)
        inside = aligned.data[a][4:-4, 4:-4]
        np.testing.assert_array_equal(inside, back[4:-4, 4:-4])
    np.testing.assert_array_equal(series.data, before)
    np.testing.assert_allclose(aligned.tilts, series.tilts)
    assert aligned.tilt_axis == axis
    again = aligned.align().metadata.Tomography.alignment
    assert np.abs(again.shifts).max() <= 1 and np.abs(again.slides).max() <= 1


def turned_series(axis, lazy, angle=4.0):
    """Integer images whose tilt axis is turned from the axis they name towards the other one."""
    simulated = simulate_tilt_series("particles", 28, 40, EVEN, counts=300, seed=31)
    images = np.pad(np.rint(20 * simulated.images), ((0, 0), (4, 4), (0, 0))).astype(np.int32)
    # Positive angles of scipy turn the first of both axes towards the second one: rows to columns.
    images = rotate(images, -angle, axes=(1, 2), reshape=False, order=3)[:, :, 6:-6]
    series = TiltSeries(images if axis == "x" else images.transpose(0, 2, 1).copy())
    series.set_tilts(EVEN, axis)
    return series.as_lazy() if lazy else series


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("lazy", [False, True])
def test_align_turns_images_where_it_is_asked_to(axis, lazy):
    series = turned_series(axis, lazy)
    before = np.array(series.data)
    plain = series.align()
    assert plain.data.dtype == np.int32 and plain.metadata.Tomography.alignment.axis_angle == 0
    for angle in ("auto", 4):
        aligned = series.align(angle=angle)
        assert type(aligned) is TiltSeries and aligned.data.dtype.kind == "f"
        assert aligned.metadata.Tomography.alignment.axis_angle == pytest.approx(4, abs=0.4)
        again = aligned.align(angle="auto").metadata.Tomography.alignment
        assert abs(again.axis_angle) < 0.4
    np.testing.assert_array_equal(np.array(series.data), before)
    for wrong in ("best", 60, None):
        with pytest.raises(ValueError, match="within 45 degrees"):
            series.align(angle=wrong)


@pytest.mark.parametrize("axis", ["x", "y"])
@pytest.mark.parametrize("lazy", [False, True])
def test_reconstruct_finds_the_angle_of_the_axis(axis, lazy, monkeypatch):
    # All slices are needed for it, whatever is enough for the rest.
    monkeypatch.setattr(selection, "richest_slices", lambda *_: slice(4))
    series = turned_series(axis, lazy)
    quiet = {"show_progressbar": False, "tol": 1e-2, "lambda_": 60.0, "lazy_output": False}
    plain = series.reconstruct(**quiet)
    assert "axis_angle" not in plain.metadata.Reconstruction
    tomogram = series.reconstruct(refine="angle", **quiet)
    about = tomogram.metadata.Reconstruction
    assert about.axis_angle == pytest.approx(4, abs=0.4)
    assert not about.shifts.any() and not about.slides.any()
    residuals = (about.residual_per_tilt, plain.metadata.Reconstruction.residual_per_tilt)
    assert np.mean(residuals[0]) < 0.8 * np.mean(residuals[1])


def test_counting_weights_do_not_depend_on_the_block():
    series = make_series()
    bright = np.concatenate([series.data] * 6 + [100 * series.data], axis=2)
    many = TiltSeries(bright)
    many.set_tilts(series.tilts)
    quiet = {"show_progressbar": False, "lambda_": 4.0, "dims": 2, "weights": "poisson"}
    whole = many.reconstruct(**quiet).data
    noise = CountingNoise.of(bright.transpose(2, 0, 1))
    sinogram = bright.transpose(2, 0, 1)[64:]
    settings = {"dimensions": 2, "precision": noise.precision(sinogram)}
    expected = reconstruct_tv(sinogram, ParallelBeam(series.tilts, 18), 4.0, **settings).volume
    np.testing.assert_allclose(whole[64:], expected, atol=1e-3 * expected.max())


@pytest.mark.parametrize("n_slices", [1, 2])
def test_series_of_few_slices_need_a_weight(n_slices):
    series = make_series().isig[:n_slices, :]
    assert series.reconstruct(lambda_=4.0, show_progressbar=False).data.shape == (n_slices, 18, 18)
    with pytest.raises(ValueError, match="Give lambda_ as a number"):
        series.reconstruct(show_progressbar=False)


@pytest.mark.parametrize("lazy", [False, True])
def test_a_series_to_both_sides_in_turn_is_sorted(lazy):
    series = make_series()
    turns = np.argsort(np.abs(EVEN) + 0.1 * (EVEN < 0))
    mixed = TiltSeries(series.data[turns])
    mixed = mixed.as_lazy() if lazy else mixed
    with pytest.raises(ValueError, match="sort=True"):
        mixed.set_tilts(EVEN[turns])
    np.testing.assert_array_equal(np.asarray(mixed.data), series.data[turns])
    mixed.set_tilts(EVEN[turns], sort=True)
    assert same(mixed, EVEN)
    np.testing.assert_array_equal(np.asarray(mixed.data), series.data)
    twice = EVEN.copy()
    twice[3] = twice[4]
    with pytest.raises(ValueError, match="there twice"):
        mixed.set_tilts(twice, sort=True)

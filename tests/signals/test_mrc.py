# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Tomograms and tilt series as files of the MRC format, read back by two other packages."""

import sys
import tracemalloc
import warnings

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs.signals import LazyTomogram, TiltSeries, Tomogram

mrcfile = pytest.importorskip("mrcfile")


def make_tomogram(units=("nm", "nm", "nm"), dtype=np.float32):
    data = np.random.default_rng(60).integers(-50, 200, (5, 4, 3)).astype(dtype)
    names, scales, offsets = ("x", "z", "y"), (0.25, 0.5, 0.5), (3, -0.75, 10)
    axes = [
        {"name": n, "size": size, "scale": s, "offset": o, "units": u, "navigate": n == "x"}
        for n, size, s, o, u in zip(names, data.shape, scales, offsets, units, strict=True)
    ]
    return Tomogram(data, axes=axes, metadata={"General": {"title": "Pt\n on α carbon"}})


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
@pytest.mark.parametrize("ending", ["mrc", "rec", "map", "MRC"])
def test_read_back(ending, dtype, lazy, tmp_path):
    tomogram = make_tomogram(dtype=dtype)
    path = tmp_path / "new" / f"volume.{ending}"
    (tomogram.as_lazy() if lazy else tomogram).save(path)
    loaded = hs.load(path, file_format="MRC")
    np.testing.assert_array_equal(loaded.data, tomogram.data)
    assert loaded.data.dtype == np.float32
    for axis, same in zip(loaded.axes_manager._axes, tomogram.axes_manager._axes, strict=True):
        assert (axis.scale, axis.offset) == pytest.approx((same.scale, same.offset))
        assert axis.navigate == same.navigate
    assert mrcfile.validate(path)
    assert sorted(tmp_path.glob("new/*")) == [path]


def test_header(tmp_path):
    tomogram = make_tomogram(("um", "Å", "nm"))
    tomogram.save(str(tmp_path / "volume.mrc"))
    with mrcfile.open(tmp_path / "volume.mrc") as file:
        assert file.is_volume() and file.header.nz == 5 and file.header.mz == 5
        # Columns are y, rows z, and sections slices.
        assert file.voxel_size.item() == pytest.approx((5, 0.5, 2500))
        assert file.header.origin.item() == pytest.approx((100, -0.75, 30000))
        header, data = file.header, tomogram.data
        expected = data.min(), data.max(), data.mean(), data.std()
        found = header.dmin, header.dmax, header.dmean, header.rms
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        labels = " / ".join(file.get_labels())
    assert "emsparse_hs" in labels and "Pt on ? carbon" in labels and "Columns: y" in labels


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("units", [("px",) * 3, (None,) * 3, ("", "pixels", None)])
def test_voxels_of_unknown_size(units, lazy, tmp_path):
    tomogram = make_tomogram(units)
    with pytest.warns(UserWarning, match="1 Å on all axes") as caught:
        (tomogram.as_lazy() if lazy else tomogram).save(tmp_path / "volume.mrc")
    assert caught[0].filename == __file__
    loaded = hs.load(tmp_path / "volume.mrc")
    np.testing.assert_array_equal(loaded.data, tomogram.data)
    assert [axis.scale for axis in loaded.axes_manager._axes] == pytest.approx([0.1] * 3)


@pytest.mark.parametrize(
    "units", [("nm", "nm", "px"), ("1/nm",) * 3, ("s", "nm", "nm"), ("x(",) * 3]
)
def test_units_that_are_no_lengths(units, tmp_path):
    with pytest.raises(ValueError, match="hold lengths"):
        make_tomogram(units).save(tmp_path / "volume.mrc")
    assert not list(tmp_path.iterdir())


def test_what_no_mrc_file_holds(tmp_path):
    path, tomogram = tmp_path / "volume.mrc", make_tomogram()
    for bad in (tomogram.inav[2], Tomogram(np.ones((2, 5, 4, 3)))):
        with pytest.raises(ValueError, match="single stack"):
            bad.save(path)
    mirrored = tomogram.deepcopy()
    mirrored.axes_manager[1].scale *= -1
    with pytest.raises(ValueError, match="positive ones"):
        mirrored.save(path)
    uneven = tomogram.deepcopy()
    uneven.axes_manager[0].convert_to_non_uniform_axis()
    with pytest.raises(ValueError, match="not evenly spaced"):
        uneven.save(path)
    with pytest.raises(TypeError, match="compression"):
        tomogram.save(path, compression="gzip")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lazy", [False, True])
def test_overwrite_is_that_of_hyperspy(lazy, tmp_path, monkeypatch):
    path, tomogram = tmp_path / "volume.mrc", make_tomogram()
    tomogram.save(path)
    other = -tomogram.as_lazy() if lazy else -tomogram
    other.save(path, overwrite=False)
    np.testing.assert_array_equal(hs.load(path).data, tomogram.data)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    other.save(path)
    np.testing.assert_array_equal(hs.load(path).data, tomogram.data)
    monkeypatch.setattr("builtins.input", lambda _: "y")
    other.save(path)
    np.testing.assert_array_equal(hs.load(path).data, -tomogram.data)
    tomogram.save(path, overwrite=True)
    np.testing.assert_array_equal(hs.load(path).data, tomogram.data)
    with pytest.raises(ValueError, match="overwrite"):
        other.save(path, overwrite="yes")


def test_an_extension_names_the_format(tmp_path):
    tomogram = make_tomogram()
    tomogram.save(tmp_path / "volume", extension="mrc")
    np.testing.assert_array_equal(hs.load(tmp_path / "volume.mrc").data, tomogram.data)


def test_a_file_of_the_user_with_a_similar_name_stays(tmp_path):
    (tmp_path / "volume.mrc.part").write_text("mine")
    make_tomogram().save(tmp_path / "volume.mrc")
    assert (tmp_path / "volume.mrc.part").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_may_be_overwritten_by_what_is_read_from_it(tmp_path):
    path, tomogram = tmp_path / "volume.mrc", make_tomogram()
    tomogram.save(path)
    again = hs.load(path, lazy=True)
    again.set_signal_type("tomogram")
    assert type(again) is LazyTomogram
    again.axes_manager[0].units = "nm"
    (again * 2).save(path, overwrite=True)
    np.testing.assert_array_equal(hs.load(path).data, 2 * tomogram.data)

    def fails(block):
        raise RuntimeError("disc on fire")

    again.data = da.map_blocks(fails, da.ones((5, 4, 3)), dtype=np.float32, meta=np.empty(0))
    with pytest.raises(RuntimeError, match="disc on fire"):
        again.save(path, overwrite=True)
    np.testing.assert_array_equal(hs.load(path).data, 2 * tomogram.data)
    assert list(tmp_path.iterdir()) == [path]


def test_lazy_tomograms_are_never_loaded_whole(tmp_path):
    shape, reads = (16, 600, 600), []

    def read(block_info=None):
        index = block_info[None]["chunk-location"][0]
        reads.append(index)
        return np.full((1, 600, 600), index, np.float32)

    data = da.map_blocks(
        read, chunks=((1,) * 16, (600,), (600,)), dtype=np.float32, meta=np.empty(0)
    )
    lazy = LazyTomogram(data)
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lazy.save(tmp_path / "volume.mrc")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < data.nbytes / 2
    assert sorted(reads) == list(range(16))
    with mrcfile.mmap(tmp_path / "volume.mrc") as file:
        assert file.data.shape == shape
        np.testing.assert_array_equal(file.data[:, 3, 7], np.arange(16))


def test_other_files_are_those_of_hyperspy(tmp_path):
    tomogram = make_tomogram()
    for name, arguments in (("a.hspy", {}), ("b", {}), ("c.mrc", {"file_format": "HSPY"})):
        tomogram.save(tmp_path / name, **arguments)
    tomogram.save(tmp_path / "a.hspy", overwrite=True, compression=None)
    for name in ("a.hspy", "b.hspy", "c.mrc"):
        loaded = hs.load(tmp_path / name, file_format="HSPY")
        assert type(loaded) is Tomogram
        np.testing.assert_array_equal(loaded.data, tomogram.data)


def test_tilts_that_were_recorded_stay_beside_aligned_images(tmp_path):
    (tmp_path / "series.rawtlt").write_text("mine")
    make_series().save(tmp_path / "series.ali", overwrite=True)
    assert (tmp_path / "series.rawtlt").read_text() == "mine"


def test_what_neighbouring_slices_have_in_common_is_computed_once(tmp_path):
    calls = []

    def work(block):
        calls.append(1)
        return block

    once = da.from_array(np.ones((6, 4, 3), np.float32), chunks=(6, 4, 3)).map_blocks(
        work, dtype=np.float32, meta=np.empty((0, 0, 0), np.float32)
    )
    tomogram = make_tomogram().as_lazy()
    tomogram.data = da.concatenate([once[:2], once[1:3], once[:1]])
    tomogram.save(tmp_path / "volume.mrc")
    assert len(calls) == 1


def test_without_mrcfile(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mrcfile", None)
    with pytest.raises(ImportError, match=r"pip install \"emsparse-hs\[tomography\]\""):
        make_tomogram().save(tmp_path / "volume.mrc")


def make_series(units=("nm", "nm")):
    images = np.random.default_rng(61).integers(0, 900, (5, 4, 3)).astype(np.uint16)
    axes = [{"name": "Tilt", "size": 5, "navigate": True}]
    axes += [
        {"name": n, "size": size, "scale": s, "offset": 2.0, "units": u}
        for n, size, s, u in zip("yx", (4, 3), (0.5, 0.25), units, strict=True)
    ]
    series = TiltSeries(images, axes=axes, metadata={"General": {"title": "Pt"}})
    series.set_tilts([-60.123456, -1 / 3, 0.0, 31, 62], axis="y")
    return series


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("ending", ["mrc", "st", "ALI"])
def test_series_are_read_back(ending, lazy, tmp_path):
    series, path = make_series(), tmp_path / f"series.{ending}"
    (series.as_lazy() if lazy else series).save(path)
    again = hs.load(path, file_format="MRC")
    np.testing.assert_array_equal(again.data, series.data)
    again.set_signal_type("tilt_series")
    again.set_tilts(tmp_path / f"series.{'tlt' if ending == 'ALI' else 'rawtlt'}")
    assert again.tilt_axis == "y"
    np.testing.assert_allclose(again.tilts, series.tilts, rtol=1e-9)
    assert [axis.scale for axis in again.axes_manager.signal_axes] == pytest.approx([0.25, 0.5])
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert file.is_image_stack()
        assert file.voxel_size.item() == pytest.approx((2.5, 5, 2.5))
        assert "axis along y" in " ".join(file.get_labels())


@pytest.mark.parametrize("there", ["series.mrc", "series.rawtlt"])
def test_neither_file_of_a_series_is_overwritten_unasked(there, tmp_path):
    series = make_series()
    (tmp_path / there).write_text("mine")
    series.save(tmp_path / "series.mrc", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"
    series.save(tmp_path / "series.mrc", overwrite=True)
    np.testing.assert_array_equal(hs.load(tmp_path / "series.mrc").data, series.data)


def test_series_without_units_or_with_those_of_time(tmp_path):
    with pytest.warns(UserWarning, match="1 Å on all axes"):
        make_series(("px", "px")).save(tmp_path / "series.mrc")
    with pytest.raises(ValueError, match="hold lengths"):
        make_series(("nm", "s")).save(tmp_path / "other.mrc")
    assert not (tmp_path / "other.rawtlt").exists()

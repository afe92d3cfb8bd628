# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""The driver against dense numpy, in every layout of chunks, masks, dtypes and files."""

import itertools
import os
import pickle

import dask
import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest

from emsparse_hs import _reading
from emsparse_hs.blocks import Blocks

SHAPE = (6, 5, 7, 8)
CHUNKS = list(itertools.product((6, 4), (5, 2), (7, 3), (8, 3)))


def weighted(rows, weights):
    """Two numbers a pixel that depend on the order of the features."""
    return np.stack([rows @ weights, rows.sum(1)], -1)


def moments(rows):
    return rows.sum(0, dtype=float), (rows.astype(float) ** 2).sum(0)


def added(one, other):
    return tuple(a + b for a, b in zip(one, other, strict=True))


def doubled(rows):
    return rows * 2.0


def interrupted(rows):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).integers(0, 99, SHAPE).astype("u2")


@pytest.fixture(scope="module")
def masks():
    rng = np.random.default_rng(1)
    return rng.random(SHAPE[:2]) > 0.6, rng.random(SHAPE[2:]) > 0.6


def lazy(data, chunks):
    return hs.signals.Signal2D(da.from_array(data, chunks=chunks)).as_lazy()


def check(signal, data, masks=(None, None), form=lambda mask: mask):
    """Each way of working on blocks against the same in one go on the dense array."""
    navigation_mask, signal_mask = masks
    blocks = Blocks.of(
        signal,
        None if navigation_mask is None else form(navigation_mask.T),
        None if signal_mask is None else form(signal_mask),
    )
    hidden = np.zeros(SHAPE[:2], bool) if navigation_mask is None else navigation_mask
    keep = np.ones(SHAPE[2:], bool) if signal_mask is None else ~signal_mask
    dense = data.reshape(*SHAPE[:2], -1)[..., keep.ravel()].astype(float)
    weights = np.arange(keep.sum()) ** 1.5

    result = blocks.map(weighted, weights, output_shape=(2,))
    expected = np.where(hidden[..., None], np.nan, np.stack([dense @ weights, dense.sum(-1)], -1))
    np.testing.assert_allclose(result, expected, rtol=1e-12)

    total, squares = blocks.reduce(moments, added)
    np.testing.assert_allclose(total, dense[~hidden].sum(0), rtol=1e-12)
    np.testing.assert_allclose(squares, (dense[~hidden] ** 2).sum(0), rtol=1e-12)

    held = blocks.hold(doubled)
    for _ in range(2):
        np.testing.assert_allclose(held.reduce(moments, added)[0], 2 * total, rtol=1e-12)
    rows = np.concatenate(list(held))[blocks.scan_order]
    np.testing.assert_array_equal(rows, 2 * dense[~hidden])
    np.testing.assert_array_equal(blocks.place(rows)[~hidden], rows)
    assert np.isnan(blocks.place(rows)[hidden]).all()
    assert (blocks.n_pixels, blocks.n_features) == (int((~hidden).sum()), int(keep.sum()))


@pytest.mark.parametrize("chunks", CHUNKS)
def test_any_chunking(data, chunks):
    check(lazy(data, chunks), data)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_any_chunking_with_masks(data, masks, chunks):
    check(lazy(data, chunks), data, masks)


def scaled(rows, factors, offset):
    return rows.sum(1) * factors + offset


def test_parameters_of_each_pixel_go_with_it(data, masks, monkeypatch):
    monkeypatch.setattr(_reading, "SMALLEST", 1)
    factors = np.random.default_rng(7).random(SHAPE[:2])
    blocks = Blocks.of(lazy(data, (4, 2, 7, 3)), navigation_mask=masks[0].T)
    result = blocks.map(scaled, 3.0, per_pixel=[factors])
    expected = np.where(masks[0], np.nan, data.sum((-1, -2)) * factors + 3)
    np.testing.assert_allclose(result, expected, rtol=1e-12)


def test_small_chunks_are_kept_where_they_are_large_enough(data, monkeypatch):
    monkeypatch.setattr(_reading, "SMALLEST", 1)
    signal = lazy(data, (4, 2, 7, 3))
    assert len(Blocks.of(signal)) == 6
    check(signal, data)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_large_chunks_are_cut(data, masks, chunks, monkeypatch):
    for name, size in (("SMALLEST", 1), ("USUAL", 900), ("LARGEST", 1000)):
        monkeypatch.setattr(_reading, name, size)
    monkeypatch.setattr(_reading, "LARGEST_JOINED", 1000)
    signal = lazy(data, chunks)
    assert len(Blocks.of(signal)) >= 5
    check(signal, data, masks)


@pytest.mark.parametrize("chunks", CHUNKS)
def test_chunks_that_split_the_signal_are_joined(data, masks, chunks, monkeypatch):
    for name, size in (("SMALLEST", 1), ("USUAL", 900), ("LARGEST", 1000)):
        monkeypatch.setattr(_reading, name, size)
    monkeypatch.setattr(_reading, "_rearranged", None)
    check(lazy(data, chunks), data, masks)


@pytest.mark.parametrize("dtype", ["u1", "i4", ">u2", "f4", "f8", ">f4", bool])
def test_any_dtype(data, dtype):
    converted = data.astype(dtype)
    check(hs.signals.Signal2D(converted), converted)
    check(lazy(converted, (4, 2, 7, 3)), converted)


@pytest.mark.parametrize("form", [np.asarray, da.from_array, np.uint8])
def test_arrays_as_masks(data, masks, form):
    check(hs.signals.Signal2D(data), data, masks, form)


@pytest.mark.parametrize("as_lazy", [False, True])
def test_signals_as_masks(data, masks, as_lazy):
    navigation = hs.signals.BaseSignal(masks[0]).T
    detector = hs.signals.Signal2D(masks[1])
    if as_lazy:
        navigation, detector = navigation.as_lazy(), detector.as_lazy()
    blocks = Blocks.of(hs.signals.Signal2D(data), navigation, detector)
    np.testing.assert_array_equal(blocks.navigation_keep, ~masks[0])
    np.testing.assert_array_equal(blocks.signal_keep, ~masks[1])


def test_transposed_signals(data):
    signal = hs.signals.Signal2D(data).transpose(signal_axes=(0, 2))
    expected = signal.data.reshape(*signal.data.shape[:2], -1).sum(-1)
    np.testing.assert_array_equal(Blocks.of(signal).map(summed), expected)
    signal = hs.signals.Signal2D(data).as_lazy().transpose(signal_axes=(0, 2))
    np.testing.assert_array_equal(Blocks.of(signal).map(summed), expected)


def summed(rows):
    return rows.sum(1)


@pytest.mark.parametrize("shape", [(9,), (9, 4), (2, 3, 4, 5), (2, 3, 4, 5, 6)])
def test_any_number_of_navigation_axes(shape):
    data = np.random.default_rng(2).random((*shape, 3))
    for signal in (hs.signals.Signal1D(data), hs.signals.Signal1D(data).as_lazy()):
        np.testing.assert_allclose(Blocks.of(signal).map(summed), data.sum(-1), rtol=1e-12)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_is_opened_inside_the_task(data, tmp_path, order):
    path = tmp_path / "scan.npy"
    np.save(path, np.asarray(data, order=order))
    mapped = np.load(path, mmap_mode="r")
    blocks = Blocks.from_array(mapped, 2)
    assert len(pickle.dumps(blocks._rows)) < data.nbytes
    np.testing.assert_array_equal(blocks.map(summed), data.sum((-1, -2)))


def test_a_wrapped_file(data, tmp_path):
    np.save(tmp_path / "scan.npy", data)
    wrapped = da.from_array(np.load(tmp_path / "scan.npy", mmap_mode="r"), chunks=3)
    np.testing.assert_array_equal(Blocks.from_array(wrapped, 2).map(summed), data.sum((-1, -2)))


def test_a_view_of_a_file(data, tmp_path):
    path = tmp_path / "scan.npy"
    np.save(path, data)
    part = np.load(path, mmap_mode="r")[1:, ::2]
    np.testing.assert_array_equal(Blocks.from_array(part, 2).map(summed), part.sum((-1, -2)))


def test_temporary_files_go_with_the_last_result(data, tmp_path, monkeypatch):
    monkeypatch.setattr(_reading, "LARGEST_JOINED", 1000)
    with dask.config.set(temporary_directory=str(tmp_path)):
        result = Blocks.of(lazy(data, (6, 5, 3, 3))).map(summed, lazy_output=True)
        assert len(os.listdir(tmp_path)) == 1
        np.testing.assert_array_equal(result.compute(), data.sum((-1, -2)))
        del result
        assert not os.listdir(tmp_path)


def test_nothing_is_computed_for_lazy_output(data):
    def fail(block):
        raise AssertionError("computed")

    lazily = da.from_array(data, chunks=(4, 2, 7, 8)).map_blocks(fail, dtype=data.dtype)
    signal = hs.signals.Signal2D(lazily).as_lazy()
    result = Blocks.of(signal).map(summed, lazy_output=True)
    assert isinstance(result, da.Array) and result.shape == SHAPE[:2]


def test_masked_blocks_are_not_read(data, monkeypatch):
    def fail(block, block_info=None):
        assert block_info[0]["chunk-location"][0] == 0
        return block

    monkeypatch.setattr(_reading, "SMALLEST", 1)
    lazily = da.from_array(data, chunks=(3, 5, 7, 8))
    lazily = lazily.map_blocks(fail, dtype=data.dtype, meta=data[:0])
    mask = np.zeros(SHAPE[:2], bool)
    mask[3:] = True
    result = Blocks.from_array(lazily, 2, navigation_mask=mask).map(summed)
    assert np.isnan(result[3:]).all()
    np.testing.assert_array_equal(result[:3], data[:3].sum((-1, -2)))


@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "processes"])
def test_the_active_scheduler_is_used(data, scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        check(lazy(data, (4, 2, 7, 3)), data)


def test_on_a_cluster(data, masks, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(_reading, "SMALLEST", 1)
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
        check(lazy(data, (4, 2, 7, 3)), data, masks)


def test_a_temporary_file_on_a_cluster(data, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(_reading, "LARGEST_JOINED", 1000)
    with distributed.Client(n_workers=2, threads_per_worker=1, dashboard_address=None):
        held = Blocks.of(lazy(data, (6, 5, 3, 3))).hold(doubled)
        np.testing.assert_array_equal(np.concatenate(list(held)), 2.0 * data.reshape(30, -1))
        image = Blocks.of(lazy(data, (6, 5, 3, 3))).map(summed, lazy_output=True).persist()
        np.testing.assert_array_equal(image.compute(), data.sum((-1, -2)))


def test_a_file_on_a_cluster(data, tmp_path):
    distributed = pytest.importorskip("distributed")
    np.save(tmp_path / "scan.npy", data)
    mapped = np.load(tmp_path / "scan.npy", mmap_mode="r")
    with distributed.Client(n_workers=1, threads_per_worker=1, dashboard_address=None):
        np.testing.assert_array_equal(Blocks.from_array(mapped, 2).map(summed), data.sum((-1, -2)))


def test_the_result_does_not_depend_on_the_threads():
    data = np.random.default_rng(3).random((64, 64, 50))
    blocks = Blocks.from_array(da.from_array(data, chunks=(5, 7, 50)), 2)
    one, two = (blocks.reduce(moments, added, num_workers=n)[0] for n in (1, 4))
    np.testing.assert_array_equal(one, two)


def test_progress_as_in_hyperspy(data, capfd):
    blocks = Blocks.of(hs.signals.Signal2D(data))
    blocks.map(summed, show_progressbar=False)
    assert not capfd.readouterr().err
    blocks.map(summed, show_progressbar=True)
    assert "100%" in capfd.readouterr().err
    before = hs.preferences.General.show_progressbar
    try:
        hs.preferences.General.show_progressbar = False
        blocks.map(summed)
        assert not capfd.readouterr().err
    finally:
        hs.preferences.General.show_progressbar = before


def in_place(rows):
    rows += 1
    return rows.sum(1)


@pytest.mark.parametrize("dtype", ["u2", "f8"])
def test_the_data_can_not_be_written_to(data, dtype):
    signal = hs.signals.Signal2D(data.astype(dtype))
    with pytest.raises(ValueError, match="read-only"):
        Blocks.of(signal).map(in_place)
    np.testing.assert_array_equal(signal.data, data)


def test_number_of_workers_and_progress_reach_dask(data, monkeypatch, capfd):
    seen = []
    persist, compute = dask.persist, dask.compute
    monkeypatch.setattr(dask, "persist", lambda *a, **k: seen.append(k) or persist(*a, **k))
    monkeypatch.setattr(dask, "compute", lambda *a, **k: seen.append(k) or compute(*a, **k))
    blocks = Blocks.of(hs.signals.Signal2D(data))
    blocks.hold(doubled, num_workers=3, show_progressbar=True)
    blocks.map(summed, num_workers=3, show_progressbar=True)
    blocks.reduce(moments, added, num_workers=3, show_progressbar=True)
    assert seen == [{"num_workers": 3}] * 3
    assert capfd.readouterr().err.count("100%") == 3


def test_an_interruption_reaches_the_user(data):
    before = data.copy()
    with pytest.raises(KeyboardInterrupt):
        Blocks.of(lazy(data, (4, 2, 7, 3))).map(interrupted)
    np.testing.assert_array_equal(data, before)


def test_complex_and_ragged_data_are_refused():
    with pytest.raises(TypeError, match="real numbers are needed"):
        Blocks.of(hs.signals.ComplexSignal1D(np.ones((3, 4), complex)))
    with pytest.raises(TypeError, match="rectangular"):
        Blocks.from_array(np.empty(3, object), 1)


def test_empty_data():
    with pytest.raises(ValueError, match=r"empty: their shape is \(0, 3, 8\)"):
        Blocks.from_array(np.empty((0, 3, 8)), 2)


def test_no_navigation_axes():
    with pytest.raises(ValueError, match="no navigation axes"):
        Blocks.of(hs.signals.Signal1D(np.ones(5)))


def test_masks_that_do_not_fit(data, masks):
    signal = hs.signals.Signal2D(data)
    with pytest.raises(ValueError, match=r"shape \(6, 5\), and \(5, 6\) is needed"):
        Blocks.of(signal, navigation_mask=masks[0])
    with pytest.raises(ValueError, match="signal mask has shape"):
        Blocks.of(signal, signal_mask=masks[1].T)
    with pytest.raises(TypeError, match="boolean"):
        Blocks.of(signal, navigation_mask=masks[0].T * 1.0)
    with pytest.raises(ValueError, match="leaves nothing"):
        Blocks.of(signal, navigation_mask=np.ones((5, 6), bool))
    with pytest.raises(ValueError, match="leaves nothing"):
        Blocks.of(signal, signal_mask=np.ones((7, 8), bool))


def test_a_function_with_the_wrong_shape_is_named(data):
    with pytest.raises(ValueError, match="summed returned an array of shape"):
        Blocks.of(hs.signals.Signal2D(data)).map(summed, output_shape=(2,))


@pytest.mark.parametrize("chunks", [(2, 3, 5), (7, 9, 5), (1, 9, 5)])
@pytest.mark.parametrize("number", [1, 10, 63, 100])
def test_sample_is_spread_over_the_scan(chunks, number):
    values = np.arange(7 * 9 * 5).reshape(7, 9, 5)
    sample = Blocks.from_array(da.from_array(values, chunks=chunks), 2).sample(number)
    rows = values.reshape(63, 5).tolist()
    places = [rows.index(row) for row in sample.tolist()]
    assert len(set(places)) == len(places) >= min(number, 12)
    if number > 1:
        assert min(places) < 16 and max(places) > 47

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Files that RosettaSciIO maps lazily, and chunks that are no stretch of memory."""

import dask.array as da
import hyperspy.api as hs
import numpy as np
import pytest
from rsciio.utils.file import memmap_distributed

from emsparse_hs import _reading, _rows
from emsparse_hs.blocks import Blocks

FRAME = np.dtype([("head", "u1", (13,)), ("counts", ">u2", (12, 9))])


@pytest.fixture
def recorded(tmp_path):
    """Patterns in a file with a header before each, and the same lazily, cut along all axes."""
    frames = np.zeros((6, 5), FRAME)
    frames["counts"] = np.random.default_rng(0).integers(0, 999, (6, 5, 12, 9))
    path = tmp_path / "scan.raw"
    path.write_bytes(b"abc" + frames.tobytes())
    where = {"shape": (6, 5), "offset": 3, "key": "counts", "chunks": (4, 3, 7, 5)}
    return frames["counts"], memmap_distributed(str(path), FRAME, **where)


def flipped(array):
    return array[:, :, ::-1]


#: What is done to the data, and whether they are read from the file in whole patterns then.
STEPS = {
    "nothing": (lambda a: a, True),
    "flip": (flipped, True),
    "reverse": (lambda a: a[::-1, :, :, ::-1], True),
    "part": (lambda a: a[1:, :, 2:, :8], True),
    "turn": (lambda a: a.transpose(1, 0, 3, 2), True),
    "energy by energy": (lambda a: a.transpose(2, 3, 0, 1), False),
    "pick": (lambda a: a[[0, 3, 1]], False),
    "add": (lambda a: a + 1, False),
    "convert": (lambda a: a.astype("f4"), False),
    "join": (lambda a: (da if isinstance(a, da.Array) else np).concatenate([a, a]), False),
}


@pytest.mark.parametrize("step", STEPS)
def test_mapped_files_are_read_in_whole_patterns(recorded, step):
    change, is_view = STEPS[step]
    dense, lazy = map(change, recorded)
    assert (_reading._file_behind(lazy, 2) is not None) == is_view
    cut = Blocks.from_array(lazy, 2)
    rows = np.concatenate(list(cut))[cut.scan_order]
    np.testing.assert_array_equal(rows, dense.reshape(rows.shape))


def failing(chunk):
    raise AssertionError("This was not to be computed.")


def test_what_is_computed_from_a_file_is_not_computed_to_find_it(recorded):
    computed = recorded[1].map_blocks(failing, meta=recorded[1]._meta)
    assert _reading._file_behind(computed, 2) is None


def test_a_mapped_file_is_not_joined_from_its_chunks(recorded, monkeypatch):
    monkeypatch.setattr(da.Array, "rechunk", None)
    dense, lazy = recorded
    assert len(Blocks.from_array(lazy, 2)) == 1
    np.testing.assert_array_equal(
        Blocks.from_array(lazy, 2).map(totals), dense.sum((2, 3), dtype=float)
    )


def test_pieces_of_a_mapped_file_are_as_large_as_its_chunks(recorded, monkeypatch):
    monkeypatch.setattr(_reading, "USUAL", 1)
    sizes = [len(rows) for rows in Blocks.from_array(recorded[1], 2)]
    # A chunk has 4 x 3 x 7 x 5 elements, a pattern 12 x 9.
    assert max(sizes) == 4 * 3 * 7 * 5 // (12 * 9)


def test_a_file_as_hyperspy_opens_it(tmp_path):
    counts = np.random.default_rng(0).integers(0, 99, (4, 5, 12, 12)).astype("u1")
    signal = hs.signals.Signal2D(counts)
    signal.save(tmp_path / "scan.blo", show_progressbar=False)
    opened = hs.load(tmp_path / "scan.blo", lazy=True)
    assert _reading._file_behind(opened.data, 2) is not None
    np.testing.assert_array_equal(
        Blocks.of(opened).map(totals, show_progressbar=False), counts.sum((2, 3), dtype=float)
    )


def totals(rows):
    return rows.sum(1, dtype=float)


def weighted(rows, factors, seen):
    assert rows.flags.c_contiguous and rows.dtype.isnative
    seen.append(rows)
    return rows.sum(1) * factors


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", ["u2", ">u2"])
@pytest.mark.parametrize(("copied", "viewed", "lines"), [(1, 1, 1), (1500, 2**20, 2), (1500, 1, 2)])
def test_chunks_are_not_copied_as_a_whole(dtype, masked, copied, viewed, lines, monkeypatch):
    monkeypatch.setattr(_rows, "_COPIED_PART", copied)
    monkeypatch.setattr(_rows, "_VIEWED_PART", viewed)
    scan = np.random.default_rng(0).integers(0, 99, (7, 6, 8, 10)).astype(dtype)
    chunk = scan[:, :4]  # lines of 640 bytes, that are one stretch each
    seen, factors = [], np.random.default_rng(1).random((7, 4))
    mask = np.zeros((7, 4), bool)
    if masked:
        mask[2:4] = mask[5, 1] = True
    found = Blocks.from_array(chunk, 2, mask).map(
        weighted, seen, per_pixel=[factors], show_progressbar=False
    )
    expected = np.where(mask, np.nan, chunk.sum((2, 3)) * factors)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if viewed == 1 and dtype == "u2" and not masked:
        lines = 1
        assert all(np.may_share_memory(rows, scan) for rows in seen)
    assert max(map(len, seen)) == 4 * lines


def test_slices_that_belong_together_stay_together(monkeypatch):
    monkeypatch.setattr(_rows, "_COPIED_PART", 1)
    seen = []
    stack = np.ones((5, 6, 7))[:, ::2]
    Blocks.from_array(stack, 1).map(weighted, seen, per_pixel=[np.ones(5)], show_progressbar=False)
    assert [len(rows) for rows in seen] == [5]


def test_a_wrong_number_of_results_is_said(monkeypatch):
    monkeypatch.setattr(_rows, "_COPIED_PART", 1)
    with pytest.raises(ValueError, match="one result of output_shape"):
        Blocks.from_array(np.ones((4, 3, 2))[:, ::2], 2).map(len, show_progressbar=False)


def test_changes_of_a_copy_on_write_are_not_lost(tmp_path):
    np.zeros((4, 5, 6), "u2").tofile(tmp_path / "scan.raw")
    mapped = np.memmap(tmp_path / "scan.raw", "u2", "c", 0, (4, 5, 6))
    mapped[1:] = 9
    blocks = Blocks.from_array(mapped, 1)
    np.testing.assert_array_equal(np.concatenate(list(blocks)).reshape(4, 5, 6), mapped)

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Counts in CSR against SciPy's conversion, for every kind of array, and what is refused."""

import mmap
import os
import pickle

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import sparse

from emsparse_hs.decomposition import PoissonNMF, WeightedGramPCA
from emsparse_hs.decomposition import counts as counts_module
from emsparse_hs.decomposition.counts import as_counts, pixel_sums, stack_counts, thin_counts

DTYPES = ["?", "u1", "i2", ">u2", "u4", "i8", "f2", "f4", ">f4", "f8", "g"]


def some_counts(dtype, shape=(9, 37), mean=0.3):
    return np.random.default_rng(0).poisson(mean, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 15, 16, 37])
def test_equals_scipys_conversion(dtype, n_features):
    rows = some_counts(dtype, (9, n_features))
    before = rows.copy()
    counts = as_counts(rows)
    expected = sparse.csr_array(rows.astype(np.float64))
    np.testing.assert_array_equal(counts.indptr, expected.indptr)
    np.testing.assert_array_equal(counts.indices, expected.indices)
    np.testing.assert_array_equal(counts.data, expected.data)
    np.testing.assert_array_equal(rows, before)
    assert counts.dtype == np.uint8
    assert counts.indices.dtype == counts.indptr.dtype == np.int32


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(255, "u1"), (256, "u2"), (65536, "u4"), (2**32, "f4"), (0.5, "f4"), (70000.5, "f4")],
)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_takes_the_smallest_dtype_that_holds_them(largest, dtype, form):
    counts = as_counts(form(np.array([[0.0, largest, 1.0]])))
    assert counts.dtype == dtype
    np.testing.assert_array_equal(counts.toarray(), np.array([[0, largest, 1]], dtype))


@pytest.mark.parametrize("order", ["transposed", "every second"])
def test_takes_any_layout(order):
    rows = some_counts("u2", (8, 22))
    rows = rows.T if order == "transposed" else rows[::2, 1::2]
    np.testing.assert_array_equal(as_counts(rows).toarray(), rows)


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "u2", "f4"])
@pytest.mark.parametrize("kind", ["coo", "csr"])
def test_events_at_one_place_add_up(kind, dtype):
    """Also to more than their dtype holds."""
    n = 70_000
    rows = sparse.coo_array((np.ones(n, dtype), (np.full(n, 2), np.full(n, 5))), shape=(3, 6))
    if kind == "csr":
        rows = sparse.csr_array((rows.data, rows.col, [0, 0, 0, n]), shape=(3, 6))
    for counts in (as_counts(rows), PoissonNMF(1)._as_counts(rows, reset=True)):
        assert counts.nnz == 1 and counts[2, 5] == n
    for scaling in ("poisson", None):
        kept = WeightedGramPCA(1, scaling=scaling)._rows(rows, reset=True)
        assert kept.nnz == 1 and kept[2, 5] == n
    assert rows.nnz == n and rows.dtype == dtype


def test_sparse_counts_are_put_in_order_and_the_callers_are_untouched():
    data, indices, indptr = np.array([2.0, 1, 3, 0, 5]), np.array([4, 0, 4, 1, 2]), [0, 3, 3, 5]
    rows = sparse.csr_matrix((data.copy(), indices.copy(), indptr), shape=(3, 6))
    counts = as_counts(rows)
    np.testing.assert_array_equal(counts.toarray(), rows.toarray())
    np.testing.assert_array_equal(counts.indices, [0, 4, 2])
    np.testing.assert_array_equal(counts.data, [1, 5, 5])
    np.testing.assert_array_equal(rows.data, data)
    np.testing.assert_array_equal(rows.indices, indices)


@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (4, 5)])
def test_no_counts_at_all(shape):
    counts = as_counts(np.zeros(shape, "f4"))
    assert counts.shape == shape
    assert counts.nnz == 0


def test_dask_arrays_are_read_block_by_block():
    dense = np.random.default_rng(0).poisson(0.3, (40, 12)).astype(np.uint16)
    calls = []

    def count(*args, **kwargs):
        calls.append(args)
        return dask.get(*args, **kwargs)

    with dask.config.set(scheduler=count):
        counts = as_counts(da.from_array(dense, chunks=(16, 12)))
    np.testing.assert_array_equal(counts.toarray(), dense)
    assert counts.dtype == np.uint8
    assert len(calls) == 3


@pytest.mark.parametrize("chunks", [(16, 12), (16, 5)])
def test_dask_arrays_with_sparse_blocks(chunks):
    dense = np.random.default_rng(0).poisson(0.3, (40, 12))
    chunked = da.from_array(dense, chunks=chunks).map_blocks(sparse.csr_matrix)
    np.testing.assert_array_equal(as_counts(chunked).toarray(), dense)


def test_dask_arrays_of_another_shape_are_refused_unread():
    def read(block):
        raise AssertionError("A block was read.")

    scan = da.ones((4, 5, 12)).map_blocks(read, meta=np.ones((1, 1, 1)))
    with pytest.raises(ValueError, match="Data have 3 dimensions"):
        as_counts(scan)


def test_dask_arrays_with_divided_spectra():
    dense = np.random.default_rng(0).poisson(0.3, (40, 12))
    counts = as_counts(da.from_array(dense, chunks=(16, 5)))
    np.testing.assert_array_equal(counts.toarray(), dense)


def test_blocks_are_stacked():
    blocks = [some_counts("u2", (n, 7), mean) for n, mean in [(3, 0.5), (1, 0), (5, 300)]]
    stacked = stack_counts([as_counts(block) for block in blocks])
    np.testing.assert_array_equal(stacked.toarray(), np.concatenate(blocks))
    assert stacked.dtype == np.uint16
    assert stacked.has_canonical_format


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("n_blocks", [1, 3])
def test_stacked_in_any_order(n_blocks, in_file, tmp_path):
    folder = tmp_path if in_file else None
    rng = np.random.default_rng(8)
    blocks = [some_counts("u2", (n, 7), mean) for n, mean in [(5, 0.5), (1, 0), (4, 300)]]
    blocks = blocks[:n_blocks]
    kept = [as_counts(block) for block in blocks]
    before = [block.toarray() for block in kept]
    order = rng.permutation(sum(map(len, blocks)))
    stacked = stack_counts(iter(kept), order, folder)
    np.testing.assert_array_equal(stacked.toarray(), np.concatenate(blocks)[order])
    assert stacked.has_canonical_format and stacked.indices.dtype == np.int32
    for block, old in zip(kept, before, strict=True):
        np.testing.assert_array_equal(block.toarray(), old)
    in_order = stack_counts(iter(kept), np.arange(len(order)), folder)
    np.testing.assert_array_equal(in_order.toarray(), np.concatenate(blocks))


def is_in_file(array):
    while array is not None and not isinstance(array, mmap.mmap):
        array = getattr(array, "base", None)
    return array is not None


@pytest.mark.parametrize("order", [None, np.arange(50)[::-1]])
def test_files_go_with_the_counts(order, tmp_path):
    rows = some_counts("u2", (50, 7), 300)
    blocks = [as_counts(rows[:20]), as_counts(rows[20:21] // 300), as_counts(rows[21:])]
    expected = np.concatenate([block.toarray() for block in blocks])
    counts = stack_counts(blocks, order, tmp_path)
    assert is_in_file(counts.data) and is_in_file(counts.indices)
    assert not is_in_file(stack_counts(blocks, order).data)
    np.testing.assert_array_equal(
        counts.toarray(), expected[slice(None) if order is None else order]
    )
    # Nobody has to delete anything.
    assert not list(tmp_path.iterdir()) or os.name == "nt"
    again = pickle.loads(pickle.dumps(counts))
    np.testing.assert_array_equal(again.toarray(), counts.toarray())
    assert stack_counts([as_counts(np.zeros((3, 4)))], None, tmp_path).nnz == 0


def test_many_blocks_need_few_files(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    block = as_counts(some_counts("u1", (2, 7), 3))
    n_open = len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + 20, hard))
    try:
        counts = stack_counts((block for _ in range(300)), np.arange(600)[::-1], tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert counts.shape == (600, 7) and counts.nnz == 300 * block.nnz


def test_indices_are_as_wide_as_those_of_rows(monkeypatch):
    offsets = counts_module._offsets
    monkeypatch.setattr(counts_module, "_offsets", lambda n: offsets(n).astype(np.int64))
    blocks = [as_counts(some_counts("u1", (3, 7), 3)) for _ in range(2)]
    assert stack_counts(blocks).indices.dtype == np.int64


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_sums_of_pixels(dtype):
    rows = some_counts(dtype, (9, 7), 50)
    rows[4] = 0
    sums = pixel_sums(as_counts(rows))
    assert sums.dtype == np.float64
    np.testing.assert_allclose(sums, rows.sum(1, dtype=float), rtol=1e-12)


def test_stacked_dtype_holds_all():
    large, fraction = as_counts(np.array([[70000]])), as_counts(np.array([[0.5]]))
    assert stack_counts([as_counts(np.array([[1]])), large]).dtype == np.uint32
    stacked = stack_counts([large, fraction])
    assert stacked.dtype == np.float32
    np.testing.assert_array_equal(stacked.toarray(), [[70000], [0.5]])


@pytest.mark.parametrize("widths", [[], [3, 4]])
def test_blocks_that_do_not_fit(widths):
    with pytest.raises(ValueError, match="features"):
        stack_counts([as_counts(np.ones((2, n))) for n in widths])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
def test_what_float32_can_not_hold_is_not_stored(form):
    rows = form(np.array([[1e-50, 0.5, 0], [0, 1e-60, 0]]))
    before = rows.copy()
    counts = as_counts(rows)
    np.testing.assert_array_equal(counts.data, [0.5])
    np.testing.assert_array_equal(counts.indptr, [0, 1, 1])
    np.testing.assert_array_equal(counts.indices, [1])
    if form is not np.asarray:
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(rows, name), getattr(before, name))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_says_that_counts_are_to_be_scaled(form, dtype):
    rows = np.random.default_rng(0).random((4, 50)).astype(dtype)
    for factor in (1e-18, 1e28):
        assert as_counts(form(rows * np.dtype(dtype).type(factor))).nnz == 200
    with pytest.raises(ValueError, match="add up to .*e.3[0-9] in a pixel.*Divide"):
        as_counts(form(rows * np.dtype(dtype).type(1e30)))
    with pytest.raises(ValueError, match="largest count is 9.*e-23.*Multiply"):
        as_counts(form(rows * np.dtype(dtype).type(1e-22)))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (-2, "1 counts are negative, the lowest is -2.*clip"),
        (-np.inf, "negative"),
        (np.nan, "NaN.*mask"),
        (np.inf, "inf.*mask"),
        (1e39, "range of float32"),
    ],
)
def test_says_what_is_wrong_with_counts(form, bad, message):
    rows = some_counts("f8")
    rows[3, 5] = bad
    with pytest.raises(ValueError, match=message):
        as_counts(form(rows))


def test_says_what_is_wrong_with_arrays():
    with pytest.raises(TypeError, match="complex128.*s.real"):
        as_counts(np.ones((2, 3), complex))
    with pytest.raises(TypeError, match="object"):
        as_counts(np.array([[1, None]], object))
    with pytest.raises(ValueError, match="3 dimensions.*reshape"):
        as_counts(np.ones((2, 3, 4)))


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_thinned_counts_are_two_independent_parts(dtype):
    random = np.random.RandomState(0)
    x = np.random.default_rng(0).poisson(3, (400, 300)).astype(dtype)
    whole = as_counts(x)
    first, second = thin_counts(whole, 0.3, random)
    np.testing.assert_array_equal(first.toarray() + second.toarray(), x)
    for part, mean in ((first, 0.9), (second, 2.1)):
        assert part.has_canonical_format
        assert part.data.all()
        assert part.dtype == whole.dtype
        dense = part.toarray().astype(float)
        # Poisson: the variance is the mean; within five standard deviations.
        assert abs(dense.mean() - mean) < 5 * np.sqrt(mean / x.size)
        assert abs(dense.var() - mean) < 5 * np.sqrt((mean + 2 * mean**2) / x.size)
    covariance = np.cov(first.toarray().ravel(), second.toarray().ravel())[0, 1]
    assert abs(covariance) < 5 * np.sqrt(0.9 * 2.1 / x.size)
    np.testing.assert_array_equal(whole.toarray(), x)

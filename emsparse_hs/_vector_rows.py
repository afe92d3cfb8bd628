# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Rows of four floats, found all over an array, as vectors of columns for compiled loops.

One load brings four values that belong together, and a few permutations of registers then bring
those of one kind together. Sixteen single values written one by one and read back as a vector would
wait for one another.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from ._vectors import _FLAGS, _FLOAT, _place, _splat, _Vector, intrinsic

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_ROW = ir.VectorType(_FLOAT, 4)


def rows_of_four(lanes: int) -> SimpleNamespace:
    """Functions on rows of four float32 values, of as many rows as a vector has values.

    Parameters
    ----------
    lanes : int
        Values of a vector, 4 or more, a power of 2.

    Returns
    -------
    SimpleNamespace
        `load_some`, `store_places`, `take_columns` and `row_of_totals`.
    """
    vector = _Vector(lanes)
    return SimpleNamespace(**_reading(vector), **_columns(vector), **_totals(vector))


def _reading(vector: _Vector) -> dict[str, Any]:
    """Vectors from arrays of any real dtype, not beyond the elements that are meant."""
    lanes = vector.llvm.count

    @intrinsic
    def load_some(typing, array, index, n):
        """Vector of n elements of a 1-D array from an index on, and zeros from there on."""
        dtype = array.dtype

        def generate(context, builder, signature, args):
            values = _load_first(context, builder, signature, args, lanes)
            if isinstance(dtype, types.Integer):
                convert = builder.uitofp if dtype.name.startswith("u") else builder.sitofp
                return convert(values, vector.llvm)
            return builder.fptrunc(values, vector.llvm) if dtype.bitwidth > 32 else values

        return vector(array, types.intp, types.intp), generate

    @intrinsic
    def store_places(typing, indices, index, n, places, place):
        """Put four times the n indices from an index on, and zeros, into a 1-D uint32 array."""

        def generate(context, builder, signature, args):
            values = _load_first(context, builder, signature, args, lanes)
            kind = ir.VectorType(_INT32, lanes)
            if values.type.element.width > 32:
                values = builder.trunc(values, kind)
            values = builder.shl(values, ir.Constant(kind, [2] * lanes))
            array = context.make_array(signature.args[3])(context, builder, args[3])
            place = builder.gep(array.data, [args[4]])
            builder.store(values, builder.bitcast(place, kind.as_pointer()), align=4)
            return context.get_dummy_value()

        return types.void(indices, types.intp, types.intp, places, types.intp), generate

    return {"load_some": load_some, "store_places": store_places}


def _columns(vector: _Vector) -> dict[str, Any]:
    """Columns of rows that are anywhere."""
    lanes = vector.llvm.count

    @intrinsic
    def take_columns(typing, rows, offset, places, place, columns, to, step):
        """Put the four columns of the rows at some places into a 1-D array, a step apart.

        That is columns[to + c * step + l] = rows[offset + places[place + l] + c].
        """

        def generate(context, builder, signature, args):
            base = _pointer(context, builder, signature, args, 0, 1)
            where = _pointer(context, builder, signature, args, 2, 3)
            found = []
            for n in range(lanes):
                place = builder.load(builder.gep(where, [ir.Constant(_INT64, n)]))
                start = builder.gep(base, [builder.zext(place, _INT64)])
                start = builder.bitcast(start, _ROW.as_pointer())
                found.append(builder.load(start, align=4))
            # Each vector has every fourth row, so that columns come out in order.
            vectors = [_joined(builder, found[n::4]) for n in range(4)]
            target = _pointer(context, builder, signature, args, 4, 5)
            for column in _transposed(builder, vectors):
                place = builder.bitcast(target, vector.llvm.as_pointer())
                builder.store(column, place, align=4)
                target = builder.gep(target, [args[6]])
            return context.get_dummy_value()

        size = types.intp
        return types.void(rows, size, places, size, columns, size, size), generate

    return {"take_columns": take_columns}


def _totals(vector: _Vector) -> dict[str, Any]:
    """Back from columns to a row."""
    row = _Vector(4)

    @intrinsic
    def row_of_totals(typing, one, two, three, four):
        """Sums of the elements of four vectors, as a vector of four."""

        def generate(context, builder, signature, args):
            parts = _transposed(builder, list(args))
            while len(parts) > 1:
                parts = [
                    builder.fadd(*parts[n : n + 2], flags=_FLAGS) for n in range(0, len(parts), 2)
                ]
            values = parts[0]
            while values.type.count > 4:
                half = values.type.count // 2
                lower = _chosen(builder, values, values, list(range(half)))
                upper = _chosen(builder, values, values, list(range(half, 2 * half)))
                values = builder.fadd(lower, upper, flags=_FLAGS)
            return values

        return row(vector, vector, vector, vector), generate

    return {"row_of_totals": row_of_totals}


def _load_first(context, builder, signature, args, lanes):
    """First elements of an array from an index on, and zeros, without reading any others."""
    kind = ir.VectorType(context.get_data_type(signature.args[0].dtype), lanes)
    place = _place(context, builder, signature, args, kind)
    numbers = ir.VectorType(_INT32, lanes)
    limit = _splat(builder, builder.trunc(args[2], _INT32), numbers)
    wanted = builder.icmp_signed("<", ir.Constant(numbers, list(range(lanes))), limit)
    # Only older versions of LLVM have types of pointers, and those change the name by themselves.
    element = {"float": "f32", "double": "f64"}.get(str(kind.element), str(kind.element))
    name = f"llvm.masked.load.v{lanes}{element}.p0"
    function = ir.FunctionType(kind, [kind.as_pointer(), _INT32, wanted.type, kind])
    load = cgutils.get_or_insert_function(builder.module, function, name)
    return builder.call(load, [place, ir.Constant(_INT32, 1), wanted, ir.Constant(kind, None)])


def _pointer(context, builder, signature, args, array, index):
    data = context.make_array(signature.args[array])(context, builder, args[array]).data
    return builder.gep(data, [args[index]])


def _joined(builder, parts):
    """One vector of many of the same length."""
    while len(parts) > 1:
        count = 2 * parts[0].type.count
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [_chosen(builder, *pair, list(range(count))) for pair in pairs]
    return parts[0]


def _transposed(builder, vectors):
    """Columns of four vectors of rows: within each four elements, as in a matrix of 4 x 4."""
    count = vectors[0].type.count

    def mixed(one, two, order):
        places = [first + n for first in range(0, count, 4) for n in order]
        return _chosen(builder, one, two, places)

    a, b, c, d = vectors
    low, high = (0, count, 1, count + 1), (2, count + 2, 3, count + 3)
    ab, cd = [mixed(a, b, order) for order in (low, high)], [mixed(c, d, o) for o in (low, high)]
    low, high = (0, 1, count, count + 1), (2, 3, count + 2, count + 3)
    return [mixed(ab[n], cd[n], order) for n in (0, 1) for order in (low, high)]


def _chosen(builder, one, two, places):
    kind = ir.VectorType(_INT32, len(places))
    return builder.shuffle_vector(one, two, ir.Constant(kind, places))

# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Vectors of floats for compiled loops, which numba does not have of its own.

A vector is a number of float32 values that are worked on at once. LLVM makes of it what the
processor has: of 16 values one register of AVX-512, two of AVX, four of SSE or NEON.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model

# As numba's own options of the loops: sums may be fused and reordered.
_FLAGS = ("contract", "reassoc", "nsz", "arcp")
_FLOAT = ir.FloatType()


class _Vector(types.Type):
    def __init__(self, lanes: int) -> None:
        self.llvm = ir.VectorType(_FLOAT, lanes)
        super().__init__(name=f"float32x{lanes}")


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, type_) -> None:
        super().__init__(manager, type_, type_.llvm)


# What `intrinsic` makes of functions has another signature than they, which checkers don't know.
intrinsic: Any = _intrinsic


def vectors(lanes: int) -> SimpleNamespace:
    """Functions on vectors of so many values, for use in compiled loops.

    Parameters
    ----------
    lanes : int
        Values of a vector, a power of 2.

    Returns
    -------
    SimpleNamespace
        `zeros`, `load`, `store`, `add_scaled`, `add_product`, `product`, `quotient` and `total`.
        Give each a global name of its own: compiled loops see no attributes.
    """
    return SimpleNamespace(**_memory(_Vector(lanes)), **_arithmetic(_Vector(lanes)))


def _memory(vector: _Vector) -> dict[str, Any]:
    """Vectors from memory and back."""

    @intrinsic
    def zeros(typing):
        """Return a vector of zeros."""
        return vector(), lambda context, builder, signature, args: _constant(vector.llvm)

    @intrinsic
    def load(typing, array, index):
        """Vector of the elements of a 1-D float32 array from an index on."""

        def generate(context, builder, signature, args):
            place = _place(context, builder, signature, args, vector.llvm)
            return builder.load(place, align=4)

        return vector(array, types.intp), generate

    @intrinsic
    def store(typing, array, index, values):
        """Put a vector into a 1-D float32 array from an index on."""

        def generate(context, builder, signature, args):
            place = _place(context, builder, signature, args, vector.llvm)
            builder.store(args[2], place, align=4)
            return context.get_dummy_value()

        return types.void(array, types.intp, vector), generate

    return {"zeros": zeros, "load": load, "store": store}


def _arithmetic(vector: _Vector) -> dict[str, Any]:
    """Sums, products and quotients of vectors."""

    @intrinsic
    def add_scaled(typing, values, factor, other):
        """Return values + factor * other, the factor being one float32."""

        def generate(context, builder, signature, args):
            factor = _splat(builder, args[1], vector.llvm)
            scaled = builder.fmul(factor, args[2], flags=_FLAGS)
            return builder.fadd(args[0], scaled, flags=_FLAGS)

        return vector(vector, types.float32, vector), generate

    @intrinsic
    def add_product(typing, values, one, other):
        """Return values + one * other, element by element."""

        def generate(context, builder, signature, args):
            product = builder.fmul(args[1], args[2], flags=_FLAGS)
            return builder.fadd(args[0], product, flags=_FLAGS)

        return vector(vector, vector, vector), generate

    @intrinsic
    def product(typing, one, other):
        """Return one * other, element by element."""

        def generate(context, builder, signature, args):
            return builder.fmul(args[0], args[1], flags=_FLAGS)

        return vector(vector, vector), generate

    @intrinsic
    def quotient(typing, one, other, least):
        """Return one / other, and 0 where the other is not above a least value."""

        def generate(context, builder, signature, args):
            above = builder.fcmp_ordered(">", args[1], _splat(builder, args[2], vector.llvm))
            return builder.select(above, builder.fdiv(args[0], args[1]), _constant(vector.llvm))

        return vector(vector, vector, types.float32), generate

    @intrinsic
    def total(typing, values):
        """Sum of the elements."""

        def generate(context, builder, signature, args):
            name = f"llvm.vector.reduce.fadd.v{vector.llvm.count}f32"
            kind = ir.FunctionType(_FLOAT, [_FLOAT, vector.llvm])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            zero = ir.Constant(_FLOAT, 0.0)
            return builder.call(function, [zero, args[0]], fastmath=_FLAGS)

        return types.float32(vector), generate

    functions = add_scaled, add_product, product, quotient, total
    names = "add_scaled", "add_product", "product", "quotient", "total"
    return dict(zip(names, functions, strict=True))


def _place(context, builder, signature, args, kind):
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), kind.as_pointer())


def _constant(kind):
    return ir.Constant(kind, [0.0] * kind.count)


def _splat(builder, value, kind):
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(first, undefined, everywhere)

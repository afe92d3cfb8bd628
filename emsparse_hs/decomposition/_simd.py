# Copyright 2026 The emsparse_hs developers
# This file is part of emsparse_hs, licensed under GPL-3.0-or-later; see the file LICENSE.
"""Vectors of floats for compiled loops, which numba does not have of its own.

A vector is `LANES` float32 values that are worked on at once. LLVM makes of it what the processor
has: one register of AVX-512, two of AVX, four of SSE or NEON.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as _intrinsic
from numba.extending import models, register_model

#: Values of a vector.
LANES = 16

# As numba's own options of the loops: sums may be fused and reordered.
_FLAGS = ("contract", "reassoc", "nsz", "arcp")
_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


_vector = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, type_) -> None:
        super().__init__(manager, type_, _VECTOR)


# What `intrinsic` makes of functions has another signature than they, which checkers don't know.
intrinsic: Any = _intrinsic


@intrinsic
def zeros(typing):
    """Return a vector of zeros."""
    return _vector(), lambda context, builder, signature, args: ir.Constant(_VECTOR, [0.0] * LANES)


@intrinsic
def load(typing, array, index):
    """Vector of the elements of a 1-D float32 array from an index on."""

    def generate(context, builder, signature, args):
        place = _place(context, builder, signature, args)
        return builder.load(place, align=4)

    return _vector(array, types.intp), generate


@intrinsic
def store(typing, array, index, vector):
    """Put a vector into a 1-D float32 array from an index on."""

    def generate(context, builder, signature, args):
        builder.store(args[2], _place(context, builder, signature, args), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _vector), generate


@intrinsic
def add_scaled(typing, vector, factor, other):
    """Return vector + factor * other, the factor being one float32."""

    def generate(context, builder, signature, args):
        scaled = builder.fmul(_splat(builder, args[1]), args[2], flags=_FLAGS)
        return builder.fadd(args[0], scaled, flags=_FLAGS)

    return _vector(_vector, types.float32, _vector), generate


@intrinsic
def add_product(typing, vector, one, other):
    """Return vector + one * other, element by element."""

    def generate(context, builder, signature, args):
        product = builder.fmul(args[1], args[2], flags=_FLAGS)
        return builder.fadd(args[0], product, flags=_FLAGS)

    return _vector(_vector, _vector, _vector), generate


@intrinsic
def quotient(typing, one, other, least):
    """Return one / other, and 0 where the other is not above a least value."""

    def generate(context, builder, signature, args):
        above = builder.fcmp_ordered(">", args[1], _splat(builder, args[2]))
        nothing = ir.Constant(_VECTOR, [0.0] * LANES)
        return builder.select(above, builder.fdiv(args[0], args[1]), nothing)

    return _vector(_vector, _vector, types.float32), generate


@intrinsic
def total(typing, vector):
    """Sum of the elements."""

    def generate(context, builder, signature, args):
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(_FLOAT, 0.0), args[0]], fastmath=_FLAGS)

    return types.float32(_vector), generate


def _place(context, builder, signature, args):
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), _VECTOR.as_pointer())


def _splat(builder, value):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, everywhere)

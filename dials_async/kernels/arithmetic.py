"""Operations of the processor that Python has no word for, for kernels: fused multiply-add, roots, exponents.

The same bits everywhere: each is one operation of IEEE 754 or on integers. Which processors have a fused
multiply-add says ``dials_async.kernels.processor``; without one LLVM would call libm for it, slowly.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_INT32, _INT64 = ir.IntType(32), ir.IntType(64)

#: Makes a function that kernels call of one that writes LLVM code (``numba.extending.intrinsic``).
llvm_code: Any = intrinsic

#: Of a float32: bits of its mantissa, and all bits of sqrt(1/2).
_MANTISSA_BITS, _SQRT_HALF = 23, 0x3F3504F3


def llvm_function(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    """The LLVM function ``name`` in the module that ``builder`` writes to."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, arguments), name)


@llvm_code
def fma(typing_context, a, b, c):
    """A * b + c rounded once, in float32; in float64 if one of the three is float64."""
    wide = types.float64 in (a, b, c)
    number, name = (types.float64, "llvm.fma.f64") if wide else (types.float32, "llvm.fma.f32")

    def code(context, builder, signature, values):
        kind = context.get_value_type(number)
        return builder.call(llvm_function(builder, name, kind, kind, kind, kind), values)

    return number(number, number, number), code


@llvm_code
def square_root(typing_context, x):
    """The square root of x, in float32 or float64, as the processor rounds it: to the nearest."""
    number, name = (
        (types.float64, "llvm.sqrt.f64") if x == types.float64 else (types.float32, "llvm.sqrt.f32")
    )

    def code(context, builder, signature, values):
        kind = context.get_value_type(number)
        return builder.call(llvm_function(builder, name, kind, kind), values)

    return number(number), code


@llvm_code
def power_of_two(typing_context, shifted):
    """2^k in float32, where ``shifted`` (float32) is k + 1.5 * 2^23 with an integer -126 <= k <= 127."""

    def code(context, builder, signature, values):
        biased = builder.add(builder.bitcast(values[0], _INT32), _INT32(127))
        return builder.bitcast(builder.shl(biased, _INT32(_MANTISSA_BITS)), ir.FloatType())

    return types.float32(types.float32), code


def _from_sqrt_half(builder: Any, number: Any) -> Any:
    """The bits of a float32 less those of sqrt(1/2): above the mantissa's is then k of x = m 2^k."""
    return builder.sub(builder.bitcast(number, _INT32), _INT32(_SQRT_HALF))


@llvm_code
def exponent_of(typing_context, x):
    """The k of a normal float32 x = m 2^k > 0 with m in [sqrt(1/2), sqrt(2)), as float32."""

    def code(context, builder, signature, values):
        k = builder.ashr(_from_sqrt_half(builder, values[0]), _INT32(_MANTISSA_BITS))
        return builder.sitofp(k, ir.FloatType())

    return types.float32(types.float32), code


@llvm_code
def mantissa_of(typing_context, x):
    """The m of ``exponent_of``."""

    def code(context, builder, signature, values):
        rest = builder.and_(_from_sqrt_half(builder, values[0]), _INT32((1 << _MANTISSA_BITS) - 1))
        return builder.bitcast(builder.add(rest, _INT32(_SQRT_HALF)), ir.FloatType())

    return types.float32(types.float32), code


@llvm_code
def trailing_zeros(typing_context, word):
    """How many of the lowest bits of ``word`` (uint64, not 0) are 0: the index of its first set bit."""

    def code(context, builder, signature, values):
        count = llvm_function(builder, "llvm.cttz.i64", _INT64, _INT64, ir.IntType(1))
        return builder.call(count, [values[0], ir.Constant(ir.IntType(1), 1)])

    return types.int64(types.uint64), code

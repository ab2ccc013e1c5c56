"""exp, log, tanh and the logistic function for kernels, in float32: the same bits on every processor.

libm's differ from machine to machine and from version to version, and do not vectorise. These are made of
additions, products, fused multiply-adds, divisions and bits alone, each rounded as IEEE 754 says.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numpy.typing import NDArray

from dials_async.kernels import vectors as v
from dials_async.kernels.arithmetic import exponent_of, fma, llvm_code, mantissa_of, power_of_two
from dials_async.kernels.compile import Scalar, jit_inline, jit_leaf
from dials_async.kernels.vectors import LANES

_ONE, _HALF = np.float32(1.0), np.float32(0.5)

# Rational approximation x P(x^2) / Q(x^2) of tanh on [-8, 8], fitted in Chebyshev nodes to least relative
# error (1.5e-7; 4e-7 absolute in float32).
_P0, _P1, _P2, _P3 = map(np.float32, (9.999998544e-01, 1.292566354e-01, 2.951024303e-03, 1.142842762e-05))
_Q1, _Q2, _Q3, _Q4 = map(np.float32, (4.625887914e-01, 2.381555650e-02, 2.386692335e-04, 2.459211948e-07))
_TANH_LIMIT = np.float32(8.0)

# exp: x = k ln 2 + r. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum.
_LOG2_E = np.float32(1.4426950408889634)
_ROUNDER = np.float32(12582912.0)
_LN2_HIGH = np.float32(0.693359375)  # few bits: k times it is exact
_LN2_LOW = np.float32(-2.121944400546905827679e-4)  # the rest of it
_E2, _E3, _E4, _E5, _E6, _E7 = (np.float32(1.0 / math.factorial(k)) for k in range(2, 8))
_LEAST_EXPONENT, _GREATEST_EXPONENT = np.float32(-87.0), np.float32(88.0)

# log: x = m 2^k with m in [sqrt(1/2), sqrt(2)), s = (m - 1) / (m + 1), log m = 2 (s + s^3/3 + s^5/5 + ...).
_L3, _L5, _L7, _L9 = (np.float32(2.0 / k) for k in (3, 5, 7, 9))


def _tanh(builder: Any, x: Any) -> Any:
    """LLVM code of tanh of ``x``, a float or a vector: the same operations for both."""

    def number(value: np.float32) -> Any:
        constant = ir.Constant(ir.FloatType(), float(value))
        return constant if x.type == constant.type else v.broadcast(builder, constant, x.type.count)

    def polynomial(a: Any, b: Any, y: Any) -> Any:  # a + b y
        return v.fma(builder, b, y, a)

    limit, least = number(_TANH_LIMIT), number(-_TANH_LIMIT)
    x = builder.select(builder.fcmp_ordered(">", x, limit), limit, x)
    x = builder.select(builder.fcmp_ordered("<", x, least), least, x)
    t = builder.fmul(x, x)
    u = builder.fmul(t, t)
    # Both polynomials in halves (Estrin): a shorter chain of operations leaves more of them under way.
    p01, p23 = polynomial(number(_P0), number(_P1), t), polynomial(number(_P2), number(_P3), t)
    q01, q23 = polynomial(number(_ONE), number(_Q1), t), polynomial(number(_Q2), number(_Q3), t)
    above = polynomial(p01, p23, u)
    below = polynomial(q01, polynomial(q23, number(_Q4), u), u)
    return builder.fdiv(builder.fmul(x, above), below)


@llvm_code
def tanh(typing_context, x):
    """Hyperbolic tangent in float32, absolute error below 5e-7; NaN stays NaN."""

    def code(context, builder, signature, values):
        return _tanh(builder, *values)

    return types.float32(types.float32), code


@llvm_code
def _tanh_rows(typing_context, x, rows, x_row, columns):
    signature = types.void(x, *[types.int64] * 3)

    def code(context, builder, signature, values):
        x, rows, x_row, columns = values
        x = v.data(context, builder, signature.args[0], x)
        whole = builder.sdiv(columns, v.INT64(LANES))
        left = builder.srem(columns, v.INT64(LANES))
        mask = v.first_lanes(builder, left)

        def of_row(i: Any, _: list[Any]) -> list[Any]:
            row = v.address(builder, x, builder.mul(i, x_row))

            def of_vector(k: Any, _: list[Any]) -> list[Any]:
                at = v.address(builder, row, builder.mul(k, v.INT64(LANES)))
                v.store(builder, _tanh(builder, v.load(builder, at)), at)
                return []

            v.loop(builder, whole, [], of_vector)
            with builder.if_then(builder.icmp_signed(">", left, v.INT64(0))):
                at = v.address(builder, row, builder.mul(whole, v.INT64(LANES)))
                v.store_part(builder, _tanh(builder, v.load_part(builder, at, mask)), at, mask)
            return []

        v.loop(builder, rows, [], of_row)
        return context.get_dummy_value()

    return signature, code


@jit_leaf
def tanh_rows(x: NDArray[np.float32], rows: int, columns: int) -> None:
    """:func:`tanh` of the first rows and columns of ``x``, in place."""
    _tanh_rows(x, rows, x.shape[1], columns)


@jit_inline
def sigmoid(x: Scalar) -> Scalar:
    """Logistic function, absolute error below 5e-7; NaN stays NaN."""
    return fma(_HALF, tanh(_HALF * x), _HALF)


@jit_inline
def exp(x: Scalar) -> Scalar:
    """e**x, relative error below 2e-7 for -87 <= x <= 88; outside as at these ends. NaN stays NaN."""
    x = _LEAST_EXPONENT if x < _LEAST_EXPONENT else x
    x = _GREATEST_EXPONENT if x > _GREATEST_EXPONENT else x
    shifted = fma(x, _LOG2_E, _ROUNDER)
    k = shifted - _ROUNDER
    r = fma(-k, _LN2_LOW, fma(-k, _LN2_HIGH, x))
    y = fma(r, fma(r, fma(r, fma(r, fma(r, fma(r, _E7, _E6), _E5), _E4), _E3), _E2), _ONE)
    y = fma(r, y, _ONE)
    return y * power_of_two(shifted)


@jit_inline
def log(x: Scalar) -> Scalar:
    """Natural logarithm of a normal x > 0 (1.2e-38 to 3.4e38), error below 2e-7 relative or absolute."""
    m, k = mantissa_of(x), exponent_of(x)
    s = (m - _ONE) / (m + _ONE)
    t = s * s
    series = t * fma(t, fma(t, fma(t, _L9, _L7), _L5), _L3)
    # 2 s is exact; the sum goes from small to large.
    return fma(k, _LN2_HIGH, fma(s, series, k * _LN2_LOW) + (s + s))

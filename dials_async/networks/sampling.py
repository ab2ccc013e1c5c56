"""Choosing from logits, compiled: categorical sampling with log-probabilities, for actions and influence."""

import math

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import Scalar, jit_inline
from dials_async.kernels.rng import uniform

Floats = NDArray[np.float32]

_FLOOR = np.float32(-30.0)
_SCALE = np.float32(1.0 / 64.0)
_C1, _C2, _C3, _C4, _C5, _C6 = (np.float32(1.0 / math.factorial(k)) for k in range(1, 7))
_ONE = np.float32(1.0)


@jit_inline
def fast_exp(x: Scalar) -> Scalar:
    """e**x in float32 for x <= 0, relative error below 1e-5 down to x = -20; e**-30 below x = -30.

    Taylor series of x / 64, squared six times: libm's exp does not vectorise.
    """
    x = _FLOOR if x < _FLOOR else x
    x = x * _SCALE
    y = _ONE + x * (_C1 + x * (_C2 + x * (_C3 + x * (_C4 + x * (_C5 + x * _C6)))))
    y *= y
    y *= y
    y *= y
    y *= y
    y *= y
    return y * y


@jit_inline
def softmax_part(logits: Floats, row: int, start: int, stop: int, weights: Floats) -> tuple[Scalar, Scalar]:
    """Unnormalised probabilities of logits[row, start:stop] into weights[start:stop]; (maximum, sum)."""
    top = logits[row, start]
    for k in range(start + 1, stop):
        top = logits[row, k] if logits[row, k] > top else top
    for k in range(start, stop):
        weights[k] = fast_exp(logits[row, k] - top)
    total = np.float32(0.0)
    for k in range(start, stop):  # sums and stores apart: see kernels/compile.py
        total += weights[k]
    return top, total


@jit_inline
def draw(weights: Floats, start: int, stop: int, total: Scalar, streams: NDArray[np.uint64], k: int) -> int:
    """Index in 0 .. stop - start - 1 drawn in proportion to weights[start:stop], whose sum is ``total``."""
    point = uniform(streams, k) * total
    for j in range(start, stop - 1):
        point -= weights[j]
        if point < 0.0:
            return j - start
    return stop - 1 - start


@jit_inline
def greatest(logits: Floats, row: int) -> int:
    """Index of the greatest of logits[row] (greedy action); the first one in a tie."""
    best = 0
    for k in range(1, logits.shape[1]):
        if logits[row, k] > logits[row, best]:
            best = k
    return best

"""Kernels around the inlined functions, which cannot be called from Python by themselves."""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.bits import set_bit
from dials_async.kernels.compile import jit
from dials_async.kernels.rng import below, next_u64, uniform


@jit
def words(states: NDArray[np.uint64], k: int, out: NDArray[np.uint64]) -> None:
    for i in range(out.shape[0]):
        out[i] = next_u64(states, k)


@jit
def uniforms(states: NDArray[np.uint64], k: int, out: NDArray[np.float64]) -> None:
    for i in range(out.shape[0]):
        out[i] = uniform(states, k)


@jit
def integers(states: NDArray[np.uint64], k: int, n: int, out: NDArray[np.int64]) -> None:
    for i in range(out.shape[0]):
        out[i] = below(states, k, n)


@jit
def set_bits(row: NDArray[np.uint8], indices: NDArray[np.int64]) -> None:
    for k in indices:
        set_bit(row, k)

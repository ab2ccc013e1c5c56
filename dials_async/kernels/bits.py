"""Observations as packed bits: bit k of an observation is bit ``k & 7`` of byte ``k >> 3``.

Networks read observations as lists of active bits, since few are set: the first layer is then a sum of
weight rows instead of a matrix product.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import jit, jit_leaf


def packed_size(n_bits: int) -> int:
    """Bytes that hold ``n_bits`` bits."""
    return (n_bits + 7) // 8


@jit_leaf
def set_bit(row: NDArray[np.uint8], k: int) -> None:
    """Set bit ``k`` of the packed ``row`` [bytes]."""
    row[k >> 3] |= np.uint8(1 << (k & 7))


@jit_leaf
def active_bits(packed: NDArray[np.uint8], n_bits: int, out: NDArray[np.int16], row: int) -> int:
    """Write the indices of set bits below ``n_bits`` of ``packed`` [bytes] to out[row]; return how many."""
    count = 0
    for k in range((n_bits + 7) >> 3):
        byte = int(packed[k])
        bit = k << 3
        while byte != 0:
            if byte & 1 and bit < n_bits:
                out[row, count] = bit
                count += 1
            byte >>= 1
            bit += 1
    return count


@jit
def unpack_active(
    packed: NDArray[np.uint8], n_bits: int, indices: NDArray[np.int16], counts: NDArray[np.int32]
) -> None:
    """Active bits of every row: packed [rows, bytes] -> indices [rows, n_bits], counts [rows]."""
    for row in range(packed.shape[0]):
        counts[row] = active_bits(packed[row], n_bits, indices, row)


def pack(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack 0/1 values along the last axis: [..., n_bits] -> [..., bytes]."""
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack(packed: NDArray[np.uint8], n_bits: int) -> NDArray[np.uint8]:
    """Invert :func:`pack`: [..., bytes] -> [..., n_bits] of 0 and 1."""
    return np.unpackbits(packed, axis=-1, bitorder="little", count=n_bits)

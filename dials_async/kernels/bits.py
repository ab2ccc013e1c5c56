"""Observations as packed bits: bit k of an observation is bit ``k & 7`` of byte ``k >> 3``.

Networks read observations as lists of active bits, since few are set: the first layer is then a sum of
weight rows instead of a matrix product.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.arithmetic import trailing_zeros
from dials_async.kernels.compile import Scalar, jit, jit_leaf

_ONE = np.uint64(1)

#: Entries that are copied of every list, however short; a table has room for so many behind its last list.
COPIED_AT_LEAST = 8


def packed_size(n_bits: int) -> int:
    """Bytes that hold ``n_bits`` bits."""
    return (n_bits + 7) // 8


@jit_leaf
def set_bit(row: NDArray[np.uint8], k: int) -> None:
    """Set bit ``k`` of the packed ``row`` [bytes]."""
    row[k >> 3] |= np.uint8(1 << (k & 7))


@jit_leaf
def _word(packed: NDArray[np.uint8], first: int, n_bits: int) -> Scalar:
    """The bits ``first`` (a multiple of 8) .. first + 63 below ``n_bits``, the first one lowest."""
    word = np.uint64(0)
    n_bytes = min(8, (n_bits - first + 7) >> 3)
    for k in range(n_bytes):
        word |= np.uint64(packed[(first >> 3) + k]) << np.uint64(8 * k)
    if n_bits - first < 64:
        word &= (_ONE << np.uint64(n_bits - first)) - _ONE
    return word


@jit_leaf
def active_bits(
    packed: NDArray[np.uint8],
    n_bits: int,
    ladder_from: int,
    ladder_steps: int,
    out: NDArray[np.int16],
    row: int,
    at: int,
) -> int:
    """Write the indices of set bits below ``n_bits`` of ``packed`` [bytes] to out[row, at:]; return how many.

    From ``ladder_from`` on bits form ladders of ``ladder_steps``, in which a bit is set only if the one
    before it is: of each only the last one that is set is written.
    """
    count, ladder_end = 0, 0
    for first in range(0, n_bits, 64):
        word = _word(packed, first, n_bits)
        while word != np.uint64(0):
            bit = first + trailing_zeros(word)
            word &= word - _ONE
            if bit >= ladder_from:
                if bit < ladder_end:
                    count -= 1  # in the place of the one before
                else:
                    ladder_end = bit + ladder_steps
            out[row, at + count] = bit
            count += 1
    return count


def make_lists(n: int, most: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """``n`` empty lists of up to ``most`` active bits: indices [n, at least most], counts [n]."""
    return np.zeros((n, max(most, COPIED_AT_LEAST)), dtype=np.int16), np.zeros(n, dtype=np.int32)


def make_table(n: int, most: int) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
    """Room for ``n`` lists of up to ``most`` active bits, one behind the other: entries [1, all], starts."""
    return np.zeros((1, n * most + COPIED_AT_LEAST), dtype=np.int16), np.zeros(n + 1, dtype=np.int32)


@jit
def fill_table(
    packed: NDArray[np.uint8],  # [rows, bytes]
    n_bits: int,
    ladder_from: int,
    ladder_steps: int,
    entries: NDArray[np.int16],  # [1, all], out
    starts: NDArray[np.int32],  # [rows + 1], out: row k is entries[0, starts[k]:starts[k + 1]]
) -> None:
    """The lists of :func:`active_bits` of every row, without gaps between them, since few bits are set."""
    at = 0
    for row in range(packed.shape[0]):
        starts[row] = at
        at += active_bits(packed[row], n_bits, ladder_from, ladder_steps, entries, 0, at)
    starts[packed.shape[0]] = at


@jit_leaf
def take_lists(
    entries: NDArray[np.int16],  # of a table
    starts: NDArray[np.int32],
    rows: NDArray[np.int32],  # [n]
    n: int,
    indices: NDArray[np.int16],  # [n, most], out
    counts: NDArray[np.int32],  # [n], out
) -> None:
    """Copy the lists in some rows of a table, so that later passes read them from consecutive memory."""
    for i in range(n):
        start = starts[rows[i]]
        count = starts[rows[i] + 1] - start
        counts[i] = count
        for k in range(
            COPIED_AT_LEAST
        ):  # nearly always enough, and then without a branch that is hard to foresee
            indices[i, k] = entries[0, start + k]
        for k in range(COPIED_AT_LEAST, count):
            indices[i, k] = entries[0, start + k]


def pack(bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pack 0/1 values along the last axis: [..., n_bits] -> [..., bytes]."""
    return np.packbits(bits, axis=-1, bitorder="little")


def unpack(packed: NDArray[np.uint8], n_bits: int) -> NDArray[np.uint8]:
    """Invert :func:`pack`: [..., bytes] -> [..., n_bits] of 0 and 1."""
    return np.unpackbits(packed, axis=-1, bitorder="little", count=n_bits)

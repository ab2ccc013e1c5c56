"""Random numbers for kernels: splitmix64 streams, one 64-bit state per (agent, episode).

A stream is a pure function of its seed, costs about a nanosecond a number, and its whole state is one
integer in an array, so that a rollout depends on nothing but its task. Source: Steele, Lea, Flood,
"Fast splittable pseudorandom number generators" (OOPSLA 2014); the generator passes BigCrush.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

from dials_async.kernels.compile import Scalar, jit, jit_inline, jit_leaf

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / (1 << 53)


def seed64(run_seed: int, purpose: str, *indices: int) -> int:
    """Derive the 64-bit seed of one stream from the run's seed, what it is for, and who it is for.

    Equal arguments give equal seeds on every machine; time, process and worker never enter.
    """
    text = ":".join([str(run_seed), purpose, *map(str, indices)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


@jit_leaf
def next_u64(states: NDArray[np.uint64], k: int) -> Scalar:
    """Advance stream ``k`` of ``states`` [streams] and return 64 random bits."""
    states[k] += _GOLDEN
    z = states[k]
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@jit_leaf
def uniform(states: NDArray[np.uint64], k: int) -> float:
    """Advance stream ``k`` and return a float64 in [0, 1)."""
    return np.float64(next_u64(states, k) >> _S11) * _TO_UNIT


@jit_leaf
def below(states: NDArray[np.uint64], k: int, n: int) -> int:
    """Advance stream ``k`` and return an integer in [0, n); the bias is below n / 2**53."""
    return int(uniform(states, k) * n)


@jit_inline
def shuffle(order: NDArray[np.int32], stream: NDArray[np.uint64]) -> None:
    """Fisher-Yates shuffle of ``order`` in place, drawing from ``stream`` [1]."""
    n = order.shape[0]
    places = np.zeros(n, dtype=np.int32)
    for k in range(n - 1, 0, -1):  # all draws, then all swaps: neither waits for the other
        places[k] = below(stream, 0, k + 1)
    for k in range(n - 1, 0, -1):
        j = places[k]
        order[k], order[j] = order[j], order[k]


def stream_seeds(bases: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
    """Seeds of ``count`` streams for each of ``bases`` [n], shape [n, count]: one splitmix64 step each."""
    with np.errstate(over="ignore"):
        z = bases[:, None] + _GOLDEN * np.arange(1, count + 1, dtype=np.uint64)[None, :]
        z = (z ^ (z >> _S30)) * _MIX_1
        z = (z ^ (z >> _S27)) * _MIX_2
        mixed: NDArray[np.uint64] = z ^ (z >> _S31)
    return mixed


@jit
def shuffled(order: NDArray[np.int32], stream: NDArray[np.uint64]) -> None:
    """:func:`shuffle`, to be called from Python."""
    shuffle(order, stream)

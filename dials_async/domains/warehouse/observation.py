"""What a robot sees: 37 bits, and with the option ``item_ages`` how long it has seen each item.

The first 37 bits are the d-set of the paper: 25 one-hot for the own cell, 12 for the item slots. The
option adds for each slot one bit per threshold: "seen for at least so many steps". That is memory which
the agent keeps from its own observations, nothing that the paper's agent could not know.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.warehouse.layout import N_CELLS, N_SLOTS
from dials_async.kernels.bits import set_bit
from dials_async.kernels.compile import jit_leaf

DSET_BITS = N_CELLS + N_SLOTS

#: Steps. An item waits some 15 steps for a good policy; the thresholds are denser where most ages are.
AGE_THRESHOLDS = np.array([1, 3, 6, 10, 15, 21, 28], dtype=np.int16)
N_THRESHOLDS = len(AGE_THRESHOLDS)


def observation_bits(item_ages: bool) -> int:
    """Bits of an observation with or without the item ages."""
    return DSET_BITS + (N_SLOTS * N_THRESHOLDS if item_ages else 0)


@jit_leaf
def write_observation(
    out: NDArray[np.uint8],  # [bytes]
    cell: int,
    ages: NDArray[np.int16],  # [envs, items]
    env: int,
    items: NDArray[np.int32],  # [robots, 12]
    robot: int,
    seen: NDArray[np.int16],  # [rows, 12], or [rows, 0] without item ages
    row: int,
) -> None:
    """Write the packed observation of one robot to ``out``."""
    out[:] = 0
    set_bit(out, cell)
    for slot in range(N_SLOTS):
        if ages[env, items[robot, slot]] >= 0:
            set_bit(out, N_CELLS + slot)
    for slot in range(seen.shape[1]):
        first = DSET_BITS + slot * N_THRESHOLDS
        for k in range(N_THRESHOLDS):
            if seen[row, slot] < AGE_THRESHOLDS[k]:
                break
            set_bit(out, first + k)

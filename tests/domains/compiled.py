"""Kernels around the inlined rules, which cannot be called from Python by themselves."""

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.warehouse.rules import global_transition
from dials_async.kernels.compile import jit


@jit
def transition(
    cells: NDArray[np.uint8],
    ages: NDArray[np.int16],
    actions: NDArray[np.uint8],
    spawned: NDArray[np.uint8],
    env: int,
    item_of_slot: NDArray[np.int32],
    learners: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rewards: NDArray[np.float64],
    influence: NDArray[np.uint8],
) -> None:
    global_transition(
        cells, ages, actions, spawned, env, item_of_slot, learners, neighbours, rewards, influence
    )

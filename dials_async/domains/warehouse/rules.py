"""The rules of the warehouse, once: pure transitions of the whole grid and of one region, compiled.

Both transitions are made of the same pieces and differ only in who stands on the shared edges: in the
global simulator the neighbours are there, in the local one the influence sources say where they are.
Ages are steps since the item appeared; -1 where there is no item.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.warehouse.layout import (
    INFLUENCE_OF_CELL,
    MOVES,
    N_NEIGHBOURS,
    N_SLOTS,
    NOWHERE,
    SLOT_OF_CELL,
    SLOT_OF_INFLUENCE,
    SPAWN_PROBABILITY,
)
from dials_async.kernels.compile import jit, jit_inline
from dials_async.kernels.rng import uniform

Ages = NDArray[np.int16]


@jit_inline
def grow_older(ages: Ages) -> None:
    """Every item's age += 1; ages [items]."""
    for item in range(ages.shape[0]):
        if ages[item] >= 0:
            ages[item] += 1


@jit_inline
def pay(ages: Ages, items: NDArray[np.int32], cell: int) -> float:
    """Reward of a robot on ``cell``: age of the item under it / greatest age in its region; items [12]."""
    slot = SLOT_OF_CELL[cell]
    if slot < 0 or ages[items[slot]] < 0:
        return 0.0
    oldest = 0
    for k in range(N_SLOTS):
        oldest = max(oldest, ages[items[k]])
    return ages[items[slot]] / oldest


@jit_inline
def pick_up(ages: Ages, items: NDArray[np.int32], cell: int) -> None:
    """Remove the item under a robot on ``cell`` of its region; items [12]."""
    slot = SLOT_OF_CELL[cell]
    if slot >= 0:
        ages[items[slot]] = -1


@jit_inline
def put_items(ages: Ages, spawned: NDArray[np.uint8]) -> None:
    """Put a new item on every spawned cell that is free; both [items]."""
    for item in range(ages.shape[0]):
        if spawned[item] and ages[item] < 0:
            ages[item] = 0


@jit
def global_transition(
    cells: NDArray[np.uint8],  # [robots], in place
    ages: Ages,  # [items], in place
    actions: NDArray[np.uint8],  # [robots]
    spawned: NDArray[np.uint8],  # [items], 0 or 1
    item_of_slot: NDArray[np.int32],  # [robots, 12]
    learners: NDArray[np.int32],  # [agents]
    neighbours: NDArray[np.int32],  # [agents, 4]
    rewards: NDArray[np.float64],  # [agents], out
    influence: NDArray[np.uint8],  # [agents, 4], out
) -> None:
    """Advance the whole grid by one step, in the order of DOMAINS, "One step"."""
    grow_older(ages)
    for robot in range(cells.shape[0]):
        cells[robot] = MOVES[cells[robot], actions[robot]]
    for agent in range(learners.shape[0]):
        robot = learners[agent]
        rewards[agent] = pay(ages, item_of_slot[robot], cells[robot])
        for k in range(N_NEIGHBOURS):
            influence[agent, k] = INFLUENCE_OF_CELL[k, cells[neighbours[agent, k]]]
    for robot in range(cells.shape[0]):
        pick_up(ages, item_of_slot[robot], cells[robot])
    put_items(ages, spawned)


@jit_inline
def local_transition(
    cell: int,
    ages: Ages,  # [12], in place
    action: int,
    influence: NDArray[np.uint8],  # [4]
    spawned: NDArray[np.uint8],  # [12], 0 or 1
    own_items: NDArray[np.int32],  # [12], 0..11: a region alone numbers its items by slot
) -> tuple[int, float]:
    """Advance one region by one step: new cell of the robot and its reward (paper, eq. 1, given u)."""
    grow_older(ages)
    cell = MOVES[cell, action]
    reward = pay(ages, own_items, cell)
    pick_up(ages, own_items, cell)
    for k in range(N_NEIGHBOURS):
        if influence[k] != NOWHERE:
            ages[SLOT_OF_INFLUENCE[k, influence[k]]] = -1
    put_items(ages, spawned)
    return cell, reward


@jit_inline
def draw_spawned(streams: NDArray[np.uint64], k: int, spawned: NDArray[np.uint8]) -> None:
    """Draw where new items appear; spawned [items]."""
    for item in range(spawned.shape[0]):
        spawned[item] = uniform(streams, k) < SPAWN_PROBABILITY


@jit_inline
def update_seen(seen: NDArray[np.int16], ages: Ages, items: NDArray[np.int32], cell: int) -> None:
    """Advance the agent's memory of how long it has seen each item, from its own observation alone.

    seen [12], items [12]. An item under the agent was just taken: if one is seen there, it is a new one.
    """
    for slot in range(N_SLOTS):
        if ages[items[slot]] < 0:
            seen[slot] = -1
        elif slot == SLOT_OF_CELL[cell]:
            seen[slot] = 0
        else:
            seen[slot] += 1

"""The rules of the warehouse, once: pure transitions of the whole grid and of one region, compiled.

Both transitions are made of the same pieces and differ only in who stands on the shared edges: in the
global simulator the neighbours are there, in the local one the influence sources say where they are.
Ages are steps since the item appeared; -1 where there is no item.

Functions take whole tables and the row to work on (``env``, ``robot``) instead of slices: making a slice
costs a reference count each time, together more than the rules themselves.
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
from dials_async.kernels.compile import Scalar, jit, jit_leaf
from dials_async.kernels.rng import uniform

Ages = NDArray[np.int16]


@jit_leaf
def grow_older(ages: Ages, env: int) -> None:
    """Every item's age += 1; ages [envs, items]."""
    for item in range(ages.shape[1]):
        if ages[env, item] >= 0:
            ages[env, item] += 1


@jit_leaf
def pay(ages: Ages, env: int, items: NDArray[np.int32], robot: int, cell: int) -> Scalar:
    """Reward of a robot on ``cell``: age of the item under it / greatest age in its region.

    ages [envs, items]; items [robots, 12] names the items of each robot's region.
    """
    slot = SLOT_OF_CELL[cell]
    if slot < 0 or ages[env, items[robot, slot]] < 0:
        return 0.0
    oldest = 0
    for k in range(N_SLOTS):
        oldest = max(oldest, ages[env, items[robot, k]])
    return ages[env, items[robot, slot]] / oldest


@jit_leaf
def pick_up(ages: Ages, env: int, items: NDArray[np.int32], robot: int, cell: int) -> None:
    """Remove the item under a robot on ``cell`` of its region; ages [envs, items], items [robots, 12]."""
    slot = SLOT_OF_CELL[cell]
    if slot >= 0:
        ages[env, items[robot, slot]] = -1


@jit_leaf
def put_items(ages: Ages, spawned: NDArray[np.uint8], env: int) -> None:
    """Put a new item on every spawned cell that is free; both [envs, items]."""
    for item in range(ages.shape[1]):
        if spawned[env, item] and ages[env, item] < 0:
            ages[env, item] = 0


@jit_leaf
def global_transition(
    cells: NDArray[np.uint8],  # [envs, robots], in place
    ages: Ages,  # [envs, items], in place
    actions: NDArray[np.uint8],  # [envs, robots]
    spawned: NDArray[np.uint8],  # [envs, items], 0 or 1
    env: int,
    item_of_slot: NDArray[np.int32],  # [robots, 12]
    learners: NDArray[np.int32],  # [agents]
    neighbours: NDArray[np.int32],  # [agents, 4]
    rewards: NDArray[np.float64],  # [agents], out
    influence: NDArray[np.uint8],  # [agents, 4], out
) -> None:
    """Advance one whole grid by one step, in the order of docs/warehouse.md."""
    grow_older(ages, env)
    for robot in range(cells.shape[1]):
        cells[env, robot] = MOVES[cells[env, robot], actions[env, robot]]
    for agent in range(learners.shape[0]):
        robot = learners[agent]
        rewards[agent] = pay(ages, env, item_of_slot, robot, cells[env, robot])
        for k in range(N_NEIGHBOURS):
            influence[agent, k] = INFLUENCE_OF_CELL[k, cells[env, neighbours[agent, k]]]
    for robot in range(cells.shape[1]):
        pick_up(ages, env, item_of_slot, robot, cells[env, robot])
    put_items(ages, spawned, env)


@jit
def transition(
    cells: NDArray[np.uint8],
    ages: Ages,
    actions: NDArray[np.uint8],
    spawned: NDArray[np.uint8],
    env: int,
    item_of_slot: NDArray[np.int32],
    learners: NDArray[np.int32],
    neighbours: NDArray[np.int32],
    rewards: NDArray[np.float64],
    influence: NDArray[np.uint8],
) -> None:
    """:func:`global_transition`, to be called from Python."""
    global_transition(
        cells, ages, actions, spawned, env, item_of_slot, learners, neighbours, rewards, influence
    )


@jit_leaf
def local_transition(
    cells: NDArray[np.uint8],  # [envs], in place
    ages: Ages,  # [envs, 12], in place
    action: int,
    influence: NDArray[np.uint8],  # [4]
    spawned: NDArray[np.uint8],  # [envs, 12], 0 or 1
    env: int,
    own_items: NDArray[np.int32],  # [1, 12], 0..11: a region alone numbers its items by slot
) -> Scalar:
    """Advance one region by one step; returns the reward (the transition of paper, eq. 1, given u)."""
    grow_older(ages, env)
    cell = MOVES[cells[env], action]
    cells[env] = cell
    reward = pay(ages, env, own_items, 0, cell)
    pick_up(ages, env, own_items, 0, cell)
    for k in range(N_NEIGHBOURS):
        if influence[k] != NOWHERE:
            ages[env, SLOT_OF_INFLUENCE[k, influence[k]]] = -1
    put_items(ages, spawned, env)
    return reward


@jit_leaf
def draw_spawned(streams: NDArray[np.uint64], env: int, spawned: NDArray[np.uint8]) -> None:
    """Draw where new items appear; streams [envs], spawned [envs, items]."""
    for item in range(spawned.shape[1]):
        spawned[env, item] = uniform(streams, env) < SPAWN_PROBABILITY


@jit_leaf
def update_seen(
    seen: NDArray[np.int16],  # [rows, 12], in place
    row: int,
    ages: Ages,  # [envs, items]
    env: int,
    items: NDArray[np.int32],  # [robots, 12]
    robot: int,
    cell: int,
) -> None:
    """Advance an agent's memory of how long it has seen each item, from its own observation alone.

    An item under the agent was just taken: if one is seen there, it is a new one.
    """
    for slot in range(N_SLOTS):
        if ages[env, items[robot, slot]] < 0:
            seen[row, slot] = -1
        elif slot == SLOT_OF_CELL[cell]:
            seen[row, slot] = 0
        else:
            seen[row, slot] += 1

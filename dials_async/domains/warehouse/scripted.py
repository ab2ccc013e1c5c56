"""Scripted warehouse policies: where to go next, compiled. The outer ring always follows ``closest``.

``closest``         shortest path to the nearest item, kept until it is gone; a random action when idle
``oldest``          shortest path to the oldest item of the region (the paper's hand-coded policy)
``closest-centre``  closest item, and back to the centre when there is none
``age-distance``    the item with the largest age / (distance + 1), and back to the centre when there is none
``random``          a random action

``oldest`` and ``age-distance`` read the ages, which learning agents do not see. Ties are broken as in the
recordings of the original simulator: among items the first in row-major order, among first moves of
shortest paths up, left, right, down.
"""

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.warehouse.layout import CENTRE, DISTANCES, MOVES, N_ACTIONS, SLOT_CELL
from dials_async.kernels.compile import Scalar, jit_leaf
from dials_async.kernels.rng import below

#: Names in the order of the codes used by the kernels.
POLICIES = ("random", "closest", "oldest", "closest-centre", "age-distance")
RANDOM, CLOSEST, OLDEST, CLOSEST_CENTRE, AGE_DISTANCE = range(5)

NO_TARGET = -1

# The item slots in row-major order of their cells, and the actions in the order that decides ties.
_SLOT_ORDER = np.argsort(SLOT_CELL).astype(np.int8)
_ACTION_ORDER = np.array([0, 2, 3, 1], dtype=np.int8)


@jit_leaf
def step_towards(cell: int, goal: int, streams: NDArray[np.uint64], k: int) -> Scalar:
    """First action of a shortest path from ``cell`` to ``goal``; a random action at the goal itself."""
    for action in _ACTION_ORDER:
        reached = MOVES[cell, action]
        if DISTANCES[reached, goal] < DISTANCES[cell, goal]:
            return action
    return below(streams, k, N_ACTIONS)


@jit_leaf
def choose_target(
    policy: int, cell: int, ages: NDArray[np.int16], env: int, items: NDArray[np.int32], robot: int
) -> int:
    """Slot of the best item of the region by the policy's measure, or NO_TARGET."""
    chosen = NO_TARGET
    best = -1.0e9
    for slot in _SLOT_ORDER:
        age = ages[env, items[robot, slot]]
        if age < 0:
            continue
        distance = DISTANCES[cell, SLOT_CELL[slot]]
        if policy == OLDEST:
            value = float(age)
        elif policy == AGE_DISTANCE:
            value = age / (distance + 1.0)
        else:
            value = -float(distance)
        if value > best:
            best = value
            chosen = slot
    return chosen


@jit_leaf
def scripted_action(
    policy: int,
    cell: int,
    ages: NDArray[np.int16],  # [envs, items]
    env: int,
    items: NDArray[np.int32],  # [robots, 12]
    robot: int,
    target: int,
    streams: NDArray[np.uint64],
    k: int,
) -> tuple[int, int]:
    """Action of a robot and its new target (a slot, or NO_TARGET)."""
    if policy == RANDOM:
        return below(streams, k, N_ACTIONS), NO_TARGET
    if target != NO_TARGET and ages[env, items[robot, target]] < 0:
        target = NO_TARGET
    if target == NO_TARGET or policy == AGE_DISTANCE:
        target = choose_target(policy, cell, ages, env, items, robot)
    if target != NO_TARGET:
        return step_towards(cell, SLOT_CELL[target], streams, k), target
    if policy in (CLOSEST_CENTRE, AGE_DISTANCE):
        return step_towards(cell, CENTRE, streams, k), NO_TARGET
    return below(streams, k, N_ACTIONS), NO_TARGET

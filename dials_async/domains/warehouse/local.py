"""The local simulator of the warehouse: one robot's region, driven by its neighbours' influence."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.local import CompiledLocal, by_row, compiled_local
from dials_async.domains.warehouse.layout import CENTRE, N_SLOTS
from dials_async.domains.warehouse.observation import observation_bits, write_observation
from dials_async.domains.warehouse.rules import draw_spawned, local_transition, put_items, update_seen
from dials_async.kernels.bits import packed_size
from dials_async.kernels.compile import Scalar, jit, jit_leaf


class WarehouseLocalState(NamedTuple):
    """State of regions, one a row: ``envs`` episodes of the first agent, then of the second, and so on."""

    cells: NDArray[np.uint8]  # [rows], own cell in the region
    ages: NDArray[np.int16]  # [rows, 12], steps; -1 = no item
    seen: NDArray[np.int16]  # [rows, 12 or 0], the agent's memory of ages
    spawned: NDArray[np.uint8]  # [rows, 12], where items appeared in the last step
    rng: NDArray[np.uint64]  # [rows], one stream an episode
    own_items: NDArray[np.int32]  # [1, 12], 0..11


def make_local_state(n_rows: int, item_ages: bool) -> WarehouseLocalState:
    """Arrays for ``n_rows`` regions, not yet reset."""
    return WarehouseLocalState(
        cells=np.zeros(n_rows, dtype=np.uint8),
        ages=np.full((n_rows, N_SLOTS), -1, dtype=np.int16),
        seen=np.full((n_rows, N_SLOTS if item_ages else 0), -1, dtype=np.int16),
        spawned=np.zeros((n_rows, N_SLOTS), dtype=np.uint8),
        rng=np.zeros(n_rows, dtype=np.uint64),
        own_items=np.arange(N_SLOTS, dtype=np.int32)[None, :],
    )


@jit_leaf
def reset(state: WarehouseLocalState, row: int, seed: int) -> None:
    """Robot at the centre, no items, then one draw of new items."""
    state.rng[row] = seed
    state.cells[row] = CENTRE
    for k in range(N_SLOTS):
        state.ages[row, k] = -1
    for k in range(state.seen.shape[1]):
        state.seen[row, k] = -1
    draw_spawned(state.rng, row, state.spawned)
    put_items(state.ages, state.spawned, row)
    _remember(state, row)


@jit_leaf
def _remember(state: WarehouseLocalState, row: int) -> None:
    if state.seen.shape[1] > 0:
        update_seen(state.seen, row, state.ages, row, state.own_items, 0, state.cells[row])


@jit_leaf
def observe(state: WarehouseLocalState, row: int, out: NDArray[np.uint8]) -> None:
    """Write the packed observation to ``out`` [bytes]."""
    write_observation(out, state.cells[row], state.ages, row, state.own_items, 0, state.seen, row)


@jit_leaf
def step_with(state: WarehouseLocalState, row: int, action: int, influence: NDArray[np.uint8]) -> Scalar:
    """Advance one step with the new items that ``state.spawned`` says; returns the reward."""
    reward = local_transition(state.cells, state.ages, action, influence, state.spawned, row, state.own_items)
    _remember(state, row)
    return reward


@jit_leaf
def step(state: WarehouseLocalState, row: int, action: int, influence: NDArray[np.uint8]) -> Scalar:
    """Advance one step, drawing the new items; returns the reward."""
    draw_spawned(state.rng, row, state.spawned)
    return step_with(state, row, action, influence)


compiled_local(WarehouseLocalState, reset, observe, step)


@jit
def _replay_all(
    state: WarehouseLocalState,
    actions: NDArray[np.uint8],  # [rows]
    influence: NDArray[np.uint8],  # [rows, 4]
    rewards: NDArray[np.float32],  # [rows], out
) -> None:
    for row in range(actions.shape[0]):
        rewards[row] = step_with(state, row, actions[row], influence[row])


class WarehouseLocal(CompiledLocal):
    """The vectorised LS of some agents."""

    def __init__(self, agents: Sequence[int], n_envs: int, item_ages: bool) -> None:
        state = make_local_state(len(agents) * n_envs, item_ages)
        super().__init__(state, len(agents), n_envs, packed_size(observation_bits(item_ages)))

    def replay(
        self, actions: NDArray[np.uint8], influence: NDArray[np.uint8], spawned: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Advance by one step with the new items ``spawned`` [agents, envs, 12]; rewards [agents, envs]."""
        self.state.spawned[:] = spawned.reshape(-1, N_SLOTS)
        rewards = np.zeros(actions.shape, dtype=np.float32)
        _replay_all(self.state, *by_row(actions, influence), rewards.reshape(-1))
        return rewards

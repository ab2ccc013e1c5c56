"""The local simulator of the warehouse: one robot's region, driven by its neighbours' influence."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.local import compiled_local
from dials_async.domains.warehouse.layout import CENTRE, N_SLOTS
from dials_async.domains.warehouse.observation import observation_bits, write_observation
from dials_async.domains.warehouse.rules import draw_spawned, local_transition, put_items, update_seen
from dials_async.kernels.bits import packed_size
from dials_async.kernels.compile import jit, jit_inline


class WarehouseLocalState(NamedTuple):
    """State of the regions of some agents, ``envs`` episodes each."""

    cells: NDArray[np.uint8]  # [agents, envs], own cell in the region
    ages: NDArray[np.int16]  # [agents, envs, 12], steps; -1 = no item
    seen: NDArray[np.int16]  # [agents, envs, 12 or 0], the agent's memory of ages
    spawned: NDArray[np.uint8]  # [agents, envs, 12], where items appeared in the last step
    rng: NDArray[np.uint64]  # [agents, envs], one stream an episode
    own_items: NDArray[np.int32]  # [12], 0..11


def make_local_state(n_agents: int, n_envs: int, item_ages: bool) -> WarehouseLocalState:
    """Arrays for ``n_envs`` episodes of each of ``n_agents`` agents, not yet reset."""
    return WarehouseLocalState(
        cells=np.zeros((n_agents, n_envs), dtype=np.uint8),
        ages=np.full((n_agents, n_envs, N_SLOTS), -1, dtype=np.int16),
        seen=np.full((n_agents, n_envs, N_SLOTS if item_ages else 0), -1, dtype=np.int16),
        spawned=np.zeros((n_agents, n_envs, N_SLOTS), dtype=np.uint8),
        rng=np.zeros((n_agents, n_envs), dtype=np.uint64),
        own_items=np.arange(N_SLOTS, dtype=np.int32),
    )


@jit_inline
def reset(state: WarehouseLocalState, agent: int, env: int, seed: int) -> None:
    """Robot at the centre, no items, then one draw of new items (DOMAINS, "Reset")."""
    state.rng[agent, env] = seed
    state.cells[agent, env] = CENTRE
    ages, seen, spawned = state.ages[agent, env], state.seen[agent, env], state.spawned[agent, env]
    ages[:] = -1
    seen[:] = -1
    draw_spawned(state.rng[agent], env, spawned)
    put_items(ages, spawned)
    if seen.shape[0] > 0:
        update_seen(seen, ages, state.own_items, CENTRE)


@jit_inline
def observe(state: WarehouseLocalState, agent: int, env: int, row: NDArray[np.uint8]) -> None:
    """Write the packed observation to ``row`` [bytes]."""
    ages, seen = state.ages[agent, env], state.seen[agent, env]
    write_observation(row, state.cells[agent, env], ages, state.own_items, seen)


@jit_inline
def step_with(
    state: WarehouseLocalState, agent: int, env: int, action: int, influence: NDArray[np.uint8]
) -> float:
    """Advance one step with the new items that ``state.spawned`` says; returns the reward."""
    ages, seen, spawned = state.ages[agent, env], state.seen[agent, env], state.spawned[agent, env]
    cell, reward = local_transition(
        state.cells[agent, env], ages, action, influence, spawned, state.own_items
    )
    state.cells[agent, env] = cell
    if seen.shape[0] > 0:
        update_seen(seen, ages, state.own_items, cell)
    return reward


@jit_inline
def step(state: WarehouseLocalState, agent: int, env: int, action: int, influence: NDArray[np.uint8]) -> float:
    """Advance one step, drawing the new items; returns the reward."""
    draw_spawned(state.rng[agent], env, state.spawned[agent, env])
    return step_with(state, agent, env, action, influence)


compiled_local(WarehouseLocalState, reset, observe, step)


@jit
def _reset_all(state: WarehouseLocalState, seeds: NDArray[np.uint64]) -> None:
    for agent in range(seeds.shape[0]):
        for env in range(seeds.shape[1]):
            reset(state, agent, env, seeds[agent, env])


@jit
def _observe_all(state: WarehouseLocalState, rows: NDArray[np.uint8]) -> None:
    for agent in range(rows.shape[0]):
        for env in range(rows.shape[1]):
            observe(state, agent, env, rows[agent, env])


@jit
def _step_all(
    state: WarehouseLocalState,
    actions: NDArray[np.uint8],
    influence: NDArray[np.uint8],
    draw: bool,
    rewards: NDArray[np.float32],
) -> None:
    for agent in range(actions.shape[0]):
        for env in range(actions.shape[1]):
            if draw:
                rewards[agent, env] = step(state, agent, env, actions[agent, env], influence[agent, env])
            else:
                rewards[agent, env] = step_with(state, agent, env, actions[agent, env], influence[agent, env])


class WarehouseLocal:
    """The vectorised LS of some agents (``dials_async.domains.base.LocalSimulator``)."""

    def __init__(self, agents: Sequence[int], n_envs: int, item_ages: bool) -> None:
        self.state = make_local_state(len(agents), n_envs, item_ages)
        self._rows = np.zeros((len(agents), n_envs, packed_size(observation_bits(item_ages))), dtype=np.uint8)

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start new episodes; ``seeds`` [agents, envs]."""
        _reset_all(self.state, seeds)

    def observe(self) -> NDArray[np.uint8]:
        """Packed observations, [agents, envs, bytes], valid until the next call."""
        _observe_all(self.state, self._rows)
        return self._rows

    def step(self, actions: NDArray[np.uint8], influence: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Advance by one step, drawing new items; rewards [agents, envs]."""
        return self._step(actions, influence, draw=True)

    def replay(
        self, actions: NDArray[np.uint8], influence: NDArray[np.uint8], spawned: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Advance by one step with the new items ``spawned`` [agents, envs, 12]; rewards [agents, envs]."""
        self.state.spawned[:] = spawned
        return self._step(actions, influence, draw=False)

    def _step(
        self, actions: NDArray[np.uint8], influence: NDArray[np.uint8], draw: bool
    ) -> NDArray[np.float32]:
        rewards = np.zeros(actions.shape, dtype=np.float32)
        _step_all(self.state, actions, influence, draw, rewards)
        return rewards

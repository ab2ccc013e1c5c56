"""The global simulator of the warehouse: all robots of the grid, the scripted ring included."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import GlobalSimulator, GlobalStep, ScriptedPolicy
from dials_async.domains.warehouse.layout import CENTRE, N_NEIGHBOURS, N_SLOTS, Layout
from dials_async.domains.warehouse.observation import observation_bits, write_observation
from dials_async.domains.warehouse.rules import draw_spawned, global_transition, put_items, update_seen
from dials_async.domains.warehouse.scripted import CLOSEST, NO_TARGET, scripted_action
from dials_async.kernels.bits import packed_size
from dials_async.kernels.compile import jit, jit_inline


class WarehouseGlobalState(NamedTuple):
    """State of ``envs`` whole warehouses."""

    cells: NDArray[np.uint8]  # [envs, robots], each in its own region
    ages: NDArray[np.int16]  # [envs, items], steps; -1 = no item
    seen: NDArray[np.int16]  # [envs * agents, 12 or 0], the agents' memory of ages
    targets: NDArray[np.int8]  # [envs, robots], slot that a scripted ring robot walks to
    spawned: NDArray[np.uint8]  # [envs, items], where items appeared in the last step
    actions: NDArray[np.uint8]  # [envs, robots], of the last step
    rng: NDArray[np.uint64]  # [envs], one stream an episode


class LayoutArrays(NamedTuple):
    """The tables of :class:`Layout` that kernels read."""

    item_of_slot: NDArray[np.int32]  # [robots, 12]
    learners: NDArray[np.int32]  # [agents]
    neighbours: NDArray[np.int32]  # [agents, 4]
    is_ring: NDArray[np.uint8]  # [robots]


@jit
def _reset(state: WarehouseGlobalState, layout: LayoutArrays, seeds: NDArray[np.uint64]) -> None:
    for env in range(seeds.shape[0]):
        state.rng[env] = seeds[env]
        state.cells[env, :] = CENTRE
        state.targets[env, :] = NO_TARGET
        state.ages[env, :] = -1
        draw_spawned(state.rng, env, state.spawned)
        put_items(state.ages, state.spawned, env)
    state.seen[:] = -1
    for env in range(seeds.shape[0]):
        _remember(state, layout, env)


@jit_inline
def _remember(state: WarehouseGlobalState, layout: LayoutArrays, env: int) -> None:
    if state.seen.shape[1] > 0:
        n_agents = layout.learners.shape[0]
        for agent in range(n_agents):
            robot = layout.learners[agent]
            cell = state.cells[env, robot]
            row = env * n_agents + agent
            update_seen(state.seen, row, state.ages, env, layout.item_of_slot, robot, cell)


@jit
def _observe(state: WarehouseGlobalState, layout: LayoutArrays, rows: NDArray[np.uint8]) -> None:
    n_agents = rows.shape[0]
    for agent in range(n_agents):
        robot = layout.learners[agent]
        for env in range(rows.shape[1]):
            cell, row = state.cells[env, robot], env * n_agents + agent
            write_observation(
                rows[agent, env], cell, state.ages, env, layout.item_of_slot, robot, state.seen, row
            )


@jit
def _step(
    state: WarehouseGlobalState,
    layout: LayoutArrays,
    actions: NDArray[np.uint8],  # [agents, envs]
    rewards: NDArray[np.float32],  # [agents, envs], out
    influence: NDArray[np.uint8],  # [agents, envs, 4], out
) -> None:
    n_agents, n_envs = actions.shape
    paid = np.zeros(n_agents, dtype=np.float64)
    sources = np.zeros((n_agents, N_NEIGHBOURS), dtype=np.uint8)
    for env in range(n_envs):
        for robot in range(state.cells.shape[1]):
            if layout.is_ring[robot]:
                action, target = scripted_action(
                    CLOSEST,
                    state.cells[env, robot],
                    state.ages,
                    env,
                    layout.item_of_slot,
                    robot,
                    state.targets[env, robot],
                    state.rng,
                    env,
                )
                state.actions[env, robot] = action
                state.targets[env, robot] = target
        for agent in range(n_agents):
            state.actions[env, layout.learners[agent]] = actions[agent, env]
        draw_spawned(state.rng, env, state.spawned)
        global_transition(
            state.cells,
            state.ages,
            state.actions,
            state.spawned,
            env,
            layout.item_of_slot,
            layout.learners,
            layout.neighbours,
            paid,
            sources,
        )
        _remember(state, layout, env)
        for agent in range(n_agents):
            rewards[agent, env] = paid[agent]
            for k in range(N_NEIGHBOURS):
                influence[agent, env, k] = sources[agent, k]


@jit
def _scripted(
    state: WarehouseGlobalState,
    layout: LayoutArrays,
    policy: int,
    targets: NDArray[np.int8],  # [agents, envs], in place
    streams: NDArray[np.uint64],  # [envs], in place
    actions: NDArray[np.uint8],  # [agents, envs], out
) -> None:
    for agent in range(actions.shape[0]):
        robot = layout.learners[agent]
        for env in range(actions.shape[1]):
            action, target = scripted_action(
                policy,
                state.cells[env, robot],
                state.ages,
                env,
                layout.item_of_slot,
                robot,
                targets[agent, env],
                streams,
                env,
            )
            actions[agent, env] = action
            targets[agent, env] = target


class WarehouseGlobal(GlobalSimulator):
    """The GS."""

    def __init__(self, layout: Layout, n_envs: int, item_ages: bool) -> None:
        n_agents, n_robots = len(layout.learners), layout.n_robots
        is_ring = np.ones(n_robots, dtype=np.uint8)
        is_ring[layout.learners] = 0
        self.n_envs = n_envs
        self.layout = layout
        self.arrays = LayoutArrays(layout.item_of_slot, layout.learners, layout.neighbours, is_ring)
        self.state = WarehouseGlobalState(
            cells=np.zeros((n_envs, n_robots), dtype=np.uint8),
            ages=np.full((n_envs, layout.n_items), -1, dtype=np.int16),
            seen=np.full((n_envs * n_agents, N_SLOTS if item_ages else 0), -1, dtype=np.int16),
            targets=np.full((n_envs, n_robots), NO_TARGET, dtype=np.int8),
            spawned=np.zeros((n_envs, layout.n_items), dtype=np.uint8),
            actions=np.zeros((n_envs, n_robots), dtype=np.uint8),
            rng=np.zeros(n_envs, dtype=np.uint64),
        )
        self._rows = np.zeros((n_agents, n_envs, packed_size(observation_bits(item_ages))), dtype=np.uint8)

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start new episodes; ``seeds`` [envs]."""
        _reset(self.state, self.arrays, seeds)

    def observe(self) -> NDArray[np.uint8]:
        """Packed observations of all agents, [agents, envs, bytes], valid until the next call."""
        _observe(self.state, self.arrays, self._rows)
        return self._rows

    def step(self, actions: NDArray[np.uint8]) -> GlobalStep:
        """Advance by one step; ``actions`` [agents, envs]."""
        rewards = np.zeros(actions.shape, dtype=np.float32)
        influence = np.zeros((*actions.shape, N_NEIGHBOURS), dtype=np.uint8)
        _step(self.state, self.arrays, actions, rewards, influence)
        return GlobalStep(rewards, influence)


class WarehouseScripted(ScriptedPolicy):
    """A scripted policy for all learning robots."""

    def __init__(self, code: int, n_agents: int, n_envs: int) -> None:
        self._code = code
        self._targets = np.full((n_agents, n_envs), NO_TARGET, dtype=np.int8)
        self._streams = np.zeros(n_envs, dtype=np.uint64)

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Forget all targets; ``seeds`` [envs]."""
        self._targets[:] = NO_TARGET
        self._streams[:] = seeds

    def act(self, simulator: WarehouseGlobal) -> NDArray[np.uint8]:
        """Actions of all learning robots, [agents, envs]."""
        actions = np.zeros(self._targets.shape, dtype=np.uint8)
        _scripted(simulator.state, simulator.arrays, self._code, self._targets, self._streams, actions)
        return actions

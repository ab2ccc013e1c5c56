"""The compiled transitions against the oracle: random states, random actions, random new items."""

import json
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dials_async.domains.warehouse import Warehouse
from dials_async.domains.warehouse.layout import Layout, make_layout
from dials_async.domains.warehouse.local import WarehouseLocal
from dials_async.domains.warehouse.observation import DSET_BITS
from dials_async.domains.warehouse.rules import transition
from dials_async.kernels.bits import unpack
from tests.oracles import warehouse as wh

from .translation import (
    FREE_CELLS,
    ages_of,
    cell_of,
    flags_of,
    number_of,
    oracle_state,
    random_spawns,
    random_state,
    robots_of,
    state_of,
)

RECORDING = Path(__file__).parents[2] / "data" / "warehouse_2x2_seed1.json"

seeds = st.integers(0, 2**32 - 1)
densities = st.sampled_from([0.0, 0.1, 0.5, 1.0])


class After(NamedTuple):
    """What the compiled transition made of a state."""

    state: wh.GsState
    rewards: list[float]
    influence: list[list[int]]


def compiled_step(layout: Layout, state: wh.GsState, actions: list[int], spawned: list[wh.Cell]) -> After:
    """Step the second of three envs, and see that the others stay as they are."""
    n_agents, env = len(layout.learners), 1
    cells = np.tile(robots_of(state.n, state.robots), (3, 1))
    ages = np.tile(ages_of(layout, state.items), (3, 1))
    before = cells.copy(), ages.copy()
    rewards, influence = np.full(n_agents, np.nan), np.full((n_agents, 4), 9, dtype=np.uint8)
    transition(
        cells,
        ages,
        np.tile(np.array(actions, dtype=np.uint8), (3, 1)),
        np.tile(flags_of(layout, spawned), (3, 1)),
        env,
        layout.item_of_slot,
        layout.learners,
        layout.neighbours,
        rewards,
        influence,
    )
    for other in (0, 2):
        assert np.array_equal(cells[other], before[0][other])
        assert np.array_equal(ages[other], before[1][other])
    return After(oracle_state(layout, cells[env], ages[env]), rewards.tolist(), influence.tolist())


# ---- Global -----------------------------------------------------------------------------------------------


@given(st.integers(1, 3), seeds, densities, st.sampled_from([0.02, 0.5, 1.0]), st.sampled_from([1, 5, 99]))
@settings(max_examples=150)
def test_a_step_of_the_whole_grid_is_the_oracles(
    n: int, seed: int, density: float, chance: float, oldest: int
) -> None:
    rng, layout = Random(seed), make_layout(n)
    state = random_state(n, rng, density, oldest)
    actions = [rng.randrange(4) for _ in state.robots]
    spawned = random_spawns(state, actions, rng, chance)
    expected, rewards, influence, _ = wh.gs_transition(state, actions, spawned)
    after = compiled_step(layout, state, actions, spawned)
    assert after.state == expected
    assert after.rewards == [float(reward) for reward in rewards]  # both correctly rounded
    assert after.influence == influence


def test_a_new_item_on_an_occupied_cell_leaves_the_old_one() -> None:
    """The kernel draws for every cell, free or not."""
    layout, state = make_layout(1), wh.gs_reset(1, [(5, 4)])
    after = compiled_step(layout, state, [wh.UP] * 9, [(5, 4), (6, 4)])
    assert after.state.items == {(5, 4): 1, (6, 4): 0}


@pytest.mark.parametrize("n", [1, 2, 3])
def test_whole_episodes_of_the_simulator_are_the_oracles(n: int) -> None:
    """Every step from the simulator's own actions of the ring and its own new items."""
    domain, rng = Warehouse(side=n), np.random.default_rng(n)
    simulator = domain.make_global(n_envs=2)
    simulator.reset(np.array([4, 5], dtype=np.uint64))
    shelf = [tuple(cell) for cell in simulator.layout.item_cells.tolist()]
    states = [state_of(simulator, env) for env in range(2)]
    paid = 0.0
    for _ in range(domain.episode_steps):
        observed = unpack(simulator.observe(), DSET_BITS)
        actions = rng.integers(0, 4, (domain.n_agents, 2), dtype=np.uint8)
        result = simulator.step(actions)
        for env in range(2):
            of_all = simulator.state.actions[env].tolist()
            assert [of_all[robot] for robot in wh.learning_ids(n)] == actions[:, env].tolist()
            drawn = [cell for cell, flag in zip(shelf, simulator.state.spawned[env], strict=True) if flag]
            emptied, *_ = wh.gs_transition(states[env], of_all, [])
            spawned = [cell for cell in drawn if cell not in emptied.items]
            after, rewards, influence, obs = wh.gs_transition(states[env], of_all, spawned)
            assert observed[:, env].tolist() == obs
            assert result.rewards[:, env].tolist() == [np.float32(float(reward)) for reward in rewards]
            assert result.influence[:, env].tolist() == influence
            assert state_of(simulator, env) == after
            states[env] = after
            paid += float(sum(rewards))
    assert paid > 0


def test_a_new_episode_starts_at_the_centre_with_new_items_only() -> None:
    domain = Warehouse(side=2)
    simulator = domain.make_global(n_envs=3)
    for seeds in ([1, 2, 3], [4, 5, 6]):  # the second time over a state that was played with
        simulator.reset(np.array(seeds, dtype=np.uint64))
        for env in range(3):
            state = state_of(simulator, env)
            assert state == wh.gs_reset(2, list(state.items))
            assert state.items
        for _ in range(20):
            simulator.step(np.full((4, 3), wh.RIGHT, dtype=np.uint8))


def test_the_recording_of_the_original_simulator_is_replayed_exactly() -> None:
    recording = json.loads(RECORDING.read_text())
    n, steps = recording["n_side"], recording["steps"]
    domain = Warehouse(side=n)
    simulator = domain.make_global(n_envs=1)
    layout = simulator.layout

    def recorded(step: dict[str, list[list[int]]]) -> wh.GsState:
        items = {(row, col): age for row, col, age in step["items"]}
        return wh.GsState(n, tuple((row, col) for row, col in step["robots"]), items)

    state = recorded(steps[0])
    for t, step in enumerate(steps):
        assert state == recorded(step), t
        simulator.state.cells[0] = robots_of(n, state.robots)
        simulator.state.ages[0] = ages_of(layout, state.items)
        assert unpack(simulator.observe()[:, 0], DSET_BITS).tolist() == step["obs"], t
        after_removal = compiled_step(layout, state, step["actions"], []).state
        after = compiled_step(layout, state, step["actions"], [tuple(cell) for cell in step["spawned"]])
        assert after_removal.items == {(r, c): age for r, c, age in step["items_after_removal"]}, t
        assert after.rewards == step["reward"], t
        one_hot = np.eye(4, dtype=int)[np.array(after.influence)].reshape(len(layout.learners), -1)
        assert one_hot.tolist() == np.reshape(step["influence"], one_hot.shape).tolist(), t
        state = after.state
    assert len(steps) == 40  # as recorded: the test is not vacuous
    assert [list(cell) for cell in state.robots] == recording["final_robots"]


# ---- Local ------------------------------------------------------------------------------------------------


def place(local: WarehouseLocal, row: int, state: wh.LsState) -> None:
    local.state.cells[row] = number_of(state.robot)
    local.state.ages[row] = [state.items.get(cell, -1) for cell in wh.ITEM_CELLS]


def read(local: WarehouseLocal, row: int) -> wh.LsState:
    ages = local.state.ages[row]
    items = {cell: int(age) for cell, age in zip(wh.ITEM_CELLS, ages, strict=True) if age >= 0}
    return wh.LsState(cell_of(local.state.cells[row]), items)


@given(seeds, densities, st.sampled_from([0.02, 0.5, 1.0]), st.sampled_from([1, 5, 99]))
@settings(max_examples=150)
def test_a_step_of_one_region_is_the_oracles(seed: int, density: float, chance: float, oldest: int) -> None:
    # Given two agents with two envs each, in four states of their own
    rng = Random(seed)
    local = Warehouse(side=2).make_local([0, 2], 2)
    states, expected = [], []
    actions, influence = np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8)
    spawned = np.zeros((2, 2, 12), np.uint8)
    for row in range(4):
        items = {cell: rng.randint(0, oldest) for cell in wh.ITEM_CELLS if rng.random() < density}
        state = wh.LsState(rng.choice(FREE_CELLS), items)
        action, u = rng.randrange(4), [rng.randrange(4) for _ in range(4)]
        emptied, _ = wh.ls_transition(state, action, u, [])
        new = [cell for cell in wh.ITEM_CELLS if cell not in emptied.items and rng.random() < chance]
        place(local, row, state)
        at = divmod(row, 2)
        actions[at], influence[at] = action, u
        spawned[at] = [cell in new for cell in wh.ITEM_CELLS]
        states.append(state)
        expected.append(wh.ls_transition(state, action, u, new))
    # When they are observed, and stepped together
    observed = unpack(local.observe(), DSET_BITS).reshape(4, -1).tolist()
    rewards = local.replay(actions, influence, spawned).reshape(-1)
    # Then each is where the oracle puts it
    assert observed == [wh.ls_observe(state) for state in states]
    assert [read(local, row) for row in range(4)] == [after for after, _ in expected]
    assert rewards.tolist() == [np.float32(float(reward)) for _, reward in expected]


def test_a_local_simulator_draws_its_items_by_itself_and_takes_those_of_its_neighbours() -> None:
    local = Warehouse(side=1).make_local([0], 50)
    local.reset(np.arange(50, dtype=np.uint64)[None])
    rng = np.random.default_rng(0)
    taken = 0
    for _ in range(30):
        states = [read(local, row) for row in range(50)]
        actions = rng.integers(0, 4, (1, 50), dtype=np.uint8)
        influence = rng.integers(0, 4, (1, 50, 4), dtype=np.uint8)
        rewards = local.step(actions, influence)
        for row, state in enumerate(states):
            u = influence[0, row].tolist()
            emptied, reward = wh.ls_transition(state, int(actions[0, row]), u, [])
            flags = local.state.spawned[row]
            new = [cell for cell, flag in zip(wh.ITEM_CELLS, flags, strict=True) if flag]
            free = [cell for cell in new if cell not in emptied.items]
            assert read(local, row) == wh.ls_transition(state, int(actions[0, row]), u, free)[0]
            assert rewards[0, row] == np.float32(float(reward))
            taken += len(state.items) - len(emptied.items)
    assert taken > 100


# ---- New items --------------------------------------------------------------------------------------------


def test_every_cell_gets_a_new_item_with_a_chance_of_2_percent_the_outermost_shelves_included() -> None:
    """Five standard errors: a false alarm in 6e-7 of fresh seeds for the whole, 4e-5 over all cells."""
    n_envs = 20_000
    simulator = Warehouse(side=1).make_global(n_envs)
    simulator.reset(np.arange(n_envs, dtype=np.uint64))
    there = simulator.state.ages == 0
    n_items = there.shape[1]
    error = np.sqrt(0.02 * 0.98 / n_envs)
    assert abs(there.mean() - 0.02) < 5 * error / np.sqrt(n_items)
    assert (np.abs(there.mean(axis=0) - 0.02) < 5 * error).all()

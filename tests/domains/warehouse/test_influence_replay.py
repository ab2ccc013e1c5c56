"""Influence replay: an LS that is fed the true influence repeats its region of the GS exactly.

This is what DIALS rests on (paper, section 3.1): given the influence sources, a region does not depend on the
rest of the system in any other way.
"""

import numpy as np
import pytest

from dials_async.domains.warehouse import Warehouse, replayed_spawns
from dials_async.domains.warehouse.layout import NOWHERE, SLOT_OF_INFLUENCE
from dials_async.domains.warehouse.local import WarehouseLocal
from dials_async.domains.warehouse.simulator import WarehouseGlobal

N_ENVS = 2


def regions(simulator: WarehouseGlobal, per_item: np.ndarray) -> np.ndarray:
    """What the learning agents' regions hold of ``per_item`` [envs, items], as [agents, envs, 12]."""
    slots = simulator.layout.item_of_slot[simulator.layout.learners]
    return per_item[:, slots].transpose(1, 0, 2)


def begin(side: int, item_ages: bool) -> tuple[Warehouse, WarehouseGlobal, WarehouseLocal]:
    """A GS at the start of episodes, and an LS of every agent in the same state."""
    domain = Warehouse(side=side, item_ages=item_ages)
    simulator = domain.make_global(N_ENVS)
    simulator.reset(np.array([side, 1000 + side], dtype=np.uint64))
    local = domain.make_local(range(domain.n_agents), N_ENVS)
    local.reset(np.zeros((domain.n_agents, N_ENVS), dtype=np.uint64))
    ages = regions(simulator, simulator.state.ages).reshape(-1, 12)
    local.state.ages[:] = ages
    if item_ages:
        local.state.seen[:] = ages  # 0 where there is an item, -1 where there is none
    return domain, simulator, local


def memories(simulator: WarehouseGlobal, n_agents: int) -> np.ndarray:
    """The agents' memory of ages in the GS, as [agents, envs, 12 or 0]."""
    return simulator.state.seen.reshape(N_ENVS, n_agents, -1).transpose(1, 0, 2)


@pytest.mark.parametrize("item_ages", [False, True])
@pytest.mark.parametrize("side", [1, 2, 3, 5, 10])
def test_a_local_simulator_fed_the_true_influence_repeats_the_global_one(side: int, item_ages: bool) -> None:
    # Given the same state in the GS and in an LS of every agent
    domain, simulator, local = begin(side, item_ages)
    n_agents, learners = domain.n_agents, simulator.layout.learners
    rng = np.random.default_rng(side)
    taken = 0
    for t in range(domain.episode_steps + 1):
        # Then cells, ages, memories and observations are the same at every step
        own = (n_agents, N_ENVS)
        assert np.array_equal(local.state.cells.reshape(own), simulator.state.cells[:, learners].T), t
        ages = regions(simulator, simulator.state.ages)
        assert np.array_equal(local.state.ages.reshape(*own, 12), ages), t
        assert np.array_equal(local.state.seen.reshape(*own, -1), memories(simulator, n_agents)), t
        observed = simulator.observe()
        assert np.array_equal(local.observe(), observed), t
        # When each LS gets its agent's actions and new items, and the influence that the GS reports
        actions = rng.integers(0, 4, own, dtype=np.uint8)
        result = simulator.step(actions)
        rewards = local.replay(actions, result.influence, replayed_spawns(simulator))
        assert np.array_equal(rewards, result.rewards), t
        taken += items_taken(ages, result.influence)
    assert taken > 3 * n_agents  # else the influence had nothing to explain


def items_taken(ages: np.ndarray, influence: np.ndarray) -> int:
    """How many items the neighbours took; ages [agents, envs, 12], influence [agents, envs, 4]."""
    count = 0
    for source in range(4):
        classes = influence[:, :, source]
        slots = SLOT_OF_INFLUENCE[source][np.minimum(classes, 2)]
        there = np.take_along_axis(ages, slots[..., None].astype(np.int64), axis=2)[..., 0] >= 0
        count += int((there & (classes != NOWHERE)).sum())
    return count


@pytest.mark.parametrize("side", [1, 2, 5])
def test_without_the_influence_the_local_simulator_drifts_away(side: int) -> None:
    """The control: were this to hold as well, the test above would show nothing."""
    domain, simulator, local = begin(side, item_ages=False)
    rng = np.random.default_rng(side)
    nobody = np.full((domain.n_agents, N_ENVS, 4), NOWHERE, dtype=np.uint8)
    for _ in range(domain.episode_steps):
        actions = rng.integers(0, 4, (domain.n_agents, N_ENVS), dtype=np.uint8)
        simulator.step(actions)
        local.replay(actions, nobody, replayed_spawns(simulator))
    same = local.observe() == simulator.observe()
    assert not same.all(axis=(1, 2)).any()  # no agent at all is still right

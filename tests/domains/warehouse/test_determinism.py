"""An episode is a function of its seed and actions, not of the episodes beside or before it."""

import numpy as np
import pytest

from dials_async.domains.warehouse import Warehouse

STEPS = 40


def play_global(domain: Warehouse, seeds: np.ndarray, actions: np.ndarray) -> list[np.ndarray]:
    """Observations, rewards and influence of ``actions`` [steps, agents, envs]; envs on axis 2."""
    simulator = domain.make_global(len(seeds))
    simulator.reset(seeds)
    observed, rewards, influence = [simulator.observe().copy()], [], []
    for now in actions:
        result = simulator.step(np.ascontiguousarray(now))
        observed.append(simulator.observe().copy())
        rewards.append(result.rewards)
        influence.append(result.influence)
    return [np.stack(observed), np.stack(rewards), np.stack(influence)]


def play_local(domain: Warehouse, seeds: np.ndarray, inputs: np.ndarray) -> list[np.ndarray]:
    """The same for the LS of all agents; ``inputs`` [steps, agents, envs, action and 4 classes]."""
    local = domain.make_local(range(seeds.shape[0]), seeds.shape[1])
    local.reset(np.ascontiguousarray(seeds))
    observed, rewards = [local.observe().copy()], []
    for now in inputs:
        rewards.append(local.step(now[:, :, 0], now[:, :, 1:]))
        observed.append(local.observe().copy())
    return [np.stack(observed), np.stack(rewards)]


def assert_equal(first: list[np.ndarray], second: list[np.ndarray]) -> None:
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("item_ages", [False, True])
def test_global_episodes_are_the_same_however_they_are_split(item_ages: bool) -> None:
    domain = Warehouse(side=2, item_ages=item_ages)
    seeds = np.arange(10, 16, dtype=np.uint64)
    actions = np.random.default_rng(0).integers(0, 4, (STEPS, 4, 6), dtype=np.uint8)
    whole = play_global(domain, seeds, actions)
    for start, stop in ((0, 2), (2, 6), (5, 6)):
        part = play_global(domain, seeds[start:stop], actions[:, :, start:stop])
        assert_equal(part, [array[:, :, start:stop] for array in whole])


@pytest.mark.parametrize("item_ages", [False, True])
def test_local_episodes_are_the_same_however_they_are_split(item_ages: bool) -> None:
    domain = Warehouse(side=2, item_ages=item_ages)
    seeds = np.arange(20, dtype=np.uint64).reshape(4, 5)
    inputs = np.random.default_rng(0).integers(0, 4, (STEPS, 4, 5, 5), dtype=np.uint8)
    whole = play_local(domain, seeds, inputs)
    for agents, envs in ((slice(0, 2), slice(0, 5)), (slice(3, 4), slice(1, 3))):
        part = play_local(domain, seeds[agents, envs], inputs[:, agents, envs])
        assert_equal(part, [array[:, agents, envs] for array in whole])


def test_another_seed_gives_another_episode() -> None:
    domain = Warehouse(side=2)
    actions = np.zeros((STEPS, 4, 3), dtype=np.uint8)
    observed, *_ = play_global(domain, np.array([1, 2, 1], dtype=np.uint64), actions)
    assert np.array_equal(observed[:, :, 0], observed[:, :, 2])
    assert not np.array_equal(observed[:, :, 0], observed[:, :, 1])


def test_a_simulator_that_is_used_again_forgets_the_episode_before() -> None:
    """In many episodes: a target that the ring still had would seldom hold an item again."""
    domain, n_envs = Warehouse(side=2), 200
    simulator, script = domain.make_global(n_envs), domain.scripted_policy("closest", n_envs)

    def episode(seed: int) -> np.ndarray:
        """Cells of all robots, [steps, envs, robots]."""
        seeds = np.arange(seed, seed + n_envs, dtype=np.uint64)
        simulator.reset(seeds)
        script.reset(seeds)
        cells = []
        for _ in range(STEPS):
            simulator.step(script.act(simulator))
            cells.append(simulator.state.cells.copy())
        return np.stack(cells)

    first, _, again = episode(1), episode(1000), episode(1)
    assert np.array_equal(first, again)

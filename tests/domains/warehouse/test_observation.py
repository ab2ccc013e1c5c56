"""What agents see: 37 bits, and the option ``item_ages``, recomputed in plain Python."""

import numpy as np
import pytest

from dials_async.domains.warehouse import Warehouse
from dials_async.domains.warehouse.layout import SLOT_CELL
from dials_async.domains.warehouse.observation import AGE_THRESHOLDS, DSET_BITS, observation_bits
from dials_async.kernels.bits import unpack

STEPS = 100


def memory_of(seen: list[int], bits: list[int]) -> list[int]:
    """For how many steps each item has been seen, from the last memory and the 37 bits seen now."""
    cell = bits[:25].index(1)
    result = []
    for slot, there in enumerate(bits[25:37]):
        if not there:
            result.append(-1)
        elif SLOT_CELL[slot] == cell:  # what lay here was taken just now: this one is new
            result.append(0)
        else:
            result.append(seen[slot] + 1)
    return result


def thresholds_of(seen: list[int]) -> list[int]:
    return [int(age >= threshold) for age in seen for threshold in (1, 3, 6, 10, 15, 21, 28)]


def check_memory(observations: np.ndarray) -> np.ndarray:
    """Recompute the age bits of one agent's episode, [steps, bits], and return them."""
    seen = [-1] * 12
    for t, bits in enumerate(observations.tolist()):
        seen = memory_of(seen, bits[:37])
        assert bits[37:] == thresholds_of(seen), t
    return observations[:, 37:]


def test_the_thresholds_are_the_documented_ones() -> None:
    assert AGE_THRESHOLDS.tolist() == [1, 3, 6, 10, 15, 21, 28]
    assert DSET_BITS == observation_bits(False) == 37
    assert observation_bits(True) == 37 + 12 * 7


@pytest.mark.parametrize("side", [2, 3])
def test_item_ages_in_the_gs_follow_from_the_agents_own_observations(side: int) -> None:
    domain, rng = Warehouse(side=side, item_ages=True), np.random.default_rng(side)
    simulator = domain.make_global(2)
    simulator.reset(np.array([1, 2], dtype=np.uint64))
    history = []
    for _ in range(STEPS):
        history.append(unpack(simulator.observe(), observation_bits(True)))
        simulator.step(rng.integers(0, 4, (domain.n_agents, 2), dtype=np.uint8))
    observed = np.stack(history, axis=2)  # [agents, envs, steps, bits]
    ages = np.array([[check_memory(episode) for episode in agent] for agent in observed])
    counts = ages.reshape(-1, 12, 7).sum(axis=(0, 1), dtype=np.int64)
    assert (counts > 0).all()  # every threshold was reached
    assert (np.diff(counts) < 0).all()  # later ones less often


def test_item_ages_in_the_ls_follow_from_the_agents_own_observations() -> None:
    local, rng = Warehouse(side=2, item_ages=True).make_local([0, 1], 3), np.random.default_rng(0)
    local.reset(np.arange(6, dtype=np.uint64).reshape(2, 3))
    history = []
    for _ in range(STEPS):
        history.append(unpack(local.observe(), observation_bits(True)))
        actions = rng.integers(0, 4, (2, 3), dtype=np.uint8)
        local.step(actions, rng.integers(0, 4, (2, 3, 4), dtype=np.uint8))
    observed = np.stack(history, axis=2)
    assert sum(check_memory(episode).sum() for agent in observed for episode in agent) > 500


def test_item_ages_are_forgotten_between_episodes() -> None:
    domain = Warehouse(side=2, item_ages=True)
    used, fresh = domain.make_global(1), domain.make_global(1)
    used.reset(np.array([1], dtype=np.uint64))
    for _ in range(50):
        used.step(np.zeros((4, 1), dtype=np.uint8))
    assert unpack(used.observe(), observation_bits(True))[..., 37:].any()
    for simulator in (used, fresh):
        simulator.reset(np.array([2], dtype=np.uint64))
    assert np.array_equal(used.observe(), fresh.observe())


def test_the_option_adds_bits_behind_the_d_set_and_changes_nothing_else() -> None:
    rng = np.random.default_rng(0)
    plain, aged = Warehouse(side=2).make_global(4), Warehouse(side=2, item_ages=True).make_global(4)
    for simulator in (plain, aged):
        simulator.reset(np.arange(4, dtype=np.uint64))
    for _ in range(50):
        first = unpack(aged.observe(), observation_bits(True))[..., :37]
        assert np.array_equal(first, unpack(plain.observe(), 37))
        actions = rng.integers(0, 4, (4, 4), dtype=np.uint8)
        one, two = plain.step(actions), aged.step(actions)
        assert np.array_equal(one.rewards, two.rewards)
        assert np.array_equal(one.influence, two.influence)

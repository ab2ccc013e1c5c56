"""Rollouts on IALS: the fused kernel is the vectorised path, and both are pure functions of the task."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from dials_async.domains.checked import CheckedDomain
from dials_async.domains.registry import make_domain
from dials_async.domains.warehouse import Warehouse
from dials_async.domains.warehouse.layout import SLOT_OF_INFLUENCE
from dials_async.groups import Group, make_groups
from dials_async.kernels.bits import unpack
from dials_async.learning.ppo_torch import network
from dials_async.networks.layout import split
from dials_async.rollout.ials import Episodes, IalsRollout
from tests.oracles import warehouse as wh

from .contexts import random_weights, small_config

N_EPISODES = 3


class StepwiseWarehouse(Warehouse):
    """A warehouse without a compiled LS, as a domain in plain Python would be."""

    def local_state(self, agents: Sequence[int], n_envs: int) -> Any:  # noqa: ARG002
        return None


def setup(*settings: str) -> tuple[CheckedDomain, list[Group]]:
    config = small_config(*settings)
    domain = make_domain(config.domain)
    return domain, make_groups(config, domain)


def networks_of(group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Random actors and AIPs, [agents, parameters]; an agent's do not depend on its group."""
    actors = [random_weights((group.n_actor,), agent) for agent in group.agents]
    n_aip = group.initial_aips(0).shape[1]
    return np.stack(actors), np.stack([random_weights((n_aip,), 50 + agent) for agent in group.agents])


def same(first: Episodes, second: Episodes) -> bool:
    return all(np.array_equal(getattr(first, name), getattr(second, name)) for name in Episodes._fields)


@pytest.mark.parametrize("item_ages", ["false", "true"])
@pytest.mark.parametrize("policy", ["mlp", "gru"])
@pytest.mark.parametrize("aip", ["gru", "mlp"])
def test_the_fused_kernel_equals_the_vectorised_path_bit_for_bit(
    policy: str, aip: str, item_ages: str
) -> None:
    # Given the same networks in a domain with a compiled LS and in one without
    domain, (group,) = setup(
        f"policy.network={policy}", f"aip.network={aip}", f"domain.item_ages={item_ages}"
    )
    stepwise = CheckedDomain(StepwiseWarehouse(side=2, item_ages=item_ages == "true"))
    actors, aips = networks_of(group)
    # When both run the same task
    fused = IalsRollout(domain, group, N_EPISODES, run_seed=1).run(actors, aips, 3, 1)
    vectorised = IalsRollout(stepwise, group, N_EPISODES, run_seed=1).run(actors, aips, 3, 1)
    # Then nothing differs
    for name in Episodes._fields:
        assert np.array_equal(getattr(fused, name), getattr(vectorised, name)), name
    assert len(np.unique(fused.actions)) == 4
    assert fused.rewards.any()


@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_a_rollout_is_a_pure_function_of_its_task(policy: str) -> None:
    domain, (group,) = setup(f"policy.network={policy}")
    actors, aips = networks_of(group)
    rollout = IalsRollout(domain, group, N_EPISODES, run_seed=1)
    first = rollout.run(actors, aips, 3, 1)
    # Another task and other networks in between, on the same working memory
    others = [
        rollout.run(actors, aips, 4, 1),
        rollout.run(actors, aips, 3, 0),
        rollout.run(actors[::-1].copy(), aips, 3, 1),
        rollout.run(actors, aips[::-1].copy(), 3, 1),
        IalsRollout(domain, group, N_EPISODES, run_seed=2).run(actors, aips, 3, 1),
    ]
    assert same(first, rollout.run(actors, aips, 3, 1))
    assert same(first, IalsRollout(domain, group, N_EPISODES, run_seed=1).run(actors, aips, 3, 1))
    assert not any(same(first, other) for other in others)


@pytest.mark.parametrize("agents_per_group", [1, 2, 3])
@pytest.mark.parametrize("policy", ["mlp", "gru"])
def test_an_agents_experience_does_not_depend_on_its_group(policy: str, agents_per_group: int) -> None:
    def by_agent(wanted: int) -> dict[int, list[bytes]]:
        domain, groups = setup(f"policy.network={policy}", f"rollout.agents_per_group={wanted}")
        result = {}
        for group in groups:
            episodes = IalsRollout(domain, group, N_EPISODES, run_seed=1).run(*networks_of(group), 3, 1)
            for row, agent in enumerate(group.agents):
                result[agent] = [array[row].tobytes() for array in episodes]
        return result

    together = by_agent(4)
    assert together == by_agent(agents_per_group)
    assert len({tuple(arrays) for arrays in together.values()}) == 4  # and agents differ from each other


def test_episodes_of_one_task_differ() -> None:
    domain, (group,) = setup()
    episodes = IalsRollout(domain, group, 8, run_seed=1).run(*networks_of(group), 0, 0)
    assert len({actions.tobytes() for actions in episodes.actions.reshape(32, -1)}) == 32


@pytest.mark.parametrize("policy", ["mlp", "gru"])
@pytest.mark.parametrize("item_ages", ["false", "true"])
def test_log_probabilities_are_those_of_the_actions_under_the_policy(policy: str, item_ages: str) -> None:
    domain, (group,) = setup(f"policy.network={policy}", f"domain.item_ages={item_ages}")
    actors, aips = networks_of(group)
    episodes = IalsRollout(domain, group, N_EPISODES, run_seed=1).run(actors, aips, 0, 0)
    for row in range(group.n_agents):
        expected = policy_log_probs(group, actors[row], episodes.observations[row])
        taken = np.take_along_axis(expected, episodes.actions[row][..., None].astype(int), 2)[..., 0]
        np.testing.assert_allclose(episodes.log_probs[row], taken, atol=2e-5)


def policy_log_probs(group: Group, parameters: np.ndarray, observations: np.ndarray) -> np.ndarray:
    """Of every action, [episodes, steps, actions], in torch; observations [episodes, steps + 1, bytes]."""
    bits = unpack(observations, group.actor.n_in)[:, :-1].astype(np.float64)
    hidden = torch.zeros(len(bits), group.actor.h2, dtype=torch.float64)
    theta = torch.from_numpy(parameters.astype(np.float64))
    logits, _ = network(group.actor, theta, torch.from_numpy(bits).transpose(0, 1), hidden)
    return torch.log_softmax(logits, dim=-1).transpose(0, 1).numpy()


def test_agents_move_as_their_actions_say_and_are_paid_on_items_only() -> None:
    domain, (group,) = setup()
    episodes = IalsRollout(domain, group, N_EPISODES, run_seed=1).run(*networks_of(group), 0, 0)
    bits = unpack(episodes.observations, 37)
    paid = 0
    for agent, episode in np.ndindex(4, N_EPISODES):
        for t in range(domain.episode_steps):
            before, after = bits[agent, episode, t], bits[agent, episode, t + 1]
            cell = wh.move(wh.REGION_CELLS[before[:25].argmax()], int(episodes.actions[agent, episode, t]))
            assert wh.REGION_CELLS[after[:25].argmax()] == cell
            there = cell in wh.ITEM_CELLS and before[25 + wh.ITEM_CELLS.index(cell)]
            assert (episodes.rewards[agent, episode, t] > 0) == there
            paid += there
    assert (bits[:, :, 0, 12] == 1).all()  # each starts at the centre
    assert paid > 20


@pytest.mark.parametrize("stepwise", [False, True])
def test_items_go_where_the_aip_says_that_a_neighbour_stands(stepwise: bool) -> None:
    # Given AIPs that are sure: the right neighbour on the middle of the edge, nobody else anywhere
    domain, (group,) = setup()
    actors, aips = networks_of(group)
    aips[:] = 0
    for row in range(4):
        logits = split(group.aip, aips[row])["bo"].reshape(4, 4)
        logits[:, 3] = 100
        logits[0] = [0, 100, 0, 0]
    middle = int(SLOT_OF_INFLUENCE[0, 1])
    # When episodes are run
    simulated = CheckedDomain(StepwiseWarehouse(side=2)) if stepwise else domain
    episodes = IalsRollout(simulated, group, 20, run_seed=1).run(actors, aips, 0, 0)
    items = unpack(episodes.observations, 37)[..., 25:].astype(bool)
    own = unpack(episodes.observations, 37)[..., :25].argmax(axis=-1)
    # Then an item there never survives a step (unless a new one comes, at 2 percent), all others do
    survived = items[:, :, 1:][items[:, :, :-1] & (np.arange(12) == middle)]
    assert survived.size > 50
    assert survived.mean() < 0.2  # 0.02 is expected; 0.2 of 50 by chance in less than 1e-7 of fresh seeds
    for slot in set(range(12)) - {middle}:
        cell = 5 * wh.ITEM_CELLS[slot][0] + wh.ITEM_CELLS[slot][1]
        undisturbed = items[:, :, :-1, slot] & (own[:, :, 1:] != cell)
        assert items[:, :, 1:, slot][undisturbed].all()

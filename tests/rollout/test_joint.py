"""Joint episodes on the GS: what is recorded fits together, whatever the groups."""

import numpy as np
import pytest

from dials_async.domains.base import Domain
from dials_async.domains.registry import make_domain
from dials_async.groups import Group, make_groups
from dials_async.rollout.joint import JointEpisodes, run_joint, run_scripted

from .contexts import random_weights, small_config
from .test_ials import policy_log_probs

N_EPISODES = 3


def setup(*settings: str) -> tuple[Domain, list[Group], list[np.ndarray]]:
    config = small_config("rollout.agents_per_group=2", *settings)
    domain = make_domain(config.domain)
    groups = make_groups(config, domain)
    actors = [np.stack([random_weights((g.n_actor,), agent) for agent in g.agents]) for g in groups]
    return domain, groups, actors


def by_agent(groups: list[Group], joint: JointEpisodes) -> dict[int, list[np.ndarray]]:
    """Everything recorded of each agent."""
    return {
        agent: [*(array[row] for array in joint.by_group[k]), joint.influence[k][row]]
        for k, group in enumerate(groups)
        for row, agent in enumerate(group.agents)
    }


def same(first: dict[int, list[np.ndarray]], second: dict[int, list[np.ndarray]]) -> bool:
    return all(
        np.array_equal(one, other)
        for agent in range(4)
        for one, other in zip(first[agent], second[agent], strict=True)
    )


@pytest.mark.parametrize("policy", ["mlp", "gru"])
@pytest.mark.parametrize("item_ages", ["false", "true"])
def test_what_is_recorded_is_what_the_simulator_does_under_these_actions(policy: str, item_ages: str) -> None:
    # Given joint episodes, and a simulator that a watcher follows
    domain, groups, actors = setup(f"policy.network={policy}", f"domain.item_ages={item_ages}")
    watched: list[tuple[np.ndarray, np.ndarray | None]] = []
    joint = run_joint(
        domain,
        groups,
        actors,
        N_EPISODES,
        1,
        "test",
        (2,),
        watch=lambda simulator, rewards: watched.append((simulator.observe().copy(), rewards)),
    )
    recorded = by_agent(groups, joint)
    assert len(watched) == domain.episode_steps + 1
    assert [t for t, (_, rewards) in enumerate(watched) if rewards is None] == [0]
    # Then observations and rewards are the simulator's, in their place
    total = np.zeros((4, N_EPISODES))
    for t, (observed, rewards) in enumerate(watched):
        for agent in range(4):
            assert np.array_equal(recorded[agent][0][:, t], observed[agent])
            assert rewards is None or np.array_equal(recorded[agent][2][:, t - 1], rewards[agent])
        total += 0 if rewards is None else rewards
    # And returns are the sums of rewards
    returns = joint.returns(groups)
    np.testing.assert_allclose(returns, total)
    assert returns.shape == (4, N_EPISODES)
    assert (returns > 0).any()
    # And the log-probabilities belong to the actions
    for k, group in enumerate(groups):
        for row, agent in enumerate(group.agents):
            observations, actions, _, log_probs, _ = recorded[agent]
            expected = policy_log_probs(group, actors[k][row], observations)
            taken = np.take_along_axis(expected, actions[..., None].astype(int), 2)[..., 0]
            np.testing.assert_allclose(log_probs, taken, atol=2e-5)
            assert len(np.unique(actions)) == 4


def test_the_influence_is_what_the_neighbours_did_in_this_step() -> None:
    """Agents 0 and 1 are neighbours: who stands on the shared edge is in the observation of each."""
    domain, groups, actors = setup()
    recorded = by_agent(groups, run_joint(domain, groups, actors, 20, 1, "test"))
    cells = np.unpackbits(recorded[1][0], axis=-1, bitorder="little")[..., :25].argmax(axis=-1)
    right = recorded[0][4][..., 0]
    expected = np.full_like(right, 3)
    for k in range(3):
        expected[cells[:, 1:] == 5 * (k + 1)] = k  # the left edge of agent 1
    assert np.array_equal(right, expected)
    assert len(np.unique(right)) == 4


@pytest.mark.parametrize("agents_per_group", [1, 3, 4])
def test_joint_episodes_do_not_depend_on_the_groups(agents_per_group: int) -> None:
    domain, groups, actors = setup()
    _, others, other_actors = setup(f"rollout.agents_per_group={agents_per_group}")
    first = run_joint(domain, groups, actors, N_EPISODES, 1, "test")
    second = run_joint(domain, others, other_actors, N_EPISODES, 1, "test")
    assert same(by_agent(groups, first), by_agent(others, second))
    assert np.array_equal(first.returns(groups), second.returns(others))


def test_equal_names_give_equal_episodes_and_others_fresh_ones() -> None:
    domain, groups, actors = setup()

    def run(seed: int, purpose: str, indices: tuple[int, ...]) -> dict[int, list[np.ndarray]]:
        return by_agent(groups, run_joint(domain, groups, actors, N_EPISODES, seed, purpose, indices))

    first = run(1, "train", (2, 0))
    assert same(first, run(1, "train", (2, 0)))
    for other in ((2, "train", (2, 0)), (1, "evaluate", (2, 0)), (1, "train", (2, 1)), (1, "train", (3, 0))):
        assert not same(first, run(*other))


def test_greedy_episodes_take_the_likeliest_actions() -> None:
    domain, groups, actors = setup("policy.network=gru")
    recorded = by_agent(groups, run_joint(domain, groups, actors, N_EPISODES, 1, "test", greedy=True))
    for k, group in enumerate(groups):
        for row, agent in enumerate(group.agents):
            observations, actions, _, log_probs, _ = recorded[agent]
            expected = policy_log_probs(group, actors[k][row], observations)
            best = np.take_along_axis(expected, actions[..., None].astype(int), 2)[..., 0]
            assert (expected.max(axis=2) - best < 1e-5).all()  # equal ones may be told apart by rounding
            np.testing.assert_allclose(log_probs, best, atol=2e-5)


def test_scripted_returns_are_repeatable_and_fresh_for_another_seed() -> None:
    domain = make_domain(small_config().domain)
    first, again, other = (run_scripted(domain, "closest", 5, seed) for seed in (0, 0, 1))
    assert first.shape == (4, 5)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)

"""Scripted policies: every single choice is one that the text allows, and the returns are the known ones."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import chi2

from dials_async.domains.registry import make_domain
from dials_async.domains.warehouse import Warehouse
from dials_async.domains.warehouse.layout import EPISODE_STEPS
from dials_async.errors import ConfigError
from dials_async.rollout.joint import run_scripted
from tests.oracles import warehouse as wh

from .translation import state_of

#: In this order the recorded robots break ties: items in row-major order, first moves up, left, right, down.
ACTION_ORDER = [wh.UP, wh.LEFT, wh.RIGHT, wh.DOWN]


def targets_of(policy: str, region: wh.LsState, kept: wh.Cell | None) -> set[wh.Cell]:
    """The items that ``policy`` may walk to."""
    if policy == "random" or not region.items:
        return set()
    if policy == "oldest":  # kept until it is gone, like that of ``closest``: see the last test
        return {kept} if kept is not None and kept in region.items else wh.oldest_items(region.items)
    if policy == "age-distance":
        return wh.best_by_age_and_distance(region.robot, region.items)
    return wh.closest_targets(region.robot, region.items, kept)


def action_of(policy: str, region: wh.LsState, target: wh.Cell | None) -> int | None:
    """The action that ``policy`` must take, or None where it may take any."""
    if target is None and policy in ("closest-centre", "age-distance"):
        target = wh.CENTRE
    if target is None or target == region.robot:
        return None
    return min(wh.best_actions(region.robot, target), key=ACTION_ORDER.index)


def check_choice(policy: str, region: wh.LsState, kept: wh.Cell | None, action: int) -> wh.Cell | None:
    """Assert that ``action`` is right in this region; returns the target."""
    target = min(targets_of(policy, region, kept), default=None)
    expected = action_of(policy, region, target)
    assert expected is None or action == expected, (policy, region, kept)
    return target


@pytest.mark.parametrize("policy", ["closest", "closest-centre", "age-distance", "oldest"])
def test_every_choice_of_a_policy_is_the_oracles(policy: str) -> None:
    domain, n_envs = Warehouse(side=2), 20
    simulator, script = domain.make_global(n_envs), domain.scripted_policy(policy, n_envs)
    simulator.reset(np.arange(n_envs, dtype=np.uint64))
    script.reset(np.arange(n_envs, dtype=np.uint64))
    kept: dict[tuple[int, int], wh.Cell | None] = {}
    walks = idle = 0
    for _ in range(EPISODE_STEPS):
        actions = script.act(simulator)
        for env in range(n_envs):
            state = state_of(simulator, env)
            for agent, robot in enumerate(wh.learning_ids(2)):
                region, at = wh.ls_of(state, robot), (agent, env)
                kept[at] = check_choice(policy, region, kept.get(at), int(actions[agent, env]))
                walks += kept[at] not in (None, region.robot)
                idle += kept[at] is None
        simulator.step(actions)
    assert walks > 2000
    assert idle > 100


def test_the_ring_always_walks_to_its_closest_item_and_keeps_its_target() -> None:
    domain, rng = Warehouse(side=1), np.random.default_rng(0)
    simulator = domain.make_global(10)
    simulator.reset(np.arange(10, dtype=np.uint64))
    kept: dict[tuple[int, int], wh.Cell | None] = {}
    for _ in range(EPISODE_STEPS):
        states = [state_of(simulator, env) for env in range(10)]
        simulator.step(rng.integers(0, 4, (1, 10), dtype=np.uint8))
        for env, state in enumerate(states):
            for robot in set(range(9)) - set(wh.learning_ids(1)):
                at = (env, robot)
                action = int(simulator.state.actions[env, robot])
                kept[at] = check_choice("closest", wh.ls_of(state, robot), kept.get(at), action)


@pytest.mark.parametrize("policy", ["random", "closest"])
def test_a_policy_without_a_target_takes_every_action_equally_often(policy: str) -> None:
    """A false alarm in 1e-6 of fresh seeds."""
    domain, n_envs = Warehouse(side=1), 20_000
    simulator, script = domain.make_global(n_envs), domain.scripted_policy(policy, n_envs)
    script.reset(np.arange(n_envs, dtype=np.uint64))  # the simulator was never reset: there is no item
    counts = Counter(script.act(simulator)[0].tolist())
    statistic = sum((counts[action] - n_envs / 4) ** 2 / (n_envs / 4) for action in wh.ACTIONS)
    assert statistic < chi2.isf(1e-6, 3)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("random", 1.515),
        ("closest", 13.14),
        ("oldest", 13.10),
        ("closest-centre", 14.61),
        ("age-distance", 14.80),
    ],
)
def test_returns_at_4_agents_are_the_known_ones(policy: str, expected: float) -> None:
    """DOMAINS, measured over 400 episodes of the original simulator, the last two on an own GS.

    Four standard errors are passed by chance in 6e-5 of fresh seeds; 0.15 is for the error of the reference.
    """
    returns = run_scripted(make_domain({"name": "warehouse", "side": 2}), policy, 400, run_seed=0).mean(
        axis=0
    )
    assert abs(returns.mean() - expected) < 4 * returns.std(ddof=1) / 20 + 0.15


def test_a_target_is_a_cell_and_is_kept_while_there_is_an_item_on_it() -> None:
    # Given a robot on its way to the oldest item of its region
    domain = Warehouse(side=1)
    simulator, script = domain.make_global(1), domain.scripted_policy("oldest", 1)
    script.reset(np.zeros(1, dtype=np.uint64))
    simulator.state.cells[:] = 12
    own = simulator.layout.item_of_slot[simulator.layout.learners[0]]
    simulator.state.ages[0, own[1]] = 9  # the middle of the top edge
    simulator.state.ages[0, own[4]] = 5  # the middle of the bottom edge
    assert script.act(simulator).tolist() == [[wh.UP]]
    # When that is taken by the neighbour and a new one appears on its cell at once, it walks on
    simulator.state.ages[0, own[1]] = 0
    assert script.act(simulator).tolist() == [[wh.UP]]
    # When the cell is empty, it turns to the other one
    simulator.state.ages[0, own[1]] = -1
    assert script.act(simulator).tolist() == [[wh.DOWN]]


def test_an_unknown_policy_is_refused_with_the_known_names() -> None:
    with pytest.raises(ConfigError, match=r"no scripted policy 'fastest'.*closest-centre"):
        Warehouse().scripted_policy("fastest", 1)

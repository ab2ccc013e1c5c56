"""Groups: how agents are divided, and that initial weights do not depend on it."""

import numpy as np
import pytest

from dials_async.config import load_config
from dials_async.domains.registry import make_domain
from dials_async.groups import Group, make_groups


def groups_of(side: int, *settings: str) -> list[Group]:
    config = load_config("warehouse-4", [f"domain.side={side}", *settings])
    return make_groups(config, make_domain(config.domain))


@pytest.mark.parametrize(
    ("side", "sizes"),
    [(1, [1]), (2, [2, 2]), (3, [5, 4]), (5, [13, 12]), (7, [25, 24]), (10, [25] * 4), (30, [25] * 36)],
)
def test_there_are_at_least_two_groups_where_there_are_two_agents_and_at_most_25_agents_in_each(
    side: int, sizes: list[int]
) -> None:
    assert [group.n_agents for group in groups_of(side)] == sizes


@pytest.mark.parametrize(
    ("wanted", "sizes"), [(1, [1] * 9), (2, [2, 2, 2, 2, 1]), (4, [3, 3, 3]), (9, [9]), (1000, [9])]
)
def test_agents_per_group_is_an_upper_bound_that_is_used_evenly(wanted: int, sizes: list[int]) -> None:
    assert [group.n_agents for group in groups_of(3, f"rollout.agents_per_group={wanted}")] == sizes


@pytest.mark.parametrize("wanted", [0, 1, 4, 9])
def test_every_agent_is_in_one_group_in_the_order_of_numbers(wanted: int) -> None:
    groups = groups_of(3, f"rollout.agents_per_group={wanted}")
    assert [agent for group in groups for agent in group.agents] == list(range(9))
    assert [group.index for group in groups] == list(range(len(groups)))


@pytest.mark.parametrize("network", ["mlp", "gru"])
def test_initial_weights_do_not_depend_on_the_grouping(network: str) -> None:
    setting = f"policy.network={network}"
    apart = groups_of(2, setting, "rollout.agents_per_group=1")
    together = groups_of(2, setting, "rollout.agents_per_group=4")
    for make in (Group.initial_weights, Group.initial_aips):
        rows = np.concatenate([make(group, 5) for group in apart])
        np.testing.assert_array_equal(rows, make(together[0], 5))


def test_initial_weights_differ_between_agents_and_between_seeds() -> None:
    group = groups_of(2, "rollout.agents_per_group=4")[0]
    for make in (Group.initial_weights, Group.initial_aips):
        first, second = make(group, 1), make(group, 2)
        assert len({row.tobytes() for row in (*first, *second)}) == 8
        assert np.isfinite(first).all()


def test_a_row_of_weights_is_the_actor_and_then_the_critic() -> None:
    group = groups_of(2)[0]
    weights = group.initial_weights(1)
    actors = group.actors(weights)
    assert actors.shape == (2, group.n_actor)
    assert actors.flags.c_contiguous
    np.testing.assert_array_equal(actors, weights[:, : group.n_actor])
    assert weights.shape[1] > group.n_actor

"""An evaluation measures the same, whatever runs at the same time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from dials_async.domains.registry import make_domain
from dials_async.evaluation.evaluate import evaluate_both, evaluate_policies
from dials_async.groups import make_groups
from dials_async.metrics.phases import PhaseTimer
from tests.rollout.contexts import random_weights, small_config

EPISODES, SEED, INDEX = 5, 3, 7


@pytest.mark.parametrize("side_by_side", [None, 1, 2], ids=["any-number", "one", "two"])
@pytest.mark.parametrize("threads", [1, 3])
def test_sampled_and_greedy_episodes_together_are_those_of_each_alone(
    side_by_side: int | None, threads: int
) -> None:
    config = small_config("rollout.agents_per_group=2")
    domain = make_domain(config.domain)
    domain.global_envs = side_by_side  # a simulator in a process steps one
    groups = make_groups(config, domain)
    weights = [np.stack([random_weights((w.shape[1],), k) for k in range(len(w))]) for w in
               (group.initial_weights(1) for group in groups)]  # fmt: skip
    aips = [group.initial_aips(1) for group in groups]
    arguments = (domain, groups, weights, EPISODES, SEED, INDEX)
    with ThreadPoolExecutor(threads) as pool:
        sampled, greedy, ce = evaluate_both(*arguments, aips, pool, PhaseTimer())
    alone, ce_alone = evaluate_policies(*arguments, greedy=False, aips=aips)
    greedy_alone, _ = evaluate_policies(*arguments, greedy=True)
    assert np.array_equal(sampled.per_agent, alone.per_agent)
    assert np.array_equal(greedy.per_agent, greedy_alone.per_agent)
    assert not np.array_equal(sampled.per_agent, greedy.per_agent)
    assert ce is not None
    assert ce_alone is not None
    assert np.array_equal(ce, ce_alone)
    assert (sampled.mean, greedy.standard_error) == (alone.mean, greedy_alone.standard_error)

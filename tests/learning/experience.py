"""Contexts ready to learn in, and experience as workers would send it, in order or not."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dials_async.learning.learner import GroupLearner
from dials_async.learning.tally import lag_counts
from dials_async.messaging.schema import Experience, RolloutTask, decode_task, encode_experience
from dials_async.rollout.ials import IalsRollout
from dials_async.rollout.worker import messages_of
from dials_async.run_context import RunContext
from tests.rollout.contexts import (
    QUEUES,
    commit_aips,
    eventually,
    make_context,
    receive,
    running,
)

#: Changes the experience of one update before it is sent: messages in, bodies by agent's queue out.
Mangle = Callable[[list[Experience]], list[tuple[int, bytes]]]


def ready(*settings: str, **parts: Any) -> RunContext:
    """``parts``: a store or broker to use, as ``make_context`` takes them."""
    context = make_context(*settings, **parts)
    commit_aips(context, 0)
    commit_aips(context, 1)  # as the first refresh does
    return context


def simulate(context: RunContext, task: RolloutTask, version: int | None = None) -> list[Experience]:
    """What a worker makes of ``task``, at the version that it pins or ``version``."""
    group = context.groups[0]
    policy = task.policy_versions[0] if version is None else version
    rollout = IalsRollout(context.domain, group, task.episodes, context.seed)
    actors = group.actors(context.store.weights(0, policy))
    aip = max(task.aip_version, 0)
    episodes = rollout.run(actors, np.array(context.store.aip(aip).arrays["g0"]), task.update, task.index)
    return messages_of(task, group, episodes, policy, aip, "test", task.origin)


def honest(messages: list[Experience]) -> list[tuple[int, bytes]]:
    return [(message.agent, encode_experience(message)) for message in messages]


def learn(context: RunContext, mangle: Mangle = honest) -> GroupLearner:
    """Run the learner to the end of the run, serving its tasks with experience that ``mangle`` may change."""
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)
    n_tasks = context.config.rollout.tasks_per_update
    with running(context, learner.run) as thread:
        for _ in range(context.clock.n_updates):
            messages = []
            for _ in range(n_tasks):
                delivery = receive(tasks, thread)
                tasks.ack(delivery)
                messages += simulate(context, decode_task(delivery.body))
            for agent, body in mangle(messages):
                context.broker.publish(QUEUES.experience(agent), body)
        assert eventually(lambda: not thread.is_alive())
    return learner


def lags_used(context: RunContext) -> dict[int, int]:
    """Messages used, by policy lag, as the commits counted them."""
    state = context.store.latest_group(0)
    assert state is not None
    return lag_counts(state)


def final_weights(context: RunContext) -> np.ndarray:
    state = context.store.latest_group(0)
    assert state is not None
    assert state.version == context.clock.n_updates == 4
    assert state.steps_per_agent == 3200
    return state.arrays["weights"]

"""A learner when something got lost, or somebody else commits: it asks again, and follows the store."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import cast

import numpy as np
import pytest

from dials_async.errors import VersionGoneError
from dials_async.learning import learner as learner_module
from dials_async.learning.learner import GroupLearner
from dials_async.messaging.broker import Consumer
from dials_async.messaging.memory import MemoryBroker, MemoryConsumer
from dials_async.messaging.schema import RolloutTask, decode_task
from dials_async.run_context import RunContext
from tests.rollout.contexts import QUEUES, eventually, running

from .experience import final_weights, honest, lags_used, ready, simulate


class _Interruptible(MemoryConsumer):
    """A consumer whose connection can be said to have been lost."""

    losses = 0

    @property
    def interruptions(self) -> int:
        return self.losses


class _InterruptibleBroker(MemoryBroker):
    def __init__(self) -> None:
        super().__init__()
        self.made: list[_Interruptible] = []

    def consumer(self, queues: Sequence[str], prefetch: int) -> MemoryConsumer:
        plain = super().consumer(queues, prefetch)
        plain.__class__ = _Interruptible
        self.made.append(cast(_Interruptible, plain))
        return plain


def serve(context: RunContext, tasks: Consumer, threads: list[threading.Thread]) -> None:
    """Simulate every task that comes, as a worker would, until the learners are done."""
    while any(thread.is_alive() for thread in threads):
        delivery = tasks.receive(0.05)
        if delivery is not None:
            task = decode_task(delivery.body)
            tasks.ack(delivery)
            pinned = task.policy_versions[0] >= 0
            with suppress(VersionGoneError):  # of a version that is not there any more: a worker drops it
                publish(context, task, None if pinned else context.store.group_version(0))


def publish(context: RunContext, task: RolloutTask, version: int | None = None) -> None:
    for agent, body in honest(simulate(context, task, version)):
        context.broker.publish(QUEUES.experience(agent), body)


def lose(tasks: Consumer, count: int) -> list[RolloutTask]:
    """Take tasks and do nothing with them, as a broker that crashes does."""
    lost: list[RolloutTask] = []
    while len(lost) < count:
        delivery = tasks.receive(10.0)
        assert delivery is not None
        tasks.ack(delivery)
        lost.append(decode_task(delivery.body))
    return lost


@pytest.mark.parametrize("lag", [0, 2])
def test_lost_tasks_are_asked_for_again_after_a_silence(
    lag: int, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_module, "ASK_AGAIN_S", 0.3)
    context = ready(f"rollout.max_policy_lag={lag}")
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1)
    learner = GroupLearner(context, context.groups[0])
    with running(context, learner.run) as thread:
        lost = lose(tasks, 2 * (lag + 1))
        serve(context, tasks, [thread])
    assert {task.update for task in lost} == set(range(lag + 1))
    assert lags_used(context) == {0: 32} if lag == 0 else sum(lags_used(context).values()) == 32
    if lag == 0:
        assert np.array_equal(final_weights(context), expected)


@pytest.mark.parametrize("lag", [0, 2])
def test_a_lost_connection_is_answered_by_asking_for_what_is_missing_at_once(
    lag: int, expected: np.ndarray
) -> None:
    broker = _InterruptibleBroker()
    context = ready(f"rollout.max_policy_lag={lag}", broker=broker)
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1)
    learner = GroupLearner(context, context.groups[0])
    with running(context, learner.run) as thread:
        # Given that one of the tasks of the first update was served before all else got lost
        first, *_ = lose(tasks, 2 * (lag + 1))
        publish(context, first, 0)
        assert eventually(lambda: not any(context.broker.depth(QUEUES.experience(a)) for a in range(4)))
        # When the connection is there again
        broker.made[1].losses = 1
        again = lose(tasks, 2 * (lag + 1) - 1)
        # Then the others are asked for, that one is not
        assert first not in again
        for task in again:
            publish(context, task, 0)
        serve(context, tasks, [thread])
    if lag == 0:
        assert np.array_equal(final_weights(context), expected)


def test_two_learners_of_one_group_commit_what_one_would(expected: np.ndarray) -> None:
    # Given two learners of the same group, as after a lease was lost without anybody noticing
    context = ready(single_consumer=True)
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1)
    learners = [GroupLearner(context, context.groups[0]) for _ in range(2)]
    with running(context, learners[0].run) as one, running(context, learners[1].run) as two:
        serve(context, tasks, [one, two])
    # Then each version was committed once, and both know the last
    assert np.array_equal(final_weights(context), expected)
    assert [learner.version for learner in learners] == [4, 4]
    assert lags_used(context) == {0: 32}


def test_a_learner_whose_store_was_put_back_goes_on_from_there(expected: np.ndarray) -> None:
    # Given a learner at version 2, and a snapshot of version 1
    context = ready()
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1)
    learner = GroupLearner(context, context.groups[0])
    snapshots = []
    with running(context, learner.run) as thread:
        for version in (1, 2):
            for task in lose(tasks, 2):
                publish(context, task)
            assert eventually(lambda version=version: context.store.group_version(0) == version)  # type: ignore[misc]
            snapshots.append(context.store.snapshot())
        # When the store has only the older one
        store = context.store
        store._groups = dict(snapshots[0].groups)  # type: ignore[attr-defined]
        # Then it asks for update 1 again, and ends as if nothing had happened
        serve(context, tasks, [thread])
    assert np.array_equal(final_weights(context), expected)

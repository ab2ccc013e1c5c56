"""The learner of a group at lag > 0: what is too old is dropped, what is old is corrected, all is bounded."""

from dataclasses import replace

import numpy as np

from dials_async.learning.learner import GroupLearner
from dials_async.messaging.schema import RolloutTask, decode_task, encode_experience
from dials_async.run_context import RunContext
from dials_async.store.base import GroupState
from tests.rollout.contexts import (
    ORIGIN,
    QUEUES,
    eventually,
    random_weights,
    receive,
    running,
)

from .experience import final_weights, lags_used, learn, ready, simulate


def test_experience_that_is_too_old_is_dropped_counted_and_asked_for_again() -> None:
    # Given a lag of one version at most
    context = ready("rollout.max_policy_lag=1")
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)
    too_old = 0
    with running(context, learner.run) as thread:
        while thread.is_alive():
            delivery = tasks.receive(0.05)
            if delivery is None:
                continue
            task = decode_task(delivery.body)
            assert task.policy_versions == (-1,)
            newest = context.store.group_version(0)
            # When the first task of update 3 comes from version 1, two behind, for two of the agents
            if task.update == 3 and not too_old:
                for message in simulate(context, task, version=1)[:2]:
                    context.broker.publish(QUEUES.experience(message.agent), encode_experience(message))
                    too_old += 1
                continue
            for message in simulate(context, task, version=newest):
                context.broker.publish(QUEUES.experience(message.agent), encode_experience(message))
    # Then that is dropped and counted, and what is asked for again completes the update
    assert too_old == 2
    assert learner.arrivals.dropped == 2
    assert context.store.group_version(0) == 4
    assert set(lags_used(context)) <= {0, 1}
    assert sum(lags_used(context).values()) == 4 * 2 * 4


def test_experience_left_over_by_a_run_that_was_further_on_does_not_fill_the_prefetch(
    expected: np.ndarray,
) -> None:
    # Given queues that hold update 3 in front, as after a fall back to an older checkpoint
    context, further_on = ready(), ready()
    further_on.store.commit_group(_first(further_on))
    for index in range(2):
        task = RolloutTask(ORIGIN, "ials", 0, 3, index, 4, (0,), 1)
        for message in simulate(further_on, task):
            body = encode_experience(replace(message, policy_version=3))
            context.broker.publish(QUEUES.experience(message.agent), body)
    # When the learner starts at version 0, then it drops them and learns what it would have learned
    learn(context)
    assert final_weights(context).tobytes() == expected.tobytes()


def test_a_task_that_came_too_old_is_asked_for_once_not_once_for_each_message() -> None:
    context = ready("rollout.max_policy_lag=1")
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)
    times: dict[str, int] = {}
    with running(context, learner.run) as thread:
        while thread.is_alive():
            delivery = tasks.receive(0.05)
            if delivery is None:
                continue
            task = decode_task(delivery.body)
            times[task.task_id] = times.get(task.task_id, 0) + 1
            old = (task.update, task.index, times[task.task_id]) == (3, 0, 1)
            for message in simulate(context, task, version=1 if old else context.store.group_version(0)):
                context.broker.publish(QUEUES.experience(message.agent), encode_experience(message))
    assert learner.arrivals.dropped == 4
    assert times.pop("ials/g0/u3/t0") == 2
    assert set(times.values()) == {1}


def test_up_to_lag_versions_ahead_are_in_flight_and_no_more() -> None:
    context = ready("rollout.max_policy_lag=2")
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)
    with running(context, learner.run) as thread:
        found = [receive(tasks, thread) for _ in range(3 * 2)]
        assert tasks.receive(0.3) is None
    updates = [decode_task(delivery.body).update for delivery in found]
    assert updates == [0, 0, 1, 1, 2, 2]


def test_experience_of_an_older_version_is_corrected() -> None:
    """At lag 1 what was made by another policy is weighed: its log-probabilities matter."""

    def run(shift: float) -> np.ndarray:
        context = ready("rollout.max_policy_lag=1", "run.steps=1600")
        context.store.commit_group(_first(context))
        learner = GroupLearner(context, context.groups[0])
        with running(context, learner.run) as thread:
            for update in range(2):
                for index in range(2):
                    task = RolloutTask(ORIGIN, "ials", 0, update, index, 4, (-1,), -1)
                    for message in simulate(context, task, version=0):
                        changed = replace(message, log_probs=message.log_probs - np.float32(shift))
                        context.broker.publish(QUEUES.experience(message.agent), encode_experience(changed))
            assert eventually(lambda: not thread.is_alive())
        assert lags_used(context) == {0: 8, 1: 8}
        state = context.store.latest_group(0)
        assert state is not None
        return state.arrays["weights"]

    assert not np.array_equal(run(0.0), run(0.5))


def _first(context: RunContext) -> GroupState:
    weights = random_weights(context.groups[0].initial_weights(1).shape, 1)
    zeros = np.zeros_like(weights)
    return GroupState(0, 0, 0, {"weights": weights, "adam_m": zeros, "adam_v": zeros}, {"adam_steps": 0})

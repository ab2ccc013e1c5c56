"""The learner of a group: what it learns depends on the experience alone, not on how it arrives."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from rollout.contexts import (
    commit_aips,
    eventually,
    make_context,
    random_weights,
    receive,
    running,
)

from dials_async.errors import StoreError, TrainingError
from dials_async.learning.learner import GroupLearner
from dials_async.messaging.broker import experience, rollout_tasks
from dials_async.messaging.schema import Experience, RolloutTask, decode_task, encode_experience
from dials_async.rollout.ials import IalsRollout
from dials_async.run_context import RunContext
from dials_async.store.base import GroupState
from dials_async.store.memory import MemoryStore

#: Changes the experience of one update before it is sent: messages in, bodies by agent's queue out.
Mangle = Callable[[list[Experience]], list[tuple[int, bytes]]]


def ready(*settings: str, store: MemoryStore | None = None) -> RunContext:
    context = make_context(*settings, store=store)
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
    n = task.episodes
    return [
        Experience(
            run=task.run,
            task_id=task.task_id,
            agent=agent,
            update=task.update,
            index=task.index,
            policy_version=policy,
            aip_version=aip,
            worker="test",
            observations=episodes.observations[row],
            actions=episodes.actions[row],
            rewards=episodes.rewards[row],
            log_probs=episodes.log_probs[row],
            terminated=np.zeros(n, np.uint8),
            truncated=np.ones(n, np.uint8),
        )
        for row, agent in enumerate(group.agents)
    ]


def honest(messages: list[Experience]) -> list[tuple[int, bytes]]:
    return [(message.agent, encode_experience(message)) for message in messages]


def learn(context: RunContext, mangle: Mangle = honest) -> GroupLearner:
    """Run the learner to the end of the run, serving its tasks with experience that ``mangle`` may change."""
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([rollout_tasks("r")], prefetch=1000)
    n_tasks = context.config.rollout.tasks_per_update
    with running(context, learner.run) as thread:
        for _ in range(context.clock.n_updates):
            messages = []
            for _ in range(n_tasks):
                delivery = receive(tasks, thread)
                tasks.ack(delivery)
                messages += simulate(context, decode_task(delivery.body))
            for agent, body in mangle(messages):
                context.broker.publish(experience("r", agent), body)
        assert eventually(lambda: not thread.is_alive())
    return learner


def final_weights(context: RunContext) -> np.ndarray:
    state = context.store.latest_group(0)
    assert state is not None
    assert state.version == context.clock.n_updates == 4
    assert state.steps_per_agent == 3200
    return state.arrays["weights"]


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """The weights that undisturbed experience leads to."""
    context = ready()
    learn(context)
    return final_weights(context)


# ---- Lag 0 ------------------------------------------------------------------------------------------------


def test_learning_changes_every_agent_and_stays_finite(expected: np.ndarray) -> None:
    first = ready().groups[0].initial_weights(1)
    assert (np.abs(expected - first).max(axis=1) > 1e-3).all()
    assert np.isfinite(expected).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_experience_in_any_order_gives_the_same_weights(expected: np.ndarray, seed: int) -> None:
    rng = random.Random(seed)

    def shuffled(messages: list[Experience]) -> list[tuple[int, bytes]]:
        result = honest(messages)
        rng.shuffle(result)
        return result

    context = ready()
    learn(context, shuffled)
    assert np.array_equal(final_weights(context), expected)


def test_duplicates_are_used_once(expected: np.ndarray) -> None:
    # Given that every message comes three times, and those of earlier updates again
    earlier: list[tuple[int, bytes]] = []

    def repeated(messages: list[Experience]) -> list[tuple[int, bytes]]:
        result = [*earlier, *(pair for pair in honest(messages) for _ in range(3))]
        earlier[:] = honest(messages)
        return result

    context = ready()
    learner = learn(context, repeated)
    # Then the weights are the same, and every message counts once
    assert np.array_equal(final_weights(context), expected)
    assert learner.lag_counts == {0: 4 * 2 * 4}
    assert context.broker.dead_letters() == []


def test_other_experience_gives_other_weights(expected: np.ndarray) -> None:
    """The control of the tests above."""

    def richer(messages: list[Experience]) -> list[tuple[int, bytes]]:
        return honest([replace(m, rewards=m.rewards + m.actions) for m in messages])

    context = ready()
    learn(context, richer)
    assert not np.array_equal(final_weights(context), expected)


def test_poison_goes_to_the_dead_letters_with_its_reason_and_learning_goes_on(expected: np.ndarray) -> None:
    def poisoned(messages: list[Experience]) -> list[tuple[int, bytes]]:
        first = messages[0]
        bad = [
            b"no message at all",
            encode_experience(first)[:-5] + b"wrong",
            encode_experience(replace(first, run="another")),
            encode_experience(replace(first, agent=9)),
            encode_experience(replace(first, index=2)),
            encode_experience(replace(first, observations=first.observations[:, :, :-1].copy())),
        ]
        return [*((0, body) for body in bad), *honest(messages)]

    context = ready()
    learn(context, poisoned)
    assert np.array_equal(final_weights(context), expected)
    reasons = [letter.reason for letter in context.broker.dead_letters()]
    assert len(reasons) == 4 * 6
    for part in ("checksum", "run 'another'", "agent 9", "task 2", "observations"):
        assert sum(part in reason for reason in reasons) >= 4, part


def test_a_new_learner_goes_on_where_the_last_one_was_stopped(expected: np.ndarray) -> None:
    # Given a learner that was stopped after its second update, with some experience of the third
    context = ready()
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([rollout_tasks("r")], prefetch=1000)
    with running(context, learner.run) as thread:
        for update in range(3):
            for _ in range(2):
                delivery = receive(tasks, thread)
                messages = simulate(context, decode_task(delivery.body))
                for message in messages if update < 2 else messages[:1]:
                    context.broker.publish(experience("r", message.agent), encode_experience(message))
        assert eventually(lambda: context.store.group_version(0) == 2)
    # When another one takes over
    context.stop.clear()
    context.broker.purge(rollout_tasks("r"))
    again = GroupLearner(context, context.groups[0])
    late = context.broker.consumer([rollout_tasks("r")], prefetch=1000)
    with running(context, again.run) as thread:
        for _ in range(2 * 2):
            delivery = receive(late, thread)
            for agent, body in honest(simulate(context, decode_task(delivery.body))):
                context.broker.publish(experience("r", agent), body)
        assert eventually(lambda: not thread.is_alive())
    # Then the weights are as if nothing had happened
    assert np.array_equal(final_weights(context), expected)


class FailingStore(MemoryStore):
    """Refuses the commit of version 1."""

    def commit_group(self, state: GroupState) -> None:
        if state.version == 1:
            raise StoreError("the store is gone")
        super().commit_group(state)


def test_experience_is_acknowledged_only_after_the_commit() -> None:
    # Given a store that is gone when the first update should be committed
    context = ready(store=FailingStore())
    with pytest.raises(StoreError, match="the store is gone"):
        learn(context)
    # Then all of the experience is still there for the learner that comes next
    assert [context.broker.depth(experience("r", agent)) for agent in range(4)] == [2, 2, 2, 2]


def test_weights_that_are_not_finite_end_the_run_with_their_agents_named() -> None:
    def exploding(messages: list[Experience]) -> list[tuple[int, bytes]]:
        return honest([replace(m, rewards=m.rewards + (3e38 if m.agent == 2 else 0)) for m in messages])

    with pytest.raises(TrainingError, match=r"agents \[2\] are not finite after update 0"):
        learn(ready(), exploding)


def test_no_task_is_published_before_the_aips_it_pins_are_there() -> None:
    context = make_context("schedule.refresh_steps=1600")
    commit_aips(context, 0)
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([rollout_tasks("r")], prefetch=1000)
    pinned = []
    with running(context, learner.run) as thread:
        for refresh in (1, 2):
            assert tasks.receive(0.3) is None  # the barrier: nothing to do before the refresh
            commit_aips(context, refresh)
            for _ in range(2 * 2):
                delivery = receive(tasks, thread)
                task = decode_task(delivery.body)
                pinned.append((task.update, task.policy_versions, task.aip_version))
                for agent, body in honest(simulate(context, task)):
                    context.broker.publish(experience("r", agent), body)
        assert eventually(lambda: not thread.is_alive())
    assert pinned == [(k, (k,), 1 + k // 2) for k in range(4) for _ in range(2)]


# ---- Lag > 0 ----------------------------------------------------------------------------------------------


def test_experience_that_is_too_old_is_dropped_counted_and_asked_for_again() -> None:
    # Given a lag of one version at most
    context = ready("rollout.max_policy_lag=1")
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([rollout_tasks("r")], prefetch=1000)
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
                    context.broker.publish(experience("r", message.agent), encode_experience(message))
                    too_old += 1
                continue
            for message in simulate(context, task, version=newest):
                context.broker.publish(experience("r", message.agent), encode_experience(message))
    # Then that is dropped and counted, and what is asked for again completes the update
    assert too_old == 2
    assert learner.dropped == 2
    assert context.store.group_version(0) == 4
    assert set(learner.lag_counts) <= {0, 1}
    assert sum(learner.lag_counts.values()) == 4 * 2 * 4


def test_experience_left_over_by_a_run_that_was_further_on_does_not_fill_the_prefetch(
    expected: np.ndarray,
) -> None:
    # Given queues that hold update 3 in front, as after a fall back to an older checkpoint
    context, further_on = ready(), ready()
    further_on.store.commit_group(_first(further_on))
    for index in range(2):
        task = RolloutTask("r", "ials", 0, 3, index, 4, (0,), 1)
        for message in simulate(further_on, task):
            body = encode_experience(replace(message, policy_version=3))
            context.broker.publish(experience("r", message.agent), body)
    # When the learner starts at version 0, then it drops them and learns what it would have learned
    learn(context)
    assert final_weights(context).tobytes() == expected.tobytes()


def test_a_task_that_came_too_old_is_asked_for_once_not_once_for_each_message() -> None:
    context = ready("rollout.max_policy_lag=1")
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([rollout_tasks("r")], prefetch=1000)
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
                context.broker.publish(experience("r", message.agent), encode_experience(message))
    assert learner.dropped == 4
    assert times.pop("ials/g0/u3/t0") == 2
    assert set(times.values()) == {1}


def test_up_to_lag_versions_ahead_are_in_flight_and_no_more() -> None:
    context = ready("rollout.max_policy_lag=2")
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([rollout_tasks("r")], prefetch=1000)
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
                    task = RolloutTask("r", "ials", 0, update, index, 4, (-1,), -1)
                    for message in simulate(context, task, version=0):
                        changed = replace(message, log_probs=message.log_probs - np.float32(shift))
                        context.broker.publish(experience("r", message.agent), encode_experience(changed))
            assert eventually(lambda: not thread.is_alive())
        assert learner.lag_counts == {0: 8, 1: 8}
        state = context.store.latest_group(0)
        assert state is not None
        return state.arrays["weights"]

    assert not np.array_equal(run(0.0), run(0.5))


def _first(context: RunContext) -> GroupState:
    weights = random_weights(context.groups[0].initial_weights(1).shape, 1)
    zeros = np.zeros_like(weights)
    return GroupState(0, 0, 0, {"weights": weights, "adam_m": zeros, "adam_v": zeros}, {"adam_steps": 0})

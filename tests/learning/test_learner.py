"""The learner of a group at lag 0: what it learns depends on the experience alone, not on how it arrives."""

import random
from dataclasses import replace

import numpy as np
import pytest
from rollout.contexts import (
    commit_aips,
    eventually,
    make_context,
    receive,
    running,
)

from dials_async.errors import StoreError, TrainingError
from dials_async.learning.learner import GroupLearner
from dials_async.messaging.broker import experience, rollout_tasks
from dials_async.messaging.schema import Experience, decode_task, encode_experience
from dials_async.store.base import GroupState
from dials_async.store.memory import MemoryStore

from .experience import final_weights, honest, lags_used, learn, ready, simulate


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
    assert lags_used(context) == {0: 4 * 2 * 4}
    assert learner.arrivals.copies > 0
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

"""The learner of a group at lag 0: what it learns depends on the experience alone, not on how it arrives."""

import logging
import random
import threading
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dials_async.clock import EVALUATION
from dials_async.errors import StoreError, TrainingError
from dials_async.learning.learner import GroupLearner
from dials_async.learning.progress import UNMOVED_UPDATES, WITHOUT_EFFECT
from dials_async.messaging.schema import Experience, RolloutTask, decode_task, encode_experience
from dials_async.run_context import RunContext
from dials_async.store.base import GroupState
from dials_async.store.memory import MemoryStore
from tests.rollout.contexts import (
    ORIGIN,
    QUEUES,
    commit_aips,
    eventually,
    make_context,
    receive,
    running,
)

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
        return honest([replace(m, rewards=np.float32(0.1) * m.actions.astype(np.float32)) for m in messages])

    context = ready()
    learn(context, richer)
    assert not np.array_equal(final_weights(context), expected)


def test_poison_goes_to_the_dead_letters_with_its_reason_and_learning_goes_on(expected: np.ndarray) -> None:
    def poisoned(messages: list[Experience]) -> list[tuple[int, bytes]]:
        first = messages[0]
        bad = [
            b"no message at all",
            encode_experience(first)[:-5] + b"wrong",
            encode_experience(replace(first, origin=ORIGIN._replace(run="another"))),
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
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)
    with running(context, learner.run) as thread:
        for update in range(3):
            for _ in range(2):
                delivery = receive(tasks, thread)
                messages = simulate(context, decode_task(delivery.body))
                for message in messages if update < 2 else messages[:1]:
                    context.broker.publish(QUEUES.experience(message.agent), encode_experience(message))
        assert eventually(lambda: context.store.group_version(0) == 2)
    # When another one takes over
    context.stop.clear()
    while tasks.receive(0.0) is not None:  # what nobody has done is lost
        pass
    again = GroupLearner(context, context.groups[0])
    late = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)
    with running(context, again.run) as thread:
        for _ in range(2 * 2):
            delivery = receive(late, thread)
            for agent, body in honest(simulate(context, decode_task(delivery.body))):
                context.broker.publish(QUEUES.experience(agent), body)
        assert eventually(lambda: not thread.is_alive())
    # Then the weights are as if nothing had happened
    assert np.array_equal(final_weights(context), expected)


class FailingStore(MemoryStore):
    """Refuses the commit of version 1."""

    def commit_group(self, state: GroupState, hold: Collection[str] = ()) -> None:
        if state.version == 1:
            raise StoreError("the store is gone")
        super().commit_group(state, hold)


def test_experience_is_acknowledged_only_after_the_commit() -> None:
    # Given a store that is gone when the first update should be committed
    context = ready(store=FailingStore())
    with pytest.raises(StoreError, match="the store is gone"):
        learn(context)
    # Then all of the experience is still there for the learner that comes next
    assert [context.broker.depth(QUEUES.experience(agent)) for agent in range(4)] == [2, 2, 2, 2]


def _poisoned(message: Experience) -> Experience:
    """Well-formed, of a domain's own rewards, and no update survives it: the ratio of PPO overflows."""
    return replace(message, log_probs=np.full_like(message.log_probs, -100.0))


def _serve(context: RunContext, poison: Callable[[RolloutTask, int], bool]) -> list[str]:
    """Learn to the end; agent 2 sends poison where ``poison`` (task, times it was asked for) says so."""
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)
    asked: list[str] = []
    with running(context, learner.run) as thread:
        while thread.is_alive():
            if (delivery := tasks.receive(0.05)) is None:
                continue
            task = decode_task(delivery.body)
            asked.append(task.task_id)
            bad = poison(task, asked.count(task.task_id))
            for message in simulate(context, task):
                sent = _poisoned(message) if bad and message.agent == 2 else message
                context.broker.publish(QUEUES.experience(sent.agent), encode_experience(sent))
    return asked


def test_experience_that_no_update_survives_is_buried_and_asked_for_once_more(expected: np.ndarray) -> None:
    context = ready()
    asked = _serve(context, lambda task, times: task.update == 0 and times == 1)
    # Then the whole batch of that agent is a dead letter with the reason, and nothing else is different
    letters = [(letter.queue, letter.reason) for letter in context.broker.dead_letters()]
    assert [queue for queue, _ in letters] == [QUEUES.experience(2)] * 2
    assert all("update 0 of agent 2 is not finite" in why and "-100" in why for _, why in letters)
    assert asked.count("ials/g0/u0/t0") == asked.count("ials/g0/u0/t1") == 2
    assert len(asked) == 4 * 2 + 2
    assert final_weights(context).tobytes() == expected.tobytes()


def test_an_update_that_is_not_finite_twice_ends_the_run_with_agent_update_and_ranges_named() -> None:
    context = ready()
    with pytest.raises(
        TrainingError, match=r"agents \[2\] are not finite after update 0, twice.*log-prob.* -100 to -100"
    ):
        _serve(context, lambda task, _: task.update == 0)
    assert context.store.group_version(0) == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"policy_version": 1}, "policy_version 1 for update 0"),
        ({"aip_version": 0}, "aip_version 0 for update 0: the clock says 1"),
        ({"aip_version": 2}, "aip_version 2 for update 0: the clock says 1"),
        ({"task_id": "ials/g0/u0/t7"}, "task_id 'ials/g0/u0/t7' of update and task that are ials/g0/u0/t0"),
        ({"task_id": "gs/u0/t0"}, "task_id 'gs/u0/t0'"),
        ({"rewards": 100.0}, "rewards: 100 is beyond 1, the domain's largest"),
        ({"rewards": -1.5}, "rewards: 1.5 is beyond 1"),
        ({"origin": ORIGIN._replace(run="s")}, "of run 's', not 'r'"),
        ({"origin": ORIGIN._replace(life="before")}, "of life 'before', not 'life'"),
        ({"origin": ORIGIN._replace(configuration="x")}, "of configuration 'x', not 'print'"),
        ({"origin": ORIGIN._replace(numerics="x")}, "of numerics 'x', not 'unknown'"),
    ],
)
def test_a_well_formed_forgery_is_a_dead_letter_and_never_other_weights(
    expected: np.ndarray, change: dict[str, Any], reason: str
) -> None:
    def forged_first(messages: list[Experience]) -> list[tuple[int, bytes]]:
        first = messages[0]
        if first.update:
            return honest(messages)
        changed: dict[str, Any] = {
            name: np.full_like(first.rewards, value) if name == "rewards" else value
            for name, value in change.items()
        }
        return [*honest([replace(first, **changed)]), *honest(messages)]

    context = ready()
    learn(context, forged_first)
    (letter,) = context.broker.dead_letters()
    assert reason in letter.reason
    assert final_weights(context).tobytes() == expected.tobytes()


def test_no_task_is_published_before_the_aips_it_pins_are_there() -> None:
    context = make_context("schedule.refresh_steps=1600")
    commit_aips(context, 0)
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)
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
                    context.broker.publish(QUEUES.experience(agent), body)
        assert eventually(lambda: not thread.is_alive())
    assert pinned == [(k, (k,), 1 + k // 2) for k in range(4) for _ in range(2)]


def test_with_too_many_versions_waiting_for_the_evaluator_no_other_one_is_made() -> None:
    # Given an evaluation after each update, a learner with all the experience that it asks for, no evaluator
    context = make_context("schedule.eval_steps=800")
    commit_aips(context, 0)
    commit_aips(context, 1)
    learner = GroupLearner(context, context.groups[0])
    tasks = context.broker.consumer([QUEUES.rollout_tasks], prefetch=1000)

    def answer(thread: threading.Thread) -> None:
        for _ in range(2):
            delivery = receive(tasks, thread)
            for agent, body in honest(simulate(context, decode_task(delivery.body))):
                context.broker.publish(QUEUES.experience(agent), body)

    with running(context, learner.run) as thread:
        answer(thread)
        answer(thread)
        # When three versions wait
        assert eventually(lambda: context.store.held(0, EVALUATION) == [0, 1, 2])
        # Then no experience is asked for, and it is said why
        assert tasks.receive(0.5) is None
        assert learner.doing == "waiting for the evaluator: 3 versions wait for it"
        # Until the evaluator has made one
        context.store.release(0, 0, EVALUATION)
        answer(thread)
        assert eventually(lambda: context.store.held(0, EVALUATION) == [1, 2, 3])
        assert tasks.receive(0.5) is None
        context.store.release(0, 1, EVALUATION)
        answer(thread)
        assert eventually(lambda: not thread.is_alive())
    assert context.store.group_version(0) == 4


def test_updates_that_move_nothing_are_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    context = ready("ppo.learning_rate=1e-60", "ppo.final_learning_rate=1e-60", "run.steps=9600")
    with caplog.at_level(logging.WARNING, "dials_async.learning"):
        learner = learn(context)
    assert learner.facts()["unmoved"] == context.clock.n_updates == 12
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"agent 0: {UNMOVED_UPDATES} {WITHOUT_EFFECT}"
    # And one that moves is none
    assert learn(ready()).facts()["unmoved"] == 0

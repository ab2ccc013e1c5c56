"""The rollout worker: good tasks become experience, bad ones dead letters, and none is lost."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from dials_async.errors import DomainError
from dials_async.messaging.envelope import seal
from dials_async.messaging.schema import (
    Experience,
    ExperienceShape,
    RolloutTask,
    decode_experience,
    encode_task,
)
from dials_async.rollout.ials import Episodes, IalsRollout
from dials_async.rollout.joint import run_joint
from dials_async.rollout.worker import RolloutWorker
from dials_async.run_context import RunContext
from dials_async.store.base import KeepRules

from . import contexts
from .contexts import ORIGIN, QUEUES, commit_aips, commit_policies, eventually, running

TASK = RolloutTask(ORIGIN, "ials", 0, 0, 0, 2, (0,), 0)
GS_TASK = RolloutTask(ORIGIN, "gs", -1, 0, 0, 2, (0, 0), 0)
TWO_GROUPS = "rollout.agents_per_group=2"


def make_context(*settings: str, **options: Any) -> RunContext:
    """A run with tasks of two episodes, 8 updates."""
    return contexts.make_context("rollout.episodes_per_task=2", *settings, **options)


def ready(context: RunContext, versions: int = 1) -> RunContext:
    """Commit policies and AIPs to begin with."""
    for version in range(versions):
        commit_policies(context, version)
        commit_aips(context, version)
    return context


def publish(context: RunContext, *tasks: RolloutTask | bytes) -> None:
    for task in tasks:
        body = task if isinstance(task, bytes) else encode_task(task)
        is_gs = isinstance(task, RolloutTask) and task.kind == "gs"
        context.broker.publish(QUEUES.gs_tasks if is_gs else QUEUES.rollout_tasks, body)


def serve(context: RunContext, done: int = 0, outdated: int = 0, dead: int = 0) -> RolloutWorker:
    """Run a worker until it has served this much, then stop it."""
    worker = RolloutWorker(context, "worker-7")
    with running(context, worker.run) as thread:
        assert eventually(
            lambda: (
                worker.tasks_done == done
                and worker.tasks_outdated == outdated
                and len(context.broker.dead_letters()) == dead
            ),
            thread,
        )
    return worker


def received(context: RunContext, agent: int) -> list[Experience]:
    """All experience that waits for ``agent``."""
    group = context.groups[0]
    shape = ExperienceShape(2, context.domain.episode_steps, group.spec.observation_bytes, 4)
    consumer = context.broker.consumer([QUEUES.experience(agent)], prefetch=100)
    messages = []
    while (delivery := consumer.receive(0)) is not None:
        messages.append(decode_experience(delivery.body, shape))
    consumer.close()
    return messages


def as_arrays(message: Experience) -> list[np.ndarray]:
    return [message.observations, message.actions, message.rewards, message.log_probs]


def test_a_task_becomes_one_message_for_each_agent_of_its_group() -> None:
    # Given a task for the second of two groups, of the older of two versions
    context = ready(make_context(TWO_GROUPS), versions=2)
    task = replace(TASK, group=1, update=5, index=1, policy_versions=(0,), aip_version=1)
    publish(context, task)
    # When a worker serves it
    serve(context, done=1)
    # Then every agent of the group gets what the pinned versions do in these episodes
    group = context.groups[1]
    assert group.agents == (2, 3)
    rollout = IalsRollout(context.domain, group, 2, context.seed)
    actors = group.actors(context.store.weights(1, 0))
    expected = rollout.run(actors, np.array(context.store.aip(1).arrays["g1"]), 5, 1)
    for row, agent in enumerate(group.agents):
        (message,) = received(context, agent)
        assert all(map(np.array_equal, as_arrays(message), (array[row] for array in expected)))
        assert (message.origin, message.task_id, message.agent) == (ORIGIN, task.task_id, agent)
        assert (message.update, message.index) == (5, 1)
        assert (message.policy_version, message.aip_version) == (0, 1)
        assert message.worker == "worker-7"
        assert message.truncated.tolist() == [1, 1]  # the time limit ends every episode
        assert message.terminated.tolist() == [0, 0]
    # And the others nothing
    assert received(context, 0) == []
    assert context.broker.depth(QUEUES.rollout_tasks) == 0


def test_a_task_of_the_gs_becomes_one_message_for_every_agent() -> None:
    context = ready(make_context(TWO_GROUPS))
    publish(context, replace(GS_TASK, update=3, index=1))
    serve(context, done=1)
    actors = [group.actors(context.store.weights(group.index, 0)) for group in context.groups]
    joint = run_joint(context.domain, context.groups, actors, 2, context.seed, "train", (3, 1))
    for k, group in enumerate(context.groups):
        for row, agent in enumerate(group.agents):
            (message,) = received(context, agent)
            expected: Episodes = joint.by_group[k]
            assert all(map(np.array_equal, as_arrays(message), (array[row] for array in expected)))


def test_a_task_without_pins_takes_the_newest_versions_and_says_which() -> None:
    context = ready(make_context(), versions=3)
    publish(context, replace(TASK, policy_versions=(-1,), aip_version=-1))
    serve(context, done=1)
    (message,) = received(context, 0)
    assert (message.policy_version, message.aip_version) == (2, 2)


def test_new_versions_are_not_served_from_the_cache_of_old_ones() -> None:
    context = ready(make_context(), versions=2)
    for versions in ((0, 0), (1, 0), (0, 1), (0, 0)):
        publish(context, replace(TASK, policy_versions=versions[:1], aip_version=versions[1]))
    serve(context, done=4)
    actions = [message.actions.tobytes() for message in received(context, 0)]
    assert actions[0] == actions[3]
    assert len(set(actions)) == 3


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "checksum"),
        (b"\x93\x00\x01\x02 this is no task", "checksum"),
        (encode_task(TASK)[:-1] + b"\xff", "checksum"),
        (replace(TASK, origin=ORIGIN._replace(run="another")), "of run 'another', not 'r'"),
        (replace(TASK, origin=ORIGIN._replace(life="before")), "of life 'before', not 'life'"),
        (replace(TASK, origin=ORIGIN._replace(configuration="x")), "of configuration 'x', not 'print'"),
        (replace(TASK, origin=ORIGIN._replace(numerics="x")), "of numerics 'x', not 'unknown'"),
        (replace(TASK, group=2), "2 groups"),
        (replace(TASK, episodes=3), "a task has 2 episodes"),
        (replace(TASK, index=2), "an update has 2 tasks"),
        (replace(TASK, update=8), "the run has 8 updates"),
        (replace(GS_TASK, policy_versions=(0,)), "1 of 2 groups"),
        (replace(GS_TASK, policy_versions=(0, 0, 0)), "3 of 2 groups"),
    ],
)
def test_a_bad_task_goes_to_the_dead_letters_and_the_worker_goes_on(
    bad: RolloutTask | bytes, reason: str
) -> None:
    context = ready(make_context(TWO_GROUPS))
    publish(context, bad, TASK)
    serve(context, done=1, dead=1)
    (letter,) = context.broker.dead_letters()
    assert reason in letter.reason
    assert letter.body == (bad if isinstance(bad, bytes) else encode_task(bad))
    assert len(received(context, 0)) == 1


@pytest.mark.parametrize(
    "pins", [{"policy_versions": (0,), "aip_version": 2}, {"policy_versions": (2,), "aip_version": 0}]
)
def test_an_outdated_task_is_acknowledged_and_the_worker_goes_on(pins: dict[str, Any]) -> None:
    """A copy of a task whose update was committed long ago: nobody wants its experience any more."""
    context = ready(make_context(rules=KeepRules(keep_last=1, keep_last_aips=1)), versions=3)
    publish(context, replace(TASK, **pins), replace(TASK, policy_versions=(2,), aip_version=2))
    serve(context, done=1, outdated=1)
    assert len(received(context, 0)) == 1
    assert context.broker.dead_letters() == []
    assert context.broker.depth(QUEUES.rollout_tasks) == 0


def test_a_worker_that_is_stopped_while_a_queue_is_full_gives_its_task_back() -> None:
    # Given an experience queue that is full already
    context = ready(make_context(queue_length=1))
    context.broker.publish(QUEUES.experience(3), b"nobody takes this")
    publish(context, TASK)
    worker = RolloutWorker(context, "w")
    with running(context, worker.run):
        # When the worker is stopped while it waits for room, some messages published, some not
        assert eventually(lambda: context.broker.depth(QUEUES.experience(2)) == 1)
    # Then the task is back in its queue for another worker, who does it again
    assert worker.tasks_done == 0
    consumer = context.broker.consumer([QUEUES.rollout_tasks], 1)
    delivery = consumer.receive(0)
    assert delivery is not None
    assert delivery.redelivered
    assert delivery.body == encode_task(TASK)


def test_a_task_that_was_given_back_gives_the_same_experience_again() -> None:
    context = ready(make_context())
    publish(context, TASK, TASK)
    serve(context, done=2)
    first, second = received(context, 1)
    assert all(map(np.array_equal, as_arrays(first), as_arrays(second)))


def test_a_worker_waits_for_room_and_then_goes_on() -> None:
    context = ready(make_context(queue_length=1))
    context.broker.publish(QUEUES.experience(3), b"in the way")
    publish(context, TASK)
    worker = RolloutWorker(context, "w")
    with running(context, worker.run):
        assert eventually(lambda: context.broker.depth(QUEUES.experience(2)) == 1)
        in_the_way = context.broker.consumer([QUEUES.experience(3)], 1)
        assert in_the_way.receive(0.0) is not None
        assert eventually(lambda: worker.tasks_done == 1)
    assert context.broker.depth(QUEUES.experience(3)) == 1


def test_a_task_that_cannot_fit_in_memory_is_a_bad_task() -> None:
    context = ready(make_context())
    values = {field.name: getattr(TASK, field.name) for field in fields(TASK)}
    publish(context, seal({**values, "episodes": 2**52}), TASK)  # our own encoder would refuse it
    serve(context, done=1, dead=1)


def test_a_domain_may_have_rewards_of_any_size_that_it_announces() -> None:
    # Given rewards far beyond what is taken for granted of a domain that does not say how large they are
    context = ready(make_context())
    context.domain.largest_reward = 1e9
    worker = RolloutWorker(context, "worker-7")
    simulate = worker._simulate
    worker._simulate = lambda task: [  # type: ignore[method-assign]
        replace(message, rewards=np.full_like(message.rewards, 5e8)) for message in simulate(task)
    ]
    publish(context, TASK)
    with running(context, worker.run) as thread:
        assert eventually(lambda: worker.tasks_done == 1, thread)
    assert context.broker.depth(QUEUES.experience(0)) == 1
    # When it says less, then the worker ends with that, in place of messages that nobody takes
    context = ready(make_context())
    context.domain.largest_reward = 1e-9
    publish(context, TASK)
    with (
        pytest.raises(DomainError, match="beyond 1e-09, the domain's largest_reward"),
        running(context, RolloutWorker(context, "worker-7").run) as thread,
    ):
        assert eventually(lambda: not thread.is_alive())

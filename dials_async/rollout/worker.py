"""The stateless rollout worker: takes a task, reads policies and AIPs, simulates, publishes."""

import time

import numpy as np
from numpy.typing import NDArray

from dials_async.errors import BadMessageError, QueueFullError, VersionGoneError
from dials_async.groups import Group
from dials_async.messaging.schema import Experience, Origin, RolloutTask, decode_task, encode_experience
from dials_async.part import POLL_S
from dials_async.rollout.ials import Episodes, IalsRollout
from dials_async.rollout.joint import run_joint
from dials_async.run_context import RunContext
from dials_async.store.participants import UNKNOWN

#: Seconds to wait before a message is offered again to a full queue.
FULL_QUEUE_PAUSE_S = 0.05


class RolloutWorker:
    """Serves the task queues of a run until it is told to stop. Kill it any time: its task is redelivered."""

    def __init__(self, context: RunContext, name: str) -> None:
        self._context = context
        self._metrics = context.metrics
        self._name = name
        self._expected: Origin  # both from ``run`` on: who takes part is entered before
        self._origin: Origin
        self._rollouts: dict[int, IalsRollout] = {}
        self._actors: dict[int, tuple[int, NDArray[np.float32]]] = {}
        self._aips: dict[int, tuple[int, NDArray[np.float32]]] = {}
        self.tasks_done = 0
        self.tasks_outdated = 0
        self.tasks_rejected = 0
        self.doing = "starting"
        """What it is at, or waits for, in a few words."""

    def run(self) -> None:
        """Serve until ``context.stop`` is set; a task in hand is finished."""
        context = self._context
        self._expected = context.task_origin()
        self._origin = context.origin(context.numerics.get(context.simulation, UNKNOWN))
        queues = [context.queues.rollout_tasks, context.queues.gs_tasks]
        consumer = context.broker.consumer(queues, prefetch=1)
        try:
            while not context.stop.is_set():
                since = time.monotonic()
                delivery = consumer.receive(POLL_S)
                self._metrics.worker_wait.labels("task").inc(time.monotonic() - since)
                if delivery is None:
                    self.doing = "waiting for a task"
                    continue
                try:
                    task = decode_task(delivery.body)
                    self.doing = f"task {task.task_id}"
                    messages = self._simulate(task)
                except BadMessageError as error:
                    consumer.reject(delivery, str(error))
                    self.tasks_rejected += 1
                    self._metrics.tasks.labels("rejected").inc()
                    continue
                except VersionGoneError:  # a copy of a task whose update was committed long ago
                    self.tasks_outdated += 1
                    self._metrics.tasks.labels("outdated").inc()
                    consumer.ack(delivery)
                    continue
                if self._publish(messages):
                    consumer.ack(delivery)
                    self.tasks_done += 1
                    self._metrics.tasks.labels("done").inc()
        finally:
            consumer.close()
            for rollout in self._rollouts.values():
                rollout.close()

    def _simulate(self, task: RolloutTask) -> list[Experience]:
        since = time.monotonic()
        messages = self._episodes_of(task)
        self._metrics.rollout_seconds.labels(task.kind).observe(time.monotonic() - since)
        steps = task.episodes * self._context.domain.episode_steps
        self._metrics.simulated.labels(task.kind, "train").inc(len(messages) * steps)
        return messages

    def _episodes_of(self, task: RolloutTask) -> list[Experience]:
        context = self._context
        if difference := task.origin.differs(self._expected):
            raise BadMessageError(f"task {difference}")
        self._require_of_this_run(task)
        if task.kind == "gs":
            with context.phases("rollout"):
                joint = run_joint(
                    context.domain,
                    context.groups,
                    [self._actors_of(k, version)[1] for k, version in enumerate(task.policy_versions)],
                    task.episodes,
                    context.seed,
                    "train",
                    (task.update, task.index),
                )
                return [
                    message
                    for k, episodes in enumerate(joint.by_group)
                    for message in messages_of(
                        task,
                        context.groups[k],
                        episodes,
                        task.policy_versions[k],
                        0,
                        self._name,
                        self._origin,
                    )
                ]
        with context.phases("rollout"):
            policy_version, actors = self._actors_of(task.group, task.policy_versions[0])
            aip_version, aips = self._aips_of(task.group, task.aip_version)
            episodes = self._rollout(task.group).run(actors, aips, task.update, task.index)
            group = context.groups[task.group]
            return messages_of(task, group, episodes, policy_version, aip_version, self._name, self._origin)

    def _require_of_this_run(self, task: RolloutTask) -> None:
        """Raise BadMessageError for what nobody in this run asks for: memory and time would be lost on it.

        Which versions it pins is looked at by the learner, which knows what it asked for.
        """
        rollout, n_groups, n_updates = (
            self._context.config.rollout,
            len(self._context.groups),
            self._context.clock.n_updates,
        )
        pinned = n_groups if task.kind == "gs" else 1
        for wrong, why in (
            (task.episodes != rollout.episodes_per_task, f"a task has {rollout.episodes_per_task} episodes"),
            (task.index >= rollout.tasks_per_update, f"an update has {rollout.tasks_per_update} tasks"),
            (task.update >= n_updates, f"the run has {n_updates} updates"),
            (task.kind == "ials" and not 0 <= task.group < n_groups, f"the run has {n_groups} groups"),
            (len(task.policy_versions) != pinned, f"pins {len(task.policy_versions)} of {pinned} groups"),
        ):
            if wrong:
                raise BadMessageError(f"{task.task_id}: {why}")

    def _rollout(self, group: int) -> IalsRollout:
        if group not in self._rollouts:
            context = self._context
            episodes = context.config.rollout.episodes_per_task
            self._rollouts[group] = IalsRollout(context.domain, context.groups[group], episodes, context.seed)
        return self._rollouts[group]

    def _actors_of(self, group: int, version: int) -> tuple[int, NDArray[np.float32]]:
        if version < 0:
            version = self._context.store.group_version(group)
        if group not in self._actors or self._actors[group][0] != version:
            members = self._context.groups[group]
            self._actors[group] = (version, members.actors(self._context.weights(members, version)))
            self._metrics.took_version(group, version)
        return self._actors[group]

    def _aips_of(self, group: int, version: int) -> tuple[int, NDArray[np.float32]]:
        if version < 0:
            version = self._context.store.aip_version()
        if group not in self._aips or self._aips[group][0] != version:
            weights = self._context.aips(version).arrays[f"g{group}"]
            self._aips[group] = (version, np.array(weights))
        return self._aips[group]

    def _publish(self, messages: list[Experience]) -> bool:
        """Publish all; False if the worker was stopped before a full queue took them."""
        for message in messages:
            body = encode_experience(message, self._context.largest_reward)
            while True:
                try:
                    self._context.broker.publish(self._context.queues.experience(message.agent), body)
                    break
                except QueueFullError:
                    since = time.monotonic()
                    stopped = self._context.stop.wait(FULL_QUEUE_PAUSE_S)
                    self._metrics.worker_wait.labels("room").inc(time.monotonic() - since)
                    if stopped:
                        return False
        return True


def messages_of(
    task: RolloutTask,
    group: Group,
    episodes: Episodes,
    policy_version: int,
    aip_version: int,
    worker: str,
    origin: Origin,
) -> list[Experience]:
    """What ``worker`` sends for ``task``: one message for each agent; all episodes are truncated."""
    n, made_at = episodes.actions.shape[1], time.time()
    return [
        Experience(
            origin=origin,
            task_id=task.task_id,
            agent=agent,
            update=task.update,
            index=task.index,
            policy_version=policy_version,
            aip_version=aip_version,
            worker=worker,
            made_at=made_at,
            observations=episodes.observations[row],
            actions=episodes.actions[row],
            rewards=episodes.rewards[row],
            log_probs=episodes.log_probs[row],
            terminated=np.zeros(n, dtype=np.uint8),
            truncated=np.ones(n, dtype=np.uint8),
        )
        for row, agent in enumerate(group.agents)
    ]

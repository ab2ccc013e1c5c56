"""What a learner has received and not used yet: one message for each (update, task, agent), however it came.

A message is acknowledged when the commit that used it is made, or at once if it will never be used. A copy
takes the place of the message before it: after a lost connection the broker knows the copy only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dials_async.errors import BadMessageError
from dials_async.groups import Group
from dials_async.messaging.broker import Consumer, Delivery
from dials_async.messaging.schema import (
    Experience,
    ExperienceShape,
    decode_experience,
    task_id,
)
from dials_async.run_context import RunContext
from dials_async.store.participants import UNKNOWN

_Key = tuple[int, int, int]  # update, task index, agent


@dataclass
class Arrivals:
    """How many messages arrived that were not used."""

    copies: int = 0
    """Second copies, and experience of updates that were committed already."""
    dropped: int = 0
    """Older than the policy lag allows."""
    rejected: int = 0
    """Malformed: in the dead letters, with the reason."""

    def plus(self, other: "Arrivals") -> "Arrivals":
        """The sum of both."""
        return Arrivals(
            self.copies + other.copies, self.dropped + other.dropped, self.rejected + other.rejected
        )


class Inbox:
    """The experience of one group that waits for its update."""

    def __init__(self, context: RunContext, group: Group) -> None:
        rollout = context.config.rollout
        self._participants = context.participants
        self._simulation = context.simulation
        self._origin = context.origin(UNKNOWN)
        self._accepted: frozenset[str] = frozenset()
        self._clock = context.clock
        self._kind = "gs" if context.config.run.simulator == "gs" else "ials"
        self._group = group
        self._lag = rollout.max_policy_lag
        self._n_tasks = rollout.tasks_per_update
        self._shape = ExperienceShape(
            rollout.episodes_per_task,
            context.domain.episode_steps,
            group.spec.observation_bytes,
            group.spec.n_actions,
            context.largest_reward,
        )
        label = str(group.index)
        self._too_old, self._copies = (
            context.metrics.dropped.labels(label, reason) for reason in ("too_old", "copy")
        )
        self._steps = rollout.episodes_per_task * context.domain.episode_steps
        self._held: dict[_Key, tuple[Experience, Delivery]] = {}
        self.arrivals = Arrivals()

    def take(self, consumer: Consumer, delivery: Delivery, version: int) -> tuple[int, int] | None:
        """Keep what an update from ``version`` on can use, settle the rest.

        Returns (update, task index) of experience that is too old and has to be asked for again.
        """
        try:
            message = decode_experience(delivery.body, self._shape)
            self._check(message)
        except BadMessageError as error:
            consumer.reject(delivery, str(error))
            self.arrivals.rejected += 1  # once its dead letter is there
            return None
        key = (message.update, message.index, message.agent)
        # Of an update that is committed, or left over by a run that was further on.
        if not version <= message.update <= version + self._lag:
            self._count_copy()
            consumer.ack(delivery)
            return None
        if message.update - message.policy_version > self._lag:
            self.arrivals.dropped += 1
            self._too_old.inc(self._steps)
            consumer.ack(delivery)
            return message.update, message.index
        before = self._held.get(key)
        self._held[key] = (message, delivery)
        if before is not None:
            self._count_copy()
            consumer.ack(before[1])
        return None

    def missing(self, update: int) -> list[int]:
        """Indices of the tasks of ``update`` of which some agent's experience is not here."""
        return [
            index
            for index in range(self._n_tasks)
            if any((update, index, agent) not in self._held for agent in self._group.agents)
        ]

    def batches(self, update: int) -> dict[int, list[Experience]]:
        """Of each agent the experience of ``update``, by task index: the order of arrival does not matter."""
        return {
            agent: [self._held[update, index, agent][0] for index in range(self._n_tasks)]
            for agent in self._group.agents
        }

    def bury(self, consumer: Consumer, update: int, reasons: Mapping[int, str]) -> None:
        """Reject what is here for ``update`` of the agents of ``reasons``, each for its reason."""
        for key in [key for key in self._held if key[0] == update and key[2] in reasons]:
            consumer.reject(self._held.pop(key)[1], reasons[key[2]])
            self.arrivals.rejected += 1

    def settle(self, consumer: Consumer, version: int) -> None:
        """Acknowledge and forget all that was for updates before ``version``, which is committed."""
        for key in [key for key in self._held if key[0] < version]:
            consumer.ack(self._held.pop(key)[1])

    def _count_copy(self) -> None:
        self.arrivals.copies += 1
        self._copies.inc(self._steps)

    def _check(self, message: Experience) -> None:
        if message.origin.numerics not in self._accepted:  # somebody may have joined meanwhile
            self._accepted = self._participants.accepted(self._simulation)
        if difference := message.origin.differs(self._origin, self._accepted):
            raise BadMessageError(f"experience {difference}")
        if message.agent not in self._group.agents or not 0 <= message.index < self._n_tasks:
            raise BadMessageError(
                f"agent {message.agent}, task {message.index}: not of group {self._group.index}"
            )
        expected = task_id(self._kind, self._group.index, message.update, message.index)
        if message.task_id != expected:
            raise BadMessageError(f"task_id '{message.task_id}' of update and task that are {expected}")
        if self._lag == 0:
            self._check_versions(message)

    def _check_versions(self, message: Experience) -> None:
        """At lag 0 a task pins what it is made with: anything else would be other weights, silently."""
        if message.policy_version != message.update:
            raise BadMessageError(
                f"policy_version {message.policy_version} for update {message.update}: equal at lag 0"
            )
        aip_version = self._clock.aip_version(message.update)
        if message.aip_version != aip_version:
            raise BadMessageError(
                f"aip_version {message.aip_version} for update {message.update}: the clock says {aip_version}"
            )

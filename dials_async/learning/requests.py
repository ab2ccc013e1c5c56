"""A learner's requests for experience: rollout tasks, its credits, and asking again for what got lost.

What is in flight is bounded by the tasks that are out: up to ``max_policy_lag`` updates ahead, no more.
"""

from collections.abc import Iterable

from dials_async.errors import QueueFullError
from dials_async.groups import Group
from dials_async.messaging.schema import Origin, RolloutTask, encode_task
from dials_async.part import POLL_S
from dials_async.run_context import RunContext


class Requests:
    """The tasks of one group."""

    def __init__(self, context: RunContext, group: Group) -> None:
        self._context = context
        self._group = group
        self._lag = context.config.rollout.max_policy_lag
        # On the GS one joint episode serves all groups: the gs-sampler asks for it, and asks again.
        self._asks = context.config.run.simulator != "gs"
        self._origin: Origin  # from ``start`` on: who takes part is entered before
        self._out_up_to = -1  # the last update whose tasks were published
        self._renewed: set[tuple[int, int, int]] = set()  # update, task index, version then

    def start(self, version: int, others_asked: bool = False) -> None:
        """Begin anew at ``version``; with ``others_asked`` somebody else published what may be in flight."""
        self._origin = self._context.task_origin()
        self._out_up_to = self._last(version) if others_asked else version - 1

    def publish(self, version: int) -> bool:
        """Publish the tasks that may be in flight at ``version``.

        False, and not all are out, while the AIPs that they pin are missing (the barrier of a refresh).
        """
        while self._out_up_to < self._last(version):
            if not self.aips_are_there(version):
                return False
            update = self._out_up_to + 1
            self._send(update, range(self._context.config.rollout.tasks_per_update))
            self._out_up_to = update
        return True

    def aips_are_there(self, version: int) -> bool:
        """Whether the AIPs exist that experience for ``version`` needs; at lag > 0 the first will do."""
        if not self._asks:
            return True
        needed = self._context.clock.aip_version(version if self._lag == 0 else 0)
        return self._context.store.aip_version() >= needed

    def again(self, version: int, missing: dict[int, list[int]]) -> None:
        """Publish the tasks of ``missing`` (update -> task indices) once more: something of them got lost."""
        for update, indices in missing.items():
            if version <= update <= self._out_up_to:
                self._send(update, indices)

    def renew(self, update: int, index: int, version: int) -> None:
        """Ask once more for a task that came too old: once for the task, not for each of its messages."""
        if (update, index, version) not in self._renewed:
            self._renewed = {request for request in self._renewed if request[2] == version}
            self._renewed.add((update, index, version))
            self._send(update, [index])

    def in_flight(self, version: int) -> range:
        """The updates whose experience is on its way at ``version``."""
        return range(version, self._out_up_to + 1)

    @property
    def are_waiting(self) -> bool:
        """Whether tasks of the run still wait for a worker: then asking again would not help."""
        return self._context.broker.depth(self._context.queues.rollout_tasks) > 0

    def _last(self, version: int) -> int:
        return min(version + self._lag, self._context.clock.n_updates - 1)

    def _send(self, update: int, indices: Iterable[int]) -> None:
        context = self._context
        for index in indices if self._asks else ():
            task = RolloutTask(
                origin=self._origin,
                kind="ials",
                group=self._group.index,
                update=update,
                index=index,
                episodes=context.config.rollout.episodes_per_task,
                policy_versions=(update if self._lag == 0 else -1,),
                aip_version=context.clock.aip_version(update) if self._lag == 0 else -1,
            )
            while not context.stop.is_set():
                try:
                    context.broker.publish(context.queues.rollout_tasks, encode_task(task))
                    break
                except QueueFullError:
                    context.stop.wait(POLL_S)

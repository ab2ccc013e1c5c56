"""The gs-sampler's work where the GS itself is trained on: it asks for joint episodes.

One serves all groups, which therefore move in lock-step.
"""

import time
from threading import Event

from dials_async.errors import QueueFullError
from dials_async.influence.refresher import commit_untrained
from dials_async.messaging.schema import RolloutTask, encode_task
from dials_async.part import POLL_S
from dials_async.run_context import RunContext

#: Seconds without a new version, and with no GS task waiting for a worker, after which joint episodes are
#: asked for again.
ASK_AGAIN_S = 60.0


class JointTasks:
    """Asks for the joint episodes of each update, and asks again (``dials_async.part``)."""

    def __init__(self, context: RunContext, released: Event | None = None) -> None:
        """``released``, once set, ends this one alone: another process has taken over."""
        self._context = context
        self._released = released or Event()
        self.doing = "starting"
        """What it is at, or waits for, in a few words."""

    def run(self) -> None:
        """Serve the run to its last update."""
        context = self._context
        commit_untrained(context)
        store, broker, tasks = context.store, context.broker, context.queues.gs_tasks
        asked, asked_at, reconnects, patience_s = -1, 0.0, broker.reconnects, ASK_AGAIN_S
        while not self._stopped:
            version = min(store.group_version(group.index) for group in context.groups)
            if version >= context.clock.n_updates:
                self.doing = "done"
                return
            self.doing = f"waiting for version {version + 1} of all groups"
            idle = time.monotonic() - asked_at > patience_s and broker.depth(tasks) == 0
            # A group that is ahead, after a restart, drops its copy. A broker that went away lost its tasks.
            if version >= 0 and (version != asked or broker.reconnects != reconnects or idle):
                reconnects = broker.reconnects
                # Learners that wait for the evaluator, say, need nothing: each time it is asked again later.
                patience_s = 2 * patience_s if version == asked else ASK_AGAIN_S
                if self._publish_joint(tasks, version):
                    asked, asked_at = version, time.monotonic()
            store.wait(POLL_S)

    def _publish_joint(self, tasks: str, version: int) -> bool:
        """Ask for the joint episodes of the update from ``version``; False if the queue is full."""
        context = self._context
        for index in range(context.config.rollout.tasks_per_update):
            task = RolloutTask(
                origin=context.task_origin(),
                kind="gs",
                group=-1,
                update=version,
                index=index,
                episodes=context.config.rollout.episodes_per_task,
                policy_versions=(version,) * len(context.groups),
                aip_version=0,
            )
            try:
                context.broker.publish(tasks, encode_task(task))
            except QueueFullError:
                return False
        return True

    @property
    def _stopped(self) -> bool:
        return self._context.stop.is_set() or self._released.is_set()

"""Which part of a run is its gs-sampler: one that keeps AIPs fresh, or one that asks for joint episodes."""

from threading import Event

from dials_async.influence.joint_tasks import JointTasks
from dials_async.influence.refresher import Refresher
from dials_async.part import Part
from dials_async.run_context import RunContext


def gs_sampler(context: RunContext, threads: int, released: Event | None = None) -> Part:
    """The gs-sampler of a run.

    ``threads`` are for a refresh, which everybody waits for; ``released``, once set, ends this sampler alone.
    """
    if context.config.run.simulator == "gs":
        return JointTasks(context, released)
    return Refresher(context, threads, released)

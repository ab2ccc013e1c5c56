"""A part of a run: a loop of its own, on a thread of an embedded run or in a process of a distributed one."""

from typing import Protocol

#: Seconds between looks at the stop signal while a part waits.
POLL_S = 0.1


class Part(Protocol):
    """A learner, rollout worker, sampler or evaluator."""

    doing: str
    """What it is at, or waits for, in a few words."""

    def run(self) -> None:
        """Serve the run: to its end, or until it is told to stop."""
        ...

"""Whether a process is alive, and whether it is ready for work: its /healthz and /readyz.

Told by the process's main thread, asked by the threads of its endpoint.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

#: Seconds without a turn of the main loop, which comes by every second or so, after which it hangs.
HANGS_S = 30.0


class State(NamedTuple):
    """How a process stands that has begun its work."""

    missing: str
    """What keeps it from its work, "" if nothing does."""
    doing: str


class Answer(NamedTuple):
    """To one question."""

    good: bool
    why: str
    """One line."""


class Health:
    """Of one process. It is alive and not ready until it says more."""

    def __init__(self) -> None:
        self._waiting = "starting"
        self._state: Callable[[], State] | None = None
        self._beaten = 0.0  # time.monotonic()

    def waits(self, why: str) -> None:
        """It cannot work yet, or any more, because of ``why``; its main loop does not run."""
        self._waiting, self._state = why, None

    def works(self, state: Callable[[], State]) -> None:
        """It is at work from now on, as ``state`` says at any time, and its main loop beats."""
        self.beat()
        self._state = state

    def beat(self) -> None:
        """The main loop comes by."""
        self._beaten = time.monotonic()

    def ready(self) -> Answer:
        """Whether it has all that it needs; with what it does, or what is missing."""
        missing, doing = self._look()
        return Answer(not missing, missing or doing)

    def alive(self) -> Answer:
        """Whether the main loop runs, or waits for something that is known to be missing."""
        missing, _ = self._look()
        silent_s = time.monotonic() - self._beaten
        if missing:  # a process that waits for a server must not be killed for it
            return Answer(True, missing)
        if silent_s <= HANGS_S:
            return Answer(True, f"the main loop came by {silent_s:.1f} s ago")
        return Answer(False, f"the main loop has not come by for {silent_s:.0f} s")

    def _look(self) -> State:
        state = self._state
        return state() if state is not None else State(self._waiting, "")

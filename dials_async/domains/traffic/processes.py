"""Processes with one SUMO each: started when needed, kept for the next episode, replaced when they crash.

An episode is a pure function of its requests since the reset. So when a process ends in the middle, a new
one is given the same requests again and goes on from there: nothing above notices.
"""

import atexit
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import IO, Any

from dials_async.domains.traffic.installation import find_sumo
from dials_async.domains.traffic.messages import Message, receive_within, send_within
from dials_async.errors import SimulatorError

#: A process that has not answered for so long is stuck: one second of a large jam takes well below a second.
REPLY_TIMEOUT_S = 120.0

#: An episode that ends its process so often will do so always.
MAX_RESTARTS = 3

#: Seconds that a process whose pipe is closed gets to be gone.
EXIT_S = 0.5

#: Seconds between looks whether it is gone.
EXIT_POLL_S = 0.002

#: Last lines of standard error that are repeated in an error.
LAST_LINES = 3

#: Seconds that a process gets to end its SUMO by itself.
CLOSE_S = 5.0


@dataclass(frozen=True)
class Setup:
    """What a process simulates, and through which interface."""

    kind: str
    """"grid" or "rows"."""
    sumo_version: str
    side: int = 0
    """Of a grid."""
    entries: bytes = b""
    """Of "rows": float64 [rows, approaches, 3], as in ``entries``."""
    empty_reward: float = 0.0
    tenth_cell: bool = False
    interface: str = "libsumo"
    gui: bool = False
    address: str = ""


class _EndedError(Exception):
    """The process is gone, or stuck."""


class SimulatorProcess:
    """One simulation in a process of its own."""

    def __init__(self, setup: Setup) -> None:
        """Start it. Raises SimulatorError if SUMO is missing or does not start."""
        self._setup = setup
        self._sumo = find_sumo(setup.sumo_version)
        self._log: list[Mapping[str, Any]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: IO[bytes] | None = None
        self._pending = False
        self.restarts = 0
        """Of the present episode."""
        self._recover(0)

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    def begin(self, request: Mapping[str, Any]) -> Message:
        """Send the request that starts an episode; returns the reply."""
        self._log, self.restarts = [], 0
        return self.call(request)

    def call(self, request: Mapping[str, Any]) -> Message:
        """Send a request, wait for its reply. Raises SimulatorError."""
        self.send(request)
        return self.receive()

    def send(self, request: Mapping[str, Any]) -> None:
        """Send a request; :meth:`receive` must follow."""
        self._log.append(request)
        self._pending = True
        with suppress(_EndedError):  # receive finds out, and recovers
            self._write(request)

    def receive(self) -> Message:
        """The reply to the last request. Raises SimulatorError."""
        try:
            reply = self._read()
        except _EndedError:
            self.restarts += 1
            reply = self._recover(self.restarts)
        self._pending = False
        return reply

    @property
    def is_idle(self) -> bool:
        """Whether no request waits for its reply: only then another episode may begin here."""
        return not self._pending

    def _recover(self, attempt: int) -> Message:
        """A new process, brought to where the old one was; the last reply."""
        while True:
            reason = self._end()
            if attempt > MAX_RESTARTS:
                raise SimulatorError(f"SUMO ended {attempt} times in one episode: {reason}")
            try:
                self._start()
                reply = self._read()  # of the setup
                for request in self._log:
                    self._write(request)
                    reply = self._read()
                return reply
            except _EndedError:
                attempt += 1
                self.restarts = attempt

    def _start(self) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "dials_async.domains.traffic.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=self._sumo.environment(),
            # A group of its own: Ctrl-C is for us, we tell the process; and its SUMO can be ended with it.
            process_group=0,
        )
        assert self._process.stdin is not None
        # It must not block: a process that is stuck takes no requests.
        os.set_blocking(self._process.stdin.fileno(), False)
        self._write(asdict(self._setup))

    def _write(self, request: Mapping[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            send_within(self._process.stdin.fileno(), request, REPLY_TIMEOUT_S)
        except OSError:  # TimeoutError, too
            raise _EndedError from None

    def _read(self) -> Message:
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            reply = receive_within(self._process.stdout.fileno(), REPLY_TIMEOUT_S)
        except TimeoutError:
            raise _EndedError from None
        if reply is None:
            raise _EndedError
        if "error" in reply:
            said = self._end()
            # What libsumo objects to is only on standard error; what we expect is said in the reply.
            raise SimulatorError(f"{reply['error']} ({said})" if reply.get("unexpected") else reply["error"])
        return reply

    def _end(self) -> str:
        """End the process and its SUMO, whatever state they are in; its exit code and last lines."""
        process, stderr = self._process, self._stderr
        if process is None or stderr is None:
            return "not started"
        self._process = self._stderr = None
        _wait_for_exit(process, EXIT_S)  # its own exit code says more than that of our kill
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not sent is lost with the process
                    pipe.close()
        stderr.seek(0)
        lines = stderr.read().decode(errors="replace").strip().splitlines()
        stderr.close()
        return ", ".join([f"exit code {code}", *lines[-LAST_LINES:]])

    def close(self) -> None:
        """Let the process end its SUMO; twice is allowed."""
        if self._process is not None:
            assert self._process.stdin is not None
            with suppress(OSError):
                self._process.stdin.close()
            _wait_for_exit(self._process, CLOSE_S)
            self._end()


def _wait_for_exit(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until the process is gone, at most so long; it stays a zombie, so that its group is its own."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _has_ended(process):
            return
        time.sleep(EXIT_POLL_S)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    if not hasattr(os, "waitid"):  # macOS: it is reaped at once, and its group's number may be another's soon
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


class ProcessPool:
    """Processes that wait for their next episode, by what they simulate."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._idle: dict[Setup, list[SimulatorProcess]] = defaultdict(list)
        self._taken: Counter[Setup] = Counter()

    def take(self, setup: Setup) -> SimulatorProcess:
        """A process of this setup that nobody else has, started if none waits.

        A SUMO at an address serves one at a time: then this waits for its turn.
        """
        with self._changed:
            while setup.address and self._taken[setup] > 0:
                self._changed.wait()
            self._taken[setup] += 1
            if self._idle[setup]:
                return self._idle[setup].pop()
        try:
            return SimulatorProcess(setup)
        except SimulatorError:
            self._count_back(setup)
            raise

    def give_back(self, process: SimulatorProcess, setup: Setup) -> None:
        """Keep a process for its next episode; one in the middle of a request is ended."""
        if process.is_idle:
            with self._changed:
                self._idle[setup].append(process)
        else:
            process.close()
        self._count_back(setup)

    def _count_back(self, setup: Setup) -> None:
        with self._changed:
            self._taken[setup] -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """End all processes that wait."""
        with self._changed:
            waiting = [process for processes in self._idle.values() for process in processes]
            self._idle.clear()
        for process in waiting:
            process.close()


#: All processes of this process; those that wait end with it.
POOL = ProcessPool()
atexit.register(POOL.close)

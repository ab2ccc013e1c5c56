"""The restart wrapper under which every line of the Procfile runs.

honcho ends everything when one process ends and restarts nothing. So each line runs as the child of this
small process, which starts it again when it dies, gives up when that does not help, and takes it along.

One thread and one ``select`` loop: nothing can hang at exit, and the hook between fork and exec is safe.
"""
# ruff: noqa: PLW1509 (hence)

import ctypes
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dials_async.child_output import ChildOutput
from dials_async.errors import UsageError
from dials_async.kin import elders, reap
from dials_async.logs import JSON, Stamp

_PARENT_POLL_S = 0.2
_GROUP_POLL_S = 0.05
_DRAIN_S = 1.0  # how long the last output of a child may take when nobody reads ours
_PARENT_DIED = signal.SIGUSR1  # not SIGTERM: the end of our parent is no "second signal"
#: Ends that somebody else caused: they say nothing about the child.
_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)
_SIGNAL_NAMES = {number.value: number.name for number in signal.Signals}
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
# Only Linux has it. Loaded before any fork: the hook between fork and exec must not take locks.
_prctl: Callable[..., int] = getattr(ctypes.CDLL(None), "prctl", lambda *_: -1)
_Start = Callable[[], subprocess.Popen[bytes]]


@dataclass(frozen=True)
class Limits:
    """How often and how fast a child is started again, and how long it may take to stop.

    honcho kills us 5 s after the first line ended: ``stop_delay_s`` plus ``stop_s`` should stay below.
    """

    max_crashes: int = 5  # quick deaths in a row
    steady_s: float = 10.0  # a child that lived that long was not crashing: the count begins anew
    first_delay_s: float = 0.5  # doubled by every quick death
    longest_delay_s: float = 10.0
    stop_s: float = 4.0  # from SIGTERM to SIGKILL
    max_deaths: int = 5  # within ``window_s``, however long each life was: a slow loop of crashes
    window_s: float = 300.0


def supervise(
    argv: Sequence[str],
    name: str,
    *,
    stop_delay_s: float = 0.0,
    ends_with_child: bool = False,
    is_spared: bool = False,
    environment: Mapping[str, str] | None = None,
    limits: Limits = Limits(),
    orphan_signal: signal.Signals = signal.SIGTERM,
    stamp: Stamp | None = None,
) -> int:
    """Run ``argv`` until it is done, or we are told to stop; the exit code for this process to end with.

    0: done, or stopped by SIGTERM, SIGINT, SIGHUP or the end of our parent. 1: it kept dying. 2: it says that
    it is configured wrongly, or cannot be run at all. Call it from the main thread, as the last thing: the
    signals stay caught, so that none that comes late changes the exit code.

    ``name`` is what our own lines on stderr call it. ``stop_delay_s`` are the seconds from being told to stop
    to passing it on; a second signal cuts them short. With ``ends_with_child`` we return when the child exits
    with 0, otherwise we wait then to be told to stop; with ``is_spared`` also when it cannot work.
    ``environment`` is the child's whole one (None: ours), ``orphan_signal`` what it gets when we are killed.
    With ``stamp`` our lines, and those of the child that are not yet, are stamped with the time.
    """
    if not argv:
        raise UsageError(f"{name}: there is no command to run")
    us = os.getpid()

    def hook() -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, _PARENT_DIED):
            signal.signal(number, signal.SIG_DFL)  # our handlers would swallow what comes before exec
        _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(orphan_signal))
        if os.getppid() != us:  # we were killed before the kernel knew what to do then
            os._exit(1)

    def start() -> subprocess.Popen[bytes]:
        null, pipe = subprocess.DEVNULL, subprocess.PIPE  # in a group of its own it could not read a terminal
        return subprocess.Popen(
            argv, stdin=null, stdout=pipe, stderr=pipe, env=environment, process_group=0, preexec_fn=hook
        )

    supervisor = _Supervisor(start, name, stop_delay_s, limits, stamp)
    supervisor.catch_signals()
    code = supervisor.run(ends_with_child, is_spared)
    supervisor.drain()
    return code


class _Supervisor:
    def __init__(
        self, start: _Start, name: str, stop_delay_s: float, limits: Limits, stamp: Stamp | None
    ) -> None:
        self._start, self._name, self._stop_delay_s, self._limits = start, name, stop_delay_s, limits
        self._out, self._err = self._streams = self._outputs(stamp)
        self._elders = elders()
        self._child: subprocess.Popen[bytes] | None = None
        self._next_look = 0.0  # at the elders, and at what ended
        self._signals = 0
        self._told_at = math.inf

    def _outputs(self, stamp: Stamp | None) -> tuple[ChildOutput, ChildOutput]:
        """Stdout and stderr; results for people stay as they are."""
        return ChildOutput(1, stamp if stamp and stamp.format == JSON else None), ChildOutput(2, stamp)

    def catch_signals(self) -> None:
        """Count those that tell us to stop; they and the end of a child or our parent wake the loop."""
        self._wakeup, end = os.pipe()
        for file in (self._wakeup, end):
            os.set_blocking(file, False)
        signal.set_wakeup_fd(end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, self._tell_to_stop)
        for number in (signal.SIGCHLD, _PARENT_DIED):
            signal.signal(number, lambda *_: None)
        _prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(_PARENT_DIED))
        _prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(1))  # in a container nobody else may reap orphans

    def _tell_to_stop(self, *_: object) -> None:
        self._signals += 1
        self._told_at = min(self._told_at, time.monotonic())

    def run(self, ends_with_child: bool, is_spared: bool) -> int:
        limits, crashes, first_cause, delay_s = self._limits, 0, "", 0.0
        deaths: list[tuple[float, str]] = []  # the recent ones, with their causes
        while self._told_at == math.inf:
            code, lived_s, cause = self._live()
            if code == 0 and not ends_with_child:
                self._wait(math.inf)  # honcho would end the whole run if we returned
            if code == 0 or self._told_at < math.inf:
                break
            if code == 2:
                self._err.say(f"{self._name}: cannot work: {cause.removeprefix('exit code 2: ')}")
                if is_spared:  # the others go on without it
                    self._wait(math.inf)
                return 0 if is_spared else 2
            crashes = 0 if lived_s >= limits.steady_s else crashes + 1
            if crashes <= 1:
                first_cause, delay_s = cause, limits.first_delay_s / 2
            if crashes >= limits.max_crashes:
                self._err.say(f"{self._name}: died {crashes} times in a row, giving up; first: {first_cause}")
                return 1
            now = time.monotonic()
            if code not in _FROM_OUTSIDE:
                deaths.append((now, cause))
            deaths = [death for death in deaths if now - death[0] <= limits.window_s]
            if len(deaths) >= limits.max_deaths:
                self._err.say(
                    f"{self._name}: died {len(deaths)} times within {now - deaths[0][0]:.0f} s, giving up; "
                    f"first: {deaths[0][1]}"
                )
                return 1
            delay_s = min(2 * delay_s, limits.longest_delay_s)
            self._err.say(f"{self._name}: died ({cause}); starting it again in {delay_s:g} s")
            self._wait(time.monotonic() + delay_s)
        return 0

    def _live(self) -> tuple[int, float, str]:
        """One life of the child: its exit code (or minus the signal), its seconds, its cause of death."""
        try:
            self._child = child = self._start()
        except OSError as error:
            # Being short of memory or processes is like a crash; this will not get better:
            hopeless = isinstance(error, (FileNotFoundError, NotADirectoryError, PermissionError))
            return 2 if hopeless else 1, 0.0, f"cannot be started: {error}"
        born = time.monotonic()
        self._out.open(child.stdout)
        self._err.open(child.stderr)
        lived_s = self._attend(child) - born
        self.drain()
        for stream in self._streams:
            stream.close()
        if (code := child.returncode) < 0:
            return code, lived_s, f"killed by {_SIGNAL_NAMES.get(-code, f'signal {-code}')}"
        return code, lived_s, f"exit code {code}: {self._err.last_line()}".removesuffix(": ")

    def _attend(self, child: subprocess.Popen[bytes]) -> float:
        """Pass on its output until the child and all of its group are gone; the time of its death."""
        stop_at = math.inf
        while child.poll() is None and time.monotonic() < stop_at:
            self._turn(stop_at)
            stop_at = self._told_at + (self._stop_delay_s if self._signals < 2 else 0.0)
        kill_at = (died := time.monotonic()) + self._limits.stop_s
        # Also what a dead child leaves behind has to go: it would hold its ports and files.
        _signal_group(child, signal.SIGTERM)
        while (child.poll() is None or _signal_group(child, 0)) and (now := time.monotonic()) < kill_at:
            self._turn(min(now + _GROUP_POLL_S, kill_at))
        if child.poll() is None:
            self._err.say(f"{self._name}: did not stop within {self._limits.stop_s:g} s: killing it")
        _signal_group(child, signal.SIGKILL)
        child.wait()
        return died

    def _wait(self, until: float) -> None:
        while self._told_at == math.inf and time.monotonic() < until:
            self._turn(until)

    def drain(self) -> None:
        """Pass on what is there, and no more: a daemon may hold the pipes of an ended child for ever."""
        deadline = time.monotonic() + _DRAIN_S
        while (now := time.monotonic()) < deadline:
            stuck = any(stream.piece() for stream in self._streams)
            if not self._turn(now + _GROUP_POLL_S if stuck else now) and not stuck:
                break

    def _turn(self, until: float) -> bool:
        """Wait for the first event, at most to ``until``, and handle all; whether anything was read."""
        sources = {file: stream for stream in self._streams for file in stream.wants()}
        targets = [stream.target for stream in self._streams if stream.piece()]
        wait_s = max(0.0, min(until, self._next_look) - time.monotonic())
        ready = select.select([self._wakeup, *sources], targets, [], wait_s)[0]
        for file in sources.keys() & ready:
            sources[file].read(file)
        for stream in self._streams:
            stream.write()
        if self._wakeup in ready:
            os.read(self._wakeup, 4096)
            self._next_look = 0.0
        if (now := time.monotonic()) >= self._next_look:
            self._next_look = now + _PARENT_POLL_S
            reap(self._child)
            if elders() != self._elders:
                self._told_at = min(self._told_at, now)
        return not sources.keys().isdisjoint(ready)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> bool:
    """Send ``number`` (0: nothing) to all of the child's group; whether there is anybody."""
    try:
        os.killpg(child.pid, number)
    except OSError:
        child.send_signal(number)  # does nothing if it ended; it may have left its group
        return False
    return True

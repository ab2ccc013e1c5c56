"""Who is who among the processes of a run under honcho, found in /proc: no server is asked."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from dials_async.distributed.honcho import Honcho
from dials_async.servers.private import listener

from .schedule import SERVERS, SUMO

#: Seconds over which a process must have used half of a core to be at work, and that a victim gets for it.
_LOOK_S, _WAIT_S = 0.05, 3.0

_GONE = (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess)


def of_folder(folder: Path) -> Iterator[psutil.Process]:
    """All processes that were started for this folder, servers and all; not this one."""
    for process in psutil.process_iter():
        with suppress(*_GONE):
            # Redis has nothing of it in its environment, and writes over its command line.
            said = [*process.environ().values(), *process.cmdline(), process.cwd()]
            if process.pid != os.getpid() and any(str(folder) in text for text in said):
                yield process


def find(honcho: Honcho, name: str) -> psutil.Process | None:
    """The process that honcho calls ``name``, not its wrapper; one of SUMO's; None if it is not there now."""
    if name in SERVERS:
        pid = listener(honcho.server(name).port)
        with suppress(*_GONE):
            return psutil.Process(pid) if pid is not None else None
        return None
    for process in of_folder(honcho.folder):
        with suppress(*_GONE):
            words = process.cmdline()
            if name == SUMO and "dials_async.domains.traffic.child" in words:
                return process
            if process.environ().get("HONCHO_PROCESS_NAME") == name and is_worker(words):
                return process
    return None


def is_worker(words: list[str]) -> bool:
    """Whether this command line is that of ``dials worker``, not of its wrapper or of a child of it."""
    return "worker" in words and "supervise" not in words and "-c" not in words


def await_work(process: psutil.Process) -> None:
    """Until it is computing, for a while at most: a kill of who waits proves less."""
    deadline = time.monotonic() + _WAIT_S
    with suppress(*_GONE):
        while time.monotonic() < deadline:
            before = sum(process.cpu_times()[:2])
            time.sleep(_LOOK_S)
            if sum(process.cpu_times()[:2]) - before >= _LOOK_S / 2:
                return

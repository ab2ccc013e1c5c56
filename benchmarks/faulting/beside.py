"""Processes beside those of honcho that have no business in its run: it must not notice them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event

import psutil

import dials_async
from dials_async.addresses import AMQP_VARIABLE, REDIS_VARIABLE
from dials_async.cache import CACHE_VARIABLE
from dials_async.config import Config
from dials_async.distributed.connection import connect
from dials_async.distributed.create import create, forget
from dials_async.distributed.honcho import Honcho
from dials_async.influence.refresher import Refresher
from dials_async.store.redis.runs import RunRegistry

from .victims import await_work

#: Of the runs beside: another seed than that of any run under fire, and no end.
OTHER_SEED, OTHER_STEPS = 1_000_003, 1_000_000_000

#: The run of another name.
OTHER_NAME = "other"

#: An edit of one kernel: another order of the same operations, so the last bit of some tanh.
EDITED = "kernels/functions.py"
BEFORE, AFTER = b"fdiv(builder.fmul(x, above), below)", b"fmul(x, builder.fdiv(above, below))"


class EndedBadlyError(Exception):
    """A process beside did not end as it has to."""


class Beside:
    """Starts, freezes and ends such processes; a context manager that leaves none."""

    def __init__(
        self, honcho: Honcho, config: Config, cache: Path, copy: Path | None, patience_s: float
    ) -> None:
        """``copy``: of the package, with the edit; ``config``: of the run that is disturbed."""
        self._honcho = honcho
        run = replace(config.run, simulator="untrained", steps=OTHER_STEPS, seed=OTHER_SEED)
        self._config = replace(config, run=run)
        self._copy = copy
        self._patience_s = patience_s
        self._log = honcho.folder / "beside.log"
        self._redis_url = honcho.server("redis").url
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DIALS_")},
            "DIALS_RUNS": str(honcho.folder / "beside"),
            "DIALS_RUN": honcho.run,
            CACHE_VARIABLE: str(cache),
            AMQP_VARIABLE: honcho.server("rabbitmq").url,
            REDIS_VARIABLE: self._redis_url,
        }
        self._all: list[subprocess.Popen[bytes]] = []
        self._stale: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Beside":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._all:
            process.kill()
            process.wait()

    def prepare(self, stale: int, others: bool) -> None:
        """While the servers run, before honcho: other runs, and workers left over from a forgotten one."""
        if others:
            self._make({"DIALS_RUN": OTHER_NAME})
            self._make(self._other_database)
        if not stale:
            return
        self._make({})
        learner = self.start("worker", "learner", "--name", "learner.1")
        self._stale = [self.start("worker", "rollout", "--name", f"rollout.{k + 1}") for k in range(stale)]
        self._await_tasks(stale)
        for process in self._stale:
            await_work(psutil.Process(process.pid))
            process.send_signal(signal.SIGSTOP)
        learner.kill()
        learner.wait()
        with _variables(self._environment):
            forget(self._honcho.run)

    def _make(self, place: dict[str, str]) -> None:
        """A run with AIPs that are never trained, for its processes to begin at once."""
        environment = {**self._environment, **place}
        with _variables(environment):
            name = environment["DIALS_RUN"]
            create(name, self._config)
            connection = connect(name, Event())
            Refresher(connection.context, threads=1).run()
            connection.close()

    def _await_tasks(self, workers: int) -> None:
        """Until so many rollout workers have done a task."""
        registry = RunRegistry(self._redis_url)
        deadline = time.monotonic() + self._patience_s
        while True:
            facts = [presence.facts for presence in registry.processes(self._honcho.run).values()]
            if sum(fact.get("tasks_done", 0) > 0 for fact in facts) >= workers:
                break
            if time.monotonic() > deadline:
                raise EndedBadlyError(f"workers do not begin: see {self._log}")
            time.sleep(0.1)
        registry.close()

    def wake_stale(self) -> Callable[[], str] | None:
        """Let a worker of an earlier life go on; None if there is none left."""
        if not self._stale:
            return None
        process = self._stale.pop()
        process.send_signal(signal.SIGCONT)
        return lambda: self._ended(process, 1)

    def other_run(self, name: str) -> Callable[[], str]:
        """A learner and a worker of another run of the same servers, until the undoing."""
        where = {"DIALS_RUN": OTHER_NAME} if name == "other name" else self._other_database
        processes = [
            self.start("worker", kind, "--name", f"{kind}.1", "--wait", "600", **where)
            for kind in ("learner", "rollout")
        ]

        def undo() -> str:
            for process in processes:
                process.kill()
                process.wait()
            return "killed"

        return undo

    def other_arithmetic(self) -> Callable[[], str]:
        """A worker whose kernel was edited wants to join."""
        assert self._copy is not None
        words = ("worker", "rollout", "--name", "rollout.1", "--wait", "600")
        process = self.start(*words, PYTHONPATH=str(self._copy))
        return lambda: self._ended(process, 2)

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """``dials`` with these words."""
        folder = environment.get("PYTHONPATH", ".")  # the working directory comes first on Python's path
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dials_async", *words],
                cwd=folder,
                env={**self._environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._all.append(process)
        return process

    @property
    def _other_database(self) -> dict[str, str]:
        return {
            REDIS_VARIABLE: f"{self._redis_url.removesuffix('/0')}/1",
        }

    def _ended(self, process: subprocess.Popen[bytes], wanted: int) -> str:
        """How it ended; raises EndedBadlyError unless with the exit code ``wanted``."""
        deadline = time.monotonic() + self._patience_s
        while process.poll() is None and self._honcho.is_running():
            if time.monotonic() > deadline:
                raise EndedBadlyError(f"a process beside (pid {process.pid}) does not end: see {self._log}")
            time.sleep(0.05)
        if process.poll() is None:
            process.kill()
            process.wait()
            return "killed: the run was over"
        if process.returncode != wanted and self._honcho.is_running():
            raise EndedBadlyError(
                f"a process beside (pid {process.pid}) ended with {process.returncode}, not {wanted}: "
                f"see {self._log}"
            )
        return f"left with {process.returncode}"


@contextmanager
def _variables(environment: Mapping[str, str]) -> Iterator[None]:
    """Set in the environment of this process for as long as the block lasts."""
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def edited_copy(preset: Path, cache: Path) -> Path:
    """A copy of the package with one edited kernel, its kernels compiled; the folder for PYTHONPATH.

    It is kept in ``cache``: Numba knows kernels by the place of their source.
    """
    folder = cache / "edited"
    package = Path(dials_async.__file__).parent
    for source in package.rglob("*"):
        if source.is_file() and source.suffix != ".pyc":
            content = source.read_bytes()
            if source == package / EDITED:
                assert BEFORE in content
                content = content.replace(BEFORE, AFTER)
            target = folder / source.relative_to(package.parent)
            if not target.exists() or target.read_bytes() != content:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
    subprocess.run(
        [sys.executable, "-m", "dials_async", "warmup", str(preset)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), CACHE_VARIABLE: str(cache)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return folder

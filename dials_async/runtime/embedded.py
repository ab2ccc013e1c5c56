"""The embedded default: a whole run in one process, learners, workers, sampler and evaluator on threads.

No server is needed: MemoryBroker and MemoryStore stand in for RabbitMQ and Redis. Kernels release the GIL,
so threads use all cores. Everything that a distributed run does happens here too, through the same ports.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dials_async.config import Config
from dials_async.errors import DialsError, TrainingError, in_one_line
from dials_async.evaluation.evaluator import Evaluator
from dials_async.influence.sampler import gs_sampler
from dials_async.learning.learner import GroupLearner
from dials_async.messaging.memory import MemoryBroker
from dials_async.metrics.instruments import Metrics
from dials_async.metrics.phases import Busy
from dials_async.part import Part
from dials_async.rollout.worker import RolloutWorker
from dials_async.runtime.files import RunFiles, restore_checkpoint
from dials_async.runtime.live import FAILED, STOPPED, Look
from dials_async.runtime.machine import cores, memory_mib
from dials_async.runtime.run_state import run_state
from dials_async.runtime.wiring import (
    committed_steps,
    declare_queues,
    fingerprint_of,
    is_complete,
    keep_rules,
    make_context,
)
from dials_async.store.memory import MemoryStore

#: Seconds between looks at the threads, and between calls of ``watch``.
WATCH_S = 0.2

#: Seconds that a thread gets to finish what it is doing when the run is stopped.
STOP_S = 120.0


@dataclass
class _Thread:
    """One part of the run on its thread."""

    name: str
    role: str
    part: Part
    ends: bool
    """Ends by itself when the run is done; the others serve until they are stopped."""
    thread: threading.Thread | None = None


class EmbeddedRun:
    """A run in this process: ``start``, then ``wait``; ``stop`` at any time."""

    def __init__(
        self, name: str, config: Config, folder: Path, resume: bool, metrics: Metrics | None = None
    ) -> None:
        """Prepare; raises ConfigError, SimulatorError or, on resume, CheckpointError."""
        store = MemoryStore(keep_rules(config))
        self.notes: list[str] = []
        """What the user should know about a resume."""
        self.context = make_context(name, config, MemoryBroker(), store, metrics)
        self.context.domain.check()
        if resume:
            self.notes += restore_checkpoint(store, folder, fingerprint_of(config))
            self._go_on_counting()
        self.files = RunFiles(self.context, folder, self._look)
        self.start_steps = min(self.steps_by_group().values(), default=0)
        self._failure: BaseException | None = None
        self._failed_in = ""
        declare_queues(self.context)
        self.learners = [GroupLearner(self.context, group) for group in self.context.groups]
        self._threads = self._make_threads()

    def _go_on_counting(self) -> None:
        sessions = self.context.store.records("sessions")
        if sessions:
            self.context.seconds_before = float(sessions[-1]["seconds"])
            self.context.phases.add(Busy(sessions[-1]["phases"], sessions[-1].get("cpu_phases", {})))

    def _make_threads(self) -> list[_Thread]:
        context = self.context
        learners = [_Thread(f"learner-{k}", "learner", x, ends=True) for k, x in enumerate(self.learners)]
        workers = [
            _Thread(f"worker-{k}", "rollout", RolloutWorker(context, f"worker-{k}"), ends=False)
            for k in range(context.config.runtime.workers)
        ]
        return [
            *learners,
            *workers,
            # The AIPs are trained while everybody waits for them: all cores are free.
            _Thread("gs-sampler", "gs-sampler", gs_sampler(context, threads=cores()), ends=True),
            _Thread("evaluator", "evaluator", Evaluator(context, threads=cores()), ends=True),
        ]

    def _look(self) -> Look:
        """How the run is doing, its threads in place of processes; memory is that of all of them."""
        facts = {group.index: x.facts() for group, x in zip(self.context.groups, self.learners, strict=True)}
        processes: list[dict[str, Any]] = [
            {
                "name": one.name,
                "role": one.role,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "doing": one.part.doing,
                "busy_with": [],
                "memory_mib": None,
                "age_s": 0.0,
            }
            for one in self._threads
            if one.thread is not None and one.thread.is_alive()
        ]
        if processes:
            processes[0] |= {
                "busy_with": sorted(self.context.phases.busy_with()),
                "memory_mib": memory_mib(),
            }
        return Look(run_state(self.context, facts), processes, [])

    @property
    def has_begun(self) -> bool:
        """Whether any group has committed its version 0."""
        return any(self.context.store.group_version(group.index) >= 0 for group in self.context.groups)

    def steps_by_group(self) -> dict[int, int]:
        """Committed steps per agent of each group."""
        return {group.index: steps for group, steps in committed_steps(self.context).items()}

    def start(self) -> None:
        """Start all threads."""
        self.context.started = time.monotonic()
        for one in self._threads:
            one.thread = threading.Thread(target=self._guarded, args=(one,), name=one.name, daemon=True)
            one.thread.start()

    def _guarded(self, one: _Thread) -> None:
        try:
            one.part.run()
        except BaseException as error:
            if self._failure is None and not self.context.stop.is_set():
                self._failure, self._failed_in = error, one.name
            self.context.stop.set()

    def wait(self, watch: Callable[[], None]) -> bool:
        """Wait for the end, keeping the run's files up to date; ``watch`` is called several times a second.

        Returns whether the run is complete (False: it was stopped). Raises the first failure of a thread.
        """
        try:
            while any(one.thread and one.thread.is_alive() for one in self._threads if one.ends):
                watch()
                if self.context.stop.wait(WATCH_S):
                    break
                self.files.update()
        except Exception:  # a full disk, say: no thread goes on behind the error
            self._halt()
            raise
        self.stop()
        watch()
        if self._failure is not None:
            self.files.live.write(FAILED)
            self._raise_failure(self._failure)
        self.files.live.write(STOPPED)  # until its report is written, if it is complete
        return is_complete(self.context)

    def _raise_failure(self, failure: BaseException) -> None:
        if isinstance(failure, DialsError):
            raise failure
        raise TrainingError(f"{self._failed_in} failed: {in_one_line(failure)}") from failure

    def stop(self) -> None:
        """Let every thread finish the kernel it is in, and save."""
        self._halt()
        self.files.save_checkpoint()
        self.files.write_tables()

    def _halt(self) -> None:
        self.context.stop.set()
        deadline = time.monotonic() + STOP_S
        for one in self._threads:
            if one.thread is not None:
                one.thread.join(max(0.0, deadline - time.monotonic()))

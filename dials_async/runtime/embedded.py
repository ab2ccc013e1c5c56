"""The embedded default: a whole run in one process, learners, workers, sampler and evaluator on threads.

No server is needed: MemoryBroker and MemoryStore stand in for RabbitMQ and Redis. Kernels release the GIL,
so threads use all cores. Everything that a distributed run does happens here too, through the same ports.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dials_async.config import Config
from dials_async.domains.registry import make_domain
from dials_async.errors import ConfigError, DialsError, TrainingError
from dials_async.evaluation.evaluator import Evaluator
from dials_async.groups import make_groups
from dials_async.influence.sampler import GsSampler
from dials_async.influence.schedule import make_clock
from dials_async.learning.learner import GroupLearner
from dials_async.learning.settings import HEALTH
from dials_async.messaging.broker import experience, gs_tasks, rollout_tasks
from dials_async.messaging.memory import MemoryBroker
from dials_async.rollout.worker import RolloutWorker
from dials_async.run_context import RunContext
from dials_async.runtime.folder import CHECKPOINTS
from dials_async.store.base import KeepRules
from dials_async.store.checkpoint import load_checkpoint, save_checkpoint
from dials_async.store.memory import MemoryStore

#: AIP versions kept: the evaluator may be this many refreshes behind.
KEPT_AIPS = 8

#: Seconds between looks at the threads, and between calls of ``watch``.
WATCH_S = 0.2

#: Seconds that a thread gets to finish what it is doing when the run is stopped.
STOP_S = 120.0


@dataclass
class _Part:
    """One object of the run on its thread."""

    name: str
    run: Callable[[], None]
    ends: bool
    """Ends by itself when the run is done; the others serve until they are stopped."""
    thread: threading.Thread | None = None


class EmbeddedRun:
    """A run in this process: ``start``, then ``wait``; ``stop`` at any time."""

    def __init__(self, name: str, config: Config, folder: Path, resume: bool) -> None:
        """Prepare; raises ConfigError or, on resume, CheckpointError."""
        domain = make_domain(config.domain)
        if config.run.simulator == "gs" and config.rollout.max_policy_lag:
            raise ConfigError(
                "rollout.max_policy_lag must be 0 with the simulator 'gs': its groups move in lock-step"
            )
        groups = make_groups(config, domain)
        clock = make_clock(config, domain)
        store = MemoryStore(KeepRules((clock.refresh_steps, clock.eval_steps), keep_last_aips=KEPT_AIPS))
        self._folder = folder
        self._fingerprint = config.fingerprint()
        self.notes: list[str] = []
        """What the user should know about a resume."""
        self.context = RunContext(name, config, domain, groups, clock, MemoryBroker(), store)
        if resume:
            self._restore(store)
        self.start_steps = min(self.steps_by_group().values(), default=0)
        self._failure: BaseException | None = None
        self._failed_in = ""
        self._declare_queues()
        self.learners = [GroupLearner(self.context, group) for group in groups]
        self._parts = self._make_parts()

    def _restore(self, store: MemoryStore) -> None:
        loaded = load_checkpoint(self._folder / CHECKPOINTS, self._fingerprint)
        store.restore(loaded.snapshot)
        self.notes += loaded.warnings
        sessions = store.records("sessions")
        if sessions:
            self.context.seconds_before = float(sessions[-1]["seconds"])
            self.context.phases.add(sessions[-1]["phases"])

    def _declare_queues(self) -> None:
        context, rollout = self.context, self.context.config.rollout
        tasks = (rollout.max_policy_lag + 1) * rollout.tasks_per_update
        # Credits bound what is in flight; twice that leaves room for tasks that are asked for again.
        context.broker.declare(rollout_tasks(context.name), 2 * tasks * len(context.groups) + 16)
        context.broker.declare(gs_tasks(context.name), 2 * tasks + 16)
        for agent in range(context.domain.n_agents):
            context.broker.declare(experience(context.name, agent), 2 * tasks + 16)

    def _make_parts(self) -> list[_Part]:
        context = self.context
        parts = [_Part(f"learner-{k}", learner.run, ends=True) for k, learner in enumerate(self.learners)]
        parts += [
            _Part(f"worker-{k}", RolloutWorker(context, f"worker-{k}").run, ends=False)
            for k in range(context.config.runtime.workers)
        ]
        # The AIPs are trained while everybody waits for them: all cores are free.
        parts.append(_Part("gs-sampler", GsSampler(context, threads=_cores()).run, ends=True))
        parts.append(_Part("evaluator", Evaluator(context).run, ends=True))
        return parts

    def steps_by_group(self) -> dict[int, int]:
        """Committed steps per agent of each group."""
        states = {group.index: self.context.store.latest_group(group.index) for group in self.context.groups}
        return {index: state.steps_per_agent if state else 0 for index, state in states.items()}

    def learning(self) -> dict[str, Any]:
        """How learning went in this session: lag of the experience used, what was dropped, health of PPO."""
        lags: Counter[int] = Counter()
        for learner in self.learners:
            lags.update(learner.lag_counts)
        health = np.concatenate([learner.health for learner in self.learners]).mean(axis=0)
        return {
            "policy_lag_messages": {str(lag): count for lag, count in sorted(lags.items())},
            "messages_dropped": sum(learner.dropped for learner in self.learners),
            "last_update": {name: round(float(x), 6) for name, x in zip(HEALTH, health, strict=True)},
        }

    def start(self) -> None:
        """Start all threads."""
        self.context.started = time.monotonic()
        for part in self._parts:
            part.thread = threading.Thread(target=self._guarded, args=(part,), name=part.name, daemon=True)
            part.thread.start()

    def _guarded(self, part: _Part) -> None:
        try:
            part.run()
        except BaseException as error:
            if self._failure is None and not self.context.stop.is_set():
                self._failure, self._failed_in = error, part.name
            self.context.stop.set()

    def wait(self, watch: Callable[[], None]) -> bool:
        """Wait for the end, saving checkpoints on the way; ``watch`` is called several times a second.

        Returns whether the run is complete (False: it was stopped). Raises the first failure of a thread.
        """
        context = self.context
        next_save = time.monotonic() + context.config.runtime.checkpoint_seconds
        try:
            while any(part.thread and part.thread.is_alive() for part in self._parts if part.ends):
                watch()
                if context.stop.wait(WATCH_S):
                    break
                if time.monotonic() >= next_save:
                    self.save()
                    next_save = time.monotonic() + context.config.runtime.checkpoint_seconds
        except Exception:  # a full disk, say: no thread goes on behind the error
            self._halt()
            raise
        self.stop()
        watch()
        if self._failure is not None:
            self._raise_failure(self._failure)
        total = context.clock.total_steps
        evaluated = any(r["final"] and r["steps"] == total for r in context.store.records("evaluations"))
        return evaluated and all(steps == total for steps in self.steps_by_group().values())

    def _raise_failure(self, failure: BaseException) -> None:
        if isinstance(failure, DialsError):
            raise failure
        raise TrainingError(f"{self._failed_in} failed: {type(failure).__name__}: {failure}") from failure

    def stop(self) -> None:
        """Let every thread finish the kernel it is in, and save."""
        self._halt()
        self.save()

    def _halt(self) -> None:
        self.context.stop.set()
        deadline = time.monotonic() + STOP_S
        for part in self._parts:
            if part.thread is not None:
                part.thread.join(max(0.0, deadline - time.monotonic()))
        self.context.broker.close()

    def save(self) -> None:
        """Write a checkpoint."""
        context = self.context
        if context.store.aip_version() < 0:
            return  # nothing was committed yet
        context.store.append_record(
            "sessions",
            {
                "id": f"{context.seconds():.3f}",
                "seconds": round(context.seconds(), 3),
                "phases": {phase: round(value, 3) for phase, value in context.phases.seconds().items()},
            },
        )
        save_checkpoint(self._folder / CHECKPOINTS, context.store.snapshot(), self._fingerprint)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""The evaluator: at every E steps measures a pinned joint version on the GS, beside training.

It reads the store and writes records; it never changes training.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

import numpy as np
from numpy.typing import NDArray

from dials_async.clock import EVALUATION
from dials_async.errors import VersionGoneError
from dials_async.evaluation.baselines import baseline
from dials_async.evaluation.evaluate import evaluate_both
from dials_async.kernels.ordered import mean
from dials_async.part import POLL_S
from dials_async.run_context import RunContext
from dials_async.store.base import AipState

#: Seconds between looks at which versions are still to be evaluated.
LOOK_S = 1.0


class Evaluator:
    """Writes the records "baselines" and "evaluations" of a run."""

    def __init__(self, context: RunContext, threads: int, released: Event | None = None) -> None:
        """``released``, once set, ends this evaluator alone: another process has taken over."""
        self._context = context
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="evaluate")
        self._released = released or Event()
        self._known_baselines: set[str] | None = None
        self._gone: set[int] = set()  # versions that nobody has any more
        self.doing = "starting"
        """What it is at, or waits for, in a few words."""

    def run(self) -> None:
        """Evaluate the versions of the clock: on the way, and on many more episodes the last one."""
        with self._pool:
            self._run()

    def _run(self) -> None:
        context, last = self._context, self._context.clock.n_updates
        self._release_all_but(set(self._left()))
        # Looked up again and again: a store that was put back may have forgotten evaluations.
        while not self._stopped and (left := self._left()):
            version = left[0]
            if not self._wait_for(version):
                continue
            self.doing = f"evaluating version {version}"
            try:
                weights = [context.weights(group, version) for group in context.groups]
            except VersionGoneError:  # an extended run left it behind under another E
                self._gone.add(version)
                self._release(version)
                continue
            episodes = context.config.schedule.eval_episodes
            if version == last:
                episodes = context.config.schedule.final_eval_episodes
                while self._measure_a_baseline():
                    pass
            self._evaluate(version, weights, episodes)
            self._release(version)
        if not self._stopped:
            self.doing = "done"

    def _left(self) -> list[int]:
        """Versions that are still to be evaluated, in order."""
        records, last = self._context.store.records("evaluations"), self._context.clock.n_updates
        # An extended run may have evaluated what is its last version now as one on the way.
        done = {record["version"] for record in records if record["final"] or record["version"] != last}
        return [v for v in self._context.clock.evaluations() if v not in done and v not in self._gone]

    def _release(self, version: int) -> None:
        """Let the store forget ``version``: it is evaluated."""
        for group in self._context.groups:
            self._context.store.release(group.index, version, EVALUATION)

    def _release_all_but(self, waiting: set[int]) -> None:
        """What an evaluator before left behind: it was killed, or the run was shorter then."""
        for group in self._context.groups:
            for version in set(self._context.store.held(group.index, EVALUATION)) - waiting:
                self._context.store.release(group.index, version, EVALUATION)

    @property
    def _stopped(self) -> bool:
        return self._context.stop.is_set() or self._released.is_set()

    def _wait_for(self, version: int) -> bool:
        """Wait until every group has ``version`` and there are AIPs; False if not within LOOK_S, or stopped.

        Baselines are measured meanwhile: an evaluation that waits for long would make the learners wait. The
        curve's first point comes before them.
        """
        store, groups, deadline = self._context.store, self._context.groups, time.monotonic() + LOOK_S
        while not self._stopped and time.monotonic() < deadline:
            if min(store.group_version(g.index) for g in groups) >= version and store.aip_version() >= 0:
                return True
            if not (version and self._measure_a_baseline()):
                self.doing = f"waiting for version {version}"
                store.wait(POLL_S)
        return False

    def _measure_a_baseline(self) -> bool:
        """Measure one of the domain's scripted policies; False if none is left, or if stopped."""
        context = self._context
        if self._known_baselines is None:
            self._known_baselines = {record["id"] for record in context.store.records("baselines")}
        left = [name for name in context.domain.baselines if name not in self._known_baselines]
        if not left or self._stopped:
            return False
        name, episodes = left[0], context.config.schedule.final_eval_episodes
        self.doing = f"measuring the baseline '{name}'"
        with context.phases("evaluate"):
            found = baseline(
                context.domain,
                context.config.domain,
                name,
                episodes,
                context.phases.on(self._pool, "evaluate"),
            )
        if found.measured:
            self._count(episodes)
        record = {"id": name, "mean": found.mean, "se": found.standard_error, "episodes": episodes}
        context.store.append_record("baselines", record)
        self._known_baselines.add(name)
        return True

    def _evaluate(self, version: int, weights: list[NDArray[np.float32]], episodes: int) -> None:
        context, store, last = self._context, self._context.store, self._context.clock.n_updates
        aips, aip_version = None, None
        if context.config.run.simulator != "gs":
            state = self._aips_behind(version)
            aip_version = state.version
            aips = [state.arrays[f"g{group.index}"] for group in context.groups]
        with context.phases("evaluate"):
            arguments = (context.domain, context.groups, weights, episodes, context.seed, version)
            sampled, greedy, ce = evaluate_both(*arguments, aips, self._pool, context.phases)
        self._count(2 * episodes)
        store.append_record(
            "evaluations",
            {
                "id": f"v{version}" + ("-final" if version == last else ""),
                "version": version,
                "steps": context.clock.steps(version),
                "seconds": self._committed_at(version),
                "final": version == last,
                "episodes": episodes,
                "return_mean": sampled.mean,
                "return_se": sampled.standard_error,
                "greedy_return_mean": greedy.mean,
                "greedy_return_se": greedy.standard_error,
                "influence_ce_mean": None if ce is None else mean(ce),
                "influence_ce_min": None if ce is None else float(ce.min()),
                "influence_ce_max": None if ce is None else float(ce.max()),
                "aip_version": aip_version,
                "influence_ce_per_agent": None if ce is None else [round(float(value), 4) for value in ce],
                "return_per_agent": [round(float(value), 4) for value in sampled.per_agent],
            },
        )

    def _aips_behind(self, version: int) -> AipState:
        """The AIPs that ``version`` was trained with; the newest where that is not known, or they are gone.

        At policy lag > 0 rollouts use whatever is newest, and an evaluator may have fallen far behind.
        """
        context = self._context
        if context.clock.refreshes_are_pinned:
            with suppress(VersionGoneError):
                return context.aips(context.clock.aip_version_behind(version))
        return context.aips()

    def _count(self, episodes: int) -> None:
        domain = self._context.domain
        steps = domain.n_agents * episodes * domain.episode_steps
        self._context.metrics.simulated.labels("gs", "evaluate").inc(steps)

    def _committed_at(self, version: int) -> float:
        """Seconds into the run when the last group committed ``version``."""
        times = {record["id"]: float(record["seconds"]) for record in self._context.store.records("commits")}
        ids = [f"g{group.index}/v{version}" for group in self._context.groups]
        # A learner that was killed right after its commit left no note of it.
        return max((times[key] for key in ids if key in times), default=round(self._context.seconds(), 3))

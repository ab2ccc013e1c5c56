"""The gs-sampler's work: every F steps run the GS under the joint policy of that moment and train the AIPs.

Lines 3 to 6 of Algorithm 1.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Event

import numpy as np
from numpy.typing import NDArray

from dials_async.clock import REFRESH
from dials_async.errors import VersionConflictError, VersionGoneError
from dials_async.influence.training import AipResult, train_aip
from dials_async.kernels.ordered import mean
from dials_async.kernels.rng import seed64
from dials_async.part import POLL_S
from dials_async.rollout.joint import JointEpisodes, run_joint
from dials_async.run_context import RunContext
from dials_async.store.base import AipState


class Refresher:
    """Keeps the AIPs of a run fresh until its last refresh, or until told to stop (``dials_async.part``)."""

    def __init__(self, context: RunContext, threads: int, released: Event | None = None) -> None:
        """``released``, once set, ends this sampler alone: another process has taken over."""
        self._context = context
        self._threads = threads
        self._released = released or Event()
        self.doing = "starting"
        """What it is at, or waits for, in a few words."""

    def run(self) -> None:
        """Serve the run to its last refresh."""
        store = self._context.store
        commit_untrained(self._context)
        self._release_used()  # in case the sampler before was killed before it did
        with ThreadPoolExecutor(self._threads, thread_name_prefix="refresh") as pool:
            # The store says how far it is, also after a restart.
            while not self._stopped:
                made = store.aip_version()
                done = self._refreshes_done(made)
                if done >= self._context.clock.n_refreshes:
                    self.doing = "done"
                    return
                versions = self._wait_for_versions(self._context.clock.refresh_version(done))
                if versions is None:
                    return
                try:
                    if not self._refresh(made, versions, pool):
                        return
                except VersionConflictError:  # another sampler was faster; or the store was restored
                    continue
                except VersionGoneError:  # learners went on meanwhile: take what is newest now
                    if self._context.clock.refreshes_are_pinned:
                        raise

    @property
    def _stopped(self) -> bool:
        return self._context.stop.is_set() or self._released.is_set()

    def _refreshes_done(self, made: int) -> int:
        """How many refreshes of the clock the AIPs of version ``made`` answer.

        At lag 0 AIP version m is what refresh m - 1 made. Else a sampler that is late takes the newest
        policies, which answers all refreshes up to there: those that have not begun are not made up for.
        """
        clock = self._context.clock
        if made <= 0 or clock.refreshes_are_pinned:
            return max(made, 0)
        return clock.refreshes_due(self._context.store.aip(made).steps_per_agent)

    def _release_used(self) -> None:
        """Let the store forget the versions whose refresh is made."""
        context, newest = self._context, self._context.store.aip_version()
        for group in context.groups:
            for version in context.store.held(group.index, REFRESH):
                if newest >= context.clock.aip_version(version):
                    context.store.release(group.index, version, REFRESH)

    def _wait_for_versions(self, version: int) -> list[int] | None:
        """Wait until every group has ``version``; at lag > 0 take what is newest then. None if stopped."""
        context = self._context
        self.doing = f"waiting for version {version} of all groups"
        while not self._stopped:
            newest = [context.store.group_version(group.index) for group in context.groups]
            if min(newest) >= version:
                return [version] * len(newest) if context.clock.refreshes_are_pinned else newest
            context.store.wait(POLL_S)
        return None

    def _refresh(self, refresh: int, versions: list[int], pool: ThreadPoolExecutor) -> bool:
        context, start = self._context, time.monotonic()
        self.doing = f"collecting data for AIP version {refresh + 1}"
        n_episodes = -(-context.config.aip.gs_steps // context.domain.episode_steps)
        weights = [context.weights(context.groups[k], version) for k, version in enumerate(versions)]
        actors = [group.actors(w) for group, w in zip(context.groups, weights, strict=True)]
        with context.phases("collect"):
            joint = run_joint(
                context.domain,
                context.groups,
                actors,
                n_episodes,
                context.seed,
                "aip-data",
                (refresh,),
                pool=context.phases.on(pool, "collect"),
            )
        steps = context.domain.n_agents * n_episodes * context.domain.episode_steps
        context.metrics.simulated.labels("gs", "refresh").inc(steps)
        self.doing = f"training AIP version {refresh + 1}"
        newest = context.aips(refresh)
        aips = {group.index: np.array(newest.arrays[f"g{group.index}"]) for group in context.groups}
        jobs = [
            pool.submit(self._train, refresh, group, row, aips[group][row], joint)
            for group, members in enumerate(context.groups)
            for row in range(members.n_agents)
        ]
        results = [job.result() for job in jobs]
        if any(result is None for result in results):
            return False
        done = [result for result in results if result is not None]
        # The slowest group's, as F counts: at lag > 0 another may be far ahead of it.
        steps = context.clock.steps(min(versions))
        record = _record(refresh + 1, steps, self._by_agent(done), time.monotonic() - start)
        context.store.append_record("refreshes", {**record, "seconds_in_run": round(context.seconds(), 3)})
        context.store.commit_aip(
            AipState(
                version=refresh + 1,
                steps_per_agent=steps,
                arrays={f"g{group}": array for group, array in aips.items()},
            )
        )
        self._release_used()
        return True

    def _train(
        self, refresh: int, k: int, row: int, parameters: NDArray[np.float32], joint: JointEpisodes
    ) -> AipResult | None:
        """Train one AIP in place; None if the run was stopped before."""
        context, group, aip = self._context, self._context.groups[k], self._context.config.aip
        if self._stopped:
            return None
        with context.phases("aip"):
            return train_aip(
                group.aip,
                group.spec.n_classes,
                parameters,
                group.dsets(joint.by_group[k].observations[row]),
                joint.influence[k][row],
                epochs=aip.epochs,
                patience=aip.patience,
                minibatch_sequences=aip.minibatch_sequences,
                learning_rate=aip.learning_rate,
                seed=seed64(context.seed, "aip-order", group.agents[row], refresh),
            )

    def _by_agent(self, results: list[AipResult]) -> list[AipResult]:
        """The results, which are in the order of groups, in the order of agents."""
        agents = [agent for group in self._context.groups for agent in group.agents]
        return [result for _, result in sorted(zip(agents, results, strict=True), key=lambda pair: pair[0])]


def commit_untrained(context: RunContext) -> None:
    """Commit version 0 of the AIPs, if nobody has."""
    if context.store.aip_version() >= 0:
        return
    arrays = {f"g{group.index}": group.initial_aips(context.seed) for group in context.groups}
    with suppress(VersionConflictError):  # another sampler was faster, with the same
        context.store.commit_aip(AipState(version=0, steps_per_agent=0, arrays=arrays))


def _record(version: int, steps: int, results: list[AipResult], seconds: float) -> dict[str, object]:
    def rounded_mean(values: list[float]) -> float:
        return round(mean(values), 6)

    return {
        "id": f"aip{version}",
        "aip_version": version,
        "steps": steps,
        "ce_before": rounded_mean([result.ce_before for result in results]),
        "ce_after": rounded_mean([result.ce_after for result in results]),
        "ce_marginal": rounded_mean([result.ce_marginal for result in results]),
        "epochs": rounded_mean([result.epochs for result in results]),
        "seconds": round(seconds, 3),
        "ce_before_per_agent": [round(result.ce_before, 4) for result in results],
        "ce_after_per_agent": [round(result.ce_after, 4) for result in results],
    }

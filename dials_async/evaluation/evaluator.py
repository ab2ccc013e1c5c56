"""The evaluator: at every E steps measures a pinned joint version on the GS, beside training.

It reads the store and writes records; it never changes training.
"""

from dials_async.errors import VersionGoneError
from dials_async.evaluation.evaluate import evaluate_policies, summarise
from dials_async.rollout.joint import run_scripted
from dials_async.run_context import RunContext

#: Seconds between looks at the stop signal while waiting.
POLL_S = 0.1

#: Runs share the baselines' episodes: the same seed for every run, so that runs compare with one number.
BASELINE_SEED = 0


class Evaluator:
    """Writes the records "baselines" and "evaluations" of a run."""

    def __init__(self, context: RunContext) -> None:
        self._context = context

    def run(self) -> None:
        """Evaluate at 0, E, 2E, ... and, on many more episodes, at the end."""
        context, clock = self._context, self._context.clock
        known = {record["id"] for record in context.store.records("evaluations")}
        for steps in clock.evaluations():
            if f"s{steps}" in known or self._is_past(steps):
                continue
            versions = self._wait_for_versions(steps)
            if versions is None:
                return
            if steps < clock.total_steps:
                self._evaluate(steps, versions, context.config.schedule.eval_episodes, final=False)
                self._baselines()  # after the first evaluation, so that training does not wait for it
                self._release(versions)
            else:
                self._baselines()
                self._evaluate(steps, versions, context.config.schedule.final_eval_episodes, final=True)

    def _is_past(self, steps: int) -> bool:
        """Whether an extended run left ``steps`` behind under another E."""
        try:
            versions = [self._context.store.boundary_version(g.index, steps) for g in self._context.groups]
            for group, version in enumerate(versions):
                if version is not None:
                    self._context.store.weights(group, version)
        except VersionGoneError:
            return True
        return False

    def _wait_for_versions(self, steps: int) -> list[int] | None:
        store = self._context.store
        while not self._context.stop.is_set():
            versions = [store.boundary_version(group.index, steps) for group in self._context.groups]
            found = [version for version in versions if version is not None]
            if len(found) == len(versions) and store.aip_version() >= 0:
                return found
            store.wait(POLL_S)
        return None

    def _baselines(self) -> None:
        context = self._context
        known = {record["id"] for record in context.store.records("baselines")}
        for name in context.domain.baselines:
            if name in known or context.stop.is_set():
                continue
            with context.phases("evaluate"):
                episodes = context.config.schedule.final_eval_episodes
                result = summarise(run_scripted(context.domain, name, episodes, BASELINE_SEED))
            context.store.append_record(
                "baselines",
                {"id": name, "mean": result.mean, "se": result.standard_error, "episodes": episodes},
            )

    def _evaluate(self, steps: int, versions: list[int], episodes: int, final: bool) -> None:
        context, store = self._context, self._context.store
        weights = [store.weights(group, version) for group, version in enumerate(versions)]
        aips, aip_version = None, None
        if context.config.run.simulator != "gs":
            aip_version = context.clock.aip_version_behind(max(versions))
            try:
                state = store.aip(aip_version)
            except VersionGoneError:  # the evaluator fell far behind: say which version was measured instead
                latest = store.latest_aip()
                assert latest is not None
                state, aip_version = latest, latest.version
            aips = [state.arrays[f"g{group.index}"] for group in context.groups]
        with context.phases("evaluate"):
            arguments = (context.domain, context.groups, weights, episodes, context.seed, steps)
            sampled, ce = evaluate_policies(*arguments, greedy=False, aips=aips)
            greedy, _ = evaluate_policies(*arguments, greedy=True)
        store.append_record(
            "evaluations",
            {
                "id": f"s{steps}",
                "steps": max(context.clock.steps(version) for version in versions),
                "seconds": self._committed_at(versions),
                "final": final,
                "episodes": episodes,
                "return_mean": sampled.mean,
                "return_se": sampled.standard_error,
                "greedy_return_mean": greedy.mean,
                "greedy_return_se": greedy.standard_error,
                "influence_ce_mean": None if ce is None else float(ce.mean()),
                "influence_ce_min": None if ce is None else float(ce.min()),
                "influence_ce_max": None if ce is None else float(ce.max()),
                "aip_version": aip_version,
                "return_per_agent": [round(float(value), 4) for value in sampled.per_agent],
            },
        )

    def _committed_at(self, versions: list[int]) -> float:
        times = {record["id"]: record["seconds"] for record in self._context.store.records("commits")}
        return max(float(times.get(f"g{group}/v{version}", 0.0)) for group, version in enumerate(versions))

    def _release(self, versions: list[int]) -> None:
        store, clock = self._context.store, self._context.clock
        for group, version in enumerate(versions):
            if store.aip_version() >= clock.aip_version(version):  # else a refresh still needs it
                store.release(group, version)

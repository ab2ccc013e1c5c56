"""The run as a whole for Prometheus: progress, refreshes, returns, queues (docs/metrics.md, "Of the run").

Set from a state that was gathered before, never gathered while Prometheus waits: a store that is away must
not make the process look dead.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import Gauge, Info

from dials_async.metrics.instruments import Metrics

#: Roles of processes, or of threads of an embedded run.
ROLES = ("rollout", "learner", "gs-sampler", "evaluator", "keeper")


class RunMetrics:
    """Gauges of one run, in the registry of the process that shows them."""

    def __init__(self, metrics: Metrics) -> None:
        make = metrics.make
        self.info = make(Info, "dials_run", "What is trained: preset, simulator, domain, seed.")
        self.counting = metrics.counting

        def gauge(name: str, text: str, labels: Sequence[str] = ()) -> Any:
            return make(Gauge, name, text, labels)

        self.agents = gauge("dials_run_agents", "Agents of the run.")
        self.wanted = gauge("dials_run_steps", "Steps per agent at the end of the run.")
        self.done = gauge("dials_run_committed_steps", "Steps per agent that are committed.")
        self.seconds = gauge("dials_run_seconds", "Duration so far, pauses between sessions left out.")
        self.complete = gauge("dials_run_complete", "1 once the run is complete.")
        self.max_lag = gauge("dials_run_max_policy_lag_versions", "Lag that the configuration allows.")
        self.group_version = gauge(
            "dials_run_policy_version", "Newest version of the policies, from the store.", ["group"]
        )
        self.aip_version = gauge("dials_aip_version", "Newest version of the AIPs; 0: untrained.")
        self.refresh_interval = gauge("dials_aip_refresh_interval_steps", "F: steps between refreshes.")
        self.since_refresh = gauge(
            "dials_steps_since_aip_refresh", "Steps per agent of the slowest group since the last refresh."
        )
        self.ce = gauge(
            "dials_influence_ce_nats",
            'Cross-entropy of the AIPs per source, over agents ("mean", "min", "max"): on the data of the '
            'last refresh "before" and "after" it, of the "marginal" frequencies there, and on '
            '"evaluation" episodes.',
            ["data", "statistic"],
        )
        self.agent_ce = gauge(
            "dials_agent_influence_ce_nats",
            "Cross-entropy of each agent's AIP; data as in dials_influence_ce_nats.",
            ["agent", "data"],
        )
        self.returns = gauge(
            "dials_return", 'Mean return per agent and episode: "sampled" or "greedy" actions.', ["actions"]
        )
        self.best = gauge("dials_return_best", "Highest sampled mean return of this run so far.")
        self.worst = gauge("dials_return_worst", "Lowest sampled mean return of this run so far.")
        self.return_error = gauge(
            "dials_return_standard_error", "Standard error of dials_return, over episodes.", ["actions"]
        )
        self.agent_return = gauge("dials_agent_return", "Mean return of each agent, sampled.", ["agent"])
        self.baseline = gauge(
            "dials_baseline_return", "Mean return per agent and episode of a scripted policy.", ["policy"]
        )
        self.evaluated = gauge("dials_evaluation_steps", "Steps per agent of the last evaluated version.")
        self.evaluations = gauge("dials_evaluations", "Evaluations so far.")
        self.queue = gauge("dials_queue_messages", "Messages that wait in queues of the kind.", ["queue"])
        self.dead_letters = gauge("dials_dead_letters", "Dead letters that are kept.")
        self.refused = gauge(
            "dials_refused_processes", "Processes that computed otherwise than the run, and left, lately."
        )
        self.processes = gauge("dials_processes", "Processes that were heard of lately.", ["kind"])

    def show(self, now: Mapping[str, Any], roles: Mapping[str, int], complete: bool) -> None:
        """Take over a state of ``run_state``, and how many processes of each role there are."""
        if not self.counting:
            return
        self.info.info({key: str(now[key]) for key in ("preset", "simulator", "domain", "seed")})
        self.agents.set(now["agents"])
        self.wanted.set(now["steps"])
        self.done.set(now["steps_done"])
        self.seconds.set(now["seconds"])
        self.complete.set(complete)
        self.max_lag.set(now["max_policy_lag"])
        for group in now["groups"]:
            self.group_version.labels(str(group["group"])).set(group["version"])
        self._show_influence(now)
        if now["evaluations"]:
            self._show_evaluation(now["evaluations"][-1])
            returns = [row["return_mean"] for row in now["evaluations"]]
            self.best.set(max(returns))
            self.worst.set(min(returns))
        self.evaluations.set(len(now["evaluations"]))
        for policy, mean in now["baselines"].items():
            self.baseline.labels(policy).set(mean)
        for queue, depth in now["queues"].items():
            self.queue.labels(queue.lower().replace(" ", "_")).set(depth)
        self.dead_letters.set(now["dead_letters"])
        self.refused.set(len(now.get("refused", ())))
        for role in ROLES:  # those that are gone too: 0 is what somebody has to see
            self.processes.labels(role).set(roles.get(role, 0))

    def _show_influence(self, now: Mapping[str, Any]) -> None:
        self.aip_version.set(now["aip_version"])
        if now["steps_since_refresh"] is not None:
            self.refresh_interval.set(now["refresh_steps"])
            self.since_refresh.set(now["steps_since_refresh"])
        if not now["refreshes"]:
            return
        last = now["refreshes"][-1]
        self.ce.labels("marginal", "mean").set(last["ce_marginal"])
        for data in ("before", "after"):
            self._show_ce(data, last[f"ce_{data}"], last.get(f"ce_{data}_per_agent"))

    def _show_evaluation(self, last: Mapping[str, Any]) -> None:
        for actions, column in (("sampled", "return"), ("greedy", "greedy_return")):
            self.returns.labels(actions).set(last[f"{column}_mean"])
            self.return_error.labels(actions).set(last[f"{column}_se"])
        for agent, value in enumerate(last["return_per_agent"]):
            self.agent_return.labels(str(agent)).set(value)
        self.evaluated.set(last["steps"])
        if last["influence_ce_mean"] is not None:
            self._show_ce("evaluation", last["influence_ce_mean"], last.get("influence_ce_per_agent"))

    def _show_ce(self, data: str, mean: float, per_agent: list[float] | None) -> None:
        self.ce.labels(data, "mean").set(mean)
        if per_agent:  # absent in records of runs from before it was kept
            self.ce.labels(data, "min").set(min(per_agent))
            self.ce.labels(data, "max").set(max(per_agent))
            for agent, value in enumerate(per_agent):
                self.agent_ce.labels(str(agent), data).set(value)

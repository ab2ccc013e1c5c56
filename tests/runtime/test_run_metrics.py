"""Each gauge of the run shows its own number: a state in which no two numbers are equal."""

from typing import Any

from dials_async.metrics.instruments import Metrics
from dials_async.runtime.run_metrics import ROLES, RunMetrics

NOW: dict[str, Any] = {
    "preset": "p",
    "simulator": "dials",
    "domain": "d",
    "seed": 7,
    "agents": 2,
    "steps": 1000,
    "steps_done": 600,
    "seconds": 61.5,
    "max_policy_lag": 3,
    "groups": [{"group": 0, "version": 11}, {"group": 1, "version": 12}],
    "refresh_steps": 400,
    "steps_since_refresh": 150,
    "aip_version": 5,
    "refreshes": [
        {"ce_before": 9.0, "ce_after": 9.0, "ce_marginal": 9.0},
        {
            "ce_before": 0.65,
            "ce_after": 0.45,
            "ce_marginal": 0.55,
            "ce_before_per_agent": [0.6, 0.7],
            "ce_after_per_agent": [0.4, 0.5],
        },
    ],
    "evaluations": [
        {"steps": 0, "return_mean": 1.5},
        {"steps": 100, "return_mean": 14.5},
        {
            "steps": 500,
            "return_mean": 13.5,
            "return_se": 0.11,
            "greedy_return_mean": 13.9,
            "greedy_return_se": 0.12,
            "return_per_agent": [13.0, 14.0],
            "influence_ce_mean": 0.35,
            "influence_ce_per_agent": [0.3, 0.38],
        },
    ],
    "baselines": {"random": 1.6, "closest": 13.1},
    "queues": {"rollout tasks": 21, "GS tasks": 22, "experience": 23},
    "dead_letters": 31,
}


def shown(now: dict[str, Any], roles: dict[str, int], complete: bool) -> dict[str, float]:
    metrics = Metrics()
    RunMetrics(metrics).show(now, roles, complete)
    return {
        sample.name + "".join(f"/{value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in metrics.registry.collect()
        for sample in family.samples
        if family.name.startswith(GAUGES)
    }


GAUGES = (
    "dials_run",
    "dials_aip_",
    "dials_steps_since",
    "dials_influence",
    "dials_agent_influence",
    "dials_return",
    "dials_agent_return",
    "dials_baseline",
    "dials_evaluation",
    "dials_queue",
    "dials_dead_letters",
    "dials_processes",
)

WANTED = {
    "dials_run_agents": 2,
    "dials_run_steps": 1000,
    "dials_run_committed_steps": 600,
    "dials_run_seconds": 61.5,
    "dials_run_complete": 0,
    "dials_run_max_policy_lag_versions": 3,
    "dials_run_policy_version/0": 11,
    "dials_run_policy_version/1": 12,
    "dials_aip_version": 5,
    "dials_aip_refresh_interval_steps": 400,
    "dials_steps_since_aip_refresh": 150,
    "dials_influence_ce_nats/marginal/mean": 0.55,
    "dials_influence_ce_nats/before/mean": 0.65,
    "dials_influence_ce_nats/before/min": 0.6,
    "dials_influence_ce_nats/before/max": 0.7,
    "dials_influence_ce_nats/after/mean": 0.45,
    "dials_influence_ce_nats/after/min": 0.4,
    "dials_influence_ce_nats/after/max": 0.5,
    "dials_influence_ce_nats/evaluation/mean": 0.35,
    "dials_influence_ce_nats/evaluation/min": 0.3,
    "dials_influence_ce_nats/evaluation/max": 0.38,
    "dials_agent_influence_ce_nats/0/before": 0.6,
    "dials_agent_influence_ce_nats/1/before": 0.7,
    "dials_agent_influence_ce_nats/0/after": 0.4,
    "dials_agent_influence_ce_nats/1/after": 0.5,
    "dials_agent_influence_ce_nats/0/evaluation": 0.3,
    "dials_agent_influence_ce_nats/1/evaluation": 0.38,
    "dials_return/sampled": 13.5,
    "dials_return/greedy": 13.9,
    "dials_return_best": 14.5,
    "dials_return_worst": 1.5,
    "dials_return_standard_error/sampled": 0.11,
    "dials_return_standard_error/greedy": 0.12,
    "dials_agent_return/0": 13.0,
    "dials_agent_return/1": 14.0,
    "dials_baseline_return/random": 1.6,
    "dials_baseline_return/closest": 13.1,
    "dials_evaluation_steps": 500,
    "dials_evaluations": 3,
    "dials_queue_messages/rollout_tasks": 21,
    "dials_queue_messages/gs_tasks": 22,
    "dials_queue_messages/experience": 23,
    "dials_dead_letters": 31,
    "dials_processes/rollout": 4,
    "dials_processes/learner": 2,
    "dials_processes/gs-sampler": 0,
    "dials_processes/evaluator": 0,
    "dials_processes/keeper": 1,
}


def test_each_gauge_shows_its_own_number() -> None:
    values = shown(NOW, {"rollout": 4, "learner": 2, "keeper": 1}, complete=False)
    assert values.pop("dials_run_info/d/p/7/dials") == 1
    assert values == WANTED
    assert shown(NOW, {}, complete=True)["dials_run_complete"] == 1


def test_who_is_gone_is_counted_as_0() -> None:
    metrics = Metrics()
    gauges = RunMetrics(metrics)
    gauges.show(NOW, {"rollout": 4}, complete=False)
    gauges.show(NOW, {}, complete=False)
    for role in ROLES:
        assert metrics.registry.get_sample_value("dials_processes", {"kind": role}) == 0


def test_of_a_run_without_aips_nothing_is_said_of_refreshes() -> None:
    values = shown({**NOW, "steps_since_refresh": None, "refreshes": []}, {}, complete=False)
    assert not [name for name in values if name.endswith(("/after", "/before", "/marginal/mean"))]
    # Unlabelled gauges are always there: 0 is none (the rules ask for more than 0)
    assert values["dials_aip_refresh_interval_steps"] == values["dials_steps_since_aip_refresh"] == 0

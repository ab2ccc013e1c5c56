"""How a run is doing, as plain data: what the dashboard shows and Prometheus reads of the run as a whole.

Asked for by one process: the one that trains an embedded run, or the keeper of a distributed one.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from dials_async.run_context import RunContext

#: What a learner says of each of its groups: ``GroupLearner.facts``.
GroupFacts = Mapping[int, Mapping[str, Any]]


def run_state(context: RunContext, learners: GroupFacts) -> dict[str, Any]:
    """The state now; of groups whose learner is not in ``learners`` only what the store tells."""
    store, clock, config = context.store, context.clock, context.config
    versions = {group.index: max(0, store.group_version(group.index)) for group in context.groups}
    total = sum(clock.steps(versions[group.index]) * group.n_agents for group in context.groups)
    refreshes = store.records("refreshes")
    lags: Counter[str] = Counter()
    for facts in learners.values():
        lags.update(facts.get("lags", {}))
    return {
        "run": context.name,
        "preset": config.preset,
        "simulator": config.run.simulator,
        "domain": context.domain.name,
        "seed": context.seed,
        "agents": context.domain.n_agents,
        "steps": clock.total_steps,
        "steps_done": total // context.domain.n_agents,
        "total_agent_steps": total,
        "seconds": round(context.seconds(), 1),
        "updates": clock.n_updates,
        "groups": [
            {
                "group": group.index,
                "agents": group.n_agents,
                "version": versions[group.index],
                "steps": clock.steps(versions[group.index]),
                "doing": learners.get(group.index, {}).get("doing", "no learner"),
                "health": learners.get(group.index, {}).get("health"),
                "unmoved": learners.get(group.index, {}).get("unmoved", 0),
            }
            for group in context.groups
        ],
        "refresh_steps": clock.refresh_steps,
        "steps_since_refresh": _since_refresh(context, versions, refreshes),
        "aip_version": store.aip_version(),
        "aip_refreshes": store.aip_version() + _refreshes_left(context, refreshes),
        "refreshes": refreshes,
        "evaluations": sorted(store.records("evaluations"), key=lambda row: (row["steps"], row["final"])),
        "baselines": {record["id"]: record["mean"] for record in store.records("baselines")},
        "published": dict(context.domain.published),
        "max_policy_lag": config.rollout.max_policy_lag,
        "policy_lag_messages": {lag: lags[lag] for lag in sorted(lags, key=int)},
        "messages_dropped": sum(int(facts.get("dropped", 0)) for facts in learners.values()),
        "queues": queue_depths(context),
        "dead_letters": context.broker.dead_letter_count(),
    }


def queue_depths(context: RunContext) -> dict[str, int]:
    """Messages that wait: tasks, GS tasks, experience of all agents."""
    depth = context.broker.depth
    waiting = [depth(context.queues.experience(agent)) for agent in range(context.domain.n_agents)]
    return {
        "rollout tasks": depth(context.queues.rollout_tasks),
        "GS tasks": depth(context.queues.gs_tasks),
        "experience": sum(waiting),
    }


def _refreshes_left(context: RunContext, refreshes: list[dict[str, Any]]) -> int:
    """How many are still to come; at policy lag > 0 a late one has replaced those before it."""
    clock, version = context.clock, context.store.aip_version()
    done = max(0, version)
    if version > 0 and refreshes and not clock.refreshes_are_pinned:
        done = clock.refreshes_due(int(refreshes[-1]["steps"]))
    return max(0, clock.n_refreshes - done)


def _since_refresh(
    context: RunContext, versions: Mapping[int, int], refreshes: list[dict[str, Any]]
) -> int | None:
    """Steps per agent of the slowest group since the AIPs were trained; None if they never are."""
    if not context.clock.aips_are_trained:
        return None
    last = int(refreshes[-1]["steps"]) if refreshes else 0
    return max(0, context.clock.steps(min(versions.values())) - last)

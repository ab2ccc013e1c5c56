"""``dials status``: how a distributed run is doing, and what is stuck and why."""

import json
import time
from collections.abc import Mapping
from threading import Event
from typing import Any

import click

from dials_async.addresses import redis_url
from dials_async.distributed.connection import Connection, connect
from dials_async.distributed.daemon import PAUSE_S, SILENT_S
from dials_async.distributed.stuck import reasons
from dials_async.learning.tally import read_counts
from dials_async.messaging.readable import printable
from dials_async.report.words import duration
from dials_async.run_context import RunContext
from dials_async.runtime.live import Look
from dials_async.runtime.run_state import run_state
from dials_async.runtime.wiring import is_complete
from dials_async.store.opening import open_registry
from dials_async.store.redis.runs import COMPLETE, DAMAGED, Presence

#: Seconds between two looks of ``--watch``.
WATCH_S = 2.0

#: Seconds for which it is told of a process that was refused.
REFUSED_S = 600.0

#: The rate is measured over commits of about this many seconds.
RATE_S = 2.0

ROLES = ("rollout", "learner", "gs-sampler", "evaluator", "keeper")


def list_runs() -> list[dict[str, Any]]:
    """The runs in Redis, by name."""
    registry = open_registry(redis_url())
    try:
        return [{"run": name, "state": registry.status(name).state} for name in sorted(registry.names())]
    finally:
        registry.close()


def runs_in_words(runs: list[dict[str, Any]]) -> str:
    """A table of ``list_runs``."""
    if not runs:
        return "no run in Redis; make one, for example: dials init warehouse-4 --run demo"
    return "\n".join(f"{row['run']:<40} {row['state']}" for row in runs)


def show(run: str, watch: bool, as_json: bool, verbose: bool = False) -> None:
    """Print the status of ``run``, once or until it is complete. Raises RunNotFoundError."""
    connection = connect(run, Event())
    try:
        before: dict[str, Any] | None = None
        while True:
            now = gather(connection, before)
            text = json.dumps(now, indent=2) if as_json else in_words(now, verbose)
            if watch and not as_json:
                click.clear()
            click.echo(text)
            if not watch or now["state"] == COMPLETE:
                return
            before = now
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        return
    finally:
        connection.close()


def gather(connection: Connection, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """All of it as plain data; the rate is since ``before``, or over RATE_S from now."""
    context, registry = connection.context, connection.registry
    start, first = (
        (before["at"], before["total_agent_steps"]) if before else (time.time(), _agent_steps(context))
    )
    if before is None:
        time.sleep(RATE_S)
    result = _state(connection, from_store=True)
    now, total = time.time(), result["total_agent_steps"]
    evaluations, refreshes = result.pop("evaluations"), result.pop("refreshes")
    pause_s = _pause_s(registry.processes(context.name))
    return {
        **result,
        "at": now,
        "seconds": round(max(0.0, registry.elapsed_s(context.name) - pause_s), 1),
        "agent_steps_per_second": round((total - first) / (now - start), 1) if now > start else 0.0,
        "last_refresh": refreshes[-1] if refreshes else None,
        "last_evaluation": evaluations[-1] if evaluations else None,
        "stuck": reasons({**result, "last_evaluation": evaluations[-1] if evaluations else None}),
    }


def look(connection: Connection) -> Look:
    """The run for those who watch it live: cheap enough to be asked every second."""
    # Of a complete run the learners have left, and with them what they say of themselves.
    now = _state(connection, from_store=is_complete(connection.context))
    processes = now.pop("processes")
    evaluations = now["evaluations"]
    last = evaluations[-1] if evaluations else None
    return Look(now, processes, reasons({**now, "processes": processes, "last_evaluation": last}))


def _state(connection: Connection, from_store: bool) -> dict[str, Any]:
    """``run_state``, with the state of the run, its processes, and who learns for which group.

    ``from_store``: what no learner tells is read there, with all weights.
    """
    context, registry = connection.context, connection.registry
    everybody = registry.processes(context.name)
    alive = {
        key: presence
        for key, presence in everybody.items()
        if presence.age_s < SILENT_S and not presence.facts.get("left")
    }
    learners: dict[int, dict[str, Any]] = {}
    for group in context.groups:
        if from_store and (state := context.newest(group)) is not None:
            learners[group.index] = read_counts(state.meta)
        learners.setdefault(group.index, {})["learner"] = None
    for presence in alive.values():
        for index, facts in presence.facts.get("groups", {}).items():
            if int(index) not in learners:
                continue  # of another run, or made up
            name = f"{presence.facts['name']}@{presence.facts.get('host')}"
            # What the store tells is newer than what a process said of itself a second ago.
            learners[int(index)] = {**facts, **learners[int(index)], "learner": name}
    status = registry.status(context.name)
    result = run_state(context, learners)
    for row in result["groups"]:
        row["learner"] = learners[row["group"]]["learner"]
        row["learned_s"] = learners[row["group"]].get("learned_s", 0.0)
    return {
        **result,
        "seconds_with_pause": round(registry.elapsed_s(context.name), 1),
        "state": status.state,
        "note": status.note,
        "processes": [_process(key, presence) for key, presence in sorted(alive.items())],
        "refused": sorted(
            {
                f"{presence.facts['name']} on {presence.facts.get('host')}: {presence.facts['refused']}"
                for presence in everybody.values()
                if "refused" in presence.facts and presence.age_s < REFUSED_S
            }
        ),
        "damaged": [
            f"{presence.facts['name']}: {presence.facts['doing']}"
            for presence in everybody.values()
            if presence.facts["role"] == DAMAGED
        ],
        "redis_refuses": registry.refusal(context.name),
        "not_reproducible": context.participants.not_reproducible(),
    }


def in_words(status: Mapping[str, Any], verbose: bool = False) -> str:
    """The status as a page of text; ``verbose``: with what each process is."""
    share = status["steps_done"] / status["steps"]
    lines = [
        f"{status['run']}: {status['state']}, {share:.0%} of {status['steps']:,} steps per agent, "
        f"{status['agents']} agents, {duration(status['seconds'])}, "
        f"{status['agent_steps_per_second']:,.0f} agent-steps/s",
    ]
    evaluation, refresh = status["last_evaluation"], status["last_refresh"]
    if evaluation:
        lines.append(
            f"return     {evaluation['return_mean']:.3f} +- {evaluation['return_se']:.3f} "
            f"at {evaluation['steps']:,} steps, greedy {evaluation['greedy_return_mean']:.3f}"
        )
    if refresh:
        lines.append(
            f"AIPs       version {status['aip_version']} of {status['aip_refreshes']}, cross-entropy "
            f"{refresh['ce_before']:.3f} -> {refresh['ce_after']:.3f} nats at the last refresh"
        )
    lags = status["policy_lag_messages"]
    if lags:
        total = sum(lags.values())
        shares = ", ".join(f"{lag}: {n / total:.0%}" for lag, n in lags.items())
        lines.append(f"policy lag {shares} of {total:,} messages; {status['messages_dropped']} dropped")
    depths = ", ".join(f"{name} {depth}" for name, depth in status["queues"].items())
    lines.append(f"queues     {depths}; dead letters {status['dead_letters']}")
    lines.append("groups")
    for group in status["groups"]:
        learner = group["learner"] or "no learner"
        lines.append(
            f"  {group['group']:>3}  {group['agents']:>3} agents  version {group['version']:>6} "
            f"of {status['updates']}  {learner:<28} {group['doing']}"
        )
    lines.append("processes")
    for process in status["processes"]:
        lines.append(
            f"  {process['name']:<16} {process['host']:<14} {process['memory_mib']:>6.0f} MiB  "
            f"heard of {process['age_s']:.0f} s ago  {process['doing']}"
        )
        if verbose:
            lines.append(f"      {_identity(process)}")
    lines += [f"! {reason}" for reason in status["stuck"]]
    return "\n".join(lines)


def _pause_s(processes: Mapping[str, Presence]) -> float:
    """Seconds for which nobody has been at work, 0 if somebody is: the run's clock will leave them out."""
    silence_s = min((presence.age_s for presence in processes.values()), default=0.0)
    return silence_s if silence_s > PAUSE_S else 0.0


def _agent_steps(context: RunContext) -> int:
    store, clock = context.store, context.clock
    versions = {group: max(0, store.group_version(group.index)) for group in context.groups}
    return sum(clock.steps(version) * group.n_agents for group, version in versions.items())


def _identity(process: Mapping[str, Any]) -> str:
    """Machine, code and numerics of a process; those of an older version tell less."""
    numerics = process["numerics"] if isinstance(process["numerics"], dict) else {}
    parts = [
        f"pid {process['pid']}",
        process["processor"],
        process["machine"],
        process["code"],
        *(f"{part} {found}" for part, found in numerics.items()),
    ]
    return ", ".join(printable(str(part), 80) for part in parts if part)


def _process(key: str, presence: Presence) -> dict[str, Any]:
    facts = presence.facts
    names = (
        "name",
        "role",
        "host",
        "pid",
        "code",
        "doing",
        "memory_mib",
        "reconnects",
        "busy_with",
        "waits_for",
        "processor",
        "machine",
        "numerics",
    )
    return {"key": key, "age_s": round(presence.age_s, 1), **{name: facts.get(name) for name in names}}

"""Live states of runs that never ran, real enough to look at: the same numbers for the same arguments."""

import json
import math
import os
import random
import time
from pathlib import Path
from typing import Any

#: Written in an hour: on a machine that is busy with other work no run falls silent.
SOON = time.time() + 3600

BASELINES = {
    "random": 1.568,
    "closest": 13.172,
    "oldest": 13.12,
    "closest-centre": 14.64,
    "age-distance": 14.82,
}
PUBLISHED = {"DIALS": 13.28, "GS": 8.12, "untrained-DIALS": 4.33, "hand-coded": 13.125}
CONFIG = '[run]\nsimulator = "dials"\nsteps = 1000000\nseed = 1\n\n[domain]\nname = "warehouse"\nside = 2\n'


def live(
    share: float = 0.5,
    agents: int = 4,
    state: str = "running",
    simulator: str = "dials",
    lag: int = 0,
    stuck: tuple[str, ...] = (),
    at: float = SOON,
) -> dict[str, Any]:
    """The state when ``share`` of the run is done; with ``lag`` as one of many processes."""
    rng = random.Random(agents)
    steps, every, refresh_steps = 998_400, 38_400, 100_000
    done = int(steps * share) // 3_200 * 3_200
    rate = 115_000.0 if agents == 4 else 310_000.0
    seconds = 3.0 + done * agents / rate
    has_aips = simulator != "gs"
    refreshes = []
    if simulator == "dials":
        refreshes = [_refresh(rng, k, refresh_steps, agents, rate) for k in range(done // refresh_steps + 1)]
    evaluations = [
        _evaluation(rng, k * every, agents, rate, has_aips, len(refreshes)) for k in range(done // every + 1)
    ]
    if state == "complete":
        evaluations[-1] |= {"final": True, "episodes": 400}
    n_groups = 2 if agents == 4 else 10
    return {
        "format": 1,
        "at": at,
        "state": state,
        "every_s": 2.0,
        "now": {
            "run": "demo",
            "preset": f"warehouse-{agents}",
            "simulator": simulator,
            "domain": "warehouse",
            "seed": 1,
            "agents": agents,
            "steps": steps,
            "steps_done": done,
            "total_agent_steps": done * agents,
            "seconds": seconds,
            "agent_steps_per_second": rate * 1.1,
            "updates": 312,
            "groups": [_group(rng, k, agents // n_groups, done, share) for k in range(n_groups)],
            "refresh_steps": refresh_steps,
            "steps_since_refresh": done % refresh_steps if simulator == "dials" else None,
            "aip_version": len(refreshes),
            "aip_refreshes": len(refreshes),
            "refreshes": refreshes,
            "evaluations": evaluations,
            "baselines": BASELINES,
            "published": PUBLISHED,
            "max_policy_lag": lag,
            "policy_lag_messages": _lags(lag, done * agents // 6_400),
            "messages_dropped": 17 * lag,
            "queues": {"rollout tasks": 1, "GS tasks": 0, "experience": 12},
            "dead_letters": 0,
        },
        "processes": _processes(rng, lag),
        "stuck": list(stuck),
        "history": _history(rng, seconds, rate, refreshes, lag),
        "a key that nobody knows": {"yet": True},
    }


def write(folder: Path, value: dict[str, Any]) -> None:
    """Put ``value`` into the folder of a run as its live.json, all or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(CONFIG, encoding="utf-8")
    draft = folder / ".live.json.tmp"
    draft.write_text(json.dumps(value), encoding="utf-8")
    os.replace(draft, folder / "live.json")


def _learned(steps: int) -> float:
    """How much of what can be learned is learned, 0 .. 1."""
    return 1 - math.exp(-steps / 160_000)


def _refresh(rng: random.Random, k: int, every: int, agents: int, rate: float) -> dict[str, Any]:
    before = 0.69 if k == 0 else 0.20 + 0.16 * math.exp(-k / 2)
    after = 0.17 + 0.12 * math.exp(-k / 2)
    spread = [rng.uniform(0.7, 1.35) for _ in range(agents)]
    return {
        "aip_version": k + 1,
        "steps": k * every,
        "seconds_in_run": 1.2 + k * every * agents / rate,
        "ce_before": before,
        "ce_after": after,
        "ce_marginal": 0.33 - 0.06 * _learned(k * every),
        "ce_before_per_agent": [before * factor for factor in spread],
        "ce_after_per_agent": [after * factor for factor in spread],
        "seconds": 1.2,
    }


def _evaluation(
    rng: random.Random, steps: int, agents: int, rate: float, has_aips: bool, refreshes: int
) -> dict[str, Any]:
    learned = _learned(steps)
    sampled = 1.5 + 13.0 * learned + rng.gauss(0, 0.15)
    greedy = 0.3 + 14.4 * (1 - math.exp(-steps / 110_000)) + rng.gauss(0, 0.2)
    mean = (
        (0.69 if steps == 0 else 0.20 + 0.13 * math.exp(-steps / 2e5)) if refreshes else 0.69 + 0.2 * learned
    )
    ces = [mean * (0.75 + 0.5 * ((agent * 37) % 11) / 10) + rng.gauss(0, 0.01) for agent in range(agents)]
    return {
        "steps": steps,
        "seconds": 3.0 + steps * agents / rate,
        "final": False,
        "episodes": 64,
        "return_mean": sampled,
        "return_se": 0.16,
        "greedy_return_mean": greedy,
        "greedy_return_se": 0.15,
        "influence_ce_mean": sum(ces) / agents if has_aips else None,
        "influence_ce_min": min(ces) if has_aips else None,
        "influence_ce_max": max(ces) if has_aips else None,
        "influence_ce_per_agent": ces if has_aips else None,
        "return_per_agent": [sampled * (0.85 + 0.3 * ((a * 53) % 7) / 6) for a in range(agents)],
        "aip_version": min(refreshes, steps // 100_000 + 1) if steps else 0,
    }


def _group(rng: random.Random, index: int, agents: int, done: int, share: float) -> dict[str, Any]:
    version = done // 3_200
    doing = ("collecting experience for update", "learning update", "waiting for AIPs for update")[index % 3]
    return {
        "group": index,
        "agents": agents,
        "version": version,
        "steps": done,
        "doing": f"{doing} {version + 1}",
        "health": {
            "policy_loss": -0.004 + rng.gauss(0, 0.001),
            "value_loss": 0.3 * (1.2 - share) + rng.random() * 0.02,
            "entropy": 1.6 - share + rng.random() * 0.05,
            "approximate_kl": 0.012 + rng.random() * 0.003,
            "clip_fraction": 0.11 + rng.random() * 0.02,
            "gradient_norm": 0.42 + rng.random() * 0.1,
            "explained_variance": 0.2 + 0.7 * share,
        },
    }


def _lags(lag: int, messages: int) -> dict[str, int]:
    shares = [0.7 * 0.35**k for k in range(lag + 1)]
    return {str(k): int(messages * value / sum(shares)) for k, value in enumerate(shares)}


def _processes(rng: random.Random, lag: int) -> list[dict[str, Any]]:
    def process(name: str, role: str, doing: str, busy: list[str]) -> dict[str, Any]:
        memory, age = 300 + 40 * rng.random(), 2 * rng.random()
        pid = rng.randrange(4000, 9000)
        place = {"host": "node-1", "pid": pid, "memory_mib": memory, "age_s": age}
        return {"name": name, "role": role, "doing": doing, "busy_with": busy, **place}

    if not lag:  # the threads of one process; its memory is told with the first
        names = ("learner-0", "learner-1", "worker-0", "worker-1", "gs-sampler", "evaluator")
        threads = [process(name, name.partition("-")[0], "waiting for a task", []) for name in names]
        threads[0] |= {"doing": "learning update 29", "busy_with": ["learn"]}
        return [
            thread | {"pid": 4711, "memory_mib": 263.6 if not k else None} for k, thread in enumerate(threads)
        ]
    rollouts = [
        process(f"rollout.{k}", "rollout", f"task dials/g{k % 2}/u12/t{k}", ["rollout"]) for k in range(1, 7)
    ]
    learners = [process(f"learner.{k}", "learner", f"updating group {k}", ["learn"]) for k in (1, 2)]
    return [
        *rollouts,
        *learners,
        process("gs-sampler.1", "gs-sampler", "waits for 500,000 steps", []),
        process("evaluator.1", "evaluator", "evaluating version 128", ["evaluate"]),
        process("keeper.1", "keeper", "", []),
    ]


def _history(
    rng: random.Random, seconds: float, rate: float, refreshes: list[dict[str, Any]], lag: int
) -> dict[str, Any]:
    n = max(1, min(600, int(seconds / 0.25)))
    history: dict[str, list[float | None]] = {"seconds": [seconds * (k + 1) / n for k in range(n)]}
    rates: list[float] = []
    total = 0.0
    totals: list[float | None] = []
    for moment in (seconds * (k + 1) / n for k in range(n)):
        refreshing = any(0 <= moment - r["seconds_in_run"] < r["seconds"] for r in refreshes)
        rates.append(rate * (0.1 if refreshing else 1.15) * rng.uniform(0.93, 1.07))
        total += rates[-1] * seconds / n
        totals.append(total)
    history["total_agent_steps"] = totals
    history["agent_steps_per_second"] = list(rates)
    history["lag_mean"] = [lag * 0.3 * rng.uniform(0.6, 1.4) if k > 4 else None for k in range(n)]
    history["tasks"] = [float(rng.randrange(0, 5)) for _ in range(n)]
    history["experience"] = [float(rng.randrange(0, 30)) for _ in range(n)]
    history["workers"] = [6.0 if lag else 2.0] * n
    history["memory_mib"] = [600 + 200 * (1 - math.exp(-k / 20)) for k in range(n)]
    return history

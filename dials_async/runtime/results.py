"""From a run's store to the files that a user reads: metrics.csv, refreshes.csv, summary.json, scene.json."""

import datetime
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from dials_async.errors import StoreError
from dials_async.evaluation.baselines import BASELINE_SEED
from dials_async.learning.tally import summarise_learning
from dials_async.metrics.phases import Busy, rounded
from dials_async.rollout.joint import run_joint
from dials_async.run_context import RunContext
from dials_async.run_folder import (
    METRIC_COLUMNS,
    METRICS,
    REFRESH_COLUMNS,
    REFRESHES,
    SCENE,
    SUMMARY,
    write_file,
    write_json,
    write_table,
)
from dials_async.runtime.machine import library_versions, machine


def write_progress(context: RunContext, folder: Path) -> None:
    """Bring metrics.csv and refreshes.csv up to date; cheap enough to be called at every evaluation."""
    baselines = {f"baseline_{record['id']}": record["mean"] for record in context.store.records("baselines")}
    rows = [{**record, **baselines} for record in context.store.records("evaluations")]
    columns = (*METRIC_COLUMNS, *(f"baseline_{name}" for name in context.domain.baselines))
    write_table(folder / METRICS, columns, sorted(rows, key=lambda row: row["steps"]))
    refreshes = context.store.records("refreshes")
    if refreshes:
        write_table(folder / REFRESHES, REFRESH_COLUMNS, refreshes)


def weights_sha256(context: RunContext) -> str:
    """Hash of the newest policies of all agents, in the order of their numbers: independent of grouping."""
    rows: dict[int, bytes] = {}
    for group in context.groups:
        state = context.newest(group)
        if state is None:
            raise StoreError(f"group {group.index} has no version yet")
        weights = np.ascontiguousarray(state.arrays["weights"], dtype="<f4")
        rows.update({agent: weights[row].tobytes() for row, agent in enumerate(group.agents)})
    digest = hashlib.sha256()
    for agent in sorted(rows):
        digest.update(rows[agent])
    return digest.hexdigest()


def summarise_run(context: RunContext, command: str, phases: Busy) -> dict[str, Any]:
    """The content of summary.json, of a finished run."""
    final = [record for record in context.store.records("evaluations") if record["final"]][-1]
    baselines = context.store.records("baselines")
    seconds = context.seconds()
    steps = context.clock.total_steps
    states = [state for group in context.groups if (state := context.newest(group))]
    return {
        "preset": context.config.preset,
        "simulator": context.config.run.simulator,
        "seed": context.seed,
        "agents": context.domain.n_agents,
        "agent_steps": steps,
        "total_agent_steps": steps * context.domain.n_agents,
        "wall_seconds": round(seconds, 3),
        "agent_steps_per_second": round(steps * context.domain.n_agents / seconds, 1),
        "seconds": rounded(phases.wall),
        "cpu_seconds": rounded(phases.cpu),
        "final_return_mean": final["return_mean"],
        "final_return_se": final["return_se"],
        "final_greedy_return_mean": final["greedy_return_mean"],
        "final_greedy_return_se": final["greedy_return_se"],
        "eval_episodes": final["episodes"],
        "baselines": {record["id"]: record["mean"] for record in baselines},
        "baseline_standard_errors": {record["id"]: record["se"] for record in baselines},
        "published": dict(context.domain.published),
        "published_note": context.domain.published_note,
        "return_per_agent": final["return_per_agent"],
        "influence_ce": final["influence_ce_mean"],
        "aip_refreshes": len(context.store.records("refreshes")),
        "learning": dict(summarise_learning(states)),
        "weights_sha256": weights_sha256(context),
        "not_reproducible": context.participants.not_reproducible(),
        "participants": [
            {key: value for key, value in row.items() if key != "id"} for row in context.participants.all()
        ],
        "versions": library_versions(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command,
    }


def record_scene(context: RunContext) -> dict[str, Any]:
    """Draw one GS episode under the newest policies, sampled as in training."""
    states = [context.newest(group) for group in context.groups]
    actors = [
        group.actors(state.arrays["weights"])
        for group, state in zip(context.groups, states, strict=True)
        if state is not None
    ]
    recorder = context.domain.recorder()
    run_joint(context.domain, context.groups, actors, 1, BASELINE_SEED, "scene", watch=recorder.capture)
    return recorder.scene()


def write_results(context: RunContext, folder: Path, command: str, phases: Busy) -> dict[str, Any]:
    """Write all files of a finished run but the report. Returns the summary."""
    write_progress(context, folder)
    write_file(folder / SCENE, json.dumps(record_scene(context), separators=(",", ":")))
    summary = summarise_run(context, command, phases)
    write_json(folder / SUMMARY, summary)
    return summary

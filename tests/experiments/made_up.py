"""Tables of an experiment as runs would leave them, with numbers that are easy to check."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dials_async.experiments.catalogue import Catalogue, Experiment, Trial, catalogue_from
from dials_async.experiments.tables import Tables, tables_of_run

#: Returns of the two seeds at each evaluation, by variant.
RETURNS = {"slow": ([1.0, 2.0, 3.0], [1.0, 4.0, 7.0]), "fast": ([2.0, 4.0, 8.0], [2.0, 6.0, 9.0])}
STEPS = [0, 1000, 2000]

TABLES: dict[str, Any] = {
    "seeds": {"quick": 2, "full": {"4": 3, "25": 1}},
    "variants": {
        "slow": {"label": "slowly", "set": ["ppo.epochs=2"], "steps": 2000},
        "fast": {"label": "quickly", "set": ["rollout.max_policy_lag=2"]},
        "lights": {"label": "lights", "domain": "traffic"},
    },
    "experiments": {
        "small": {
            "title": "A small experiment",
            "source": "figure 0",
            "question": "Does it work?",
            "figures": ["learning", "influence", "lag", "scaling", "breakdown", "fidelity", "theory"],
            "trials": [
                {
                    "presets": ["warehouse-4", "warehouse-25"],
                    "quick": ["warehouse-4"],
                    "simulators": ["dials"],
                    "variants": ["slow", "fast", "lights"],
                }
            ],
        }
    },
    "published": {"warehouse": {"dials": {"agents": [4, 25], "return": [13.0, 12.0], "hours": [2.0, 3.0]}}},
}


def small_catalogue() -> tuple[Catalogue, Experiment]:
    catalogue = catalogue_from(TABLES)
    return catalogue, catalogue.experiment("small")


def summary_of(trial: Trial, final: float, seconds: float) -> dict[str, Any]:
    return {
        "agents": 4,
        "agent_steps": 2000,
        "wall_seconds": seconds,
        "agent_steps_per_second": 8000 / seconds,
        "seconds": {"rollout": 3.0, "learn": 1.0},
        "final_return_mean": final,
        "final_return_se": 0.1,
        "final_greedy_return_mean": final + 1,
        "final_greedy_return_se": 0.1,
        "eval_episodes": 10,
        "influence_ce": 0.25,
        "baselines": {"oldest": 5.0},
        "baseline_standard_errors": {"oldest": 0.5},
        "published": {"DIALS": 13.0},
        "weights_sha256": "ab" * 32,
        "versions": {"dials-async": "0.1.0"},
        "machine": {"cpu": "abacus", "cores": 2, "memory_gib": 1.5, "system": "Linux"},
        "date": "2026-11-27 12:00 UTC",
        "command": f"dials train {' '.join(trial.arguments)}",
    }


def write_run(folder: Path, summary: Mapping[str, Any], returns: list[float], seconds: float) -> None:
    """The files of a finished run that an experiment reads."""
    folder.mkdir(parents=True)
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [
        f"{step},{seconds * k / 2},{value},0.1,{value + 1},{0.5 / (k + 1)},0.1,0.9"
        for k, (step, value) in enumerate(zip(STEPS, returns, strict=True))
    ]
    head = "steps,seconds,return_mean,return_se,greedy_return_mean"
    head += ",influence_ce_mean,influence_ce_min,influence_ce_max"
    (folder / "metrics.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "refreshes.csv").write_text(
        "aip_version,steps,ce_before,ce_after,ce_marginal,epochs,seconds\n1,0,1.4,0.5,0.6,3,1.0\n"
    )


def about(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.name,
        "preset": trial.preset,
        "simulator": trial.simulator,
        "variant": trial.variant.name,
        "seed": trial.seed,
        "fingerprint": trial.fingerprint,
    }


def found() -> dict[str, list[dict[str, Any]]]:
    """Four agents in a square; what the IALS and the AIPs get wrong grows with the agent's number."""
    near = [
        {
            "agent": k,
            "row": k // 2,
            "column": k % 2,
            "gs_return": 10.0 + k,
            "gs_return_se": 0.1,
            "ials_return": 10.0 + 2 * k,
            "ials_return_se": 0.2,
            "bit_difference_mean": 0.01 * k,
            "bit_difference_max": 0.1 * k,
            "influence_ce": 0.2 + 0.1 * k,
        }
        for k in range(4)
    ]
    lemma = [
        {
            "agent": k,
            "aip_version": version,
            "xi": 0.1 * version,
            "xi_max": 0.5,
            "bound": 505.0 * version,
            "value_before": 5.0,
            "value_after": 5.0 + 0.1 * k,
            "value_change": 0.1 * k - 0.2,
            "value_change_se": 0.01,
        }
        for k in range(4)
        for version in (2, 3)
    ]
    sizes = [
        {"process": "training", "count": 1, "peak_mib": 300.0, "total_mib": 300.0},
        {"process": "children", "count": 4, "peak_mib": 100.0, "total_mib": 390.0},
    ]
    return {"fidelity": near, "theory": lemma, "memory": sizes}


def small_tables(folder: Path) -> Tables:
    """Both variants on warehouse-4 with two seeds each: the quick budget."""
    catalogue, experiment = small_catalogue()
    tables = Tables()
    for trial in catalogue.plan(experiment, "quick"):
        returns, seconds = RETURNS[trial.variant.name][trial.seed - 1], 60.0 * trial.seed
        run = folder / trial.name
        write_run(run, summary_of(trial, returns[-1], seconds), returns, seconds)
        summary = json.loads((run / "summary.json").read_text())
        tables.replace(tables_of_run(about(trial), summary, 90.0, run, found()), trial.name)
    return tables

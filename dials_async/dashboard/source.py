"""Where the dashboard's state comes from: ``live.json`` in the folder of a run, or the tables without one.

The state is one JSON object, as docs/dashboard.md describes it. The page knows what to do when a part of it
is missing or null, so nothing here invents values; and keys that nobody here knows are passed on.
"""

import csv
import itertools
import json
import math
import tomllib
from pathlib import Path
from typing import Any, Protocol

from dials_async.run_folder import CONFIG, LIVE, METRICS, REFRESHES, SUMMARY

#: What ``state()`` says about itself: read from live.json, or put together from the tables of the run.
FROM_LIVE, FROM_TABLES = "live", "tables"

_NO_VALUES: dict[str, Any] = {}


class Source(Protocol):
    """Whatever knows how a run is doing."""

    def state(self) -> dict[str, Any]:
        """The state at this moment, plain JSON. Called from several threads, at most some times a second."""
        ...


class FolderSource:
    """The run in a folder; the folder may lack any file, and gain it later."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: dict[str, Any] | None = None

    def state(self) -> dict[str, Any]:
        """live.json with "source" added: FROM_LIVE.

        While live.json is there and cannot be understood, the last one that could is given again: its age
        shows that something is wrong. Without any it is made from the tables of the run (FROM_TABLES).
        """
        live = _read_json(self._folder / LIVE)
        if isinstance(live, dict):
            self._last = live
        elif (self._folder / LIVE).exists():
            live = self._last
        if isinstance(live, dict):
            return {**live, "source": FROM_LIVE}
        return {**from_tables(self._folder), "source": FROM_TABLES}


def from_tables(folder: Path) -> dict[str, Any]:
    """The state of a run without live.json, as far as config.toml, the tables and the summary tell it."""
    config, summary = _read_toml(folder / CONFIG), _read_json(folder / SUMMARY)
    summary = summary if isinstance(summary, dict) else _NO_VALUES
    evaluations = _read_table(folder / METRICS)
    refreshes = _read_table(folder / REFRESHES)
    baselines = summary.get("baselines") or _baselines(evaluations)
    if summary and evaluations:
        evaluations[-1] |= {"final": True, "return_per_agent": summary.get("return_per_agent")}
    run, schedule = _section(config, "run"), _section(config, "schedule")
    steps_done = summary.get("agent_steps", evaluations[-1].get("steps") if evaluations else None)
    agents = summary.get("agents")
    learning = _section(summary, "learning")
    now = {
        "run": folder.resolve().name,
        "preset": summary.get("preset", config.get("preset")),
        "simulator": summary.get("simulator", run.get("simulator")),
        "domain": _section(config, "domain").get("name"),
        "seed": summary.get("seed", run.get("seed")),
        "agents": agents,
        "steps": steps_done if summary else run.get("steps"),
        "steps_done": steps_done,
        "total_agent_steps": summary.get("total_agent_steps"),
        "seconds": summary.get("wall_seconds", evaluations[-1].get("seconds") if evaluations else None),
        "agent_steps_per_second": summary.get("agent_steps_per_second"),
        "refresh_steps": schedule.get("refresh_steps"),
        "aip_version": evaluations[-1].get("aip_version") if evaluations else None,
        "aip_refreshes": summary.get("aip_refreshes", len(refreshes)),
        "refreshes": refreshes,
        "evaluations": evaluations,
        "baselines": baselines,
        "published": summary.get("published"),
        "max_policy_lag": _section(config, "rollout").get("max_policy_lag"),
        "policy_lag_messages": learning.get("policy_lag_messages"),
        "messages_dropped": learning.get("messages_dropped"),
    }
    if isinstance(learning.get("last_update"), dict):
        now["groups"] = [{"agents": agents, "steps": steps_done, "health": learning["last_update"]}]
    return {
        "format": 1,
        "at": None,
        "state": "complete" if summary else "stopped",
        "every_s": None,
        "now": now,
        "processes": [],
        "stuck": [],
        "history": _throughput(evaluations, agents),
    }


def _baselines(evaluations: list[dict[str, Any]]) -> dict[str, Any]:
    """Scripted policies stand in every row of metrics.csv, the same numbers in each."""
    last = evaluations[-1] if evaluations else _NO_VALUES
    named = {name.removeprefix("baseline_"): value for name, value in last.items() if "baseline_" in name}
    return {name: value for name, value in named.items() if value is not None}


def _throughput(evaluations: list[dict[str, Any]], agents: Any) -> dict[str, Any]:
    """What the times of the evaluated versions tell about throughput: its mean between two of them."""
    if not isinstance(agents, int):
        return {}
    rows = [row for row in evaluations if row.get("steps") is not None and row.get("seconds") is not None]
    history: dict[str, list[float]] = {"seconds": [], "total_agent_steps": [], "agent_steps_per_second": []}
    for before, after in itertools.pairwise(rows):
        seconds = after["seconds"] - before["seconds"]
        if seconds > 0:
            history["seconds"].append(after["seconds"])
            history["total_agent_steps"].append(after["steps"] * agents)
            history["agent_steps_per_second"].append((after["steps"] - before["steps"]) * agents / seconds)
    return history


def _section(values: Any, name: str) -> dict[str, Any]:
    section = values.get(name)
    return section if isinstance(section, dict) else _NO_VALUES


def _read_json(path: Path) -> Any:
    """The content of a JSON file, NaN and infinity as None; None if it is missing or cannot be understood."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError):
        return None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}


def _read_table(path: Path) -> list[dict[str, Any]]:
    """Rows of a CSV file of numbers, in the order of their steps; a cell that holds none is None."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    rows = [
        {key: _number(cell) for key, cell in row.items() if key} for row in csv.DictReader(text.splitlines())
    ]
    return sorted((row for row in rows if row.get("steps") is not None), key=lambda row: row["steps"])


def _number(cell: str | None) -> float | None:
    try:
        value = float(cell or "")
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None

"""What a report is made of: a run folder, read and checked (``summary.json``, ``metrics.csv``, ...).

``summary.json`` and ``metrics.csv`` must be there; ``refreshes.csv``, ``config.toml`` and ``scene.json`` may
be missing. Whatever is there must be right: a file that cannot be understood is a ``UsageError`` of one line
that names the file and the field.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from dials_async.errors import RunNotFoundError, UsageError
from dials_async.report.scene import validate_scene
from dials_async.run_folder import CONFIG, METRICS, REFRESHES, SCENE, SUMMARY

#: Columns of a CSV file by name, each [rows]; an empty cell is NaN.
Table = Mapping[str, NDArray[np.float64]]

METRICS_REQUIRED = ("steps", "seconds", "return_mean")
METRICS_OPTIONAL = (
    "return_se",
    "greedy_return_mean",
    "greedy_return_se",
    "influence_ce_mean",
    "influence_ce_min",
    "influence_ce_max",
    "aip_version",
)
REFRESHES_REQUIRED = ("steps", "ce_before", "ce_after")
REFRESHES_OPTIONAL = ("aip_version", "ce_marginal", "seconds")


@dataclass(frozen=True)
class Score:
    """A mean return per episode and agent, with its standard error (NaN if unknown)."""

    mean: float
    se: float = math.nan


@dataclass(frozen=True)
class Run:
    """One finished run. A figure that the summary lacks is NaN, None or empty, and its part is left out."""

    name: str
    preset: str
    simulator: str
    seed: int | None
    agents: int
    agent_steps: int
    total_agent_steps: int
    wall_seconds: float
    agent_steps_per_second: float
    seconds: Mapping[str, float]
    """Busy seconds by phase, summed over threads."""
    cpu_seconds: Mapping[str, float]
    """CPU seconds by phase; empty for a run that did not count them."""
    final: Score
    greedy: Score | None
    eval_episodes: int | None
    baselines: Mapping[str, Score]
    published: Mapping[str, float]
    published_note: str
    """What differs from this run where they were measured."""
    return_per_agent: Sequence[float]
    influence_ce: float
    """Mean over agents at the end of the run, nats."""
    aip_refreshes: int | None
    weights_sha256: str
    not_reproducible: str
    """Why its result cannot be had again; "" if it can."""
    versions: Mapping[str, str]
    machine: Mapping[str, str]
    date: str
    command: str
    metrics: Table
    refreshes: Table | None
    config: str | None
    scene: Mapping[str, Any] | None


def read_run(folder: Path) -> Run:
    """The run in ``folder``.

    Raises:
        RunNotFoundError: there is no such folder.
        UsageError: a required file is missing, or a file cannot be understood.
    """
    if not folder.is_dir():
        raise RunNotFoundError(f"no run folder at {folder}")
    if (folder / CONFIG).is_file() and not (folder / SUMMARY).is_file():
        raise UsageError(
            f"{folder / 'summary.json'} is missing: the run is not finished. "
            f"Go on with: dials train --run {folder.name} --resume"
        )
    fields = _Fields(folder / SUMMARY, _read_json(folder / SUMMARY))
    agents, agent_steps = fields.whole("agents"), fields.whole("agent_steps")
    wall_seconds = fields.number("wall_seconds")
    total = fields.optional_whole("total_agent_steps")
    total = agents * agent_steps if total is None else total
    rate = fields.number("agent_steps_per_second", total / wall_seconds if wall_seconds > 0 else math.nan)
    greedy_mean = fields.number("final_greedy_return_mean", math.nan)
    refreshes, config, scene = folder / REFRESHES, folder / CONFIG, folder / SCENE
    return Run(
        name=folder.resolve().name,
        preset=fields.text("preset"),
        simulator=fields.text("simulator"),
        seed=fields.optional_whole("seed"),
        agents=agents,
        agent_steps=agent_steps,
        total_agent_steps=total,
        wall_seconds=wall_seconds,
        agent_steps_per_second=rate,
        seconds=fields.numbers("seconds"),
        cpu_seconds=fields.numbers("cpu_seconds"),
        final=Score(fields.number("final_return_mean"), fields.number("final_return_se", math.nan)),
        greedy=None
        if math.isnan(greedy_mean)
        else Score(greedy_mean, fields.number("final_greedy_return_se", math.nan)),
        eval_episodes=fields.optional_whole("eval_episodes"),
        baselines=fields.scores("baselines", "baseline_standard_errors"),
        published=fields.numbers("published"),
        published_note=fields.text("published_note", ""),
        return_per_agent=fields.number_list("return_per_agent"),
        influence_ce=fields.number("influence_ce", math.nan),
        aip_refreshes=fields.optional_whole("aip_refreshes"),
        weights_sha256=fields.text("weights_sha256", ""),
        not_reproducible=fields.text("not_reproducible", ""),
        versions=fields.texts("versions"),
        machine=fields.texts("machine"),
        date=fields.text("date", ""),
        command=fields.text("command", ""),
        metrics=_read_table(folder / METRICS, METRICS_REQUIRED, METRICS_OPTIONAL),
        refreshes=_read_table(refreshes, REFRESHES_REQUIRED, REFRESHES_OPTIONAL, may_be_empty=True)
        if refreshes.exists()
        else None,
        config=_read_text(config) if config.exists() else None,
        scene=validate_scene(_read_json(scene), str(scene)) if scene.exists() else None,
    )


class _Fields:
    """The fields of a JSON object, taken out with their type checked; null counts as missing."""

    def __init__(self, path: Path, values: Any) -> None:
        if not isinstance(values, dict):
            raise UsageError(f"{path} must hold a JSON object")
        self._path = path
        self._values: dict[str, Any] = {k: v for k, v in values.items() if v is not None}

    def _wrong(self, key: str, wanted: str) -> UsageError:
        found = f"found {self._values[key]!r:.60}" if key in self._values else "it is missing"
        return UsageError(f"{self._path}: {key} must be {wanted}; {found}")

    def number(self, key: str, default: float | None = None) -> float:
        value = self._values.get(key, default)
        if not _is_number(value) or (key in self._values and not math.isfinite(value)):
            raise self._wrong(key, "a finite number")
        return float(value)

    def whole(self, key: str) -> int:
        value = self._values.get(key)
        if not _is_number(value) or not math.isfinite(value) or value != int(value) or value < 0:
            raise self._wrong(key, "a whole number, 0 or more")
        return int(value)

    def optional_whole(self, key: str) -> int | None:
        return self.whole(key) if key in self._values else None

    def text(self, key: str, default: str | None = None) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def _mapping(self, key: str, wanted: str) -> dict[str, Any]:
        value = self._values.get(key, {})
        if not isinstance(value, dict):
            raise self._wrong(key, wanted)
        return {name: entry for name, entry in value.items() if entry is not None}

    def numbers(self, key: str) -> dict[str, float]:
        wanted = "an object of finite numbers"
        value = self._mapping(key, wanted)
        if not all(_is_number(entry) and math.isfinite(entry) for entry in value.values()):
            raise self._wrong(key, wanted)
        return {name: float(entry) for name, entry in value.items()}

    def texts(self, key: str) -> dict[str, str]:
        return {name: str(entry) for name, entry in self._mapping(key, "an object").items()}

    def scores(self, key: str, errors_key: str) -> dict[str, Score]:
        """Means under ``key``, with their standard errors under ``errors_key`` where they are known."""
        errors = self.numbers(errors_key)
        return {name: Score(mean, errors.get(name, math.nan)) for name, mean in self.numbers(key).items()}

    def number_list(self, key: str) -> list[float]:
        value = self._values.get(key, [])
        if not isinstance(value, list) or not all(_is_number(v) and math.isfinite(v) for v in value):
            raise self._wrong(key, "a list of finite numbers")
        return [float(v) for v in value]


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path} is missing: is {path.parent} the folder of a finished run?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None


def _read_json(path: Path) -> Any:
    text = _read_text(path)
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not valid JSON: {error}") from None


def _read_table(
    path: Path, required: Sequence[str], optional: Sequence[str], may_be_empty: bool = False
) -> Table:
    """Columns of a CSV file; missing optional columns are all NaN, columns we do not know are ignored."""
    rows = [row for row in csv.reader(_read_text(path).splitlines()) if row]
    header = rows[0] if rows else []
    missing = [name for name in required if name not in header]
    if missing:
        raise UsageError(f"{path}: the header lacks {', '.join(missing)}")
    if len(rows) < 2 and not may_be_empty:
        raise UsageError(f"{path} holds no rows")
    table = {}
    for name in (*required, *optional):
        column = np.full(len(rows) - 1, math.nan)
        for i, row in enumerate(rows[1:] if name in header else []):
            if len(row) != len(header):
                raise UsageError(f"{path}, row {i + 1}: {len(row)} cells, but the header has {len(header)}")
            cell = row[header.index(name)].strip()
            try:
                column[i] = float(cell) if cell else math.nan
            except ValueError:
                raise UsageError(f"{path}, row {i + 1}: {name} is {cell!r:.40}, not a number") from None
            if math.isinf(column[i]) or (name in METRICS_REQUIRED and math.isnan(column[i])):
                raise UsageError(f"{path}, row {i + 1}: {name} must be a finite number; found {cell!r:.40}")
        table[name] = column
    return table

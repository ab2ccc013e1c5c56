"""The CSV files of an experiment, docs/results/NAME/: what finished runs leave, and what figures are made of.

runs.csv       one row a trial: settings, returns, cost, machine
curves.csv     one row an evaluation of a trial
refreshes.csv  one row an AIP refresh of a trial
references.csv scripted policies and published values, by preset
memory.csv     one row a kind of process of a trial: how many at once, MiB of the largest and of all
fidelity.csv, theory.csv
               what an analysis of the finished trial found, if the experiment asks for one
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dials_async.errors import UsageError
from dials_async.run_folder import METRICS, REFRESHES, write_table

Row = Mapping[str, str]

PHASES = ("collect", "aip", "rollout", "learn", "evaluate")

_COLUMNS: dict[str, tuple[str, ...]] = {
    "runs": (
        *("trial", "preset", "simulator", "variant", "seed", "agents", "steps"),
        *("return_mean", "return_se", "greedy_return_mean", "greedy_return_se", "episodes", "influence_ce"),
        *("wall_seconds", "agent_steps_per_second", *(f"{phase}_seconds" for phase in PHASES)),
        *("cpu_seconds", "weights_sha256", "fingerprint"),
        *("cpu", "cores", "memory_gib", "system", "dials_async", "date", "command"),
    ),
    "curves": (
        *("trial", "steps", "seconds", "return_mean", "return_se", "greedy_return_mean"),
        *("influence_ce_mean", "influence_ce_min", "influence_ce_max"),
    ),
    "refreshes": ("trial", "aip_version", "steps", "ce_before", "ce_after", "ce_marginal", "seconds"),
    "references": ("preset", "kind", "name", "mean", "se"),
    "memory": ("trial", "process", "count", "peak_mib", "total_mib"),
    "fidelity": (
        *("trial", "agent", "row", "column", "gs_return", "gs_return_se", "ials_return", "ials_return_se"),
        *("bit_difference_mean", "bit_difference_max", "influence_ce"),
    ),
    "theory": (
        *("trial", "agent", "aip_version", "xi", "xi_max", "bound"),
        *("value_before", "value_after", "value_change", "value_change_se"),
    ),
}

#: Tables that only some experiments have.
ANALYSES = ("fidelity", "theory")

#: Columns that tell rows of a table apart.
_KEYS = {
    "runs": ("trial",),
    "curves": ("trial", "steps"),
    "refreshes": ("trial", "aip_version"),
    "references": ("preset", "kind", "name"),
    "memory": ("trial", "process"),
    "fidelity": ("trial", "agent"),
    "theory": ("trial", "aip_version", "agent"),
}


@dataclass
class Tables:
    """The tables of one experiment, by name; rows as they stand in the files, in an order of their own."""

    rows: dict[str, list[Row]] = field(default_factory=lambda: {name: [] for name in _COLUMNS})

    def finished(self) -> dict[str, Row]:
        """The runs, by trial."""
        return {row["trial"]: row for row in self.rows["runs"]}

    def of(self, table: str, trial: str) -> list[Row]:
        """Rows of ``trial``."""
        return [row for row in self.rows[table] if row["trial"] == trial]

    def without(self, trials: Sequence[str]) -> "Tables":
        """All but what is known of ``trials``."""
        return Tables(
            {
                name: [row for row in rows if row.get("trial") not in trials]
                for name, rows in self.rows.items()
            }
        )

    def only(self, analysis: str | None) -> "Tables":
        """Without what other analyses than ``analysis`` found."""
        others = [name for name in ANALYSES if name != analysis]
        return Tables({name: [] if name in others else rows for name, rows in self.rows.items()})

    def replace(self, new: "Tables", trial: str) -> None:
        """Take all that ``new`` knows of ``trial`` and of its preset, and forget what was known before."""
        preset = new.finished()[trial]["preset"]
        for name in _COLUMNS:
            column, value = ("preset", preset) if name == "references" else ("trial", trial)
            found = [row for row in new.rows[name] if row[column] == value]
            if name == "references" and not found:
                continue  # short runs measure none
            self.rows[name] = _in_order(
                name, [row for row in self.rows[name] if row[column] != value] + found
            )

    def write(self, folder: Path) -> None:
        """Write all files. Raises UsageError."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, columns in _COLUMNS.items():
            path = folder / f"{name}.csv"
            if self.rows[name] or name not in ANALYSES:
                write_table(path, columns, self.rows[name])
            else:
                path.unlink(missing_ok=True)


def read_tables(folder: Path) -> Tables:
    """The tables in ``folder``; empty where there are none. Raises UsageError for files of another kind."""
    tables = Tables()
    for name, columns in _COLUMNS.items():
        path = folder / f"{name}.csv"
        if not path.exists():
            continue
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(f"{path}: the header lacks {', '.join(missing)}")
            tables.rows[name] = list(reader)
    return tables


def tables_of_run(
    trial: Mapping[str, Any],
    summary: Mapping[str, Any],
    cpu_seconds: float | None,
    folder: Path,
    found: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Tables:
    """The rows of a finished run.

    Args:
        trial: its "trial", "preset", "simulator", "variant", "seed" and "fingerprint".
        summary: content of its summary.json.
        cpu_seconds: of all its processes, if known.
        folder: of the run, with metrics.csv and, perhaps, refreshes.csv.
        found: rows of its memory and of its analyses, by table.
    """
    name = {"trial": trial["trial"]}
    wanted = ("agents", "influence_ce", "wall_seconds", "agent_steps_per_second", "weights_sha256", "date")
    machine = summary["machine"]
    run = {
        **trial,
        **{column: summary[column] for column in wanted},
        "steps": summary["agent_steps"],
        "return_mean": summary["final_return_mean"],
        "return_se": summary["final_return_se"],
        "greedy_return_mean": summary["final_greedy_return_mean"],
        "greedy_return_se": summary["final_greedy_return_se"],
        "episodes": summary["eval_episodes"],
        **{f"{phase}_seconds": summary["seconds"].get(phase, 0.0) for phase in PHASES},
        "cpu_seconds": cpu_seconds,
        **{key: machine[key] for key in ("cpu", "cores", "memory_gib", "system")},
        "dials_async": summary["versions"]["dials-async"],
        "command": summary["command"],
    }
    references = [("measured", summary["baselines"], summary["baseline_standard_errors"])]
    references.append(("published", summary["published"], {}))
    rows: dict[str, list[Mapping[str, Any]]] = {
        "runs": [run],
        "curves": [{**name, **row} for row in _read(folder / METRICS)],
        "refreshes": [{**name, **row} for row in _read(folder / REFRESHES)],
        "references": [
            {"preset": trial["preset"], "kind": kind, "name": key, "mean": mean, "se": errors.get(key)}
            for kind, means, errors in references
            for key, mean in means.items()
        ],
        **{table: [{**name, **row} for row in found.get(table, ())] for table in ("memory", *ANALYSES)},
    }
    return Tables({table: [_as_text(table, row) for row in rows[table]] for table in _COLUMNS})


def number(row: Row, column: str) -> float:
    """A cell as a number; NaN if it is empty."""
    return float(row[column]) if row.get(column) else math.nan


def numbers(rows: Sequence[Row], column: str) -> list[float]:
    """A column as numbers."""
    return [number(row, column) for row in rows]


def _read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _as_text(table: str, row: Mapping[str, Any]) -> Row:
    """The cells as the file will say them: figures do not depend on whether it was read back."""
    cells = {column: row.get(column) for column in _COLUMNS[table]}
    texts = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in cells.items()}
    return {key: "" if value is None else str(value) for key, value in texts.items()}


def _in_order(table: str, rows: Sequence[Row]) -> list[Row]:
    """Equal data, equal bytes: whatever ran first."""
    return sorted(rows, key=lambda row: [_sortable(row[column]) for column in _KEYS[table]])


def _sortable(cell: str) -> tuple[float, str]:
    try:
        return float(cell), ""
    except ValueError:
        return -1.0, cell

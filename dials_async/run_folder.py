"""The folder of a run, runs/NAME/: making it, finding it, and writing its files whole or not at all."""

import csv
import io
import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dials_async.atomic import write_atomically
from dials_async.config import Config, config_from_dict
from dials_async.errors import ConfigError, RunExistsError, RunNotFoundError, UsageError
from dials_async.locking import lock

CONFIG, METRICS, REFRESHES, SUMMARY, SCENE, LIVE, NETWORKS = (
    "config.toml",
    "metrics.csv",
    "refreshes.csv",
    "summary.json",
    "scene.json",
    "live.json",
    "networks.json",
)
CHECKPOINTS = "checkpoints"

METRIC_COLUMNS = (
    "steps",
    "seconds",
    "return_mean",
    "return_se",
    "greedy_return_mean",
    "greedy_return_se",
    "influence_ce_mean",
    "influence_ce_min",
    "influence_ce_max",
    "aip_version",
    "episodes",
)
REFRESH_COLUMNS = ("aip_version", "steps", "ce_before", "ce_after", "ce_marginal", "epochs", "seconds")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def runs_root() -> Path:
    """Where runs are kept: $DIALS_RUNS, else ./runs."""
    return Path(os.environ.get("DIALS_RUNS", "runs"))


def run_path(name: str) -> Path:
    """Folder of the run ``name``, which must be a plain name. Raises UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is no name for a run: letters, digits, '.', '_' and '-', at most 100")
    return runs_root() / name


def create_run(name: str, config: Config) -> Path:
    """Make the folder and write its configuration. Raises RunExistsError, UsageError."""
    folder = run_path(name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a file of that name, too
        raise UsageError(f"cannot make the folder {folder.parent}: {error.strerror or error}") from error
    try:
        folder.mkdir()
    except FileExistsError:
        raise RunExistsError(
            f"a run '{name}' exists in {folder.parent}: choose another --run, or go on with it (--resume)"
        ) from None
    except OSError as error:
        raise UsageError(f"cannot write to {folder.parent}: {error.strerror or error}") from error
    write_file(folder / CONFIG, config.to_toml())
    return folder


def find_run(name: str) -> Path:
    """Folder of an existing run, by name or by path. Raises RunNotFoundError."""
    folder = Path(name) if "/" in name else run_path(name)
    if not (folder / CONFIG).is_file():
        known = sorted(path.parent.name for path in runs_root().glob(f"*/{CONFIG}"))
        there = f"; there are {', '.join(known[:8])}" if known else ""
        raise RunNotFoundError(f"no run '{name}' in {folder.parent}{there}")
    return folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the run for this process; the lock goes with the process, however it ends.

    Raises UsageError if another one has it.
    """
    try:
        handle = lock(folder)
    except BlockingIOError:
        raise UsageError(f"the run '{folder.name}' is being trained by another process") from None
    try:
        yield
    finally:
        os.close(handle)


def read_config(folder: Path) -> Config:
    """The configuration that a run was started with. Raises ConfigError."""
    path = folder / CONFIG
    try:
        return config_from_dict(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def write_file(path: Path, text: str) -> None:
    """Write a whole file or leave the old one: a reader never sees half. Raises UsageError."""
    try:
        write_atomically(path, text)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as readable JSON."""
    write_file(path, json.dumps(value, indent=2) + "\n")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``columns`` of ``rows`` as CSV; None becomes an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row.get(column) is None else _cell(row[column]) for column in columns])
    write_file(path, text.getvalue())


def _cell(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value

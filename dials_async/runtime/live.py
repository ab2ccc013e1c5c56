"""The live state of a run, for who watches it: runs/NAME/live.json for the dashboard, gauges for Prometheus.

Written about every EVERY_S by the process that keeps the run's folder. Its history is bounded: when it is
full, every second sample goes and samples are taken half as often.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dials_async.errors import UsageError
from dials_async.metrics.instruments import Metrics
from dials_async.runtime.folder import LIVE, write_atomically
from dials_async.runtime.run_metrics import RunMetrics

#: Counted up when the content changes in a way that a reader has to know.
FORMAT = 1

#: Seconds between two states.
EVERY_S = 2.0

#: Samples of the history at most: a chart has about as many pixels.
MAX_SAMPLES = 600

#: Seconds over which the rate is measured.
RATE_OVER_S = 10.0

RUNNING, STOPPED, COMPLETE, FAILED = "running", "stopped", "complete", "failed"

_COLUMNS = (
    "seconds",
    "total_agent_steps",
    "agent_steps_per_second",
    "lag_mean",
    "tasks",
    "experience",
    "workers",
    "memory_mib",
)


@dataclass(frozen=True)
class Look:
    """What is found when the run is looked at."""

    now: Mapping[str, Any]
    """See ``run_state``."""
    processes: list[dict[str, Any]]
    """name, role, host, pid, doing, busy_with, memory_mib, age_s of each that was heard of lately."""
    stuck: list[str]
    """Why there is no progress, or soon will be none; a line each."""


class LiveState:
    """Keeps live.json and the gauges of the run up to date."""

    def __init__(self, folder: Path, metrics: Metrics, look: Callable[[], Look]) -> None:
        self._path = folder / LIVE
        self._look = look
        self._gauges = RunMetrics(metrics)
        self._history: dict[str, list[float | None]] | None = None
        self._between_s = EVERY_S  # samples of the history, in seconds of the run
        self._recent: deque[tuple[float, int]] = deque()
        self._lags: tuple[int, float] = (0, 0.0)  # messages, sum of their lags, at the last sample
        self._next = 0.0
        self._has_warned = False

    def update(self) -> None:
        """Write the state if it is due; call it several times a second."""
        if time.monotonic() >= self._next:
            self.write(RUNNING)

    def write(self, state: str) -> None:
        """Write it now; ``state`` is RUNNING, STOPPED, COMPLETE or FAILED."""
        look = self._look()
        history = self._history if self._history is not None else self._read_history(look.now["seconds"])
        self._history = history
        rate = self._rate(look.now)
        if state != RUNNING or self._is_due(history, look.now["seconds"]):
            self._sample(history, look, rate)
        roles: dict[str, int] = {}
        for process in look.processes:
            roles[process["role"]] = roles.get(process["role"], 0) + 1
        self._gauges.show(look.now, roles, state == COMPLETE)
        document = {
            "format": FORMAT,
            "at": round(time.time(), 3),
            "state": state,
            "every_s": EVERY_S,
            "now": {**look.now, "agent_steps_per_second": rate},
            "processes": look.processes,
            "stuck": look.stuck if state == RUNNING else [],
            "history": history,
        }
        try:
            if self._path.parent.is_dir():
                write_atomically(self._path, json.dumps(document, separators=(",", ":")))
        except UsageError as error:  # training goes on without being watched
            if not self._has_warned:
                print(f"warning: the dashboard stands still: {error}", file=sys.stderr, flush=True)
            self._has_warned = True
        self._next = time.monotonic() + EVERY_S

    def _rate(self, now: Mapping[str, Any]) -> float | None:
        self._recent.append((time.monotonic(), now["total_agent_steps"]))
        while len(self._recent) > 2 and self._recent[-1][0] - self._recent[0][0] > RATE_OVER_S:
            self._recent.popleft()
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        # A restored store may be behind what was seen.
        return round(max(0, after - before) / (last - first), 1) if last > first else None

    def _is_due(self, history: Mapping[str, list[float | None]], seconds: float) -> bool:
        times = history["seconds"]
        return not times or seconds - (times[-1] or 0.0) >= 0.75 * self._between_s

    def _sample(self, history: dict[str, list[float | None]], look: Look, rate: float | None) -> None:
        now = look.now
        messages = sum(now["policy_lag_messages"].values())
        lags = float(sum(int(lag) * n for lag, n in now["policy_lag_messages"].items()))
        used = messages - self._lags[0]
        memory = [process["memory_mib"] for process in look.processes if process["memory_mib"] is not None]
        values = {
            "seconds": now["seconds"],
            "total_agent_steps": now["total_agent_steps"],
            "agent_steps_per_second": rate,
            "lag_mean": round((lags - self._lags[1]) / used, 4) if used > 0 else None,
            "tasks": now["queues"]["rollout tasks"] + now["queues"]["GS tasks"],
            "experience": now["queues"]["experience"],
            "workers": sum(process["role"] == "rollout" for process in look.processes),
            "memory_mib": round(sum(memory), 1),
        }
        self._lags = (messages, lags)
        for column in _COLUMNS:
            history[column].append(values[column])
        if len(history["seconds"]) > MAX_SAMPLES:
            self._between_s *= 2
            for column in _COLUMNS:
                history[column] = history[column][::2]

    def _read_history(self, seconds: float) -> dict[str, list[float | None]]:
        """What the sessions before wrote, as far as the run has not gone back behind it."""
        empty: dict[str, list[float | None]] = {column: [] for column in _COLUMNS}
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))["history"]
            rows = list(zip(*(known[column] for column in _COLUMNS), strict=True))
            rows = [row for row in rows if row[0] <= seconds]
        except (OSError, ValueError, KeyError, TypeError):  # none, or of another format
            return empty
        if len(rows) > 1:
            self._between_s = max(EVERY_S, (rows[-1][0] - rows[0][0]) / (len(rows) - 1))
        return {column: [row[k] for row in rows] for k, column in enumerate(_COLUMNS)}

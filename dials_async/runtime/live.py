"""The live state of a run, for who watches it: runs/NAME/live.json for the dashboard, gauges for Prometheus.

Written about every EVERY_S by the process that keeps the run's folder. Its history is bounded: when it is
full, every second sample goes and samples are taken half as often.
"""

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dials_async.errors import UsageError
from dials_async.metrics.instruments import Metrics
from dials_async.run_folder import LIVE, write_file
from dials_async.runtime.run_metrics import RunMetrics

#: Counted up when the content changes in a way that a reader has to know.
FORMAT = 1

#: Seconds between two states.
EVERY_S = 2.0

#: A reader takes a run for dead that has been silent for so many times ``every_s``.
SILENT_AFTER = 5

#: Seconds that kernels may take to compile before the run seems to hang.
STARTING_S = 300.0

#: Samples of the history at most: a chart has about as many pixels.
MAX_SAMPLES = 600

#: Seconds over which the rate is measured.
RATE_OVER_S = 10.0

RUNNING, STOPPED, COMPLETE, FAILED = "running", "stopped", "complete", "failed"

#: Of the history: equal lengths, "seconds" are those of the run.
COLUMNS = (
    "seconds",
    "total_agent_steps",
    "agent_steps_per_second",
    "lag_mean",
    "tasks",
    "experience",
    "workers",
    "memory_mib",
)


History = dict[str, list[float | None]]


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
        self._recorder: Recorder | None = None
        self._next = 0.0
        self._has_warned = False

    def update(self) -> None:
        """Write the state if it is due; call it several times a second."""
        if time.monotonic() >= self._next:
            self.write(RUNNING)

    def starting(self, what: str) -> None:
        """Say that the run is not at work yet, and why; for at most STARTING_S nothing more is written."""
        look = self._look()
        document = Recorder().document(replace(look, stuck=[what]), RUNNING)
        # No sample: the clock of the run has not started.
        history = read_history(self._path, look.now["seconds"]) or {column: [] for column in COLUMNS}
        self._write({**document, "every_s": STARTING_S / SILENT_AFTER, "history": history})

    def write(self, state: str, seconds: float | None = None) -> None:
        """Write it now; ``state`` is RUNNING, STOPPED, COMPLETE or FAILED; ``seconds``: of the summary."""
        look = self._look()
        if seconds is not None:
            look = replace(look, now={**look.now, "seconds": seconds})
        if state == COMPLETE:  # who is still there only writes this
            look = replace(look, processes=[])
        if self._recorder is None:
            self._recorder = Recorder(read_history(self._path, look.now["seconds"]))
        document = self._recorder.document(look, state)
        roles = Counter(process["role"] for process in look.processes)
        self._gauges.show(look.now, roles, state == COMPLETE)
        self._write(document)
        self._next = time.monotonic() + EVERY_S

    def _write(self, document: Mapping[str, Any]) -> None:
        try:
            if self._path.parent.is_dir():
                write_file(self._path, json.dumps(document, separators=(",", ":")))
        except UsageError as error:  # training goes on without being watched
            if not self._has_warned:
                print(f"warning: the dashboard stands still: {error}", file=sys.stderr, flush=True)
            self._has_warned = True


class Recorder:
    """Makes the document of live.json from looks at the run, and keeps their history."""

    def __init__(self, history: History | None = None) -> None:
        """``history``: what sessions before have left."""
        self._history = history or {column: [] for column in COLUMNS}
        self._between_s = EVERY_S  # samples of the history, in seconds of the run
        times = [seconds for seconds in self._history["seconds"] if seconds is not None]
        if len(times) > 1:
            self._between_s = max(EVERY_S, (times[-1] - times[0]) / (len(times) - 1))
        self._recent: deque[tuple[float, int]] = deque()
        self._lags: tuple[int, float] = (0, 0.0)  # messages, sum of their lags, at the last sample

    def document(self, look: Look, state: str) -> dict[str, Any]:
        """The state now, with its history (docs/files.md)."""
        rate = self._rate(look.now)
        if self._is_due(look.now, state):
            self._sample(look, rate)
        return {
            "format": FORMAT,
            "at": round(time.time(), 3),
            "state": state,
            "every_s": EVERY_S,
            "now": {**look.now, "agent_steps_per_second": rate},
            "processes": look.processes,
            "stuck": look.stuck if state == RUNNING else [],
            "history": self._history,
        }

    def _rate(self, now: Mapping[str, Any]) -> float | None:
        self._recent.append((time.monotonic(), now["total_agent_steps"]))
        while len(self._recent) > 2 and self._recent[-1][0] - self._recent[0][0] > RATE_OVER_S:
            self._recent.popleft()
        (first, before), (last, after) = self._recent[0], self._recent[-1]
        # A restored store may be behind what was seen.
        return round(max(0, after - before) / (last - first), 1) if last > first else None

    def _is_due(self, now: Mapping[str, Any], state: str) -> bool:
        times, steps = self._history["seconds"], self._history["total_agent_steps"]
        if state != RUNNING:  # the last steps, however soon; not the time that the report took
            return not steps or now["total_agent_steps"] != steps[-1]
        return not times or now["seconds"] - (times[-1] or 0.0) >= 0.75 * self._between_s

    def _sample(self, look: Look, rate: float | None) -> None:
        now, history = look.now, self._history
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
            # At its end a run has no processes any more: nothing is known, rather than that it had none.
            "workers": sum(p["role"] == "rollout" for p in look.processes) if look.processes else None,
            "memory_mib": round(sum(memory), 1) if memory else None,
        }
        self._lags = (messages, lags)
        for column in COLUMNS:
            history[column].append(values[column])
        if len(history["seconds"]) > MAX_SAMPLES:
            self._between_s *= 2
            for column in COLUMNS:
                history[column] = history[column][::2]


def read_history(path: Path, seconds: float) -> History | None:
    """What earlier sessions wrote, as far as the run has not gone back behind it; None if nothing."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["history"]
        rows = list(zip(*(known[column] for column in COLUMNS), strict=True))
        rows = [row for row in rows if row[0] <= seconds]
    except (OSError, ValueError, KeyError, TypeError):  # none, or of another format
        return None
    return {column: [row[k] for row in rows] for k, column in enumerate(COLUMNS)}

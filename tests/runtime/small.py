"""Runs that take about a second: settings, and ways to train, stop and resume them inside a test."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dials_async.config import Config, load_config
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.warmup import compile_kernels

#: One update is 2 x 8 episodes of 100 steps: 4 updates, 2 refreshes, 3 evaluations.
SMALL = (
    "run.steps=6400",
    "rollout.episodes_per_task=8",
    "aip.gs_steps=1000",
    "aip.epochs=2",
    "schedule.refresh_steps=3200",
    "schedule.eval_steps=3200",
    "schedule.eval_episodes=2",
    "schedule.final_eval_episodes=4",
)

#: A run that makes no progress fails its test instead of hanging it. Generous: the machine may be busy.
DEADLINE_S = 300.0


#: The same for traffic, whose episodes take 300 steps: 4 updates, 2 refreshes, 3 evaluations.
SMALL_TRAFFIC = (
    "run.steps=4800",
    "rollout.episodes_per_task=2",
    "aip.gs_steps=600",
    "aip.epochs=2",
    "schedule.refresh_steps=2400",
    "schedule.eval_steps=2400",
    "schedule.eval_episodes=1",
    "schedule.final_eval_episodes=2",
)


def small_config(*settings: str) -> Config:
    return load_config("warehouse-4", [*SMALL, *settings])


def small_traffic(*settings: str) -> Config:
    return load_config("traffic-4", [*SMALL_TRAFFIC, *settings])


def as_options(settings: Sequence[str]) -> list[str]:
    """Settings as the command line takes them."""
    return [word for text in settings for word in ("--set", text)]


def session(
    folder: Path,
    config: Config,
    resume: bool = False,
    stop_when: Callable[[EmbeddedRun], bool] | None = None,
) -> tuple[EmbeddedRun, bool]:
    """One session: to the end, or until another thread sees ``stop_when``. Returns (run, complete)."""
    compile_kernels(config, quiet=True)  # not on the clock of the deadline
    run = EmbeddedRun("small", config, folder, resume)
    over = threading.Event()

    def watch_from_outside() -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not over.wait(0.002):
            if time.monotonic() > deadline or (stop_when is not None and stop_when(run)):
                run.context.stop.set()
                return

    watcher = threading.Thread(target=watch_from_outside)
    watcher.start()
    try:
        run.start()
        complete = run.wait(lambda: None)
    finally:
        over.set()
        watcher.join()
    return run, complete


def train_to_the_end(folder: Path, config: Config) -> EmbeddedRun:
    run, complete = session(folder, config)
    assert complete
    return run


def evaluations(run: EmbeddedRun) -> list[dict[str, Any]]:
    """Rows of metrics.csv but for the time, by steps."""
    records = run.context.store.records("evaluations")
    rows = [{key: value for key, value in record.items() if key != "seconds"} for record in records]
    return sorted(rows, key=lambda row: row["steps"])

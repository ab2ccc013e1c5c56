"""The files of a run while it trains: checkpoints, tables, and at its end summary and report.

Written by one process: the one that trains an embedded run, or the keeper of a distributed one.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dials_async.errors import CheckpointError, UsageError
from dials_async.metrics.phases import Busy, rounded
from dials_async.report import write_report
from dials_async.run_context import RunContext
from dials_async.run_folder import CHECKPOINTS, NETWORKS, write_json
from dials_async.runtime.described import describe
from dials_async.runtime.live import COMPLETE, LiveState, Look
from dials_async.runtime.results import write_progress, write_results
from dials_async.runtime.wiring import fingerprint_of
from dials_async.store.base import Store
from dials_async.store.checkpoint import load_checkpoint, save_checkpoint

logger = logging.getLogger(__name__)

#: Seconds until tables that could not be written are tried again; checkpoints wait until the next is due.
AGAIN_S = 5.0


class RunFiles:
    """Keeps the folder of a run up to date."""

    def __init__(
        self,
        context: RunContext,
        folder: Path,
        look: Callable[[], Look],
        phases: Callable[[], Busy] | None = None,
    ) -> None:
        """``look`` finds how the run is doing, ``phases`` its seconds by phase (else: of this process)."""
        self._context = context
        self._folder = folder
        self._fingerprint = fingerprint_of(context.config)
        self._phases = phases or context.phases.busy
        self._every_s = context.config.runtime.checkpoint_seconds
        self._next_save = time.monotonic() + self._every_s
        self._rows = -1
        self._next_tables = time.monotonic()
        self._failing: set[str] = set()  # what the disk did not take the last time
        self.live = LiveState(folder, context.metrics, look)

    def update(self) -> None:
        """Write what is due: a checkpoint, the tables after an evaluation. Call it several times a second.

        What the disk does not take is tried again later, and said once: training goes on.
        """
        if time.monotonic() >= self._next_save:
            self._try(self.save_checkpoint)
        self.live.update()
        if time.monotonic() >= self._next_tables:
            self._try(self.write_tables)

    def _try(self, write: Callable[[], None]) -> None:
        name = write.__name__
        try:
            write()
        except (CheckpointError, UsageError, OSError) as error:
            self._next_tables = time.monotonic() + AGAIN_S
            if name not in self._failing:
                logger.warning("%s; training goes on, and this is tried again", error)
            self._failing.add(name)
        else:
            if name in self._failing:
                logger.warning("%s can be written to again", self._folder)
            self._failing.discard(name)

    def write_tables(self) -> None:
        """Write metrics.csv and refreshes.csv if there is something new."""
        rows = len(self._context.store.records("evaluations"))
        if rows != self._rows and self._folder.is_dir():
            write_progress(self._context, self._folder)
            self._rows = rows

    def save_checkpoint(self) -> None:
        """Write a checkpoint now, if anything was committed. Raises CheckpointError, UsageError."""
        self._next_save = time.monotonic() + self._every_s
        context = self._context
        if context.store.aip_version() < 0:
            return
        seconds = context.seconds()
        busy = self._phases()
        record = {
            "id": f"{seconds:.3f}",
            "seconds": round(seconds, 3),
            "phases": rounded(busy.wall),
            "cpu_phases": rounded(busy.cpu),
        }
        context.store.append_record("sessions", record)
        save_checkpoint(self._folder / CHECKPOINTS, context.store.snapshot(), self._fingerprint)
        write_json(self._folder / NETWORKS, describe(context.groups))

    def finish(self, command: str) -> dict[str, Any]:
        """Write everything of a finished run, the report too; returns the summary."""
        summary = write_results(self._context, self._folder, command, self._phases())
        write_report(self._folder)
        self.live.write(COMPLETE, summary["wall_seconds"])
        return summary


def has_checkpoint(folder: Path) -> bool:
    """Whether something of the run in ``folder`` was saved."""
    return any((folder / CHECKPOINTS).glob("checkpoint-*.safetensors"))


def restore_checkpoint(store: Store, folder: Path, fingerprint: str) -> tuple[str, ...]:
    """Take the newest good checkpoint of the run in ``folder`` into the empty ``store``.

    Returns what the user should know, one line each. Raises CheckpointError.
    """
    loaded = load_checkpoint(folder / CHECKPOINTS, fingerprint)
    store.restore(loaded.snapshot)
    return loaded.warnings

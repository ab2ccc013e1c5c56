"""The keeper of a distributed run: progress on the terminal, and its folder: checkpoints, tables, report.

It takes no part in training. It ends when the run is complete, and with it whatever supervises the run.
"""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dials_async.distributed.connection import Connection
from dials_async.distributed.daemon import SILENT_S
from dials_async.distributed.leases import Leases
from dials_async.distributed.roles import STANDBY_S
from dials_async.distributed.status import look
from dials_async.errors import UsageError
from dials_async.metrics.phases import Busy
from dials_async.metrics.targets import forget_run
from dials_async.report.plain import in_words
from dials_async.run_folder import CONFIG, create_run, locked, read_config, run_path, write_file
from dials_async.runtime.files import RunFiles
from dials_async.runtime.live import STOPPED
from dials_async.runtime.progress import ProgressView
from dials_async.runtime.wiring import fingerprint_of, is_complete
from dials_async.store.redis.runs import COMPLETE

#: Seconds between looks at the run.
LOOK_S = 0.5


class Keeper:
    """Implements Role: watches the run to its end and writes runs/NAME/."""

    def __init__(self, connection: Connection, leases: Leases, command: str) -> None:
        self._connection = connection
        self._context = connection.context
        self._leases = leases
        self._command = command
        self._doing = "starting"

    def facts(self) -> Mapping[str, Any]:
        """See Role."""
        return {"doing": self._doing}

    def run(self) -> None:
        """See Role. Raises UsageError if the folder belongs to another run, CheckpointError if it is full."""
        context = self._context
        while (lost := self._leases.take("keeper")) is None:
            self._doing = "standing by: another process is the keeper"
            if context.stop.wait(STANDBY_S):
                return
        folder = self._folder()
        with locked(folder):
            files = RunFiles(context, folder, partial(look, self._connection), self._phases)
            self._doing = "watching"
            with ProgressView(context, self._busy_with, quiet=False) as view:
                while not is_complete(context):
                    if context.stop.wait(LOOK_S) or lost.is_set():
                        break
                    view.update()
                    files.update()
            self._doing = "saving"
            files.save_checkpoint()
            if not is_complete(context):
                files.live.write(STOPPED)
                print(
                    f"stopped; everything is saved in {folder}. "
                    "Start the processes again, and the run goes on",
                    file=sys.stderr,
                    flush=True,
                )
                return
            self._doing = "writing the report"
            summary = files.finish(self._command)
        self._connection.registry.set_status(context.name, COMPLETE)
        forget_run(context.name)  # those that died and were never started again are still targets
        print(in_words(summary, folder), flush=True)

    def _folder(self) -> Path:
        name, config = self._context.name, self._context.config
        folder = run_path(name)
        if not folder.exists():
            return create_run(name, config)
        saved = read_config(folder) if (folder / CONFIG).exists() else None
        if saved is not None and fingerprint_of(saved) != fingerprint_of(config):
            raise UsageError(
                f"{folder} holds another run of that name: move it away, or choose another --run"
            )
        if saved is None or saved.to_toml() != config.to_toml():  # nothing to write: the disk may be full
            write_file(folder / CONFIG, config.to_toml())
        return folder

    def _phases(self) -> Busy:
        """Seconds by phase over all processes that were ever announced."""
        processes = self._connection.registry.processes(self._context.name)
        total: dict[str, dict[str, float]] = {"phases": {}, "cpu_phases": {}}
        for presence in processes.values():
            for kind, by_phase in total.items():
                for phase, seconds in presence.facts.get(kind, {}).items():
                    by_phase[phase] = by_phase.get(phase, 0.0) + float(seconds)
        return Busy(total["phases"], total["cpu_phases"])

    def _busy_with(self) -> set[str]:
        processes = self._connection.registry.processes(self._context.name)
        recent = [presence.facts for presence in processes.values() if presence.age_s < SILENT_S]
        return {phase for facts in recent for phase in facts.get("busy_with", ())}

"""What a run does to queues and memory while nobody learns, and then while nobody rolls out.

    python benchmarks/bounded.py

Four rollout workers; all learners are frozen (SIGSTOP) for two minutes, go on, then all workers are frozen
for half a minute and go on. Queues must stay below their limits, memory near where it was, and the run must
go on by itself each time.
"""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from threading import Event

import click

from dials_async.config import load_config
from dials_async.distributed import status
from dials_async.distributed.connection import Connection, wait_to_connect
from dials_async.distributed.honcho import Honcho
from dials_async.runtime.wiring import experience_queues, task_queues
from dials_async.servers.private import listener

MIB = 2**20


def resident_mib(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


class Watch:
    """Depths of queues and memory of processes, and the most that was seen of each."""

    def __init__(self, connection: Connection, honcho: Honcho) -> None:
        self._context = connection.context
        self._registry = connection.registry
        self._servers = {kind: listener(honcho.server(kind).port) for kind in ("rabbitmq", "redis")}
        self.most: dict[str, float] = {}

    def pids(self, role: str) -> list[int]:
        """Of the processes of a role that are there."""
        processes = self._registry.processes(self._context.name).values()
        return [int(p.facts["pid"]) for p in processes if p.facts["role"] == role and not p.facts.get("left")]

    def look(self) -> dict[str, float]:
        """All of it now."""
        depth = self._context.broker.depth
        experience = max(depth(queue) for queue in experience_queues(self._context))
        seen = {
            "rollout tasks": float(depth(self._context.queues.rollout_tasks)),
            "GS tasks": float(depth(self._context.queues.gs_tasks)),
            "experience of one agent": float(experience),
            **{f"{kind} MiB": resident_mib(pid) for kind, pid in self._servers.items() if pid},
            "largest worker MiB": max(resident_mib(pid) for pid in self.pids("rollout")),
        }
        self.most = {name: max(value, self.most.get(name, value)) for name, value in seen.items()}
        return seen


def commits(connection: Connection) -> int:
    """Versions of all groups together."""
    context = connection.context
    return sum(max(0, context.store.group_version(group.index)) for group in context.groups)


def wait_for(connection: Connection, more: int) -> float:
    """Seconds until so many more versions are committed."""
    start, before = time.monotonic(), commits(connection)
    while commits(connection) < before + more:
        time.sleep(0.1)
    return time.monotonic() - start


def freeze(pids: list[int], number: signal.Signals) -> None:
    """Stop processes or let them go on."""
    for pid in pids:
        os.kill(pid, number)


@click.command()
@click.argument("preset", default="warehouse-25")
@click.option("--seconds", default=120.0, show_default=True, help="Without learners.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/bench-bounded"))
def main(preset: str, seconds: float, folder: Path) -> None:
    """Freeze and let go."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = load_config(preset, (), {"run": {"steps": 10_000_000}})
    with Honcho(config, "bounded", folder, {"rollout": 4, "learner": 2}) as honcho:
        connection = wait_to_connect("bounded", Event(), 120.0, lambda _: None)
        assert connection is not None
        wait_for(connection, 10)
        watch = Watch(connection, honcho)
        before = watch.look()
        click.echo(f"before:            {json.dumps(before)}")
        learners = watch.pids("learner")
        freeze(learners, signal.SIGSTOP)
        watch.most = {}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            watch.look()
            time.sleep(1.0)
        click.echo(f"most, no learner:  {json.dumps(watch.most)}")
        limits = {**task_queues(connection.context), **experience_queues(connection.context)}
        click.echo(f"limits: {max(limits.values())} rollout tasks, {min(limits.values())} of one agent")
        click.echo("stuck: " + "; ".join(status.gather(connection)["stuck"]))
        freeze(learners, signal.SIGCONT)
        click.echo(
            f"4 more versions after {wait_for(connection, 4):.1f} s; after: {json.dumps(watch.look())}"
        )
        workers = watch.pids("rollout")
        freeze(workers, signal.SIGSTOP)
        time.sleep(30.0)
        click.echo("without workers, stuck: " + "; ".join(status.gather(connection)["stuck"]))
        freeze(workers, signal.SIGCONT)
        click.echo(f"4 more versions after {wait_for(connection, 4):.1f} s")
        connection.close()


if __name__ == "__main__":
    main()

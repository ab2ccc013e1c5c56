"""Throughput of a run through RabbitMQ and Redis against the embedded default, in turn on the same machine.

    python benchmarks/distributed.py                       # warehouse-25, 2 rollout workers, 1 learner
    python benchmarks/distributed.py warehouse-4 --pairs 3 --steps 1000000

A pair is an embedded run and a distributed one of the same configuration, in the same minutes; what counts is
their ratio. The rate is taken between the first and the last commit that was seen: starting processes and the
last evaluation are apart ("whole": seconds of the whole runs, as their summaries say). Every process of the
distributed run is named with its processor time and the most memory it held.
"""

import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import click
import psutil

from dials_async.config import Config, load_config
from dials_async.distributed.connection import wait_to_connect
from dials_async.distributed.honcho import Honcho
from dials_async.errors import BrokerError, StoreError
from dials_async.run_context import RunContext
from dials_async.run_folder import SUMMARY
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.warmup import compile_kernels
from dials_async.runtime.wiring import committed_steps, is_complete
from dials_async.servers.private import listener

LOOK_S = 0.1


class Rate:
    """Agent-steps per second between the first commit seen and the last."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, int]] = []

    def look(self, context: RunContext) -> None:
        """Take a sample if something was committed."""
        total = sum(steps * group.n_agents for group, steps in committed_steps(context).items())
        if total and (not self.samples or total != self.samples[-1][1]):
            self.samples.append((time.monotonic(), total))

    @property
    def seconds(self) -> float:
        """From the first commit to the last."""
        return self.samples[-1][0] - self.samples[0][0]

    def value(self) -> float:
        """Agent-steps per second."""
        return (self.samples[-1][1] - self.samples[0][1]) / self.seconds


@dataclass
class Use:
    """What a process has taken: processor seconds, and the most resident memory that was seen."""

    cpu_s: float = 0.0
    peak_mib: float = 0.0

    def look(self, cpu_s: float, memory_mib: float) -> None:
        """Take a sample."""
        self.cpu_s = cpu_s
        self.peak_mib = max(self.peak_mib, memory_mib)


def follow(honcho: Honcho, rate: Rate, at_each_look: Callable[[], None] = lambda: None) -> dict[str, Use]:
    """Watch a distributed run to its end; what each of its processes takes, as it announces it."""
    uses: dict[str, Use] = {}
    connection = wait_to_connect(honcho.run, Event(), 120.0, lambda _: None)
    assert connection is not None
    try:
        while honcho.is_running() and not is_complete(connection.context):
            rate.look(connection.context)
            at_each_look()
            for presence in connection.registry.processes(honcho.run).values():
                facts = presence.facts
                use = uses.setdefault(str(facts["name"]), Use())
                use.look(float(facts["cpu_seconds"]), float(facts["memory_mib"]))
            time.sleep(LOOK_S)
    except (BrokerError, StoreError):
        pass  # its servers are gone: it is over
    finally:
        connection.close()
    return uses


def embedded(config: Config, folder: Path) -> tuple[Rate, float]:
    """Rate and seconds of an embedded run."""
    shutil.rmtree(folder, ignore_errors=True)
    run = EmbeddedRun("embedded", config, folder, resume=False)
    rate, start = Rate(), time.monotonic()
    run.start()
    assert run.wait(lambda: rate.look(run.context))
    return rate, time.monotonic() - start


def distributed(config: Config, folder: Path, counts: dict[str, int]) -> tuple[Rate, float, dict[str, Use]]:
    """Rate and seconds of a distributed run, and what its processes and servers took."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rate = Rate()
    servers = {"RabbitMQ": Use(), "Redis": Use()}
    with Honcho(config, "bench", folder, counts) as honcho:
        processes: dict[str, psutil.Process] = {}

        def look_at_servers() -> None:
            for kind, use in servers.items():
                if kind not in processes:
                    pid = listener(honcho.server(kind.lower()).port)
                    if pid is None:
                        continue
                    processes[kind] = psutil.Process(pid)
                try:
                    times, memory = processes[kind].cpu_times(), processes[kind].memory_info()
                except psutil.NoSuchProcess:
                    continue  # the run is over
                use.look(times.user + times.system, memory.rss / 2**20)

        uses = follow(honcho, rate, look_at_servers)
        assert honcho.wait() == 0, honcho.log
    summary = json.loads((folder / "runs" / "bench" / SUMMARY).read_text())
    return rate, summary["wall_seconds"], {**servers, **uses}


@click.command()
@click.argument("preset", default="warehouse-25")
@click.option("--steps", default=512_000, show_default=True)
@click.option("--pairs", default=2, show_default=True)
@click.option("--rollouts", default=2, show_default=True)
@click.option("--learners", default=1, show_default=True)
@click.option("--set", "settings", multiple=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/bench-distributed"))
def main(
    preset: str, steps: int, pairs: int, rollouts: int, learners: int, settings: tuple[str, ...], folder: Path
) -> None:
    """Run the pairs."""
    config = load_config(preset, settings, {"run": {"steps": steps}})
    compile_kernels(config)
    ratios, whole = [], []
    for pair in range(pairs):
        one, one_s = embedded(config, folder / "embedded")
        two, two_s, uses = distributed(
            config, folder / "distributed", {"rollout": rollouts, "learner": learners}
        )
        ratios.append(two.value() / one.value())
        whole.append(one_s / two_s)
        click.echo(
            f"pair {pair + 1}: embedded {one.value():,.0f}, distributed {two.value():,.0f} agent-steps/s, "
            f"ratio {ratios[-1]:.2f}; whole {one_s:.0f} and {two_s:.0f} s"
        )
        for name, use in uses.items():
            click.echo(f"  {name:<16} {use.cpu_s:6.1f} s of processor  {use.peak_mib:6.0f} MiB")
    click.echo(
        f"median ratio {statistics.median(ratios):.2f}, whole {statistics.median(whole):.2f}; "
        f"{rollouts} rollout workers, {learners} learners"
    )


if __name__ == "__main__":
    main()

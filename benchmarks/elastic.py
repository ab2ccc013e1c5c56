"""Steps per second with 1, 2, 4 and 8 rollout workers where rollouts are what everybody waits for.

    python benchmarks/elastic.py

The domain is a warehouse whose local simulator sleeps 1 ms a step (sleeping_warehouse.py); every worker is a
process, started by honcho on RabbitMQ and Redis.
"""

import os
import shutil
import sys
from pathlib import Path

import click
from distributed import Rate, follow

from dials_async.config import load_config
from dials_async.distributed.honcho import Honcho

SETTINGS = (
    "run.simulator=untrained",  # no refreshes: the GS does not sleep
    "run.steps=38400",
    "rollout.episodes_per_task=1",
    "rollout.tasks_per_update=64",
    "ppo.epochs=1",
    "schedule.eval_steps=1000000",
    "schedule.eval_episodes=1",
    "schedule.final_eval_episodes=1",
)


def install(folder: Path) -> None:
    """As if a package with this domain were installed in ``folder``."""
    info = folder / "sleeping_warehouse-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sleeping-warehouse\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[dials_async.domains]\nsleeping-warehouse = sleeping_warehouse:SleepingWarehouse\n"
    )
    shutil.copy(Path(__file__).with_name("sleeping_warehouse.py"), folder)


@click.command()
@click.option("--workers", default="1,2,4,8", show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/bench-elastic"))
def main(workers: str, folder: Path) -> None:
    """Measure the rate with each number of workers."""
    shutil.rmtree(folder, ignore_errors=True)
    package = (folder / "package").resolve()
    install(package)
    sys.path.insert(0, str(package))
    path = f"{package}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    preset = folder / "sleeping.toml"
    preset.write_text('[domain]\nname = "sleeping-warehouse"\nside = 2\n', encoding="utf-8")
    config = load_config(str(preset), SETTINGS)
    first = 0.0
    for count in (int(text) for text in workers.split(",")):
        place = folder / f"{count}"
        place.mkdir()
        rate = Rate()
        with Honcho(config, "elastic", place, {"rollout": count}, environment={"PYTHONPATH": path}) as honcho:
            follow(honcho, rate)
            assert honcho.wait() == 0, honcho.log
        first = first or rate.value()
        click.echo(f"{count} workers: {rate.value():,.0f} agent-steps/s, {rate.value() / first:.2f} x")


if __name__ == "__main__":
    main()

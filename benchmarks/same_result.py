"""The hash of the weights of embedded and distributed runs of the same configuration: all must be one.

    python benchmarks/same_result.py
    python benchmarks/same_result.py traffic-25 --steps 40000

At lag 0: with AIPs refreshed every 20,000 steps, untrained, and on the GS; embedded, with one worker, and
with four workers and two learners.
"""

import json
import shutil
from pathlib import Path

import click

from dials_async.config import load_config
from dials_async.distributed.honcho import Honcho
from dials_async.run_folder import SUMMARY
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.results import weights_sha256
from dials_async.runtime.warmup import compile_kernels

#: Steps of each case, as shares of those of the first.
CASES = {"dials": 1.0, "untrained": 0.3, "gs": 0.3}

COUNTS = ({"rollout": 1, "learner": 1}, {"rollout": 4, "learner": 2})


@click.command()
@click.argument("preset", default="warehouse-4")
@click.option("--steps", default=200_000, show_default=True, help="Per agent; untrained, gs: 30 % of it.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path("runs/same-result"))
@click.option("--set", "settings", multiple=True, help="For example rollout.episodes_per_task=16.")
def main(preset: str, steps: int, folder: Path, settings: tuple[str, ...]) -> None:
    """Train each case three times."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    different = 0
    for simulator, share in CASES.items():
        given = ("schedule.refresh_steps=20_000", *settings)
        run_table = {"simulator": simulator, "steps": round(steps * share)}
        config = load_config(preset, given, {"run": run_table})
        compile_kernels(config)
        run = EmbeddedRun("embedded", config, folder / simulator, resume=False)
        run.start()
        assert run.wait(lambda: None)
        hashes = {"embedded": weights_sha256(run.context)}
        refreshes = len(run.context.store.records("refreshes"))
        for counts in COUNTS:
            label = ", ".join(f"{n} {kind}" for kind, n in counts.items())
            place = folder / f"{simulator}-{counts['rollout']}"
            place.mkdir()
            with Honcho(config, "same", place, dict(counts)) as honcho:
                assert honcho.wait() == 0, honcho.log
            summary = json.loads((place / "runs" / "same" / SUMMARY).read_text())
            hashes[label] = summary["weights_sha256"]
        click.echo(f"{simulator}, {run.context.clock.total_steps:,} steps, {refreshes} refreshes:")
        for label, value in hashes.items():
            click.echo(f"  {value[:16]}  {label}")
        different += len(set(hashes.values())) - 1
    click.echo("all the same" if not different else "NOT THE SAME")
    raise SystemExit(different)


if __name__ == "__main__":
    main()

"""``dials chaos``: kill everything in a run, again and again, and compare the result."""

import json
import shutil
from pathlib import Path

import click

from dials_async.cli.shared import json_option, settings_option


@click.command()
@click.argument("preset", default="warehouse-25")
@click.option("--steps", type=click.IntRange(1), default=1_000_000, show_default=True, help="Of each agent.")
@click.option("--kills", type=click.IntRange(1), default=30, show_default=True, help="At the least.")
@click.option("--every", type=click.IntRange(1), default=2, show_default=True, help="Commits between kills.")
@click.option("--rollouts", type=click.IntRange(1), default=2, show_default=True, help="Rollout workers.")
@click.option("--learners", type=click.IntRange(1), default=2, show_default=True, help="Learner daemons.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the kills' moments.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("runs/chaos"),
    show_default=True,
    help="Everything is written here; removed before.",
)
@settings_option
@json_option
def chaos(
    preset: str,
    steps: int,
    kills: int,
    every: int,
    rollouts: int,
    learners: int,
    seed: int,
    folder: Path,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train PRESET undisturbed and then under fire, and compare the weights.

    Under fire every process and both servers (private ones, on loopback) are killed with SIGKILL in turn,
    while they have work. Exit code 1 unless the weights are the same and every message was used exactly once.

    \b
    Examples:
      dials chaos
      dials chaos warehouse-4 --steps 200000 --kills 10 --set schedule.refresh_steps=20_000
    """
    from dials_async.config import load_config
    from dials_async.distributed.chaos import run_chaos

    given = ("schedule.refresh_steps=20_000", *settings)
    config = load_config(preset, given, {"run": {"steps": steps}})
    shutil.rmtree(folder, ignore_errors=True)
    verdict = run_chaos(config, folder, kills, rollouts, learners, every, seed)
    if as_json:
        click.echo(json.dumps(verdict.to_dict(), indent=2))
    else:
        by_kind = ", ".join(f"{n} x {kind}" for kind, n in sorted(verdict.by_kind().items()))
        click.echo(f"{len(verdict.kills)} kills: {by_kind}")
        click.echo(f"undisturbed {verdict.expected_sha256[:16]}, {verdict.undisturbed_seconds:.0f} s")
        click.echo(f"under fire  {verdict.sha256[:16]}, {verdict.seconds:.0f} s")
        click.echo(f"messages used {verdict.messages_used:,} of {verdict.messages_expected:,} expected")
        click.echo("the same" if verdict.passed else "NOT THE SAME")
    if not verdict.passed:
        raise SystemExit(1)

"""``dials check-vectors`` and ``dials bench``: is it right, and how fast is it here."""

import json
from pathlib import Path

import click

from dials_async.cli.shared import json_option, settings_option


@click.command("check-vectors")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def check_vectors(files: tuple[Path, ...], as_json: bool) -> None:
    """Replay recordings of the original simulator: every observation, reward, influence and state must agree.

    \b
    Example:
      dials check-vectors tests/data/warehouse_2x2_seed1.json
    """
    from dials_async.domains.warehouse.vectors import check_file

    results = [check_file(path) for path in files]
    wrong = sum(result.mismatches for result in results)
    if as_json:
        click.echo(json.dumps([result._asdict() for result in results], indent=2))
    else:
        for result in results:
            click.echo(f"{result.file}: {result.checks:,} checks, {result.mismatches} mismatches")
            if result.first:
                click.echo(f"  first: {result.first}")
        checks = sum(result.checks for result in results)
        click.echo(f"{checks:,} checks, {wrong} mismatches")
    if wrong:
        raise SystemExit(1)


@click.command()
@click.argument("name", type=click.Choice(["rollout", "learn", "aip", "gs"]))
@click.option(
    "--preset", default="warehouse-25", show_default=True, help="Whose settings: a preset or a TOML file."
)
@click.option(
    "--agents", type=click.IntRange(1, 900), help="Of a grid.  [default: as many as the preset has]"
)
@click.option(
    "--envs", type=click.IntRange(1, 4096), default=64, show_default=True, help="Episodes per agent."
)
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option("--refreshed", is_flag=True, help="Train the AIPs first: the load of a run, not of its start.")
@settings_option
@json_option
def bench(
    name: str,
    preset: str,
    agents: int | None,
    envs: int,
    repeats: int,
    refreshed: bool,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Measure one part on one core of this machine.

    \b
    rollout   IALS: policy, AIP and local simulator        agent-steps/s
    learn     PPO update, all epochs                       agent-steps/s
    aip       one refresh of the AIPs, 10,000 GS steps     seconds
    gs        the global simulator under the policies      GS steps/s

    \b
    Examples:
      dials bench rollout
      dials bench rollout --preset traffic-25 --refreshed
      dials bench gs --preset traffic-100 --envs 2
      dials bench rollout --preset tanks.toml
      dials bench learn --set policy.network=gru --set ppo.minibatch_steps=256
    """
    from dials_async.benchmarking import run_benchmark

    result = run_benchmark(name, preset, agents, envs, repeats, settings, refreshed)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    machine = result["machine"]
    click.echo(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; one thread used")
    click.echo(
        f"{name}, {result['domain']}: {result['agents']} agents x {result['envs']} environments: "
        f"median {result['median']:,.4g} {result['unit']}, "
        f"best {result['best']:,.4g}, worst {result['worst']:,.4g} of {result['repeats']}"
    )

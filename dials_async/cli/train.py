"""``dials presets`` and ``dials train``: what can be trained, and training it in this process."""

import json
import shlex
import sys
from typing import Any

import click
from click.core import ParameterSource

from dials_async.cli.shared import json_option, metrics_option, numerics_option, settings_option
from dials_async.errors import UsageError
from dials_async.listening import DASHBOARD_ADDRESS


@click.command()
@json_option
def presets(as_json: bool) -> None:
    """List the presets.

    \b
    Example:
      dials presets
    """
    from dials_async.config import load_config, preset_names
    from dials_async.domains.registry import make_domain

    rows = []
    for name in preset_names():
        config = load_config(name)
        domain = make_domain(config.domain)
        rows.append(
            {"preset": name, "agents": domain.n_agents, "steps": config.run.steps, "domain": domain.name}
        )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(f"{'preset':<16}{'domain':<12}{'agents':>7}{'steps per agent':>18}")
    for row in rows:
        click.echo(f"{row['preset']:<16}{row['domain']:<12}{row['agents']:>7}{row['steps']:>18,}")


@click.command()
@click.argument("presets", nargs=-1, required=True, metavar="PRESET...")
@settings_option
def warmup(presets: tuple[str, ...], settings: tuple[str, ...]) -> None:
    """Compile the kernels of PRESETs, presets or TOML files, so that runs start at once.

    They go to the cache folder. While an image is built, set DIALS_CACHE_DIR to a folder in it: kernels that
    root has made are read by every user.

    \b
    Example:
      dials warmup warehouse-25 traffic-25
    """
    from dials_async.config import load_config
    from dials_async.kernels.compile import CACHE_FOLDER
    from dials_async.runtime.warmup import compile_kernels

    for preset in presets:
        compile_kernels(load_config(preset, settings))
    click.echo(f"compiled: {', '.join(presets)} ({CACHE_FOLDER})")


@click.command()
@click.argument("preset", required=False)
@click.option(
    "--run", "name", help="Name of the run; its folder is runs/NAME.  [default: made from the preset]"
)
@click.option(
    "--simulator", type=click.Choice(["dials", "untrained", "gs"]), help="What to train on.  [default: dials]"
)
@click.option("--workers", type=click.IntRange(1, 256), help="Rollout threads.  [default: 2]")
@click.option("--steps", type=click.IntRange(1), help="Environment steps of each agent.")
@click.option("--seed", type=click.IntRange(0), help="Seed of everything random.  [default: 1]")
@settings_option
@click.option("--resume", "resumes", is_flag=True, help="Go on with the run --run, exactly where it stopped.")
@numerics_option
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option(
    "--dashboard",
    "dashboard_address",
    metavar="HOST:PORT",
    is_flag=False,
    flag_value=DASHBOARD_ADDRESS,
    help=f"Serve the run's dashboard meanwhile.  [without a value: {DASHBOARD_ADDRESS}]",
)
@metrics_option
@json_option
def train(
    preset: str | None,
    name: str | None,
    simulator: str | None,
    workers: int | None,
    steps: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    resumes: bool,
    allow_other_numerics: bool,
    quiet: bool,
    metrics_address: str,
    dashboard_address: str | None,
    as_json: bool,
) -> None:
    """Train PRESET (a name from 'dials presets', or a TOML file) on this machine.

    Ctrl-C stops in good order and says how to resume. A finished run is extended by resuming it with more
    --steps.

    \b
    Examples:
      dials train warehouse-4
      dials train warehouse-4 --dashboard
      dials train warehouse-25 --run big --seed 7 --workers 2
      dials train warehouse-4 --simulator gs --set ppo.learning_rate=1e-3
      dials train --run big --resume
      dials train --run city --resume --set domain.interface=traci
    """
    from dials_async.runtime import training

    watching = training.Watching(quiet, metrics_address, dashboard_address)
    if resumes:
        if name is None:
            raise UsageError("--resume needs the run to go on with: --run NAME")
        others = [text for text in settings if not text.strip().startswith(("runtime.", "domain."))]
        if preset or simulator or seed is not None or others:
            raise UsageError(
                "--resume goes on with the run's own configuration: give --run, --steps, --workers, and "
                "--set of [runtime] or of how the domain is simulated only"
            )
        from dials_async.run_folder import find_run

        outcome = training.resume(
            find_run(name), steps, workers, _command_line(), watching, settings, allow_other_numerics
        )
    else:
        source = click.get_current_context().get_parameter_source("allow_other_numerics")
        if source is ParameterSource.COMMANDLINE:  # the variable may be meant for other commands
            raise UsageError("--allow-other-numerics is for a run that goes on: it needs --resume")
        if preset is None:
            raise UsageError(
                "say what to train, for example 'dials train warehouse-4'; 'dials presets' lists all"
            )
        from dials_async.config import load_config

        given = {"simulator": simulator, "steps": steps, "seed": seed}
        overrides: dict[str, dict[str, Any]] = {"run": {k: v for k, v in given.items() if v is not None}}
        if workers is not None:
            overrides["runtime"] = {"workers": workers}
        config = load_config(preset, settings, overrides)
        outcome = training.train(name, config, _command_line(), watching)
    if outcome.summary is None:
        hint = f"dials train --run {outcome.folder.name} --resume"
        click.echo(f"stopped; everything is saved in {outcome.folder}. Go on with: {hint}", err=True)
        raise SystemExit(130)
    if as_json:
        click.echo(json.dumps(outcome.summary, indent=2))
    else:
        from dials_async.report.plain import in_words

        click.echo(in_words(outcome.summary, outcome.folder))


def _command_line() -> str:
    return shlex.join(["dials", *sys.argv[1:]])

"""The command line: ``dials train``, ``evaluate``, ``report``, ``presets``, ``check-vectors``, ``bench``."""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dials_async import __version__
from dials_async.errors import DialsError, UsageError

# Everything heavy is imported inside the commands: `dials --help` answers at once.


class _Command(click.Group):
    """Turns errors, the project's and click's, into one line and an exit code."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _one_line(ctx):
            return super().invoke(ctx)


@contextmanager
def _one_line(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # asks for help, and click gives it
        raise
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "dials"
        message = " ".join(error.format_message().split()).rstrip(".")
        click.echo(f"dials: {message} (see '{command} --help')", err=True)
        ctx.exit(error.exit_code)
    except DialsError as error:
        click.echo(f"dials: {error}", err=True)
        ctx.exit(error.exit_code)


@click.group(cls=_Command)
@click.version_option(__version__, prog_name="dials")
def main() -> None:
    """Train large networks of agents on distributed influence-augmented local simulators (DIALS).

    \b
    Start here:
      dials presets                 what can be trained
      dials train warehouse-4       train it (under a minute on two cores), report in runs/
    """


def _json_option(function: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


@main.command()
@_json_option
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


@main.command()
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
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable."
)
@click.option("--resume", "resumes", is_flag=True, help="Go on with the run --run, exactly where it stopped.")
@click.option("--quiet", is_flag=True, help="No progress.")
@_json_option
def train(
    preset: str | None,
    name: str | None,
    simulator: str | None,
    workers: int | None,
    steps: int | None,
    seed: int | None,
    settings: tuple[str, ...],
    resumes: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Train PRESET (a name from 'dials presets', or a TOML file) on this machine.

    Ctrl-C stops in good order and says how to resume. A finished run is extended by resuming it with more
    --steps.

    \b
    Examples:
      dials train warehouse-4
      dials train warehouse-25 --run big --seed 7 --workers 2
      dials train warehouse-4 --simulator gs --set ppo.learning_rate=1e-3
      dials train --run big --resume
    """
    from dials_async.runtime import training

    if resumes:
        if name is None:
            raise UsageError("--resume needs the run to go on with: --run NAME")
        if preset or simulator or seed is not None or settings:
            raise UsageError(
                "--resume goes on with the run's own configuration: give --run, --steps, --workers only"
            )
        from dials_async.runtime.folder import find_run

        outcome = training.resume(find_run(name), steps, workers, _command_line(), quiet)
    else:
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
        outcome = training.train(name, config, _command_line(), quiet)
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


@main.command()
@click.argument("run")
@click.option(
    "--policy", default="trained", show_default=True, help="'trained', or the name of a scripted policy."
)
@click.option(
    "--episodes", type=click.IntRange(1), help="GS episodes.  [default: as the run's final evaluation]"
)
@click.option("--seed", type=click.IntRange(0), default=1_000_003, show_default=True, help="Of the episodes.")
@_json_option
def evaluate(run: str, policy: str, episodes: int | None, seed: int, as_json: bool) -> None:
    """Evaluate the policies of RUN on fresh episodes of the global simulator.

    \b
    Examples:
      dials evaluate demo
      dials evaluate demo --policy closest --episodes 1000
    """
    from dials_async.runtime.folder import find_run
    from dials_async.runtime.saved import evaluate_run

    result = evaluate_run(find_run(run), policy, episodes, seed)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    if result["steps"] is not None:
        click.echo(f"policies after {result['steps']:,} steps per agent, on episodes of seed {seed}:")
    for kind, row in result["returns"].items():
        click.echo(f"{kind:<18}{row['mean']:>8.3f} +- {row['se']:.3f}  ({result['episodes']} episodes)")
    if result["influence_ce"] is not None:
        click.echo(f"influence cross-entropy {result['influence_ce']:.3f} nats per source")


@main.command()
@click.argument("runs", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where to write a comparison.  [default: runs/comparison.html]",
)
def report(runs: tuple[str, ...], out: Path | None) -> None:
    """Write the report of a finished run again, or compare several RUNS on one page.

    \b
    Examples:
      dials report demo
      dials report dials-1 untrained-1 gs-1 --out comparison.html
    """
    from dials_async.report import write_comparison, write_report
    from dials_async.runtime.folder import find_run, runs_root

    folders = [find_run(name) for name in dict.fromkeys(runs)]
    if len(folders) == 1 and out is None:
        click.echo(str(write_report(folders[0])))
    else:
        click.echo(str(write_comparison(folders, out or runs_root() / "comparison.html")))


@main.command("check-vectors")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@_json_option
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


@main.command()
@click.argument("name", type=click.Choice(["rollout", "learn", "aip", "gs"]))
@click.option("--agents", type=click.IntRange(1, 900), default=25, show_default=True)
@click.option(
    "--envs", type=click.IntRange(1, 4096), default=64, show_default=True, help="Episodes per agent."
)
@click.option("--repeats", type=click.IntRange(1, 1000), default=5, show_default=True)
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change one setting; repeatable."
)
@_json_option
def bench(name: str, agents: int, envs: int, repeats: int, settings: tuple[str, ...], as_json: bool) -> None:
    """Measure one part on one core of this machine.

    \b
    rollout   IALS: policy, AIP and local simulator        agent-steps/s
    learn     PPO update, all epochs                       agent-steps/s
    aip       one refresh of the AIPs, 10,000 GS steps     seconds
    gs        the global simulator under the policies      GS steps/s

    \b
    Examples:
      dials bench rollout
      dials bench learn --set policy.network=gru --set ppo.minibatch_steps=256
    """
    from dials_async.benchmarking import run_benchmark

    result = run_benchmark(name, agents, envs, repeats, settings)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    machine = result["machine"]
    click.echo(f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}; one thread used")
    click.echo(
        f"{name}: {result['agents']} agents x {result['envs']} environments: median {result['median']:,.4g} "
        f"{result['unit']}, best {result['best']:,.4g}, worst {result['worst']:,.4g} of {result['repeats']}"
    )

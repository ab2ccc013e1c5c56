"""``dials evaluate``, ``dials report``: looking at runs on disk; ``dials status``: at distributed ones."""

import json
import os
from pathlib import Path

import click

from dials_async.cli.shared import json_option
from dials_async.errors import UnreachableError


@click.command()
@click.argument("run")
@click.option(
    "--policy", default="trained", show_default=True, help="'trained', or the name of a scripted policy."
)
@click.option(
    "--episodes", type=click.IntRange(1), help="GS episodes.  [default: as the run's final evaluation]"
)
@click.option("--seed", type=click.IntRange(0), default=1_000_003, show_default=True, help="Of the episodes.")
@click.option(
    "--set", "settings", multiple=True, metavar="DOMAIN.KEY=VALUE", help="Change the domain; repeatable."
)
@json_option
def evaluate(
    run: str, policy: str, episodes: int | None, seed: int, settings: tuple[str, ...], as_json: bool
) -> None:
    """Evaluate the policies of RUN on fresh episodes of the global simulator.

    \b
    Examples:
      dials evaluate demo
      dials evaluate demo --policy closest --episodes 1000
      dials evaluate city --episodes 1 --set domain.interface=traci --set domain.gui=true   # watch it in SUMO
    """
    from dials_async.run_folder import find_run
    from dials_async.runtime.saved import evaluate_run

    result = evaluate_run(find_run(run), policy, episodes, seed, settings)
    if as_json:
        click.echo(json.dumps(result, indent=2))
        return
    if result["steps"] is not None:
        click.echo(f"policies after {result['steps']:,} steps per agent, on episodes of seed {seed}:")
    for kind, row in result["returns"].items():
        click.echo(f"{kind:<18}{row['mean']:>8.3f} +- {row['se']:.3f}  ({result['episodes']} episodes)")
    if result["influence_ce"] is not None:
        click.echo(f"influence cross-entropy {result['influence_ce']:.3f} nats per source")


@click.command()
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
    from dials_async.run_folder import find_run, runs_root

    folders = [find_run(name) for name in dict.fromkeys(runs)]
    if len(folders) == 1 and out is None:
        click.echo(str(write_report(folders[0])))
    else:
        click.echo(str(write_comparison(folders, out or runs_root() / "comparison.html")))


@click.command()
@click.argument("name", metavar="[RUN]", required=False, envvar="DIALS_RUN")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C or the run's end.")
@click.option("-v", "--verbose", is_flag=True, help="Show machine, code and numerics of each process, too.")
@json_option
def status(name: str | None, watch: bool, verbose: bool, as_json: bool) -> None:
    """Show how a distributed run is doing, and what is stuck and why; without RUN, which runs there are.

    \b
    Examples:
      dials status
      dials status city --watch
      dials status city -v
      dials status city --json
    """
    from dials_async.distributed import status as look

    try:
        if name is None:
            runs = look.list_runs()
            click.echo(json.dumps(runs, indent=2) if as_json else look.runs_in_words(runs))
        else:
            look.show(name, watch, as_json, verbose)
    except UnreachableError as error:
        elsewhere = "refuses for now" not in str(error)
        if (
            elsewhere
            and Path(".env").exists()
            and not os.environ.keys() & {"DIALS_REDIS_URL", "DIALS_PORT_REDIS"}
        ):
            hint = "the servers of .env have other ports: 'honcho run dials status'"
            raise UnreachableError(f"{str(error).partition(';')[0]}; {hint}") from None
        raise

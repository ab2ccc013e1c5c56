"""``dials experiment``: rerun the evidence, and keep what came out as tables, figures and a page."""

import json
import shlex
from pathlib import Path

import click

from dials_async.cli.shared import json_option
from dials_async.errors import UsageError


@click.command()
@click.argument("name", required=False)
@click.option(
    "--budget",
    type=click.Choice(["quick", "full"]),
    default="quick",
    show_default=True,
    help="quick: small systems, two seeds, an evening on two cores. full: all sizes, up to four seeds.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="TEXT",
    help="Only runs with TEXT in their names, such as warehouse-4, .gs. or F1M; several: any of them.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, 100),
    help="Seeds of each run, but for long ones that have one only.  [default: the budget's]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs/results"),
    show_default=True,
    help="Where each experiment has its folder.",
)
@click.option("--redraw", is_flag=True, help="Run nothing: figures and page from the tables that are there.")
@click.option("--dry-run", is_flag=True, help="Run nothing: say which runs are done and which are missing.")
@json_option
def experiment(
    name: str | None,
    budget: str,
    only: tuple[str, ...],
    seeds: int | None,
    out: Path,
    redraw: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run what the experiment NAME lacks, then write its tables, figures and page to docs/results/NAME/.

    Without NAME: list the experiments. Runs that were cut off are resumed, finished ones skipped, so the same
    command goes on after Ctrl-C, or on another day from the tables alone. Another --out starts with none.

    \b
    Examples:
      dials experiment
      dials experiment gs-vs-dials --dry-run
      dials experiment gs-vs-dials
      dials experiment gs-vs-dials --budget full --seeds 2
      dials experiment gs-vs-dials --budget full --only traffic-25 --only traffic-49
      dials experiment gs-vs-dials --redraw
      dials experiment papers-settings --out mine
    """
    from dials_async.experiments import execute, figures, page
    from dials_async.experiments.catalogue import load_catalogue
    from dials_async.experiments.tables import read_tables

    catalogue = load_catalogue()
    if name is None:
        _list(as_json)
        return
    chosen = catalogue.experiment(name)
    folder = out / chosen.name
    trials = catalogue.plan(chosen, budget, seeds)
    if only:
        trials = [trial for trial in trials if any(text in trial.name for text in only)]
        if not trials:
            raise UsageError(f"no run of {chosen.name} has {' or '.join(only)} in its name (see --dry-run)")
    if dry_run:
        known = execute.known_tables(out)
        for trial in trials:
            done = any(execute.is_done(trial, tables, chosen.analysis) for tables in known)
            state = "done" if done else "missing"
            click.echo(f"{state:<8} dials train {shlex.join(trial.arguments)}")
        return
    tables = read_tables(folder) if redraw else execute.run_trials(trials, out, folder, _say, chosen.analysis)
    old = [name for name, row in tables.finished().items() if not catalogue.is_current(row)]
    if old:
        _say(f"left out, made with other settings than now: {', '.join(old)}")
        tables = tables.without(old)
    if not tables.rows["runs"]:
        raise UsageError(f"no runs in {folder}: nothing to draw yet")
    drawn = figures.draw(chosen, tables, catalogue)
    figures.save(drawn, folder)
    written = page.write_page(chosen, tables, catalogue, list(drawn), folder)
    if as_json:
        click.echo(
            json.dumps({"page": str(written), "figures": list(drawn), "runs": len(tables.rows["runs"])})
        )
    else:
        click.echo(f"{len(tables.rows['runs'])} runs, {len(drawn)} figures: {written}")


def _list(as_json: bool) -> None:
    from dials_async.experiments.catalogue import BUDGETS, load_catalogue

    catalogue = load_catalogue()
    rows = [
        {
            "experiment": one.name,
            "title": one.title,
            "source": one.source,
            **{f"{budget}_runs": len(catalogue.plan(one, budget)) for budget in BUDGETS},
        }
        for one in catalogue.experiments.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(f"{'experiment':<18}{'quick':>7}{'full':>6}  what")
    for row in rows:
        click.echo(f"{row['experiment']:<18}{row['quick_runs']:>7}{row['full_runs']:>6}  {row['title']}")


def _say(line: str) -> None:
    click.echo(line, err=True)

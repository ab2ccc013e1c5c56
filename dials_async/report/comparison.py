"""One page that compares several runs: learning curves, final returns, throughput, time by phase."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dials_async.errors import UsageError
from dials_async.report import figures, words
from dials_async.report.charts import compare_learning
from dials_async.report.page import page, section, toggle_section, write_page
from dials_async.report.run_folder import Run, read_run

TIME_CAPTION = "Busy seconds by phase, summed over threads; the mark across a bar is wall time."


def write_comparison(run_folders: Sequence[Path], out: Path) -> Path:
    """Write one page that compares several runs.

    Args:
        run_folders: Folders of finished runs, in the order in which they are listed.
        out: The page to write.

    Raises:
        UsageError: no run was given, or a file of a run cannot be understood.
    """
    if not run_folders:
        raise UsageError("nothing to compare: give at least one run")
    runs = [read_run(folder) for folder in run_folders]
    best = max(runs, key=lambda run: run.final.mean)
    comparable = len({run.preset for run in runs}) == 1
    if len(runs) == 1:
        heading = words.headline(runs[0])
    elif comparable:
        heading = (
            f"The best of {len(runs)} runs, {best.name}, earns {words.quantity(best.final.mean)} an episode."
        )
    else:
        heading = f"{len(runs)} runs of {len({run.preset for run in runs})} presets."
    lede = words.runner_up(runs)
    if not comparable:
        lede = "These runs are of different presets: their returns are not on one scale."
    parts = [
        toggle_section(
            "Learning", _compare_caption(comparable), _compare_panels(runs, comparable), "compare"
        ),
        section("Final returns and cost", "Ordered by final return.", _runs_table(runs)),
        section("Where the time went", TIME_CAPTION, figures.stacked_phases(runs)),
    ]
    text = page("Comparison of runs", "Comparison", f"{len(runs)} runs", heading, lede, "", parts)
    return write_page(out, text)


def _compare_panels(runs: Sequence[Run], with_baselines: bool) -> dict[str, str]:
    return {
        "by steps": compare_learning(runs, "steps", with_baselines),
        "by time": compare_learning(runs, "seconds", with_baselines),
    }


def _compare_caption(comparable: bool) -> str:
    caption = "Mean return of an agent in an episode of the global simulator, actions sampled; "
    caption += "bands are one standard error."
    return caption + (
        " Dashed: hand-written policies; dotted: published by Suau et al. 2022." if comparable else ""
    )


def _runs_table(runs: Sequence[Run]) -> str:
    columns: dict[str, Callable[[Run], str]] = {
        "run": lambda run: run.name,
        "simulator": lambda run: words.SIMULATOR_SHORT.get(run.simulator, run.simulator),
        "return": lambda run: words.score(run.final),
        "greedy": lambda run: words.score(run.greedy) if run.greedy else "",
        "wall time": lambda run: words.duration(run.wall_seconds),
        "agent-steps/s": lambda run: _unless_nan(run.agent_steps_per_second, words.count),
        "influence CE": lambda run: _unless_nan(run.influence_ce, words.quantity),
        "steps": lambda run: words.short_count(run.agent_steps),
        "agents": lambda run: words.count(run.agents),
        "seed": lambda run: "" if run.seed is None else str(run.seed),
        "preset": lambda run: run.preset,
    }
    ranked = sorted(runs, key=lambda run: -run.final.mean)
    return figures.table(list(columns), [[cell(run) for cell in columns.values()] for run in ranked], "runs")


def _unless_nan(value: float, form: Callable[[float], str]) -> str:
    return "" if np.isnan(value) else form(value)

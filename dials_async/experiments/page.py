"""The page of an experiment, docs/results/NAME/README.md: question, reading, results, figures, cost.

The reading is written by hand, in reading.md beside it; everything else is made from the tables.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dials_async.experiments.catalogue import SIMULATOR_LABELS, Catalogue, Experiment
from dials_async.experiments.statistics import Mean, Series, all_series, mean_of, references
from dials_async.experiments.tables import PHASES, Tables, number, numbers
from dials_async.run_folder import write_file

_CAPTION = (
    "Lines are means over seeds, bands and bars one standard error, where there is more than one seed. "
    "Dashed: scripted policies; dotted or hollow: published by Suau et al. Points on the way are evaluations "
    "of fewer episodes than the last one."
)

#: Heads of the columns that say which runs a row of any table is of.
_NAMES = ("preset", "simulator", "settings")

#: What the columns of the table of results mean.
_WORDS = (
    "Influence CE: cross-entropy of the predictors (AIPs) at the end, on episodes of the global simulator, "
    "nats per source of influence. Memory: the most of each kind of process, added up. A core an "
    "agent: time with one for each agent, from CPU seconds measured here (`core_an_agent_seconds` in "
    "statistics.py says how)."
)

PAGE, READING = "README.md", "reading.md"

#: By analysis: heads of its table, columns of its CSV file, and what they are.
_ANALYSES: dict[str, tuple[Sequence[str], Sequence[str], str]] = {
    "fidelity": (
        ("return on the GS", "return on the IALS", "bits differ, mean", "at most", "influence CE"),
        ("gs_return", "ials_return", "bit_difference_mean", "bit_difference_max", "influence_ce"),
        "The final policies and predictors in both simulators, means over agents and seeds. Bits: how much "
        "more or less often a bit of the local state is set. In the figures a point is an agent of one seed, "
        "with the standard errors of its two returns.",
    ),
    "theory": (
        ("AIP version", "xi", "xi of the worst history", "bound on the value", "change of the value"),
        ("aip_version", "xi", "xi_max", "bound", "value_change"),
        "From one AIP to the next, on histories that the final policies visit, means over agents and seeds; "
        "the change is the mean of absolute values.",
    ),
}


def write_page(
    experiment: Experiment, tables: Tables, catalogue: Catalogue, figures: Sequence[str], folder: Path
) -> Path:
    """Write the page; ``figures`` are file names without suffix. Raises UsageError."""
    series = all_series(tables, catalogue)
    reading = folder / READING
    parts = [
        f"# {experiment.title}",
        f"{experiment.question} ({_source(experiment)})",
        *([reading.read_text(encoding="utf-8").strip()] if reading.exists() else []),
        "## Results",
        "Return per agent and episode on the global simulator, on fresh episodes after training: mean over "
        "seeds and its standard error.",
        _table(tables, catalogue, series),
        _WORDS,
        _reference_lines(tables, series),
        *(_analysis(experiment.analysis, tables, catalogue, series) if experiment.analysis else ()),
        *(_refreshes(tables, catalogue, series) if "influence" in experiment.figures else ()),
        *(_breakdown(catalogue, series) if "breakdown" in experiment.figures else ()),
        *(_memory(tables, catalogue, series) if "scaling" in experiment.figures else ()),
        *(["## Figures"] if figures else []),
        *([_CAPTION] if {"learning", "scaling"} & set(experiment.figures) else []),
        *(f"![{name}]({name}.png)" for name in figures),
        "## What it took",
        _cost(experiment, tables, catalogue),
        "Made by what follows, which runs what is missing and goes on where it was cut off; with `--redraw` "
        "it only makes the figures and this page from the CSV files again:",
        "\n".join(["```sh", *_commands(experiment, tables, catalogue), "```"]),
    ]
    path = folder / PAGE
    write_file(path, "\n\n".join(part for part in parts if part) + "\n")
    return path


def _names(one: Series, catalogue: Catalogue) -> tuple[str, str, str]:
    """The cells under ``_NAMES``."""
    return one.preset, SIMULATOR_LABELS[one.simulator], catalogue.variants[one.variant].label


def _known(value: float, form: str) -> str:
    """Nothing for what is not known."""
    return "" if math.isnan(value) else format(value, form)


def _source(experiment: Experiment) -> str:
    return "Not in the paper." if experiment.source == "ours" else f"Suau et al. 2022: {experiment.source}."


def _table(tables: Tables, catalogue: Catalogue, series: Sequence[Series]) -> str:
    header = (*_NAMES, "seeds", "return", "greedy", "published", "influence CE")
    lines = [[*header, "wall s", "agent-steps/s", "CPU h", "memory MiB", "a core an agent, s, projected"]]
    for one in series:
        published = references(tables, one.preset)["published"]
        rates = [
            _known(one.mean("agent_steps_per_second").value, ",.0f"),
            _known(one.mean("cpu_seconds").value / 3600, ".2f"),
        ]
        returns = [in_words(one.mean(column)) for column in ("return_mean", "greedy_return_mean")]
        lines.append(
            [
                *_names(one, catalogue),
                str(len(one.rows)),
                *(returns if one.projection == 1 else ("not trained", "")),
                _of_simulator(published, one.simulator),
                in_words(one.mean("influence_ce")),
                f"{one.wall_seconds:,.0f}{'' if one.projection == 1 else ', projected'}",
                *(rates if one.projection == 1 else ("", "")),
                *(_memory_mib(tables, one), _known(one.core_an_agent_seconds, ",.0f")),
            ]
        )
    return _markdown(lines)


def _analysis(name: str, tables: Tables, catalogue: Catalogue, series: Sequence[Series]) -> tuple[str, str]:
    """Means over agents and seeds of what the analysis ``name`` found, by series."""
    header, columns, text = _ANALYSES[name]
    lines = [[*_NAMES, *header]]
    for one in series:
        found = [row for run in one.rows for row in tables.of(name, run["trial"])]
        for version in sorted({row.get("aip_version", "") for row in found}, key=lambda one: (len(one), one)):
            rows = [row for row in found if row.get("aip_version", "") == version]
            means = [f"{np.mean(np.abs(numbers(rows, column))):.4g}" for column in columns]
            lines.append([*_names(one, catalogue), *means])
    return text, _markdown(lines)


def _refreshes(tables: Tables, catalogue: Catalogue, series: Sequence[Series]) -> tuple[str, str]:
    """What refreshes did to the cross-entropy, means over refreshes and seeds, by series."""
    header = ("refreshes", "CE fell at", "before", "after", "marginal", "s each")
    lines = [[*_NAMES, *header]]
    for one in series:
        rows = [row for run in one.rows for row in tables.of("refreshes", run["trial"])]
        if not rows:
            continue
        before, after = numbers(rows, "ce_before"), numbers(rows, "ce_after")
        means = [
            f"{np.mean(numbers(rows, column)):.4f}" for column in ("ce_before", "ce_after", "ce_marginal")
        ]
        fell = sum(new < old for old, new in zip(before, after, strict=True))
        lines.append(
            [
                *_names(one, catalogue),
                *(str(len(rows)), str(fell), *means, f"{np.mean(numbers(rows, 'seconds')):.1f}"),
            ]
        )
    text = (
        "Cross-entropy of the influence predictors before and after each refresh, nats per source, on the "
        "tenth of that refresh's GS data that is held out; by it the epoch is chosen too, so it cannot rise. "
        "Means over refreshes, the first one, of untrained predictors, included. Marginal: always predicting "
        "each source's average frequencies. In the figures curves are of the evaluations' episodes, on which "
        "nothing is chosen; vertical bars are the first seed's refreshes, on their held-out data, and dotted "
        "lines the marginal there."
    )
    return text, _markdown(lines)


def _breakdown(catalogue: Catalogue, series: Sequence[Series]) -> tuple[str, str]:
    """CPU seconds by phase, means over seeds, by series."""
    lines = [[*_NAMES, *PHASES, "wall s"]]
    for one in series:
        if one.projection == 1:
            spent = [_known(seconds, ",.1f") for seconds in one.phase_seconds.values()]
            lines.append([*_names(one, catalogue), *spent, f"{one.wall_seconds:,.0f}"])
    text = (
        "CPU seconds of all processes by phase, divided as the busy time of their threads is: GS episodes "
        "for the predictors (collect), their training (aip), episodes of the policies (rollout), updates "
        "(learn), evaluation on the GS."
    )
    return text, _markdown(lines)


def _memory_mib(tables: Tables, one: Series) -> str:
    """All processes together, mean over the seeds whose memory is known."""
    rows = [tables.of("memory", run["trial"]) for run in one.rows]
    return _known(mean_of([sum(numbers(row, "total_mib")) for row in rows if row]).value, ",.0f")


def _memory(tables: Tables, catalogue: Catalogue, series: Sequence[Series]) -> tuple[str, str]:
    """Resident memory by kind of process, means over seeds, by series."""
    lines = [[*_NAMES, "process", "at once", "MiB of the largest", "MiB of all"]]
    for one in series:
        found = [row for run in one.rows for row in tables.of("memory", run["trial"])]
        for process in dict.fromkeys(row["process"] for row in found):
            rows = [row for row in found if row["process"] == process]
            sizes = [
                f"{np.mean(numbers(rows, column)):,.0f}" for column in ("count", "peak_mib", "total_mib")
            ]
            lines.append([*_names(one, catalogue), process, *sizes])
    text = (
        "Memory by process: the most that was resident while training, in the process that trains and in "
        "those that it starts (SUMO). Agents are no processes of their own: their simulators are rows of the "
        "compiled kernels' arrays."
    )
    return text, _markdown(lines)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([rows[0], "|" + "---|" * len(lines[0]), *rows[1:]])


def _of_simulator(published: dict[str, float], simulator: str) -> str:
    for name, value in published.items():
        if name.lower().startswith(simulator):
            return f"{value:g}"
    return ""


def _reference_lines(tables: Tables, series: Sequence[Series]) -> str:
    lines = []
    for preset in dict.fromkeys(one.preset for one in series):
        measured = references(tables, preset)["measured"]
        best_first = sorted(measured.items(), key=lambda item: -item[1])
        known = ", ".join(f"{name} {value:.4g}" for name, value in best_first)
        lines.append(f"- Scripted policies on {preset}, measured here: {known}")
    return "\n".join(lines)


def _cost(experiment: Experiment, tables: Tables, catalogue: Catalogue) -> str:
    rows = tables.rows["runs"]
    hours = np.nansum(numbers(rows, "cpu_seconds")) / 3600
    wall = sum(number(row, "wall_seconds") for row in rows) / 3600
    done = {row["trial"] for row in rows}
    budgets = []
    for budget in ("quick", "full"):
        plan = {trial.name for trial in catalogue.plan(experiment, budget)}
        budgets.append(f"{len(plan & done)} of {len(plan)} runs of the {budget} budget")
    machines = dict.fromkeys(f"{row['cores']} cores, {row['cpu']}, {row['memory_gib']} GiB" for row in rows)
    dates = sorted(row["date"][:10] for row in rows)
    sentences = (
        f"{len(rows)} runs ({' and '.join(budgets)}), {hours:.2f} CPU hours",
        f"{wall:.2f} hours of wall time one after another.",
        f"Machine: {'; '.join(machines)}.",
        f"Dates: {dates[0]} to {dates[-1]}.",
        "Every run with its command: [runs.csv](runs.csv).",
    )
    return f"{sentences[0]}, {' '.join(sentences[1:])}"


def _commands(experiment: Experiment, tables: Tables, catalogue: Catalogue) -> list[str]:
    """The quick budget, and a command for each number of seeds that runs of the full one alone have."""
    command = f"dials experiment {experiment.name}"
    quick = {trial.name for trial in catalogue.plan(experiment, "quick")}
    seeds: dict[str, int] = {}
    for row in tables.rows["runs"]:
        if row["trial"] not in quick:
            series = row["trial"].rpartition(".")[0]
            seeds[series] = max(seeds.get(series, 0), int(row["seed"]))
    further = []
    for n in sorted(set(seeds.values())):
        only = " ".join(f"--only {series}" for series, most in sorted(seeds.items()) if most == n)
        further.append(f"{command} --budget full --seeds {n} {only}")
    return [command, *further]


def in_words(mean: Mean) -> str:
    """A mean and its standard error with as many digits as that error deserves."""
    if mean.n == 0:
        return ""
    digits = 1 if abs(mean.value) >= 100 else 2 if abs(mean.value) >= 1 else 3
    error = "" if math.isnan(mean.error) else f" +- {mean.error:.{digits}f}"
    return f"{mean.value:.{digits}f}{error}"

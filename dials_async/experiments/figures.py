"""The figures of an experiment, drawn from its tables alone, as SVG and PNG.

Lines are means over seeds, bands one standard error. Dashed: scripted policies; dotted, or hollow marks:
published by Suau et al. 2022.
"""

from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dials_async.experiments import analysis_figures
from dials_async.experiments.catalogue import SIMULATOR_LABELS, Catalogue, Experiment
from dials_async.experiments.panels import (
    COLOURS,
    GREY,
    Data,
    band,
    legend_below,
    make_panels,
    reference_lines,
    simulator_colour,
    styled,
)
from dials_async.experiments.statistics import all_series, curve, references
from dials_async.experiments.tables import PHASES, Tables, number, numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(experiment: Experiment, tables: Tables, catalogue: Catalogue) -> dict[str, "Figure"]:
    """The figures of ``experiment`` by file name without suffix; one for each preset or domain that ran."""
    whole = all_series(tables, catalogue)
    trained = [one for one in whole if one.projection == 1]
    figures = {}
    for kind in experiment.figures:
        by_preset, function = _KINDS[kind]
        series = whole if kind == "scaling" else trained
        for key in dict.fromkeys(one.preset if by_preset else one.domain for one in series):
            chosen = [one for one in series if key in (one.preset, one.domain)]
            with styled():
                figures[f"{kind}-{key}"] = function(Data(tables, catalogue, chosen))
    return figures


def save(figures: dict[str, "Figure"], folder: Path) -> None:
    """Write each figure as SVG and PNG: equal data, equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        with styled():
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})


def _learning(data: Data) -> "Figure":
    figure, (by_steps, by_time) = make_panels(2)
    for one, colour in data.coloured():
        line = curve(data.tables, one, "return_mean")
        label = data.label(one)
        band(by_steps, line.steps / 1e6, line, colour, label)
        band(by_time, line.seconds / 60, line, colour, label)
    reference_lines((by_steps, by_time), data)
    by_steps.set(title=data.series[0].preset, xlabel="million steps per agent", ylabel="return per episode")
    by_time.set(xlabel="wall time, minutes")
    legend_below(figure, by_steps)
    return figure


def _influence(data: Data) -> "Figure":
    figure, (axes,) = make_panels(1, 4.0)
    figure.set_size_inches(7.5, 4.0)
    for one, colour in data.coloured():
        line = curve(data.tables, one, "influence_ce_mean")
        band(axes, line.steps / 1e6, line, colour, data.label(one))
        refreshes = data.tables.of("refreshes", one.rows[0]["trial"])
        steps = [step / 1e6 for step in numbers(refreshes, "steps")]
        axes.plot(steps, numbers(refreshes, "ce_marginal"), color=colour, linestyle=":", linewidth=1.2)
        for row in refreshes:
            at = number(row, "steps") / 1e6
            axes.plot(
                [at, at],
                [number(row, "ce_before"), number(row, "ce_after")],
                color=colour,
                linewidth=0.8,
                alpha=0.7,
                marker="_",
            )
    axes.set(
        title=f"{data.series[0].preset}: error of the influence predictors",
        xlabel="million steps per agent",
        ylabel="cross-entropy, nats per source",
        ylim=(0, None),
    )
    axes.plot([], [], color=GREY, linestyle=":", linewidth=1.2, label="average frequencies alone")
    legend_below(figure, axes)
    return figure


def _scaling(data: Data) -> "Figure":
    figure, (returns, times) = make_panels(2, 4.2)
    domain = data.series[0].domain
    for simulator in SIMULATOR_LABELS:
        colour = simulator_colour(simulator)
        label = SIMULATOR_LABELS[simulator]
        runs = [one for one in data.series if one.simulator == simulator]
        variants = list(dict.fromkeys(one.variant for one in runs))
        for variant, marker, crosses in zip(variants, cycle("oDs^v"), cycle("x+1234"), strict=False):
            ours = [one for one in runs if one.variant == variant]
            million = number(ours[0].rows[0], "steps") * ours[0].projection / 1e6
            name = f"{label}, {million:.0f} M steps{'' if ours[0].projection == 1 else ', projected'}"
            agents = [one.agents for one in ours]
            if ours[0].projection == 1:
                means = [one.mean("return_mean") for one in ours]
                error = np.nan_to_num([mean.error for mean in means])
                values = [mean.value for mean in means]
                returns.errorbar(agents, values, yerr=error, color=colour, marker=marker, label=name)
            hours = [one.wall_seconds / 3600 for one in ours]
            times.plot(agents, hours, color=colour, marker=marker, label=name)
            if simulator == "gs":
                continue
            projected = [one.core_an_agent_seconds / 3600 for one in ours]
            times.plot(
                *(agents, projected),
                color=colour,
                marker=crosses,
                linestyle="--",
                label=f"{name}, a core an agent (projected)",
            )
        published = data.catalogue.published.get((domain, simulator))
        if published and runs:
            hollow = {"color": colour, "marker": "o", "markerfacecolor": "white", "linestyle": ":"}
            returns.plot(
                published.agents, published.returns, label=f"{label}, published, 4 M steps", **hollow
            )
            times.plot(published.agents, published.hours, label=f"{label}, published, 4 M steps", **hollow)
    best = {
        one.agents: max(found.values())
        for one in data.series
        if (found := references(data.tables, one.preset)["measured"])
    }
    scripted = {"color": GREY, "linestyle": "--", "linewidth": 0.9, "label": "best scripted policy"}
    returns.plot(list(best), list(best.values()), **scripted)
    times.plot([], [], **scripted)  # the legend's
    sizes = sorted({one.agents for one in data.series} | {4, 25, 49, 100})
    for axes in (returns, times):
        axes.set_xscale("log", base=2)
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel("agents")
    returns.set(title=f"{domain}: final return", ylabel="return per episode")
    times.set(title="time to train", ylabel="hours", yscale="log")
    times.yaxis.set_major_formatter("{x:g}")
    legend_below(figure, times)
    return figure


def _breakdown(data: Data) -> "Figure":
    figure, (axes,) = make_panels(1)
    figure.set_size_inches(7.5, 1.3 + 0.42 * len(data.series))
    names = [f"{one.agents} agents, {data.label(one)}" for one in data.series]
    totals = [sum(one.mean(f"{phase}_seconds").value for phase in PHASES) for one in data.series]
    left = np.zeros(len(data.series))
    for phase, colour in zip(PHASES, COLOURS, strict=False):
        shares = np.array([one.mean(f"{phase}_seconds").value for one in data.series]) / totals
        axes.barh(names, shares, left=left, color=colour, label=phase)
        left += shares
    for place, one in enumerate(data.series):
        axes.text(1.01, place, f"{one.wall_seconds:,.0f} s", va="center", fontsize=8.5, color=GREY)
    axes.invert_yaxis()
    axes.set(
        xlabel="share of CPU time; right: wall time",
        xlim=(0, 1),
        title=f"{data.series[0].domain}: where the time goes",
    )
    axes.grid(visible=False)
    legend_below(figure, axes)
    return figure


def _lag(data: Data) -> "Figure":
    figure, (returns, rates) = make_panels(2)
    labels = [data.catalogue.variants[one.variant].label for one in data.series]
    for axes, column in ((returns, "return_mean"), (rates, "agent_steps_per_second")):
        means = [one.mean(column) for one in data.series]
        error = np.nan_to_num([mean.error for mean in means])
        axes.errorbar(labels, [mean.value for mean in means], yerr=error, color=COLOURS[0], marker="o")
        axes.set_xlabel("most versions that experience may be old")
    returns.set(title=f"{data.series[0].preset}: final return", ylabel="return per episode")
    returns.margins(y=1.0)  # what seeds make of it should not look like a cliff
    rates.set(title="throughput", ylabel="agent-steps/s")
    rates.set_ylim(bottom=0)
    return figure


#: Kind of figure: whether there is one for each preset (else for each domain), and what draws it.
_KINDS: dict[str, tuple[bool, Callable[[Data], "Figure"]]] = {
    "learning": (True, _learning),
    "influence": (True, _influence),
    "lag": (True, _lag),
    "fidelity": (True, analysis_figures.fidelity),
    "theory": (True, analysis_figures.theory),
    "scaling": (False, _scaling),
    "breakdown": (False, _breakdown),
}

"""The charts of the report: returns while learning, and how well the influence is foreseen.

Each function draws its chart twice, for wide and for narrow pages (the page's CSS shows the one that fits),
and returns both as HTML.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.report.run_folder import Run, Table
from dials_async.report.svg import (
    GREEDY,
    NARROW,
    PUBLISHED,
    RUNS,
    SAMPLED,
    SOFT,
    WIDE,
    EndLabel,
    Size,
    chart,
    hover_strips,
    label_ends,
    to_svg,
)
from dials_async.report.words import duration, quantity, short_count, shortened

Column = NDArray[np.float64]


def learning_curve(run: Run, over: str) -> str:
    """Return per episode against ``over``: "steps" (per agent) or "seconds" (of wall time)."""
    return "".join(_learning_curve(run, over, size) for size in (WIDE, NARROW))


def learning_close_up(run: Run) -> str:
    """The upper end of the curve, enlarged: good policies differ by little."""
    if len(run.metrics["steps"]) < 6:
        return ""
    return "".join(_learning_curve(run, "steps", size, close_up=True) for size in (WIDE, NARROW))


def compare_learning(runs: Sequence[Run], over: str, with_baselines: bool) -> str:
    """The sampled returns of several runs against ``over``, the baselines of the first if they are shared."""
    return "".join(_compare_learning(runs, over, with_baselines, size) for size in (WIDE, NARROW))


def influence_chart(run: Run) -> str:
    """CE of the influence predictors against steps, with every refresh and the marginal frequencies."""
    return "".join(_influence_chart(run, size) for size in (WIDE, NARROW))


def _learning_curve(run: Run, over: str, size: Size, close_up: bool = False) -> str:
    curves = [("sampled", "return", SAMPLED)]
    if np.isfinite(run.metrics["greedy_return_mean"]).any():
        curves.append(("greedy", "greedy_return", GREEDY))
    references = _references(run, size)
    late = run.metrics["steps"] >= (0.3 * run.metrics["steps"].max() if close_up else 0)
    if close_up:
        references = _near([column for _, column, _ in curves], run.metrics, references)
    with chart(size, labels=len(curves) + len(references)) as (figure, axes):
        xs, ends, values = run.metrics[over], [], [label.y for label in references]
        for label in references:
            axes.axhline(label.y, color=label.colour, linewidth=1.1, **_dash(label), zorder=1.5)
        for name, column, colour in curves:
            mean, se = run.metrics[f"{column}_mean"], np.nan_to_num(run.metrics[f"{column}_se"])
            _curve(axes, xs, mean, mean - se, mean + se, colour)
            last = float(mean[np.isfinite(mean)][-1])
            ends.append(EndLabel(last, name, colour, strong=True))
            values += [float(v) for v in (*(mean - se)[late], *(mean + se)[late]) if math.isfinite(v)]
        _frame(axes, over, xs, values, "return per episode" if size.is_wide else "return")
        if close_up:
            axes.set_xlim(float(xs[late][0]), float(xs[-1]))
        label_ends(figure, axes, size, [*ends, *references])
        texts = [text for text, shown in zip(_tooltips(run.metrics), late, strict=True) if shown]
        overlay = hover_strips(figure, axes, list(xs[late]), texts)
        description = f"Return per episode against {over}; the table below the chart has the values."
        name = "close" if close_up else over
        return to_svg(figure, size, description, f"learn-{name}-{size.name}", overlay)


def _near(columns: Sequence[str], metrics: Table, references: Sequence[EndLabel]) -> list[EndLabel]:
    """The references that lie near the last half of the curves."""
    half = len(metrics["steps"]) // 2
    values = np.concatenate([metrics[f"{column}_mean"][half:] for column in columns])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    margin = max(high - low, 0.12 * max(abs(low), abs(high)))
    return [label for label in references if low - margin <= label.y <= high + margin]


def _references(run: Run, size: Size) -> list[EndLabel]:
    """Scripted policies measured here and published values, as horizontal lines."""
    labels = []
    for name, value in run.baselines.items():
        labels.append(EndLabel(value.mean, f"{name} {quantity(value.mean)}" if size.is_wide else name, SOFT))
    for name, mean in run.published.items():
        text = f"published: {name} {quantity(mean)}" if size.is_wide else name
        labels.append(EndLabel(mean, text, PUBLISHED, italic=True))
    return labels


def _dash(label: EndLabel) -> dict[str, Any]:
    """Published values are dotted, baselines dashed: told apart without colour too."""
    return {"linestyle": (0, (1, 2.5)) if label.italic else (0, (6, 4))}


def _curve(axes: Any, xs: Column, mean: Column, low: Column, high: Column, colour: str) -> None:
    known = np.isfinite(mean)
    axes.fill_between(xs[known], low[known], high[known], color=colour, alpha=0.18, linewidth=0, zorder=2)
    dots = {"marker": "o", "markersize": 4.5, "markeredgewidth": 0} if known.sum() <= 40 else {}
    axes.plot(xs[known], mean[known], color=colour, linewidth=2, zorder=3, **dots)


def _tooltips(metrics: Table) -> list[str]:
    texts = []
    for i in range(len(metrics["steps"])):
        lines = [f"{metrics['steps'][i]:,.0f} steps, {duration(float(metrics['seconds'][i]))}"]
        for name, column in (("sampled", "return"), ("greedy", "greedy_return")):
            mean, se = metrics[f"{column}_mean"][i], metrics[f"{column}_se"][i]
            if math.isfinite(mean):
                lines.append(
                    f"{name}: {quantity(mean)}" + (f" ± {quantity(se)}" if math.isfinite(se) else "")
                )
        texts.append("\n".join(lines))
    return texts


def _frame(axes: Any, over: str, xs: Column, values: Sequence[float], y_label: str) -> None:
    """Limits, ticks and names of the axes; y starts at 0 unless the values are far from it."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or max(1.0, 0.1 * abs(high))
    axes.set_ylim(0 if 0 <= low <= 0.4 * high else low - margin, high + margin)
    last = float(xs.max()) or 1.0
    axes.set_xlim(min(0.0, float(xs.min())), last)
    axes.xaxis.set_major_locator(MaxNLocator(5 if axes.bbox.width > 400 else 3, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    scale, unit = 1.0, "environment steps per agent" if axes.bbox.width > 400 else "steps per agent"
    if over == "seconds":
        scale, unit = (
            (1.0, "seconds") if last < 180 else (60.0, "minutes") if last < 10800 else (3600.0, "hours")
        )
        unit = f"wall time, {unit}"
        axes.xaxis.set_major_locator(_scaled_locator(scale, 5 if axes.bbox.width > 400 else 3))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short_count(x / scale)))
    axes.set_xlabel(unit, labelpad=6)
    axes.text(0.0, 1.0, y_label, transform=axes.transAxes, color=SOFT, va="bottom", ha="left", clip_on=False)


def _scaled_locator(scale: float, ticks: int) -> Any:
    """Round ticks in units of ``scale`` (seconds shown as minutes or hours)."""
    from matplotlib.ticker import MaxNLocator

    class Scaled(MaxNLocator):
        def tick_values(self, vmin: float, vmax: float) -> Any:
            return np.asarray(super().tick_values(vmin / scale, vmax / scale)) * scale

    return Scaled(ticks, steps=[1, 2, 3, 5, 10])


def _influence_chart(run: Run, size: Size) -> str:
    metrics, refreshes = run.metrics, run.refreshes
    mean = metrics["influence_ce_mean"]
    with chart(size) as (figure, axes):
        known = np.isfinite(mean)
        values = [0.0, *(float(v) for v in mean[known])]
        ends = []
        if known.any():
            low = np.where(np.isfinite(metrics["influence_ce_min"]), metrics["influence_ce_min"], mean)
            high = np.where(np.isfinite(metrics["influence_ce_max"]), metrics["influence_ce_max"], mean)
            _curve(axes, metrics["steps"], mean, low, high, SAMPLED)
            values += [float(v) for v in high[known]]
            last = float(mean[known][-1])
            text = f"predictors in use {quantity(last)}" if size.is_wide else "predictors"
            ends.append(EndLabel(last, text, SAMPLED, strong=True))
        if refreshes is not None and len(refreshes["steps"]):
            values += _draw_refreshes(axes, refreshes, float(metrics["steps"].max()))
            marginal = float(refreshes["ce_marginal"][-1])
            if math.isfinite(marginal):
                text = f"marginal frequencies {quantity(marginal)}" if size.is_wide else "marginals"
                ends.append(EndLabel(marginal, text, SOFT))
        _frame(axes, "steps", metrics["steps"], values, "cross-entropy, nats")
        axes.set_xlim(axes.get_xlim()[0] - 0.012 * axes.get_xlim()[1], axes.get_xlim()[1])
        label_ends(figure, axes, size, ends)
        texts = [
            f"{step:,.0f} steps\nmean {quantity(ce)} nats" if math.isfinite(ce) else f"{step:,.0f} steps"
            for step, ce in zip(metrics["steps"], mean, strict=True)
        ]
        overlay = hover_strips(figure, axes, list(metrics["steps"]), texts)
        description = "Cross-entropy of the influence predictors against steps, with every refresh."
        return to_svg(figure, size, description, f"ce-{size.name}", overlay)


def _draw_refreshes(axes: Any, table: Table, last_step: float) -> list[float]:
    """Each refresh as an arrow from before to after, and the marginal line; returns the values drawn."""
    steps, before, after, marginal = (table[k] for k in ("steps", "ce_before", "ce_after", "ce_marginal"))
    for step, old, new in zip(steps, before, after, strict=True):
        axes.axvline(step, ymax=0.96, color=SOFT, linewidth=1, alpha=0.25, zorder=1)
        if math.isfinite(old) and math.isfinite(new):
            axes.annotate(
                "",
                xy=(step, new),
                xytext=(step, old),
                arrowprops={
                    "arrowstyle": "-|>,head_width=0.22,head_length=0.45",
                    "color": GREEDY,
                    "linewidth": 2,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
                zorder=4,
            )
            axes.plot([step], [old], marker="o", markersize=5, color=GREEDY, zorder=4, clip_on=False)
    known = np.isfinite(marginal)
    if known.any():
        xs, ys = (
            [*steps[known], max(last_step, float(steps[known][-1]))],
            [*marginal[known], marginal[known][-1]],
        )
        axes.plot(xs, ys, drawstyle="steps-post", color=SOFT, linewidth=1.3, linestyle=(0, (6, 4)), zorder=2)
    return [float(v) for v in (*before, *after, *marginal) if math.isfinite(v)]


def _compare_learning(runs: Sequence[Run], over: str, with_baselines: bool, size: Size) -> str:
    references = _references(runs[0], size) if with_baselines else []
    # The colour of published values would be taken for a run's.
    references = [replace(label, colour=SOFT) for label in references]
    with chart(size, labels=len(runs) + len(references)) as (figure, axes):
        ends, values = [], [label.y for label in references]
        for label in references:
            axes.axhline(label.y, color=label.colour, linewidth=1.1, **_dash(label), zorder=1.5)
        for i, run in enumerate(runs):
            # After eight colours the lines change their dash, so that no two runs look alike before sixteen.
            colour, dashed = RUNS[i % len(RUNS)], i >= len(RUNS)
            xs, mean = run.metrics[over], run.metrics["return_mean"]
            se = np.nan_to_num(run.metrics["return_se"])
            axes.fill_between(xs, mean - se, mean + se, color=colour, alpha=0.15, linewidth=0, zorder=2)
            axes.plot(xs, mean, color=colour, linewidth=2, linestyle="--" if dashed else "-", zorder=3)
            axes.plot(xs[-1:], mean[-1:], color=colour, marker="o", markersize=5, zorder=3, clip_on=False)
            last = float(mean[-1])
            name = shortened(run.name)
            text = f"{name} {quantity(last)}" if size.is_wide else name
            ends.append(EndLabel(last, text, colour, strong=True))
            values += [float(v) for v in (*(mean - se), *(mean + se))]
        every_x = np.concatenate([run.metrics[over] for run in runs])
        _frame(axes, over, every_x, values, "return per episode" if size.is_wide else "return")
        label_ends(figure, axes, size, [*ends, *references])
        description = f"Return per episode of {len(runs)} runs against {over}."
        return to_svg(figure, size, description, f"compare-{over}-{size.name}")

"""The figures of the report that need no axes: tiles, ranked dots, bars, heat map, tables, as HTML.

They are text and boxes, so they flow on any screen; colours come from the page's CSS variables.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from dials_async.report.run_folder import Run, Score, Table
from dials_async.report.words import SIMULATOR_SHORT, count, duration, quantity, score

#: Colours of the phases, in the order in which Algorithm 1 goes through them.
PHASES = {
    "collect": "collect GS episodes",
    "aip": "train influence predictors",
    "rollout": "roll out local simulators",
    "learn": "update policies (PPO)",
    "evaluate": "evaluate on the GS",
}

#: From this share of the colour ramp on, light text is easier to read than dark text.
HEAT_FLIP = 0.65


def tiles(run: Run) -> str:
    """The key figures."""
    found = [("return per episode", score(run.final), "actions sampled from the policy")]
    if run.greedy is not None:
        found.append(("greedy return", score(run.greedy), "always the likeliest action"))
    if math.isfinite(run.agent_steps_per_second):
        found.append(
            ("throughput", count(run.agent_steps_per_second), "agent-steps per second, all phases included")
        )
    total = f"{count(run.total_agent_steps)} agent-steps in all"
    found.append(("wall time", duration(run.wall_seconds), total))
    if math.isfinite(run.influence_ce):
        note = "cross-entropy, nats: lower is better"
        if run.aip_refreshes is not None:
            note = f"nats, after {run.aip_refreshes} refresh{'es' if run.aip_refreshes != 1 else ''}"
        found.append(("influence error", quantity(run.influence_ce), note))
    return "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{_smaller_error(escape(value))}</dd>'
        f"<p>{escape(note)}</p></div>"
        for name, value, note in found
    )


def _smaller_error(text: str) -> str:
    value, sign, error = text.partition(" ± ")
    return f"{value}<small>{sign}{error}</small>" if sign else value


def standing(run: Run) -> str:
    """The run among hand-written policies and published values: a ranked dot plot with standard errors."""
    rows = [(SIMULATOR_SHORT.get(run.simulator, run.simulator) + ", this run", run.final, "own")]
    if run.greedy is not None:
        rows.append((rows[0][0] + ", greedy", run.greedy, "greedy"))
    rows += [(name, value, "baseline") for name, value in run.baselines.items()]
    rows += [(name, Score(mean), "published") for name, mean in run.published.items()]
    rows.sort(key=lambda row: -row[1].mean)
    low = min(0.0, *(_low(value) for _, value, _ in rows))
    high = max(0.0, *(value.mean + np.nan_to_num(value.se) for _, value, _ in rows)) or 1.0
    lines = []
    for name, value, kind in rows:
        at = 100 * (value.mean - low) / (high - low)
        half = 0.0 if math.isnan(value.se) else 100 * value.se / (high - low)
        tag = '<span class="tag">Suau et al. 2022</span>' if kind == "published" else ""
        lines.append(
            f'<tr class="{kind}"><th scope="row">{escape(name)}{tag}</th><td class="track"><div>'
            f'<i class="stem" style="width:{at:.2f}%"></i>'
            f'<i class="error" style="left:{at - half:.2f}%;width:{2 * half:.2f}%"></i>'
            f'<i class="dot" style="left:{at:.2f}%"></i></div></td>'
            f'<td class="value">{escape(score(value))}</td></tr>'
        )
    return f'<table class="standing"><tbody>{"".join(lines)}</tbody></table>'


def _low(value: Score) -> float:
    return value.mean - float(np.nan_to_num(value.se))


def phase_bars(run: Run) -> str:
    """Busy seconds by phase beside the wall seconds, on one scale."""
    if not run.seconds:
        return ""
    busy = sum(run.seconds.values())
    longest = max(run.wall_seconds, *run.seconds.values()) or 1.0
    rows = []
    for key in (*(k for k in PHASES if k in run.seconds), *(k for k in run.seconds if k not in PHASES)):
        cpu = run.cpu_seconds.get(key)
        rows.append(_bar(PHASES.get(key, key), run.seconds[key], longest, f"phase-{_word(key)}", cpu))
    rows.append(_bar("wall time", run.wall_seconds, longest, "wall"))
    note = f"Phases run side by side: {duration(busy)} busy in {duration(run.wall_seconds)} of wall time"
    if run.cpu_seconds and run.wall_seconds > 0:
        cpu = sum(run.cpu_seconds.values())
        note += f", {duration(cpu)} of CPU time ({cpu / run.wall_seconds:.1f} cores on average). "
        note += "Busy includes waiting for a core or for a simulator."
    else:
        note += "."
    return f'<div class="bars">{"".join(rows)}</div><p class="note">{escape(note)}</p>'


def stacked_phases(runs: Sequence[Run]) -> str:
    """Busy seconds by phase of several runs, one stacked bar each on one scale, with a mark at wall time."""
    runs = [run for run in runs if run.seconds]
    if not runs:
        return ""
    longest = max(max(run.wall_seconds, sum(run.seconds.values())) for run in runs) or 1.0
    used = [key for key in PHASES if any(key in run.seconds for run in runs)]
    keys = "".join(f'<span><b class="key phase phase-{key}"></b>{escape(PHASES[key])}</span>' for key in used)
    stacks = []
    for run in runs:
        parts = "".join(
            f'<i class="phase-{key}" style="width:{100 * run.seconds[key] / longest:.2f}%" '
            f'title="{escape(PHASES[key])}: {duration(run.seconds[key])}"></i>'
            for key in used
            if key in run.seconds
        )
        wall = f'<i class="wall-mark" style="left:calc({100 * run.wall_seconds / longest:.2f}% - 1.5px)"></i>'
        note = f"{duration(sum(run.seconds.values()))} busy in {duration(run.wall_seconds)}"
        stacks.append(
            f'<div class="stack"><div class="names"><b>{escape(run.name)}</b>'
            f"<span>{escape(note)}</span></div>"
            f'<div class="length">{parts}{wall}</div></div>'
        )
    return f'<p class="keys">{keys}</p><div class="stacks">{"".join(stacks)}</div>'


def _word(key: str) -> str:
    return "".join(c for c in key if c.isalnum())


def _bar(name: str, seconds: float, longest: float, kind: str, cpu: float | None = None) -> str:
    text = duration(seconds) if cpu is None else f"{duration(seconds)}, CPU {duration(cpu)}"
    return (
        f'<div class="bar {kind}"><span class="name">{escape(name)}</span>'
        f'<span class="length"><i style="width:{100 * seconds / longest:.2f}%"></i></span>'
        f'<span class="value">{escape(text)}</span></div>'
    )


def per_agent(run: Run) -> str:
    """Return of each agent: a grid as the agents lie if their number is a square, otherwise bars."""
    values = run.return_per_agent
    if not values:
        return ""
    low, high = min(values), max(values)
    # Colours span at least a tenth of the mean, or noise between equal agents looks like a finding.
    middle, span = (low + high) / 2, max(high - low, 0.1 * abs(sum(values) / len(values)), 1e-9)
    start = middle - span / 2
    side = math.isqrt(len(values))
    note = f'<p class="note">From {quantity(low)} (worst agent) to {quantity(high)} (best).'
    if side * side != len(values) or side == 1:
        top = max(abs(low), abs(high)) or 1.0
        bars = "".join(
            f'<div class="bar"><span class="name">agent {i}</span><span class="length">'
            f'<i style="width:{100 * max(0.0, value) / top:.2f}%"></i></span>'
            f'<span class="value">{quantity(value)}</span></div>'
            for i, value in enumerate(values)
        )
        return f'<div class="bars agents">{bars}</div>{note}</p>'
    cells = "".join(
        f'<div class="cell{" high" if share > HEAT_FLIP else ""}" style="--share:{100 * share:.0f}%" '
        f'title="agent {i}: {quantity(value)}">{quantity(value) if side <= 5 else f"{value:.1f}"}</div>'
        for i, (value, share) in enumerate((value, (value - start) / span) for value in values)
    )
    kind = "small" if side <= 3 else "large" if side > 7 else "medium"
    return (
        f'<div class="heat {kind}" style="--side:{side}">{cells}</div>'
        f'{note} <span class="ramp"><span>{quantity(start)}</span><i></i>'
        f"<span>{quantity(start + span)}</span></span></p>"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A plain table; the first column names the row, the others are numbers or words."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = []
    for name, *cells in rows:
        others = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{others}</tr>')
    body = "".join(lines)
    return (
        f'<div class="scroll"><table class="plain {kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def metrics_table(metrics: Table) -> str:
    """Every evaluation, for those who want the numbers."""
    columns = [
        ("steps", "steps", lambda v: f"{v:,.0f}"),
        ("seconds", "seconds", lambda v: f"{v:,.1f}"),
        ("return_mean", "return", quantity),
        ("return_se", "± se", quantity),
        ("greedy_return_mean", "greedy", quantity),
        ("greedy_return_se", "± se", quantity),
        ("influence_ce_mean", "CE mean", _nats),
        ("influence_ce_min", "CE min", _nats),
        ("influence_ce_max", "CE max", _nats),
        ("aip_version", "AIP version", lambda v: f"{v:.0f}"),
    ]
    return _columns_table(metrics, columns)


def refreshes_table(refreshes: Table) -> str:
    """Every AIP refresh: CE on held-out data before and after."""
    columns = [
        ("aip_version", "AIP version", lambda v: f"{v:.0f}"),
        ("steps", "at step", lambda v: f"{v:,.0f}"),
        ("ce_before", "CE before", _nats),
        ("ce_after", "CE after", _nats),
        ("ce_marginal", "CE marginal", _nats),
        ("seconds", "seconds", lambda v: f"{v:,.1f}"),
    ]
    return _columns_table(refreshes, columns)


def _nats(value: float) -> str:
    return f"{value:.3f}"


def _columns_table(values: Table, columns: Sequence[tuple[str, str, object]]) -> str:
    known = [column for column in columns if np.isfinite(values[column[0]]).any()]
    rows = [
        [form(float(values[key][i])) if math.isfinite(values[key][i]) else "" for key, _, form in known]  # type: ignore[operator]
        for i in range(len(values["steps"]))
    ]
    return table([name for _, name, _ in known], rows)

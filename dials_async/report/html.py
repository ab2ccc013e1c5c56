"""The report of one run: what its page says, in which order. One self-contained file, no network."""

import re
from html import escape
from pathlib import Path
from string import Template

import numpy as np

from dials_async.report import figures, words
from dials_async.report.charts import influence_chart, learning_close_up, learning_curve
from dials_async.report.page import asset, details, page, section, toggle_section, write_page
from dials_async.report.run_folder import Run, read_run
from dials_async.report.scene import pack_scene


def write_report(run_folder: Path) -> Path:
    """Write ``report.html`` into the folder of a finished run.

    Returns:
        The path of the page.

    Raises:
        UsageError: a required file is missing, or a file of the run cannot be understood.
    """
    run = read_run(run_folder)
    parts = [
        _learning_section(run),
        _standing_section(run),
        _scene_section(run),
        _influence_section(run),
        _agents_and_time_section(run),
        _reproduce_section(run),
        _config_section(run),
    ]
    lede = " ".join(filter(None, (words.verdict(run), words.provenance(run))))
    text = page(
        f"{run.name}: run report",
        "Run report",
        run.name,
        words.headline(run),
        lede,
        figures.tiles(run),
        parts,
    )
    return write_page(run_folder / "report.html", text)


def _learning_section(run: Run) -> str:
    lines = ['<b class="key c1">sampled</b> actions as in training']
    if np.isfinite(run.metrics["greedy_return_mean"]).any():
        lines.append('<b class="key c2">greedy</b> always the likeliest')
    if run.baselines:
        lines.append('<b class="key dashed">hand-written</b> policies, measured here')
    if run.published:
        note = f", {escape(run.published_note)}" if run.published_note else ""
        lines.append(f'<b class="key dotted">published</b>, Suau et al. 2022{note}')
    caption = "Mean return of an agent in an episode of the global simulator; bands are one standard error."
    keys = f'<p class="keys">{"".join(f"<span>{line}</span>" for line in lines)}</p>'
    panels = {
        "by steps": learning_curve(run, "steps"),
        "by time": learning_curve(run, "seconds"),
        "close-up": learning_close_up(run),
    }
    after = details("Every evaluation in numbers", figures.metrics_table(run.metrics))
    return toggle_section("Learning curve", caption + keys, panels, "learning", after)


def _standing_section(run: Run) -> str:
    if not run.baselines and not run.published:
        return ""
    caption = "Final return per episode, best first. Whiskers, where known, are one standard error."
    if run.published:
        note = f" ({run.published_note})" if run.published_note else ""
        caption += f" Published values{note} were read off the figures of the paper."
    return section("Where this stands", caption, figures.standing(run))


def _scene_section(run: Run) -> str:
    if run.scene is None:
        return ""
    packed, shown = pack_scene(run.scene)
    if not packed:
        return section(
            "An episode", "", '<p class="note">The drawing of this episode is too large for a page.</p>'
        )
    total = len(run.scene["frames"])
    cut = "" if shown == total else f" The first {shown} of {total} frames are shown."
    caption = (
        "One episode of the global simulator under the trained policies. Space plays and pauses, "
        f"arrow keys step.{cut}"
    )
    return section(
        "An episode", escape(caption), Template(asset("player.html")).substitute(scene=packed), "scene"
    )


def _influence_section(run: Run) -> str:
    has_refreshes = run.refreshes is not None and len(run.refreshes["steps"]) > 0
    if not np.isfinite(run.metrics["influence_ce_mean"]).any() and not has_refreshes:
        return ""
    caption = (
        "Cross-entropy of the influence predictors (AIPs) on episodes they were not trained on: how "
        "surprised the local simulators would be by what the neighbours really did. 0 means all is foreseen; "
        "at the marginal line a predictor knows only how often each thing happens. It also falls when "
        "neighbours become more predictable."
    )
    keys = '<span><b class="key c1">predictors in use</b> mean, band from best to worst agent</span>'
    after = ""
    if run.refreshes is not None and has_refreshes:
        keys += '<span><b class="key c2">refresh</b> before → after, held-out data</span>'
        after = details("Every refresh in numbers", figures.refreshes_table(run.refreshes))
    finding = words.influence_finding(run)
    finding = f'<p class="finding">{escape(finding)}</p>' if finding else ""
    content = f'{finding}<p class="keys">{keys}</p>{influence_chart(run)}{after}'
    return section("How well the influence is foreseen", escape(caption), content, "influence")


def _agents_and_time_section(run: Run) -> str:
    agents = section(
        "Return of each agent", "Laid out as the agents are, row by row.", figures.per_agent(run)
    )
    if not _is_square(len(run.return_per_agent)):
        agents = agents.replace("Laid out as the agents are, row by row.", "In the last evaluation.")
    time = section("Where the time went", "Busy seconds, summed over threads.", figures.phase_bars(run))
    return f'<div class="pair">{agents}{time}</div>' if agents and time else agents + time


def _is_square(n: int) -> bool:
    return n > 1 and round(n**0.5) ** 2 == n


def _reproduce_section(run: Run) -> str:
    facts = [("preset", run.preset), ("simulator", run.simulator)]
    facts += [("seed", str(run.seed))] if run.seed is not None else []
    facts += [("agents", words.count(run.agents)), ("steps per agent", words.count(run.agent_steps))]
    facts += [("weights, SHA-256", run.weights_sha256)] if run.weights_sha256 else []
    facts += [("machine", _machine(run))] if run.machine else []
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    facts += [("versions", versions)] if versions else []
    facts += [("date", run.date)] if run.date else []
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    caption = (
        "With policy lag 0, the same configuration and seed give the same "
        "weights, bit for bit, however many workers took part: compare the SHA-256."
    )
    if run.not_reproducible:
        caption = f"This run is {run.not_reproducible}. They were let in by --allow-other-numerics."
    command = f'<pre class="command">{escape(words.train_command(run))}</pre>'
    return section("Run it again", escape(caption), f'{command}<dl class="facts">{rows}</dl>', "reproduce")


def _machine(run: Run) -> str:
    machine = dict(run.machine)
    parts = [machine.pop("cpu", "")]
    if "cores" in machine:
        parts.append(f"{machine.pop('cores')} cores")
    if "memory_gib" in machine:
        parts.append(f"{machine.pop('memory_gib')} GiB of memory")
    return ", ".join(filter(None, [*parts, *machine.values()]))


def _config_section(run: Run) -> str:
    if run.config is None:
        return ""
    text = re.sub(r"(?m)^(\[.*\])$", r"<b>\1</b>", escape(run.config, quote=False))
    summary = "<summary><h2>Full configuration</h2></summary>"
    return f'<section class="card config"><details>{summary}<pre>{text}</pre></details></section>'

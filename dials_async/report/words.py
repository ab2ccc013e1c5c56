"""Numbers and findings in plain words: what the report says about a run, free of HTML.

Every sentence is made from the data of the run, never from what a domain is about.
"""

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from dials_async.report.run_folder import Run, Score

#: How a run was trained, in words, by its simulator.
TRAINED_ON = {
    "dials": "distributed influence-augmented local simulators (DIALS)",
    "untrained": "local simulators with untrained influence predictors (untrained-DIALS)",
    "gs": "the global simulator (GS)",
}
SIMULATOR_SHORT = {"dials": "DIALS", "untrained": "untrained-DIALS", "gs": "GS"}


def count(value: float) -> str:
    """1000000 -> '1,000,000'."""
    return f"{value:,.0f}"


def short_count(value: float) -> str:
    """For axes: 250000 -> '250k', 1500000 -> '1.5M'."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g}{name}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Two leading units: 38.2 -> '38 s', 4.26 -> '4.3 s', 252 -> '4 min 12 s', 8000 -> '2 h 13 min'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def quantity(value: float) -> str:
    """A return or CE with the decimals it deserves: 14.2271 -> '14.23', 211.62 -> '211.6'."""
    size = abs(value)
    decimals = 2 if size < 100 else 1 if size < 1000 else 0
    # Half up, as readers do it (13.125 -> 13.13; format() rounds to even); "+ 0" turns -0.00 into 0.00.
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return f"{rounded + 0:,.{decimals}f}"


def score(value: Score) -> str:
    """'14.23 ± 0.06', the standard error only where it is known."""
    return quantity(value.mean) + ("" if math.isnan(value.se) else f" ± {quantity(value.se)}")


def best_baseline(run: Run) -> tuple[str, Score] | None:
    """The strongest scripted policy, random play set aside."""
    hand_written = [(name, value) for name, value in run.baselines.items() if name != "random"]
    return max(hand_written, key=lambda pair: pair[1].mean) if hand_written else None


def headline(run: Run) -> str:
    """The run in two sentences, for somebody who has never heard of it."""
    agents = f"{count(run.agents)} agents" if run.agents != 1 else "1 agent"
    each = " each" if run.agents != 1 else ""
    time = _unbroken(duration(run.wall_seconds))
    learned = f"{agents} learned for {count(run.agent_steps)} steps{each} in {time}."
    others = []
    best = best_baseline(run)
    if best:
        others.append(f"the best hand-written policy {quantity(best[1].mean)}")
    if "random" in run.baselines:
        others.append(f"random play {quantity(run.baselines['random'].mean)}")
    earned = f" {'They earn' if run.agents != 1 else 'It earns'} {quantity(run.final.mean)} an episode"
    return (
        learned
        + earned
        + "".join("; " + other if i == 0 else ", " + other for i, other in enumerate(others))
        + "."
    )


def _unbroken(text: str) -> str:
    """With no-break spaces: a number and its unit stay on one line of a headline."""
    return text.replace(" ", "\u00a0")


def verdict(run: Run) -> str:
    """How the result compares with the best hand-written policy, and whether chance could explain it."""
    best = best_baseline(run)
    if best is None:
        return ""
    name, bar = best
    difference = run.final.mean - bar.mean
    error = math.hypot(run.final.se, bar.se)
    if math.isnan(error):
        side = "above" if difference >= 0 else "below"
        text = f"{quantity(abs(difference))} {side} {name}, the best hand-written policy."
    elif abs(difference) <= 2 * error:
        text = (
            f"On a par with {name}, the best hand-written policy: "
            f"the difference of {quantity(difference)} is within two standard errors ({quantity(2 * error)})."
        )
    else:
        side = "above" if difference > 0 else "below"
        text = (
            f"{quantity(abs(difference))} ± {quantity(error)} {side} {name}, the best hand-written policy, "
            "more than chance explains."
        )
    random = run.baselines.get("random")
    if random is not None and bar.mean > random.mean:
        way = (run.final.mean - random.mean) / (bar.mean - random.mean)
        text += f" That is {way:.0%} of the way from random play to {name}.".replace("%", " %")
    return text


def provenance(run: Run) -> str:
    """How the agents were trained, and how the return was measured."""
    on = TRAINED_ON.get(run.simulator, run.simulator)
    text = f"Trained on {on}."
    if run.eval_episodes:
        episodes = count(run.eval_episodes)
        text += f" Returns are means over agents, from {episodes} fresh episodes of the global simulator"
        text += "" if math.isnan(run.final.se) else "; ± is one standard error"
        text += "."
    return text


def runner_up(runs: Sequence[Run]) -> str:
    """By how much the best of several runs beats the second, and whether chance could explain it."""
    if len(runs) < 2:
        return ""
    first, second = sorted(runs, key=lambda run: -run.final.mean)[:2]
    lead, error = first.final.mean - second.final.mean, math.hypot(first.final.se, second.final.se)
    if math.isnan(error):
        return f"The next, {second.name}, earns {quantity(lead)} less."
    less = f"{quantity(lead)} ± {quantity(error)} less"
    if lead <= 2 * error:
        return f"The next, {second.name}, is within two standard errors: {less}."
    return f"The next, {second.name}, earns {less}."


def influence_finding(run: Run) -> str:
    """What the last refresh did to the predictors, good or bad."""
    table = run.refreshes
    if table is None or not len(table["steps"]):
        return ""
    before, after, marginal = (float(table[key][-1]) for key in ("ce_before", "ce_after", "ce_marginal"))
    if math.isnan(before) or math.isnan(after):
        return ""
    which = "The only refresh" if len(table["steps"]) == 1 else "The last refresh"
    if quantity(before) == quantity(after):
        text = f"{which} left it at {quantity(after)} nats"
    else:
        text = f"{which} brought it from {quantity(before)} to {quantity(after)} nats"
    if math.isnan(marginal):
        return text + "."
    if after >= marginal:
        return text + (
            f", no better than the marginal frequencies ({quantity(marginal)}): "
            "the predictors have learned nothing from the local state, so mistrust the local simulators."
        )
    share = f"{1 - after / marginal:.0%}".replace("%", " %")
    return text + f", {share} below the marginal frequencies ({quantity(marginal)})."


def shortened(name: str, most: int = 21) -> str:
    """``name`` in at most ``most`` characters: a long one keeps its two ends, which tell runs apart."""
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[: most - 1 - half]}…{name[-half:]}"


def train_command(run: Run) -> str:
    """The command that repeats the run, exactly where its config.toml is there."""
    if run.config is not None:
        return f"dials train runs/{run.name}/config.toml --run {run.name}-again"
    parts = ["dials train", run.preset, f"--run {run.name}-again"]
    if run.simulator != "dials":
        parts.append(f"--simulator {run.simulator}")
    parts.append(f"--steps {run.agent_steps}")
    if run.seed is not None:
        parts.append(f"--seed {run.seed}")
    return " ".join(parts)

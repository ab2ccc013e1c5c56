"""The summary of a run in plain words, as ``dials train`` prints it at the end."""

from pathlib import Path
from typing import Any


def in_words(summary: dict[str, Any], folder: Path) -> str:
    """What was learned, beside scripted policies and published returns, best first.

    Args:
        summary: as in ``summary.json`` (docs/files.md).
        folder: of the run, named as the place of the report.
    """
    lines = [
        f"{summary['agents']} agents learned for {summary['agent_steps']:,} steps each "
        f"in {summary['wall_seconds']:.0f} s ({summary['agent_steps_per_second']:,.0f} agent-steps/s).",
        f"Return per agent and episode on the global simulator, {summary['eval_episodes']} fresh episodes:",
    ]
    errors = summary["baseline_standard_errors"]
    rows = [(name, mean, errors[name], "") for name, mean in summary["baselines"].items()]
    for name, key, mark in (
        ("learned", "final_return", "  <- this run"),
        ("learned, greedy", "final_greedy_return", "  <- this run, always the likeliest action"),
    ):
        rows.append((name, summary[f"{key}_mean"], summary[f"{key}_se"], mark))
    for name, mean, error, mark in sorted(rows, key=lambda row: -row[1]):
        lines.append(f"  {name:<18}{mean:>7.2f} +- {error:.2f}{mark}")
    if summary["published"]:
        known = ", ".join(f"{label} {value:g}" for label, value in summary["published"].items())
        note = f", {summary['published_note']}" if summary["published_note"] else ""
        lines.append(f"Published (Suau et al. 2022{note}): {known}")
    if summary["influence_ce"] is not None:
        lines.append(f"Influence cross-entropy at the end: {summary['influence_ce']:.3f} nats per source")
    if summary.get("not_reproducible"):  # summaries from before it was told have none
        lines.append(f"This run is {summary['not_reproducible']}.")
    lines.append(f"Weights {summary['weights_sha256'][:16]}...  Report: {folder / 'report.html'}")
    return "\n".join(lines)

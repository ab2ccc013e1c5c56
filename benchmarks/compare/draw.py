"""The figure of what the comparisons measured, from their CSV files alone.

python benchmarks/compare/draw.py docs/results/compare
"""

import argparse
import csv
from pathlib import Path

from dials_async.experiments.figures import save
from dials_async.experiments.panels import COLOURS, GREY, make_panels, styled


def rows_of(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Draw ``compare.svg`` and ``compare.png`` beside the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="with stable_baselines.csv and sumo_rl_grid.csv")
    folder: Path = parser.parse_args().folder
    with styled():
        figure, (returns, rates) = make_panels(2)
        points = rows_of(folder / "stable_baselines.csv")
        for colour, learner in zip(COLOURS, dict.fromkeys(row["learner"] for row in points), strict=False):
            chosen = [row for row in points if row["learner"] == learner]
            line = [float(row["seconds"]) for row in chosen], [float(row["ials_return"]) for row in chosen]
            returns.plot(*line, color=colour, marker="o", markersize=3, label=learner)
        returns.set(
            title="PPO on one agent's IALS", xlabel="seconds on one core", ylabel="return per episode"
        )
        returns.legend(loc="lower right")
        grid = rows_of(folder / "sumo_rl_grid.csv")[::-1]
        names = [f"{row['environment']}, {row['interface']}, {row['decision_every_s']} s" for row in grid]
        colours = [COLOURS[0] if row["environment"] == "ours" else COLOURS[1] for row in grid]
        bars = rates.barh(names, [float(row["decisions_per_s"]) for row in grid], color=colours)
        pace = [float(row["simulated_s_per_s"]) for row in grid]
        texts = [f"{bar.get_width():,.0f} ({x:,.0f} x real time)" for bar, x in zip(bars, pace, strict=True)]
        rates.bar_label(bars, texts, padding=3, fontsize=8, color=GREY)
        rates.set(title="5 x 5 lights in SUMO, one core", xlabel="decisions per second")
        rates.grid(visible=False, axis="y")
        rates.set_axisbelow(True)
        rates.margins(x=0.5)
        rates.locator_params(axis="x", nbins=5)
    save({"compare": figure}, folder)


if __name__ == "__main__":
    main()

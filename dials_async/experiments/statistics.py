"""Means over seeds, of final results and of learning curves: what figures and pages show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dials_async.experiments.catalogue import SIMULATOR_LABELS, Catalogue, Variant
from dials_async.experiments.tables import PHASES, Row, Tables, number, numbers

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, with its standard error (NaN for a single seed)."""

    value: float
    error: float
    n: int


@dataclass(frozen=True)
class Curve:
    """One series over the steps at which every seed was evaluated; each [evaluations]."""

    steps: Column
    seconds: Column
    mean: Column
    error: Column
    """Standard error over seeds; NaN for a single seed."""


@dataclass(frozen=True)
class Series:
    """The trials of one preset, simulator and variant."""

    preset: str
    simulator: str
    variant: str
    rows: tuple[Row, ...]
    """Of runs.csv, one a seed."""
    projection: float = 1.0
    """Above 1: the runs only measured a rate, and whole ones would take so many times longer."""
    learning_seconds: float = math.nan
    """From the first evaluation of a curve to its last, mean over seeds."""

    @property
    def wall_seconds(self) -> float:
        """Mean time to train; projected, it is that of learning alone, without start and evaluations."""
        if self.projection == 1:
            return self.mean("wall_seconds").value
        return self.learning_seconds * self.projection

    def mean(self, column: str) -> Mean:
        """Mean of a column of runs.csv."""
        return mean_of(numbers(self.rows, column))

    @property
    def domain(self) -> str:
        """Name of the domain: presets are called after it."""
        return self.preset.rpartition("-")[0]

    @property
    def phase_seconds(self) -> dict[str, float]:
        """CPU seconds by phase, of all processes: their total, divided as the threads' busy time is.

        Busy time itself is wall time: where more threads than cores are busy, it counts their waiting too.
        """
        busy = {phase: self.mean(f"{phase}_seconds").value for phase in PHASES}
        share = self.mean("cpu_seconds").value / sum(busy.values())
        return {phase: seconds * share for phase, seconds in busy.items()}

    @property
    def core_an_agent_seconds(self) -> float:
        """Time to train on IALS with one core for each agent, from the CPU seconds that were measured here.

        Predictors, rollouts and updates go agent by agent, so each agent's core has its share of them; the
        GS episodes that AIPs learn from are of all agents at once and stay whole. Evaluation runs beside
        training, and messages are left out. NaN for "gs": how far its rollouts can be spread depends on the
        episodes that are out at once, not on the agents.
        """
        if self.simulator == "gs":
            return math.nan
        spent = self.phase_seconds
        shared = spent["aip"] + spent["learn"] + spent["rollout"]
        return (spent["collect"] + shared / self.agents) * self.projection

    @property
    def agents(self) -> int:
        """Number of agents."""
        return int(self.rows[0]["agents"])


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and standard error over seeds; values that are unknown (NaN) are left out."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Mean(math.nan, math.nan, 0)
    error = float(np.std(known, ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else math.nan
    return Mean(float(np.mean(known)), error, len(known))


def all_series(tables: Tables, catalogue: Catalogue) -> list[Series]:
    """The runs by what they share: by domain and size, then in the catalogue's order."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in tables.rows["runs"]:
        found.setdefault((row["preset"], row["simulator"], row["variant"]), []).append(row)
    simulators, variants = list(SIMULATOR_LABELS), list(catalogue.variants)
    return sorted(
        (
            Series(*key, tuple(rows), _projection(catalogue.variants[key[2]], rows), _learning(tables, rows))
            for key, rows in found.items()
        ),
        key=lambda one: (
            *(one.domain, one.agents),
            *(variants.index(one.variant), simulators.index(one.simulator)),
        ),
    )


def _projection(variant: Variant, rows: Sequence[Row]) -> float:
    return variant.projected_steps / number(rows[0], "steps") if variant.projected_steps else 1.0


def _learning(tables: Tables, rows: Sequence[Row]) -> float:
    seconds = [numbers(tables.of("curves", row["trial"]), "seconds") for row in rows]
    return float(np.mean([max(one) - min(one) if one else math.nan for one in seconds]))


def curve(tables: Tables, series: Series, column: str) -> Curve:
    """A column of curves.csv over steps, averaged over the seeds of ``series``.

    Args:
        tables: of the experiment.
        series: whose curve.
        column: "return_mean", "influence_ce_mean", ...
    """
    by_trial = [tables.of("curves", row["trial"]) for row in series.rows]
    shared = sorted(set.intersection(*({number(row, "steps") for row in rows} for rows in by_trial)))
    values, seconds = np.zeros((len(by_trial), len(shared))), np.zeros((len(by_trial), len(shared)))
    for k, rows in enumerate(by_trial):
        at = {number(row, "steps"): row for row in rows}
        values[k] = [number(at[step], column) for step in shared]
        seconds[k] = [number(at[step], "seconds") for step in shared]
    n = len(by_trial)
    error = values.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(len(shared), math.nan)
    return Curve(np.array(shared), seconds.mean(axis=0), values.mean(axis=0), error)


def references(tables: Tables, preset: str) -> dict[str, dict[str, float]]:
    """Mean returns on ``preset`` by name: scripted policies ("measured"), the paper ("published")."""
    found: dict[str, dict[str, float]] = {"measured": {}, "published": {}}
    for row in tables.rows["references"]:
        if row["preset"] == preset:
            found[row["kind"]][row["name"]] = number(row, "mean")
    return found

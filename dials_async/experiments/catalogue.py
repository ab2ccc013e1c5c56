"""The list of experiments (``catalogue.toml``), and the trials that one of them consists of."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from dials_async.config import Config, load_config
from dials_async.domains.registry import make_domain
from dials_async.errors import ConfigError, UsageError
from dials_async.runtime.wiring import fingerprint_of

BUDGETS = ("quick", "full")

#: How the page names what a run was trained on.
SIMULATOR_LABELS = {"dials": "DIALS", "gs": "GS", "untrained": "untrained"}


@dataclass(frozen=True)
class Variant:
    """Settings on top of a preset."""

    name: str
    label: str
    settings: tuple[str, ...]
    steps: int | None
    """Steps per agent, in place of the preset's."""
    note: str
    domain: str | None
    """The only domain whose presets these settings fit, if there is one."""
    projected_steps: int | None = None
    """If set, runs are only long enough to measure their rate; times are shown as those of so many steps."""


@dataclass(frozen=True)
class Trial:
    """One training run of an experiment."""

    preset: str
    simulator: str
    variant: Variant
    seed: int

    @property
    def series(self) -> str:
        """What the trial has in common with those of other seeds."""
        return f"{self.preset}.{self.simulator}.{self.variant.name}"

    @property
    def name(self) -> str:
        """Its name, and that of its run."""
        return f"{self.series}.s{self.seed}"

    @property
    def config(self) -> Config:
        """Its resolved settings. Raises ConfigError."""
        run = {"simulator": self.simulator, "seed": self.seed, "steps": self.variant.steps}
        given = {key: value for key, value in run.items() if value is not None}
        return load_config(self.preset, self.variant.settings, {"run": given})

    @property
    def fingerprint(self) -> str:
        """Hash of all settings that its results depend on: another one, another trial."""
        config = self.config
        return f"{fingerprint_of(config)}-{config.run.steps}"

    @property
    def arguments(self) -> list[str]:
        """What ``dials train`` is given."""
        words = [self.preset, "--run", self.name, "--simulator", self.simulator, "--seed", str(self.seed)]
        words += ["--steps", str(self.variant.steps)] if self.variant.steps else []
        return words + [word for setting in self.variant.settings for word in ("--set", setting)]


@dataclass(frozen=True)
class TrialSet:
    """Trials of an experiment: every simulator and variant on every preset."""

    presets: tuple[str, ...]
    quick: tuple[str, ...]
    """The presets of the quick budget."""
    simulators: tuple[str, ...]
    variants: tuple[str, ...]
    seeds: int | None = None
    """The most seeds of each: for runs so long that more are not worth it."""


@dataclass(frozen=True)
class Experiment:
    """A question, and the trials and figures that answer it."""

    name: str
    title: str
    source: str
    """The figure or table of the paper that it reruns, or "ours"."""
    question: str
    figures: tuple[str, ...]
    trials: tuple[TrialSet, ...]
    analysis: str | None
    """What is looked at in every finished run, one of ``tables.ANALYSES``."""


@dataclass(frozen=True)
class Published:
    """What the paper reports for one domain and simulator, by number of agents."""

    agents: tuple[int, ...]
    returns: tuple[float, ...]
    hours: tuple[float, ...]


@dataclass(frozen=True)
class Catalogue:
    """All experiments."""

    experiments: Mapping[str, Experiment]
    variants: Mapping[str, Variant]
    published: Mapping[tuple[str, str], Published]
    """By (domain, simulator)."""
    quick_seeds: int
    full_seeds: Mapping[int, int]
    """By number of agents."""

    def experiment(self, name: str) -> Experiment:
        """The experiment ``name``. Raises UsageError that names the nearest one."""
        if name not in self.experiments:
            near = difflib.get_close_matches(name, self.experiments, 1)
            hint = f", did you mean '{near[0]}'?" if near else ";"
            raise UsageError(f"no experiment '{name}'{hint} there are {', '.join(self.experiments)}")
        return self.experiments[name]

    def is_current(self, row: Mapping[str, str]) -> bool:
        """Whether a row of runs.csv was made with the settings that its trial has now."""
        if row["variant"] not in self.variants:
            return False
        trial = Trial(row["preset"], row["simulator"], self.variants[row["variant"]], int(row["seed"]))
        try:
            return trial.fingerprint == row["fingerprint"]
        except ConfigError:  # the preset, or a setting, is gone
            return False

    def plan(self, experiment: Experiment, budget: str, seeds: int | None = None) -> list[Trial]:
        """Trials of ``experiment``, first seeds first, so that what is cut off has every curve once.

        Args:
            experiment: one of this catalogue's.
            budget: one of ``BUDGETS``.
            seeds: how many of each, in place of the budget's; no more than a part of the list allows.
        """
        trials = []
        for part in experiment.trials:
            for preset in part.quick if budget == "quick" else part.presets:
                n = seeds or (self.quick_seeds if budget == "quick" else self.full_seeds[agents_of(preset)])
                n = min(n, part.seeds or n)
                for variant in (self.variants[name] for name in part.variants):
                    if variant.domain is None or preset.startswith(variant.domain):
                        trials += [
                            Trial(preset, simulator, variant, seed)
                            for simulator in part.simulators
                            for seed in range(1, n + 1)
                        ]
        return sorted(trials, key=lambda trial: trial.seed)


def agents_of(preset: str) -> int:
    """Number of agents of ``preset``."""
    return make_domain(load_config(preset).domain).n_agents


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that comes with the package."""
    text = resources.files("dials_async.experiments").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return catalogue_from(tomllib.loads(text))


def catalogue_from(tables: Mapping[str, Any]) -> Catalogue:
    """A catalogue from the tables of a TOML file. Raises KeyError or TypeError for wrong ones."""
    return Catalogue(
        experiments={name: _experiment(name, table) for name, table in tables["experiments"].items()},
        variants={name: _variant(name, tables["variants"]) for name in tables["variants"]},
        published={
            (domain, simulator): Published(
                tuple(table["agents"]), tuple(table["return"]), tuple(table["hours"])
            )
            for domain, simulators in tables["published"].items()
            for simulator, table in simulators.items()
        },
        quick_seeds=tables["seeds"]["quick"],
        full_seeds={int(agents): n for agents, n in tables["seeds"]["full"].items()},
    )


def _variant(name: str, tables: Mapping[str, Mapping[str, Any]]) -> Variant:
    table = tables[name]
    if "like" in table:
        table = {**tables[table["like"]], **table}
    settings: Sequence[str] = table.get("set", ())
    left_out = table.get("without")
    return Variant(
        *(name, table["label"]),
        settings=tuple(text for text in settings if not (left_out and text.startswith(left_out))),
        steps=table.get("steps"),
        note=table.get("note", ""),
        domain=table.get("domain"),
        projected_steps=table.get("projected_steps"),
    )


def _experiment(name: str, table: Mapping[str, Any]) -> Experiment:
    parts = tuple(
        TrialSet(
            presets=tuple(part["presets"]),
            quick=tuple(part["quick"]),
            simulators=tuple(part["simulators"]),
            variants=tuple(part["variants"]),
            seeds=part.get("seeds"),
        )
        for part in table["trials"]
    )
    return Experiment(
        *(name, table["title"], table["source"], table["question"]),
        figures=tuple(table["figures"]),
        trials=parts,
        analysis=table.get("analysis"),
    )

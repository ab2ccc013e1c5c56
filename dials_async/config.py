"""The configuration of a run: what can be set, what it means, and the checks before anything starts.

A preset is a TOML file with these sections; ``--set section.key=value`` changes single keys. Tables under
``[for.gs]`` and ``[for.untrained]`` apply only to that simulator, so that each is given fair settings.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import tomli_w

from dials_async.errors import ConfigError

SIMULATORS = ("dials", "untrained", "gs")


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class Run:
    """What to train, for how long."""

    simulator: str = "dials"
    """"dials": IALS, AIPs trained every F steps. "untrained": AIPs never trained. "gs": on the GS itself."""
    steps: int = 1_000_000
    """Environment steps of each agent."""
    seed: int = 1
    """Everything random derives from it."""

    def __post_init__(self) -> None:
        _check(
            self.simulator in SIMULATORS,
            f"run.simulator = '{self.simulator}': one of {', '.join(SIMULATORS)}",
        )
        _check(self.steps > 0, f"run.steps = {self.steps}: must be positive")
        _check(0 <= self.seed < 2**63, f"run.seed = {self.seed}: must be in 0 .. 2**63 - 1")


@dataclass(frozen=True)
class Policy:
    """The networks of each agent's actor and critic (each its own)."""

    network: str = "mlp"
    """"mlp": two tanh layers. "gru": a tanh layer, then a GRU (the paper's)."""
    hidden_sizes: tuple[int, int] = (64, 64)
    """Units of the first layer, and of the second layer or the GRU."""

    def __post_init__(self) -> None:
        _check(self.network in ("mlp", "gru"), f"policy.network = '{self.network}': 'mlp' or 'gru'")
        _check(
            len(self.hidden_sizes) == 2 and all(1 <= size <= 4096 for size in self.hidden_sizes),
            f"policy.hidden_sizes = {list(self.hidden_sizes)}: two sizes in 1 .. 4096",
        )


@dataclass(frozen=True)
class Ppo:
    """Independent PPO (Schulman et al., 2017; paper, appendix I)."""

    learning_rate: float = 3e-3
    """Of Adam, at the start."""
    final_learning_rate: float = 1e-4
    """At ``schedule_steps``; linear between, constant after."""
    schedule_steps: int = 0
    """Steps per agent over which rate and entropy bonus fall; 0: all the steps of the run."""
    gamma: float = 0.95
    """Discount per step."""
    gae_lambda: float = 0.8
    """0: one-step advantages, little variance; 1: Monte Carlo, no bias."""
    clip: float = 0.2
    """How far the probability of an action may change in one update, as a ratio."""
    entropy: float = 0.003
    """Weight of the entropy bonus, at the start."""
    final_entropy: float = 0.003
    """At ``schedule_steps``, linear between: explore at first, act on what was learned at the end."""
    value_coefficient: float = 0.5
    """Weight of the critic's loss. Actor and critic share no parameters: it matters to clipping alone."""
    max_gradient_norm: float = 0.5
    """The gradient of one agent is scaled down to this norm."""
    adam_epsilon: float = 1e-5
    epochs: int = 3
    """Passes over the experience of one update."""
    minibatch_steps: int = 128
    """Steps in a minibatch."""
    sequence_steps: int = 8
    """Length of truncated backpropagation through time (GRU only)."""
    backend: str = "compiled"
    """"compiled": our kernels. "torch": the same update in torch, equal within rounding and slower."""

    def __post_init__(self) -> None:
        _check(
            self.backend in ("compiled", "torch"), f"ppo.backend = '{self.backend}': 'compiled' or 'torch'"
        )
        for key in ("learning_rate", "clip", "max_gradient_norm", "adam_epsilon"):
            _check(getattr(self, key) > 0, f"ppo.{key} = {getattr(self, key)}: must be positive")
        for key in ("final_learning_rate", "entropy", "final_entropy", "value_coefficient", "schedule_steps"):
            _check(getattr(self, key) >= 0, f"ppo.{key} = {getattr(self, key)}: must not be negative")
        for key in ("gamma", "gae_lambda"):
            _check(0 <= getattr(self, key) <= 1, f"ppo.{key} = {getattr(self, key)}: must be in 0 .. 1")
        for key in ("epochs", "minibatch_steps", "sequence_steps"):
            _check(getattr(self, key) >= 1, f"ppo.{key} = {getattr(self, key)}: must be at least 1")


@dataclass(frozen=True)
class Aip:
    """The approximate influence predictors (paper, section 3.2, appendix I)."""

    network: str = "gru"
    """"gru" reads the history of the d-set, "mlp" its present value only."""
    hidden_size: int = 64
    gs_steps: int = 10_000
    """Steps of the GS that a refresh collects."""
    learning_rate: float = 1e-2
    epochs: int = 20
    """Passes over the dataset at the most; training stops early on the held-out tenth."""
    patience: int = 3
    """Epochs without improvement after which training stops."""
    minibatch_sequences: int = 10
    """Sequences in a minibatch: whole episodes (gru) or single steps (mlp)."""

    def __post_init__(self) -> None:
        _check(self.network in ("gru", "mlp"), f"aip.network = '{self.network}': 'gru' or 'mlp'")
        _check(self.learning_rate > 0, f"aip.learning_rate = {self.learning_rate}: must be positive")
        for key in ("hidden_size", "gs_steps", "epochs", "patience", "minibatch_sequences"):
            _check(getattr(self, key) >= 1, f"aip.{key} = {getattr(self, key)}: must be at least 1")


@dataclass(frozen=True)
class Schedule:
    """When the GS is run: to refresh the AIPs, and to evaluate."""

    refresh_steps: int = 500_000
    """F of Algorithm 1: steps per agent between refreshes of the AIPs. F >= steps: once, at the start."""
    eval_steps: int = 0
    """E: steps per agent between evaluations; 0: a twentieth of the run."""
    eval_episodes: int = 40
    """GS episodes of each evaluation on the way, sampled and greedy each."""
    final_eval_episodes: int = 400
    """GS episodes of the last one, and of the baselines."""

    def __post_init__(self) -> None:
        _check(self.eval_steps >= 0, f"schedule.eval_steps = {self.eval_steps}: must not be negative")
        for key in ("refresh_steps", "eval_episodes", "final_eval_episodes"):
            _check(getattr(self, key) >= 1, f"schedule.{key} = {getattr(self, key)}: must be at least 1")


@dataclass(frozen=True)
class Rollout:
    """How experience is asked for."""

    episodes_per_task: int = 16
    """Whole episodes, of every agent of a group, in one task."""
    tasks_per_update: int = 2
    max_policy_lag: int = 0
    """How many versions experience may be old. 0: reproducible to the bit."""
    agents_per_group: int = 0
    """Agents whose networks are stacked; 0: at least two groups, at most 25 agents in each."""

    def __post_init__(self) -> None:
        for key in ("episodes_per_task", "tasks_per_update"):
            _check(
                1 <= getattr(self, key) <= 4096, f"rollout.{key} = {getattr(self, key)}: must be in 1 .. 4096"
            )
        for key in ("max_policy_lag", "agents_per_group"):
            _check(getattr(self, key) >= 0, f"rollout.{key} = {getattr(self, key)}: must not be negative")


@dataclass(frozen=True)
class Parity:
    """Switches to repeat what the authors' code does where it differs; all off."""

    truncation_is_termination: bool = False
    """Treat the time limit as the end of the task: no bootstrap from the last observation."""


@dataclass(frozen=True)
class Runtime:
    """How a run is carried out on one machine; never changes a result."""

    workers: int = 2
    """Rollout threads."""
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        _check(1 <= self.workers <= 256, f"runtime.workers = {self.workers}: must be in 1 .. 256")
        _check(
            self.checkpoint_seconds > 0,
            f"runtime.checkpoint_seconds = {self.checkpoint_seconds}: must be positive",
        )


@dataclass(frozen=True)
class Config:
    """A whole run; frozen, and checked when it is made."""

    preset: str
    domain: Mapping[str, Any]
    """``name`` of the domain and its own options."""
    run: Run = field(default_factory=Run)
    policy: Policy = field(default_factory=Policy)
    ppo: Ppo = field(default_factory=Ppo)
    aip: Aip = field(default_factory=Aip)
    schedule: Schedule = field(default_factory=Schedule)
    rollout: Rollout = field(default_factory=Rollout)
    parity: Parity = field(default_factory=Parity)
    runtime: Runtime = field(default_factory=Runtime)

    @property
    def eval_steps(self) -> int:
        """E in steps per agent."""
        return self.schedule.eval_steps or max(1, self.run.steps // 20)

    @property
    def schedule_steps(self) -> int:
        """Steps per agent over which the learning rate falls."""
        return self.ppo.schedule_steps or self.run.steps

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in a preset file."""
        plain = dataclasses.asdict(self)
        plain["domain"] = dict(self.domain)
        plain["policy"]["hidden_sizes"] = list(self.policy.hidden_sizes)
        return plain

    def to_toml(self) -> str:
        """The resolved configuration as TOML."""
        return tomli_w.dumps(self.to_dict())

    def fingerprint(self) -> str:
        """Hash of all that a checkpoint must agree with: everything but length and machine settings."""
        plain = self.to_dict()
        for section, key in (("run", "steps"), ("ppo", "schedule_steps"), ("schedule", "eval_steps")):
            plain[section].pop(key)
        plain["schedule"] = {"refresh_steps": self.schedule.refresh_steps}
        del plain["runtime"], plain["preset"]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


_SECTIONS: dict[str, type] = {
    "run": Run,
    "policy": Policy,
    "ppo": Ppo,
    "aip": Aip,
    "schedule": Schedule,
    "rollout": Rollout,
    "parity": Parity,
    "runtime": Runtime,
}


def preset_names() -> list[str]:
    """Names of the presets that come with the package, smallest system first."""
    files = [Path(entry.name) for entry in resources.files("dials_async.presets").iterdir()]
    names = [file.stem for file in files if file.suffix == ".toml"]
    return sorted(names, key=lambda name: (name.rstrip("0123456789"), len(name), name))


def read_preset(name: str) -> dict[str, Any]:
    """The tables of a preset, or of a TOML file of the user's own. Raises ConfigError."""
    if name in preset_names():
        text = resources.files("dials_async.presets").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read the preset file {name}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{name} is not valid TOML: {error}") from error
    else:
        raise ConfigError(
            f"unknown preset '{name}'{_nearest(name, preset_names())}; 'dials presets' lists them"
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is not valid TOML: {error}") from error


def load_config(
    preset: str, settings: Sequence[str] = (), overrides: Mapping[str, Mapping[str, Any]] | None = None
) -> Config:
    """Resolve a preset, its simulator's tables, ``overrides``, and ``settings`` ("section.key=value").

    Raises ConfigError that names the key, and the nearest known one.
    """
    tables = read_preset(preset)
    special = tables.pop("for", {})
    changes = [(section, dict(values)) for section, values in (overrides or {}).items()]
    changes += [_parse_setting(text) for text in settings]
    by_simulator = _check_special(special)
    simulator = next((v["simulator"] for s, v in reversed(changes) if s == "run" and "simulator" in v), None)
    if simulator is None:
        run = tables.get("run")
        simulator = run.get("simulator", "dials") if isinstance(run, Mapping) else "dials"
    known = by_simulator.get(simulator, {}) if isinstance(simulator, str) else {}
    for section, values in (*known.items(), *changes):
        table = tables.setdefault(section, {})
        _check(isinstance(table, dict), f"[{section}] must be a table")
        table.update(values)
    return config_from_dict({**tables, "preset": preset})


def _check_special(special: Any) -> Mapping[str, Mapping[str, Any]]:
    """The tables under [for]; those of simulators that are not used now are checked too."""
    _check(isinstance(special, Mapping), "[for] must hold tables such as [for.gs.ppo]")
    for simulator, sections in special.items():
        _check(
            simulator in SIMULATORS,
            f"unknown simulator in [for.{simulator}]{_nearest(simulator, SIMULATORS)}",
        )
        _check(isinstance(sections, Mapping), f"[for.{simulator}] must hold tables")
        for section, values in sections.items():
            _check(section in _SECTIONS, f"unknown section '{section}'{_nearest(section, list(_SECTIONS))}")
            _build(section, _SECTIONS[section], values)
    checked: Mapping[str, Mapping[str, Any]] = special
    return checked


def config_from_dict(tables: Mapping[str, Any]) -> Config:
    """Build and check a configuration from plain data. Raises ConfigError."""
    known = ["preset", "domain", *_SECTIONS]
    for section in tables:
        _check(section in known, f"unknown section '{section}'{_nearest(section, known)}")
    domain = tables.get("domain")
    _check(isinstance(domain, Mapping) and isinstance(domain.get("name"), str), "domain.name is missing")
    sections = {name: _build(name, kind, tables.get(name, {})) for name, kind in _SECTIONS.items()}
    return Config(preset=str(tables.get("preset", "")), domain=dict(domain or {}), **sections)


def _build(section: str, kind: type, values: Any) -> Any:
    _check(isinstance(values, Mapping), f"[{section}] must be a table")
    hints = get_type_hints(kind)
    checked = {}
    for key, value in values.items():
        _check(key in hints, f"unknown key '{section}.{key}'{_nearest(key, list(hints))}")
        checked[key] = _convert(f"{section}.{key}", hints[key], value)
    return kind(**checked)


def _convert(name: str, wanted: Any, value: Any) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if get_origin(wanted) is tuple:
        _check(
            isinstance(value, list | tuple) and all(type(item) is get_args(wanted)[0] for item in value),
            f"{name} = {value!r}: must be a list of integers",
        )
        return tuple(value)
    if wanted is int and isinstance(value, float) and value.is_integer():
        return int(value)
    _check(type(value) is wanted, f"{name} = {value!r}: must be of type {wanted.__name__}")
    _check(wanted is not float or math.isfinite(value), f"{name} = {value!r}: must be a finite number")
    return value


def _parse_setting(text: str) -> tuple[str, dict[str, Any]]:
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    _check(
        bool(equals and dot and section and key) and section != "preset",
        f"--set {text}: write section.key=value",
    )
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a string
    return section, {key: parsed}


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean '{close[0]}'?" if close else ""

"""The settings of a run by section: what can be set, what it means, its default, and its range."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomli_w

from dials_async.errors import ConfigError

SIMULATORS = ("dials", "untrained", "gs")


def check(condition: bool, message: str) -> None:
    """Raise ConfigError with ``message`` unless ``condition``."""
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
        check(
            self.simulator in SIMULATORS,
            f"run.simulator = '{self.simulator}': one of {', '.join(SIMULATORS)}",
        )
        check(self.steps > 0, f"run.steps = {self.steps}: must be positive")
        check(0 <= self.seed < 2**63, f"run.seed = {self.seed}: must be in 0 .. 2**63 - 1")


@dataclass(frozen=True)
class Policy:
    """The networks of each agent's actor and critic (each its own)."""

    network: str = "mlp"
    """"mlp": two tanh layers. "gru": a tanh layer, then a GRU (the paper's)."""
    hidden_sizes: tuple[int, int] = (64, 64)
    """Units of the first layer, and of the second layer or the GRU."""

    def __post_init__(self) -> None:
        check(self.network in ("mlp", "gru"), f"policy.network = '{self.network}': 'mlp' or 'gru'")
        check(
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
    """At ``schedule_steps``, linear between: explore at first, act on what was learned at the end. Below 0 it
    is a penalty: the policy is made to commit to what it holds to be best."""
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
        check(self.backend in ("compiled", "torch"), f"ppo.backend = '{self.backend}': 'compiled' or 'torch'")
        for key in ("learning_rate", "clip", "max_gradient_norm", "adam_epsilon"):
            check(getattr(self, key) > 0, f"ppo.{key} = {getattr(self, key)}: must be positive")
        for key in ("final_learning_rate", "entropy", "value_coefficient", "schedule_steps"):
            check(getattr(self, key) >= 0, f"ppo.{key} = {getattr(self, key)}: must not be negative")
        for key in ("gamma", "gae_lambda"):
            check(0 <= getattr(self, key) <= 1, f"ppo.{key} = {getattr(self, key)}: must be in 0 .. 1")
        for key in ("epochs", "minibatch_steps", "sequence_steps"):
            check(getattr(self, key) >= 1, f"ppo.{key} = {getattr(self, key)}: must be at least 1")


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
        check(self.network in ("gru", "mlp"), f"aip.network = '{self.network}': 'gru' or 'mlp'")
        check(self.learning_rate > 0, f"aip.learning_rate = {self.learning_rate}: must be positive")
        for key in ("hidden_size", "gs_steps", "epochs", "patience", "minibatch_sequences"):
            check(getattr(self, key) >= 1, f"aip.{key} = {getattr(self, key)}: must be at least 1")


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
        check(self.eval_steps >= 0, f"schedule.eval_steps = {self.eval_steps}: must not be negative")
        for key in ("refresh_steps", "eval_episodes", "final_eval_episodes"):
            check(getattr(self, key) >= 1, f"schedule.{key} = {getattr(self, key)}: must be at least 1")


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
            check(
                1 <= getattr(self, key) <= 4096, f"rollout.{key} = {getattr(self, key)}: must be in 1 .. 4096"
            )
        for key in ("max_policy_lag", "agents_per_group"):
            check(getattr(self, key) >= 0, f"rollout.{key} = {getattr(self, key)}: must not be negative")


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
        check(1 <= self.workers <= 256, f"runtime.workers = {self.workers}: must be in 1 .. 256")
        check(
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


#: The sections of a preset file, "domain" apart: that one belongs to the domain.
SECTIONS: dict[str, type] = {
    "run": Run,
    "policy": Policy,
    "ppo": Ppo,
    "aip": Aip,
    "schedule": Schedule,
    "rollout": Rollout,
    "parity": Parity,
    "runtime": Runtime,
}

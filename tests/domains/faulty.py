"""A small domain in plain NumPy, and copies of it that make one mistake each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_async.domains.base import (
    AgentSpec,
    Domain,
    GlobalSimulator,
    GlobalStep,
    LocalSimulator,
    ScriptedPolicy,
)

#: 11 bits: 3 of the d-set, and two ladders of 4.
SPEC = AgentSpec(observation_bits=11, dset_bits=3, n_actions=3, n_sources=2, n_classes=8, ladder_steps=4)
STEPS = 5


class World:
    """Returns what is right, but for ``wrong``: what it makes of a field of the step WRONG_STEP."""

    def __init__(self, shape: tuple[int, int], wrong: dict[str, Any]) -> None:
        self.shape, self.wrong, self.t = shape, wrong, 0

    def reset(self, seeds: np.ndarray) -> None:  # noqa: ARG002
        self.t = 0

    def field(self, name: str, value: Any) -> Any:
        return self.wrong[name](value) if name in self.wrong and self.t == WRONG_STEP else value

    def observe(self) -> np.ndarray:
        observed = np.zeros((*self.shape, 2), dtype=np.uint8)
        observed[..., 0] = 0b0011_1010  # bits 1, 3, 4, 5: a ladder up to its third step
        return self.field("observations", observed)

    def rewards(self) -> Any:
        return self.field("rewards", np.full(self.shape, 0.5, dtype=np.float32))


WRONG_STEP = 2


class Global(World, GlobalSimulator):
    def step(self, actions: np.ndarray) -> GlobalStep:
        assert actions.shape == self.shape
        influence = self.field("influence", np.full((*self.shape, 2), 7, dtype=np.uint8))
        result = self.field("step", GlobalStep(self.rewards(), influence))
        self.t += 1
        return result


class Local(World, LocalSimulator):
    def step(self, actions: np.ndarray, influence: np.ndarray) -> np.ndarray:
        assert actions.shape == self.shape
        assert influence.shape == (*self.shape, 2)
        rewards = self.rewards()
        self.t += 1
        return rewards


class Policy(World, ScriptedPolicy):
    def reset(self, seeds: np.ndarray) -> None:  # noqa: ARG002
        self.t = 0

    def act(self, simulator: Global) -> np.ndarray:
        assert isinstance(simulator, Global)  # the domain's own
        actions = self.field("actions", np.full(self.shape, 2, dtype=np.uint8))
        self.t += 1
        return actions


class Faulty(Domain):
    """Right, unless it is given what is ``wrong``: functions of fields of the GS, the LS, the policy."""

    name = "faulty"
    episode_steps = STEPS
    n_agents = 3
    largest_reward = 1.0
    baselines = ("script",)

    def __init__(self, **wrong: Any) -> None:
        self.wrong = wrong

    def spec(self, agent: int) -> AgentSpec:  # noqa: ARG002
        return SPEC

    def make_global(self, n_envs: int) -> GlobalSimulator:
        return Global((self.n_agents, n_envs), self.wrong)

    def make_local(self, agents: Sequence[int], n_envs: int) -> LocalSimulator:
        return Local((len(agents), n_envs), self.wrong)

    def scripted_policy(self, name: str, n_envs: int) -> ScriptedPolicy:
        return (
            Policy((self.n_agents, n_envs), self.wrong)
            if name == "script"
            else super().scripted_policy(name, n_envs)
        )

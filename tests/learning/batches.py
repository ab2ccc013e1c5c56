"""Random experience of one small agent, to be learnt from by the compiled update and by the one in torch."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import log_softmax

from dials_async.kernels.bits import pack, packed_size
from dials_async.learning.ppo_torch import network, targets_and_advantages
from dials_async.learning.scratch import Scratch, make_scratch
from dials_async.learning.settings import HEALTH, Settings
from dials_async.networks.initial import initial_parameters
from dials_async.networks.layout import GRU, MLP, Shape, n_parameters

N_BITS, N_ACTIONS = 9, 4
SETTINGS = Settings(
    gamma=0.95,
    lam=0.8,
    clip=0.2,
    entropy=0.01,
    value_coefficient=0.5,
    max_gradient_norm=0.5,
    adam_epsilon=1e-5,
    epochs=2,
    minibatch_steps=16,
    sequence_steps=1,
)


@dataclass(frozen=True)
class Problem:
    """An agent, its experience, and how to learn from it."""

    actor: Shape
    critic: Shape
    parameters: np.ndarray  # float32 [actor's, then critic's]
    observations: np.ndarray  # [episodes, steps + 1, bytes]
    actions: np.ndarray  # [episodes, steps]
    rewards: np.ndarray
    log_probs: np.ndarray  # of the behaviour policy
    terminated: np.ndarray  # [episodes]
    lagged: bool
    settings: Settings

    @property
    def n_actor(self) -> int:
        return n_parameters(self.actor)

    def scratch(self) -> Scratch:
        return make_scratch(self.actor, self.critic, self.settings, *self.actions.shape)

    def with_settings(self, **changes: Any) -> "Problem":
        return replace(self, settings=self.settings._replace(**changes))


@dataclass
class Outcome:
    """What an update left behind."""

    parameters: np.ndarray
    m: np.ndarray
    v: np.ndarray
    steps: int
    health: dict[str, float]
    scratch: Scratch


def update(function: Any, problem: Problem, seed: int = 3, rate: float = 1e-2, before: int = 7) -> Outcome:
    """Run ``update_agent`` of either backend on copies, from an optimiser that has made some steps."""
    rng = np.random.default_rng(99)
    parameters = problem.parameters.copy()
    m = rng.normal(0, 0.01, len(parameters)).astype(np.float32)
    v = rng.uniform(1e-4, 1e-3, len(parameters)).astype(np.float32)
    health, scratch = np.zeros(len(HEALTH)), problem.scratch()
    steps = function(
        problem.actor,
        problem.critic,
        problem.n_actor,
        parameters,
        m,
        v,
        before,
        problem.observations,
        problem.actions,
        problem.rewards,
        problem.log_probs,
        problem.terminated,
        problem.lagged,
        problem.settings,
        rate,
        np.uint64(seed),
        scratch,
        health,
    )
    return Outcome(parameters, m, v, steps, dict(zip(HEALTH, health, strict=True)), scratch)


def make_problem(
    kind: str, lagged: bool = False, episodes: int = 3, steps: int = 11, seed: int = 0, shift: float = 0.0
) -> Problem:
    """``kind`` "mlp" or "gru"; ``shift`` moves the log-probabilities of the experience by up to this much.

    Lagged experience comes from another policy; else from the present one (apart from ``shift``).
    """
    rng = np.random.default_rng(seed)
    code = GRU if kind == "gru" else MLP
    actor, critic = Shape(code, N_BITS, 8, 6, N_ACTIONS, 1), Shape(code, N_BITS, 8, 6, 1, 1)
    parts = [initial_parameters(actor, seed, 1.0), initial_parameters(critic, seed + 1, 1.0)]
    parameters = np.concatenate(parts).astype(np.float32)
    bits = rng.integers(0, 2, (episodes, steps + 1, N_BITS), dtype=np.uint8)
    actions = rng.integers(0, N_ACTIONS, (episodes, steps), dtype=np.uint8)
    behaviour = parameters.copy()
    if lagged:
        behaviour += rng.normal(0, 0.4, len(parameters)).astype(np.float32)
    problem = Problem(
        actor,
        critic,
        parameters,
        pack(bits),
        actions,
        rng.normal(0.5, 1, actions.shape).astype(np.float32),
        np.zeros(actions.shape, dtype=np.float32),
        rng.integers(0, 2, episodes, dtype=np.uint8),
        lagged,
        SETTINGS._replace(sequence_steps=4 if kind == "gru" else 1),
    )
    assert problem.observations.shape[2] == packed_size(N_BITS)
    own = taken_log_probs(problem, torch.from_numpy(behaviour.astype(np.float64))).detach().numpy()
    own += rng.uniform(-shift, shift, own.shape)
    return replace(problem, log_probs=own.astype(np.float32))


# ---- The same in double precision, whole episodes at once -------------------------------------------------


def outputs(shape: Shape, theta: torch.Tensor, problem: Problem) -> torch.Tensor:
    """Of whole episodes from a zero hidden state, [episodes, steps + 1, n_out], float64."""
    bits = np.unpackbits(problem.observations, axis=-1, bitorder="little", count=N_BITS)
    inputs = torch.from_numpy(bits.astype(np.float64)).transpose(0, 1)
    hidden = torch.zeros(inputs.shape[1], shape.h2, dtype=torch.float64)
    return network(shape, theta, inputs, hidden)[0].transpose(0, 1)


def log_policy(problem: Problem, theta: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of all actions, [episodes, steps, actions]."""
    return log_softmax(outputs(problem.actor, theta[: problem.n_actor], problem)[:, :-1], dim=-1)


def taken_log_probs(problem: Problem, theta: torch.Tensor) -> torch.Tensor:
    """Log-probabilities of the actions taken, [episodes, steps]."""
    taken = torch.from_numpy(problem.actions.astype(np.int64))
    return log_policy(problem, theta).gather(2, taken[:, :, None]).squeeze(2)


def goals(problem: Problem, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Value targets and normalised advantages at ratio 1, [episodes, steps]."""
    values = outputs(problem.critic, theta[problem.n_actor :], problem).squeeze(-1).detach()
    rewards = torch.from_numpy(problem.rewards.astype(np.float64))
    ended = torch.from_numpy(problem.terminated.astype(np.float64))
    targets, advantages = targets_and_advantages(
        rewards, values, ended, torch.ones_like(rewards), problem.settings
    )
    return targets, (advantages - advantages.mean()) / advantages.std(unbiased=False)

"""Stable-Baselines3's PPO beside ours: one agent, the same IALS, the same settings, one core each, in turn.

The IALS is that of one agent of a finished run: its compiled local simulator under the run's newest AIP. Both
learners get the run's own PPO settings: rate and entropy with their schedules, gamma, lambda, clip, epochs,
minibatch, 64-64 tanh networks, episodes an update, steps. Reported: agent-steps/s, evaluations left out,
and the return on fresh IALS episodes by wall time.

python benchmarks/compare/stable_baselines.py RUN --csv points.csv
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dials_async  # noqa: F401  # one BLAS thread, before anything else loads one

# isort: split
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecEnv

from dials_async.config import Config
from dials_async.domains.base import Domain
from dials_async.domains.registry import make_domain
from dials_async.groups import Group, make_groups
from dials_async.kernels.bits import unpack
from dials_async.kernels.rng import seed64, stream_seeds
from dials_async.learning.ppo import update_agent
from dials_async.learning.scratch import make_scratch
from dials_async.learning.settings import HEALTH, make_settings, schedules
from dials_async.networks.acting import make_memory, sample_influence
from dials_async.rollout.ials import IalsRollout, agent_seeds
from dials_async.run_folder import CHECKPOINTS, find_run, read_config
from dials_async.runtime.machine import machine
from dials_async.runtime.wiring import fingerprint_of
from dials_async.store.checkpoint import load_checkpoint

AGENT = 0
EVALUATION_EPISODES = 256
EVALUATIONS = 20

Point = tuple[float, int, float]  # seconds of training, agent-steps, return


class Ials(VecEnv):
    """The IALS of one agent, ``n`` episodes side by side, as Stable-Baselines3 wants it."""

    def __init__(self, domain: Domain, group: Group, aip: NDArray[np.float32], n: int, purpose: str) -> None:
        spec = group.spec
        super().__init__(
            n,
            spaces.Box(0.0, 1.0, (spec.observation_bits,), np.float32),
            spaces.Discrete(spec.n_actions),
        )
        self._domain, self._group, self._aip, self._purpose = domain, group, aip, purpose
        self._simulator = domain.make_local(group.agents, n)
        self._influence = np.zeros((1, n, spec.n_sources), dtype=np.uint8)
        self._episode = 0
        self._actions: NDArray[np.uint8] = np.zeros((1, n), dtype=np.uint8)

    def reset(self) -> NDArray[np.float32]:
        agents, n = self._group.agents, self.num_envs
        seeds = [agent_seeds(1, f"{self._purpose}-{what}", agents, self._episode) for what in ("ls", "u")]
        self._simulator.reset(stream_seeds(seeds[0], n))
        self._streams = stream_seeds(seeds[1], n)
        self._memory = make_memory(self._group.aip, 1, n)
        self._episode += 1
        self._step = 0
        return self._observe()

    def _observe(self) -> NDArray[np.float32]:
        self._packed = self._simulator.observe()
        return unpack(self._packed[0], self._group.spec.observation_bits).astype(np.float32)

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions[0] = actions

    def step_wait(self) -> Any:
        group = self._group
        sample_influence(
            *(group.aip, group.spec.n_classes, self._aip, self._packed),
            *(self._streams, self._memory, self._influence),
        )
        rewards = np.array(self._simulator.step(self._actions, self._influence)[0])
        observed = self._observe()
        self._step += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        over = self._step == self._domain.episode_steps
        if over:
            infos = [{"terminal_observation": one, "TimeLimit.truncated": True} for one in observed]
            observed = self.reset()
        return observed, rewards, np.full(self.num_envs, over), infos

    def close(self) -> None:
        self._simulator.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name, None)] * self.num_envs

    # The next two are for environments that are objects of their own; there are none here, PPO needs none.

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        raise NotImplementedError

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


def stable_baselines(
    config: Config, domain: Domain, group: Group, aip: NDArray[np.float32], steps: int
) -> list[Point]:
    """Train with Stable-Baselines3 for ``steps``."""
    torch.set_num_threads(1)
    n = config.rollout.tasks_per_update * config.rollout.episodes_per_task
    ppo = config.ppo
    state = {"rate": ppo.learning_rate}
    env, fresh = (
        Ials(domain, group, aip, size, what) for size, what in ((n, "train"), (EVALUATION_EPISODES, "test"))
    )
    model = PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda _: state["rate"],
        n_steps=domain.episode_steps,
        batch_size=ppo.minibatch_steps,
        n_epochs=ppo.epochs,
        gamma=ppo.gamma,
        gae_lambda=ppo.gae_lambda,
        clip_range=ppo.clip,
        ent_coef=ppo.entropy,
        vf_coef=ppo.value_coefficient,
        max_grad_norm=ppo.max_gradient_norm,
        policy_kwargs={"net_arch": list(config.policy.hidden_sizes)},
        device="cpu",
        seed=1,
    )

    def returns() -> float:
        observed, total = fresh.reset(), 0.0
        for _ in range(domain.episode_steps):
            actions, _ = model.predict(observed, deterministic=False)
            observed, rewards, _, _ = fresh.step(actions)
            total += float(rewards.mean())
        return total

    def update() -> int:
        state["rate"], model.ent_coef = schedules(config, model.num_timesteps)
        model.learn(n * domain.episode_steps, reset_num_timesteps=False)
        return int(model.num_timesteps)

    return _timed(update, returns, steps)


def ours(config: Config, domain: Domain, group: Group, aip: NDArray[np.float32], steps: int) -> list[Point]:
    """Train with this project's rollout and update, on one thread, for ``steps``."""
    rollout = config.rollout
    n = rollout.tasks_per_update * rollout.episodes_per_task
    settings = make_settings(config, group)
    scratch = make_scratch(group.actor, group.critic, settings, n, domain.episode_steps)
    weights = group.initial_weights(1)[0]
    m, v = np.zeros_like(weights), np.zeros_like(weights)
    train, test = (
        IalsRollout(domain, group, size, seed) for size, seed in ((n, 1), (EVALUATION_EPISODES, 2))
    )
    health, terminated = np.zeros(len(HEALTH)), np.zeros(n, dtype=np.uint8)
    state = {"adam": 0, "updates": 0}

    def update() -> int:
        k = state["updates"]
        rate, entropy = schedules(config, k * n * domain.episode_steps)
        episodes = train.run(group.actors(weights[None]), aip, k, 0)
        state["adam"] = update_agent(
            *(group.actor, group.critic, group.n_actor, weights, m, v, state["adam"]),
            *(episodes.observations[0], episodes.actions[0], episodes.rewards[0], episodes.log_probs[0]),
            *(terminated, False, settings._replace(entropy=entropy), rate),
            *(np.uint64(seed64(1, "ppo", AGENT, k)), scratch, health),
        )
        state["updates"] += 1
        return (k + 1) * n * domain.episode_steps

    def returns() -> float:
        episodes = test.run(group.actors(weights[None]), aip, state["updates"], 0)
        return float(episodes.rewards.sum(axis=2).mean())

    return _timed(update, returns, steps)


def _timed(update: Callable[[], int], returns: Callable[[], float], steps: int) -> list[Point]:
    """Update for ``steps``; evaluations are not in the time."""
    returns()  # compiles the rollout; the update is compiled by the run that the AIP is from
    spent, done, points = 0.0, 0, [(0.0, 0, returns())]
    while done < steps:
        since = time.perf_counter()
        done = update()
        spent += time.perf_counter() - since
        if done >= steps * len(points) / EVALUATIONS:
            points.append((spent, done, returns()))
    return points


def main() -> None:
    """Train with both, one after the other, and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a finished run of a warehouse preset, for its settings and its AIP")
    parser.add_argument("--steps", type=int, help="of each learner  [default: the run's]")
    parser.add_argument("--csv", type=Path, help="a file for the points")
    known = parser.parse_args()
    folder: Path = find_run(known.run)
    config = read_config(folder)
    domain = make_domain(config.domain)
    groups = make_groups(config, domain)
    snapshot = load_checkpoint(folder / CHECKPOINTS, fingerprint_of(config)).snapshot
    whole = next(group for group in groups if AGENT in group.agents)
    group = Group(0, (AGENT,), whole.spec, whole.actor, whole.critic, whole.aip)
    row = whole.agents.index(AGENT)
    aip = np.array(snapshot.aips[-1].arrays[f"g{whole.index}"][row : row + 1])
    print(json.dumps(machine()))
    steps = known.steps or config.run.steps
    print(f"agent {AGENT} of {config.preset} on its IALS; {steps:,} steps each, one core")
    rates, rows = {}, []
    for name, train in (("ours", ours), ("stable-baselines3", stable_baselines)):
        points = train(config, domain, group, aip, steps)
        rates[name] = points[-1][1] / points[-1][0]
        print(f"{name}: {rates[name]:,.0f} agent-steps/s")
        for spent, done, value in points:
            print(f"  {spent:7.1f} s {done:>12,} steps  return {value:6.2f}", flush=True)
            rows.append((name, done, f"{spent:.2f}", f"{value:.3f}"))
    print(f"ratio {rates['ours'] / rates['stable-baselines3']:.1f}")
    if known.csv:
        known.csv.parent.mkdir(parents=True, exist_ok=True)
        with open(known.csv, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(
                [("learner", "steps", "seconds", "ials_return"), *rows]
            )


if __name__ == "__main__":
    main()

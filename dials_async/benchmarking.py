"""Throughput of single parts on one core (``dials bench``): the numbers that say where the time goes."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.config import Config, load_config
from dials_async.domains.registry import make_domain
from dials_async.errors import UsageError
from dials_async.groups import Group, make_groups
from dials_async.influence.training import train_aip
from dials_async.kernels.bits import packed_size
from dials_async.learning.backends import update_of
from dials_async.learning.scratch import make_scratch
from dials_async.learning.settings import HEALTH, make_settings
from dials_async.rollout.ials import Episodes, IalsRollout
from dials_async.rollout.joint import run_joint
from dials_async.runtime.machine import machine

#: A measurement is repeated inside itself until it takes this long: shorter ones are noise.
MIN_SECONDS = 0.3


def run_benchmark(
    name: str,
    preset: str,
    agents: int,
    envs: int,
    repeats: int,
    settings: Sequence[str],
    refreshed: bool = False,
) -> dict[str, Any]:
    """Measure ``name`` (rollout, learn, aip, gs) on one thread. Raises UsageError, ConfigError.

    ``refreshed``: AIPs are trained first. Where the load depends on them, only then it is that of a run.
    """
    side = round(agents**0.5)
    if side * side != agents:
        raise UsageError(f"--agents {agents}: our grids have a square number of agents")
    size = ["rollout.agents_per_group=" + str(agents), f"domain.side={side}"]
    config = load_config(preset, [*size, *settings])
    domain = make_domain(config.domain)
    group = make_groups(config, domain)[0]
    weights, aips = group.initial_weights(1), group.initial_aips(1)
    if refreshed:
        aips = _refresh(config, group)()
    rollout = IalsRollout(domain, group, envs, run_seed=1)
    steps = agents * envs * domain.episode_steps

    work: Callable[[], object]
    if name == "rollout":
        actors = group.actors(weights)
        work, amount, unit = lambda: rollout.run(actors, aips, 0, 0), steps, "agent-steps/s"
    elif name == "learn":
        episodes = rollout.run(group.actors(weights), aips, 0, 0)
        work, amount, unit = _learning(config, group, episodes), steps, "agent-steps/s"
    elif name == "gs":
        actors = group.actors(weights)
        work = lambda: run_joint(domain, [group], [actors], envs, 1, "bench")  # noqa: E731
        amount, unit = envs * domain.episode_steps, "GS steps/s"
    else:
        work, amount, unit = _refresh(config, group), 0, "s a refresh"
    return {
        "benchmark": name,
        "domain": config.domain["name"],
        "refreshed": refreshed,
        "agents": agents,
        "envs": envs,
        "repeats": repeats,
        "unit": unit,
        **_measure(work, amount, repeats),
        "machine": machine(),
    }


def _measure(work: Callable[[], object], amount: int, repeats: int) -> dict[str, float]:
    work()  # compiles, and warms caches
    start = time.perf_counter()
    work()
    inner = max(1, round(MIN_SECONDS / max(time.perf_counter() - start, 1e-6)))
    values = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(inner):
            work()
        seconds = (time.perf_counter() - start) / inner
        values.append(amount / seconds if amount else seconds)
    ordered = sorted(values, reverse=bool(amount))
    return {"median": statistics.median(values), "best": ordered[0], "worst": ordered[-1]}


def _learning(config: Config, group: Group, episodes: Episodes) -> Callable[[], object]:
    settings = make_settings(config, group)
    n_episodes, n_steps = episodes.actions.shape[1:]
    scratch = make_scratch(group.actor, group.critic, settings, n_episodes, n_steps)
    update = update_of(config.ppo.backend)
    initial = group.initial_weights(1)
    health = np.zeros(len(HEALTH))
    terminated = np.zeros(n_episodes, dtype=np.uint8)

    def work() -> None:
        weights, m, v = initial.copy(), np.zeros_like(initial), np.zeros_like(initial)
        for row in range(group.n_agents):
            update(
                group.actor,
                group.critic,
                group.n_actor,
                weights[row],
                m[row],
                v[row],
                0,
                episodes.observations[row],
                episodes.actions[row],
                episodes.rewards[row],
                episodes.log_probs[row],
                terminated,
                False,
                settings,
                config.ppo.learning_rate,
                np.uint64(row),
                scratch,
                health,
            )

    return work


def _refresh(config: Config, group: Group) -> Callable[[], NDArray[np.float32]]:
    domain = make_domain(config.domain)
    n_episodes = -(-config.aip.gs_steps // domain.episode_steps)
    actors = group.actors(group.initial_weights(1))
    n_bytes = packed_size(group.spec.dset_bits)

    def work() -> NDArray[np.float32]:
        joint = run_joint(domain, [group], [actors], n_episodes, 1, "bench")
        aips = group.initial_aips(1)
        for row in range(group.n_agents):
            train_aip(
                group.aip,
                group.spec.n_classes,
                aips[row],
                np.ascontiguousarray(joint.by_group[0].observations[row, :, :-1, :n_bytes]),
                joint.influence[0][row],
                epochs=config.aip.epochs,
                patience=config.aip.patience,
                minibatch_sequences=config.aip.minibatch_sequences,
                learning_rate=config.aip.learning_rate,
                seed=row,
            )
        return aips

    return work

"""Throughput of single parts on one core (``dials bench``): the numbers that say where the time goes."""

import inspect
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.config import Config, load_config
from dials_async.domains.checked import CheckedDomain
from dials_async.domains.registry import make_domain
from dials_async.errors import UsageError
from dials_async.groups import Group, make_groups
from dials_async.influence.training import train_aip
from dials_async.learning.backends import update_of
from dials_async.learning.scratch import make_scratch
from dials_async.learning.settings import HEALTH, make_settings
from dials_async.rollout.ials import Episodes, IalsRollout
from dials_async.rollout.joint import JointEpisodes, run_joint
from dials_async.runtime.machine import machine

Floats = NDArray[np.float32]

#: A measurement is repeated inside itself until it takes this long: shorter ones are noise.
MIN_SECONDS = 0.3


def run_benchmark(
    name: str,
    preset: str,
    agents: int | None,
    envs: int,
    repeats: int,
    settings: Sequence[str],
    refreshed: bool = False,
) -> dict[str, Any]:
    """Measure ``name`` (rollout, learn, aip, gs) on one thread. Raises UsageError, ConfigError.

    Args:
        name: what is measured.
        preset: a name or a file: domain and settings.
        agents: None: as many as the preset has; another number needs a domain with the option ``side``.
        envs: episodes of each agent, or of the GS.
        repeats: of the measurement.
        settings: "section.key=value", over those of the preset.
        refreshed: AIPs are trained first. Where the load depends on them, only then it is that of a run.
    """
    config = load_config(preset, [*_size(preset, agents), *settings])
    domain = make_domain(config.domain)
    config = replace(config, rollout=replace(config.rollout, agents_per_group=domain.n_agents))
    groups = make_groups(config, domain)  # one for each kind of agents
    weights = [group.initial_weights(1) for group in groups]
    actors = [group.actors(w) for group, w in zip(groups, weights, strict=True)]
    aips = [group.initial_aips(1) for group in groups]
    if refreshed:
        aips = _refresh(config, domain, groups)()
    steps = domain.n_agents * envs * domain.episode_steps

    work: Callable[[], object]
    if name == "rollout":
        rollouts = [IalsRollout(domain, group, envs, run_seed=1) for group in groups]
        work, amount, unit = lambda: _run(rollouts, actors, aips), steps, "agent-steps/s"
    elif name == "learn":
        rollouts = [IalsRollout(domain, group, envs, run_seed=1) for group in groups]
        parts = [
            _learning(config, group, episodes)
            for group, episodes in zip(groups, _run(rollouts, actors, aips), strict=True)
        ]
        work, amount, unit = lambda: [part() for part in parts], steps, "agent-steps/s"
    elif name == "gs":
        work = lambda: run_joint(domain, groups, actors, envs, 1, "bench")  # noqa: E731
        amount, unit = envs * domain.episode_steps, "GS steps/s"
    else:
        work, amount, unit = _refresh(config, domain, groups), 0, "s a refresh"
    return {
        "benchmark": name,
        "domain": config.domain["name"],
        "refreshed": refreshed,
        "agents": domain.n_agents,
        "envs": envs,
        "repeats": repeats,
        "unit": unit,
        **_measure(work, amount, repeats),
        "machine": machine(),
    }


def _size(preset: str, agents: int | None) -> list[str]:
    """The setting for a domain of another size. Raises UsageError."""
    if agents is None:
        return []
    domain = make_domain(load_config(preset).domain)
    if "side" not in inspect.signature(type(domain.own)).parameters:
        raise UsageError(f"--agents: the domain '{domain.name}' has no option 'side'; use --set")
    side = round(agents**0.5)
    if side * side != agents:
        raise UsageError(f"--agents {agents}: our grids have a square number of agents")
    return [f"domain.side={side}"]


def _run(rollouts: Sequence[IalsRollout], actors: Sequence[Floats], aips: Sequence[Floats]) -> list[Episodes]:
    parts = zip(rollouts, actors, aips, strict=True)
    return [rollout.run(own_actors, own_aips, 0, 0) for rollout, own_actors, own_aips in parts]


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


def _refresh(config: Config, domain: CheckedDomain, groups: Sequence[Group]) -> Callable[[], list[Floats]]:
    n_episodes = -(-config.aip.gs_steps // domain.episode_steps)
    actors = [group.actors(group.initial_weights(1)) for group in groups]

    def work() -> list[Floats]:
        joint = run_joint(domain, groups, actors, n_episodes, 1, "bench")
        return [_train_aips(config, group, joint) for group in groups]

    return work


def _train_aips(config: Config, group: Group, joint: JointEpisodes) -> Floats:
    aips = group.initial_aips(1)
    for row in range(group.n_agents):
        train_aip(
            group.aip,
            group.spec.n_classes,
            aips[row],
            group.dsets(joint.by_group[group.index].observations[row]),
            joint.influence[group.index][row],
            epochs=config.aip.epochs,
            patience=config.aip.patience,
            minibatch_sequences=config.aip.minibatch_sequences,
            learning_rate=config.aip.learning_rate,
            seed=row,
        )
    return aips

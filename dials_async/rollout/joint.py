"""Episodes of the global simulator under a joint policy: data for AIPs, evaluation, training on the GS."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import Domain, GlobalSimulator
from dials_async.groups import Group
from dials_async.kernels.rng import seed64, stream_seeds
from dials_async.networks.acting import act, make_memory
from dials_async.rollout.ials import Episodes, agent_seeds, make_episodes

#: Called after each step with the simulator and the rewards [agents, envs] (None: before the first step).
Watch = Callable[[GlobalSimulator, NDArray[np.float32] | None], None]


@dataclass(frozen=True)
class JointEpisodes:
    """The same episodes of the GS, seen by each group."""

    by_group: tuple[Episodes, ...]
    influence: tuple[NDArray[np.uint8], ...]
    """Per group, [agents, episodes, steps, sources]: class of each source after each observation."""

    def returns(self, groups: Sequence[Group]) -> NDArray[np.float64]:
        """Undiscounted return of every agent in every episode, [agents of the domain, episodes]."""
        n_agents = sum(group.n_agents for group in groups)
        result = np.zeros((n_agents, self.by_group[0].rewards.shape[1]))
        for group, episodes in zip(groups, self.by_group, strict=True):
            result[list(group.agents)] = episodes.rewards.sum(axis=2, dtype=np.float64)
        return result


def run_joint(
    domain: Domain,
    groups: Sequence[Group],
    actors: Sequence[NDArray[np.float32]],
    n_episodes: int,
    run_seed: int,
    purpose: str,
    indices: tuple[int, ...] = (),
    greedy: bool = False,
    watch: Watch | None = None,
) -> JointEpisodes:
    """Run ``n_episodes`` whole episodes of the GS side by side.

    Args:
        domain: the system.
        groups: all of its groups.
        actors: per group, [agents, actor parameters].
        n_episodes: at once.
        run_seed: of the run.
        purpose: keeps the random numbers of data, evaluation and training apart.
        indices: with the purpose, identify these episodes; equal ones give equal episodes.
        greedy: likeliest actions instead of sampled ones.
        watch: sees every step.
    """
    simulator = domain.make_global(n_episodes)
    steps = domain.episode_steps
    base = np.array([seed64(run_seed, f"{purpose}-gs", *indices)], dtype=np.uint64)
    simulator.reset(stream_seeds(base, n_episodes)[0])
    streams = [
        stream_seeds(agent_seeds(run_seed, f"{purpose}-act", group.agents, *indices), n_episodes)
        for group in groups
    ]
    memories = [make_memory(group.actor, group.n_agents, n_episodes) for group in groups]
    by_group = tuple(make_episodes(g.n_agents, n_episodes, steps, g.spec.observation_bytes) for g in groups)
    influence = tuple(
        np.zeros((g.n_agents, n_episodes, steps, g.spec.n_sources), dtype=np.uint8) for g in groups
    )
    joint_actions = np.zeros((domain.n_agents, n_episodes), dtype=np.uint8)
    members = [np.array(group.agents) for group in groups]
    if watch is not None:
        watch(simulator, None)
    for t in range(steps + 1):
        observed = simulator.observe()
        for k, group in enumerate(groups):
            own = np.ascontiguousarray(observed[members[k], :, : group.spec.observation_bytes])
            by_group[k].observations[:, :, t] = own
            if t == steps:
                continue
            actions = np.zeros((group.n_agents, n_episodes), dtype=np.uint8)
            log_probs = np.zeros(actions.shape, dtype=np.float32)
            act(group.actor, actors[k], own, streams[k], greedy, memories[k], actions, log_probs)
            by_group[k].actions[:, :, t] = actions
            by_group[k].log_probs[:, :, t] = log_probs
            joint_actions[members[k]] = actions
        if t == steps:
            break
        result = simulator.step(joint_actions)
        for k, group in enumerate(groups):
            by_group[k].rewards[:, :, t] = result.rewards[members[k]]
            influence[k][:, :, t] = result.influence[members[k], :, : group.spec.n_sources]
        if watch is not None:
            watch(simulator, result.rewards)
    return JointEpisodes(by_group, influence)


def run_scripted(domain: Domain, name: str, n_episodes: int, run_seed: int) -> NDArray[np.float64]:
    """Returns of the scripted policy ``name`` on the GS, [agents, episodes]."""
    simulator = domain.make_global(n_episodes)
    policy = domain.scripted_policy(name, n_episodes)
    bases = np.array([seed64(run_seed, "baseline-gs"), seed64(run_seed, "baseline-act")], dtype=np.uint64)
    seeds = stream_seeds(bases, n_episodes)
    simulator.reset(seeds[0])
    policy.reset(seeds[1])
    total = np.zeros((domain.n_agents, n_episodes))
    for _ in range(domain.episode_steps):
        total += simulator.step(policy.act(simulator)).rewards
    return total

"""Episodes of the global simulator under a joint policy: data for AIPs, evaluation, training on the GS."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
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
    threads: int = 1,
) -> JointEpisodes:
    """Run ``n_episodes`` whole episodes of the GS.

    Args:
        domain: the system.
        groups: all of its groups.
        actors: per group, [agents, actor parameters].
        n_episodes: side by side, if the domain's simulator can.
        run_seed: of the run.
        purpose: keeps the random numbers of data, evaluation and training apart.
        indices: with the purpose, identify these episodes; equal ones give equal episodes.
        greedy: likeliest actions instead of sampled ones.
        watch: sees every step.
        threads: simulators that run at the same time; the result does not depend on it.
    """
    base = np.array([seed64(run_seed, f"{purpose}-gs", *indices)], dtype=np.uint64)
    seeds = stream_seeds(base, n_episodes)[0]
    streams = [
        stream_seeds(agent_seeds(run_seed, f"{purpose}-act", group.agents, *indices), n_episodes)
        for group in groups
    ]
    steps = domain.episode_steps
    joint = JointEpisodes(
        tuple(make_episodes(g.n_agents, n_episodes, steps, g.spec.observation_bytes) for g in groups),
        tuple(np.zeros((g.n_agents, n_episodes, steps, g.spec.n_sources), dtype=np.uint8) for g in groups),
    )

    def run(part: slice) -> None:
        own_streams = [np.ascontiguousarray(stream[:, part]) for stream in streams]
        with closing(domain.make_global(len(seeds[part]))) as simulator:
            simulator.reset(seeds[part])
            _run_part(simulator, groups, actors, own_streams, greedy, watch, joint, part)

    _run_parts(domain, n_episodes, threads, run)
    return joint


def _run_parts(domain: Domain, n_episodes: int, threads: int, run: Callable[[slice], None]) -> None:
    """Let ``run`` do all episodes, as many side by side as the domain's simulator can step.

    The size of a part decides how sums are rounded, so it must never depend on the machine.
    """
    size = domain.global_envs or n_episodes
    parts = [slice(start, min(start + size, n_episodes)) for start in range(0, n_episodes, size)]
    if threads == 1 or len(parts) == 1:
        for part in parts:
            run(part)
        return
    with ThreadPoolExecutor(min(threads, len(parts)), thread_name_prefix="gs") as pool:
        jobs = [pool.submit(run, part) for part in parts]
        try:
            for job in jobs:
                job.result()
        finally:  # after a failure nobody needs the rest
            pool.shutdown(cancel_futures=True)


def _run_part(
    simulator: GlobalSimulator,
    groups: Sequence[Group],
    actors: Sequence[NDArray[np.float32]],
    streams: Sequence[NDArray[np.uint64]],  # per group, [agents, episodes of the part]
    greedy: bool,
    watch: Watch | None,
    joint: JointEpisodes,  # out
    part: slice,
) -> None:
    n_episodes = simulator.n_envs
    memories = [make_memory(group.actor, group.n_agents, n_episodes) for group in groups]
    members = [np.array(group.agents) for group in groups]
    steps = joint.by_group[0].actions.shape[2]
    joint_actions = np.zeros((sum(group.n_agents for group in groups), n_episodes), dtype=np.uint8)
    if watch is not None:
        watch(simulator, None)
    for t in range(steps + 1):
        observed = simulator.observe()
        for k, group in enumerate(groups):
            own = np.ascontiguousarray(observed[members[k], :, : group.spec.observation_bytes])
            joint.by_group[k].observations[:, part, t] = own
            if t == steps:
                continue
            actions = np.zeros((group.n_agents, n_episodes), dtype=np.uint8)
            log_probs = np.zeros(actions.shape, dtype=np.float32)
            act(group.actor, actors[k], own, streams[k], greedy, memories[k], actions, log_probs)
            joint.by_group[k].actions[:, part, t] = actions
            joint.by_group[k].log_probs[:, part, t] = log_probs
            joint_actions[members[k]] = actions
        if t == steps:
            break
        result = simulator.step(joint_actions)
        for k, group in enumerate(groups):
            joint.by_group[k].rewards[:, part, t] = result.rewards[members[k]]
            joint.influence[k][:, part, t] = result.influence[members[k], :, : group.spec.n_sources]
        if watch is not None:
            watch(simulator, result.rewards)


def run_scripted(
    domain: Domain, name: str, n_episodes: int, run_seed: int, threads: int = 1
) -> NDArray[np.float64]:
    """Returns of the scripted policy ``name`` on the GS, [agents, episodes]."""
    bases = np.array([seed64(run_seed, "baseline-gs"), seed64(run_seed, "baseline-act")], dtype=np.uint64)
    seeds = stream_seeds(bases, n_episodes)
    total = np.zeros((domain.n_agents, n_episodes))

    def run(part: slice) -> None:
        n = len(seeds[0, part])
        with closing(domain.make_global(n)) as simulator:
            policy = domain.scripted_policy(name, n)
            simulator.reset(seeds[0, part])
            policy.reset(seeds[1, part])
            for _ in range(domain.episode_steps):
                total[:, part] += simulator.step(policy.act(simulator)).rewards

    _run_parts(domain, n_episodes, threads, run)
    return total

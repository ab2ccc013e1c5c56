"""Episodes of the global simulator under a joint policy: data for AIPs, evaluation, training on the GS."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import AgentSpec, Domain, GlobalSimulator
from dials_async.groups import Group
from dials_async.kernels.rng import seed64, stream_seeds
from dials_async.networks.acting import act, make_memory
from dials_async.networks.layout import Shape
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
            for t in range(episodes.rewards.shape[2]):  # in order: NumPy's sums are those of the processor
                result[list(group.agents)] += episodes.rewards[:, :, t]
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
    pool: Executor | None = None,
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
        pool: its threads run simulators at the same time; None: one after another. The result is the same.
    """
    base = np.array([seed64(run_seed, f"{purpose}-gs", *indices)], dtype=np.uint64)
    seeds = stream_seeds(base, n_episodes)[0]
    streams = [
        stream_seeds(agent_seeds(run_seed, f"{purpose}-act", group.agents, *indices), n_episodes)
        for group in groups
    ]
    stacks = _make_stacks(groups, actors, streams, domain.episode_steps)

    def run(part: slice) -> None:
        with closing(domain.make_global(len(seeds[part]))) as simulator:
            simulator.reset(seeds[part])
            _run_part(simulator, stacks, greedy, watch, part)

    _run_parts(domain, n_episodes, pool, run)
    return _by_group(groups, stacks)


@dataclass(frozen=True)
class _Stack:
    """Groups that are alike: a call for all of them costs as much as one for each, several times a step."""

    groups: list[int]
    members: NDArray[np.intp]
    """Agents of the domain, group by group: the rows of all arrays below."""
    actor: Shape
    parameters: NDArray[np.float32]
    streams: NDArray[np.uint64]  # [agents, episodes]
    episodes: Episodes  # out
    influence: NDArray[np.uint8]  # out

    @property
    def n_agents(self) -> int:
        return len(self.members)


def _make_stacks(
    groups: Sequence[Group],
    actors: Sequence[NDArray[np.float32]],
    streams: Sequence[NDArray[np.uint64]],  # per group, [agents, episodes]
    steps: int,
) -> list[_Stack]:
    alike: dict[tuple[AgentSpec, Shape], list[int]] = {}
    for k, group in enumerate(groups):
        alike.setdefault((group.spec, group.actor), []).append(k)
    stacks = []
    for (spec, actor), own in alike.items():
        members = np.concatenate([np.array(groups[k].agents) for k in own])
        n_agents, n_episodes = len(members), streams[0].shape[1]
        stacks.append(
            _Stack(
                groups=own,
                members=members,
                actor=actor,
                parameters=np.concatenate([actors[k] for k in own]),
                streams=np.concatenate([streams[k] for k in own]),
                episodes=make_episodes(n_agents, n_episodes, steps, spec.observation_bytes),
                influence=np.zeros((n_agents, n_episodes, steps, spec.n_sources), dtype=np.uint8),
            )
        )
    return stacks


def _by_group(groups: Sequence[Group], stacks: Sequence[_Stack]) -> JointEpisodes:
    """What the stacks recorded; each group's arrays are contiguous parts of its stack's."""
    episodes: dict[int, Episodes] = {}
    influence: dict[int, NDArray[np.uint8]] = {}
    for stack in stacks:
        start = 0
        for k in stack.groups:
            rows = slice(start, start + groups[k].n_agents)
            whole = stack.episodes
            episodes[k] = Episodes(
                observations=whole.observations[rows],
                actions=whole.actions[rows],
                rewards=whole.rewards[rows],
                log_probs=whole.log_probs[rows],
            )
            influence[k] = stack.influence[rows]
            start = rows.stop
    order = range(len(groups))
    return JointEpisodes(tuple(episodes[k] for k in order), tuple(influence[k] for k in order))


def _run_parts(domain: Domain, n_episodes: int, pool: Executor | None, run: Callable[[slice], None]) -> None:
    """Let ``run`` do all episodes, as many side by side as the domain's simulator can step.

    Results do not depend on the parts: an episode is a function of its seed and the policies.
    """
    size = domain.global_envs or n_episodes
    parts = [slice(start, min(start + size, n_episodes)) for start in range(0, n_episodes, size)]
    if pool is None or len(parts) == 1:
        for part in parts:
            run(part)
        return
    jobs = [pool.submit(run, part) for part in parts]
    try:
        for job in jobs:
            job.result()
    finally:  # after a failure nobody needs the rest
        for job in jobs:
            job.cancel()
        wait(jobs)


def _run_part(
    simulator: GlobalSimulator, stacks: Sequence[_Stack], greedy: bool, watch: Watch | None, part: slice
) -> None:
    n_episodes = part.stop - part.start
    memories = [make_memory(stack.actor, stack.n_agents, n_episodes) for stack in stacks]
    streams = [np.ascontiguousarray(stack.streams[:, part]) for stack in stacks]
    actions = [np.zeros((stack.n_agents, n_episodes), dtype=np.uint8) for stack in stacks]
    log_probs = [np.zeros((stack.n_agents, n_episodes), dtype=np.float32) for stack in stacks]
    joint_actions = np.zeros((sum(stack.n_agents for stack in stacks), n_episodes), dtype=np.uint8)
    steps = stacks[0].episodes.actions.shape[2]
    if watch is not None:
        watch(simulator, None)
    for t in range(steps + 1):
        observed = simulator.observe()
        for k, stack in enumerate(stacks):
            episodes = stack.episodes
            own = np.ascontiguousarray(observed[stack.members, :, : episodes.observations.shape[3]])
            episodes.observations[:, part, t] = own
            if t == steps:
                continue
            act(
                stack.actor,
                stack.parameters,
                own,
                streams[k],
                greedy,
                memories[k],
                actions[k],
                log_probs[k],
            )
            episodes.actions[:, part, t] = actions[k]
            episodes.log_probs[:, part, t] = log_probs[k]
            joint_actions[stack.members] = actions[k]
        if t == steps:
            break
        result = simulator.step(joint_actions)
        for stack in stacks:
            stack.episodes.rewards[:, part, t] = result.rewards[stack.members]
            stack.influence[:, part, t] = result.influence[stack.members, :, : stack.influence.shape[3]]
        if watch is not None:
            watch(simulator, result.rewards)


def run_scripted(
    domain: Domain, name: str, n_episodes: int, run_seed: int, pool: Executor | None = None
) -> NDArray[np.float64]:
    """Returns of the scripted policy ``name`` on the GS, [agents, episodes]; ``pool`` as in ``run_joint``."""
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
                simulator.observe()  # what a domain is promised: it may look at the world only then
                total[:, part] += simulator.step(policy.act(simulator)).rewards
            simulator.observe()

    _run_parts(domain, n_episodes, pool, run)
    return total

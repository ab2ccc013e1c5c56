"""Returns of a joint policy on fresh GS episodes, and the cross-entropy of AIPs on the same trajectories."""

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import Domain
from dials_async.groups import Group
from dials_async.influence.training import cross_entropy
from dials_async.kernels.ordered import mean, mean_of_rows, standard_error
from dials_async.metrics.phases import PhaseTimer
from dials_async.rollout.joint import JointEpisodes, run_joint

#: Agent-steps of episodes that are run side by side: bounds memory (about 40 bytes each).
MAX_AGENT_STEPS = 2_000_000


@dataclass(frozen=True)
class Returns:
    """Episodic returns of the learning agents."""

    per_agent: NDArray[np.float64]
    """Mean over episodes, [agents]."""
    mean: float
    standard_error: float
    """Of the mean, over episodes: returns of agents within one episode depend on each other."""
    episodes: int


def summarise(returns: NDArray[np.float64]) -> Returns:
    """Mean return per learning agent with its standard error; ``returns`` [agents, episodes]."""
    per_episode = mean_of_rows(returns)
    return Returns(
        mean_of_rows(returns.T), mean(per_episode), standard_error(per_episode.tolist()), len(per_episode)
    )


def evaluate_policies(
    domain: Domain,
    groups: Sequence[Group],
    weights: Sequence[NDArray[np.float32]],
    episodes: int,
    run_seed: int,
    index: int,
    greedy: bool,
    aips: Sequence[NDArray[np.float32]] | None = None,
    pool: Executor | None = None,
) -> tuple[Returns, NDArray[np.float64] | None]:
    """Run the GS under the policies; returns, and the CE of ``aips`` in nats per source, [agents].

    Args:
        domain: the system.
        groups: all of its groups.
        weights: per group, [agents, parameters].
        episodes: how many.
        run_seed: of the run.
        index: makes the episodes fresh ones: another index, other episodes.
        greedy: likeliest actions instead of sampled ones.
        aips: per group, [agents, AIP parameters]; None leaves the CE out.
        pool: its threads run simulators at the same time; the result does not depend on it.
    """
    actors = [group.actors(w) for group, w in zip(groups, weights, strict=True)]
    at_once = max(1, MAX_AGENT_STEPS // (domain.n_agents * domain.episode_steps))
    returns, entropies, parts = [], [], []
    for part, start in enumerate(range(0, episodes, at_once)):
        n = min(at_once, episodes - start)
        purpose = "evaluate-greedy" if greedy else "evaluate"
        joint = run_joint(domain, groups, actors, n, run_seed, purpose, (index, part), greedy, pool=pool)
        returns.append(joint.returns(groups))
        if aips is not None:
            entropies.append(_cross_entropies(domain, groups, aips, joint))
            parts.append(n)
    ce = None
    if entropies:
        ce = np.zeros(domain.n_agents)
        for entropy, n in zip(entropies, parts, strict=True):
            ce += entropy * (n / sum(parts))
    return summarise(np.concatenate(returns, axis=1)), ce


def evaluate_both(
    domain: Domain,
    groups: Sequence[Group],
    weights: Sequence[NDArray[np.float32]],
    episodes: int,
    run_seed: int,
    index: int,
    aips: Sequence[NDArray[np.float32]] | None,
    pool: Executor,
    phases: PhaseTimer,
) -> tuple[Returns, Returns, NDArray[np.float64] | None]:
    """Sampled and greedy returns, and the CE: as ``evaluate_policies``, but at the same time.

    One after the other they leave threads of ``pool`` idle twice, where few episodes are left for many.
    ``phases`` counts what all of them compute.
    """
    pool = phases.on(pool, "evaluate")
    with ThreadPoolExecutor(1) as beside:  # not one of the pool's threads: it only waits for them
        arguments = (domain, groups, weights, episodes, run_seed, index)
        greedily = phases.on(beside, "evaluate")
        likeliest = greedily.submit(evaluate_policies, *arguments, greedy=True, pool=pool)
        sampled, ce = evaluate_policies(*arguments, greedy=False, aips=aips, pool=pool)
        return sampled, likeliest.result()[0], ce


def _cross_entropies(
    domain: Domain, groups: Sequence[Group], aips: Sequence[NDArray[np.float32]], joint: JointEpisodes
) -> NDArray[np.float64]:
    result = np.zeros(domain.n_agents)
    for k, group in enumerate(groups):
        for row, agent in enumerate(group.agents):
            dsets = group.dsets(joint.by_group[k].observations[row])
            result[agent] = cross_entropy(
                group.aip, aips[k][row], group.spec.n_classes, dsets, joint.influence[k][row]
            )
    return result

"""Episodes on influence-augmented local simulators (paper, Algorithm 3): policies and AIPs in, episodes out.

A domain with a compiled LS runs in one fused kernel; any other is stepped from Python. Both draw the same
random numbers in the same order, so for a domain that has both they give the same experience, bit for bit.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.base import LocalSimulator
from dials_async.domains.checked import CheckedDomain
from dials_async.groups import Group
from dials_async.kernels.rng import seed64, stream_seeds
from dials_async.networks.acting import act, make_memory, sample_influence
from dials_async.networks.layout import make_workspace
from dials_async.rollout.compiled import rollout_group


class Episodes(NamedTuple):
    """Whole episodes of some agents."""

    observations: NDArray[np.uint8]  # [agents, episodes, steps + 1, bytes]
    actions: NDArray[np.uint8]  # [agents, episodes, steps]
    rewards: NDArray[np.float32]  # [agents, episodes, steps]
    log_probs: NDArray[np.float32]  # [agents, episodes, steps], of the policy that acted


def make_episodes(n_agents: int, n_episodes: int, n_steps: int, n_bytes: int) -> Episodes:
    """Arrays to be filled."""
    size = (n_agents, n_episodes, n_steps)
    return Episodes(
        observations=np.zeros((n_agents, n_episodes, n_steps + 1, n_bytes), dtype=np.uint8),
        actions=np.zeros(size, dtype=np.uint8),
        rewards=np.zeros(size, dtype=np.float32),
        log_probs=np.zeros(size, dtype=np.float32),
    )


def agent_seeds(run_seed: int, purpose: str, agents: tuple[int, ...], *indices: int) -> NDArray[np.uint64]:
    """One 64-bit seed for each agent, independent of how agents are grouped. Shape [agents]."""
    return np.array([seed64(run_seed, purpose, agent, *indices) for agent in agents], dtype=np.uint64)


class IalsRollout:
    """Simulates the IALS of one group, ``n_episodes`` of every agent at a time; keeps its working memory."""

    def __init__(self, domain: CheckedDomain, group: Group, n_episodes: int, run_seed: int) -> None:
        self._domain = domain
        self.group = group
        self.n_episodes = n_episodes
        self._run_seed = run_seed
        self._steps = domain.episode_steps
        self._state: Any = domain.local_state(group.agents, n_episodes)
        self._simulator: LocalSimulator | None = None
        if self._state is None:
            self._simulator = domain.make_local(group.agents, n_episodes)
        else:
            self._policy_ws = make_workspace(group.actor, n_episodes, n_episodes, gradient=False)
            self._aip_ws = make_workspace(group.aip, n_episodes, n_episodes, gradient=False)

    def run(
        self, actors: NDArray[np.float32], aips: NDArray[np.float32], update: int, index: int
    ) -> Episodes:
        """Episodes of one task; a pure function of its arguments and the run's seed. Raises DomainError.

        Args:
            actors: [agents, actor parameters].
            aips: [agents, AIP parameters].
            update: that will consume the experience.
            index: of the task within the update.
        """
        agents = self.group.agents
        episodes = make_episodes(len(agents), self.n_episodes, self._steps, self.group.spec.observation_bytes)
        simulator_seeds = stream_seeds(
            agent_seeds(self._run_seed, "ls", agents, update, index), self.n_episodes
        )
        streams = stream_seeds(agent_seeds(self._run_seed, "ials", agents, update, index), self.n_episodes)
        if self._simulator is not None:
            self._run_vectorised(self._simulator, actors, aips, simulator_seeds, streams, episodes)
            return episodes
        rollout_group(
            self._state,
            simulator_seeds,
            streams,
            self.group.spec.dset_bits,
            self.group.spec.n_classes,
            self.group.actor,
            actors,
            self._policy_ws,
            self.group.aip,
            aips,
            self._aip_ws,
            episodes.observations,
            episodes.actions,
            episodes.rewards,
            episodes.log_probs,
        )
        self._domain.check_rollout(agents, episodes.observations, episodes.rewards)
        return episodes

    def close(self) -> None:
        """Let go of the simulator; no more episodes after that."""
        if self._simulator is not None:
            self._simulator.close()

    def _run_vectorised(
        self,
        simulator: LocalSimulator,
        actors: NDArray[np.float32],
        aips: NDArray[np.float32],
        simulator_seeds: NDArray[np.uint64],
        streams: NDArray[np.uint64],
        episodes: Episodes,
    ) -> None:
        group, spec = self.group, self.group.spec
        policy_memory = make_memory(group.actor, group.n_agents, self.n_episodes)
        aip_memory = make_memory(group.aip, group.n_agents, self.n_episodes)
        actions = np.zeros((group.n_agents, self.n_episodes), dtype=np.uint8)
        log_probs = np.zeros(actions.shape, dtype=np.float32)
        influence = np.zeros((*actions.shape, spec.n_sources), dtype=np.uint8)
        simulator.reset(simulator_seeds)
        for t in range(self._steps):
            observed = simulator.observe()
            episodes.observations[:, :, t] = observed
            act(group.actor, actors, observed, streams, False, policy_memory, actions, log_probs)
            sample_influence(group.aip, spec.n_classes, aips, observed, streams, aip_memory, influence)
            episodes.actions[:, :, t] = actions
            episodes.log_probs[:, :, t] = log_probs
            episodes.rewards[:, :, t] = simulator.step(actions, influence)
        episodes.observations[:, :, self._steps] = simulator.observe()

"""Groups: agents of equal spec whose networks are stacked, and the shapes of those networks.

The composition of groups is fixed by the configuration, never by who happens to be alive.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.config import Config
from dials_async.domains.base import AgentSpec, Domain
from dials_async.errors import StoreError
from dials_async.kernels.bits import packed_size
from dials_async.kernels.rng import seed64
from dials_async.networks.initial import initial_parameters
from dials_async.networks.layout import GRU, MLP, Shape, n_parameters

#: More agents in a stack gain nothing: kernels go agent by agent. Fewer make checkpoints and commits finer.
MAX_AGENTS = 25


@dataclass(frozen=True)
class Group:
    """Agents whose networks are rows of one matrix: per row the actor's parameters, then the critic's."""

    index: int
    agents: tuple[int, ...]
    spec: AgentSpec
    actor: Shape
    critic: Shape
    aip: Shape

    @property
    def n_agents(self) -> int:
        """Agents in the group."""
        return len(self.agents)

    @property
    def n_actor(self) -> int:
        """Parameters of one actor."""
        return n_parameters(self.actor)

    @property
    def weights_shape(self) -> tuple[int, int]:
        """Of actors and critics: [agents, parameters]."""
        return self.n_agents, self.n_actor + n_parameters(self.critic)

    @property
    def aips_shape(self) -> tuple[int, int]:
        """Of the AIPs: [agents, parameters]."""
        return self.n_agents, n_parameters(self.aip)

    def actors(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """The actors' part of the group's weights, [agents, n_actor], contiguous."""
        return np.array(weights[:, : self.n_actor], order="C")  # the store's arrays are read-only

    def dsets(self, observations: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The packed d-sets of an agent that are followed by a step, [episodes, steps, bytes], contiguous.

        ``observations`` [episodes, steps + 1, bytes] are whole ones, the last of which nothing follows.
        """
        return np.ascontiguousarray(observations[:, :-1, : packed_size(self.spec.dset_bits)])

    def initial_weights(self, run_seed: int) -> NDArray[np.float32]:
        """Actors and critics of version 0, [agents, parameters]; functions of run seed and agent alone."""
        return np.stack(
            [
                np.concatenate(
                    [
                        initial_parameters(self.actor, seed64(run_seed, "actor", agent), last_gain=0.01),
                        initial_parameters(self.critic, seed64(run_seed, "critic", agent), last_gain=1.0),
                    ]
                )
                for agent in self.agents
            ]
        )

    def initial_aips(self, run_seed: int) -> NDArray[np.float32]:
        """Untrained AIPs, [agents, parameters]."""
        return np.stack(
            [
                initial_parameters(self.aip, seed64(run_seed, "aip", agent), last_gain=None)
                for agent in self.agents
            ]
        )


def require_parameters(what: str, array: NDArray[Any] | None, shape: tuple[int, int]) -> NDArray[np.float32]:
    """``array``, if it holds parameters of this shape. Raises StoreError, naming ``what``, if it does not."""
    if array is None or array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
        found = "missing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise StoreError(f"{what}: {found}, not float32 of shape {shape}; resume from a checkpoint")
    if not np.isfinite(array).all():
        raise StoreError(f"{what}: not finite; resume from a checkpoint")
    return array


def make_groups(config: Config, domain: Domain) -> list[Group]:
    """Groups of the run, in order: agents of equal spec, in order of their numbers."""
    groups: list[Group] = []
    specs: dict[AgentSpec, list[int]] = {}
    for agent in range(domain.n_agents):
        specs.setdefault(domain.spec(agent), []).append(agent)
    for spec, agents in specs.items():
        for part in _parts(agents, config.rollout.agents_per_group, alone=len(specs) == 1):
            groups.append(Group(len(groups), tuple(part), spec, **_shapes(config, spec)))
    return groups


def _parts(agents: Sequence[int], wanted: int, alone: bool) -> list[list[int]]:
    n = len(agents)
    if wanted:
        n_parts = -(-n // wanted)
    else:  # two groups keep both the learner and the workers busy: one learns while the other rolls out
        n_parts = max(-(-n // MAX_AGENTS), min(2, n) if alone else 1)
    return [[int(agent) for agent in part] for part in np.array_split(np.array(agents), n_parts)]


def _shapes(config: Config, spec: AgentSpec) -> dict[str, Any]:
    kind = GRU if config.policy.network == "gru" else MLP
    first, second = config.policy.hidden_sizes
    outputs = spec.n_sources * spec.n_classes
    hidden = config.aip.hidden_size
    seen = {"ladder_from": spec.dset_bits, "ladder_steps": spec.ladder_steps}
    return {
        "actor": Shape(kind, spec.observation_bits, first, second, spec.n_actions, 1, **seen),
        "critic": Shape(kind, spec.observation_bits, first, second, 1, 1, **seen),
        "aip": Shape(GRU, spec.dset_bits, 0, hidden, outputs, 1)
        if config.aip.network == "gru"
        else Shape(MLP, spec.dset_bits, hidden, 0, outputs, 1),
    }

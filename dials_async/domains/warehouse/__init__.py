"""Warehouse commissioning (paper, section 5.2): robots fetch items from shelves that they share."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dials_async.domains.base import AgentSpec, Domain, SceneRecorder
from dials_async.domains.warehouse.layout import (
    EPISODE_STEPS,
    N_ACTIONS,
    N_CLASSES,
    N_NEIGHBOURS,
    make_layout,
)
from dials_async.domains.warehouse.local import WarehouseLocal, WarehouseLocalState, make_local_state
from dials_async.domains.warehouse.observation import DSET_BITS, N_THRESHOLDS, observation_bits
from dials_async.domains.warehouse.scripted import POLICIES
from dials_async.domains.warehouse.simulator import WarehouseGlobal, WarehouseScripted
from dials_async.errors import ConfigError

#: Published mean episodic returns per agent after 4 M steps per agent (paper, figure 3; digitised +-0.05).
PUBLISHED = {
    4: {"DIALS": 13.28, "GS": 8.12, "untrained-DIALS": 4.33, "hand-coded": 13.125},
    25: {"DIALS": 13.25, "GS": 11.42, "untrained-DIALS": 3.77, "hand-coded": 14.5},
    49: {"DIALS": 13.21, "GS": 10.23, "untrained-DIALS": 3.42, "hand-coded": 13.875},
    100: {"DIALS": 13.25, "GS": 9.56, "untrained-DIALS": 3.21, "hand-coded": 14.51},
}


class Warehouse(Domain):
    """``side`` x ``side`` learning robots inside a ring of scripted ones."""

    name = "warehouse"
    episode_steps = EPISODE_STEPS
    largest_reward = 1.0
    baselines = POLICIES

    def __init__(self, side: int = 2, item_ages: bool = False) -> None:
        if not 1 <= side <= 30:
            raise ConfigError(f"domain.side = {side}: the warehouse has 1 to 30 learning robots a side")
        self.item_ages = item_ages
        self.layout = make_layout(side)
        self.n_agents = side * side
        self.published = PUBLISHED.get(self.n_agents, {})
        self.published_note = "after 4 M steps" + (", without item ages" if item_ages else "")
        self._spec = AgentSpec(
            observation_bits=observation_bits(item_ages),
            dset_bits=DSET_BITS,
            n_actions=N_ACTIONS,
            n_sources=N_NEIGHBOURS,
            n_classes=N_CLASSES,
            ladder_steps=N_THRESHOLDS if item_ages else 1,
        )

    def spec(self, agent: int) -> AgentSpec:
        """Sizes of ``agent``: all robots are alike."""
        if not 0 <= agent < self.n_agents:
            raise IndexError(f"agent {agent} of {self.n_agents}")
        return self._spec

    def make_global(self, n_envs: int) -> WarehouseGlobal:
        """A new GS of ``n_envs`` episodes."""
        return WarehouseGlobal(self.layout, n_envs, self.item_ages)

    def make_local(self, agents: Sequence[int], n_envs: int) -> WarehouseLocal:
        """A new vectorised LS of ``n_envs`` episodes for each of ``agents``."""
        return WarehouseLocal(agents, n_envs, self.item_ages)

    def local_state(self, agents: Sequence[int], n_envs: int) -> WarehouseLocalState:
        """State of the compiled LS for the fused rollout."""
        return make_local_state(len(agents) * n_envs, self.item_ages)

    def scripted_policy(self, name: str, n_envs: int) -> WarehouseScripted:
        """The scripted policy ``name``."""
        if name not in POLICIES:
            raise ConfigError(
                f"no scripted policy '{name}' in the warehouse; there are {', '.join(POLICIES)}"
            )
        return WarehouseScripted(POLICIES.index(name), self.n_agents, n_envs)

    def recorder(self) -> SceneRecorder:
        """A new, empty drawing of an episode."""
        # Imported here: drawing is only for reports, rollout workers never need it.
        from dials_async.domains.warehouse.drawing import WarehouseDrawing

        return WarehouseDrawing(self.layout)


def replayed_spawns(simulator: WarehouseGlobal) -> Any:
    """New items of the last step as each agent's LS needs them, [agents, envs, 12] (influence replay)."""
    slots = simulator.layout.item_of_slot[simulator.layout.learners]  # [agents, 12]
    return np.ascontiguousarray(simulator.state.spawned[:, slots].transpose(1, 0, 2))

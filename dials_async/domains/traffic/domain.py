"""The domain of traffic control: its agents, simulators and scripted lights (paper, section 5.1)."""

import math
import os
from collections.abc import Mapping, Sequence

from dials_async.domains.base import AgentSpec, Domain, LocalSimulator, SceneRecorder
from dials_async.domains.traffic.entries import RULES, Entries, entries_of
from dials_async.domains.traffic.installation import SUMO_VERSION, find_sumo
from dials_async.domains.traffic.local import TrafficLocal, TrafficLocalState, make_local_state
from dials_async.domains.traffic.network import Grid
from dials_async.domains.traffic.processes import Setup
from dials_async.domains.traffic.rules import (
    DSET_BITS,
    EPISODE_STEPS,
    N_ACTIONS,
    N_CLASSES,
    N_SOURCES,
    OBSERVATION_BITS,
)
from dials_async.domains.traffic.scripted import POLICIES
from dials_async.domains.traffic.simulator import SumoLocal, TrafficGlobal, TrafficScripted
from dials_async.errors import ConfigError

#: Published mean episodic returns per agent after 4 M steps per agent (paper, figure 3; digitised), DIALS
#: with F = 1 M. "hand-coded" are SUMO's actuated lights.
PUBLISHED = {
    4: {"DIALS": 214.0, "GS": 200.0, "untrained-DIALS": 172.0, "hand-coded": 176.4},
    25: {"DIALS": 214.5, "GS": 214.0, "untrained-DIALS": 163.0, "hand-coded": 175.1},
    49: {"DIALS": 212.5, "GS": 212.0, "untrained-DIALS": 158.0, "hand-coded": 177.1},
    100: {"DIALS": 208.0, "GS": 190.0, "untrained-DIALS": 149.0, "hand-coded": 175.3},
}

LOCALS = ("compiled", "sumo")
INTERFACES = ("libsumo", "traci")


def is_address(text: str) -> bool:
    """Whether ``text`` is host:port."""
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16


class Traffic(Domain):
    """``side`` x ``side`` traffic lights."""

    name = "traffic"
    episode_steps = EPISODE_STEPS
    global_envs: int | None = 1
    baselines: Sequence[str] = POLICIES
    #: Both interfaces give the same episodes (a test), wherever SUMO runs. Its version is not among them.
    machine_options: Sequence[str] = ("interface", "gui", "address")

    def __init__(
        self,
        side: int = 2,
        empty_reward: float = 0.0,
        local: str = "compiled",
        entry: str = "road",
        interface: str = "libsumo",
        gui: bool = False,
        address: str = "",
        sumo_version: str = SUMO_VERSION,
        parity_influence: bool = False,
    ) -> None:
        """Check the options. Raises ConfigError.

        Args:
            side: lights a side.
            empty_reward: reward of a step without a car on the four approaches.
            local: the LS: "compiled", our kernel, or "sumo", slower with the same results.
            entry: where cars enter the LS: "road", as on that road of the GS, or "paper", all alike.
            interface: to SUMO: "libsumo", in a process beside this one, or "traci", over a socket.
            gui: watch the GS in sumo-gui ("traci" only).
            address: host:port of a SUMO that runs already ("traci" only); serves one episode at a time.
            sumo_version: that must be installed.
            parity_influence: u as in the authors' code: the occupancy of an approach's last 10 m.
        """
        if not 1 <= side <= 30:
            raise ConfigError(f"domain.side = {side}: the grid has 1 to 30 lights a side")
        if local not in LOCALS:
            raise ConfigError(f"domain.local = '{local}': one of {', '.join(LOCALS)}")
        if entry not in RULES:
            raise ConfigError(f"domain.entry = '{entry}': one of {', '.join(RULES)}")
        if interface not in INTERFACES:
            raise ConfigError(f"domain.interface = '{interface}': one of {', '.join(INTERFACES)}")
        if interface == "libsumo" and (gui or address):
            raise ConfigError("domain.gui and domain.address need domain.interface = 'traci'")
        if address and not is_address(address):
            raise ConfigError(f"domain.address = '{address}': must be host:port of a SUMO")
        if not math.isfinite(empty_reward):
            raise ConfigError(f"domain.empty_reward = {empty_reward}: must be a finite number")
        if gui and not os.environ.get("DISPLAY"):
            raise ConfigError("domain.gui = true: there is no screen here (DISPLAY is not set)")
        self.n_agents = side * side
        self.grid = Grid(side)
        self.published: Mapping[str, float] = PUBLISHED.get(self.n_agents, {})
        self.published_note = "after 4 M steps; hand-coded: SUMO's actuated lights"
        self._empty_reward, self._local, self._entry = empty_reward, local, entry
        self.largest_reward = max(1.0, abs(empty_reward))  # else a mean speed over the speed limit
        self._setup = Setup(
            kind="grid",
            sumo_version=sumo_version,
            side=side,
            empty_reward=empty_reward,
            tenth_cell=parity_influence,
            interface=interface,
            gui=gui,
            address=address,
        )
        self._spec = AgentSpec(
            observation_bits=OBSERVATION_BITS,
            dset_bits=DSET_BITS,
            n_actions=N_ACTIONS,
            n_sources=N_SOURCES,
            n_classes=N_CLASSES,
        )

    def check(self) -> None:
        """Raise SimulatorError if SUMO is missing, does not start, or is of another version."""
        find_sumo(self._setup.sumo_version)

    def spec(self, agent: int) -> AgentSpec:
        """Sizes of ``agent``: all lights are alike."""
        if not 0 <= agent < self.n_agents:
            raise IndexError(f"agent {agent} of {self.n_agents}")
        return self._spec

    def make_global(self, n_envs: int) -> TrafficGlobal:
        """A new GS of ``n_envs`` episodes, a SUMO process each."""
        return TrafficGlobal(self._setup, n_envs)

    def make_local(self, agents: Sequence[int], n_envs: int) -> LocalSimulator:
        """A new vectorised LS of ``n_envs`` episodes for each of ``agents``."""
        if self._local == "sumo":
            return SumoLocal(self._entries_of(agents), n_envs, self._setup)
        return TrafficLocal(self._entries_of(agents), n_envs, self._empty_reward)

    def local_state(self, agents: Sequence[int], n_envs: int) -> TrafficLocalState | None:
        """State of the compiled LS for the fused rollout, unless SUMO is to be the LS."""
        if self._local == "sumo":
            return None
        return make_local_state(self._entries_of(agents), n_envs, self._empty_reward)

    def _entries_of(self, agents: Sequence[int]) -> Entries:
        return entries_of(self.grid, agents, self._entry)

    def scripted_policy(self, name: str, n_envs: int) -> TrafficScripted:  # noqa: ARG002
        """The scripted policy ``name``."""
        if name not in POLICIES:
            raise ConfigError(
                f"no scripted policy '{name}' in the traffic grid; there are {', '.join(POLICIES)}"
            )
        return TrafficScripted(name)

    def recorder(self) -> SceneRecorder:
        """A new, empty drawing of an episode."""
        # Imported here: drawing is only for reports, rollout workers never need it.
        from dials_async.domains.traffic.drawing import TrafficDrawing

        return TrafficDrawing(self.grid.side)

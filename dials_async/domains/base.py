"""What a domain is: the classes that a system of agents implements to be trained with DIALS.

A domain knows its agents, a global simulator (GS) of the whole system, a local simulator (LS) of one
agent's region that is driven by the influence sources u, scripted policies to compare with, and how to
draw an episode. It knows nothing of queues, networks or learning.

Axes: ``agents`` are learning agents, ``envs`` are independent episodes that are stepped together.
Observations are packed bits (``dials_async.kernels.bits``); the d-set, which the AIP reads, is the first
``dset_bits`` of the observation.

The protocols below are base classes too: who inherits from them has to write what is abstract, and has the
defaults of the rest. What a domain says and returns is checked (``dials_async.domains.checked``).
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from dials_async.errors import ConfigError
from dials_async.kernels.bits import packed_size

#: Numbers of active bits are kept in 16 bits.
MOST_BITS = 32767

#: Largest reward of a domain that does not say how large its rewards are.
LARGEST_REWARD = 1e6

#: A drawing of an episode, plain data for JSON; ``dials_async.report.scene`` describes its fields.
Scene = dict[str, Any]


@dataclass(frozen=True)
class AgentSpec:
    """Sizes of one agent; agents of equal spec can be stacked in one group."""

    observation_bits: int
    dset_bits: int
    n_actions: int
    n_sources: int
    """Influence sources per step (paper, section 3.1): what the AIP predicts."""
    n_classes: int
    """Classes of each source."""
    ladder_steps: int = 1
    """From 2 on: the bits behind the d-set are ladders of so many bits, "at least so much" by rising amounts:
    a bit is set only where the one before it in its ladder is. Networks then read one row for each ladder in
    place of one for each bit; what they compute is the same within rounding."""

    def __post_init__(self) -> None:
        """Raise ConfigError for sizes that kernels, which check no index, would take at their word."""
        for field in fields(self):
            if (
                type(value := getattr(self, field.name)) is not int
            ):  # other integers are other types to kernels
                raise ConfigError(f"{self}: {field.name} = {value!r} must be an int")
        rest = self.observation_bits - self.dset_bits
        for wrong, why in (
            (not 1 <= self.observation_bits <= MOST_BITS, f"observations have 1 to {MOST_BITS} bits"),
            (
                not 1 <= self.dset_bits <= self.observation_bits,
                "the d-set is the first bits of an observation",
            ),
            (not 1 <= self.n_actions <= 256, "an agent has 1 to 256 actions"),
            (self.n_sources < 1, "an agent has at least one influence source"),
            (not 1 <= self.n_classes <= 256, "a source has 1 to 256 classes"),
            (
                self.ladder_steps < 1 or rest % max(self.ladder_steps, 1) != 0,
                "ladders fill the rest of the bits",
            ),
        ):
            if wrong:
                raise ConfigError(f"{self}: {why}")

    @property
    def observation_bytes(self) -> int:
        """Bytes of one packed observation."""
        return packed_size(self.observation_bits)


class GlobalStep(NamedTuple):
    """What one step of the GS returns for all agents."""

    rewards: NDArray[np.float32]  # [agents, envs]
    influence: NDArray[np.uint8]  # [agents, envs, n_sources], the class of each source


class GlobalSimulator(Protocol):
    """The whole system, ``n_envs`` episodes at a time; each is a pure function of its seed and actions."""

    @abstractmethod
    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start new episodes; ``seeds`` [envs]."""

    @abstractmethod
    def observe(self) -> NDArray[np.uint8]:
        """Packed observations of all agents, [agents, envs, bytes], valid until the next step."""

    @abstractmethod
    def step(self, actions: NDArray[np.uint8]) -> GlobalStep:
        """Advance by one step; ``actions`` [agents, envs]."""

    def close(self) -> None:
        """Let go of what the simulator holds (processes), if it holds any; twice is allowed."""
        return


class LocalSimulator(Protocol):
    """The regions of some agents, each on its own, ``n_envs`` episodes of each at a time.

    Used for a domain whose LS is not compiled. A compiled LS gives its functions to the fused rollout
    instead (``dials_async.rollout.compiled``).
    """

    @abstractmethod
    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """Start new episodes; ``seeds`` [agents, envs]."""

    @abstractmethod
    def observe(self) -> NDArray[np.uint8]:
        """Packed observations, [agents, envs, bytes], valid until the next step."""

    @abstractmethod
    def step(self, actions: NDArray[np.uint8], influence: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Advance under ``actions`` [agents, envs] and ``influence`` [agents, envs, n_sources].

        Returns rewards [agents, envs].
        """

    def close(self) -> None:
        """Let go of what the simulator holds (processes), if it holds any; twice is allowed."""
        return


class ScriptedPolicy(Protocol):
    """A hand-written policy for all learning agents; it may read the whole state of the GS."""

    def reset(self, seeds: NDArray[np.uint64]) -> None:  # noqa: ARG002
        """Start new episodes; ``seeds`` [envs]. Nothing to do for a policy without memory and chance."""
        return

    @abstractmethod
    def act(self, simulator: Any) -> NDArray[np.uint8]:
        """Actions of all learning agents, [agents, envs]; ``simulator`` is the domain's GS, just observed."""


class SceneRecorder(Protocol):
    """Draws one episode of the GS: captures a frame per step, then hands out the whole drawing."""

    @abstractmethod
    def capture(self, simulator: Any, rewards: NDArray[np.float32] | None) -> None:
        """Add the present state of env 0 of the GS as a frame; ``rewards`` [agents, envs] of the step."""

    @abstractmethod
    def scene(self) -> Scene:
        """The drawing of all frames so far."""


class Domain(Protocol):
    """A system of agents that can be trained with DIALS."""

    name: str
    episode_steps: int
    n_agents: int
    global_envs: int | None = None
    """Episodes that one GS steps side by side; None: any number. A simulator in a process of its own steps
    one, and several of them run at the same time."""
    largest_reward: float = LARGEST_REWARD
    """No reward of a step is further from 0."""
    baselines: Sequence[str] = ()
    """Names of the scripted policies, weakest first."""
    published: Mapping[str, float] = MappingProxyType({})
    """Returns published for this size, by label."""
    published_note: str = ""
    """What differs from this run where they were measured, to be said beside them."""
    machine_options: Sequence[str] = ()
    """Options that say how it is simulated on a machine, never what: results do not depend on them."""

    def check(self) -> None:
        """Raise SimulatorError if the simulators lack something; called before a run begins."""
        return

    @abstractmethod
    def spec(self, agent: int) -> AgentSpec:
        """Sizes of ``agent`` (0 <= agent < n_agents)."""

    @abstractmethod
    def make_global(self, n_envs: int) -> GlobalSimulator:
        """A new GS of ``n_envs`` episodes."""

    def make_local(self, agents: Sequence[int], n_envs: int) -> LocalSimulator:  # noqa: ARG002
        """A new LS of ``n_envs`` episodes for each of ``agents``; called only without ``local_state``."""
        raise ConfigError(
            f"the domain '{self.name}' has no LS, neither make_local nor local_state: "
            "it can be trained on the GS only (--simulator gs)"
        )

    def local_state(self, agents: Sequence[int], n_envs: int) -> Any:  # noqa: ARG002
        """State of a compiled LS for the fused rollout (a NamedTuple of arrays), or None if there is none.

        Rows are ``n_envs`` episodes of the first of ``agents``, then of the second, and so on.
        """
        return None

    def scripted_policy(self, name: str, n_envs: int) -> ScriptedPolicy:  # noqa: ARG002
        """The scripted policy ``name``, one of ``baselines``; its actions are below ``n_actions``."""
        raise no_policy(name, self)

    def recorder(self) -> SceneRecorder:
        """A new, empty drawing of an episode of the GS: by default of every agent's rewards."""
        from dials_async.domains.rewards_drawing import RewardsDrawing

        return RewardsDrawing(self.name)


def no_policy(name: str, domain: Domain) -> ConfigError:
    """There is no scripted policy ``name``."""
    there = f"there are {', '.join(domain.baselines)}" if domain.baselines else "it has none"
    return ConfigError(f"no scripted policy '{name}' in the domain '{domain.name}'; {there}")

"""A domain behind checks of all that it says and returns: the one that the runtime is given.

Kernels check no index, NumPy makes bytes of floats without a word, and a NaN trains for hours. So types,
shapes, layout, classes, actions and rewards are checked at every step, which costs some microseconds, and the
bits of observations in the first episodes and in a sample of those after. What a domain announces is checked
once. A mistake is an error of one line: domain, simulator, agent, step, field, and what was expected.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dials_async.domains.announced import announced, spec_of
from dials_async.domains.base import (
    AgentSpec,
    Domain,
    GlobalSimulator,
    GlobalStep,
    LocalSimulator,
    Scene,
    SceneRecorder,
    ScriptedPolicy,
    no_policy,
)
from dials_async.domains.checks import Expected, Site
from dials_async.domains.local import is_compiled_local
from dials_async.errors import ConfigError

#: The bits of observations are read in the first so many batches of episodes, and in one of so many after.
FIRST, EVERY = 3, 64

#: Of a domain: those that are called here, or may be.
METHODS = ("check", "spec", "make_global", "make_local", "local_state", "scripted_policy", "recorder")


class CheckedDomain(Domain):
    """``own`` behind checks. Raises ConfigError for what it announces, DomainError for what it returns."""

    def __init__(self, own: Domain) -> None:
        self.own = own
        name = getattr(own, "name", None)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"the domain {type(own).__name__}: name = {name!r}: must be a text")
        self.name = name
        self._package = type(own).__module__.partition(".")[0]
        self._batches: dict[str, int] = {}
        said = announced(own, name, self._site())
        self.episode_steps: int = said["episode_steps"]
        self.n_agents: int = said["n_agents"]
        self.global_envs = said["global_envs"]
        self.largest_reward = float(said["largest_reward"])
        self.baselines = said["baselines"]
        self.published = said["published"]
        self.published_note = said["published_note"]
        self.machine_options = said["machine_options"]
        self._site().require_methods(own, Domain, METHODS)
        self._specs = [spec_of(own, name, self._site("spec"), agent) for agent in range(self.n_agents)]

    def _site(self, what: str = "", agents: Sequence[int] = ()) -> Site:
        return Site(self.name, self._package, what, agents)

    def expected(self, what: str, agents: Sequence[int], n_envs: int) -> Expected:
        """What arrays of ``agents`` in the simulator ``what`` must be like."""
        specs = [self._specs[agent] for agent in agents]
        n_sources = max(spec.n_sources for spec in specs)
        top_classes = np.full((len(agents), 1, n_sources), 255, dtype=np.uint8)
        for row, spec in enumerate(specs):
            top_classes[row, 0, : spec.n_sources] = spec.n_classes - 1
        return Expected(
            site=self._site(what, agents),
            n_envs=n_envs,
            n_bytes=max(spec.observation_bytes for spec in specs),
            n_sources=n_sources,
            top_classes=top_classes,
            largest_reward=self.largest_reward,
            spec=specs[0] if len(set(specs)) == 1 else None,
        )

    def reads_next(self, what: str) -> bool:
        """Whether the bits of observations are read in the next episodes of the simulator ``what``."""
        done = self._batches.get(what, 0)
        self._batches[what] = done + 1  # a count lost between two threads does no harm
        return done < FIRST or done % EVERY == 0

    def check(self) -> None:
        """See Domain."""
        with self._site("check"):
            self.own.check()

    def spec(self, agent: int) -> AgentSpec:
        """See Domain."""
        return self._specs[agent]

    def make_global(self, n_envs: int) -> "CheckedGlobal":
        """See Domain."""
        return CheckedGlobal(self, n_envs)

    def make_local(self, agents: Sequence[int], n_envs: int) -> "CheckedLocal":
        """See Domain."""
        return CheckedLocal(self, agents, n_envs)

    def local_state(self, agents: Sequence[int], n_envs: int) -> Any:
        """See Domain. Rows that are missing would be written to all the same."""
        site = self._site("local_state")
        with site:
            state = self.own.local_state(agents, n_envs)
        if state is None:
            return None
        if not is_compiled_local(type(state)):
            raise site.error(
                type(state).__name__,
                "has no functions: register them with dials_async.domains.local.compiled_local",
            )
        rows = len(agents) * n_envs
        for field, array in zip(state._fields, state, strict=True):
            if (
                type(array) is not np.ndarray
                or array.dtype.kind not in "biuf"
                or not array.flags.c_contiguous
            ):
                raise site.error(field, "expected a C-contiguous NumPy array of numbers")
            if array.ndim == 0 or array.shape[0] not in (1, rows):
                text = (
                    f"expected {rows} rows ({len(agents)} agents x {n_envs} episodes), or 1 that all share, "
                )
                raise site.error(field, f"{text}got the shape {array.shape}")
        return state

    def check_rollout(
        self, agents: Sequence[int], observations: NDArray[np.uint8], rewards: NDArray[np.float32]
    ) -> None:
        """What a compiled LS has written: [agents, episodes, steps + 1, bytes], [agents, episodes, steps]."""
        expected = self.expected("LS", agents, rewards.shape[1])
        expected.range_of_rewards(rewards)
        if self.reads_next("LS"):
            expected.bits(observations)

    def scripted_policy(self, name: str, n_envs: int) -> "CheckedScripted":
        """See Domain; raises ConfigError for any other name than those of ``baselines``."""
        if name not in self.baselines:
            raise no_policy(name, self)
        return CheckedScripted(self, name, n_envs)

    def recorder(self) -> "CheckedRecorder":
        """See Domain."""
        return CheckedRecorder(self)

    def n_actions(self) -> NDArray[np.int64]:
        """Of every agent."""
        return np.array([spec.n_actions for spec in self._specs], dtype=np.int64)


class _CheckedSimulator:
    """What GS and LS behind checks have in common."""

    def __init__(
        self,
        domain: CheckedDomain,
        kind: str,
        port: type,
        agents: Sequence[int],
        n_envs: int,
        make: Callable[[], Any],
    ) -> None:
        self._domain, self._kind = domain, kind
        self._expected = domain.expected(kind, agents, n_envs)
        self._site = self._expected.site
        self._read = True
        with self._site:
            self.own = make()
        self._site.require_methods(self.own, port, ("reset", "observe", "step", "close"))

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """See GlobalSimulator, LocalSimulator."""
        self._read, self._site.step = self._domain.reads_next(self._kind), 0
        with self._site:
            self.own.reset(seeds)

    def observe(self) -> NDArray[np.uint8]:
        """See GlobalSimulator, LocalSimulator."""
        with self._site:
            observed = self.own.observe()
        return self._expected.observations(observed, self._read)

    def close(self) -> None:
        """See GlobalSimulator, LocalSimulator."""
        with self._site:
            self.own.close()


class CheckedGlobal(_CheckedSimulator, GlobalSimulator):
    """A GS behind checks."""

    def __init__(self, domain: CheckedDomain, n_envs: int) -> None:
        agents = range(domain.n_agents)
        super().__init__(
            domain, "GS", GlobalSimulator, agents, n_envs, lambda: domain.own.make_global(n_envs)
        )

    def step(self, actions: NDArray[np.uint8]) -> GlobalStep:
        """See GlobalSimulator."""
        with self._site:
            result = self.own.step(actions)
        if not isinstance(result, tuple) or len(result) != 2:
            raise self._site.error(
                "step", f"expected GlobalStep(rewards, influence), got {type(result).__name__}"
            )
        checked = GlobalStep(self._expected.rewards(result[0]), self._expected.influence(result[1]))
        self._site.step = (self._site.step or 0) + 1
        return checked


class CheckedLocal(_CheckedSimulator, LocalSimulator):
    """An LS that is stepped from Python, behind checks."""

    def __init__(self, domain: CheckedDomain, agents: Sequence[int], n_envs: int) -> None:
        super().__init__(
            domain, "LS", LocalSimulator, agents, n_envs, lambda: domain.own.make_local(agents, n_envs)
        )

    def step(self, actions: NDArray[np.uint8], influence: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See LocalSimulator."""
        with self._site:
            rewards = self.own.step(actions, influence)
        checked = self._expected.rewards(rewards)
        self._site.step = (self._site.step or 0) + 1
        return checked


class CheckedScripted(ScriptedPolicy):
    """A scripted policy behind checks; it is shown the domain's own GS."""

    def __init__(self, domain: CheckedDomain, name: str, n_envs: int) -> None:
        self._expected = domain.expected(f"scripted policy '{name}'", range(domain.n_agents), n_envs)
        self._n_actions = domain.n_actions()
        with self._expected.site:
            self._own = domain.own.scripted_policy(name, n_envs)
        self._expected.site.require_methods(self._own, ScriptedPolicy, ("reset", "act"))

    def reset(self, seeds: NDArray[np.uint64]) -> None:
        """See ScriptedPolicy."""
        self._expected.site.step = -1
        with self._expected.site:
            self._own.reset(seeds)

    def act(self, simulator: Any) -> NDArray[np.uint8]:
        """See ScriptedPolicy."""
        site = self._expected.site
        site.step = 0 if site.step is None else site.step + 1
        with site:
            actions = self._own.act(simulator.own)
        return self._expected.actions(actions, self._n_actions)


class CheckedRecorder(SceneRecorder):
    """A drawing whose errors say where they come from; it is shown the domain's own GS."""

    def __init__(self, domain: CheckedDomain) -> None:
        self._site = Site(domain.name, domain._package, "drawing")
        with self._site:
            self._own = domain.own.recorder()
        self._site.require_methods(self._own, SceneRecorder, ("capture", "scene"))

    def capture(self, simulator: Any, rewards: NDArray[np.float32] | None) -> None:
        """See SceneRecorder."""
        with self._site:
            self._own.capture(simulator.own, rewards)

    def scene(self) -> Scene:
        """See SceneRecorder."""
        with self._site:
            return self._own.scene()

"""What every part of a run is given: its name, configuration, domain, groups, clock, broker and store."""

import time
from dataclasses import dataclass, field
from threading import Event

import numpy as np
from numpy.typing import NDArray

from dials_async.clock import Clock
from dials_async.config import Config
from dials_async.domains.checked import CheckedDomain
from dials_async.errors import StoreError, VersionGoneError
from dials_async.groups import Group, require_parameters
from dials_async.messaging.broker import Broker, QueueNames
from dials_async.messaging.schema import Origin
from dials_async.metrics.instruments import Metrics
from dials_async.metrics.phases import PhaseTimer
from dials_async.store.base import AipState, GroupState, Store
from dials_async.store.participants import Participants


@dataclass
class RunContext:
    """One process's view of a run."""

    name: str
    config: Config
    domain: CheckedDomain
    groups: list[Group]
    clock: Clock
    broker: Broker
    store: Store
    configuration: str
    """Fingerprint of all of ``config`` that results depend on."""
    phases: PhaseTimer = field(default_factory=PhaseTimer)
    metrics: Metrics = field(default_factory=lambda: Metrics(counting=False))
    stop: Event = field(default_factory=Event)
    """Set: finish or return the work in hand and leave."""
    seconds_before: float = 0.0
    """Seconds that earlier sessions of the run took."""
    started: float = field(default_factory=time.monotonic)

    numerics: dict[str, str] = field(default_factory=dict)
    """What this process computes, by part (``dials_async.runtime.numerics``)."""

    @property
    def queues(self) -> QueueNames:
        """What the queues of this life of the run are called."""
        return QueueNames(self.name, self.store.life)

    @property
    def simulation(self) -> str:
        """The part of the arithmetic that makes experience: "rollout", or "gs" where that is trained on."""
        return "gs" if self.config.run.simulator == "gs" else "rollout"

    def origin(self, numerics: str) -> Origin:
        """Of a message of this life of the run, by somebody who computes ``numerics``."""
        return Origin(self.name, self.store.life, self.configuration, numerics)

    def task_origin(self) -> Origin:
        """Of a task: with the numerics of the run."""
        return self.origin(self.participants.of_run(self.simulation))

    @property
    def participants(self) -> Participants:
        """Who took part in the run."""
        return Participants(self.store)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.run.seed

    @property
    def largest_reward(self) -> float:
        """No reward of a step is further from 0."""
        return self.domain.largest_reward

    # What the store hands out, of the shapes that the groups of the run have: kernels check no index.

    def newest(self, group: Group) -> GroupState | None:
        """The newest state of ``group``, or None. Raises StoreError if it is none of this run."""
        state = self.store.latest_group(group.index)
        if state is None:
            return None
        what = f"group {group.index}, version {state.version}"
        for name in ("weights", "adam_m", "adam_v"):
            require_parameters(f"{what}, {name}", state.arrays.get(name), group.weights_shape)
        if "adam_steps" not in state.meta or state.version > self.clock.n_updates:
            raise StoreError(f"{what}: no version of this run; resume from a checkpoint")
        return state

    def weights(self, group: Group, version: int) -> NDArray[np.float32]:
        """The weights of that version, [agents, parameters], read-only.

        Raises VersionGoneError if they are not kept, StoreError if they are none of this run.
        """
        weights = self.store.weights(group.index, version)
        what = f"group {group.index}, version {version}, weights"
        return require_parameters(what, weights, group.weights_shape)

    def aips(self, version: int | None = None) -> AipState:
        """The AIPs of that version, or the newest: arrays g0, g1, ..., [agents, parameters], read-only.

        Raises VersionGoneError if they are not kept, StoreError if they are none of this run.
        """
        state = self.store.latest_aip() if version is None else self.store.aip(version)
        if state is None:
            raise VersionGoneError("there are no AIPs yet")
        for group in self.groups:
            name = f"g{group.index}"
            what = f"AIPs, version {state.version}, {name}"
            require_parameters(what, state.arrays.get(name), group.aips_shape)
        return state

    def seconds(self) -> float:
        """Seconds since the run began, pauses between sessions not counted."""
        return self.seconds_before + time.monotonic() - self.started

    def close(self) -> None:
        """Leave broker and store; twice is allowed."""
        self.broker.close()
        self.store.close()

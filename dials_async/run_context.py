"""What every part of a run is given: its name, configuration, domain, groups, clock, broker and store."""

import time
from dataclasses import dataclass, field
from threading import Event

from dials_async.clock import Clock
from dials_async.config import Config
from dials_async.domains.base import Domain
from dials_async.groups import Group
from dials_async.messaging.broker import Broker
from dials_async.messaging.schema import LARGEST_REWARD
from dials_async.metrics.instruments import Metrics
from dials_async.metrics.phases import PhaseTimer
from dials_async.store.base import Store


@dataclass
class RunContext:
    """One process's view of a run."""

    name: str
    config: Config
    domain: Domain
    groups: list[Group]
    clock: Clock
    broker: Broker
    store: Store
    phases: PhaseTimer = field(default_factory=PhaseTimer)
    metrics: Metrics = field(default_factory=lambda: Metrics(counting=False))
    stop: Event = field(default_factory=Event)
    """Set: finish or return the work in hand and leave."""
    seconds_before: float = 0.0
    """Seconds that earlier sessions of the run took."""
    started: float = field(default_factory=time.monotonic)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.run.seed

    @property
    def largest_reward(self) -> float:
        """No reward of a step is further from 0; a domain need not say it."""
        return float(getattr(self.domain, "largest_reward", LARGEST_REWARD))

    def seconds(self) -> float:
        """Seconds since the run began, pauses between sessions not counted."""
        return self.seconds_before + time.monotonic() - self.started

    def close(self) -> None:
        """Leave broker and store; twice is allowed."""
        self.broker.close()
        self.store.close()

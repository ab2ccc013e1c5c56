"""What the learner of a group shows of itself: counters for Prometheus, and the counts of its last commit."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from dials_async.learning.settings import HEALTH
from dials_async.messaging.schema import Experience
from dials_async.metrics.instruments import Metrics
from dials_async.store.base import GroupState, Meta

#: What a learner may wait for: experience; the AIPs of a refresh; an evaluator that is far behind.
WAITS = ("experience", "aips", "evaluations")


#: Updates in a row that leave an agent's weights as they were, after which it is said; and what is said.
UNMOVED_UPDATES = 10
WITHOUT_EFFECT = "updates in a row left its weights as they were: look at its rewards and ppo.learning_rate"

logger = logging.getLogger(__name__)


class LearningProgress:
    """Keeps the instruments of one group."""

    def __init__(self, metrics: Metrics, group: int, agents: Sequence[int]) -> None:
        label = str(group)
        self._agents = agents
        self._unmoved = np.zeros(len(agents), dtype=np.int64)  # updates in a row, of each agent
        self._wait = {why: metrics.learner_wait.labels(label, why) for why in WAITS}
        self._update_seconds = metrics.update_seconds.labels(label)
        self._learned = metrics.learned.labels(label)
        self._version = metrics.policy_version.labels(label)
        self._without_effect = metrics.unmoved.labels(label)
        self._lag = metrics.policy_lag.labels(label)
        self._age = metrics.experience_age.labels(label)
        self._rate = metrics.learning_rate.labels(label)
        gauges = {
            "policy_loss": metrics.policy_loss,
            "value_loss": metrics.value_loss,
            "entropy": metrics.entropy,
            "approximate_kl": metrics.kl,
            "clip_fraction": metrics.clip_fraction,
            "gradient_norm": metrics.gradient_norm,
            "explained_variance": metrics.explained_variance,
        }
        self._health = [gauges[name].labels(label) for name in HEALTH]
        self._label = label
        self._of_the_owner = (
            *gauges.values(),
            metrics.policy_version,
            metrics.learning_rate,
            metrics.unmoved,
        )
        self._started = 0.0
        self.counts: Meta = {}
        """The ``meta`` of the newest commit made here (``dials_async.learning.tally``)."""

    def starts_from(self, state: GroupState) -> None:
        """Note which commit learning goes on from."""
        self.counts = state.meta
        self._version.set(state.version)

    def gives_up(self) -> None:
        """Show no longer what only the learner of the group knows: another one is it now."""
        for gauge in self._of_the_owner:
            gauge.remove(self._label)

    @property
    def unmoved(self) -> int:
        """The last updates in a row that left the weights of an agent as they were, to the bit."""
        return int(self._unmoved.max())

    @contextmanager
    def waiting(self, why: str) -> Iterator[None]:
        """Count the time inside the block as waiting for ``why``, one of WAITS."""
        since = time.monotonic()
        try:
            yield
        finally:
            self._wait[why].inc(time.monotonic() - since)

    @contextmanager
    def updating(self) -> Iterator[None]:
        """Count the time inside the block as one update."""
        self._started = time.time()
        since = time.monotonic()
        yield
        self._update_seconds.observe(time.monotonic() - since)

    def committed(
        self,
        old: GroupState,
        new: GroupState,
        messages: Sequence[Experience],
        learning_rate: float,
        health: NDArray[np.float64],
    ) -> None:
        """Note the commit of ``new``, learned from ``messages``; ``health`` is the mean, [len(HEALTH)]."""
        self.counts = new.meta
        self._version.set(new.version)
        self._rate.set(learning_rate)
        self._learned.inc(sum(message.actions.size for message in messages))
        for message in messages:
            self._lag.observe(new.version - 1 - message.policy_version)
            # Not below 0: the clock of another host may be ahead.
            self._age.observe(max(0.0, self._started - message.made_at))
        for gauge, value in zip(self._health, health, strict=True):
            gauge.set(float(value))
        same = (new.arrays["weights"] == old.arrays["weights"]).all(axis=1)
        self._unmoved = np.where(same, self._unmoved + 1, 0)
        self._without_effect.set(self.unmoved)
        if self.unmoved == UNMOVED_UPDATES:
            agent = self._agents[int(self._unmoved.argmax())]
            logger.warning("agent %d: %d %s", agent, UNMOVED_UPDATES, WITHOUT_EFFECT)

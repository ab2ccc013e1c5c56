"""Every number that one process counts, by name: what Prometheus reads at /metrics (docs/metrics.md).

Labels are few and bounded by the configuration: groups, queues, phases, reasons. Run, role and process are
not among them: Prometheus attaches those when it reads (``dials_async.metrics.targets``).
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dials_async.metrics.health import Health
from dials_async.metrics.phases import PHASES, PhaseTimer

# The time at which each series began, one more for every counter: nobody asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Seconds of one rollout task or update: from a kernel of 4 agents to SUMO episodes of a hundred.
DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)

#: Versions between the policy that made experience and the one that learns from it; at lag 0 all are 0.
LAG_BUCKETS_VERSIONS = (0, 1, 2, 3, 4, 6, 8, 12, 16)

#: Seconds from the end of an episode to the update that uses it.
AGE_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """The counters of one process, in a registry of its own: two runs in one process do not mix.

    Public attributes are instruments of prometheus_client, safe to use from many threads; and the process's
    ``health``, which is served beside them.
    """

    def __init__(self, counting: bool = True) -> None:
        """Without ``counting`` every instrument does nothing."""
        self.counting = counting
        self.health = Health()
        self.registry = CollectorRegistry()
        if counting:
            ProcessCollector(registry=self.registry)
        make = self.make
        self.build = make(Info, "dials_build", "Versions of the program and of what its numbers depend on.")
        self.member = make(Info, "dials_member", "What this process is: run, role, process, host.")

        # Messages, at the port of the broker; queue is "rollout_tasks", "gs_tasks" or "experience".
        queue = ["queue"]
        self.published = make(Counter, "dials_messages_published", "Messages that the broker took.", queue)
        self.published_bytes = make(
            Counter, "dials_messages_published_bytes", "Size of messages that the broker took.", queue
        )
        self.received = make(
            Counter, "dials_messages_received", "Messages that came, second deliveries too.", queue
        )
        self.received_bytes = make(
            Counter, "dials_messages_received_bytes", "Size of messages that came.", queue
        )
        self.dead_lettered = make(
            Counter, "dials_messages_dead_lettered", "Malformed messages, rejected with a reason.", queue
        )
        self.refused = make(
            Counter, "dials_messages_refused", "Publications that a full queue refused; tried again.", queue
        )

        # Simulation. simulator is "ials" or "gs", purpose "train", "refresh" or "evaluate".
        self.simulated = make(
            Counter,
            "dials_agent_steps_simulated",
            "Environment steps of single agents that this process simulated.",
            ["simulator", "purpose"],
        )
        self.rollout_seconds = make(
            Histogram,
            "dials_rollout_seconds",
            "Time to simulate one rollout task.",
            ["simulator"],
            buckets=DURATION_BUCKETS_S,
        )
        self.tasks = make(
            Counter,
            "dials_tasks",
            'Rollout tasks by result: "done", "outdated" (its update was committed), "rejected" (malformed).',
            ["result"],
        )
        self.worker_wait = make(
            Counter,
            "dials_worker_wait_seconds",
            'Time that a rollout worker waited: for a "task", or for room in a full queue ("room").',
            ["reason"],
        )
        self.weights_age = make(
            Gauge,
            "dials_worker_weights_age_seconds",
            "Time since this worker took a new policy version of the group: grows when learning stalls.",
            ["group"],
        )
        self.worker_version = make(
            Gauge, "dials_worker_policy_version", "Version of the policies that this worker has.", ["group"]
        )

        # Learning.
        group = ["group"]
        self.learned = make(
            Counter, "dials_agent_steps_learned", "Agent-steps that committed updates used.", group
        )
        self.dropped = make(
            Counter,
            "dials_agent_steps_dropped",
            'Agent-steps that arrived and were not used: "too_old" for the policy lag, or a "copy".',
            ["group", "reason"],
        )
        self.update_seconds = make(
            Histogram, "dials_update_seconds", "Time to learn one update.", group, buckets=DURATION_BUCKETS_S
        )
        self.learner_wait = make(
            Counter,
            "dials_learner_wait_seconds",
            'Time that a group waited: for "experience", the "aips" of a refresh, or late "evaluations".',
            ["group", "reason"],
        )
        self.policy_version = make(
            Gauge, "dials_policy_version", "Version that this learner committed last.", group
        )
        self.unmoved = make(
            Gauge,
            "dials_updates_without_effect",
            "Last updates in a row that left the weights of an agent of the group as they were.",
            group,
        )
        self.policy_lag = make(
            Histogram,
            "dials_policy_lag_versions",
            "Versions between behaviour policy and learner, by message used.",
            group,
            buckets=LAG_BUCKETS_VERSIONS,
        )
        self.experience_age = make(
            Histogram,
            "dials_experience_age_seconds",
            "Time from simulation to use, by message used; clocks of two hosts may differ.",
            group,
            buckets=AGE_BUCKETS_S,
        )
        self.kl = make(Gauge, "dials_ppo_kl_nats", "Approximate KL divergence of the last update.", group)
        self.clip_fraction = make(
            Gauge,
            "dials_ppo_clip_fraction",
            "Share of probability ratios outside of the clip range, last update.",
            group,
        )
        self.entropy = make(
            Gauge, "dials_ppo_entropy_nats", "Mean entropy of the policies, last update.", group
        )
        self.explained_variance = make(
            Gauge,
            "dials_ppo_explained_variance",
            "Share of the variance of value targets that critics foresaw, last update.",
            group,
        )
        self.gradient_norm = make(
            Gauge, "dials_ppo_gradient_norm", "Mean norm of gradients before clipping, last update.", group
        )
        self.policy_loss = make(
            Gauge, "dials_ppo_policy_loss", "Mean loss of the policies, last update.", group
        )
        self.value_loss = make(Gauge, "dials_ppo_value_loss", "Mean loss of the critics, last update.", group)
        self.learning_rate = make(
            Gauge, "dials_ppo_learning_rate", "Learning rate of the last update.", group
        )

    def make(
        self, kind: Callable[..., Any], name: str, text: str, labels: Iterable[str] = (), **options: Any
    ) -> Any:  # Any: prometheus_client's instruments and _Nothing have no common type
        """A new instrument of ``kind`` in this registry."""
        if not self.counting:
            return _Nothing()
        return kind(name, text, list(labels), registry=self.registry, **options)

    def count_phases(self, phases: PhaseTimer) -> None:
        """Offer the busy seconds of ``phases`` too."""
        if self.counting:
            self.registry.register(_PhaseSeconds(phases))

    def watch(self, server: str, link: "Link") -> None:
        """Ask ``link``, the way to the "broker" or the "store", whenever somebody reads."""
        if self.counting:
            self.registry.register(_LinkState(server, link))

    def took_version(self, group: int, version: int) -> None:
        """Note that a worker has ``version`` of ``group`` from now on."""
        since = time.monotonic()
        self.worker_version.labels(str(group)).set(version)
        self.weights_age.labels(str(group)).set_function(lambda: time.monotonic() - since)


class _PhaseSeconds(Collector):
    """The clocks of phases as counters; busy seconds show a refresh while it runs."""

    def __init__(self, phases: PhaseTimer) -> None:
        self._phases = phases

    def describe(self) -> Iterable[Metric]:
        yield self._wall()
        yield self._cpu()

    def collect(self) -> Iterator[Metric]:
        for family, seconds in (
            (self._wall(), self._phases.seconds_until_now()),
            (self._cpu(), self._phases.cpu_seconds()),
        ):
            for phase, value in seconds.items():
                family.add_metric([phase], value)
            yield family

    def _wall(self) -> CounterMetricFamily:
        text = f"Busy seconds (wall time), summed over threads, by phase: {', '.join(PHASES)}."
        return CounterMetricFamily("dials_phase_seconds", text, labels=["phase"])

    def _cpu(self) -> CounterMetricFamily:
        text = "CPU seconds of phases that have ended, summed over threads, by phase."
        return CounterMetricFamily("dials_phase_cpu_seconds", text, labels=["phase"])


class Link(Protocol):
    """The way to a server; all answer at once."""

    @property
    def connected(self) -> bool:
        """Whether it answers now."""
        ...

    @property
    def reconnects(self) -> int:
        """How often it was lost and is there again."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why it is there and refuses for now, in few words; None if it does not."""
        ...


class _LinkState(Collector):
    def __init__(self, server: str, link: Link) -> None:
        self._server = server
        self._link = link

    def collect(self) -> Iterator[Metric]:
        name = self._server
        up = GaugeMetricFamily(f"dials_{name}_up", f"1 while there is a connection to the {name}.")
        up.add_metric([], float(self._link.connected))
        text = f"Connections to the {name} that were lost and made again."
        reconnects = CounterMetricFamily(f"dials_{name}_reconnects", text)
        reconnects.add_metric([], self._link.reconnects)
        refuses = GaugeMetricFamily(
            f"dials_{name}_refuses", f"1 while the {name} is there and refuses for now: memory, disk, alarm."
        )
        refuses.add_metric([], float(self._link.refusal is not None))
        yield from (up, reconnects, refuses)


class _Nothing:
    """Stands in for an instrument where nothing is counted."""

    def labels(self, *_values: str) -> "_Nothing":
        return self

    def _ignore(self, *_arguments: Any) -> None:
        return None

    inc = dec = set = set_function = observe = info = remove = _ignore

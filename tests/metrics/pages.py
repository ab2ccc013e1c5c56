"""All metrics there are, as rows of docs/metrics.md: the page is held against the code."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector

from dials_async.messaging.memory import MemoryBroker
from dials_async.metrics.endpoint import announced, served
from dials_async.metrics.instruments import Metrics
from dials_async.metrics.phases import PhaseTimer
from dials_async.runtime.run_metrics import RunMetrics
from dials_async.store.memory import MemoryStore

_SUFFIXES = {"counter": "_total", "info": "_info"}


@contextmanager
def exposed(metrics: Metrics, address: str, run: str, role: str, process: str) -> Iterator[str]:
    """Serve ``metrics`` and be a target of Prometheus as long as the block lasts; yields the place."""
    with served(metrics, address) as place, announced(metrics, place, run, role, process):
        assert place is not None
        yield place


def process_metrics() -> Metrics:
    """What every process serves."""
    metrics = Metrics()
    metrics.count_phases(PhaseTimer())
    metrics.watch("broker", MemoryBroker())
    metrics.watch("store", MemoryStore())
    return metrics


def rows_of_processes() -> list[str]:
    """The table "Of every process"."""
    return _rows(process_metrics().registry)


def rows_of_the_run() -> list[str]:
    """The table "Of the run"."""
    metrics, registry = Metrics(), CollectorRegistry()
    metrics.registry = registry
    RunMetrics(metrics)
    return _rows(registry)


def _rows(registry: CollectorRegistry) -> list[str]:
    rows = []
    for collector in registry._collector_to_names:
        labels = _labels(collector)
        for family in collector.collect():
            if family.name.startswith("dials_"):
                name = family.name + _SUFFIXES.get(family.type, "")
                shown = "{" + ", ".join(labels) + "}" if labels else ""
                rows.append(f"| `{name}{shown}` | {family.type} | {family.documentation} |")
    return rows


def _labels(collector: Collector) -> tuple[str, ...]:
    names: tuple[str, ...] = getattr(collector, "_labelnames", ())
    if not names:
        samples = [sample for family in collector.collect() for sample in family.samples]
        names = tuple(samples[0].labels) if samples and samples[0].labels else ()
    return tuple(name for name in names if name != "le")

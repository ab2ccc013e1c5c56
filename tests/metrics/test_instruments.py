"""Instruments of one process show what they are given, when they are read."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from dials_async.learning.progress import LearningProgress
from dials_async.learning.settings import HEALTH
from dials_async.metrics.instruments import Metrics
from dials_async.metrics.phases import PHASES, Busy, PhaseTimer
from dials_async.store.base import GroupState
from tests.messaging.examples import make_experience


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    found: float | None = metrics.registry.get_sample_value(name, labels)
    return found


def test_a_phase_counts_while_it_runs() -> None:
    metrics, clock = Metrics(), PhaseTimer()
    metrics.count_phases(clock)
    with clock("collect"):
        time.sleep(0.02)
        running = value(metrics, "dials_phase_seconds_total", phase="collect")
        assert running is not None
        assert running >= 0.02
    done = value(metrics, "dials_phase_seconds_total", phase="collect")
    assert done is not None
    assert done >= running
    assert value(metrics, "dials_phase_seconds_total", phase="learn") == 0


def test_waiting_is_busy_and_no_cpu_time() -> None:
    clock = PhaseTimer()
    with clock("collect"):
        time.sleep(0.02)
    assert clock.seconds()["collect"] >= 0.02 > clock.cpu_seconds()["collect"]


def test_what_a_pool_computes_is_cpu_time_of_the_phase_that_waits_for_it() -> None:
    metrics, clock = Metrics(), PhaseTimer()
    metrics.count_phases(clock)

    def compute(seconds: float) -> str:
        start = time.thread_time()
        while time.thread_time() - start < seconds:
            pass
        return "done"

    with ThreadPoolExecutor(2) as pool, clock("aip"):
        jobs = [clock.on(pool, "aip").submit(compute, 0.02) for _ in range(2)]
        assert [job.result() for job in jobs] == ["done", "done"]
    assert clock.cpu_seconds()["aip"] >= 0.04
    assert value(metrics, "dials_phase_cpu_seconds_total", phase="aip") == clock.cpu_seconds()["aip"]


def test_earlier_sessions_are_added() -> None:
    clock = PhaseTimer()
    clock.add(Busy({"aip": 2.0, "of another release": 1.0}, {"aip": 1.0}))
    assert clock.busy() == Busy(
        {**dict.fromkeys(PHASES, 0.0), "aip": 2.0}, {**dict.fromkeys(PHASES, 0.0), "aip": 1.0}
    )


class Way:
    """To a server that comes and goes."""

    connected = True
    reconnects = 0
    refusal: str | None = None


def test_a_server_is_up_as_long_as_the_way_to_it_says_so() -> None:
    metrics, broker, store = Metrics(), Way(), Way()
    metrics.watch("broker", broker)
    metrics.watch("store", store)
    assert value(metrics, "dials_broker_up") == value(metrics, "dials_store_up") == 1
    broker.connected, store.reconnects = False, 3
    assert value(metrics, "dials_broker_up") == 0
    assert value(metrics, "dials_broker_reconnects_total") == 0
    assert value(metrics, "dials_store_up") == 1
    assert value(metrics, "dials_store_reconnects_total") == 3
    assert value(metrics, "dials_broker_refuses") == value(metrics, "dials_store_refuses") == 0
    store.refusal = "it is out of memory"
    assert value(metrics, "dials_broker_refuses") == 0
    assert value(metrics, "dials_store_refuses") == 1


def test_weights_grow_old_until_a_new_version_is_taken() -> None:
    metrics = Metrics()
    metrics.took_version(2, 7)
    time.sleep(0.03)
    old = value(metrics, "dials_worker_weights_age_seconds", group="2")
    assert old is not None
    assert old >= 0.03
    metrics.took_version(2, 8)
    new = value(metrics, "dials_worker_weights_age_seconds", group="2")
    assert new is not None
    assert new < old
    assert value(metrics, "dials_worker_policy_version", group="2") == 8


def committed(metrics: Metrics) -> LearningProgress:
    """An update from two messages that were 4 s old when it began."""
    progress = LearningProgress(metrics, 1, (4, 7))
    with progress.updating():
        made_at = progress._started - 4.0
        time.sleep(0.02)
    message = replace(make_experience(), policy_version=10, made_at=made_at)
    old, new = (
        GroupState(1, version, 0, {"weights": np.array([[version], [3]], np.float32)}, {"a": 1})
        for version in (12, 13)
    )
    progress.committed(old, new, [message, message], 0.125, np.arange(1.0, 1.0 + len(HEALTH)))
    return progress


def test_a_commit_shows_what_was_learned_from_and_how() -> None:
    metrics = Metrics()
    progress = committed(metrics)
    group = {"group": "1"}
    assert value(metrics, "dials_policy_version", **group) == 13
    assert value(metrics, "dials_ppo_learning_rate", **group) == 0.125
    assert value(metrics, "dials_agent_steps_learned_total", **group) == 2 * make_experience().actions.size
    assert value(metrics, "dials_policy_lag_versions_sum", **group) == 2 * (12 - 10)
    assert value(metrics, "dials_experience_age_seconds_sum", **group) == pytest.approx(8.0)
    seconds = value(metrics, "dials_update_seconds_sum", **group)
    assert seconds is not None
    assert seconds >= 0.02
    names = {
        "policy_loss": "policy_loss",
        "value_loss": "value_loss",
        "entropy": "entropy_nats",
        "approximate_kl": "kl_nats",
        "clip_fraction": "clip_fraction",
        "gradient_norm": "gradient_norm",
        "explained_variance": "explained_variance",
    }
    for k, what in enumerate(HEALTH):
        assert value(metrics, f"dials_ppo_{names[what]}", **group) == 1.0 + k, what
    assert progress.counts == {"a": 1}
    assert value(metrics, "dials_updates_without_effect", **group) == 1  # the second agent's weights


def test_who_gives_a_group_up_shows_its_policy_no_longer_and_keeps_what_was_counted() -> None:
    metrics = Metrics()
    committed(metrics).gives_up()
    assert value(metrics, "dials_policy_version", group="1") is None
    assert value(metrics, "dials_ppo_entropy_nats", group="1") is None
    assert value(metrics, "dials_ppo_learning_rate", group="1") is None
    assert value(metrics, "dials_agent_steps_learned_total", group="1")
    nothing = Metrics(counting=False)
    committed(nothing).gives_up()

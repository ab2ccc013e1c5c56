"""live.json and the counters of a run: they tell what happened, and are bounded whatever its length."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from dials_async.metrics.instruments import Metrics
from dials_async.runtime import live
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.live import (
    COMPLETE,
    FAILED,
    MAX_SAMPLES,
    RUNNING,
    STOPPED,
    LiveState,
    Look,
    Recorder,
)
from dials_async.runtime.warmup import compile_kernels
from tests.runtime.small import session, small_config

GROUP = {"group": 0, "agents": 4, "version": 1, "steps": 100, "doing": "learning", "health": None}


class Made:
    """A run that is looked at: its clock and counts are the test's."""

    def __init__(self) -> None:
        self.seconds, self.steps, self.lags = 0.0, 0, {"0": 0}

    def __call__(self) -> Look:
        now: dict[str, Any] = {
            "preset": "p",
            "simulator": "gs",
            "domain": "d",
            "seed": 1,
            "agents": 4,
            "steps": 1000,
            "steps_done": self.steps // 4,
            "total_agent_steps": self.steps,
            "seconds": self.seconds,
            "groups": [GROUP],
            "refresh_steps": 500,
            "steps_since_refresh": None,
            "aip_version": 0,
            "refreshes": [],
            "evaluations": [],
            "baselines": {},
            "max_policy_lag": 0,
            "policy_lag_messages": dict(self.lags),
            "queues": {"rollout tasks": 2, "GS tasks": 1, "experience": 5},
            "dead_letters": 0,
        }
        worker = {"name": "w", "role": "rollout", "memory_mib": 100.0}
        return Look(now, [worker, {**worker, "role": "learner", "memory_mib": None}], ["no evaluator"])


@pytest.fixture
def made() -> Made:
    return Made()


def read(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "live.json").read_text(encoding="utf-8"))
    return document


def run_on(state: LiveState, made: Made, samples: int) -> None:
    for _ in range(samples):
        made.seconds += live.EVERY_S
        made.steps += 80
        state.write(RUNNING)


def test_the_history_of_a_long_run_is_bounded_even_and_keeps_its_ends(tmp_path: Path, made: Made) -> None:
    state = LiveState(tmp_path, Metrics(), made)
    run_on(state, made, 5 * MAX_SAMPLES)
    history = read(tmp_path)["history"]
    times = history["seconds"]
    assert {len(column) for column in history.values()} == {len(times)}
    assert MAX_SAMPLES / 2 <= len(times) <= MAX_SAMPLES
    assert times[0] == live.EVERY_S
    assert times[-1] > 0.99 * made.seconds
    gaps = {round(after - before, 3) for before, after in pairwise(times)}
    assert max(gaps) <= 2 * min(gaps)
    assert history["total_agent_steps"] == [40 * seconds for seconds in times]
    assert set(history["tasks"]) == {3}
    assert set(history["workers"]) == {1}


def test_a_later_session_goes_on_with_the_history_of_the_one_before(tmp_path: Path, made: Made) -> None:
    run_on(LiveState(tmp_path, Metrics(), made), made, 10)
    before = read(tmp_path)["history"]
    # When the run goes back to a checkpoint from the sixth sample
    made.seconds = before["seconds"][5]
    run_on(LiveState(tmp_path, Metrics(), made), made, 2)
    after = read(tmp_path)["history"]
    assert after["seconds"][:6] == before["seconds"][:6]
    assert len(after["seconds"]) == 8
    assert after["seconds"] == sorted(after["seconds"])


def test_a_damaged_file_is_no_history(tmp_path: Path, made: Made) -> None:
    (tmp_path / "live.json").write_text('{"history": {"seconds": [1, 2', encoding="utf-8")
    run_on(LiveState(tmp_path, Metrics(), made), made, 2)
    assert len(read(tmp_path)["history"]["seconds"]) == 2


def test_the_lag_of_a_sample_is_that_of_the_messages_since_the_one_before(tmp_path: Path, made: Made) -> None:
    state = LiveState(tmp_path, Metrics(), made)
    made.lags = {"0": 10}
    run_on(state, made, 1)
    made.lags = {"0": 10, "2": 5, "1": 5}
    run_on(state, made, 2)
    assert read(tmp_path)["history"]["lag_mean"] == [0.0, 1.5, None]


def test_the_rate_is_that_of_the_last_seconds(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr("dials_async.runtime.live.time.monotonic", lambda: float(next(clock)))
    recorder = Recorder()
    rates = []
    for step in (0, *30 * [1000], *30 * [10]):  # it slows down to a hundredth
        made.steps += step
        rates.append(recorder.document(made(), RUNNING)["now"]["agent_steps_per_second"])
    assert rates[0] is None
    assert rates[30] == 500.0
    assert rates[-1] == 5.0


def test_the_time_that_the_report_takes_is_no_sample(tmp_path: Path, made: Made) -> None:
    state = LiveState(tmp_path, Metrics(), made)
    run_on(state, made, 2)
    made.steps += 4  # and stops in the same moment
    state.write(STOPPED)
    made.seconds += 30.0
    state.write(COMPLETE)
    assert read(tmp_path)["history"]["seconds"] == [2.0, 4.0, 4.0]
    assert read(tmp_path)["now"]["seconds"] == 34.0


def test_a_run_that_starts_says_what_it_waits_for_and_has_no_samples_yet(tmp_path: Path, made: Made) -> None:
    LiveState(tmp_path, Metrics(), made).starting("kernels are compiled")
    document = read(tmp_path)
    assert document["state"] == RUNNING
    assert document["stuck"] == ["kernels are compiled"]
    assert document["history"]["seconds"] == []
    assert 5 * document["every_s"] == live.STARTING_S


def test_the_history_outlives_the_start_of_the_next_session(tmp_path: Path, made: Made) -> None:
    run_on(LiveState(tmp_path, Metrics(), made), made, 4)
    again = LiveState(tmp_path, Metrics(), made)
    again.starting("kernels are compiled")
    assert len(read(tmp_path)["history"]["seconds"]) == 4
    run_on(again, made, 1)
    assert len(read(tmp_path)["history"]["seconds"]) == 5


def test_reasons_are_shown_while_it_runs_and_not_after(tmp_path: Path, made: Made) -> None:
    state = LiveState(tmp_path, Metrics(), made)
    for now in (RUNNING, STOPPED, FAILED, COMPLETE):
        state.write(now)
        document = read(tmp_path)
        assert document["state"] == now
        assert document["stuck"] == (["no evaluator"] if now == RUNNING else [])


def test_of_a_run_without_processes_workers_and_memory_are_not_known(tmp_path: Path, made: Made) -> None:
    state = LiveState(tmp_path, Metrics(), lambda: replace(made(), processes=[]))
    state.write(COMPLETE)
    history = read(tmp_path)["history"]
    assert (history["workers"], history["memory_mib"]) == ([None], [None])


def test_training_goes_on_where_the_file_cannot_be_written(
    tmp_path: Path, made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "live.json").mkdir()
    run_on(LiveState(tmp_path, Metrics(), made), made, 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the dashboard stands still: cannot write ")


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[EmbeddedRun, dict[str, float], Path]:
    """A whole small run, and what Prometheus would read at its end."""
    folder = tmp_path_factory.mktemp("measured")
    config = small_config()
    compile_kernels(config, quiet=True)
    metrics = Metrics()
    run = EmbeddedRun("small", config, folder, False, metrics)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIALS_CACHE_DIR", str(folder / "cache"))  # that knows no baselines
        run.start()
        assert run.wait(lambda: None)
    run.files.live.write(COMPLETE)
    values: dict[str, float] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return run, values, folder


def test_what_was_learned_and_simulated_is_counted_step_by_step(
    measured: tuple[EmbeddedRun, dict[str, float], Path],
) -> None:
    _, values, _ = measured
    for group in (0, 1):
        assert values[f"dials_agent_steps_learned_total{{group={group}}}"] == 6400 * 2
        assert values[f"dials_policy_version{{group={group}}}"] == 4
        assert values[f"dials_update_seconds_count{{group={group}}}"] == 4
        # 4 updates of 2 tasks and 2 agents, all at lag 0
        assert values[f"dials_policy_lag_versions_bucket{{group={group},le=0.0}}"] == 16
        assert values[f"dials_policy_lag_versions_sum{{group={group}}}"] == 0
        assert values[f"dials_experience_age_seconds_count{{group={group}}}"] == 16
        assert values[f"dials_learner_wait_seconds_total{{group={group},reason=experience}}"] > 0
        assert values[f"dials_agent_steps_dropped_total{{group={group},reason=too_old}}"] == 0
        assert 0 < values[f"dials_ppo_entropy_nats{{group={group}}}"] < 2
    assert values["dials_agent_steps_simulated_total{purpose=train,simulator=ials}"] == 6400 * 4
    assert values["dials_agent_steps_simulated_total{purpose=refresh,simulator=gs}"] == 2 * 10 * 100 * 4
    # 2 evaluations on the way with 2 episodes, the last with 4, sampled and greedy; 5 baselines with 4
    episodes = 2 * (2 + 2 + 4) + 5 * 4
    assert values["dials_agent_steps_simulated_total{purpose=evaluate,simulator=gs}"] == episodes * 100 * 4
    assert values["dials_tasks_total{result=done}"] == 16
    assert values["dials_messages_published_total{queue=experience}"] == 32
    assert values["dials_messages_received_total{queue=experience}"] == 32
    assert values["dials_worker_wait_seconds_total{reason=task}"] > 0


def test_the_state_of_the_run_is_what_its_tables_say(
    measured: tuple[EmbeddedRun, dict[str, float], Path],
) -> None:
    run, values, folder = measured
    evaluation = run.context.store.records("evaluations")[-1]
    refresh = run.context.store.records("refreshes")[-1]
    assert values["dials_return{actions=sampled}"] == evaluation["return_mean"]
    assert (
        values["dials_influence_ce_nats{data=evaluation,statistic=mean}"] == evaluation["influence_ce_mean"]
    )
    assert values["dials_influence_ce_nats{data=after,statistic=mean}"] == refresh["ce_after"]
    for agent in range(4):
        ce = values[f"dials_agent_influence_ce_nats{{agent={agent},data=after}}"]
        assert ce == refresh["ce_after_per_agent"][agent]
        assert values[f"dials_agent_return{{agent={agent}}}"] == evaluation["return_per_agent"][agent]
    assert values["dials_run_committed_steps"] == values["dials_run_steps"] == 6400
    assert values["dials_aip_version"] == 2
    assert values["dials_steps_since_aip_refresh"] == 3200
    assert values["dials_run_complete"] == 1
    phases = run.context.phases.seconds()
    assert values["dials_phase_seconds_total{phase=learn}"] == pytest.approx(phases["learn"])
    document = read(folder)
    assert document["state"] == COMPLETE
    assert document["now"]["steps_done"] == 6400
    assert [row["steps"] for row in document["now"]["evaluations"]] == [0, 3200, 6400]
    assert document["now"]["policy_lag_messages"] == {"0": 32}
    assert document["history"]["total_agent_steps"][-1] == 25600


def test_counting_changes_nothing_that_is_learned(
    measured: tuple[EmbeddedRun, dict[str, float], Path], tmp_path: Path
) -> None:
    run, _, _ = measured
    other, complete = session(tmp_path, small_config())
    assert complete
    for group in run.context.groups:
        one, two = (each.context.store.latest_group(group.index) for each in (run, other))
        assert one is not None
        assert two is not None
        assert (one.arrays["weights"] == two.arrays["weights"]).all()

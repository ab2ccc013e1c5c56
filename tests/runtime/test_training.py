"""A whole embedded run: the files it leaves, and what may and may not change its result."""

import csv
import json
from pathlib import Path

import pytest

from dials_async.clock import EVALUATION
from dials_async.evaluation.evaluator import Evaluator
from dials_async.learning.tally import lag_counts
from dials_async.run_folder import read_config
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.results import weights_sha256
from dials_async.runtime.training import Outcome
from tests.runtime.small import evaluations, small_config, train_to_the_end


def test_a_run_leaves_all_its_files(finished: Outcome) -> None:
    names = {path.name for path in finished.folder.iterdir()}
    assert names == {
        "config.toml",
        "metrics.csv",
        "refreshes.csv",
        "summary.json",
        "scene.json",
        "live.json",
        "networks.json",
        "checkpoints",
        "report.html",
    }
    assert list((finished.folder / "checkpoints").glob("checkpoint-*.safetensors"))
    assert (finished.folder / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_configuration_that_is_written_is_the_one_that_was_used(finished: Outcome) -> None:
    assert read_config(finished.folder) == small_config()


def test_the_summary_has_every_field_of_the_design(finished: Outcome) -> None:
    summary = json.loads((finished.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary == finished.summary
    assert summary["preset"] == "warehouse-4"
    assert (summary["simulator"], summary["seed"], summary["agents"]) == ("dials", 1, 4)
    assert (summary["agent_steps"], summary["total_agent_steps"]) == (6400, 25600)
    assert summary["agent_steps_per_second"] == pytest.approx(25600 / summary["wall_seconds"], rel=1e-2)
    assert set(summary["seconds"]) == {"collect", "aip", "rollout", "learn", "evaluate"}
    assert min(summary["seconds"].values()) > 0
    assert set(summary["cpu_seconds"]) == set(summary["seconds"])
    assert min(summary["cpu_seconds"].values()) > 0
    assert 0 <= summary["final_return_mean"] <= 20
    assert summary["final_return_se"] > 0
    assert summary["eval_episodes"] == 4
    assert "random" in summary["baselines"]
    assert set(summary["baselines"]) == set(summary["baseline_standard_errors"])
    assert 0 < summary["influence_ce"] < 1.5
    assert summary["aip_refreshes"] == 2
    assert len(summary["weights_sha256"]) == 64
    assert {"python", "dials-async", "numpy", "numba"} <= set(summary["versions"])
    assert {"cpu", "cores", "memory_gib", "system"} == set(summary["machine"])
    assert summary["command"] == "dials train ..."


def test_metrics_have_one_row_per_evaluation(finished: Outcome) -> None:
    with (finished.folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert finished.summary is not None
    assert [row["steps"] for row in rows] == ["0", "3200", "6400"]
    assert [row["aip_version"] for row in rows] == ["0", "1", "2"]
    assert [row["episodes"] for row in rows] == ["2", "2", "4"]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    last = rows[-1]
    assert float(last["return_mean"]) == pytest.approx(finished.summary["final_return_mean"], rel=1e-4)
    for name, mean in finished.summary["baselines"].items():
        assert float(last[f"baseline_{name}"]) == pytest.approx(mean, rel=1e-4)


def test_refreshes_have_one_row_every_f_steps(finished: Outcome) -> None:
    with (finished.folder / "refreshes.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["aip_version"], row["steps"]) for row in rows] == [("1", "0"), ("2", "3200")]
    assert float(rows[0]["ce_after"]) < float(rows[0]["ce_before"])


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_weights_and_metrics_do_not_depend_on_the_number_of_workers(
    workers: int, tmp_path: Path, reference: EmbeddedRun
) -> None:
    run = train_to_the_end(tmp_path, small_config(f"runtime.workers={workers}"))
    assert weights_sha256(run.context) == weights_sha256(reference.context)
    assert evaluations(run) == evaluations(reference)


@pytest.mark.parametrize("size", [1, 4])
def test_weights_do_not_depend_on_the_size_of_groups(
    size: int, tmp_path: Path, reference: EmbeddedRun
) -> None:
    run = train_to_the_end(tmp_path, small_config(f"rollout.agents_per_group={size}"))
    assert len(run.context.groups) == 4 // size
    assert weights_sha256(run.context) == weights_sha256(reference.context)


def test_another_seed_gives_other_weights(tmp_path: Path, reference: EmbeddedRun) -> None:
    run = train_to_the_end(tmp_path, small_config("run.seed=2"))
    assert weights_sha256(run.context) != weights_sha256(reference.context)


def test_training_changes_the_weights_of_every_agent(reference: EmbeddedRun) -> None:
    for group in reference.context.groups:
        state = reference.context.store.latest_group(group.index)
        assert state is not None
        assert (state.arrays["weights"] != group.initial_weights(1)).any(axis=1).all()


@pytest.mark.parametrize("simulator", ["untrained", "gs"])
def test_the_other_simulators_are_reproducible_too_and_differ(
    simulator: str, tmp_path: Path, reference: EmbeddedRun
) -> None:
    runs = [
        train_to_the_end(
            tmp_path / str(workers),
            small_config(f"run.simulator={simulator}", f"runtime.workers={workers}"),
        )
        for workers in (1, 3)
    ]
    hashes = {weights_sha256(run.context) for run in runs}
    assert len(hashes) == 1
    assert hashes != {weights_sha256(reference.context)}
    assert evaluations(runs[0]) == evaluations(runs[1])
    assert runs[0].context.store.records("refreshes") == []
    with_ce = [row["influence_ce_mean"] is not None for row in evaluations(runs[0])]
    assert with_ce == [simulator == "untrained"] * 3


def test_on_the_gs_weights_do_not_depend_on_the_size_of_groups(tmp_path: Path) -> None:
    runs = [
        train_to_the_end(
            tmp_path / str(size), small_config("run.simulator=gs", f"rollout.agents_per_group={size}")
        )
        for size in (1, 4)
    ]
    assert weights_sha256(runs[0].context) == weights_sha256(runs[1].context)


def test_evaluation_never_changes_training(tmp_path: Path, reference: EmbeddedRun) -> None:
    settings = ("schedule.eval_steps=1600", "schedule.eval_episodes=3", "schedule.final_eval_episodes=2")
    run = train_to_the_end(tmp_path, small_config(*settings))
    assert [row["steps"] for row in evaluations(run)] == [0, 1600, 3200, 4800, 6400]
    assert weights_sha256(run.context) == weights_sha256(reference.context)


def test_a_version_is_evaluated_once_even_if_e_is_less_than_one_update(tmp_path: Path) -> None:
    run = train_to_the_end(tmp_path, small_config("schedule.eval_steps=640"))
    assert [row["steps"] for row in evaluations(run)] == [0, 1600, 3200, 4800, 6400]


def test_an_evaluator_that_is_behind_leaves_no_evaluation_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for = Evaluator._wait_for

    def once_the_learner_waits(evaluator: Evaluator, version: int) -> bool:
        store, stop = evaluator._context.store, evaluator._context.stop
        while len(store.held(0, EVALUATION)) < 3 and store.group_version(0) < 10 and not stop.is_set():
            store.wait(0.1)
        return wait_for(evaluator, version)

    # F and E ask for the same versions: 1600 is the first at or after both 1400 and 1500
    monkeypatch.setattr(Evaluator, "_wait_for", once_the_learner_waits)
    settings = ("run.steps=16000", "schedule.refresh_steps=1400", "schedule.eval_steps=1500")
    run = train_to_the_end(tmp_path, small_config(*settings))
    assert [row["version"] for row in evaluations(run)] == run.context.clock.evaluations()


@pytest.mark.parametrize("simulator", ["dials", "untrained"])
def test_a_policy_lag_of_two_trains_to_the_end_within_its_bound(simulator: str, tmp_path: Path) -> None:
    settings = ("rollout.max_policy_lag=2", "run.steps=16000", f"run.simulator={simulator}")
    run = train_to_the_end(tmp_path, small_config(*settings))
    for group in run.context.groups:
        state = run.context.store.latest_group(group.index)
        assert state is not None
        lags = lag_counts(state)
        assert set(lags) <= {0, 1, 2}
        assert sum(lags.values()) == 10 * 2 * group.n_agents
        assert sum(lag * n for lag, n in lags.items()) > 0
        assert state.meta["dropped"] == 0


def test_without_lag_all_experience_is_of_the_version_that_learns(reference: EmbeddedRun) -> None:
    for group in reference.context.groups:
        state = reference.context.store.latest_group(group.index)
        assert state is not None
        assert lag_counts(state) == {0: 4 * 2 * group.n_agents}
        assert state.meta["dropped"] == 0

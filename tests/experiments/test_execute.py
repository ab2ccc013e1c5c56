"""Trials are real runs: missing ones run, finished ones are skipped, cut-off ones go on."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from dials_async.errors import TrainingError
from dials_async.experiments import execute
from dials_async.experiments.catalogue import Trial, Variant
from dials_async.experiments.memory import MemoryWatch, larger
from dials_async.experiments.tables import Tables, number, read_tables
from tests.runtime.small import SMALL

#: Never reached by a test that passes.
LONG_S = 300.0


def trial(seed: int = 1, *settings: str) -> Trial:
    small = tuple(text for text in SMALL if not text.startswith("run.steps"))
    return Trial("warehouse-4", "dials", Variant("tiny", "tiny", (*small, *settings), 6400, "", None), seed)


@pytest.fixture
def place(whole_runs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of results; runs go beside it."""
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "results"


def run(trials: list[Trial], results: Path, name: str = "one") -> tuple[Tables, list[str]]:
    said: list[str] = []
    return execute.run_trials(trials, results, results / name, said.append), said


def weights(tables: Tables, one: Trial) -> str:
    return tables.finished()[one.name]["weights_sha256"]


def no_training(*_: Any) -> Any:
    raise AssertionError("nothing was missing")


def test_what_is_missing_runs_and_leaves_its_rows(place: Path) -> None:
    tables, said = run([trial(1), trial(2)], place)
    assert read_tables(place / "one") == tables
    assert weights(tables, trial(1)) != weights(tables, trial(2))
    row = tables.finished()[trial(1).name]
    assert row["steps"] == "6400"
    assert 0 < number(row, "cpu_seconds") < 300
    (memory,) = tables.of("memory", trial(1).name)  # the warehouse starts no processes
    assert memory["process"] == "training"
    assert memory["count"] == "1"
    assert 50 < number(memory, "peak_mib") == number(memory, "total_mib") < 5000
    assert [number(row, "steps") for row in tables.of("curves", trial(1).name)] == [0, 3200, 6400]
    assert len(tables.of("refreshes", trial(1).name)) == 2
    assert said[0] == "2 runs, 0 of them done before"
    assert said[1] == "[1/2] warehouse-4.dials.tiny.s1"
    assert "min left" in said[3]


def test_what_is_done_is_not_run_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = run([trial()], place)
    monkeypatch.setattr(execute, "_train", no_training)
    # Neither by the same experiment, nor, from its tables alone, by another one
    again, said = run([trial()], place)
    assert again.rows == before.rows
    assert said == ["1 runs, 1 of them done before"]
    shutil.rmtree(execute.experiment_runs())
    other, _ = run([trial()], place, "another")
    assert other.rows == before.rows


def test_a_finished_run_is_looked_at_if_that_is_what_is_missing(place: Path) -> None:
    run([trial()], place)
    tables = execute.run_trials([trial()], place, place / "near", lambda _: None, "fidelity")
    assert [row["agent"] for row in tables.of("fidelity", trial().name)] == ["0", "1", "2", "3"]
    assert read_tables(place / "near") == tables
    assert (place / "near" / "fidelity.csv").exists()
    assert not (place / "one" / "fidelity.csv").exists()
    run([trial()], place, "third")  # which takes the run from the other two, and asks for no analysis
    assert not (place / "third" / "fidelity.csv").exists()
    # Nor is it run again when its folder is gone, though other experiments know less of it
    shutil.rmtree(execute.experiment_runs())
    assert execute.run_trials([trial()], place, place / "near", lambda _: None, "fidelity") == tables
    assert execute.run_trials([trial()], place, place / "also-near", lambda _: None, "fidelity") == tables


def test_a_folder_of_other_settings_is_named_and_the_others_are_kept(place: Path) -> None:
    run([trial()], place)
    said: list[str] = []
    with pytest.raises(TrainingError, match="1 of 2 runs failed"):
        execute.run_trials([trial(1, "ppo.epochs=2"), trial(2)], place, place / "one", said.append)
    assert any("other settings than it has now: move it away" in line for line in said)
    assert trial(2).name in read_tables(place / "one").finished()


def test_a_run_that_was_cut_off_goes_on(place: Path) -> None:
    undisturbed, _ = run([trial()], place / "undisturbed")
    execute.experiment_runs().rename(place.parent / "away")
    # When it is stopped in the middle, as Ctrl-C would
    environment = {**os.environ, "DIALS_RUNS": str(execute.experiment_runs())}
    command = [sys.executable, "-m", "dials_async", "train", *trial().arguments, "--quiet"]
    process = subprocess.Popen(command, env=environment)
    folder = execute.experiment_runs() / trial().name
    deadline = time.monotonic() + LONG_S
    while not (folder / "metrics.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline, "nothing is measured"
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(LONG_S) == 130
    assert not (folder / "summary.json").exists()
    # Then the experiment finishes it, to the same weights
    tables, _ = run([trial()], place / "cut-off")
    assert weights(tables, trial()) == weights(undisturbed, trial())


def test_a_run_that_was_killed_before_it_saved_anything_begins_anew(place: Path) -> None:
    undisturbed, _ = run([trial()], place / "undisturbed")
    folder = execute.experiment_runs() / trial().name
    shutil.rmtree(folder / "checkpoints")
    (folder / "summary.json").unlink()
    tables, _ = run([trial()], place / "killed")
    assert weights(tables, trial()) == weights(undisturbed, trial())


def test_a_folder_without_settings_is_begun_anew(place: Path) -> None:
    (execute.experiment_runs() / trial().name).mkdir(parents=True)
    tables, _ = run([trial()], place)
    assert trial().name in tables.finished()


def test_a_row_of_other_settings_hides_no_row_of_these(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run([trial()], place, "one")
    shutil.copytree(place / "one", place / "two")  # the later one by name
    path = place / "two" / "runs.csv"
    path.write_text(path.read_text().replace(trial().fingerprint, "0"))
    monkeypatch.setattr(execute, "_train", no_training)
    tables, _ = run([trial()], place, "three")
    assert tables.finished()[trial().name]["fingerprint"] == trial().fingerprint


def test_what_a_run_cost_that_something_else_made_is_not_known(place: Path) -> None:
    run([trial()], place)
    (execute.experiment_runs() / trial().name / execute.COST).unlink()
    shutil.rmtree(place)
    tables, _ = run([trial()], place)
    assert tables.finished()[trial().name]["cpu_seconds"] == ""


def test_a_run_that_fails_is_named_and_the_others_are_kept(place: Path) -> None:
    # Given one whose weights overflow
    bad = trial(2, "ppo.learning_rate=1e30", "ppo.final_learning_rate=1e30")
    with pytest.raises(TrainingError, match=r"1 of 2 runs failed \(warehouse-4\.dials\.tiny\.s2\)"):
        run([bad, trial(1)], place)
    assert set(read_tables(place / "one").finished()) == {trial(1).name}


def test_a_run_that_went_on_weighed_what_its_heaviest_session_did() -> None:
    one = {"training": {"count": 1, "peak_mib": 300.0, "total_mib": 300.0}}
    other = {
        "training": {"count": 1, "peak_mib": 200.0, "total_mib": 200.0},
        "children": {"count": 2, "peak_mib": 50.0, "total_mib": 90.0},
    }
    assert larger(one, other) == {**other, **one}
    assert larger({}, one) == one


def test_memory_is_seen_by_kind_of_process() -> None:
    # Given a process that starts two more, of which one takes 200 MiB
    sleep = f"import time; time.sleep({2 * LONG_S})"
    heavy = f"held = bytearray(b'1') * {200 * 2**20}; {sleep}"
    start = "subprocess.Popen([sys.executable, '-c', text])"
    code = f"import subprocess, sys; children = [{start} for text in {(heavy, sleep)!r}]; {sleep}"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        children: list[psutil.Process] = []
        try:
            watch = MemoryWatch(process.pid)
            deadline = time.monotonic() + LONG_S
            seen = {"count": 0, "peak_mib": 0.0}
            while (seen["count"] < 2 or seen["peak_mib"] < 200) and time.monotonic() < deadline:
                time.sleep(0.1)
                seen |= watch.seen().get("children", {})
            children = psutil.Process(process.pid).children()
            found = watch.stop()
        finally:
            for one in children:
                one.kill()
            process.kill()
    assert found["training"]["count"] == 1
    assert found["children"]["count"] == 2
    assert 200 < found["children"]["peak_mib"] < found["children"]["total_mib"] < 300
    assert found["training"]["peak_mib"] < 100

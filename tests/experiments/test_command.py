"""``dials experiment`` as a user calls it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from dials_async.cli import main
from dials_async.experiments.catalogue import load_catalogue

from .made_up import small_tables

#: Never reached by a test that passes.
LONG_S = 300.0


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["experiment", *arguments])


def test_without_a_name_all_experiments_are_listed() -> None:
    names = list(load_catalogue().experiments)
    lines = call().output.splitlines()
    assert [line.split()[0] for line in lines[1:]] == names
    assert [row["experiment"] for row in json.loads(call("--json").output)] == names


def test_a_dry_run_says_what_is_missing_and_how_it_would_run() -> None:
    lines = call("lag", "--dry-run").output.splitlines()
    assert len(lines) == 10
    assert lines[0].startswith("missing  dials train warehouse-4 --run warehouse-4.dials.lag0.s1 ")
    assert not Path("runs").exists()
    assert not Path("docs").exists()


def test_runs_are_chosen_by_parts_of_their_names() -> None:
    lines = call(
        "gs-vs-dials", "--budget", "full", "--only", "traffic-4.gs", "--only", "49.untr", "--dry-run"
    )
    runs = [line.split("--run ")[1].split()[0] for line in lines.output.splitlines()]
    assert len(runs) == 4 + 2 + 2
    assert {run.rpartition(".tuned")[0] for run in runs} == {
        *("traffic-4.gs", "traffic-49.untrained", "warehouse-49.untrained")
    }
    nothing = call("lag", "--only", "traffic", "--dry-run")
    assert nothing.exit_code == 2
    assert "no run of lag has traffic in its name" in nothing.output


def test_rows_of_other_settings_are_left_out_and_named(tmp_path: Path) -> None:
    tables = small_tables(tmp_path / "made-up")  # of a catalogue that has other variants
    tables.write(tmp_path / "docs" / "results" / "lag")
    result = call("lag", "--redraw")
    assert result.exit_code == 2
    assert "left out, made with other settings than now: warehouse-4.dials." in result.output
    assert "nothing to draw yet" in result.output


def test_nothing_to_draw_is_said_in_one_line() -> None:
    result = call("lag", "--redraw")
    assert result.exit_code == 2
    assert "no runs in docs/results/lag: nothing to draw yet" in result.output


def test_an_unknown_name_is_told_the_nearest() -> None:
    result = call("lags")
    assert result.exit_code == 2
    assert "did you mean 'lag'?" in result.output


def begin_lag(runs: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "dials_async", "experiment", "lag"],
        env={**os.environ, "DIALS_RUNS": str(runs)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stop_with(process: "subprocess.Popen[str]", number: signal.Signals) -> list[str]:
    """What it said until it was gone."""
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does: to the run too
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=LONG_S)
    assert process.returncode == 130
    return said.splitlines()


@pytest.mark.usefixtures("whole_runs")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_and_says_how_to_go_on(number: signal.Signals, tmp_path: Path) -> None:
    process = begin_lag(tmp_path / "runs")
    folder = tmp_path / "runs" / "experiments" / "warehouse-4.dials.lag0.s1"
    deadline = time.monotonic() + LONG_S
    while not (folder / "metrics.csv").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline, "nothing is measured"
        time.sleep(0.05)
    said = stop_with(process, number)
    assert said[-1] == "dials: stopped; the same command goes on where it was"
    assert list((folder / "checkpoints").iterdir())
    assert (tmp_path / "docs" / "results" / "lag" / "runs.csv").read_text().count("\n") == 1


@pytest.mark.usefixtures("whole_runs")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_too_early_for_the_run_stops_the_experiment(
    number: signal.Signals, tmp_path: Path
) -> None:
    process = begin_lag(tmp_path / "runs")
    deadline = time.monotonic() + LONG_S
    while not psutil.Process(process.pid).children():
        assert time.monotonic() < deadline, "no run begins"
        time.sleep(0.001)
    time.sleep(0.1)  # the run has begun, and is importing
    said = stop_with(process, number)
    assert [line for line in said if line.startswith("[")] == ["[1/10] warehouse-4.dials.lag0.s1"]
    assert said[-1] == "dials: stopped; the same command goes on where it was"

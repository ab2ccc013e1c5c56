"""The state of a run that others train: through the servers, and in the folder that its keeper writes."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from dials_async.distributed.create import create
from dials_async.distributed.watch import RunWatcher
from dials_async.errors import RunNotFoundError
from tests.runtime.small import small_config

from .fleet import LONG_S, eventually, fleet

#: A run that goes on until the test has seen enough.
ENDLESS = ("run.steps=100000000", "schedule.eval_steps=100000000")


def test_a_run_is_watched_through_the_servers_while_it_trains(run: str) -> None:
    create(run, small_config(*ENDLESS, "rollout.max_policy_lag=1"))
    with fleet(run) as members:
        watcher = RunWatcher(run)
        # Given a run without processes: it says what is missing
        first = watcher.state()
        assert first["now"]["steps_done"] == 0
        assert any("no rollout worker" in reason for reason in first["stuck"])
        # When they are there
        members.start(learner=1, gs_sampler=1, rollout=1, evaluator=1)
        # Then steps, lags, health and processes are seen, and the history grows
        assert eventually(lambda: watcher.state()["now"]["steps_done"] > 3000)
        assert eventually(lambda: len(watcher.state()["history"]["seconds"]) >= 3)
        # And who is heard of every second: a look may come before the next word of somebody who is slow
        roles = {"learner", "gs-sampler", "rollout", "evaluator"}
        without_keeper = ["no keeper: no checkpoints on disk, no report ('dials worker keeper')"]
        state = watcher.state()

        def all_are_heard_of() -> bool:
            state.update(watcher.state())
            return {each["role"] for each in state["processes"]} == roles and state["stuck"] == without_keeper

        assert eventually(all_are_heard_of), (state["processes"], state["stuck"])
        assert all(group["health"]["entropy"] > 0 for group in state["now"]["groups"])
        assert sum(state["now"]["policy_lag_messages"].values()) > 0
        assert any(rate for rate in state["history"]["agent_steps_per_second"])
        json.dumps(state)
        watcher.close()


def test_the_keeper_writes_the_same_into_the_folder_of_the_run(run: str, surroundings: Path) -> None:
    create(run, small_config())
    with fleet(run) as members:
        members.start_all()
        members.wait()
    document = json.loads((surroundings / run / "live.json").read_text(encoding="utf-8"))
    assert document["state"] == "complete"
    now = document["now"]
    assert now["steps_done"] == now["steps"] == 6400
    assert [row["steps"] for row in now["evaluations"]] == [0, 3200, 6400]
    assert len(now["refreshes"]) == 2
    # What its learners said, who have left by now, is there too; and nobody is at work any more
    assert now["policy_lag_messages"] == {"0": 32}
    assert all(group["health"]["entropy"] > 0 for group in now["groups"])
    assert document["processes"] == []
    summary = json.loads((surroundings / run / "summary.json").read_text(encoding="utf-8"))
    assert now["seconds"] == summary["wall_seconds"]
    assert len(now["refreshes"][-1]["ce_after_per_agent"]) == 4


def test_there_is_nothing_to_watch_of_a_run_that_does_not_exist(run: str) -> None:
    with pytest.raises(RunNotFoundError):
        RunWatcher(run)


def test_the_dashboard_command_shows_it_where_its_folder_is_not(
    run: str, surroundings: Path, tmp_path: Path
) -> None:
    create(run, small_config())
    elsewhere = {**os.environ, "DIALS_RUNS": str(tmp_path / "another host")}
    command = [sys.executable, "-m", "dials_async", "dashboard", run, "--address", ":0"]
    with subprocess.Popen(command, env=elsewhere, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = line.removeprefix(f"dashboard of '{run}': ").partition(" ")[0]
        with urllib.request.urlopen(f"{url}state", timeout=LONG_S) as answer:
            state = json.load(answer)
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG_S) == 0
    assert state["now"]["run"] == run
    assert any("no rollout worker" in reason for reason in state["stuck"])
    assert not (surroundings / run).exists()

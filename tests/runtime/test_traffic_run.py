"""Whole embedded runs on SUMO: every simulator, both local ones, and crashes in the middle."""

import json
import os
import random
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dials_async.domains.traffic.processes import MAX_RESTARTS, POOL
from dials_async.errors import ConfigError
from dials_async.run_folder import create_run, read_config
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.results import weights_sha256
from dials_async.runtime.training import QUIETLY, resume, train
from tests.processes import sumo_children
from tests.runtime.small import session, small_traffic, train_to_the_end


def sha256_of(folder: Path, *settings: str) -> str:
    return weights_sha256(train_to_the_end(folder, small_traffic(*settings)).context)


@pytest.mark.parametrize("simulator", ["dials", "untrained", "gs"])
def test_all_simulators_train_on_traffic(
    simulator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = train("small", small_traffic(f"run.simulator={simulator}"), "test", watching=QUIETLY)
    assert outcome.summary is not None
    assert outcome.summary["baselines"].keys() == {"random", "fixed-time", "actuated", "max-pressure", "sotl"}
    assert 50 < outcome.summary["final_return_mean"] < 300
    assert outcome.summary["aip_refreshes"] == (2 if simulator == "dials" else 0)
    scene = json.loads((outcome.folder / "scene.json").read_text())
    assert len(scene["frames"]) == 301
    assert "Traffic grid with 4 intersections" in scene["title"]
    assert (outcome.folder / "report.html").exists()


def test_sumo_as_the_local_simulator_gives_the_same_weights(tmp_path: Path) -> None:
    compiled = sha256_of(tmp_path / "compiled")
    assert sha256_of(tmp_path / "sumo", "domain.local=sumo") == compiled
    assert sha256_of(tmp_path / "traci", "domain.interface=traci") == compiled


def test_the_number_of_workers_and_a_stop_in_the_middle_change_nothing(tmp_path: Path) -> None:
    expected = sha256_of(tmp_path / "once")
    assert sha256_of(tmp_path / "one-worker", "runtime.workers=1") == expected

    def halfway(run: EmbeddedRun) -> bool:
        return min(run.steps_by_group().values()) >= 2400

    folder = tmp_path / "stopped"
    _, complete = session(folder, small_traffic(), stop_when=halfway)
    assert not complete
    run, complete = session(folder, small_traffic(), resume=True)
    assert complete
    assert weights_sha256(run.context) == expected


def test_a_resume_may_change_where_sumo_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path))
    expected = sha256_of(tmp_path / "once")
    config = small_traffic()
    folder = create_run("moved", config)
    _, complete = session(folder, config, stop_when=lambda run: min(run.steps_by_group().values()) >= 2400)
    assert not complete
    # When it goes on over a socket
    outcome = resume(folder, None, None, "test", watching=QUIETLY, settings=["domain.interface=traci"])
    # Then it comes to the same weights, and config.toml says what it was
    assert outcome.summary is not None
    assert outcome.summary["weights_sha256"] == expected
    assert read_config(folder) == small_traffic("domain.interface=traci")


@pytest.mark.parametrize(
    "setting",
    ["domain.side=3", "domain.sumo_version=1.27.0", "domain.name=warehouse", "ppo.clip=0.1", "run.steps=9"],
)
def test_a_resume_changes_nothing_that_results_depend_on(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIALS_RUNS", str(tmp_path))
    folder = create_run("kept", small_traffic())
    free = r"\[runtime\], domain\.interface, domain\.gui, domain\.address only"
    with pytest.raises(ConfigError, match=rf"--set {setting}: a run that goes on may change {free}"):
        resume(folder, None, None, "test", watching=QUIETLY, settings=[setting])
    assert read_config(folder) == small_traffic()


@pytest.mark.parametrize("simulator", ["dials", "gs"])
def test_sumo_processes_that_are_killed_change_nothing(simulator: str, tmp_path: Path) -> None:
    settings = (f"run.simulator={simulator}", "rollout.episodes_per_task=4", "run.steps=9600")
    before = sumo_children(os.getpid())
    expected = sha256_of(tmp_path / "undisturbed", *settings)
    POOL.close()
    # When SUMO is killed while the run trains
    killed = kill_until_done(
        lambda: train_to_the_end(tmp_path / "killed", small_traffic(*settings)), spared=before
    )
    run = killed.run
    # Then it comes to the same end, and no zombie is left
    assert 1 <= killed.count <= MAX_RESTARTS
    assert weights_sha256(run.context) == expected
    POOL.close()
    assert sumo_children(os.getpid()) <= before


class Killed:
    run: EmbeddedRun
    count: int


def kill_until_done(work: Callable[[], EmbeddedRun], spared: set[int]) -> Killed:
    result, over = Killed(), threading.Event()
    generator = random.Random(1)
    result.count = 0

    def kill() -> None:
        # Not more often: if all hit one episode, the run would fail, as it should.
        while result.count < MAX_RESTARTS and not over.wait(0.1):
            if processes := sumo_children(os.getpid()) - spared:
                with suppress(ProcessLookupError):  # it ended between the look and the kill
                    os.kill(generator.choice(sorted(processes)), signal.SIGKILL)
                    result.count += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        result.run = work()
    finally:
        over.set()
        killer.join()
    return result

"""Stop, kill and resume: the result is that of the run that nobody disturbed."""

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dials_async.config import Config
from dials_async.errors import CheckpointError, ConfigError
from dials_async.evaluation.evaluator import Evaluator
from dials_async.learning.learner import GroupLearner
from dials_async.run_folder import create_run, read_config
from dials_async.runtime import training
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.results import weights_sha256
from tests.runtime.small import (
    DEADLINE_S,
    SMALL,
    as_options,
    evaluations,
    session,
    small_config,
    train_to_the_end,
)

#: 10 updates, 4 refreshes (one of them between evaluations), 6 evaluations.
LONGER = ("run.steps=16000", "schedule.refresh_steps=4800")


def at_version(version: int) -> Callable[[EmbeddedRun], bool]:
    return lambda run: max(run.context.store.group_version(g.index) for g in run.context.groups) >= version


def after(seconds: float) -> Callable[[EmbeddedRun], bool]:
    end = time.monotonic() + seconds
    return lambda _: time.monotonic() > end


@pytest.mark.parametrize("simulator", ["dials", "untrained"])
def test_a_run_stopped_at_random_moments_ends_as_one_that_was_not(simulator: str, tmp_path: Path) -> None:
    # Given an undisturbed run
    config = small_config(*LONGER, f"run.simulator={simulator}")
    undisturbed = train_to_the_end(tmp_path / "undisturbed", config)
    # When the same run is stopped at random versions and after random times, and resumed each time
    folder, chance = tmp_path / "stopped", random.Random(3)
    versions = sorted(chance.sample(range(1, 9), 3))
    moments = [*(at_version(version) for version in versions), after(chance.uniform(0.02, 0.2))]
    run, complete = session(folder, config, stop_when=moments[0])
    sessions = [complete]
    for moment in (*moments[1:], None):
        run, complete = session(folder, config, resume=True, stop_when=moment)
        sessions.append(complete)
    # Then it is complete, equal to the bit, and was in fact stopped
    assert sessions[-1]
    assert sessions.count(False) >= 2
    assert weights_sha256(run.context) == weights_sha256(undisturbed.context)
    assert evaluations(run) == evaluations(undisturbed)


def test_a_run_stopped_while_aips_are_trained_ends_as_one_that_was_not(
    tmp_path: Path, reference: EmbeddedRun
) -> None:
    def aips_are_trained(run: EmbeddedRun) -> bool:
        return "aip" in run.context.phases.busy_with() and run.context.store.aip_version() == 1

    folder, config = tmp_path, small_config("aip.epochs=20")
    expected = train_to_the_end(tmp_path / "undisturbed", config)
    _, complete = session(folder, config, stop_when=aips_are_trained)
    assert not complete
    run, complete = session(folder, config, resume=True)
    assert complete
    assert weights_sha256(run.context) == weights_sha256(expected.context)
    assert weights_sha256(run.context) != weights_sha256(reference.context)  # 20 epochs, not 2


@pytest.mark.parametrize("lag", [0, 2])
def test_a_resumed_run_counts_the_seconds_of_all_sessions(lag: int, tmp_path: Path) -> None:
    config = small_config(f"rollout.max_policy_lag={lag}")
    first, complete = session(tmp_path, config, stop_when=at_version(2))
    assert not complete
    seconds, phases = first.context.seconds(), first.context.phases.seconds()
    second, complete = session(tmp_path, config, resume=True)
    assert complete
    assert second.context.seconds_before > 0
    assert second.context.seconds() > seconds - 1
    assert second.context.phases.seconds()["rollout"] > phases["rollout"]


def test_a_run_on_the_gs_that_stopped_between_the_commits_of_two_groups_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config("run.simulator=gs")
    collect = GroupLearner._collect

    def stop_before_second_group(learner: GroupLearner, consumer: object, version: int) -> bool:
        if learner._group.index == 1 and version == 2:
            while learner._context.store.group_version(0) < 3:
                learner._context.store.wait(0.1)
            learner._context.stop.set()
            return False
        return collect(learner, consumer, version)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(GroupLearner, "_collect", stop_before_second_group)
        run, _ = session(tmp_path, config)
    if run.steps_by_group() != {0: 4800, 1: 3200}:
        raise RuntimeError(f"this test did not bring about what it is for: {run.steps_by_group()}")
    run, complete = session(tmp_path, config, resume=True)
    assert complete


def test_a_run_on_the_gs_that_stopped_between_two_updates_is_resumed_exactly(tmp_path: Path) -> None:
    config = small_config("run.simulator=gs", "rollout.agents_per_group=4")
    undisturbed = train_to_the_end(tmp_path / "undisturbed", config)
    folder = tmp_path / "stopped"
    _, complete = session(folder, config, stop_when=at_version(2))
    assert not complete
    run, complete = session(folder, config, resume=True)
    assert complete
    assert weights_sha256(run.context) == weights_sha256(undisturbed.context)
    assert evaluations(run) == evaluations(undisturbed)


# --- The command: folders, messages -----------------------------------------------------------------------


def stopped_run(name: str, config: Config, *versions: int) -> Path:
    """A run folder with one session (and checkpoint) for each of ``versions``."""
    folder = create_run(name, config)
    for k, version in enumerate(versions):
        _, complete = session(folder, config, resume=k > 0, stop_when=at_version(version))
        assert not complete
    return folder


def sha(outcome: training.Outcome) -> str:
    assert outcome.summary is not None
    return str(outcome.summary["weights_sha256"])


def test_a_finished_run_says_how_to_extend_it(finished: training.Outcome) -> None:
    for steps in (None, 6400, 6500):
        with pytest.raises(ConfigError, match=r"is finished \(6,400 steps per agent\).*more with --steps"):
            training.resume(finished.folder, steps, None, "", watching=training.QUIETLY)


def test_fewer_steps_than_before_are_refused(finished: training.Outcome) -> None:
    with pytest.raises(ConfigError, match="--steps 3200 is less than the 6400"):
        training.resume(finished.folder, 3200, None, "", watching=training.QUIETLY)


def test_a_finished_run_is_extended_and_says_that_the_rate_stays(
    finished: training.Outcome, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "extended"
    shutil.copytree(finished.folder, folder)
    outcome = training.resume(folder, 9600, None, "", watching=training.QUIETLY)
    assert outcome.summary is not None
    assert outcome.summary["agent_steps"] == 9600
    error = capsys.readouterr().err
    assert "extending to 9,600 steps per agent; the learning rate stays at its final value, 0.0001, " in error
    assert "the weight of the entropy at -0.1" in error
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        assert [row["steps"] for row in csv.DictReader(file)] == ["0", "3200", "6400", "9600"]
    assert sha(outcome) != sha(finished)


def test_an_interrupted_run_takes_no_other_number_of_steps() -> None:
    folder = stopped_run("short", small_config(), 1)
    with pytest.raises(ConfigError, match="is not finished: resume it without --steps first"):
        training.resume(folder, 9600, None, "", watching=training.QUIETLY)


def test_an_extension_stopped_before_its_last_evaluation_can_be_resumed(
    finished: training.Outcome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_evaluates(evaluator: Evaluator) -> None:
        evaluator._context.stop.wait()

    def has_learned(run: EmbeddedRun) -> bool:
        return set(run.steps_by_group().values()) == {9600}

    # Given an extension that has learned all, beside the summary of its first part
    folder = tmp_path / "extended"
    shutil.copytree(finished.folder, folder)
    start = EmbeddedRun.start

    def start_and_stop(run: EmbeddedRun) -> None:
        start(run)
        while not has_learned(run) and not run.context.stop.is_set():
            run.context.store.wait(0.1)
        run.context.stop.set()

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "run", never_evaluates)
        patch.setattr(EmbeddedRun, "start", start_and_stop)
        assert training.resume(folder, 9600, None, "", watching=training.QUIETLY).summary is None
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["agent_steps"] == 6400
    # When it is resumed
    outcome = training.resume(folder, None, None, "", watching=training.QUIETLY)
    # Then it is finished, not refused
    assert outcome.summary is not None
    assert outcome.summary["agent_steps"] == 9600


def test_a_run_stopped_before_its_first_checkpoint_begins_again(
    reference: EmbeddedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = create_run("early", small_config())
    outcome = training.resume(folder, None, None, "", watching=training.QUIETLY)
    assert sha(outcome) == weights_sha256(reference.context)
    assert "there is no checkpoint of the run 'early': starting from its beginning" in capsys.readouterr().err


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    reference: EmbeddedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stopped_run("damaged", small_config(), 1, 2)
    older, newest = sorted((folder / "checkpoints").glob("checkpoint-*"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    outcome = training.resume(folder, None, None, "", watching=training.QUIETLY)
    assert older.name < newest.name
    assert f"note: {newest} is damaged: the checksum does not fit the content" in capsys.readouterr().err
    assert sha(outcome) == weights_sha256(reference.context)


def test_a_run_without_any_good_checkpoint_is_refused() -> None:
    folder = stopped_run("ruined", small_config(), 1, 2)
    for path in (folder / "checkpoints").glob("checkpoint-*"):
        path.write_bytes(path.read_bytes()[:100])
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(CheckpointError, match="no good checkpoint") as caught:
        training.resume(folder, None, None, "", watching=training.QUIETLY)
    assert caught.value.exit_code == 2
    assert sorted(path.name for path in folder.rglob("*")) == before


# --- Processes --------------------------------------------------------------------------------------------

#: Long enough that a signal after the first checkpoint finds it at work: 40 updates of larger batches.
PROCESS = (
    *SMALL,
    "run.steps=128000",
    "rollout.episodes_per_task=16",
    "schedule.refresh_steps=50000",
    "schedule.eval_steps=32000",
    "runtime.checkpoint_seconds=0.2",
)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> training.Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DIALS_RUNS", str(tmp_path_factory.mktemp("undisturbed")))
        return training.train("whole", small_config(*PROCESS), "", watching=training.QUIETLY)


def start_process(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dials_async", "train", "--quiet", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def newest_checkpoint(folder: Path) -> str:
    return max((path.name for path in folder.glob("checkpoints/checkpoint-*")), default="")


def signal_after_new_checkpoint(
    process: subprocess.Popen[str], folder: Path, number: signal.Signals, delay_s: float
) -> tuple[int, str]:
    """Send the signal ``delay_s`` after the process wrote a checkpoint. Returns exit code and stderr."""
    before, deadline = newest_checkpoint(folder), time.monotonic() + DEADLINE_S
    while newest_checkpoint(folder) == before and process.poll() is None:
        assert time.monotonic() < deadline, f"no checkpoint after {before or 'the start'}"
        time.sleep(0.01)
    time.sleep(delay_s)
    process.send_signal(number)
    _, error = process.communicate(timeout=DEADLINE_S)
    return process.returncode, error


def rows_without_seconds(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def assert_same(outcome: training.Outcome, undisturbed: training.Outcome) -> None:
    assert sha(outcome) == sha(undisturbed)
    assert rows_without_seconds(outcome.folder) == rows_without_seconds(undisturbed.folder)


def test_a_run_killed_twice_ends_as_one_that_was_not(
    undisturbed: training.Outcome, runs_folder: Path
) -> None:
    folder, chance = runs_folder / "killed", random.Random(11)
    # When the process is killed at random moments: nothing can be saved then
    first = start_process("warehouse-4", "--run", "killed", *as_options(PROCESS))
    code, _ = signal_after_new_checkpoint(first, folder, signal.SIGKILL, chance.uniform(0, 0.2))
    assert code == -signal.SIGKILL
    second = start_process("--run", "killed", "--resume")
    code, _ = signal_after_new_checkpoint(second, folder, signal.SIGKILL, chance.uniform(0, 0.2))
    assert code == -signal.SIGKILL
    # Then no file is there that should not be, and those that are there are whole
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert names <= {
        "config.toml",
        "metrics.csv",
        "refreshes.csv",
        "checkpoints",
        "live.json",
        "networks.json",
    }
    assert read_config(folder) == small_config(*PROCESS)
    # And a resume ends as if nothing had happened
    assert_same(training.resume(folder, None, None, "", watching=training.QUIETLY), undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on_and_does(
    number: signal.Signals, undisturbed: training.Outcome, runs_folder: Path
) -> None:
    process = start_process("warehouse-4", "--run", "ended", *as_options(PROCESS))
    code, error = signal_after_new_checkpoint(process, runs_folder / "ended", number, 0.05)
    assert code == 130
    assert "dials train --run ended --resume" in error
    assert "Traceback" not in error
    assert_same(training.resume(runs_folder / "ended", None, 1, "", watching=training.QUIETLY), undisturbed)

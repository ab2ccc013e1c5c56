"""What ends a run: its first cause is reported, and nothing is half-written."""

import itertools
import logging
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dials_async.errors import (
    CheckpointError,
    ConfigError,
    DialsError,
    InterruptedRunError,
    RunExistsError,
    TrainingError,
    UsageError,
)
from dials_async.evaluation.evaluator import Evaluator
from dials_async.influence.refresher import Refresher
from dials_async.learning.learner import GroupLearner
from dials_async.rollout.worker import RolloutWorker
from dials_async.run_context import RunContext
from dials_async.run_folder import locked
from dials_async.runtime import files, training
from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.files import has_checkpoint
from tests.runtime.small import session, small_config


@pytest.mark.parametrize(
    ("part", "method", "name"),
    [
        (RolloutWorker, "_simulate", "worker-0"),
        (GroupLearner, "_learn", "learner-[01]"),
        (Refresher, "_refresh", "gs-sampler"),
        (Evaluator, "_evaluate", "evaluator"),
    ],
)
def test_a_failing_thread_ends_the_run_with_its_cause(
    part: type, method: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(part, method, fail)
    with pytest.raises(TrainingError, match=f"^{name} failed: ZeroDivisionError: boom$") as caught:
        session(tmp_path, small_config("runtime.workers=1"))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.exit_code == 1


def test_of_several_failures_the_first_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, first_failed = itertools.count(1), threading.Event()

    def fail(worker: RolloutWorker, *_: Any) -> None:
        if next(numbers) > 1:
            first_failed.wait(30)
            worker._context.stop.wait(30)
            raise ValueError("a consequence")
        first_failed.set()
        raise ValueError("the cause")

    monkeypatch.setattr(RolloutWorker, "_simulate", fail)
    with pytest.raises(TrainingError, match="the cause"):
        session(tmp_path, small_config("runtime.workers=2"))


def test_an_error_that_is_already_one_clear_line_is_not_wrapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise DialsError("one clear line")

    monkeypatch.setattr(RolloutWorker, "_simulate", fail)
    with pytest.raises(DialsError, match=r"^one clear line$"):
        session(tmp_path, small_config())


def test_weights_that_are_not_finite_are_reported_and_not_committed(tmp_path: Path) -> None:
    run = EmbeddedRun("small", small_config("ppo.learning_rate=1e37"), tmp_path, resume=False)
    run.start()
    with pytest.raises(TrainingError, match=r"weights of agents \[\d, \d\] are not finite after update 0"):
        run.wait(lambda: None)
    assert 0 in run.steps_by_group().values()


def test_policy_lag_on_the_gs_is_refused_before_a_folder_is_made(runs_folder: Path) -> None:
    config = small_config("run.simulator=gs", "rollout.max_policy_lag=1")
    with pytest.raises(ConfigError, match="max_policy_lag must be 0 with the simulator 'gs'"):
        training.train("lagged", config, "")
    assert not runs_folder.exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("run.steps=99", "run.steps = 99: one episode has 100 steps"),
        ("run.steps=1599", "run.steps = 1599: one update takes 1600 steps"),
    ],
)
def test_a_run_shorter_than_an_update_is_refused(setting: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        EmbeddedRun("small", small_config(setting), tmp_path, resume=False)


def test_an_error_while_watching_leaves_no_thread_behind(tmp_path: Path) -> None:
    run = EmbeddedRun("full-disk", small_config(), tmp_path, resume=False)

    def watch() -> None:
        raise OSError("no space left on device")

    run.start()
    with pytest.raises(OSError, match="no space left"):
        run.wait(watch)
    names = {part.name for part in run._threads}
    assert [thread.name for thread in threading.enumerate() if thread.name in names] == []


class FullDisk:
    """A disk that takes no checkpoint and no table until it is freed; the real functions otherwise."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_full, self.refused = True, 0
        monkeypatch.setattr(files, "AGAIN_S", 0.0)
        for name in ("save_checkpoint", "write_progress"):
            monkeypatch.setattr(files, name, partial(self._write, getattr(files, name)))

    def _write(self, write: Callable[..., Any], *arguments: Any) -> Any:
        if not self.is_full:
            return write(*arguments)
        self.refused += 1
        raise CheckpointError("cannot write: no space left on device")


def test_a_full_disk_does_not_end_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a run that saves all the time, on a full disk
    disk = FullDisk(monkeypatch)
    (tmp_path / "run").mkdir()
    run = EmbeddedRun("full", small_config("runtime.checkpoint_seconds=0.01"), tmp_path / "run", resume=False)

    def free_it_later() -> None:
        disk.is_full = disk.refused < 2

    # When it trains, and the disk is freed after a while
    run.start()
    with caplog.at_level(logging.WARNING):
        assert run.wait(free_it_later)
    # Then it trained to its end, said what was wrong once for each kind of file, and wrote them after that
    assert disk.refused >= 2
    lines = [record.getMessage() for record in caplog.records]
    assert sum("no space left on device; training goes on" in line for line in lines) <= 2
    assert any("training goes on" in line for line in lines)
    assert any("can be written to again" in line for line in lines)
    assert has_checkpoint(tmp_path / "run")
    assert (tmp_path / "run" / "metrics.csv").is_file()


def test_a_last_checkpoint_that_cannot_be_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch)
    (tmp_path / "run").mkdir()
    run = EmbeddedRun("full", small_config(), tmp_path / "run", resume=False)
    run.start()
    with pytest.raises(CheckpointError, match="no space left"):
        run.wait(lambda: None)


def test_a_run_that_is_being_trained_cannot_be_resumed(runs_folder: Path) -> None:
    training.train("busy", small_config(), "dials train ...", watching=training.QUIETLY)
    folder = runs_folder / "busy"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with locked(folder), pytest.raises(UsageError, match="'busy' is being trained by another process"):
        training.resume(folder, 10_000, None, "dials train ...", watching=training.QUIETLY)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with locked(folder):  # the refusal took nothing away, and left nothing held
        pass


def test_a_second_ctrl_c_ends_the_run_at_once_but_not_an_echo_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop = threading.Event()
    with training._StopOnSignals(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        monkeypatch.setattr(training, "SECOND_S", 3600.0)
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(training, "SECOND_S", -1.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_run_ended_at_once_says_how_to_go_on(runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(EmbeddedRun, "start", lambda _: None)
    monkeypatch.setattr(EmbeddedRun, "wait", interrupted)
    with pytest.raises(InterruptedRunError, match="dials train --run hasty --resume") as caught:
        training.train("hasty", small_config(), "dials train ...", watching=training.QUIETLY)
    assert caught.value.exit_code == 130
    assert (runs_folder / "hasty" / "config.toml").is_file()


@pytest.mark.parametrize("step", ["compile_kernels", "join_run"])
def test_ctrl_c_before_the_first_step_is_one_line_too(
    runs_folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, step, interrupted)
    with pytest.raises(InterruptedRunError, match="dials train --run hasty --resume"):
        training.train("hasty", small_config(), "test")
    assert (runs_folder / "hasty" / "config.toml").exists()


def test_a_run_that_failed_before_version_0_frees_its_name(
    runs_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a run that fails while it is prepared, with a file in its folder
    def fail(context: RunContext, *_: Any) -> None:
        assert (runs_folder / "early" / "config.toml").exists()
        raise TrainingError(f"no {context.name}")

    with monkeypatch.context() as patch:
        patch.setattr(training, "join_run", fail)
        with pytest.raises(TrainingError, match="no early"):
            training.train("early", small_config(), "")
    # Then nothing is left of it, and the name can be used
    assert list(runs_folder.iterdir()) == []
    assert training.train("early", small_config(), "").complete


def test_a_run_that_had_begun_keeps_its_name(runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RolloutWorker, "_simulate", lambda *_: 1 // 0)
    with pytest.raises(TrainingError, match="ZeroDivisionError"):
        training.train("late", small_config(), "")
    assert (runs_folder / "late" / "config.toml").exists()
    with pytest.raises(RunExistsError):
        training.train("late", small_config(), "")

"""``honcho start`` as a user runs it: from the Procfile to a finished run, and nothing is left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dials_async.distributed.honcho import Honcho
from dials_async.runtime.results import weights_sha256
from dials_async.servers.private import listener
from tests.runtime.small import small_config, train_to_the_end

from .fleet import LONG_S, eventually


@pytest.fixture(autouse=True)
def own_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the Procfile, not those of the other tests."""
    monkeypatch.delenv("DIALS_AMQP_URL")
    monkeypatch.delenv("DIALS_REDIS_URL")


def processes_of(folder: Path) -> dict[int, str]:
    """Pids and commands of all processes that were started for this folder, servers and all."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (entry / "environ").read_bytes() and int(entry.name) != os.getpid():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended meanwhile
            continue
    return found


def test_honcho_trains_a_run_to_the_weights_of_an_embedded_one_and_leaves_nothing(tmp_path: Path) -> None:
    config = small_config()
    expected = weights_sha256(train_to_the_end(tmp_path / "embedded", config).context)
    with Honcho(config, "small", tmp_path, {"rollout": 2, "learner": 2}) as honcho:
        code = honcho.wait(LONG_S)
    said = honcho.log.read_text(errors="replace")
    assert code == 0, said
    summary = json.loads((tmp_path / "runs" / "small" / "summary.json").read_text())
    assert summary["weights_sha256"] == expected
    assert f"Weights {expected[:16]}" in said
    for name in honcho.names[3:]:
        assert f"{name}: " in said
    assert "Traceback" not in said
    assert "killing it" not in said, said  # servers stop in time, RabbitMQ with its metrics too
    assert honcho.server("prometheus").log.exists()
    assert not list((tmp_path / "runs" / ".targets").glob("*/*.json"))
    assert eventually(lambda: not processes_of(tmp_path)), processes_of(tmp_path)
    # And once more: the run is finished, says so, and how to go on
    with Honcho(config, "small", tmp_path, {}) as again:
        assert again.wait(LONG_S) != 0
    assert "the run 'small' is finished (6,400 steps per agent): extend it with" in again.log.read_text()


def test_without_prometheus_all_else_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given all programs of this machine but one
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in os.environ["PATH"].split(os.pathsep):
        for program in Path(folder).glob("*"):
            if program.name != "prometheus" and not (programs / program.name).is_symlink():
                (programs / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(programs))
    with Honcho(small_config(), "small", tmp_path, {}) as honcho:
        assert honcho.wait(LONG_S) == 0, honcho.log.read_text(errors="replace")
    said = honcho.log.read_text(errors="replace")
    line = "| Prometheus is not installed: 'make services' installs it; training goes on without it"
    assert said.count(line) == 1, said
    assert (tmp_path / "runs" / "small" / "summary.json").exists()
    assert eventually(lambda: not processes_of(tmp_path)), processes_of(tmp_path)


def test_a_run_that_was_interrupted_goes_on_with_the_next_honcho_start(tmp_path: Path) -> None:
    config = small_config("run.steps=48000", "schedule.refresh_steps=4800")
    expected = weights_sha256(train_to_the_end(tmp_path / "embedded", config).context)
    # Given a run that is stopped with Ctrl-C, as its first evaluations are there
    table = tmp_path / "runs" / "small" / "metrics.csv"
    with Honcho(config, "small", tmp_path, {}) as honcho:
        assert eventually(lambda: table.exists() and len(table.read_text().splitlines()) > 2)
        honcho.send_signal(signal.SIGINT)
        honcho.wait(LONG_S)
    # It says that all is saved, unless its wrapper had to end it: a busy machine may need more than 4 s
    said = honcho.log.read_text(errors="replace")
    assert "stopped; everything is saved in" in said or "run.1: did not stop within 4 s" in said, said
    assert not (table.parent / "summary.json").exists()
    # When it is started again, then it goes on and ends as if nothing had happened
    with Honcho(config, "small", tmp_path, {}) as honcho:
        assert honcho.wait(LONG_S) == 0
    assert json.loads((table.parent / "summary.json").read_text())["weights_sha256"] == expected


def test_a_redis_that_comes_back_empty_costs_what_was_learned_since_the_checkpoint(tmp_path: Path) -> None:
    config = small_config(
        "run.steps=96000", "schedule.refresh_steps=9600", "aip.epochs=10", "runtime.checkpoint_seconds=0.5"
    )
    expected = weights_sha256(train_to_the_end(tmp_path / "embedded", config).context)
    checkpoints = tmp_path / "runs" / "small" / "checkpoints"
    with Honcho(config, "small", tmp_path, {}) as honcho:
        # Given a run with checkpoints on disk
        assert eventually(lambda: len(list(checkpoints.glob("checkpoint-0*"))) >= 2), honcho.log.read_text()
        # When Redis crashes, and its data is gone
        redis = honcho.server("redis")
        pid = listener(redis.port)
        assert pid is not None
        shutil.rmtree(redis.folder / "appendonlydir")
        os.kill(pid, signal.SIGKILL)
        # Then the run is made again from its newest checkpoint, by itself, and ends as it would have
        assert honcho.wait(LONG_S) == 0, honcho.log.read_text(errors="replace")
    said = honcho.log.read_text(errors="replace")
    assert "going on from the checkpoint of" in said
    assert (
        json.loads((tmp_path / "runs" / "small" / "summary.json").read_text())["weights_sha256"] == expected
    )


def test_what_cannot_work_ends_honcho_with_its_cause(tmp_path: Path) -> None:
    config = small_config()
    with Honcho(config, "small", tmp_path, {}, environment={"DIALS_SET": "ppo.epoch=3"}) as honcho:
        assert honcho.wait(LONG_S) == 2
    said = honcho.log.read_text(errors="replace")
    assert "run.1: cannot work: dials: unknown key 'ppo.epoch'" in said
    assert "did you mean" in said


def test_a_process_that_keeps_crashing_ends_the_run_with_its_first_cause(tmp_path: Path) -> None:
    # Given something on the path that ends the evaluator, and only that, at its start
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if os.environ.get('HONCHO_PROCESS_NAME') == 'evaluator.1' and 'supervise' not in sys.orig_argv:\n"
        "    os.write(2, b'no luck today\\n')\n"
        "    os._exit(1)\n"
    )
    with Honcho(small_config(), "small", tmp_path, {}, environment={"PYTHONPATH": str(broken)}) as honcho:
        assert honcho.wait(LONG_S) == 1
    assert "evaluator.1: died 5 times in a row, giving up; first: exit code 1: no luck today" in (
        honcho.log.read_text(errors="replace")
    )


def test_without_servers_a_command_says_so_and_names_the_embedded_default(tmp_path: Path) -> None:
    environment = {**os.environ, "DIALS_PORT_REDIS": "1", "DIALS_PORT_AMQP": "1"}
    for words in (("status",), ("status", "x"), ("init", "warehouse-4", "--run", "x"), ("forget", "x")):
        done = subprocess.run(
            [sys.executable, "-m", "dials_async", *words],
            capture_output=True,
            text=True,
            env=environment,
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "cannot reach Redis at redis://127.0.0.1:1/0: connection refused" in line
        assert "'dials train' needs no server" in line

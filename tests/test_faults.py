"""``benchmarks/faults.py``: a short series passes, and what must not be is seen."""

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.runtime.small import SMALL, as_options

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script's own modules."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.usefixtures("servers", "whole_runs")
def test_a_short_series_leaves_the_weights_as_they_are(tmp_path: Path) -> None:
    # This seed kills RabbitMQ, Redis, the keeper and the gs-sampler, and has one of each other kind at least
    settings = (*SMALL[1:], "schedule.refresh_steps=9600", "schedule.eval_steps=16000")
    words = ("--preset", "warehouse-4", "--steps", "96000", "--faults", "8", "--seed", "2953")
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/faults.py", *words, "--folder", str(tmp_path / "faults")),
            *("--kinds", "kill,freeze,link cut,Redis OOM", *as_options(settings)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("all the same\n"), done.stdout
    total = next(line for line in done.stdout.splitlines() if line.startswith("faults "))
    assert total.split()[-1] == "8", done.stdout


def test_a_seed_says_which_faults_there_are() -> None:
    from faulting.schedule import KINDS, schedule

    once = list(islice(schedule(1, list(KINDS)), 2 * sum(KINDS.values())))
    assert once == list(islice(schedule(1, list(KINDS)), len(once)))
    assert once != list(islice(schedule(2, list(KINDS)), len(once)))
    assert Counter(fault.kind for fault in once) == {kind: 2 * n for kind, n in KINDS.items()}


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that gives back what it is sent."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            while data := connection.recv(100):
                connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_links_are_cut_and_mended(echo: int) -> None:
    from faulting.links import Links

    with Links(("learner", "rollout"), {"redis": echo}) as links:

        def open_link(kind: str) -> socket.socket:
            return socket.create_connection(("127.0.0.1", links.port(kind, "redis")), 30.0)

        def asked(connection: socket.socket) -> bytes:
            connection.sendall(b"x")
            return connection.recv(1)

        with open_link("learner") as first, open_link("rollout") as other:
            assert asked(first) == asked(other) == b"x"
            # Silent: nothing passes, and arrives when the link is mended
            links.cut("learner", "redis", silently=True)
            first.sendall(b"y")
            assert asked(other) == b"x"
            first.settimeout(0.2)
            with pytest.raises(TimeoutError):
                first.recv(1)
            links.mend("learner", "redis")
            first.settimeout(30.0)
            assert first.recv(1) == b"y"
            # Closed: both ends see it, and nobody gets in
            links.cut("all", "redis", silently=False)
            assert ended(first)
            assert ended(other)
            with open_link("learner") as again:
                assert ended(again)
            links.mend("all", "redis")
            with open_link("learner") as again:
                assert asked(again) == b"x"


def ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_whatever_is_not_as_it_must_be_is_a_problem(tmp_path: Path) -> None:
    from faulting import fire
    from faulting.schedule import Fault

    folder = tmp_path / "runs" / fire.RUN
    folder.mkdir(parents=True)
    (tmp_path / "honcho.log").write_text("all is well\n")
    summary = {"weights_sha256": "a" * 64, "learning": {"messages_used": 8}}
    (folder / "summary.json").write_text(json.dumps(summary))

    def problems(code: int | None = 0, sha256: str = "a" * 64, messages: int = 8) -> list[str]:
        outcome = fire.Outcome(done=[Fault(1, "kill", "redis", 1.0, 1.0, False)])
        fire.judge(outcome, code, (sha256, messages), tmp_path)
        return outcome.problems

    assert problems() == []
    assert "other weights" in problems(sha256="b" * 64)[0]
    assert "messages used: 8, not 9" in problems(messages=9)[0]
    assert "exit code 1" in problems(code=1)[0]
    assert "exit code None" in problems(code=None)[0]
    (tmp_path / "honcho.log").write_text("Traceback (most recent call last):\n")
    assert "a traceback" in problems()[0]
    (folder / "summary.json").unlink()
    assert "there is no summary.json" in problems()


def test_a_process_that_is_left_over_is_found(tmp_path: Path) -> None:
    from faulting.victims import of_folder

    assert not list(of_folder(tmp_path))
    with subprocess.Popen(["sleep", "600"], cwd=tmp_path) as process:
        assert [found.pid for found in of_folder(tmp_path)] == [process.pid]
        process.kill()

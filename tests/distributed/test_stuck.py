"""A run that stands still says for how long and why, and each process says what it is."""

import copy
import re
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from click.testing import CliRunner

from dials_async.cli import main
from dials_async.distributed import status, stuck
from dials_async.distributed.connection import Connection, connect
from dials_async.distributed.create import create
from dials_async.distributed.daemon import Daemon
from dials_async.errors import NumericsError
from dials_async.runtime.machine import code_version, machine
from tests.runtime.small import small_config

from .fleet import eventually, fleet, observer
from .test_identity import as_elsewhere


def why(seen: Connection) -> str:
    """The line of a run that does not move, without its time."""
    (line,) = [line for line in status.gather(seen)["stuck"] if line.startswith("no progress")]
    return re.sub(r"^no progress for .+? \(", "(", line)


def test_what_is_missing_is_the_reason(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create(run, small_config())
    with fleet(run) as members, observer(run) as seen:
        # A run that was just made stands not yet still
        assert not [line for line in status.gather(seen)["stuck"] if line.startswith("no progress")]
        monkeypatch.setattr(stuck, "STANDS_STILL_S", 0.0)
        at = "(group 0 is at version 0 of 4), because"
        assert why(seen) == f"{at} no learner for group 0"
        members.start(learner=1)
        expected = f"{at} it is waiting for AIP version 1, and there is no gs-sampler"
        assert eventually(lambda: why(seen) == expected), why(seen)
        members.start(gs_sampler=1)
        expected = f"{at} there is no rollout; 4 tasks wait"
        assert eventually(lambda: why(seen) == expected), why(seen)
        # Who was refused is a reason
        with monkeypatch.context() as elsewhere:
            as_elsewhere(elsewhere, "rollout")
            with pytest.raises(NumericsError):
                Daemon(connect(run, Event()), "rollout", "rollout.9").join(allow_other_numerics=False)
        assert "because there is no rollout (1 refused: rollout.9 on " in why(seen)
        # When all is learned, the evaluation is missing, then who finds it complete
        members.start(rollout=1)
        expected = "(all is learned), because there is no evaluator"
        assert eventually(lambda: why(seen) == expected), why(seen)
        members.start(evaluator=1)
        assert eventually(lambda: why(seen) == "(all is learned), because there is no keeper"), why(seen)
        members.start(keeper=1)
        members.wait()
        assert status.gather(seen)["stuck"] == []


#: A run at work as ``gather`` tells it, as far as it matters here.
AT_WORK: dict[str, Any] = {
    "state": "running",
    "note": "",
    "simulator": "dials",
    "updates": 78,
    "seconds_with_pause": 1000.0,
    "groups": [
        {"group": 0, "version": 13, "learned_s": 990.0, "learner": "l@h", "doing": "learning update 14"},
        {"group": 1, "version": 12, "learned_s": 500.0, "learner": "l@h", "doing": "collecting experience"},
    ],
    "processes": [
        {"name": "rollout.1", "host": "h", "role": "rollout", "doing": "waiting for a task"},
        {"name": "rollout.2", "host": "h", "role": "rollout", "doing": "task ials/g1/u12/t0"},
        {"name": "e", "host": "h", "role": "evaluator", "doing": "evaluating version 10"},
    ],
    "refused": [],
    "queues": {"rollout tasks": 2, "GS tasks": 0, "experience": 0},
    "last_evaluation": None,
}


@pytest.mark.parametrize(
    ("place", "change", "expected"),
    [
        ((), {}, "the rollout rollout.2 on h is: task ials/g1/u12/t0 (as 1 of 2); 2 tasks wait"),
        (("queues",), {"rollout tasks": 0}, "no task waits: learners ask again after a minute"),
        (("queues",), {"experience": 7}, "7 messages of experience wait for its learner l@h"),
        (("groups", 1), {"learned_s": 701.0}, ""),
        (("groups", 1), {"doing": "learning update 13"}, "its learner l@h is learning update 13"),
        (
            ("groups", 1),
            {"doing": "waiting for the evaluator: 3 versions wait for it"},
            "wait for it, and the evaluator e on h is: evaluating version 10",
        ),
        ((), {"state": "failed", "note": "learner.1: x"}, "the run has failed: learner.1: x"),
        ((), {"redis_refuses": "OOM"}, "Redis refuses writes: OOM"),
        (
            ("processes", 0),
            {"waits_for": ["RabbitMQ: alarm"]},
            "processes wait for a server: RabbitMQ: alarm",
        ),
    ],
)
def test_the_reason_is_the_first_cause(place: tuple[Any, ...], change: dict[str, Any], expected: str) -> None:
    now = copy.deepcopy(AT_WORK)
    part: Any = now
    for key in place:
        part = part[key]
    part |= change
    line = stuck.standstill(now)
    assert line.endswith(expected)
    assert bool(line) == bool(expected)
    if line:
        assert line.startswith("no progress for 8 min 20 s (group 1 is at version 12 of 78), because ")


def test_status_shows_what_each_process_is(run: str, surroundings: Path) -> None:
    del surroundings
    create(run, small_config())
    with fleet(run) as members:
        members.start(learner=1)
        plain = CliRunner().invoke(main, ["status", run]).stdout
        page = CliRunner().invoke(main, ["status", run, "-v"]).stdout
    (line,) = [line for line in page.splitlines() if line.startswith("      pid ")]
    assert machine()["cpu"] in line
    assert f"{machine()['cores']} cores, " in line
    assert code_version() in line
    assert re.search(r"update [0-9a-f]{16}", line)
    assert machine()["cpu"] not in plain

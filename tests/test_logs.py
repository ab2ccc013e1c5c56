"""Each line of a daemon has its time: text for people, one JSON object a line for programs."""

import io
import json
import logging
import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.logs import FORMATS, JSON, TEXT, Stamp, message_of, report, stamped

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def objects(text: str) -> list[dict[str, str]]:
    """Each line is a JSON object with a time that is now."""
    found = [json.loads(line) for line in text.splitlines()]
    for each in found:
        assert re.fullmatch(TIME, each["time"])
        assert abs((datetime.now(UTC) - datetime.fromisoformat(each["time"])).total_seconds()) < 600
    return found


def test_text_has_the_time_and_is_as_it_was() -> None:
    line = Stamp(TEXT, "city", "learner.1").line("learner.1: waiting")
    assert re.fullmatch(f"{TIME} learner.1: waiting", line)


def test_json_has_fields_and_who_says_it_is_one_of_them() -> None:
    stamp = Stamp(JSON, "city", "learner.1")
    (found,) = objects(stamp.line("learner.1: waiting"))
    assert {**found, "time": ""} == {
        "time": "",
        "level": "info",
        "run": "city",
        "process": "learner.1",
        "message": "waiting",
    }
    (found,) = objects(stamp.line("dials: no run", "error", error="RunNotFoundError"))
    assert (found["level"], found["message"], found["error"]) == ("error", "no run", "RunNotFoundError")


@given(st.text(alphabet=st.characters(exclude_characters="\n")), st.sampled_from(FORMATS))
def test_any_line_is_stamped_once_and_tells_its_message(text: str, format: str) -> None:
    stamp = Stamp(format, "city", "rollout.1")
    line = stamp.once(text)
    assert "\n" not in line
    assert stamp.once(line) == line
    assert message_of(line) == message_of(text)


@pytest.mark.parametrize("line", ["{", '{"time": "x"', '{"time": "x"}', '{"time": "' + "[" * 10**5, "[1]"])
def test_what_looks_like_json_and_is_not_ours_is_stamped(line: str) -> None:
    assert message_of(line) == line
    assert objects(Stamp(JSON, "r", "p").once(line))[0]["message"] == line


def test_all_that_a_process_says_is_stamped(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with stamped(Stamp(JSON, "city", "rollout.1")):
        print("rollout.1: waiting", file=sys.stderr)
        print("a half", end="", file=sys.stderr)
        print(" and the rest\n\n\ntwo lines", file=sys.stderr, flush=True)
        logging.getLogger("dials_async.store").warning("Redis is gone: %s\nand more", "refused")
        report("dials: lost it", "StoreError")
        print("the result")
        print("no end", end="", file=sys.stderr)
    assert (sys.stdout, sys.stderr) == (out, err)
    said = [(each["level"], each["message"]) for each in objects(err.getvalue())]
    assert said == [
        ("info", "waiting"),
        ("info", "a half and the rest"),
        ("info", "two lines"),
        ("warning", "Redis is gone: refused and more"),
        ("error", "lost it"),
        ("info", "no end"),
    ]
    assert objects(err.getvalue())[4]["error"] == "StoreError"
    assert objects(out.getvalue())[0]["message"] == "the result"


def dials(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dials_async", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


#: Says lines of all kinds, and fails.
CHILD = "echo result; echo plain >&2; printf half >&2; exit 2"


def test_a_wrapper_stamps_what_its_child_does_not() -> None:
    done = dials("supervise", "x", "--log-format", "json", "--", "sh", "-c", CHILD)
    assert done.returncode == 2
    assert [each["message"] for each in objects(done.stdout)] == ["result"]
    said = objects(done.stderr)
    assert [each["message"] for each in said] == ["plain", "half", "cannot work: half"]
    assert {each["process"] for each in said} == {"x"}


def test_a_wrapper_in_text_leaves_results_as_they_are() -> None:
    done = dials("supervise", "x", "--", "sh", "-c", CHILD)
    assert done.stdout == "result\n"
    lines = done.stderr.splitlines()
    assert [re.sub(f"^{TIME} ", "", line) for line in lines] == ["plain", "half", "x: cannot work: half"]
    assert all(re.match(f"{TIME} ", line) for line in lines)


@pytest.mark.parametrize("format", FORMATS)
def test_lines_of_a_daemon_pass_its_wrapper_unchanged(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALS_LOG_FORMAT", format)
    worker = [sys.executable, "-m", "dials_async", "worker", "keeper", "--run", "city", "--name", "run.1"]
    done = dials("supervise", "run.1", "--", *worker, "--metrics-address", "nowhere")
    assert done.returncode == 2
    cause = "--metrics-address nowhere: expected HOST:PORT"
    first, last = done.stderr.splitlines()
    if format == JSON:
        error, wrapper = objects(done.stderr)
        assert (error["level"], error["error"], error["run"]) == ("error", "UsageError", "city")
        assert error["message"].startswith(cause)
        assert wrapper["message"].startswith(f"cannot work: {cause}")
    else:
        assert re.match(f"{TIME} dials: {cause}", first)
        assert re.match(f"{TIME} run.1: cannot work: dials: {cause}", last)

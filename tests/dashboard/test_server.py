"""The dashboard's server: two things to ask for, by the right name only, and nothing of the disk."""

import base64
import hashlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from dials_async.dashboard import Dashboard, serve
from dials_async.dashboard.server import to_json
from dials_async.errors import UsageError
from dials_async.servers.private import lasting_port


class Fixed:
    """A source that always says the same, or raises."""

    def __init__(self, value: dict[str, Any], error: Exception | None = None) -> None:
        self.value, self.error = value, error

    def state(self) -> dict[str, Any]:
        if self.error:
            raise self.error
        return self.value


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    running = serve(Fixed({"state": "running", "now": {"run": "demo"}}), "127.0.0.1:0")
    yield running
    running.close()


def port_of(dashboard: Dashboard) -> int:
    return int(dashboard.url.rstrip("/").rpartition(":")[2])


def ask(dashboard: Dashboard, path: str, method: str = "GET", host: str | None = None) -> tuple[Any, bytes]:
    """The answer's head and body; ``host`` replaces the Host header ("" leaves it out)."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(dashboard), timeout=60)
    connection.putrequest(method, path, skip_host=host is not None)
    if host:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_the_page_is_one_document_that_loads_nothing(dashboard: Dashboard) -> None:
    answer, body = ask(dashboard, "/")
    page = body.decode()
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert page.startswith("<!doctype html>")
    loaded = re.findall(r"""<(?:script|img|iframe|link)[^>]*(?:src|href)=["']([^"']*)""", page)
    assert [target for target in loaded if not target.startswith("data:")] == []
    assert "Copyright (c) 2022 Leon Sorokin" in page


def test_the_policy_lets_nothing_run_but_the_style_and_script_of_the_page(dashboard: Dashboard) -> None:
    answer, body = ask(dashboard, "/")
    policy = answer.headers["Content-Security-Policy"]
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none';")


def test_the_state_is_that_of_the_source_and_is_never_kept(dashboard: Dashboard) -> None:
    before = time.time()
    answer, body = ask(dashboard, "/state?anything")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers
    state = json.loads(body)
    assert before <= state.pop("read_at") <= time.time()
    assert state == {"state": "running", "now": {"run": "demo"}}


def test_head_is_answered_without_a_body(dashboard: Dashboard) -> None:
    answer, body = ask(dashboard, "/state", "HEAD")
    assert (answer.status, body) == (200, b"")
    assert int(answer.headers["Content-Length"]) > 0


@pytest.mark.parametrize(
    "path", ["/index.html", "/state/", "/page.js", "/../config.toml", "/%2e%2e/config.toml", "//etc/passwd"]
)
def test_there_is_nothing_else(path: str, dashboard: Dashboard) -> None:
    answer, body = ask(dashboard, path)
    assert answer.status == 404
    assert body == b"not found: there are / and /state\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str, dashboard: Dashboard) -> None:
    answer, _ = ask(dashboard, "/state", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9999", "127.0.0.1:1", "127.0.0.2", "[::1]:8265"])
def test_names_of_this_machine_are_answered_at_any_port(host: str, dashboard: Dashboard) -> None:
    assert ask(dashboard, "/state", host=host)[0].status == 200


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8265", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1"],
)
def test_a_page_of_somebody_else_cannot_rebind_its_name_to_this_machine(
    host: str, dashboard: Dashboard
) -> None:
    for path in ("/", "/state"):
        answer, body = ask(dashboard, path, host=host)
        assert answer.status == 403
        assert b"demo" not in body


def test_open_to_all_any_name_is_answered() -> None:
    open_to_all = serve(Fixed({}), "0.0.0.0:0")
    try:
        assert ask(open_to_all, "/state", host="trainer.example")[0].status == 200
        assert open_to_all.url == f"http://{socket.gethostname()}:{port_of(open_to_all)}/"
    finally:
        open_to_all.close()


def test_a_browser_that_says_nothing_keeps_nobody_waiting(dashboard: Dashboard) -> None:
    with socket.create_connection(("127.0.0.1", port_of(dashboard))):
        assert ask(dashboard, "/state")[0].status == 200


def test_many_ask_at_once(dashboard: Dashboard) -> None:
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(dashboard, "/state")[0].status))
        for _ in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 40


def test_a_source_that_fails_is_told_in_one_line_and_the_server_goes_on() -> None:
    source = Fixed({}, ValueError("half of it"))
    dashboard = serve(source, "127.0.0.1:0")
    try:
        answer, body = ask(dashboard, "/state")
        assert (answer.status, body) == (500, b"the state cannot be read: ValueError: half of it\n")
        source.error = None
        assert ask(dashboard, "/state")[0].status == 200
    finally:
        dashboard.close()


def test_after_close_nobody_answers_and_the_port_is_free() -> None:
    port = lasting_port()
    other = serve(Fixed({}), f"127.0.0.1:{port}")
    other.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    again = serve(Fixed({}), f"127.0.0.1:{port}")
    assert port_of(again) == port
    again.close()


def test_a_taken_port_is_refused_in_one_line_that_names_the_way_out(dashboard: Dashboard) -> None:
    with pytest.raises(
        UsageError, match=r"cannot listen on 127.0.0.1:\d+: address already in use; .*--address"
    ):
        serve(Fixed({}), f"127.0.0.1:{port_of(dashboard)}")


def test_an_address_that_is_not_here_is_refused_in_one_line() -> None:
    with pytest.raises(
        UsageError, match=r"cannot listen on 203.0.113.7:8265: .*; choose another with --address"
    ):
        serve(Fixed({}), "203.0.113.7:8265")  # a documentation address (RFC 5737): no machine has it


def test_numbers_that_browsers_cannot_read_become_null() -> None:
    state = {"a": float("nan"), "b": [1.5, float("inf")], "c": {"d": -float("inf"), "e": "NaN"}}
    assert json.loads(to_json(state)) == {"a": None, "b": [1.5, None], "c": {"d": None, "e": "NaN"}}

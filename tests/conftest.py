"""What all tests share: hypothesis tries the same examples in every run, so that a red test stays red.

Tests are one package, so that each of its files has one name: what lies in the same folder is imported
relatively, anything else as ``tests.FOLDER.FILE``.
"""

import signal
from typing import Any

import pytest
from hypothesis import settings

from dials_async.runtime.embedded import EmbeddedRun
from dials_async.runtime.machine import cores
from dials_async.servers.private import PrivateServer

# Private servers, started with the first test that wants one; kernels for another processor.
pytest_plugins = ["tests.private_rabbitmq", "tests.private_redis", "tests.other_processor"]

# A shell without job control makes what it starts in the background deaf to Ctrl-C, and what that starts too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No deadline: the first example of a test may have to compile a kernel.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

#: What a test is marked by: a fixture that it asks for, itself or by another fixture. `make quick` runs the
#: tests without a mark.
MARKED_BY = {
    "servers": "server",
    "browser": "browser",
    "whole_runs": "run",
    "kernels_for_v3": "compiles",
    "kernels_for_v4": "compiles",
}

#: Made once for a whole session, by seconds or minutes of work.
COSTLY = {"kernels_for_v3", "two_runs"}

#: What a test without the mark must not do.
FORBIDDEN: tuple[tuple[str, type, str], ...] = (
    ("servers", PrivateServer, "start"),
    ("whole_runs", EmbeddedRun, "start"),
)


@pytest.fixture(scope="session")
def servers() -> None:
    """Asked for by whoever starts a server."""


@pytest.fixture(scope="session")
def whole_runs() -> None:
    """Asked for by whoever trains a run."""


@pytest.fixture(autouse=True)
def nothing_long_unasked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who starts a server or trains a run without asking for it fails, and so `make quick` stays quick."""
    for fixture, owner, method in FORBIDDEN:
        if request.node.get_closest_marker(MARKED_BY[fixture]) is None:

            def refuse(*_: Any, fixture: str = fixture, **__: Any) -> None:
                pytest.fail(f"this takes long: ask for the fixture '{fixture}' (tests/conftest.py)")

            monkeypatch.setattr(owner, method, refuse)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by fixtures; what takes long comes first, so that the last to end is something short.

    Tests that share what a module makes once, or the whole session at some cost, are for one process of
    pytest-xdist: another one would make it again.
    """
    for item in items:
        assert isinstance(item, pytest.Function)
        for fixture in MARKED_BY.keys() & set(item.fixturenames):
            item.add_marker(MARKED_BY[fixture])
        found = item._fixtureinfo.name2fixturedefs
        if costly := COSTLY & set(item.fixturenames):
            item.add_marker(pytest.mark.xdist_group("+".join(sorted(costly))))
        elif any(found[name][-1].scope == "module" for name in item.fixturenames if name in found):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: not is_long(item))


def is_long(item: pytest.Item) -> bool:
    """Whether `make quick` leaves it out."""
    return any(item.get_closest_marker(mark) for mark in MARKED_BY.values())


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """As many as cores for what only computes; one more for all tests, of which many wait."""
    return cores() + (not config.option.markexpr)

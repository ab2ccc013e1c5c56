"""The stores that the contract tests run against. A new implementation joins FACTORIES."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dials_async.servers.private import lasting_port
from dials_async.servers.redis import RedisServer
from dials_async.store.base import KeepRules, Store
from dials_async.store.memory import MemoryStore
from dials_async.store.redis.store import RedisStore

MakeStore = Callable[..., Store]
OpenStore = Callable[..., RedisStore]


@contextmanager
def memory(_: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """Each call of what is yielded makes a new, empty store with these KeepRules; all end together."""
    yield lambda rules=None: MemoryStore(rules or KeepRules())


@contextmanager
def redis(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    """See ``memory``; each is a run of its own."""
    server: RedisServer = request.getfixturevalue("redis_server")
    with ExitStack() as stores:

        def make(rules: KeepRules | None = None) -> Store:
            store = RedisStore(server.url, f"test-{uuid4().hex}", rules or KeepRules(), patience_s=30.0)
            stores.callback(store.close)
            return store

        yield make


# What a factory asks for while it runs marks no test: here the mark is given.
FACTORIES = [memory, pytest.param(redis, marks=pytest.mark.server)]


@pytest.fixture(params=FACTORIES, ids=lambda factory: factory.__name__)
def make_store(request: pytest.FixtureRequest) -> Iterator[MakeStore]:
    with request.param(request) as make:
        yield make


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store()


@pytest.fixture
def run() -> str:
    """A name that no other test uses."""
    return f"test-{uuid4().hex}"


@pytest.fixture
def open_store(redis_server: RedisServer, run: str) -> Iterator[OpenStore]:
    """Each call is one more connection to the same run, as another process would have it."""
    stores: list[RedisStore] = []

    def make(server: RedisServer = redis_server, **options: Any) -> RedisStore:
        stores.append(RedisStore(server.url, run, KeepRules(), **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def own_server(servers: None, tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    server = RedisServer(tmp_path / "a folder", lasting_port(), password='se"cret \\')
    server.start()
    yield server
    server.stop()

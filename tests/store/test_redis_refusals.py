"""What a Redis refuses, for good or for now: one clear line, or a wait until it is mended."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from dials_async.errors import StoreError, StoreUnreachableError
from dials_async.servers.private import lasting_port
from dials_async.servers.redis import RedisServer
from dials_async.store.base import KeepRules
from dials_async.store.redis.keys import SCHEMA
from dials_async.store.redis.runs import RunRegistry
from dials_async.store.redis.store import RedisStore

from .conftest import OpenStore
from .helpers import LONG_S, NEVER_S, aip_state, eventually, filled, group_state, plain


def refused(url: str, run: str = "any", unreachable: bool = False) -> str:
    """The line of the StoreError when this is opened."""
    start = time.monotonic()
    with pytest.raises(StoreError) as caught:
        RedisStore(url, run, KeepRules(), patience_s=NEVER_S)
    assert isinstance(caught.value, StoreUnreachableError) == unreachable
    assert time.monotonic() - start < LONG_S
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_server_that_is_not_there() -> None:
    port = lasting_port()
    assert refused(f"redis://:se%22cret@127.0.0.1:{port}/0", unreachable=True) == (
        f"cannot reach Redis at redis://127.0.0.1:{port}/0: connection refused; is it running? "
        "('dials train' needs no server)"
    )
    assert "not known" in refused("redis://no-such-host.invalid:6379/0", unreachable=True)


@pytest.mark.parametrize("login", ["", ":wrong-one@", "somebody:wrong-one@"])
def test_a_wrong_login(redis_server: RedisServer, login: str) -> None:
    line = refused(f"redis://{login}127.0.0.1:{redis_server.port}/0")
    assert "refuses the login" in line
    assert "DIALS_REDIS_URL" in line
    assert "wrong-one" not in line


def test_a_wrong_database_or_url(redis_server: RedisServer) -> None:
    assert "no database of this number" in refused(redis_server.url.removesuffix("0") + "99")
    for url in ("http://:wrong-one@127.0.0.1/", "redis://:wrong-one@127.0.0.1:port/0"):
        line = refused(url)
        assert "not a URL of a Redis" in line
        assert "wrong-one" not in line


def test_something_else_that_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(100)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        assert "is not a Redis" in refused(f"redis://127.0.0.1:{listener.getsockname()[1]}/0")


def test_another_schema(redis_server: RedisServer, open_store: OpenStore, run: str) -> None:
    store = open_store()
    store._link.client.hset(f"dials:{{{run}}}:info", "schema", 7)
    line = refused(redis_server.url, run)
    assert "schema 7" in line
    assert f"has {SCHEMA}" in line
    assert "start another run" in line


Client = Any
Spoiling = tuple[Callable[[Client, Path], object], Callable[[Client], object], str]


def cannot_save(client: Client, folder: Path) -> None:
    """A snapshot that fails, as on a full disk: a folder is in its place."""
    (folder / client.config_get("dbfilename")["dbfilename"]).mkdir()
    client.config_set("save", "3600 1")
    client.config_set("stop-writes-on-bgsave-error", "yes")
    client.bgsave()
    assert eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")


def never_ending(client: Client, _: Path) -> None:
    """A script of somebody else's."""
    client.config_set("busy-reply-threshold", "50")
    url = client.connection_pool.connection_kwargs
    other = redis.Redis(host=url["host"], port=url["port"], password=url["password"])

    def run() -> None:
        with suppress(redis.RedisError):
            other.eval("while true do end", 0)

    threading.Thread(target=run, daemon=True).start()

    def is_busy() -> bool:
        try:
            client.ping()
        except redis.ResponseError:
            return True
        return False

    assert eventually(is_busy)


SPOILED: dict[str, Spoiling] = {
    "memory": (
        lambda client, _: client.config_set("maxmemory", "1mb"),
        lambda client: client.config_set("maxmemory", "0"),
        "out of memory: raise its maxmemory",
    ),
    "disk": (
        cannot_save,
        lambda client: client.config_set("save", ""),  # nor would it end without a last snapshot
        "cannot write its data to disk",
    ),
    "script": (never_ending, lambda client: client.script_kill(), "busy with somebody's script"),
    "replicas": (
        lambda client, _: client.config_set("min-replicas-to-write", "1"),
        lambda client: client.config_set("min-replicas-to-write", "0"),
        "too few of its replicas",
    ),
    "replica": (
        lambda client, _: client.replicaof("127.0.0.1", "1"),
        lambda client: client.replicaof("NO", "ONE"),
        "it is a replica",
    ),
}


@pytest.mark.parametrize("what", SPOILED)
def test_a_server_that_refuses_for_now_is_waited_for(
    what: str, own_server: RedisServer, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a server that takes no writes, as an operator's mistake or a full disk makes it
    spoil, mend, reason = SPOILED[what]
    store, other = filled(open_store(own_server), 2), open_store(own_server)
    client = other._link.client
    spoil(client, own_server.folder)
    calls = (
        lambda: store.commit_group(group_state(2)),
        lambda: store.commit_aip(aip_state(2)),
        lambda: store.append_record("evaluation", {"id": "new"}),
    )
    with caplog.at_level(logging.WARNING, "dials_async.store"), ThreadPoolExecutor() as threads:
        # When processes write meanwhile
        waiting = [threads.submit(call) for call in calls]
        try:
            said = eventually(lambda: not store._link.answers) and reason in str(store.refusal)
            if what in ("disk", "script"):  # it refuses to answer at all: who comes now is told at once
                assert reason in refused(own_server.url, unreachable=True)
            done, lines = (
                [call for call in waiting if call.done()],
                [line.getMessage() for line in caplog.records],
            )
        finally:
            mend(client)
        # Then it is said why, once, and after the remedy they go on
        for call in waiting:
            call.result(LONG_S)
    assert said
    assert not done
    assert len(lines) == 1
    assert "refuses for now" in lines[0]
    assert reason in lines[0]
    assert "cret" not in lines[0]
    assert store.refusal is None
    assert store.group_version(0) == 2


@pytest.mark.parametrize("what", ["memory", "replicas", "replica"])
def test_who_looks_at_a_run_is_told_why_its_processes_cannot_write(
    what: str, own_server: RedisServer, run: str
) -> None:
    # Given a run in a Redis that takes no writes any more
    spoil, mend, reason = SPOILED[what]
    registry = RunRegistry(own_server.url)
    registry.create(run, "", "print")
    RedisStore(own_server.url, run, KeepRules()).close()
    assert registry.refusal(run) is None
    spoil(registry._link.client, own_server.folder)
    try:
        # Then it can be opened and read at once, and it is said why
        store = RedisStore(own_server.url, run, KeepRules(), patience_s=NEVER_S)
        assert store.group_version(0) == -1
        store.close()
        assert registry.config(run) == ""
        assert reason in str(registry.refusal(run))
    finally:
        mend(registry._link.client)
    assert eventually(lambda: registry.refusal(run) is None)
    registry.close()


def test_a_refusal_that_outlasts_the_patience_is_an_outage(
    own_server: RedisServer, open_store: OpenStore
) -> None:
    store = filled(open_store(own_server, patience_s=0.5), 2)
    assert isinstance(store, RedisStore)
    snapshot = store.snapshot()
    store._link.client.config_set("maxmemory", "1mb")
    with pytest.raises(StoreUnreachableError, match=r"out of memory.*mend it, then resume"):
        store.commit_group(group_state(2))
    # What is there can be read; nothing of it was changed
    store._link.client.config_set("maxmemory", "0")
    assert plain(store.snapshot()) == plain(snapshot)
    store.commit_group(group_state(2))


def test_damage_is_named(open_store: OpenStore, run: str) -> None:
    store = open_store()
    store.commit_group(group_state(0))
    for damage in (b"", b"\xc1", b"\x93\xa3<f4\x91\xcd\x10\x00\xc4\x01x", b"\x93\xa2|O\x91\x00\xc4\x00"):
        store._link.client.hset(f"dials:{{{run}}}:group:0", "w:0", damage)
        for call in (lambda: store.weights(0, 0), lambda: store.latest_group(0), store.snapshot):
            with pytest.raises(StoreError, match=r"group 0.*damaged in Redis"):
                call()


def test_a_server_that_may_throw_weights_away_is_warned_of(
    own_server: RedisServer, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    open_store(own_server)._link.client.config_set("maxmemory-policy", "allkeys-lru")
    with caplog.at_level(logging.WARNING, "dials_async.store"):
        open_store(own_server)
    (record,) = caplog.records
    assert "allkeys-lru" in record.getMessage()
    assert "cret" not in record.getMessage()

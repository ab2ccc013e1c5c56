"""What only the store in Redis has: outages, lost answers, refusals, other connections and processes."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from dials_async.errors import StoreError, StoreUnreachableError, VersionConflictError
from dials_async.servers.private import lasting_port
from dials_async.servers.redis import RedisServer
from dials_async.store import redis_link
from dials_async.store.base import KeepRules
from dials_async.store.redis import RedisStore
from dials_async.store.runs import RunRegistry

from .helpers import aip_state, filled, group_state, plain

LONG_S = 60.0  # never reached by a test that passes
NEVER_S = 600.0  # patience, and waits, that only something else may end

OpenStore = Callable[..., RedisStore]

RACER = """
import sys
from dials_async.errors import VersionConflictError
from dials_async.store.base import KeepRules
from dials_async.store.redis import RedisStore
from store.helpers import group_state

store = RedisStore(sys.argv[1], sys.argv[2], KeepRules())
for line in sys.stdin:
    try:
        store.commit_group(group_state(int(line)))
        print("won", flush=True)
    except VersionConflictError:
        print("lost", flush=True)
store.close()
"""


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
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may kill."""
    server = RedisServer(tmp_path / "a folder", lasting_port(), password='se"cret \\')
    server.start()
    yield server
    server.stop()


def refused(url: str, run: str = "any", unreachable: bool = False) -> str:
    """The line of the StoreError when this is opened."""
    start = time.monotonic()
    with pytest.raises(StoreError) as caught:
        RedisStore(url, run, KeepRules(), patience_s=NEVER_S)
    assert isinstance(caught.value, StoreUnreachableError) == unreachable
    assert time.monotonic() - start < LONG_S
    assert "\n" not in str(caught.value)
    return str(caught.value)


def lose_answers(monkeypatch: pytest.MonkeyPatch, store: RedisStore, between: Callable[[], None]) -> None:
    """The next script is carried out, but its answer is lost; ``between`` comes before the next try."""
    script, lost = store._link.client.evalsha, []

    def evalsha(*arguments: Any) -> Any:
        answer = script(*arguments)
        if lost:
            return answer
        lost.append(answer)
        between()
        raise redis.ConnectionError("Connection closed by server.")

    monkeypatch.setattr(store._link.client, "evalsha", evalsha)


def eventually(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + LONG_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(condition())


# --- outages


def test_nothing_acknowledged_is_lost_at_kill_9_and_calls_go_on(
    own_server: RedisServer, open_store: OpenStore
) -> None:
    # Given a thread that commits one version after another, and another that reads
    store, reader = open_store(own_server), open_store(own_server)
    acknowledged, lost = [-1], []
    done = threading.Event()

    def commit() -> None:
        while not done.is_set():
            store.commit_group(group_state(acknowledged[0] + 1))
            acknowledged[0] += 1

    def read() -> None:
        while not done.is_set():
            before = acknowledged[0]
            if reader.group_version(0) < before:
                lost.append(before)

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(commit), pool.submit(read)]
        # When the server is killed, and started again on its data
        for _ in range(3):
            time.sleep(0.3)
            own_server.kill()
            time.sleep(0.1)
            own_server.start()
            before = acknowledged[0]
            while acknowledged[0] < before + 5:  # calls go on
                time.sleep(0.01)
                assert not any(future.done() for future in running)
        done.set()
        for future in running:
            future.result(LONG_S)
    # Then every version that was acknowledged is there
    assert lost == []
    state = store.latest_group(0)
    assert state is not None
    assert state.version == acknowledged[0]
    assert (state.arrays["weights"] == state.version).all()


def test_who_waits_is_woken_after_an_outage_too(own_server: RedisServer, open_store: OpenStore) -> None:
    store, other = open_store(own_server), open_store(own_server)
    store.wait(0.0)
    own_server.kill()
    assert not store.wait(0.1)
    own_server.start()
    other.commit_group(group_state(0))
    assert store.wait(LONG_S)
    assert store.group_version(0) == 0


def test_a_server_that_hangs_gets_the_same_commit_twice_and_counts_it_once(
    own_server: RedisServer, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a server that takes what is sent but does not answer
    monkeypatch.setattr(redis_link, "_ANSWER_S", 1.0)
    store = open_store(own_server)
    store.commit_group(group_state(0))
    assert own_server.process is not None
    real, tries = store._link.client.evalsha, list[Any]()

    def stop_first(*arguments: Any) -> Any:
        tries.append(arguments)
        if len(tries) == 1:
            os.kill(own_server.process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        return real(*arguments)

    monkeypatch.setattr(store._link.client, "evalsha", stop_first)
    with ThreadPoolExecutor(1) as pool:
        commit = pool.submit(store.commit_group, group_state(1))
        assert eventually(lambda: len(tries) >= 3)
        assert not commit.done()
        # When it goes on, with two or three of the same commit in its buffers
        own_server.process.send_signal(signal.SIGCONT)
        commit.result(LONG_S)
    # Then it was one
    assert store.group_version(0) == 1
    with pytest.raises(VersionConflictError):
        store.commit_group(group_state(1))


@pytest.mark.parametrize("end", ["give_up", "close", "patience"])
def test_a_call_that_waits_for_redis_can_be_ended(
    own_server: RedisServer, open_store: OpenStore, end: str
) -> None:
    give_up = threading.Event()
    patience_s = 0.5 if end == "patience" else NEVER_S
    store = open_store(own_server, give_up=give_up, patience_s=patience_s)
    own_server.kill()
    with ThreadPoolExecutor(1) as pool:
        start = time.monotonic()
        call = pool.submit(store.commit_group, group_state(0))
        if end != "patience":
            time.sleep(0.3)
            assert not call.done()
        if end == "give_up":
            give_up.set()
        elif end == "close":
            store.close()
        with pytest.raises(StoreError) as caught:
            call.result(LONG_S)
    assert end != "patience" or time.monotonic() - start >= patience_s
    line = str(caught.value)
    assert isinstance(caught.value, StoreUnreachableError) == (end == "patience")
    assert {"give_up": "stopped while", "close": "closed", "patience": "lost Redis"}[end] in line
    assert end == "close" or "connection refused" in line
    assert "cret" not in line
    assert "\n" not in line


def test_an_outage_is_logged_once_and_so_is_its_end(
    own_server: RedisServer, open_store: OpenStore, caplog: pytest.LogCaptureFixture
) -> None:
    store = open_store(own_server)
    own_server.kill()
    with ThreadPoolExecutor(4) as pool, caplog.at_level(logging.WARNING, "dials_async.store"):
        calls = [pool.submit(store.group_version, 0) for _ in range(4)]
        assert eventually(lambda: caplog.records)
        own_server.start()
        assert [call.result(LONG_S) for call in calls] == [-1] * 4
    gone, back = [record.getMessage() for record in caplog.records]
    assert "is gone: " in gone
    assert "is back after" in back
    assert "cret" not in gone + back


def test_close_ends_a_wait_and_the_thread_and_what_comes_later(open_store: OpenStore) -> None:
    store = open_store()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait, NEVER_S)
        time.sleep(0.05)
        store.close()
        store.close()
        with pytest.raises(StoreError, match="closed"):
            waiting.result(LONG_S)
    assert eventually(lambda: not store._news._thread.is_alive())
    for call in (lambda: store.wait(0.0), lambda: store.group_version(0), store.snapshot):
        with pytest.raises(StoreError, match="closed"):
            call()


# --- lost answers


def test_a_commit_whose_answer_was_lost_is_a_success(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store()
    for call in (
        lambda: store.commit_group(group_state(0)),
        lambda: store.commit_aip(aip_state(0)),
        lambda: store.append_record("evaluation", {"id": "a"}),
    ):
        with monkeypatch.context() as patch:
            lose_answers(patch, store, between=lambda: None)
            assert call() in (None, True)
    assert (store.group_version(0), store.aip_version()) == (0, 0)
    assert store.records("evaluation") == [{"id": "a"}]
    # And it is this call that is known again, not the same content
    with pytest.raises(VersionConflictError):
        store.commit_group(group_state(0))
    assert not store.append_record("evaluation", {"id": "a"})


def test_it_is_a_success_even_if_others_went_on_meanwhile(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = open_store(), open_store()
    lose_answers(monkeypatch, store, between=lambda: other.commit_group(group_state(1)))
    store.commit_group(group_state(0))
    assert store.group_version(0) == 1


def test_a_restore_whose_answer_was_lost_is_a_success(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch, redis_server: RedisServer, run: str
) -> None:
    source = RedisStore(redis_server.url, f"{run}-source", KeepRules())
    snapshot = filled(source).snapshot()
    source.close()
    store, lost = open_store(), []
    execute = redis.client.Pipeline.execute

    def lossy(pipe: Any, *arguments: Any) -> Any:
        answer = execute(pipe, *arguments)
        if not lost:
            lost.append(answer)
            raise redis.ConnectionError("Connection closed by server.")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(redis.client.Pipeline, "execute", lossy)
        store.restore(snapshot)
    assert lost
    assert plain(store.snapshot()) == plain(snapshot)
    with pytest.raises(StoreError, match="not empty"):
        store.restore(snapshot)


def test_scripts_that_the_server_forgot_are_sent_again(
    own_server: RedisServer, open_store: OpenStore
) -> None:
    store = open_store(own_server)
    store.commit_group(group_state(0))
    store._link.client.script_flush()
    store.commit_group(group_state(1))
    assert store.group_version(0) == 1


# --- refusals


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
    assert "has 1" in line
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
            said = eventually(lambda: not store._link.answers)
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
    assert store.group_version(0) == 2


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


# --- other connections and processes


def test_of_racing_processes_exactly_one_wins_each_version(redis_server: RedisServer, run: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, redis_server.url, run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for _ in range(2)
    ]
    for version in range(60):
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write(f"{version}\n")
            racer.stdin.flush()
        assert sorted(racer.stdout.readline() for racer in racers if racer.stdout) == ["lost\n", "won\n"]
    for racer in racers:
        racer.communicate(timeout=LONG_S)
        assert racer.returncode == 0


def test_a_commit_wakes_those_who_wait_elsewhere(open_store: OpenStore) -> None:
    store, other = open_store(), open_store()
    with ThreadPoolExecutor(1) as pool:  # one thread: each has seen what it was woken for before
        for change in (
            lambda: other.commit_group(group_state(0)),
            lambda: other.commit_aip(aip_state(0)),
            lambda: other.append_record("evaluation", {"id": "a"}),
        ):
            waiting = pool.submit(store.wait, 3 * LONG_S)
            time.sleep(0.05)
            assert not waiting.done()
            change()
            assert waiting.result(LONG_S)


def test_without_pub_sub_who_waits_is_woken_a_little_later(
    own_server: RedisServer, open_store: OpenStore, run: str
) -> None:
    # Given a user who may neither publish nor subscribe, on a server that cut all listeners off before
    store = open_store(own_server)
    admin = store._link.client
    admin.acl_setuser("worker", enabled=True, nopass=True, keys=["*"], commands=["+@all"], reset=True)
    admin.execute_command("ACL", "SETUSER", "worker", "resetchannels")
    admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    worker = RedisStore(f"redis://worker:x@127.0.0.1:{own_server.port}/0", run, KeepRules())
    # When either commits
    try:
        for version, (waits, commits) in enumerate(((worker, store), (store, worker))):
            waits.wait(0.0)
            commits.commit_group(group_state(version))
            # Then the other learns of it
            assert waits.wait(LONG_S)
            assert waits.group_version(0) == version
    finally:
        worker.close()


def test_reads_through_another_connection_are_never_torn(open_store: OpenStore) -> None:
    store, reader = open_store(), open_store()
    done, reads = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            state, snapshot = reader.latest_group(0), reader.snapshot()
            for seen in (state, snapshot.groups[0].state if snapshot.groups else None):
                if seen is not None:
                    reads.append(seen.version)
                    assert seen.meta["updates"] == seen.version
                    assert seen.steps_per_agent == 100 * seen.version
                    assert all((seen.arrays[name] == seen.version).all() for name in ("weights", "adam_m"))

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        version = 0
        while version < 300 or len(set(reads)) <= 10:
            assert version < 30_000, f"only {len(set(reads))} versions were read"
            assert not any(future.done() for future in readers)
            store.commit_group(group_state(version))
            version += 1
        done.set()
        for future in readers:
            future.result(LONG_S)


# --- the private server


def test_the_password_is_seen_by_nobody_else(own_server: RedisServer) -> None:
    command = own_server.command()
    assert "cret" not in " ".join(command.argv)
    assert "cret" not in "".join(command.environment.values())
    assert Path(command.argv[-1]).stat().st_mode & 0o777 == 0o600
    assert not RedisServer(own_server.folder, own_server.port, "wrong").answers()


def test_who_was_at_work_before_redis_lost_the_run_cannot_write_to_its_new_life(
    open_store: OpenStore, redis_server: RedisServer, run: str
) -> None:
    # Given a store that was opened before all of the run was lost, and the run made again
    before = open_store()
    before.commit_group(group_state(0))
    registry = RunRegistry(redis_server.url)
    registry.delete(run)
    again = open_store()
    # Then nothing that it writes gets in
    for write in (
        lambda: before.commit_group(group_state(0)),
        lambda: before.commit_aip(aip_state(0)),
        lambda: before.append_record("evaluation", {"id": "v0"}),
    ):
        with pytest.raises(StoreError, match="has lost the run: go on from its newest checkpoint"):
            write()
    assert (again.group_version(0), again.aip_version(), again.records("evaluation")) == (-1, -1, [])
    again.commit_group(group_state(0))
    registry.close()

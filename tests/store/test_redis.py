"""What only the store in Redis has: outages, lost answers, other connections and processes."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis

from dials_async.errors import StoreError, StoreUnreachableError, VersionConflictError
from dials_async.servers.redis import RedisServer
from dials_async.store.base import KeepRules
from dials_async.store.redis import link as redis_link
from dials_async.store.redis.runs import RunRegistry
from dials_async.store.redis.store import RedisStore

from .conftest import OpenStore
from .helpers import LONG_S, NEVER_S, aip_state, eventually, filled, group_state, plain

RACER = """
import sys
from dials_async.errors import VersionConflictError
from dials_async.store.base import KeepRules
from dials_async.store.redis.store import RedisStore
from tests.store.helpers import group_state

store = RedisStore(sys.argv[1], sys.argv[2], KeepRules())
for line in sys.stdin:
    try:
        store.commit_group(group_state(int(line)))
        print("won", flush=True)
    except VersionConflictError:
        print("lost", flush=True)
store.close()
"""


def lose_answers(monkeypatch: pytest.MonkeyPatch, store: RedisStore, between: Callable[[], None]) -> None:
    """The next script is carried out, but its answer is lost; ``between`` comes before the next try."""
    script, lost = store._link.client.evalsha, list[Any]()

    def evalsha(*arguments: Any) -> Any:
        answer = script(*arguments)
        if lost:
            return answer
        lost.append(answer)
        between()
        raise redis.ConnectionError("Connection closed by server.")

    monkeypatch.setattr(store._link.client, "evalsha", evalsha)


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
    store, lost = open_store(), list[Any]()
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

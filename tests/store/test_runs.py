"""The registry of runs in Redis: entries, states, one clock for all hosts, presence, leases."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from dials_async.errors import RunExistsError, RunNotFoundError, StoreError, UsageError
from dials_async.servers.redis import RedisServer
from dials_async.store.base import KeepRules
from dials_async.store.redis import runs
from dials_async.store.redis.runs import RunRegistry
from dials_async.store.redis.store import RedisStore

from .helpers import filled

#: Longer than a busy machine takes between two calls.
BUSY_S = 60.0


#: What a process says of itself.
SAID = {"name": "a", "role": "learner", "host": "here", "doing": "starting", "memory_mib": 1.5}


@pytest.fixture
def registry(redis_server: RedisServer) -> Iterator[RunRegistry]:
    registry = RunRegistry(redis_server.url)
    yield registry
    registry.close()


@pytest.fixture
def known(registry: RunRegistry, run: str) -> Iterator[str]:
    """A run that is entered."""
    registry.create(run, "seed = 1\n", "print")
    yield run
    registry.delete(run)


def keys_of(registry: RunRegistry, run: str) -> list[bytes]:
    found: list[bytes] = registry._link.client.keys(f"dials:{{{run}}}:*")
    return found


def test_a_run_is_entered_once(registry: RunRegistry, run: str) -> None:
    assert run not in registry.names()
    registry.create(run, "seed = 1\n", "print")
    assert run in registry.names()
    assert (registry.config(run), registry.fingerprint(run)) == ("seed = 1\n", "print")
    with pytest.raises(RunExistsError, match=run):
        registry.create(run, "seed = 2\n", "other")
    registry.replace_config(run, "seed = 1\nsteps = 2\n")
    assert registry.config(run) == "seed = 1\nsteps = 2\n"
    registry.delete(run)
    assert run not in registry.names()


def test_of_racing_creations_one_wins(registry: RunRegistry, run: str) -> None:
    barrier = threading.Barrier(8)

    def create(who: int) -> bool:
        barrier.wait()
        try:
            registry.create(run, f"seed = {who}\n", "print")
        except RunExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1
    registry.delete(run)


def test_a_creation_whose_answer_was_lost_is_a_success(
    registry: RunRegistry, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, lost = registry._link.client.evalsha, list[Any]()

    def evalsha(*arguments: Any) -> Any:
        answer = script(*arguments)
        if not lost:
            lost.append(answer)
            raise redis.ConnectionError
        return answer

    monkeypatch.setattr(registry._link.client, "evalsha", evalsha)
    registry.create(run, "seed = 1\n", "print")
    assert lost == [1]
    registry.delete(run)


def test_a_run_that_is_not_there_is_answered_with_those_that_are(registry: RunRegistry, run: str) -> None:
    for name in ("-one", "-two"):
        registry.create(run + name, "", "print")
    for call in (
        lambda: registry.config(run + "-ome"),
        lambda: registry.status(run + "-ome"),
        lambda: registry.set_status(run + "-ome", "running"),
        lambda: registry.replace_config(run + "-ome", ""),
        lambda: registry.start_clock(run + "-ome", 0.0),
        lambda: registry.elapsed_s(run + "-ome"),
        lambda: registry.processes(run + "-ome"),
        lambda: registry.claims(run + "-ome"),
    ):
        with pytest.raises(RunNotFoundError, match=f"no run '{run}-ome'.*: {run}-one, {run}-two"):
            call()
    # And what processes of a deleted run still say leaves nothing behind
    registry.announce(run, "worker", SAID)
    assert not registry.claim(run, "group 0", "worker", 10.0)
    registry.unclaim(run, "group 0", "worker")
    assert keys_of(registry, run) == []
    for name in ("-one", "-two"):
        registry.delete(run + name)


@pytest.mark.parametrize("name", ["", "*", "a}b", "a/b", "../a", "x" * 101])
def test_a_name_is_plain(registry: RunRegistry, name: str) -> None:
    with pytest.raises(UsageError, match="no name for a run"):
        registry.create(name, "", "")
    with pytest.raises(UsageError, match="no name for a run"):
        registry.delete(name)


def test_all_keys_of_a_run_are_in_one_slot_and_go_with_it(
    registry: RunRegistry, known: str, redis_server: RedisServer
) -> None:
    other = f"{known}-other"
    registry.create(other, "", "print")
    store = RedisStore(redis_server.url, known, KeepRules())
    filled(store)
    registry.announce(known, "worker", SAID)
    registry.claim(known, "group 0", "worker", 10.0)
    assert len(keys_of(registry, known)) == 13
    registry.delete(known)
    assert keys_of(registry, known) == []
    assert other in registry.names()
    store.close()
    registry.delete(other)


def test_a_run_of_another_schema_is_refused(registry: RunRegistry, known: str) -> None:
    registry._link.client.hset(f"dials:{{{known}}}:info", "schema", 1)
    with pytest.raises(StoreError, match=r"schema 1.*has 2.*use the version that began it"):
        registry.config(known)


def test_the_state_of_a_run(registry: RunRegistry, known: str) -> None:
    status = registry.status(known)
    assert (status.state, status.note, status.started_at) == (runs.INITIALISED, "", None)
    assert abs(status.created_at - time.time()) < 60
    registry.set_status(known, runs.FAILED, "learner 0: numbers are not finite")
    status = registry.status(known)
    assert (status.state, status.note) == (runs.FAILED, "learner 0: numbers are not finite")
    with pytest.raises(ValueError, match="initialised, running"):
        registry.set_status(known, "odd")


def test_the_clock_goes_on_where_the_session_before_ended(registry: RunRegistry, known: str) -> None:
    assert registry.elapsed_s(known) == 0.0
    registry.start_clock(known, 100.5)
    first = registry.elapsed_s(known)
    time.sleep(0.05)
    second = registry.elapsed_s(known)
    assert 100.5 <= first < 100.5 + BUSY_S
    assert 0.04 < second - first < BUSY_S
    status = registry.status(known)
    assert status.seconds_before == 100.5
    assert status.started_at is not None


def test_processes_tell_that_they_are_there(
    registry: RunRegistry, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "MAX_PRESENT", 3)
    registry.announce(known, "a", {**SAID, "rate": 1.5})
    time.sleep(0.05)
    registry.announce(known, "b", SAID)
    present = registry.processes(known)
    assert list(present) == ["a", "b"]
    assert present["a"].facts == {**SAID, "rate": 1.5}
    assert 0.04 < present["a"].age_s - present["b"].age_s < BUSY_S
    # Who says something again is young again; who was silent longest is forgotten
    for name in ("a", "c", "d"):
        registry.announce(known, name, SAID)
    assert list(registry.processes(known)) == ["a", "c", "d"]
    for facts in ({"x": float("nan")}, {"x": {1}}, {"x": "y" * 10**5}, {"memory_mib": "much"}, {"role": 1}):
        with pytest.raises(StoreError, match="facts of a"):
            registry.announce(known, "a", {**SAID, **facts})


def test_what_no_process_says_is_passed_over_and_named(registry: RunRegistry, known: str) -> None:
    registry.announce(known, "a", SAID)
    client, key = registry._link.client, f"dials:{{{known}}}:present"
    for damage in (b"", b"{", b"\xff", b"[]", b"null", b'{"role": "learner"}', b"[" * 10**5, b'{"x": NaN}'):
        client.hset(key, b"a", damage)
        (presence,) = registry.processes(known).values()
        assert (presence.facts["name"], presence.facts["role"]) == ("a", runs.DAMAGED)
        assert presence.facts["left"]
    registry.announce(known, "a", SAID)
    assert registry.processes(known)["a"].facts == SAID


def test_a_lease_has_one_owner_until_its_time_is_over(registry: RunRegistry, known: str) -> None:
    # Given a lease that somebody has
    assert registry.claim(known, "group 0", "first one", BUSY_S)
    assert not registry.claim(known, "group 0", "second", BUSY_S)
    assert registry.claim(known, "group 1", "second", BUSY_S)
    assert registry.claims(known) == {"group 0": "first one", "group 1": "second"}
    # When it is renewed, it is for as long as was asked for last
    assert registry.claim(known, "group 0", "first one", 0.1)
    assert registry.claim(known, "group 0", "first one", BUSY_S)
    time.sleep(0.15)
    assert not registry.claim(known, "group 0", "second", BUSY_S)
    # When it is not, another may have it, and the first has lost it
    assert registry.claim(known, "group 0", "first one", 0.1)
    time.sleep(0.15)
    assert registry.claims(known) == {"group 1": "second"}
    assert registry.claim(known, "group 0", "second", BUSY_S)
    assert not registry.claim(known, "group 0", "first one", BUSY_S)
    # And only its owner gives it up
    registry.unclaim(known, "group 0", "first one")
    assert registry.claims(known)["group 0"] == "second"
    registry.unclaim(known, "group 0", "second")
    assert registry.claim(known, "group 0", "first one", BUSY_S)


def test_of_racing_claims_one_wins(registry: RunRegistry, known: str) -> None:
    barrier = threading.Barrier(8)

    def claim(who: int) -> bool:
        barrier.wait()
        return registry.claim(known, "group 0", f"learner {who}", BUSY_S)

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(8))) == 1


def test_a_closed_registry_says_so(redis_server: RedisServer) -> None:
    registry = RunRegistry(redis_server.url)
    registry.close()
    registry.close()
    with pytest.raises(StoreError, match="closed"):
        registry.names()


def test_the_clock_leaves_out_a_pause_and_nothing_else(registry: RunRegistry, known: str) -> None:
    # Given a run whose clock is started, and a process at work a moment later
    registry.start_clock(known, 5.0)
    time.sleep(0.2)
    earliest = registry.elapsed_s(known)
    registry.announce(known, "learner", SAID)
    latest = registry.elapsed_s(known)
    assert earliest >= 5.2
    # When it is silent for longer than a pause, and then others join
    time.sleep(0.6)
    assert registry.elapsed_s(known) >= earliest + 0.6
    start = time.monotonic()
    for _ in range(2):
        registry.skip_pause(known, 0.3)
        # Then the silence is not counted, and the clock goes on from where it was last heard of
        assert earliest <= registry.elapsed_s(known) <= latest + time.monotonic() - start
    # And a short silence is no pause
    registry.announce(known, "learner", SAID)
    time.sleep(0.2)
    registry.skip_pause(known, BUSY_S)
    assert registry.elapsed_s(known) >= earliest + 0.2

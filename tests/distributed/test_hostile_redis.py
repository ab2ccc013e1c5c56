"""Whatever is in Redis: a run that reads it says in one line what is damaged, or passes over it."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Any

import msgpack

from dials_async.config import Config
from dials_async.distributed import status
from dials_async.distributed.connection import Connection, read_config
from dials_async.distributed.create import create
from dials_async.distributed.learners import living_learners
from dials_async.errors import DialsError
from dials_async.evaluation.evaluator import Evaluator
from dials_async.messaging.memory import MemoryBroker
from dials_async.metrics.phases import Busy
from dials_async.run_context import RunContext
from dials_async.runtime.results import summarise_run, weights_sha256
from dials_async.runtime.wiring import declare_queues, is_complete, keep_rules, make_context
from dials_async.servers.private import PrivateServer
from dials_async.store.redis.keys import RunKeys
from dials_async.store.redis.runs import RunRegistry
from dials_async.store.redis.store import RedisStore
from tests.runtime.small import small_config

from .fleet import fleet

#: Values that are tried, over all keys and fields of a run.
HOSTILE = 1000

#: Of a key that holds something else altogether.
KINDS: list[Callable[[Any, bytes], object]] = [
    lambda client, key: client.set(key, b"x"),
    lambda client, key: client.rpush(key, b"x"),
    lambda client, key: client.hset(key, b"x", b"y"),
    lambda client, key: client.sadd(key, b"x"),
]

NUMBERS = [
    b"",
    b"x",
    b"-7",
    b"1e9",
    b"\xff\xfe",
    b"9" * 30,
    b"nan",
    b"inf",
    b"-inf",
    b" 1",
    b"0x1",
    b"\x1b[2J",
]

VALUES: list[Any] = [None, True, -1, 10**40, 1e308, "x", "\x1b[2J", "", [], {}, [[]], {"x": "y"}, [None], 0.5]


def mutated(rng: random.Random, value: Any) -> Any:
    """``value`` with one of its parts, at any depth, replaced, removed, or named otherwise."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        rest = {key: part for key, part in value.items() if key != name}
        if rng.random() < 0.2:
            return rest
        if rng.random() < 0.1:
            return {**rest, "\x1b[2J": value[name]}
        return {**rest, name: mutated(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.6:
        at = rng.randrange(len(value))
        return [*value[:at], mutated(rng, value[at]), *value[at + 1 :]]
    return rng.choice(VALUES)


def hostile(rng: random.Random, good: bytes) -> bytes:
    """Something that no program of ours would write in the place of ``good``."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(NUMBERS)
    if kind == 1:
        return good[: rng.randrange(len(good) + 1)]
    if kind == 2 and good:
        at = rng.randrange(len(good))
        return good[:at] + bytes([good[at] ^ rng.randrange(1, 256)]) + good[at + 1 :]
    if kind == 3:
        return b"[" * rng.choice([1, 10**5])
    with suppress(ValueError):
        return json.dumps(mutated(rng, json.loads(good))).encode()
    with suppress(ValueError, msgpack.UnpackException, TypeError, OverflowError):
        packed: bytes = msgpack.packb(mutated(rng, msgpack.unpackb(good)))
        return packed
    return rng.randbytes(rng.randrange(40))


class Damage:
    """One key of a run, which is whole again at the end of the block."""

    def __init__(self, client: Any, key: bytes) -> None:
        self._client, self._key = client, key
        self._whole: bytes = client.dump(key)

    def __enter__(self) -> "Damage":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.restore(self._key, 0, self._whole, replace=True)

    def make(self, rng: random.Random) -> str:
        """Damage it; what was done."""
        client, key = self._client, self._key
        kind = client.type(key)
        if rng.random() < 0.05:
            client.delete(key)
            other = rng.choice(KINDS)
            other(client, key)
            return f"{key!r} is of another kind"
        if kind == b"hash":
            field = rng.choice(sorted(client.hkeys(key)))
            value = hostile(rng, client.hget(key, field))
            if rng.random() < 0.1:
                field = rng.choice([b"\xff", b"w:x", b"h:-1", b"a:\x1b[2J", field + b"0"])
            client.hset(key, field, value)
            return f"{key!r} {field!r} = {value[:60]!r}"
        if kind == b"list":
            at = rng.randrange(client.llen(key))
            value = hostile(rng, client.lindex(key, at))
            client.lset(key, at, value)
            return f"{key!r} [{at}] = {value[:60]!r}"
        value = hostile(rng, b"1")
        if kind == b"set":
            client.sadd(key, value)
        elif kind == b"zset":
            client.zadd(key, {value: rng.choice([-1e300, 0.0, 1e300])})
        else:
            client.set(key, value)
        return f"{key!r} = {value[:60]!r}"


def opened(registry: RunRegistry, run: str, url: str) -> RunContext:
    """As a process opens its run, but for RabbitMQ."""
    config: Config = read_config(registry, run)
    store = RedisStore(url, run, keep_rules(config), patience_s=0.5)
    context = make_context(run, config, MemoryBroker(), store)
    declare_queues(context)
    return context


def everything_is_read(registry: RunRegistry, run: str, url: str, complaints: list[str]) -> str:
    """What all roles read of a run, and who asks for its status; the status in words. Errors are noted."""
    shown = ""

    def tried(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except DialsError as error:
            complaints.append(str(error))
            return None

    context = tried(lambda: opened(registry, run, url))
    tried(registry.names)
    tried(lambda: registry.fingerprint(run))
    tried(lambda: living_learners(registry, run))
    if context is None:
        return shown
    connection = Connection(registry, context)
    try:
        tried(connection.set_clock)
        tried(lambda: is_complete(context))
        tried(context.participants.not_reproducible)
        tried(lambda: summarise_run(context, "test", Busy({}, {})))
        tried(lambda: weights_sha256(context))
        tried(lambda: Evaluator(context, 1, Event())._left())
        tried(context.store.snapshot)
        for group in context.groups:
            tried(partial(context.newest, group))
            for version in range(context.clock.n_updates + 1):
                tried(partial(context.weights, group, version))
            tried(partial(context.store.held, group.index, "evaluation"))
        tried(context.aips)
        before = {"at": 0.0, "total_agent_steps": 0}
        shown = tried(lambda: status.in_words(status.gather(connection, before))) or ""
    finally:
        context.close()
    return shown


def test_a_thousand_hostile_values(run: str, redis_server: PrivateServer) -> None:
    # Given a run that was trained to its end
    config = small_config()
    create(run, config)
    with fleet(run) as members:
        members.start_all()
        members.wait()
    registry = RunRegistry(redis_server.url, patience_s=0.5)
    client = registry._link.client
    keys = sorted(client.scan_iter(match=RunKeys(run).pattern, count=1000))
    assert len(keys) > 15
    rng = random.Random(1)
    complaints: list[str] = []
    assert "complete" in everything_is_read(registry, run, redis_server.url, complaints)
    assert [line for line in complaints if "is not kept" not in line] == []
    # When one value after the other is damaged, of every key
    complaints.clear()
    for count in range(HOSTILE):
        key = keys[count % len(keys)]
        with Damage(client, key) as damage:
            done, before = damage.make(rng), len(complaints)
            try:
                shown = everything_is_read(registry, run, redis_server.url, complaints)
            except Exception as error:
                raise AssertionError(f"{done}: {type(error).__name__}: {error}") from error
        # Then what is told are lines that a terminal can show
        assert "\x1b" not in shown, done
        for line in complaints[before:]:
            assert line.isprintable(), (done, line)
    # And with everything as it was, all is well again
    complaints.clear()
    assert "complete" in everything_is_read(registry, run, redis_server.url, complaints)
    assert [line for line in complaints if "is not kept" not in line] == []
    registry.delete(run)
    registry.close()

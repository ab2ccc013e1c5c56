"""Whatever is in the queues: bad messages become dead letters with a reason, and nothing else changes."""

import random
import zlib
from pathlib import Path

import msgpack
import numpy as np
import pika

from dials_async.distributed.create import create
from dials_async.errors import QueueFullError
from dials_async.learning.inbox import Inbox
from dials_async.messaging.broker import Broker
from dials_async.messaging.envelope import MAX_MESSAGE_BYTES
from dials_async.messaging.schema import (
    SCHEMA_VERSION,
    Experience,
    RolloutTask,
    encode_experience,
    encode_task,
)
from dials_async.run_context import RunContext
from dials_async.runtime.results import weights_sha256
from dials_async.servers.private import PrivateServer
from tests.messaging.examples import resealed
from tests.runtime.small import small_config, train_to_the_end

from .fleet import LONG_S, Fleet, eventually, final_sha256, fleet, observer

#: Into each of the six queues.
PER_QUEUE = 2000


def good_experience(context: RunContext, agent: int) -> bytes:
    """A message that the learner of ``agent`` would take for its first update, were it not changed."""
    group = next(group for group in context.groups if agent in group.agents)
    episodes, steps = context.config.rollout.episodes_per_task, context.domain.episode_steps
    rng = np.random.default_rng(agent)
    message = Experience(
        origin=context.task_origin(),
        task_id=f"ials/g{group.index}/u0/t0",
        agent=agent,
        update=0,
        index=0,
        policy_version=0,
        aip_version=1,
        worker="stranger",
        made_at=1_764_000_000.5,
        observations=np.zeros((episodes, steps + 1, group.spec.observation_bytes), np.uint8),
        actions=rng.integers(0, group.spec.n_actions, (episodes, steps), dtype=np.uint8),
        rewards=np.ones((episodes, steps), np.float32),
        log_probs=np.full((episodes, steps), -1.0, np.float32),
        terminated=np.zeros(episodes, np.uint8),
        truncated=np.ones(episodes, np.uint8),
    )
    return encode_experience(message)


def forgery(chance: random.Random, good: bytes, experience: bool) -> bytes:
    """Well-formed, and of this run in all but one field, which only who knows the run finds wrong."""

    def number(low: int, high: int = 10**6) -> int:
        return chance.randint(low, high)

    def array(low: float, high: float) -> bytes:
        return np.full(800, chance.uniform(low, high), np.float32).tobytes()

    origin = list(msgpack.unpackb(good)["origin"])  # run, life, configuration, numerics
    origin[chance.randrange(4)] = f"{chance.getrandbits(64):016x}"
    others: dict[str, object] = {"origin": origin}
    if experience:
        others |= {
            "policy_version": number(1),
            "aip_version": chance.choice([0, number(2)]),
            "task_id": f"ials/g0/u0/t{number(1)}",
            "rewards": chance.choice([array(1.01, 9.0), array(-9.0, -1.01), array(1e3, 1e30)]),
            "log_probs": array(-1e30, -200.0),
        }
    else:
        others |= {"index": number(2), "update": number(4), "episodes": number(9, 99)}
    field = chance.choice(["origin", *others])
    return resealed(good, **{field: others[field]})


def bad_bodies(good: bytes, array: str | None, count: int) -> list[bytes]:
    """Garbage, truncated, flipped, of another schema, forged, and, of experience, of wrong shape and NaN."""
    chance = random.Random(len(good))

    def schema() -> object:
        text = "".join(chr(chance.choice([chance.randrange(128), 0xE9, 0x2603])) for _ in range(9))
        return chance.choice([chance.randint(-5, 10**6), text, "", None, chance.randbytes(9)])

    def make() -> bytes:
        kind = chance.randint(0, 8 if array else 6)
        if kind == 0:
            return chance.randbytes(chance.choice([0, 1, chance.randint(2, 300)]))
        if kind == 1:
            return good[: chance.randrange(len(good))]
        if kind == 2:
            at = chance.randrange(len(good))
            return good[:at] + bytes([good[at] ^ chance.randint(1, 255)]) + good[at + 1 :]
        if kind == 3:
            while (other := schema()) == SCHEMA_VERSION:
                pass
            return resealed(good, schema=other)
        if kind == 4:
            field = chance.choice(["run", "update", "index"])
            return resealed(good, **{field: chance.choice([None, "x\n", -3])})
        if kind in (5, 6):
            return forgery(chance, good, experience=array is not None)
        if kind == 7:
            return resealed(good, rewards=bytes(4 * chance.randrange(800)))
        values = np.ones(800, np.float32)
        values[chance.randrange(800)] = chance.choice([np.nan, np.inf, -np.inf])
        return resealed(good, **{chance.choice(["rewards", "log_probs"]): values.tobytes()})

    return [make() for _ in range(count)]


def publish_all(broker: Broker, queue: str, bodies: list[bytes], members: Fleet) -> None:
    for body in bodies:
        while True:
            try:
                broker.publish(queue, body)
                break
            except QueueFullError:
                members.require_health()


def oversized(url: str, queue: str) -> None:
    """More than any of our programs would send, past the check in our own ``publish``."""
    body = bytes(MAX_MESSAGE_BYTES + 1)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    connection.channel().basic_publish("", queue, body)
    connection.close()


def test_two_thousand_bad_messages_in_every_queue(
    tmp_path: Path, run: str, rabbitmq_server: PrivateServer
) -> None:
    config = small_config()
    expected = weights_sha256(train_to_the_end(tmp_path / "embedded", config).context)
    create(run, config)
    with fleet(run) as members, observer(run) as seen:
        context = seen.context
        origin = context.task_origin()
        tasks = {
            context.queues.rollout_tasks: encode_task(RolloutTask(origin, "ials", 0, 0, 0, 8, (0,), 1)),
            context.queues.gs_tasks: encode_task(RolloutTask(origin, "gs", -1, 0, 0, 8, (0, 0), 0)),
        }
        messages = {context.queues.experience(agent): good_experience(context, agent) for agent in range(4)}
        # Given consumers of all queues, the learners waiting for AIPs that do not come yet
        rollout, learner = members.start(rollout=1, learner=1)
        # When each queue gets its share, and one message beyond every limit
        sent = 0
        for queue, good in {**tasks, **messages}.items():
            bodies = bad_bodies(good, "rewards" if queue in messages else None, PER_QUEUE)
            publish_all(context.broker, queue, bodies, members)
            oversized(rabbitmq_server.url, queue)
            sent += len(bodies) + 1

        def rejected() -> int:
            facts = [p.facts for p in seen.registry.processes(run).values()]
            return sum(int(each.get("rejected", 0)) for each in facts)

        # Then every single one was rejected, the newest thousand lie there with their reasons, and all live
        members.start(keeper=1, gs_sampler=1, evaluator=1)
        assert eventually(lambda: rejected() == sent), f"{rejected()} of {sent}"
        letters = context.broker.dead_letters()
        assert len(letters) == 1000
        assert all(len(letter.reason) > 10 for letter in letters)
        assert any("limit" in letter.reason for letter in letters)
        for forgery_of in (
            "numerics '",
            "life '",
            "policy_version ",
            "the clock says",
            "is beyond",
            "task_id '",
        ):
            assert any(forgery_of in letter.reason for letter in letters), forgery_of
        members.wait()
    # And the run ends as it would have without them
    assert rollout.error is None
    assert learner.error is None
    assert final_sha256(run) == expected


def test_the_messages_of_this_test_are_bad_because_of_what_was_changed(run: str) -> None:
    """The control: unchanged they are taken."""
    create(run, small_config())
    with observer(run) as seen:
        context = seen.context
        group = context.groups[0]
        inbox = Inbox(context, group)
        context.broker.publish(context.queues.experience(0), good_experience(context, 0))
        consumer = context.broker.consumer([context.queues.experience(0)], 1)
        delivery = consumer.receive(LONG_S)
        assert delivery is not None
        inbox.take(consumer, delivery, 0)
        assert inbox.arrivals.rejected == 0
        body = good_experience(context, 0)
        assert zlib.crc32(body[:-4]).to_bytes(4, "big") == body[-4:]

"""``dials dead-letters``: what was rejected and why, back to the queues or away; hostile bytes do no harm."""

import json

import pika
from click.testing import CliRunner, Result

from dials_async.cli import main
from dials_async.distributed.create import create
from dials_async.messaging.rabbitmq import queues as amqp_queues
from dials_async.messaging.schema import RolloutTask, encode_task
from dials_async.servers.private import PrivateServer
from tests.messaging.examples import resealed
from tests.messaging.helpers import buried
from tests.runtime.small import small_config

from .fleet import observer


def dials(*words: str) -> Result:
    return CliRunner().invoke(main, words, catch_exceptions=False)


def listed(run: str, *words: str) -> dict[str, object]:
    result = dials("dead-letters", run, "--json", *words)
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


def test_dead_letters_are_listed_shown_requeued_and_dropped(run: str) -> None:
    create(run, small_config())
    with observer(run) as seen:
        context = seen.context
        tasks, mine = context.queues.rollout_tasks, context.queues.experience(0)
        task = encode_task(RolloutTask(context.task_origin(), "ials", 0, 7, 0, 8, (7,), 1))
        # Given three dead letters of two queues
        buried(context.broker, tasks, task, resealed(task, update=8))
        buried(context.broker, mine, b"\x1b[2J not a message")
        # Then they are listed by queue and reason, with their ages
        page = dials("dead-letters", run).stdout
        assert page.startswith(f"{run}: 3 dead letters\n")
        assert f"     2  {tasks}  " in page
        assert " ago: test\n" in page
        assert "update" not in page
        # And shown: the newest, or the oldest first
        page = dials("dead-letters", run, "--show", "1").stdout
        assert "\x1b" not in page
        assert "\\x1b[2J not a message" in page
        assert "    update: 7\n" in dials("dead-letters", run, "--show", "1", "--oldest").stdout
        # When they are requeued
        result = listed(run, "--requeue")
        assert (result["requeued"], result["left"]) == (3, {})
        # Then they are where they came from, and no dead letters
        assert (context.broker.depth(tasks), context.broker.depth(mine)) == (2, 1)
        assert listed(run)["dead_letters"] == 0
        # When what was bad still is rejected again, and dropped
        buried(context.broker, mine)
        assert dials("dead-letters", run, "--drop").stdout.endswith("dropped 1\n")
        assert context.broker.dead_letter_count() == 0
        assert context.broker.depth(tasks) == 2
        assert dials("dead-letters", run, "--drop", "--requeue").exit_code == 2


def test_forged_dead_letters_neither_reach_the_terminal_raw_nor_queues_of_others(
    run: str, rabbitmq_server: PrivateServer
) -> None:
    create(run, small_config())
    create(other := f"{run}-other", small_config())
    with observer(run) as seen, observer(other) as neighbour:
        hostile = "\x1b]0;owned\x07\u202e\n" * 100
        dead, victim = seen.context.queues.dead, neighbour.context.queues.rollout_tasks
        headers: list[dict[str, object] | None] = [
            {"dials-queue": victim, "dials-reason": hostile, "dials-bytes": "many"},
            {"dials-queue": hostile, "dials-reason": ["a", {"b": hostile}], "dials-bytes": -1},
            {"x-death": hostile},
            {"x-death": [{"queue": 7, "reason": None, "time": "now"}]},
            None,
        ]
        connection = pika.BlockingConnection(pika.URLParameters(rabbitmq_server.url))
        channel = connection.channel()
        channel.confirm_delivery()
        for each in headers:
            properties = pika.BasicProperties(headers=each)
            channel.basic_publish(amqp_queues.DEAD_EXCHANGE, dead, b"\x1b[2J", properties, mandatory=True)
        connection.close()
        page = dials("dead-letters", run, "--show", "9").stdout
        assert page.startswith(f"{run}: 5 dead letters\n")
        assert page.replace("\n", "").isprintable()
        assert listed(run, "--requeue")["requeued"] == 0
        assert neighbour.context.broker.depth(victim) == 0
        assert listed(run, "--drop")["dropped"] == 5


def test_status_says_how_to_look_at_dead_letters(run: str) -> None:
    create(run, small_config())
    with observer(run) as seen:
        buried(seen.context.broker, seen.context.queues.experience(1), b"x")
        page = dials("status", run).stdout
        assert f"! 1 dead letters: rejected messages ('dials dead-letters {run}' says why)" in page

"""A real run with real servers, watched by a real Prometheus; all that is watched for happens to it.

RabbitMQ and Redis are killed, workers die and come back, queues are full, messages are malformed or too old.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from dials_async.distributed.connection import Connection, connect
from dials_async.distributed.create import create
from dials_async.errors import QueueFullError
from dials_async.groups import Group
from dials_async.messaging.schema import Experience, encode_experience
from dials_async.metrics.targets import register
from dials_async.servers.private import lasting_port
from dials_async.servers.prometheus import PrometheusServer
from dials_async.servers.rabbitmq import RabbitServer
from dials_async.servers.redis import RedisServer
from tests.runtime.small import small_config

PROJECT = Path(__file__).parents[2]

#: Of scrapes and rules, and what a process may take to answer: ours is 5 s. In less than 2 s one that is nice
#: on a busy machine often does not.
EVERY_S = 2.0

#: Never reached where all is well. Generous: on a busy machine every process starts and answers slowly.
LONG_S = 600.0

RUN = "watched"

#: Never done by itself. Learning takes most of the time (10 epochs), so that learners do not wait by nature.
SETTINGS = (
    "run.steps=100000000",
    "ppo.epochs=10",
    "rollout.max_policy_lag=2",
    "schedule.refresh_steps=4800",
    "schedule.eval_steps=3200",
    "schedule.eval_episodes=8",
)


class Story:
    """The run and its surroundings; ``happen`` is the whole of it, in some two minutes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rabbitmq = RabbitServer(folder / "rabbitmq", lasting_port(), metrics_port=lasting_port())
        self.redis = RedisServer(folder / "redis", lasting_port())
        self.prometheus = PrometheusServer(
            folder / "prometheus", lasting_port(), PROJECT / "monitoring/prometheus.yml", EVERY_S
        )
        self.environment = {
            "DIALS_RUNS": str(folder / "runs"),
            "DIALS_AMQP_URL": self.rabbitmq.url,
            "DIALS_REDIS_URL": self.redis.url,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.begin = self.end = 0.0
        """Unix time: the learner waits for the first AIPs; the story is over."""
        self.up_after_kill: list[float] = []
        """What each scrape of the worker found since it was killed, until its successor was started."""
        self.starved: Mapping[str, float] = {}
        """Share of its time that each group's learner waited for experience without any worker."""
        self.fed: set[str] = set()
        """Groups whose share fell below 0.9 once there were workers again."""

    def happen(self, undo: ExitStack) -> None:
        """Start everything and let everything happen; ``undo`` ends what was started."""
        for server in (self.rabbitmq, self.redis, self.prometheus):
            undo.callback(server.stop)
            server.start()
        register("rabbitmq", "private", f"127.0.0.1:{self.rabbitmq.metrics_port}", {})
        create(RUN, small_config(*SETTINGS))
        undo.callback(self.stop_all)
        # The learner first: that it waits for the first AIPs is seen only by who looks before they are there.
        self.start("keeper", "learner", "evaluator", "rollout")
        self.until('dials_learner_wait_seconds_total{reason="aips"} > 0')
        self.begin = time.time()  # with policy lag it never waits for them again
        self.start("gs-sampler")
        # Each at some time: where the machine is busy, somebody may not answer within a scrape.
        self.until(f'count(max_over_time(up{{job="dials"}}[1m]) == 1) == {len(self.processes)}')
        self.until("dials_evaluations > 1")
        connection = undo.enter_context(_Watching())
        self.until("dials_aip_version > 2")
        self._a_worker_is_killed_and_comes_back()
        self._there_is_no_worker_for_a_while(len(connection.context.groups))
        self._a_queue_is_full_of_junk(connection)
        self._old_experience_comes(connection)
        self._servers_are_killed_and_come_back()
        # The keeper may not have answered the last scrape: then there is no value to compare with yet.
        (before,) = by("", self.until("dials_run_committed_steps")).values()
        self.until(f"dials_run_committed_steps > {before}")
        for name in ("broker", "store"):
            self.until(f"dials_{name}_up == 1 and dials_{name}_reconnects_total > 0")
        self.end = time.time() + EVERY_S  # a step later at the latest, whoever asks for a range sees that too

    def start(self, *kinds: str) -> None:
        """Start a process of each kind, as somebody at a shell would."""
        for kind in kinds:
            command = [sys.executable, "-m", "dials_async", "worker", kind, "--run", RUN]
            with open(self.folder / f"{kind}.log", "ab") as log:
                self.processes[kind] = subprocess.Popen(
                    [*command, "--name", f"{kind}.1"],
                    env={**os.environ, **self.environment},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )

    def stop_all(self) -> None:
        """End the processes in good order."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        for kind, process in self.processes.items():
            try:
                process.wait(LONG_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"the {kind} does not leave: {self.log_of(kind)}") from None

    def log_of(self, kind: str) -> str:
        """The end of what a process said."""
        return (self.folder / f"{kind}.log").read_text(encoding="utf-8")[-2000:]

    def _a_worker_is_killed_and_comes_back(self) -> None:
        self.processes["rollout"].kill()
        self.processes["rollout"].wait(LONG_S)
        gone_at = time.time()
        self.until(f'timestamp(up{{role="rollout"}}) > {gone_at}')
        self.until('ALERTS{alertname="DialsProcessDown", process="rollout.1"}')
        (scrapes,) = self.ask('up{role="rollout"}[10m]')
        self.up_after_kill = [float(up) for at, up in scrapes["values"] if at > gone_at]
        self.start("rollout")
        self.until('up{role="rollout"} == 1')

    def _there_is_no_worker_for_a_while(self, n_groups: int) -> None:
        self.processes["rollout"].terminate()
        self.processes["rollout"].wait(LONG_S)
        waiting = 'sum by (group) (rate(dials_learner_wait_seconds_total{reason="experience"}[10s]))'
        all_starve = f"count({waiting} > 0.95) == {n_groups}"
        self.starved = by("group", self.until(f"{waiting} > 0.95 and on () {all_starve}"))
        self.until('ALERTS{alertname="DialsNoWorker", alertstate=~"pending|firing"}')
        self.start("rollout")
        # Of both at some time: on a busy machine a group may wait again the next moment.
        for group in self.starved:
            self.until(f"{waiting.replace('reason=', f'group={json.dumps(group)}, reason=')} < 0.9")
            self.fed.add(group)

    def _a_queue_is_full_of_junk(self, connection: Connection) -> None:
        """While the learner stands still: the worker finds no room."""
        broker, learner, worker = (
            connection.context.broker,
            self.processes["learner"],
            self.processes["rollout"],
        )
        worker.send_signal(signal.SIGSTOP)
        try:
            deadline = time.monotonic() + LONG_S
            while broker.depth(connection.context.queues.rollout_tasks) == 0:  # or it had nothing to publish
                assert time.monotonic() < deadline, self.log_of("learner")
                time.sleep(0.1)
            learner.send_signal(signal.SIGSTOP)
            for agent in range(connection.context.domain.n_agents):
                with suppress(QueueFullError):
                    while True:
                        broker.publish(connection.context.queues.experience(agent), b"junk")
            worker.send_signal(signal.SIGCONT)
            self.until("dials_messages_refused_total > 0")
        finally:
            worker.send_signal(signal.SIGCONT)
            learner.send_signal(signal.SIGCONT)
        self.until("sum(dials_messages_dead_lettered_total) > 0")
        self.until("dials_dead_letters > 0")

    def _old_experience_comes(self, connection: Connection) -> None:
        """Of version 0, for an update that is next: older than the lag allows. And a copy of the first."""
        context = connection.context
        deadline = time.monotonic() + LONG_S
        while not self.ask('sum(dials_agent_steps_dropped_total{reason="too_old"}) > 0'):
            assert time.monotonic() < deadline, self.log_of("learner")
            for group in context.groups:
                version = context.store.group_version(group.index)
                for update in (0, version + 1, version + 2):
                    body = encode_experience(_old_experience(connection, group, update))
                    with suppress(QueueFullError):
                        context.broker.publish(context.queues.experience(group.agents[0]), body)
            time.sleep(0.2)

    def _servers_are_killed_and_come_back(self) -> None:
        self.rabbitmq.kill()
        self.until("min(dials_broker_up) == 0")
        self.rabbitmq.start()
        self.until("min(dials_broker_up) == 1")
        self.redis.kill()
        self.until("min(dials_store_up) == 0")
        self.redis.start()
        self.until("min(dials_store_up) == 1")

    def until(self, query: str) -> list[dict[str, Any]]:
        """Wait until Prometheus answers ``query`` with something, and return that.

        What is needed of an answer is taken from it, never asked for again: the next one may be another, or
        none, since a process that did not answer a scrape in time has no values until it does.
        """
        deadline = time.monotonic() + LONG_S
        while not (answer := self.ask(query)):
            assert time.monotonic() < deadline, f"never: {query}; now: {self._now(query)}"
            for kind, process in self.processes.items():
                assert process.poll() is None or kind == "rollout", f"{kind} ended: {self.log_of(kind)}"
            time.sleep(0.25)
        return answer

    def _now(self, query: str) -> dict[str, dict[str, float]]:
        """What a query that is not true is about: each of its metrics, and who answers, by process."""
        return {name: by("process", self.ask(name)) for name in {"up", *re.findall(r"\bdials_\w+", query)}}

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What Prometheus answers now. Raises AssertionError if it does not understand."""
        return _get(f"{self.prometheus.url}/api/v1/query", {"query": query})

    def ask_range(self, query: str) -> list[dict[str, Any]]:
        """What it answers over the whole story, every second."""
        times = {"start": str(self.begin), "end": str(self.end), "step": str(EVERY_S)}
        return _get(f"{self.prometheus.url}/api/v1/query_range", {"query": query, **times})


def by(label: str, answer: list[dict[str, Any]]) -> dict[str, float]:
    """The values of an answer by those of a label; "" where a series has none."""
    return {row["metric"].get(label, ""): float(row["value"][1]) for row in answer}


class _Watching:
    """A connection that takes no part."""

    def __enter__(self) -> Connection:
        self.stop = Event()
        self.connection = connect(RUN, self.stop)
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.connection.close()


def _old_experience(connection: Connection, group: Group, update: int) -> Experience:
    context = connection.context
    episodes, steps = context.config.rollout.episodes_per_task, context.domain.episode_steps
    return Experience(
        origin=context.task_origin(),
        task_id=f"ials/g{group.index}/u{update}/t0",
        agent=group.agents[0],
        update=update,
        index=0,
        policy_version=0,
        aip_version=1,
        worker="the past",
        made_at=time.time(),
        observations=np.zeros((episodes, steps + 1, group.spec.observation_bytes), np.uint8),
        actions=np.zeros((episodes, steps), np.uint8),
        rewards=np.zeros((episodes, steps), np.float32),
        log_probs=np.full((episodes, steps), -1.0, np.float32),
        terminated=np.zeros(episodes, np.uint8),
        truncated=np.ones(episodes, np.uint8),
    )


def _get(url: str, parameters: Mapping[str, str]) -> list[dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(parameters)}", timeout=LONG_S) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{parameters['query']}: {error.read().decode()}") from None
    return result

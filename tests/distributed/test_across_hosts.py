"""Workers on another host (a network namespace with its own address) train against servers on this one."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dials_async.distributed.create import create
from dials_async.runtime.results import weights_sha256
from dials_async.servers.private import lasting_port
from dials_async.servers.rabbitmq import RabbitServer
from dials_async.servers.redis import RedisServer
from tests.runtime.small import small_config, train_to_the_end

from .fleet import LONG_S, eventually, final_sha256, fleet, observer

#: Seconds that the link is cut: longer than heartbeats take to notice.
CUT_S = float(os.environ.get("DIALS_TEST_CUT_S", "20"))

HERE, THERE = "10.213.77.1", "10.213.77.2"

PASSWORD = "not for guests"

# Never in CI, which is root and has installed `ip`.
pytestmark = pytest.mark.skipif(
    "CI" not in os.environ and (os.geteuid() != 0 or shutil.which("ip") is None),
    reason="making network namespaces needs root and the program ip",
)


@dataclass
class OtherHost:
    """A network namespace, linked to this one."""

    name: str

    def start(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        command = ["ip", "netns", "exec", self.name, sys.executable, "-m", "dials_async", *words]
        with log.open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def link(self, state: str) -> None:
        ip("link", "set", f"{self.name}h", state)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def other_host() -> Iterator[OtherHost]:
    name = f"d{uuid.uuid4().hex[:6]}"
    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}h", "type", "veth", "peer", "name", f"{name}o")
        ip("link", "set", f"{name}o", "netns", name)
        ip("addr", "add", f"{HERE}/30", "dev", f"{name}h")
        ip("link", "set", f"{name}h", "up")
        ip("-n", name, "addr", "add", f"{THERE}/30", "dev", f"{name}o")
        ip("-n", name, "link", "set", f"{name}o", "up")
        ip("-n", name, "link", "set", "lo", "up")  # as on any host; pika wakes itself through it
        yield OtherHost(name)
    finally:
        ip("netns", "del", name)  # and with it both ends of the link


def test_workers_on_another_host_train_and_outlast_a_cut_link(
    tmp_path: Path, run: str, other_host: OtherHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given servers that listen on the link alone, RabbitMQ with a user and Redis with a password
    rabbitmq = RabbitServer(tmp_path / "rabbitmq", lasting_port(), user="me", password=PASSWORD, host=HERE)
    redis = RedisServer(tmp_path / "redis", lasting_port(), password=PASSWORD, host=HERE)
    config = small_config("run.steps=128000", "schedule.refresh_steps=16000")
    expected = weights_sha256(train_to_the_end(tmp_path / "embedded", config).context)
    log = tmp_path / "worker.log"
    workers: list[subprocess.Popen[bytes]] = []
    rabbitmq.start()
    try:
        redis.start()
        monkeypatch.setenv("DIALS_AMQP_URL", rabbitmq.url)
        monkeypatch.setenv("DIALS_REDIS_URL", redis.url)
        create(run, config)
        with fleet(run) as members, observer(run) as seen:
            store = seen.context.store
            members.start(keeper=1, learner=1, gs_sampler=1, evaluator=1)
            # When the only workers are on the other host
            workers += [other_host.start("worker", "rollout", "--run", run, log=log) for _ in range(2)]
            assert eventually(lambda: store.group_version(0) >= 5), log.read_text()
            # And the link is cut
            other_host.link("down")
            before = store.group_version(0)
            time.sleep(CUT_S)
            assert store.group_version(0) <= before + 2  # what was in the queues, and no more
            other_host.link("up")
            # Then they come back by themselves and finish
            members.wait()
            for worker in workers:
                assert worker.wait(LONG_S) == 0, log.read_text()
            assert final_sha256(run) == expected
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        redis.stop()
        rabbitmq.stop()
    said = log.read_text()
    assert "Traceback" not in said
    assert PASSWORD not in said
    assert PASSWORD.replace(" ", "%20") not in said

"""One RabbitMQ for all tests: private, on free ports of loopback, begun with the first test that wants it."""

import atexit
from collections.abc import Iterator

import pytest

from dials_async.servers.private import lasting_port
from dials_async.servers.rabbitmq import RabbitServer


@pytest.fixture(scope="session")
def rabbitmq_server(servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """Shared: each test uses runs and queues of its own. Without RabbitMQ it fails, no skip."""
    server = RabbitServer(tmp_path_factory.mktemp("rabbitmq"), lasting_port())
    atexit.register(server.stop)  # pytest that is interrupted twice does not come back to the fixture
    try:
        server.start()
        yield server
    finally:
        server.stop()

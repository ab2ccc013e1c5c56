"""One Redis for all tests: private, on a free port of loopback, begun with the first test that wants it."""

import atexit
from collections.abc import Iterator

import pytest

from dials_async.servers.private import lasting_port
from dials_async.servers.redis import RedisServer


@pytest.fixture(scope="session")
def redis_server(servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Shared and never flushed: each test uses names of its own. Without redis-server it fails, no skip."""
    # With a password nobody can take it for the server of another run of the tests.
    server = RedisServer(tmp_path_factory.mktemp("redis"), lasting_port(), password="for tests: /@%#")
    atexit.register(server.stop)  # pytest that is interrupted twice does not come back to the fixture
    server.start()
    yield server
    server.stop()

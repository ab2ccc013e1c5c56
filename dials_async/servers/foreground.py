"""``dials server``: a private server in the foreground, started again when it dies, with its log in a file.

Where a server is named by its URL nothing is started, so that one Procfile fits both. Metrics never stop
training: without Prometheus, or a port for RabbitMQ's metrics, a line says so and all else goes on.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dials_async.addresses import (
    AMQP_VARIABLE,
    PRIVATE_URL,
    PRIVATE_USER,
    REDIS_VARIABLE,
    amqp_metrics_port,
    amqp_port,
    private_folder,
    prometheus_port,
    redis_port,
    without_password,
)
from dials_async.errors import DialsError, ServerError
from dials_async.locking import lock
from dials_async.metrics.targets import register
from dials_async.servers.private import HOST, PrivateServer, password_in, require_free_port
from dials_async.servers.prometheus import PrometheusServer
from dials_async.servers.rabbitmq import RabbitServer
from dials_async.servers.redis import RedisServer
from dials_async.supervise import Limits, supervise

#: What ``dials server`` can start.
KINDS = ("rabbitmq", "redis", "prometheus")

#: Seconds between being told to stop and stopping: the processes of the run leave first, so that they can
#: still commit and give back what they have.
STOP_DELAY_S = 2.0

_URLS = {"rabbitmq": AMQP_VARIABLE, "redis": REDIS_VARIABLE}

#: Its output goes to its log; the shell turns into the server.
_INTO_LOG = 'log="$1"; shift; exec "$@" >>"$log" 2>&1'


def run_in_foreground(kind: str, folder: Path | None) -> int:
    """Run one of KINDS until told to stop; the exit code. Raises ServerError if it cannot be started.

    A Prometheus that cannot work does not end under honcho: everything else would end with it.
    """
    variable = _URLS.get(kind, "")
    if url := os.environ.get(variable):
        _say(f"{kind}: using {without_password(url)} ({variable})")
        return _wait_to_be_stopped(kind)
    optional = kind == "prometheus" and "HONCHO_PROCESS_NAME" in os.environ
    try:
        code = _run(kind, private_server(kind, folder))
    except ServerError as error:
        if not optional:
            raise
        _say(f"{error}; training goes on without it")
        return _wait_to_be_stopped(kind)
    if code and optional:
        _say(f"{kind} is given up; training goes on without it")
        return _wait_to_be_stopped(kind)
    return code


def private_server(kind: str, folder: Path | None = None) -> PrivateServer:
    """The server that ``honcho start`` uses: its folder under runs/, its port from the environment."""
    folder = folder or private_folder(kind)
    if kind == "prometheus":
        return PrometheusServer(folder, prometheus_port())
    password = _password(folder)
    if kind == "redis":
        return RedisServer(folder, redis_port(), password)
    user, password = (PRIVATE_USER, password) if password else ("guest", "guest")
    return RabbitServer(folder, amqp_port(), user=user, password=password, metrics_port=amqp_metrics_port())


def _password(folder: Path) -> str | None:
    """Of the server in ``folder``; None where its data are older than passwords, and know of none."""
    older = folder.is_dir() and not (folder / "password").exists() and any(folder.iterdir())
    return None if older else password_in(folder)


def _run(kind: str, server: PrivateServer) -> int:
    server.make_folder()
    try:
        lock(server.folder)  # held as long as this process lives
    except BlockingIOError:
        raise ServerError(
            f"another {kind} has its data in {server.folder}: choose another DIALS_RUNS"
        ) from None
    metrics_port = _metrics_port(server)
    command = server.command()
    if kind in _URLS:
        _publish(server)
    _say(f"{kind} on {HOST}:{server.port}, data in {server.folder}")
    shell = ("/bin/sh", "-c", _INTO_LOG, "sh", str(server.log), *command.argv)
    with _target(kind, metrics_port):
        code = supervise(
            shell,
            f"{kind} (log: {server.log})",
            stop_delay_s=STOP_DELAY_S,
            environment=command.environment,
            limits=Limits(stop_s=2.5),  # honcho kills after 5 s
        )
    server.after_stop()
    return code


def _publish(server: PrivateServer) -> None:
    """Leave the way to the server where this user's commands find it, and nobody else's."""
    path = server.folder / PRIVATE_URL
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(server.url)


def _metrics_port(server: PrivateServer) -> int | None:
    """Where the server says how it is, if it does."""
    if isinstance(server, RabbitServer) and server.metrics_port is not None:
        try:
            require_free_port(HOST, server.metrics_port, "RabbitMQ's metrics")
        except ServerError as error:
            _say(f"{error}; going on without them (DIALS_PORT_AMQP_METRICS)")
            server.metrics_port = None
        return server.metrics_port
    return server.port if isinstance(server, PrometheusServer) else None


@contextmanager
def _target(kind: str, port: int | None) -> Iterator[None]:
    """Let Prometheus read the server as long as the block lasts."""
    if port is None:
        yield
        return
    try:
        target = register(kind, "private", f"{HOST}:{port}", {})
    except DialsError as error:
        _say(f"Prometheus will not find {kind}: {error}")
        yield
        return
    try:
        yield
    finally:
        target.remove()


def _wait_to_be_stopped(kind: str) -> int:
    return supervise(("true",), kind)  # which then waits, and ends with its parent


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

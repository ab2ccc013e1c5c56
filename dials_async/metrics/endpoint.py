"""Serves the numbers of a process at http://address/metrics, and tells Prometheus where that is.

Beside them /healthz, whether it is alive, and /readyz, whether it is ready for work: 200 or 503, and a line.
"""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import make_wsgi_app, start_http_server

from dials_async.errors import DialsError, InterruptedRunError, UsageError
from dials_async.listening import parse_address
from dials_async.metrics.health import Answer, Health
from dials_async.metrics.instruments import Metrics
from dials_async.metrics.targets import register

#: Where the command line takes the address.
OPTION = "--metrics-address"

#: In place of an address: nothing is counted, nothing is served.
OFF = "off"


def make_metrics(address: str) -> Metrics:
    """The counters of a process that will be served at ``address``. Raises UsageError if it is none."""
    if address == OFF:
        return Metrics(counting=False)
    parse_address(address, OPTION)
    return Metrics()


@contextmanager
def served(metrics: Metrics, address: str) -> Iterator[str | None]:
    """Serve ``metrics`` at http://place/metrics, and their health beside it, as long as the block lasts.

    Yields the place, host:port, None where ``metrics`` counts nothing. Raises UsageError if nothing can
    listen there.
    """
    if not metrics.counting:
        yield None
        return
    where = parse_address(address, OPTION)
    try:
        server, thread = start_http_server(where.port, where.host, metrics.registry)
    except OSError as error:
        raise UsageError(
            f"cannot serve metrics at {address}: {error.strerror or error}; choose another {OPTION}"
        ) from None
    server.set_app(_with_health(make_wsgi_app(metrics.registry), metrics.health))
    try:
        yield where.reached_at(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def announced(metrics: Metrics, place: str | None, run: str, role: str, process: str) -> Iterator[None]:
    """Be a target of Prometheus at ``place`` as long as the block lasts; who cannot be one says so.

    A process that fails stays a target: until a successor of its name takes its place it is missed.
    """
    if place is None:
        yield
        return
    here = socket.gethostname()
    labels = {"run": run, "role": role, "process": process, "host": here}
    metrics.member.info(labels)
    target = None
    try:
        target = register("dials", f"{run}.{process}@{here}", place, labels)
    except DialsError as error:  # it can be read all the same, by who knows where
        print(f"{process}: Prometheus will not find this process: {error}", file=sys.stderr, flush=True)
    try:
        yield
    except (UsageError, InterruptedRunError):  # somebody's mistake or wish, not a failure
        if target is not None:
            target.remove()
        raise
    if target is not None:
        target.remove()


#: As WSGI calls it: Any, since what prometheus_client has is not typed.
_App = Callable[[Any, Any], Any]


def _with_health(numbers: _App, health: Health) -> _App:
    questions: dict[str, Callable[[], Answer]] = {"/healthz": health.alive, "/readyz": health.ready}

    def answer(environ: Any, start: Any) -> Any:
        ask = questions.get(environ["PATH_INFO"])
        if ask is None:
            return numbers(environ, start)
        good, why = ask()
        status = "200 OK" if good else "503 Service Unavailable"
        start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
        return [f"{why}\n".encode("utf-8", "replace")]

    return answer

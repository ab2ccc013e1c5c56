"""Serves the numbers of a process at http://address/metrics, and tells Prometheus where that is."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from dials_async.errors import DialsError, InterruptedRunError, UsageError
from dials_async.listening import parse_address
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
def exposed(metrics: Metrics, address: str, run: str, role: str, process: str) -> Iterator[None]:
    """Serve ``metrics`` and be a target of Prometheus as long as the block lasts. Raises UsageError."""
    with served(metrics, address) as place, announced(metrics, place, run, role, process):
        yield


@contextmanager
def served(metrics: Metrics, address: str) -> Iterator[str | None]:
    """Serve ``metrics`` at http://place/metrics as long as the block lasts.

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

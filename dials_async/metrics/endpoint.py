"""Serves the numbers of a process at http://address/metrics, and tells Prometheus where that is."""

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from dials_async.errors import DialsError, UsageError
from dials_async.metrics.instruments import Metrics
from dials_async.metrics.targets import register

#: Any free port, on loopback: Prometheus finds it by its file.
DEFAULT_ADDRESS = "127.0.0.1:0"

#: In place of an address: nothing is counted, nothing is served.
OFF = "off"

#: Addresses that stand for all of a host's own.
_ALL = ("", "0.0.0.0", "::")


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``, ``:port`` or ``[host]:port``. Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"'{text}' is no address: HOST:PORT, for example 127.0.0.1:9100 (port 0: any)")
    return host.strip("[]") or "127.0.0.1", int(port)


def make_metrics(address: str) -> Metrics:
    """The counters of a process that will be served at ``address``. Raises UsageError if it is none."""
    if address == OFF:
        return Metrics(counting=False)
    parse_address(address)
    return Metrics()


@contextmanager
def exposed(metrics: Metrics, address: str, run: str, role: str, process: str) -> Iterator[str | None]:
    """Serve ``metrics`` and be a target of Prometheus as long as the block lasts.

    Yields the URL, None where ``metrics`` counts nothing. Raises UsageError if nothing can listen there.
    """
    if not metrics.counting:
        yield None
        return
    host, port = parse_address(address)
    try:
        server, thread = start_http_server(port, host, metrics.registry)
    except OSError as error:
        raise UsageError(
            f"cannot serve metrics at {address}: {error.strerror or error}; choose another --metrics-address"
        ) from None
    here = socket.gethostname()
    reachable = f"{here if host in _ALL else f'[{host}]' if ':' in host else host}:{server.server_port}"
    metrics.member.info({"run": run, "role": role, "process": process, "host": here})
    target = None
    try:
        labels = {"run": run, "role": role, "process": process}
        target = register("dials", f"{run}.{process}@{here}", reachable, labels)
    except DialsError as error:  # it can be read all the same, by who knows where
        print(f"{process}: Prometheus will not find this process: {error}", file=sys.stderr, flush=True)
    try:
        yield f"http://{reachable}/metrics"
    finally:
        if target is not None:
            target.remove()
        server.shutdown()
        server.server_close()
        thread.join()

"""The server of the dashboard: ``/`` is the page, ``/state`` the state of the run, and there is nothing else.

It has no password and needs none: it listens on loopback unless told otherwise, it changes nothing, and it
reads no file that a request names.
"""

import contextlib
import ipaddress
import json
import math
import socket
import socketserver
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from dials_async.dashboard.document import document
from dials_async.dashboard.source import Source
from dials_async.errors import UsageError
from dials_async.listening import DASHBOARD_ADDRESS, Address, parse_address

#: What the user is told where not only this machine can reach the dashboard.
NO_PASSWORD = "dials: warning: there is no password, whoever reaches this address can look"

#: Seconds that a browser gets to send its request, so that one which does not keeps no thread for ever.
REQUEST_S = 10.0

#: By which a browser on this machine, or at the near end of an SSH tunnel, asks for a server on loopback.
_LOCAL_NAMES = {"localhost", "127.0.0.1", "[::1]"}


class Dashboard:
    """A server that runs on a daemon thread until ``close``."""

    def __init__(self, server: "_Server", url: str) -> None:
        self._server = server
        self.url = url
        self._thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="dashboard", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; the port is free when this returns."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(
    source: Source, address: Address | str = DASHBOARD_ADDRESS, *, option: str = "--address"
) -> Dashboard:
    """Serve the dashboard of ``source`` in the background.

    Raises UsageError if ``address`` cannot be listened on; the message names ``option``, which gave it.
    """
    where = parse_address(address, option) if isinstance(address, str) else address
    document()  # a broken installation shows here, not at the first request
    try:
        server = _Server(where, source)
    except OSError as error:
        raise UsageError(
            f"the dashboard cannot listen on {where.host}:{where.port}: {_reason(error)}; "
            f"choose another with {option}, or a free port with {option} :0"
        ) from error
    return Dashboard(server, f"http://{where.reached_at(server.server_address[1])}/")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: Address, source: Source) -> None:
        self.source = source
        self.only_local_names = address.is_loopback
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        self.address_family = found[0][0]
        super().__init__(found[0][4][:2], _Handler)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        # HTTPServer's own asks a name server who we are: seconds, at worst, for a name that nobody reads.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser that hangs up in the middle of an answer is no event. All else is a mistake of ours.
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_S
    server_version = "dials"
    sys_version = ""

    _COMMON: ClassVar[dict[str, str]] = {
        "Cache-Control": "no-store",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }

    def do_GET(self) -> None:
        """Answer with the page, the state, or an error of one line."""
        path = self.path.partition("?")[0]
        if not self._is_asked_by_a_known_name():
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", "this dashboard answers to localhost only\n")
        elif path == "/":
            page = document()
            policy = {"Content-Security-Policy": page.content_security_policy}
            self._answer(HTTPStatus.OK, "text/html", page.html, policy)
        elif path == "/state":
            self._answer_state()
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", "not found: there are / and /state\n")

    do_HEAD = do_GET

    def _answer_state(self) -> None:
        try:
            # "at" was written by this machine's clock, which need not be that of the browser.
            text = to_json({**self.server.source.state(), "read_at": time.time()})
        except (
            Exception
        ) as error:  # the page shows it; a traceback every two seconds would bury the run's own news
            words = f"the state cannot be read: {type(error).__name__}: {error}\n"
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain", words)
        else:
            self._answer(HTTPStatus.OK, "application/json", text)

    def _refuse(self) -> None:
        self._answer(
            HTTPStatus.METHOD_NOT_ALLOWED, "text/plain", "only GET and HEAD\n", {"Allow": "GET, HEAD"}
        )

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse

    def _is_asked_by_a_known_name(self) -> bool:
        """Whether Host names this machine.

        Otherwise a page of somebody else could have its own name resolved to 127.0.0.1 and read the state
        from the user's browser (DNS rebinding).
        """
        if not self.server.only_local_names:
            return True
        host = (self.headers.get("Host") or "").strip().lower()
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        return name in _LOCAL_NAMES or _is_loopback_address(name)

    def _answer(self, status: HTTPStatus, kind: str, text: str, more: dict[str, str] | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in {**self._COMMON, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line every two seconds would bury what matters."""


def _is_loopback_address(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False


def to_json(state: Any) -> str:
    """``state`` as JSON that every browser reads: what is not finite becomes null."""
    try:
        return json.dumps(state, allow_nan=False, separators=(",", ":"))
    except ValueError:
        return json.dumps(_finite(state), allow_nan=False, separators=(",", ":"))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

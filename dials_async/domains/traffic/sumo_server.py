"""Starting a SUMO that listens on a port, for TraCI; a SUMO that does not start says why, within seconds.

Not ``traci.start``: it tries again for minutes, whatever SUMO said before it ended.
"""

import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from dials_async.errors import SimulatorError

#: Seconds that SUMO gets to listen: it takes a tenth of one, with a window a few, on busy cores some more.
START_S = 30.0

#: Seconds between looks whether it does.
START_POLL_S = 0.02

#: Seconds that SUMO gets to end by itself.
END_S = 2.0

#: Ports that are tried: between our look and SUMO's start another program may take one.
PORT_ATTEMPTS = 5

#: What SUMO says when it did.
_PORT_TAKEN = "Unable to create listening socket"

#: Last lines of SUMO's standard error that are repeated.
_LAST_LINES = 5


class SumoEndedError(Exception):
    """SUMO was killed or crashed: another one may come further."""


@dataclass(frozen=True)
class SumoServer:
    """A SUMO that was started here."""

    process: subprocess.Popen[bytes]
    stderr: IO[bytes]
    """A file of its own, so that nobody has to read while it runs."""

    def last_words(self) -> str:
        """How it ended (or that it runs), and the last lines of its standard error, in one line."""
        code = self.process.poll()
        self.stderr.seek(0)
        said = self.stderr.read().decode(errors="replace").splitlines()
        lines = [line.strip() for line in said if line.strip() and not line.startswith("Quitting")]
        return "; ".join(["still running" if code is None else f"exit code {code}", *lines[-_LAST_LINES:]])

    def end(self) -> str:
        """End it, if need be by force, and leave no zombie; its last words. Once only."""
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        words = self.last_words()
        self.stderr.close()
        return words


def start_server(api: Any, command: Sequence[str], environment: Mapping[str, str]) -> SumoServer:
    """Start SUMO by ``command`` and connect to it.

    Args:
        api: the module ``traci``, without a connection.
        command: program and options, without a port.
        environment: of the process.

    Raises SimulatorError if it does not start, SumoEndedError if it is killed meanwhile.
    """
    for _ in range(PORT_ATTEMPTS):
        port = _free_port()
        server = _launch([*command, "--remote-port", str(port)], environment)
        if _connect(api, server, port):
            return server
        if server.process.poll() is None:
            server.process.kill()
            server.end()
            raise SimulatorError(f"SUMO did not start: it does not listen after {START_S:g} s")
        words, code = server.end(), server.process.returncode
        if code < 0:
            raise SumoEndedError(words)
        if _PORT_TAKEN not in words:
            break
    raise SimulatorError(f"SUMO did not start: {words}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _launch(command: Sequence[str], environment: Mapping[str, str]) -> SumoServer:
    stderr = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
    try:
        # In the group of this process, which is ended as a whole; and not reading our requests.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, env=environment
        )
    except OSError as error:
        stderr.close()
        raise SimulatorError(f"SUMO did not start: {error}") from None
    return SumoServer(process, stderr)


def _connect(api: Any, server: SumoServer, port: int) -> bool:
    """Whether SUMO listens in time; it is asked for its version, and loads its files before it answers."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            api.init(port, numRetries=0, host="127.0.0.1")
        except (OSError, api.exceptions.FatalTraCIError):
            if api.connection.has("default"):  # it listened, and closed
                forget_connection(api)
                _wait(server, deadline)
                return False
            time.sleep(START_POLL_S)
        else:
            return True
    return False


def _wait(server: SumoServer, deadline: float) -> None:
    while server.process.poll() is None and time.monotonic() < deadline:
        time.sleep(START_POLL_S)


def forget_connection(api: Any) -> None:
    """Let traci connect anew after a connection that broke: by itself it holds on to it."""
    for label in ("default", ""):
        api.connection._connections.pop(label, None)  # there is no other way

"""What private servers have in common: a data folder, free ports, starting, readiness, stopping, killing."""

import os
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dials_async.errors import ServerError

HOST = "127.0.0.1"

#: Below what Linux (from 32768) and macOS (from 49152) give to outgoing connections.
LASTING_PORTS = range(20_000, 32_000)

#: Seconds that a server gets to answer; RabbitMQ takes 4 to 10 on a busy machine.
START_S = 120.0

#: Seconds that a server gets to leave after SIGTERM before it is killed.
STOP_S = 20.0


#: In the folder of a private server; only its owner may read it.
_PASSWORD = "password"


@dataclass(frozen=True)
class Command:
    """How to run a server in the foreground."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    """The whole environment of the process, not additions to it."""


class PrivateServer(ABC):
    """One server whose data lives in ``folder``; started again on the same folder it has its data back."""

    name: str

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder.resolve()
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    def make_folder(self) -> None:
        """Make the folder, for this user alone: what is in it is what the server knows."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder.chmod(0o700)

    @property
    @abstractmethod
    def url(self) -> str:
        """What clients connect to, with the password."""

    @abstractmethod
    def command(self) -> Command:
        """Prepare the folder (configuration, cookie, ...) and say how to run the server in the foreground.

        Raises ServerError, in one line, if the program is not installed.
        """

    @abstractmethod
    def answers(self) -> bool:
        """Whether a client can be served now: a handshake of the real protocol, within a second or so."""

    def after_stop(self) -> None:  # noqa: B027, most servers leave nothing behind
        """End what outlives the process (epmd), by pid."""

    @property
    def log(self) -> Path:
        """Where ``start`` sends what the server prints."""
        return self.folder / "server.log"

    def start(self) -> None:
        """Run it as a child and wait until it answers. Raises ServerError, with the end of its log."""
        self.make_folder()
        command = self.command()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command.argv,
                env=dict(command.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # a Ctrl-C is for the run, which then stops its servers in order
            )
        self.wait_until_it_answers()

    def wait_until_it_answers(self, timeout_s: float = START_S) -> None:
        """Raises ServerError if it ended, or does not answer in time."""
        deadline = time.monotonic() + timeout_s
        while not self.answers():
            ended = self.process is not None and self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                what = "ended at its start" if ended else f"does not answer after {timeout_s:.0f} s"
                raise ServerError(f"{self.name} on port {self.port} {what}: {self._end_of_log()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM, then wait; SIGKILL if it does not leave. Twice is allowed."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._kill_group()
        self.process = None
        self.after_stop()

    def kill(self) -> None:
        """SIGKILL, as a crash would end it; ``start`` brings it back on its data."""
        if self.process is not None:
            self._kill_group()
        self.process = None

    def _kill_group(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _end_of_log(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return f"see {self.log}"
        said = [line.strip() for line in lines if line.strip()]
        return f"{said[-1]} (more in {self.log})" if said else f"its log {self.log} is empty"


def password_in(folder: Path) -> str:
    """The password of the private server in ``folder``; drawn and kept there if there is none yet."""
    path = folder / _PASSWORD
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii")


def lasting_port(*taken: int) -> int:
    """A port on loopback that nobody listens on, and that is still free when its server comes back to it.

    Those that the system hands out itself may meanwhile be handed to somebody's outgoing connection.
    """
    while True:
        port = LASTING_PORTS[secrets.randbelow(len(LASTING_PORTS))]
        if port not in taken:
            with suppress(ServerError):
                require_free_port(HOST, port, "a server")
                return port


def listener(port: int) -> int | None:
    """Pid of the process that listens on this TCP port of loopback (Linux); None if there is none."""
    inodes = set()
    for row in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = row.split()
        if fields[3] == "0A" and int(fields[1].partition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # it ended, or closed the file, while we looked
            if os.readlink(link) in inodes:
                return int(link.parts[2])
    return None


def require_free_port(host: str, port: int, who: str) -> None:
    """Raise ServerError if somebody listens there: its answer would pass for that of ``who``."""
    with socket.socket() as probe:
        # TIME_WAIT of a former start is no listener.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServerError(f"{who} cannot listen on {host}:{port}: {error.strerror}") from None

"""A private RabbitMQ: all it writes is in one folder, it listens on one address and leaves no epmd behind."""

import json
import logging
import os
import secrets
import shutil
import socket
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import pika
from pika.exceptions import AMQPError

from dials_async.errors import ServerError
from dials_async.servers.private import HOST, Command, PrivateServer, lasting_port, require_free_port

#: Debian's own first: its wrapper in sbin insists on the system's user and folders.
PROGRAMS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "rabbitmq-server",
    "/usr/local/sbin/rabbitmq-server",
    "/opt/homebrew/sbin/rabbitmq-server",
    "/opt/rabbitmq/sbin/rabbitmq-server",
)

#: Seconds for the handshake of a readiness probe; it is repeated until the server answers.
PROBE_S = 2.0

#: Publishers are held up above this. Credits keep the queues of a run at a tenth of it.
MEMORY_LIMIT = "1GB"

#: Publishers are held up when the disk has less left: a full disk would end the run's own files too.
DISK_FREE_LIMIT = "200MB"

#: Milliseconds that workers get to leave, in place of 5 minutes, where the metrics plugin is on. At SIGTERM
#: its event handler asks something of Erlang's application controller, which answers nobody while it waits
#: for all to end: 5 s, twice what ``dials server`` gives. Seen in 3.10; newer ones do not ask any more.
_WORKER_STOP_MS = 700

_EPMD_KILL = b"\x00\x01k"


class RabbitServer(PrivateServer):
    """One RabbitMQ node. The user is made at the first start on a folder: it cannot be changed later."""

    name = "RabbitMQ"

    def __init__(
        self,
        folder: Path,
        port: int,
        dist_port: int | None = None,
        epmd_port: int | None = None,
        user: str = "guest",
        password: str = "guest",
        host: str = HOST,
        metrics_port: int | None = None,
    ) -> None:
        """See the class. ``metrics_port``: serve metrics there, on loopback; without it they are off."""
        super().__init__(folder, port)
        self.metrics_port = metrics_port
        self.user = user
        self.password = password
        self.host = host
        self._dist_port = dist_port
        self._epmd_port = epmd_port

    @property
    def url(self) -> str:
        """See PrivateServer."""
        return (
            f"amqp://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{self.host}:{self.port}/%2F"
        )

    @property
    def node(self) -> str:
        """Its Erlang name; not the machine's, which hangs the start silently if it does not resolve."""
        return f"dials-{self.port}@localhost"

    def command(self) -> Command:
        """See PrivateServer. Raises ServerError too if somebody else listens on the port."""
        program = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if program is None:
            raise ServerError(
                "RabbitMQ is not installed: 'make services' installs it ('dials train' needs no server)"
            )
        require_free_port(self.host, self.port, "RabbitMQ")
        if self.metrics_port is not None:
            require_free_port(HOST, self.metrics_port, "RabbitMQ's metrics")  # it would not start
        self.make_folder()
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        dist_port, epmd_port = self._ports()
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            _write_private(cookie, secrets.token_hex(16))
        _write_private(self.folder / "rabbitmq.conf", self._configuration())
        _write_private(self.folder / "advanced.config", self._advanced())
        plugins = "" if self.metrics_port is None else "rabbitmq_prometheus"
        (self.folder / "enabled_plugins").write_text(f"[{plugins}].\n", encoding="utf-8")
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.folder / "generated"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            # A file that does not exist: the machine's own settings are not for this server.
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_CRASH_DUMP_SECONDS": "0",
            # For every Erlang VM it starts: the one that starts epmd listens for a moment too.
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            # No busy waiting and few schedulers: the cores are for training.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none",
            # The script then turns into the VM instead of waiting for it: signals and the exit code are the
            # VM's own. What it would have added to a VM without input is added here.
            "RABBITMQ_ALLOW_INPUT": "true",
            "RABBITMQ_SERVER_START_ARGS": "-noinput +B i",
        }
        return Command((program,), environment)

    def answers(self) -> bool:
        """See PrivateServer."""
        logging.getLogger("pika").setLevel(logging.CRITICAL)  # a refused probe is no news
        try:
            pika.BlockingConnection(
                pika.ConnectionParameters(
                    self.host,
                    self.port,
                    credentials=pika.PlainCredentials(self.user, self.password),
                    socket_timeout=PROBE_S,
                    stack_timeout=PROBE_S,
                    blocked_connection_timeout=PROBE_S,
                )
            ).close()
        except (AMQPError, OSError):
            return False
        return True

    def after_stop(self) -> None:
        """End this server's epmd: ask it to, on its own port. It refuses while a node still lives."""
        try:
            _, epmd_port = json.loads(self._ports_file.read_text(encoding="utf-8"))
        except FileNotFoundError:  # never started
            return
        deadline = time.monotonic() + PROBE_S
        # After kill -9 it takes a moment to see that the node is gone. OSError: it is gone itself.
        with suppress(OSError):
            while time.monotonic() < deadline:
                with socket.create_connection((HOST, epmd_port), PROBE_S) as connection:
                    connection.sendall(_EPMD_KILL)
                    if connection.recv(2) == b"OK":
                        return
                time.sleep(0.05)

    @property
    def _ports_file(self) -> Path:
        return self.folder / "ports.json"

    def _ports(self) -> tuple[int, int]:
        """Ports of the distribution and of epmd: those of the last start, so that its epmd is found again."""
        known: tuple[int | None, int | None] = (None, None)
        with suppress(FileNotFoundError):
            known = tuple(json.loads(self._ports_file.read_text(encoding="utf-8")))
        dist_port = self._dist_port or known[0] or lasting_port(self.port)
        epmd_port = self._epmd_port or known[1] or lasting_port(self.port, dist_port)
        self._ports_file.write_text(json.dumps([dist_port, epmd_port]), encoding="utf-8")
        return dist_port, epmd_port

    def _configuration(self) -> str:
        lines = [
            f"listeners.tcp.1 = {self.host}:{self.port}",
            "num_acceptors.tcp = 2",
            # To PrivateServer.log; with a line for each connection that would grow for ever.
            "log.file = false",
            "log.console = true",
            "log.console.level = warning",
            "log.console.use_colors = off",
            f"vm_memory_high_watermark.absolute = {MEMORY_LIMIT}",
            f"disk_free_limit.absolute = {DISK_FREE_LIMIT}",
        ]
        if self.user != "guest":
            lines.append("loopback_users = none")
        if self.metrics_port is not None:
            lines += [
                f"prometheus.tcp.ip = {HOST}",
                f"prometheus.tcp.port = {self.metrics_port}",
                # A connection that is kept for the next scrape would hold up the stop for a second.
                "prometheus.tcp.max_keepalive = 1",
                # Counters for the management interface, which is off.
                "management_agent.disable_metrics_collector = true",
            ]
        return "\n".join(lines) + "\n"

    def _advanced(self) -> str:
        # As lists of bytes: no character of a password can then end the term.
        user, password = (",".join(map(str, text.encode())) for text in (self.user, self.password))
        terms = [f"{{default_user, <<{user}>>}}", f"{{default_pass, <<{password}>>}}"]
        if self.metrics_port is not None:
            terms.append(f"{{worker_shutdown_timeout, {_WORKER_STOP_MS}}}")
        return f"[{{rabbit, [{', '.join(terms)}]}}].\n"


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text, encoding="utf-8")

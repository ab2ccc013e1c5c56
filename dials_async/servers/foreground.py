"""``dials server``: a private server in the foreground, started again when it dies, with its log in a file.

Where a server is named by its URL nothing is started, so that one Procfile fits both.
"""

import fcntl
import os
import signal
import sys
from pathlib import Path

from dials_async.addresses import AMQP_VARIABLE, REDIS_VARIABLE, amqp_port, redis_port, without_password
from dials_async.errors import ServerError
from dials_async.servers.private import HOST, PrivateServer
from dials_async.servers.rabbitmq import RabbitServer
from dials_async.servers.redis import RedisServer
from dials_async.supervise import Limits, supervise

#: Seconds between being told to stop and stopping: the processes of the run leave first, so that they can
#: still commit and give back what they have.
STOP_DELAY_S = 2.0

#: Its output goes to its log; the shell turns into the server.
_INTO_LOG = 'log="$1"; shift; exec "$@" >>"$log" 2>&1'


def run_in_foreground(kind: str, folder: Path | None) -> int:
    """Run "rabbitmq" or "redis" until told to stop; the exit code. Raises ServerError if it is missing."""
    variable = AMQP_VARIABLE if kind == "rabbitmq" else REDIS_VARIABLE
    url = os.environ.get(variable)
    if url:
        print(f"{kind}: using {without_password(url)} ({variable})", file=sys.stderr, flush=True)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
        return 0
    server = private_server(kind, folder)
    server.folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(server.folder, os.O_RDONLY)  # held as long as this process lives
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ServerError(
            f"another {kind} has its data in {server.folder}: choose another DIALS_RUNS"
        ) from None
    command = server.command()
    print(f"{kind} on {HOST}:{server.port}, data in {server.folder}", file=sys.stderr, flush=True)
    shell = ("/bin/sh", "-c", _INTO_LOG, "sh", str(server.log), *command.argv)
    code = supervise(
        shell,
        f"{kind} (log: {server.log})",
        stop_delay_s=STOP_DELAY_S,
        environment=command.environment,
        limits=Limits(stop_s=2.5),  # honcho kills after 5 s
    )
    server.after_stop()
    return code


def private_server(kind: str, folder: Path | None = None) -> PrivateServer:
    """The server that ``honcho start`` uses: its folder under runs/, its port from the environment."""
    folder = folder or Path(os.environ.get("DIALS_RUNS", "runs")) / ".servers" / kind
    return RabbitServer(folder, amqp_port()) if kind == "rabbitmq" else RedisServer(folder, redis_port())

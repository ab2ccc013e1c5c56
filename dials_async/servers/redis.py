"""A private Redis: its configuration file, an append-only file that outlives kill -9, and its readiness."""

import os
import shutil
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from dials_async.errors import ServerError
from dials_async.servers.private import HOST, Command, PrivateServer

#: Seconds that one question "are you ready?" may take; it is asked again.
_PROBE_S = 1.0

# appendfsync: measured with commits of 1 MB, 10 a second, and kill -9 of the server.
#   everysec  loses what was acknowledged: while an fsync takes long, write(2) is put off for up to 2 s
#             (4 to 9 commits were lost of 40 when an fsync took 1.5 s; none on a quick disk).
#   always    loses nothing, and waits for the disk in each commit: 2.1 instead of 1.3 ms on a quick disk, a
#             standstill of all clients on a slow one.
#   no        loses nothing, at no cost: write(2) comes before the answer, and the kernel keeps what is
#             written. A power cut may cost up to 30 s of commits; checkpoints on disk are for that.
#
# auto-aof-rewrite: commits of 1 MB, 10 a second, write 10 MB/s. The default (from 64 MB on) would rewrite the
# file every 6 s; with 256 MB it is every 25 s, and the file is read back in 0.1 s.
_CONFIGURATION = """\
bind {host}
port {port}
protected-mode yes
daemonize no
dir {folder}
logfile ""
save ""
appendonly yes
appendfsync no
aof-load-truncated yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 256mb
maxmemory-policy noeviction
"""


class RedisServer(PrivateServer):
    """Redis 7 or newer; with ``password``, clients have to know it."""

    name = "Redis"

    def __init__(self, folder: Path, port: int, password: str | None = None, host: str = HOST) -> None:
        super().__init__(folder, port)
        self.host = host
        self.password = password

    @property
    def url(self) -> str:
        """See PrivateServer."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"redis://{login}{self.host}:{self.port}/0"

    def command(self) -> Command:
        """See PrivateServer."""
        program = shutil.which("redis-server")
        if program is None:
            raise ServerError(
                "Redis is not installed ('redis-server' is not in PATH): `make services` installs it; "
                "`dials train` needs no server"
            )
        text = _CONFIGURATION.format(host=self.host, port=self.port, folder=_quoted(str(self.folder)))
        if self.password:
            text += f"requirepass {_quoted(self.password)}\n"
        self.make_folder()
        path = self.folder / "redis.conf"
        path.touch(mode=0o600)  # before the password is in it; and not in the arguments, which `ps` shows
        path.write_text(text, encoding="utf-8")
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        return Command((program, str(path)), environment)

    def answers(self) -> bool:
        """See PrivateServer; while it loads its data the answer is no."""
        client = redis.Redis(
            host=self.host,
            port=self.port,
            password=self.password,
            socket_timeout=_PROBE_S,
            socket_connect_timeout=_PROBE_S,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()


def _quoted(text: str) -> str:
    """As one word of a Redis configuration file."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

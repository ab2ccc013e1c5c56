"""A private Prometheus: reads the processes of all runs below one folder, and keeps a bounded past."""

import http.client
import os
import re
import shutil
from pathlib import Path

from dials_async.errors import ServerError
from dials_async.metrics.targets import targets_root
from dials_async.servers.private import HOST, Command, PrivateServer, require_free_port

#: What is read and how often, from the folder of the project.
CONFIGURATION = Path("monitoring/prometheus.yml")

#: What is older goes, and the oldest of what is more than that.
RETENTION_TIME, RETENTION_SIZE = "30d", "1GB"

#: Jobs whose targets are files below targets_root().
JOBS = ("dials", "rabbitmq", "prometheus")

#: Seconds that one question "are you ready?" may take; it is asked again.
_PROBE_S = 1.0


class PrometheusServer(PrivateServer):
    """One Prometheus, of the configuration file ``config``, its relative paths made absolute."""

    name = "Prometheus"

    def __init__(
        self, folder: Path, port: int, config: Path = CONFIGURATION, interval_s: float | None = None
    ) -> None:
        """See the class. ``interval_s``: seconds between two scrapes; as in ``config`` without it."""
        super().__init__(folder, port)
        self.config = config.resolve()
        self._interval_s = interval_s

    @property
    def url(self) -> str:
        """See PrivateServer."""
        return f"http://{HOST}:{self.port}"

    def command(self) -> Command:
        """See PrivateServer. Raises ServerError too without its configuration, or if the port is taken."""
        program = shutil.which("prometheus")
        if program is None:
            raise ServerError("Prometheus is not installed: 'make services' installs it")
        require_free_port(HOST, self.port, "Prometheus")
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "prometheus.yml"
        path.write_text(self._configuration(), encoding="utf-8")
        try:
            for job in JOBS:  # a folder that is not there yet is not watched
                (targets_root() / job).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServerError(f"Prometheus cannot watch {targets_root()}: {error.strerror}") from None
        argv = (
            program,
            f"--config.file={path}",
            f"--web.listen-address={HOST}:{self.port}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--storage.tsdb.retention.time={RETENTION_TIME}",
            f"--storage.tsdb.retention.size={RETENTION_SIZE}",
            "--log.level=warn",  # to PrivateServer.log; with every compaction that would grow for ever
        )
        # One processor is plenty: the cores are for training.
        return Command(argv, {"PATH": os.environ.get("PATH", os.defpath), "GOMAXPROCS": "1"})

    def answers(self) -> bool:
        """See PrivateServer; while it reads its data back the answer is no."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=_PROBE_S)
        try:
            connection.request("GET", "/-/ready")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _configuration(self) -> str:
        """The text of ``config`` as it reads from anywhere."""
        try:
            text = self.config.read_text(encoding="utf-8")
        except OSError as error:
            raise ServerError(
                f"Prometheus has no configuration: {self.config}: {error.strerror} "
                "('dials server prometheus' starts in the folder of the project)"
            ) from None
        beside = self.config.parent
        text = text.replace("'../runs/.targets/", f"'{_quoted(targets_root().resolve())}/")
        text = text.replace("'rules/", f"'{_quoted(beside / 'rules')}/")
        # Of compose.yml alone; about a folder that is not there the log would get a line at every look.
        text = re.sub(r"^ *- 'targets/.*\n", "", text, flags=re.MULTILINE)
        if self._interval_s is not None:
            every = f"{round(self._interval_s * 1000)}ms"
            text = re.sub(
                r"\b(scrape_interval|scrape_timeout|evaluation_interval): \w+", rf"\1: {every}", text
            )
        return text


def _quoted(path: Path) -> str:
    """As part of a pattern between single quotes of YAML; with [, * or ? it is looked at, not watched."""
    return re.sub(r"([\\*?\[])", r"\\\1", str(path)).replace("'", "''")

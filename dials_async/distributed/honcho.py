"""``honcho start`` from a program: a run on private servers with ports and folders of its own."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import dials_async
from dials_async.addresses import AMQP_VARIABLE, PRIVATE_USER, REDIS_VARIABLE
from dials_async.config import Config
from dials_async.errors import ServerError
from dials_async.servers.private import PrivateServer, lasting_port, password_in
from dials_async.servers.prometheus import PrometheusServer
from dials_async.servers.rabbitmq import RabbitServer
from dials_async.servers.redis import RedisServer

#: Seconds that honcho gets to end after SIGTERM; it kills what is left after 5 s itself.
END_S = 30.0

#: Processes that the Procfile starts, by their names there.
KINDS = ("rabbitmq", "redis", "prometheus", "run", "learner", "rollout", "gs_sampler", "evaluator")


class Honcho:
    """A context manager: ``honcho start`` of the project's Procfile, ended at the latest when it is left."""

    def __init__(
        self,
        config: Config,
        run: str,
        folder: Path,
        counts: dict[str, int],
        environment: dict[str, str] | None = None,
    ) -> None:
        """Prepare ``folder``; everything the run writes is below it, the run itself in runs/``run``.

        Args:
            config: of the run.
            run: its name.
            folder: must exist.
            counts: processes of a kind, where not one.
            environment: further variables.

        Raises ServerError if there is no Procfile.
        """
        self.run = run
        self.folder = folder.resolve()
        self.log = self.folder / "honcho.log"
        self.names = [f"{kind}.{k + 1}" for kind in KINDS for k in range(counts.get(kind, 1))]
        self._counts = ",".join(["all=1", *(f"{kind}={n}" for kind, n in counts.items())])
        ports: list[int] = []
        for _ in range(4):
            ports.append(lasting_port(*ports))
        data = self.folder / "runs" / ".servers"
        rabbitmq = RabbitServer(
            data / "rabbitmq",
            ports[0],
            user=PRIVATE_USER,
            password=password_in(data / "rabbitmq"),
            metrics_port=ports[3],
        )
        self._servers: dict[str, PrivateServer] = {
            "rabbitmq": rabbitmq,
            "redis": RedisServer(data / "redis", ports[1], password_in(data / "redis")),
            "prometheus": PrometheusServer(data / "prometheus", ports[2]),
        }
        preset = self.folder / f"{run}.toml"
        preset.write_text(config.to_toml(), encoding="utf-8")
        self.environment = {
            "DIALS_RUNS": str(self.folder / "runs"),
            "DIALS_RUN": run,
            "DIALS_PRESET": str(preset),
            "DIALS_PORT_AMQP": str(self._servers["rabbitmq"].port),
            "DIALS_PORT_AMQP_METRICS": str(rabbitmq.metrics_port),
            "DIALS_PORT_REDIS": str(self._servers["redis"].port),
            "DIALS_PORT_PROMETHEUS": str(self._servers["prometheus"].port),
            **(environment or {}),
        }
        self._env_file = self.folder / f"{run}.env"
        lines = [f"{name}={value}" for name, value in self.environment.items()]
        self._env_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._procfile = self.folder / "Procfile"
        self.vary({})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Honcho":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DIALS_")}
        # This process's own look at the run must not go to other servers.
        os.environ[AMQP_VARIABLE] = self._servers["rabbitmq"].url
        os.environ[REDIS_VARIABLE] = self._servers["redis"].url
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "honcho", "start", "--no-colour"),
                    *("-f", str(self._procfile), "-e", str(self._env_file), "-c", self._counts),
                ],
                env={**kept, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()  # its children notice, and end
                process.wait()

    def vary(self, by_kind: Mapping[str, Mapping[str, str]]) -> None:
        """Give the processes of some of KINDS further variables; before it is entered."""
        self._procfile.write_text(_lines(by_kind), encoding="utf-8")

    def is_running(self) -> bool:
        """Whether honcho is."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout_s: float | None = None) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def send_signal(self, number: signal.Signals) -> None:
        """To honcho: SIGINT is Ctrl-C."""
        assert self._process is not None
        self._process.send_signal(number)

    def server(self, kind: str) -> PrivateServer:
        """The server "rabbitmq", "redis" or "prometheus" of this run, to ask whether it answers."""
        return self._servers[kind]


def _lines(by_kind: Mapping[str, Mapping[str, str]]) -> str:
    """The Procfile of the project, with further variables in some lines.

    Raises ServerError if only the package is installed.
    """
    path = Path(dials_async.__file__).parent.parent / "Procfile"
    if not path.is_file():
        raise ServerError(f"there is no Procfile in {path.parent}: run this from the project's own folder")
    text = path.read_text(encoding="utf-8")
    for kind, variables in by_kind.items():
        words = " ".join(f"{name}={shlex.quote(value)}" for name, value in variables.items())
        text = re.sub(rf"^({kind}: *)", lambda line: f"{line[1]}{words} ", text, flags=re.MULTILINE)  # noqa: B023
    return text

"""One run under fire: its servers, honcho, faults one after the other, and what came of it."""

import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from dials_async.cache import CACHE_VARIABLE
from dials_async.config import Config
from dials_async.distributed import status
from dials_async.distributed.connection import Connection, wait_to_connect
from dials_async.distributed.honcho import Honcho
from dials_async.errors import BrokerError, StoreError
from dials_async.run_folder import SUMMARY

from .acts import Acts, StuckError, Undo
from .beside import Beside, EndedBadlyError
from .links import Links
from .schedule import LINKED, SERVERS, Fault, may_meet
from .victims import of_folder

RUN = "fire"

#: Rollout workers and learners.
COUNTS = {"rollout": 3, "learner": 2}

#: Bytes of the small disk: a run's folder and Redis' data fit well.
DISK = "1g"

#: Share of the run after which the disk is not filled any more: a run that cannot write its results at its
#: end is not complete, and says so.
LAST_FULL_DISK = 0.8

#: Seconds that processes get to be gone after honcho.
GONE_S = 30.0

LOOK_S = 0.1

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What came of a run."""

    done: list[Fault] = field(default_factory=list)
    left: list[Fault] = field(default_factory=list)
    """Faults that the run was over for."""
    problems: list[str] = field(default_factory=list)
    sha256: str = ""
    seconds: float = 0.0


def under_fire(
    config: Config,
    expected: tuple[str, int],
    folder: Path,
    faults: list[Fault],
    cache: Path,
    copy: Path | None,
    patience_s: float,
    say: Say,
) -> Outcome:
    """Train ``config`` with honcho while ``faults`` happen.

    Args:
        config: of the run.
        expected: the hash of its weights, and the number of its messages, undisturbed.
        folder: new; everything is written below it.
        faults: in their order.
        cache: compiled kernels; a copy of it is used.
        copy: of the package, with one edited kernel; None if no fault needs it.
        patience_s: seconds without progress that are too many.
        say: told of every fault.
    """
    outcome = Outcome(left=list(faults))
    start = time.monotonic()
    folder.mkdir(parents=True)
    own_cache = folder / "cache"
    shutil.copytree(cache, own_cache)
    with ExitStack() as undo:
        disk = undo.enter_context(small_disk(folder / "runs"))
        (folder / "rabbitmq").mkdir()
        (folder / "runs" / ".servers").mkdir(parents=True)
        # RabbitMQ stays off the small disk: full, it would hold it up for as long.
        (folder / "runs" / ".servers" / "rabbitmq").symlink_to(folder / "rabbitmq")
        fire = _Fire(config, folder, own_cache, copy, disk, patience_s, say, outcome)
        code = fire.burn()
        outcome.seconds = time.monotonic() - start
        judge(outcome, code, expected, folder)
        if outcome.problems and disk is not None:
            shutil.copytree(folder / "runs", folder / "runs-kept", ignore=shutil.ignore_patterns(".servers"))
    if not outcome.problems:
        shutil.rmtree(folder)
    return outcome


class _Fire:
    """The run, and the faults."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        cache: Path,
        copy: Path | None,
        disk: Path | None,
        patience_s: float,
        say: Say,
        outcome: Outcome,
    ) -> None:
        self._folder, self._cache, self._copy, self._disk = folder, cache, copy, disk
        self._config, self._patience_s, self._say, self._outcome = config, patience_s, say, outcome
        self._over = Event()
        self._start = time.monotonic()
        self._moved = time.monotonic()
        self._last: tuple[int, ...] = ()

    def burn(self) -> int | None:
        """To the run's end; honcho's exit code, None if it had to be ended."""
        honcho = self._honcho = Honcho(
            self._config, RUN, self._folder, COUNTS, environment={CACHE_VARIABLE: str(self._cache)}
        )
        ports = {server: honcho.server(server).port for server in SERVERS}
        with ExitStack() as undo:
            links = undo.enter_context(Links(LINKED, ports))
            honcho.vary({kind: _through(links, honcho, kind) for kind in LINKED})
            beside = undo.enter_context(
                Beside(honcho, self._config, self._cache, self._copy, self._patience_s)
            )
            self._prepare(beside)
            undo.enter_context(honcho)
            Thread(target=self._note_end, daemon=True).start()
            self._acts = Acts(honcho, links, beside, self._cache, self._disk, self._patience_s)
            try:
                connection = wait_to_connect(RUN, self._over, self._patience_s, lambda _: None)
                if connection is not None:
                    undo.callback(connection.close)
                    self._go_on(connection)
            except (StuckError, EndedBadlyError) as error:
                self._outcome.problems.append(str(error))
                return None
            return honcho.wait()

    def _prepare(self, beside: Beside) -> None:
        """What has to be there before the run begins."""
        kinds = Counter(fault.kind for fault in self._outcome.left)
        if not kinds["stale worker"] and not kinds["other run"]:
            return
        servers = [self._honcho.server(server) for server in SERVERS]
        try:
            for server in servers:
                server.folder.mkdir(parents=True, exist_ok=True)
                server.start()
            beside.prepare(kinds["stale worker"], kinds["other run"] > 0)
        finally:
            for server in servers:
                server.stop()

    def _note_end(self) -> None:
        self._honcho.wait()
        self._over.set()

    def _go_on(self, connection: Connection) -> None:
        """Faults, each after the run has moved on since the one before, and then the run's end."""
        outcome = self._outcome
        try:
            self._await_progress(connection)
            while outcome.left and self._honcho.is_running():
                if (
                    "disk full" in (f.kind for f in outcome.left[:2])
                    and self._share(connection) > LAST_FULL_DISK
                ):
                    break
                self._burst()
                self._await_progress(connection)
            while self._honcho.is_running():
                self._await_progress(connection)
        except (BrokerError, StoreError):
            if not self._over.is_set():
                raise

    def _burst(self) -> None:
        """The next fault, and the one after it if that begins while it lasts."""
        left, undos = self._outcome.left, list[tuple[Fault, Undo]]()
        time.sleep(left[0].pause_s)
        try:
            while left and len(undos) < 2 and self._honcho.is_running():
                fault = left[0]
                if undos and not (fault.overlaps and may_meet(undos[0][0], fault)):
                    break
                undo = self._acts.begin(fault)
                if undo is None:
                    self._say(f"{self._line(fault, False)}; there is none now")
                    left.append(left.pop(0))
                    break
                self._say(self._line(fault, meanwhile=bool(undos)))
                undos.append((fault, undo))
                left.pop(0)
                self._outcome.done.append(fault)
                if fault.kind not in ("kill", "torn cache"):
                    self._over.wait(fault.hold_s)
        finally:
            for fault, undo in reversed(undos):
                self._say(f"{'':>4} {self._seconds()}   {fault.name}: {undo()}")

    def _share(self, connection: Connection) -> float:
        context = connection.context
        done = min(context.store.group_version(group.index) for group in context.groups)
        return done / context.clock.n_updates

    def _await_progress(self, connection: Connection) -> None:
        """Raises StuckError when nothing has moved for too long."""
        while self._honcho.is_running():
            context = connection.context
            versions = [context.store.group_version(group.index) for group in context.groups]
            now = (*versions, context.store.aip_version(), len(context.store.records("evaluations")))
            if now != self._last:
                self._last, self._moved = now, time.monotonic()
                return
            if time.monotonic() - self._moved > self._patience_s:
                why = "; ".join(status.gather(connection)["stuck"])
                raise StuckError(f"no progress for {self._patience_s:.0f} s at {now}: {why or 'no ! line'}")
            self._over.wait(LOOK_S)

    def _line(self, fault: Fault, meanwhile: bool) -> str:
        also = " (meanwhile)" if meanwhile else ""
        commits = f"{sum(self._last[:-2]):>5} commits"
        return f"{fault.number:>4} {self._seconds()}  {commits}  {fault.name}, {fault.hold_s:g} s{also}"

    def _seconds(self) -> str:
        return f"{time.monotonic() - self._start:>6.1f} s"


def _through(links: Links, honcho: Honcho, kind: str) -> dict[str, str]:
    """The variables that lead a kind of processes through its links."""
    urls = {}
    for server, variable in (("rabbitmq", "DIALS_AMQP_URL"), ("redis", "DIALS_REDIS_URL")):
        url, port = honcho.server(server).url, honcho.server(server).port
        urls[variable] = url.replace(f":{port}/", f":{links.port(kind, server)}/")
    return urls


@contextmanager
def small_disk(place: Path) -> Iterator[Path | None]:
    """A file system of its own at ``place``, in memory; None where this user must not mount one."""
    place.mkdir(parents=True)
    command = ("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "tmpfs", str(place))
    if not can_mount() or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(("umount", "--lazy", str(place)), check=True)


def can_mount() -> bool:
    """Whether this user may, on Linux."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


def judge(outcome: Outcome, code: int | None, expected: tuple[str, int], folder: Path) -> None:
    """Add what is not as it must be."""
    problems = outcome.problems
    if not outcome.done:
        problems.append("no fault")
    if code != 0:
        problems.append(f"honcho ended with exit code {code}: see {folder / 'honcho.log'}")
    deadline = time.monotonic() + GONE_S
    while (left := list(of_folder(folder))) and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    problems += [f"left over: {process}" for process in left]
    if "Traceback" in (folder / "honcho.log").read_text(encoding="utf-8", errors="replace"):
        problems.append(f"a traceback: see {folder / 'honcho.log'}")
    summary_file = folder / "runs" / RUN / SUMMARY
    if not summary_file.exists():
        problems.append("there is no summary.json")
        return
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    outcome.sha256 = summary["weights_sha256"]
    if outcome.sha256 != expected[0]:
        problems.append(f"other weights: {outcome.sha256[:16]}, not {expected[0][:16]}")
    if (used := summary["learning"]["messages_used"]) != expected[1]:
        problems.append(f"messages used: {used}, not {expected[1]}")

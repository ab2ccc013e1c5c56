"""How each fault is carried out, and how it is undone."""

import os
import random
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis

from dials_async.distributed.honcho import Honcho
from dials_async.kernels.compile import CACHE_FOLDER

from .beside import Beside
from .links import Links
from .schedule import SERVERS, SUMO, Fault
from .victims import await_work, find

#: Undoes a fault and waits for what it was done to; what to say of that.
Undo = Callable[[], str]

#: Seconds between looks.
LOOK_S = 0.05

#: Files of the kernels' cache that are cut off at a time, and how often.
TORN_FILES, TORN_TIMES = 1, 4

#: How the small disk is filled.
_PIECE_BYTES = 2**26


class StuckError(Exception):
    """Something did not come back."""


@dataclass(frozen=True)
class Acts:
    """All that faults are made with."""

    honcho: Honcho
    links: Links
    beside: Beside
    cache: Path
    """Compiled kernels, of this run alone."""
    disk: Path | None
    """A small file system with the run's folder and Redis' data; None where it cannot be mounted."""
    patience_s: float

    def begin(self, fault: Fault) -> Undo | None:
        """Do it; None if there is nothing to do it to."""
        chance = random.Random(fault.seed)
        match fault.kind:
            case "kill":
                return self._kill(fault.target)
            case "freeze":
                return self._freeze(fault.target)
            case "link cut":
                return self._cut(fault.target)
            case "Redis OOM":
                return self._refuse_memory()
            case "Redis MISCONF":
                return self._refuse_saves()
            case "disk full":
                return self._fill_disk()
            case "stale worker":
                return self.beside.wake_stale()
            case "other run":
                return self.beside.other_run(fault.target)
            case "other arithmetic":
                return self.beside.other_arithmetic()
            case _:
                return self._tear(fault.target, chance)

    def _kill(self, name: str) -> Undo | None:
        process = find(self.honcho, name)
        if process is None:
            return None
        if name not in SERVERS:
            await_work(process)
        with suppress(psutil.NoSuchProcess):
            process.kill()
        killed = time.monotonic()

        def undo() -> str:
            self._until(lambda: self._is_back(name, process), f"{name} was killed and does not come back")
            return f"back after {time.monotonic() - killed:.1f} s"

        return undo

    def _is_back(self, name: str, before: psutil.Process) -> bool:
        if name == SUMO:  # another one is started only when there is an episode for it
            return True
        now = find(self.honcho, name)
        return (
            now is not None and now != before and (name not in SERVERS or self.honcho.server(name).answers())
        )

    def _freeze(self, name: str) -> Undo | None:
        process = find(self.honcho, name)
        if process is None:
            return None
        if name not in SERVERS:
            await_work(process)
        with suppress(psutil.NoSuchProcess):
            process.suspend()

        def undo() -> str:
            with suppress(psutil.NoSuchProcess):
                process.resume()
            return "goes on"

        return undo

    def _cut(self, target: str) -> Undo:
        link, how = target.split(", ")
        who, server = link.split(" to ")
        self.links.cut(who, server, silently=how == "silent")

        def undo() -> str:
            self.links.mend(who, server)
            return "mended"

        return undo

    def _refuse_memory(self) -> Undo:
        self._redis("CONFIG", "SET", "maxmemory", "1mb")

        def undo() -> str:
            self._redis("CONFIG", "SET", "maxmemory", "0")
            return "takes all again"

        return undo

    def _refuse_saves(self) -> Undo:
        """A folder in the place of the dump: the background save fails, and Redis takes no more writes."""
        dump = self.honcho.server("redis").folder / "dump.rdb"
        dump.mkdir()
        self._redis("CONFIG", "SET", "save", "3600 1000000000")
        self._redis("BGSAVE", "SCHEDULE")

        def undo() -> str:
            self._redis("CONFIG", "SET", "save", "")
            dump.rmdir()
            return "takes all again"

        return undo

    def _fill_disk(self) -> Undo | None:
        if self.disk is None:
            return self._limit_files()
        filler = self.disk / "filler"
        with filler.open("wb") as file:
            size = _PIECE_BYTES
            while size >= 1:  # others write too, so how much is left is seen only by taking it
                try:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
                except OSError:
                    size //= 2

        def undo() -> str:
            filler.unlink()
            return "freed"

        return undo

    def _limit_files(self) -> Undo | None:
        """Where no file system can be mounted: the keeper alone cannot write."""
        process = find(self.honcho, "run.1")
        if process is None:
            return None
        with suppress(ProcessLookupError):
            hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, hard))

        def undo() -> str:
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (hard, hard))
            return "freed"

        return undo

    def _tear(self, name: str, chance: random.Random) -> Undo | None:
        """Cut off files of the cache while a process starts, which then finds them."""
        process = find(self.honcho, name)
        files = sorted((self.cache / CACHE_FOLDER.name).glob("*/*.nb[ic]"))
        if process is None or not files:
            return None
        self._tear_some(files, chance)
        undo = self._kill(name)
        for _ in range(TORN_TIMES - 1):
            time.sleep(chance.uniform(0.2, 1.0))
            self._tear_some(files, chance)
        return undo

    def _tear_some(self, files: list[Path], chance: random.Random) -> None:
        for path in chance.sample(files, min(TORN_FILES, len(files))):
            with suppress(FileNotFoundError):  # removed, to be written again
                os.truncate(path, int(path.stat().st_size * chance.random()))

    def _redis(self, *words: str) -> None:
        """A command, through no link; until it is answered."""
        server = self.honcho.server("redis")

        def is_done() -> bool:
            try:
                client = redis.Redis.from_url(server.url, socket_timeout=5.0)
                client.execute_command(*words)  # type: ignore[no-untyped-call]
            except redis.RedisError:
                return False
            return True

        self._until(is_done, f"Redis does not answer to {' '.join(words)}")

    def _until(self, condition: Callable[[], bool], problem: str) -> None:
        deadline = time.monotonic() + self.patience_s
        while self.honcho.is_running() and not condition():
            if time.monotonic() > deadline:
                raise StuckError(problem)
            time.sleep(LOOK_S)

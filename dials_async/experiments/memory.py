"""What the processes of a trial weigh, looked at from outside twice a second while it runs."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

LOOK_S = 0.5

#: How the table names the process that trains, and all that it starts (SUMO, for traffic).
TRAINING, CHILDREN = "training", "children"

Memory = Mapping[str, Mapping[str, float]]
"""By kind of process: "count", "peak_mib" of the largest one, "total_mib" of all of them at once."""


@dataclass
class _Most:
    count: int = 0
    peak_mib: float = 0.0
    total_mib: float = 0.0


class MemoryWatch:
    """Resident memory of a process and of all below it, from now until ``stop``.

    Pages that processes share count for each of them, so a total is an upper bound.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._most = {kind: _Most() for kind in (TRAINING, CHILDREN)}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)
        self._thread.start()

    def stop(self) -> Memory:
        """End the watch. Returns what was ``seen``."""
        self._over.set()
        self._thread.join()
        return self.seen()

    def seen(self) -> Memory:
        """The most so far; kinds that there never were are left out."""
        return {
            kind: {
                "count": most.count,
                "peak_mib": round(most.peak_mib, 1),
                "total_mib": round(most.total_mib, 1),
            }
            for kind, most in self._most.items()
            if most.count
        }

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            try:
                below = self._root.children(recursive=True)
            except psutil.NoSuchProcess:
                return  # the run is over, and ``stop`` about to be called
            self._look(TRAINING, [self._root])
            self._look(CHILDREN, below)

    def _look(self, kind: str, processes: list[psutil.Process]) -> None:
        sizes = [mib for mib in map(_resident_mib, processes) if mib]
        most = self._most[kind]
        most.count = max(most.count, len(sizes))
        most.peak_mib = max([most.peak_mib, *sizes])
        most.total_mib = max(most.total_mib, sum(sizes))


def larger(one: Memory, other: Memory) -> Memory:
    """The most of both: of a run that was cut off and went on."""
    kinds = [kind for kind in (TRAINING, CHILDREN) if kind in one or kind in other]
    empty: dict[str, float] = {}
    return {
        kind: {
            key: max(one.get(kind, empty).get(key, 0.0), other.get(kind, empty).get(key, 0.0))
            for key in ("count", "peak_mib", "total_mib")
        }
        for kind in kinds
    }


def memory_rows(memory: Memory) -> list[dict[str, Any]]:
    """Rows of memory.csv, without their trial."""
    return [{"process": kind, **sizes} for kind, sizes in memory.items()]


def _resident_mib(process: psutil.Process) -> float:
    """0 for one that has just ended."""
    try:
        return float(process.memory_info().rss) / 2**20
    except psutil.NoSuchProcess:
        return 0.0

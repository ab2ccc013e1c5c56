"""What a run was made on: processor, memory, system, versions of the libraries."""

import hashlib
import math
import os
import platform
import resource
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import dials_async


def machine() -> dict[str, Any]:
    """The machine, for summaries and benchmarks."""
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


def machine_in_words() -> str:
    """The same on one line, without the processor."""
    facts = machine()
    return f"{facts['cores']} cores, {facts['memory_gib']:g} GiB, {facts['system']}"


def cores() -> int:
    """Cores that this process may use: of the machine, fewer where its affinity or its container says so."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _container_cores(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return max(1, math.ceil(min(there, limit)))


def _container_cores(root: Path, membership: Path) -> float:
    """Cores that control groups (version 2 or 1) leave this process; infinite without a limit."""
    try:
        lines = [line.split(":", 2) for line in membership.read_text(encoding="utf-8").splitlines()]
    except OSError:  # not Linux
        return math.inf
    least = math.inf
    for _, controllers, own in lines:
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        for folder in (base / own.lstrip("/"), *(base / own.lstrip("/")).parents):
            if folder.is_relative_to(base):
                least = min(least, _share(folder))
    return least


def _share(folder: Path) -> float:
    """The limit of one control group, in cores."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with suppress(OSError, ValueError):  # no such file, or "max": no limit
            words = " ".join((folder / name).read_text(encoding="ascii") for name in names).split()
            quota, period = int(words[0]), int(words[1])
            if quota > 0 and period > 0:  # version 1 writes -1 for no limit
                return quota / period
    return math.inf


def library_versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ["dials-async", "numpy", "numba", "msgpack", "safetensors"]
    for extra in ("eclipse-sumo", "torch"):  # only the traffic domain and ppo.backend = "torch" need them
        with suppress(PackageNotFoundError):
            version(extra)
            names.append(extra)
    return {"python": sys.version.split()[0], **{name: version(name) for name in names}}


@cache
def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:  # not Linux
        names = []
    return names[0] if names else platform.processor() or platform.machine()


@cache
def code_version() -> str:
    """Version and a hash of the source: processes that differ here may differ in their results."""
    root = Path(dials_async.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return f"{dials_async.__version__}+{digest.hexdigest()[:8]}"


def memory_mib() -> float:
    """Resident memory now where /proc tells it, else the most so far."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return round(int(file.read().split()[1]) * resource.getpagesize() / 2**20, 1)
    except OSError:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10, 1)

"""Where Prometheus finds the processes: a small file for each, in a folder that Prometheus watches."""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dials_async.atomic import write_atomically
from dials_async.errors import UsageError

#: A file name has at most 255 bytes, with the hash and the suffixes.
_LONGEST_NAME = 150


def targets_root() -> Path:
    """The folder of all jobs: $DIALS_TARGETS, else ``.targets`` beside the runs."""
    given = os.environ.get("DIALS_TARGETS")
    return Path(given) if given else Path(os.environ.get("DIALS_RUNS", "runs")) / ".targets"


@dataclass(frozen=True)
class Target:
    """A process that Prometheus reads, as long as its file is there."""

    path: Path
    content: str

    def remove(self) -> None:
        """Take it away, unless a successor of the same name has its place by now; twice is allowed."""
        with contextlib.suppress(OSError):  # gone, with its folder perhaps
            if self.path.read_text(encoding="utf-8") == self.content:
                self.path.unlink()


def register(job: str, name: str, address: str, labels: Mapping[str, str]) -> Target:
    """Let Prometheus read ``address`` (host:port) as part of ``job``, in place of who had ``name`` before.

    Raises UsageError if the file cannot be written.
    """
    folder = targets_root() / job
    content = json.dumps([{"targets": [address], "labels": dict(labels)}]) + "\n"
    path = folder / f"{_safe(name)}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content, shared=True)  # beside *.json, at which Prometheus looks
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    return Target(path, content)


def forget_run(run: str) -> int:
    """Remove all targets of ``run``, of its processes that died, too; how many there were."""
    removed = 0
    for path in targets_root().glob("*/*.json"):
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # another one's, or gone
            if json.loads(path.read_text(encoding="utf-8"))[0]["labels"]["run"] == run:
                path.unlink()
                removed += 1
    return removed


def _safe(name: str) -> str:
    """A file name of its own for every name."""
    plain = quote(name, safe="@", errors="surrogatepass")
    if len(plain) <= _LONGEST_NAME:
        return plain
    # "%-" comes from no other name: what quote() writes behind % is a hexadecimal digit.
    return f"{plain[:_LONGEST_NAME]}%-{hashlib.sha256(plain.encode()).hexdigest()}"

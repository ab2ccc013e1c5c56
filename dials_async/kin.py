"""Processes above and below this one: are its parents there still, and which orphans are its own now."""

import os
import subprocess
import sys
from contextlib import suppress


def elders() -> list[int | None]:
    """Our parent and, under honcho, the two above our session: a change means that one of them is gone."""
    found: list[int | None] = [os.getppid()]
    if "HONCHO_PROCESS_NAME" in os.environ:
        # honcho starts our session from a forked process that outlives it: only that one becomes an orphan.
        forked = _parent_of(os.getsid(0))
        found += [forked, forked and _parent_of(forked)]
    return found


def reap(child: "subprocess.Popen[bytes] | None") -> None:
    """Let every ended child of ours go; ``child`` by its Popen, which keeps the exit code.

    A subreaper inherits the orphans of all that descend from it, and each stays a zombie until it looks.
    """
    if sys.platform != "linux":
        return  # nobody else has subreapers: orphans are never ours
    with suppress(ChildProcessError):  # there is no child, ended or not
        # We look before we take: what waitpid() takes of ``child`` its Popen would never learn.
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            # An orphan may get the number of a child that was reaped: that one is not asked again.
            if child is not None and child.returncode is None and ended.si_pid == child.pid:
                child.poll()
            else:
                os.waitpid(ended.si_pid, os.WNOHANG)


def _parent_of(pid: int) -> int | None:
    with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])
    return None

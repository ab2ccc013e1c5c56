"""Processes as /proc tells them: no program of the system is needed, and zombies are seen too."""

from pathlib import Path


def children_of(parent: int) -> dict[int, str]:
    """Pids and command lines (empty: a zombie) of the processes that ``parent`` started."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # "pid (name) state ppid ...": the name may hold anything, also parentheses.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == parent:
            found[int(entry.name)] = command
    return found


def sumo_children(parent: int) -> set[int]:
    """Pids of the children that run SUMO, or are zombies."""
    return {pid for pid, command in children_of(parent).items() if not command or "traffic.child" in command}

"""Where a run lives in Redis: the names of its keys, and the number of their layout.

All keys of a run share the hash tag ``{run}``, so that a cluster keeps them in one slot: scripts and
transactions need that.

    dials:{run}:info         hash    schema; life: drawn when it was made; restored: token
    dials:{run}:changes      number  commits, appended records and restores so far
    dials:{run}:groups       set     ids of groups
    dials:{run}:group:<id>   hash    version, steps: of the newest; state: it without its weights;
                                     w:<version>: weights; t:<version>: token;
                                     h:<version>: what it is still needed for
    dials:{run}:aips         hash    version, steps: of the newest; a:<version>: all of it; t:<version>: token
    dials:{run}:kinds        set     kinds of records
    dials:{run}:rows:<kind>  list    the records, JSON
    dials:{run}:ids:<kind>   hash    id of a record -> token of the call that appended it
    dials:{run}:run          hash    config, fingerprint, token, state, note, clock: the entry in the registry
    dials:{run}:present      hash    process -> facts, JSON;  present_at: when it said so (sorted set)
    dials:{run}:leases       hash    what -> "until owner"
    dials:{run}:news         the pub/sub channel
"""

import re
from dataclasses import dataclass

from dials_async.errors import UsageError

#: Counted up when the layout above changes, so that a program of another version is refused.
SCHEMA = 2

#: As for the folders of runs; what it leaves out has a meaning in patterns of keys.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

#: As it is drawn; it is part of names of queues.
_LIFE = re.compile(r"[0-9a-f]{16}")

_PREFIX, _ENTRY = "dials:{", "}:run"

#: Finds the registry's entries of all runs.
ENTRIES_PATTERN = f"{_PREFIX}*{_ENTRY}"


def run_of_entry(key: bytes) -> str | None:
    """The run whose entry in the registry this key is; None if it has no name that a run may have."""
    name = key.decode(errors="replace").removeprefix(_PREFIX).removesuffix(_ENTRY)
    return name if _NAME.fullmatch(name) else None


def require_life(life: str) -> str:
    """``life``, if it is one. Raises ValueError."""
    if not _LIFE.fullmatch(life):
        raise ValueError(f"{life[:40]!r} is no life")
    return life


@dataclass(frozen=True, slots=True)
class RunKeys:
    """The keys of one run. Raises UsageError if ``run`` is no name for one."""

    run: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.run):
            raise UsageError(
                f"{self.run!r} is no name for a run: letters, digits, '.', '_' and '-', at most 100"
            )

    def key(self, name: str) -> str:
        """Any key of the run by the name in the table above."""
        return f"{_PREFIX}{self.run}}}:{name}"

    def group(self, group: int) -> str:
        """The hash of a group."""
        return self.key(f"group:{group}")

    def rows(self, kind: str) -> str:
        """The list of the records of a kind."""
        return self.key(f"rows:{kind}")

    def ids(self, kind: str) -> str:
        """The hash of the ids of a kind."""
        return self.key(f"ids:{kind}")

    @property
    def pattern(self) -> str:
        """Finds all keys of the run; nothing in a name needs escaping."""
        return self.key("*")

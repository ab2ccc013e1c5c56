"""The registry of runs in one Redis: configuration, state, clock, who works on them, and leases."""

import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from dials_async.errors import RunExistsError, RunNotFoundError, StoreError
from dials_async.store.base import MAX_RECORD_BYTES
from dials_async.store.redis import runs_scripts as scripts
from dials_async.store.redis.keys import ENTRIES_PATTERN, RunKeys, require_life, run_of_entry
from dials_async.store.redis.link import PATIENCE_S, RedisLink
from dials_async.store.redis.opening import require_schema
from dials_async.store.redis.packing import damage_named
from dials_async.store.schema import checked_announcement

#: The states of a run.
CREATING, INITIALISED, RUNNING, COMPLETE, FAILED = (
    "creating",
    "initialised",
    "running",
    "complete",
    "failed",
)
STATES = (CREATING, INITIALISED, RUNNING, COMPLETE, FAILED)

#: Processes that are remembered, those that said something last: restarts bring new names for ever.
MAX_PRESENT = 1000

#: Runs that an error names.
_NAMED = 8

#: Keys that one SCAN looks at, and that one command deletes.
_SCAN_COUNT = 1000


@dataclass(frozen=True, slots=True)
class RunStatus:
    """How a run stands. Times are seconds since 1970 by the clock of the Redis server."""

    state: str
    note: str
    created_at: float
    started_at: float | None
    """When the clock of this session was started; None before."""
    seconds_before: float
    """What the clock had shown then: the time of the sessions before."""


#: The role of who is in the presence of a run with something that no process says.
DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Presence:
    """What a process said of itself, and how long ago."""

    facts: Mapping[str, Any]
    age_s: float


class RunRegistry:
    """All runs in one Redis. Outages as in RedisStore.

    What is asked of a run that is not there raises RunNotFoundError.
    """

    def __init__(
        self, url: str, give_up: threading.Event | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        """Raises StoreError if there is no such Redis."""
        self._link = RedisLink(url, patience_s, give_up)
        self._create = self._link.script(scripts.CREATE)
        self._update = self._link.script(scripts.UPDATE)
        self._start_clock = self._link.script(scripts.START_CLOCK)
        self._skip_pause = self._link.script(scripts.SKIP_PAUSE)
        self._elapsed = self._link.script(scripts.ELAPSED)
        self._announce = self._link.script(scripts.ANNOUNCE)
        self._processes = self._link.script(scripts.PROCESSES)
        self._claim = self._link.script(scripts.CLAIM)
        self._unclaim = self._link.script(scripts.UNCLAIM)
        self._claims = self._link.script(scripts.CLAIMS)

    def close(self) -> None:
        """Calls that wait, and all later ones, raise StoreError. Twice is allowed."""
        self._link.close()

    @property
    def connected(self) -> bool:
        """Whether Redis serves it now; answers at once."""
        return self._link.answers

    def create(self, run: str, config_toml: str, fingerprint: str, state: str = INITIALISED) -> None:
        """Enter a new run. Raises RunExistsError; UsageError if ``run`` is no name for a run."""
        keys = RunKeys(run)
        require_schema(self._link, keys)
        arguments = (config_toml, fingerprint, _known(state), secrets.token_hex(8))
        if not self._create((_entry(run),), arguments):
            raise RunExistsError(f"a run '{run}' exists in Redis at {self._link.shown}")

    def config(self, run: str) -> str:
        """The configuration, TOML. Raises StoreError if this version of the program cannot read the run."""
        (config,) = self._fields(run, "config")
        require_schema(self._link, RunKeys(run))
        return config

    def fingerprint(self, run: str) -> str:
        """The fingerprint of the configuration that the run was created with."""
        (fingerprint,) = self._fields(run, "fingerprint")
        return fingerprint

    def life(self, run: str) -> str:
        """Which life ``run`` is in; one that was lost and made again has another."""
        life = self._link.call(lambda client: client.hget(RunKeys(run).key("info"), "life"))
        self._require(run, life)
        with damage_named(f"the life of run {run}"):
            return require_life(life.decode())

    def replace_config(self, run: str, config_toml: str) -> None:
        """A longer run: the configuration changes, its fingerprint does not."""
        self._require(run, self._update((_entry(run),), ("config", config_toml)))

    def names(self) -> list[str]:
        """All runs, in order."""
        keys = self._link.call(lambda client: _scan(client, ENTRIES_PATTERN))
        return sorted({name for key in keys if (name := run_of_entry(key)) is not None})

    def delete(self, run: str) -> None:
        """Remove all that Redis holds of ``run``; nothing happens if that is nothing."""
        keys = RunKeys(run)

        def remove(client: Any) -> None:
            client.delete(_entry(run))  # first: from now on the run is unknown, whatever comes in between
            found = _scan(client, keys.pattern)
            for start in range(0, len(found), _SCAN_COUNT):
                client.unlink(*found[start : start + _SCAN_COUNT])

        self._link.call(remove)

    def set_status(self, run: str, state: str, note: str = "") -> None:
        """``state`` is one of STATES, ``note`` a word on it."""
        self._require(run, self._update((_entry(run),), ("state", _known(state), "note", note)))

    def status(self, run: str) -> RunStatus:
        """How ``run`` stands."""
        state, note, created, started, before = self._fields(
            run, "state", "note", "created_at", "started_at", "seconds_before"
        )
        with damage_named(f"run {run}"):
            if state not in STATES:
                raise ValueError(f"{state[:40]!r} is no state")
            return RunStatus(state, note, _time(created), _time(started) if started else None, _time(before))

    def start_clock(self, run: str, seconds_before: float) -> None:
        """From now on ``elapsed_s`` counts, on from ``seconds_before``."""
        self._require(run, self._start_clock((_entry(run),), (float(seconds_before),)))

    def skip_pause(self, run: str, silence_s: float) -> None:
        """Let the clock leave out the time since a process was last announced, if it is over ``silence_s``.

        For each process that joins: after a pause the first one finds the silence, the others no more.
        """
        self._require(run, self._skip_pause(_presence(run), (float(silence_s),)))

    def elapsed_s(self, run: str) -> float:
        """Seconds that the run has taken, by the clock of Redis: one for all hosts. 0 before the start."""
        elapsed = self._elapsed((_entry(run),), ())
        self._require(run, elapsed)
        with damage_named(f"the clock of run {run}"):
            return _time(elapsed)

    def announce(self, run: str, process: str, facts: Mapping[str, Any]) -> None:
        """Tell that ``process`` is there, and some facts: a small JSON object. An unknown run is ignored.

        Raises StoreError if they are not JSON, or longer than MAX_RECORD_BYTES.
        """
        try:
            text = json.dumps(dict(facts), allow_nan=False)
            checked_announcement(text)
        except (TypeError, ValueError) as error:
            raise StoreError(f"facts of {process}: {error}") from None
        if len(text) > MAX_RECORD_BYTES:
            raise StoreError(f"facts of {process}: {len(text)} bytes, limit {MAX_RECORD_BYTES}")
        self._announce(_presence(run), (process, text, MAX_PRESENT))

    def processes(self, run: str) -> dict[str, Presence]:
        """The processes that were announced, those that were silent longest first; at most MAX_PRESENT.

        One whose entry is damaged has the role DAMAGED, and has left.
        """
        answer = self._processes(_presence(run), ())
        self._require(run, answer)
        return {
            process.decode(errors="replace"): Presence(_facts(process, text), max(0.0, float(age)))
            for process, text, age in zip(answer[::3], answer[1::3], answer[2::3], strict=True)
        }

    def refusal(self, run: str) -> str | None:
        """Why Redis takes no word of a process of ``run`` now, in few words; None if it does."""
        state = self.status(run).state
        update = self._link.client.register_script(scripts.UPDATE)
        return self._link.why_not(
            lambda client: update(keys=[_entry(run)], args=("state", state), client=client)
        )

    def claim(self, run: str, what: str, owner: str, ttl_s: float) -> bool:
        """Take ``what`` for ``ttl_s`` seconds, or keep it for so long; False if somebody else has it.

        Of an unknown run nothing can be had.
        """
        return bool(self._claim(_leases(run), (what, owner, float(ttl_s))))

    def unclaim(self, run: str, what: str, owner: str) -> None:
        """Leave ``what`` to others, if it is ``owner``'s."""
        self._unclaim(_leases(run), (what, owner))

    def claims(self, run: str) -> dict[str, str]:
        """Who has what now."""
        answer = self._claims(_leases(run), ())
        self._require(run, answer)
        with damage_named(f"leases of run {run}"):
            names = [value.decode() for value in answer]
        return dict(zip(names[::2], names[1::2], strict=True))

    def _fields(self, run: str, *names: str) -> list[str]:
        values = self._link.call(lambda client: client.hmget(_entry(run), *names))
        self._require(run, values[0])
        with damage_named(f"run {run}"):
            return [(value or b"").decode() for value in values]

    def _require(self, run: str, found: object) -> None:
        """Raises RunNotFoundError if it was not found, the known runs with it, the likeliest first."""
        if found is not None:
            return
        names = self.names()
        near = get_close_matches(run, names, n=_NAMED, cutoff=0.4)
        known = [*near, *(name for name in names if name not in near)]
        shown = ", ".join(known[:_NAMED]) + (", ..." if len(known) > _NAMED else "")
        raise RunNotFoundError(
            f"no run '{run}' in Redis at {self._link.shown}"
            + (f"; there are: {shown}" if known else ", nor any other")
        )


def _entry(run: str) -> str:
    return RunKeys(run).key("run")


def _presence(run: str) -> tuple[str, str, str]:
    return _entry(run), RunKeys(run).key("present"), RunKeys(run).key("present_at")


def _leases(run: str) -> tuple[str, str]:
    return _entry(run), RunKeys(run).key("leases")


def _facts(process: bytes, text: bytes) -> dict[str, Any]:
    try:
        return checked_announcement(text)
    except (ValueError, RecursionError) as error:
        return {
            "name": ascii(process.decode(errors="replace"))[1:-1][:100],
            "role": DAMAGED,
            "doing": str(error)[:100],
            "left": True,
        }


def _time(text: bytes | str) -> float:
    """Seconds. Raises ValueError if it is none."""
    seconds = float(text)
    if not 0.0 <= seconds < 1e12:
        raise ValueError(f"{seconds} s is no time")
    return seconds


def _scan(client: Any, pattern: str) -> list[bytes]:
    return list(client.scan_iter(match=pattern, count=_SCAN_COUNT))


def _known(state: str) -> str:
    if state not in STATES:
        raise ValueError(f"a run is {', '.join(STATES)}, not {state!r}")
    return state

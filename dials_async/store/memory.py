"""The store of an embedded run: the store port for the threads of one process; checkpoints outlive it."""

import json
import secrets
import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from dials_async.errors import StoreError, VersionGoneError
from dials_async.store.base import (
    WEIGHTS,
    AipState,
    Array,
    GroupSnapshot,
    GroupState,
    KeepRules,
    StoreSnapshot,
)
from dials_async.store.checks import encode_record, frozen_aip, frozen_array, frozen_group, require_next


class MemoryStore:
    """Implements the Store protocol. What is committed is replaced, never changed, so reads cannot tear."""

    def __init__(self, rules: KeepRules | None = None) -> None:
        self._rules = rules or KeepRules()
        self.life = secrets.token_hex(8)
        """See Store."""
        self._groups: dict[int, GroupSnapshot] = {}
        self._aips: tuple[AipState, ...] = ()
        self._records: dict[str, dict[str, str]] = {}  # kind -> id -> JSON
        self._changes = 0
        self._changed = threading.Condition()  # its lock guards all of the above
        self._seen = threading.local()  # .changes at this thread's last wait

    def commit_group(self, state: GroupState, hold: Collection[str] = ()) -> None:
        """See Store."""
        state = frozen_group(state)  # copies outside of the lock
        with self._changed:
            old = self._groups.get(state.group)
            require_next(f"group {state.group}", state, old.state if old else None)
            weights = {**old.weights, old.state.version: old.state.arrays[WEIGHTS]} if old else {}
            holds = {**(old.holds if old else {}), state.version: frozenset(hold)}
            self._groups[state.group] = self._pruned(GroupSnapshot(state, weights, holds))
            self._announce()

    def latest_group(self, group: int) -> GroupState | None:
        """See Store."""
        with self._changed:
            return self._groups[group].state if group in self._groups else None

    def group_version(self, group: int) -> int:
        """See Store."""
        state = self.latest_group(group)
        return state.version if state else -1

    def weights(self, group: int, version: int) -> Array:
        """See Store."""
        with self._changed:
            known = self._groups.get(group)
        if known is not None and version == known.state.version:
            return known.state.arrays[WEIGHTS]
        if known is None or version not in known.weights:
            newest = known.state.version if known else -1
            raise VersionGoneError(f"group {group}: version {version} is not kept, the newest is {newest}")
        return known.weights[version]

    def release(self, group: int, version: int, purpose: str) -> None:
        """See Store."""
        with self._changed:
            known = self._groups.get(group)
            if known is not None and version in known.holds:
                holds = {**known.holds, version: known.holds[version] - {purpose}}
                self._groups[group] = self._pruned(replace(known, holds=holds))

    def held(self, group: int, purpose: str) -> list[int]:
        """See Store."""
        with self._changed:
            known = self._groups.get(group)
        return sorted(version for version, held in known.holds.items() if purpose in held) if known else []

    def commit_aip(self, state: AipState) -> None:
        """See Store."""
        state = frozen_aip(state)
        with self._changed:
            require_next("AIPs", state, self._aips[-1] if self._aips else None)
            self._aips = (*self._aips, state)[-self._rules.keep_last_aips :]
            self._announce()

    def latest_aip(self) -> AipState | None:
        """See Store."""
        with self._changed:
            return self._aips[-1] if self._aips else None

    def aip_version(self) -> int:
        """See Store."""
        state = self.latest_aip()
        return state.version if state else -1

    def aip(self, version: int) -> AipState:
        """See Store."""
        with self._changed:
            aips = self._aips
        for state in aips:
            if state.version == version:
                return state
        newest = aips[-1].version if aips else -1
        raise VersionGoneError(f"AIPs: version {version} is not kept, the newest is {newest}")

    def append_record(self, kind: str, record: Mapping[str, Any]) -> bool:
        """See Store."""
        key, text = encode_record(kind, record)
        with self._changed:
            rows = self._records.setdefault(kind, {})
            if key in rows:
                return False
            rows[key] = text
            self._announce()
            return True

    def records(self, kind: str) -> list[dict[str, Any]]:
        """See Store."""
        with self._changed:
            rows = list(self._records.get(kind, {}).values())
        return [json.loads(text) for text in rows]

    def wait(self, timeout_s: float) -> bool:
        """See Store."""
        with self._changed:
            seen = getattr(self._seen, "changes", 0)
            changed = self._changed.wait_for(lambda: self._changes != seen, timeout_s)
            self._seen.changes = self._changes
            return changed

    @property
    def connected(self) -> bool:
        """See Store: nothing to lose."""
        return True

    @property
    def reconnects(self) -> int:
        """See Store."""
        return 0

    @property
    def refusal(self) -> str | None:
        """See Store."""
        return None

    def snapshot(self) -> StoreSnapshot:
        """See Store."""
        with self._changed:
            records = {kind: tuple(rows.values()) for kind, rows in self._records.items()}
            return StoreSnapshot(dict(self._groups), self._aips, records)

    def restore(self, snapshot: StoreSnapshot) -> None:
        """See Store."""
        # Through the same door as a commit: nobody else holds the arrays afterwards.
        groups = {}
        for group, known in snapshot.groups.items():
            older = {version: frozen_array(WEIGHTS, array) for version, array in known.weights.items()}
            groups[group] = self._pruned(GroupSnapshot(frozen_group(known.state), older, known.holds))
        aips = tuple(frozen_aip(state) for state in snapshot.aips)
        records = {
            kind: dict(encode_record(kind, json.loads(row)) for row in rows)
            for kind, rows in snapshot.records.items()
        }
        with self._changed:
            if self._groups or self._aips or self._records:
                raise StoreError(
                    "the store is not empty: a checkpoint is restored before anything is committed"
                )
            self._groups, self._aips, self._records = groups, aips, records
            self._announce()

    def close(self) -> None:
        """See Store."""

    def _pruned(self, known: GroupSnapshot) -> GroupSnapshot:
        oldest = known.state.version - self._rules.keep_last + 1
        holds = {version: held for version, held in known.holds.items() if held}
        weights = {v: array for v, array in known.weights.items() if v >= oldest or v in holds}
        return GroupSnapshot(known.state, MappingProxyType(weights), MappingProxyType(holds))

    def _announce(self) -> None:
        self._changes += 1
        self._changed.notify_all()

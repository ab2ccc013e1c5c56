"""The store of an embedded run: the store port for the threads of one process; checkpoints outlive it."""

import json
import threading
from collections.abc import Mapping
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
    Mark,
    StoreSnapshot,
)
from dials_async.store.checks import encode_record, frozen_aip, frozen_array, frozen_group, require_next


class MemoryStore:
    """Implements the Store protocol. What is committed is replaced, never changed, so reads cannot tear."""

    def __init__(self, rules: KeepRules | None = None) -> None:
        self._rules = rules or KeepRules()
        self._groups: dict[int, GroupSnapshot] = {}
        self._aips: tuple[AipState, ...] = ()
        self._records: dict[str, dict[str, str]] = {}  # kind -> id -> JSON
        self._changes = 0
        self._changed = threading.Condition()  # its lock guards all of the above
        self._seen = threading.local()  # .changes at this thread's last wait

    def commit_group(self, state: GroupState) -> None:
        """See Store."""
        state = frozen_group(state)  # copies outside of the lock
        with self._changed:
            old = self._groups.get(state.group)
            require_next(f"group {state.group}", state, old.state if old else None)
            before = old.state.steps_per_agent if old else -1
            mark = Mark(state.version, before, state.steps_per_agent, held=True)
            weights = {**old.weights, old.state.version: old.state.arrays[WEIGHTS]} if old else {}
            marks = (*(old.marks if old else ()), mark)
            self._groups[state.group] = self._pruned(GroupSnapshot(state, weights, marks))
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

    def boundary_version(self, group: int, steps: int) -> int | None:
        """See Store."""
        with self._changed:
            known = self._groups.get(group)
        if known is None or known.state.steps_per_agent < steps:
            return None
        for mark in known.marks:
            if mark.answers(steps):
                return mark.version
        raise VersionGoneError(f"group {group}: step {steps} is long past and no boundary of this store")

    def release(self, group: int, version: int) -> None:
        """See Store."""
        with self._changed:
            known = self._groups.get(group)
            if known is not None:
                marks = tuple(replace(m, held=m.held and m.version != version) for m in known.marks)
                self._groups[group] = self._pruned(replace(known, marks=marks))

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
            groups[group] = self._pruned(GroupSnapshot(frozen_group(known.state), older, known.marks))
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
        newest = known.state.version
        marks = tuple(mark for mark in known.marks if self._rules.keeps_mark(mark, newest))
        kept = {mark.version for mark in marks if self._rules.keeps_weights(mark, newest)}
        weights = {version: array for version, array in known.weights.items() if version in kept}
        return GroupSnapshot(known.state, MappingProxyType(weights), marks)

    def _announce(self) -> None:
        self._changes += 1
        self._changed.notify_all()

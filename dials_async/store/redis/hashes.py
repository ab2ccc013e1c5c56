"""The hashes of groups and of AIPs as a whole: from Redis to a snapshot, and back at a restore."""

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from dials_async.store.base import WEIGHTS, AipState, GroupSnapshot, GroupState, KeepRules, StoreSnapshot
from dials_async.store.checks import encode_record, frozen_aip, frozen_array, frozen_group
from dials_async.store.redis.keys import RunKeys
from dials_async.store.redis.packing import (
    damage_named,
    pack_aip,
    pack_array,
    pack_group,
    pack_holds,
    unpack_aip,
    unpack_array,
    unpack_group,
    unpack_holds,
    unpack_record,
)

Fields = dict[str, str | int | bytes]

#: In place of the token of a commit: no call may take a restored version for its own.
_NO_TOKEN = "restored"


def group_snapshot(group: int, fields: Mapping[bytes, bytes]) -> GroupSnapshot:
    """All of a group. Raises StoreError if something is damaged or missing."""
    with damage_named(f"group {group}"):
        version, state = int(fields[b"version"]), fields[b"state"]
        blobs = by_version("w:", fields)
        newest = unpack_group(group, version, state, blobs.pop(version))
    older = {v: unpack_array(f"group {group}, weights of version {v}", b) for v, b in blobs.items()}
    with damage_named(f"group {group}, holds"):
        holds = {v: unpack_holds(blob) for v, blob in by_version("h:", fields).items()}
    return GroupSnapshot(newest, MappingProxyType(older), MappingProxyType(holds))


def aip_states(fields: Mapping[bytes, bytes]) -> tuple[AipState, ...]:
    """All AIPs that are kept, by rising version. Raises StoreError if something is damaged."""
    with damage_named("AIPs"):
        return tuple(unpack_aip(version, blob) for version, blob in sorted(by_version("a:", fields).items()))


def whole_records(kind: str, rows: Iterable[bytes]) -> tuple[str, ...]:
    """Records as they are kept, JSON. Raises StoreError if one is damaged."""
    return tuple(json.dumps(unpack_record(kind, row)) for row in rows)


def restored_hashes(snapshot: StoreSnapshot, keys: RunKeys, rules: KeepRules) -> dict[str, Fields]:
    """The hashes of groups and AIPs, by key. Raises StoreError if something is malformed."""
    hashes = {keys.group(group): restored_group(known, rules) for group, known in snapshot.groups.items()}
    return {**hashes, keys.key("aips"): restored_aips(snapshot.aips)} if snapshot.aips else hashes


def restored_records(snapshot: StoreSnapshot) -> dict[str, dict[str, str]]:
    """By kind and id, as they are written. Raises StoreError if one is malformed."""
    return {
        kind: dict(encode_record(kind, json.loads(row)) for row in rows)
        for kind, rows in snapshot.records.items()
    }


def restored_group(known: GroupSnapshot, rules: KeepRules) -> Fields:
    """The fields of a group, what ``rules`` do not keep left out. Raises StoreError if it is malformed."""
    newest: GroupState = frozen_group(known.state)
    state, weights = pack_group(newest)
    fields: Fields = {"version": newest.version, "steps": newest.steps_per_agent, "state": state}
    fields |= {f"h:{version}": pack_holds(held) for version, held in known.holds.items()}
    for version, array in known.weights.items():
        if version > newest.version - rules.keep_last or version in known.holds:
            fields[f"w:{version}"] = pack_array(frozen_array(WEIGHTS, array))
    fields |= {f"t:{version}": _NO_TOKEN for version in (*known.weights, newest.version)}
    return {**fields, f"w:{newest.version}": weights}


def restored_aips(aips: Iterable[AipState]) -> Fields:
    """The fields of AIPs by rising version. Raises StoreError if one is malformed."""
    fields: Fields = {}
    for aip in map(frozen_aip, aips):
        newest: Fields = {"version": aip.version, "steps": aip.steps_per_agent}
        fields = {**fields, **newest, f"a:{aip.version}": pack_aip(aip), f"t:{aip.version}": _NO_TOKEN}
    return fields


def by_version(prefix: str, fields: Mapping[bytes, bytes]) -> dict[int, bytes]:
    """The fields ``<prefix><version>``, by version."""
    start = prefix.encode()
    return {int(k.removeprefix(start)): blob for k, blob in fields.items() if k.startswith(start)}

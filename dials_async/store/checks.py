"""What every store does to a state or a record before it takes it: check, copy, make read-only."""

import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from dials_async.errors import StoreError, VersionConflictError
from dials_async.store.base import MAX_RECORD_BYTES, WEIGHTS, AipState, Array, Arrays, GroupState, Meta
from dials_async.store.schema import RECORDS, require_meta, wrong_fields


def frozen_group(state: GroupState) -> GroupState:
    """``state`` as it is committed: checked, its arrays read-only copies. Raises StoreError."""
    if WEIGHTS not in state.arrays:
        raise StoreError(
            f"group {state.group}: a state needs the array {WEIGHTS!r}, has {sorted(state.arrays)}"
        )
    require_meta(f"group {state.group}", state.meta)
    return replace(state, arrays=_frozen_arrays(state.arrays), meta=_checked_meta(state.meta))


def frozen_aip(state: AipState) -> AipState:
    """``state`` as it is committed: checked, its arrays read-only copies. Raises StoreError."""
    return replace(state, arrays=_frozen_arrays(state.arrays), meta=_checked_meta(state.meta))


def frozen_array(name: str, array: Array) -> Array:
    """A read-only copy that nobody else can write to. Raises StoreError if it does not hold plain numbers."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise StoreError(f"array {name!r}: {array.dtype} is not stored; plain numbers of up to 8 bytes are")
    copy = np.array(array, dtype=array.dtype.newbyteorder("="), order="C", copy=True)
    copy.flags.writeable = False
    # A view of it: the owner of memory may make it writable again, a view of a read-only owner may not.
    return copy.view()


def _frozen_arrays(arrays: Arrays) -> Arrays:
    return MappingProxyType({name: frozen_array(name, array) for name, array in arrays.items()})


def _checked_meta(meta: Meta) -> Meta:
    for key, value in meta.items():
        if not isinstance(value, int | float | str):
            raise StoreError(f"meta {key!r}: expected int, float or str, got {type(value).__name__}")
    return MappingProxyType(dict(meta))


def encode_record(kind: str, record: Mapping[str, Any]) -> tuple[str, str]:
    """The id of ``record`` and its JSON. Raises StoreError if it is not fit to be stored."""
    key = record.get("id")
    if not isinstance(key, str) or not key:
        raise StoreError(f"record of {kind}: 'id' must be a text, got {key!r}")
    try:
        text = json.dumps(dict(record), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(f"record of {kind}: not JSON ({error}); for a missing number use None") from None
    if len(text) > MAX_RECORD_BYTES:
        raise StoreError(f"record of {kind}: {len(text)} bytes, limit {MAX_RECORD_BYTES}")
    if wrong := wrong_fields(record, RECORDS.get(kind, {}), required=True):
        raise StoreError(f"record of {kind}: without a proper {wrong[0]}")
    return key, text


def require_next(what: str, new: GroupState | AipState, old: GroupState | AipState | None) -> None:
    """Raise VersionConflictError unless ``new`` comes right after ``old``; StoreError if steps went back."""
    newest = old.version if old else -1
    if new.version != newest + 1:
        raise VersionConflictError(
            f"{what}: version {new.version} cannot follow {newest}: somebody else committed"
        )
    if new.steps_per_agent < (old.steps_per_agent if old else 0):
        raise StoreError(f"{what}: version {new.version} counts fewer steps than version {newest}")

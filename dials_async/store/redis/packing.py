"""How the Redis store packs states: msgpack, an array as [dtype, shape, bytes]; never pickle."""

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import msgpack
import numpy as np

from dials_async.errors import StoreError
from dials_async.store.base import WEIGHTS, AipState, Array, Arrays, GroupState, Meta
from dials_async.store.schema import checked_record, require_meta

#: What parsers raise at bytes that nobody packed.
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError)

#: Redis takes no longer value (proto-max-bulk-len), and hangs up instead of saying so.
MAX_BLOB_BYTES = 512 * 2**20


def pack_array(array: Array) -> bytes:
    """One array. Raises StoreError if it is too long for Redis."""
    return _pack(_parts(array))


def unpack_array(what: str, blob: bytes) -> Array:
    """Invert ``pack_array``; read-only. Raises StoreError, naming ``what``, if the bytes are damaged."""
    with damage_named(what):
        return _array(*msgpack.unpackb(blob))


def pack_group(state: GroupState) -> tuple[bytes, bytes]:
    """All but the weights, and the weights: those of older versions are kept by themselves."""
    others = {name: array for name, array in state.arrays.items() if name != WEIGHTS}
    return _pack_state(state.steps_per_agent, others, state.meta), pack_array(state.arrays[WEIGHTS])


def unpack_group(group: int, version: int, state: bytes, weights: bytes) -> GroupState:
    """Invert ``pack_group``; the arrays are read-only. Raises StoreError if the bytes are damaged."""
    what = f"group {group}, version {version}"
    steps, others, meta = _unpack_state(what, state)
    with damage_named(what):
        require_meta(what, meta)
    arrays = {WEIGHTS: unpack_array(what, weights), **others}
    return GroupState(group, version, steps, MappingProxyType(arrays), meta)


def pack_aip(state: AipState) -> bytes:
    """All of it but its version."""
    return _pack_state(state.steps_per_agent, state.arrays, state.meta)


def unpack_aip(version: int, blob: bytes) -> AipState:
    """Invert ``pack_aip``; the arrays are read-only. Raises StoreError if the bytes are damaged."""
    steps, arrays, meta = _unpack_state(f"AIPs, version {version}", blob)
    return AipState(version, steps, MappingProxyType(arrays), meta)


def pack_holds(held: Collection[str]) -> str:
    """What a version is needed for; the scripts read it too."""
    return " ".join(sorted(held))


def unpack_holds(blob: bytes) -> frozenset[str]:
    """Invert ``pack_holds``. Raises StoreError if the bytes are damaged."""
    with damage_named("what a version is needed for"):
        return frozenset(blob.decode().split())


def unpack_number(what: str, text: bytes | str) -> int:
    """A version, or a number of steps or changes. Raises StoreError, naming ``what``, if it is none."""
    with damage_named(what):
        number = int(text)
        if not -1 <= number < 2**63:
            raise ValueError("out of range")
        return number


def unpack_record(kind: str, row: bytes | str) -> dict[str, Any]:
    """A record of ``kind``. Raises StoreError if it is damaged."""
    with damage_named(f"record of {kind}"):
        return checked_record(kind, row)


@contextmanager
def damage_named(what: str) -> Iterator[None]:
    """Raise as StoreError whatever msgpack, JSON, NumPy and missing keys raise at bytes nobody packed."""
    try:
        yield
    except (*_DAMAGE, msgpack.UnpackException) as error:
        raise StoreError(
            f"{what}: damaged in Redis ({type(error).__name__}: {error}); resume from a checkpoint"
        ) from None


def _pack_state(steps: int, arrays: Arrays, meta: Meta) -> bytes:
    parts = {name: _parts(array) for name, array in arrays.items()}
    # Meta is JSON inside: the integers of an RNG are longer than msgpack's 64 bits.
    return _pack({"steps": steps, "arrays": parts, "meta": json.dumps(dict(meta))})


def _unpack_state(what: str, blob: bytes) -> tuple[int, dict[str, Array], Meta]:
    with damage_named(what):
        content = msgpack.unpackb(blob)
        arrays = {name: _array(*parts) for name, parts in content["arrays"].items()}
        meta = json.loads(content["meta"])
        if not isinstance(meta, dict):
            raise TypeError("meta is no object")
        return unpack_number(what, content["steps"]), arrays, MappingProxyType(meta)


def _pack(content: Any) -> bytes:
    blob: bytes = msgpack.packb(content)
    if len(blob) > MAX_BLOB_BYTES:
        raise StoreError(
            f"a state of {len(blob)} bytes is too large for Redis, which takes {MAX_BLOB_BYTES}; "
            "make the groups smaller"
        )
    return blob


def _parts(array: Array) -> list[Any]:
    return [array.dtype.str, array.shape, array.tobytes()]


def _array(dtype: str, shape: list[int], content: bytes) -> Array:
    kind = np.dtype(dtype)
    if kind.kind not in "biuf":
        raise ValueError(f"an array of {dtype}")
    # The bytes object owns the memory, so nobody can make the array writable again.
    return np.frombuffer(content, kind).reshape(shape)

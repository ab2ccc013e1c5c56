"""The msgpack map around every message: schema version, checksum, strict limits, and checks of plain fields.

The last field is a CRC-32 of everything before it, so a damaged message is told from a good one even where
every single value would pass as plausible. It costs 7 us for 40 KB.
"""

import zlib
from typing import Any

import msgpack

from dials_async.errors import BadMessageError

#: Counted up with every change of the fields; a consumer refuses every other version.
SCHEMA_VERSION = 3

#: RabbitMQ 4 refuses larger messages by default; ours are 20 to 500 KB.
MAX_MESSAGE_BYTES = 16 * 1024 * 1024

#: Names of runs, tasks and workers: short enough to be logged whole.
MAX_TEXT = 200

#: The longest list in a message has one policy version per group.
MAX_LIST = 4096

#: Far above our 17 fields, so that a newer schema with more of them is still told by its version.
MAX_FIELDS = 64

#: Counts end up in JSON, where integers are exact up to here.
MAX_INTEGER = 2**53

#: Of the checksum at the end of every message.
CRC_BYTES = 4


def seal(values: dict[str, Any]) -> bytes:
    """The message with these fields. Raises BadMessageError if it is too long."""
    packed: bytes = msgpack.packb({"schema": SCHEMA_VERSION, **values, "crc": bytes(CRC_BYTES)})
    require(len(packed) <= MAX_MESSAGE_BYTES, f"message of {len(packed)} bytes, limit {MAX_MESSAGE_BYTES}")
    content = packed[:-CRC_BYTES]
    return content + zlib.crc32(content).to_bytes(CRC_BYTES, "big")


def unseal(body: bytes, keys: tuple[str, ...]) -> dict[str, Any]:
    """The fields of the message, exactly ``keys``, of unchecked type. Raises BadMessageError."""
    require(len(body) <= MAX_MESSAGE_BYTES, f"message of {len(body)} bytes, limit {MAX_MESSAGE_BYTES}")
    crc = zlib.crc32(memoryview(body)[:-CRC_BYTES]).to_bytes(CRC_BYTES, "big")
    require(body[-CRC_BYTES:] == crc, "checksum does not fit: damaged, or not a message of ours")
    try:
        values = msgpack.unpackb(
            body, object_pairs_hook=_unique, max_map_len=MAX_FIELDS, max_array_len=MAX_LIST, max_ext_len=0
        )
    # TypeError and RecursionError: unhashable keys and deep nesting, which only a forger sends.
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadMessageError(f"not msgpack as we write it: {reason}") from None
    # Never format a value of unknown type into a reason: it may be huge, or nested too deep for repr.
    require(type(values) is dict, f"expected a map, got {type(values).__name__}")
    schema = values.pop("schema", None)
    version = schema if type(schema) is int else type(schema).__name__
    require(version == SCHEMA_VERSION, f"schema version {version}, this program reads {SCHEMA_VERSION}")
    require(values.pop("crc", None) == crc, "the checksum is not a field of its own")
    missing = sorted(set(keys) - values.keys())
    require(not missing, f"fields missing: {', '.join(missing)}")
    require(len(values) == len(keys), f"{len(values) - len(keys)} unknown fields")
    fields: dict[str, Any] = values
    return fields


def check_text(values: dict[str, Any], name: str) -> None:
    """Raise BadMessageError unless the field is a printable text of 1 to MAX_TEXT characters."""
    value = values[name]
    good = type(value) is str and 1 <= len(value) <= MAX_TEXT and value.isprintable()
    require(good, f"{name}: expected a printable text of 1 to {MAX_TEXT} characters")


def check_integer(values: dict[str, Any], name: str, low: int, high: int = MAX_INTEGER) -> None:
    """Raise BadMessageError unless the field is an integer, low <= value <= high."""
    value = values[name]
    require(type(value) is int and low <= value <= high, f"{name}: expected an integer from {low} to {high}")


def require(condition: bool, reason: str) -> None:
    """Raise BadMessageError with ``reason`` unless ``condition``."""
    if not condition:
        raise BadMessageError(reason)


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a field occurs twice")
    return result

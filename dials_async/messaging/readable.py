"""Any message, good or bad, as a few short lines that are safe to print: for who reads dead letters."""

import zlib
from typing import Any

import msgpack
import numpy as np

from dials_async.messaging.envelope import CRC_BYTES, MAX_FIELDS, MAX_LIST
from dials_async.messaging.schema import ExperienceShape

#: Characters of one value, and elements of one list, that are shown.
_MOST_TEXT, _MOST_ELEMENTS = 120, 8

#: Bytes that are shown of what is no message at all.
_MOST_BYTES = 48

#: Numbers in the arrays of experience, by name of the field.
_DTYPES = {name: np.dtype(dtype) for name, dtype, *_ in ExperienceShape(1, 1, 1, 1).layout()}


def printable(text: str, most: int = _MOST_TEXT) -> str:
    """``text`` on one line, cut to ``most`` characters; what could move a cursor or hide text is escaped."""
    safe = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[: most + 1])
    return safe if len(safe) <= most else safe[: most - 3] + "..."


def describe(body: bytes) -> list[str]:
    """The fields of a message, one a line, arrays by type, shape and range; else why it has none."""
    try:
        values = msgpack.unpackb(
            body, object_pairs_hook=list, max_map_len=MAX_FIELDS, max_array_len=MAX_LIST, max_ext_len=0
        )
    # As in ``unseal``: what only a forger sends, too.
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        start = body[:_MOST_BYTES]
        more = "..." if len(body) > len(start) else ""
        reason = printable(str(error)) or type(error).__name__
        return [f"not msgpack ({reason}), it begins with {start!r}{more}"]
    pairs = values if type(values) is list and all(type(pair) is tuple for pair in values) else None
    if not pairs:
        return [f"no map of fields: {_value(values)}"]
    sizes = {name: value for name, value in pairs if type(name) is str and type(value) is bytes}
    lines = [f"{_value(name)}: {_field(name, value, sizes)}" for name, value in pairs]
    fits = zlib.crc32(body[:-CRC_BYTES]).to_bytes(CRC_BYTES, "big") == body[-CRC_BYTES:]
    return [*lines, "the checksum fits" if fits else "the checksum does not fit: damaged on its way"]


def _field(name: object, value: object, sizes: dict[str, bytes]) -> str:
    if type(value) is not bytes or name not in _DTYPES:
        return _value(value)
    dtype = _DTYPES[str(name)]
    if not value or len(value) % dtype.itemsize:
        return f"{len(value):,} bytes, no whole number of {dtype}"
    numbers = np.frombuffer(value, dtype)
    finite = numbers[np.isfinite(numbers)]
    span = f"{finite.min():g} to {finite.max():g}" if len(finite) else "none finite"
    not_finite = f", {len(numbers) - len(finite):,} not finite" if len(finite) < len(numbers) else ""
    shape = _shape(str(name), len(numbers), sizes)
    return f"{dtype} {shape}, {len(value):,} bytes, {span}{not_finite}"


def _shape(name: str, count: int, sizes: dict[str, bytes]) -> list[int]:
    """The shape that ``count`` numbers have if they fit the other arrays, else as they lie there."""
    episodes = len(sizes.get("terminated", b""))
    steps = len(sizes.get("actions", b"")) // episodes if episodes else 0
    samples = steps + 1 if name == "observations" else steps
    if name in ("terminated", "truncated") or not samples or count % (episodes * samples):
        return [count]
    width = count // (episodes * samples)
    if name == "observations":
        return [episodes, samples, width]
    return [episodes, samples] if width == 1 else [count]


def _value(value: Any) -> str:
    """One value of any type, short; nothing inside of it is followed further than one list."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, bytes):
        start = value[:_MOST_ELEMENTS].hex(" ")
        return f"{len(value):,} bytes: {start}{' ...' if len(value) > _MOST_ELEMENTS else ''}"
    if isinstance(value, list):
        shown = [_scalar(element) for element in value[:_MOST_ELEMENTS]]
        return f"[{', '.join(shown)}{', ...' if len(value) > _MOST_ELEMENTS else ''}] ({len(value)})"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return printable(value)
    return repr(value) if isinstance(value, int | float | None) else type(value).__name__

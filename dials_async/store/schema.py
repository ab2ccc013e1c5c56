"""What records, announcements and counts of a run consist of: checked when they are written, and when read.

Redis is shared: what somebody else wrote there, or what was damaged, is found here, not where it is used.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from dials_async.errors import StoreError

Check = Callable[[Any], bool]
Fields = Mapping[str, Check]

#: In place of a field that is not there.
_MISSING = object()

#: No time, count or mean of a run is further from 0.
_LARGEST = 1e300


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    """A finite one; compared, not converted: an integer of JSON may be longer than a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _maybe(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _optional(check: Check) -> Check:
    """Also where the field is missing: what wrote it may be older."""
    return lambda value: value is _MISSING or check(value)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _by_name(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _by_number(check: Check) -> Check:
    def holds(value: Any) -> bool:
        return _by_name(check)(value) and all(_is_number(key) for key in value)

    return holds


def _is_number(key: str) -> bool:
    digits = key.removeprefix("-")
    return len(digits) < 19 and digits.isdecimal() and digits.isascii()


def _json(check: Check) -> Check:
    def holds(value: Any) -> bool:
        if not isinstance(value, str):
            return False
        try:
            return check(json.loads(value))
        except (ValueError, RecursionError):
            return False

    return holds


def _object(fields: Fields) -> Check:
    """Fields that are there are right; others may be missing."""
    return lambda value: isinstance(value, dict) and not wrong_fields(value, fields, required=False)


#: The records of a run by kind: every field that is read, and all of them are there. Other kinds have an id.
RECORDS: Mapping[str, Fields] = {
    "evaluations": {
        "version": _count,
        "steps": _count,
        "seconds": _number,
        "final": _flag,
        "episodes": _count,
        "return_mean": _number,
        "return_se": _number,
        "greedy_return_mean": _number,
        "greedy_return_se": _number,
        "influence_ce_mean": _maybe(_number),
        "influence_ce_min": _maybe(_number),
        "influence_ce_max": _maybe(_number),
        "aip_version": _maybe(_count),
        "influence_ce_per_agent": _maybe(_list_of(_number)),
        "return_per_agent": _list_of(_number),
    },
    "refreshes": {
        "aip_version": _count,
        "steps": _count,
        "ce_before": _number,
        "ce_after": _number,
        "ce_marginal": _number,
        "epochs": _number,
        **dict.fromkeys(("seconds", "seconds_in_run"), _number),
        "ce_before_per_agent": _list_of(_number),
        "ce_after_per_agent": _list_of(_number),
    },
    "baselines": {"mean": _number, "se": _number, "episodes": _count},
    "commits": {"seconds": _number},
    "sessions": {"seconds": _number, "phases": _by_name(_number), "cpu_phases": _optional(_by_name(_number))},
    "participants": {
        **dict.fromkeys(("part", "numerics", "code", "processor", "role", "host"), _text),
        "same": _flag,
    },
    "lives": {},
}

_GROUP = _object(
    {
        "doing": _text,
        "unmoved": _count,
        "lags": _by_number(_count),
        "dropped": _count,
        "learned_s": _number,
        "health": _by_name(_maybe(_number)),
    }
)

#: What a process says of itself. Its name and role are there; of the rest what its role has.
ANNOUNCEMENT: Fields = {
    **dict.fromkeys(("name", "role", "host", "code", "machine", "processor", "doing", "refused"), _text),
    **dict.fromkeys(("pid", "reconnects", "copies", "dropped", "rejected"), _count),
    **dict.fromkeys(("tasks_done", "tasks_outdated"), _count),
    **dict.fromkeys(("memory_mib", "cpu_seconds"), _number),
    "left": _flag,
    "numerics": _by_name(_text),
    **dict.fromkeys(("phases", "cpu_phases"), _by_name(_number)),
    "busy_with": _list_of(_text),
    "waits_for": _list_of(_text),
    "groups": _by_number(_GROUP),
}

#: What a commit of a group says of itself beside its arrays (``dials_async.learning.tally``).
META: Fields = {
    "adam_steps": _count,
    "lags": _json(_by_number(_count)),
    "dropped": _count,
    "older_aips": _count,
    "learned_s": _number,
    "health": _json(_list_of(lambda value: isinstance(value, float))),  # NaN: not measured by this backend
}


def wrong_fields(value: Mapping[str, Any], fields: Fields, *, required: bool) -> list[str]:
    """The names of ``fields`` that are malformed in ``value``, or missing where they are ``required``."""
    return [
        name
        for name, check in fields.items()
        if (required or name in value) and not check(value.get(name, _MISSING))
    ]


def checked_record(kind: str, text: str | bytes) -> dict[str, Any]:
    """The record of ``kind`` that is ``text``, JSON. Raises ValueError, in words, if it is none."""
    record = _object_of(text)
    fields = {"id": _text, **RECORDS.get(kind, {})}
    if wrong := wrong_fields(record, fields, required=True):
        raise ValueError(f"without a proper {wrong[0]}")
    return record


def checked_announcement(text: str | bytes) -> dict[str, Any]:
    """What a process said of itself, JSON. Raises ValueError, in words, if it is not what one says."""
    facts = _object_of(text)
    there = ("name", "role") if facts.get("left") else ("name", "role", "host", "doing", "memory_mib")
    wrong = [name for name in there if name not in facts]
    if wrong := wrong or wrong_fields(facts, ANNOUNCEMENT, required=False):
        raise ValueError(f"without a proper {wrong[0]}")
    return facts


def require_meta(what: str, meta: Mapping[str, Any]) -> None:
    """Raise StoreError, naming ``what``, unless counts in ``meta`` are counts."""
    if wrong := wrong_fields(meta, META, required=False):
        raise StoreError(f"{what}: meta {wrong[0]!r} is malformed")


def _object_of(text: str | bytes) -> dict[str, Any]:
    value = _loads(text)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _loads(text: str | bytes) -> Any:
    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no number")

    return json.loads(text, parse_constant=refuse)

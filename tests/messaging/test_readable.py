"""Any message can be shown to a person: short, and nothing of it reaches the terminal raw."""

import msgpack
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dials_async.messaging.readable import describe, printable
from dials_async.messaging.schema import encode_experience, encode_task

from .examples import TASK, make_experience, resealed

#: Characters of a line, whatever is in the message.
LONGEST = 3000


def is_safe(text: str) -> bool:
    return text.isprintable() and len(text) <= LONGEST


def test_a_good_message_is_shown_by_fields_types_shapes_and_ranges() -> None:
    lines = describe(encode_experience(make_experience()))
    assert "update: 12" in lines
    assert "task_id: ials/g0/u12/t1" in lines
    assert any(line.startswith("observations: uint8 [3, 6, 2], 36 bytes") for line in lines)
    assert any(line.startswith("rewards: float32 [3, 5], 60 bytes") for line in lines)
    assert any(line.startswith("truncated: uint8 [3], 3 bytes, 0 to 1") for line in lines)
    assert lines[-1] == "the checksum fits"
    assert "policy_versions: [12] (1)" in describe(encode_task(TASK))


def test_what_is_wrong_with_an_array_shows() -> None:
    good = encode_experience(make_experience())
    values = np.array([1.0, np.nan, -3e38] + 12 * [0.0], np.float32)
    lines = describe(resealed(good, rewards=values.tobytes(), log_probs=bytes(7), actions=bytes(4)))
    assert "rewards: float32 [15], 60 bytes, -3e+38 to 1, 1 not finite" in lines
    assert "log_probs: 7 bytes, no whole number of float32" in lines
    assert "actions: uint8 [4], 4 bytes, 0 to 0" in lines
    assert describe(good[:-1] + b"\0")[-1].startswith("the checksum does not fit")


def test_hostile_text_is_escaped_and_cut() -> None:
    hostile = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\n\r\x9b31m"
    body = resealed(encode_task(TASK), kind=hostile, update=[hostile], origin="x" * 10**6, **{hostile: 1})
    lines = describe(body)
    assert all(is_safe(line) for line in lines)
    assert any("\\x1b[2J" in line and "\\u202e" in line for line in lines)
    assert any(line.startswith("origin: xxx") and line.endswith("...") for line in lines)


@given(st.binary(max_size=300))
def test_any_bytes_are_shown(body: bytes) -> None:
    lines = describe(body)
    assert lines
    assert all(is_safe(line) for line in lines)


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["rewards", "terminated", "actions", "\x1b", "a"]), NESTED))
def test_any_map_is_shown(values: dict[str, object]) -> None:
    lines = describe(msgpack.packb(values))
    assert len(lines) == max(1, len(values) + 1 if values else 1)
    assert all(is_safe(line) for line in lines)


def test_megabytes_and_deep_nesting_stay_short() -> None:
    nested: list[object] = []
    for _ in range(400):
        nested = [nested]
    for value in (bytes(10**7), "x" * 10**7, list(range(4000)), nested, {"a": {"b": 4000 * [1]}}):
        assert all(is_safe(line) for line in describe(msgpack.packb({"field": value})))
    assert all(is_safe(line) for line in describe(b"\x91" * 10**5))


@given(st.text())
def test_text_is_printable_and_short(text: str) -> None:
    assert printable(text, 40).isprintable()
    assert len(printable(text, 40)) <= 40

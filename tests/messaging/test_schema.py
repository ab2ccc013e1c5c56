"""Messages: what is encoded comes back equal, and what is wrong is refused with its reason."""

import sys
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from dials_async.errors import BadMessageError
from dials_async.messaging import envelope
from dials_async.messaging.envelope import SCHEMA_VERSION
from dials_async.messaging.schema import (
    Experience,
    ExperienceShape,
    RolloutTask,
    decode_experience,
    decode_task,
    encode_experience,
    encode_task,
)

from .examples import GS_TASK, ORIGIN, SHAPE, TASK, make_experience, resealed, same, without

NEWER = f"schema version {SCHEMA_VERSION + 1}"


@pytest.mark.parametrize("task", [TASK, GS_TASK, replace(TASK, policy_versions=(-1,), aip_version=-1)])
def test_a_task_comes_back_equal(task: RolloutTask) -> None:
    assert decode_task(encode_task(task)) == task


def test_task_ids_are_readable_and_differ_between_kinds_groups_updates_and_indices() -> None:
    others = [replace(TASK, group=1), replace(TASK, update=13), replace(TASK, index=2), GS_TASK]
    ids = [task.task_id for task in [TASK, *others]]
    assert ids == ["ials/g0/u12/t1", "ials/g1/u12/t1", "ials/g0/u13/t1", "ials/g0/u12/t2", "gs/u12/t1"]


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"group": -1},
        {"episodes": 0},
        {"update": -1},
        {"index": True},
        {"policy_versions": ()},
        {"policy_versions": (1, 2)},
        {"policy_versions": (-2,)},
        {"policy_versions": (1.0,)},
        {"aip_version": -2},
        {"aip_version": 2**60},
        {"origin": ORIGIN._replace(run="")},
        {"origin": ORIGIN._replace(life="two\nlines")},
        {"origin": ORIGIN._replace(configuration=cast(str, 3))},
        {"origin": ORIGIN._replace(numerics=cast(str, None))},
    ],
)
def test_a_task_that_makes_no_sense_is_neither_encoded_nor_decoded(change: dict[str, object]) -> None:
    with pytest.raises(BadMessageError):
        encode_task(replace(TASK, **change))  # type: ignore[arg-type]
    with pytest.raises(BadMessageError):
        decode_task(resealed(encode_task(TASK), **change))


def test_experience_comes_back_equal_with_read_only_aligned_arrays() -> None:
    experience = make_experience()
    decoded = decode_experience(encode_experience(experience), SHAPE)
    assert same(decoded, experience)
    for array in (decoded.observations, decoded.rewards, decoded.log_probs, decoded.truncated):
        assert not array.flags.writeable
        assert array.flags.aligned


def test_arrays_of_any_memory_order_are_encoded_in_the_order_of_their_axes() -> None:
    experience = make_experience()
    turned = replace(experience, rewards=np.asfortranarray(experience.rewards))
    assert encode_experience(turned) == encode_experience(experience)


def calls_to_decode(shape: ExperienceShape) -> int:
    """How many calls, of Python and C, it takes."""
    body, calls = encode_experience(make_experience(shape)), 0

    def note(*_: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        decode_experience(body, shape)
    finally:
        sys.setprofile(before)
    return calls


def test_a_step_costs_at_most_30_bytes_and_nothing_is_decoded_step_by_step() -> None:
    shape = ExperienceShape(episodes=16, steps=100, observation_bytes=16, n_actions=5)
    assert len(encode_experience(make_experience(shape))) <= 30 * 16 * 100
    # 55 us for a task, on two cores at 2.1 GHz; a time would depend on what else the machine does
    assert 0 < calls_to_decode(shape) == calls_to_decode(replace(shape, episodes=2, steps=3))


def _with(name: str, index: object, value: float) -> Experience:
    experience = make_experience()
    array = getattr(experience, name).copy()
    array[index] = value
    return replace(experience, **{name: array})


@pytest.mark.parametrize(
    ("experience", "reason"),
    [
        (_with("rewards", (0, 0), np.nan), "rewards"),
        (_with("rewards", (2, 4), np.inf), "rewards"),
        (_with("log_probs", (1, 1), np.nan), "log_probs"),
        (_with("log_probs", (1, 1), -np.inf), "log_probs"),
        (_with("log_probs", (1, 1), 0.1), "log_probs"),
        (_with("terminated", ..., 2), "flag"),
        (replace(make_experience(), terminated=np.ones(3, np.uint8), truncated=np.ones(3, np.uint8)), "one"),
        (
            replace(make_experience(), terminated=np.zeros(3, np.uint8), truncated=np.zeros(3, np.uint8)),
            "one",
        ),
        (replace(make_experience(), agent=-1), "agent"),
        (replace(make_experience(), policy_version=-1), "policy_version"),
        (replace(make_experience(), rewards=np.full((3, 5), 3e38, np.float32)), "rewards: 3e\\+38 is beyond"),
        (
            replace(make_experience(), rewards=np.full((3, 5), -1e30, np.float32)),
            "rewards: 1e\\+30 is beyond",
        ),
        (replace(make_experience(), log_probs=np.full((3, 5), -1e30, np.float32)), "log_probs: an action"),
        (replace(make_experience(), log_probs=np.full((3, 5), -109.1, np.float32)), "log_probs: an action"),
        (replace(make_experience(), worker="w" * 201), "worker"),
        (replace(make_experience(), made_at=float("nan")), "made_at"),
        (replace(make_experience(), made_at=-1.0), "made_at"),
        (replace(make_experience(), made_at=12), "made_at"),
        (replace(make_experience(), rewards=cast(Any, np.zeros((3, 5)))), "rewards"),
        (replace(make_experience(), actions=np.zeros((3, 4), np.uint8)), "actions"),
        (replace(make_experience(), observations=np.zeros((3, 6), np.uint8)), "observations"),
        (replace(make_experience(), observations=np.zeros((0, 6, 2), np.uint8)), "observations"),
    ],
)
def test_bad_experience_is_refused_where_it_is_made(experience: Experience, reason: str) -> None:
    with pytest.raises(BadMessageError, match=reason):
        encode_experience(experience)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (encode_experience(_with("actions", (1, 1), 4)), "actions: 4"),
        (encode_experience(make_experience(replace(SHAPE, episodes=2))), "bytes for"),
        (encode_experience(make_experience(replace(SHAPE, episodes=5, steps=3))), "bytes for"),
        (encode_experience(make_experience(replace(SHAPE, observation_bytes=3))), "observations"),
        (resealed(encode_experience(make_experience()), rewards=[0.0] * 15), "expected bytes, got list"),
        (
            resealed(encode_experience(make_experience()), rewards=np.full(15, np.nan, "<f4").tobytes()),
            "finite",
        ),
        (resealed(encode_experience(make_experience()), terminated=b"\2\2\2", truncated=b"\3\3\3"), "flag"),
        (resealed(encode_experience(make_experience()), agent="7"), "agent"),
        (resealed(encode_experience(make_experience()), agent=2**64 - 1), "agent"),
        (resealed(encode_experience(make_experience()), schema=SCHEMA_VERSION + 1), NEWER),
        (resealed(encode_experience(make_experience()), schema=SCHEMA_VERSION + 1, new_field=1), NEWER),
        (resealed(encode_experience(make_experience()), schema=True), "schema version bool"),
        (resealed(encode_experience(make_experience()), extra=1), "unknown"),
        (resealed(encode_experience(make_experience()), **{f"k{i}": 0 for i in range(99)}), "msgpack"),
        (without(encode_experience(make_experience()), "log_probs"), "missing: log_probs"),
        (without(encode_experience(make_experience()), "schema"), "schema"),
        (encode_task(TASK), "missing"),
        (b"", "checksum"),
        (bytes(4), "map|msgpack"),
        (bytes(envelope.MAX_MESSAGE_BYTES + 1), "limit"),
    ],
)
def test_bad_experience_is_refused_on_arrival_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadMessageError, match=reason) as caught:
        decode_experience(body, SHAPE)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("sizes", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, 0), (1, 1, 1, 257)])
def test_an_empty_shape_is_a_mistake_of_the_caller(sizes: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        ExperienceShape(*sizes)

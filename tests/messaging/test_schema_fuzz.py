"""Whatever arrives: a bad message is a BadMessageError, and nothing else than a good one is decoded."""

import zlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dials_async.errors import BadMessageError
from dials_async.messaging.schema import (
    ExperienceShape,
    decode_experience,
    decode_task,
    encode_experience,
)

from .examples import SHAPE, make_experience, same


@given(st.binary(max_size=300), st.booleans())
@example(b"\x91" * 2000, True)  # nested deeper than any parser likes
@example(b"\x82\xa1a\x01\xa1a\x02", True)  # a key twice
@example(b"\xdf\xff\xff\xff\xff", True)  # a map that claims 4 G entries
@example(b"\xdd\xff\xff\xff\xff", True)
@example(b"\x81\x90\x00", True)  # an unhashable key
@example(b"\xd6\xff\x00\x00\x00\x00", True)  # a timestamp
def test_random_bytes_are_bad_messages_and_nothing_worse(content: bytes, checksum_fits: bool) -> None:
    tail = zlib.crc32(content).to_bytes(4, "big") if checksum_fits else b""
    for body in (content + tail, content + b"\xa3crc\xc4\x04" + tail):
        with pytest.raises(BadMessageError):
            decode_experience(body, SHAPE)
        with pytest.raises(BadMessageError):
            decode_task(body)


def test_a_field_that_occurs_twice_makes_a_message_bad() -> None:
    # Given a message that would be good without the second "agent", which comes first
    body = encode_experience(make_experience())[:-4]
    assert body[0] == 0xDE  # map 16: two bytes of length follow
    length = int.from_bytes(body[1:3], "big") + 1
    twice = b"\xde" + length.to_bytes(2, "big") + b"\xa5agent\x01" + body[3:]
    with pytest.raises(BadMessageError, match="twice"):
        decode_experience(twice + zlib.crc32(twice).to_bytes(4, "big"), SHAPE)


@settings(max_examples=200)
@given(st.data())
def test_a_truncated_or_flipped_message_is_bad(data: st.DataObject) -> None:
    body = bytearray(encode_experience(make_experience()))
    if data.draw(st.booleans(), label="truncate"):
        del body[data.draw(st.integers(0, len(body) - 1)) :]
    else:
        bit = data.draw(st.integers(0, 8 * len(body) - 1))
        body[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadMessageError):
        decode_experience(bytes(body), SHAPE)


@settings(max_examples=300)
@given(st.data())
def test_a_changed_message_with_a_fitting_checksum_is_bad_or_keeps_every_promise(data: st.DataObject) -> None:
    # Given a message with some bytes replaced and a checksum that hides it
    body = bytearray(encode_experience(make_experience())[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    sealed = bytes(body) + zlib.crc32(body).to_bytes(4, "big")
    # When it is decoded
    try:
        decoded = decode_experience(sealed, SHAPE)
    except BadMessageError:
        return
    # Then what comes out is fit to be trained on, and is what its own encoding says
    assert decoded.actions.max() < SHAPE.n_actions
    assert same(decode_experience(encode_experience(decoded), SHAPE), decoded)


@given(
    st.builds(
        ExperienceShape,
        episodes=st.integers(1, 4),
        steps=st.integers(1, 9),
        observation_bytes=st.integers(1, 9),
        n_actions=st.integers(1, 256),
    ),
    st.integers(0, 99),
)
def test_experience_of_any_shape_comes_back_equal(shape: ExperienceShape, seed: int) -> None:
    experience = make_experience(shape, seed)
    assert same(decode_experience(encode_experience(experience), shape), experience)

"""Messages to and from a simulator's process: whole, or given up in time."""

import os
import resource
import time
from collections.abc import Iterator

import pytest

from dials_async.domains.traffic.messages import (
    read_message,
    receive_within,
    send_within,
    write_message,
)

LARGE = {"op": "step", "bytes": bytes(range(256)) * 2000}  # eight times what a pipe holds


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    yield reading, writing
    for file in (reading, writing):
        os.close(file)


def in_another_process(file: int, other_end: int, work: str) -> int:
    """Fork a process that writes or reads LARGE at its end of the pipe; its pid."""
    if pid := os.fork():
        return pid
    os.close(other_end)
    os.set_blocking(file, True)
    with os.fdopen(file, "wb" if work == "write" else "rb") as stream:
        if work == "write":
            write_message(stream, LARGE)
        else:
            os._exit(0 if read_message(stream) == LARGE else 1)
    os._exit(0)


def test_a_message_larger_than_the_pipe_arrives_whole(pipe: tuple[int, int]) -> None:
    pid = in_another_process(pipe[1], pipe[0], "write")
    assert receive_within(pipe[0], 20.0) == LARGE
    assert os.waitpid(pid, 0)[1] == 0


def test_a_message_larger_than_the_pipe_is_sent_whole(pipe: tuple[int, int]) -> None:
    pid = in_another_process(pipe[0], pipe[1], "read")
    send_within(pipe[1], LARGE, 20.0)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize(
    "sent", [b"", b"\x05\x00", b"\x05\x00\x00\x00half"], ids=["nothing", "length", "body"]
)
def test_half_a_message_is_not_waited_for_for_ever(pipe: tuple[int, int], sent: bytes) -> None:
    os.write(pipe[1], sent)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        receive_within(pipe[0], 0.3)
    assert 0.3 <= time.monotonic() - began < 3.0


def test_nobody_who_reads_is_not_waited_for_for_ever(pipe: tuple[int, int]) -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        send_within(pipe[1], LARGE, 0.3)
    assert time.monotonic() - began < 3.0


@pytest.mark.parametrize(
    "sent", [b"", b"\x05\x00", b"\x05\x00\x00\x00half"], ids=["nothing", "length", "body"]
)
def test_a_pipe_that_ends_has_no_message(sent: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, sent)
    os.close(writing)
    assert receive_within(reading, 5.0) is None
    os.close(reading)


def test_descriptors_beyond_those_of_select_are_served(pipe: tuple[int, int]) -> None:
    far = 1500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * far), hard))
    try:
        os.dup2(pipe[0], far)
        send_within(pipe[1], {"op": "reset"}, 5.0)
        assert receive_within(far, 5.0) == {"op": "reset"}
        os.close(far)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

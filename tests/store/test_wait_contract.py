"""What every store does for those who wait for a commit."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dials_async.store.base import Store

from .helpers import aip_state, group_state

LONG_S = 60.0  # never reached by a test that passes
NEVER_S = 3 * LONG_S  # who is not woken comes back after this, too late
SHORT_S = 0.05


@pytest.mark.parametrize(
    "commit",
    [
        lambda store: store.commit_group(group_state(0)),
        lambda store: store.commit_aip(aip_state(0)),
        lambda store: store.append_record("evaluation", {"id": "a"}),
    ],
)
def test_a_waiting_thread_wakes_at_a_commit(store: Store, commit: Callable[[Store], None]) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait, NEVER_S)
        time.sleep(SHORT_S)
        commit(store)
        assert waiting.result(LONG_S)


def test_waiting_ends_at_its_timeout(store: Store) -> None:
    start = time.monotonic()
    assert not store.wait(SHORT_S)
    assert SHORT_S * 0.9 < time.monotonic() - start < LONG_S


def test_a_commit_between_looking_and_waiting_is_not_slept_over(store: Store) -> None:
    store.wait(0.0)
    store.commit_group(group_state(0))
    start = time.monotonic()
    assert store.wait(NEVER_S)
    assert time.monotonic() - start < LONG_S
    assert not store.wait(0.0)

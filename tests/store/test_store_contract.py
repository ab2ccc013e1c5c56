"""What every store does: commits, records, snapshots. Which versions are kept: test_keep_contract."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from dials_async.errors import StoreError, VersionConflictError
from dials_async.store.base import AipState, GroupState, Store

from .conftest import MakeStore
from .helpers import aip_state, filled, group_state, plain

LONG_S = 10.0


def test_an_empty_store_says_so(store: Store) -> None:
    assert (store.latest_group(0), store.group_version(0)) == (None, -1)
    assert (store.latest_aip(), store.aip_version()) == (None, -1)
    assert store.held(0, "refresh") == []
    assert store.records("evaluation") == []


def test_what_is_committed_is_what_is_read(store: Store) -> None:
    store.commit_group(group_state(0, group=3))
    store.commit_group(group_state(1, group=3))
    state = store.latest_group(3)
    assert state is not None
    assert (state.group, state.version, state.steps_per_agent) == (3, 1, 100)
    assert dict(state.meta) == {"updates": 1, "rate": 0.1, "rng": "1"}
    assert {k: (a.dtype.type, a.shape) for k, a in state.arrays.items()} == {
        "weights": (np.float32, (2, 300)),
        "adam_m": (np.float32, (2, 300)),
        "flag": (np.bool_, ()),
    }
    assert (store.weights(3, 1) == 3001).all()
    assert store.group_version(3) == 1
    assert store.group_version(0) == -1


@pytest.mark.parametrize("version", [0, 1, 3, -1])
def test_only_the_version_after_the_newest_can_be_committed(store: Store, version: int) -> None:
    for good in (0, 1):
        store.commit_group(group_state(good))
        store.commit_aip(aip_state(good))
    with pytest.raises(VersionConflictError, match=rf"{version}\b.*\b1\b"):
        store.commit_group(group_state(version, steps=500))
    with pytest.raises(VersionConflictError, match=rf"{version}\b.*\b1\b"):
        store.commit_aip(aip_state(version))
    assert (store.group_version(0), store.aip_version()) == (1, 1)


def test_the_first_version_is_0(store: Store) -> None:
    with pytest.raises(VersionConflictError):
        store.commit_group(group_state(1))
    with pytest.raises(VersionConflictError):
        store.commit_aip(aip_state(1))


def test_a_malformed_state_is_refused_and_changes_nothing(store: Store) -> None:
    store.commit_group(group_state(0, steps=50))
    good = group_state(1)
    for bad in (
        replace(good, steps_per_agent=49),
        replace(good, arrays={"adam_m": np.zeros(3)}),
        replace(good, arrays={"weights": np.array([object()])}),
        replace(good, arrays={"weights": np.array(["text"])}),
        replace(good, meta={"updates": np.int64(3)}),  # type: ignore[dict-item]
        replace(good, meta={"updates": [1]}),  # type: ignore[dict-item]
    ):
        with pytest.raises(StoreError):
            store.commit_group(bad)
    assert store.group_version(0) == 0
    store.commit_group(good)


def test_nobody_can_change_what_was_committed(store: Store) -> None:
    # Given a committed state
    weights, view_of = np.zeros(4, np.float32), np.zeros(4, np.float32)
    still_writable = view_of[:]
    view_of.flags.writeable = False
    arrays, meta = {"weights": weights, "adam_m": view_of}, {"updates": 1}
    store.commit_group(GroupState(0, 0, 0, arrays, meta))
    # When its maker goes on with its own arrays
    weights += 1
    still_writable += 1
    arrays["more"] = weights
    meta["updates"] = 2
    # Then the store's stay, and readers cannot write to them
    state = store.latest_group(0)
    assert state is not None
    assert set(state.arrays) == {"weights", "adam_m"}
    assert dict(state.meta) == {"updates": 1}
    for array in (*state.arrays.values(), store.weights(0, 0)):
        assert not array.any()
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_arrays_keep_value_and_shape_whatever_their_memory_order(store: Store) -> None:
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    for version, array in enumerate((np.asfortranarray(table), table[:, ::2], table.astype(">f4"))):
        store.commit_group(GroupState(0, version, version, {"weights": array}))
        stored = store.weights(0, version)
        assert np.array_equal(stored, array)
        assert stored.flags.c_contiguous
        assert stored.dtype == np.float32


def test_of_racing_commits_exactly_one_wins(store: Store) -> None:
    threads = 8
    barrier = threading.Barrier(threads)

    def race(who: int) -> int:
        wins = 0
        for version in range(20):
            barrier.wait(LONG_S)
            state = GroupState(0, version, version, {"weights": np.full(50, who)}, {"who": who})
            try:
                store.commit_group(state)
                store.commit_aip(AipState(version, version, {"g0": np.full(50, who)}, {"who": who}))
                wins += 1
            except VersionConflictError:
                pass
        return wins

    with ThreadPoolExecutor(threads) as pool:
        wins = list(pool.map(race, range(threads)))
    assert sum(wins) == 20
    state, aip = store.latest_group(0), store.latest_aip()
    assert state is not None
    assert aip is not None
    assert state.version == aip.version == 19
    assert (state.arrays["weights"] == state.meta["who"]).all()


def test_reads_beside_commits_are_never_torn(store: Store) -> None:
    done = threading.Event()
    reads = []

    def read() -> None:
        while not done.is_set():
            state = store.latest_group(0)
            snapshot = store.snapshot()
            if state is None or 0 not in snapshot.groups:
                continue
            for seen in (state, snapshot.groups[0].state):
                version = seen.version
                assert seen.meta["updates"] == version
                assert seen.steps_per_agent == 100 * version
                assert (seen.arrays["weights"] == version).all()
                assert (seen.arrays["adam_m"] == version).all()
            assert max(snapshot.groups[0].weights, default=-1) == snapshot.groups[0].state.version - 1
            reads.append(state.version)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for version in range(300):
            store.commit_group(group_state(version))
        done.set()
        for reader in readers:
            reader.result(LONG_S)
    assert reads


def test_a_record_is_appended_once_by_its_id(store: Store) -> None:
    first = {"id": "v0", "return": 1.5, "rows": [1, None, "x"], "more": {"a": True}}
    assert store.append_record("evaluation", first)
    assert not store.append_record("evaluation", {"id": "v0", "return": 99})
    assert store.append_record("refresh", {"id": "v0"})
    assert store.append_record("evaluation", {"id": "v1"})
    assert store.records("evaluation") == [first, {"id": "v1"}]
    # And what a reader does to its copy stays with it
    store.records("evaluation")[0]["rows"].append(2)
    assert store.records("evaluation")[0] == first


@pytest.mark.parametrize(
    "record",
    [
        {},
        {"id": 1},
        {"id": ""},
        {"id": "a", "x": {1, 2}},
        {"id": "a", "x": float("nan")},
        {"id": "a", "x": "y" * 10**6},
    ],
)
def test_a_record_that_is_not_a_small_json_object_with_an_id_is_refused(
    store: Store, record: dict[str, object]
) -> None:
    with pytest.raises(StoreError, match="record of evaluation"):
        store.append_record("evaluation", record)
    assert store.records("evaluation") == []


def test_a_restored_store_is_equal_and_goes_on(make_store: MakeStore) -> None:
    # Given a snapshot of a store that moves on
    store = filled(make_store())
    snapshot = store.snapshot()
    before = plain(snapshot)
    store.commit_group(group_state(6))
    store.append_record("evaluation", {"id": "later"})
    assert plain(snapshot) == before
    # When an empty store takes it over
    other = make_store()
    other.restore(snapshot)
    # Then it is the same store at that time, and goes on alike
    assert plain(other.snapshot()) == before
    assert not other.append_record("evaluation", {"id": "v0"})
    other.commit_group(group_state(6))
    other.append_record("evaluation", {"id": "later"})
    assert plain(other.snapshot()) == plain(store.snapshot())


def test_only_an_empty_store_can_be_restored(make_store: MakeStore) -> None:
    snapshot = filled(make_store()).snapshot()
    store = make_store()
    store.append_record("evaluation", {"id": "a"})
    with pytest.raises(StoreError, match="not empty"):
        store.restore(snapshot)
    assert store.group_version(0) == -1

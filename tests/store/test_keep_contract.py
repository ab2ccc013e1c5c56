"""Which versions every store keeps, and which version a boundary was."""

from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dials_async.errors import VersionGoneError
from dials_async.store.base import KeepRules, Store

from .conftest import MakeStore
from .helpers import aip_state, group_state


def kept(store: Store, versions: int) -> list[int]:
    result = []
    for version in range(versions):
        try:
            assert (store.weights(0, version) == version).all()
        except VersionGoneError:
            continue
        result.append(version)
    return result


def test_the_newest_versions_are_kept_with_their_weights(make_store: MakeStore) -> None:
    store = make_store(KeepRules(keep_last=3))
    for version in range(10):
        store.commit_group(group_state(version))
    assert kept(store, 12) == [7, 8, 9]
    with pytest.raises(VersionGoneError, match=r"6.*9"):
        store.weights(0, 6)
    with pytest.raises(VersionGoneError):
        store.weights(1, 0)


def test_the_newest_aips_are_kept(make_store: MakeStore) -> None:
    store = make_store(KeepRules(keep_last_aips=2))
    for version in range(5):
        store.commit_aip(aip_state(version))
    assert [store.aip(version).version for version in (3, 4)] == [3, 4]
    assert (store.aip(3).arrays["g0"] == 3).all()
    for version in (2, 5):
        with pytest.raises(VersionGoneError, match=f"{version}.*4"):
            store.aip(version)


def test_boundary_versions_stay_until_they_are_released(make_store: MakeStore) -> None:
    # Given boundaries at every 250 and 400 steps, and a version every 100 steps
    store = make_store(KeepRules(boundary_steps=(250, 400), keep_last=2))
    for version in range(13):
        store.commit_group(group_state(version))
    # Then the first versions at or after 0, 250, 400, 500, 750, 800, 1000 and 1200 steps are kept
    assert kept(store, 13) == [0, 3, 4, 5, 8, 10, 11, 12]
    assert [store.boundary_version(0, steps) for steps in (0, 250, 400, 750, 800)] == [0, 3, 4, 8, 8]
    # When some are released, one of them among the newest
    for version in (3, 8, 12, 99):
        store.release(0, version)
    store.release(5, 0)
    # Then they go, the newest when its time comes, and it is still known which they were
    assert kept(store, 13) == [0, 4, 5, 10, 11, 12]
    for version in (13, 14):
        store.commit_group(group_state(version))
    assert kept(store, 15) == [0, 4, 5, 10, 13, 14]
    assert [store.boundary_version(0, steps) for steps in (250, 750, 1200)] == [3, 8, 12]


def test_a_boundary_ahead_is_not_there_yet_and_the_final_step_is_known(make_store: MakeStore) -> None:
    store = make_store(KeepRules(boundary_steps=(500,), keep_last=2))
    for version in range(10):
        store.commit_group(group_state(version, steps=99 * version))
    assert store.boundary_version(0, 1000) is None
    assert store.boundary_version(0, 891) == 9
    assert store.boundary_version(0, 800) == 9
    assert store.boundary_version(0, 892) is None
    # And what is neither is not guessed: 495 and 693 were exact steps of versions that are gone
    for steps in (150, 495, 693):
        with pytest.raises(VersionGoneError, match="no boundary"):
            store.boundary_version(0, steps)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.integers(0, 90), min_size=1, max_size=25),
    intervals=st.lists(st.integers(1, 200), max_size=2),
    keep_last=st.integers(1, 4),
)
def test_every_multiple_of_an_interval_has_the_first_version_at_or_after_it(
    make_store: MakeStore, gaps: list[int], intervals: list[int], keep_last: int
) -> None:
    store = make_store(KeepRules(tuple(intervals), keep_last))
    steps = [0, *accumulate(gaps)]
    for version, at in enumerate(steps):
        store.commit_group(group_state(version, steps=at))
    newest = range(len(steps))[-keep_last:]
    boundaries = {
        next(version for version, at in enumerate(steps) if at >= multiple)
        for interval in intervals
        for multiple in range(0, steps[-1] + 1, interval)
    }
    assert kept(store, len(steps)) == sorted(boundaries | set(newest))
    for interval in intervals:
        for multiple in range(0, steps[-1] + 2 * interval, interval):
            first = next((version for version, at in enumerate(steps) if at >= multiple), None)
            assert store.boundary_version(0, multiple) == first


@pytest.mark.parametrize(
    "sizes", [{"boundary_steps": (0,)}, {"keep_last": 0}, {"keep_last_aips": 0}, {"boundary_steps": (5, -1)}]
)
def test_rules_that_keep_nothing_are_a_mistake_of_the_caller(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        KeepRules(**sizes)  # type: ignore[arg-type]

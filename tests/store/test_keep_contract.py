"""Which versions every store keeps: the newest, and what something still needs."""

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


def test_what_is_needed_stays_until_each_purpose_has_released_it(make_store: MakeStore) -> None:
    # Given versions that are needed for one thing, for two, and for nothing
    store = make_store(KeepRules(keep_last=2))
    needed = {0: {"refresh", "evaluation"}, 3: {"refresh"}, 4: {"evaluation"}, 9: {"evaluation"}}
    for version in range(10):
        store.commit_group(group_state(version), needed.get(version, ()))
    # Then they are kept, beside the newest, and it is known for what
    assert kept(store, 10) == [0, 3, 4, 8, 9]
    assert (store.held(0, "refresh"), store.held(0, "evaluation")) == ([0, 3], [0, 4, 9])
    # When some are released, one of them by half, one twice, one by somebody who does not need it
    for version, purpose in (
        (0, "refresh"),
        (3, "refresh"),
        (3, "refresh"),
        (4, "refresh"),
        (9, "evaluation"),
    ):
        store.release(0, version, purpose)
    for group, version in ((0, 99), (5, 0)):
        store.release(group, version, "refresh")
    # Then those go that nothing needs, the newest when its time comes
    assert kept(store, 10) == [0, 4, 8, 9]
    assert (store.held(0, "refresh"), store.held(0, "evaluation")) == ([], [0, 4])
    for version in (10, 11):
        store.commit_group(group_state(version))
    assert kept(store, 12) == [0, 4, 10, 11]
    # And what is needed comes back with a snapshot, and nothing else
    again = make_store(KeepRules(keep_last=2))
    again.restore(store.snapshot())
    assert kept(again, 12) == [0, 4, 10, 11]
    again.release(0, 0, "evaluation")
    assert kept(again, 12) == [4, 10, 11]
    assert kept(store, 12) == [0, 4, 10, 11]


PURPOSES = ("refresh", "evaluation", "another")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    commits=st.lists(st.sets(st.sampled_from(PURPOSES)), min_size=1, max_size=20),
    releases=st.lists(st.tuples(st.integers(0, 20), st.sampled_from(PURPOSES)), max_size=30),
    keep_last=st.integers(1, 4),
    data=st.data(),
)
def test_in_any_order_the_newest_and_the_needed_are_kept_and_no_others(
    make_store: MakeStore,
    commits: list[set[str]],
    releases: list[tuple[int, str]],
    keep_last: int,
    data: st.DataObject,
) -> None:
    store, needed = make_store(KeepRules(keep_last)), dict[int, set[str]]()
    steps = data.draw(st.permutations(["commit"] * len(commits) + ["release"] * len(releases)))
    for step in steps:
        if step == "commit":
            version = len(needed)
            store.commit_group(group_state(version), commits[version])
            needed[version] = set(commits[version])
        else:
            version, purpose = releases.pop()
            store.release(0, version, purpose)
            needed.get(version, set()).discard(purpose)
        gone = {
            version for version in needed if version <= len(needed) - 1 - keep_last and not needed[version]
        }
        assert kept(store, len(commits)) == sorted(needed.keys() - gone)
        for version in gone:
            needed[version] = set()
    for purpose in PURPOSES:
        assert store.held(0, purpose) == [v for v in needed if purpose in needed[v]]


@pytest.mark.parametrize("sizes", [{"keep_last": 0}, {"keep_last_aips": 0}, {"keep_last": -1}])
def test_rules_that_keep_nothing_are_a_mistake_of_the_caller(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        KeepRules(**sizes)

"""The clock: when AIPs are refreshed, which ones a rollout uses, when is evaluated."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dials_async.clock import EVALUATION, REFRESH, Clock, make_clock
from dials_async.domains.registry import make_domain
from dials_async.errors import ConfigError
from tests.rollout.contexts import small_config

clocks = st.builds(
    Clock,
    steps_per_update=st.integers(1, 500),
    n_updates=st.integers(1, 60),
    refresh_steps=st.integers(1, 5000),
    eval_steps=st.integers(1, 5000),
    aips_are_trained=st.just(True),
)


def clock(updates: int, refresh: int, per_update: int = 100, trained: bool = True) -> Clock:
    return Clock(per_update, updates, refresh, eval_steps=250, aips_are_trained=trained)


@pytest.mark.parametrize(
    ("updates", "refresh", "refreshes", "versions"),
    [
        (6, 200, 3, [1, 1, 2, 2, 3, 3]),  # F divides the steps
        (5, 200, 3, [1, 1, 2, 2, 3]),  # it does not
        (6, 250, 3, [1, 1, 1, 2, 2, 3]),  # boundaries at 250 and 500: the first version at or after
        (6, 100, 6, [1, 2, 3, 4, 5, 6]),  # before every update
        (6, 600, 1, [1, 1, 1, 1, 1, 1]),  # F = all the steps: once, at the start
        (6, 10_000, 1, [1, 1, 1, 1, 1, 1]),  # F > all the steps
        (6, 599, 1, [1, 1, 1, 1, 1, 1]),  # the last boundary falls on the last version: no update is left
        (3, 50, 5, [1, 3, 5]),  # two refreshes between updates
    ],
)
def test_aips_are_refreshed_at_0_and_at_every_multiple_of_f_below_the_end(
    updates: int, refresh: int, refreshes: int, versions: list[int]
) -> None:
    found = clock(updates, refresh)
    assert found.n_refreshes == refreshes
    assert [found.aip_version(k) for k in range(updates)] == versions


@given(clocks)
def test_every_aip_that_a_rollout_waits_for_is_made_by_a_refresh(found: Clock) -> None:
    """Else a learner would wait forever."""
    versions = [found.aip_version(k) for k in range(found.n_updates)]
    assert versions[0] == 1
    assert max(versions) <= found.n_refreshes
    assert versions == sorted(versions)


@given(clocks)
def test_a_refresh_is_made_by_policies_that_its_aips_are_not_needed_for(found: Clock) -> None:
    """Refresh m waits for the first version at or after m F; making it must need the AIPs before only."""
    for refresh in range(1, found.n_refreshes):
        first = next(k for k in range(found.n_updates + 1) if found.steps(k) >= refresh * found.refresh_steps)
        assert found.aip_version_behind(first) <= refresh
        assert first == found.n_updates or found.aip_version(first) >= refresh + 1


@pytest.mark.parametrize(("updates", "refresh"), [(6, 599), (5, 450)])
def test_no_refresh_is_made_after_the_last_update(updates: int, refresh: int) -> None:
    found = clock(updates, refresh)
    assert found.n_refreshes == found.aip_version(updates - 1)


def test_the_aips_behind_a_version_are_those_of_the_rollouts_that_made_it() -> None:
    found = clock(6, 200)
    assert [found.aip_version_behind(k) for k in range(7)] == [0, 1, 1, 2, 2, 3, 3]


def test_untrained_aips_stay_version_0_and_are_never_refreshed() -> None:
    found = clock(6, 200, trained=False)
    assert found.n_refreshes == 0
    assert {found.aip_version(k) for k in range(7)} == {0}
    assert {found.aip_version_behind(k) for k in range(7)} == {0}


@given(clocks)
def test_evaluations_are_of_the_first_versions_at_the_multiples_of_e_and_of_the_last(found: Clock) -> None:
    versions = found.evaluations()
    multiples = range(0, found.total_steps, found.eval_steps)
    firsts = {next(k for k in range(found.n_updates + 1) if found.steps(k) >= m) for m in multiples}
    assert versions == sorted(firsts | {found.n_updates})
    assert [k for k in range(found.n_updates + 1) if found.is_evaluated(k)] == versions


@given(clocks)
def test_a_version_is_needed_for_the_refreshes_and_evaluations_that_are_made_of_it(found: Clock) -> None:
    refreshed = {found.refresh_version(refresh) for refresh in range(found.n_refreshes)}
    for version in range(found.n_updates + 1):
        expected = {EVALUATION} if version in found.evaluations() else set()
        assert found.needed_for(version) == expected | ({REFRESH} if version in refreshed else set())
        # A refresh of it can begin, and then nobody has to wait for it who does not need it
        if version in refreshed:
            assert found.aip_version_behind(version) < found.aip_version(version)


@pytest.mark.parametrize("changes", [{"aips_are_trained": False}, {"refreshes_are_pinned": False}])
def test_no_version_is_kept_for_a_refresh_where_none_is_made_of_it(changes: dict[str, bool]) -> None:
    found = replace(clock(6, 200), **changes)
    assert [found.needed_for(k) for k in (0, 2, 3, 6)] == [{EVALUATION}, set(), {EVALUATION}, {EVALUATION}]


# ---- From a configuration ---------------------------------------------------------------------------------


def clock_of(*settings: str) -> Clock:
    config = small_config(*settings)
    return make_clock(config, make_domain(config.domain))


def test_the_clock_of_a_run_follows_its_configuration() -> None:
    found = clock_of("run.steps=3999", "schedule.refresh_steps=1000")
    assert found.steps_per_update == 2 * 4 * 100
    assert found.n_updates == 4  # whole updates only
    assert found.total_steps == 3200
    assert found.refresh_steps == 1000
    assert found.eval_steps == 3999 // 20
    assert found.aips_are_trained


@pytest.mark.parametrize(("simulator", "trained"), [("dials", True), ("untrained", False), ("gs", False)])
def test_aips_are_trained_with_the_simulator_dials_only(simulator: str, trained: bool) -> None:
    assert clock_of(f"run.simulator={simulator}").aips_are_trained == trained


@pytest.mark.parametrize(
    ("steps", "message"), [(99, "one episode has 100 steps"), (799, "one update takes 800 steps")]
)
def test_a_run_shorter_than_one_update_is_refused(steps: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        clock_of(f"run.steps={steps}")
